"""The notebook of a rerun: a lesson's cells that speak of no data of its own, and none of its sentences."""

import re

import nbformat

from crmlab.course import notebooks
from crmlab.course.environment import root

__all__ = ["make", "LOG"]

# The one line by which a lesson loads the log that a rerun replaces; what is shown of it are its rows, which a report must not.
LOG = re.compile(r"^log = datasets\.load\(.*\)\nlog\.head\(\)$", re.MULTILINE)


def make(stem, name):
    """The notebook to be executed.

    Left out are cells with the tag ``own-data``, and the lesson's prose: its numbers and judgements are those of the lesson's data.
    Headings stay where code follows them, so that a table can be found in the lesson.
    """
    source = notebooks.read_source(root() / "notebooks" / "src" / f"{stem}.md")
    title = next(line for line in source.cells[0].source.splitlines() if line.startswith("# "))[2:]
    cells = [
        _markdown(f"# {name}: {title.partition(':')[0].strip()}\n\n{banner(stem)}"),
        _code("from crmlab.course import rerun\n\nrerun.begin()", ["remove-cell"]),
    ]
    headings = []
    for cell in source.cells:
        if cell.cell_type == "markdown":
            for marks, text in re.findall(r"^(##+) (.*)$", cell.source, re.MULTILINE):
                headings = [(m, t) for m, t in headings if len(m) < len(marks)] + [(marks, text)]
            continue
        if "own-data" in cell.metadata.get("tags", []) or cell.source.startswith("import crmlab\n"):
            continue  # the last is the cell of the version, which the manifest says
        cells += [_markdown(f"{marks} {text}") for marks, text in headings]
        headings = []
        text = LOG.sub("log = rerun.log()\nlog.report()", cell.source)
        cells.append(_code(text, [tag for tag in cell.metadata.get("tags", []) if tag == "parameters"]))
    for number, cell in enumerate(cells):
        cell["id"] = f"rerun-{number:03d}"
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=source.metadata)
    notebook.nbformat_minor = 5
    return notebook


def banner(stem):
    """What stands on top of notebook and report."""
    return (
        f"Made by `python -m crmlab rerun` from the lesson {stem}. Every number below comes from the log named in the manifest. Headings are the "
        "lesson's; its sentences are not here, since they speak of its own data. Read there what each table means and how it misleads."
    )


def _markdown(text):
    return nbformat.v4.new_markdown_cell(text)


def _code(text, tags):
    return nbformat.v4.new_code_cell(text, metadata={"tags": tags})
