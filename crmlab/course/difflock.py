"""``diff-lock``: what another set of package versions does to the numbers of the course."""

import hashlib
import re
import subprocess
from itertools import zip_longest
from pathlib import Path

import nbformat

from crmlab.course import environment
from crmlab.course.notebooks import all_notebooks

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*\.?\d*(?:e[-+]?\d+)?%?(?![\w])")

# Run with the other environment's Python: execute one lesson of this clone and write it where it is wanted.
_EXECUTE = """
import sys
from pathlib import Path
from crmlab.course import notebooks
item = next(item for item in notebooks.all_notebooks(sys.argv[1]) if item.kind == "lesson")
notebooks.write(notebooks.run_cells(item), Path(sys.argv[2]))
"""


def run(old, new, stem=None):
    """Print the packages whose version differs, then, lesson by lesson, the numbers in the outputs that moved.

    Each lock gets an environment of its own under `build/locks`, kept for the next time.

    Returns
    -------
    int
        0 if no number moved, else 1.
    """
    locks = [Path(lock).resolve() for lock in (old, new)]
    for lock in locks:
        if not lock.is_file():
            raise environment.SetupError(f"there is no lock {lock}.")
    changed = [
        f"  {name}: {a or 'absent'} -> {b or 'absent'}"
        for name, (a, b) in packages(*(lock.read_text(encoding="utf-8") for lock in locks)).items()
    ]
    print("\n".join(["Packages that differ:", *(changed or ["  none"])]))
    moved = 0
    for item in all_notebooks(stem):
        if item.kind == "lesson":
            pair = [_executed(lock, item.stem) for lock in locks]
            differences = numbers_moved(*pair)
            moved += len(differences)
            print(f"\n{item.stem}: {f'{len(differences)} numbers moved' if differences else 'no number moved'}")
            for cell, source, a, b in differences:
                print(f"  cell {cell} ({source}): {a} -> {b}")
    return int(moved > 0)


def packages(old, new):
    """Versions that differ between the texts of two locks: name to (old, new), None where it is absent."""
    found = [{}, {}]
    for pins, text in zip(found, (old, new)):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE):
            pins.setdefault(name.lower(), []).append(version)
    return {
        name: tuple(", ".join(pins.get(name, [])) or None for pins in found)
        for name in sorted({*found[0], *found[1]})
        if found[0].get(name) != found[1].get(name)
    }


def numbers_moved(old, new):
    """Numbers in text outputs that differ between two executions of a notebook.

    Returns
    -------
    list of tuple
        Cell number, first line of its source, number before, number after; None where there is none to compare.
    """
    moved = []
    for number, (a, b) in enumerate(zip(old.cells, new.cells), start=1):
        if a.cell_type == "code":
            pairs = zip_longest(_numbers(a), _numbers(b))
            moved += [(number, a.source.strip().splitlines()[0], x, y) for x, y in pairs if x != y]
    return moved


def _numbers(cell):
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return [number for text in texts for number in _NUMBER.findall(text)]


def _executed(lock, stem):
    """The lesson as it comes out under a lock."""
    root = environment.root()
    folder = root / "build" / "locks" / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    environment.set_up(folder / "venv", lock)
    target = folder / f"{stem}.ipynb"
    done = subprocess.run(
        [str(environment.python_of(folder / "venv")), "-c", _EXECUTE, stem, str(target)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise environment.SetupError(f"{stem} does not run under {lock.name}:\n{done.stderr.strip().splitlines()[-1]}")
    return nbformat.read(target, as_version=4)
