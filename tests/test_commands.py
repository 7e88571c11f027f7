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

from crmlab import __version__, datasets
from crmlab.course import difflock, doctor, environment, notebooks, run

HEADER = "---\njupytext:\n  text_representation:\n    format_name: myst\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A clone in miniature with one lesson; returns a function that writes lessons."""
    for folder in ("notebooks/src", "exercises/src", "exercises/keys", "datasets", "crmlab"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("x==1\n")
    (tmp_path / "crmlab" / "module.py").write_text("")
    monkeypatch.setattr(environment, "root", lambda: tmp_path)
    # The rules, the pages and the slides have tests of their own; these lessons are too small for them.
    monkeypatch.setattr(run.rules, "check_lesson", lambda *_: None)
    monkeypatch.setattr(run.notebooks, "thumbnail", lambda _: b"")
    monkeypatch.setattr(run.pages, "build", lambda: None)
    monkeypatch.setattr(run.slides, "check_overflow", lambda *_: True)

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
    assert b"three" in (course.root / "notebooks" / "02_b.ipynb").read_bytes()
    stored.write_bytes(first.replace(b'"2"', b'"3"'))  # edited by hand
    assert run.build(check=True) == 1 and run.build() == 0 and stored.read_bytes() == first


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
        word = __main__._word(verb)
        assert re.search(rf"^run\b.*\b{word}\b.*:|^{word}\b.*:", makefile, re.MULTILINE), verb.__name__
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

    def pip(venv, *arguments, **_):
        calls.append(arguments[1])
        environment.python_of(venv).parent.mkdir(parents=True, exist_ok=True)
        environment.python_of(venv).touch()

    monkeypatch.setattr(environment, "_pip", pip)
    environment.ready_python()
    environment.ready_python()
    assert calls == ["--require-hashes", "--no-deps"]
    (tmp_path / "pyproject.toml").write_text("# changed\n")
    environment.ready_python()
    assert calls[2:] == ["--no-deps"]
    (tmp_path / "requirements.lock").write_text("a==2\n")
    environment.ready_python()
    assert calls[3:] == ["--require-hashes", "--no-deps"]
    (tmp_path / ".venv" / "crmlab-setup").unlink()  # as after an interrupted set-up
    environment.ready_python()
    assert calls[5:] == ["--require-hashes", "--no-deps"]
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
    assert set(state) == {"fingerprint", "seconds", "figures", "minutes", "stored"}


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong_here(capsys):
    assert doctor.run() == 0
    assert "Nothing is wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda root, patch: (root / "requirements.lock").write_text("numpy==0.1\nno-such-package==1\nother==1 ; sys_platform == 'none'\n"), r"1 missing \(no-such-package\) and 1 of another version \(numpy .* instead of 0.1"),
        (lambda root, patch: (root / "environment.yml").write_text("old"), "environment.yml: differs"),
        (lambda root, patch: (root / "notebooks" / "05_retention.ipynb").unlink(), "stored notebooks: missing: 05_retention"),
        (lambda root, patch: patch.setattr(datasets, "load", lambda name: (_ for _ in ()).throw(ValueError("changed"))), "bundled data: cdnow: changed"),
        (lambda root, patch: patch.setattr(sys, "version_info", (3, 10, 0)), "3.11 or later is needed"),
    ],
)  # fmt: skip
def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(tmp_path, monkeypatch, capsys, break_it, says):
    for name in (
        "requirements.lock",
        "environment.yml",
        "pyproject.toml",
        "notebooks/src/05_retention.md",
        "notebooks/05_retention.ipynb",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(environment, "root", lambda: tmp_path)
    assert doctor.run() == 0
    capsys.readouterr()
    break_it(tmp_path, monkeypatch)
    assert doctor.run() == 1
    said = capsys.readouterr().out
    assert re.search("WRONG  .*" + says, said) and "Mend: " in said


# --- diff-lock --------------------------------------------------------------------------------------------------------


def test_packages_that_differ_between_locks():
    old, new = "a==1 \\\n    --hash=sha256:x\nb==2\nc==3 ; python_version < '3.12'\n", "a==1\nb==2.1\nd==4\n"
    assert difflock.packages(old, new) == {"b": ("2", "2.1"), "c": ("3", None), "d": (None, "4")}


def test_numbers_that_moved(course):
    course("01_a", "print('alpha 0.704, n 1,000')", "1 / 3", "'unchanged 5'")
    before = notebooks.run_cells(notebooks.all_notebooks()[0])
    course("01_a", "print('alpha 0.714, n 1,000')", "1 / 3", "'unchanged 5'")
    after = notebooks.run_cells(notebooks.all_notebooks()[0])
    ((cell, source, old, new),) = difflock.numbers_moved(before, after)
    assert (cell, old, new) == (2, "0.704", "0.714") and source.startswith("print(")
    assert difflock.numbers_moved(before, before) == []


def test_diff_lock_reports_packages_and_numbers(course, capsys, monkeypatch):
    """Two locks, whose environments are stood in for by this one: what a lesson prints depends on the lock."""
    course(
        "01_a", "from pathlib import Path\nprint(0.5 if 'x==1' in Path('../requirements.lock').read_text() else 0.6)"
    )
    (course.root / "new.lock").write_text("x==2\n")

    def executed(lock, stem):
        (course.root / "requirements.lock").write_text(lock_texts[lock.name])
        return notebooks.run_cells(notebooks.all_notebooks(stem)[0])

    lock_texts = {name: (course.root / name).read_text() for name in ("requirements.lock", "new.lock")}
    monkeypatch.setattr(difflock, "_executed", executed)
    assert difflock.run(course.root / "requirements.lock", course.root / "new.lock") == 1
    said = capsys.readouterr().out
    assert "x: 1 -> 2" in said and "01_a: 1 numbers moved" in said and "0.5 -> 0.6" in said
    with pytest.raises(environment.SetupError, match="no lock"):
        difflock.run(course.root / "none.lock", course.root / "new.lock")


def test_words_are_handed_on_as_they_stand(monkeypatch, capsys):
    from crmlab import __main__

    calls = []
    monkeypatch.setattr(__main__.subprocess, "call", lambda command, **_: calls.append(command) or 0)
    assert __main__.main(["test", "-q", "-k", "wilson", "tests/test_check.py"]) == 0
    assert calls[-1][-4:] == ["-q", "-k", "wilson", "tests/test_check.py"] and "notebooks" not in calls[-1]
    __main__.main(["test", "-k", "wilson"])
    assert calls[-1][-3:] == ["exercises/solutions", "-k", "wilson"]
    with pytest.raises(SystemExit):
        __main__.main(["run", "--jbos", "3"])
    assert "run does not know --jbos 3" in capsys.readouterr().err
