"""The class: who is in it, and what stays with the lecturer (the secret, and what was handed out)."""

import csv
import hashlib
import io
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from crmlab.course import notebooks
from crmlab.course.environment import SetupError

__all__ = ["Student", "ClassFolder", "read_roster", "safe_name", "defused", "out_folder"]

# What a spreadsheet would take for a formula, a path for a folder, or a notebook for code.
_BAD = re.compile(r"""^[=+\-@.]|[\x00-\x1f\x7f/\\"']""")
_COLUMNS = ("student_id", "name", "email", "submission")


@dataclass(frozen=True)
class Student:
    """A row of the roster.

    Attributes
    ----------
    student_id : str
    name, email : str
    submission : str
        How the name of this student's file or folder begins in what the learning platform gives out, if the id is not in it.
    """

    student_id: str
    name: str = ""
    email: str = ""
    submission: str = ""


def read_roster(path):
    """The students of a CSV file with the columns student_id and, if you like, name, email and submission.

    Columns may be parted by commas, semicolons or tabs; capitals and spaces in their names do not matter. Other columns are
    named and left out.

    Raises
    ------
    SetupError
        If the file is not there, is not UTF-8, has no such column or no rows, a row has more cells than there are columns, or
        an id is missing, repeated or not usable.
    """
    path = Path(path)
    head, rows = _table(path, _text(path))
    columns = [re.sub(r"[\s-]+", "_", name.strip().casefold()) for name in head]
    for column in _COLUMNS:
        if columns.count(column) > 1:
            raise SetupError(f"the roster {path} has the column {column} twice.")
    if "student_id" not in columns or not rows:
        found = ", ".join(name.strip() for name in head if name.strip()) or "nothing"
        what = f"its first line has {found}" if "student_id" not in columns else "it has no other line"
        raise SetupError(
            f"the roster {path} needs a first line with the column student_id, and a row a student; {what}."
        )
    long = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells[len(head) :])]
    if long:
        raise SetupError(
            f"the roster {path} has more cells than columns in {_lines([line for line, _ in long])}, such as {', '.join(long[0][1])[:100]!r}. "
            'A cell that holds a comma of its own stands between quotation marks: "Able, Ann".'
        )
    students = []
    for _, cells in rows:
        row = {column: cell.strip() for column, cell in zip(columns, cells)}
        row["name"] = " ".join(row.get("name", "").split())  # which may be written on two lines
        students.append(Student(**{column: row.get(column, "") for column in _COLUMNS}))
    _usable(path, students, [line for line, _ in rows])
    unused = [name.strip() for name, column in zip(head, columns) if name.strip() and column not in _COLUMNS]
    if unused:
        print(f"Of the roster these columns are not used: {', '.join(unused)}.")
    return students


def _text(path):
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SetupError(f"the roster {path} cannot be read: {error.strerror}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SetupError(f"the roster {path} is not in UTF-8 (line {line}). In Excel: Save As, CSV UTF-8.") from None


def _table(path, text):
    """The cells of the first line, and those of each other with the number of its line; empty lines are left out."""
    first = text.split("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows, begins = [], 1
    try:
        for cells in reader:
            rows.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise SetupError(
            f"the roster {path} cannot be read from line {begins}: {error}. Is a quotation mark missing there?"
        ) from None
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    return (rows[0][1], rows[1:]) if rows else ([], [])


def _usable(path, students, lines):
    """Refuse ids that are missing, not usable or not told apart."""
    empty = [line for line, student in zip(lines, students) if not student.student_id]
    if empty:
        raise SetupError(f"the roster {path} has no student_id in {_lines(empty)}.")
    bad = [(line, student.student_id) for line, student in zip(lines, students) if _BAD.search(student.student_id)]
    if bad:
        raise SetupError(
            f"the roster {path} has a student_id that begins with = + - @ or a full stop, or has a quotation mark, a slash or a control character, "
            f"in {_lines([line for line, _ in bad])}: {', '.join(repr(one) for _, one in bad[:3])}."
        )
    seen = {}
    for line, student in zip(lines, students):
        # Files of the two would not be told apart everywhere.
        earlier = seen.setdefault(safe_name(student.student_id).casefold(), (line, student.student_id))
        if earlier[0] != line:
            what = (
                f"the student_id {student.student_id} twice"
                if earlier[1] == student.student_id
                else f"two ids that differ only in capitals, {earlier[1]} and {student.student_id}"
            )
            raise SetupError(f"the roster {path} has {what}, in lines {earlier[0]} and {line}.")


def _lines(numbers):
    named = ", ".join(map(str, numbers[:5])) + (" and others" if len(numbers) > 5 else "")
    return f"line {named}" if len(numbers) == 1 else f"lines {named}"


def safe_name(student_id):
    """A file name for an id: itself where that is harmless, else a readable part and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", student_id):
        return student_id
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", student_id)[:30].strip("-")
    return f"{readable}-{hashlib.sha256(student_id.encode()).hexdigest()[:8]}".lstrip("-")


def defused(value):
    """A value for a CSV file that a spreadsheet will not take for a formula."""
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", str(value))
    return f"'{text}" if re.match(r"\s*[=+\-@|%]", text) and not re.fullmatch(r"-?[\d.]*", text) else text


def out_folder(path):
    """The folder to write to, which may not exist yet.

    Raises
    ------
    SetupError
        If it, or what it should lie in, is a file.
    """
    path = Path(path)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise SetupError(f"{place} is a file; --out takes a folder.")
    return path


class ClassFolder:
    """What stays with the lecturer: beside ``roster.csv`` the folder ``roster.class``.

    It holds the class secret, which seeds the graded data, and each student's data as they were handed out. So marks do
    not move when the kit that made the data does.

    Parameters
    ----------
    roster : str or pathlib.Path
    create : bool
        Whether to make the folder with a new secret where there is none.
    """

    def __init__(self, roster, create=False):
        self.path = Path(roster).with_suffix(".class")
        if create and not self.path.exists():
            self.path.mkdir(mode=0o700)
        file = self.path / "secret"
        if create and not file.exists():
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as out:
                out.write(secrets.token_hex(32) + "\n")
        if not file.exists():
            raise SetupError(
                f"{self.path} is not there: it is made by `handout` and holds the class secret. Without it nobody's data are known."
            )
        self.secret = bytes.fromhex(file.read_text().strip())

    def stems(self):
        """The exercises that were handed out."""
        return sorted(file.parent.name for file in self.path.glob("*/handout.json"))

    def record(self, stem):
        """What is known of a handout: the folder of the exercise's source and key, and its fingerprint."""
        return json.loads((self.path / stem / "handout.json").read_text(encoding="utf-8"))

    def note(self, stem, **record):
        """Write down a handout."""
        notebooks.write_text(self.path / stem / "handout.json", json.dumps(record, indent=1))

    def data_file(self, stem, student_id):
        """Where a student's data are kept."""
        return self.path / stem / "data" / f"{safe_name(student_id)}.json"

    def data_text(self, stem, student_id, key):
        """A student's data as JSON: as handed out, or made now from the secret and kept."""
        from crmlab.course import plain

        file = self.data_file(stem, student_id)
        if not file.exists():
            notebooks.write_text(file, plain.dumps(key.data_for(student_id, secret=self.secret)))
            file.chmod(0o600)
        return file.read_text(encoding="utf-8")
