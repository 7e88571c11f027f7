"""Least squares on counts, simple slopes, Johnson-Neyman: other implementations, coverage, bad input."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlab import regression, satisfaction, tables


@pytest.fixture
def answers(rng):
    n = 600
    data = pd.DataFrame(
        {
            "score": rng.integers(1, 11, n),
            "rivals": rng.integers(0, 6, n),
            "market": rng.choice(["airlines", "cars", "telephone"], n),
        }
    )
    mean = 2 + 0.1 * data["score"] + 0.2 * data["score"] * data["rivals"] - (data["market"] == "cars")
    data["loyalty"] = (mean + (0.5 + 0.2 * data["score"]) * rng.normal(size=n)).round(1)
    return data


def counted(data):
    return data.groupby(list(data.columns), observed=True).size().rename("n").reset_index()


# --- least squares --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("errors", "theirs"), [("robust", "HC3"), ("classical", "nonrobust")])
def test_counts_give_what_statsmodels_gives_on_rows(answers, errors, theirs):
    formula = "loyalty ~ score * rivals + market"
    coarse = answers.assign(loyalty=answers["loyalty"].round())
    counts = counted(coarse)
    assert len(counts) < len(coarse)
    ours = regression.fit_linear(formula, counts, weights="n", errors=errors)
    rows = smf.ols(formula, coarse).fit(cov_type=theirs, use_t=True)
    names = list(ours.params.index)
    np.testing.assert_allclose(ours.params, rows.params[names], rtol=1e-9)
    np.testing.assert_allclose(ours.cov, rows.cov_params().loc[names, names], rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(ours.summary()[["lower", "upper"]], rows.conf_int().loc[names], rtol=1e-8)
    assert (ours.nobs, ours.df_resid) == (600, rows.df_resid)
    assert ours.rsquared == pytest.approx(rows.rsquared) and ours.loglik == pytest.approx(rows.llf)
    assert ours.aic == pytest.approx(rows.aic + 2) and ours.bic == pytest.approx(rows.bic + np.log(600))
    new = pd.DataFrame({"score": [2, 9], "rivals": [0, 4], "market": ["cars", "telephone"]})
    frame = rows.get_prediction(new).summary_frame()
    np.testing.assert_allclose(
        ours.predict(new)[["estimate", "std_error", "lower", "upper"]],
        frame[["mean", "mean_se", "mean_ci_lower", "mean_ci_upper"]],
        rtol=1e-8,
    )


def test_counts_give_what_r_gives_on_rows(answers, r, tmp_path):
    fit = regression.fit_linear("loyalty ~ score + rivals", answers, errors="classical")
    answers.to_csv(tmp_path / "rows.csv", index=False)
    params, errors = r(f"""
    m <- summary(lm(loyalty ~ score + rivals, read.csv("{tmp_path}/rows.csv")))$coefficients
    cat(m[, 1], "\\n"); cat(m[, 2], "\\n")""")
    found = fit.summary().loc[["Intercept", "score", "rivals"]]
    np.testing.assert_allclose(found["estimate"], params, rtol=1e-9)
    np.testing.assert_allclose(found["std_error"], errors, rtol=1e-9)


def test_checked_answers_are_counted_where_they_lie(answers):
    data = answers.assign(customer_id=[f"c{i}" for i in range(len(answers))])
    checked = tables.responses(data, "score", scale=(1, 10), also=["loyalty", "rivals"])
    ours = regression.fit_linear("loyalty ~ score * rivals", checked)
    np.testing.assert_allclose(ours.params, regression.fit_linear("loyalty ~ score * rivals", data).params, rtol=1e-10)
    with pytest.raises(ValueError, match="market.*also="):
        regression.fit_linear("loyalty ~ market", checked)
    with pytest.raises(ValueError, match="weights= is for tables of counts"):
        regression.fit_linear("loyalty ~ score", checked, weights="rivals")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 50)), min_size=8, max_size=30),
    st.integers(0, 99),
)
def test_neither_order_nor_splitting_of_the_counts_matters(rows, seed):
    data = pd.DataFrame([*rows, (1, 3, 2), (5, 4, 2), (3, 0, 1)], columns=["x", "y", "n"])
    whole = regression.fit_linear("y ~ x", data, weights="n")
    halves = pd.concat([data.assign(n=data["n"] // 2), data.assign(n=data["n"] - data["n"] // 2)])
    other = regression.fit_linear("y ~ x", halves.sample(frac=1, random_state=seed), weights="n")
    np.testing.assert_allclose(whole.params, other.params, atol=1e-8)
    np.testing.assert_allclose(whole.cov, other.cov, rtol=1e-5, atol=1e-10)


def test_robust_intervals_cover_where_the_scatter_differs_and_classical_ones_do_not(rng):
    covered = {"robust": [], "classical": []}
    for _ in range(300):
        x = rng.uniform(0, 1, 150)
        data = pd.DataFrame({"x": x, "y": 1 + 2 * x + rng.normal(size=150) * 3 * x**3})
        for errors, hits in covered.items():
            low, high = regression.fit_linear("y ~ x", data, errors=errors).summary().loc["x", ["lower", "upper"]]
            hits.append(low <= 2 <= high)
    assert abs(np.mean(covered["robust"]) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 300)
    assert np.mean(covered["classical"]) < 0.92


def test_huge_counts_and_scales_do_not_matter():
    data = pd.DataFrame({"year": [2024, 2025, 2026] * 2, "y": [1.0, 2, 4, 2, 3, 4], "n": [3, 5, 4, 6, 2, 9]})
    small = regression.fit_linear("y ~ year", data, weights="n")
    huge = regression.fit_linear("y ~ year", data.assign(n=data["n"] * 10**9), weights="n")
    np.testing.assert_allclose(small.params, huge.params, rtol=1e-6)
    scaled = regression.fit_linear("y ~ year", data.assign(y=data["y"] * 1e8), weights="n")
    np.testing.assert_allclose(scaled.summary()["std_error"], small.summary()["std_error"] * 1e8, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({}, {"formula": "loyalty ~ nothing"}, "'nothing' is not in the data"),
        ({}, {"formula": "~ score"}, "no answer"),
        ({}, {"formula": "loyalty ~ score +"}, "cannot be read"),
        ({}, {"formula": "log(loyalty) ~ score"}, "one column as it is"),
        ({}, {"formula": "market ~ score"}, "holds object values.*fit_ordered"),
        ({"score": 3}, {}, "'score' has the same value"),
        ({"twice": lambda d: 2 * d["score"]}, {"formula": "loyalty ~ score + twice"}, "combination of other columns"),
        ({"score": [np.nan, np.inf]}, {}, r"'score': 2 of 2 rows.*row 0: nan; row 1: inf"),
        ({"n": [2, -1]}, {"weights": "n"}, "1 of 2 rows.*row 1: -1.*whole numbers"),
        ({"n": [0.5, 1]}, {"weights": "n"}, "row 0: 0.5.*Sampling weights"),
        ({"n": ["a", 1]}, {"weights": "n"}, "row 0: a"),
        ({"n": [0, 0]}, {"weights": "n"}, "all 2 weights are 0"),
        ({}, {"weights": "score"}, "both in the formula and weights="),
        ({}, {"weights": "m"}, "'m' is not in the data"),
        ({"customers": [5, 6]}, {}, "tables of counts do, and weights= is not given"),
        ({}, {}, "more than 2 customers"),
        ({}, {"errors": "HC0"}, "errors= is one of"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_fix(change, arguments, says):
    data = pd.DataFrame({"score": [1, 2], "loyalty": [3.0, 4.0], "market": ["a", "b"]})
    for name, value in change.items():
        data[name] = value(data) if callable(value) else value
    with pytest.raises(ValueError, match=says):
        regression.fit_linear(**{"formula": "loyalty ~ score", "data": data} | arguments)


def test_other_bad_input():
    with pytest.raises(TypeError, match="DataFrame"):
        regression.fit_linear("a ~ b", [1, 2])
    with pytest.raises(ValueError, match="no rows"):
        regression.fit_linear("a ~ b", pd.DataFrame({"a": [], "b": []}))
    fit = regression.fit_linear("y ~ g + x", pd.DataFrame({"y": [1, 2, 3, 5.0], "g": list("abab"), "x": [1, 5, 2, 2]}))
    with pytest.raises(ValueError, match="'c' was not in the data; there were: a, b"):
        fit.predict(pd.DataFrame({"g": ["c"], "x": [1]}))
    with pytest.raises(ValueError, match="no column 'x'"):
        fit.predict(pd.DataFrame({"g": ["a"]}))
    with pytest.raises(ValueError, match="level="):
        fit.summary(95)


@pytest.mark.parametrize(
    "term",
    [
        "I(score - np.mean(score))",
        "I(score - score.mean())",
        "I(score / max(score))",
        "{score.rank()}",
        "np.cumsum(score)",
    ]
    + [
        "np.add.accumulate(score)",
        "I(score - score[0])",
        "score.shift(1)",
        "scale(score)",
        "np.clip(score, 0, score.max())",
    ],
)
def test_what_depends_on_other_rows_is_refused(answers, term):
    with pytest.raises(ValueError, match="perhaps depends on all rows; make a column of it first"):
        regression.fit_linear(f"loyalty ~ {term}", answers)


def test_what_is_of_one_row_is_the_same_for_new_rows(answers):
    terms = "I(score**2) + np.log(score) + np.where(score > 3, 1, 0) + np.maximum(rivals, 2) + C(market, contr.sum) + {rivals > 1}"
    fit = regression.fit_linear(f"loyalty ~ {terms}", answers)
    x = fit.design.matrix @ fit.params
    assert fit.predict(fit.cases.iloc[[7]])["estimate"].item() == pytest.approx(x[7])


def test_new_values_that_the_fit_has_no_coefficient_for_are_refused(answers):
    fit = regression.fit_linear("loyalty ~ C(rivals) + score", answers)
    assert list(fit.design.levels) == ["rivals"]
    for new, says in (
        ({"rivals": [9], "score": [3]}, "column 'rivals': '9' was not in the data; there were: 0, 1, 2, 3, 4, 5"),
        ({"rivals": [2], "score": ["3"]}, "column 'score': the new values are text.*row 0: '3'.*to_numeric"),
    ):
        with pytest.raises(ValueError, match=says):
            fit.predict(pd.DataFrame(new))
    tens = regression.fit_linear("loyalty ~ C(np.floor(score / 4)) + np.log(score)", answers)
    tens.predict(pd.DataFrame({"score": [2.5]}))
    with pytest.raises(ValueError, match="make categories that were not in the data: .*25"):
        tens.predict(pd.DataFrame({"score": [100]}))
    with pytest.raises(ValueError, match=r"make 'np.log\(score\)' missing or infinite"), np.errstate(divide="ignore"):
        tens.predict(pd.DataFrame({"score": [0]}))


def test_a_category_that_was_filtered_out_is_no_column(answers):
    whole = answers.assign(market=answers["market"].astype("category"))
    some = whole[whole["market"] != "airlines"]
    fit = regression.fit_linear("loyalty ~ score + market", some)
    text = regression.fit_linear("loyalty ~ score + market", some.assign(market=some["market"].astype(str)))
    pd.testing.assert_frame_equal(fit.summary(), text.summary())
    pd.testing.assert_series_equal(fit.predict(some.head())["estimate"], text.predict(some.head())["estimate"])
    with pytest.raises(ValueError, match="'airlines' was not in the data; there were: cars, telephone"):
        fit.predict(whole[whole["market"] == "airlines"].head(1))


def test_one_customer_alone_has_no_robust_error(rng):
    data = pd.DataFrame({"g": [*"ab" * 20, "c"], "y": rng.normal(size=41)})
    with pytest.raises(ValueError, match=r"'g\[T.c\]': one customer alone .*\(g='c'\).*errors='classical'"):
        regression.fit_linear("y ~ g", data)
    classical = regression.fit_linear("y ~ g", data, errors="classical")
    assert (classical.summary()["std_error"] > 0.1).all()
    regression.fit_linear("y ~ g", pd.concat([data, data.tail(1)]))  # two of them are met, too, but may scatter
    with pytest.raises(ValueError, match="'Intercept', 'g"):
        regression.fit_linear("y ~ g", data.replace("c", "A"))


def test_the_name_of_the_count_is_no_column_of_a_formula(answers):
    shops = answers.assign(customers=answers["rivals"] * 100)
    for call in (regression.fit_linear, satisfaction.fit_ordered):
        with pytest.raises(ValueError, match="'customers': .* name of their count.*rename"):
            call(
                "market ~ score + customers" if call is satisfaction.fit_ordered else "loyalty ~ score + customers",
                shops,
            )


def test_the_figure_holds_the_coefficients(answers):
    fit = regression.fit_linear("loyalty ~ score + rivals", answers)
    ax = fit.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["score", "rivals"] and ax.get_xlabel()
    np.testing.assert_allclose(ax.lines[0].get_xdata(), fit.params[["score", "rivals"]])


# --- simple slopes ---------------------------------------------------------------------------------------------------


def test_simple_slopes_are_the_contrasts_of_statsmodels(answers):
    ours = regression.fit_linear("loyalty ~ score * rivals + market", answers)
    theirs = smf.ols("loyalty ~ score * rivals + market", answers).fit(cov_type="HC3", use_t=True)
    slopes = regression.simple_slopes(ours, "score", "rivals", at=[0, 2.5])
    for value in (0, 2.5):
        test = theirs.t_test(f"score + {value} * score:rivals = 0")
        found = slopes.loc[value]
        assert found["estimate"] == pytest.approx(test.effect[0]) and found["std_error"] == pytest.approx(
            test.sd.item()
        )
        np.testing.assert_allclose(found[["lower", "upper"]].astype(float), test.conf_int()[0])
    pd.testing.assert_frame_equal(
        regression.simple_slopes(theirs, "score", "rivals", at=[0, 2.5]), slopes, check_exact=False, rtol=1e-7
    )
    default = regression.simple_slopes(ours, "score", "rivals").index
    m, s = answers["rivals"].mean(), answers["rivals"].std()
    np.testing.assert_allclose(default, [m - s, m, m + s])


@pytest.mark.parametrize("kind", ["text", "bool", "category"])
def test_the_slope_in_a_category_is_that_of_a_fit_which_starts_from_it(answers, kind):
    data = answers.assign(market=answers["market"] == "cars") if kind == "bool" else answers
    if kind == "category":
        data = data.assign(market=pd.Categorical(data["market"], ["telephone", "cars", "airlines"]))
    slopes = regression.simple_slopes(regression.fit_linear("loyalty ~ score * market", data), "score", "market")
    assert (
        slopes.index.tolist()
        == {
            "text": ["airlines", "cars", "telephone"],
            "bool": [False, True],
            "category": ["telephone", "cars", "airlines"],
        }[kind]
    )
    for value in slopes.index:
        first = data.assign(market=np.where(data["market"] == value, "0", data["market"].astype(str)))
        alone = regression.fit_linear("loyalty ~ score * market", first).summary().loc["score"]
        np.testing.assert_allclose(slopes.loc[value], alone, rtol=1e-8)


def test_simple_slopes_of_an_ordered_model(rng):
    data = pd.DataFrame({"x": rng.normal(size=800), "m": rng.normal(size=800)})
    hidden = data["x"] * (1 + data["m"]) + rng.logistic(size=800)
    data["y"] = np.digitize(hidden, [-1, 1])
    fit = satisfaction.fit_ordered("y ~ x * m", data)
    found = regression.simple_slopes(fit, "x", "m", at=[1.0]).iloc[0]
    moved = satisfaction.fit_ordered("y ~ x * m", data.assign(m=data["m"] - 1)).summary().loc["x"]
    np.testing.assert_allclose(found, moved, rtol=1e-6)


# --- Johnson-Neyman -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("simultaneous", [False, True])
def test_the_bounds_are_where_the_interval_touches_zero(answers, simultaneous):
    data = answers.assign(rivals=answers["rivals"] - 3.0)
    fit = regression.fit_linear("loyalty ~ score * rivals", data)
    found = regression.johnson_neyman(fit, "score", "rivals", limits=(-20, 20), simultaneous=simultaneous)
    theirs = smf.ols("loyalty ~ score * rivals", data).fit(cov_type="HC3", use_t=True)
    from scipy import stats

    q = np.sqrt(2 * stats.f.ppf(0.95, 2, 596)) if simultaneous else stats.t.ppf(0.975, 596)
    values = np.linspace(-20, 20, 40_001)
    v = theirs.cov_params()
    error = np.sqrt(
        v.loc["score", "score"]
        + 2 * values * v.loc["score", "score:rivals"]
        + values**2 * v.loc["score:rivals", "score:rivals"]
    )
    slope = theirs.params["score"] + values * theirs.params["score:rivals"]
    sign = np.where(np.abs(slope) <= q * error, 0, np.sign(slope))
    turns = values[1:][np.diff(sign) != 0]
    np.testing.assert_allclose(found.bounds, turns, atol=0.002)
    names = {0: "not distinguished from zero", 1: "positive", -1: "negative"}
    assert found.regions["effect"].tolist() == [names[s] for s in [sign[0], *sign[1:][np.diff(sign) != 0]]]
    assert len(found.bounds) == 2 and found.regions["customers"].sum() == pytest.approx(1)
    inside = data["rivals"].between(*found.bounds, inclusive="left").mean()
    assert found.regions["customers"][1] == pytest.approx(inside)


def test_one_region_where_nothing_changes(rng):
    x, m = rng.normal(size=(2, 400))
    always = pd.DataFrame({"x": x, "m": m, "y": 3 * x + rng.normal(size=400)})
    never = always.assign(y=rng.normal(size=400))
    for data, effect in (
        (always, "positive"),
        (never, "not distinguished from zero"),
        (always.assign(y=-always["y"]), "negative"),
    ):
        found = regression.johnson_neyman(regression.fit_linear("y ~ x * m", data), "x", "m", limits=(-0.2, 0.2))
        assert found.bounds == () and found.regions["effect"].tolist() == [effect]


def test_the_simultaneous_band_holds_everywhere_at_once(rng):
    whole, single = [], []
    grid = np.linspace(-3, 3, 61)
    for _ in range(250):
        x, m = rng.normal(size=(2, 60))
        data = pd.DataFrame({"x": x, "m": m, "y": x * (0.5 + 0.3 * m) + rng.normal(size=60)})
        fit = regression.fit_linear("y ~ x * m", data, errors="classical")
        for simultaneous, hits in ((True, whole), (False, single)):
            band = regression.johnson_neyman(fit, "x", "m", limits=(-3, 3), simultaneous=simultaneous).summary(61)
            hits.append(((band["lower"] <= 0.5 + 0.3 * grid) & (0.5 + 0.3 * grid <= band["upper"])).all())
    # Exact over the whole line, so at least 95 % over part of it; the pointwise band falls short of that.
    assert np.mean(whole) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 250) and np.mean(single) < 0.93


def test_what_is_no_interaction_is_refused(answers):
    plain = regression.fit_linear("loyalty ~ score + rivals", answers)
    with pytest.raises(ValueError, match=r"write score \* rivals"):
        regression.simple_slopes(plain, "score", "rivals")
    with pytest.raises(ValueError, match="no coefficient 'satisfaction'"):
        regression.simple_slopes(plain, "satisfaction", "rivals")
    three = regression.fit_linear("loyalty ~ score * rivals + score:market", answers)
    with pytest.raises(ValueError, match="interacts with further columns"):
        regression.johnson_neyman(three, "score", "rivals")
    for term in ("I(score**2)", "np.exp(score / 10)", "I(score * rivals**2)"):
        curved = regression.fit_linear(f"loyalty ~ score * rivals + {term}", answers)
        for call in (regression.simple_slopes, regression.johnson_neyman):
            with pytest.raises(ValueError, match=r"'score' stands in a power or another function too \("):
                call(curved, "score", "rivals")
    # A function of the moderator is no function of the focal column; nor is a category that is called like it.
    bent = regression.fit_linear("loyalty ~ score * rivals + I(rivals**2) + market", answers.replace("cars", "score"))
    regression.simple_slopes(bent, "score", "rivals", at=[1])
    by_market = regression.fit_linear("loyalty ~ score * market", answers)
    with pytest.raises(ValueError, match="is a category.*simple_slopes"):
        regression.johnson_neyman(by_market, "score", "market")
    yes_or_no = regression.fit_linear("loyalty ~ score * market", answers.assign(market=answers["market"] == "cars"))
    with pytest.raises(ValueError, match="is a category.*simple_slopes"):
        regression.johnson_neyman(yes_or_no, "score", "market")
    with pytest.raises(ValueError, match="no category 'ships'; there are: airlines"):
        regression.simple_slopes(by_market, "score", "market", at=["ships"])
    product = regression.fit_linear("loyalty ~ score * rivals", answers)
    with pytest.raises(ValueError, match="at= takes numbers"):
        regression.simple_slopes(product, "score", "rivals", at=["few"])
    with pytest.raises(ValueError, match="limits="):
        regression.johnson_neyman(product, "score", "rivals", limits=(5, 0))
    theirs = smf.ols("loyalty ~ score * rivals", answers).fit()
    for call in (regression.simple_slopes, regression.johnson_neyman):
        with pytest.raises(ValueError, match="at=|limits="):
            call(theirs, "score", "rivals")


def test_the_figures_hold_slopes_and_regions(answers):
    fit = regression.fit_linear("loyalty ~ score * rivals", answers.assign(rivals=answers["rivals"] - 3.0))
    found = regression.johnson_neyman(fit, "score", "rivals", limits=(-20, 20))
    ax = found.plot()
    verticals = [
        line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) == 0
    ]
    np.testing.assert_allclose(verticals, found.bounds)
    assert ax.get_xlabel() == "rivals" and "score" in ax.get_ylabel()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["distinguished from zero", "not distinguished from zero"]
    slopes = regression.simple_slopes(fit, "score", "rivals", at=[0, 1, 2])
    drawn = regression.plot_simple_slopes(slopes)
    np.testing.assert_allclose(drawn.lines[0].get_xdata(), slopes["estimate"])
    assert drawn.get_ylabel() == "rivals"
