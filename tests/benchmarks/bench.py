"""What counting costs, beside other ways to the same numbers: run by `python -m crmlab bench`, written to docs/benchmarks.md.

No test: times depend on the machine. Each figure is a median of runs that take turns, so that a busy moment of the machine
falls on all of them alike; peers run in the same session. Memory is the peak of a fresh process that does the work once.
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
UNTIL = "2025-12-31"
# Files beside this one, each with a `section(rounds=...)` of the page.
SECTIONS = ("multistate", "hazards", "lifecycle", "satisfaction", "choice", "grading")

# One pass over the rows: what one would write by hand.
SQL = """
select frequency, recency_days, age_days, count(*) as customers
from (
    select count(distinct date) - 1 as frequency, max(date) - min(date) as recency_days, date '{until}' - min(date) as age_days
    from read_parquet('{path}') group by customer_id
)
group by all
"""


def make_log(rows):
    """A log of so many rows and a tenth as many customers as Parquet; the same rows every time."""
    import duckdb

    path = ROOT / "build" / "bench" / f"log-{rows}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        duckdb.connect().execute(f"""
            copy (
                select (hash(3 * i) % {rows // 10})::bigint as customer_id,
                    date '2023-01-01' + (hash(3 * i + 1) % 1000)::int as date,
                    round(5 + (hash(3 * i + 2) % 10000) / 100.0, 2)::double as amount
                from range({rows}) numbers(i)
            ) to '{part}' (format parquet)""")
        part.replace(path)
    return path


def ours(path):
    from crmlab import counting, tables

    log = tables.transactions(path, amount=None)
    return lambda: counting.summary_counts(log, observed_until=UNTIL).to_pandas()


def ours_with_checks(path):
    from crmlab import counting, tables

    return lambda: counting.summary_counts(tables.transactions(path), observed_until=UNTIL).to_pandas()


def checks(path):
    from crmlab import tables

    return lambda: tables.transactions(path)


def by_hand(path):
    import duckdb

    connection = duckdb.connect()
    return lambda: connection.execute(SQL.format(path=path, until=UNTIL)).df()


def ours_by_customer(path):
    from crmlab import counting, tables

    return lambda: counting.customer_summary(tables.transactions(path), observed_until=UNTIL).to_pandas()


def of_lifetimes(path):
    from lifetimes.utils import summary_data_from_transaction_data

    frame = pd.read_parquet(path)
    return lambda: summary_data_from_transaction_data(
        frame, "customer_id", "date", "amount", observation_period_end=UNTIL
    )


def of_pymc_marketing(path):
    from pymc_marketing.clv.utils import rfm_summary

    frame = pd.read_parquet(path)
    return lambda: rfm_summary(frame, "customer_id", "date", "amount", observation_period_end=UNTIL)


CASES = {
    f.__name__: f for f in (ours, ours_with_checks, checks, by_hand, ours_by_customer, of_lifetimes, of_pymc_marketing)
}


def in_turn(works, rounds):
    """Median seconds of each, taking turns, after one run that does not count."""
    for work in works.values():
        work()
    seconds = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(case, rows):
    """Megabytes of a fresh process that runs the case once."""
    command = [sys.executable, __file__, "--case", case, "--rows", str(rows)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def sbg_fits(rounds=15):
    """Seconds of an sBG fit on the survivors of ten thousand and of ten million customers with the same shares."""
    from crmlab import retention

    survival = _sbg_survival(0.7, 1.2, 12)
    few, many = (np.round(survival * size) for size in (10_000, 10_000_000))
    return in_turn({"few": lambda: retention.fit_sbg(few), "many": lambda: retention.fit_sbg(many)}, rounds)


def _sbg_survival(alpha, beta, periods):
    ages = np.arange(1, periods)
    return np.append(1.0, np.cumprod((beta + ages - 1) / (alpha + beta + ages - 1)))


def import_seconds(rounds=15):
    """Seconds that `import crmlab` adds to starting the interpreter."""

    def start(code):
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    times = in_turn({"bare": start("pass"), "crmlab": start("import crmlab")}, rounds)
    return times["crmlab"] - times["bare"]


def machine():
    """Processor, cores and memory; nothing that tells one machine of a kind from another."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def verdict(value, goal, at_most=True):
    met = value <= goal if at_most else value >= goal
    return f"{'<=' if at_most else '>='} {goal:g}", "met" if met else "**not met**"


def report(small, large, rounds):
    """Measure everything; return the page."""
    big, little = make_log(large), make_log(small)
    pd.testing.assert_frame_equal(  # the ways compared give the same counts
        ours(little)().sort_values(["frequency", "recency_days", "age_days"], ignore_index=True),
        by_hand(little)().sort_values(["frequency", "recency_days", "age_days"], ignore_index=True),
        check_dtype=False,
    )
    print("counting, beside SQL by hand ...", flush=True)
    names = ("ours", "by_hand", "checks", "ours_with_checks", "ours_by_customer")
    at_large = in_turn({name: CASES[name](big) for name in names}, rounds)
    at_small = in_turn({name: CASES[name](little) for name in names}, rounds)
    print("peers ...", flush=True)
    peers = {"lifetimes": "of_lifetimes"} | (
        {"pymc-marketing": "of_pymc_marketing"} if version("pymc-marketing") else {}
    )
    at_peers = in_turn({name: CASES[case](little) for name, case in peers.items()}, 3)
    print("memory ...", flush=True)
    memory = {(name, rows): peak_memory(name, rows) for name in ("ours", "by_hand") for rows in (small, large)}
    memory |= {(name, small): peak_memory(case, small) for name, case in peers.items()}
    print("fits and import ...", flush=True)
    fits, light = sbg_fits(), import_seconds()

    def row(what, value, unit, goal=None, at_most=True):
        said, met = verdict(value, goal, at_most) if goal is not None else ("", "")
        return f"| {what} | {value:.3g}{unit} | {said} | {met} |"

    lines = [
        "# Benchmarks",
        "",
        f"Written by `python -m crmlab bench`; do not edit. {machine()}. "
        + ", ".join(f"{n} {version(n)}" for n in ("duckdb", "ibis-framework", "pandas", "numpy", *peers))
        + f". Medians of {rounds} runs in turn (peers: 3).",
        "",
        f"The log: {large:,} rows of {large // 10:,} customers in Parquet, for the peers its little sister of {small:,} rows, which they get as a "
        "DataFrame in memory, while ours reads the file. Ratios are of seconds, with counting in them.",
        "",
        "| work | measured | goal | |",
        "|---|---|---|---|",
        row(f"customer counts (frequency, recency, age) of {large:,} rows", at_large["ours"], " s"),
        row("the same by one-pass SQL, written by hand", at_large["by_hand"], " s"),
        row("counts, ratio to that SQL", at_large["ours"] / at_large["by_hand"], " x", 1.25),
        row(
            "contract and counts together, ratio to that SQL", at_large["ours_with_checks"] / at_large["by_hand"], " x"
        ),
        row("the contract's checks, ratio to the counting", at_large["checks"] / at_large["ours"], " x", 0.5),
    ]
    goals = {"lifetimes": (5, "summary_data_from_transaction_data"), "pymc-marketing": (3, "rfm_summary")}
    for name, (goal, function) in goals.items():
        if name not in peers:
            lines.append(f"| {name} `{function}` | not installed | >= {goal} | |")
            continue
        per_row = at_peers[name] / small
        lines += [
            row(f"{name} `{function}`, {small:,} rows", at_peers[name], " s"),
            row(f"times faster a row: contract and counts of {large:,} rows", per_row / (at_large["ours_with_checks"] / large), " x", goal, False),
            row(f"times faster: contract and table by customer with monetary value, both at {small:,} rows", at_peers[name] / at_small["ours_by_customer"], " x"),
        ]  # fmt: skip
    lines += [
        row("sBG fit after counting, 10,000,000 customers over 10,000", fits["many"] / fits["few"], " x"),
        row("sBG fit after counting, 10,000,000 customers", 1000 * fits["many"], " ms"),
        row("`import crmlab` beyond the interpreter", light, " s", 0.1),
        "",
        f"## As the rows grow tenfold, from {small:,} to {large:,}",
        "",
        "| work | seconds | ratio | peak memory | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, label in (("ours", "counts"), ("by_hand", "SQL by hand")):
        a, b, m, n = at_small[name], at_large[name], memory[name, small], memory[name, large]
        lines.append(f"| {label} | {a:.3g} -> {b:.3g} | {b / a:.1f} | {m:.0f} -> {n:.0f} MB | {n / m:.1f} |")
    for name in peers:
        lines.append(f"| {name}, at {small:,} rows | {at_peers[name]:.3g} | | {memory[name, small]:.0f} MB | |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large log (default: 10,000,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, help="run this once and print the peak memory in MB")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    if args.case:
        CASES[args.case](make_log(args.rows))()
        # Of this process alone; getrusage would count what its parent held when it forked.
        status = Path("/proc/self/status").read_text()
        print(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))
        return
    page = report(args.rows // 10, args.rows, args.rounds)
    for name in SECTIONS:
        print(f"{name} ...", flush=True)
        page += "\n" + importlib.import_module(name).section(rounds=args.rounds)
    args.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
