"""What the notebook of a rerun uses: the log, and hooks that keep its counts, tables and figures."""

import functools
import hashlib
import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from crmlab.course import notebooks
from crmlab.course.rerun import plan as plans

__all__ = ["begin", "log", "TABLE", "FIGURE", "FOLDER", "Keeper"]

# A displayed table and what a figure shows, in a form for programs, beside the one for people.
TABLE = "application/vnd.crmlab.table+json"
FIGURE = "application/vnd.crmlab.figure+json"
# Names the folder of the rerun to the kernel, so that no path of a machine stands in the notebook.
FOLDER = "CRMLAB_RERUN"


def begin():
    """Make this kernel keep every table that a cell shows, and draw figures as SVG beside PNG."""
    plan = _plan()
    random.seed(plan.seed)
    np.random.seed(plan.seed)  # noqa: NPY002  (for whatever a lesson or a library draws without a generator)
    from IPython import get_ipython
    from matplotlib_inline.config import InlineBackend

    shell = get_ipython()
    shell.display_formatter.mimebundle_formatter.for_type(pd.DataFrame, _table)
    shell.events.register("post_execute", _describe_figures)  # before the backend's own, which closes them
    InlineBackend.instance(parent=shell).figure_formats = {"png", "svg"}
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "crmlab"  # else its ids are new on every run


def log():
    """The researcher's log, checked; what is counted of it is kept, and not counted again."""
    plan = _plan()
    _, checked = plan.open()
    return replace(checked, _keep=Keeper(plan.work() / "counts"))


class Keeper:
    """Tables of counts as Parquet files, each with what was counted; see `crmlab.counting.fetch`."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, name, definition, count):
        """The table: from its file if it is there, else computed and kept."""
        definition = json.loads(json.dumps(definition, default=str, sort_keys=True))
        text = json.dumps([name, definition], sort_keys=True)
        file = self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.parquet"
        if not file.exists():
            table = count()
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            table.to_parquet(partial, index=False)
            os.replace(partial, file)
            notebooks.write_text(file.with_suffix(".json"), json.dumps({"name": name, "definition": definition}))
        return pd.read_parquet(file)


@functools.cache
def _plan():
    folder = os.environ.get(FOLDER)
    if not folder:
        raise RuntimeError(
            "this notebook was made by `python -m crmlab rerun`, and runs there; its log is not given here."
        )
    return plans.loads((Path(folder) / "plan.json").read_text(encoding="utf-8"))


def _table(frame, include=None, exclude=None):
    """What is kept of a table that a cell shows: the text of a CSV and of a LaTeX table."""
    flat = frame.copy()
    flat.columns = [" ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in flat.columns]
    if any(name is not None for name in flat.index.names) or not isinstance(flat.index, pd.RangeIndex):
        flat = flat.reset_index()
    return {TABLE: {"csv": flat.to_csv(index=False), "latex": _latex(flat)}}


def _latex(frame):
    frame = frame.set_axis([_escaped(name) for name in frame.columns], axis=1)
    words = {name: _escaped for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.to_latex(
        index=False, escape=False, formatters=words, na_rep="", float_format=lambda value: f"{value:.12g}"
    )


def _escaped(value):
    text = "" if value is None or value is pd.NaT else str(value)
    for sign in ("\\", "&", "%", "$", "#", "_", "{", "}"):
        text = text.replace(sign, "\\textbackslash " if sign == "\\" else "\\" + sign)
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")


def _describe_figures():
    import sys

    if "matplotlib.pyplot" not in sys.modules:
        return
    from IPython.display import display
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        words = []
        for ax in pyplot.figure(number).axes:
            shown = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
            parts = [
                ax.get_title(),
                ax.get_xlabel() and f"across: {ax.get_xlabel()}",
                ax.get_ylabel() and f"up: {ax.get_ylabel()}",
            ]
            parts += [f"shown: {', '.join(shown)}"] if shown else []
            words.append("; ".join(part for part in parts if part))
        display({FIGURE: " | ".join(filter(None, words))}, raw=True)
