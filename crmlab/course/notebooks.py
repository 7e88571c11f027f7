"""From a MyST source to an executed notebook: read, normalise, execute, write; the same source gives the same bytes."""

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbclient
import nbformat
from PIL import Image

from crmlab.course import citations, environment

# Words a minute of a reader who follows an argument, and what a figure or a cell of code takes on top.
_WORDS_A_MINUTE, _MINUTES_A_FIGURE, _MINUTES_A_CELL = 180, 0.5, 0.25


class LessonError(Exception):
    """A notebook that does not run or breaks a rule; the message names the notebook, the cell and the cause."""


@dataclass(frozen=True)
class Notebook:
    """One source and the places of what is made from it.

    Attributes
    ----------
    stem : str
        Names the concept everywhere: ``05_retention``.
    kind : {"lesson", "exercise"}
        An exercise is executed in its form with solutions.
    """

    stem: str
    kind: str

    @property
    def name(self):
        """How messages call it."""
        return self.stem if self.kind == "lesson" else f"{self.stem} (exercise)"

    @property
    def source(self):
        """The hand-edited MyST file."""
        return environment.root() / ("notebooks" if self.kind == "lesson" else "exercises") / "src" / f"{self.stem}.md"

    @property
    def stored(self):
        """The tracked, executed notebook."""
        return (
            environment.root()
            / ("notebooks" if self.kind == "lesson" else "exercises/solutions")
            / f"{self.stem}.ipynb"
        )

    @property
    def built(self):
        """The notebook that `run` executes, untracked."""
        return (
            environment.root()
            / "build"
            / ("notebooks" if self.kind == "lesson" else "solutions")
            / f"{self.stem}.ipynb"
        )

    def fingerprint(self):
        """A hash of all that the executed notebook depends on: source, package, keys, data and lock."""
        root = environment.root()
        digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
        parts = [
            self.source,
            root / "requirements.lock",
            root / "docs" / "references.bib",
            *sorted((root / "crmlab").rglob("*.py")),
            *sorted((root / "datasets").iterdir()),
        ]
        parts += sorted((root / "exercises" / "keys").glob("*.py")) if self.kind == "exercise" else []
        for part in filter(Path.exists, parts):
            digest.update(part.name.encode() + b"\0" + part.read_bytes())
        return digest.hexdigest()

    def state(self):
        """What the last execution into `build/` left: fingerprint, seconds, figures, minutes; empty if there is none."""
        file = self.built.with_suffix(".json")
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() and self.built.exists() else {}

    def is_current(self):
        """Whether `build/` holds what would come out now."""
        return self.state().get("fingerprint") == self.fingerprint()


def all_notebooks(stem=None):
    """Every lesson and exercise with a source, in the order of the course; or those of one stem."""
    root = environment.root()
    found = [
        Notebook(file.stem, kind)
        for kind, folder in (("lesson", "notebooks"), ("exercise", "exercises"))
        for file in sorted((root / folder / "src").glob("*.md"))
    ]
    if stem is None:
        return found
    chosen = [notebook for notebook in found if notebook.stem == stem]
    if not chosen:
        raise environment.SetupError(
            f"there is no lesson {stem!r}; there are: {', '.join(sorted({n.stem for n in found}))}."
        )
    return chosen


def read_source(path, resolved=True):
    """A notebook from its MyST source, with everything that would differ from one reading to the next made fixed.

    Parameters
    ----------
    path : pathlib.Path
    resolved : bool
        Whether citations are spelled out, as notebooks and decks have them; pages take the roles of the source.
    """
    notebook = jupytext.read(path, fmt="md:myst")
    if resolved:
        for cell, text in zip(notebook.cells, citations.resolve([cell.source for cell in notebook.cells])):
            cell.source = text
    for number, cell in enumerate(notebook.cells, start=1):
        # jupytext makes a new random id on every reading.
        cell["id"] = cell.metadata.pop("id", f"{path.stem.replace('_', '-')}-{number:03d}")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "rise": {"theme": "white"},  # the default theme of live slides asks a server on the web for its fonts
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(item, on_cell=None):
    """Execute a source into `build/` and write it, with its state, once it is whole.

    Raises
    ------
    LessonError
        If a cell fails; names the cell and the error.
    """
    began = time.perf_counter()
    notebook = run_cells(item, on_cell)
    write(notebook, item.built)
    state = {
        "fingerprint": item.fingerprint(),
        "seconds": round(time.perf_counter() - began, 1),
        "figures": figures(notebook),
        "minutes": minutes(notebook),
    }
    write_text(item.built.with_suffix(".json"), json.dumps(state))


def run_cells(item, on_cell=None):
    """The notebook of a source, executed; nothing is written. Errors as `execute`."""
    notebook = read_source(item.source)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        # Keeps the kernel's own notices of start-up off the terminal.
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(item.source.parents[1])}},
        on_cell_executed=on_cell,
    )
    kernel_env = os.environ | environment.NOTEBOOK_VARIABLES
    kernel_env.pop("MPLBACKEND", None)
    try:
        # Not client.execute(): that leaves the event loop of its thread open.
        asyncio.run(client.async_execute(env=kernel_env))
    except nbclient.exceptions.CellExecutionError as error:
        number, cell = next(
            (n, c)
            for n, c in enumerate(notebook.cells, start=1)
            if any(o.get("output_type") == "error" for o in c.get("outputs", []))
        )
        first = cell.source.strip().splitlines()[0]
        raise LessonError(f"{item.name}: cell {number} ({first}) failed: {error.ename}: {error.evalue}") from None
    except nbclient.exceptions.CellTimeoutError as error:
        raise LessonError(f"{item.name}: a cell ran for more than ten minutes: {str(error).splitlines()[0]}") from None
    notebook.metadata["language_info"] = {"name": "python"}  # else it names the version of this Python
    return notebook


def figures(notebook):
    """How many pictures the outputs hold."""
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def minutes(notebook):
    """How long the notebook takes to read: its words, its cells of code and its figures."""
    words = sum(len(re.findall(r"\w+", cell.source)) for cell in notebook.cells if cell.cell_type == "markdown")
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    return round(words / _WORDS_A_MINUTE + code * _MINUTES_A_CELL + figures(notebook) * _MINUTES_A_FIGURE)


def dumps(notebook):
    """The text of a notebook file."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def write(notebook, path):
    """Write a notebook in one step: an interruption leaves the old file or the new one."""
    write_text(path, dumps(notebook))


def write_text(path, text):
    """Write a text file in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path, content):
    """Write a file in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def thumbnail(notebook):
    """A small picture of a lesson for the README: its first figure, or the one whose cell has ``thumbnail: true``.

    Returns
    -------
    bytes
        A PNG, 240 pixels wide.
    """
    drawn = [
        (cell, output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    chosen = next((png for cell, png in drawn if cell.metadata.get("thumbnail")), drawn[0][1])
    picture = Image.open(io.BytesIO(base64.b64decode(chosen))).convert("RGB")
    picture = picture.resize((240, round(240 * picture.height / picture.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.quantize(64).save(file, "png", optimize=True)
    return file.getvalue()
