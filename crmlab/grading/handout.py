"""Sheets for marks: for each student the notebook with data of their own, and nothing that tells an answer."""

import gzip
import io
import json
import re
import zipfile
from concurrent.futures import as_completed
from pathlib import Path

import nbformat
import numpy as np
from tqdm import tqdm

from crmlab import __version__
from crmlab.course import environment, exercises, notebooks
from crmlab.course.check import load_key
from crmlab.course.environment import SetupError
from crmlab.course.notebooks import LessonError
from crmlab.course.sheet import common_name
from crmlab.grading import answers, workers
from crmlab.grading.roster import ClassFolder, out_folder, read_roster, safe_name

__all__ = ["handout", "sheet_notebook", "exercises_folder"]

_EXERCISE = re.compile(r"""Exercise\(\s*["'](?P<stem>[^"']+)["'].*?\)(\s*#.*)?$""", re.MULTILINE)
_INTRODUCTION = """\
{count} questions, for marks. {whose} Each question has a cell: put your code in place of the line that raises an error, let it set
`answer`, and run the cell. The cell below it checks the *form* of your answer; whether it is right, your marks say. You may change
your mind as often as you like: the last value of `answer` in a question's cells counts, and each question starts without one.

Hand in this notebook, and nothing else; other files are not read. It is run again from the top, without a network, so what it
needs must be in it. To practise, open the exercise of the same name in the kit: its `check` says what is wrong, on other data."""


def exercises_folder(folder=None):
    """The folder with ``src/`` and ``keys/``: the kit's, or that of a lecturer's own exercises."""
    return environment.root() / "exercises" if folder is None else Path(folder)


def sheet_notebook(stem, folder=None, student=""):
    """The notebook of a sheet: a function of the exercise's source alone, but for the student's id.

    Each cell that answers a question is parted from its check; both, and what belongs to the question, are marked in the
    metadata, so that `grade` finds them again however they are changed.

    Raises
    ------
    SetupError
        If there is no such exercise.
    """
    source = exercises_folder(folder) / "src" / f"{stem}.md"
    if not source.exists():
        there = ", ".join(sorted(file.stem for file in source.parent.glob("*.md")))
        raise SetupError(f"there is no exercise {stem!r} in {source.parent}; there are: {there}.")
    notebook = exercises.student_version(notebooks.read_source(source), stem)
    cells, waiting = [], []
    for cell in notebook.cells:
        asked = exercises._CHECK.search(cell.source) if cell.cell_type == "code" else None
        if cell.cell_type == "code" and _EXERCISE.search(cell.source):
            cell.source = _EXERCISE.sub(f'Sheet(student="{student}")\\2', cell.source).replace(
                "import Exercise", "import Sheet"
            )
            if student:
                cell.source = re.sub(r'(Sheet\(student=".*?"\)).*', r"\1", cell.source)
            cell.source += "\nanswer = None"  # so that a check has something to look at before there is an answer
            cell.metadata["crmlab"] = {"setup": True}
        waiting.append(cell)
        if asked is None:
            continue
        number = asked["number"]
        before, check = cell.source[: asked.start()].rstrip("\n"), cell.source[asked.start() :]
        cell.source, cell.id = before, f"answer-{number}"
        # What stands between two checks belongs to the second: the text of the question, a look at its data.
        for one in waiting:
            if not one.metadata.get("crmlab") and (one is cell or _belongs(one, number)):
                one.metadata["crmlab"] = {"question": number}
        checking = nbformat.v4.new_code_cell(check.strip(), id=f"check-{number}")
        checking.metadata = nbformat.from_dict({"crmlab": {"check": number}, "deletable": False, "editable": False})
        cells += [*waiting, checking]
        waiting = []
    notebook.cells = cells + waiting
    numbers = [cell.metadata["crmlab"]["check"] for cell in cells if "check" in cell.metadata.get("crmlab", {})]
    whose = (
        "The data beside this notebook are yours alone."
        if student
        else "Write your student id below: it decides which of the data are yours."
    )
    # The exercise's own first paragraph speaks of a `check` that says what is right.
    title, _, *more = notebook.cells[0].source.split("\n\n")
    notebook.cells[0].source = "\n\n".join([title, _INTRODUCTION.format(count=len(numbers), whose=whose), *more])
    notebook.metadata["crmlab"] = {"stem": stem, "student": student}
    return notebook


def _belongs(cell, number):
    return cell.cell_type == "code" or cell.source.lstrip().startswith(f"**Question {number}.")


def about_sheet(key, stem, student=""):
    """What ``sheet.json`` says: the form of each answer, and nothing of its value."""
    data = key.data_for("")
    questions = {}
    for number, question in key.questions.items():
        expected = question.answer(data)
        form = "word" if isinstance(expected, str) else "number" if np.ndim(expected) == 0 else list(np.shape(expected))
        questions[number] = {"expects": question.expects, "form": form, "choices": list(question.choices)}
    return {"format": 1, "crmlab": __version__, "stem": stem, "student": student, "questions": questions}


def handout(stem, roster, out, exercises=None, jobs=2, nbgrader=False):
    """Make the sheets of a class.

    Parameters
    ----------
    stem : str
    roster, out : str or pathlib.Path
    exercises : str or pathlib.Path, optional
        A folder with ``src/`` and ``keys/`` of exercises of your own.
    jobs : int
    nbgrader : bool
        Whether to write a course for nbgrader too.

    Returns
    -------
    int
        0
    """
    out_folder(out)
    students = read_roster(roster)
    folder = exercises_folder(exercises)
    try:
        key = load_key(stem, folder / "keys")
        plainly = sheet_notebook(stem, folder)
    except (ValueError, LessonError) as error:
        raise SetupError(str(error)) from None
    lecturer = ClassFolder(roster, create=True)
    out = Path(out) / stem
    about = about_sheet(key, stem)
    data = _all_data(lecturer, stem, folder, students, jobs)
    for student in students:
        one = student.student_id
        name = f"{stem}_{safe_name(one)}"
        files = {
            f"{name}.ipynb": notebooks.dumps(sheet_notebook(stem, folder, one)),
            "sheet.json": json.dumps(about | {"student": one}, indent=1),
            "data.json": data[one],
        }
        notebooks.write_bytes(out / "students" / f"{name}.zip", _zip({f"{name}/{k}": v for k, v in files.items()}))
    common = {f"{stem}.ipynb": notebooks.dumps(plainly), "sheet.json": json.dumps(about, indent=1)}
    common |= {
        f"data/{common_name(stem, one)}": gzip.compress(text.encode(), mtime=0) for one, text in sorted(data.items())
    }
    notebooks.write_bytes(
        out / f"{stem}_common.zip", _zip({f"{stem}/{name}": content for name, content in common.items()})
    )
    lecturer.note(stem, exercises=str(folder.resolve()) if exercises else None, crmlab=__version__, sheet=about)
    page = answers.page(stem, key, folder)
    notebooks.write_text(lecturer.path / stem / "answers.html", page)
    print(f"{len(students)} sheets in {out / 'students'}, one for all in {out / f'{stem}_common.zip'}.")
    print(
        f"The class secret, the data and the answers (answers.html) stay with you, in {lecturer.path}: keep that folder, and give it to nobody. `grade` needs it."
    )
    if nbgrader:
        from crmlab.grading import nbgrader as export

        solved = notebooks.read_source(folder / "src" / f"{stem}.md")
        own = str(folder.resolve()) if exercises else None
        print(
            f"A course for nbgrader is in {export.write(out / 'nbgrader', stem, solved, plainly, common, students, own)}."
        )
    return 0


def _all_data(lecturer, stem, folder, students, jobs):
    """The data of every student as text, made by several processes."""
    missing = [one.student_id for one in students if not lecturer.data_file(stem, one.student_id).exists()]
    if missing:
        bar = tqdm(total=len(missing), unit="student", desc="Data", disable=None)
        with bar, workers.pool(jobs) as pool:
            roster = str(lecturer.path.with_suffix(".csv"))
            # In pieces: a process reads the key once a piece.
            pieces = [missing[start : start + 8] for start in range(0, len(missing), 8)]
            with workers.undisturbed():
                running = {pool.submit(_make, roster, stem, str(folder), piece): len(piece) for piece in pieces}
            for done in as_completed(running):
                done.result()
                bar.update(running[done])
    return {one.student_id: lecturer.data_file(stem, one.student_id).read_text(encoding="utf-8") for one in students}


def _make(roster, stem, folder, students):
    key, lecturer = load_key(stem, Path(folder) / "keys"), ClassFolder(roster)
    for student in students:
        lecturer.data_text(stem, student, key)


def _zip(files):
    """A zip file, the same bytes for the same files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return made.getvalue()
