"""Retention: published numbers, other implementations, recovery of known parameters, bad input."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from crmlab import datasets, retention, simulate
from crmlab.likelihood import BoundaryWarning

SEGMENTS = datasets.load("retention_two_segments")


def log_of(rows, **columns):
    frame = pd.DataFrame(rows, columns=["customer_id", "date", *columns])
    return frame.assign(date=pd.to_datetime(frame["date"]))


# --- the models of survivors: published numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "alpha", "beta", "loglik"),
    [("regular", 0.704, 1.182, -1680.27), ("high_end", 0.668, 3.806, -1611.16)],
)
def test_sbg_reproduces_fader_and_hardie_2007(segment, alpha, beta, loglik):
    fit = retention.fit_sbg(SEGMENTS[segment][:8])
    assert fit.params.round(3).to_dict() == {"alpha": alpha, "beta": beta}
    assert round(fit.loglik, 2) == loglik
    assert fit.converged and fit.boundary is None and fit.nobs == 1000


def test_sbg_on_five_cohorts_reproduces_fader_and_hardie_2010():
    fit = retention.fit_sbg(datasets.load("retention_five_cohorts"))
    # Printed: 3.798 and 15.192. The survivors are printed as whole customers; the maximum for those is 15.1919.
    np.testing.assert_allclose(fit.params, [3.798, 15.192], atol=0.0005)
    assert fit.nobs == 50_000


def test_percentages_with_size_are_the_counts():
    shares = SEGMENTS["regular"][:8] / 10
    by_share, by_count = retention.fit_sbg(shares, size=1000), retention.fit_sbg(SEGMENTS["regular"][:8])
    np.testing.assert_allclose(by_share.params, by_count.params, rtol=1e-10)
    np.testing.assert_allclose(by_share.cov, by_count.cov, rtol=1e-6)


# --- the models of survivors: other implementations -----------------------------------------------------------------


@pytest.mark.parametrize("segment", SEGMENTS.columns)
def test_sbg_agrees_with_scipys_beta_negative_binomial(segment):
    alive = SEGMENTS[segment][:8].to_numpy()
    fit = retention.fit_sbg(alive)
    distribution = scipy.stats.betanbinom(1, *fit.params)
    ages = np.arange(13)
    np.testing.assert_allclose(fit.survival(ages), distribution.sf(ages - 1), rtol=1e-10)
    np.testing.assert_allclose(
        fit.retention_rate(ages[1:]), distribution.sf(ages[1:] - 1) / distribution.sf(ages[1:] - 2), rtol=1e-10
    )
    lost = -np.diff(alive)
    loglik = lost @ distribution.logpmf(np.arange(7)) + alive[-1] * np.log(distribution.sf(6))
    assert fit.loglik == pytest.approx(loglik, rel=1e-12)


def test_sbg_agrees_with_the_beta_geometric_of_vgam(r):
    alive = SEGMENTS["high_end"][:8].to_numpy()
    # VGAM counts failures before the first success: a customer lost at renewal t has y = t - 1.
    script = f"""
    suppressMessages(library(VGAM))
    lost <- -diff(c({", ".join(map(str, alive))})); left <- {alive[-1]}
    negative <- function(p) -sum(lost * dbetageom(0:6, exp(p[1]), exp(p[2]), log = TRUE)) -
      left * log(1 - pbetageom(6, exp(p[1]), exp(p[2])))
    best <- optim(c(0, 1), negative, method = "BFGS", hessian = TRUE, control = list(reltol = 1e-15))
    cat(exp(best$par), "\\n", -best$value, "\\n", exp(best$par) * sqrt(diag(solve(best$hessian))), "\\n")
    """
    params, loglik, errors = r(script)
    fit = retention.fit_sbg(alive)
    np.testing.assert_allclose(fit.params, params, rtol=1e-5)
    assert fit.loglik == pytest.approx(loglik[0], abs=1e-7)
    np.testing.assert_allclose(fit.summary()["std_error"], errors, rtol=1e-3)  # R's Hessian is numerical


def test_geometric_agrees_with_a_binomial_model_of_statsmodels():
    alive = SEGMENTS["regular"][:8].to_numpy()
    fit = retention.fit_geometric(alive)
    model = GLM(np.column_stack([alive[:-1] - alive[1:], alive[1:]]), np.ones(7), family=Binomial()).fit()
    assert fit.params["theta"] == pytest.approx(1 / (1 + np.exp(-model.params[0])), rel=1e-9)
    # Its standard error is on the logit scale.
    theta = fit.params["theta"]
    assert fit.summary()["std_error"].item() == pytest.approx(model.bse[0] * theta * (1 - theta), rel=1e-6)


def test_geometric_interval_is_rs_score_interval(r):
    alive = SEGMENTS["regular"][:8].to_numpy()
    (limits,) = r(f"cat(prop.test({alive[0] - alive[-1]}, {alive[:-1].sum()}, correct = FALSE)$conf.int)")
    np.testing.assert_allclose(retention.fit_geometric(alive).summary()[["lower", "upper"]].iloc[0], limits, rtol=1e-10)


def test_sbg_errors_agree_with_a_numerical_hessian():
    from statsmodels.tools.numdiff import approx_hess

    alive = SEGMENTS["regular"][:8].to_numpy()
    fit = retention.fit_sbg(alive)

    def loglik(params):
        distribution = scipy.stats.betanbinom(1, *params)
        return -np.diff(alive) @ distribution.logpmf(np.arange(7)) + alive[-1] * np.log(distribution.sf(6))

    np.testing.assert_allclose(fit.cov, np.linalg.inv(-approx_hess(fit.params.to_numpy(), loglik)), rtol=1e-4)


def test_the_delta_intervals_agree_with_the_parameters_own_spread():
    # The survivor function at draws from the estimates' normal distribution, on the scale of the interval.
    fit = retention.fit_sbg(SEGMENTS["high_end"][:8])
    draws = np.random.default_rng(1).multivariate_normal(
        np.log(fit.params), fit.cov / np.outer(fit.params, fit.params), 200_000
    )
    survival = scipy.special.beta(np.exp(draws[:, 0]), np.exp(draws[:, 1]) + 12) / scipy.special.beta(*np.exp(draws).T)
    spread = scipy.special.logit(survival).std()
    limits = scipy.special.logit(fit.survival(12, level=0.95)[["lower", "upper"]].to_numpy()[0])
    assert np.diff(limits)[0] / (2 * 1.96) == pytest.approx(spread, rel=0.02)


# --- the models of survivors: recovery -------------------------------------------------------------------------------


def draw_survivors(rng, alpha, beta, customers, periods):
    churn = rng.beta(alpha, beta, customers)
    lost_at = rng.geometric(churn)
    return np.array([(lost_at > t).sum() for t in range(periods + 1)])


# The second is close to one constant rate: with 1,000 customers some of its samples have their maximum on the boundary.
@pytest.mark.parametrize(("alpha", "beta", "customers"), [(0.7, 1.2, 1000), (3.8, 15.2, 5000)])
def test_sbg_recovers_what_generated_the_survivors(rng, alpha, beta, customers):
    """Coverage of the 95 % intervals over 500 segments, judged on survival and retention rate."""
    truth = scipy.stats.betanbinom(1, alpha, beta)
    ages = np.array([3, 7, 12])
    covered, estimates = [], []
    for _ in range(500):
        fit = retention.fit_sbg(draw_survivors(rng, alpha, beta, customers, 7))
        survival, rate = fit.survival(ages, level=0.95), fit.retention_rate(ages, level=0.95)
        true_rate = truth.sf(ages - 1) / truth.sf(ages - 2)
        covered.append(
            np.append(
                (survival["lower"] <= truth.sf(ages - 1)) & (truth.sf(ages - 1) <= survival["upper"]),
                (rate["lower"] <= true_rate) & (true_rate <= rate["upper"]),
            )
        )
        estimates.append(fit.survival(12))
    # Three Monte Carlo standard errors of 500 draws around 95 %.
    assert np.abs(np.mean(covered, axis=0) - 0.95).max() < 3 * np.sqrt(0.95 * 0.05 / 500)
    assert np.mean(estimates) == pytest.approx(truth.sf(11), abs=3 * np.std(estimates) / np.sqrt(500) + 0.002)


def test_geometric_coverage(rng):
    covered = []
    for _ in range(500):
        alive = draw_survivors(rng, 1e8, 3e8, 200, 4)  # all customers alike, churn 0.25
        limits = retention.fit_geometric(alive).survival(6, level=0.95)
        covered.append(limits["lower"].item() <= 0.75**6 <= limits["upper"].item())
    assert abs(np.mean(covered) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 500)


# --- the models of survivors: edges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "error", "says"),
    [
        ([], ValueError, "empty"),
        ([1000], ValueError, "at least two periods"),
        ([100, 120, 90], ValueError, "period 1: 120.*higher than the one before"),
        ([1000, -5], ValueError, "period 1: -5.*negative"),
        ([1000, np.nan, 500], ValueError, "period 1: nan.*missing or infinite"),
        ([np.inf, 500], ValueError, "missing or infinite"),
        (["1000", "900"], TypeError, "'1000'.*to_numeric"),
        ([True, False], TypeError, "bool"),
        ([1000, None], TypeError, "object"),
        ("1000", TypeError, "str"),
        (None, TypeError, "NoneType"),
        ([[1000, 900]], TypeError, "2 dimensions"),
        ([0, 0, 0], ValueError, "starts with no customer"),
        ([1.0, 0.63, 0.47], ValueError, "size="),
        ([100, 63, 47], ValueError, "size="),
        ([100, 63.1, 46.8], ValueError, "size="),
    ],
)
@pytest.mark.parametrize("fit", [retention.fit_geometric, retention.fit_sbg])
def test_bad_survivors_are_refused(fit, alive, error, says):
    with pytest.raises(error, match=says):
        fit(alive)


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf])
def test_a_bad_size_is_refused(size):
    with pytest.raises(ValueError, match="size="):
        retention.fit_sbg([1, 0.6, 0.5], size=size)


def test_activity_is_refused_with_the_reason():
    activity = retention.cohort_triangle(datasets.load("cdnow_sample"))
    for table in (
        activity,
        activity["active"],
        activity.set_index("cohort").loc["1997-01", "active"],
        activity.reset_index(drop=True).copy(),
    ):
        with pytest.raises(ValueError, match="activity, not survival"):
            retention.fit_sbg(table)


def test_sbg_says_when_two_parameters_cannot_be_told():
    for alive, says in [
        ([1000, 900], "one renewal"),
        ([50, 50, 50], "no customer was lost"),
        ([50, 0, 0], "all customers were lost"),
    ]:
        with pytest.raises(ValueError, match=says):
            retention.fit_sbg(alive)


@pytest.mark.parametrize(("alive", "theta"), [([40, 40, 40], 0), ([40, 0], 1)])
def test_geometric_boundary_is_said_and_keeps_an_interval(alive, theta):
    with pytest.warns(BoundaryWarning, match=f"theta = {theta}"):
        fit = retention.fit_geometric(alive)
    assert fit.boundary and fit.params["theta"] == theta and np.isnan(fit.cov.iloc[0, 0])
    limits = fit.survival(1, level=0.95)
    assert 0 <= limits["lower"].item() < limits["upper"].item() <= 1


@pytest.mark.parametrize("alive", [[1000, 900, 810, 729], [1000, 900, 780, 600], [1, 1, 1, 0]])
def test_no_heterogeneity_is_the_geometric_model_and_said(alive):
    with pytest.warns(BoundaryWarning, match="infinity"):
        fit = retention.fit_sbg(alive)
    geometric = retention.fit_geometric(alive)
    assert np.isposinf(fit.params).all() and "infinity" in fit.boundary
    assert fit.loglik == pytest.approx(geometric.loglik)
    np.testing.assert_allclose(fit.survival(range(8)), geometric.survival(range(8)))


def test_losses_at_the_first_renewal_only_are_the_other_boundary():
    with pytest.warns(BoundaryWarning, match="alpha, beta -> 0"):
        fit = retention.fit_sbg([1000, 600, 600, 600])
    assert fit.survival([0, 1, 2, 30]).tolist() == [1, 0.6, 0.6, 0.6]
    assert fit.summary()["std_error"].isna().all()


def test_huge_and_tiny_bases():
    shape = SEGMENTS["regular"][:8].to_numpy()
    small, huge = retention.fit_sbg(shape), retention.fit_sbg(shape * 10**9)
    np.testing.assert_allclose(huge.params, small.params, rtol=1e-6)
    np.testing.assert_allclose(huge.summary()["std_error"] * np.sqrt(1e9), small.summary()["std_error"], rtol=1e-5)
    tiny = retention.fit_sbg([7, 4, 3, 3, 3, 2])
    assert tiny.converged and np.isfinite(tiny.params).all()
    assert retention.fit_sbg(shape).survival(10_000) == pytest.approx(
        scipy.stats.betanbinom(1, *small.params).sf(9_999), rel=1e-9
    )


def test_periods_after_the_last_loss_count():
    # Customers of a base that has died out are not at risk any more, and change nothing.
    np.testing.assert_allclose(
        retention.fit_geometric([90, 50, 35, 0, 0]).params, retention.fit_geometric([90, 50, 35, 0]).params
    )


@pytest.mark.parametrize("t", [-1, 1.5, "3", [], [[1]], np.nan])
def test_ages_that_are_none_are_refused(t):
    with pytest.raises(ValueError, match="whole numbers of periods"):
        retention.fit_sbg(SEGMENTS["regular"][:8]).survival(t)
    with pytest.raises(ValueError, match="1 or more"):
        retention.fit_sbg(SEGMENTS["regular"][:8]).retention_rate(0)


@pytest.mark.parametrize("level", [0, 1, 95, -0.5])
def test_a_level_outside_0_and_1_is_refused(level):
    with pytest.raises(ValueError, match="level="):
        retention.fit_sbg(SEGMENTS["regular"][:8]).summary(level)


def test_predictions_have_the_shape_of_the_question():
    fit = retention.fit_sbg(SEGMENTS["regular"][:8])
    assert isinstance(fit.survival(3), float)
    assert fit.survival([3, 1]).index.tolist() == [3, 1]
    table = fit.survival(range(13), level=0.9)
    assert list(table) == ["estimate", "lower", "upper"] and table.index.name == "age"
    assert table.loc[0].tolist() == [1, 1, 1]
    assert (table["lower"][1:] < table["estimate"][1:]).all() and (table["estimate"][1:] < table["upper"][1:]).all()
    wide = fit.survival(range(1, 13), level=0.99)
    assert (wide["lower"] < table["lower"][1:]).all()
    assert fit.aic == pytest.approx(2 * 2 - 2 * fit.loglik) and fit.bic == pytest.approx(
        2 * np.log(1000) - 2 * fit.loglik
    )


def test_the_figure_holds_data_curve_and_holdout():
    alive = SEGMENTS["regular"]
    ax = retention.fit_geometric(alive[:8]).plot(holdout=alive[8:], unit="year")
    retention.fit_sbg(alive[:8]).plot(ax=ax, periods=12, unit="year")
    lines = {line.get_label(): line for line in ax.lines}
    assert [label for label in lines if "model" in label or "(" in label] == [
        "geometric (one constant rate)",
        "shifted-beta-geometric (sBG)",
    ]
    np.testing.assert_allclose(lines["observed"].get_ydata(), alive[:8] / 1000)
    np.testing.assert_allclose(lines["hold-out, not used in the fit"].get_ydata(), alive[8:] / 1000)
    assert lines["hold-out, not used in the fit"].get_xdata().tolist() == [8, 9, 10, 11, 12]
    assert "years" in ax.get_xlabel() and ax.get_ylabel()
    rates = retention.fit_sbg(alive[:8]).plot(what="retention_rate", holdout=alive[8:])
    observed = {line.get_label(): line for line in rates.lines}
    np.testing.assert_allclose(observed["observed"].get_ydata(), (alive / alive.shift())[1:8])
    with pytest.raises(ValueError, match="what="):
        retention.fit_sbg(alive[:8]).plot(what="hazard")


# --- repeat_share ----------------------------------------------------------------------------------------------------

SMALL = log_of(
    [
        ("a", "2024-01-05"), ("a", "2024-01-05"), ("a", "2024-02-01"), ("a", "2024-03-01"), ("a", "2025-01-01"),
        ("b", "2024-06-01"), ("b", "2025-02-01"), ("b", "2025-03-01"), ("b", "2025-04-01"),
        ("c", "2025-05-05"),
    ]
)  # fmt: skip


def shares(log, **rule):
    table = retention.repeat_share(log, **rule)
    return {row.period: (row.customers, row.repeaters) for row in table.itertuples()}


def test_repeat_share_counts_by_hand():
    # Customer-days: a has three in 2024 (two rows on one day are one) and one in 2025; b one and three; c one.
    assert shares(SMALL, at_least=2) == {2024: (2, 1), 2025: (3, 1)}
    assert shares(SMALL, at_least=3) == {2024: (2, 0), 2025: (3, 1)}
    assert shares(SMALL, at_least=3, count_first=True) == {2024: (2, 1), 2025: (3, 1)}
    assert shares(SMALL, at_least=3, window="cumulative") == {2024: (2, 0), 2025: (3, 2)}
    assert shares(SMALL[:4], at_least=1, base="ever") == {2024: (1, 1)}
    gone = SMALL[~((SMALL["customer_id"] == "a") & (SMALL["date"].dt.year == 2025))]
    assert shares(gone, at_least=2, window="cumulative", base="active") == {2024: (2, 1), 2025: (2, 1)}
    assert shares(gone, at_least=2, window="cumulative", base="ever") == {2024: (2, 1), 2025: (3, 2)}


def test_repeat_share_keeps_years_without_purchases_in_the_base_of_ever():
    log = log_of([("a", "2022-01-01"), ("a", "2024-01-01")])
    assert shares(log, at_least=1, base="ever") == {2022: (1, 0), 2023: (1, 0), 2024: (1, 1)}
    assert shares(log, at_least=1, base="active") == {2022: (1, 0), 2024: (1, 1)}


def test_the_group_is_the_one_before_the_year():
    log = log_of(
        [("a", "2023-05-01", "ordinary"), ("a", "2024-02-01", "gold"), ("a", "2024-03-01", "gold"), ("b", "2024-01-01", "gold"), ("b", "2024-12-01", "ordinary"),
         ("a", "2025-01-01", "ordinary")],
        grade=None,
    )  # fmt: skip
    table = retention.repeat_share(log, at_least=1, group="grade").set_index(["period", "group"])
    # In 2024 a is still ordinary, the grade it had before; b is new, and gold on its first day.
    assert table["customers"].to_dict() == {
        (2023, "ordinary"): 1,
        (2024, "gold"): 1,
        (2024, "ordinary"): 1,
        (2025, "gold"): 1,
    }


def test_repeat_share_intervals_are_wilsons(r):
    table = retention.repeat_share(datasets.load("cdnow_sample"))
    lines = "\n".join(
        f"cat(prop.test({row.repeaters}, {row.customers}, correct = FALSE)$conf.int, '\\n')"
        for row in table.itertuples()
    )
    np.testing.assert_allclose(table[["lower", "upper"]], np.array(r(lines)), rtol=1e-10)


def test_repeat_share_agrees_with_an_independent_count():
    log = datasets.load("cdnow")
    days = {}
    for customer, date in zip(log["customer_id"], log["date"]):
        days.setdefault(customer, set()).add(date)
    year = {
        y: (
            sum(any(d.year == y for d in s) for s in days.values()),
            sum(sum(d.year == y for d in s - {min(s)}) >= 3 for s in days.values()),
        )
        for y in (1997, 1998)
    }
    assert shares(log) == year
    ever = {
        y: (
            sum(min(s).year <= y for s in days.values()),
            sum(sum(d.year <= y for d in s - {min(s)}) >= 3 for s in days.values()),
        )
        for y in (1997, 1998)
    }
    assert shares(log, window="cumulative", base="ever") == ever


def test_a_cumulative_share_rises_though_nobody_changes():
    still = simulate.company_case(programme_effect=0)
    cumulative = retention.repeat_share(still[still["grade"] == "ordinary"], window="cumulative", base="ever")
    assert (
        cumulative["share"].is_monotonic_increasing and cumulative["share"].iloc[-1] > 2.5 * cumulative["share"].iloc[0]
    )
    yearly = retention.repeat_share(still[still["grade"] == "ordinary"], window="year").iloc[1:]
    assert yearly["lower"].max() < yearly["upper"].min()  # from the second year on, flat within the intervals


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"window": "month"}, "window="), ({"base": "all"}, "base="), ({"at_least": 0}, "at_least="), ({"at_least": 2.5}, "at_least="), ({"group": "grade"}, "no column|needs a column 'grade'"), ({"customer": "who"}, "'who'")],
)  # fmt: skip
def test_repeat_share_refuses_bad_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        retention.repeat_share(SMALL, **arguments)


def test_the_figure_of_shares_has_a_line_a_group():
    case = datasets.load("company_case_log")
    ax = retention.plot_repeat_share(retention.repeat_share(case, group="grade"))
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"ordinary", "gold", "key account"}
    assert ax.get_xlabel() == "year" and "share" in ax.get_ylabel()
    assert len(retention.plot_repeat_share(retention.repeat_share(case)).containers) == 1


# --- triangles -------------------------------------------------------------------------------------------------------


def test_cohort_triangle_counts_by_hand():
    log = log_of(
        [
            ("a", "2024-01-31"),
            ("a", "2024-03-01"),
            ("b", "2024-01-02"),
            ("b", "2024-01-03"),
            ("c", "2024-02-29"),
            ("c", "2024-04-01"),
        ]
    )
    table = retention.cohort_triangle(log)
    assert list(table) == ["cohort", "age_months", "customers", "active", "share"]
    cells = {(str(row.cohort), row.age_months): (row.customers, row.active) for row in table.itertuples()}
    assert cells == {
        ("2024-01", 0): (2, 2), ("2024-01", 1): (2, 0), ("2024-01", 2): (2, 1), ("2024-01", 3): (2, 0),
        ("2024-02", 0): (1, 1), ("2024-02", 1): (1, 0), ("2024-02", 2): (1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("period", ["week", "month", "quarter", "year"])
def test_cohort_triangle_loses_no_customer(period):
    log = datasets.load("cdnow")
    table = retention.cohort_triangle(log, period=period)
    first = table[table[f"age_{period}s"] == 0]
    assert first["customers"].sum() == first["active"].sum() == log["customer_id"].nunique()
    frame = log.assign(
        period=log["date"].dt.to_period({"week": "W", "month": "M", "quarter": "Q", "year": "Y"}[period])
    )
    assert table["active"].sum() == len(frame[["customer_id", "period"]].drop_duplicates())


def test_heat_map_leaves_out_age_zero_and_labels_the_cohorts():
    ax = retention.plot_cohort_triangle(retention.cohort_triangle(datasets.load("cdnow")))
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "1997-01 (7,846)",
        "1997-02 (8,476)",
        "1997-03 (7,248)",
    ]
    assert "months" in ax.get_xlabel()
    drawn = ax.collections[0].get_array()
    assert drawn.max() < 0.2 and drawn.count() == 17 + 16 + 15


def test_survivor_triangle_agrees_with_kaplan_meier():
    from lifelines import KaplanMeierFitter

    until = pd.Timestamp("2025-12-31")
    table = simulate.contracts(3000, alpha=0.8, beta=2.0, seed=5, observed_until=until)
    triangle = retention.survivor_triangle(table, observed_until=until)
    # Whole years under contract, censored at the last anniversary that all of the cohort have reached.
    whole = triangle["age_years"].max()
    years = table["end"].dt.year - table["start"].dt.year
    durations = years.fillna(whole).clip(upper=whole)
    model = KaplanMeierFitter().fit(durations, event_observed=(years <= whole))
    np.testing.assert_allclose(triangle["share"], model.survival_function_at_times(triangle["age_years"]), rtol=1e-12)


def test_survivor_triangle_follows_each_cohort_as_far_as_all_of_it_is_seen():
    table = pd.DataFrame(
        {
            "customer_id": list("abcd"),
            "start": pd.to_datetime(["2022-01-01", "2022-12-31", "2023-06-15", "2024-05-01"]),
            "end": pd.to_datetime(["2023-01-01", None, "2025-01-01", None]),
        }
    )
    triangle = retention.survivor_triangle(table, observed_until="2025-06-30")
    cells = {(str(row.cohort), row.age_years): (row.customers, row.survivors) for row in triangle.itertuples()}
    # a ends on the day of its first renewal and has not survived it; c leaves between its first and its second. Nobody
    # of 2022 is followed to age 3 in whole: b would have reached it on 31 December 2025.
    assert cells == {
        ("2022", 0): (2, 2), ("2022", 1): (2, 1), ("2022", 2): (2, 1),
        ("2023", 0): (1, 1), ("2023", 1): (1, 1), ("2023", 2): (1, 0),
        ("2024", 0): (1, 1), ("2024", 1): (1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("period", ["week", "month", "quarter"])
def test_survivor_triangle_in_shorter_periods(period):
    table = pd.DataFrame(
        {
            "customer_id": [1, 2],
            "start": pd.to_datetime(["2024-01-01"] * 2),
            "end": pd.to_datetime(["2024-03-01", None]),
        }
    )
    triangle = retention.survivor_triangle(table, period=period, observed_until="2024-12-31").set_index(
        f"age_{period}s"
    )["survivors"]
    ended = {"week": 9, "month": 2, "quarter": 1}[period]  # the first age reached on or after 1 March
    assert triangle.loc[ended - 1] == 2 and triangle.loc[ended] == 1


def test_survivor_triangle_refuses_what_it_cannot_know():
    table = simulate.contracts(10, 1, 1, seed=1)
    with pytest.raises(ValueError, match="after observed_until"):
        retention.survivor_triangle(table, observed_until="2018-06-30")
    with pytest.raises(ValueError, match="shorter period"):
        retention.survivor_triangle(
            pd.DataFrame({"customer_id": ["a"], "start": pd.to_datetime(["2025-12-01"]), "end": [pd.NaT]}),
            observed_until="2025-12-31",
        )
    with pytest.raises(ValueError, match="period="):
        retention.survivor_triangle(table, period="day")


def test_cohorts_with_gaps_are_refused():
    triangle = datasets.load("retention_five_cohorts")
    with pytest.raises(ValueError, match="cohort 2003: the ages are"):
        retention.fit_sbg(triangle.drop(index=2))


def test_from_contracts_to_the_fit():
    table = simulate.contracts(4000, alpha=0.7, beta=1.2, cohorts=4, seed=11)
    triangle = retention.survivor_triangle(table, observed_until="2025-12-31")
    fit = retention.fit_sbg(triangle)
    low, high = fit.summary(level=0.999).loc["alpha", ["lower", "upper"]]
    assert fit.nobs == 16_000 and low < 0.7 < high
