"""Satisfaction: published numbers, other implementations, recovery of known parameters, bad input."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import optimize, special
from statsmodels.miscmodels.ordinal_model import OrderedModel

from crmlab import counting, datasets, regression, satisfaction, simulate, tables
from crmlab.satisfaction import curve, threshold

HOUSING = datasets.load("housing")
FORMULA = "satisfaction ~ influence + type + contact"


def rows_of(counts, n):
    return counts.loc[counts.index.repeat(counts[n])].drop(columns=n).reset_index(drop=True)


def near(share, expected, draws):
    """Within three Monte Carlo standard errors."""
    return abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / draws)


# --- ordered answers: published numbers and other implementations ------------------------------------------------------


def test_housing_comes_out_to_the_printed_digit():
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants")
    assert fit.coefficients.round(3).tolist() == [0.566, 1.289, -0.572, -0.366, -1.091, 0.360]
    assert fit.cut_points.round(3).tolist() == [-0.496, 0.691]
    assert fit.converged and fit.boundary is None and fit.nobs == 1681


def test_housing_is_the_table_of_mass_cell_by_cell(r):
    (theirs,) = r("""
    h <- MASS::housing; h$Infl <- factor(h$Infl, c("Low", "Medium", "High"))
    cat(as.integer(h$Freq[order(h$Cont, h$Type, h$Infl, h$Sat)]))""")
    ours = HOUSING.sort_values(["contact", "type", "influence", "satisfaction"], kind="stable")
    assert ours["tenants"].tolist() == theirs.tolist() and HOUSING["tenants"].sum() == 1681
    # Categories come in the order of the card, not of the alphabet.
    assert list(HOUSING["satisfaction"].cat.categories) == ["Low", "Medium", "High"]
    assert HOUSING["satisfaction"].cat.ordered and not HOUSING["type"].cat.ordered


@pytest.mark.parametrize(("link", "method"), [("logit", "logistic"), ("probit", "probit")])
def test_counts_agree_with_polr_on_counts(link, method, r):
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants", link=link)
    estimates, errors, deviance = r(f"""
    library(MASS)
    m <- polr(Sat ~ Infl + Type + Cont, weights = Freq, data = housing, Hess = TRUE, method = "{method}",
              control = list(reltol = 1e-14, maxit = 1000))
    s <- coef(summary(m)); cat(s[, 1], "\\n"); cat(s[, 2], "\\n"); cat(m$deviance, "\\n")""")
    np.testing.assert_allclose(fit.params, estimates, atol=2e-6)
    np.testing.assert_allclose(fit.summary()["std_error"], errors, rtol=2e-4)  # R's Hessian is numerical
    assert -2 * fit.loglik == pytest.approx(deviance[0], rel=1e-9)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_counts_agree_with_statsmodels_on_rows(link):
    rows = rows_of(HOUSING, "tenants")
    dummies = pd.get_dummies(rows[["influence", "type", "contact"]], drop_first=True).astype(float)
    theirs = OrderedModel(rows["satisfaction"], dummies, distr=link).fit(method="newton", disp=False, maxiter=100)
    for data, weights in ((HOUSING, "tenants"), (rows, None)):
        ours = satisfaction.fit_ordered(FORMULA, data, weights=weights, link=link)
        width = dummies.shape[1]
        np.testing.assert_allclose(ours.coefficients, theirs.params[:width], rtol=1e-5)
        cuts = theirs.model.transform_threshold_params(theirs.params.to_numpy())[1:-1]
        np.testing.assert_allclose(ours.cut_points, cuts, rtol=1e-5)
        assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)
        np.testing.assert_allclose(ours.summary()["std_error"][:width], theirs.bse[:width], rtol=1e-3)
        assert (ours.aic, ours.bic) == (pytest.approx(theirs.aic), pytest.approx(theirs.bic))


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_numeric_columns_agree_with_statsmodels_on_rows(rng, link):
    n = 700
    data = pd.DataFrame({"x": rng.normal(50, 12, n), "z": rng.integers(0, 4, n)})
    hidden = 0.06 * data["x"] - 0.3 * data["z"] + (rng.logistic(size=n) if link == "logit" else rng.normal(size=n))
    data["y"] = 1 + np.digitize(hidden, [1.0, 2.0, 3.0, 4.0])
    ours = satisfaction.fit_ordered("y ~ x * z", data, link=link)
    design = data[["x", "z"]].assign(xz=data["x"] * data["z"])
    # Theirs starts from ours, so that what is compared is the maximum and not the way to it.
    gaps = np.r_[ours.cut_points.iloc[0], np.log(np.diff(ours.cut_points))]
    model = OrderedModel(data["y"], design, distr=link)
    theirs = model.fit(start_params=np.r_[ours.coefficients, gaps] * 1.001, method="newton", disp=False)
    np.testing.assert_allclose(ours.coefficients, theirs.params[:3], rtol=1e-5)
    np.testing.assert_allclose(
        ours.cut_points, model.transform_threshold_params(theirs.params.to_numpy())[1:-1], rtol=1e-5
    )
    assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)
    np.testing.assert_allclose(ours.summary()["std_error"][:3], theirs.bse[:3], rtol=1e-3)


@pytest.mark.parametrize(
    ("link", "family"), [("logit", sm.families.links.Logit()), ("probit", sm.families.links.Probit())]
)
def test_two_answers_are_an_ordinary_logit_or_probit(link, family):
    data = HOUSING.assign(high=HOUSING["satisfaction"] == "High")
    ours = satisfaction.fit_ordered("high ~ influence + contact", data, weights="tenants", link=link)
    rows = rows_of(data, "tenants").assign(high=lambda d: d["high"].astype(int))
    theirs = smf.glm("high ~ influence + contact", rows, family=sm.families.Binomial(family)).fit()
    names = list(ours.coefficients.index)
    np.testing.assert_allclose(ours.coefficients, theirs.params[names], rtol=1e-6)
    assert ours.params["False|True"] == pytest.approx(-theirs.params["Intercept"], rel=1e-6)
    if link == "logit":  # statsmodels takes expected information, which for the probit is another number
        np.testing.assert_allclose(ours.summary()["std_error"][names], theirs.bse[names], rtol=1e-5)
    assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)


def test_without_columns_the_cut_points_are_the_shares():
    fit = satisfaction.fit_ordered("satisfaction ~ 1", HOUSING, weights="tenants")
    shares = HOUSING.groupby("satisfaction", observed=True)["tenants"].sum() / 1681
    np.testing.assert_allclose(special.expit(fit.cut_points), shares.cumsum()[:-1], rtol=1e-10)
    low, high = np.array([shares["Low"], 1 - shares["High"]])
    np.testing.assert_allclose(np.diag(fit.cov), 1 / (1681 * np.array([low * (1 - low), high * (1 - high)])), rtol=1e-8)


def test_probabilities_are_those_of_polr(r):
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants")
    (theirs,) = r("""
    library(MASS)
    m <- polr(Sat ~ Infl + Type + Cont, weights = Freq, data = housing, control = list(reltol = 1e-14))
    cat(t(predict(m, expand.grid(Infl = levels(housing$Infl), Type = levels(housing$Type), Cont = levels(housing$Cont)), type = "probs")))""")
    grid = pd.DataFrame(
        [
            (i, t, c)
            for c in ("Low", "High")
            for t in ("Tower", "Apartment", "Atrium", "Terrace")
            for i in ("Low", "Medium", "High")
        ],
        columns=["influence", "type", "contact"],
    )
    ours = fit.probabilities(grid)
    np.testing.assert_allclose(ours["estimate"], theirs, atol=1e-6)
    assert ours.groupby(np.arange(len(ours)) // 3)["estimate"].sum().to_numpy() == pytest.approx(1)
    high = fit.probabilities(grid, at_least="High")
    np.testing.assert_allclose(high["estimate"], ours.loc[ours["satisfaction"] == "High", "estimate"])
    np.testing.assert_allclose(high["lower"], ours.loc[ours["satisfaction"] == "High", "lower"])
    assert fit.probabilities(grid, at_least="Low")["estimate"].eq(1).all()


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_the_probabilities_intervals_agree_with_the_parameters_own_spread(rng, link):
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants", link=link)
    new = pd.DataFrame({"influence": ["Low"], "type": ["Terrace"], "contact": ["High"]})
    found = fit.probabilities(new)
    draws = rng.multivariate_normal(fit.params, fit.cov, 100_000)
    eta = draws[:, 4] + draws[:, 5]
    cdf = special.expit if link == "logit" else special.ndtr
    low, medium = cdf(draws[:, 6] - eta), cdf(draws[:, 7] - eta)
    for answer, p in zip(("Low", "Medium", "High"), (low, medium - low, 1 - medium)):
        limits = special.logit(found.loc[found["satisfaction"] == answer, ["lower", "upper"]].to_numpy()[0])
        assert np.diff(limits)[0] / (2 * 1.959964) == pytest.approx(special.logit(p).std(), rel=0.02)


def test_ordered_intervals_cover(rng):
    """300 surveys of 300 customers: coefficient, cut point, and the probability of the top answer for a stated customer."""
    hits = []
    for _ in range(300):
        x, g = rng.normal(size=300), rng.integers(0, 2, 300)
        y = np.digitize(0.8 * x - 0.5 * g + rng.logistic(size=300), [-1.5, 0.0, 2.0])
        fit = satisfaction.fit_ordered("y ~ x + g", pd.DataFrame({"x": x, "g": g, "y": y}))
        table = fit.summary()
        truth = pd.Series({"x": 0.8, "g": -0.5, "0|1": -1.5, "1|2": 0.0, "2|3": 2.0})
        inside = (table["lower"] <= truth) & (truth <= table["upper"])
        top = fit.probabilities(pd.DataFrame({"x": [1.0], "g": [1]}), at_least=3).iloc[0]
        hits.append([*inside, top["lower"] <= special.expit(0.3 - 2.0) <= top["upper"]])
    for share in np.mean(hits, axis=0):
        assert near(share, 0.95, 300)


def test_checked_answers_and_their_counts_give_the_same_fit():
    rows = rows_of(HOUSING, "tenants").assign(
        id=lambda d: d.index, satisfaction=lambda d: d["satisfaction"].cat.codes + 1
    )
    text = rows.assign(influence=rows["influence"].astype(str), type=rows["type"].astype(str))
    checked = tables.responses(text, "satisfaction", "id", scale=(1, 3), also=["influence", "type"])
    counts = counting.rating_counts(checked).to_pandas()
    fits = [
        satisfaction.fit_ordered("satisfaction ~ influence + type", data, weights=weights)
        for data, weights in ((checked, None), (counts, "customers"), (text, None))
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.params, fits[0].params, rtol=1e-8)
    with pytest.raises(ValueError, match="column 'customers'.*weights="):
        satisfaction.fit_ordered("satisfaction ~ influence + type", counts)


def test_huge_counts_and_awkward_scales():
    small = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants")
    huge = satisfaction.fit_ordered(FORMULA, HOUSING.assign(tenants=HOUSING["tenants"] * 10**9), weights="tenants")
    assert huge.converged
    np.testing.assert_allclose(huge.params, small.params, rtol=1e-7)
    np.testing.assert_allclose(huge.summary()["std_error"] * np.sqrt(1e9), small.summary()["std_error"], rtol=1e-6)
    data = HOUSING.assign(year=2020 + HOUSING["influence"].cat.codes.astype(float))
    plain = satisfaction.fit_ordered("satisfaction ~ year", data, weights="tenants")
    for factor in (1e-8, 1e8):
        scaled = satisfaction.fit_ordered(
            "satisfaction ~ year", data.assign(year=data["year"] * factor), weights="tenants"
        )
        assert scaled.params["year"] * factor == pytest.approx(plain.params["year"], rel=1e-6)
        assert scaled.loglik == pytest.approx(plain.loglik, rel=1e-12)


def test_a_strong_effect_is_no_separation():
    """One customer against the rule keeps the estimate finite, however large it is: (1, 999) against (999, 1)."""
    data = pd.DataFrame({"x": [0, 0, 1, 1], "y": [0, 1, 0, 1], "n": [999_999, 1, 1, 999_999]})
    for link, inverse in (("logit", special.logit), ("probit", special.ndtri)):
        fit = satisfaction.fit_ordered("y ~ x", data, weights="n", link=link)
        assert fit.converged and fit.params["x"] == pytest.approx(-2 * inverse(1e-6), rel=1e-6)


# --- ordered answers: the assumption -------------------------------------------------------------------------------------


def test_proportional_odds_test_agrees_with_vgam(r):
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants")
    found = satisfaction.proportional_odds_test(fit)
    (ratio,) = r("""
    suppressMessages(library(VGAM)); data(housing, package = "MASS")
    w <- reshape(housing, direction = "wide", timevar = "Sat", idvar = c("Infl", "Type", "Cont"), v.names = "Freq")
    Y <- as.matrix(w[, c("Freq.Low", "Freq.Medium", "Freq.High")])
    a <- vglm(Y ~ Infl + Type + Cont, cumulative(parallel = TRUE), data = w)
    b <- vglm(Y ~ Infl + Type + Cont, cumulative(parallel = FALSE), data = w)
    cat(2 * (logLik(b) - logLik(a)))""")
    # A Wald and a likelihood ratio test of one hypothesis: alike at this size, not equal.
    assert found.loc["all columns", "df"] == 6
    assert found.loc["all columns", "chi2"] == pytest.approx(ratio[0], rel=0.02)


def test_proportional_odds_test_agrees_with_stacked_fits_of_statsmodels():
    """The separate fits by statsmodels, the covariance between them from every row's influence on each."""
    rows = rows_of(HOUSING, "tenants")
    found = satisfaction.proportional_odds_test(
        satisfaction.fit_ordered("satisfaction ~ influence", HOUSING, weights="tenants")
    )
    x = sm.add_constant(pd.get_dummies(rows["influence"], drop_first=True).astype(float)).to_numpy()
    code = rows["satisfaction"].cat.codes.to_numpy()
    fits = [sm.Logit((code > k).astype(int), x).fit(disp=False) for k in (0, 1)]
    np.testing.assert_allclose(found.iloc[1:, :2].to_numpy().T, [fit.params[1:] for fit in fits], rtol=1e-6)
    # Saturated in x, so that the model's covariance of the answers is the rows' own: the empirical sandwich is Brant's.
    influence = np.hstack([(x * fit.resid_response[:, None]) @ fit.cov_params() for fit in fits])
    cov = influence.T @ influence
    contrast = np.hstack([np.eye(3)[1:], -np.eye(3)[1:]])
    gap = contrast @ np.concatenate([fit.params for fit in fits])
    assert found.loc["all columns", "chi2"] == pytest.approx(
        gap @ np.linalg.solve(contrast @ cov @ contrast.T, gap), rel=1e-6
    )


def test_proportional_odds_test_has_its_size_and_finds_what_is_there(rng):
    p, power = [], []
    for _ in range(250):
        x = rng.integers(0, 3, 400)
        y = np.digitize(0.7 * x + rng.logistic(size=400), [-0.5, 0.7, 2.0])
        # An effect on the lowest cut only.
        bent = np.where(y == 0, np.where((x == 2) & (rng.uniform(size=400) < 0.6), 1, 0), y)
        for answers, values in ((y, p), (bent, power)):
            fit = satisfaction.fit_ordered("y ~ x", pd.DataFrame({"x": x, "y": answers}))
            values.append(satisfaction.proportional_odds_test(fit).loc["all columns", "p_value"])
    assert near(np.mean(np.array(p) <= 0.05), 0.05, 250) and np.mean(np.array(power) <= 0.05) > 0.2


def test_proportional_odds_test_says_what_it_cannot_do():
    two = satisfaction.fit_ordered(
        "high ~ contact", HOUSING.assign(high=HOUSING["satisfaction"] == "High"), weights="tenants"
    )
    with pytest.raises(ValueError, match="three answers"):
        satisfaction.proportional_odds_test(two)
    data = pd.DataFrame({"x": [0, 0, 0, 1, 1, 1], "y": [0, 1, 2, 0, 1, 2], "n": [5, 5, 0, 4, 4, 9]})
    fit = satisfaction.fit_ordered("y ~ x", data, weights="n")
    with pytest.raises(ValueError, match="between 1 and 2 a column tells the answers apart"):
        satisfaction.proportional_odds_test(fit)


# --- ordered answers: edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        ({"x": [1, 2, 3], "y": [4, 4, 4]}, {}, "all 3 customers answered 4"),
        ({"x": [1, 2, 3], "y": [5, 5, 5]}, {"levels": [1, 2, 3, 4, 5]}, "all 3 customers answered 5"),
        ({"x": [1, 2, 3, 2], "y": [1, 2, 4, 1]}, {"levels": [1, 2, 3, 4]}, "nobody answered 3, so its cut point"),
        ({"x": [1, 2, 3, 2], "y": [1, 2, 9, 1]}, {"levels": [1, 2, 3]}, "holds '9', which levels= does not name"),
        ({"x": [1, 2, 3, 2], "y": [1, 2, 2, 1]}, {"levels": [1, 2, 2]}, "names an answer twice"),
        ({"x": [1, 2, 3, 2], "y": list("alma")}, {}, "has no order.*levels="),
        ({"x": [1, 1, 2, 2], "y": [0, 0, 1, 1]}, {}, "separation: 'x' tells"),
        ({"x": [0, 0, 1, 1, 1], "y": [0, 1, 1, 1, 1]}, {}, "separation: 'x' tells"),
        ({"x": [1, 2, 3, 4, 5, 6], "y": [1, 1, 2, 2, 3, 3]}, {}, "separation: 'x'"),
        ({"x": [3, 3, 3], "y": [1, 2, 1]}, {}, "'x' has the same value"),
        ({"x": [1, 2, 3], "y": [1, 2, 1]}, {"formula": "y ~ x - 1"}, "leaves the constant out"),
        ({"x": [1, 2, 3], "y": [1, 2, 1]}, {"link": "cloglog"}, "link= is one of 'logit', 'probit'"),
        ({"x": [1, 2, 3], "y": [1, 2, 1], "n": [1.5, 1, 1]}, {"weights": "n"}, "row 0: 1.5.*Sampling weights"),
        ({"x": [1, 2, np.nan], "y": [1, 2, 1]}, {}, "row 2: nan"),
    ],
)
def test_what_has_no_estimate_is_said_not_computed(data, arguments, says):
    with pytest.raises(ValueError, match=says):
        satisfaction.fit_ordered(**{"formula": "y ~ x", "data": pd.DataFrame(data)} | arguments)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_separation_by_one_category_of_many_is_found(link):
    data = HOUSING.copy()
    data.loc[(data["type"] == "Atrium") & (data["satisfaction"] != "High"), "tenants"] = 0
    with pytest.raises(ValueError, match=r"separation: 'type\[T.Atrium\]' tells"):
        satisfaction.fit_ordered(FORMULA, data, weights="tenants", link=link)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_separation_between_two_halves_of_the_scale_is_found(rng, link):
    """Nobody with x = 0 answers 3 or 4, nobody with x = 1 answers 1 or 2: no answer gets certain, and x has no estimate."""
    x = rng.integers(0, 2, 200)
    data = pd.DataFrame({"x": x, "z": rng.normal(size=200), "y": 1 + 2 * x + rng.integers(0, 2, 200)})
    with pytest.raises(ValueError, match="separation: 'x' tells"):
        satisfaction.fit_ordered("y ~ x + z", data, link=link)


def test_separation_is_looked_for_among_many_customers_too(rng):
    x = rng.normal(size=20_000).round(6)
    data = pd.DataFrame({"x": x, "z": rng.normal(size=20_000), "y": (x > 0).astype(int)})
    with pytest.raises(ValueError, match="separation: 'x' tells"):
        satisfaction.fit_ordered("y ~ x + z", data)
    data.loc[0, "y"] = 1 - data.loc[0, "y"]  # one error is enough for an estimate
    assert satisfaction.fit_ordered("y ~ x + z", data).converged


def test_unused_answers_of_a_category_are_noticed():
    data = HOUSING.assign(tenants=HOUSING["tenants"].where(HOUSING["satisfaction"] != "Medium", 0))
    with pytest.raises(ValueError, match="nobody answered Medium"):
        satisfaction.fit_ordered(FORMULA, data, weights="tenants")


def test_ordered_figures_hold_what_they_show():
    fit = satisfaction.fit_ordered(FORMULA, HOUSING, weights="tenants")
    ax = fit.plot()
    np.testing.assert_allclose(ax.lines[0].get_xdata(), fit.coefficients)
    ax = fit.plot_probabilities("influence")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["Low", "Medium", "High"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Low", "Medium", "High"]
    usual = pd.DataFrame({"influence": ["Low", "Medium", "High"], "type": "Apartment", "contact": "High"})
    expected = fit.probabilities(usual).query("satisfaction == 'High'")["estimate"]
    np.testing.assert_allclose(ax.containers[2].lines[0].get_ydata(), expected)
    with pytest.raises(ValueError, match="by= is one of"):
        fit.plot_probabilities("tenants")
    with pytest.raises(ValueError, match="at_least= is one of"):
        fit.probabilities(at_least="Very high")


# --- the curve ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ratings(rng):
    """Ratings 1 to 10, most of them high, with a kink at 7 and less scatter at the top."""
    x = rng.choice(np.arange(1, 11), 900, p=np.array([1, 2, 3, 4, 6, 9, 14, 20, 24, 17]) / 100)
    y = 10 + 2 * x + 6 * np.maximum(x - 7, 0) + (12 - x) * rng.normal(size=900)
    return pd.DataFrame({"satisfaction": x, "loyalty": y.round()})


def theirs_columns(shape, x, knots=None):
    if shape == "linear":
        return np.column_stack([np.ones_like(x), x])
    if shape == "log":
        return np.column_stack([np.ones_like(x), np.log(x)])
    if shape == "cubic":
        return np.vander(x, 4)
    return None


@pytest.mark.parametrize("shape", ["linear", "log", "cubic"])
def test_curves_on_counts_agree_with_statsmodels_on_rows(ratings, shape):
    counts = ratings.value_counts().rename("n").reset_index()
    fit = satisfaction.fit_curve(counts, shape, weights="n")
    x = ratings["satisfaction"].to_numpy(dtype=float)
    theirs = sm.OLS(ratings["loyalty"], theirs_columns(shape, x)).fit(cov_type="HC3", use_t=True)
    grid = np.linspace(1, 10, 7)
    frame = theirs.get_prediction(theirs_columns(shape, grid)).summary_frame()
    found = fit.predict(grid)
    np.testing.assert_allclose(found, frame[["mean", "mean_se", "mean_ci_lower", "mean_ci_upper"]], rtol=1e-6)
    assert fit.rsquared == pytest.approx(theirs.rsquared) and fit.nobs == 900
    assert fit.aic == pytest.approx(theirs.aic + 2)  # the standard deviation is a parameter
    if shape == "linear":
        np.testing.assert_allclose(fit.summary()[["lower", "upper"]], theirs.conf_int(), rtol=1e-7)


def test_the_spline_is_that_of_r(ratings, r):
    knots = [2, 5, 8, 10]
    fit = satisfaction.fit_curve(ratings, "spline", knots=knots)
    counts = ratings.value_counts().rename("n").reset_index()
    rows = "; ".join(
        f"{k} <- c({', '.join(map(str, counts[c]))})" for k, c in (("x", "satisfaction"), ("y", "loyalty"), ("n", "n"))
    )
    (theirs,) = r(f"""
    library(splines); {rows}
    m <- lm(y ~ ns(x, knots = c(5, 8), Boundary.knots = c(2, 10)), weights = n)
    cat(predict(m, data.frame(x = c(1, 3, 6.5, 9, 10))))""")
    np.testing.assert_allclose(fit.predict([1, 3, 6.5, 9, 10])["estimate"], theirs, rtol=1e-8)
    # Straight beyond the outer knots.
    np.testing.assert_allclose(np.diff(fit.predict([10, 10.4, 10.8])["estimate"], 2), 0, atol=1e-9)


@pytest.mark.parametrize("shape", ["linear", "log", "cubic", "spline", "threshold"])
def test_the_slope_is_the_curves_derivative(ratings, shape):
    fit = satisfaction.fit_curve(ratings, shape)
    at, step = np.array([2.2, 5.3, 8.6]), 1e-5
    ahead, behind = fit.predict(at + step)["estimate"], fit.predict(at - step)["estimate"]
    found = fit.slope(at)
    np.testing.assert_allclose(found["estimate"], (ahead.to_numpy() - behind.to_numpy()) / (2 * step), rtol=1e-5)
    # Its error is that of the difference of two predictions far apart, where the curve is straight between them.
    if shape == "linear":
        assert found["std_error"].iloc[0] == pytest.approx(np.sqrt(fit.cov.loc["slope", "slope"]))


def test_lack_of_fit_is_the_classical_test_against_a_mean_for_each_value(ratings):
    ratio, p_value = satisfaction.fit_curve(ratings, "linear").lack_of_fit()
    line, means = smf.ols("loyalty ~ satisfaction", ratings).fit(), smf.ols("loyalty ~ C(satisfaction)", ratings).fit()
    table = sm.stats.anova_lm(line, means)
    assert ratio == pytest.approx(table["F"][1]) and p_value == pytest.approx(table["Pr(>F)"][1], rel=1e-6)
    compared = satisfaction.compare_curves(ratings)
    assert compared["aic"].idxmin() == "threshold" and compared.loc["linear", "p_value"] < 1e-6
    assert compared.loc["threshold", "p_value"] > 0.05 and compared.loc["threshold", "parameters"] == 4


def test_shapes_that_cannot_be_told_on_these_values_are_refused(ratings):
    few = ratings[ratings["satisfaction"].isin([4, 5, 6])]
    for shape, says in (("cubic", "only 3 different values"), ("threshold", "has 3 different values")):
        with pytest.raises(ValueError, match=says):
            satisfaction.fit_curve(few, shape)
    with pytest.raises(ValueError, match="all 900 customers gave 5"):
        satisfaction.fit_curve(ratings.assign(satisfaction=5), "linear")
    with pytest.raises(ValueError, match="holds 0: the logarithm"):
        satisfaction.fit_curve(ratings.assign(satisfaction=ratings["satisfaction"] - 1), "log")
    with pytest.raises(ValueError, match="three different knots"):
        satisfaction.fit_curve(ratings, "spline", knots=[3, 3, 8])
    with pytest.raises(ValueError, match="shape= is one of"):
        satisfaction.fit_curve(ratings, "cubist")
    with pytest.raises(ValueError, match="not numbers"):
        satisfaction.fit_curve(ratings.assign(satisfaction="high"), "linear")
    with pytest.raises(ValueError, match="same column"):
        satisfaction.fit_curve(ratings, "linear", loyalty="satisfaction")
    with pytest.raises(ValueError, match="whole numbers of 0 or more"):
        satisfaction.fit_curve(ratings.assign(n=0.3), "linear", weights="n")
    mostly = pd.DataFrame({"satisfaction": [1, 2, 3, 4, 5], "loyalty": [1, 2, 1, 3, 2], "n": [1, 1, 1, 1, 500]})
    with pytest.raises(ValueError, match="smaller trim="):
        satisfaction.threshold_test(mostly, weights="n")
    with pytest.raises(ValueError, match="draws="):
        satisfaction.threshold_test(ratings, draws=10)
    exact = pd.DataFrame({"satisfaction": range(1, 9), "loyalty": [1, 2, 3, 4, 6, 8, 10, 12]})
    with pytest.raises(ValueError, match="exactly"):
        satisfaction.threshold_test(exact, trim=0)


# --- the threshold ---------------------------------------------------------------------------------------------------


def test_the_largest_f_ratio_is_found_by_brute_force_on_rows(ratings):
    found = satisfaction.threshold_test(ratings, draws=99)
    x, y = ratings["satisfaction"].to_numpy(dtype=float), ratings["loyalty"].to_numpy()

    def left(place):
        return sm.OLS(y, np.column_stack([np.ones_like(x), x, np.maximum(x - place, 0)])).fit().ssr

    straight = sm.OLS(y, sm.add_constant(x)).fit().ssr
    best = optimize.minimize_scalar(left, bounds=(6, 8), method="bounded", options={"xatol": 1e-8})
    assert found.threshold == pytest.approx(best.x, abs=1e-4)
    assert found.statistic == pytest.approx((straight - best.fun) / (best.fun / 896), rel=1e-8)
    place = found.profile.index[40]
    assert found.profile.iloc[40] == pytest.approx((straight - left(place)) / (best.fun / 896), rel=1e-8)


def test_the_bootstrap_on_counts_is_that_of_single_customers(ratings, rng):
    """The same bootstrap written for rows: a normal draw for each customer, two lines at every place, the best kept."""
    data = ratings.sample(250, random_state=1)
    found = satisfaction.threshold_test(data, draws=2000, seed=1)
    x, y = data["satisfaction"].to_numpy(dtype=float), data["loyalty"].to_numpy()
    line = np.column_stack([np.ones_like(x), x])
    hat = line @ np.linalg.inv(line.T @ line) @ line.T
    residual = (y - hat @ y) / np.sqrt(1 - np.diag(hat))
    bent = np.maximum(x[:, None] - found.profile.index.to_numpy(), 0)
    bent -= hat @ bent
    bent /= np.sqrt((bent**2).sum(axis=0))
    largest = (((rng.normal(size=(2000, 250)) * residual) @ bent) ** 2).max(axis=1) / np.mean(residual**2)
    assert scipy.stats.ks_2samp(found._null, largest).pvalue > 0.01


def null_ratings(rng):
    x = rng.choice(np.arange(1, 11), 300, p=np.array([1, 2, 3, 4, 6, 9, 14, 20, 24, 17]) / 100)
    return x, 1 + x + rng.normal(size=300) * (3 - 0.25 * x)


def null_scores(rng):
    x = rng.uniform(0, 50, 250).round()
    return x, 20 + 0.5 * x + 8 * rng.normal(size=250)


def null_repurchase(rng):
    x = rng.choice(np.arange(1, 11), 400)
    return x, (rng.uniform(size=400) < 0.15 + 0.07 * x).astype(float)


@pytest.mark.parametrize("make", [null_ratings, null_scores, null_repurchase])
def test_the_threshold_test_has_its_size_under_a_straight_line(rng, make):
    """1,000 surveys without a change: 5 % are rejected, within Monte Carlo error; unequal scatter and 0/1 answers included."""
    rejected = []
    for _ in range(1000):
        x, y = make(rng)
        points = threshold.points_of(pd.DataFrame({"x": x, "y": y}), "x", "y", None)
        rejected.append(threshold.find_threshold(points, "x", 199, rng, 0.1).p_value <= 0.05)
    assert near(np.mean(rejected), 0.05, 1000)


@pytest.mark.parametrize(("values", "place", "change"), [("ratings", 7.0, 3.0), ("scores", 60.0, 1.0)])
def test_the_thresholds_interval_covers(rng, values, place, change):
    covered, places, changes = [], [], []
    for _ in range(400):
        x = rng.choice(np.arange(1, 11), 500) if values == "ratings" else rng.uniform(0, 100, 500).round()
        y = (
            5
            + 0.3 * x
            + change * np.maximum(x - place, 0)
            + rng.normal(size=500) * (2 if values == "ratings" else 4 + 0.1 * x)
        )
        points = threshold.points_of(pd.DataFrame({"x": x, "y": y}), "x", "y", None)
        test = threshold.find_threshold(points, "x", 199, rng, 0.1)
        low, high = test.interval(0.95)
        covered.append(low <= place <= high)
        places.append(test.threshold)
        table = curve._fit(points, "threshold", "x", "y", tau=test.threshold, test=test).summary()
        changes.append(table.loc["change of slope", "lower"] <= change <= table.loc["change of slope", "upper"])
    assert near(np.mean(covered), 0.95, 400) and near(np.mean(changes), 0.95, 400)
    assert np.mean(places) == pytest.approx(place, abs=4 * np.std(places) / 20)


def test_where_no_change_can_be_shown_the_threshold_has_no_interval(rng):
    x = rng.choice(np.arange(1, 11), 300)
    flat = pd.DataFrame({"satisfaction": x, "loyalty": x + 2 * rng.normal(size=300)})
    fit = satisfaction.fit_curve(flat, "threshold")
    assert fit.test.p_value > 0.05
    assert fit.summary().loc["threshold", ["std_error", "lower", "upper"]].isna().all()
    assert fit.test.summary()[["lower", "upper"]].isna().all(axis=None)
    assert not fit.plot().patches


def test_a_place_without_an_error_leaves_the_others_theirs():
    """Five ratings, and the second line is that of the last one alone: where between 4 and 5 they meet cannot be told."""
    x = np.repeat(np.arange(1, 6), 80)
    data = pd.DataFrame({"satisfaction": x, "loyalty": x + 4.0 * (x == 5) + np.tile([-1, 1], 200)})
    fit = satisfaction.fit_curve(data, "threshold")
    assert fit.params["threshold"] == pytest.approx(4, abs=1e-6) and np.isnan(fit.cov.loc["threshold", "threshold"])
    theirs = sm.OLS(data["loyalty"], np.column_stack([np.ones(400), x, np.maximum(x - 4, 0)])).fit(
        cov_type="HC3", use_t=True
    )
    np.testing.assert_allclose(fit.summary()["std_error"][:3], theirs.bse, rtol=1e-7)
    frame = theirs.get_prediction(np.array([[1, 2, 0], [1, 5, 1]])).summary_frame()
    np.testing.assert_allclose(fit.predict([2, 5])["std_error"], frame["mean_se"], rtol=1e-7)


def test_the_seed_decides_the_p_value_and_order_does_not(ratings):
    some = ratings.sample(150, random_state=3)
    one = satisfaction.threshold_test(some, seed=4)
    other = satisfaction.threshold_test(some.sample(frac=1, random_state=9), seed=4)
    assert one.p_value == other.p_value and one.interval() == other.interval()
    assert 0 < one.p_value <= 1 and one.nobs == 150
    wide, narrow = one.interval(0.99), one.interval(0.8)
    assert wide[0] <= narrow[0] <= one.threshold <= narrow[1] <= wide[1]
    with pytest.raises(ValueError, match="level="):
        one.interval(95)


def test_curve_figures_hold_what_they_show(ratings):
    fit = satisfaction.fit_curve(ratings, "threshold")
    ax = fit.plot()
    (line,) = [line for line in ax.lines if line.get_label() == "threshold"]
    np.testing.assert_allclose(line.get_ydata(), fit.predict(line.get_xdata())["estimate"])
    dots = ax.collections[1].get_offsets()
    np.testing.assert_allclose(dots[:, 1], ratings.groupby("satisfaction")["loyalty"].mean())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("satisfaction", "loyalty")
    test_ax = fit.test.plot()
    np.testing.assert_allclose(test_ax.lines[0].get_ydata(), fit.test.profile)
    assert "F ratio" in test_ax.get_ylabel()


# --- falling short and exceeding -----------------------------------------------------------------------------------------


def test_penalty_and_reward_are_those_of_statsmodels(rng):
    data = pd.DataFrame({"before": rng.integers(3, 10, 500), "after": rng.integers(2, 11, 500)})
    gap = data["after"] - data["before"]
    data["y"] = 5 + np.where(gap < 0, 0.8, 0.2) * gap + rng.normal(size=500)
    fit = satisfaction.fit_penalty_reward(data, "before", "after", "y")
    theirs = sm.OLS(data["y"], np.column_stack([np.ones(500), gap.clip(upper=0), gap.clip(lower=0)])).fit(
        cov_type="HC3", use_t=True
    )
    table = fit.summary()
    np.testing.assert_allclose(table.iloc[:3, :2], np.column_stack([theirs.params, theirs.bse]), rtol=1e-7)
    test = theirs.t_test([0, 1, -1])
    np.testing.assert_allclose(
        table.loc["penalty - reward"], [test.effect[0], test.sd.item(), *test.conf_int()[0]], rtol=1e-7
    )
    with pytest.raises(ValueError, match="no 'after' fell short"):
        satisfaction.fit_penalty_reward(data[gap >= 0], "before", "after", "y")
    with pytest.raises(ValueError, match="no 'after' exceeded"):
        satisfaction.fit_penalty_reward(data[gap <= 0], "before", "after", "y")


def test_one_customer_above_expectation_has_no_error(rng):
    gap = np.r_[-rng.integers(0, 5, 60), 2]
    data = pd.DataFrame({"expected": 5, "got": 5 + gap, "y": 5 + 0.5 * gap + rng.normal(size=61)})
    with pytest.raises(ValueError, match="'reward': one customer alone decides"):
        satisfaction.fit_penalty_reward(data, "expected", "got", "y")


def test_penalty_and_reward_of_the_panel_are_recovered():
    truth, covered = simulate.SATISFACTION_PANEL, []
    for seed in range(200):
        table = satisfaction.fit_penalty_reward(
            simulate.satisfaction_panel(400, seed=seed), "expectation", "performance", "score"
        ).summary()
        expected = pd.Series({"penalty": truth["penalty"], "reward": truth["reward"], "penalty - reward": 4.0})
        found = table.loc[expected.index]
        covered.append((found["lower"] <= expected) & (expected <= found["upper"]))
    for share in np.mean(covered, axis=0):
        assert near(share, 0.95, 200)


# --- markets ------------------------------------------------------------------------------------------------------------


def test_each_market_has_the_curve_that_it_would_have_alone():
    survey = simulate.satisfaction_survey(200, seed=2)
    curves = satisfaction.fit_markets(survey, "spline")
    assert list(curves.fits) == list(simulate.SATISFACTION_SURVEY["markets"]) and curves.nobs == 1000
    alone = satisfaction.fit_curve(survey[survey["market"] == "cars"], "spline")
    pd.testing.assert_frame_equal(curves.summary().loc["cars"], alone.summary(), check_exact=False, rtol=1e-9)
    pd.testing.assert_frame_equal(curves.slope([50, 80]).loc["cars"], alone.slope([50, 80]), check_exact=False)
    pd.testing.assert_frame_equal(curves.predict([50, 80]).loc["cars"], alone.predict([50, 80]), check_exact=False)
    ax = curves.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(curves.fits)
    with pytest.raises(ValueError, match="market 'cars': .* all 200 customers gave 60"):
        spoilt = survey.assign(satisfaction=survey["satisfaction"].where(survey["market"] != "cars", 60))
        satisfaction.fit_markets(spoilt)


def test_the_markets_true_curves_are_recovered_from_true_satisfaction():
    truth = simulate.SATISFACTION_SURVEY
    survey = simulate.satisfaction_survey(6000, seed=3)
    curves = satisfaction.fit_markets(survey, "threshold", satisfaction="satisfaction_true")
    for market, rivals in truth["markets"].items():
        table = curves.fits[market].summary(0.999)
        expected = {"slope below": truth["slope"] + truth["slope_a_rival"] * rivals}
        if rivals:
            expected |= {"change of slope": truth["bend_a_rival"] * rivals, "threshold": truth["threshold"]}
            assert curves.fits[market].test.p_value <= 0.05
        for name, value in expected.items():
            assert table.loc[name, "lower"] <= value <= table.loc[name, "upper"], (market, name)


# --- error of measurement --------------------------------------------------------------------------------------------------


def test_alpha_by_its_definition_and_as_a_correlation(rng):
    truth = rng.normal(size=500)
    items = pd.DataFrame({f"q{j}": np.round(3 + truth + rng.normal(size=500)) for j in range(4)})
    found = satisfaction.reliability(items, list(items)).loc["reliability"]
    cov = np.cov(items.to_numpy().T)
    off = cov[~np.eye(4, dtype=bool)].mean()
    assert found["estimate"] == pytest.approx(16 * off / cov.sum())  # k^2 mean covariance over the variance of the sum
    two = satisfaction.reliability(items, ["q0", "q1"], of="single").loc["reliability"]
    v0, v1, between = cov[0, 0], cov[1, 1], cov[0, 1]
    assert two["estimate"] == pytest.approx(2 * between / (v0 + v1))
    assert two["estimate"] == pytest.approx(items[["q0", "q1"]].corr().iloc[0, 1], abs=0.01)
    counts = items.value_counts().rename("n").reset_index()
    pd.testing.assert_series_equal(satisfaction.reliability(counts, list(items), weights="n").loc["reliability"], found)


def test_feldts_interval_covers(rng):
    covered = []
    for _ in range(300):
        truth = rng.normal(size=60)
        items = pd.DataFrame(truth[:, None] + rng.normal(size=(60, 3)), columns=list("abc"))
        for of, expected in (("mean", 0.75), ("single", 0.5)):
            low, high = satisfaction.reliability(items, list("abc"), of=of).loc["reliability", ["lower", "upper"]]
            covered.append(low <= expected <= high)
    assert near(np.mean(covered[::2]), 0.95, 300) and near(np.mean(covered[1::2]), 0.95, 300)


def test_reliability_says_what_it_cannot_do():
    data = pd.DataFrame({"a": [1, 2, 3], "b": [3, 2, 1]})
    for items, says in ((["a"], "two columns or more"), ("a", "two columns"), (["a", "b"], "same for every customer")):
        with pytest.raises(ValueError, match=says):
            satisfaction.reliability(data, items)
    with pytest.raises(ValueError, match="three customers"):
        satisfaction.reliability(data[:2], ["a", "b"])
    with pytest.raises(ValueError, match="names a column twice"):
        satisfaction.reliability(data, ["a", "a", "b"])


def measured(rng, n, rho=0.7, beta=2.0):
    x = rng.normal(60, 10, n)
    z = 0.05 * x + rng.normal(size=n)
    w = x + 10 * np.sqrt(1 / rho - 1) * rng.normal(size=n)
    return pd.DataFrame({"w": w, "z": z, "y": 5 + beta * x - 3 * z + 8 * rng.normal(size=n)})


def test_the_known_bias_of_the_naive_slope_and_its_correction(rng):
    """Classical error, one column: the naive slope is reliability times the truth, the corrected one is the truth."""
    naive, corrected, covered = [], [], []
    for _ in range(400):
        x = rng.normal(60, 10, 300)
        data = pd.DataFrame(
            {"w": x + 10 * np.sqrt(3 / 7) * rng.normal(size=300), "y": 2 * x + 8 * rng.normal(size=300)}
        )
        fit = satisfaction.fit_corrected("y ~ w", data, "w", reliability=0.7)
        naive.append(fit.naive.params["w"])
        corrected.append(fit.params["w"])
        low, high = fit.summary().loc["w", ["lower", "upper"]]
        covered.append(low <= 2 <= high)
    assert np.mean(naive) == pytest.approx(0.7 * 2, abs=3 * np.std(naive) / 20)
    assert np.mean(corrected) == pytest.approx(2, abs=3 * np.std(corrected) / 20)
    assert near(np.mean(covered), 0.95, 400)


def test_the_correction_covers_beside_another_column_and_with_an_estimated_reliability(rng):
    known, estimated, ignored = [], [], []
    for _ in range(250):
        data = measured(rng, 400)
        fit = satisfaction.fit_corrected("y ~ w + z", data, "w", reliability=0.7)
        table = fit.summary()
        known.append([table.loc[k, "lower"] <= v <= table.loc[k, "upper"] for k, v in (("w", 2.0), ("z", -3.0))])
        guess = 0.7 + 0.05 * rng.normal()
        for error, hits in ((0.05, estimated), (0.0, ignored)):
            low, high = (
                satisfaction.fit_corrected("y ~ w + z", data, "w", guess, error).summary().loc["w", ["lower", "upper"]]
            )
            hits.append(low <= 2 <= high)
    for share in np.mean(known, axis=0):
        assert near(share, 0.95, 250)
    assert near(np.mean(estimated), 0.95, 250) and np.mean(ignored) < 0.85


def test_the_correction_is_regression_calibration(rng):
    """Least squares on the expected truth given all that is seen: another road to the same estimates."""
    data = measured(rng, 500)
    fit = satisfaction.fit_corrected("y ~ w + z", data, "w", reliability=0.7)
    cov = np.cov(data[["w", "z"]].to_numpy().T, ddof=0)
    with_truth = cov[0] - [0.3 * cov[0, 0], 0]
    weights = np.linalg.solve(cov, with_truth)
    expected = data["w"].mean() + (data[["w", "z"]] - data[["w", "z"]].mean()) @ weights
    theirs = sm.OLS(data["y"], np.column_stack([np.ones(500), expected, data["z"]])).fit()
    np.testing.assert_allclose(fit.params, theirs.params, rtol=1e-8)


def test_the_correction_on_counts_is_that_on_rows(rng):
    data = measured(rng, 600).round()
    counts = data.value_counts().rename("n").reset_index()
    one = satisfaction.fit_corrected("y ~ w + z", data, "w", 0.8).summary()
    pd.testing.assert_frame_equal(satisfaction.fit_corrected("y ~ w + z", counts, "w", 0.8, weights="n").summary(), one)
    nothing = satisfaction.fit_corrected("y ~ w + z", data, "w", 1.0)
    np.testing.assert_allclose(nothing.params, nothing.naive.params, rtol=1e-9)


def test_corrections_that_cannot_be_are_refused(rng):
    data = measured(rng, 200)
    for arguments, says in (
        ({"reliability": 0}, "reliability= is a share"),
        ({"reliability": 80}, "reliability= is a share"),
        ({"reliability": 0.05, "formula": "y ~ w + z"}, "cannot be that low"),
        ({"reliability": 0.8, "formula": "y ~ w * z"}, "stands in a product too"),
        ({"reliability": 0.8, "formula": "y ~ w + I(w**2)"}, "stands in a power too"),
        ({"reliability": 0.8, "focal": "x"}, "'x' is not a column of the formula"),
        ({"reliability": 0.8, "reliability_error": -1}, "reliability_error="),
    ):
        with pytest.raises(ValueError, match=says):
            satisfaction.fit_corrected(**{"formula": "y ~ w", "data": data, "focal": "w"} | arguments)
    with pytest.raises(TypeError, match="got DataFrame.*item"):
        satisfaction.fit_corrected("y ~ w", data, "w", reliability=data)


def test_units_do_not_decide_what_can_be_corrected_or_fitted(rng, ratings):
    data = measured(rng, 400)
    plain = satisfaction.fit_corrected("y ~ w + z", data, "w", 0.7).summary()
    pesos = satisfaction.fit_corrected("y ~ w + z", data.assign(z=data["z"] * 5e6), "w", 0.7).summary()
    np.testing.assert_allclose(pesos.loc["w"], plain.loc["w"], rtol=1e-8)
    np.testing.assert_allclose(pesos.loc["z"] * 5e6, plain.loc["z"], rtol=1e-8)
    one = satisfaction.fit_curve(ratings, "cubic").params
    many = satisfaction.fit_curve(ratings.assign(satisfaction=ratings["satisfaction"] * 1000), "cubic").params
    np.testing.assert_allclose(many * 1000.0 ** np.arange(4), one, rtol=1e-8)


def test_what_is_handed_in_by_mistake_is_named(rng):
    data = measured(rng, 200)
    with pytest.raises(TypeError, match="is a function of the data"):
        satisfaction.simex("y ~ w", data, "w", 0.1)
    with pytest.raises(TypeError, match="returned float"):
        satisfaction.simex(lambda d: 1.0, data, "w", 0.1)
    with pytest.raises(TypeError, match="what fit_ordered returned; got LinearFit"):
        satisfaction.proportional_odds_test(line(data))
    with pytest.raises(TypeError, match="data= comes first"):
        satisfaction.fit_curve("threshold", data)
    with pytest.raises(ValueError, match="column 'z' holds"):
        satisfaction.reliability(data.assign(z="high"), ["w", "z"])
    answers = pd.DataFrame({"y": np.arange(60) % 30, "w": rng.normal(size=60)})
    with pytest.warns(UserWarning, match="30 different values.*fit_linear"):
        satisfaction.fit_ordered("y ~ w", answers)


def test_a_slope_far_outside_the_data_is_warned_of(rng):
    data = pd.DataFrame({"satisfaction": rng.integers(1, 11, 200), "rivals": rng.integers(0, 5, 200)})
    data["loyalty"] = data["satisfaction"] + rng.normal(size=200)
    fit = satisfaction.fit_curve(data, "linear")
    fit.slope([1, 10])
    with pytest.warns(UserWarning, match=r"'satisfaction' at 50 lies outside the data \(1 to 10\)"):
        fit.slope(50)
    product = satisfaction.fit_linear("loyalty ~ satisfaction * rivals", data)
    with pytest.warns(UserWarning, match=r"'rivals' at 30 lies outside the data \(0 to 4\)"):
        satisfaction.simple_slopes(product, "satisfaction", "rivals", at=[30])


def line(data):
    return regression.fit_linear("y ~ w", data, errors="classical")


@pytest.mark.parametrize("extrapolation", ["linear", "quadratic", "rational"])
def test_simex_goes_where_its_extrapolation_must_go(rng, extrapolation):
    """In a straight line the drift is known: beta s / (s + (1 + lambda) u). What each form makes of it is arithmetic."""
    n, s, u = 4000, 100.0, 60.0
    x = rng.normal(0, 10, n)
    data = pd.DataFrame({"w": x + np.sqrt(u) * rng.normal(size=n), "y": 2 * x + rng.normal(size=n)})
    lambdas = np.array([0.5, 1.0, 1.5, 2.0])
    fit = satisfaction.simex(line, data, "w", np.sqrt(u), lambdas, replicates=20, extrapolation=extrapolation, seed=1)
    at = np.append(0, lambdas)
    drift = 2 * s / (s + (1 + at) * u)
    expected = {
        "linear": np.polyval(np.polyfit(at, drift, 1), -1),
        "quadratic": np.polyval(np.polyfit(at, drift, 2), -1),
        "rational": 2.0,
    }[extrapolation]
    np.testing.assert_allclose(fit.path["w"], drift, rtol=0.03)
    assert fit.params["w"] == pytest.approx(expected, rel=0.06 if extrapolation == "rational" else 0.03)
    assert (expected < 1.9) == (extrapolation != "rational")


def test_simex_intervals_cover_where_the_extrapolation_is_nearly_exact(rng):
    covered = []
    for i in range(150):
        x = rng.normal(0, 10, 200)
        data = pd.DataFrame({"w": x + 3 * rng.normal(size=200), "y": 2 * x + 8 * rng.normal(size=200)})
        fit = satisfaction.simex(fast_line, data, "w", 3.0, replicates=10, seed=i)
        low, high = fit.summary().loc["w", ["lower", "upper"]]
        covered.append(low <= 2 <= high)
    assert near(np.mean(covered), 0.95, 150)


class fast_line:
    """Least squares by two means, for the many fits of the test above."""

    def __init__(self, data):
        w, y = data["w"].to_numpy(), data["y"].to_numpy()
        x = np.column_stack([np.ones_like(w), w])
        inverse = np.linalg.inv(x.T @ x)
        b = inverse @ x.T @ y
        names = ["Intercept", "w"]
        self.nobs = len(w)
        self.params = pd.Series(b, names)
        self.cov = pd.DataFrame(inverse * np.sum((y - x @ b) ** 2) / (len(w) - 2), names, names)


def test_simex_puts_an_ordered_model_nearer_to_the_truth(rng):
    x = rng.normal(size=3000)
    data = pd.DataFrame(
        {"x": x, "w": x + 0.5 * rng.normal(size=3000), "y": np.digitize(1.5 * x + rng.logistic(size=3000), [-1, 1])}
    )

    def fit(d):
        return satisfaction.fit_ordered("y ~ w", d)

    found = satisfaction.simex(fit, data, "w", 0.5, replicates=10, seed=1)
    truth = satisfaction.fit_ordered("y ~ x", data).params["x"]
    table = found.summary().loc["w"]
    assert abs(table["estimate"] - truth) < abs(table["naive"] - truth) / 3
    assert table["naive"] < table["lower"] < 1.5 < table["upper"] + 0.1
    ax = found.plot()
    assert ax.get_xlabel().startswith("error added") and "w" in ax.get_ylabel()
    with pytest.raises(ValueError, match="parameter= is one of"):
        found.plot("x")


def test_simex_says_what_it_cannot_take(rng):
    data = measured(rng, 50)
    for arguments, says in (
        ({"column": "v"}, "with the column 'v'"),
        ({"error_sd": 500}, "nothing but error"),
        ({"error_sd": -1}, "error_sd="),
        ({"lambdas": [0, 1, 2]}, "above 0"),
        ({"lambdas": [1, 2]}, "three different"),
        ({"replicates": 1}, "replicates="),
        ({"extrapolation": "cubic"}, "extrapolation="),
    ):
        with pytest.raises(ValueError, match=says):
            satisfaction.simex(**{"fit": line, "data": data, "column": "w", "error_sd": 1.0} | arguments)


# --- the trap -----------------------------------------------------------------------------------------------------------

SMALL = pd.DataFrame(
    {
        "rating": [5, 5, 4, 4, 2, 2, 5],
        "stayed": [1, 0, 1, 0, 1, 0, 0],
        "rival": ["no", "yes", "no", "yes", "no", "no", "yes"],
        "n": [40, 10, 30, 20, 15, 25, 0],
    }
)


def test_the_trap_by_hand_and_its_intervals_by_r(r):
    found = satisfaction.trap(SMALL, satisfied="rating >= 4", loyal="stayed", weights="n")
    assert found.table.to_numpy().tolist() == [[70, 30], [15, 25]] and found.nobs == 140
    table = found.summary()
    assert table["estimate"].tolist() == [0.3, 30 / 140, 15 / 40, 100 / 140, 85 / 140]
    theirs = r(
        "; ".join(
            f"cat(prop.test({k}, {n}, correct = FALSE)$conf.int, '\\n')"
            for k, n in zip(table["customers"], table["of"])
        )
    )
    np.testing.assert_allclose(table[["lower", "upper"]], theirs, rtol=1e-6)
    who = found.who("rival")
    assert who["customers"].to_dict() == {"no": 0, "yes": 30} and who["of"].to_dict() == {"no": 70, "yes": 30}
    assert who["of_trap"].to_dict() == {"no": 0, "yes": 1} and who.loc["no", "lower"] == 0 < who.loc["no", "upper"]
    both = found.who(["rival", "rating"])
    assert both.index.names == ["rival", "rating"] and both["customers"].sum() == 30


def test_rows_counts_and_checked_answers_give_one_trap():
    rows = rows_of(SMALL, "n").assign(customer_id=lambda d: d.index)
    checked = tables.responses(rows, "rating", also=["stayed", "rival"])
    rules = {"satisfied": "rating >= 4", "loyal": "stayed == 1"}
    one = satisfaction.trap(SMALL, **rules, weights="n").summary()
    for data in (rows, checked):
        pd.testing.assert_frame_equal(satisfaction.trap(data, **rules).summary(), one)


def test_what_the_trap_costs():
    found = satisfaction.trap(SMALL, satisfied="rating >= 4", loyal="stayed", weights="n")
    cost = found.cost(margin=50).loc["cost"]
    assert cost["estimate"] == pytest.approx(30 * 50)
    assert found.cost(50, customers=14_000).loc["cost", "estimate"] == pytest.approx(3000 * 50)
    share = found.summary().loc["trap, of all customers"]
    np.testing.assert_allclose(
        cost[["lower", "upper"]].astype(float), share[["lower", "upper"]].astype(float) * 140 * 50
    )
    # 10 % of 100 satisfied would leave anyway.
    part = found.cost(50, unavoidable=0.1).loc["cost"]
    assert part["estimate"] == pytest.approx(20 * 50)
    values = np.repeat([0.9, -0.1, 0.0], [30, 70, 40])
    assert part["std_error"] == pytest.approx(50 * 140 * values.std() / np.sqrt(140))
    for arguments, says in (
        ({"margin": -1}, "margin="),
        ({"margin": 5, "unavoidable": 1}, "unavoidable="),
        ({"margin": 5, "customers": np.nan}, "customers="),
        ({"margin": 5, "level": 95}, "level="),
    ):
        with pytest.raises(ValueError, match=says):
            found.cost(**arguments)


def test_the_cost_covers_with_an_unavoidable_part(rng):
    covered = []
    for _ in range(400):
        cells = rng.multinomial(600, [0.4, 0.2, 0.15, 0.25])
        data = pd.DataFrame({"s": [1, 1, 0, 0], "l": [1, 0, 1, 0], "n": cells})
        cost = satisfaction.trap(data, "s", "l", weights="n").cost(10, customers=1000, unavoidable=0.1).loc["cost"]
        covered.append(cost["lower"] <= 1000 * 10 * (0.2 - 0.1 * 0.6) <= cost["upper"])
    assert near(np.mean(covered), 0.95, 400)


@pytest.mark.parametrize(
    ("change", "arguments", "error", "says"),
    [
        ({}, {"satisfied": "rating >= 6"}, ValueError, "no customer is, so there is no share"),
        ({}, {"satisfied": "rating >= 1"}, ValueError, "all 140 customers are.*higher bar"),
        ({}, {"satisfied": "rating"}, ValueError, "neither true nor false"),
        ({}, {"satisfied": "score > 3"}, ValueError, "no column 'score'; there are: rating"),
        ({}, {"satisfied": "rating >="}, ValueError, "no expression of columns"),
        ({}, {"loyal": 4}, TypeError, "expression of columns"),
        ({"stayed": [1, 0, None, 0, 1, 0, 0]}, {}, ValueError, r"'stayed': 1 of 7 rows are missing \(rows 2\)"),
        ({"n": [0.5] * 7}, {}, ValueError, "whole numbers of 0 or more"),
        ({"n": [0] * 7}, {}, ValueError, "all 7 weights are 0"),
        ({}, {"weights": "m"}, ValueError, "'m' is not in the data"),
        ({"customers": 3}, {"weights": None}, ValueError, "tables of counts do"),
    ],
)
def test_rules_and_data_that_make_no_trap_are_refused(change, arguments, error, says):
    data = SMALL.assign(**change)
    with pytest.raises(error, match=says):
        satisfaction.trap(**{"data": data, "satisfied": "rating >= 4", "loyal": "stayed", "weights": "n"} | arguments)
    found = satisfaction.trap(SMALL.assign(id=range(7)), "rating >= 4", "stayed", weights="n")
    with pytest.raises(ValueError, match="by='colour'"):
        found.who("colour")


def test_the_traps_figure_holds_shares_and_sizes():
    ax = satisfaction.trap(SMALL, "rating >= 4", "stayed", weights="n").plot("rival")
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), [0, 1])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["no\n(70)", "yes\n(30)"]
    assert len(satisfaction.trap(SMALL, "rating >= 4", "stayed", weights="n").plot().containers) == 1


def test_a_cost_beyond_the_trap_is_refused():
    found = satisfaction.trap(simulate.satisfaction_panel(500, seed=8), "satisfaction >= 4", "repurchased")
    with pytest.raises(ValueError, match=r"unavoidable=0\.9 is more than the trap \(0\.\d+\): nothing is left"):
        found.cost(120, unavoidable=0.9)
    with pytest.raises(TypeError, match="margin= is a number"):
        found.cost("120")
    with pytest.raises(ValueError, match="by='rival' is not a column of the data; there are: .*rival_nearby"):
        found.who("rival")


# --- remedies -------------------------------------------------------------------------------------------------------------

REPURCHASE = "repurchased ~ satisfaction + quality + price + service + ease + rival_nearby"
CHANGES = {"quality": 1, "price": 1, "service": 1, "ease": 1, "price and ease": {"price": 1, "ease": 1}}


def test_remedies_by_hand():
    """Every satisfied customer predicted twice by statsmodels, one by one."""
    panel = simulate.satisfaction_panel(1500, seed=5)
    fit = satisfaction.fit_ordered(REPURCHASE, panel)
    found = satisfaction.remedies(fit, CHANGES, "satisfaction >= 4", by="rival_nearby").summary()
    theirs = smf.logit(REPURCHASE, panel.assign(rival_nearby=panel["rival_nearby"].astype(int))).fit(disp=False)
    content = panel[panel["satisfaction"] >= 4].assign(rival_nearby=lambda d: d["rival_nearby"].astype(int))
    for name, change in CHANGES.items():
        change = change if isinstance(change, dict) else {name: change}
        moved = content.assign(**{c: (content[c] + d).clip(1, 5) for c, d in change.items()})
        gain = theirs.predict(moved) - theirs.predict(content)
        for rival in (False, True):
            inside = content["rival_nearby"] == rival
            row = found.loc[(name, rival)]
            assert row["estimate"] == pytest.approx(gain[inside].mean(), rel=1e-6)
            assert row["customers_moved"] == pytest.approx(gain[inside].sum(), rel=1e-6)
            assert row["before"] == pytest.approx(theirs.predict(content)[inside].mean(), rel=1e-6)
            reached = (moved[list(change)] != content[list(change)]).any(axis=1)
            assert row["reached"] == pytest.approx(reached[inside].mean()) and row["customers"] == inside.sum()


def test_the_remedies_error_is_the_parameters_own_spread(rng):
    panel = simulate.satisfaction_panel(800, seed=6)
    fit = satisfaction.fit_ordered(REPURCHASE, panel)
    found = satisfaction.remedies(fit, {"service": 1}, "satisfaction >= 4").summary().loc["service"]
    content = panel[panel["satisfaction"] >= 4]
    x = fit.design.build(content)
    moved = fit.design.build(content.assign(service=(content["service"] + 1).clip(upper=5)))
    gains = [
        np.mean(special.expit(moved @ b[:-1] - b[-1]) - special.expit(x @ b[:-1] - b[-1]))
        for b in rng.multivariate_normal(fit.params, fit.cov, 2000)
    ]
    assert found["std_error"] == pytest.approx(np.std(gains), rel=0.06)


def test_remedies_cover_the_effect_that_the_generator_has():
    """120 panels. The truth for these customers: the generator's own probabilities before and after."""
    weight = simulate.SATISFACTION_PANEL["repurchase"]
    covered = []
    for seed in range(120):
        panel = simulate.satisfaction_panel(600, seed=seed)
        content = panel[panel["satisfaction"] >= 4]
        wish = sum(weight[c] * (content[c] - 3) for c in ("satisfaction", "quality", "price", "service", "ease"))
        wish = wish + weight["constant"] + weight["rival_nearby"] * content["rival_nearby"]
        found = satisfaction.remedies(
            satisfaction.fit_ordered(REPURCHASE, panel), {"service": 1, "price": 1}, "satisfaction >= 4"
        ).summary()
        for name in ("service", "price"):
            step = weight[name] * ((content[name] + 1).clip(upper=5) - content[name])
            truth = (special.expit(wish + step) - special.expit(wish)).mean()
            covered.append(found.loc[name, "lower"] <= truth <= found.loc[name, "upper"])
    assert near(np.mean(covered[::2]), 0.95, 120) and near(np.mean(covered[1::2]), 0.95, 120)


def test_remedies_take_several_answers_too():
    panel = simulate.satisfaction_panel(1500, seed=7)
    fit = satisfaction.fit_ordered("intention ~ satisfaction + service", panel)
    found = satisfaction.remedies(fit, {"service": 1}, "satisfaction >= 4", at_least=4).summary().loc["service"]
    content = panel[panel["satisfaction"] >= 4]
    after = fit.probabilities(content.assign(service=(content["service"] + 1).clip(upper=5)), at_least=4)["estimate"]
    assert found["after"] == pytest.approx(after.mean())
    assert found["before"] == pytest.approx(fit.probabilities(content, at_least=4)["estimate"].mean())


def test_remedies_carry_their_assumptions_and_refuse_what_they_cannot_do():
    panel = simulate.satisfaction_panel(500, seed=8)
    fit = satisfaction.fit_ordered(REPURCHASE, panel)
    found = satisfaction.remedies(fit, {"service": 1, "ease": 1}, "satisfaction >= 4", by="rival_nearby")
    assert found.assumptions == satisfaction.ASSUMPTIONS and "causes" in found.assumptions[0]
    ax = found.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["rival_nearby: no", "rival_nearby: yes"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["service", "ease"]
    # Satisfaction cannot be said to stay as it is where it is what changes.
    third = satisfaction.remedies(fit, {"satisfaction": 1}, "satisfaction >= 4").assumptions[2]
    assert third.startswith("All columns that are not changed stay") and "How satisfaction would be raised" in third
    for arguments, error, says in (
        ({"changes": {"colour": 1}}, ValueError, "'colour' is not in the fit's formula"),
        ({"changes": {"rival_nearby": 1}}, ValueError, "no rating"),
        ({"changes": {"service": 0}}, ValueError, "moves no satisfied customer"),
        ({"changes": {"price": "1"}}, TypeError, "'price' is a number"),
        ({"changes": {}}, TypeError, "changes="),
        ({"satisfied": "satisfaction > 5"}, ValueError, "no customer is"),
        ({"by": "colour"}, ValueError, "by='colour'"),
        ({"at_least": 7}, ValueError, "at_least="),
        ({"fit": 3}, TypeError, "fit="),
    ):
        with pytest.raises(error, match=says):
            satisfaction.remedies(
                **{"fit": fit, "changes": {"service": 1}, "satisfied": "satisfaction >= 4"} | arguments
            )


def test_remedies_cut_no_rating_to_a_scale_that_is_not_its_own():
    panel = simulate.satisfaction_panel(500, seed=8)
    panel = panel.assign(service=25 * (panel["service"] - 1), promo=np.arange(500) % 2)
    fit = satisfaction.fit_ordered("repurchased ~ satisfaction + ease + service + promo", panel)

    def effect(changes, limits=(1, 5)):
        return satisfaction.remedies(fit, changes, "satisfaction >= 4", limits=limits).summary()

    for changes, says in (
        (
            {"service": 10},
            r"'service': 500 of 500 customers have values outside limits=\(1, 5\) \(from 0 to 100\).*limits=",
        ),
        ({"both": {"ease": 1, "promo": -1}}, "'promo': 250 of 500 customers"),
    ):
        with pytest.raises(ValueError, match=says):
            effect(changes)
    scales = {"service": (0, 100), "promo": (0, 1)}
    found = effect({"service": 10, "promo": -1}, scales)["estimate"]
    assert np.sign(found["service"]) == np.sign(fit.params["service"]) and abs(found["service"]) < 0.1
    assert np.sign(found["promo"]) == -np.sign(fit.params["promo"])
    with pytest.raises(ValueError, match="no scale for the column 'ease'"):
        effect({"ease": 1}, scales)
    with pytest.raises(ValueError, match="lower and the higher end"):
        effect({"ease": 1}, (5, 1))


# --- the generators ------------------------------------------------------------------------------------------------------


def test_the_survey_has_the_curves_and_the_error_that_it_says():
    truth = simulate.SATISFACTION_SURVEY
    survey = simulate.satisfaction_survey(20_000, seed=4)
    s = survey["satisfaction_true"]
    assert s.mean() == pytest.approx(truth["satisfaction_mean"], abs=0.2) and s.std() == pytest.approx(
        truth["satisfaction_sd"], rel=0.01
    )
    assert (survey["satisfaction"] - s).std() == pytest.approx(truth["error_sd"], rel=0.02)
    assert survey[["satisfaction", "satisfaction_again"]].corr().iloc[0, 1] == pytest.approx(0.8, abs=0.01)
    for market, rivals in truth["markets"].items():
        rows = survey[survey["market"] == market]
        assert rows["rivals"].mean() == pytest.approx(rivals, abs=0.05)
        top = rows["satisfaction_true"].between(78, 82)
        expected = 72 - 4 * rivals + (0.02 + 0.03 * rivals) * 30 + 0.14 * rivals * 12
        assert rows.loc[top, "loyalty"].mean() == pytest.approx(expected, abs=0.8)
    with pytest.raises(ValueError, match="customers="):
        simulate.satisfaction_survey(0)


def test_the_panels_truth_is_recovered_and_its_change_is_an_experiment():
    weight = simulate.SATISFACTION_PANEL["repurchase"]
    panel = simulate.satisfaction_panel(60_000, seed=9)
    fit = satisfaction.fit_ordered(REPURCHASE, panel)
    table = fit.summary(0.999)
    for name in ("satisfaction", "quality", "price", "service", "ease"):
        assert table.loc[name, "lower"] <= weight[name] <= table.loc[name, "upper"]
    assert table.loc["rival_nearby", "lower"] <= weight["rival_nearby"] <= table.loc["rival_nearby", "upper"]
    changed = simulate.satisfaction_panel(60_000, change={"service": 1}, seed=9)
    answers = ["satisfaction", "service", "intention", "rival_nearby"]
    pd.testing.assert_frame_equal(panel[answers], changed[answers])
    content = panel["satisfaction"] >= 4
    # The same luck: nobody leaves because of better service.
    assert (changed["repurchased"] >= panel["repurchased"]).all()
    experiment = (changed["repurchased"] - panel["repurchased"])[content].mean()
    model = satisfaction.remedies(fit, {"service": 1}, "satisfaction >= 4").summary().loc["service", "estimate"]
    assert model == pytest.approx(experiment, abs=0.006)
    with pytest.raises(ValueError, match="got 'colour'"):
        simulate.satisfaction_panel(10, change={"colour": 1})


def test_those_who_left_answer_less_and_the_second_wave_looks_better():
    panel = simulate.satisfaction_panel(20_000, seed=10)
    answered = panel.groupby("repurchased")["answered_again"].mean()
    assert answered[1] - answered[0] > 0.2
    assert panel["satisfaction_again"].isna().equals(~panel["answered_again"])
    assert panel["satisfaction_again"].mean() > panel["satisfaction"].mean() + 0.03


@pytest.mark.parametrize("make", [simulate.satisfaction_survey, simulate.satisfaction_panel])
def test_the_seed_decides(make):
    assert make(50, seed=1).equals(make(50, seed=1)) and not make(50, seed=1).equals(make(50, seed=2))
