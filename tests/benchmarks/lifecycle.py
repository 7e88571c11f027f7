"""What it costs to turn a log into phases, beside the customer summary by hand: a section of docs/benchmarks.md.

The log is the one of `bench.py`. The stays are made in two ways: as a table of all of them in memory, and as a file, with a bound on
the memory. Each peak of memory is that of a fresh process. Run alone, it prints the section: `python tests/benchmarks/lifecycle.py`.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench  # noqa: E402  (the folder is no package)

MEMORY = "2GB"  # DuckDB's share in the bounded case


def summary_by_hand(path):
    import duckdb

    sql = """select customer_id, count(distinct date) - 1 as frequency, max(date) - min(date) as recency,
        date '{until}' - min(date) as age from read_parquet('{path}') group by customer_id"""
    connection = duckdb.connect()
    return lambda: connection.execute(sql.format(path=path, until=bench.UNTIL)).to_arrow_table()


def episodes(path):
    from crmlab import lifecycle, tables

    log = tables.transactions(path, amount=None)
    return lambda: lifecycle.phase_episodes(log, rule=lifecycle.PhaseRule(silence_days=90))


def stays_to_file(path):
    from crmlab import lifecycle, tables

    log = tables.transactions(path, amount=None, connection=tables.connect(memory_limit=MEMORY))
    stays = lifecycle.phase_stays(log, lifecycle.PhaseRule(silence_days=90))
    target = Path(tempfile.gettempdir()) / "crmlab-bench-stays.parquet"

    def work():
        stays.to_parquet(target)
        target.unlink()

    return work


CASES = {work.__name__: work for work in (summary_by_hand, episodes, stays_to_file)}


def peak_memory(case, rows):
    command = [sys.executable, __file__, "--case", case, "--rows", str(rows)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def section(rows=10_000_000, rounds=3):
    """The section of the page."""
    path = bench.make_log(rows)
    seconds = bench.in_turn({name: case(path) for name, case in CASES.items()}, rounds)
    memory = {(name, size): peak_memory(name, size) for name in CASES for size in (rows // 10, rows)}
    hand = seconds["summary_by_hand"]
    labels = {
        "summary_by_hand": "customer summary by one-pass SQL, written by hand",
        "episodes": "every stay as a DataFrame (`phase_episodes`)",
        "stays_to_file": f"every stay into a file, DuckDB held to {MEMORY} (`phase_stays`)",
    }
    lines = [
        f"## Phases of {rows:,} rows",
        "",
        f"| work | seconds | ratio to the SQL | goal | | peak memory, {rows // 10:,} -> {rows:,} rows |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in labels.items():
        goal, met = bench.verdict(seconds[name] / hand, 10) if name == "episodes" else ("", "")
        low, high = memory[name, rows // 10], memory[name, rows]
        lines.append(
            f"| {label} | {seconds[name]:.3g} | {seconds[name] / hand:.1f} | {goal} | {met} | {low:.0f} -> {high:.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help="run this once and print the peak memory in MB")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.case:
        CASES[args.case](bench.make_log(args.rows))()
        status = Path("/proc/self/status").read_text()
        print(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))
        return
    print(section(args.rows, args.rounds))


if __name__ == "__main__":
    main()
