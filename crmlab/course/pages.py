"""The pages: a Sphinx site from the executed notebooks, the data cards and the docstrings; it works from `file:`."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from crmlab import datasets
from crmlab.course import citations, environment, notebooks, slides
from crmlab.course.notebooks import LessonError, all_notebooks, write_text


def build():
    """Assemble the sources in `build/site-src` and run Sphinx where anything changed.

    Returns
    -------
    pathlib.Path
        The first page.

    Raises
    ------
    LessonError
        If Sphinx warns; its words are shown.
    """
    root = environment.root()
    source, site = root / "build" / "site-src", root / "build" / "site"
    _assemble(root, source)
    first, stamp = site / "index.html", site / ".fingerprint"
    wanted = _fingerprint(root, source)
    if first.exists() and stamp.exists() and stamp.read_text() == wanted:
        return first
    # Everything is made anew (it takes ten seconds): no page of a lesson that is gone stays behind.
    shutil.rmtree(site, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "html",
        "-E",  # a change of the configuration or of a docstring reaches every page
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(root / "build" / "doctrees"),
        str(source),
        str(site),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LessonError("the pages were not built; Sphinx says:\n" + done.stderr.strip())
    slides.build(site)
    write_text(stamp, wanted)
    return first


def _assemble(root, source):
    """Make the folder of sources what it should be: copy what changed and take away what is gone."""
    wanted = {
        file.relative_to(root / "docs"): file.read_bytes()
        for file in sorted((root / "docs").rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    for item in all_notebooks():
        if item.kind == "lesson":
            wanted[Path("lessons") / item.built.name] = _lesson_page(item).encode()
        else:
            student = root / "exercises" / f"{item.stem}.ipynb"
            wanted[Path("exercises") / student.name] = student.read_bytes()
    for name in datasets.catalog().index:
        wanted[Path("data") / f"{name}.md"] = _data_page(name).encode()
    for path, content in wanted.items():
        target = source / path
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for file in source.rglob("*"):
        if file.is_file() and file.relative_to(source) not in wanted:
            file.unlink()


def _lesson_page(item):
    """The executed lesson as Sphinx takes it: citations as roles that it links, and a way to the deck."""
    notebook = nbformat.read(item.built, as_version=4)
    source = notebooks.read_source(item.source, resolved=False)
    for cell, text in zip(notebook.cells, citations.resolve_list([cell.source for cell in source.cells])):
        cell.source = text
    ways = [f'<a href="../slides/{item.stem}.html">Slides</a>']
    if (environment.root() / "exercises" / f"{item.stem}.ipynb").exists():
        ways.append(f'<a href="../exercises/{item.stem}.html">Exercise</a>')
    notebook.cells[0].source += f'\n\n<p class="crmlab-ways">{" · ".join(ways)}</p>'
    return notebooks.dumps(notebook)


def _data_page(name):
    card = datasets.card(name)
    return f'# {card.descriptor["title"]}\n\n`datasets.load("{name}")`\n\n```{{raw}} html\n{card._repr_html_()}\n```\n'


def _fingerprint(root, source):
    digest = hashlib.sha256()
    for file in [
        root / "requirements.lock",
        *sorted(f for f in (root / "crmlab").rglob("*") if f.is_file() and f.suffix != ".pyc"),  # templates too
        *sorted(f for f in source.rglob("*") if f.is_file()),
    ]:
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
