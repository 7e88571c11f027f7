"""The gradebook: a CSV file for people, and one that a learning platform imports."""

import csv
import io
from pathlib import Path

from crmlab.course import notebooks
from crmlab.grading.roster import defused

__all__ = ["write", "total"]

STATUS = {
    "graded": "graded",
    "missing": "nothing handed in",
    "unreadable": "not readable",
    "failed": "to be looked at by hand",
}


def total(result):
    """The points of a student."""
    return round(sum(mark["points"] for mark in result["marks"]), 4)


def write(out, stem, results, numbers, key, settings):
    """Write ``gradebook.csv`` and ``moodle.csv``.

    The first has a row a student: id, name, e-mail, status, late, when handed in, the file that counts, the points of each
    question, their sum and what they are out of, and the verdicts. The second has what Moodle's *Grades, Import, CSV file* maps:
    the id number, the e-mail, the grade and a feedback. In both, text that a spreadsheet would take for a formula begins with an
    apostrophe.
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
        [one["student_id"], one["email"], one["name"], f"{total(one):g}", _in_words(one)]
        for one in results
        # No grade is imported where nothing was marked: the platform keeps what it has.
        if one["status"] in ("graded", "unreadable")
    ]
    _write(
        Path(out) / "moodle.csv", ["ID number", "Email address", "Full name", stem, f"{stem} feedback"], platform, ""
    )


def _in_words(result):
    if result["status"] == "unreadable":
        return "Your notebook could not be read. Please hand it in again."
    named = ", ".join(f"question {m['question']}: {m['verdict']}" for m in result["marks"] if m["verdict"] != "right")
    return f"Not fully right: {named}." if named else "All right."


def _write(path, head, rows, mark):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(head)
    table.writerows([[defused(value) for value in row] for row in rows])
    notebooks.write_text(path, mark + text.getvalue().encode("utf-8", "replace").decode("utf-8"))
