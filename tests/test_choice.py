"""The conditional logit: published numbers, other implementations, counts against rows, recovery, bad input."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.discrete.conditional_models import ConditionalLogit

from crmlab import choice, datasets, simulate

POPULATION = {"air": 0.14, "train": 0.13, "bus": 0.09, "car": 0.64}
WORTH = list(simulate.DELIVERED_VALUE["part_worths"])
UTILITY = " + ".join(WORTH) + " + C(alternative)"


def travel():
    table = datasets.load("modechoice")
    table["way"] = table["mode"].cat.reorder_categories(["car", "air", "train", "bus"])
    return table.assign(air=(table["mode"] == "air").astype(int))


def fit_travel(formula="gc + ttme + C(way) + air:hinc", table=None, **more):
    return choice.fit_conditional_logit(
        travel() if table is None else table, "individual", "mode", "choice", formula, **more
    )


def fit_bank(table, formula=UTILITY, **more):
    return choice.fit_conditional_logit(table, "occasion", "alternative", "chosen", formula, **more)


@pytest.fixture(scope="module")
def bank():
    return simulate.delivered_value_choices(customers=150, seed=7)


# --- published numbers ------------------------------------------------------------------------------------------------


def test_greene_unweighted():
    fit = fit_travel()
    names = ["gc", "ttme", "way[air]", "way[train]", "way[bus]", "air:hinc"]
    assert [f"{fit.params[n]:.{d}f}" for n, d in zip(names, (5, 5, 4, 4, 4, 5))] == [
        "-0.01550", "-0.09612", "5.2074", "3.8690", "3.1632", "0.01329"]  # fmt: skip
    assert round(fit.loglik, 3) == -199.128 and fit.converged and fit.nobs == 210


def test_greene_choice_based_weights():
    fit = fit_travel(weights=POPULATION)
    names = ["gc", "ttme", "way[air]", "way[train]", "way[bus]", "air:hinc"]
    assert [f"{fit.params[n]:.{d}f}" for n, d in zip(names, (5, 5, 4, 4, 4, 5))] == [
        "-0.01333", "-0.13405", "6.5940", "3.6190", "3.3218", "-0.00108"]  # fmt: skip
    # With constants for the alternatives, the weighted shares are the population's, exactly.
    assert fit.shares()["predicted"].round(9).to_dict() == pytest.approx(POPULATION, abs=1e-8)
    assert fit.weighted and np.isnan(fit.aic) and np.isnan(fit.bic)


# --- other implementations --------------------------------------------------------------------------------------------


def test_statsmodels_agrees():
    table = travel()
    design = pd.DataFrame({"gc": table["gc"], "ttme": table["ttme"]} | {
        way: (table["mode"] == way).astype(float) for way in ("air", "train", "bus")}).assign(hinc=table["air"] * table["hinc"])  # fmt: skip
    theirs = ConditionalLogit(table["choice"], design, groups=table["individual"]).fit(
        method="newton", disp=0, tol=1e-12, maxiter=100
    )
    ours = fit_travel()
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(ours.summary()["std_error"], theirs.bse, rtol=1e-5)
    assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)


def test_statsmodels_agrees_where_choice_sets_vary(bank):
    rng = np.random.default_rng(1)
    table = bank[(bank["chosen"] == 1) | (rng.uniform(size=len(bank)) < 0.7)]
    table = table[table.groupby("occasion")["chosen"].transform("size") > 1].assign(
        app=lambda t: (t["alternative"] == "app") * 1
    )
    formula = "money + time + app"
    ours = fit_bank(table, formula, choice_sets="varying")
    theirs = ConditionalLogit(table["chosen"], table[["money", "time", "app"]].astype(float), groups=table["occasion"])
    theirs = theirs.fit(method="newton", disp=0, tol=1e-12)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.summary()["std_error"], theirs.bse, rtol=1e-4)
    assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)


def test_rs_clogit_agrees_with_weights_and_clusters(r, tmp_path, bank):
    table = bank.assign(weight=1 + (bank["occasion"] % 3) * 0.7)
    table.to_csv(tmp_path / "choices.csv", index=False)
    params, errors = r(f"""
    library(survival)
    d <- read.csv("{tmp_path / "choices.csv"}")
    d$branch <- d$alternative == "branch"; d$rival <- d$alternative == "rival"
    fit <- coxph(Surv(rep(1, nrow(d)), chosen) ~ money + time + service + branch + rival
                 + strata(occasion), data = d, weights = weight, cluster = customer_id, ties = "breslow", robust = TRUE,
                 control = coxph.control(eps = 1e-11, toler.chol = 1e-13, iter.max = 50))
    cat(coef(fit), "\\n"); cat(sqrt(diag(vcov(fit))), "\\n")
    """)
    fit = fit_bank(table, "money + time + service + C(alternative)", weights="weight", cluster="customer_id")
    np.testing.assert_allclose(fit.params, params, rtol=1e-7)
    groups = bank["customer_id"].nunique()
    assert fit.choosers == groups
    np.testing.assert_allclose(
        fit.summary()["std_error"], errors * np.sqrt(groups / (groups - 1)), rtol=1e-6
    )  # R has no such factor


def test_rs_multinom_agrees_on_a_choosers_variable(r, tmp_path):
    table = travel()
    table[table["choice"] == 1].to_csv(tmp_path / "travel.csv", index=False)
    loglik, coefficients, errors = r(f"""
    library(nnet)
    d <- read.csv("{tmp_path / "travel.csv"}")
    d$mode <- factor(d$mode, levels = c("car", "air", "train", "bus"))
    fit <- multinom(mode ~ hinc, d, reltol = 1e-14, maxit = 1000, Hess = TRUE, trace = FALSE)
    cat(logLik(fit), "\\n"); cat(t(coef(fit)), "\\n"); cat(sqrt(diag(solve(fit$Hessian))), "\\n")
    """)
    fit = fit_travel("C(way) * hinc")
    ours = fit.params[["way[air]", "way[air]:hinc", "way[train]", "way[train]:hinc", "way[bus]", "way[bus]:hinc"]]
    np.testing.assert_allclose(ours, coefficients, rtol=1e-3)
    np.testing.assert_allclose(fit.summary().loc[ours.index, "std_error"], errors, rtol=1e-3)
    assert fit.loglik == pytest.approx(loglik[0], abs=1e-6)
    assert fit.absorbed == ("1", "hinc")


def test_clustered_errors_are_those_of_a_binary_logit_of_statsmodels(bank):
    from statsmodels.discrete.discrete_model import Logit

    two = bank[bank["alternative"] != "app"]
    two = two[two.groupby("occasion")["chosen"].transform("sum") == 1]
    wide = two.pivot(index="occasion", columns="alternative", values=["money", "time", "chosen"])
    difference = np.column_stack(
        [wide[name]["branch"] - wide[name]["rival"] for name in ("money", "time")] + [np.ones(len(wide))]
    )
    who = two.groupby("occasion")["customer_id"].first()
    theirs = Logit(wide["chosen"]["branch"].to_numpy(), difference).fit(
        disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": pd.factorize(who)[0], "use_correction": False}
    )
    table = two.assign(branch=(two["alternative"] == "branch") * 1)
    ours = fit_bank(table, "money + time + branch", cluster="customer_id")
    groups = who.nunique()
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(ours.summary()["std_error"], theirs.bse * np.sqrt(groups / (groups - 1)), rtol=1e-5)


# --- counts are the rows ----------------------------------------------------------------------------------------------


def by_hand(table, columns, beta, weight=None):
    """Log-likelihood, row by row."""
    total = 0.0
    for _, rows in table.groupby("occasion"):
        value = rows[columns].to_numpy(dtype=float) @ beta
        w = 1 if weight is None else rows[weight].iloc[0]
        total += w * (value[rows["chosen"] == 1].item() - np.log(np.exp(value).sum()))
    return total


def test_equal_situations_are_counted_exactly(bank):
    fit = fit_bank(bank, "money + time + service", cluster="customer_id")
    # Three blocks of eight tasks are all the situations there are.
    assert fit.fit_statistics()["situations"] == 24 and fit.nobs == 1200
    assert fit.loglik == pytest.approx(by_hand(bank, ["money", "time", "service"], fit.params.to_numpy()), rel=1e-12)
    # An attribute that makes every occasion its own changes nothing else.
    noise = np.random.default_rng(0).normal(size=len(bank)) * 1e-9
    apart = fit_bank(bank.assign(noisy=bank["money"] + noise), "noisy + time + service", cluster="customer_id")
    assert apart.fit_statistics()["situations"] == 1200
    np.testing.assert_allclose(apart.params, fit.params, rtol=1e-6)
    np.testing.assert_allclose(apart.cov, fit.cov, rtol=1e-6)


def test_counts_stand_for_rows(bank):
    few = bank[bank["occasion"] <= 300].assign(times=lambda t: 1 + t["occasion"] % 4)
    many = pd.concat([few[few["times"] > k].assign(occasion=lambda t, k=k: t["occasion"] + 1000 * k) for k in range(4)])
    counted, repeated = fit_bank(few, counts="times"), fit_bank(many)
    np.testing.assert_allclose(counted.params, repeated.params, rtol=1e-9)
    np.testing.assert_allclose(counted.cov, repeated.cov, rtol=1e-8)
    assert (
        counted.loglik == pytest.approx(repeated.loglik, rel=1e-12) and counted.nobs == repeated.nobs == len(many) / 3
    )


def test_counts_of_choosers_stand_for_choosers(bank):
    few = bank[bank["customer_id"] < "k0050"].assign(times=lambda t: 1 + t["customer_id"].str[-1].astype(int) % 3)
    many = pd.concat(
        [
            few[few["times"] > k].assign(occasion=lambda t, k=k: t["occasion"] + 1000 * k, customer_id=lambda t, k=k: t["customer_id"] + str(k))
            for k in range(3)
        ]
    )  # fmt: skip
    formula = "money + time + service"
    counted = fit_bank(few, formula, counts="times", cluster="customer_id")
    repeated = fit_bank(many, formula, cluster="customer_id")
    np.testing.assert_allclose(counted.cov, repeated.cov, rtol=1e-9)
    assert counted.choosers == repeated.choosers == many["customer_id"].nunique()
    with pytest.raises(ValueError, match="differs within 50 choosers.*one number for all occasions"):
        fit_bank(few.assign(times=1 + few["occasion"] % 2), formula, counts="times", cluster="customer_id")


def test_sampling_weights_move_estimates_like_counts_and_errors_not(bank):
    table = bank.assign(w=1.0 + bank["occasion"] % 3)
    weighted, counted = fit_bank(table, weights="w"), fit_bank(table, counts="w")
    np.testing.assert_allclose(weighted.params, counted.params, rtol=1e-9)
    # Their scale says nothing.
    np.testing.assert_allclose(weighted.cov, fit_bank(table.assign(w=table["w"] * 50), weights="w").cov, rtol=1e-9)
    # The sandwich, row by row.
    codes = table["occasion"].to_numpy()
    x = pd.DataFrame({n: table[n] for n in ("money", "time")}).to_numpy(dtype=float)
    small = fit_bank(table, "money + time", weights="w")
    p = small.predict(table).to_numpy()
    mean = pd.DataFrame(p[:, None] * x).groupby(codes).sum().to_numpy()[codes - 1]
    w = table["w"].to_numpy() / table["w"].mean()
    score = (
        pd.DataFrame(w[:, None] * (table["chosen"].to_numpy() - p)[:, None] * (x - mean))
        .groupby(codes)
        .sum()
        .to_numpy()
    )
    information = ((x - mean) * (w * p)[:, None]).T @ (x - mean)
    bread = np.linalg.inv(information)
    n = len(score)
    np.testing.assert_allclose(small.cov, bread @ (score.T @ score) @ bread * n / (n - 1), rtol=1e-8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-100, 100), scale=st.floats(1e-6, 1e6))
def test_order_of_rows_units_and_what_is_the_same_for_all_say_nothing(seed, shift, scale):
    table = simulate.delivered_value_choices(customers=40, seed=3)
    fit = fit_bank(table, "money + time + C(alternative)")
    rng = np.random.default_rng(seed)
    other = table.sample(frac=1, random_state=int(seed))
    other = other.assign(
        money=other["money"] * scale,
        time=other["time"] + other["occasion"].map(dict(enumerate(rng.normal(shift, 1, 400)))),
    )
    again = fit_bank(other, "money + time + C(alternative)")
    np.testing.assert_allclose(again.params * [scale, 1, 1, 1], fit.params, rtol=1e-5)
    assert again.loglik == pytest.approx(fit.loglik, rel=1e-9)


def test_huge_utilities_do_not_overflow(bank):
    fit = fit_bank(bank, "money + time")
    far = bank.assign(money=bank["money"] * 1e6, time=bank["time"] + 1e7)
    assert np.isfinite(fit.predict(far)).all() and fit.predict(far).groupby(far["occasion"]).sum().round(9).eq(1).all()


# --- recovery ---------------------------------------------------------------------------------------------------------


def test_coefficients_are_recovered_with_their_coverage():
    truth = pd.Series(simulate.DELIVERED_VALUE["part_worths"])
    inside, estimates = [], []
    for seed in range(300):
        fit = fit_bank(
            simulate.delivered_value_choices(customers=100, seed=seed), cluster="customer_id" if seed % 2 else None
        )
        table = fit.summary().loc[WORTH]
        inside.append((table["lower"] <= truth) & (truth <= table["upper"]))
        estimates.append(fit.params[WORTH])
    # Three Monte Carlo standard errors; clustered errors of 100 choosers are a little short, which costs less than that.
    assert np.abs(np.mean(inside, axis=0) - 0.95).max() < 3 * np.sqrt(0.95 * 0.05 / 300) + 0.005
    bias = np.mean(estimates, axis=0) - truth
    assert (np.abs(bias) < 3 * np.std(estimates, axis=0) / np.sqrt(300) + 0.02 * np.abs(truth)).all()


def test_choice_based_weights_undo_the_sampling():
    rng = np.random.default_rng(5)
    truth, inside, raw = {"money": -0.15, "time": -0.05}, [], []
    for seed in range(150):
        table = simulate.delivered_value_choices(customers=400, tasks=4, seed=seed)
        shares = table[table["chosen"] == 1]["alternative"].value_counts(normalize=True)
        # Keep each occasion with a probability that depends on what was chosen there.
        picked = (
            table[table["chosen"] == 1]
            .set_index("occasion")["alternative"]
            .map({"branch": 0.9, "rival": 0.3, "app": 0.15})
        )
        stay = picked.index[rng.uniform(size=len(picked)) < picked]
        sample = table[table["occasion"].isin(stay)]
        fit = fit_bank(sample, weights=shares.to_dict())
        limits = fit.summary()
        inside.append([limits.loc[n, "lower"] <= v <= limits.loc[n, "upper"] for n, v in truth.items()])
        raw.append(fit_bank(sample, weights=None).shares().loc["app", "predicted"])
        assert fit.shares().loc["app", "predicted"] == pytest.approx(shares["app"], abs=1e-8)
    assert np.abs(np.mean(inside, axis=0) - 0.95).max() < 3 * np.sqrt(0.95 * 0.05 / 150)
    assert np.mean(raw) < 0.25  # the unweighted share of the app, which is near 0.43 in the population


def test_the_bootstrap_agrees_with_the_model_errors(bank):
    fit = fit_bank(bank)
    rng = np.random.default_rng(0)
    drawn = np.array([fit._core.resampled(rng).maximise(start=fit.params.to_numpy())[0] for _ in range(400)])
    np.testing.assert_allclose(drawn.std(axis=0), fit.summary()["std_error"], rtol=0.15)


# --- what the fit tells -----------------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_formula(bank):
    fit = fit_bank(bank, "money + time + C(alternative)")
    value = bank["money"] * fit.params["money"] + bank["time"] * fit.params["time"]
    value += bank["alternative"].map(
        {"app": 0, "branch": fit.params["alternative[branch]"], "rival": fit.params["alternative[rival]"]}
    )
    wanted = np.exp(value) / np.exp(value).groupby(bank["occasion"]).transform("sum")
    shuffled = bank.sample(frac=1, random_state=1)
    np.testing.assert_allclose(fit.predict(shuffled), wanted.loc[shuffled.index], rtol=1e-10)
    # Dropping an alternative leaves the ratio of the others.
    without = bank[bank["alternative"] != "app"]
    p, q = fit.predict(bank).loc[without.index], fit.predict(without)
    np.testing.assert_allclose(
        p.groupby(without["occasion"]).transform("first") / p,
        q.groupby(without["occasion"]).transform("first") / q,
        rtol=1e-9,
    )


def test_intervals_of_predictions_and_shares_agree_with_draws(bank):
    fit = fit_bank(bank, "money + time + C(alternative)")
    one = bank[bank["occasion"] == 1].drop(columns="occasion")
    limits = fit.predict(one, level=0.95)
    drawn = np.random.default_rng(0).multivariate_normal(fit.params, fit.cov, 40_000)
    value = np.exp(fit._design.apply(one) @ drawn.T)
    odds = stats.logistic.ppf(value / value.sum(axis=0))
    np.testing.assert_allclose(
        np.diff(stats.logistic.ppf(limits[["lower", "upper"]]))[:, 0] / (2 * 1.96), odds.std(axis=1), rtol=0.03
    )
    shares = fit.shares(bank)
    np.testing.assert_allclose(shares["predicted"], fit.shares()["predicted"].loc[shares.index], rtol=1e-9)
    np.testing.assert_allclose(
        shares[["lower", "upper"]], fit.shares().loc[shares.index, ["lower", "upper"]], rtol=1e-9
    )


def test_fit_statistics():
    table = fit_travel().fit_statistics()
    assert table["loglik_equal"] == pytest.approx(-210 * np.log(4))
    chosen = np.array([58, 63, 30, 59])
    assert table["loglik_shares"] == pytest.approx(chosen @ np.log(chosen / 210))
    assert table["r2_mcfadden"] == pytest.approx(1 - 199.12837 / 291.12182, abs=1e-6)
    assert table["aic"] == pytest.approx(2 * 6 + 2 * 199.128369, abs=1e-5)
    hits = travel().assign(p=fit_travel().predict(travel()))
    best = hits.loc[hits.groupby("individual")["p"].idxmax(), "choice"]
    assert table["hit_rate"] == pytest.approx(best.mean())


def test_hausman_and_mcfadden_by_two_fits_of_statsmodels():
    table = travel()
    names = ["gc", "ttme", "train", "bus"]
    design = table.assign(
        train=(table["mode"] == "train") * 1.0, bus=(table["mode"] == "bus") * 1.0, income=table["air"] * table["hinc"]
    )

    def fitted(rows, columns):
        model = ConditionalLogit(rows["choice"], rows[columns].astype(float), groups=rows["individual"])
        return model.fit(method="newton", disp=0, tol=1e-13, maxiter=100)

    everybody = fitted(design, ["gc", "ttme", "air", "train", "bus", "income"])
    others = design[
        (design["mode"] != "air") & (design.groupby("individual")["choice"].transform(lambda c: c.iloc[0]) == 0)
    ]
    rest = fitted(others, names)
    difference = rest.params - everybody.params[names]
    spread = rest.cov_params() - everybody.cov_params().loc[names, names]
    wanted = difference @ np.linalg.solve(spread, difference)
    found = fit_travel().iia_check("air")
    assert found.attrs["hausman"] == pytest.approx(wanted, rel=1e-4) and round(wanted, 2) == 33.34
    assert found.attrs["df"] == 4 and found.attrs["p_value"] < 1e-4 and found.attrs["occasions"] == 152
    np.testing.assert_allclose(found["without"], rest.params, rtol=1e-5)


def test_the_iia_check_keeps_its_level_and_finds_a_nest():
    rejected, found = [], []
    for seed in range(200):
        table = simulate.delivered_value_choices(customers=150, seed=seed)
        rejected.append(
            fit_bank(table, cluster="customer_id" if seed % 2 else None).iia_check("app").attrs["p_value"] < 0.05
        )
    # Robust tests on 150 choosers and ten parameters reject a little too often; a wrong formula would be far off.
    assert 0.01 <= np.mean(rejected) <= 0.12
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 3000
        x = rng.normal(size=(n, 3, 2))
        common = rng.normal(0, 3, size=n)  # the two buses share what is not measured
        value = x @ [1.0, -1.0] + rng.gumbel(size=(n, 3)) + np.column_stack([np.zeros(n), common, common])
        rows = pd.DataFrame(x.reshape(-1, 2), columns=["a", "b"]).assign(
            occasion=np.repeat(np.arange(n), 3),
            alternative=np.tile(["car", "red bus", "blue bus"], n),
            chosen=(value == value.max(axis=1, keepdims=True)).ravel(),
        )
        found.append(fit_bank(rows, "a + b + C(alternative)").iia_check("car").attrs["p_value"] < 0.01)
    assert np.mean(found) > 0.9
    with pytest.raises(ValueError, match="drop= is one of the alternatives 'blue bus', 'car', 'red bus'; got 'tram'"):
        fit_bank(rows, "a + b + C(alternative)").iia_check("tram")


def test_the_figure_has_an_interval_for_each_attribute(bank):
    fit = fit_bank(bank)
    ax = fit.plot()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(fit.params.index) and list(ax.get_yticks()) == sorted(ax.get_yticks(), reverse=True)
    assert ax.get_xlabel() and ax.get_ylabel()


# --- edges ------------------------------------------------------------------------------------------------------------


def spoilt(bank, change):
    table = bank[bank["occasion"] <= 200].copy()
    changed = change(table)
    return table if changed is None else changed


def no_choice(t):
    t.loc[t["occasion"].isin([3, 9]), "chosen"] = 0


def two_choices(t):
    t.loc[t["occasion"].isin([4]), "chosen"] = 1


def row_lost(t):
    lost = (t["occasion"] == 5) & (t["alternative"] == "app") | (t["occasion"] == 6) & (t["alternative"] == "branch")
    return t[~lost]


def alternative_twice(t):
    t.loc[(t["occasion"] == 7) & (t["alternative"] == "app"), "alternative"] = "branch"


def alternative_gone(t):
    t.loc[t["occasion"] == 8, "alternative"] = None


def price_gone(t):
    t["money"] = t["money"].astype(float)
    t.loc[t.index[:2], "money"] = np.nan


def price_infinite(t):
    t["money"] = t["money"].astype(float)
    t.loc[t.index[0], "money"] = np.inf


def words_for_chosen(t):
    t["chosen"] = t["chosen"].map({0: "no", 1: "yes"})


def two_choosers(t):
    t.loc[t.index[0], "customer_id"] = "somebody"


def same_price(t):
    t["money"] = 5


def copied(t):
    t["time"] = 2 * t["money"]


def foretold(t):
    t["service"] = t["chosen"] * 2 + 1


def never_chosen(t):
    t.loc[t["chosen"] == 1, "chosen"] = 0
    t.loc[t["alternative"] == "app", "chosen"] = 1
    t.loc[t["occasion"] % 2 == 0, "chosen"] = (t["alternative"] == "rival").astype(int)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_choice, r"2 of 200 occasions \(occasion: 3, 9\) have no choice .*alternative 'none'"),
        (two_choices, r"1 of 200 occasions \(occasion: 4\) have two choices or more"),
        (
            row_lost,
            r"2 of 200 occasions \(occasion: 5, 6\) lack an alternative .*Occasion 5 lacks app.*choice_sets='varying'",
        ),
        (alternative_twice, r"1 of 200 occasions \(occasion: 7\) have an alternative twice"),
        (alternative_gone, r"column 'alternative': 3 of 600 rows are missing"),
        (price_gone, r"column 'money': 2 of 600 rows are missing"),
        (price_infinite, "column 'money' has infinite values"),
        (words_for_chosen, r"column 'chosen' says by 1 and 0 .*600 rows have something else \(yes, no\)"),
        (two_choosers, r"1 of 200 occasions \(occasion: 1\) have several values of 'customer_id'"),
        (same_price, r"money is the same for all alternatives in each of the 200 occasions \(occasion: 1, 2, 3, ...\)"),
        (copied, r"money, time cannot be told apart"),
        (foretold, r"separation: service predicts the choice without exception, in 200? of"),
        (never_chosen, r"separation: .*alternative\[branch\]"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_fitted_is_refused_by_name(bank, change, says):
    if change is foretold:
        says = r"separation: service predicts the choice without exception, in \d+ of \d+ distinct occasions \(such as .*against none"
    with pytest.raises(ValueError, match=says):
        fit_bank(spoilt(bank, change), "money + time + service + C(alternative)", cluster="customer_id")


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("money + prise", "no column is named 'prise'; there are: customer_id"),
        ("money +* time", "cannot be read"),
        ("chosen ~ money", "right-hand side of a utility"),
        ("0 + money + C(alternative)", "cannot be told apart.*keep the intercept"),
        ("money + C(alternative):income", r"cannot be told apart.*C\(\.\.\.\) \* variable"),
        ("money + income", r"income is the same for all alternatives.*C\(alternative\) \* income"),
        ("1", "no attribute that differs"),
        ("scale(money) + time", "depends on all rows; make a column of it first"),
        ("I(money - money.mean()) + time", "depends on all rows; make a column of it first"),
    ],
)
def test_a_formula_that_says_nothing_is_refused(bank, formula, says):
    with pytest.raises(ValueError, match=says):
        fit_bank(bank.assign(income=bank["occasion"] % 7), formula)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"weights": {"branch": 0.5, "rival": 0.5}}, "population share of every alternative"),
        ({"weights": {"branch": 0.5, "rival": 0.4, "app": 0.4}}, "sum to 1; these sum to 1.3"),
        ({"weights": "zero"}, "weights='zero': 1200 of 1200 occasions .*not above 0"),
        ({"counts": "alternative"}, "counts='alternative' is a column of numbers"),
        ({"counts": "half"}, "counts='half': 1200 of 1200 occasions .*fractions.*weights="),
        ({"cluster": "who"}, "no column is named 'who'"),
        ({"choice_sets": "any"}, "choice_sets= is one of 'same', 'varying'; got 'any'"),
    ],
)
def test_bad_arguments(bank, more, says):
    with pytest.raises(ValueError, match=says):
        fit_bank(bank.assign(zero=0, half=1.5), "money + time", **more)


def test_other_kinds_of_table_are_refused(bank):
    with pytest.raises(TypeError, match="pandas DataFrame"):
        fit_bank(bank.to_numpy())
    with pytest.raises(ValueError, match="no rows"):
        fit_bank(bank.iloc[:0])
    with pytest.raises(ValueError, match="there is no choice"):
        fit_bank(bank[bank["alternative"] == "app"])


def test_predicting_what_the_fit_has_not_seen_is_refused(bank):
    fit = fit_bank(bank, "money + C(alternative)")
    one = bank[bank["occasion"] == 1]
    with pytest.raises(
        ValueError, match="column 'alternative': 'tram' was not in the data; there were: app, branch, rival"
    ):
        fit.predict(one.assign(alternative=["app", "branch", "tram"]))
    with pytest.raises(ValueError, match="1 rows have an alternative that stands in its occasion already"):
        fit.predict(one.assign(alternative=["app", "branch", "branch"]))
    with pytest.raises(ValueError, match="no column is named 'money'"):
        fit.predict(one.drop(columns="money"))


def test_new_numbers_in_a_category_or_as_text_are_refused(bank):
    fit = fit_bank(bank, "C(money) + time")
    one = bank[bank["occasion"] == 1]
    with pytest.raises(ValueError, match="column 'money': '99' was not in the data"):
        fit.predict(one.assign(money=99))
    with pytest.raises(ValueError, match="column 'time': the new values are text"):
        fit.predict(one.assign(time=one["time"].astype(str)))


def test_an_alternative_that_was_filtered_out_is_no_column():
    table = travel()
    others = table[table["mode"] != "air"]
    others = others[others.groupby("individual")["choice"].transform("sum") == 1]
    fit = fit_travel("gc + ttme + C(mode)", others)
    text = fit_travel("gc + ttme + C(mode)", others.assign(mode=others["mode"].astype(str)))
    assert list(fit.params.index[2:]) == ["mode[bus]", "mode[car]"] and fit.loglik == pytest.approx(text.loglik)
    assert len(fit.predict(others.head(3))) == 3


def test_few_choosers_are_warned_of_and_have_no_joint_test():
    few = simulate.delivered_value_choices(customers=6, seed=1)
    with pytest.warns(RuntimeWarning, match="10 coefficients from 6 choosers"):
        fit = fit_bank(few, cluster="customer_id")
    with pytest.raises(ValueError, match="compares 9 coefficients at once, and 6 choosers cannot"):
        fit.iia_check("app")
    fit_bank(few, "money + time", cluster="customer_id")  # no warning: 6 for 2


def test_one_occasion_with_two_alternatives_is_separated():
    table = pd.DataFrame({"occasion": [1, 1], "alternative": ["a", "b"], "chosen": [1, 0], "price": [1.0, 2.0]})
    with pytest.raises(ValueError, match="separation: price"):
        fit_bank(table, "price")
