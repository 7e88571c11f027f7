"""Models of survivors beyond the sBG: published numbers, other implementations, recovery, coverage, tests at an edge."""

import warnings

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest
from autograd.scipy.special import gammaln
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.fitters import ParametricUnivariateFitter
from scipy import optimize, special, stats

from crmlab import counting, datasets, resampling, retention, simulate
from crmlab.likelihood import BoundaryWarning
from crmlab.retention.survivors import read

REGULAR = [1000, 631, 468, 382, 326, 289, 262, 241]
HIGH_END = [1000, 869, 743, 653, 593, 551, 517, 491]
FITS = [retention.fit_geometric, retention.fit_sbg, retention.fit_bdw, retention.fit_latent_segments]


def sample(survival, customers, rng):
    """Survivors of so many customers, drawn from a survivor function at ages 0, 1, 2, ..."""
    shares = -np.diff(np.append(survival, 0))
    return customers - np.append(0, rng.multinomial(customers, shares)[:-1].cumsum())


def lost_between(alive):
    """For lifelines: the periods between which customers were lost, and how many."""
    alive = np.array(alive)
    begin = np.arange(len(alive))
    return begin, np.append(begin[1:], np.inf), np.append(alive[:-1] - alive[1:], alive[-1])


class BetaWeibull(ParametricUnivariateFitter):
    """The BdW model as a lifelines user would write it; lifelines maximises it on interval-censored lifetimes."""

    _fitted_parameter_names = ["alpha_", "beta_", "c_"]
    _bounds = [(1e-6, None), (1e-6, None), (1e-6, None)]

    def _create_initial_point(self, *args):
        return np.array([0.6, 1.0, 1.0])

    def _cumulative_hazard(self, params, times):
        alpha, beta, c = params
        # Nobody survives for ever (lifelines makes infinity the largest number), and 0^c has no slope in c.
        u = anp.where(times < 1e6, anp.maximum(times, 1e-200), 1.0) ** c
        hazard = -(gammaln(beta + u) - gammaln(beta) - gammaln(alpha + beta + u) + gammaln(alpha + beta))
        return anp.where(times < 1e6, hazard, 100.0)


class BetaGeometric(BetaWeibull):
    _fitted_parameter_names = ["alpha_", "beta_"]
    _bounds = [(1e-6, None), (1e-6, None)]

    def _create_initial_point(self, *args):
        return np.array([0.6, 1.0])

    def _cumulative_hazard(self, params, times):
        return super()._cumulative_hazard(anp.concatenate([params, anp.array([1.0])]), times)


@pytest.mark.parametrize("alive", [REGULAR, HIGH_END])
@pytest.mark.parametrize("fit, peer", [(retention.fit_sbg, BetaGeometric), (retention.fit_bdw, BetaWeibull)])
def test_agrees_with_lifelines(alive, fit, peer):
    lower, upper, weights = lost_between(alive)
    with warnings.catch_warnings():  # lifelines warns of its own clipping
        warnings.simplefilter("ignore")
        theirs = peer().fit_interval_censoring(lower, upper, weights=weights)
    ours = fit(alive)
    assert ours.loglik == pytest.approx(theirs.log_likelihood_, abs=1e-5)
    assert ours.params.to_numpy() == pytest.approx(theirs.params_.to_numpy(), rel=2e-3)
    wald = ours.summary(intervals="wald")["std_error"].to_numpy()
    assert wald == pytest.approx(theirs.summary["se(coef)"].to_numpy(), rel=0.01)


@pytest.mark.parametrize("alive", [REGULAR, HIGH_END, [5000, 3100, 2500, 2200, 2010, 1880]])
def test_two_segments_agree_with_a_global_search(alive):
    alive = np.array(alive)
    ages = np.arange(len(alive))
    lost = np.append(alive[:-1] - alive[1:], alive[-1])

    def cost(x):
        survival = x[0] * (1 - x[1]) ** ages + (1 - x[0]) * (1 - x[2]) ** ages
        return -lost @ np.log(np.append(-np.diff(survival), survival[-1]).clip(1e-300))

    theirs = optimize.differential_evolution(cost, [(0, 1), (0, 1), (0, 1)], rng=1, tol=1e-12, polish=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundaryWarning)
        ours = retention.fit_latent_segments(alive)
    # One less the binomial coefficients that neither has: the same likelihood of the same lifetimes.
    assert ours.loglik == pytest.approx(-theirs.fun, abs=1e-5)
    share, first, second = theirs.x if theirs.x[1] > theirs.x[2] else (1 - theirs.x[0], theirs.x[2], theirs.x[1])
    assert ours.params.to_numpy() == pytest.approx([share, first, second], abs=2e-3)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.05, 50), st.floats(0.05, 50), st.floats(0.3, 3), st.integers(1, 60))
def test_the_survivor_function_is_the_ratio_of_beta_functions(alpha, beta, c, t):
    fit = retention.BDWFit.at(alpha=alpha, beta=beta, c=c)
    expected = np.exp(special.betaln(alpha, beta + t**c) - special.betaln(alpha, beta))
    assert fit.survival(t) == pytest.approx(expected, rel=1e-9)
    assert fit.retention_rate(t) == pytest.approx(fit.survival(t) / fit.survival(t - 1), rel=1e-12)
    if c == 1:
        assert retention.SBGFit.at(alpha=alpha, beta=beta).survival(t) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("total", [1e2, 1e6, 1e12, 1e200])
def test_nothing_cancels_near_the_geometric_model(total):
    fit = retention.SBGFit.at(alpha=0.2 * total, beta=0.8 * total)
    assert fit.survival(10) == pytest.approx(0.8**10, rel=60 / total + 1e-13)
    assert fit.residual_lifetime(3, discount=0.1) == pytest.approx(0.8 / (1 - 0.8 / 1.1), rel=60 / total + 1e-12)


def test_membership_is_bayes_rule():
    fit = retention.fit_latent_segments(REGULAR)
    share, leaving, loyal = fit.params
    left = share * (1 - leaving) ** 3, (1 - share) * (1 - loyal) ** 3
    assert fit.membership(3) == pytest.approx(left[0] / sum(left), rel=1e-12)
    assert fit.membership([0, 3]).iloc[0] == pytest.approx(share)


@pytest.mark.parametrize("made", [0, 1, 7])
@pytest.mark.parametrize("discount", [0.02, 0.1, 1.0])
def test_residual_lifetime_is_the_published_formula_and_the_sum(made, discount):
    alpha, beta = 3.80, 15.19
    fit = retention.SBGFit.at(alpha=alpha, beta=beta)
    # Fader and Hardie (2010), with n - 1 = made renewals.
    published = (beta + made) / (alpha + beta + made)
    published *= special.hyp2f1(1, beta + made + 1, alpha + beta + made + 1, 1 / (1 + discount))
    assert fit.residual_lifetime(made, discount) == pytest.approx(published, rel=1e-9)
    later = fit.residual_lifetime(made, discount, next_payment="after_one_period")
    assert later == pytest.approx(published / (1 + discount), rel=1e-9)
    for other in (retention.fit_bdw(REGULAR), retention.fit_latent_segments(REGULAR), retention.fit_geometric(REGULAR)):
        ages = np.arange(made, made + 4000)
        left = other.survival(ages).to_numpy() / other.survival(made)
        by_hand = left[1:] @ (1 + discount) ** -np.arange(len(ages) - 1.0)
        assert other.residual_lifetime(made, discount) == pytest.approx(by_hand, rel=1e-9)


def test_lifetimes_without_a_discount():
    # (alpha + beta - 1) / (alpha - 1), the mean of a beta-geometric; infinite for alpha <= 1.
    assert retention.SBGFit.at(alpha=2.5, beta=4).lifetime() == pytest.approx(5.5 / 1.5, rel=1e-6)
    assert retention.SBGFit.at(alpha=1.2, beta=30).lifetime() == pytest.approx(30.2 / 0.2, rel=1e-4)
    assert retention.fit_sbg(REGULAR).lifetime() == np.inf
    assert retention.GeometricFit.at(theta=1e-6).lifetime() == pytest.approx(1e6)
    assert retention.LatentSegmentsFit.at(
        share_leaving=0.5, theta_leaving=0.5, theta_loyal=0.1
    ).lifetime() == pytest.approx(6)
    # BdW falls by the power c alpha.
    assert retention.BDWFit.at(alpha=0.9, beta=1, c=1.1).lifetime() == np.inf
    assert np.isfinite(retention.BDWFit.at(alpha=0.9, beta=1, c=3).lifetime())
    fit = retention.fit_geometric(REGULAR)
    found = fit.lifetime(0.1, level=0.95)
    theta = fit.summary().loc["theta"]
    assert found["lower"] == pytest.approx(1 / (1 - (1 - theta["upper"]) / 1.1), rel=1e-9)
    assert found["upper"] == pytest.approx(1 / (1 - (1 - theta["lower"]) / 1.1), rel=1e-9)


@pytest.mark.parametrize("fit", [retention.fit_bdw, retention.fit_latent_segments])
def test_recovery_and_coverage(fit):
    """Intervals of survival and retention rate hold the truth in 95 of 100 samples, within Monte Carlo error."""
    rng = np.random.default_rng(20261122)
    truth = (
        retention.BDWFit.at(alpha=0.8, beta=2.0, c=1.4)
        if fit is retention.fit_bdw
        else retention.LatentSegmentsFit.at(share_leaving=0.5, theta_leaving=0.5, theta_loyal=0.08)
    )
    survival = truth.survival(range(9)).to_numpy()
    targets = {
        "survival": (5, truth.survival(5)),
        "retention_rate": (7, truth.retention_rate(7)),
        "later": (12, truth.survival(12)),
    }
    inside, estimates, edges, segments = dict.fromkeys(targets, 0), [], 0, 500
    for _ in range(segments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundaryWarning)
            found = fit(sample(survival, 5000, rng))
        edges += found.boundary is not None
        estimates.append(found.survival(12))
        for name, (age, true) in targets.items():
            row = (found.retention_rate if name == "retention_rate" else found.survival)([age], level=0.95).iloc[0]
            inside[name] += row["lower"] <= true <= row["upper"]
    assert edges <= 0.02 * segments
    # Three standard errors of a share of 95 % in 500, and the samples on an edge, which have no interval.
    slack = 3 * np.sqrt(0.95 * 0.05 / segments)
    for name, count in inside.items():
        assert abs(count / (segments - edges) - 0.95) < slack, (name, count, edges)
    assert np.mean(estimates) == pytest.approx(
        truth.survival(12), abs=3 * np.std(estimates) / np.sqrt(segments) + 0.001
    )


def test_profile_intervals_are_where_the_deviance_reaches_chi_square():
    fit = retention.fit_sbg(HIGH_END)
    lower, upper, weights = lost_between(HIGH_END)

    def deviance(alpha):
        def cost(log_beta):
            survival = np.exp(
                special.betaln(alpha, np.exp(log_beta) + np.arange(9)) - special.betaln(alpha, np.exp(log_beta))
            )
            return -weights[:-1] @ np.log(-np.diff(survival)[:7]) - weights[-1] * np.log(survival[7])

        return 2 * (fit.loglik + optimize.minimize_scalar(cost, (0, 3)).fun)

    for limit in fit.summary(level=0.9).loc["alpha", ["lower", "upper"]]:
        assert deviance(limit) == pytest.approx(stats.chi2.ppf(0.9, 1), abs=1e-3)
    assert deviance(fit.params["alpha"]) == pytest.approx(0, abs=1e-6)


def test_profile_intervals_cover_where_walds_are_short():
    """At alpha 3.8, beta 15.2 and a thousand customers; the profile holds alpha where the deviance at it is small."""
    rng = np.random.default_rng(7)
    survival = retention.SBGFit.at(alpha=3.8, beta=15.2).survival(range(8)).to_numpy()
    profile = wald = 0
    for _ in range(400):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundaryWarning)
            fit = retention.fit_sbg(sample(survival, 1000, rng))
        renewals = fit.renewals
        kept, lost, before = (
            (renewals["at_risk"] - renewals["lost"]).to_numpy(),
            renewals["lost"].to_numpy(),
            np.arange(7),
        )

        def cost(log_beta, kept=kept, lost=lost, before=before):
            beta = np.exp(log_beta)
            return -np.sum(
                lost * np.log(3.8 / (3.8 + beta + before)) + kept * np.log((beta + before) / (3.8 + beta + before))
            )

        profile += 2 * (fit.loglik + optimize.minimize_scalar(cost, (2, 3)).fun) <= stats.chi2.ppf(0.95, 1)
        if fit.boundary is None:
            row = fit.summary(intervals="wald").loc["alpha"]
            wald += row["lower"] <= 3.8 <= row["upper"]
    assert abs(profile / 400 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)
    # The samples on the edge have a profile and no Wald interval.
    assert profile / 400 >= wald / 400 - 0.01


def test_a_profile_may_be_open_and_exists_on_an_edge():
    with pytest.warns(BoundaryWarning, match="no heterogeneity"):
        fit = retention.fit_sbg([1000, 810, 640, 505, 390])
    table = fit.summary()
    assert np.isinf(table["upper"]).all() and (table["lower"] > 0).all() and table["std_error"].isna().all()
    with pytest.warns(BoundaryWarning, match="never leave"):
        fit = retention.fit_latent_segments(HIGH_END)
    row = fit.summary().loc["theta_loyal"]
    assert row["lower"] == pytest.approx(0, abs=1e-8) and 0.03 < row["upper"] < 0.06


class TestLikelihoodRatio:
    def test_published_segments(self):
        # Regular needs no change with age beside its heterogeneity; High End does.
        for alive, small in ((REGULAR, False), (HIGH_END, True)):
            test = retention.likelihood_ratio(retention.fit_sbg(alive), retention.fit_bdw(alive))
            assert test.null == "chi2(1)" and (test.p_value < 0.001) == small
            assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, 1))
        assert (
            test.summary().loc["shifted-beta-geometric (sBG) in beta-discrete-Weibull (BdW)", "p_value"] == test.p_value
        )

    @pytest.mark.parametrize("fit, samples", [(retention.fit_sbg, 800), (retention.fit_bdw, 300)])
    def test_size_at_the_edge(self, fit, samples):
        """Under one constant rate 5 % are rejected; with the plain chi-square of the degrees of freedom too few are."""
        rng = np.random.default_rng(11)
        survival = 0.8 ** np.arange(7)
        p_values = []
        for _ in range(samples):
            alive = sample(survival, 20_000, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BoundaryWarning)
                p_values.append(retention.likelihood_ratio(retention.fit_geometric(alive), fit(alive)).p_value)
        slack = 3 * np.sqrt(0.05 * 0.95 / samples)
        assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < slack
        if fit is retention.fit_sbg:  # half the samples lie on the edge
            assert abs(np.mean(np.array(p_values) == 1) - 0.5) < 3 * np.sqrt(0.25 / samples)

    def test_segments_are_compared_with_samples(self):
        geometric, segments = retention.fit_geometric(REGULAR), retention.fit_latent_segments(REGULAR)
        test = retention.likelihood_ratio(geometric, segments, replicates=39, seed=1)
        assert test.p_value == 1 / 40 and test.null == "39 samples from the geometric fit"
        rng = np.random.default_rng(5)
        alive = sample(0.8 ** np.arange(7), 2000, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundaryWarning)
            test = retention.likelihood_ratio(retention.fit_geometric(alive), retention.fit_latent_segments(alive), 39)
        assert test.p_value > 0.1

    def test_what_is_not_nested_or_not_the_same_data(self):
        with pytest.raises(ValueError, match="compare their aic"):
            retention.likelihood_ratio(retention.fit_sbg(REGULAR), retention.fit_latent_segments(REGULAR))
        with pytest.raises(ValueError, match="different data"):
            retention.likelihood_ratio(retention.fit_geometric(HIGH_END), retention.fit_sbg(REGULAR))


class TestForms:
    """The same customers in every form that the fits take."""

    def test_tenures_contracts_and_triangles_agree(self):
        table = simulate.contracts(4000, alpha=0.7, beta=1.2, cohorts=4, seed=11)
        triangle = retention.survivor_triangle(table, observed_until="2025-12-31")
        tenures = counting.tenure_counts(table, "year", observed_until="2025-12-31").to_pandas()
        assert read(tenures).customers == len(table) == read(triangle).customers
        # Whoever began late in its cohort's year is followed no further than the others in a triangle.
        periods = counting.person_periods(table, "year", observed_until="2025-12-31").to_pandas()
        renewals = read(tenures).renewals
        assert renewals["at_risk"].tolist() == periods["at_risk"].tolist()
        assert renewals["lost"].tolist() == periods["lost"].tolist()
        for fit in FITS:
            a, b = fit(tenures).survival([3, 8]), fit(triangle).survival([3, 8])
            assert a.to_numpy() == pytest.approx(b.to_numpy(), abs=0.01)

    def test_the_order_of_cohorts_and_a_cohort_of_age_0_do_not_matter(self):
        five = datasets.load("retention_five_cohorts")
        expected = retention.fit_bdw(five[five["cohort"] < 2007]).loglik
        assert retention.fit_bdw(five.sample(frac=1, random_state=1)).loglik == pytest.approx(expected, abs=1e-8)

    def test_cohorts_whose_sizes_differ_ten_thousandfold(self):
        sizes, truth = {"a": 50_000_000, "b": 5_000}, retention.SBGFit.at(alpha=0.7, beta=1.2)
        rows = [
            pd.DataFrame(
                {"cohort": name, "age_years": range(6), "survivors": np.round(size * truth.survival(range(6)))}
            )
            for name, size in sizes.items()
        ]
        fit = retention.fit_sbg(pd.concat(rows))
        assert fit.params.to_numpy() == pytest.approx([0.7, 1.2], rel=1e-4)
        assert retention.fit_bdw(pd.concat(rows)).params["c"] == pytest.approx(1, abs=1e-3)

    def test_a_gap_is_refused(self):
        five = datasets.load("retention_five_cohorts")
        with pytest.raises(ValueError, match=r"cohort 2004: the ages are \[0, 1, 3\]"):
            retention.fit_bdw(five.drop(five.query("cohort == 2004 and age_years == 2").index))

    @pytest.mark.parametrize(
        "change, message",
        [
            ({"lost": ["No", "Yes", "No"]}, r"column 'lost' holds object values.*table\['lost'\] == 'Yes'"),
            ({"customers": [5, -1, 3]}, r"column 'customers': 1 of 3 rows .*row 1: -1"),
            ({"tenure_years": [1, 2.5, 3]}, r"column 'tenure_years': 1 of 3 rows are not whole .*row 1: 2.5"),
            ({"tenure_years": [1, 0, 3]}, "customers lost at tenure 0"),
            ({"tenure_years": [0, 0, 0], "lost": [False] * 3}, "not followed|nothing is known"),
        ],
    )
    def test_bad_tenures(self, change, message):
        table = pd.DataFrame({"tenure_years": [1, 2, 3], "lost": [False, True, False], "customers": [5, 2, 9]})
        with pytest.raises(ValueError, match=message):
            retention.fit_geometric(table.assign(**change))

    def test_a_size_beside_counts_and_a_whole_table_are_refused(self):
        with pytest.raises(ValueError, match="counts customers already .it starts 1000, 631.*leave size= out"):
            retention.fit_latent_segments(REGULAR, 3)
        with pytest.raises(ValueError, match=r"Pass one column of survivors, such as table\['regular'\]"):
            retention.fit_sbg(datasets.load("retention_two_segments"))

    @pytest.mark.parametrize("fit", FITS)
    def test_huge_and_scaled_numbers(self, fit):
        once, many = fit(REGULAR), fit([n * 10**8 for n in REGULAR])
        assert many.params.to_numpy() == pytest.approx(once.params.to_numpy(), rel=1e-3)
        shares = fit([n / 10 for n in REGULAR], size=1000)
        assert shares.loglik == pytest.approx(once.loglik, abs=1e-6)


class TestEdges:
    @pytest.mark.parametrize("fit", [retention.fit_bdw, retention.fit_latent_segments])
    def test_too_little_to_tell_three_parameters(self, fit):
        with pytest.raises(ValueError, match="at least three"):
            fit([90, 80, 60])
        with pytest.raises(ValueError, match="no customer was lost"):
            fit([90, 90, 90, 90])
        with pytest.raises(ValueError, match="all losses fell on the first renewal"):
            fit([90, 60, 60, 60])
        with pytest.raises(ValueError, match="activity"):
            fit(retention.cohort_triangle(datasets.load("cdnow_sample")))

    def test_no_heterogeneity_beside_a_change_with_age(self):
        survival = 0.9 ** (np.arange(8) ** 1.5)
        with pytest.warns(BoundaryWarning, match="discrete Weibull"):
            fit = retention.fit_bdw(np.round(100_000 * survival - [0, 0, 0, 0, 40, 80, 80, 80]))
        assert fit.params["c"] == pytest.approx(1.5, abs=0.02) and np.isinf(fit.params["alpha"])
        assert fit.survival(5) == pytest.approx(survival[5], abs=0.005)
        assert fit.survival([5], level=0.95)[["lower", "upper"]].isna().all(axis=None)
        found = resampling.bootstrap(fit, lambda fit: fit.survival([5]), n=20)
        assert found.loc[5, "lower"] <= fit.survival(5) <= found.loc[5, "upper"]

    def test_one_segment(self):
        with pytest.warns(BoundaryWarning, match="one segment"):
            fit = retention.fit_latent_segments([1000, 800, 640, 512, 410])
        assert fit.survival(3) == pytest.approx(retention.fit_geometric([1000, 800, 640, 512, 410]).survival(3))

    def test_a_rate_that_falls_with_age_has_no_mixture(self):
        with pytest.warns(BoundaryWarning):
            retention.fit_latent_segments([1000, 950, 850, 700, 500])
        with pytest.warns(BoundaryWarning):
            assert retention.fit_bdw([1000, 950, 850, 700, 500]).params["c"] > 1

    def test_a_few_customers(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundaryWarning)
            for fit in FITS:
                found = fit([3, 2, 1, 1])
                assert 0 < found.survival(2) < 1

    def test_parameters_that_are_given(self):
        fit = retention.SBGFit.at(alpha=1, beta=1)
        assert fit.survival(1) == 0.5 and fit.survival([1], level=0.9)["lower"].isna().all()
        with pytest.raises(TypeError, match="takes alpha, beta; got theta"):
            retention.SBGFit.at(theta=1)
        with pytest.raises(ValueError, match="theta = 1.2 is out of range"):
            retention.GeometricFit.at(theta=1.2)

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda fit: fit.residual_lifetime(-1), "renewals takes whole numbers"),
            (lambda fit: fit.residual_lifetime(0, discount=-0.1), "discount= is a rate"),
            (lambda fit: fit.residual_lifetime(0, 0.1, next_payment="soon"), "next_payment= is one of"),
            (lambda fit: fit.lifetime(np.nan), "discount= is a rate"),
            (lambda fit: fit.lifetime(10), "between 0 and 1, such as 0.1 for 10 %; got 10"),
            (lambda fit: fit.summary(intervals="exact"), "intervals= is one of"),
            (lambda fit: fit.summary(level=95), "level= is"),
        ],
    )
    def test_bad_arguments(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(retention.fit_sbg(HIGH_END))


def test_two_explanations_draw_one_curve():
    """Nobody changes, or everybody is alike and grows fonder: seven years of survivors hardly tell."""
    alive = np.round(100_000 * retention.SBGFit.at(alpha=0.7, beta=1.2).survival(range(8)))
    alive = alive.to_numpy()
    alike = alive[1:] / alive[:-1]  # one churn probability for all, falling with age
    assert np.append(1, np.cumprod(alike)) * alive[0] == pytest.approx(alive) and (np.diff(alike) > 0).all()
    segments = retention.fit_latent_segments(alive)
    assert np.abs(segments.survival(range(8)) - alive / alive[0]).max() < 0.01
    assert abs(segments.survival(12) - retention.fit_sbg(alive).survival(12)) > 0.01


class TestTailsOfInfiniteSums:
    @pytest.mark.parametrize("theta", [0.01, 0.005, 0.001, 1e-4, 1e-6])
    @pytest.mark.parametrize("discount", [0.0, 1e-4, 0.005])
    def test_loyal_customers_of_two_segments_live_their_whole_lives(self, theta, discount):
        fit = retention.LatentSegmentsFit.at(share_leaving=0.3, theta_leaving=0.5, theta_loyal=theta)
        after = (0.5 / (0.5 + discount), (1 - theta) / (theta + discount))
        assert fit.lifetime(discount) == pytest.approx(1 + 0.3 * after[0] + 0.7 * after[1], rel=1e-12)
        left = np.array([0.3 * 0.5**4, 0.7 * (1 - theta) ** 4])
        expected = left @ after / left.sum() * (1 + discount)
        assert fit.residual_lifetime(4, discount) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("alpha, beta, c", [(30_000, 30_000, 0.3), (300, 600, 0.4), (30, 60, 0.4), (0.5, 0.8, 1.3)])
    def test_slowly_falling_curves_are_summed_to_their_end(self, alpha, beta, c):
        fit = retention.BDWFit.at(alpha=alpha, beta=beta, c=c)
        discount = 0.0005 if alpha * c < 1 else 0.0
        k = np.arange(1, 4e6)
        expected = np.exp(fit._log_survival(fit.working, k) - k * np.log1p(discount)).sum()
        assert fit.lifetime(discount) == pytest.approx(1 + expected, rel=1e-6)

    @pytest.mark.parametrize("alpha, beta", [(1.001, 3), (1.1, 3), (1.3, 1e6), (3, 100)])
    def test_the_tail_of_the_sbg_is_exact(self, alpha, beta):
        fit = retention.SBGFit.at(alpha=alpha, beta=beta)
        assert fit.residual_lifetime(0) == pytest.approx(beta / (alpha - 1), rel=1e-7)

    def test_infinite_but_for_rounding_is_infinite(self):
        assert retention.BDWFit.at(alpha=2, beta=3, c=0.5).lifetime() == np.inf

    def test_a_homogeneous_curve_has_its_lifetime(self):
        alive = np.round(10_000 * np.exp(-0.4 * np.arange(13.0) ** 0.35))
        with pytest.warns(BoundaryWarning):
            fit = retention.fit_bdw(alive)
        steps = np.exp(fit._log_survival(fit.working, np.arange(5e5))).sum()
        assert fit.lifetime() == pytest.approx(steps, rel=1e-6) and steps > 40


def test_an_infinite_lifetime_has_a_lower_limit():
    """Where the sample says alpha <= 1 but a little more is likely too, the interval is not [inf, inf]."""
    truth, rng = retention.SBGFit.at(alpha=1.15, beta=3), np.random.default_rng(2)
    survival = truth.survival(range(9)).to_numpy()
    fits = [retention.fit_sbg(sample(survival, 1000, rng)) for _ in range(60)]
    infinite = [fit for fit in fits if fit.params["alpha"] <= 1]
    for fit in infinite[:2]:
        found = fit.lifetime(level=0.95)
        assert np.isinf(found[["estimate", "upper"]]).all()
        root, angles = np.linalg.cholesky(fit.working_cov), np.linspace(0, 2 * np.pi, 181)
        rim = [fit.working + 1.959964 * root @ (np.cos(angle), np.sin(angle)) for angle in angles]
        least = 1 + min(fit._residual(working, 0, 0.0) for working in rim)
        assert least * 0.999 < found["lower"] < least * 1.000001 < 100
        each = fit.residual_lifetime([0, 5], level=0.95)["lower"]
        assert each[0] + 1 == pytest.approx(found["lower"], rel=1e-3) and each[0] < each[5] < np.inf
    # All of the region is infinite: so is the limit.
    assert np.isinf(retention.fit_sbg(HIGH_END).lifetime(level=0.95)["lower"])


@pytest.mark.parametrize(
    "call",
    [
        lambda fit: fit.summary(),
        lambda fit: fit.plot(),
        lambda fit: fit.renewals,
        lambda fit: retention.likelihood_ratio(retention.fit_geometric(HIGH_END), fit),
        lambda fit: resampling.bootstrap(fit, lambda fit: fit.lifetime(), n=20),
    ],
)
def test_given_parameters_have_predictions_only(call):
    fit = retention.SBGFit.at(alpha=2, beta=3)
    assert fit.lifetime() == pytest.approx(4)
    with pytest.raises(TypeError, match="of this SBGFit were given, not fitted.*Fix: fit the model"):
        call(fit)


@pytest.mark.parametrize("fit", FITS)
def test_size_of_a_table_is_refused(fit):
    triangle = pd.DataFrame({"cohort": 2020, "age_years": range(4), "survivors": [100, 80, 70, 65]})
    tenures = pd.DataFrame({"tenure_years": [1, 2, 3, 3], "lost": [True, True, True, False], "customers": 5})
    for table in (triangle, tenures):
        with pytest.raises(ValueError, match="a table counts customers already.*leave size= out"):
            fit(table, size=10)
