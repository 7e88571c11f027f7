"""The multi-state estimator: against R, against known truth, on bad input."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from scipy import linalg

from crmlab import counting, datasets, lifecycle, tables
from crmlab.lifecycle.phases import PHASE_COLOURS

PHASES = ("exploration", "build-up", "stability", "decline", "lost")
# Monthly probabilities and yearly rates of moves; from "lost" nobody comes back.
MONTHLY = np.array(
    [
        [0.80, 0.12, 0.00, 0.05, 0.03],
        [0.02, 0.78, 0.12, 0.06, 0.02],
        [0.00, 0.02, 0.90, 0.07, 0.01],
        [0.00, 0.08, 0.05, 0.77, 0.10],
        [0.00, 0.00, 0.00, 0.00, 1.00],
    ]
)
RATES = np.array([[-1.1, 0.8, 0.3], [0.5, -0.9, 0.4], [0.0, 0.0, 0.0]])
FEW = ("new", "loyal", "gone")


def monthly(customers, rng, horizon=36, late=0.3, starts=(1, 0, 0, 0)):
    """Stays of customers who move at the ends of months: ties, returns, delayed entry, censoring."""
    months = np.arange(horizon + 1)
    state = np.zeros((customers, horizon + 1), int)
    state[:, 0] = rng.choice(len(starts), customers, p=starts)
    for month in months[:-1]:
        state[:, month + 1] = (rng.uniform(size=(customers, 1)) > MONTHLY.cumsum(axis=1)[state[:, month]]).sum(axis=1)
    first = np.where(rng.uniform(size=customers) < late, rng.integers(0, horizon // 2, customers), 0)
    last = np.minimum(horizon, first + rng.integers(1, horizon + 5, customers))
    move = np.zeros_like(state, bool)
    move[:, 1:] = state[:, 1:] != state[:, :-1]
    move &= (months > first[:, None]) & (months <= last[:, None])
    begins = move.copy()
    begins[np.arange(customers), first] = True
    who, entry = np.nonzero(begins & (state != 4) & (months < last[:, None]))
    following = np.full((customers, horizon + 2), horizon + 1)
    for month in months[::-1]:
        following[:, month] = np.where(move[:, month], month, following[:, month + 1])
    exit = following[who, entry + 1]
    lasts = exit > horizon
    names = np.array([*PHASES, None], dtype=object)
    target = np.where(lasts, 5, state[who, np.minimum(exit, horizon)])
    return pd.DataFrame(
        {
            "customer_id": who,
            "phase": names[state[who, entry]],
            "entry": entry,
            "exit": np.where(lasts, last[who], exit),
            "next_phase": names[target],
        }
    )


def on_reset(data):
    """The stays that are seen from their beginning, with times since then."""
    seen = data["customer_id"].duplicated() | (data["entry"] == 0)
    moved = data.assign(entry=0, exit=data["exit"] - data["entry"])[seen]
    moved.attrs["clock"] = "reset"
    return moved


def continuous(customers, rng, horizon=4.0, late=0.3, rates=RATES, wait=None, starts=(0.8, 0.2, 0), censored=True):
    """Stays of customers who move at any time; with `wait`, who was in the second phase for so long is gone (not Markov)."""
    size = len(rates)
    first = np.where(rng.uniform(size=customers) < late, rng.uniform(0, horizon / 3, customers), 0)
    last = np.minimum(horizon, first + rng.exponential(horizon if censored else 1e9, customers))
    state = rng.choice(size, customers, p=starts)
    time, alive, rows = np.zeros(customers), np.arange(customers), []
    while len(alive):
        here = state[alive]
        leaving = -rates[here, here]
        stay = rng.exponential(size=len(alive)) / np.where(leaving > 0, leaving, 1e-9)
        share = (
            np.where(np.eye(size, dtype=bool), 0, rates) / np.where(-np.diag(rates) > 0, -np.diag(rates), 1)[:, None]
        ).cumsum(1)
        goes = (rng.uniform(size=(len(alive), 1)) > share[here]).sum(axis=1)
        if wait is not None:
            waited = (here == 1) & (stay > wait)
            stay, goes = np.where(waited, wait, stay), np.where(waited, 2, goes)
        end = time[alive] + stay
        shown = (end > first[alive]) & (time[alive] < last[alive])
        ended = end <= last[alive]
        rows.append(
            pd.DataFrame(
                {
                    "customer_id": alive,
                    "phase": here,
                    "entry": np.maximum(time[alive], first[alive]),
                    "exit": np.minimum(end, last[alive]),
                    "next_phase": np.where(ended, goes, -1),
                }
            )[shown]
        )
        time[alive], state[alive] = end, goes
        alive = alive[ended & (rates[np.minimum(goes, size - 1)].any(axis=1))]
    names = np.array([*FEW, None], dtype=object)
    table = pd.concat(rows).sort_values(["customer_id", "entry"], ignore_index=True)
    return table.assign(phase=names[table["phase"]], next_phase=names[table["next_phase"]])


def few(*rows):
    return pd.DataFrame(rows, columns=["customer_id", "phase", "entry", "exit", "next_phase"])


SMALL = few(
    ("a", "new", 0, 2, "loyal"),
    ("a", "loyal", 2, 5, "gone"),
    ("b", "new", 0, 3, "gone"),
    ("c", "new", 0, 4, None),
    ("d", "new", 0, 2, "loyal"),
    ("d", "loyal", 2, 6, None),
)

READ = """
suppressMessages(library(survival))
d <- read.csv("{path}", na.strings = "")
states <- c({states})
d$event <- factor(ifelse(is.na(d$next_phase), "cens", d$next_phase), c("cens", states))
d$now <- factor(d$phase, states)
"""


def in_r(data, path, phases):
    data.to_csv(path, index=False)
    return READ.format(path=path, states=", ".join(f'"{name}"' for name in phases))


SURVFIT = """
# Without influence = TRUE this survfit takes the shares at the start as known, whatever they rest on.
fit <- survfit(Surv(entry, exit, event) ~ 1, data = d, id = customer_id, istate = now, influence = TRUE)
cat(match(fit$states, states), "\n"); cat(fit$time, "\n"); cat(t(fit$pstate), "\n"); cat(t(fit$std.err), "\n")
cat(t(fit$cumhaz), "\n"); cat(sub("[.].*", "", colnames(fit$cumhaz)), "\n"); cat(sub(".*[.]", "", colnames(fit$cumhaz)), "\n")
cat(summary(fit, rmean = {horizon})$table[, "rmean"], "\n")
"""


# --- against other implementations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["monthly", "continuous", "many starts"])
def test_hazards_probabilities_and_jackknife_errors_are_those_of_survfit(r, rng, tmp_path, kind):
    if kind == "continuous":
        data, phases, horizon = continuous(150, rng), FEW, 3.0
    else:
        starts = (1, 0, 0, 0) if kind == "monthly" else (0.5, 0.2, 0.2, 0.1)
        data, phases, horizon = monthly(400, rng, starts=starts), PHASES, 30
    assert data["next_phase"].isna().any() and data.duplicated(["customer_id", "phase"]).any()
    assert (data.groupby("customer_id")["entry"].min() > 0).any()
    out = r(in_r(data, tmp_path / "d.csv", phases) + SURVFIT.format(horizon=horizon))
    states, times = out[0].astype(int) - 1, out[1]
    named = [phases[number] for number in states]
    fit = lifecycle.fit_multistate(data, errors="jackknife", phases=phases)
    times = times + 1e-9  # as printed they may lie before the event
    times[-1] = data["exit"].max()
    ours = fit.occupancy(times, level=0.95).unstack("phase")
    shape = (len(times), len(named))
    np.testing.assert_allclose(ours["estimate"][named], out[2].reshape(shape), rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours["std_error"][named], out[3].reshape(shape), rtol=0, atol=1e-6)
    hazards = fit.cumulative_hazard(times)["estimate"].unstack("time")
    theirs = out[4].reshape(len(times), -1).T
    for row, i, j in zip(theirs, out[5].astype(int), out[6].astype(int)):
        np.testing.assert_allclose(hazards.loc[(named[i - 1], named[j - 1])], row, rtol=0, atol=1e-8)
    assert len(theirs) == len(hazards)
    np.testing.assert_allclose(fit.expected_time(horizon)["estimate"][named], out[7], rtol=0, atol=1e-8 * horizon)


@pytest.mark.parametrize("kind", ["monthly", "continuous"])
def test_greenwood_errors_are_those_of_etm(r, rng, tmp_path, kind):
    data, phases, s, t = (
        (monthly(400, rng), PHASES, 4, 30) if kind == "monthly" else (continuous(150, rng), FEW, 0.5, 3.0)
    )
    script = (
        in_r(data, tmp_path / "d.csv", phases)
        + f"""
    suppressMessages(library(etm))
    e <- data.frame(id = d$customer_id, from = d$phase, to = as.character(d$event), entry = d$entry, exit = d$exit)
    tra <- matrix(FALSE, length(states), length(states), dimnames = list(states, states))
    for (k in which(e$to != "cens")) tra[e$from[k], e$to[k]] <- TRUE
    fit <- etm(e, states, tra, "cens", s = {s}, t = {t})
    last <- dim(fit$est)[3]
    cat(match(dimnames(fit$est)[[1]], states), "\n"); cat(t(fit$est[, , last]), "\n"); cat(diag(fit$cov[, , last]), "\n")
    """
    )
    out = r(script)
    named = [phases[number] for number in out[0].astype(int) - 1]
    fit = lifecycle.fit_multistate(data, phases=named)
    ours = fit.transition_probability(s, t, level=0.95)
    np.testing.assert_allclose(ours["estimate"], out[1], rtol=0, atol=1e-8)
    # etm stacks columns: the from-state runs fastest.
    theirs = out[2].reshape(len(named), -1).T.ravel()
    np.testing.assert_allclose(ours["std_error"], np.sqrt(np.maximum(theirs, 0)), rtol=0, atol=1e-6)
    assert (ours["std_error"] > 0).sum() > len(named)


def test_stopped_histories_and_the_reset_clock_are_those_of_survfit(r, rng, tmp_path):
    data = monthly(400, rng)
    script = (
        in_r(data, tmp_path / "d.csv", PHASES)
        + """
    there <- d$now == "stability"
    been <- ave(as.numeric(there), d$customer_id, FUN = cumsum)
    first <- survfit(Surv(entry, exit, event) ~ 1, data = d[been == 0, ], id = customer_id, istate = now)
    s <- summary(first, times = c(6, 12, 30))
    p0 <- mean(there[!duplicated(d$customer_id)])
    cat(s$pstate[, match("stability", s$states)], "\n"); cat(s$std.err[, match("stability", s$states)], "\n")
    z <- d[d$now == "decline" & (d$entry == 0 | duplicated(d$customer_id)), ]
    km <- summary(survfit(Surv(exit - entry, event != "cens") ~ 1, data = z, cluster = customer_id, robust = TRUE), times = c(2, 5))
    cat(km$surv, "\n"); cat(km$std.err, "\n")
    z$id <- seq_len(nrow(z))
    cr <- summary(survfit(Surv(exit - entry, event) ~ 1, data = z, id = id), times = c(2, 5))
    k <- match("lost", cr$states); cat(cr$pstate[, k], "\n"); cat(cr$std.err[, k], "\n")
    """
    )
    out = r(script)
    # Who is in the phase when first seen says nothing of when it was reached; R is given the others alone.
    there = data["phase"] == "stability"
    first_there = there & ~data["customer_id"].duplicated()
    others = data[~data["customer_id"].isin(data.loc[first_there, "customer_id"])]
    fit = lifecycle.fit_multistate(others, errors="jackknife")
    found = fit.ever_reach("stability", [6, 12, 30], method="stopped")
    np.testing.assert_allclose(found["estimate"], out[0], atol=1e-8)
    np.testing.assert_allclose(found["std_error"], out[1], atol=1e-6)
    whole = lifecycle.fit_multistate(data, errors="jackknife")
    found_too = whole.ever_reach("stability", [6, 12, 30], start="exploration", method="stopped")
    np.testing.assert_allclose(found_too["estimate"], out[0], atol=1e-8)
    # On the reset clock stays are seen from their beginning, so the customers' first ones here are left out.
    reset = lifecycle.fit_multistate(on_reset(data), clock="reset", errors="jackknife")
    decline = reset.occupancy([2, 5], start="decline", level=0.95)
    stay = decline.xs("decline", level="phase")
    np.testing.assert_allclose(stay["estimate"], out[2], atol=1e-8)
    np.testing.assert_allclose(stay["std_error"], out[3], atol=1e-6)
    # R's competing risks know no clusters: there each stay is a customer.
    alone = on_reset(data)
    alone = alone[alone["phase"] == "decline"].assign(customer_id=lambda d: np.arange(len(d)))
    lost = lifecycle.fit_multistate(alone, clock="reset", errors="jackknife").occupancy(
        [2, 5], start="decline", level=0.95
    )
    lost = lost.xs("lost", level="phase")
    np.testing.assert_allclose(lost["estimate"], out[4], atol=1e-8)
    np.testing.assert_allclose(lost["std_error"], out[5], atol=1e-6)
    np.testing.assert_allclose(decline.xs("lost", level="phase")["estimate"], out[4], atol=1e-8)


def test_documented_examples_of_the_survival_package(r, tmp_path):
    """The vignettes print restricted mean times on data that R carries, and for `myeloid` their jackknife errors."""
    r(
        f"""
    suppressMessages(library(survival))
    # "Multi-state models and competing risks", section 3: a tie of progression and death is moved back by a tenth of a month.
    ptemp <- with(mgus2, ifelse(ptime == futime & pstat == 1, ptime - .1, ptime))
    d <- tmerge(mgus2, mgus2, id = id, death = event(futime, death), pcm = event(ptemp, pstat))
    d$next_phase <- c("", "pcm", "death")[1 + with(d, ifelse(death == 1, 2, pcm))]
    d$phase <- ifelse(d$tstart > 0, "pcm", "(s0)")
    write.csv(d[, c("id", "sex", "phase", "tstart", "tstop", "next_phase")], "{tmp_path}/mgus.csv", row.names = FALSE)
    # "A package for survival analysis in R", section 2.3.4: complete response, transplants as non-events.
    t <- myeloid
    tied <- with(t, !is.na(crtime) & !is.na(txtime) & crtime == txtime)
    t$crtime[tied] <- t$crtime[tied] - 1
    m <- tmerge(t[, 1:2], t, id = id, death = event(futime, death), sct = event(txtime), cr = event(crtime), relapse = event(rltime))
    e <- with(m, ifelse(death == 1, 4, ifelse(relapse == 1, 3, ifelse(cr == 1, 1, 0))))
    m$next_phase <- c("", "CR", "SCT", "relapse", "death")[1 + e]
    m$phase <- ave(ifelse(e == 0, NA, m$next_phase), m$id, FUN = function(v) {{
        last <- "(s0)"; out <- character(length(v))
        for (k in seq_along(v)) {{ out[k] <- last; if (!is.na(v[k])) last <- v[k] }}
        out }})
    m$tstart <- m$tstart * 12 / 365.25; m$tstop <- m$tstop * 12 / 365.25
    write.csv(m[, c("id", "trt", "phase", "tstart", "tstop", "next_phase")], "{tmp_path}/myeloid.csv", row.names = FALSE)
    """
    )
    names = {"id": "customer_id", "tstart": "entry", "tstop": "exit"}
    mgus = pd.read_csv(tmp_path / "mgus.csv", keep_default_na=False, na_values={"next_phase": ""}).rename(columns=names)
    fit = lifecycle.fit_multistate(mgus, groups="sex", phases=("(s0)", "pcm", "death"))
    assert fit.groups == ("F", "M") and fit.nobs == 690 + 809
    moves = fit.transitions()["moves"].groupby(["from", "to"]).sum()
    assert (moves.loc[("(s0)", "pcm")], moves.loc[("(s0)", "death")], moves.loc[("pcm", "death")]) == (115, 860, 103)
    printed = {"F": [118.2, 3.2, 118.6], "M": [104.1, 2.7, 133.2]}
    found = fit.expected_time(240)["estimate"]
    for sex, numbers in printed.items():
        np.testing.assert_allclose(found[sex], numbers, atol=0.05 + 1e-9)
    myeloid = pd.read_csv(tmp_path / "myeloid.csv", keep_default_na=False, na_values={"next_phase": ""}).rename(
        columns=names
    )
    states = ("(s0)", "CR", "relapse", "death")
    fit = lifecycle.fit_multistate(myeloid, groups="trt", errors="jackknife", phases=states)
    assert fit.nobs == 1689
    found = fit.expected_time(48)
    # The first to two digits as worked out in the vignette, the second as printed.
    np.testing.assert_allclose(found.loc["A", "estimate"], [7.10, 16.34, 4.31, 20.24], atol=0.005 + 1e-9)
    np.testing.assert_allclose(found.loc["A", "std_error"], [0.78, 1.13, 0.56, 1.10], atol=0.005 + 1e-9)
    np.testing.assert_allclose(found.loc["B", "estimate"], [5.6, 21.2, 5.5, 15.6], atol=0.05 + 1e-9)
    np.testing.assert_allclose(found.loc["B", "std_error"], [0.65, 1.12, 0.61, 1.01], atol=0.005 + 1e-9)
    # "The restricted mean time in the CR state is extended by ... 4.89 months."
    more = fit.difference("expected_time", 48).loc["CR"]
    assert more["estimate"] == pytest.approx(4.89, abs=0.005)


def test_markov_statistic_is_the_robust_score_of_coxph(r, rng, tmp_path):
    """One landmark, one comparison: the robust score test of a Cox model with the earlier phase as its covariate."""
    data = continuous(300, rng)
    when = 0.8
    fit = lifecycle.fit_multistate(data)
    found = fit.markov_test(landmarks=[when])
    script = (
        in_r(data, tmp_path / "d.csv", FEW)
        + f"""
    at <- d[d$entry <= {when} & d$exit > {when}, c("customer_id", "phase")]
    d$was <- at$phase[match(d$customer_id, at$customer_id)]
    x <- d[!is.na(d$was) & d$exit > {when} & d$phase == "new", ]
    x$entry <- pmax(x$entry, {when})
    for (to in c("loyal", "gone")) {{
        f <- coxph(Surv(entry, exit, !is.na(next_phase) & next_phase == to) ~ was, data = x, ties = "breslow", cluster = customer_id)
        cat(sqrt(f$rscore), "\n")
    }}
    """
    )
    out = r(script)
    np.testing.assert_allclose(found.loc[("new", "loyal"), "statistic"], out[0][0], rtol=1e-6)
    np.testing.assert_allclose(found.loc[("new", "gone"), "statistic"], out[1][0], rtol=1e-6)


def test_two_phases_are_kaplan_meier():
    """One kind of move: lifelines' estimate, and its Greenwood errors through counts."""
    from lifelines import KaplanMeierFitter

    rng = np.random.default_rng(3)
    exit = rng.integers(3, 20, 200)
    entry = rng.integers(0, 3, 200)
    lost = rng.uniform(size=200) < 0.6
    data = pd.DataFrame({"customer_id": range(200), "phase": "in", "entry": entry, "exit": exit})
    data["next_phase"] = np.where(lost, "out", None)
    fit = lifecycle.fit_multistate(data)
    ours = fit.occupancy(range(3, 19), start="in", level=0.95).xs("in", level="phase")
    # Later entries by half a step: lifelines takes who enters at a time as at risk at it.
    peer = KaplanMeierFitter().fit(exit, lost, entry=entry + 0.5)
    theirs = peer.survival_function_.loc[list(range(3, 19))].squeeze()
    np.testing.assert_allclose(ours["estimate"], theirs, atol=1e-12)
    at_risk = peer.event_table.loc[3:18, "at_risk"].to_numpy(float)
    moves = peer.event_table.loc[3:18, "observed"].to_numpy(float)
    greenwood = theirs * np.sqrt(np.cumsum(moves / at_risk / (at_risk - moves)))
    np.testing.assert_allclose(ours["std_error"], greenwood, atol=1e-12)


# --- by hand, and against itself -----------------------------------------------------------------------------------


def test_by_hand():
    fit = lifecycle.fit_multistate(SMALL)
    assert fit.phases == FEW and fit.nobs == 6 and fit.customers == 4 and fit.groups == ()
    # Month 2: two of four move; month 3: one of two is gone; month 5: one of two loyal customers is gone.
    assert fit.counts().to_numpy().tolist() == [
        [2, "new", "loyal", 2, 4],
        [3, "new", "gone", 1, 2],
        [5, "loyal", "gone", 1, 2],
    ]
    np.testing.assert_allclose(
        fit.occupancy([0, 2, 4, 5]), [[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    )
    np.testing.assert_allclose(fit.expected_time(6)["estimate"], [2 + 0.5 + 3 * 0.25, 3 * 0.5 + 0.25, 2 * 0.25 + 0.5])
    found = fit.occupancy(2, level=0.95).loc[2].loc["loyal"]
    assert found["std_error"] == pytest.approx(0.25)  # binomial: root of 1/2 x 1/2 / 4
    half = 1.959964 * 0.25 / 0.25
    assert found["upper"] == pytest.approx(1 / (1 + np.exp(-half)), abs=1e-6)
    # Everybody starts in "new": reaching "loyal" is not undone by leaving it.
    assert fit.ever_reach("loyal", 6, start="new")["estimate"].item() == pytest.approx(0.5)
    assert fit.ever_reach("new", 6)["estimate"].item() == 1
    summary = fit.summary()
    assert summary.loc["new -> loyal", "estimate"] == pytest.approx(2 / 11)
    assert summary.loc["new -> loyal", "std_error"] == pytest.approx(np.sqrt(2) / 11)
    assert list(summary) == ["estimate", "std_error", "lower", "upper"] and summary.index.name == "parameter"


@pytest.mark.parametrize("errors", ["greenwood", "jackknife"])
def test_counts_give_what_rows_give(rng, errors):
    """Rows, weighted distinct histories, and (Greenwood) counts without customers."""
    data = monthly(300, rng, late=0.1, horizon=12)
    story = data.assign(stay=data[["phase", "entry", "exit", "next_phase"]].astype(str).agg(" ".join, axis=1))
    story = story.groupby("customer_id")["stay"].agg(" / ".join)
    first = story.drop_duplicates()
    histories = data[data["customer_id"].isin(first.index)]
    histories = histories.assign(customers=histories["customer_id"].map(story).map(story.value_counts()))
    assert len(histories) < 0.8 * len(data)
    fits = [
        lifecycle.fit_multistate(data, errors=errors),
        lifecycle.fit_multistate(histories, errors=errors, weights="customers"),
    ]
    if errors == "greenwood":
        counts = (
            data.groupby(["phase", "entry", "exit", "next_phase"], dropna=False)
            .size()
            .rename("customers")
            .reset_index()
        )
        fits.append(lifecycle.fit_multistate(counts, phases=fits[0].phases))
    for fit in fits[1:]:
        assert fit.phases == fits[0].phases and fit.nobs == len(data) and fit.customers in (fits[0].customers, None)
        for ask in (
            lambda fit: fit.occupancy(range(1, 12), level=0.9),
            lambda fit: fit.transition_probability(3, 9, level=0.9),
            lambda fit: fit.expected_time(11),
            lambda fit: fit.ever_reach("stability", [3, 11]),
            lambda fit: fit.cumulative_hazard([1, 5, 11]),
            lambda fit: fit.summary(),
        ):
            pd.testing.assert_frame_equal(ask(fit), ask(fits[0]), rtol=1e-10, atol=1e-13)
    if errors == "jackknife":
        landmarks = [fit.transition_probability(3, 9, method="landmark", level=0.9) for fit in fits]
        pd.testing.assert_frame_equal(*landmarks, rtol=1e-10, atol=1e-13)
        tests = [fit.markov_test(landmarks=[3], draws=200) for fit in fits]
        pd.testing.assert_frame_equal(*tests, rtol=1e-10)


def test_jackknife_is_the_limit_of_leaving_customers_out(rng):
    """The derivative in a customer's weight, by differences; then its square summed."""
    data = monthly(25, rng, horizon=10).assign(w=1.0)
    base = lifecycle.fit_multistate(data, weights="w", errors="jackknife")

    def asked(fit):
        yield fit.occupancy([4, 9], level=0.95)
        yield fit.expected_time(9)
        yield fit.ever_reach("stability", 9)
        yield fit.cumulative_hazard([4, 9])
        yield fit.transition_probability(2, 8, level=0.95)
        yield fit.summary()

    tiny, total = 1e-5, [0, 0, 0, 0, 0, 0]
    for customer in data["customer_id"].unique():
        more, less = (
            asked(
                lifecycle.fit_multistate(
                    data.assign(w=np.where(data["customer_id"] == customer, 1 + step, 1)), weights="w"
                )
            )
            for step in (tiny, -tiny)
        )
        total = [t + ((a["estimate"] - b["estimate"]) / 2 / tiny) ** 2 for t, a, b in zip(total, more, less)]
    for found, squares in zip(asked(base), total):
        np.testing.assert_allclose(found["std_error"], np.sqrt(squares), atol=1e-7)


def test_greenwood_without_censoring_is_the_binomial_error():
    """Everybody watched from the start to the end: a share of customers, with the error of a share."""
    rng = np.random.default_rng(1)
    data = monthly(200, rng, late=0, horizon=8)
    whole = data.groupby("customer_id").filter(
        lambda rows: rows["exit"].max() == 8 or rows["next_phase"].iloc[-1] == "lost"
    )
    fit = lifecycle.fit_multistate(whole, errors="jackknife", phases=PHASES)
    n = fit.customers
    assert n > 50
    at = {
        c: rows[(rows["entry"] <= 6) & (rows["exit"] > 6)]["phase"].tolist() for c, rows in whole.groupby("customer_id")
    }
    for phase in PHASES[:4]:
        share = np.mean([found == [phase] for found in at.values()])
        ours = fit.occupancy(6, level=0.95).loc[(6, phase)]
        assert ours["estimate"] == pytest.approx(share, abs=1e-12)
        assert ours["std_error"] == pytest.approx(np.sqrt(share * (1 - share) / n), abs=1e-12)


def test_order_of_rows_unit_of_time_and_rounding_do_not_matter(rng):
    data = monthly(200, rng)
    fit = lifecycle.fit_multistate(data, errors="jackknife", phases=PHASES)
    shuffled = data.sample(frac=1, random_state=1).assign(customer_id=lambda d: "c" + d["customer_id"].astype(str))
    # Days as fractions of weeks: entry and exit of stays that follow each other differ in the last bit.
    weeks = data.assign(entry=data["entry"] * 0.1 / 7, exit=data["exit"] / 70.0)
    assert (weeks["entry"].to_numpy()[1:] != weeks["exit"].to_numpy()[:-1]).any()
    expected = fit.occupancy(range(1, 30), level=0.95).to_numpy()
    for other, factor in ((shuffled, 1), (weeks, 1 / 70), (data.astype({"entry": "float32", "exit": "int16"}), 1)):
        again = lifecycle.fit_multistate(other, errors="jackknife", phases=PHASES)
        ours = again.occupancy(np.arange(1, 30) * factor + 1e-6, level=0.95).to_numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    categories = data.assign(phase=pd.Categorical(data["phase"], PHASES))
    assert lifecycle.fit_multistate(categories).phases == PHASES


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_probabilities_behave_as_such(seed, customers, tied):
    rng = np.random.default_rng(seed)
    data, last = (monthly(customers, rng), 36) if tied else (continuous(customers, rng), 4)
    if data["next_phase"].isna().all():
        return
    last = min(last, data["exit"].max())
    s, u, t = np.sort(rng.uniform(0, last, 3))
    s, u, t = (max(x, data["entry"].min()) for x in (s, u, t))
    for errors in ("greenwood", "jackknife"):
        fit = lifecycle.fit_multistate(data, errors=errors)
        whole = fit.transition_probability(s, t)
        np.testing.assert_allclose(whole.sum(axis=1), 1)
        assert whole.to_numpy().min() >= 0
        parts = fit.transition_probability(s, u).to_numpy() @ fit.transition_probability(u, t).to_numpy()
        np.testing.assert_allclose(whole, parts, atol=1e-12)
        found = fit.transition_probability(s, t, level=0.95)
        assert (found["lower"] <= found["estimate"] + 1e-12).all() and (
            found["estimate"] <= found["upper"] + 1e-12
        ).all()
        assert found.notna().all(axis=None) and found["lower"].min() >= 0 and found["upper"].max() <= 1 + 1e-12
        times = fit.expected_time(t, since=None)
        assert times["estimate"].sum() == pytest.approx(t - fit._samples[None].grid[0])
        reached = fit.ever_reach(fit.phases[0], [s, u, t])["estimate"]
        assert reached.is_monotonic_increasing
        assert (reached.to_numpy() >= fit.occupancy([s, u, t])[fit.phases[0]].to_numpy() - 1e-12).all()


# --- known truth ----------------------------------------------------------------------------------------------------


def truth(kind, t):
    """Of the continuous generator: probabilities from `new`, expected times, first passage to `loyal`."""
    if kind == "transition":
        return linalg.expm(RATES * (t - 1))
    start = np.array([0.8, 0.2, 0])
    if kind == "occupancy":
        return start @ linalg.expm(RATES * t)
    if kind == "time":
        big = np.block([[RATES, np.eye(3)], [np.zeros((3, 6))]])
        return start @ linalg.expm(big * t)[:3, 3:]
    stopped = RATES * np.array([[1], [0], [1]])
    return (start @ linalg.expm(stopped * t))[1]


@pytest.mark.parametrize("errors", ["greenwood", "jackknife"])
def test_known_hazards_are_found_and_intervals_cover_them(errors):
    runs, caught, ours = 200, {}, {}
    for run in range(runs):
        data = continuous(120, np.random.default_rng(1000 + run))
        fit = lifecycle.fit_multistate(data, errors=errors, phases=FEW)
        asked = {
            "occupancy": (fit.occupancy(2, level=0.95), truth("occupancy", 2)),
            "transition": (
                fit.transition_probability(1, 2.5, level=0.95).iloc[:6],
                truth("transition", 2.5)[:2].ravel(),
            ),
            "time": (fit.expected_time(2), truth("time", 2)),
            "reach": (fit.ever_reach("loyal", 2), truth("reach", 2)),
            "rates": (fit.summary().sort_index(), np.array([0.4, 0.5, 0.3, 0.8])),
            "hazard": (fit.cumulative_hazard(2).sort_index(), 2 * np.array([0.4, 0.5, 0.3, 0.8])),
        }
        for name, (found, true) in asked.items():
            caught.setdefault(name, []).append(((found["lower"] <= true) & (true <= found["upper"])).to_numpy())
            ours.setdefault(name, []).append((found["estimate"] - true, found["std_error"]))
    for name, hits in caught.items():
        share = np.mean(hits, axis=0)
        # 95 % within three Monte Carlo errors; small samples may cost a little.
        assert (share > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs) - 0.005).all(), (name, share)
        assert (share < 0.995).all(), (name, share)
        bias, error = np.moveaxis(np.array(ours[name]), 1, 0)
        spread = bias.std(axis=0)
        assert (np.abs(bias.mean(axis=0)) < 3.5 * spread / np.sqrt(runs)).all(), (name, bias.mean(axis=0), spread)
        # The standard deviation of 200 numbers is known to 5 %.
        assert (np.abs(error.mean(axis=0) / spread - 1) < 0.17).all(), (name, error.mean(axis=0), spread)


def test_many_monthly_customers_show_the_monthly_probabilities():
    data = monthly(200_000, np.random.default_rng(8))
    fit = lifecycle.fit_multistate(data, phases=PHASES)
    found = fit.transition_probability(5, 17, level=0.95)
    true = np.linalg.matrix_power(MONTHLY, 12).ravel()
    inside = found["std_error"] > 0
    z = (found["estimate"] - true)[inside] / found["std_error"][inside]
    assert inside.sum() == 20 and np.abs(z).max() < 4 and 0.5 < z.std() < 1.6
    assert found["std_error"].max() < 0.01


def test_a_process_with_a_memory_needs_the_landmark_and_is_found_out():
    """A phase that is left for good after a fixed wait: occupancy stands, transitions from later on do not."""
    wait, s, t = 1.0, 1.5, 2.3
    whole = continuous(200_000, np.random.default_rng(2), late=0, wait=wait, censored=False)
    at = {}
    for when in (s, t):
        here = whole[(whole["entry"] <= when) & (whole["exit"] > when)].set_index("customer_id")["phase"]
        gone = whole[(whole["next_phase"] == "gone") & (whole["exit"] <= when)].set_index("customer_id")["phase"]
        at[when] = pd.concat([here, gone.mask(gone.notna(), "gone")])
    both = pd.concat(at, axis=1).dropna()
    true = both[both[s] == "loyal"][t].value_counts(normalize=True).reindex(FEW).to_numpy()
    off, naive, inside = [], [], []
    for run in range(60):
        fit = lifecycle.fit_multistate(continuous(800, np.random.default_rng(run), wait=wait), phases=FEW)
        found = fit.transition_probability(s, t, method="landmark", level=0.95).loc["loyal"]
        off.append(found["estimate"] - true)
        inside.append((found["lower"] <= true) & (true <= found["upper"]))
        naive.append(fit.transition_probability(s, t).loc["loyal"] - true)
        if run < 10:
            assert fit.markov_test(draws=500)["p_value"].iloc[0] < 0.01
    assert (np.abs(np.mean(off, axis=0)) < 3.5 * np.std(off, axis=0) / np.sqrt(60)).all() and np.mean(inside) > 0.9
    assert np.abs(np.mean(naive, axis=0)).max() > 0.05
    occupancy = lifecycle.fit_multistate(
        continuous(20_000, np.random.default_rng(99), wait=wait), phases=FEW, errors="jackknife"
    )
    found = occupancy.occupancy(t, level=0.95).loc[t]
    share = at[t].value_counts(normalize=True).reindex(FEW)
    assert ((found["estimate"] - share.to_numpy()).abs() < 4 * np.hypot(found["std_error"], 0.001)).all()


def test_markov_test_keeps_its_level():
    runs = 250
    small = np.array(
        [
            lifecycle.fit_multistate(continuous(200, np.random.default_rng(run)))
            .markov_test(landmarks=[0.4, 0.9], draws=500)["p_value"]
            .to_numpy()
            for run in range(runs)
        ]
    )
    for level in (0.05, 0.2):
        rejected = np.mean(small[:, 0] <= level)
        assert abs(rejected - level) < 3.5 * np.sqrt(level * (1 - level) / runs), (level, rejected)


# --- groups ----------------------------------------------------------------------------------------------------------


def test_groups_are_fits_of_their_own_and_their_differences_cover():
    rng = np.random.default_rng(4)
    data = pd.concat([continuous(200, rng).assign(grade="basic"), continuous(150, rng).assign(grade="gold")])
    data.loc[data["grade"] == "gold", "customer_id"] += 1000
    fit = lifecycle.fit_multistate(data.sample(frac=1, random_state=0), groups="grade", errors="jackknife", phases=FEW)
    assert fit.groups == ("basic", "gold") and fit.customers == data["customer_id"].nunique()
    for name, rows in data.groupby("grade"):
        alone = lifecycle.fit_multistate(rows, errors="jackknife", phases=FEW)
        for ask in (
            lambda f: f.occupancy([1, 2], level=0.95),
            lambda f: f.transition_probability(1, 2),
            lambda f: f.expected_time(2),
        ):
            pd.testing.assert_frame_equal(ask(fit).loc[name], ask(alone))
        assert fit.counts().query("group == @name")["moves"].sum() == alone.counts()["moves"].sum()
    found = fit.difference("occupancy", [1, 2])
    wide = fit.occupancy([1, 2], level=0.95)
    np.testing.assert_allclose(found["estimate"], wide.loc["gold", "estimate"] - wide.loc["basic", "estimate"])
    np.testing.assert_allclose(
        found["std_error"], np.hypot(wide.loc["gold", "std_error"], wide.loc["basic", "std_error"])
    )
    back = fit.difference("occupancy", [1, 2], between=("gold", "basic"))
    np.testing.assert_allclose(back["lower"], -found["upper"])
    covered = []
    for run in range(200):
        rng = np.random.default_rng(run)
        both = pd.concat([continuous(80, rng).assign(g=0), continuous(80, rng, starts=(0.8, 0.2, 0)).assign(g=1)])
        both["customer_id"] += 1000 * both["g"]
        d = lifecycle.fit_multistate(both, groups="g", phases=FEW).difference("occupancy", 1.5)
        covered.append((d["lower"] <= 0) & (d["upper"] >= 0))
    assert abs(np.mean(covered) - 0.95) < 0.025


def test_a_group_followed_for_less_time_has_no_later_numbers():
    data = pd.concat(
        [SMALL.assign(g="long"), few(("x", "new", 0, 2, "loyal"), ("x", "loyal", 2, 3, None)).assign(g="short")]
    )
    fit = lifecycle.fit_multistate(data, groups="g")
    assert fit.occupancy([2, 5]).loc["short"].isna().all(axis=1).tolist() == [False, True]
    assert fit.expected_time(5).loc["short"].isna().all(axis=None)
    # A group in which nobody moves stays where it is, without errors.
    data = pd.concat([SMALL.assign(g="long"), few(("x", "new", 0, 6, None)).assign(g="still")])
    for errors in ("greenwood", "jackknife"):
        still = lifecycle.fit_multistate(data, groups="g", errors=errors).occupancy(5, level=0.95).loc["still"]
        assert still["estimate"].tolist() == [1, 0, 0] and (still["std_error"] == 0).all()


def test_a_group_may_miss_a_phase_and_weights_need_not_be_whole(rng):
    data = pd.concat([SMALL.assign(g=0), few(("x", "new", 0, 6, "gone"), ("y", "new", 0, 6, None)).assign(g=1)])
    for errors in ("greenwood", "jackknife"):
        fit = lifecycle.fit_multistate(data, groups="g", errors=errors)
        # What was seen in another group is 0 here; from a phase in which nobody was there is nothing to say.
        assert fit.summary().loc[1]["estimate"].tolist() == [0, 1 / 12]
        assert len(fit.transitions()) == len(fit.cumulative_hazard(6)) == 5
        assert len(fit.difference("summary")) == 2
        assert fit.transition_probability(1, 1, level=0.95).loc[0]["std_error"].eq(0).all()
        assert fit.transition_probability(0, 6).loc[1].loc["loyal", "loyal"] == 1
    data = monthly(300, rng)
    data["w"] = data["customer_id"].map(dict(enumerate(rng.uniform(0.1, 3, 300))))
    fit = lifecycle.fit_multistate(data, weights="w")
    np.testing.assert_allclose(fit.occupancy(range(1, 37)).sum(axis=1), 1)
    tenth = lifecycle.fit_multistate(data.assign(w=data["w"] / 10), weights="w")
    np.testing.assert_allclose(fit.transition_probability(2, 30), tenth.transition_probability(2, 30), atol=1e-10)


# --- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    (few(), "no rows"),
    (SMALL.drop(columns="exit"), "'exit' is not there"),
    (SMALL.drop(columns="customer_id"), "column customers in place"),
    (SMALL.assign(customer_id=[None, "a", "b", "c", "d", "d"]), "column 'customer_id': 1 of 6.*row 0"),
    (
        SMALL.assign(phase=["new", None, "new", "new", "new", "loyal"]),
        "column 'phase': 1 of 6.*customer 'a'.*phase missing",
    ),
    (SMALL.assign(next_phase=["loyal", " ", "gone", None, "loyal", None]), "column 'next_phase': 1 of 6.*customer 'a'"),
    (
        SMALL.assign(exit=[2, 2, 3, 4, 2, 6]),
        "column 'exit': 1 of 6.*customer 'a'.*entry 2, exit 2.*ends after it began",
    ),
    (SMALL.assign(exit=[2, 5, -1, 4, 2, 6]), "column 'exit': 1 of 6.*customer 'b'"),
    (
        SMALL.assign(exit=[2, 5, 3, np.nan, 2, 6]),
        "column 'exit': 1 of 6.*customer 'c'.*exit missing.*last time observed",
    ),
    (SMALL.assign(exit=[2, 5, 3, np.inf, 2, 6]), "column 'exit': 1 of 6.*customer 'c'"),
    (
        SMALL.assign(next_phase=["loyal", "gone", "new", None, "loyal", None]),
        "column 'next_phase': 1 of 6.*customer 'b'.*another phase",
    ),
    (SMALL.assign(entry=[0, 1, 0, 0, 0, 2]), "column 'entry': 1 of 6.*customer 'a'.*one phase at a time"),
    (SMALL.assign(entry=[0, 3, 0, 0, 0, 4]), "column 'entry': 2 of 6.*customer 'a'.*customer 'd'.*gaps='keep'"),
    (SMALL.assign(phase=["new", "loyal", "new", "new", "new", "new"]), "column 'phase': 1 of 6.*customer 'd'.*led to"),
    (
        SMALL.assign(next_phase=[None, "gone", "gone", None, "loyal", None]),
        "column 'phase': 1 of 6.*customer 'a'.*fill it in",
    ),
    (SMALL.assign(next_phase=None).query("phase == 'new'"), "no customer \\('a', 'b', 'c', ...\\) ever leaves"),
    (
        SMALL.assign(phase=pd.Categorical(SMALL["phase"], ["new", "loyal"])),
        "column 'next_phase': 2 of 6.*next_phase gone.*the phases are new, loyal",
    ),
]


@pytest.mark.parametrize("data, message", BAD, ids=[message[:40] for _, message in BAD])
def test_bad_stays_are_refused_by_name(data, message):
    with pytest.raises(ValueError, match=message):
        lifecycle.fit_multistate(data)


def test_refusals_name_the_right_rows_of_a_shuffled_table():
    data = SMALL.assign(entry=[0, 1, 0, 0, 0, 2]).iloc[[5, 1, 3, 0, 2, 4]]
    with pytest.raises(ValueError, match=r"row 1: customer 'a', phase loyal, entry 1, exit 5"):
        lifecycle.fit_multistate(data)


def test_other_refusals():
    with pytest.raises(TypeError, match="table with the columns customer_id"):
        lifecycle.fit_multistate([1, 2])
    with pytest.raises(TypeError, match="'entry' holds datetime64.*phase_episodes"):
        lifecycle.fit_multistate(SMALL.assign(entry=pd.Timestamp("2026-01-01")))
    with pytest.raises(ValueError, match="group is the customer's own"):
        lifecycle.fit_multistate(SMALL.assign(g=list("xyxxxx")), groups="g")
    with pytest.raises(ValueError, match="carry it along.*also='basket'"):
        lifecycle.fit_multistate(SMALL, groups="basket")
    with pytest.raises(ValueError, match="column 'g': 1 of 6"):
        lifecycle.fit_multistate(SMALL.assign(g=[None, *"xxxxx"]), groups="g")
    with pytest.raises(ValueError, match="'w': 1 of 6.*above 0"):
        lifecycle.fit_multistate(SMALL.assign(w=[0, 1, 1, 1, 1, 1]), weights="w")
    with pytest.raises(ValueError, match="how many customers share"):
        lifecycle.fit_multistate(SMALL.assign(w=[2, 1, 1, 1, 1, 1]), weights="w")
    counts = SMALL.drop(columns="customer_id").assign(customers=1)
    with pytest.raises(ValueError, match="whose stays belong together"):
        lifecycle.fit_multistate(counts, errors="jackknife")
    fit = lifecycle.fit_multistate(counts)
    for ask in (
        lambda: fit.transition_probability(1, 4, method="landmark"),
        lambda: fit.markov_test(),
        lambda: fit.ever_reach("loyal", 4, method="stopped"),
    ):
        with pytest.raises(ValueError, match="table of counts"):
            ask()
    fit = lifecycle.fit_multistate(SMALL)
    with pytest.raises(ValueError, match="errors= is one of 'greenwood', 'jackknife'"):
        lifecycle.fit_multistate(SMALL, errors="boot")
    with pytest.raises(ValueError, match="times lie between 0 and 6.*beyond it nothing is known"):
        fit.occupancy([1, 7])
    with pytest.raises(ValueError, match="a time is a number or a list of numbers"):
        fit.occupancy(["a"])
    with pytest.raises(ValueError, match="since= lies between"):
        fit.occupancy(3, since=-1)
    with pytest.raises(ValueError, match="s= comes before"):
        fit.transition_probability(4, 2)
    with pytest.raises(ValueError, match="phase= is one of the phases 'new', 'loyal', 'gone'; got 'loyl'"):
        fit.ever_reach("loyl", 3)
    with pytest.raises(ValueError, match="sum to 1; they sum to 0.5"):
        fit.occupancy(3, start={"new": 0.5})
    with pytest.raises(ValueError, match="a fit with groups="):
        fit.difference("occupancy", 3)
    with pytest.raises(ValueError, match="level="):
        fit.occupancy(3, level=95)
    with pytest.raises(ValueError, match="too few customers to test"):
        fit.markov_test()
    reset = lifecycle.fit_multistate(SMALL, clock="reset")
    with pytest.raises(ValueError, match="on the reset clock start="):
        reset.occupancy(2)
    with pytest.raises(ValueError, match="clock='forward'"):
        reset.markov_test()


def test_gaps_that_are_kept_are_time_out_of_sight():
    data = few(
        ("a", "new", 0, 2, None), ("a", "loyal", 3, 5, "gone"), ("b", "new", 0, 4, "gone"), ("c", "new", 0, 6, None)
    )
    fit = lifecycle.fit_multistate(data, gaps="keep", errors="jackknife")
    assert fit.counts()["at_risk"].tolist() == [2, 1]
    assert fit.customers == 3
    # Stays cut in two without a move are one stay.
    cut = few(("b", "new", 0, 1, None), ("b", "new", 1, 4, "gone"), ("c", "new", 0, 6, None))
    whole = few(("b", "new", 0, 4, "gone"), ("c", "new", 0, 6, None))
    a, b = (lifecycle.fit_multistate(d, errors="jackknife").occupancy([3, 5], level=0.95) for d in (cut, whole))
    pd.testing.assert_frame_equal(a, b)


def test_unusual_sizes():
    one = lifecycle.fit_multistate(few((1, "in", 0, 1, "out")), errors="jackknife")
    assert one.occupancy(1, level=0.95)["estimate"].tolist() == [0, 1]
    assert one.transition_probability(0, 1).loc["in", "out"] == 1
    huge = SMALL.drop(columns="customer_id").assign(customers=10**12)
    fit = lifecycle.fit_multistate(huge)
    assert fit.occupancy(2, level=0.95)["std_error"].max() == pytest.approx(0.25e-6)
    tiny = SMALL.assign(entry=SMALL["entry"] * 1e-12, exit=SMALL["exit"] * 1e-12)
    np.testing.assert_allclose(lifecycle.fit_multistate(tiny).occupancy(5.5e-12), [[0.25, 0.25, 0.5]])
    missing = lifecycle.fit_multistate(SMALL).transition_probability(5, 5.5, method="landmark")
    assert missing.loc["new"].isna().all() and missing.loc["gone", "gone"] == 1 and missing.loc["loyal", "loyal"] == 1


def test_reset_stays_are_taken_as_they_are():
    forward = lifecycle.fit_multistate(SMALL, clock="reset")
    moved = SMALL.assign(entry=0, exit=SMALL["exit"] - SMALL["entry"])
    with pytest.raises(ValueError, match="one phase at a time"):
        lifecycle.fit_multistate(moved, clock="forward")
    moved.attrs["clock"] = "reset"
    as_they_are = lifecycle.fit_multistate(moved, clock="reset")
    pd.testing.assert_frame_equal(forward.counts(), as_they_are.counts())
    with pytest.raises(ValueError, match="times since the phase was entered"):
        lifecycle.fit_multistate(moved)
    moved.loc[1, "entry"] = 1  # seen late: at risk from month 1 of the phase
    moved.attrs["clock"] = "reset"
    assert lifecycle.fit_multistate(moved, clock="reset").counts()["at_risk"].tolist() == [4, 2, 2]
    # What was under way when its customer came into view is no fresh stay; with the way there it is one.
    late = SMALL.assign(entry=[1, *SMALL["entry"][1:]])
    for table in (
        late,
        late.drop(columns="customer_id").assign(stays=1, came_from=[None, "new", None, None, None, "new"]),
    ):
        with pytest.raises(ValueError, match="column 'entry': 1 of 6.*row 0: .*entry 1.*clock='reset'"):
            lifecycle.fit_multistate(table, clock="reset")
    pieces = pd.concat(
        [SMALL.assign(exit=SMALL["exit"] - 0.5, next_phase=None), SMALL.assign(entry=SMALL["exit"] - 0.5)]
    )
    pd.testing.assert_frame_equal(lifecycle.fit_multistate(pieces, clock="reset").counts(), forward.counts())
    start = forward.expected_time(3, start="new")
    assert start["estimate"].sum() == pytest.approx(3)
    reach = forward.ever_reach("loyal", 3, start="new")
    assert reach["estimate"].item() == 0.5


def test_counts_of_the_counting_engine_are_taken():
    stays = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "c"],
            "phase": ["build-up", "stability", "build-up", "build-up"],
            "start": pd.to_datetime(["2024-05-01", "2025-02-01", "2025-01-10", "2024-06-01"]),
            "end": pd.to_datetime(["2025-02-01", None, None, None]),
        }
    )
    checked = tables.episodes(stays)
    counts = counting.transition_counts(checked, clock="customer", observed_until="2025-06-30").to_pandas()
    fit = lifecycle.fit_multistate(counts)
    assert fit.customers is None and fit.nobs == 4
    assert fit.counts()[["time", "moves", "at_risk"]].to_numpy().tolist() == [[9, 1, 2]]
    # In long periods moves come out without length: a finer unit keeps them. What lasts and has no length yet says nothing.
    log = datasets.load("cdnow_sample")
    checked_log = tables.episodes(lifecycle.phase_stays(log), next_phase="next_phase")
    weeks, days = (counting.transition_counts(checked_log, unit, "customer").to_pandas() for unit in ("week", "day"))
    with pytest.raises(ValueError, match="column 'exit': 8 of 1,676.*unit='day'.*counted=True"):
        lifecycle.fit_multistate(weeks)
    with pytest.warns(UserWarning, match="left out.*: 3 of the stays"):
        by_day = lifecycle.fit_multistate(days, phases=lifecycle.PHASES)
    ready = lifecycle.fit_multistate(lifecycle.phase_episodes(log, "day", counted=True))
    assert by_day.nobs == ready.nobs == 6459
    pd.testing.assert_frame_equal(by_day.occupancy([100, 300]), ready.occupancy([100, 300]))
    rows = pd.concat([SMALL, pd.DataFrame([("e", "new", 1, 1, None)], columns=SMALL.columns)])[::-1]
    with pytest.warns(UserWarning, match="left out.*: 1 of the stays"):
        shown = lifecycle.fit_multistate(rows, errors="jackknife")
    pd.testing.assert_frame_equal(shown.summary(), lifecycle.fit_multistate(SMALL, errors="jackknife").summary())
    as_ibis = counting.transition_counts(checked, clock="customer", observed_until="2025-06-30")
    pd.testing.assert_frame_equal(lifecycle.fit_multistate(as_ibis).counts(), fit.counts())


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures(rng):
    data = monthly(300, rng)
    fit = lifecycle.fit_multistate(data, phases=PHASES)
    ax = fit.plot_occupancy(unit="month")
    assert ax.get_xlabel() == "months since the start" and ax.get_ylabel() == "share of customers"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(PHASES)
    assert len(ax.lines) == len(ax.collections) == 5
    drawn = dict(zip(*ax.lines[2].get_data()))
    assert drawn[12] == pytest.approx(fit.occupancy(12)["stability"].item())
    _, mine = plt.subplots()
    assert fit.plot(ax=mine) is mine
    assert len(fit.plot_occupancy(level=None).collections) == 0
    ax = fit.plot_transitions(unit="month")
    edges = {to_hex(box.get_edgecolor()).upper() for box in ax.patches if type(box).__name__ == "FancyBboxPatch"}
    assert edges >= {PHASE_COLOURS[name] for name in PHASES if name in PHASE_COLOURS} and len(edges) == 5
    texts = [text.get_text() for text in ax.texts]
    assert sum("stays" in text for text in texts) == 4 and sum("came" in text for text in texts) == 1
    moves = fit.transitions()
    assert f"{moves.loc[('decline', 'lost'), 'rate']:.2g}\n({moves.loc[('decline', 'lost'), 'moves']:,.0f})" in texts
    assert len(texts) == 5 + len(moves) and "a month" in ax.get_title(loc="left") + ax.get_title()
    labels = [text.get_text() for text in fit.plot_transitions(at=12).texts]
    assert any(text.endswith("at 12") for text in labels)
    grouped = lifecycle.fit_multistate(data.assign(g=np.where(data["customer_id"] % 2, "mail", "shop")), groups="g")
    assert [t.get_text() for t in grouped.plot().get_legend().get_texts()] == [*grouped.phases, "mail", "shop"]
    assert grouped.plot_transitions(group="mail").texts
    with pytest.raises(ValueError, match="group= is one of 'mail', 'shop'"):
        grouped.plot_transitions()
    fresh = lifecycle.fit_multistate(monthly(60, rng, late=0), clock="reset")
    reset = fresh.plot_occupancy(start="decline", unit="month")
    assert reset.get_xlabel() == "months since the phase was entered"
