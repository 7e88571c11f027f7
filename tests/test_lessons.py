"""Every stored lesson keeps the rules, its figures hold what figures hold, and a lesson that breaks a rule is found."""

import copy
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from conftest import ROOT

from crmlab.course import citations, environment, notebooks, rules
from crmlab.course.notebooks import LessonError

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "exercises" / "solutions").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def test_every_source_is_stored_and_the_other_way_round():
    assert {path.stem for path in LESSONS} == {path.stem for path in (ROOT / "notebooks" / "src").glob("*.md")} != set()
    assert (
        {path.stem for path in SOLUTIONS} == {path.stem for path in (ROOT / "exercises" / "src").glob("*.md")} != set()
    )


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_keeps_the_rules(path):
    rules.check_lesson(read(path), path.stem)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_keep_the_rules(path):
    rules.check_solutions(read(path), path.stem)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_is_stored_has_the_text_of_the_source(path):
    source = notebooks.read_source(ROOT / "notebooks" / "src" / f"{path.stem}.md")
    assert [cell.source for cell in read(path).cells] == [cell.source for cell in source.cells]
    assert [cell.id for cell in read(path).cells] == [cell.id for cell in source.cells]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_figure_holds_data_and_names_its_axes(path, monkeypatch):
    """nbval never compares pictures, so the lesson is run here and its figures are looked into."""
    monkeypatch.chdir(ROOT / "notebooks")
    scope, drawn = {}, 0
    for cell in read(path).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{path.stem}, {cell.id}", "exec"), scope)
            if not cell.metadata.get("mystnb"):
                plt.close("all")  # drawn for another purpose than to be shown
                continue
            drawn += 1
            (number,) = plt.get_fignums()
            figure = plt.figure(number)
            for ax in figure.axes:
                if ax.get_label() == "<colorbar>":
                    assert ax.get_ylabel()
                    continue
                if not ax.axison:  # a diagram: its boxes say what they are
                    assert ax.texts and ax.patches, cell.id
                    continue
                assert ax.get_xlabel() and ax.get_ylabel(), cell.id
                values = [np.asarray(line.get_ydata(orig=False), dtype=float) for line in ax.lines]
                values += [
                    np.ma.filled(c.get_array().astype(float), np.nan)
                    for c in ax.collections
                    if c.get_array() is not None
                ]
                values += [np.array([patch.get_height()]) for patch in ax.patches if hasattr(patch, "get_height")]
                assert any(np.isfinite(v).any() for v in values), cell.id
            plt.close("all")
    assert drawn == notebooks.figures(read(path)) > 0


# --- each rule, broken on a copy --------------------------------------------------------------------------------------


def first(notebook, test):
    return next(cell for cell in notebook.cells if test(cell))


def no_alt(notebook):
    first(notebook, lambda c: "mystnb" in c.metadata).metadata.pop("mystnb")


def short_alt(notebook):
    first(notebook, lambda c: "mystnb" in c.metadata).metadata.mystnb.image.alt = "A figure."


def alt_without_figure(notebook):
    first(notebook, lambda c: "mystnb" in c.metadata).outputs.clear()


def not_run(notebook):
    first(notebook, lambda c: c.cell_type == "code").execution_count = None


def warned(notebook):
    first(notebook, lambda c: c.cell_type == "code").outputs.append(
        nbformat.v4.new_output("stream", name="stderr", text="FutureWarning: x")
    )


def failed(notebook):
    first(notebook, lambda c: c.cell_type == "code").outputs.append(
        nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    )


def path_of_a_machine(notebook):
    notebook.cells[1].source += " See /home/someone/data.csv."


def no_slide_type(notebook):
    notebook.cells[2].metadata.pop("slideshow")


def unknown_tag(notebook):
    notebook.cells[3].metadata["tags"] = ["remove_cell"]


def no_parameters(notebook):
    first(notebook, lambda c: "parameters" in c.metadata.get("tags", [])).metadata["tags"] = []


def no_question(notebook):
    notebook.cells[0].source = "# A title"


def no_key_ideas(notebook):
    first(notebook, lambda c: c.source.startswith("## Key ideas")).source = "## Summary"


def other_version(notebook):
    notebook.cells[-1].outputs[-1].text = "crmlab 0.0.0\n"


def no_assert(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("assert ", "# ")


def wrong_minutes(notebook):
    for cell in notebook.cells:
        cell.source = re.sub(r"About \d+ minutes to read", "About 3 minutes to read", cell.source)


def dead_link(notebook):
    notebook.cells[1].source += " [here](../datasets/none.csv)"


def skipped_heading(notebook):
    notebook.cells[1].source += "\n\n#### Too deep"


def long_code(notebook):
    cell = first(notebook, lambda c: c.cell_type == "code")
    cell.source += "\n" + "x = 1\n" * 20


def silent_generated(notebook):
    first(notebook, lambda c: c.cell_type == "code").source += "\ntable = simulate.shop(10)"


def note_without_minutes(notebook):
    first(notebook, lambda c: c.metadata.slideshow.slide_type == "notes").source = "Say hello."


def code_after_code(notebook):
    for cell in notebook.cells[-6:]:
        cell.update(cell_type="code", outputs=[], execution_count=None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_alt, "whose alt text .* does not say"),
        (short_alt, "'A figure.'"),
        (alt_without_figure, "has alt text and draws nothing"),
        (not_run, "not run one after the other"),
        (warned, "stores a warning: FutureWarning"),
        (failed, "stores an error: ValueError"),
        (path_of_a_machine, "path of one machine: /home/someone/data.csv"),
        (no_slide_type, "cell 3 has the slide type None"),
        (unknown_tag, "a tag that nothing knows: remove_cell"),
        (no_parameters, "0 cells have the tag 'parameters'"),
        (no_question, "does not open with a title"),
        (no_key_ideas, "last heading is not 'Key ideas'"),
        (other_version, "does not print the version"),
        (no_assert, "asserts no key number"),
        (wrong_minutes, "minutes to read'"),
        (dead_link, "links to ../datasets/none.csv"),
        (skipped_heading, "level 4 after one of level 1"),
        (long_code, "lines of up to"),
        (silent_generated, "uses generated data and does not say so"),
        (note_without_minutes, "speaker's note"),
        (code_after_code, "without a word between"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_rule_is_found(change, says):
    notebook = copy.deepcopy(read(ROOT / "notebooks" / "05_retention.ipynb"))
    change(notebook)
    with pytest.raises(LessonError, match=says):
        rules.check_lesson(notebook, "05_retention")


# --- citations --------------------------------------------------------------------------------------------------------

BIB = """
@article{a_2001, author = {Doe, Jane and van Dyk, Piet}, title = {On staying}, journal = {Journal of Leaving}, volume = {3}, number = {1}, pages = {1--9}, year = {2001}}
@book{b_1999, author = {Roe, Ann}, title = {Leaving}, publisher = {Press}, year = {1999}}
"""


def test_citations_are_spelled_out(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "references.bib").write_text(BIB)
    monkeypatch.setattr(environment, "root", lambda: tmp_path)
    cells = ["As {cite:t}`a_2001` say {cite:p}`b_1999,a_2001`.", "**References**\n\n```{bibliography}\n```\n"]
    text, listed = citations.resolve(cells)
    assert text == "As Doe and van Dyk (2001) say (Roe, 1999; Doe and van Dyk, 2001)."
    assert re.search(r"^- Jane Doe and Piet van Dyk.*On staying.*3\\?\(1\\?\):1.9.*2001", listed, re.MULTILINE), listed
    assert listed.index("Jane Doe") < listed.index("Ann Roe") and "{bib" not in listed
    assert citations.resolve_list(cells)[0] == cells[0]
    with pytest.raises(KeyError, match="no work 'c_2000'"):
        citations.resolve(["{cite:t}`c_2000`"])
