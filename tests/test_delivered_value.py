"""Delivered value: the scorecard, value in money, what-if; other implementations, recovery, exact sums, bad input."""

import dataclasses
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.tools.numdiff import approx_fprime

from crmlab import datasets, delivered_value, simulate
from crmlab.delivered_value import COST, VALUE, PriceWarning
from crmlab.delivered_value.live import STATIC

TRUTH = simulate.DELIVERED_VALUE
WORTH = pd.Series(TRUTH["part_worths"])
UTILITY = " + ".join(WORTH.index) + " + C(alternative)"
OFFERS = pd.DataFrame(TRUTH["offers"]).T.rename_axis("alternative")


def fit_bank(table, formula=UTILITY, cluster="customer_id", price="money", **more):
    return delivered_value.fit_choice(
        table, "occasion", "alternative", "chosen", formula, cluster=cluster, price=price, **more
    )


@pytest.fixture(scope="module")
def bank():
    return simulate.delivered_value_choices(customers=300, seed=11)


@pytest.fixture(scope="module")
def fit(bank):
    return fit_bank(bank)


@pytest.fixture(scope="module")
def survey():
    return simulate.delivered_value_survey(customers=300, seed=5)


def items(names):
    return {name: [f"{name}_1", f"{name}_2"] for name in names}


def card_of(survey, **more):
    return delivered_value.scorecard(survey, **{"value": items(VALUE), "cost": items(COST)} | more)


# --- in money: values and intervals -----------------------------------------------------------------------------------


def test_an_hour_at_the_terminal_over_generalised_cost_is_372_dollars():
    table = datasets.load("modechoice")
    table = table.assign(air=(table["mode"] == "air") * 1)
    with pytest.warns(PriceWarning, match="'ttme'.*no two prices on offer differed by more than"):
        fit = delivered_value.fit_choice(
            table, "individual", "mode", "choice", "gc + ttme + C(mode) + air:hinc", price="gc"
        )
        hour = fit.value_of_an_hour("ttme")
    assert round(hour.loc["ttme", "estimate"]) == 372


def test_delta_intervals_are_those_of_numerical_derivatives(fit):
    beta, names = fit.params.to_numpy(), list(fit.params.index)
    money = names.index("money")
    for name in ("service", "time"):
        k = names.index(name)
        slope = approx_fprime(beta, lambda b, k=k: np.array([-b[k] / b[money]]), centered=True).ravel()
        row = fit.willingness_to_pay().loc[name]
        assert row["estimate"] == pytest.approx(-fit.params[name] / fit.params["money"])
        assert row["std_error"] == pytest.approx(np.sqrt(slope @ fit.cov.to_numpy() @ slope), rel=1e-6)
        assert row["upper"] - row["lower"] == pytest.approx(2 * stats.norm.ppf(0.975) * row["std_error"])


def test_fiellers_limits_are_where_the_difference_is_just_significant(fit):
    k, p = fit.params.index.get_loc("service"), fit.params.index.get_loc("money")
    cov, z = fit.cov.to_numpy(), stats.norm.ppf(0.95)

    def excess(ratio):
        row = np.zeros(len(cov))
        row[k], row[p] = 1, ratio
        return (row @ fit.params) ** 2 - z**2 * row @ cov @ row

    middle = fit.willingness_to_pay().loc["service", "estimate"]
    limits = fit.willingness_to_pay(method="fieller", level=0.9).loc["service"]
    assert limits["lower"] == pytest.approx(optimize.brentq(excess, middle - 5, middle), rel=1e-8)
    assert limits["upper"] == pytest.approx(optimize.brentq(excess, middle, middle + 5), rel=1e-8)


def test_the_four_intervals_agree_where_the_price_is_well_known(fit):
    tables = {
        method: fit.willingness_to_pay(method=method) for method in ("delta", "krinsky_robb", "bootstrap", "fieller")
    }
    width = tables["delta"]["upper"] - tables["delta"]["lower"]
    for method in ("krinsky_robb", "fieller", "bootstrap"):
        # A ratio is skewed, which the delta method does not know; and 500 samples know the ends to about a tenth of the width.
        within = 0.2 if method == "bootstrap" else 0.1
        for end in ("lower", "upper"):
            assert (np.abs(tables[method][end] - tables["delta"][end]) < within * width).all(), (method, end)
    assert tables["bootstrap"].attrs["samples"] == 500
    again = fit.willingness_to_pay(method="krinsky_robb")
    pd.testing.assert_frame_equal(again, tables["krinsky_robb"])  # the seed decides
    assert not again.equals(fit.willingness_to_pay(method="krinsky_robb", seed=1))


def test_amounts_are_recovered_with_their_coverage():
    truth = (WORTH / -WORTH["money"]).drop("money")
    utility = OFFERS @ WORTH + pd.Series(TRUTH["constants"])
    branch = (utility["branch"] - utility["rival"]) / -WORTH["money"]
    inside = {"delta": [], "krinsky_robb": [], "fieller": []}
    for seed in range(250):
        fit = fit_bank(simulate.delivered_value_choices(customers=100, seed=seed), cluster=None)
        for method, hits in inside.items():
            table = fit.willingness_to_pay(method=method, draws=2000).loc[truth.index]
            offer = fit.delivered_value(OFFERS, "rival", method=method, draws=2000).loc["branch"]
            hits.append(
                [*((table["lower"] <= truth) & (truth <= table["upper"])), offer["lower"] <= branch <= offer["upper"]]
            )
    for method, hits in inside.items():
        assert np.abs(np.mean(hits, axis=0) - 0.95).max() < 3 * np.sqrt(0.95 * 0.05 / 250), method


def test_the_bootstrap_covers_choosers_who_differ():
    """Choosers with tastes of their own: their occasions are not independent, and resampling choosers allows for that."""
    # The pooled fit of a hurried and a thrifty half has a value of time of its own, read off many choosers.
    everybody = simulate.delivered_value_choices(customers=20_000, segments=TRUTH["segments"], seed=999)
    truth = fit_bank(everybody).value_of_an_hour("time")["estimate"].item()
    inside = {"bootstrap": [], "delta": []}
    rng = np.random.default_rng(0)
    for _ in range(80):
        # 100 of them, with the 8 tasks of 3 alternatives of each.
        rows = rng.choice(20_000, 100, replace=False)[:, None] * 24 + np.arange(24)
        fit = fit_bank(everybody.iloc[rows.ravel()])
        for method, hits in inside.items():
            row = fit.value_of_an_hour("time", method=method, draws=149).loc["time"]
            hits.append(row["lower"] <= truth <= row["upper"])
    for method, hits in inside.items():
        assert abs(np.mean(hits) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 80), method


def test_hours_have_units(fit):
    minutes = fit.value_of_an_hour("time").loc["time"]
    assert minutes["estimate"] == pytest.approx(-60 * fit.willingness_to_pay().loc["time", "estimate"])
    assert minutes["lower"] < minutes["estimate"] < minutes["upper"]
    hours = fit.value_of_an_hour(["time"], unit="hour").loc["time", "estimate"]
    assert hours == pytest.approx(minutes["estimate"] / 60)
    with pytest.raises(ValueError, match="unit= is one of 'second', 'minute', 'hour'; got 'day'"):
        fit.value_of_an_hour("time", unit="day")


# --- in money: plainly said -------------------------------------------------------------------------------------------


def test_a_price_of_the_wrong_sign_is_said_and_refused(bank):
    table = bank.assign(discount=-bank["money"])
    formula = UTILITY.replace("money", "discount")
    with pytest.warns(PriceWarning, match="'discount' is [+].*choosers prefer to pay more.*wrong sign"):
        fit = fit_bank(table, formula, price="discount")
    for ask in (
        lambda: fit.willingness_to_pay(),
        lambda: fit.value_of_an_hour("time"),
        lambda: fit.delivered_value(OFFERS.assign(discount=0), "rival"),
    ):
        with pytest.raises(ValueError, match="choosers prefer to pay more"):
            ask()
    # The fit itself stands.
    assert fit.summary().loc["discount", "estimate"] > 0


def test_a_price_coefficient_near_zero_is_said_and_fieller_shows_how_far_it_reaches():
    table = simulate.delivered_value_choices(customers=40, part_worths={"money": -0.01}, seed=0)
    fit = fit_bank(table)
    assert -1.96 * fit.summary().loc["money", "std_error"] < fit.params["money"] < 0
    with pytest.warns(PriceWarning) as said:
        limits = fit.willingness_to_pay(method="fieller")
    assert "it may be 0, and money amounts divide by it" in str(said[0].message)
    assert np.isneginf(limits["lower"]).all() and np.isposinf(limits["upper"]).all()


def test_prices_in_two_units_are_noticed(bank):
    cents = bank["alternative"] == "app"
    with pytest.warns(PriceWarning) as said:
        fit_bank(bank.assign(money=np.where(cents, 100 * bank["money"], bank["money"])))
    assert any("are some in cents, some in dollars?" in str(warning.message) for warning in said)


def test_amounts_beyond_all_prices_are_said():
    fit = fit_bank(simulate.delivered_value_choices(customers=300, part_worths={"money": -0.03}, seed=2))
    with pytest.warns(PriceWarning) as said:
        fit.willingness_to_pay()
    assert all("no two prices on offer differed by more than 12" in str(warning.message) for warning in said)
    assert {str(warning.message).split("'")[1] for warning in said} >= {"service", "product"}


@pytest.mark.parametrize(
    ("formula", "price", "says"),
    [
        ("money + time + money:time", "money", "the price enters also by money:time"),
        ("money + time", "cost", "price= is a column of the fit: money, time; got 'cost'"),
        ("money + time", None, "which column is the price"),
    ],
)
def test_prices_that_are_none(bank, formula, price, says):
    with pytest.raises(ValueError, match=says):
        fit_bank(bank, formula, price=price).willingness_to_pay()


# --- offers -----------------------------------------------------------------------------------------------------------


def test_decompositions_sum_exactly(fit):
    table = fit.delivered_value(OFFERS, reference="rival")
    parts = table.drop(columns=["delivered_value", "lower", "upper"])
    np.testing.assert_allclose(parts.sum(axis=1), table["delivered_value"], rtol=1e-13, atol=1e-13)
    utility = fit._design.apply(OFFERS.reset_index()) @ fit.params.to_numpy()
    np.testing.assert_allclose(
        table["delivered_value"], (utility - utility[1]) / -fit.params["money"], rtol=1e-10, atol=1e-12
    )
    assert (table.loc["rival"] == 0).all()
    # Grouped otherwise, the total is the same.
    grouped = fit.delivered_value(OFFERS, "rival", components={"value": list(VALUE), "cost": list(COST)})
    assert list(grouped) == ["value", "cost", "constant", "delivered_value", "lower", "upper"]
    np.testing.assert_allclose(grouped["delivered_value"], table["delivered_value"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(grouped["cost"], parts[list(COST)].sum(axis=1), rtol=1e-12, atol=1e-13)


def test_a_dollar_is_a_dollar(fit):
    offers = pd.concat([OFFERS.loc[["branch"]]] * 2).reset_index().set_axis(["today", "dearer"])
    offers["money"] = offers["money"].astype(float)
    offers.loc["dearer", "money"] += 1
    table = fit.delivered_value(offers, reference="today")
    assert table.loc["dearer", "delivered_value"] == pytest.approx(-1, abs=1e-12)
    assert table.loc["dearer", ["lower", "upper"]].tolist() == pytest.approx([-1, -1])


def test_an_opt_out_can_be_the_reference():
    fit = fit_bank(simulate.delivered_value_choices(customers=500, opt_out=True, seed=4))
    none = pd.DataFrame(0, index=pd.Index(["none"], name="alternative"), columns=OFFERS.columns)
    table = fit.delivered_value(pd.concat([OFFERS, none]), reference="none", level=0.999)
    utility = OFFERS @ WORTH + pd.Series(TRUTH["constants"]) - 2
    truth = utility / -WORTH["money"]
    table = table.drop("none")
    assert ((table["lower"] <= truth) & (truth <= table["upper"])).all()


def test_offers_that_cannot_be_valued_are_refused(fit):
    with pytest.raises(
        ValueError, match="reference= is one of the offers 'branch', 'rival', 'app'; got 'none'. Utility has no zero"
    ):
        fit.delivered_value(OFFERS, reference="none")
    with pytest.raises(ValueError, match="'tram' was not in the data"):
        fit.delivered_value(OFFERS.rename(index={"app": "tram"}), reference="rival")
    with pytest.raises(ValueError, match="no column is named 'time'"):
        fit.delivered_value(OFFERS.drop(columns="time"), reference="rival")
    with pytest.raises(ValueError, match="components= has time twice"):
        fit.delivered_value(OFFERS, "rival", components={"a": ["time"], "b": "time"})
    with pytest.raises(ValueError, match="method= is one of 'delta'"):
        fit.delivered_value(OFFERS, "rival", method="guess")


def test_the_waterfall_ends_where_the_value_is(fit):
    ax = fit.plot_delivered_value(OFFERS, "branch", "rival", unit="dollars a month")
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    table = fit.delivered_value(OFFERS, "rival").loc["branch"]
    np.testing.assert_allclose(sum(width for _, width in bars[:-1]), bars[-1][1], rtol=1e-12)
    assert bars[-1][1] == pytest.approx(table["delivered_value"])
    for (x, width), (following, _) in zip(bars[:-2], bars[1:-1]):
        assert x + width == pytest.approx(following)


# --- what if ----------------------------------------------------------------------------------------------------------


def test_what_if_is_prediction_and_its_surplus_integrates_the_share(fit):
    changes = {
        "shorter queue": {"branch": {"time": 15}},
        "lower fee": {"branch": {"money": lambda fee: fee - 2}},
        "nothing": {"branch": {"time": 25}},
        "both": {"branch": {"time": 15, "money": 4}},
    }
    table = fit.what_if(OFFERS, changes, costs={"shorter queue": 1.5})
    now = fit.predict(OFFERS.reset_index())
    then = fit.predict(OFFERS.assign(time=[15, 15, 5]).reset_index())
    assert table.loc["as it is", "share"] == pytest.approx(now[0])
    assert table.loc["shorter queue", "share"] == pytest.approx(then[0])
    assert table.loc["nothing", ["share_change", "surplus_change", "value_gained"]].tolist() == pytest.approx([0, 0, 0])
    # Two dollars less are worth two dollars, cost two dollars, and the surplus is the area under the share.
    fees = np.linspace(6, 4, 2001)
    shares = [fit.predict(OFFERS.assign(money=[fee, 5, 0]).reset_index())[0] for fee in fees[::20]]
    row = table.loc["lower fee"]
    assert row["value_gained"] == pytest.approx(2) and row["cost"] == 2 and row["value_per_cost"] == pytest.approx(1)
    assert row["value_lower"] == pytest.approx(2) == pytest.approx(row["value_upper"])
    assert row["surplus_change"] == pytest.approx(np.trapezoid(shares, fees[::-1][::20]), rel=1e-4)
    queue = table.loc["shorter queue"]
    assert queue["value_gained"] == pytest.approx(-10 * fit.willingness_to_pay().loc["time", "estimate"])
    assert queue["value_per_cost"] == pytest.approx(queue["value_gained"] / 1.5)
    assert table.loc["both", "value_gained"] == pytest.approx(queue["value_gained"] + 2)


def test_what_if_over_many_occasions_with_weights(fit, bank):
    some = bank[bank["occasion"] <= 50].assign(w=lambda t: 1.0 + t["occasion"] % 2)
    change = {"faster": {"app": {"time": lambda minutes: minutes - 1}}}
    table = fit.what_if(some, change, weights="w")
    p = fit.predict(some)[some["alternative"] == "app"]
    assert table.loc["as it is", "share"] == pytest.approx(np.average(p, weights=some["w"][p.index]))
    assert table.loc["faster", "value_gained"] == pytest.approx(-fit.willingness_to_pay().loc["time", "estimate"])


def test_who_takes_the_firm_gains_and_costs(fit):
    """Two occasions: where the change is large hardly anybody takes the firm, and those who do not gain nothing by it."""
    near, far = OFFERS.reset_index(), OFFERS.assign(time=[35, 15, 5], money=[9, 2, 2]).reset_index()
    market = pd.concat([near.assign(occasion=1), far.assign(occasion=2)], ignore_index=True)
    change = {"branch": {"time": 15, "money": 0}}
    row = fit.what_if(market, {"new": change}).loc["new"]
    taken = fit.predict(market)[market["alternative"] == "branch"].to_numpy()
    share = taken / taken.sum()
    assert share.max() > 0.6
    rows = market[market["alternative"] == "branch"]
    saved = rows["money"].to_numpy()
    gains = saved + fit.willingness_to_pay().loc["time", "estimate"] * (15 - rows["time"].to_numpy())
    assert row["value_gained"] == pytest.approx(share @ gains) and row["cost"] == pytest.approx(share @ saved)
    assert row["value_per_cost"] == pytest.approx(row["value_gained"] / row["cost"])

    def gained(beta):
        other = dataclasses.replace(fit, params=pd.Series(beta, fit.params.index))
        return np.array([other.what_if(market, {"new": change}).loc["new", "value_gained"]])

    slope = approx_fprime(fit.params.to_numpy(), gained, centered=True).ravel()
    error = np.sqrt(slope @ fit.cov.to_numpy() @ slope)
    assert row["value_upper"] - row["value_lower"] == pytest.approx(2 * 1.959964 * error, rel=1e-4)


def test_samples_without_a_maximum_are_left_out_and_few_choosers_can_be_drawn_for():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"occasion": np.repeat(np.arange(120), 3), "alternative": [*"abc"] * 120})
    table["money"] = rng.integers(1, 6, 360).astype(float)
    value = rng.gumbel(size=360) - 0.5 * table["money"] - 99.0 * (table["alternative"] == "c")
    value += 199.0 * (table["alternative"] == "c") * (table["occasion"] < 3)
    table["chosen"] = (value == value.groupby(table["occasion"]).transform("max")).astype(int)
    fit = fit_bank(table, "money + C(alternative)", cluster=None)
    with pytest.warns(PriceWarning, match=r"\d of 300 bootstrap samples have no maximum and are left out"):
        drawn = fit._bootstrap(300, np.random.default_rng(0))
    assert len(drawn) < 300 and drawn[:, -1].min() > -8
    few = simulate.delivered_value_choices(customers=6, seed=1)
    with pytest.warns(RuntimeWarning, match="6 choosers"):
        few = fit_bank(few)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PriceWarning)
        table = few.willingness_to_pay(method="krinsky_robb", draws=2000)
    assert np.isfinite(table[["lower", "upper"]]).all(axis=None)


def test_what_if_warns_of_levels_that_nobody_saw_and_names_what_is_wrong(fit):
    with pytest.warns(PriceWarning, match=r"becomes -10, outside the levels on offer \(5 to 30\).*lambda t: t - 10"):
        fit.what_if(OFFERS, {"teller": {"branch": {"time": -10}}})
    with pytest.warns(PriceWarning, match=r"becomes -35, outside the levels on offer \(5 to 30\)\.$"):
        fit.what_if(OFFERS, {"teller": {"branch": {"time": lambda t: t - 60}}})
    for changes in ({"branch": {"time": 15}}, {"teller": {"time": 15}}):
        with pytest.raises(ValueError, match="name of the change.*'time' is no alternative"):
            fit.what_if(OFFERS, changes)
    with pytest.raises(ValueError, match="'time' of 'branch' is a number.*got '15'"):
        fit.what_if(OFFERS, {"teller": {"branch": {"time": "15"}}})


def test_the_intervals_of_what_if_agree_with_draws(fit):
    change = {"shorter queue": {"branch": {"time": 15}}}
    row = fit.what_if(OFFERS, change).loc["shorter queue"]
    drawn = np.random.default_rng(0).multivariate_normal(fit.params, fit.cov, 40_000)

    def share(offers):
        value = np.exp(fit._design.apply(offers.reset_index()) @ drawn.T)
        return (value / value.sum(axis=0))[0]

    step = share(OFFERS.assign(time=[15, 15, 5])) - share(OFFERS)
    assert row["share_upper"] - row["share_lower"] == pytest.approx(2 * 1.96 * step.std(), rel=0.03)


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({"x": {"tram": {"time": 1}}}, {"firm": "app"}, "changes 'tram', which is not among the alternatives"),
        ({"x": {"app": {"colour": 1}}}, {}, "changes 'colour', which the utility does not know"),
        ({"x": {"app": {"time": 1}, "branch": {"time": 1}}}, {}, "say with firm= whose share"),
        ({"x": {"app": {"time": 1}}}, {"costs": {"y": 1}}, "costs= names 'y', which is no change"),
        ({"x": {"app": {"time": 1}}}, {"firm": "tram"}, "firm='tram' is not among"),
    ],
)
def test_changes_that_are_none(fit, changes, more, says):
    with pytest.raises(ValueError, match=says):
        fit.what_if(OFFERS, changes, **more)


def test_the_figure_of_shares_passes_through_the_prediction(fit):
    ax = fit.plot_what_if(OFFERS, "branch", "time", range(0, 41, 5), unit="minutes a visit")
    curve = ax.lines[0]
    wanted = [fit.predict(OFFERS.assign(time=[t, 15, 5]).reset_index())[0] for t in range(0, 41, 5)]
    np.testing.assert_allclose(curve.get_ydata(), wanted)
    assert ax.get_xlabel() == "time of branch, minutes a visit" and ax.get_ylabel() == "choice share"


def test_a_slider_shows_what_the_static_figure_shows(fit, monkeypatch):
    slider = fit.slider(OFFERS, "branch", "time", 0, 40, unit="minutes a visit")
    monkeypatch.setenv(STATIC, "1")
    assert list(slider._repr_mimebundle_()) == ["text/plain"]
    share = fit.predict(OFFERS.reset_index())[0]
    assert repr(slider).startswith(f"time of branch: 25 minutes a visit. Its choice share: {100 * share:.1f} %.")
    monkeypatch.delenv(STATIC)
    box = slider.widget()
    control, words, picture = box.children
    before = picture.value
    assert f"{100 * share:.1f} %" in words.value and bytes(before).startswith(b"\x89PNG")
    control.value = 5.0
    moved = fit.predict(OFFERS.assign(time=[5, 15, 5]).reset_index())[0]
    assert f"{100 * moved:.1f} %" in words.value and picture.value != before
    bundle = slider._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["text/plain"] == repr(slider)


def test_a_slider_of_a_column_that_is_not_there(fit):
    with pytest.raises(ValueError, match="changes 'colour'"):
        fit.slider(OFFERS, "branch", "colour", 0, 1)


# --- the scorecard ----------------------------------------------------------------------------------------------------


def by_hand(survey, firm, name):
    rows = survey[survey["firm"] == firm].set_index("customer_id")
    return rows[[f"{name}_1", f"{name}_2"]].mean(axis=1)


def test_components_and_totals_by_hand(survey):
    points = TRUTH["stated"]
    card = card_of(survey, importance=points)
    weight = pd.Series(points) / 100
    parts, total = card.components(), card.summary()
    for firm in ("branch", "rival", "app"):
        means = pd.Series({name: by_hand(survey, firm, name).mean() for name in (*VALUE, *COST)})
        np.testing.assert_allclose(parts.loc[firm, "rating"], means.loc[parts.loc[firm].index])
        value, cost = (means[list(side)] @ weight[list(side)] for side in (VALUE, COST))
        np.testing.assert_allclose(
            total.loc[firm, ["value", "cost", "estimate"]].astype(float), [value, cost, value - cost]
        )
        # With fixed weights a total is a mean over customers.
        score = sum((1 if n in VALUE else -1) * weight[n] * by_hand(survey, firm, n) for n in weight.index)
        assert total.loc[firm, "std_error"] == pytest.approx(score.sem(), rel=1e-6)
    assert card.nobs == 300 and parts.loc[("app", "time"), "answers"] == 300


def test_the_profile_is_a_paired_comparison_and_sums_exactly(survey):
    card = card_of(survey, importance=TRUTH["stated"])
    table = card.profile("branch", "rival")
    gap = by_hand(survey, "branch", "time") - by_hand(survey, "rival", "time")
    test = stats.ttest_rel(by_hand(survey, "branch", "time"), by_hand(survey, "rival", "time"))
    assert table.loc["time", "difference"] == pytest.approx(gap.mean())
    half = (table.loc["time", "upper"] - table.loc["time", "lower"]) / 2
    assert gap.mean() / (half / stats.norm.ppf(0.975)) == pytest.approx(test.statistic, rel=1e-6)
    assert table["contribution"].iloc[:-1].sum() == pytest.approx(table["contribution"].iloc[-1], rel=1e-12)
    total = card.summary()["estimate"]
    assert table.loc["delivered value", "difference"] == pytest.approx(total["branch"] - total["rival"])


def test_stated_weights_bring_their_own_error(survey):
    columns = {name: f"importance_{name}" for name in (*VALUE, *COST)}
    card = card_of(survey, importance=columns)
    fixed = card_of(survey, importance=card.weights.to_dict())
    assert card.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(card.summary()["estimate"], fixed.summary()["estimate"])
    # Resampling customers, with their ratings and their weights.
    rng = np.random.default_rng(0)
    by_customer = {name: rows for name, rows in survey.groupby("customer_id")}
    wide = np.stack(
        [rows[[c for n in (*VALUE, *COST) for c in (f"{n}_1", f"{n}_2")]].to_numpy() for rows in by_customer.values()]
    )
    scores = wide.reshape(len(wide), 3, 8, 2).mean(axis=3)
    stated = np.stack([rows[list(columns.values())].iloc[0] for rows in by_customer.values()])
    sign = np.array([1] * 4 + [-1] * 4)
    drawn = []
    for _ in range(2000):
        who = rng.integers(len(scores), size=len(scores))
        weight = stated[who].mean(axis=0)
        drawn.append(scores[who].mean(axis=0) @ (sign * weight / weight.sum()))
    np.testing.assert_allclose(card.summary()["std_error"], np.std(drawn, axis=0), rtol=0.06)
    assert (card.summary()["std_error"] > fixed.summary()["std_error"]).any()


def test_scorecard_intervals_cover():
    everybody = card_of(simulate.delivered_value_survey(customers=30_000, seed=1))
    truth = everybody.summary()["estimate"]
    scores = everybody._scores.sort_values("customer_id")
    inside = []
    for part in range(300):  # 100 customers each, past the door together
        some = dataclasses.replace(everybody, _scores=scores.iloc[300 * part : 300 * (part + 1)], nobs=100)
        table = some.summary()
        inside.append((table["lower"] <= truth) & (truth <= table["upper"]))
    assert np.abs(np.mean(inside, axis=0) - 0.95).max() < 3 * np.sqrt(0.95 * 0.05 / 300)


def test_the_tipping_weight_tips(survey):
    card = card_of(survey, importance=TRUTH["derived"])
    with pytest.raises(ValueError, match="draws= is a whole number, 1 or more"):
        card.sensitivity("branch", "rival", draws=0)
    table = card.sensitivity("branch", "rival")
    assert table.attrs["difference"] == pytest.approx(
        card.profile("branch", "rival").loc["delivered value", "difference"]
    )
    for name, tipping in table["tipping_weight"].dropna().items():
        rest = table["weight"].drop(name)
        moved = (rest / rest.sum() * (1 - tipping)).to_dict() | {name: tipping}
        level = card_of(survey, importance=moved).profile("branch", "rival").loc["delivered value", "difference"]
        assert level == pytest.approx(0, abs=1e-9)
    assert table["tipping_weight"].notna().any() and table["tipping_weight"].isna().any()
    gain = card.profile("branch", "rival")["difference"].to_numpy()[:-1] * ([1] * 4 + [-1] * 4)
    drawn = np.random.default_rng(1).exponential(size=(50_000, 8))  # uniform weights, made another way
    assert table.attrs["share_ahead"] == pytest.approx(np.mean(drawn @ gain > 0), abs=0.01)


def test_reliability_beside_r(r, survey):
    alpha = card_of(survey).reliability()
    answers = survey.loc[survey["firm"] == "branch", ["service_1", "service_2"]]
    script = f"""
    a <- c({", ".join(map(str, answers["service_1"]))}); b <- c({", ".join(map(str, answers["service_2"]))})
    s <- cov(cbind(a, b)); k <- 2; n <- length(a)
    alpha <- k / (k - 1) * (1 - sum(diag(s)) / sum(s))
    cat(alpha, 1 - (1 - alpha) * qf(c(.975, .025), n - 1, (n - 1) * (k - 1)), "\\n")
    """
    (wanted,) = r(script)
    found = alpha.loc[("service", "branch"), ["alpha", "lower", "upper"]].astype(float)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert alpha.loc[("service", "branch"), "answers"] == 300 and len(alpha) == 24


def test_derived_importance_finds_what_people_judge_by():
    survey = simulate.delivered_value_survey(customers=3000, seed=2)
    table = card_of(survey, importance=TRUTH["stated"], outcome="overall").derived_importance()
    assert table["stated"].idxmax() == "money" and table["derived"].idxmax() == "time"
    truth = 2 * pd.Series(TRUTH["derived"]) / 100
    # Items with error pull coefficients towards 0, and clipping does too: by less than a third here.
    ratio = table["coefficient"] / truth.loc[table.index]
    assert ratio.drop(["image", "effort"]).between(0.6, 1.1).all()
    with pytest.raises(ValueError, match="outcome="):
        card_of(survey).derived_importance()


def test_the_value_map_by_hand(survey):
    card = card_of(survey, importance=TRUTH["stated"])
    table = card.value_map({"branch": 6.0, "rival": 5.0, "app": 1.0})
    weight = card.weights.drop("money")
    quality = {}
    for firm in ("branch", "rival", "app"):
        turned = [
            by_hand(survey, firm, n).mean() if n in VALUE else 11 - by_hand(survey, firm, n).mean()
            for n in weight.index
        ]
        quality[firm] = np.average(turned, weights=weight)
    quality = pd.Series(quality)
    np.testing.assert_allclose(table["relative_quality"], quality / quality.mean())
    np.testing.assert_allclose(table["relative_price"], [1.5, 1.25, 0.25])
    assert table.attrs["slope"] == pytest.approx(0.3 / 0.7)
    assert table.loc["branch", "above_line"] == pytest.approx(
        (quality / quality.mean())["branch"] - 1 - 0.5 * 0.3 / 0.7
    )
    with pytest.raises(ValueError, match="a ratio of prices has no meaning at 0"):
        card.value_map({"branch": 6.0, "rival": 5.0, "app": 0.0})
    assert card.value_map("money")["relative_price"].mean() == pytest.approx(1)


def test_missing_answers_are_refused_left_out_or_used():
    survey = simulate.delivered_value_survey(customers=200, missing=0.05, seed=9)
    with pytest.raises(ValueError, match="missing"):
        card_of(survey)
    dropped, available = card_of(survey, missing="drop"), card_of(survey, missing="available")
    ratings = [c for n in (*VALUE, *COST) for c in (f"{n}_1", f"{n}_2")]
    whole = survey[ratings].notna().all(axis=1).sum()
    assert dropped.report.loc["rows kept", "found"] == whole < 600
    assert dropped.components()["answers"].groupby("firm").first().sum() == whole
    assert available.report.loc["rows kept", "found"] == 600
    mean = survey[survey["firm"] == "app"][["time_1", "time_2"]].mean(axis=1).mean()
    assert available.components().loc[("app", "time"), "rating"] == pytest.approx(mean)
    complete = card_of(simulate.delivered_value_survey(customers=200, seed=9)).summary()["estimate"]
    assert np.abs(available.summary()["estimate"] - complete).max() < 0.2


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        (lambda t: t, {"importance": {"product": 1}}, "importance= is said for every component"),
        (lambda t: t, {"importance": dict.fromkeys((*VALUE, *COST), 0)}, "not all 0"),
        (lambda t: t, {"importance": dict.fromkeys((*VALUE, *COST), 1) | {"time": "overall"}}, "not some of each"),
        (lambda t: t, {"missing": "guess"}, "missing= is one of"),
        (lambda t: t, {"cost": items(["product", "time"])}, "product stands under value= and under cost="),
        (lambda t: t, {"value": []}, "value= names no component"),
        (lambda t: pd.concat([t, t.iloc[:2]]), {}, "2 rows rate a firm that their customer rated already"),
        (lambda t: t.assign(time_1=t["time_1"] + 5), {}, "time_1"),
        (lambda t: t.iloc[:3], {}, "fewer than two customers rated"),
        (
            lambda t: t.assign(importance_time=t["importance_time"] + (np.arange(len(t)) == 0)),
            {"importance": {name: f"importance_{name}" for name in (*VALUE, *COST)}},
            "column 'importance_time': 1 customers state two importances",
        ),
        (lambda t: t.drop(columns="firm"), {}, "firm"),
    ],
)
def test_surveys_that_cannot_be_scored(survey, change, more, says):
    with pytest.raises(ValueError, match=says):
        card_of(change(survey), **more)


def test_asking_for_a_firm_that_is_not_there(survey):
    card = card_of(survey)
    with pytest.raises(ValueError, match="rival= is one of 'branch', 'rival', 'app'; got 'post'"):
        card.profile("branch", "post")
    with pytest.raises(ValueError, match="every component has one item"):
        delivered_value.scorecard(survey, value=["product_1"], cost=["time_1"]).reliability()


def test_the_figures_of_the_scorecard(survey):
    card = card_of(survey)
    for ax in (card.plot(), card.plot_profile("branch", "rival"), card.plot_value_map("money")):
        assert ax.get_xlabel() and ax.get_ylabel()


def test_importing_the_package_stays_light():
    code = "import sys, crmlab.delivered_value; print(sorted({'formulaic', 'ipywidgets', 'statsmodels'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
