"""What a multi-state fit costs beside R's survfit on the same rows: a section of docs/benchmarks.md.

Both get the stays in memory; reading is not timed. Ours is everything from the checks to occupancy and its errors at every
month (with Greenwood's also the hazards with theirs), R's is the call of survfit, which returns the same. Run alone, it
prints the section: `python tests/benchmarks/multistate.py [--stays 1500000]`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PHASES = ("exploration", "build-up", "stability", "decline", "lost")
R = """
suppressMessages(library(survival))
d <- read.csv("{path}", na.strings = "")
d$event <- factor(ifelse(is.na(d$next_phase), "cens", d$next_phase), c("cens", {phases}))
d$now <- factor(d$phase, c({phases}))
fast <- system.time(survfit(Surv(entry, exit, event) ~ 1, data = d, id = customer_id, istate = now, se.fit = FALSE))[["elapsed"]]
full <- system.time(f <- survfit(Surv(entry, exit, event) ~ 1, data = d, id = customer_id, istate = now))[["elapsed"]]
options(digits = 15, width = 10000)
cat(fast, full, "\\n"); cat(t(f$pstate), "\\n"); cat(t(f$std.err), "\\n")
cat(as.character(packageVersion("survival")), R.version$major, R.version$minor, "\\n")
"""


def stays(rows):
    """Generated stays of customers over 36 months; the same every time."""
    from test_multistate import monthly

    # A customer has 2.7 stays.
    table = monthly(int(rows / 2.6), np.random.default_rng(1))
    customers = table["customer_id"].to_numpy()
    table = table[customers < customers[rows]] if len(table) > rows else table
    # As R has factors, which it is not timed making.
    return table.assign(**{name: pd.Categorical(table[name], PHASES) for name in ("phase", "next_phase")})


def ours(table, errors):
    """The work: a fit, occupancy at each month with errors and, where survfit has them, nothing less."""
    from crmlab import lifecycle

    def work():
        fit = lifecycle.fit_multistate(table, errors=errors, phases=PHASES)
        found = fit.occupancy(np.arange(1, 37), level=0.95)
        return found, fit.cumulative_hazard() if errors == "greenwood" else fit.counts()

    return work


def in_r(table):
    """Seconds of survfit without and with errors, its probabilities and errors, and its version; None without R."""
    if not shutil.which("Rscript"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stays.csv"
        table.to_csv(path, index=False)
        script = R.format(path=path, phases=", ".join(f'"{name}"' for name in PHASES))
        done = subprocess.run(["Rscript", "--vanilla", "-e", script], capture_output=True, text=True, check=True)
    seconds, shares, errors, said = done.stdout.strip().splitlines()
    shares, errors = (np.array(line.split(), dtype=float).reshape(-1, len(PHASES)) for line in (shares, errors))
    version = said.split()
    return *map(float, seconds.split()), shares, errors, f"survival {version[0]}, R {version[1]}.{version[2]}"


def section(rows=1_500_000, rounds=5):
    """The lines of the page."""
    from bench import in_turn, verdict

    table = stays(rows)
    text = table.astype({"phase": object, "next_phase": object})
    works = {errors: ours(table, errors) for errors in ("greenwood", "jackknife")} | {"text": ours(text, "greenwood")}
    seconds = in_turn(works, rounds)
    theirs = in_r(table)
    lines = [
        "## Multi-state fits",
        "",
        f"{len(table):,} generated stays of {table['customer_id'].nunique():,} customers in 36 tied months, five phases, returns, delayed entry; in "
        f"memory as a DataFrame and as a data.frame, the phases as categories and factors. {theirs[4] if theirs else 'R is not installed'}, run once.",
        "",
        "| work | measured | goal | |",
        "|---|---|---|---|",
    ]

    def row(what, value, unit, goal=None):
        said, met = verdict(value, goal, False) if goal else ("", "")
        return f"| {what} | {value:.3g}{unit} | {said} | {met} |"

    labels = {"greenwood": "Greenwood errors", "jackknife": "jackknife errors"}
    lines += [row(f"checks, counting, fit, occupancy with {labels[name]}", seconds[name], " s") for name in labels]
    if theirs:
        fast, full, shares, errors, _ = theirs
        found = ours(table, "jackknife")()[0].unstack("phase")
        np.testing.assert_allclose(found["estimate"][list(PHASES)], shares, atol=1e-8)
        np.testing.assert_allclose(found["std_error"][list(PHASES)], errors, atol=1e-6)
        lines += [
            row("R `survfit`, jackknife errors (it has no others)", full, " s"),
            row("R `survfit`, `se.fit = FALSE`", fast, " s"),
            row("times faster, Greenwood errors", full / seconds["greenwood"], " x", 100),
            row("times faster, jackknife errors", full / seconds["jackknife"], " x", 20),
            row("times faster with Greenwood errors than R without any", fast / seconds["greenwood"], " x"),
            row("times faster with Greenwood errors, the phases as text", full / seconds["text"], " x"),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stays", type=int, default=1_500_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(section(args.stays, args.rounds))
