"""The export for nbgrader, marked by a real nbgrader: the same marks as ours."""

import csv
import shutil

import classroom
import nbformat
import pytest

from crmlab.grading.handout import handout

STEM = "05_retention"
WRONG = {
    "1": "answer = 100 * retention.repeat_share(data['log'], at_least=3).set_index('period').loc[2025, 'share']",  # nearly: 0.75
    "3": "answer = retention.fit_geometric(data['alive']).survival(10)",  # a known mistake: 0.5
    "4": "answer = 'prove'",  # a word that could be guessed: 0
    "6": "answer = undefined",  # stops: 0
}


@pytest.fixture(scope="module")
def course(nbgrader, tmp_path_factory):
    work = tmp_path_factory.mktemp("nbgrader")
    (work / "roster.csv").write_text("student_id\nann\nbob\n", encoding="utf-8")
    handout(STEM, work / "roster.csv", work / "out", nbgrader=True)
    folder = work / "out" / STEM / "nbgrader"
    nbgrader(folder, "generate_assignment", STEM)
    solutions = classroom.solutions(STEM)
    for student, answers in (("ann", solutions), ("bob", solutions | WRONG)):
        there = folder / "submitted" / student / STEM
        shutil.copytree(folder / "release" / STEM, there)
        notebook = nbformat.read(there / f"{STEM}.ipynb", as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace('Sheet(student="")', f'Sheet(student="{student}")')
            if cell.id.startswith("answer-"):
                assert "raise NotImplementedError" in cell.source
                cell.source = answers[cell.id.removeprefix("answer-")]
        nbformat.write(notebook, there / f"{STEM}.ipynb")
    return folder


def test_nothing_that_is_released_tells_an_answer(course):
    text = (course / "release" / STEM / f"{STEM}.ipynb").read_text(encoding="utf-8")
    for line in "\n".join(classroom.solutions(STEM).values()).splitlines():
        assert len(line) < 12 or line not in text, line
    assert "HIDDEN" not in text and "crmlab.grading" not in text


def test_a_real_nbgrader_gives_the_same_marks(course, nbgrader):
    nbgrader(course, "autograde", STEM)
    nbgrader(course, "export")
    with open(course / "grades.csv", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert float(rows["ann"]["raw_score"]) == float(rows["ann"]["max_score"]) == 7
    assert float(rows["bob"]["raw_score"]) == 3 + 0.75 + 0.5
