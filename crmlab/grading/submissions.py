"""What students handed in: found, told apart by student, read without trust, and made into a job for the sandbox."""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from crmlab.course import plain
from crmlab.course.environment import SetupError
from crmlab.grading.returned import clean

__all__ = ["Attempt", "collect", "read_notebook", "job"]

# Figures are kept in a notebook, so an honest one may be large.
_LARGEST, _CELLS, _CELL = 20_000_000, 2000, 100_000
_DEEP = 4


class Unreadable(Exception):
    """A file that is no notebook that we would open; the message says why."""


@dataclass(frozen=True)
class Attempt:
    """A file that a student handed in.

    Attributes
    ----------
    path : str
        Below the folder of submissions.
    handed_in : float
        When it was last changed, in seconds since 1970.
    """

    path: str
    handed_in: float


@dataclass
class Collected:
    """Attempts by student id, the last one first; their files that are no notebooks; files that are nobody's, each with the reason."""

    attempts: dict = field(default_factory=dict)
    others: dict = field(default_factory=dict)
    nobody: list = field(default_factory=list)


def collect(folder, students, stem=None):
    """Find the notebooks in a folder and whose they are.

    The id of the student stands, as a word of its own, in the name of the folder directly below or, for a file that lies in
    no folder, of the file; else the roster's column ``submission`` or the student's name is how that name begins.

    Parameters
    ----------
    folder : str or pathlib.Path
    students : list of Student
    stem : str, optional
        Of the exercise: in a name it is nobody's id, though it begins with a number.

    Returns
    -------
    Collected
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SetupError(f"there is no folder {folder} with submissions.")
    found = Collected()
    try:
        listed = sorted(_files(folder, found.nobody))
    except OSError as error:
        raise SetupError(f"the folder {folder} cannot be read: {error.strerror}.") from None
    others = {}
    for relative, when, notebook in listed:
        if not notebook:
            place, below, _ = relative.partition("/")
            others.setdefault(place if below else os.path.splitext(place)[0], []).append(clean(relative, 200))
            continue
        owners = _owners(relative.split("/")[0], students, stem)
        if len(owners) == 1:
            found.attempts.setdefault(owners[0].student_id, []).append(Attempt(relative, when))
        else:
            whose = ", ".join(owner.student_id for owner in owners[:3])
            found.nobody.append(
                (
                    clean(relative, 200),
                    f"could be of {whose}" if owners else "its name holds nobody's id, name or submission",
                )
            )
    for place, names in others.items():
        owners = _owners(place, students, stem)
        if len(owners) == 1:
            found.others.setdefault(owners[0].student_id, []).extend(names)
        else:
            found.nobody.append((some(names), "no notebook (.ipynb), and nobody's"))
    for attempts in found.attempts.values():
        attempts.sort(key=lambda attempt: (attempt.handed_in, attempt.path), reverse=True)
    return found


def some(names):
    """The first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _files(folder, closed, above="", depth=0):
    """Paths and times of all files that are not hidden, and whether each is a notebook; folders that cannot be looked into come to `closed`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name in (".ipynb_checkpoints", "__MACOSX"):
                    continue
                if depth >= _DEEP:
                    closed.append((clean(name, 200), f"it is a folder below {_DEEP} others"))
                    continue
                try:
                    yield from _files(entry.path, closed, name + "/", depth + 1)
                except OSError as error:
                    closed.append((clean(name, 200), f"the folder cannot be read ({error.strerror})"))
                continue
            notebook = entry.is_symlink() or (entry.name.endswith(".ipynb") and not entry.name.startswith("._"))
            if notebook or not entry.name.startswith("."):
                yield name, entry.stat(follow_symlinks=False).st_mtime, notebook


def _owners(name, students, stem=None):
    """Whose a file is, by the longest of what fits: `s1` is no word of `s10`, nor `05` one of `05_retention`."""
    whole = name.removesuffix(".ipynb")
    starts = [one for one in students if one.submission and whole.startswith(one.submission)]
    if starts:
        longest = max(len(one.submission) for one in starts)
        return [one for one in starts if len(one.submission) == longest]
    whole = re.sub(r" ?\([1-9]\d?\)$", "", whole)  # a browser's, of what was downloaded twice
    if stem:
        whole = re.sub(rf"(?<![^\W_]){re.escape(stem)}(?![^\W_])", " ", whole).strip(" _-")
    words = [one for one in students if re.search(rf"(?<![^\W_]){re.escape(one.student_id)}(?![^\W_])", whole)]
    if words:
        longest = max(len(one.student_id) for one in words)
        return [one for one in words if len(one.student_id) == longest]
    return [one for one in students if one.name and re.match(rf"{re.escape(one.name)}(?![^\W_])", whole)]


def read_notebook(folder, relative):
    """The cells of a submitted notebook, opened without following any link, and checked by hand.

    Raises
    ------
    Unreadable
        With what is wrong with it.
    """
    text = _read(folder, relative)
    try:
        found = plain.strict_json(text.decode("utf-8-sig"), numbers=False)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Unreadable("the file is cut short or damaged" if text else "the file is empty") from None
    except ValueError as error:
        raise Unreadable(f"it is no notebook: {str(error)[:100]}") from None
    cells = found.get("cells") if isinstance(found, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("it is no notebook of format 4: it has no list of cells")
    if len(cells) > _CELLS:
        raise Unreadable(f"it has {len(cells)} cells; {_CELLS} are allowed")
    read = []
    for number, cell in enumerate(cells, start=1):
        source = cell.get("source", "") if isinstance(cell, dict) else None
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str) or cell.get("cell_type") not in ("code", "markdown", "raw"):
            raise Unreadable(f"cell {number} is no cell of a notebook")
        if len(source) > _CELL:
            raise Unreadable(f"cell {number} has {len(source)} characters; {_CELL} are allowed")
        about = cell.get("metadata")
        about = about.get("crmlab") if isinstance(about, dict) else None
        # A surrogate half cannot be written to the sandbox.
        source = source.encode("utf-8", "replace").decode("utf-8")
        read.append(
            {
                "kind": cell["cell_type"],
                "source": source,
                "id": str(cell.get("id", "")),
                "about": about if isinstance(about, dict) else {},
            }
        )
    about = found.get("metadata")
    about = about.get("crmlab") if isinstance(about, dict) else None
    return read, about if isinstance(about, dict) else {}


def _read(folder, relative):
    """The bytes of a regular file; no part of its path is a link."""
    parts = Path(relative).parts
    if not parts or any(part in ("..", "/") for part in parts):
        raise Unreadable("its path leads elsewhere")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        handle = os.open(parts[-1], flags, dir_fd=at)
    except OSError as error:
        raise Unreadable(
            "it is a link, which is not followed" if error.errno in (40, 20) else f"it cannot be opened: {error}"
        ) from None
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable("it is no ordinary file")
    with os.fdopen(handle, "rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise Unreadable(f"it has more than {_LARGEST // 10**6} MB")
    return text


_QUESTION = re.compile(r"\s*\*\*Question (\w+)\.")
_CHECK = re.compile(r"""^check\(\s*["'](\w+)["']""", re.MULTILINE)


def job(cells, pristine):
    """What the sandbox executes: the sheet's own first cell, then the student's cells, each with its question.

    A cell belongs to a question by its id or by the text above it, since some editors give every cell a new id. What `handout` wrote
    into its metadata decides only where that text is gone: a copied cell carries the metadata of the one that it was copied from.
    A cell that the student added belongs to the question above it. The student's check cells are left
    out, whatever they hold: what is checked is the value of `answer` after the last cell of its question.

    Parameters
    ----------
    cells : list of dict
        As `read_notebook` gives them.
    pristine : nbformat.NotebookNode
        The sheet as it was handed out.

    Returns
    -------
    tuple
        The job, and what there is to say of the check cells.
    """
    places, checks, question = {}, {}, None
    setup = ""
    for cell in pristine.cells:
        about = cell.metadata.get("crmlab", {})
        if "check" in about:
            checks[about["check"]] = cell.source.strip()
            continue
        if about.get("setup"):
            setup = cell.source
        if "question" in about:
            question = about["question"]
        places[cell.id] = question
    texts = [_QUESTION.match(cell["source"]) for cell in cells if cell["kind"] == "markdown"]
    headed = {text[1] for text in texts if text and text[1] in checks}
    found, seen, current, said = [], [], None, []
    for cell in cells:
        about = cell["about"]
        if "check" in about or cell["id"].startswith("check-"):
            number = about["check"] if "check" in about else cell["id"].removeprefix("check-")
            if isinstance(number, str) and number in checks:
                seen.append(number)
                if cell["source"].strip() != checks[number]:
                    said.append(f"The check of question {number} was changed.")
                current = current if number in headed else number
                continue
        text = _QUESTION.match(cell["source"]) if cell["kind"] == "markdown" else None
        if cell["id"] in places:
            current = places[cell["id"]]
        elif text and text[1] in checks:
            current = text[1]
        elif isinstance(about.get("question"), str) and about["question"] in set(checks) - headed:
            current = about["question"]
        if cell["kind"] != "code" or not cell["source"].strip():
            continue
        written = _CHECK.findall(cell["source"])
        # A check that lost its id.
        if len(written) == 1 and written[0] in checks and cell["source"].strip() == checks[written[0]]:
            seen.append(written[0])
            continue
        found.append({"source": cell["source"], "question": current})
    said += [f"The check of question {number} was deleted." for number in checks if number not in seen]
    said += [f"The check of question {number} stands twice." for number in checks if seen.count(number) > 1]
    order = [number for number in seen if seen.count(number) == 1]
    if order != sorted(order, key=list(checks).index):
        said.append("Cells stand in another order.")
    return {"setup": setup, "cells": found}, said
