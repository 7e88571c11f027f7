"""Hazards with covariates and the money of phases: against R and statsmodels, against known truth, on bad input."""

from contextlib import nullcontext

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, linalg

from crmlab import datasets, lifecycle, simulate
from crmlab.lifecycle.cox import efron_nodes
from crmlab.lifecycle.paths import moves_of, scaled
from crmlab.likelihood import BoundaryWarning

FORMULA = "channel + grade + service"
PROFILE = {"channel": "shop", "grade": "gold", "service": 4}
TERMS = ["channel[T.shop]", "channel[T.web]", "grade[T.ordinary]", "service"]
MOVES = [("exploration", "build-up"), ("exploration", "decline"), ("stability", "build-up"), ("decline", "build-up")]
PHASES = simulate.LIFECYCLE["phases"]
READ = """
suppressMessages(library(survival))
d <- read.csv("{path}", na.strings = "")
d$channel <- factor(d$channel, c("referral", "shop", "web")); d$grade <- factor(d$grade, c("gold", "ordinary"))
how <- coxph.control(eps = 1e-14, iter.max = 50)
"""


def stays(customers=500, seed=3, **kwargs):
    return simulate.lifecycle(customers, **{"observed_from": 6, "frailty": 0.3, "seed": seed} | kwargs)


def periods(data):
    """A row a period in which a customer was in a phase, as the textbooks have it."""
    rows = data.loc[data.index.repeat((data["exit"] - data["entry"]).astype(int))].copy()
    rows["period"] = rows["entry"] + 1 + rows.groupby(level=0).cumcount()
    moved = (rows["period"] == rows["exit"]) & rows["next_phase"].notna()
    return rows.assign(to=np.where(moved, rows["next_phase"].astype(object), "stay"))


# --- against other implementations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("monthly", [False, True], ids=["any time", "months"])
def test_each_transition_is_that_of_coxph(r, tmp_path, ties, monthly):
    data = stays(ties=monthly)
    assert (data.groupby("customer_id")["entry"].min() > 0).any()  # delayed entry
    data.to_csv(tmp_path / "d.csv", index=False)
    out = r(
        READ.format(path=tmp_path / "d.csv")
        + f"""
    for (m in list({", ".join(f'c("{a}", "{b}")' for a, b in MOVES)})) {{
      e <- d[d$phase == m[1], ]; e$moved <- !is.na(e$next_phase) & e$next_phase == m[2]
      f <- coxph(Surv(entry, exit, moved) ~ {FORMULA}, data = e, ties = "{ties}", control = how)
      g <- coxph(Surv(entry, exit, moved) ~ {FORMULA} + cluster(customer_id), data = e, ties = "{ties}", control = how)
      h <- summary(survfit(f, newdata = data.frame(channel = "shop", grade = "gold", service = 4)), times = c(12, 30))
      cat(coef(f), "\\n"); cat(sqrt(diag(vcov(f))), "\\n"); cat(sqrt(diag(vcov(g))), "\\n"); cat(f$loglik[2], "\\n")
      cat(cox.zph(f, transform = "identity", terms = FALSE)$table[1:4, 1], "\\n")
      cat(h$cumhaz, "\\n"); cat(h$std.chaz, "\\n")
    }}"""
    )
    fit = lifecycle.fit_hazards(data, FORMULA, ties=ties)
    clustered = lifecycle.fit_hazards(data, FORMULA, ties=ties, errors="clustered")
    assert fit.converged and fit.boundary is None
    test = fit.proportionality("identity")
    gathered = fit.cumulative_hazard([12, 30], PROFILE)
    for number, (origin, target) in enumerate(MOVES):
        theirs = out[7 * number : 7 * number + 7]
        name = f"{origin} -> {target}"
        ours = fit.summary().xs(name, level="transition")
        assert list(ours.index) == TERMS
        np.testing.assert_allclose(ours["estimate"], theirs[0], rtol=0, atol=1e-7)
        np.testing.assert_allclose(ours["std_error"], theirs[1], rtol=0, atol=1e-7)
        robust = clustered.summary().xs(name, level="transition")
        np.testing.assert_allclose(robust["std_error"], theirs[2], rtol=0, atol=1e-7)
        np.testing.assert_allclose(test.xs(name, level="transition")["statistic"], theirs[4], rtol=1e-6)
        hazard = gathered.xs((origin, target), level=("from", "to"))
        np.testing.assert_allclose(hazard["estimate"], theirs[5], rtol=0, atol=1e-7)
        np.testing.assert_allclose(hazard["std_error"], theirs[6], rtol=0, atol=1e-7)


def test_occupancy_of_a_profile_is_that_of_the_multistate_coxph(r, tmp_path):
    data = stays(400)
    data.to_csv(tmp_path / "d.csv", index=False)
    out = r(
        READ.format(path=tmp_path / "d.csv")
        + """
    states <- c("exploration", "build-up", "stability", "decline")
    d$event <- factor(ifelse(is.na(d$next_phase), "cens", d$next_phase), c("cens", states)); d$now <- factor(d$phase, states)
    f <- coxph(Surv(entry, exit, event) ~ channel + grade + service, data = d, id = customer_id, istate = now, control = how)
    s <- survfit(f, newdata = data.frame(channel = "shop", grade = "gold", service = 4), p0 = c(1, 0, 0, 0))
    at <- findInterval(c(6, 12, 30), s$time); p <- array(s$pstate, c(length(s$time), 4)); cat(match(s$states, states), "\\n"); cat(t(p[at, ]), "\\n")"""
    )
    fit = lifecycle.fit_hazards(data, FORMULA)
    ours = fit.occupancy([6, 12, 30], PROFILE, start="exploration")["estimate"].unstack("phase")
    order = [PHASES[int(place) - 1] for place in out[0]]
    np.testing.assert_allclose(ours[order], out[1].reshape(3, 4), rtol=0, atol=1e-7)


def test_shared_effects_and_covariates_that_change_are_those_of_a_stratified_coxph(r, tmp_path):
    data = stays(300, ties=True)
    # Service changes in the middle of longer stays: a stay becomes two rows.
    middle = np.floor((data["entry"] + data["exit"]) / 2)
    split = (middle > data["entry"]) & (middle < data["exit"])
    first = data[split].assign(exit=middle[split], next_phase=data["next_phase"].where(pd.Series(False, data.index)))
    second = data.assign(
        entry=np.where(split, middle, data["entry"]), service=np.where(split, 6 - data["service"], data["service"])
    )
    data = pd.concat([first, second]).sort_values(["customer_id", "entry"], ignore_index=True)
    moves = data.dropna(subset="next_phase")[["phase", "next_phase"]].drop_duplicates()
    long = pd.concat(
        data[data["phase"] == a].assign(move=f"{a}>{b}", moved=lambda d, b=b: (d["next_phase"] == b).astype(int))
        for a, b in moves.itertuples(index=False)
    )
    long.to_csv(tmp_path / "d.csv", index=False)
    out = r(
        READ.format(path=tmp_path / "d.csv")
        + """
    f <- coxph(Surv(entry, exit, moved) ~ grade + service + strata(move) + cluster(customer_id), data = d, control = how)
    cat(coef(f), "\\n"); cat(sqrt(diag(f$naive.var)), "\\n"); cat(sqrt(diag(vcov(f))), "\\n"); cat(f$loglik[2], "\\n")
    g <- coxph(Surv(entry, exit, moved) ~ grade:strata(move) + service + strata(move), data = d, control = how)
    cat(coef(g)["service"], "\\n"); cat(sqrt(vcov(g)["service", "service"]), "\\n")"""
    )
    fit = lifecycle.fit_hazards(data, "grade + service", shared="all")
    clustered = lifecycle.fit_hazards(data, "grade + service", shared="all", errors="clustered")
    assert fit.params.index.tolist() == [("all", "grade[T.ordinary]"), ("all", "service")]
    np.testing.assert_allclose(fit.params, out[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(fit.summary()["std_error"], out[1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(clustered.summary()["std_error"], out[2], rtol=0, atol=1e-7)
    some = lifecycle.fit_hazards(data, "grade + service", shared=["service"]).summary().loc[("all", "service")]
    np.testing.assert_allclose(some[["estimate", "std_error"]], [out[4].item(), out[5].item()], rtol=0, atol=1e-7)


def test_the_reset_clock_is_that_of_coxph(r, tmp_path):
    data = stays(300, observed_from=0)
    # A piece in the middle changes nothing: time since the phase was entered goes on.
    middle = (data["entry"] + data["exit"]) / 2
    pieces = pd.concat(
        [
            data.assign(exit=middle, next_phase=data["next_phase"].where(pd.Series(False, data.index))),
            data.assign(entry=middle),
        ]
    ).sort_values(["customer_id", "entry"])
    data.to_csv(tmp_path / "d.csv", index=False)
    out = r(
        READ.format(path=tmp_path / "d.csv")
        + """
    e <- d[d$phase == "decline", ]
    f <- coxph(Surv(exit - entry, !is.na(next_phase)) ~ channel + grade + service, data = e, control = how)
    cat(coef(f), "\\n"); cat(sqrt(diag(vcov(f))), "\\n")"""
    )
    for table in (data, pieces):
        ours = (
            lifecycle.fit_hazards(table, FORMULA, clock="reset").summary().xs("decline -> build-up", level="transition")
        )
        np.testing.assert_allclose(ours["estimate"], out[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours["std_error"], out[1], rtol=0, atol=1e-6)


def test_periods_with_one_exit_are_a_binomial_model_with_complementary_log_log():
    data = stays(800, ties=True)
    rows = periods(data[data["phase"] == "decline"])
    rows = rows[rows["period"].isin(rows["period"][rows["to"] != "stay"])]
    y = (rows["to"] != "stay").to_numpy(float)
    x = np.column_stack([pd.get_dummies(rows["period"]), *_dummies(rows)]).astype(float)
    model = sm.GLM(y, x, family=sm.families.Binomial(sm.families.links.CLogLog()))
    theirs = model.fit(tol=1e-13, maxiter=100)
    inverse = linalg.inv(-model.hessian(theirs.params, observed=True))
    scores = pd.DataFrame(model.score_obs(theirs.params)).groupby(rows["customer_id"].to_numpy()).sum().to_numpy()
    robust = inverse @ scores.T @ scores @ inverse
    for errors, cov in (("model", inverse), ("clustered", robust)):
        fit = lifecycle.fit_hazards(data, FORMULA, model="grouped", errors=errors)
        ours = fit.summary().xs("decline -> build-up", level="transition")
        np.testing.assert_allclose(ours["estimate"], theirs.params[-4:], rtol=0, atol=1e-7)
        np.testing.assert_allclose(ours["std_error"], np.sqrt(np.diag(cov))[-4:], rtol=0, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Maximum Likelihood optimization failed")  # the likelihood is flat at its top
def test_periods_with_several_exits_are_a_multinomial_model():
    data = stays(800, ties=True)
    rows = periods(data[data["phase"] == "exploration"])
    both = rows.groupby("period")["to"].agg(lambda to: {"build-up", "decline"} <= set(to))
    # Periods without one of the exits have constants at minus infinity, which a generic optimiser cannot reach.
    last = int(both.index[~both].min()) - 1
    data = data.assign(next_phase=data["next_phase"].where(data["exit"] <= last), exit=data["exit"].clip(upper=last))
    data = data[data["exit"] > data["entry"]]
    rows = rows[rows["period"] <= last]
    code = rows["to"].map({"stay": 0, "build-up": 1, "decline": 2}).to_numpy()
    x = np.column_stack([pd.get_dummies(rows["period"]), *_dummies(rows)]).astype(float)
    theirs = sm.MNLogit(code, x).fit(method="newton", maxiter=50, disp=0, tol=1e-14)
    inverse = linalg.inv(-theirs.model.hessian(theirs.params))
    scores = (
        pd.DataFrame(theirs.model.score_obs(theirs.params)).groupby(rows["customer_id"].to_numpy()).sum().to_numpy()
    )
    robust = inverse @ scores.T @ scores @ inverse
    for errors, cov in (("model", inverse), ("clustered", robust)):
        fit = lifecycle.fit_hazards(data, FORMULA, model="grouped", errors=errors)
        error = np.sqrt(np.diag(cov)).reshape(2, -1)
        for exit, target in enumerate(("build-up", "decline")):
            ours = fit.summary().xs(f"exploration -> {target}", level="transition")
            np.testing.assert_allclose(ours["estimate"], theirs.params[-4:, exit], rtol=0, atol=1e-7)
            np.testing.assert_allclose(ours["std_error"], error[exit, -4:], rtol=0, atol=1e-7)
    # The fitted probabilities of a profile are those of the multinomial model too.
    at = np.zeros(x.shape[1])
    at[[0, -4, -1]] = 1, 1, 4
    path = fit.occupancy([1], PROFILE)["estimate"].loc[1]
    np.testing.assert_allclose(path[["exploration", "build-up", "decline"]], theirs.predict(at)[0], atol=1e-9)


def _dummies(rows):
    return [rows["channel"] == "shop", rows["channel"] == "web", rows["grade"] == "ordinary", rows["service"]]


@pytest.mark.parametrize("errors", ["greenwood", "jackknife"])
def test_without_covariates_it_is_the_aalen_johansen_estimate(errors):
    data = stays(400, ties=True)
    plain = lifecycle.fit_multistate(data, errors=errors)
    fit = lifecycle.fit_hazards(data, "1", model="grouped", errors="model" if errors == "greenwood" else "clustered")
    ours, theirs = (
        fit.occupancy([6, 30], start="exploration"),
        plain.occupancy([6, 30], start="exploration", level=0.95),
    )
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, check_index_type=False)
    reach = fit.ever_reach("stability", [12, 36]), plain.ever_reach("stability", [12, 36], start="exploration")
    pd.testing.assert_frame_equal(*reach, rtol=1e-9, check_index_type=False)
    time = fit.expected_time(36), plain.expected_time(36, start="exploration")
    pd.testing.assert_frame_equal(*time, rtol=1e-9)
    # Cox's model spreads ties as Breslow does, and turns hazards into probabilities by the exponential.
    cox = lifecycle.fit_hazards(data, "1", ties="breslow")
    hazard = plain.cumulative_hazard([6, 30])
    pd.testing.assert_frame_equal(
        cox.cumulative_hazard([6, 30])[["estimate"]], hazard[["estimate"]], check_index_type=False
    )


@pytest.mark.filterwarnings("ignore:.*fewer than 5 an effect", "ignore:many tied moves")
@pytest.mark.parametrize(("model", "ties"), [("cox", "breslow"), ("grouped", "efron")])
def test_clustered_errors_are_what_each_customer_would_change(model, ties):
    data = simulate.lifecycle(30, observed_from=6, ties=True, effects={}, seed=5)
    data = data.assign(good=(data["service"] >= 4).astype(int))

    def asked(fit):
        apart = fit.difference("ever_reach", "stability", 20, between=({"good": 0}, {"good": 1}))
        tables = fit.occupancy([10.5, 20], {"good": 1}), fit.expected_time(30, {"good": 0}), apart, fit.summary()
        return pd.concat([table[["estimate", "std_error"]] for table in tables])

    said = asked(lifecycle.fit_hazards(data, "good", model=model, ties=ties, errors="clustered"))["std_error"]
    total, step = 0, 1e-4
    for customer in data["customer_id"].unique():
        change = []
        for by in (step, -step):
            often = data.assign(often=np.where(data["customer_id"] == customer, 1 + by, 1.0))
            change.append(asked(lifecycle.fit_hazards(often, "good", model, ties, weights="often"))["estimate"])
        total = total + ((change[0] - change[1]) / (2 * step)).to_numpy() ** 2
    np.testing.assert_allclose(said, np.sqrt(total), rtol=1e-4, atol=1e-6)
    assert (said > 0).sum() > 15


# --- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cox", "grouped"])
def test_counts_give_what_rows_give(model):
    data = stays(600, ties=True)
    columns = ["phase", "entry", "exit", "next_phase", "channel", "grade", "service"]
    counts = data.groupby(columns, dropna=False, observed=True).size().rename("customers").reset_index()
    assert len(counts) < len(data)
    rows, counted = (lifecycle.fit_hazards(table, FORMULA, model=model) for table in (data, counts))
    pd.testing.assert_frame_equal(rows.summary(), counted.summary(), rtol=1e-9)
    pd.testing.assert_frame_equal(rows.occupancy(20, PROFILE), counted.occupancy(20, PROFILE), rtol=1e-8)
    # Twice the customers: the same estimates (but for Efron's ties), and clustered errors smaller by the root of 2.
    twice = lifecycle.fit_hazards(data.assign(often=2), FORMULA, model, "breslow", errors="clustered", weights="often")
    once = lifecycle.fit_hazards(data, FORMULA, model, "breslow", errors="clustered")
    np.testing.assert_allclose(twice.params, once.params, atol=1e-8)
    np.testing.assert_allclose(2 * twice.cov, once.cov, rtol=1e-6, atol=1e-12)
    assert (twice.nobs, once.nobs) == (1200 * once.nobs / 600, data["customer_id"].nunique())


def test_a_covariate_that_never_repeats_gives_what_categories_give():
    data = stays(300, ties=True)
    noise = np.random.default_rng(1).normal(size=len(data))
    data["age"] = noise - noise.mean()
    one = lifecycle.fit_hazards(data, "age + service")
    # Sparse tables of times and kinds of customers: the same sums.
    import crmlab.lifecycle.cox as cox

    before, cox._DENSE = cox._DENSE, 0
    try:
        other = lifecycle.fit_hazards(data, "age + service", errors="clustered")
    finally:
        cox._DENSE = before
    np.testing.assert_allclose(one.params, other.params, rtol=1e-9)
    np.testing.assert_allclose(
        other.cov, lifecycle.fit_hazards(data, "age + service", errors="clustered").cov, rtol=1e-8, atol=1e-14
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60_000), st.floats(0, 1))
def test_the_quadrature_of_efrons_sum_is_the_sum(moves, share):
    c, w = efron_nodes(moves)
    every = np.arange(moves) / moves
    for function in (
        lambda c: np.log(1 - share * c),
        lambda c: 1 / (1 - share * c),
        lambda c: (c / (1 - share * c)) ** 2,
    ):
        assert w @ function(c) == pytest.approx(function(every).sum(), rel=1e-12, abs=1e-12)
    assert len(c) < 500


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-3, 1.5), min_size=1, max_size=3), st.floats(0.2, 5))
def test_derivatives_of_probabilities_by_hazards_and_factors(hazards, factor):
    hazards = np.array([hazards])
    p, jacobian = moves_of(hazards)
    assert 0 < p.sum() < 1
    factors = np.array([factor, *np.ones(hazards.shape[1] - 1)])
    changed, turn = scaled(p, factors)
    np.testing.assert_allclose(changed, moves_of(hazards * factors)[0], rtol=1e-9)
    for column in range(hazards.shape[1]):
        step = 1e-6 * hazards[0, column]
        up, down = hazards.copy(), hazards.copy()
        up[0, column] += step
        down[0, column] -= step
        slope = (moves_of(up)[0] - moves_of(down)[0])[0] / (2 * step)
        np.testing.assert_allclose(jacobian[0, :, column], slope, rtol=1e-5, atol=1e-7)
        slope = (moves_of(up * factors)[0] - moves_of(down * factors)[0])[0] / (2 * step)
        np.testing.assert_allclose((turn @ jacobian)[0, :, column], slope, rtol=1e-4, atol=1e-6)


def test_where_everybody_leaves_factors_weigh_the_ways_out():
    p, jacobian = scaled(np.array([[0.25, 0.75]]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(p, [[0.5, 0.5]])
    np.testing.assert_allclose(jacobian[0].sum(axis=0), 0, atol=1e-12)


# --- known truth ---------------------------------------------------------------------------------------------------


def _rates(profile, hazards=simulate.LIFECYCLE["hazards"]):
    rates = np.zeros((4, 4))
    for (origin, target), hazard in hazards.items():
        spec = simulate.LIFECYCLE["effects"].get((origin, target), {})
        score = spec.get("service", 0) * (profile["service"] - 3)
        score += sum(spec.get(name, {}).get(profile[name], 0) for name in ("channel", "grade"))
        rates[PHASES.index(origin), PHASES.index(target)] = hazard * np.exp(score)
    return rates - np.diag(rates.sum(axis=1))


def _times(profile, horizon, discount=0.0, hazards=simulate.LIFECYCLE["hazards"]):
    """Discounted time in each phase from the true rates."""
    rates = _rates(profile, hazards)
    found, _ = integrate.quad_vec(lambda u: (1 + discount) ** -u * linalg.expm(rates * u)[0], 0, horizon, epsabs=1e-9)
    return found


def _covers(hits, draws):
    """Whether a coverage of 95 % is within the Monte Carlo error of so many draws (four standard errors, and a point)."""
    return abs(hits / draws - 0.95) < 4 * np.sqrt(0.95 * 0.05 / draws) + 0.01


def test_effects_predictions_and_values_are_recovered_and_their_intervals_hold():
    draws, horizon = 100, 30
    other = PROFILE | {"grade": "ordinary", "channel": "web"}
    effects = simulate.LIFECYCLE["effects"]
    truth = {
        ("stability -> decline", "service"): effects["stability", "decline"]["service"],
        ("exploration -> build-up", "channel[T.web]"): -effects["exploration", "build-up"]["channel"]["referral"],
        ("build-up -> stability", "grade[T.ordinary]"): -effects["build-up", "stability"]["grade"]["gold"],
        ("stability -> build-up", "service"): 0.0,
    }
    share, theirs = (linalg.expm(_rates(profile) * 12)[0] for profile in (PROFILE, other))
    reach = _rates(PROFILE)
    reach[2] = 0
    reach = linalg.expm(reach * horizon)[0, 2]
    money = np.array([simulate.LIFECYCLE["margin"][phase] for phase in PHASES])
    factor = {("decline", "build-up"): 1.5}
    changed = {move: hazard * factor.get(move, 1) for move, hazard in simulate.LIFECYCLE["hazards"].items()}
    now, then = (_times(other, horizon, 0.01, hazards) for hazards in (simulate.LIFECYCLE["hazards"], changed))
    gain = money @ (then - now)
    wanted = {"value": money @ now, "gain": gain, "per": gain / then[3], "reach": reach}
    wanted |= {"difference": (theirs - share)[2], "time": _times(PROFILE, horizon)[2]}
    names = [*truth, *[("occupancy", phase) for phase in PHASES], *wanted, *[("rate", phase) for phase in PHASES]]
    hits, off = dict.fromkeys(names, 0), {name: [] for name in names}

    def note(name, row, true):
        hits[name] += row["lower"] <= true <= row["upper"]
        off[name].append(row["estimate"] - true)

    for seed in range(draws):
        data = simulate.lifecycle(500, observed_from=4, lost_sight=0.005, seed=seed)
        fit = lifecycle.fit_hazards(data, FORMULA, phases=PHASES)
        table = fit.summary()
        for name, true in truth.items():
            note(name, table.loc[name], true)
        found = fit.occupancy([12], PROFILE, start="exploration").droplevel("time")
        for number, phase in enumerate(PHASES):
            note(("occupancy", phase), found.loc[phase], share[number])
        between = {"between": (PROFILE, other), "start": "exploration"}
        note("difference", fit.difference("occupancy", [12], **between).loc[(12, "stability")], wanted["difference"])
        note("reach", fit.ever_reach("stability", horizon, PROFILE, "exploration").iloc[0], reach)
        note("time", fit.expected_time(horizon, PROFILE, "exploration").loc["stability"], wanted["time"])
        value = lifecycle.value_by_phase(data[data["grade"] == "ordinary"])
        for number, phase in enumerate(PHASES):
            note(("rate", phase), value.summary().loc[phase], money[number])
        asked = lifecycle.what_if(
            fit, ("decline", "build-up"), 1.5, value, horizon, other, "exploration", discount=0.01
        )
        for name, row in (("value", "value now"), ("gain", "gain"), ("per", "gain per time treated")):
            note(name, asked.loc[row], wanted[name])
    assert {name: hits[name] for name in names if not _covers(hits[name], draws)} == {}
    # Bias is a small part of the spread, and what chance leaves of it.
    bias = {name: np.mean(values) / np.std(values) for name, values in off.items()}
    assert {name: value for name, value in bias.items() if abs(value) > 0.2 + 3 / np.sqrt(draws)} == {}


def test_grouped_effects_and_predictions_are_recovered_and_their_intervals_hold():
    hazards = {("exploration", "build-up"): 0.15, ("build-up", "exploration"): 0.10}
    effects = {
        ("exploration", "build-up"): {"service": 0.3, "grade": {"gold": 0.5}},
        ("build-up", "exploration"): {"service": -0.2},
    }
    gold = {"grade": "gold", "service": 4}
    up, down = 1 - np.exp(-0.15 * np.exp(0.8)), 1 - np.exp(-0.10 * np.exp(-0.2))
    chain = np.array([[1 - up, up], [down, 1 - down]])
    share = np.linalg.matrix_power(chain, 10)[0, 1]
    draws, hits = 100, np.zeros(4)
    for seed in range(draws):
        data = simulate.lifecycle(400, hazards=hazards, effects=effects, ties=True, seed=seed)
        fit = lifecycle.fit_hazards(data, "grade + service", model="grouped")
        table = fit.summary()
        found = fit.occupancy([10], gold, "exploration").loc[(10, "build-up")]
        rows = [
            table.loc[("exploration -> build-up", "service")],
            table.loc[("exploration -> build-up", "grade[T.ordinary]")],
        ]
        rows += [table.loc[("build-up -> exploration", "service")], found]
        hits += [row["lower"] <= true <= row["upper"] for row, true in zip(rows, (0.3, -0.5, -0.2, share))]
    assert all(_covers(hit, draws) for hit in hits), hits


def test_clustered_errors_hold_where_customers_differ_and_those_of_the_model_do_not():
    # A frailty makes a customer who came back once come back again: its stays hang together.
    found, model, clustered = [], [], []
    hazards = {("exploration", "decline"): 0.5, ("decline", "exploration"): 0.5}
    for seed in range(60):
        data = simulate.lifecycle(100, months=30, joining=6, hazards=hazards, effects={}, frailty=0.7, seed=seed)
        data["good"] = (data["service"] >= 4).astype(float)
        fits = (lifecycle.fit_hazards(data, "good", errors=errors, shared="all") for errors in ("model", "clustered"))
        one, other = fits
        found.append(one.params.iloc[0])
        model.append(np.sqrt(one.cov.iloc[0, 0]))
        clustered.append(np.sqrt(other.cov.iloc[0, 0]))
    spread = np.std(found)
    assert np.mean(model) < 0.6 * spread
    assert np.mean(clustered) == pytest.approx(spread, rel=0.35)


def test_proportionality_is_rejected_as_often_as_it_should_be_and_where_it_fails():
    rejected = []
    for seed in range(100):
        data = simulate.lifecycle(250, observed_from=0, seed=seed)
        data = data[data["phase"] != "stability"]
        table = lifecycle.fit_hazards(data, "service", gaps="keep").proportionality()
        rejected.append(
            [table.loc[("decline -> build-up", "service"), "p_value"] < 0.05, table["p_value"].iloc[-1] < 0.05]
        )
    for rate in np.mean(rejected, axis=0):
        assert 0.005 < rate < 0.14
    # An effect that wears off: gold customers who are still there after ten months move like the others.
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 2, 3000)
    early, late = rng.exponential(1 / (0.05 * np.exp(1.2 * gold))), rng.exponential(1 / 0.05, 3000)
    leaves = np.where(early < 10, early, 10 + late)
    data = pd.DataFrame(
        {"customer_id": range(3000), "phase": "here", "entry": 0.0, "exit": np.minimum(leaves, 40), "gold": gold}
    )
    data["next_phase"] = np.where(leaves < 40, "gone", None)
    fit = lifecycle.fit_hazards(data, "gold")
    assert fit.proportionality().loc[("here -> gone", "gold"), "p_value"] < 1e-6
    over = fit.effect_over_time("here -> gone", "gold", spans=6)
    assert over["moves"].sum() == fit.moves.sum()
    assert over["estimate"].iloc[0] == pytest.approx(1.2, abs=0.3) and abs(over["estimate"].iloc[-1]) < 0.3
    ax = fit.plot_proportionality("here -> gone", "gold", unit="month")
    assert "p < 0.001" in ax.get_title() and ax.get_xlabel() == "time, months"


def test_the_shortcut_of_one_model_an_exit_is_shown_to_be_off():
    data = stays(1500, ties=True)
    table = lifecycle.fit_hazards(data, "service", model="grouped").shortcut()
    assert table.index.tolist() == [
        "exploration -> build-up", "exploration -> decline", "build-up -> stability", "build-up -> decline",
        "stability -> build-up", "stability -> decline",
    ]  # fmt: skip
    assert (table["largest_gap"].abs() > table["mean_gap"]).all() and (table["mean_gap"] > 0).all()
    # Nearly everybody leaves in each period: together the shortcuts make more than everybody.
    rng = np.random.default_rng(2)
    good = rng.integers(0, 2, 2000)
    to = np.where(rng.uniform(size=2000) < 0.15 + 0.75 * good, "a", "b")
    to = np.where(rng.uniform(size=2000) < 0.04, None, to)
    entry, exits = np.zeros(2000), np.ones(2000)
    rapid = pd.DataFrame(
        {"customer_id": range(2000), "phase": "x", "entry": entry, "exit": exits, "next_phase": to, "good": good}
    )
    rapid.loc[::2, ["entry", "exit"]] = [1.0, 2.0]
    fit = lifecycle.fit_hazards(rapid, "good", model="grouped")
    table = fit.shortcut()
    seen = [(to[good == value] == "a").mean() for value in (0, 1)]
    ours = [fit.occupancy([1], {"good": value}, start="x").loc[(1, "a"), "estimate"] for value in (0, 1)]
    np.testing.assert_allclose(ours, seen, atol=0.04)
    assert table["moves"].sum() == (pd.Series(to).notna()).sum()
    with pytest.raises(ValueError, match="every phase has one"):
        lifecycle.fit_hazards(data[data["phase"] == "decline"], "service", model="grouped", gaps="keep").shortcut()
    with pytest.raises(ValueError, match="model='grouped'"):
        lifecycle.fit_hazards(data, "service").shortcut()


# --- money ---------------------------------------------------------------------------------------------------------


def test_what_if_is_what_a_changed_world_brings():
    # The same customers in a world in which more come back: the money of thousands, against the forecast from the old world.
    hazards = dict(simulate.LIFECYCLE["hazards"])
    then = hazards | {("decline", "build-up"): 2 * hazards["decline", "build-up"]}
    worlds = [
        simulate.lifecycle(12_000, months=24, joining=1e-9, hazards=world, effects={}, seed=seed)
        for seed, world in enumerate((hazards, then))
    ]
    data = worlds[0][worlds[0]["grade"] == "ordinary"]
    fit = lifecycle.fit_multistate(data)
    value = lifecycle.value_by_phase(data)
    # A customer came a moment before month 0, so the window ends a moment before month 24.
    said = lifecycle.what_if(fit, "decline -> build-up", 2, value, 23.999, cost=1)
    brought = []
    for world in worlds:
        part = world[world["grade"] == "ordinary"].groupby("customer_id")["margin"].sum()
        brought.append((part.mean(), part.std() / np.sqrt(len(part))))
    (now, e0), (later, e1) = brought
    assert abs(said.loc["value now", "estimate"] - now) < 4 * e0
    assert abs(said.loc["value then", "estimate"] - later) < 4 * np.hypot(e1, said.loc["value then", "std_error"])
    assert later - now > 20 * said.loc["gain", "std_error"]
    gain, treated, per, net = (
        said.loc[name, "estimate"] for name in ("gain", "time treated", "gain per time treated", "net gain")
    )
    assert per == pytest.approx(gain / treated) and net == pytest.approx(gain - treated)


def test_both_kinds_of_fits_say_the_same_and_the_sum_is_of_its_parts():
    data = stays(400, ties=True)
    value = lifecycle.value_by_phase(data)
    for errors, other in (("greenwood", "model"), ("jackknife", "clustered")):
        plain = lifecycle.fit_multistate(data, errors=errors)
        fit = lifecycle.fit_hazards(data, "1", model="grouped", errors=other)
        for worth in (value, value.summary()["estimate"], dict.fromkeys(PHASES, 1.0)):
            a, b = (
                lifecycle.expected_value(one, worth, 30, start="exploration", discount=0.01) for one in (plain, fit)
            )
            pd.testing.assert_frame_equal(a, b, rtol=1e-8)
        assert a.loc["total", "estimate"] == pytest.approx(a["estimate"].iloc[:-1].sum())
        # A unit of money each unit of time brings the discounted horizon, whatever happens.
        assert a.loc["total", "estimate"] == pytest.approx((1 - 1.01**-30) / np.log(1.01))
        assert a.loc["total", "std_error"] == pytest.approx(0, abs=1e-9)
        for one in (plain, fit):
            table = lifecycle.what_if(one, ("stability", "decline"), 0.8, value, 30, start="exploration")
            ranked = lifecycle.rank_transitions(one, 1.25, value, 30, start="exploration")
            assert ranked.loc[("stability", "decline"), "factor"] == 0.8
            assert ranked.loc[("stability", "decline"), "gain"] == pytest.approx(table.loc["gain", "estimate"])
            assert (ranked["gain"] >= 0).all() and ranked["gain"].is_monotonic_decreasing
    undiscounted = lifecycle.expected_value(plain, dict.fromkeys(PHASES, 1.0), 30, start="exploration")
    time = plain.expected_time(30, start="exploration")
    np.testing.assert_allclose(
        undiscounted[["estimate", "std_error"]].iloc[:-1], time[["estimate", "std_error"]], rtol=1e-9
    )


def test_purchases_fall_into_the_stays_in_which_they_were_made(rng):
    log = simulate.shop(60, years=2, rate=5, seed=rng)
    for unit, days in (("day", 1), ("month", 365.25 / 12)):
        episodes = lifecycle.phase_episodes(log, unit=unit, rule=lifecycle.PhaseRule(silence_days=60))
        found = lifecycle.add_purchases(episodes, log)
        first = log.groupby("customer_id")["date"].min()
        for number in rng.choice(len(found), 60, replace=False):
            row = found.iloc[number]
            mine = log[log["customer_id"] == row["customer_id"]]
            since = (mine["date"] - first[row["customer_id"]]).dt.days / days
            inside = mine[(since > row["entry"] + 1e-9) & (since <= row["exit"] + 1e-9)]
            assert (len(inside), inside["amount"].sum()) == (row["purchases"], pytest.approx(row["money"]))
        assert found["purchases"].sum() + found.attrs["outside"] == len(log)
        assert found.attrs["outside"] >= log["customer_id"].nunique()
    value = lifecycle.value_by_phase(found, money="money")
    totals = value.totals()
    assert totals["share_of_money"].sum() == pytest.approx(1) and totals["money"].sum() == pytest.approx(
        found["money"].sum()
    )
    with pytest.raises(ValueError, match="unit= of the episodes"):
        lifecycle.add_purchases(pd.DataFrame(episodes).assign(), log, unit="fortnight")
    with pytest.raises(ValueError, match="no column 'spent'"):
        lifecycle.add_purchases(episodes, log, amount="spent")


def test_purchases_of_customers_older_than_the_log_are_dated_from_their_first_ever():
    log = datasets.load("cdnow_sample")
    log["joined"] = log.groupby("customer_id")["date"].transform("min")
    cut = log[log["date"] >= "1997-07-01"]
    episodes = lifecycle.phase_episodes(cut, unit="week", since="joined")
    found = lifecycle.add_purchases(episodes, cut)
    assert found.attrs["since"] == "joined"
    weeks = (cut["date"] - cut["joined"]).dt.days / 7
    pairs = cut.assign(week=weeks).reset_index().merge(found.reset_index(), on="customer_id", suffixes=("", "_of_stay"))
    inside = pairs[(pairs["week"] > pairs["entry"] + 1e-9) & (pairs["week"] <= pairs["exit"] + 1e-9)]
    expected = inside.groupby("index_of_stay")["amount"].sum().reindex(found.index, fill_value=0)
    np.testing.assert_allclose(found["money"], expected)
    assert found["purchases"].sum() == len(inside) == len(cut) - found.attrs["outside"] == 1024
    # Who lost the note may say it again; without either the times would run from the first purchase in the log.
    bare = episodes.copy()
    bare.attrs = {"unit": "week"}
    assert lifecycle.add_purchases(bare, cut, since="joined")["money"].equals(found["money"])
    with pytest.raises(ValueError, match="since='joined'.*which the log lacks"):
        lifecycle.add_purchases(episodes, cut.drop(columns="joined"))


def test_a_log_that_does_not_say_what_stays_brought_is_refused():
    log = simulate.shop(30, years=1, rate=5, seed=1)
    episodes = lifecycle.phase_episodes(log, unit="week")
    first = log.index == log.index[3]
    cases = {
        "column 'date' of the log: 1 of": lambda: lifecycle.add_purchases(episodes, log.assign(date=log["date"].mask(first))),
        "column 'amount' of the log: 1 of .*row 3: customer_id": lambda: lifecycle.add_purchases(
            episodes, log.assign(amount=log["amount"].mask(first))
        ),
        "column 'customer_id' of the log: 1 of": lambda: lifecycle.add_purchases(
            episodes, log.assign(customer_id=log["customer_id"].astype(object).mask(first))
        ),
        "the episodes have no rows": lambda: lifecycle.add_purchases(episodes[:0], log),
        "the episodes have no column 'entry'": lambda: lifecycle.add_purchases(episodes.drop(columns="entry"), log),
        "the log has no such customer": lambda: lifecycle.add_purchases(
            episodes, log.assign(customer_id="c" + log["customer_id"].astype(str))
        ),
    }  # fmt: skip
    for message, work in cases.items():
        with pytest.raises(ValueError, match=message):
            work()


def test_stays_whose_money_has_no_place_are_refused():
    data = stays(50)
    third = data.index == data.index[2]
    cases = {
        "column 'phase' of the episodes: 1 of .*row 2: customer_id": data.assign(phase=data["phase"].mask(third)),
        "column 'customer_id' of the episodes: 1 of": data.assign(customer_id=data["customer_id"].mask(third)),
        "column 'entry' of the episodes: 1 of": data.assign(entry=data["entry"].mask(third)),
        "column 'exit' of the episodes: 1 of": data.assign(exit=data["exit"].mask(third)),
        "ends after it began": data.assign(exit=data["exit"].mask(third, data["entry"] - 1)),
        "column 'grade': 1 of": data.assign(grade=data["grade"].mask(third)),
        "the episodes have no rows": data[:0],
    }
    for message, table in cases.items():
        with pytest.raises(ValueError, match=message):
            lifecycle.value_by_phase(table, groups="grade")
    # Of one customer nobody knows how customers differ.
    who = data["customer_id"].iloc[0]
    one = lifecycle.value_by_phase(data[data["customer_id"] == who]).summary()
    assert one["std_error"].isna().all() and one["estimate"].notna().any()
    rare = pd.DataFrame({"customer_id": [1, 2, 2], "phase": ["a", "a", "b"], "entry": [0.0, 0, 3], "exit": [5.0, 3, 4]})
    rare = rare.assign(next_phase=[None, "b", None], margin=[3.0, 1, 7])
    found = lifecycle.expected_value(lifecycle.fit_multistate(rare), lifecycle.value_by_phase(rare), 4)
    assert found["std_error"].notna().tolist() == [True, False, False]


def test_values_of_groups(rng):
    data = stays(500)
    both = lifecycle.value_by_phase(data, groups="grade")
    alone = lifecycle.value_by_phase(data[data["grade"] == "gold"])
    pd.testing.assert_frame_equal(both.of("gold").summary(), alone.summary())
    assert both.of("gold").nobs == data.loc[data["grade"] == "gold", "customer_id"].nunique() < both.nobs
    assert both.groups == ("gold", "ordinary") and set(both.summary().index.get_level_values("group")) == set(
        both.groups
    )
    fit = lifecycle.fit_hazards(data, "grade")
    with pytest.raises(ValueError, match=r"take one with value.of"):
        lifecycle.expected_value(fit, both, 24, {"grade": "gold"})
    with pytest.raises(ValueError, match="there is no group 'silver'"):
        both.of("silver")


@pytest.mark.parametrize("errors", ["model", "clustered"])
@pytest.mark.parametrize("model", ["cox", "grouped"])
@pytest.mark.parametrize("shared", [(), ["service"]], ids=["separate", "shared"])
def test_one_span_of_all_moves_gives_the_effect_and_its_error_again(model, errors, shared, rng):
    data = stays(400, ties=True)
    # Two columns that go together: what one of them explains is uncertain as long as the other is.
    data["twin"] = data["service"] + rng.integers(0, 2, len(data))
    fit = lifecycle.fit_hazards(data, "service + twin", model=model, errors=errors, shared=shared)
    for name in fit.params.index:
        one, whole = fit.effect_over_time(*name, spans=1).iloc[0], fit.summary().loc[name]
        columns = ["estimate", "std_error", "lower", "upper"]
        np.testing.assert_allclose(one[columns].astype(float), whole[columns], rtol=1e-6, atol=1e-9)
    assert len(fit.effect_over_time(*name, spans=4)) == 4
    with pytest.raises(ValueError, match="spans= is the number of spans"):
        fit.effect_over_time(*name, spans=0)


# --- bad input, and what is said of it -----------------------------------------------------------------------------


def _first_stays(seed=1):
    data = simulate.lifecycle(400, seed=seed)
    return data[~data.duplicated("customer_id")].copy()


@pytest.mark.parametrize("model", ["cox", "grouped"])
def test_separation_is_said_and_has_no_error(model):
    data = _first_stays()
    data["exit"] = np.ceil(data["exit"])
    data.loc[(data["next_phase"] == "build-up") & (data["channel"] == "shop"), "next_phase"] = None
    with pytest.warns(BoundaryWarning, match=r"separation: the effect of channel\[T.shop\] in exploration -> build-up"):
        fit = lifecycle.fit_hazards(data, "channel + service", model=model)
    table = fit.summary()
    assert table.loc[("exploration -> build-up", "channel[T.shop]"), "ratio"] < 1e-6
    assert table["std_error"].isna().tolist() == [True, False, False, False, False, False]
    profiles = pd.DataFrame({"channel": ["web", "shop"], "service": 3}, index=["web", "shop"])
    found = fit.occupancy([12], profiles)
    assert found.loc["web"].notna().all(axis=None) and found.loc["shop", ["std_error", "lower", "upper"]].isna().all(
        axis=None
    )
    assert found.loc[("shop", 12, "build-up"), "estimate"] < 1e-6
    # The effects that are there are those without the channel nobody moved in.
    if model == "cox":
        rest = lifecycle.fit_hazards(data[data["channel"] != "shop"], "channel + service")
        name = ("exploration -> build-up", "service")
        np.testing.assert_allclose(table.loc[name], rest.summary().loc[name], rtol=1e-6)
    # All channels but the one they are compared with.
    data = _first_stays()
    data.loc[(data["next_phase"] == "build-up") & (data["channel"] == "referral"), "next_phase"] = None
    with pytest.warns(BoundaryWarning, match=r"channel\[T.shop\] in exploration -> build-up; channel\[T.web\]"):
        fit = lifecycle.fit_hazards(data, "channel")
    found = fit.cumulative_hazard([12], pd.DataFrame({"channel": ["web", "referral"]}, index=["web", "referral"]))
    assert found.loc["web", "std_error"].notna().all() and found.loc["referral", "std_error"].isna().all()
    assert np.isfinite(fit.proportionality()["statistic"].iloc[-1])


def test_few_moves_are_said():
    data = _first_stays()
    data.loc[data.index[data["next_phase"] == "build-up"][3:], "next_phase"] = None
    with pytest.warns(UserWarning, match="exploration -> build-up: 3 moves for 1 effect, fewer than 5"):
        fit = lifecycle.fit_hazards(data, "service")
    assert fit.moves["exploration", "build-up"] == 3 and fit.summary().notna().all(axis=None)


def test_useless_terms_and_columns_are_refused_by_name():
    data = simulate.lifecycle(200, seed=1)
    cases = {
        "'twice' is a combination": lambda: lifecycle.fit_hazards(data.assign(twice=2 * data["service"]), "service + twice"),
        "'one' has the same value": lambda: lifecycle.fit_hazards(data.assign(one=1), "one"),
        "moves from 'stability': 'grade": lambda: lifecycle.fit_hazards(
            data[(data["phase"] != "stability") | (data["grade"] != "gold")], "grade", gaps="keep"
        ),
        "column 'channel': 1 of": lambda: lifecycle.fit_hazards(data.assign(channel=data["channel"].where(data.index != 5)), "channel"),
        "column 'chanel' of the formula": lambda: lifecycle.fit_hazards(data, "chanel"),
        "cannot be read": lambda: lifecycle.fit_hazards(data, "channel +* grade"),
        "write the columns alone": lambda: lifecycle.fit_hazards(data, "moved ~ channel"),
        "leaves the constant out": lambda: lifecycle.fit_hazards(data, "service - 1"),
        "which is no column of the formula": lambda: lifecycle.fit_hazards(data, "service", shared=["grade"]),
        "takes whole periods": lambda: lifecycle.fit_hazards(data, "service", model="grouped"),
        "length of a period": lambda: lifecycle.fit_hazards(data, "service", model="grouped", width=0),
        "errors='clustered' needs": lambda: lifecycle.fit_hazards(
            data.drop(columns="customer_id").assign(customers=1), "service", errors="clustered"
        ),
        "weights are whole numbers": lambda: lifecycle.fit_hazards(data.assign(w=0.5), "service", weights="w"),
        "model= is one of": lambda: lifecycle.fit_hazards(data, "service", model="weibull"),
        "no rows": lambda: lifecycle.fit_hazards(data[:0], "service"),
        "ever leaves a phase": lambda: lifecycle.fit_hazards(data.assign(next_phase=None)[:1], "service"),
    }  # fmt: skip
    for message, work in cases.items():
        with pytest.raises(ValueError, match=message):
            work()
    with pytest.raises(TypeError, match="such as"):
        lifecycle.fit_hazards(data, "service", shared="service")
    with pytest.raises(TypeError, match="formula= is text"):
        lifecycle.fit_hazards(data, ["service"])


def test_terms_that_depend_on_all_customers_or_on_nothing_are_refused():
    data = simulate.lifecycle(200, seed=1)
    for term in ("scale(service)", "center(service)", "bs(service, df=4)", "poly(service, 2)", "C(lag(service))"):
        for formula in (term, f"grade + {term}"):
            with pytest.raises(ValueError, match="depends on all rows; make a column of it first"):
                lifecycle.fit_hazards(data, formula)
    assert len(lifecycle.fit_hazards(data, "np.log(service)").params) == 7
    with pytest.raises(ValueError, match="column 'one' has the same value, 'a', in every row"):
        lifecycle.fit_hazards(data.assign(one="a"), "one + service")
    data["regular"] = (data["service"] > 3).map({True: "yes", False: "no"})
    for name in ("regular", "C(regular)"):
        for formula in ("C(regular)", "Q('regular')"):
            assert lifecycle.fit_hazards(data, formula, shared=[name]).params.index[0][0] == "all"


def test_breslow_where_everybody_leaves_is_said_to_understate_it():
    cliff = _first_stays()
    late = cliff["exit"] >= 3
    cliff.loc[late, "exit"] = 3.0
    cliff.loc[late, "next_phase"] = "decline"
    left = {}
    for ties in ("efron", "breslow"):
        fit = lifecycle.fit_hazards(cliff, "service", ties=ties)
        with pytest.warns(UserWarning, match="many tied moves") if ties == "breslow" else nullcontext():
            left[ties] = fit.occupancy([3], {"service": 3}).loc[(3, "exploration"), "estimate"]
    assert left["breslow"] > 0.15 and left["efron"] < 0.02
    calm = lifecycle.fit_hazards(simulate.lifecycle(400, seed=1), "service", ties="breslow")
    assert calm.occupancy([3], {"service": 3})["estimate"].sum() == pytest.approx(1)


def test_where_customers_start_is_not_told_by_whoever_was_seen_first():
    data = simulate.lifecycle(2000, observed_from=6, seed=2)
    worth = dict.fromkeys(PHASES, 1.0)
    # Some came after month 6 and were seen from time 0 on; of the others' phases the first entry says nothing.
    fit = lifecycle.fit_multistate(data)
    said = lifecycle.expected_value(fit, worth, 24)
    pd.testing.assert_frame_equal(said, lifecycle.expected_value(fit, worth, 24, start="exploration"))
    old = data[data["joined"] < 5]
    first = old.drop_duplicates("customer_id")
    begin = first.loc[first["phase"] == "decline", "entry"].min()
    old = old[old["customer_id"].isin(first.loc[first["entry"] >= begin, "customer_id"])]
    groups = data.assign(g=np.where(data["joined"] < 6, "old", "new"))
    by_group = lifecycle.fit_multistate(groups, groups="g")
    hazards = lifecycle.fit_hazards(old, "grade")
    gold = {"grade": "gold"}
    for work in (
        lambda **start: hazards.occupancy([12], gold, **start),
        lambda **start: lifecycle.expected_value(hazards, worth, 24, gold, **start),
        lambda **start: lifecycle.expected_value(lifecycle.fit_multistate(old), worth, 24, **start),
        lambda **start: lifecycle.expected_value(by_group, worth, 24, group="old", **start),
    ):
        with pytest.raises(ValueError, match="nobody was seen from the start of the clock on.*start="):
            work()
        assert work(start="exploration")["estimate"].notna().all()
    lifecycle.expected_value(by_group, worth, 24, group="new")
    # A calendar begins at no 0: all are seen from its first day on.
    calendar = simulate.lifecycle(300, joining=1e-9, seed=1)
    calendar[["entry", "exit"]] += 100
    pd.testing.assert_frame_equal(
        lifecycle.fit_hazards(calendar, "1").occupancy([112]),
        lifecycle.fit_hazards(calendar, "1").occupancy([112], start="exploration"),
    )


def test_categories_that_nobody_has_change_nothing():
    data = simulate.lifecycle(600, seed=1)
    plain = lifecycle.fit_hazards(data, "channel")
    for categories in (["tv", "referral", "shop", "web"], ["referral", "shop", "web", "tv"]):
        wide = lifecycle.fit_hazards(data.assign(channel=pd.Categorical(data["channel"], categories)), "channel")
        pd.testing.assert_frame_equal(wide.summary(), plain.summary())
    with pytest.raises(ValueError, match="'tv' was not in the data"):
        wide.occupancy(12, {"channel": "tv"})
    with pytest.raises(ValueError, match="'channel' has the same value, 'web', in every row"):
        lifecycle.fit_hazards(data.assign(channel=pd.Categorical(["web"] * len(data), ["tv", "web"])), "channel")


def test_on_the_reset_clock_stays_are_seen_from_their_beginning():
    with pytest.raises(ValueError, match="column 'entry': .*under way when.*clock='reset'"):
        lifecycle.fit_hazards(stays(200), "service", clock="reset")
    empty = simulate.lifecycle(300, seed=1).sort_values("entry", ignore_index=True)
    more = pd.concat([empty.iloc[[0]], empty], ignore_index=True)
    more.loc[0, ["customer_id", "entry", "exit", "next_phase"]] = ["Z", 1.0, 1.0, None]
    with pytest.warns(UserWarning, match="left out.*: 1 of the stays"):
        fit = lifecycle.fit_hazards(more, "service", errors="clustered")
    pd.testing.assert_frame_equal(
        fit.summary(), lifecycle.fit_hazards(empty, "service", errors="clustered").summary(), rtol=1e-9
    )


def test_predictions_refuse_what_they_cannot_know():
    data = simulate.lifecycle(400, seed=1)
    fit = lifecycle.fit_hazards(data, "channel + service")
    who = {"channel": "web", "service": 3}
    cases = {
        "'tv' was not in the data": lambda: fit.occupancy(12, {"channel": "tv", "service": 3}),
        "no column 'service'": lambda: fit.occupancy(12, {"channel": "web"}),
        "of which customer": lambda: fit.occupancy(12),
        "beyond it nothing is known": lambda: fit.occupancy(500, who),
        "start= is one of the phases": lambda: fit.occupancy(12, who, start="lost"),
        "shares that sum to 1": lambda: fit.occupancy(12, who, start={"decline": 0.5}),
        "there is no effect": lambda: fit.effect_over_time("a -> b", "service"),
        "between= takes two": lambda: fit.difference("occupancy", 12, between=who),
        "quantity= is one of": lambda: fit.difference("summary", between=(who, who)),
        "is of model='cox'": lambda: lifecycle.fit_hazards(stays(100, ties=True), "1", model="grouped").cumulative_hazard(3),
        "need clock='forward'": lambda: lifecycle.fit_hazards(data, "service", clock="reset").occupancy(3, {"service": 3}),
        "has no effects": lambda: lifecycle.fit_hazards(data, "1").proportionality(),
        "no money for the phase 'decline'": lambda: lifecycle.expected_value(fit, {"exploration": 1, "build-up": 1, "stability": 1}, 12, who),
        "one of the moves that were seen": lambda: lifecycle.what_if(fit, "a -> b", 2, dict.fromkeys(PHASES, 1), 12, who),
        "a number above 0": lambda: lifecycle.what_if(fit, "decline -> build-up", 0, dict.fromkeys(PHASES, 1), 12, who),
        "a number above 1": lambda: lifecycle.rank_transitions(fit, 0.9, dict.fromkeys(PHASES, 1), 12, who),
        "profile= has 'chanel'": lambda: fit.occupancy(12, who | {"chanel": "web"}),
        "column 'service' is a number; got '3'": lambda: fit.occupancy(12, who | {"service": "3"}),
        "the name 'a' more than once": lambda: fit.occupancy(12, pd.DataFrame([who, who], index=["a", "a"])),
        "horizon= is one number": lambda: fit.expected_time([3, 6], who),
        "horizon= is one number; got .3, 6": lambda: lifecycle.fit_multistate(data).expected_time([3, 6]),
        "horizon= is one number; got": lambda: lifecycle.expected_value(fit, dict.fromkeys(PHASES, 1), [3, 6], who),
        "one customer each; got a table with 2": lambda: fit.difference("expected_time", 3, between=(pd.DataFrame([who, who]), who)),
        "needs times=": lambda: fit.difference("occupancy", between=(who, who)),
        "got '20%'": lambda: lifecycle.what_if(fit, "decline -> build-up", "20%", dict.fromkeys(PHASES, 1), 12, who),
        "got '1.2'": lambda: lifecycle.rank_transitions(fit, "1.2", dict.fromkeys(PHASES, 1), 12, who),
        "such as 0.01; got 'a'": lambda: lifecycle.expected_value(fit, dict.fromkeys(PHASES, 1), 12, who, discount="a"),
        "a number above 0; got '1'": lambda: lifecycle.fit_hazards(data, "service", model="grouped", width="1"),
        "gives 'decline' no number: 'a'": lambda: lifecycle.expected_value(fit, dict.fromkeys(PHASES, 1) | {"decline": "a"}, 12, who),
        "names 'declin', which is no phase": lambda: lifecycle.expected_value(fit, dict.fromkeys(PHASES, 1) | {"declin": 1}, 12, who),
        "cost= is one number": lambda: lifecycle.what_if(fit, "decline -> build-up", 2, dict.fromkeys(PHASES, 1), 12, who, cost=np.nan),
        "nothing to rank": lambda: lifecycle.rank_transitions(
            lifecycle.fit_multistate(data[data["phase"] == "exploration"]), 1.2, dict.fromkeys(PHASES, 1), 12, start="decline"
        ),
        "discount= is a rate": lambda: lifecycle.expected_value(fit, dict.fromkeys(PHASES, 1), 12, who, discount=-1),
        "hold no number": lambda: lifecycle.value_by_phase(data.assign(margin=np.nan)),
        "'profit' is not there": lambda: lifecycle.value_by_phase(data, money="profit"),
        "profile= is for fit_hazards": lambda: lifecycle.expected_value(
            lifecycle.fit_multistate(data), dict.fromkeys(PHASES, 1), 12, who
        ),
    }  # fmt: skip
    for message, work in cases.items():
        with pytest.raises(ValueError, match=message):
            work()
    with pytest.raises(TypeError, match="fit= is what"):
        lifecycle.expected_value(data, dict.fromkeys(PHASES, 1), 12)
    with pytest.raises(TypeError, match=r"profile= is a mapping .*; got \[3\]"):
        fit.occupancy(12, [3])
    with pytest.warns(UserWarning, match="'service' was seen from 1 to 5; for 99"):
        fit.occupancy(12, who | {"service": 99})
    one = simulate.lifecycle(1, seed=4)
    assert lifecycle.fit_hazards(one, "1").nobs == 1


def test_extremes_stay_finite():
    data = simulate.lifecycle(300, seed=2)
    plain = lifecycle.fit_hazards(data, "service").summary()
    far = lifecycle.fit_hazards(data.assign(service=data["service"] * 1e6 + 1e9), "service").summary()
    np.testing.assert_allclose(far["estimate"] * 1e6, plain["estimate"], rtol=1e-6)
    slow = lifecycle.fit_hazards(data.assign(entry=data["entry"] * 1e-9, exit=data["exit"] * 1e-9), "service").summary()
    np.testing.assert_allclose(slow, plain, rtol=1e-6)
    # A cliff: everybody who is left moves at once, as phases made by a waiting rule do.
    cliff = _first_stays()
    late = cliff["exit"] >= 3
    cliff.loc[late, "exit"] = 3.0
    cliff.loc[late, "next_phase"] = "decline"
    fit = lifecycle.fit_hazards(cliff, "service")
    left = fit.occupancy([3], {"service": 3}).loc[(3, "exploration"), "estimate"]
    assert 0 <= left < 0.2
    # In periods it is exact: nobody stays, and the ways out share everybody.
    monthly = cliff.assign(exit=np.ceil(cliff["exit"]))
    grouped = lifecycle.fit_hazards(monthly, "service", model="grouped")
    assert grouped.occupancy([3], {"service": 3}).loc[(3, "exploration"), "estimate"] == pytest.approx(0, abs=1e-12)


def test_figures_show_what_was_fitted():
    data = simulate.lifecycle(400, seed=1)
    fit = lifecycle.fit_hazards(data, "grade + service")
    ax = fit.plot()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["grade[T.ordinary]", "service"]
    assert len(ax.get_legend().get_texts()) == 7 and "hazard ratio" in ax.get_xlabel()
    profiles = pd.DataFrame({"grade": ["gold", "ordinary"], "service": 3}, index=["gold", "ordinary"])
    ax = fit.plot_occupancy("stability", profiles, unit="month")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["gold", "ordinary"]
    assert ax.get_ylabel() == "share in stability" and len(ax.lines[0].get_xdata()) == 101
    value = lifecycle.value_by_phase(data, groups="grade")
    assert value.plot(unit="month").get_ylabel() == "margin per customer-month"
    assert [t.get_text() for t in value.of("gold").plot().get_xticklabels()] == list(PHASES)
    ranked = lifecycle.rank_transitions(fit, 1.1, value.of("gold"), 24, {"grade": "gold", "service": 3})
    ax = lifecycle.plot_gains(ranked)
    assert [patch.get_width() for patch in ax.patches] == ranked["gain"].tolist()[::-1]
    given = plt.figure().add_subplot()
    assert fit.plot(ax=given) is given
