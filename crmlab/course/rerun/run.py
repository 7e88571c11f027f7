"""One rerun from the checks to the manifest; interrupted, it goes on where it was."""

import contextlib
import json
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

from crmlab.course import environment, notebooks
from crmlab.course.environment import SetupError
from crmlab.course.rerun import kernel, lesson, manifest, output
from crmlab.course.rerun import plan as plans

__all__ = ["run", "again"]


def run(plan):
    """Check, execute, write.

    Returns
    -------
    int
        0; 130 if it was interrupted.

    Raises
    ------
    SetupError
        If the plan or the log is at fault (nothing has run then), or a cell fails.
    """
    began = time.perf_counter()
    out, work = Path(plan.out), plan.work()
    _claim(plan, out, work)
    print(f"Checking {plan.data} ...", flush=True)
    try:
        found = plans.check(plan)
    except SetupError:
        if not (work / "counts").exists():
            shutil.rmtree(work)  # nothing was made yet
            with contextlib.suppress(OSError):
                out.rmdir()
        raise
    kept = int(found.report.loc["rows kept", "found"])
    print(
        f"  {kept:,} of {int(found.report.loc['rows in', 'found']):,} rows kept, {found.customers:,} customers, "
        f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    )
    for step, row in found.report.iterrows():
        if step != "rows in" and row["left_out"]:
            print(f"  left out: {int(row['left_out']):,} {step}")
    print("  " + ", ".join(f"{name}={value!r}" for name, value in found.parameters.items()), flush=True)
    try:
        executed = _execute(plan, found, work)
        data = manifest.hashes(plan)
        if _state(plan) != _read(work / "state.json"):
            raise SetupError(
                f"files of the log ({plan.data}) changed while they were counted, so the counts do not belong together. "
                f"Fix: copy the log, delete {out}, and run it again."
            )
        made = output.write(plan, found, executed, out)
    except KeyboardInterrupt:
        _hush()
        print(
            f"\ncrmlab: interrupted. What was counted is kept in {work}; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    manifest.write(out, manifest.describe(plan, found, made, data, time.perf_counter() - began))
    shutil.rmtree(work)
    taken = {name: said for name, entry in made["counts"].items() if (said := output.taken_out(entry))}
    for name, said in taken.items():
        print(f"  counts/{name}: {said}")
    if taken:
        print(f"  {output.BIASED}")
    print(
        f"Done in {time.perf_counter() - began:.0f} s: {len(made['tables'])} tables, {len(made['figures'])} figures, {len(made['counts'])} tables "
        f"of counts. Open {out / 'report.html'}."
    )
    return 0


def again(file, out=None, data=None, engine=None, memory_limit=None, threads=None):
    """Make a rerun again from its manifest, beside it, and say what moved.

    Returns
    -------
    int
        0 if every number is the same, 1 if one moved.
    """
    old, before = manifest.read(file)
    out = Path(out) if out else before.with_name(before.resolve().name + "-again")
    try:
        plan = plans.Plan(**old["plan"], out=str(out))
    except TypeError:
        raise SetupError(f"{file} was written by {old.get('made_by')}, whose plans this version cannot read.") from None
    given = {"data": data, "engine": engine, "memory_limit": memory_limit, "threads": threads}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    if not plans.files(plan) and "://" not in plan.data:
        raise SetupError(f"there is no file {plan.data} here. Say where the log lies: --data")
    code = run(plan)
    if code:
        return code
    new, after = manifest.read(out)
    made, moved = manifest.compare(old, before, new, after)
    for line in made:
        print(f"  other than before: {line}")
    if moved:
        print(f"{len(moved)} of {len(new['tables']) + len(new['counts'])} tables moved:")
        for line in moved:
            print(f"  {line}")
    else:
        print(f"The same numbers: {len(new['tables'])} tables and {len(new['counts'])} tables of counts are equal.")
    return int(bool(moved))


def _claim(plan, out, work):
    """Make the folder of work, or take it up again; refuse a folder that holds something else."""
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise SetupError(f"{place} is a file; --out takes a folder.")
    if (out / manifest.NAME).exists():
        raise SetupError(
            f"{out} holds a finished rerun. Give another --out, or compare with it: --manifest {out / manifest.NAME}"
        )
    settled = work / "plan.json"
    if settled.exists():
        if settled.read_text(encoding="utf-8") != plan.dumps() or _state(plan) != _read(work / "state.json"):
            raise SetupError(
                f"{out} holds an unfinished rerun of another command or another log. Give another --out, or delete it."
            )
        done = len(list((work / "counts").glob("*.json")))
        print(f"Going on with {out}: {done} tables of counts are there.")
        return
    if out.exists() and any(out.iterdir()):
        raise SetupError(f"{out} is not empty. Give a folder that is, or that does not exist yet: --out")
    notebooks.write_text(work / "state.json", json.dumps(_state(plan)))
    notebooks.write_text(settled, plan.dumps())


def _state(plan):
    """What tells a log that has changed: sizes and times of its files (their hashes come into the manifest)."""
    files = plans.files(plan)
    return [[name, os.path.getsize(file), os.stat(file).st_mtime_ns] for name, file in zip(plans.names(files), files)]


def _read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def _hush():
    """Let the client of a kernel that was interrupted say nothing of its own troubles: the reason is said."""
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = threading.excepthook = lambda *_: None


def _execute(plan, found, work):
    """The executed notebook."""
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of papermill's own libraries
        import papermill
        from nbclient.exceptions import DeadKernelError

        source, target = work / "lesson.ipynb", work / "executed.ipynb"
        notebooks.write(lesson.make(plan.stem, plan.name), source)
        variables = environment.NOTEBOOK_VARIABLES | {
            kernel.FOLDER: str(work.resolve()),
            "SOURCE_DATE_EPOCH": "0",  # an SVG would name the day
        }
        with _environment(variables):
            try:
                papermill.execute_notebook(
                    str(source),
                    str(target),
                    parameters=found.parameters,
                    kernel_name="python3",
                    progress_bar=sys.stderr.isatty(),
                    cwd=os.getcwd(),
                    extra_arguments=["--IPKernelApp.log_level=50"],  # an interrupted kernel complains of its sockets
                )
            except papermill.PapermillExecutionError as error:
                if error.ename == "KeyboardInterrupt":  # the kernel was told first
                    raise KeyboardInterrupt from None
                first = next(iter(error.source.strip().splitlines()), "")
                raise SetupError(
                    f"{plan.stem}: the cell that begins {first!r} failed: {error.ename}: {error.evalue} "
                    f"(the notebook up to there: {target}; what was counted is kept)"
                ) from None
            except DeadKernelError:
                raise SetupError(
                    f"{plan.stem}: Python was ended from outside while it ran the lesson, most often because memory ran out. What was counted is kept. "
                    "Fix: bound it, as in --memory-limit 4GB, and run the same command again with another --out."
                ) from None
    return nbformat.read(target, as_version=4)


@contextlib.contextmanager
def _environment(variables):
    before = dict(os.environ)
    os.environ.pop("MPLBACKEND", None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
