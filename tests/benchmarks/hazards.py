"""What a model of hazards with covariates costs beside lifelines and R's coxph on the same rows: a section of docs/benchmarks.md.

All get the stays in memory; reading is not timed. Ours is everything from the checks to coefficients and errors. Run alone, it
prints the section: `python tests/benchmarks/hazards.py [--customers 1000000]`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))

FORMULA = "channel + region + grade"
R = """
suppressMessages(library(survival))
d <- read.csv("{path}", na.strings = "", stringsAsFactors = TRUE)
for (ties in c("efron", "breslow")) {{
  s <- system.time(f <- coxph(Surv(entry, exit, moved) ~ channel + region + grade, data = d, ties = ties))[["elapsed"]]
  cat(s, coef(f), sqrt(diag(vcov(f))), "\\n")
}}
cat(as.character(packageVersion("survival")), R.version$major, R.version$minor, "\\n")
"""


def stays(customers):
    """Generated stays in one phase over 36 tied months, late entry, three categorical covariates; the same every time."""
    rng = np.random.default_rng(1)
    kinds = [rng.integers(0, size, customers) for size in (5, 4, 3)]
    hazard = 0.02 * np.exp(0.1 * kinds[0] - 0.15 * kinds[1] + 0.3 * kinds[2])
    leaves = np.ceil(rng.exponential(1 / hazard)).astype(np.int64)
    entry = np.where(rng.uniform(size=customers) < 0.3, rng.integers(0, 12, customers), 0)
    last = rng.integers(18, 37, customers)
    names = ["active", "gone"]
    table = pd.DataFrame(
        {
            "customer_id": np.arange(customers),
            "phase": pd.Categorical.from_codes(np.zeros(customers, np.int8), names),
            "entry": entry,
            "exit": np.minimum(leaves, last),
            "next_phase": pd.Categorical.from_codes(np.where(leaves <= last, 1, -1).astype(np.int8), names),
            **{
                name: pd.Categorical.from_codes(kind, list(letters))
                for name, kind, letters in zip(("channel", "region", "grade"), kinds, ("abcde", "wxyz", "rst"))
            },
        }
    )
    return table[leaves > entry].reset_index(drop=True)


def counts(table):
    """The same stays, counted."""
    columns = [name for name in table.columns if name != "customer_id"]
    return table.groupby(columns, dropna=False, observed=True, sort=False).size().rename("customers").reset_index()


def ours(table, **how):
    """The work: checks, counting, fit, table of coefficients."""
    from crmlab import lifecycle

    return lambda: lifecycle.fit_hazards(table, FORMULA, **how).summary()


def in_lifelines(table):
    """Seconds of lifelines' Cox on the rows, and its coefficients."""
    from lifelines import CoxPHFitter

    rows = table[["entry", "exit", "channel", "region", "grade"]].assign(moved=table["next_phase"].notna().astype(int))
    rows = pd.get_dummies(rows, columns=["channel", "region", "grade"], drop_first=True, dtype=float)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = CoxPHFitter().fit(rows, "exit", "moved", entry_col="entry")
    return time.perf_counter() - begin, fit.params_.to_numpy()


def in_r(table):
    """Seconds, coefficients and errors of coxph by Efron's and Breslow's rule, and its version; None without R."""
    if not shutil.which("Rscript"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stays.csv"
        table.assign(moved=table["next_phase"].notna().astype(int)).to_csv(path, index=False)
        done = subprocess.run(
            ["Rscript", "--vanilla", "-e", "options(digits = 15, width = 10000)\n" + R.format(path=path)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    *found, said = done.stdout.strip().splitlines()
    version = said.split()
    return [np.array(line.split(), float) for line in found], f"survival {version[0]}, R {version[1]}.{version[2]}"


def section(customers=1_000_000, rounds=5, largest=10_000_000):
    """The lines of the page."""
    from bench import in_turn, verdict, version

    table = stays(customers)
    works = {
        "grouped": ours(table, model="grouped"),
        "efron": ours(table, ties="efron"),
        "breslow": ours(table, ties="breslow"),
        "grouped, clustered": ours(table, model="grouped", errors="clustered"),
        "efron, clustered": ours(table, ties="efron", errors="clustered"),
    }
    seconds = in_turn(works, rounds)
    theirs, lifelines = in_r(table), in_lifelines(table)
    lines = [
        "## Hazards with covariates",
        "",
        f"{len(table):,} generated stays, one a customer, in 36 tied months with late entry; three categorical covariates (9 coefficients), as "
        f"categories in memory. lifelines {version('lifelines')} on rows with dummies, {theirs[1] if theirs else 'R is not installed'}; each peer once.",
        "",
        "| work | measured | goal | |",
        "|---|---|---|---|",
    ]

    def row(what, value, unit, goal=None, at_most=False):
        said, met = verdict(value, goal, at_most) if goal else ("", "")
        return f"| {what} | {value:.3g}{unit} | {said} | {met} |"

    labels = {
        "grouped": "grouped hazards: checks, counting, fit",
        "efron": "Cox, Efron's ties, the same",
        "breslow": "Cox, Breslow's ties, the same",
        "grouped, clustered": "grouped, errors clustered by customer",
        "efron, clustered": "Cox, Efron's ties, errors clustered by customer",
    }
    lines += [row(label, seconds[name], " s") for name, label in labels.items()]
    lines.append(row("lifelines `CoxPHFitter` (Efron)", lifelines[0], " s"))
    lines.append(row("grouped, times faster than lifelines", lifelines[0] / seconds["grouped"], " x", 20))
    if theirs:
        for found, ties in zip(theirs[0], ("efron", "breslow")):
            fit = works[ties]()
            np.testing.assert_allclose(fit["estimate"], found[1:10], atol=1e-6)
            np.testing.assert_allclose(fit["std_error"], found[10:], atol=1e-6)
        slow = theirs[0][0][0]
        lines += [
            row("R `coxph`, Efron's ties", slow, " s"),
            row("grouped, times faster than `coxph`", slow / seconds["grouped"], " x", 5),
            row("Cox with Efron's ties, times faster than `coxph`", slow / seconds["efron"], " x"),
        ]
    few, many = counts(stays(largest // 100)), counts(stays(largest))
    for model in ("grouped", "cox"):
        fits = in_turn({"few": ours(few, model=model), "many": ours(many, model=model)}, rounds)
        name = {"grouped": "grouped", "cox": "Cox, Efron's ties"}[model]
        lines += [
            row(f"{name} after counting, {largest:,} customers ({len(many):,} counts)", 1000 * fits["many"], " ms"),
            row(
                f"{name} after counting, {largest:,} customers over {largest // 100:,}",
                fits["many"] / fits["few"],
                " x",
                2,
                True,
            ),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(section(args.customers, args.rounds))
