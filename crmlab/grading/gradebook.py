"""The gradebook: a CSV file for people, and one that a learning platform imports."""

import csv
import io
from pathlib import Path

from crmlab.course import notebooks
from crmlab.grading.roster import defused

__all__ = ["write", "total", "STATUS", "SIGNS", "IN_VAIN"]

STATUS = {
    "graded": "graded",
    "missing": "nothing handed in",
    "no notebook": "no notebook in it",
    "unreadable": "not readable",
    "another": "of another exercise",
    "failed": "to be looked at by hand",
}

# What was handed in and cannot be marked: what the student is told to do.
IN_VAIN = {
    "no notebook": "Hand in the notebook itself, the file that ends with .ipynb.",
    "unreadable": "Open your copy in JupyterLab, save it, and hand it in again.",
    "another": "Hand in the notebook of this exercise.",
}

# A verdict in a word and a colour.
SIGNS = {
    "right": ("Right", "#00664b"),
    "near": ("Nearly", "#7a5c00"),
    "part": ("Partly", "#7a5c00"),
    "mistake": ("A known mistake", "#a33c00"),
    "shape": ("Not the form asked for", "#a33c00"),
    "wrong": ("Not right", "#a33c00"),
    "error": ("Your code stopped", "#a33c00"),
    "blank": ("No answer", "#555555"),
}


def total(result):
    """The points of a student."""
    return round(sum(mark["points"] for mark in result["marks"]), 4)


def write(out, stem, results, numbers, key, settings):
    """Write ``gradebook.csv`` and ``moodle.csv``.

    The first has a row a student: id, name, e-mail, status, late, when handed in, the file that counts, the points of each
    question, their sum and what they are out of, and the verdicts. The second has what Moodle's *Grades, Import, CSV file* maps:
    the id number, the e-mail, the grade and a feedback; a hyphen is Moodle's word for no grade. In both, text that a spreadsheet
    would take for a formula begins with an apostrophe.
    """
    out_of = sum(settings.points.get(number, 1.0) for number in numbers)
    head = ["student_id", "name", "email", "status", "late", "handed_in", "notebooks", "file"]
    head += [f"q{number}" for number in numbers] + ["points", "out_of", "percent"]
    head += [f"verdict_{number}" for number in numbers] + ["reported"]
    rows = []
    for one in results:
        points = {mark["question"]: mark for mark in one["marks"]}
        sum_of = total(one)
        rows.append(
            [one["student_id"], one["name"], one["email"], STATUS[one["status"]], "yes" if one["late"] else "no"]
            + [one["handed_in"], one["attempts"], one["file"] or ""]
            + [f"{points[n]['points']:g}" if n in points else "" for n in numbers]
            + [f"{sum_of:g}", f"{out_of:g}", f"{100 * sum_of / out_of if out_of else 0:.1f}"]
            + [points[n]["verdict"] if n in points else "" for n in numbers]
            + [" | ".join(one["reports"])]
        )
    # A mark of Excel's, so that it reads the names as they are.
    _write(Path(out) / "gradebook.csv", head, rows, "\ufeff")
    platform = [
        [
            one["student_id"],
            one["email"],
            one["name"],
            f"{total(one):g}" if one["status"] == "graded" else "-",
            _in_words(one),
        ]
        for one in results
        # Of the others nothing is imported: the platform keeps what it has.
        if one["status"] == "graded" or one["status"] in IN_VAIN
    ]
    _write(
        Path(out) / "moodle.csv", ["ID number", "Email address", "Full name", stem, f"{stem} feedback"], platform, ""
    )


def _in_words(result):
    late = " Handed in late." if result["late"] else ""
    if result["status"] in IN_VAIN:
        return f"Not marked: {STATUS[result['status']]}. {IN_VAIN[result['status']]}{late}"
    named = "; ".join(
        f"question {mark['question']}: {SIGNS[mark['verdict']][0].lower()}"
        for mark in result["marks"]
        if mark["verdict"] != "right"
    )
    return (f"Not fully right. {named[0].upper()}{named[1:]}." if named else "All right.") + late


def _write(path, head, rows, mark):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(head)
    table.writerows([[defused(value) for value in row] for row in rows])
    notebooks.write_text(path, mark + text.getvalue().encode("utf-8", "replace").decode("utf-8"))
