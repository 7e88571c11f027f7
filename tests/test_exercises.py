"""Student notebooks: a function of the source, with no solution in them; a broken source or a leak is refused."""

import copy

import nbformat
import pytest
from conftest import ROOT

from crmlab.course import exercises, notebooks
from crmlab.course.notebooks import LessonError

SOURCES = sorted((ROOT / "exercises" / "src").glob("*.md"))


def notebook_of(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, id=f"c{i}") for i, cell in enumerate(cells)])


def test_a_region_becomes_a_line_that_fails_loudly():
    source = 'x = 1\nif x:\n    # BEGIN SOLUTION\n    answer = x + 1\n    # END SOLUTION\ncheck("1", answer)'
    (cell,) = exercises.student_version(notebook_of(source), "demo").cells
    assert "answer = x + 1" not in cell.source and cell.source.startswith(
        "x = 1\nif x:\n    raise NotImplementedError("
    )
    with pytest.raises(NotImplementedError, match="Question 1: compute"):
        exec(cell.source)
    assert "raises-exception" in cell.metadata.tags


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION\n# END SOLUTION", "inside another"),
        ("# BEGIN SOLUTION\nanswer = 1", "without its END"),
        ("answer = 1\n# END SOLUTION", "without its BEGIN"),
        ('answer = 1\ncheck("2", answer)', "checks question 2 but marks no solution"),
    ],
)
def test_broken_marks_are_refused_with_their_place(source, says):
    with pytest.raises(LessonError, match=f"demo, cell 2.*{says}"):
        exercises.student_version(notebook_of("x = 1", source), "demo")


def test_the_marks_of_nbgrader_have_more_hashes():
    source = "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION"
    (cell,) = exercises.student_version(notebook_of(source), "demo").cells
    assert "42" not in cell.source


def test_cells_tagged_solution_and_outputs_are_left_out():
    made = notebook_of("# BEGIN SOLUTION\nanswer = 1\n# END SOLUTION\nanswer", "print('why')")
    made.cells[1].metadata["tags"] = ["solution"]
    made.cells[0].outputs = [nbformat.v4.new_output("stream", text="1")]
    made.cells[0].execution_count = 3
    (cell,) = exercises.student_version(made, "demo").cells
    assert cell.outputs == [] and cell.execution_count is None


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: path.stem)
def exercise(request):
    stem = request.param.stem
    executed = nbformat.read(ROOT / "exercises" / "solutions" / f"{stem}.ipynb", as_version=4)
    return stem, executed, exercises.student_version(notebooks.read_source(request.param), stem)


def test_the_exercise_is_proved(exercise):
    exercises.prove(*exercise)


def test_the_stored_student_notebook_is_what_the_source_gives(exercise):
    stem, _, student = exercise
    assert (ROOT / "exercises" / f"{stem}.ipynb").read_text(encoding="utf-8") == notebooks.dumps(student)


def test_a_leak_is_found(exercise):
    stem, executed, student = exercise
    line = exercises.solution_lines(executed)[0]
    leaky = copy.deepcopy(student)
    leaky.cells.append(nbformat.v4.new_markdown_cell(f"Like this: `{line}`", id="leak"))
    with pytest.raises(LessonError, match="stands in the student's notebook"):
        exercises.prove(stem, executed, leaky)


def test_a_solution_that_the_key_rejects_is_found(exercise):
    stem, executed, student = exercise
    wrong = copy.deepcopy(executed)
    data = next(output["data"] for cell in wrong.cells for output in cell.get("outputs", []) if exercises_mime(output))
    data["application/vnd.crmlab.feedback+json"]["verdict"] = "wrong"
    with pytest.raises(LessonError, match="does not accept the solution"):
        exercises.prove(stem, wrong, student)


def exercises_mime(output):
    return "application/vnd.crmlab.feedback+json" in output.get("data", {})
