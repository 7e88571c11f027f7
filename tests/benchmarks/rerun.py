"""What a rerun costs: bootstrap, overhead, Spark beside SQL by hand, and ten times the rows; a section of docs/benchmarks.md.

Run alone, it prints the section: `python tests/benchmarks/rerun.py`; with `--rows 10000000 100000000` it also runs a lesson on logs of these sizes,
which takes minutes to an hour and 2 GB of disk. DuckDB is held to `MEMORY`; what exceeds it goes to the disk.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench  # noqa: E402  (the folder is no package)

MEMORY = "4GB"
WORDS = ("--map", "customer=customer_id", "date=date", "amount=amount", "--unit", "month")


def replicates(n=1000, rounds=3):
    """Seconds for so many bootstrap replicates of an sBG fit with projection."""
    from crmlab import resampling, retention

    fit = retention.fit_sbg([1000, 869, 743, 653, 593, 551, 517, 491])
    return bench.in_turn(
        {"bootstrap": lambda: resampling.bootstrap(fit, lambda fit: fit.survival([8, 12]), n=n)}, rounds
    )["bootstrap"]


def rerun(stem, data, out, *words):
    """Run the command; seconds, and the peak of resident memory of all its processes together in MB."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "crmlab", "rerun", stem, "--data", str(data), *WORDS, "--out", str(out), *words]
    began, peak = time.perf_counter(), 0.0
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while running.poll() is None:
        peak = max(peak, sum(map(resident, family(running.pid))))
        time.sleep(0.05)
    if running.returncode:
        raise SystemExit(f"rerun of {stem} on {data} ended with {running.returncode}")
    return time.perf_counter() - began, peak


def resident(pid):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return 0.0


def family(pid):
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += family(int(child))
    return found


def overhead(stem, path, rounds=3):
    """Seconds of a rerun beside executing the same cells on the same log, each from the start of a fresh Python."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        work = Path(folder) / "bare" / ".unfinished"
        script = (
            "import asyncio, os, sys, nbclient\n"
            "from pathlib import Path\n"
            "from papermill.iorw import load_notebook_node\n"
            "from papermill.parameterize import parameterize_notebook\n"
            "from crmlab.course.rerun import lesson, plan\n"
            f"plan_ = plan.make({stem!r}, {str(path)!r}, {list(WORDS[1:4])!r}, 'month', {str(work.parent)!r})\n"
            "from time import perf_counter\n"
            "began = perf_counter()\n"
            "found = plan.check(plan_)\n"
            "checking = perf_counter() - began\n"
            f"Path({str(work)!r}).mkdir(parents=True, exist_ok=True)\n"
            f"Path({str(work)!r}, 'plan.json').write_text(plan_.dumps())\n"
            "from crmlab.course import notebooks\n"
            f"notebooks.write(lesson.make(plan_.stem, plan_.name), Path({str(work)!r}, 'lesson.ipynb'))\n"
            f"notebook = load_notebook_node({str(work / 'lesson.ipynb')!r})\n"
            "notebook = parameterize_notebook(notebook, found.parameters)\n"
            f"env = os.environ | {{'CRMLAB_RERUN': {str(work)!r}}}\n"
            "client = nbclient.NotebookClient(notebook, kernel_name='python3', extra_arguments=['--IPKernelApp.log_level=40'])\n"
            "asyncio.run(client.async_execute(env=env))\n"
            "print(checking)\n"
        )

        def bare():
            shutil.rmtree(work.parent, ignore_errors=True)
            command, began = [sys.executable, "-W", "ignore", "-c", script], time.perf_counter()
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return time.perf_counter() - began - float(said.split()[-1])  # the checks are the rerun's own

        seconds = [(rerun(stem, path, out)[0], bare()) for _ in range(rounds)]
    return tuple(statistics.median(column) for column in zip(*seconds))


SPARK_SQL = """
select frequency, recency_days, age_days, count(*) as customers
from (
    select count(distinct date) - 1 as frequency, datediff(max(date), min(date)) as recency_days,
        datediff(date '{until}', min(date)) as age_days
    from log group by customer_id
)
group by frequency, recency_days, age_days
"""


def on_spark(path, rounds=3):
    """Seconds of the contract and the counts on a cluster of two workers, and of SQL by hand there."""
    from crmlab import counting, tables
    from crmlab.course.cluster import Cluster
    from crmlab.course.rerun import plan

    with Cluster(memory="2g") as cluster:
        connection = plan.spark(cluster.address)
        session = connection._session
        session.read.parquet(str(path)).createOrReplaceTempView("log")
        log = tables.transactions(connection.read_parquet(str(path)), amount=None)
        cases = {
            "ours": lambda: counting.summary_counts(log, observed_until=bench.UNTIL).to_pandas(),
            "sql": lambda: session.sql(SPARK_SQL.format(until=bench.UNTIL)).toPandas(),
        }
        sizes = {name: int(case()["customers"].sum()) for name, case in cases.items()}  # and the JVM is warm
        assert sizes["ours"] == sizes["sql"], sizes
        seconds = bench.in_turn(cases, rounds)
        session.stop()
    return seconds


def section(rows=10_000_000, rounds=3, sizes=()):
    """The section of the page."""
    lines = ["## Rerun", "", "| work | measured | goal | |", "|---|---|---|---|"]

    def row(what, value, unit, goal=None):
        said, met = bench.verdict(value, goal) if goal is not None else ("", "")
        lines.append(f"| {what} | {value:.3g}{unit} | {said} | {met} |")

    row("1,000 bootstrap replicates of an sBG fit with projection, one process", replicates(rounds=rounds), " s", 3)
    path = bench.make_log(rows)
    for stem in ("02_lifecycle", "05_retention"):
        whole, bare = overhead(stem, path, rounds)
        row(f"`rerun {stem}`, {rows:,} rows: checks, execution, files, manifest", whole, " s")
        row("executing the same cells by nbclient", bare, " s")
        row("overhead", 100 * (whole / bare - 1), " %", 20)
    if bench.version("pyspark") and shutil.which("java"):
        seconds = on_spark(path, rounds)
        row(f"Spark, two workers on the loopback: customer counts of {rows:,} rows", seconds["ours"], " s")
        row("the same by SQL, written by hand", seconds["sql"], " s")
        row("ratio to that SQL", seconds["ours"] / seconds["sql"], " x", 1.3)
    else:
        lines.append("| Spark | not installed | <= 1.3 | |")
    if sizes:
        lines += ["", *larger(sizes)]
    return "\n".join(lines) + "\n"


def larger(sizes, folder=None):
    """Lines on reruns of both lessons on logs of two sizes."""
    lines = [
        f"| rerun, DuckDB held to {MEMORY} | rows | seconds | ratio | goal | peak memory, all processes | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for stem in ("02_lifecycle", "05_retention"):
        before = None
        for rows in sizes:
            path = folder / f"log-{rows}.parquet" if folder else bench.make_log(rows)
            # Two rules for silence in place of six, each of which is one more look at the whole log.
            more = ("--set", "TRIED=[91,182]") if stem == "02_lifecycle" else ()
            with tempfile.TemporaryDirectory(dir=folder) as out:
                seconds, peak = rerun(stem, path, Path(out) / "out", "--memory-limit", MEMORY, *more)
            goal, met = bench.verdict(seconds / before, 15) if before else ("", "")
            ratio = f"{seconds / before:.1f} x" if before else ""
            bound, held = bench.verdict(peak / 1024, 8)
            lines.append(
                f"| {stem} | {rows:,} | {seconds:.0f} | {ratio} | {goal} {met} | {peak / 1024:.1f} GB | {bound} GB {held} |"
            )
            print(lines[-1], flush=True)
            before = seconds
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[], help="also run lessons on logs of these sizes")
    parser.add_argument("--folder", type=Path, help="where logs named log-ROWS.parquet lie, and what is made goes")
    parser.add_argument("--only-rows", action="store_true", help="leave the rest out")
    args = parser.parse_args()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    if args.only_rows:
        print("\n".join(larger(args.rows, args.folder)))
        return
    print(section(rounds=args.rounds, sizes=args.rows))


if __name__ == "__main__":
    main()
