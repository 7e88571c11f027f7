"""The class: who is in it, and what stays with the lecturer (the secret, and what was handed out)."""

import csv
import hashlib
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

    Raises
    ------
    SetupError
        If the file is not there, has no such column or no rows, or an id is missing, repeated or not usable.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"the roster {path} cannot be read: {error}. It is a CSV file in UTF-8.") from None
    dialect = ";" if text.split("\n")[0].count(";") > text.split("\n")[0].count(",") else ","
    rows = list(csv.DictReader(text.splitlines(), delimiter=dialect))
    if not rows or "student_id" not in rows[0]:
        raise SetupError(f"the roster {path} needs a first line with the column student_id, and a row a student.")
    students = [
        Student(**{column: (row.get(column) or "").strip() for column in _COLUMNS if column in row}) for row in rows
    ]
    ids = [student.student_id for student in students]
    for problem, bad in (
        ("without a student_id", [str(n) for n, one in enumerate(ids, start=2) if not one]),
        ("a student_id twice", sorted({one for one in ids if one and ids.count(one) > 1})),
        ("a student_id that begins with = + - @ or a full stop, or has a quotation mark, a slash or a control character", [one for one in ids if _BAD.search(one)]),
    ):  # fmt: skip
        if bad:
            raise SetupError(f"the roster {path} has {len(bad)} row(s) with {problem}: {', '.join(bad[:3])}.")
    return students


def safe_name(student_id):
    """A file name for an id: itself where that is harmless, else a readable part and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", student_id):
        return student_id
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", student_id)[:30].strip("-")
    return f"{readable}-{hashlib.sha256(student_id.encode()).hexdigest()[:8]}".lstrip("-")


def defused(value):
    """A value for a CSV file that a spreadsheet will not take for a formula."""
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", str(value))
    return f"'{text}" if re.match(r"\s*[=+\-@|%]", text) and not re.fullmatch(r"-?[\d.]+", text) else text


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
