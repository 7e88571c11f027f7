"""What a conditional logit costs beside statsmodels', as the rows grow tenfold; a section of the page that `bench.py` writes.

Two kinds of data: an experiment, whose situations repeat, so that they are counted, and attributes that never repeat, where
nothing is saved by counting.
"""

import numpy as np
import pandas as pd
from bench import in_turn

COLUMNS = ["price", "time", "service", "branch", "rival"]


def make_choices(occasions, repeating):
    """A long table of so many occasions with three alternatives each; the same rows every time."""
    rng = np.random.default_rng(occasions)
    x = rng.integers(0, 4, (24 if repeating else occasions, 3, 3)).astype(float)
    if repeating:
        x = x[rng.integers(0, 24, occasions)]
    else:
        x += rng.uniform(size=x.shape)
    utility = x @ [-0.3, -0.2, 0.4] + rng.gumbel(size=(occasions, 3))
    table = pd.DataFrame(x.reshape(-1, 3), columns=COLUMNS[:3])
    table["occasion"] = np.repeat(np.arange(occasions), 3)
    table["alternative"] = np.tile(["app", "branch", "rival"], occasions)
    table["chosen"] = (utility == utility.max(axis=1, keepdims=True)).ravel().astype(int)
    for name in COLUMNS[3:]:
        table[name] = (table["alternative"] == name).astype(float)
    return table


def ours(table):
    from crmlab import choice

    return lambda: choice.fit_conditional_logit(table, "occasion", "alternative", "chosen", " + ".join(COLUMNS))


def of_statsmodels(table):
    from statsmodels.discrete.conditional_models import ConditionalLogit

    def fit():
        return ConditionalLogit(table["chosen"], table[COLUMNS], groups=table["occasion"]).fit(disp=0)

    return fit


def section(small=1_000, rounds=3):
    """The section of the page: seconds at `small` and at ten times as many occasions, ours beside statsmodels'."""
    lines = [
        f"## Conditional logit, from {small:,} to {10 * small:,} occasions of three alternatives",
        "",
        f"Checks, formula, counting, estimates and errors, beside statsmodels' `ConditionalLogit` on columns that are ready. Medians of {rounds} runs in turn.",
        "",
        "| data | ours, seconds | ratio | statsmodels, seconds | ratio | times faster at the large size |",
        "|---|---|---|---|---|---|",
    ]
    for name, repeating in (("24 situations that repeat", True), ("no situation twice", False)):
        seconds = {}
        for size in (small, 10 * small):
            table = make_choices(size, repeating)
            np.testing.assert_allclose(  # the same estimates
                ours(table)().params, of_statsmodels(table)().params, atol=2e-3
            )
            seconds[size] = in_turn({"ours": ours(table), "theirs": of_statsmodels(table)}, rounds)
        a, b = seconds[small], seconds[10 * small]
        lines.append(
            f"| {name} | {a['ours']:.3g} -> {b['ours']:.3g} | {b['ours'] / a['ours']:.1f} | {a['theirs']:.3g} -> {b['theirs']:.3g} "
            f"| {b['theirs'] / a['theirs']:.1f} | {b['theirs'] / b['ours']:.0f} |"
        )
    return "\n".join(lines) + "\n"
