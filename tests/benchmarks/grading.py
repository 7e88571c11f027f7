"""Grading in a sandbox, beside nbgrader's autograde on the same notebooks: a section of docs/benchmarks.md.

By itself: `python tests/benchmarks/grading.py [--submissions N] [--peer N]`. Both mark the same files of the retention
exercise, by the same key; nbgrader takes one after the other and no sandbox, and its time a notebook does not hang on how
many there are, so it gets fewer of them. nbgrader is looked for in build/nbgrader, where `.ci/run` puts it.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
STEM = "05_retention"


def make_class(work, submissions):
    """A class whose sheets are all answered rightly, as nbgrader hands them out; the folder of what they hand in."""
    import classroom
    import nbformat

    from crmlab.grading import handout

    ids = [f"s{n:03d}" for n in range(submissions)]
    (work / "roster.csv").write_text("\n".join(["student_id", *ids]), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        handout.handout(STEM, work / "roster.csv", work / "out", jobs=os.cpu_count(), nbgrader=True)
    course, solutions = work / "out" / STEM / "nbgrader", classroom.solutions(STEM)
    source = nbformat.read(course / "source" / STEM / f"{STEM}.ipynb", as_version=4)
    for student in ids:
        there = work / "handed in" / student
        there.mkdir(parents=True)
        for cell in source.cells:
            if cell.metadata.get("crmlab", {}).get("setup"):
                cell.source = cell.source.replace('Sheet(student="")', f'Sheet(student="{student}")')
                setup, plainly = cell, cell.source.replace(f'Sheet(student="{student}")', 'Sheet(student="")')
            elif cell.id.startswith("check-"):
                cell.source = cell.source.split("\n### BEGIN HIDDEN")[0]
            elif cell.id.startswith("answer-"):
                cell.source = solutions[cell.id.removeprefix("answer-")]
        nbformat.write(source, there / f"{STEM}.ipynb")
        setup.source = plainly
    return ids, course


def ours(work, out, ids, jobs):
    """Seconds that `grade` takes, and what it found of memory; every mark must be full."""
    from crmlab.grading import grade

    roster = work / f"{out}.csv"
    roster.write_text("\n".join(["student_id", *ids]), encoding="utf-8")
    if not roster.with_suffix(".class").exists():
        roster.with_suffix(".class").symlink_to(work / "roster.class")
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        grade.grade(work / "handed in", roster, work / out, stem=STEM, jobs=jobs)
    seconds = time.perf_counter() - began
    results = [json.loads(file.read_text()) for file in (work / out / STEM / "results").glob("*.json")]
    assert len(results) == len(ids) and all(mark["points"] == 1 for one in results for mark in one["marks"])
    return seconds, max(one["memory_mb"] for one in results)


def of_nbgrader(course, work, ids):
    """Seconds of `nbgrader autograde` on the same files; None without nbgrader."""
    program = shutil.which(str(ROOT / "build" / "nbgrader" / "bin" / "nbgrader")) or shutil.which("nbgrader")
    if program is None:
        return None
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    env["PATH"] = f"{Path(program).parent}{os.pathsep}{env['PATH']}"

    def run(*words):
        subprocess.run([program, *words], cwd=course, env=env, check=True, capture_output=True)

    run("generate_assignment", STEM)
    for student in ids:
        shutil.copytree(course / "release" / STEM, course / "submitted" / student / STEM)
        shutil.copy(work / "handed in" / student / f"{STEM}.ipynb", course / "submitted" / student / STEM)
    began = time.perf_counter()
    run("autograde", STEM)
    seconds = time.perf_counter() - began
    run("export")
    with open(course / "grades.csv", encoding="utf-8") as file:
        scores = {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader(file) if row["raw_score"]}
    assert all(scores[student] == 7 for student in ids), scores
    return seconds


def section(rounds=1, submissions=300, peer=30):
    """The section of the page; `rounds` is not used, since one run grades many."""
    from bench import verdict

    from crmlab.grading import sandbox

    if why := sandbox.available():
        return f"## Grading\n\nNot measured: {why}.\n"
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ids, course = make_class(work, submissions)
        few = ids[:peer]
        # In turn, so that a busy moment falls on both: a part of ours, nbgrader, all of ours, one at a time.
        first, _ = ours(work, "first", few, cores)
        theirs = of_nbgrader(course, work, few)
        whole, memory = ours(work, "whole", ids, cores)
        single, _ = ours(work, "single", few, 1)
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    lines = [
        "## Grading",
        "",
        f"Right answers to the seven questions of `{STEM}`, each notebook in a bubblewrap with a fresh interpreter, marks, pages and gradebook in the time; {cores} cores. "
        f"nbgrader marks the first {len(few)} of the same files by the same key, without a sandbox.",
        "",
        "| work | measured | goal | |",
        "|---|---|---|---|",
        f"| {submissions} submissions, sandbox on, {cores} at a time | {whole:.0f} s | | |",
        f"| a submission | {whole / submissions:.2f} s | | |",
        f"| the first {len(few)}, {cores} at a time | {first:.1f} s | | |",
        f"| the first {len(few)}, one at a time | {single:.1f} s | | |",
        f"| {cores} at a time, times faster than one at a time | {single / first:.2f} x | | |",
    ]
    if theirs is None:
        lines.append("| `nbgrader autograde` | not installed | >= 3 | |")
    else:
        ratio = (theirs / len(few)) / (whole / submissions)
        goal, met = verdict(ratio, 3, at_most=False)
        lines.append(f"| `nbgrader autograde`, a submission | {theirs / len(few):.2f} s | | |")
        lines.append(f"| throughput, ratio to nbgrader | {ratio:.2f} x | {goal} | {met} |")
    lines.append(
        f"| memory of a submission, the most that was seen | {memory:.0f} MB | <= {sandbox.Limits().memory_mb} | enforced |"
    )
    lines.append(f"| memory of the process that marks | {worker:.0f} MB | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--submissions", type=int, default=300)
    parser.add_argument("--peer", type=int, default=30)
    args = parser.parse_args()
    print(section(submissions=args.submissions, peer=args.peer))
