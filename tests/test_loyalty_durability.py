"""Which loyalty lasts: curves beside lifelines and R, differences and money beside the truth, classes by three steps."""

import lifelines
import numpy as np
import pandas as pd
import pytest

from crmlab import loyalty, simulate

TRUTH = simulate.LOYALTY
HAZARD = {
    (shock, kind): TRUTH["hazard"][k] * factors[k]
    for shock, factors in TRUTH["shocks"].items()
    for k, kind in enumerate(TRUTH["types"])
}


@pytest.fixture(scope="module")
def panel():
    return simulate.loyalty_panel(3000, weeks=2, seed=7)


@pytest.fixture(scope="module")
def fit(panel):
    return loyalty.fit_durability(panel.customers, "months", "left", group="type", shock="shock")


def test_curves_and_errors_are_those_of_kaplan_meier_and_greenwood(panel, fit):
    table = fit.survival([6, 12])
    for (shock, kind), rows in panel.customers.groupby(["shock", "type"], observed=True):
        peer = lifelines.KaplanMeierFitter().fit(rows["months"], rows["left"])
        events = peer.event_table.query("observed > 0")
        for t in (6.0, 12.0):
            ours = table.loc[(shock, kind, t)]
            assert ours["estimate"] == pytest.approx(peer.predict(t), abs=1e-12)
            past = events[events.index <= t]
            greenwood = (past["observed"] / (past["at_risk"] * (past["at_risk"] - past["observed"]))).sum()
            assert ours["std_error"] == pytest.approx(peer.predict(t) * np.sqrt(greenwood), rel=2e-3)
            limits = peer.confidence_interval_.asof(t).to_numpy()
            assert ours[["lower", "upper"]].to_numpy() == pytest.approx(limits, abs=2e-3)
    assert fit.largest_rise == 0 and fit.nobs == 3000


def test_curves_are_those_of_r(panel, fit, r, tmp_path):
    panel.customers.assign(left=panel.customers["left"].astype(int)).to_csv(tmp_path / "c.csv", index=False)
    estimates, errors, means = r(f"""
        library(survival)
        d <- read.csv("{tmp_path}/c.csv")
        d <- d[d$type == "benefit" & d$shock == "discount ends", ]
        f <- survfit(Surv(months, left) ~ 1, data = d)
        s <- summary(f, times = c(6, 12))
        cat(s$surv, "\\n"); cat(s$std.err, "\\n")
        m <- summary(f, rmean = 12)$table
        cat(m["rmean"], m["se(rmean)"], "\\n")""")
    ours = fit.survival([6, 12]).loc[("discount ends", "benefit")]
    assert ours["estimate"].to_numpy() == pytest.approx(estimates, abs=1e-10)
    assert ours["std_error"].to_numpy() == pytest.approx(errors, rel=2e-3)
    mean = fit.mean_time(12).loc[("discount ends", "benefit")]
    assert mean[["estimate", "std_error"]].to_numpy() == pytest.approx(means, rel=5e-3)
    assert mean["estimate"] == pytest.approx(means[0], abs=1e-10)


def test_weights_of_whole_numbers_are_repeated_rows():
    rows = pd.DataFrame({"customer_id": list("abcd"), "t": [1.0, 2, 3, 4], "e": [1, 0, 1, 0]})
    weights = pd.DataFrame({"x": [1.0, 2, 1, 3], "y": [2.0, 1, 1, 1]}, list("abcd"))
    found = loyalty.fit_durability(rows, "t", "e", membership=weights).survival([3])["estimate"]
    for name in "xy":
        copies = rows.loc[rows.index.repeat(weights[name].astype(int).to_numpy())]
        peer = lifelines.KaplanMeierFitter().fit(copies["t"], copies["e"])
        assert found[("all", name, 3.0)] == pytest.approx(peer.predict(3))


def test_intervals_of_differences_and_money_cover_the_truth():
    inside, runs, n = {"difference": 0, "money": 0, "against": 0}, 120, 700
    rng = np.random.default_rng(5)
    for _ in range(runs):
        kind, met = rng.integers(0, 2, n), rng.integers(0, 2, n)
        rate = np.array([[0.05, 0.15], [0.02, 0.03]])[kind, met]
        leaves, seen = rng.exponential(1 / rate), rng.uniform(12, 30, n)
        rows = pd.DataFrame(
            {
                "t": np.minimum(leaves, seen),
                "e": leaves <= seen,
                "kind": np.array(["a", "b"])[kind],
                "met": np.array(["none", "shock"])[met],
            }
        )
        found = loyalty.fit_durability(rows, "t", "e", group="kind", shock="met")
        s = np.exp(-10 * np.array([[0.05, 0.15], [0.02, 0.03]]))
        row = found.difference(10).loc[("shock", "a")]
        inside["difference"] += row["lower"] < s[0, 1] - s[0, 0] < row["upper"]
        row = found.difference(10, against="b").loc[("shock", "a")]
        inside["against"] += row["lower"] < (s[0, 1] - s[0, 0]) - (s[1, 1] - s[1, 0]) < row["upper"]
        area = (1 - s) / np.array([[0.05, 0.15], [0.02, 0.03]])
        true = 300 * 2.0 * (area[0, 0] - area[0, 1]) + 100 * 5.0 * (area[1, 0] - area[1, 1])
        row = found.value_at_risk({"a": 2.0, "b": 5.0}, 10, customers={"a": 300, "b": 100}).loc[("shock", "all")]
        inside["money"] += row["lower"] < true < row["upper"]
    for covered in inside.values():
        assert abs(covered / runs - 0.95) < 3 * np.sqrt(0.95 * 0.05 / runs)


def test_the_shock_of_each_type_is_found(fit):
    table = fit.difference(12, level=0.9999)
    for (shock, kind), row in table.iterrows():
        true = np.exp(-12 * HAZARD[shock, kind]) - np.exp(-12 * HAZARD["none", kind])
        assert row["lower"] < true < row["upper"]
    for shock, victim in {"rival enters": "monopoly", "discount ends": "benefit", "staff leave": "kinship"}.items():
        assert table.loc[(shock, victim), "upper"] < 0
    assert (table.xs("trust", level="type")["estimate"] > -0.2).all()


def test_classes_with_the_correction_are_nearer_to_the_truth_than_assigned_ones():
    """Two types asked by blunt questions: assigned classes are alike, the corrected ones apart as the types are."""
    rng = np.random.default_rng(2)
    n, gaps = 1200, []
    true = np.exp(-12 * 0.02) - np.exp(-12 * 0.10)
    for _ in range(16):
        kind = rng.uniform(size=n) < 0.5
        scores = pd.DataFrame(
            rng.standard_normal((n, 3)) + 1.6 * kind[:, None], [f"c{i}" for i in range(n)], list("xyz")
        )
        leaves = rng.exponential(1 / np.where(kind, 0.02, 0.10))
        rows = pd.DataFrame({"customer_id": scores.index, "t": np.minimum(leaves, 24), "e": leaves < 24})
        classes = loyalty.fit_classes(scores, 2, starts=1)
        low, high = classes.profiles["x"].idxmin(), classes.profiles["x"].idxmax()
        gap = []
        for way in (classes, pd.get_dummies(classes.modal).astype(float)):
            s = loyalty.fit_durability(rows, "t", "e", membership=way).survival([12])["estimate"]
            gap.append(s[("all", high, 12.0)] - s[("all", low, 12.0)])
        gaps.append(gap)
    corrected, assigned = np.mean(gaps, axis=0)
    error = np.std(gaps, axis=0)[0] / 4
    assert abs(corrected - true) < 3 * error + 0.01
    assert assigned < true - 0.03  # the bias that the correction takes away


def test_bad_tables_are_refused(panel):
    rows = panel.customers
    arguments = {"time": "months", "event": "left", "group": "type", "shock": "shock"}

    def refused(data, message, **change):
        with pytest.raises(ValueError, match=message):
            loyalty.fit_durability(data, **(arguments | change))

    refused(rows, "no column is named 'weeks'", time="weeks")
    refused(rows.assign(months=rows["months"] - 5), "column 'months': .* times are not above 0")
    refused(rows.assign(left=2), "says by 1 and 0")
    refused(rows.assign(left=False), "nobody left")
    refused(rows, "control= is one of the values of 'shock'", control="calm")
    refused(rows, "either group=.*or membership=", group=None)
    refused(
        rows.assign(type=rows["type"].astype(object).where(rows.index > 2)), "column 'type': 3 of 3000 rows are missing"
    )
    refused(rows[:0], "has no rows")
    refused(rows, "3000 are missing", group=None, membership=pd.DataFrame({"a": [1.0]}, ["z"]))
    one = loyalty.fit_durability(rows[rows["left"]][:1], "months", "left", group="type")
    assert one.survival([99])["estimate"].item() == 0 and one.survival([0.001])["estimate"].item() == 1


def test_a_customer_stands_once_and_weights_are_known(panel):
    rows = panel.customers[:100]
    with pytest.raises(ValueError, match=r"'customer_id': 1 rows repeat a customer \(.*\)\. Fix"):
        loyalty.fit_durability(pd.concat([rows, rows[:1]], ignore_index=True), "months", "left", group="type")
    weights = pd.DataFrame({"a": 1.0, "b": 0.0}, pd.Index(rows["customer_id"]))
    with pytest.raises(ValueError, match="membership=: 1 rows repeat a customer"):
        loyalty.fit_durability(rows, "months", "left", membership=pd.concat([weights, weights[:1]]))
    weights.iloc[3, 0] = np.nan
    with pytest.raises(ValueError, match="membership= is missing or infinite for 1 of 100"):
        loyalty.fit_durability(rows, "months", "left", membership=weights)
    with pytest.raises(TypeError, match="LatentClasses or a pandas DataFrame"):
        loyalty.fit_durability(rows, "months", "left", membership=[1.0] * 100)
    with pytest.raises(ValueError, match="named 'all'"):
        loyalty.fit_durability(rows.assign(type="all"), "months", "left", group="type")
    with pytest.raises(ValueError, match="'none' for all .* nobody met a shock"):
        loyalty.fit_durability(panel.customers.query("shock == 'none'"), "months", "left", group="type", shock="shock")


def test_where_nobody_or_everybody_left_the_error_is_not_known():
    rows = pd.DataFrame(
        {
            "t": [5.0, 6, 7, 8, 1, 2, 9, 9],
            "e": [0, 0, 0, 0, 1, 1, 0, 0],
            "kind": "a",
            "met": ["none"] * 4 + ["shock"] * 4,
        }
    )
    found = loyalty.fit_durability(rows, "t", "e", group="kind", shock="met")
    table = found.survival([3])
    assert table.loc[("none", "a", 3.0), "estimate"] == 1
    assert table.loc[("none", "a", 3.0), ["std_error", "lower", "upper"]].isna().all()
    assert table.loc["shock"].notna().all(axis=None)
    with pytest.warns(UserWarning, match="nobody, or everybody, left of 'a' with 'none'"):
        found.difference(3)
    with pytest.warns(UserWarning, match="these intervals are too short"):
        found.value_at_risk(1.0, 3)
    # Negative weights can lift a curve above 1: no interval stays within 0 and 1 then.
    rows = pd.DataFrame({"customer_id": list("abcd"), "t": [1.0, 2, 3, 4], "e": [1, 0, 0, 0]})
    weights = pd.DataFrame({"x": [-0.2, 1, 1, 1]}, list("abcd"))
    above = loyalty.fit_durability(rows, "t", "e", membership=weights).survival([2]).iloc[0]
    assert above["estimate"] > 1 and above[["std_error", "lower", "upper"]].isna().all()


def test_what_is_held_less_the_cost_has_one_interval(panel, fit):
    margin, paid = {name: 10.0 for name in fit.groups}, {name: 2.0 for name in fit.groups}
    held = fit.value_at_risk(margin, 12).loc["discount ends"]
    net = fit.value_at_risk(margin, 12, cost=paid).loc["discount ends"]
    stay = fit.mean_time(12).loc["none", "estimate"]
    cost = 2.0 * fit.customers * stay
    for name in fit.groups:
        assert held.loc[name, "estimate"] - net.loc[name, "estimate"] == pytest.approx(cost[name])
    assert held.loc["all", "estimate"] - net.loc["all", "estimate"] == pytest.approx(cost.sum())
    # With a cost as high as the margin only those who stay without it count, and only their error.
    net = fit.value_at_risk(10.0, 12, cost=10.0).loc[("discount ends", "benefit")]
    alone = fit.mean_time(12).loc[("discount ends", "benefit")]
    worth = 10.0 * fit.customers["benefit"]
    assert net[["estimate", "std_error"]].to_numpy() == pytest.approx(
        [-worth * alone["estimate"], worth * alone["std_error"]]
    )
    with pytest.raises(ValueError, match="cost= has no value for"):
        fit.value_at_risk(10.0, 12, cost={"trust": 1.0})


def test_questions_that_cannot_be_answered_are_said(panel, fit):
    with pytest.raises(ValueError, match="nothing is known of it at 60"):
        fit.survival([60])
    with pytest.raises(ValueError, match="there is no shock in this fit"):
        loyalty.fit_durability(panel.customers, "months", "left", group="type").difference(5)
    with pytest.raises(ValueError, match="against= is one of"):
        fit.difference(5, against="love")
    with pytest.raises(ValueError, match="margin= has no value for 'kinship'"):
        fit.value_at_risk({"monopoly": 1.0}, 10)
    with pytest.raises(ValueError, match="shock= is one of"):
        fit.plot("war")


def test_the_figure_has_a_curve_a_type(fit):
    ax = fit.plot("discount ends", groups=["trust", "benefit"])
    assert len(ax.lines) == 2 and ax.get_xlabel() == "months since the shock"
    assert ax.lines[1].get_ydata()[0] == 1 and ax.lines[1].get_ydata()[-1] < 0.3
