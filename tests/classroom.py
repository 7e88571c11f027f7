"""A class to grade: sheets filled in as students fill them in, each with a mark that is known beforehand."""

import copy
import io
import json
import re
import zipfile
from pathlib import Path

import nbformat

from crmlab.course import notebooks
from crmlab.grading.handout import exercises_folder

STUB = re.compile(r"^raise NotImplementedError\(.*\)$", re.MULTILINE)


def solutions(stem, folder=None):
    """The code that answers each question, from the exercise's source."""
    found = {}
    for cell in notebooks.read_source(exercises_folder(folder) / "src" / f"{stem}.md").cells:
        asked = re.search(r'^check\("(\w+)"', cell.source, re.MULTILINE) if cell.cell_type == "code" else None
        if asked:
            region = re.search(r"# BEGIN SOLUTION\n(.*?)\n# END SOLUTION", cell.source, re.DOTALL)
            found[asked[1]] = region[1]
    return found


def sheet(out, stem, student):
    """The notebook of a student's sheet, as it was handed out."""
    name = f"{stem}_{student}"
    with zipfile.ZipFile(Path(out) / stem / "students" / f"{name}.zip") as archive:
        return nbformat.read(io.StringIO(archive.read(f"{name}/{name}.ipynb").decode()), as_version=4)


def filled(notebook, answers):
    """A sheet with code in the place of its stubs."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        number = cell.id.removeprefix("answer-")
        if number in answers and cell.id.startswith("answer-"):
            cell.source = STUB.sub(lambda _, number=number: answers[number], cell.source)
    return made


def cell_of(notebook, name):
    """The cell of an id."""
    return next(cell for cell in notebook.cells if cell.id == name)


def hand_in(folder, student, notebook, name="sheet.ipynb"):
    """Write a submission; a string or bytes as they are."""
    path = Path(folder) / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(notebook, bytes):
        path.write_bytes(notebook)
    else:
        path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    return path
