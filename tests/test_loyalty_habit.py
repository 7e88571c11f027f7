"""Habit or taste: brand choice with state dependence, beside the conditional logit, and a test that needs no model of taste."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special

from crmlab import choice, datasets, loyalty, simulate
from crmlab.likelihood import BoundaryWarning

FORMULA = "price + promotion"
HABIT = "bought last time"


@pytest.fixture(scope="module")
def homes():
    return simulate.brand_choices(120, 10, state=0.8, seed=3)


def test_one_taste_is_the_conditional_logit_with_errors_by_customer(homes):
    fit = loyalty.fit_brand_choice(homes, FORMULA)
    rows = homes.sort_values(["customer_id", "purchase"])
    took = rows[rows["chosen"] == 1].set_index(["customer_id", "purchase"])["brand"].astype(str)
    before = took.groupby(level=0).shift()
    key = pd.MultiIndex.from_frame(rows[["customer_id", "purchase"]])
    rows = rows.assign(last=(before.reindex(key).to_numpy() == rows["brand"].astype(str).to_numpy()).astype(int))
    rows = rows[rows["purchase"] > 0]
    rows = rows.assign(occasion=rows.groupby(["customer_id", "purchase"]).ngroup())
    peer = choice.fit_conditional_logit(
        rows, "occasion", "brand", "chosen", "price + promotion + last + C(brand)", cluster="customer_id"
    )
    names = ["price", "promotion", "last", "brand[B]", "brand[C]", "brand[D]"]
    assert fit.params.to_numpy() == pytest.approx(peer.params[names].to_numpy(), abs=1e-5)
    assert fit.loglik == pytest.approx(peer.loglik, abs=1e-6)
    errors = np.sqrt(np.diag(peer.cov.loc[names, names]))
    assert fit.summary()["std_error"].to_numpy() == pytest.approx(errors, rel=1e-4)
    assert fit.nobs == 120 and fit.purchases == 120 * 9 and fit.left_out == 0


def test_classes_of_taste_beside_a_likelihood_written_out(homes):
    """The log-likelihood of two classes, customer by customer, and its maximum by another optimiser."""
    few = homes[homes["customer_id"] < "h0060"]
    fit = loyalty.fit_brand_choice(few, FORMULA, classes=2, starts=3)

    def loglik(b):
        beta, gamma, delta = b[:2], b[2], np.append(b[9], b[9] + b[10:13])
        alpha = np.column_stack([[0, 0], b[3:9].reshape(2, 3)])
        total = 0.0
        for _, mine in few.groupby("customer_id"):
            x = mine[["price", "promotion"]].to_numpy().reshape(-1, 4, 2)
            y = mine["chosen"].to_numpy().reshape(-1, 4).argmax(axis=1)
            logs = np.array([0.0, delta[y[0]]])
            logs -= special.logsumexp(logs)
            for k in range(2):
                u = x[1:] @ beta + alpha[k] + gamma * (y[:-1, None] == np.arange(4))
                logs[k] += np.sum(u[np.arange(len(y) - 1), y[1:]] - special.logsumexp(u, axis=1))
            total += special.logsumexp(logs)
        return total

    b = fit.params.to_numpy()
    assert fit.loglik == pytest.approx(loglik(b), abs=1e-8)
    # Its gradient vanishes there, but for the weak penalty.
    wide = np.r_[np.zeros(3), np.full(10, 0.01)]
    slope = [(loglik(b + 1e-5 * e) - loglik(b - 1e-5 * e)) / 2e-5 for e in np.eye(13)]
    assert np.array(slope) - wide * b == pytest.approx(0, abs=0.01)
    assert fit.tastes["share"].is_monotonic_decreasing and fit.posterior.sum(axis=1).to_numpy() == pytest.approx(1)


def test_order_only_is_chamberlains_conditional_likelihood():
    """One block, no attributes but one: the probabilities of the orders, written out; tastes cancel whatever they are."""
    panel = simulate.brand_choices(60, 6, state=0.7, price=0.0, promotion=0.0, seed=4)
    panel["noise"] = np.random.default_rng(1).standard_normal(len(panel))
    found = loyalty.state_dependence_test(panel, "noise", block=4)

    def loglik(b):
        total = 0.0
        for _, mine in panel.groupby("customer_id"):
            x = mine["noise"].to_numpy().reshape(-1, 4)
            y = mine["chosen"].to_numpy().reshape(-1, 4).argmax(axis=1)
            values = {}
            for order in set(itertools.permutations(y[1:5])):
                whole = [y[0], *order, y[5]]
                repeats = sum(i == j for i, j in zip(whole, whole[1:]))
                values[order] = b[0] * sum(x[t + 1, j] for t, j in enumerate(order)) + b[1] * repeats
            total += values[tuple(y[1:5])] - special.logsumexp(list(values.values()))
        return total

    done = optimize.minimize(lambda b: -loglik(b), [0.0, 0.0])
    assert found.params.to_numpy() == pytest.approx(done.x, abs=1e-4)
    plain = optimize.minimize_scalar(lambda b: -loglik([b, 0.0]))
    assert found.statistic == pytest.approx(2 * (plain.fun - done.fun), abs=1e-5)
    assert found.customers == 60 and found.blocks + found.left_out == 60


@pytest.mark.parametrize(("taste", "sd"), [("normal", 1.2), ("camps", 0.8)])
def test_pure_taste_is_rejected_in_one_panel_of_twenty(taste, sd):
    """200 panels without habit, tastes of two quite different kinds, first purchases from the middle of a life."""
    rejected, naive = 0, 0
    for seed in range(200):
        panel = simulate.brand_choices(120, 12, state=0.0, taste=taste, taste_sd=sd, seed=seed)
        rejected += loyalty.state_dependence_test(panel, FORMULA).p_value < 0.05
        if seed < 10:
            naive += loyalty.fit_brand_choice(panel, FORMULA).summary().loc[HABIT, "lower"] > 0
    assert rejected / 200 <= 0.05 + 1.96 * np.sqrt(0.05 * 0.95 / 200)
    assert rejected > 1  # and it is a test: it does reject now and then
    assert naive == 10  # where one taste for all finds habit every time


def test_habit_is_found_and_sized():
    """Without prices that change the order-only estimate is right on average; intervals hold the truth in 95 of 100."""
    covered, estimates, rejected = 0, [], 0
    for seed in range(100):
        panel = simulate.brand_choices(150, 12, state=0.8, price=0.0, promotion=0.0, seed=seed)
        panel["noise"] = np.random.default_rng(seed).standard_normal(len(panel))
        found = loyalty.state_dependence_test(panel, "noise")
        row = found.summary().loc[HABIT]
        covered += row["lower"] < 0.8 < row["upper"]
        rejected += found.p_value < 0.05
        estimates.append(found.estimate)
    assert covered / 100 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100) and rejected == 100
    assert np.mean(estimates) == pytest.approx(0.8, abs=3.5 * np.std(estimates) / 10)


def test_tastes_take_away_what_passed_for_habit():
    panel = simulate.brand_choices(150, 12, state=0.0, taste="camps", taste_sd=0.8, seed=5)
    one = loyalty.fit_brand_choice(panel, FORMULA).summary().loc[HABIT]
    two = loyalty.fit_brand_choice(panel, FORMULA, classes=2, starts=2)
    assert one["lower"] > 0.5
    row = two.summary().loc[HABIT]
    assert row["lower"] < 0 < row["upper"]  # two camps are two classes: the model is true, and finds no habit
    best = two.tastes[["A", "B"]].max(axis=1)
    assert (best > 0.7).all() and two.bic < loyalty.fit_brand_choice(panel, FORMULA).bic
    assert two.loglik >= loyalty.fit_brand_choice(panel, FORMULA, classes=2, starts=2, state=False).loglik


def test_shares_of_inertia_and_promotion(homes):
    fit = loyalty.fit_brand_choice(homes, FORMULA)
    table = fit.decompose("promotion", draws=100)
    first, second = table.loc["inertia first", "repeat"], table.loc["promotion first", "repeat"]
    assert first["as it is"] == second["as it is"]
    assert first["then without promotion"] == second["then without inertia"]
    assert table.loc[("inertia first", "without inertia"), "change"] < 0
    assert first["as it is"] == pytest.approx(first.iloc[-1] - table.loc["inertia first", "change"].sum())
    # By hand: the mean probability of the brand of last time, promotions off.
    rows = homes.sort_values(["customer_id", "purchase"])
    x = rows[["price", "promotion"]].to_numpy().reshape(120, 10, 4, 2).copy()
    y = rows["chosen"].to_numpy().reshape(120, 10, 4).argmax(axis=2)
    x[..., 1] = 0
    b = fit.params
    last = (y[:, :-1, None] == np.arange(4)).astype(float)
    u = x[:, 1:] @ b[["price", "promotion"]].to_numpy() + np.append(0, b[3:6]) + b[HABIT] * last
    expected = (special.softmax(u, axis=2) * last).sum(axis=2).mean()
    assert second["without promotion"] == pytest.approx(expected)
    own = fit.decompose({"promotion": 0, "price": 3.0}, brand="A", draws=20)
    assert own.loc[("promotion first", "without promotion"), "change"] < 0
    with pytest.raises(ValueError, match="names columns of the formula"):
        fit.decompose("display")
    with pytest.raises(ValueError, match="brand= is one of 'A'"):
        fit.decompose("promotion", brand="Z")
    with pytest.raises(ValueError, match="no inertia to set to zero"):
        loyalty.fit_brand_choice(homes, FORMULA, state=False).decompose("promotion")


def test_purchases_to_choices_both_ways(homes):
    wide = homes.pivot(index=["customer_id", "purchase"], columns="brand", values=["price", "promotion"])
    wide.columns = [f"{name}_{brand}" for name, brand in wide.columns]
    wide["brand"] = homes[homes["chosen"] == 1].set_index(["customer_id", "purchase"])["brand"]
    long = loyalty.choice_panel(wide.reset_index(), "brand", order="purchase", attributes=["price", "promotion"])
    fit, again = (loyalty.fit_brand_choice(rows, FORMULA) for rows in (homes, long))
    assert fit.params.to_numpy() == pytest.approx(again.params.to_numpy())
    panel = simulate.loyalty_panel(50, seed=1)
    rows = loyalty.choice_panel(panel.purchases, "supplier", order="date", offers=panel.offers, on="week")
    assert (
        len(rows) == 3 * len(panel.purchases) and rows.groupby(["customer_id", "purchase"])["chosen"].sum().eq(1).all()
    )
    week = panel.purchases.sort_values(["customer_id", "date"])["week"].to_numpy()
    keyed = panel.offers.set_index(["week", "supplier"])["price"]
    assert rows["price"].iloc[:3].tolist() == [keyed[(week[0], s)] for s in ("ours", "east", "west")]
    with pytest.raises(ValueError, match="rows have no offer .week, supplier"):
        loyalty.choice_panel(panel.purchases, "supplier", offers=panel.offers[panel.offers["week"] > 3], on="week")
    with pytest.raises(ValueError, match="no column is named 'price_A'"):
        loyalty.choice_panel(wide.reset_index().drop(columns="price_A"), "brand", attributes=["price"])
    with pytest.raises(ValueError, match="belong together"):
        loyalty.choice_panel(panel.purchases, "supplier", offers=panel.offers)


def test_what_says_nothing_of_habit_is_said(homes):
    with pytest.raises(ValueError, match="all 120 customers have one purchase"):
        loyalty.fit_brand_choice(homes[homes["purchase"] == 0], FORMULA)
    faithful = homes.assign(chosen=(homes["brand"] == "A").astype(int))
    with pytest.raises(ValueError, match="always buys the same says nothing of habit"):
        loyalty.state_dependence_test(faithful, FORMULA)
    with pytest.raises(ValueError, match="no column is named 'display'"):
        loyalty.fit_brand_choice(homes, "display")
    with pytest.raises(ValueError, match="have no choice"):
        loyalty.fit_brand_choice(homes.assign(chosen=0), FORMULA)
    with pytest.raises(ValueError, match="block= is a whole number"):
        loyalty.state_dependence_test(homes, FORMULA, block=9)
    with pytest.raises(ValueError, match="classes= is a whole number"):
        loyalty.fit_brand_choice(homes, FORMULA, classes=0)
    once = homes[(homes["customer_id"] > "h0000") | (homes["purchase"] == 0)]
    assert loyalty.fit_brand_choice(once, FORMULA).left_out == 1


def test_prices_in_cents_change_nothing_but_the_unit(homes):
    a = loyalty.fit_brand_choice(homes, FORMULA, classes=2, starts=2)
    b = loyalty.fit_brand_choice(homes.assign(price=100 * homes["price"] + 5000), FORMULA, classes=2, starts=2)
    assert b.params["price"] * 100 == pytest.approx(a.params["price"], rel=1e-3)
    assert b.loglik == pytest.approx(a.loglik, abs=1e-3)


@pytest.mark.parametrize("unit", [0.01, 1e6])
@pytest.mark.parametrize("classes", [1, 2])
def test_no_unit_of_a_price_makes_an_edge_or_another_error(homes, unit, classes):
    a, b = (
        loyalty.fit_brand_choice(homes.assign(price=u * homes["price"]), FORMULA, classes, starts=2) for u in (1, unit)
    )
    assert b.boundary is None and b.converged
    price = b.summary().loc["price"] * unit
    assert price.to_numpy() == pytest.approx(a.summary().loc["price"].to_numpy(), rel=1e-4)


@pytest.mark.parametrize("unit", [1e-4, 1, 1000])
@pytest.mark.parametrize("classes", [1, 2])
def test_an_attribute_that_decides_is_named_in_any_unit(homes, unit, classes):
    tells = homes["chosen"] * (np.random.default_rng(5).uniform(size=len(homes)) < 0.1) * unit
    with pytest.warns(BoundaryWarning, match="brand choice: off to infinity: 'tells'. The choice"):
        fit = loyalty.fit_brand_choice(homes.assign(tells=tells), "price + tells", classes, starts=2)
    assert fit.boundary and fit.summary()["std_error"].isna().all()


@pytest.mark.parametrize("kind", [str, "string", "category"])
def test_numbers_as_text_are_no_order(homes, kind):
    rows = homes.assign(purchase=(homes["purchase"] + 2).astype(str).astype(kind))
    message = r"'purchase' orders .* numbers as text .* '10' comes before '2'. Fix: data\['purchase'\] = pd.to_numeric"
    for call in (loyalty.fit_brand_choice, loyalty.state_dependence_test):
        with pytest.raises(ValueError, match=message):
            call(rows, FORMULA)
    taken = rows[rows["chosen"] == 1]
    with pytest.raises(ValueError, match=message):
        loyalty.choice_panel(taken, "brand", order="purchase", attributes=["price"])
    # Categories in the order of their numbers are one.
    right = rows["purchase"].astype(str).astype(pd.CategoricalDtype([str(k) for k in range(2, 12)]))
    fit = loyalty.fit_brand_choice(rows.assign(purchase=right), FORMULA)
    assert fit.loglik == pytest.approx(loyalty.fit_brand_choice(homes, FORMULA).loglik)


def test_figures(homes):
    for drawn in (loyalty.fit_brand_choice(homes, FORMULA), loyalty.state_dependence_test(homes, FORMULA)):
        ax = drawn.plot()
        assert [t.get_text() for t in ax.get_yticklabels()][-1] == HABIT and ax.get_xlabel()


# --- the real panels, where the package that carries them is there ------------------------------------------------------


def _scanner(name, *attributes):
    try:
        data = datasets.fetch(name)
    except ImportError as error:
        pytest.skip(str(error))
    return loyalty.choice_panel(data, chosen="brand", attributes=list(attributes))


def test_published_conditional_logit_of_the_yogurt_panel():
    """Helveston's logitr prints these, with the weight-watchers brand as the reference."""
    rows = _scanner("yogurt", "price", "feature")
    rows["brand"] = rows["brand"].cat.reorder_categories(["weight", "dannon", "hiland", "yoplait"])
    rows["occasion"] = rows.groupby(["customer_id", "purchase"]).ngroup()
    fit = choice.fit_conditional_logit(rows, "occasion", "brand", "chosen", "price + feature + C(brand)")
    assert fit.params.to_numpy() == pytest.approx([-0.366584, 0.491432, 0.641186, -3.074415, 1.375757], abs=3e-6)
    assert fit.loglik == pytest.approx(-2656.8878779, abs=5e-7)
    errors = [0.024366, 0.120063, 0.054498, 0.145384, 0.088982]
    assert np.sqrt(np.diag(fit.cov)) == pytest.approx(errors, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "one", "three", "order", "lower", "upper"),
    [("catsup", 1.09, 0.54, 0.21, 0.01, 0.41), ("cracker", 2.06, 1.05, 0.32, 0.12, 0.51)],
)
def test_what_the_lesson_quotes_of_the_real_panels(name, one, three, order, lower, upper):
    rows = _scanner(name, "price", "display", "feature")
    formula = "price + display + feature"
    assert loyalty.fit_brand_choice(rows, formula).params[HABIT].round(2) == one
    found = loyalty.state_dependence_test(rows, formula).summary().loc[HABIT].round(2)
    assert found[["estimate", "lower", "upper"]].tolist() == [order, lower, upper]
    assert loyalty.fit_brand_choice(rows, formula, classes=3, starts=2).params[HABIT].round(2) == three
