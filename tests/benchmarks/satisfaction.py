"""Ordered logit on counts, beside polr and statsmodels on rows: a section of docs/benchmarks.md.

By itself: `python tests/benchmarks/satisfaction.py [--rows N]`. Every fit starts from the same rows in memory, ours counts them
first; R's time is that of `polr` alone, without reading the file or computing errors.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from bench import in_turn

FORMULA = "satisfaction ~ influence + type + contact"


def make_rows(rows):
    """Answers like those of Copenhagen, one row a tenant; the same rows every time."""
    from crmlab import datasets

    housing = datasets.load("housing")
    rng = np.random.default_rng(1)
    drawn = rng.choice(len(housing), rows, p=housing["tenants"] / housing["tenants"].sum())
    return housing.drop(columns="tenants").iloc[drawn].reset_index(drop=True)


def ours(data):
    from crmlab import satisfaction

    return lambda: satisfaction.fit_ordered(FORMULA, data).params


def of_statsmodels(data):
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    columns = pd.get_dummies(data[["influence", "type", "contact"]], drop_first=True).astype(float)
    return lambda: OrderedModel(data["satisfaction"], columns, distr="logit").fit(method="bfgs", disp=False).params


def polr_seconds(data):
    """Seconds that R's polr takes on the rows, and its estimates; None without R."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        data.to_csv(file, index=False)
        script = f"""
        library(MASS); d <- read.csv("{file}", stringsAsFactors = TRUE)
        d$satisfaction <- factor(d$satisfaction, c("Low", "Medium", "High"))
        d$influence <- factor(d$influence, c("Low", "Medium", "High")); d$contact <- factor(d$contact, c("Low", "High"))
        d$type <- factor(d$type, c("Tower", "Apartment", "Atrium", "Terrace"))
        cat(system.time(m <- polr({FORMULA}, data = d))[["elapsed"]], coef(m))"""
        done = subprocess.run([rscript, "--vanilla", "-e", script], capture_output=True, text=True, check=True)
    seconds, *estimates = map(float, done.stdout.split())
    return seconds, estimates


def section(rows=100_000, rounds=3):
    """The section of the page."""
    seconds = {"ours": [], "statsmodels": [], "polr": []}
    for size in (rows // 10, rows):
        data = make_rows(size)
        works = {"ours": ours(data), "statsmodels": of_statsmodels(data)}
        found = {name: work() for name, work in works.items()}  # the run that does not count
        np.testing.assert_allclose(found["ours"].iloc[:6], found["statsmodels"].iloc[:6], atol=2e-3)
        for name, median in in_turn(works, rounds).items():
            seconds[name].append(median)
        if polr := polr_seconds(data):
            np.testing.assert_allclose(found["ours"].iloc[:6], polr[1], atol=2e-3)
            seconds["polr"].append(polr[0])
    more = ours(make_rows(10 * rows))
    more()
    start = time.perf_counter()
    more()
    seconds["more"] = time.perf_counter() - start
    labels = {
        "ours": "ours, counting included",
        "statsmodels": "statsmodels `OrderedModel` on rows",
        "polr": "R's `MASS::polr` on rows (one run)",
    }
    page = [
        f"## Ordered logit, as the rows grow tenfold, from {rows // 10:,} to {rows:,}",
        "",
        "| work | seconds | ratio | times ours, at the larger |",
        "|---|---|---|---|",
    ]
    for name, label in labels.items():
        if not seconds[name]:
            page.append(f"| {label} | not installed | | |")
            continue
        small, large = seconds[name]
        page.append(
            f"| {label} | {small:.3g} -> {large:.3g} | {large / small:.1f} | {large / seconds['ours'][1]:.3g} |"
        )
    page.append(f"| ours, counting included, {10 * rows:,} rows | {seconds['more']:.3g} | | |")
    return "\n".join(page) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    warnings.simplefilter("ignore")
    print(section(parser.parse_args().rows))
