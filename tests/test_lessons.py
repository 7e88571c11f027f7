"""Rules that every lesson keeps, on the stored notebooks."""

import re

import nbformat
import pytest
from conftest import ROOT

from crmlab import __version__
from crmlab.course import notebooks

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "exercises" / "solutions").glob("*.ipynb"))


@pytest.fixture(params=LESSONS + SOLUTIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_every_source_is_stored_and_the_other_way_round():
    stored = {path.stem for path in LESSONS}
    assert stored == {path.stem for path in (ROOT / "notebooks" / "src").glob("*.md")} and stored
    assert {path.stem for path in SOLUTIONS} == {path.stem for path in (ROOT / "exercises" / "src").glob("*.md")}


def test_every_code_cell_ran_in_order(notebook):
    # nbval passes a notebook without outputs, since it finds nothing to compare.
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert any(cell.outputs for cell in code_cells(notebook))


def test_no_warning_no_error_no_path_is_stored(notebook):
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert not re.search(r"/(home|root|tmp|Users|work)/|[A-Z]:\\\\", nbformat.writes(notebook))


def test_every_figure_has_alt_text_and_every_alt_text_a_figure(notebook):
    for cell in code_cells(notebook):
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert pictures == bool(alt), cell.source
        assert not alt or len(alt.split()) >= 12, f"too short to say what the figure shows: {alt}"


def test_a_lesson_opens_and_closes_as_lessons_do(lesson):
    text = text_of(lesson)
    assert lesson.cells[0].source.startswith("# ") and "**The question.**" in lesson.cells[0].source
    assert "you can" in text.split("## ")[0] and "minutes to read" in text
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[-1] == "Key ideas"
    closing = text.split("## Key ideas")[1]
    assert "**Exercise.**" in closing and "**References**" in closing
    assert outputs(lesson)[-1].text == f"crmlab {__version__}\n"


def test_data_are_on_screen_in_the_first_cell_that_computes(lesson):
    first = next(cell for cell in code_cells(lesson) if "parameters" not in cell.metadata.get("tags", []))
    assert any("text/html" in output.get("data", {}) for output in first.outputs)


def test_the_stated_minutes_are_those_of_the_text(lesson):
    stated = int(re.search(r"About (\d+) minutes to read", text_of(lesson))[1])
    assert stated == pytest.approx(notebooks.minutes(lesson), rel=0.25)


def test_ideas_are_weighed_and_key_numbers_asserted(lesson):
    text = text_of(lesson)
    assert "misleads" in text and ("What it means" in text or "What to do with it" in text)
    assert any("assert " in cell.source for cell in code_cells(lesson))


def test_code_is_short(lesson):
    for cell in code_cells(lesson):
        lines = cell.source.splitlines()
        assert len(lines) <= 15 and max(map(len, lines)) <= 84, cell.source


def test_text_stands_between_code(lesson):
    kinds = "".join(cell.cell_type[0] for cell in lesson.cells)
    assert "cccccc" not in kinds


def test_tags_are_those_that_a_rerun_knows(lesson):
    tags = [set(cell.metadata.get("tags", [])) for cell in lesson.cells]
    assert sum("parameters" in cell for cell in tags) == 1
    assert set().union(*tags) <= {"parameters", "own-data", "remove-cell"}


def test_generated_data_are_called_generated(lesson):
    for cell in code_cells(lesson):
        if "simulate." in cell.source or "company_case" in cell.source:
            around = text_of(lesson)
            assert "generated" in around.lower() and ("generated" in cell.source.lower() or "card(" in cell.source), (
                cell.source
            )
