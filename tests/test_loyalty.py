"""Loyalty: measures, types by rule, types by model; beside StepMix, scikit-learn, R and counts by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from crmlab import loyalty, simulate
from crmlab.likelihood import BoundaryWarning

TRUTH = simulate.LOYALTY


@pytest.fixture(scope="module")
def panel():
    return simulate.loyalty_panel(1500, seed=20261122)


@pytest.fixture(scope="module")
def scales(panel):
    return loyalty.attitude_scales(panel.answers, panel.items())


@pytest.fixture(scope="module")
def true_type(panel):
    return panel.customers.set_index("customer_id")["type"]


@pytest.fixture(scope="module")
def classes(scales, true_type):
    return loyalty.fit_classes(scales.scores, 6, starts=3).matched(true_type, loyalty.TYPES)


# --- what customers do ----------------------------------------------------------------------------------------------


def test_share_of_wallet_is_what_pandas_counts(panel, tmp_path):
    rows = panel.purchases
    wallet = loyalty.share_of_wallet(rows, supplier="ours")
    here = rows[rows["supplier"] == "ours"].groupby("customer_id")["amount"].sum()
    all_of_it = rows.groupby("customer_id")["amount"].sum()
    expected = (here / all_of_it).reindex(all_of_it.index).fillna(0)
    assert wallet.customers["share"].to_numpy() == pytest.approx(expected[wallet.customers.index].to_numpy(), abs=1e-9)
    found = wallet.summary()
    assert found.loc["of all spending", "estimate"] == pytest.approx(here.sum() / all_of_it.sum(), abs=1e-12)
    assert found.loc["mean of customers", "estimate"] == pytest.approx(expected.mean())
    assert wallet.nobs == rows["customer_id"].nunique() == len(wallet.customers)
    rows.astype({"supplier": str}).to_parquet(tmp_path / "log.parquet", index=False)
    from_file = loyalty.share_of_wallet(tmp_path / "log.parquet", supplier="ours")
    pd.testing.assert_frame_equal(from_file.customers, wallet.customers, check_exact=False)


def test_the_error_of_the_share_of_all_spending_is_that_of_the_bootstrap(panel):
    wallet = loyalty.share_of_wallet(panel.purchases, supplier="ours")
    here, spent = (wallet.customers[name].to_numpy() for name in ("spent_here", "spent"))
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, len(here), (2000, len(here)))
    errors = (here[drawn].sum(axis=1) / spent[drawn].sum(axis=1)).std()
    assert wallet.summary().loc["of all spending", "std_error"] == pytest.approx(errors, rel=0.08)


def test_a_firms_own_log_has_no_denominator():
    log = pd.DataFrame({"customer_id": ["a"], "date": pd.to_datetime(["2026-01-01"]), "amount": [5.0]})
    with pytest.raises(ValueError, match="no column is named 'supplier'.*own log holds only"):
        loyalty.share_of_wallet(log, supplier="ours")
    with pytest.raises(ValueError, match="no column is named 'supplier'"):
        loyalty.sequence_measures(log)
    with pytest.raises(ValueError, match="one supplier only"):
        loyalty.share_of_wallet(log.assign(supplier="ours"), supplier="ours")
    with pytest.raises(ValueError, match="supplier= is one of 'ours'"):
        loyalty.share_of_wallet(log.assign(supplier="ours"), supplier="mine")


def test_nothing_spent_is_no_share():
    log = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "c"],
            "date": pd.to_datetime(["2026-01-01"] * 4),
            "amount": [5.0, 15.0, 0.0, 2.0],
            "supplier": ["x", "y", "x", "y"],
        }
    )
    wallet = loyalty.share_of_wallet(log, supplier="x")
    assert wallet.nobs == 2 and wallet.customers["share"].isna().tolist() == [False, True, False]
    assert wallet.customers.loc["a", "share"] == 0.25 and wallet.summary().loc["nothing here", "estimate"] == 0.5
    with pytest.raises(ValueError, match="two customers or more"):
        loyalty.share_of_wallet(log[:3], supplier="x").summary()


@pytest.mark.parametrize(
    ("order", "pattern", "repeats", "longest"),
    [
        ("AAAA", "undivided", 3, 4),
        ("AABB", "unstable", 2, 2),
        ("AAAB", "none", 2, 3),
        ("ABAB", "divided", 0, 1),
        ("ABCA", "none", 0, 1),
        ("A", "one purchase", 0, 1),
        ("AA", "undivided", 1, 2),
    ],
)
def test_patterns_by_hand(order, pattern, repeats, longest):
    days = pd.date_range("2026-01-01", periods=len(order))
    other = pd.DataFrame({"customer_id": "z", "date": days[:1], "supplier": "B"})
    log = pd.concat([pd.DataFrame({"customer_id": "a", "date": days, "supplier": list(order)}), other])
    row = loyalty.sequence_measures(log.sample(frac=1, random_state=1)).customers.loc["a"]
    assert row["pattern"] == pattern and row["repeats"] == repeats and row["longest_run"] == longest
    assert np.isnan(row["repeat_rate"]) if len(order) == 1 else row["repeat_rate"] == repeats / (len(order) - 1)


def test_sequences_say_what_cannot_be_seen():
    day = pd.to_datetime(["2026-01-01"] * 3)
    log = pd.DataFrame({"customer_id": ["a", "a", "b"], "date": day, "supplier": ["B", "A", "B"]})
    found = loyalty.sequence_measures(log)
    assert found.same_day == 1 and found.summary().loc["one purchase", "estimate"] == 0.5
    with pytest.raises(ValueError, match="all 2 customers have one purchase"):
        loyalty.sequence_measures(log[1:]).summary()


def test_repeat_measures_are_those_of_the_rows():
    log = pd.DataFrame(
        {
            "customer_id": list("aaaabbc"),
            "date": pd.to_datetime(
                ["2026-01-01", "2026-01-08", "2026-01-08", "2026-01-22", "2026-01-01", "2026-01-15", "2026-01-01"]
            ),
        }
    )
    found = loyalty.repeat_measures(log, repeats=(1, 2))
    assert found.loc["bought again", "estimate"] == pytest.approx(2 / 3)
    assert found.loc["bought again 2 times or more", "estimate"] == pytest.approx(1 / 3)
    assert found.loc["repeat purchases", "estimate"] == 1 and found.attrs["counts"] == {0: 1, 1: 1, 2: 1}
    assert found.loc["weeks between purchases", "estimate"] == pytest.approx((1.5 + 2) / 2)
    with pytest.raises(ValueError, match="whole numbers, 1 or more"):
        loyalty.repeat_measures(log, repeats=(0,))


# --- what they answer -----------------------------------------------------------------------------------------------


def test_scores_and_reliability_beside_the_formulas(panel, scales):
    items = panel.items()["trust"]
    x = panel.answers[items]
    alpha = 2 * (1 - x.var().sum() / x.sum(axis=1).var())
    assert scales.summary().loc["trust", "estimate"] == pytest.approx(alpha)
    assert scales.scores["trust"].to_numpy() == pytest.approx(x.mean(axis=1).to_numpy())
    turned = loyalty.attitude_scales(
        panel.answers.assign(trust_2=8 - panel.answers["trust_2"]), panel.items(), reverse=["trust_2"]
    )
    pd.testing.assert_frame_equal(turned.scores, scales.scores)


def test_doubtful_answers_are_named():
    answers = pd.DataFrame({"customer_id": list("abcd"), "t1": [7, 4, 6, 2], "t2": [1, 4, 5, 3], "s1": [3, 4, 2, 6]})
    found = loyalty.attitude_scales(answers, {"trust": ["t1", "t2"], "satisfaction": ["s1"]})
    assert found.doubtful()["contradictory"].to_dict() == {"a": "trust", "b": ""}
    assert found.doubtful()["straight_lining"].tolist() == [False, True]
    assert np.isnan(found.summary().loc["satisfaction", "estimate"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t1": [4, 4, 4, 4], "t2": [4, 4, 4, 4]}, "scale 'trust' .* same score for all 4 customers"),
        ({"t1": [9, 4, 6, 2]}, "column 't1': 1 of 4 answers are outside the scale .customer_id: a"),
        ({"t1": [None, 4, 6, 2]}, "column 't1': 1 of 4 answers are missing"),
        ({"customer_id": list("aacd")}, "1 rows repeat a customer"),
        ({"t1": list("abcd")}, "holds .* values, not numbers"),
    ],
)
def test_bad_answers_are_refused(change, message):
    answers = pd.DataFrame({"customer_id": list("abcd"), "t1": [7, 4, 6, 2], "t2": [1, 4, 5, 3]})
    with pytest.raises(ValueError, match=message):
        loyalty.attitude_scales(answers.assign(**change), {"trust": ["t1", "t2"]})
    with pytest.raises(ValueError, match="no column is named 't9'"):
        loyalty.attitude_scales(answers, {"trust": ["t1", "t9"]})


def test_cells_and_their_sensitivity():
    attitude, patronage = (
        pd.Series([5.0, 5, 2, 2, 4], list("abcde")),
        pd.Series([0.9, 0.1, 0.9, 0.1, 0.5], list("edcba")),
    )
    found = loyalty.dick_basu(attitude, patronage, 4, 0.5)
    assert found.cells.tolist() == ["true", "latent", "spurious", "none", "true"]
    table = found.sensitivity([4, 4.5], [0.5, 0.6])
    assert table.loc[(4, 0.5), "moved"] == 0 and table.loc[(4.5, 0.6), "moved"] == pytest.approx(2 / 5)
    assert table[["true", "latent", "spurious", "none"]].sum(axis=1).to_numpy() == pytest.approx(1)
    with pytest.raises(ValueError, match="attitude= is 3 for all 5 customers"):
        loyalty.dick_basu(attitude * 0 + 3, patronage, 4, 0.5)
    with pytest.raises(ValueError, match="the same customers.*2 are in one only"):
        loyalty.dick_basu(attitude, patronage.rename({"a": "z"}), 4, 0.5)


# --- types by rule --------------------------------------------------------------------------------------------------


def test_rules_reasons_and_ambiguity():
    scores = pd.DataFrame({"x": [1.0, 5, 5, 1], "y": [6.0, 6, 1, 1]}, list("abcd"))
    found = loyalty.typology(scores, {"low": "x <= 1 and y > 5", "high": "y >= 6", "mid": "x > 4"})
    assert found.customers["type"].tolist() == ["low", "high", "mid", "none"]
    assert found.customers["also"].tolist() == ["high", "mid", "", ""]
    assert (
        found.customers.loc["a", "reason"] == "x 1 <= 1 and y 6 > 5"
        and found.customers.loc["d", "reason"] == "no rule fits"
    )
    assert list(found.ambiguous().index) == ["a", "b"] and found.summary().loc["ambiguous", "estimate"] == 0.5
    eased = found.sensitivity([-0.5, 5])
    assert eased.loc[0.0, "moved"] == 0 and eased.loc[5.0, "none"] == 0 and eased.loc[-0.5, "low"] == 0
    reordered = loyalty.typology(scores, {"high": "y >= 6", "low": "x <= 1 and y > 5"})
    assert reordered.customers.loc["a", "type"] == "high"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"a": "x over 3"}, "the rule of 'a' cannot be read at 'x over 3'"),
        ({"a": "q > 3"}, "needs the column 'q'"),
        ({"none": "x > 3"}, "'none' is the type of those whom no rule fits"),
        ({"a": "flat > 3"}, "'flat' is 2 for all 2 customers"),
        ({"a": "gap > 3"}, "column 'gap': 1 of 2 customers have no score .b."),
        ({}, "no rule"),
    ],
)
def test_bad_rules_are_refused(rules, message):
    scores = pd.DataFrame({"x": [1.0, 5], "flat": [2.0, 2], "gap": [1.0, np.nan]}, list("ab"))
    with pytest.raises(ValueError, match=message):
        loyalty.typology(scores, rules)


# --- types by model -------------------------------------------------------------------------------------------------


def test_three_yes_or_no_items_and_two_classes_by_hand():
    """Seven free shares, seven parameters: counts made from known parameters must give these back, to the last digits."""
    share, yes = np.array([0.6, 0.4]), np.array([[0.9, 0.8, 0.7], [0.2, 0.3, 0.1]])
    cells = np.array(list(np.ndindex(2, 2, 2)))
    probability = (share[:, None] * np.prod(np.where(cells, yes[:, None], 1 - yes[:, None]), axis=2)).sum(axis=0)
    count = np.rint(probability * 100_000).astype(int)
    assert count / 100_000 == pytest.approx(probability, abs=1e-12)
    rows = pd.DataFrame(np.repeat(cells, count, axis=0), columns=list("abc"))
    fit = loyalty.fit_classes(rows, 2, kind="binary", starts=3)
    assert fit.shares.to_numpy() == pytest.approx(share, abs=1e-4)
    assert fit.profiles.to_numpy() == pytest.approx(yes, abs=1e-4)
    assert fit.loglik == pytest.approx(count @ np.log(probability), abs=1e-3)
    # The class of someone who says yes to all, by Bayes.
    all_yes = 0.6 * 0.9 * 0.8 * 0.7
    expected = all_yes / (all_yes + 0.4 * 0.2 * 0.3 * 0.1)
    assert fit.posterior[rows.eq(1).all(axis=1)].iloc[0, 0] == pytest.approx(expected, abs=1e-4)

    # Errors from the multinomial information by the delta method: the model is saturated.
    def all_cells(b):
        p = np.array([b[0], 1 - b[0]])
        y = b[1:].reshape(2, 3)
        return (p[:, None] * np.prod(np.where(cells, y[:, None], 1 - y[:, None]), axis=2)).sum(axis=0)

    b = np.append(share[0], yes.ravel())
    slope = np.array([(all_cells(b + 1e-6 * e) - all_cells(b - 1e-6 * e)) / 2e-6 for e in np.eye(7)])
    information = 100_000 * (slope / probability) @ slope.T
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    assert fit.summary()["std_error"].to_numpy() == pytest.approx(errors, rel=2e-3)


def test_the_fit_is_stepmix_on_the_rows(scales):
    from stepmix import StepMix

    scores = scales.scores.iloc[:400]
    fit = loyalty.fit_classes(scores, 3, starts=3, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = []
        for seed in range(3):
            model = StepMix(
                3,
                measurement="gaussian_diag",
                init_params="kmeans",
                abs_tol=1e-10,
                max_iter=5000,
                random_state=seed,
                progress_bar=0,
            )
            ends.append(model.fit(scores.to_numpy()))
        best = max(ends, key=lambda model: model.lower_bound_)
    assert fit.loglik == pytest.approx(best.score(scores.to_numpy()) * len(scores), abs=0.01)
    assert fit.bic == pytest.approx(best.bic(scores.to_numpy()), abs=0.02)
    theirs = np.sort(
        best.get_parameters()["means"]
        if "means" in best.get_parameters()
        else best.get_parameters()["measurement"]["means"],
        axis=0,
    )
    assert np.sort(fit.profiles.to_numpy(), axis=0) == pytest.approx(theirs, abs=0.01)
    assert fit.entropy == pytest.approx(best.relative_entropy(scores.to_numpy()), abs=1e-3)
    again = loyalty.fit_classes(scores, 3, starts=3, seed=0)
    assert again.loglik == fit.loglik and (again.modal == fit.modal).all()


def test_types_are_recovered_up_to_the_ceiling(panel, classes, true_type):
    best = simulate.loyalty_posterior(panel.answers)
    ceiling = (best.idxmax(axis=1) == true_type.astype(str)).mean()
    assert ceiling == pytest.approx(best.max(axis=1).mean(), abs=4 * np.sqrt(0.1 / 1500))
    found = loyalty.agreement(true_type, classes.modal)
    assert ceiling - 0.05 < found.summary().loc["agreement", "estimate"] <= ceiling + 0.01
    by_rule = loyalty.agreement(
        true_type, loyalty.typology(loyalty.attitude_scales(panel.answers, panel.items()).scores).customers["type"]
    )
    assert by_rule.summary().loc["agreement", "estimate"] < found.summary().loc["agreement", "estimate"]
    # The means of the classes are those of the types, within their own errors.
    table = classes.summary()
    off = [
        (table.loc[f"mean[{k + 1}, {item}]", "estimate"] - TRUTH["means"][TRUTH["types"].index(kind)][j])
        / table.loc[f"mean[{k + 1}, {item}]", "std_error"]
        for k, kind in enumerate(classes.labels)
        for j, item in enumerate(TRUTH["scales"])
    ]
    assert np.mean(np.abs(off) < 3) > 0.9
    assert classes.predict(loyalty.attitude_scales(panel.answers, panel.items()).scores).to_numpy() == pytest.approx(
        classes.posterior.to_numpy()
    )


def test_intervals_of_class_means_cover(rng):
    """Two known classes, many samples: the intervals hold the true means in 95 % of them, within Monte Carlo error."""
    covered, n, runs = [], 200, 60
    means = np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 2.5]])
    for _ in range(runs):
        kind = rng.uniform(size=n) < 0.4
        scores = pd.DataFrame(means[kind.astype(int)] + rng.standard_normal((n, 3)), columns=list("abc"))
        table = loyalty.fit_classes(scores, 2, starts=1).summary()
        for k in range(2):
            for j, item in enumerate("abc"):
                row = table.loc[f"mean[{k + 1}, {item}]"]
                covered.append(row["lower"] < means[k, j] < row["upper"])
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs / 2)


def test_the_number_of_classes_and_spikes_that_are_no_classes(scales):
    table = loyalty.select_classes(scales.scores, most=7, starts=2)
    assert table["bic"].idxmin() == 6 and table["loglik"].is_monotonic_increasing
    assert table.loc[1, "parameters"] == 14 and table.loc[1, "entropy"] == 1
    # A normal class on one single answer has an infinite likelihood: it is said, not reported as a class.
    around = np.random.default_rng(1).standard_normal((40, 2))
    spiked = pd.DataFrame(np.vstack([around, np.full((30, 2), 50.0)]), columns=["a", "b"])
    with pytest.warns(BoundaryWarning, match="next to no variance"):
        fit = loyalty.fit_classes(spiked, 2, starts=1)
    assert fit.boundary and fit.summary()["std_error"].isna().all()


def test_agreement_beside_scikit_learn(true_type, classes):
    from sklearn.metrics import adjusted_rand_score, cohen_kappa_score

    found = loyalty.agreement(true_type, classes.modal)
    a, b = true_type[classes.modal.index].astype(str), classes.modal.astype(str)
    row = found.summary()["estimate"]
    assert row["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert row["adjusted_rand"] == pytest.approx(adjusted_rand_score(a, b))
    assert found.table.to_numpy().sum() == len(a) == found.nobs
    same = loyalty.agreement(a, a).summary()["estimate"]
    assert same.tolist() == [1, 1, 1]
    # The large-sample error of kappa (Fleiss, Cohen and Everitt 1969).
    p = found.table.to_numpy() / len(a)
    rows, columns, kappa = p.sum(axis=1), p.sum(axis=0), row["kappa"]
    chance = rows @ columns
    within = (np.diag(p) * (1 - (rows + columns) * (1 - kappa)) ** 2).sum()
    off = (p * (columns[:, None] + rows[None, :]) ** 2).sum() - (np.diag(p) * (rows + columns) ** 2).sum()
    variance = (within + (1 - kappa) ** 2 * off - (kappa - chance * (1 - kappa)) ** 2) / (len(a) * (1 - chance) ** 2)
    assert found.summary().loc["kappa", "std_error"] == pytest.approx(np.sqrt(variance), rel=0.1)


def test_bch_weights_are_stepmixs_and_undo_the_mixing(panel, classes, true_type):
    from stepmix.corrections import compute_bch_matrix

    weights = loyalty.bch_weights(classes)
    d, inverse = compute_bch_matrix(classes.posterior.to_numpy(), "modal")
    modal = np.eye(6)[classes.posterior.to_numpy().argmax(axis=1)]
    assert weights.to_numpy() == pytest.approx(modal @ inverse) and weights.attrs["classification"] == pytest.approx(d)
    assert weights.sum(axis=1).to_numpy() == pytest.approx(1)
    assert weights.sum().to_numpy() == pytest.approx(classes.posterior.sum().to_numpy())
    # A number that depends on the type alone: corrected means are nearer to the truth than those of assigned classes.
    value = pd.Series(np.arange(6.0) ** 2, TRUTH["types"])[true_type].to_numpy()
    labels = list(classes.labels)
    target = pd.Series(np.arange(6.0) ** 2, TRUTH["types"])[labels].to_numpy()
    corrected = weights.to_numpy().T @ value / weights.sum().to_numpy()
    naive = modal.T @ value / modal.sum(axis=0)
    assert np.abs(corrected - target).mean() < 0.5 * np.abs(naive - target).mean()
    soft = loyalty.bch_weights(classes, assignment="proportional")
    assert soft.sum().to_numpy() == pytest.approx(classes.posterior.sum().to_numpy())


def test_bch_refuses_what_has_no_inverse():
    with pytest.raises(ValueError, match="cannot be told apart"):
        loyalty.bch_weights(pd.DataFrame({"A": [0.5, 0.5], "B": [0.5, 0.5]}), assignment="proportional")
    with pytest.raises(ValueError, match="nobody is assigned to B"):
        loyalty.bch_weights(pd.DataFrame({"A": [0.9, 0.8], "B": [0.1, 0.2]}))
    with pytest.raises(ValueError, match="sum to 1"):
        loyalty.bch_weights(pd.DataFrame({"A": [0.9, 0.8], "B": [0.9, 0.2]}))


def test_membership_beside_the_truth_and_stepmix(panel, classes):
    people = panel.customers.set_index("customer_id")
    fit = loyalty.fit_membership(classes, "area", people, base="trust")
    # What the regression would say if the types were known: the corrected effects lie around it by their errors, or less.
    known = np.log(pd.crosstab(people["area"], people["type"]))
    for kind in TRUTH["types"]:
        if kind != "trust":
            odds = known[kind] - known["trust"]
            row = fit.summary().loc[f"{kind}: area[T.city]"]
            assert abs(row["estimate"] - (odds["city"] - odds["country"])) < 1.5 * row["std_error"]
    assert fit.converged
    statistic, df, p = fit.test("area[T.city]")
    assert df == 5 and p == pytest.approx(stats.chi2.sf(statistic, 5)) and p < 1e-6
    # The same likelihood as StepMix maximises: no covariates gives the classes' own shares.
    alone = loyalty.fit_membership(classes, "1", people, base="trust")
    odds = np.append(0, alone.params.to_numpy())
    order = ["trust", *(label for label in classes.labels if label != "trust")]
    assert special.softmax(odds) == pytest.approx(classes.shares[order].to_numpy(), abs=1e-4)
    # Regressing the assigned class makes the effect too small.
    assigned = pd.crosstab(people["area"].reindex(classes.modal.index), classes.modal)
    naive = np.log(assigned.loc["city", "monopoly"] / assigned.loc["city", "trust"]) - np.log(
        assigned.loc["country", "monopoly"] / assigned.loc["country", "trust"]
    )
    assert abs(naive) < abs(fit.params["monopoly: area[T.city]"])
    with pytest.raises(ValueError, match="1500 are missing"):
        loyalty.fit_membership(classes, "area", panel.customers)
    with pytest.raises(ValueError, match="no column is named 'zone'"):
        loyalty.fit_membership(classes, "zone", people)
    with pytest.raises(ValueError, match="depends on all rows; make a column of it first"):
        loyalty.fit_membership(classes, "scale(age)", people)


def test_membership_is_stepmixs_three_step_estimate(rng):
    from stepmix import StepMix

    z = rng.standard_normal(1000)
    kind = rng.uniform(size=1000) < 1 / (1 + np.exp(-(0.3 + 0.8 * z)))
    scores = pd.DataFrame(rng.standard_normal((1000, 3)) + 1.6 * kind[:, None], columns=list("abc"))
    classes = loyalty.fit_classes(scores, 2, starts=1)
    base = classes.profiles["a"].idxmin()
    ours = loyalty.fit_membership(classes, "z", pd.DataFrame({"z": z}), base=base).params
    peer = StepMix(
        2,
        measurement="gaussian_diag",
        structural="covariate",
        n_steps=3,
        correction="ML",
        init_params="kmeans",
        abs_tol=1e-10,
        max_iter=3000,
        random_state=0,
        progress_bar=0,
        structural_params={"method": "newton-raphson", "max_iter": 20, "intercept": True},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = peer.fit(scores.to_numpy(), z[:, None]).get_parameters()
    low, high = np.argsort(found["measurement"]["means"][:, 0])
    beta = found["structural"]["beta"]
    assert ours.to_numpy() == pytest.approx(beta[high] - beta[low], abs=1e-3)


@pytest.fixture(scope="module")
def two():
    """Two classes of 600 customers, an income that goes with them, and a group of 30 who are all surely of the second."""
    rng = np.random.default_rng(6)
    income = rng.normal(30, 8, 600)
    second = rng.uniform(size=600) < special.expit((income - 30) / 10)
    scores = pd.DataFrame(rng.normal(1.6 * second[:, None], 1, (600, 4)), columns=list("abcd"))
    classes = loyalty.fit_classes(scores, 2, starts=2)
    people = pd.DataFrame({"income": income, "region": rng.choice(list("nsw"), 600), "vip": 0})
    people.loc[classes.posterior[classes.profiles["a"].idxmax()].nlargest(30).index, "vip"] = 1
    return classes, people


@pytest.mark.parametrize("unit", [1e-4, 1e4, 1e7])
def test_the_unit_of_a_covariate_or_an_item_changes_nothing_else(two, unit):
    classes, people = two
    fit = loyalty.fit_membership(classes, "income + region", people)
    other = loyalty.fit_membership(classes, "income + region", people.assign(income=unit * people["income"]))
    back = np.where(fit.params.index.str.endswith("income"), unit, 1)
    assert fit.converged and other.converged and other.loglik == pytest.approx(fit.loglik, abs=1e-8)
    table, again = fit.summary(), other.summary()
    assert again["estimate"].to_numpy() * back == pytest.approx(table["estimate"].to_numpy(), rel=1e-6)
    assert again["std_error"].to_numpy() * back == pytest.approx(table["std_error"].to_numpy(), rel=1e-6)
    scores = classes._scores
    other = loyalty.fit_classes(scores * unit + 7 * unit, 2, starts=2)
    assert other.loglik == pytest.approx(classes.loglik - 4 * 600 * np.log(unit), abs=1e-6)
    assert other.entropy == pytest.approx(classes.entropy, abs=1e-6) and other.boundary is None
    power = other.params.index.str.startswith("mean") + 2 * other.params.index.str.startswith("variance")
    shift = np.where(power == 1, 7 * unit, 0)
    assert ((other.params - shift) / unit**power).to_numpy() == pytest.approx(classes.params.to_numpy(), abs=1e-5)
    errors = other.summary()["std_error"] / unit**power
    assert errors.to_numpy() == pytest.approx(classes.summary()["std_error"].to_numpy(), rel=1e-4)
    moved = other.predict(scores * unit + 7 * unit)
    assert moved.to_numpy() == pytest.approx(classes.posterior.to_numpy(), abs=1e-5)


def test_errors_of_membership_are_those_of_a_likelihood_written_out(two):
    """Outer product and Hessian of the third step, by differences of its log-likelihood."""
    classes, people = two
    fit = loyalty.fit_membership(classes, "income", people)
    seen = loyalty.bch_weights(classes).attrs["classification"][:, classes.posterior.to_numpy().argmax(axis=1)].T
    z = np.column_stack([np.ones(600), people["income"]])

    def logs(b):
        share = special.expit(z @ b)
        return np.log((1 - share) * seen[:, 0] + share * seen[:, 1])

    b, steps = fit.params.to_numpy(), np.diag([1e-4, 1e-5])
    scores = np.column_stack([(logs(b + h) - logs(b - h)) / (2 * h.sum()) for h in steps])
    mixed = lambda g, h: sum(s * t * logs(b + s * g + t * h).sum() for s in (1, -1) for t in (1, -1))  # noqa: E731
    bread = np.linalg.inv([[-mixed(g, h) / (4 * g.sum() * h.sum()) for g in steps] for h in steps])
    errors = np.sqrt(np.diag(bread @ (scores.T @ scores) @ bread))
    assert scores.sum(axis=0) == pytest.approx(0, abs=1e-3) and fit.loglik == pytest.approx(logs(b).sum())
    assert fit.summary()["std_error"].to_numpy() == pytest.approx(errors, rel=1e-3)


@pytest.mark.parametrize("unit", [1, 1000])
def test_an_effect_without_end_is_named_in_any_unit(two, unit):
    classes, people = two
    with pytest.warns(BoundaryWarning, match="membership: off to infinity: 'class 2: vip'. Some value"):
        fit = loyalty.fit_membership(classes, "income + vip", people.assign(vip=unit * people["vip"]))
    assert fit.boundary and fit.summary()["std_error"].isna().all()
    with pytest.raises(ValueError, match="nothing can be tested"):
        fit.test("vip")


def test_terms_of_a_membership_and_what_is_wrong_with_covariates(two):
    classes, people = two
    # A category that nobody has is no column, as after filtering.
    people["region"] = pd.Categorical(people["region"], categories=list("enswx"))
    fit = loyalty.fit_membership(classes, "income + region", people)
    names = ["class 2: region[T.s]", "class 2: region[T.w]"]
    value, cov = fit.params[names].to_numpy(), fit.cov.loc[names, names].to_numpy()
    statistic, df, _ = fit.test("region")
    assert df == 2 and statistic == pytest.approx(value @ np.linalg.inv(cov) @ value)
    assert fit.test("region[T.s]")[1] == 1 and fit.terms["region"] == ("region[T.s]", "region[T.w]")
    with pytest.raises(ValueError, match="term= is one of .*'region'.*; got 'zone'"):
        fit.test("zone")
    endless = people.assign(income=people["income"].where(people.index != 3, np.inf))
    with pytest.raises(ValueError, match=r"'income' is infinite for 1 of 600 customers \(3\)"):
        loyalty.fit_membership(classes, "income", endless)
    with pytest.raises(ValueError, match=r"'np.log\(vip\)' that are missing or infinite"), np.errstate(divide="ignore"):
        loyalty.fit_membership(classes, "np.log(vip)", people)
    with pytest.raises(ValueError, match="'region' is n for all 600 customers"):
        loyalty.fit_membership(classes, "region", people.assign(region=people["region"].cat.categories[1]))
    with pytest.raises(ValueError, match="repeat each other"):
        loyalty.fit_membership(classes, "income + I(2 * income)", people)
    with pytest.raises(ValueError, match="one class, in which all customers are"):
        loyalty.fit_membership(loyalty.fit_classes(classes._scores, 1, starts=1), "income", people)


def test_scores_that_cannot_be_placed_are_refused(two):
    classes, _ = two
    scores = classes._scores.copy()
    scores.loc[5, "b"] = np.nan
    with pytest.raises(ValueError, match=r"'b': 1 of 600 customers have no score \(5\)"):
        classes.predict(scores)
    numbered = classes._scores.set_axis(range(4), axis=1)
    assert loyalty.fit_classes(numbered, 2, starts=1).plot().get_xticklabels()[3].get_text() == "3"


def test_classes_that_are_there_come_out_again(classes):
    found = classes.stability(draws=4, starts=1, seed=1)
    assert found.loc["monopoly", "jaccard"] > 0.8 and 0.6 < found.attrs["adjusted_rand"] <= 1
    assert (found["lower"] <= found["jaccard"]).all()


@pytest.mark.parametrize(
    ("scores", "classes", "kind", "message"),
    [
        (pd.DataFrame({"a": [1.0, 1, 1], "b": [1.0, 2, 3]}), 2, "continuous", "'a' is 1 for all 3 customers"),
        (pd.DataFrame({"a": [1.0, 2, np.nan]}), 2, "continuous", "1 of 3 customers have no score"),
        (pd.DataFrame({"a": [1.0, 2, 3]}), 3, "continuous", "3 classes take more customers"),
        (pd.DataFrame({"a": [0, 1, 2]}), 2, "binary", "answers other than 0 and 1"),
        (pd.DataFrame({"a": [0, 1, 2]}), 0, "continuous", "classes= is a whole number"),
        (pd.DataFrame({"a": [0, 1, 2]}), 2, "ordinal", "kind= is one of"),
    ],
)
def test_what_has_no_classes_is_said(scores, classes, kind, message):
    with pytest.raises(ValueError, match=message):
        loyalty.fit_classes(scores, classes, kind=kind)


def test_figures_have_labels_and_units(panel, scales, classes):
    wallet = loyalty.share_of_wallet(panel.purchases, supplier="ours")
    cells = loyalty.dick_basu(
        scales.scores["attitude"], wallet.customers["share"].reindex(scales.scores.index).fillna(0), 4.25, 0.5
    )
    rules = loyalty.typology(scales.scores)
    both = loyalty.agreement(rules.customers["type"], classes.modal)
    sequences = loyalty.sequence_measures(panel.purchases)
    for drawn in (wallet, cells, rules, both, sequences, scales, classes):
        ax = drawn.plot()
        assert ax.get_xlabel() and ax.get_ylabel()
    assert len(classes.plot().lines) == 6


def test_the_generator_keeps_its_promises(panel):
    again = simulate.loyalty_panel(1500, seed=20261122)
    pd.testing.assert_frame_equal(again.purchases, panel.purchases)
    for area, expected in TRUTH["shares"].items():
        rows = panel.customers[panel.customers["area"] == area]
        found = rows["type"].value_counts()[list(TRUTH["types"])].to_numpy()
        assert stats.chisquare(found, np.array(expected) * len(rows)).pvalue > 0.001
    means = panel.answers.drop(columns="customer_id").groupby(panel.customers["type"], observed=True).mean()
    assert means.loc["trust", "trust_1"] == pytest.approx(6.0, abs=0.25)
    with pytest.raises(ValueError, match="customers= is a whole number"):
        simulate.loyalty_panel(0)
    with pytest.raises(ValueError, match="weeks= are 2 or more"):
        simulate.loyalty_panel(5, weeks=1)


def test_what_is_wrong_with_a_table_is_named(panel, scales, classes):
    answers, items = panel.answers, panel.items()
    with pytest.raises(ValueError, match=r"reverse= names items of the scales .*; got 'customer_id'"):
        loyalty.attitude_scales(answers, items, reverse=["customer_id"])
    with pytest.raises(ValueError, match="item 'trust_1' stands twice"):
        loyalty.attitude_scales(answers, items | {"faith": ["trust_1", "trust_2"]})
    with pytest.raises(ValueError, match="scale 'faith' has no items"):
        loyalty.attitude_scales(answers, items | {"faith": []})
    scores = scales.scores.copy()
    scores.iloc[4, 0] = np.inf
    with pytest.raises(ValueError, match=f"column '{scores.columns[0]}': 1 of .* infinite score .{scores.index[4]}"):
        loyalty.fit_classes(scores, 2)
    twice = pd.concat([scales.scores, scales.scores[:1]])
    again = r": 1 rows repeat a customer \(.+\)\. Fix: one row a customer"
    with pytest.raises(ValueError, match="attitude=" + again):
        loyalty.dick_basu(twice["attitude"], twice["trust"], 4, 4)
    with pytest.raises(ValueError, match="first grouping" + again):
        loyalty.agreement(twice["trust"] > 4, classes.modal)
    people = panel.customers.set_index("customer_id")
    with pytest.raises(ValueError, match="data=" + again):
        loyalty.fit_membership(classes, "area", pd.concat([people, people[:1]]))
