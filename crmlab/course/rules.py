"""The rules that every lesson keeps; a build that breaks one fails and says where."""

import re

import nbformat

from crmlab import __version__
from crmlab.course import environment, notebooks
from crmlab.course.notebooks import LessonError

SLIDE_TYPES = {"slide", "subslide", "fragment", "-", "skip", "notes"}
TAGS = {"parameters", "own-data", "remove-cell"}
# What a code cell may be in a lesson; longer code belongs in a module.
CODE_LINES, CODE_WIDTH = 15, 84
DECK_MINUTES = (20, 60)


def check_lesson(notebook, name):
    """Raise a `LessonError` that lists every rule an executed lesson breaks."""
    _raise(name, [*_any_notebook(notebook), *_lesson(notebook)])


def check_solutions(notebook, name):
    """The same for an executed exercise, of which less is asked."""
    _raise(name, list(_any_notebook(notebook)))


def _raise(name, broken):
    if broken:
        raise LessonError(
            f"{name} breaks {len(broken)} rule{'s' * (len(broken) > 1)}:\n"
            + "\n".join(f"  - {line}" for line in broken)
        )


def _any_notebook(notebook):
    code = [(number, cell) for number, cell in enumerate(notebook.cells, start=1) if cell.cell_type == "code"]
    # nbval passes a notebook without outputs, since it finds nothing to compare.
    if [cell.execution_count for _, cell in code] != list(range(1, len(code) + 1)):
        yield "its code cells were not run one after the other from the top"
    if not any(cell.outputs for _, cell in code):
        yield "it has no outputs"
    for number, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {number} stores an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell {number} stores a warning: {output.text.strip().splitlines()[0]}"
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if pictures > 1:
            yield f"cell {number} draws {pictures} figures: one a cell, so that each has its alt text"
        if pictures and len(alt.split()) < 12:
            yield f"cell {number} draws a figure whose alt text ({alt!r}) does not say what it shows"
        if alt and not pictures:
            yield f"cell {number} has alt text and draws nothing"
    if path := re.search(r"/(?:home|root|tmp|Users|work)/[^\s\"\\]*|\b[A-Z]:\\\\[^\s\"]*", nbformat.writes(notebook)):
        yield f"it holds a path of one machine: {path[0]}"
    yield from _headings(notebook)
    yield from _links(notebook)


def _lesson(notebook):
    cells = list(enumerate(notebook.cells, start=1))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    # The opening.
    if not (notebook.cells[0].source.startswith("# ") and "**The question.**" in notebook.cells[0].source):
        yield "cell 1 does not open with a title and **The question.**"
    if "you can**" not in text.split("\n## ")[0]:
        yield "it does not say before the first heading what the reader will be able to do"
    stated = re.search(r"About (\d+) minutes to read", text)
    computed = notebooks.minutes(notebook)
    if not stated or abs(int(stated[1]) - computed) > 0.25 * computed:
        yield f"it should say 'About {computed} minutes to read' (give or take a quarter)"
    first = next(cell for cell in code if "parameters" not in cell.metadata.get("tags", []))
    if not any("text/html" in output.get("data", {}) for output in first.outputs):
        yield "its first computing cell shows no data"

    # The closing.
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if not headings or headings[-1] != "Key ideas":
        yield "its last heading is not 'Key ideas'"
    closing = text.rpartition("## Key ideas")[2]
    for part in ("**Exercise.**", "**References**"):
        if part not in closing:
            yield f"it does not close with {part}"
    if not code[-1].outputs or code[-1].outputs[-1].get("text") != f"crmlab {__version__}\n":
        yield "its last cell does not print the version"

    # The argument.
    if "misleads" not in text:
        yield "it does not say how its numbers mislead"
    if not re.search(r"\*\*What (it means|to do)", text):
        yield "it does not say what a number means for a decision"
    if not any(re.search(r"^\s*assert ", cell.source, re.MULTILINE) for cell in code):
        yield "it asserts no key number"
    if "ccccc" in "".join(cell.cell_type[0] for cell in notebook.cells):
        yield "five code cells follow each other without a word between"

    parameters = 0
    minutes = 0
    for number, cell in cells:
        tags = set(cell.metadata.get("tags", []))
        parameters += "parameters" in tags
        if tags - TAGS:
            yield f"cell {number} has a tag that nothing knows: {', '.join(sorted(tags - TAGS))}"
        slide = cell.metadata.get("slideshow", {}).get("slide_type")
        if slide not in SLIDE_TYPES:
            yield f"cell {number} has the slide type {slide!r}, not one of {', '.join(sorted(SLIDE_TYPES))}"
        if slide == "notes":
            note = re.match(r"Minutes: (\d+)\. ", cell.source)
            minutes += int(note[1]) if note else 0
            if not note or "remove-cell" not in tags:
                yield f"cell {number} is a speaker's note: it opens with 'Minutes: N. ' and has the tag remove-cell"
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            if len(lines) > CODE_LINES or max(map(len, lines), default=0) > CODE_WIDTH:
                yield f"cell {number} has {len(lines)} lines of up to {max(map(len, lines))} characters; {CODE_LINES} of {CODE_WIDTH} are allowed"
            if re.search(r"\bsimulate\.\w+\(|company_case", cell.source) and not re.search(
                r"generated|card\(", cell.source
            ):
                yield f"cell {number} uses generated data and does not say so in a comment"
    if parameters != 1:
        yield f"{parameters} cells have the tag 'parameters', not one"
    if not DECK_MINUTES[0] <= minutes <= DECK_MINUTES[1]:
        yield f"its speaker's notes come to {minutes} minutes, not {DECK_MINUTES[0]} to {DECK_MINUTES[1]}"


def _headings(notebook):
    before = 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            for marks in re.findall(r"^(#+) ", cell.source, re.MULTILINE):
                if len(marks) > before + 1 or (len(marks) == 1 and before):
                    yield f"cell {number} has a heading of level {len(marks)} after one of level {before}"
                before = len(marks)


def _links(notebook):
    """Links to files of the repository; as in the notebook's own folder."""
    folder = environment.root() / "notebooks"
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", cell.source):
                if not target.startswith(("http:", "https:", "mailto:")) and not (folder / target).exists():
                    yield f"cell {number} links to {target}, which is not there"
