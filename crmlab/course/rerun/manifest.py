"""How a rerun was made, and what moved when it is made again."""

import datetime
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from crmlab import __version__
from crmlab.course import notebooks
from crmlab.course.environment import SetupError, root
from crmlab.course.rerun import plan as plans

__all__ = ["NAME", "describe", "read", "compare", "hashes"]

NAME = "manifest.json"
_PACKAGES = ("numpy", "pandas", "scipy", "lifelines", "duckdb", "ibis-framework", "matplotlib", "papermill", "pyspark")


def hashes(plan):
    """Size and SHA-256 of every file of the log that this machine can read."""
    found, files = {}, plans.files(plan)
    for name, file in zip(plans.names(files), files):
        with open(file, "rb") as content:
            found[name] = {
                "bytes": os.path.getsize(file),
                "sha256": hashlib.file_digest(content, "sha256").hexdigest(),
            }
    return found


def describe(plan, found, made, data, seconds):
    """The manifest, as what JSON holds."""
    wanted = {k: v for k, v in asdict(plan).items() if k != "out"}
    source = root() / "notebooks" / "src" / f"{plan.stem}.md"
    return {
        "made_by": f"crmlab {__version__}",
        "commit": _commit(),
        "lesson_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "plan": wanted,
        "parameters": found.parameters,
        "log": {
            "files": data or "not hashed: this machine cannot read them as files",
            "rows": json.loads(found.report.reset_index().to_json(orient="records")),
            "first_day": f"{found.first:%Y-%m-%d}",
            "last_day": f"{found.last:%Y-%m-%d}",
            "customers": found.customers,
        },
        "versions": {"python": platform.python_version(), "system": platform.system()} | _versions(),
        **made,
    }


def read(file):
    """A manifest from its file.

    Raises
    ------
    SetupError
        If it is none.
    """
    file = Path(file)
    file = file / NAME if file.is_dir() else file
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        manifest["plan"]["stem"], manifest["tables"], manifest["log"]["customers"]  # noqa: B018
    except OSError as error:
        raise SetupError(
            f"{file}: {error.strerror}. --manifest takes the manifest.json of a rerun, or its folder."
        ) from None
    except (ValueError, TypeError, KeyError):
        raise SetupError(f"{file} is no manifest of a rerun.") from None
    return manifest, file.parent


def compare(old, before, new, after):
    """What differs between two reruns: lines about how they were made, and lines about numbers that moved."""
    made, moved = [], []
    for name in ("made_by", "commit", "lesson_sha256"):
        if old.get(name) != new.get(name):
            made.append(f"{name.replace('_', ' ')}: {old.get(name)} -> {new.get(name)}")
    made += _differences("version of ", old["versions"], new["versions"])
    made += _differences("parameter ", old["parameters"], new["parameters"])
    made += _differences("log: ", _flat(old["log"]), _flat(new["log"]))
    made += _differences("", {"engine": old["plan"]["engine"]}, {"engine": new["plan"]["engine"]})
    for kind in ("counts", "tables"):
        for name in sorted({*old[kind], *new[kind]}):
            if name not in old[kind] or name not in new[kind]:
                moved.append(f"{kind}/{name}: only in the {'new' if name in new[kind] else 'old'} rerun")
            elif old[kind][name]["sha256"] != new[kind][name]["sha256"]:
                moved.append(f"{kind}/{name}: " + _what_moved(kind, name, before, after))
    return made, moved


def _what_moved(kind, name, before, after):
    """The first cells that differ, or that the rows do; rounding in the last place is said to be that."""
    ending = ".csv" if kind == "tables" else ""
    try:
        a, b = (_read(folder / kind / f"{name}{ending}") for folder in (before, after))
    except OSError:
        return "differs (the table of the old rerun is not beside its manifest)"
    if a.shape != b.shape or list(a.columns) != list(b.columns):
        return f"{len(a)} rows of {a.shape[1]} columns -> {len(b)} rows of {b.shape[1]}"
    cells, largest = [], 0.0
    for column in a.columns:
        x, y = a[column], b[column]
        numeric = pd.api.types.is_numeric_dtype(x) and pd.api.types.is_numeric_dtype(y)
        differs = ~((x == y) | (x.isna() & y.isna()))
        if numeric and not pd.api.types.is_bool_dtype(x) and differs.any():
            largest = max(largest, float(np.nanmax(np.abs(x - y) / np.maximum(np.abs(x), 1e-300))))
        cells += [f"row {row + 1}, {column}: {x[row]} -> {y[row]}" for row in np.flatnonzero(differs)]
    shown = "; ".join(cells[:3]) + (f"; and {len(cells) - 3} more" if len(cells) > 3 else "")
    return shown + (" (rounding of floating point)" if 0 < largest < 1e-12 else "")


def _read(file):
    if file.suffix == ".csv":
        return pd.read_csv(io.StringIO(file.read_text(encoding="utf-8")))
    return pd.read_parquet(file)


def _differences(what, old, new):
    return [
        f"{what}{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _flat(log):
    flat = {name: log[name] for name in ("first_day", "last_day", "customers")}
    flat |= {row["step"]: row["found"] for row in log["rows"]}
    files = log["files"] if isinstance(log["files"], dict) else {}
    return flat | {f"file {name}": entry["sha256"][:12] for name, entry in files.items()}


def _versions():
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit():
    """The commit of the clone, marked if files differ from it; None without git."""
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(root()), *words], capture_output=True, text=True, timeout=20, check=True
            ).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + (" and changes that are not committed" if changed.strip() else "")


def write(folder, manifest):
    """Write it, last of all: a folder with a manifest is whole."""
    notebooks.write_text(folder / NAME, json.dumps(manifest, indent=1, default=str) + "\n")
