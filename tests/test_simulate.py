"""Generated data have the truth that they claim."""

import itertools

import numpy as np
import pandas as pd
import pytest

from crmlab import simulate


def test_the_shop_has_the_rates_it_says():
    log = simulate.shop(20_000, years=2, rate=4.0, shape=1.0, leaving=0.3, seed=3)
    assert log["customer_id"].nunique() == 20_000
    assert log["date"].dt.year.unique().tolist() == [2024, 2025]
    assert log["date"].is_monotonic_increasing and (log["amount"] >= 0).all()
    # Time under way before leaving: joining uniform over 1.5 of 2 years, leaving at a constant hazard.
    hazard = -np.log1p(-0.3)
    joined = np.linspace(0, 1.5, 10_001)
    exposure = np.mean((1 - np.exp(-hazard * (2 - joined))) / hazard)
    assert len(log) == pytest.approx(20_000 * (1 + 4.0 * exposure), rel=0.03)


def test_contracts_leave_as_the_beta_geometric_says():
    table = simulate.contracts(50_000, alpha=0.7, beta=1.2, seed=4, observed_until="2025-12-31")
    years = table["end"].dt.year - table["start"].dt.year
    # P(T = 1) = alpha / (alpha + beta), P(T > 2) = (1 - that) * (beta + 1) / (alpha + beta + 1).
    assert (years == 1).mean() == pytest.approx(0.7 / 1.9, abs=0.008)
    assert (years.fillna(99) > 2).mean() == pytest.approx(1.2 / 1.9 * 2.2 / 2.9, abs=0.008)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: simulate.shop(50, seed=seed),
        lambda seed: simulate.contracts(50, 1, 2, seed=seed),
        lambda seed: simulate.company_case(seed=seed),
        lambda seed: simulate.delivered_value_choices(20, seed=seed),
        lambda seed: simulate.delivered_value_survey(20, missing=0.1, seed=seed),
    ],
)
def test_the_seed_decides(make):
    assert make(1).equals(make(1)) and not make(1).equals(make(2))


# --- delivered value --------------------------------------------------------------------------------------------------

TRUTH = simulate.DELIVERED_VALUE
BETTER = {name: 1 if worth > 0 else -1 for name, worth in TRUTH["part_worths"].items()}


@pytest.mark.parametrize("seed", range(5))
def test_the_experiment_is_balanced_and_has_no_dominated_alternative(seed):
    design = simulate.choice_design(TRUTH["levels"], ["branch", "rival", "app"], 24, BETTER, seed=seed)
    for name in BETTER:
        assert (design.groupby("alternative")[name].value_counts() == 6).all()
    worth = design[list(BETTER)] * pd.Series(BETTER)
    for _, rows in worth.groupby(design["task"]):
        values = rows.to_numpy()
        for a, b in itertools.permutations(values, 2):
            assert not (a >= b).all()
    assert design.attrs["correlation"] < 0.5


def test_dominance_is_taken_out_where_chance_leaves_it():
    levels, better = {"price": (1, 2, 3), "speed": (1, 2, 3)}, {"price": -1, "speed": 1}
    for seed in range(10):
        design = simulate.choice_design(levels, ["a", "b"], 6, better, seed=seed)
        gap = design.groupby("task")[["price", "speed"]].diff().dropna()
        assert (gap["price"] * gap["speed"] > 0).all()  # the faster one is the dearer one
    with pytest.raises(ValueError, match=r"7 tasks cannot show every level equally often: price \(3 levels\)"):
        simulate.choice_design(levels, ["a", "b"], 7, better)
    with pytest.raises(ValueError, match="dominated alternatives could not be avoided"):
        simulate.choice_design(levels, ["a", "b", "c", "d", "e"], 6, better, seed=1)


def test_choices_follow_the_part_worths():
    table = simulate.delivered_value_choices(30_000, seed=1)
    value = table[list(BETTER)] @ pd.Series(TRUTH["part_worths"]) + table["alternative"].map(TRUTH["constants"])
    odds = np.exp(value)
    p = odds / odds.groupby(table["occasion"]).transform("sum")
    cells = pd.DataFrame({"p": p, "chosen": table["chosen"]}).groupby([table["task"], table["alternative"]])
    error = (cells["chosen"].mean() - cells["p"].mean()) / np.sqrt(
        cells["p"].mean() * (1 - cells["p"].mean()) / cells.size()
    )
    assert np.abs(error).max() < 4 and 0.7 < error.std() < 1.2
    assert table.groupby("occasion")["chosen"].sum().eq(1).all()
    assert table.groupby("customer_id")["occasion"].nunique().eq(8).all()


def test_segments_and_the_opt_out_are_there():
    table = simulate.delivered_value_choices(100, opt_out=True, segments=TRUTH["segments"], seed=1)
    assert table.groupby("customer_id")["segment"].nunique().eq(1).all()
    assert table.drop_duplicates("customer_id")["segment"].value_counts().to_dict() == {"hurried": 50, "thrifty": 50}
    none = table[table["alternative"] == "none"]
    assert (none[list(BETTER)] == 0).all(axis=None) and 0.1 < none["chosen"].mean() < 0.6
    assert table.attrs["truth"]["constants"]["none"] == 0


def test_the_survey_has_the_means_and_weights_it_says():
    table = simulate.delivered_value_survey(20_000, seed=1)
    means = table.groupby("firm")[[f"{name}_1" for name in BETTER]].mean()
    for firm, ratings in TRUTH["ratings"].items():
        # Clipping at the ends of the scale moves means near them by less than half a point.
        np.testing.assert_allclose(means.loc[firm], list(ratings.values()), atol=0.45)
    stated = table.drop_duplicates("customer_id")[[f"importance_{name}" for name in BETTER]].mean()
    np.testing.assert_allclose(stated, list(TRUTH["stated"].values()), atol=0.8)
    gone = simulate.delivered_value_survey(2000, missing=0.1, seed=1)
    share = gone[[f"{name}_{i}" for name in BETTER for i in (1, 2)]].isna().mean(axis=None)
    assert share == pytest.approx(0.1, abs=0.005)
