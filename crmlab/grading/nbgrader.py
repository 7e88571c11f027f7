"""The same exercise as an assignment of nbgrader, which marks it by the same key. nbgrader itself is not needed to write it.

nbgrader runs submissions with the rights of whoever grades, and the key beside them: its tests can be read and its marks
forged by a submission that sets out to. `python -m crmlab grade` is for classes; this is for those who have nbgrader already.
"""

import json
from pathlib import Path

import nbformat

from crmlab.course import notebooks, plain
from crmlab.course.check import load_key
from crmlab.course.sheet import Sheet
from crmlab.grading import marks, returned

__all__ = ["write", "points"]

_CONFIG = """\
# Written by `python -m crmlab handout --nbgrader`.
c = get_config()
c.CourseDirectory.course_id = "crmlab"
c.ClearSolutions.code_stub = {{"python": "raise NotImplementedError(\\"compute `answer` in place of this line\\")"}}
c.ExecutePreprocessor.timeout = 60
c.CourseDirectory.db_assignments = [{{"name": {stem!r}}}]
c.CourseDirectory.db_students = {students}
"""

_TEST = """
### BEGIN HIDDEN TESTS
from crmlab.grading import nbgrader as _crmlab

_crmlab.points({stem!r}, {number!r}, answer, exercise{more})
### END HIDDEN TESTS"""


def write(out, stem, solved, plainly, common, students, exercises=None):
    """Write a course directory of nbgrader, with the assignment's source: solutions, tests and everybody's data.

    Parameters
    ----------
    out : str or pathlib.Path
    stem : str
    solved, plainly : nbformat.NotebookNode
        The exercise with solutions, and the common sheet.
    common : dict
        The files of the common sheet.
    students : list of Student
    exercises : str, optional
        The folder of your own exercises.

    Returns
    -------
    pathlib.Path
    """
    out = Path(out)
    more = f", {str(exercises)!r}" if exercises else ""
    answers = {}
    for cell in solved.cells:
        if "BEGIN SOLUTION" in cell.source:
            code, _, check = cell.source.rpartition("\ncheck(")
            answers[check.split(",")[0].strip("\"'")] = code
    made = nbformat.from_dict(plainly)
    for cell in made.cells:
        about = cell.metadata.get("crmlab", {})
        number = about.get("check") or about.get("question")
        if cell.id.startswith("check-"):
            cell.source += _TEST.format(stem=stem, number=number, more=more)
            cell.metadata["nbgrader"] = _about(cell.id, grade=True, points=1)
        elif cell.id.startswith("answer-"):
            cell.source = answers[number]
            cell.metadata["nbgrader"] = _about(cell.id, solution=True)
            cell.metadata.pop("tags", None)
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for name, content in common.items():
        content = notebooks.dumps(made) if name.endswith(".ipynb") else content
        notebooks.write_bytes(
            out / "source" / stem / name, content.encode("utf-8") if isinstance(content, str) else content
        )
    listed = json.dumps([{"id": one.student_id, "email": one.email} for one in students], ensure_ascii=False)
    notebooks.write_text(out / "nbgrader_config.py", _CONFIG.format(stem=stem, students=listed))
    return out


def _about(name, grade=False, solution=False, **more):
    return {
        "grade": grade, "grade_id": name, "locked": grade, "schema_version": 3, "solution": solution, "task": False, **more,
    }  # fmt: skip


def points(stem, number, answer, sheet, exercises=None):
    """The points of an answer, between 0 and 1, as a hidden test of nbgrader returns them.

    Raises
    ------
    ValueError
        If nbgrader grades a student who wrote another's id.
    """
    here = Path.cwd()
    if here.parent.parent.name == "autograded" and here.parent.name != sheet.student:
        raise ValueError(f"the notebook of {here.parent.name!r} is filled in for {sheet.student!r}")
    key = load_key(stem, Path(exercises) / "keys" if exercises else None)
    # The data anew, as nbgrader copies them beside the notebook; those in the notebook may have been changed.
    data = Sheet(sheet.student).data
    came = returned.Returned()
    if answer is not None and answer is not Ellipsis:
        came.answers[number] = plain.loads(plain.dumps(answer))
    return marks.mark(number, key.questions[number], data, came).points
