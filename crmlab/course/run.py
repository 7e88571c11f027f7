"""``run`` executes the course into `build/`; ``build`` rewrites the stored notebooks from what was executed."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import nbformat
from tqdm import tqdm

from crmlab.course import environment, exercises, notebooks, pages, rules, slides
from crmlab.course.notebooks import LessonError, all_notebooks


def run(jobs=2):
    """Execute what changed, build the pages, print what there is. Rewrites no tracked file.

    Returns
    -------
    int
        0 if every lesson ran and the pages stand, else 1.
    """
    began = time.perf_counter()
    items = all_notebooks()
    executed, failures = _execute(items, jobs)
    print()
    print(_table(items, executed, failures))
    if failures:
        return _fail(failures.values())
    print("\nBuilding the pages ...", flush=True)
    try:
        first = pages.build()
    except LessonError as error:
        return _fail([error])
    print(
        f"Done in {time.perf_counter() - began:.0f} s. Open {first.relative_to(environment.root())} in a browser, or `make lab` for the notebooks."
    )
    return 0


def build(stem=None, jobs=2, check=False):
    """Rewrite the stored notebooks of one stem, or of all, where they differ from what the sources give.

    Parameters
    ----------
    stem : str, optional
    jobs : int
    check : bool
        Change nothing; list what differs.

    Returns
    -------
    int
        0 if all is well, 1 if a lesson failed or, with `check`, a stored notebook differs.
    """
    items = all_notebooks(stem)
    _, failures = _execute(items, jobs)
    if failures:
        return _fail(failures.values())
    differing = []
    for item in items:
        try:
            made = _made_from(item)
        except (LessonError, AssertionError) as error:
            return _fail([error])
        for path, content in made.items():
            if not path.exists() or path.read_bytes() != content:
                differing.append(path.relative_to(environment.root()))
                if not check:
                    notebooks.write_bytes(path, content)
    if stem is None:  # the pages take every lesson
        try:
            pages.build()
            lessons = [item.stem for item in items if item.kind == "lesson"]
            if not slides.check_overflow(environment.root() / "build" / "site", lessons):
                print("The slides were not measured: there is no Chromium here, or no Playwright.")
        except LessonError as error:
            return _fail([error])
    for path in differing:
        print(f"{'differs from its source' if check else 'written'}: {path}")
    if not differing:
        print("All stored notebooks are what their sources give.")
    return int(check and bool(differing))


def _made_from(item):
    """The tracked files of one source, by path; an error if they break a rule or prove wrong."""
    executed = nbformat.read(item.built, as_version=4)
    made = {item.stored: notebooks.dumps(executed).encode()}
    if item.kind == "lesson":
        rules.check_lesson(executed, item.name)
        made[environment.root() / "docs" / "thumbnails" / f"{item.stem}.png"] = notebooks.thumbnail(executed)
    else:
        rules.check_solutions(executed, item.name)
        student = exercises.student_version(notebooks.read_source(item.source), item.name)
        exercises.prove(item.stem, executed, student)
        made[environment.root() / "exercises" / f"{item.stem}.ipynb"] = notebooks.dumps(student).encode()
    return made


def _execute(items, jobs):
    """Execute the items that are not current, several at a time; who ran, and the errors by item."""
    stale = [item for item in items if not item.is_current()]
    failures = {}
    if stale:
        cells = {
            item: sum(cell.cell_type == "code" for cell in notebooks.read_source(item.source).cells) for item in stale
        }
        with (
            tqdm(total=sum(cells.values()), unit="cell", desc="Executing", disable=None) as bar,
            ThreadPoolExecutor(jobs) as pool,
        ):
            running = {pool.submit(notebooks.execute, item, lambda **_: bar.update()): item for item in stale}
            try:
                for done in as_completed(running):
                    item = running[done]
                    try:
                        done.result()
                        bar.write(f"  {item.name}: {item.state()['seconds']} s", file=sys.stderr)
                    except LessonError as error:
                        failures[item] = error
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return stale, failures


def _table(items, executed, failures):
    rows = [("lesson", "minutes to read", "seconds to run", "figures", "status")]
    for item in items:
        if item in failures:
            rows.append((item.name, "", "", "", "FAILED"))
        else:
            state = item.state()
            rows.append(
                (
                    item.name,
                    str(state["minutes"]),
                    f"{state['seconds']:.1f}",
                    str(state["figures"]),
                    "executed" if item in executed else "unchanged",
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 0 < i < 4 else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _fail(errors):
    for error in errors:
        print(f"\nFAILED. {error}", file=sys.stderr)
    return 1
