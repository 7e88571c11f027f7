"""The commands, on a small course of their own: what is executed when, what a failure says, what is left behind."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from crmlab import __version__
from crmlab.course import environment, notebooks, run

HEADER = "---\njupytext:\n  text_representation:\n    format_name: myst\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A clone in miniature with one lesson; returns a function that writes lessons."""
    for folder in ("notebooks/src", "exercises/src", "exercises/keys", "datasets", "crmlab"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("x==1\n")
    (tmp_path / "crmlab" / "module.py").write_text("")
    monkeypatch.setattr(environment, "root", lambda: tmp_path)

    def write(stem, *cells):
        body = "\n".join(f"```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells)
        (tmp_path / "notebooks" / "src" / f"{stem}.md").write_text(f"{HEADER}# Title of {stem}\n\n{body}")

    write.root = tmp_path
    return write


def test_build_writes_once_and_then_only_what_changed(course, capsys):
    course("01_a", "1 + 1")
    course("02_b", "print('two')")
    assert run.build() == 0
    stored = course.root / "notebooks" / "01_a.ipynb"
    first = stored.read_bytes()
    assert b'"2"' in first and b"tmp" not in first
    assert run.build() == 0 and "All stored notebooks are what their sources give" in capsys.readouterr().out

    course("02_b", "print('three')")
    assert [item.stem for item in notebooks.all_notebooks() if not item.is_current()] == ["02_b"]
    assert run.build(check=True) == 1 and "differs from its source: notebooks/02_b.ipynb" in capsys.readouterr().out
    assert run.build() == 0 and stored.read_bytes() == first


def test_two_builds_of_one_source_give_the_same_bytes(course):
    cells = [
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n_ = plt.title('x')",
        "import pandas as pd\npd.DataFrame({'a': [1]})",
        "{*'abc'}",
    ]
    course("01_a", *cells)
    item = notebooks.all_notebooks()[0]
    texts = []
    for _ in range(2):
        notebooks.execute(item)
        texts.append(item.built.read_bytes())
    assert texts[0] == texts[1] and b"image/png" in texts[0]


@pytest.mark.parametrize(
    "change", ["crmlab/module.py", "requirements.lock", "datasets/new.csv", "notebooks/src/01_a.md"]
)
def test_what_a_lesson_depends_on_makes_it_stale(course, change):
    course("01_a", "1")
    run.build()
    (item,) = notebooks.all_notebooks()
    assert item.is_current()
    with open(course.root / change, "a") as file:
        file.write("\n# changed\n")
    assert not item.is_current()


def test_a_failing_lesson_fails_the_command_and_names_cell_and_cause(course, capsys):
    course("01_a", "x = 1", "x / 0")
    course("02_b", "1")
    assert run.run() == 1
    said = capsys.readouterr()
    assert "01_a: cell 3 (x / 0) failed: ZeroDivisionError: division by zero" in said.err
    assert re.search(r"01_a .*FAILED", said.out) and re.search(r"02_b .*executed", said.out)
    assert not (course.root / "build" / "notebooks" / "01_a.ipynb").exists()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.ipynb"
    notebooks.write_text(file, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        notebooks.write_text(file, "new")
    assert file.read_text() == "old"


def test_an_unknown_stem_is_answered_with_the_known_ones(course):
    course("01_a", "1")
    with pytest.raises(environment.SetupError, match="no lesson '99'; there are: 01_a"):
        notebooks.all_notebooks("99")


def test_the_lock_has_every_requirement_with_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--index" not in lock
    pins = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE):
        pins.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append(version)
    entries = [entry for entry in re.split(r"^(?=[\w])", lock, flags=re.MULTILINE) if "==" in entry]
    assert all("--hash=sha256:" in entry for entry in entries)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        line for extra in environment.EXTRAS for line in project["optional-dependencies"][extra]
    ]
    for requirement in map(Requirement, wanted):
        versions = pins[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_every_bound_has_its_reason_beside_it():
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|course|test|dev) = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in lists for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) > 20
    assert not [line for line in lines if "#" not in line]


def test_the_conda_file_is_what_pyproject_gives():
    assert (ROOT / "environment.yml").read_text() == environment.conda_file()


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cff = (ROOT / "CITATION.cff").read_text()
    assert project["version"] == __version__ and f"version: {__version__}\n" in cff
    assert (
        f'license = "{project["license"]}"' in (ROOT / "pyproject.toml").read_text()
        and f"license: {project['license']}" in cff
    )


def test_the_first_command_needs_only_the_standard_library():
    # -S leaves site-packages out, -I everything of the user's.
    for verb in ("help", "--version"):
        done = subprocess.run(
            [
                sys.executable,
                "-S",
                "-c",
                f"import sys; sys.path.insert(0, '.'); from crmlab.__main__ import main; sys.exit(main(['{verb}']))",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "crmlab" in done.stdout, done.stderr
    makefile = (ROOT / "Makefile").read_text()
    from crmlab import __main__

    for verb in __main__.VERBS:
        assert re.search(rf"^run\b.*\b{verb.__name__}\b.*:|^{verb.__name__}\b.*:", makefile, re.MULTILINE), (
            verb.__name__
        )
        assert verb.__doc__


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys; import crmlab; print(sorted(m for m in ('numpy', 'pandas', 'scipy', 'matplotlib') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_installed_package_without_a_clone_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_ABOVE", tmp_path)
    with pytest.raises(environment.SetupError, match="needs a clone"):
        environment.root()


def test_set_up_is_done_once_and_again_after_a_change(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(environment, "root", lambda: tmp_path)
    monkeypatch.setattr(environment, "_installed_here", lambda: False)
    (tmp_path / "requirements.lock").write_text("a==1\n")
    (tmp_path / "pyproject.toml").write_text("")

    def fake(venv):
        calls.append(venv)
        environment._python(venv).parent.mkdir(parents=True, exist_ok=True)
        environment._python(venv).touch()
        (venv / "crmlab-setup").write_text(environment._wanted())

    monkeypatch.setattr(environment, "set_up", fake)
    for expected in (1, 1):
        environment.ready_python()
        assert len(calls) == expected
    (tmp_path / "requirements.lock").write_text("a==2\n")
    environment.ready_python()
    assert len(calls) == 2
    monkeypatch.setattr(environment, "_installed_here", lambda: True)
    assert environment.ready_python() == sys.executable


@pytest.mark.skipif(
    not os.environ.get("CI"), reason="pictures are compared to the byte only in CI, on the machine that built them"
)
def test_stored_notebooks_are_what_their_sources_give():
    for item in notebooks.all_notebooks():
        if not item.is_current():
            notebooks.execute(item)
        assert item.stored.read_bytes() == item.built.read_bytes(), item.name


def test_states_are_json(course):
    course("01_a", "1")
    run.build()
    state = json.loads((course.root / "build" / "notebooks" / "01_a.json").read_text())
    assert set(state) == {"fingerprint", "seconds", "figures", "minutes"}
