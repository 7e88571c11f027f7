"""Lifecycle: the rule that makes phases, time in phase, and the generator behind the lessons."""

import datetime
from dataclasses import replace

import lifelines
import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from scipy.linalg import expm

from crmlab import counting, datasets, lifecycle, simulate, tables
from crmlab.lifecycle import PhaseRule, phases

COLUMNS = ["customer_id", "phase", "entry", "exit", "next_phase"]
RULE = PhaseRule(build_up_purchases=2, stable_purchases=3, stable_days=60, silence_days=30)


def log_of(**days):
    """A log from days since 2024-01-01 by customer."""
    rows = [(who, pd.Timestamp("2024-01-01") + pd.Timedelta(days=day)) for who, when in days.items() for day in when]
    return pd.DataFrame(rows, columns=["customer_id", "date"])


def listed(episodes):
    """Episodes as plain tuples, times in whole days."""
    return [
        (who, phase, round(entry), round(leaving), None if pd.isna(to) else to)
        for who, phase, entry, leaving, to in episodes[COLUMNS].itertuples(index=False)
    ]


def by_row(log, rule, until, clock="forward", observed_from=None, since=None):
    """The rule once more, in plain Python: a clerk who turns the calendar day by day and knows nothing of tomorrow.

    Returns tuples (customer, phase, entry, exit, next phase) in days. Nothing of it is taken from the package.
    """
    began_log = min(day for _, day in log)
    result = []
    for who in sorted({who for who, _ in log}):
        bought = {day for customer, day in log if customer == who and day <= until}
        if not bought:
            continue
        first = since[who] if since else min(bought)
        older = first < min(bought)
        phase, entered, known, spell, last = None, None, True, [], None
        stays = []
        for number in range((until - min(bought)).days + 1):
            today = min(bought) + datetime.timedelta(days=number)
            before = phase
            if today in bought:
                if phase is None:
                    spell = [today]
                    if not older:
                        phase = "exploration"
                    elif (today - began_log).days >= rule.silence_days:
                        phase = rule.back_to
                    else:
                        phase = "?"
                elif phase == "decline":
                    phase, spell = rule.back_to, [today]
                else:
                    spell.append(today)
                    recent = [day for day in spell if (today - day).days <= rule.stable_days]
                    if phase == "exploration" and len(spell) >= rule.build_up_purchases:
                        phase = "build-up"
                    if phase in ("build-up", "?") and len(recent) >= rule.stable_purchases:
                        known = phase != "?"
                        phase = "stability"
                last = today
            elif phase != "decline" and (today - last).days == rule.silence_days:
                phase = "decline"
            if phase != before:
                if before not in (None, "?"):
                    stays.append((before, entered, today, phase, known))
                    known = True
                entered = today
        if phase != "?":
            stays.append((phase, entered, until, None, known))
        for name, start, end, to, is_known in stays:
            seen = max(start, observed_from) if observed_from else start
            origin = first if clock == "forward" else start
            if seen < end and (is_known or clock == "forward"):
                result.append((who, name, (seen - origin).days, (end - origin).days, to))
    return result


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_the_rule_by_hand():
    # a: tries, comes back for two more within 60 days, is silent from day 20, returns on day 90 and builds up anew.
    # b: one purchase. c: keeps the log open until day 100. d: a gap of exactly 30 days is no silence.
    log = log_of(a=[0, 5, 20, 90, 95], b=[10], c=[0, 25, 50, 75, 100], d=[60, 90])
    assert listed(lifecycle.phase_episodes(log, "day", RULE)) == [
        ("a", "exploration", 0, 5, "build-up"),
        ("a", "build-up", 5, 20, "stability"),
        ("a", "stability", 20, 50, "decline"),
        ("a", "decline", 50, 90, "build-up"),
        ("a", "build-up", 90, 100, None),
        ("b", "exploration", 0, 30, "decline"),
        ("b", "decline", 30, 90, None),
        ("c", "exploration", 0, 25, "build-up"),
        ("c", "build-up", 25, 50, "stability"),
        ("c", "stability", 50, 100, None),
        ("d", "exploration", 0, 30, "build-up"),
        ("d", "build-up", 30, 40, None),
    ]


def test_decline_begins_when_the_threshold_is_crossed_and_not_before():
    log = log_of(a=[0], z=[29])
    assert listed(lifecycle.phase_episodes(log, "day", RULE)) == [("a", "exploration", 0, 29, None)]
    # On the day itself the move is known; the stay in decline has no length yet, and is said to be left out.
    episodes = lifecycle.phase_episodes(log_of(a=[0], z=[1, 30]), "day", RULE)
    assert listed(episodes)[0] == ("a", "exploration", 0, 30, "decline")
    assert (episodes["phase"] == "decline").sum() == 0
    assert episodes.attrs["left_out"] == {"begin on the last day": 2, "beginning not known": 0}


def test_several_rows_of_a_day_are_one_purchase():
    once = lifecycle.phase_episodes(log_of(a=[0, 5, 20], z=[70]), "day", RULE)
    often = lifecycle.phase_episodes(log_of(a=[0, 0, 0, 5, 5, 20], z=[70]), "day", RULE)
    assert listed(once) == listed(often)


def test_units_and_clocks_are_the_same_stays():
    log = datasets.load("cdnow_sample")
    days = lifecycle.phase_episodes(log, "day")
    for unit, length in (("week", 7), ("month", 365.25 / 12), ("year", 365.25)):
        other = lifecycle.phase_episodes(log, unit)
        np.testing.assert_allclose(other[["entry", "exit"]] * length, days[["entry", "exit"]], atol=1e-9)
        assert other.drop(columns=["entry", "exit"]).equals(days.drop(columns=["entry", "exit"]))
    reset = lifecycle.phase_episodes(log, "day", clock="reset")
    assert (reset["entry"] == 0).all()
    np.testing.assert_array_equal(reset["exit"], days["exit"] - days["entry"])
    # A customer's stays follow each other without gap, and lead to where the next one is.
    same = days["customer_id"].eq(days["customer_id"].shift())
    assert (days["entry"][same] == days["exit"].shift()[same]).all()
    assert (days["phase"][same].astype(str) == days["next_phase"].shift()[same].astype(str)).all()


RULES = [
    PhaseRule(),
    RULE,
    PhaseRule(silence_days=60, back_to="exploration"),
    PhaseRule(build_up_purchases=3, stable_purchases=6, stable_days=90, silence_days=120),
]


def rows_of(log):
    return list(zip(log["customer_id"], log["date"].dt.date))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("clock", ["forward", "reset"])
def test_a_clerk_who_turns_the_calendar_finds_the_same_on_cdnow(rule, clock):
    log = datasets.load("cdnow_sample")
    some = log[log["customer_id"].isin(log["customer_id"].drop_duplicates().sample(400, random_state=1))]
    until = datetime.date(1998, 6, 30)
    ours = lifecycle.phase_episodes(some, "day", rule, clock, observed_until=until)
    assert listed(ours) == by_row(rows_of(some), rule, until, clock)
    opening = datetime.date(1997, 10, 1)
    late = lifecycle.phase_episodes(some, "day", rule, clock, observed_from=opening, observed_until=until)
    assert listed(late) == by_row(rows_of(some), rule, until, clock, observed_from=opening)


@st.composite
def small_logs(draw):
    who = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
    days = draw(st.lists(st.integers(0, 120), min_size=len(who), max_size=len(who)))
    start = datetime.date(2024, 1, 1)
    return [(name, start + datetime.timedelta(days=day)) for name, day in zip(who, days)]


@settings(max_examples=40, deadline=None)
@given(
    log=small_logs(),
    silence=st.integers(1, 40),
    stable_days=st.integers(3, 60),
    back_to=st.sampled_from(["build-up", "exploration"]),
    opening=st.none() | st.integers(0, 60),
    clock=st.sampled_from(["forward", "reset"]),
    cut=st.integers(0, 30),
    data=st.data(),
)
def test_a_clerk_finds_the_same_on_any_log(log, silence, stable_days, back_to, opening, clock, cut, data):
    rule = PhaseRule(2, 4, stable_days, silence, back_to)
    start, until = min(day for _, day in log), max(day for _, day in log) - datetime.timedelta(days=cut)
    observed_from = None if opening is None else start + datetime.timedelta(days=opening)
    firsts = {who: min(day for customer, day in log if customer == who) for who, _ in log}
    older = data.draw(st.booleans())
    if older:
        firsts = {
            who: data.draw(st.sampled_from([day, start - datetime.timedelta(days=9)])) for who, day in firsts.items()
        }
    frame = pd.DataFrame(log, columns=["customer_id", "date"])
    frame["joined"] = pd.to_datetime(frame["customer_id"].map(firsts))
    frame["date"] = pd.to_datetime(frame["date"])
    expected = by_row(log, rule, until, clock, observed_from, firsts if older else None)
    arguments = ("day", rule, clock, observed_from, until, "joined" if older else None)
    if not any(day <= until for _, day in log) or not expected:
        with pytest.raises(ValueError, match="nobody is followed|lies before the first purchase"):
            lifecycle.phase_episodes(frame, *arguments)
        return
    assert listed(lifecycle.phase_episodes(frame, *arguments)) == expected


def test_only_what_was_known_at_the_time_is_used():
    """A log that ends earlier gives the same stays, cut off at its end."""
    log = datasets.load("cdnow_sample")
    whole = lifecycle.phase_episodes(log, "day")
    for end in ("1997-06-30", "1997-12-31", "1998-03-31"):
        cut = lifecycle.phase_episodes(log[log["date"] <= end], "day", observed_until=end)
        first = log.groupby("customer_id")["date"].min()
        limit = (pd.Timestamp(end) - whole["customer_id"].map(first)).dt.days
        expected = whole[whole["entry"] < limit]
        limit = limit[expected.index]
        over = expected["exit"] > limit
        expected = expected.assign(
            exit=expected["exit"].mask(over, limit), next_phase=expected["next_phase"].mask(over)
        )
        assert listed(cut) == listed(expected)


def test_customers_older_than_the_log():
    log = log_of(
        known=[3, 10, 20, 70],  # stable on day 20 for certain; before that it may have been anything but new
        silent=[40, 45],  # 40 days without a purchase: a return, whatever was before
        unknown=[5, 80],  # taken up when its silence is complete
        young=[10, 30],
        end=[0, 100],
    )
    day = pd.Timestamp("2024-01-01")
    joined = {"known": -300, "silent": -10, "unknown": -50, "young": 10, "end": 0}
    log["joined"] = log["customer_id"].map({who: day + pd.Timedelta(days=n) for who, n in joined.items()})
    episodes = lifecycle.phase_episodes(log, "day", RULE, since="joined")
    assert [row for row in listed(episodes) if row[0] in ("known", "silent", "unknown", "young")] == [
        ("known", "stability", 320, 350, "decline"),
        ("known", "decline", 350, 370, "build-up"),
        ("known", "build-up", 370, 400, "decline"),
        ("silent", "build-up", 50, 85, "decline"),
        ("silent", "decline", 85, 110, None),
        ("unknown", "decline", 85, 130, "build-up"),
        ("unknown", "build-up", 130, 150, None),
        ("young", "exploration", 0, 20, "build-up"),
        ("young", "build-up", 20, 50, "decline"),
        ("young", "decline", 50, 90, None),
    ]
    reset = lifecycle.phase_episodes(log, "day", RULE, "reset", since="joined")
    assert "stability" not in set(reset.loc[reset["customer_id"] == "known", "phase"])
    assert reset.attrs["left_out"]["beginning not known"] == 1
    for wrong, shown in (("young", 20), ("young", 5)):
        bad = log.assign(joined=log["joined"].mask(log["customer_id"] == wrong, day + pd.Timedelta(days=shown)))
        with pytest.raises(ValueError, match="column 'joined': 1 customers .*young"):
            lifecycle.phase_episodes(bad, "day", RULE, since="joined")
    with pytest.raises(ValueError, match="not dates"):
        lifecycle.phase_episodes(log.assign(joined="2024-01-01"), "day", RULE, since="joined")


def test_delayed_entry_is_not_immortal_time():
    """Following customers from a later day on gives the same hazards, on fewer days at risk."""
    log = simulate.shop(3000, years=2, rate=6, seed=2)
    whole = lifecycle.phase_episodes(log, "day", RULE, "reset")
    late = lifecycle.phase_episodes(log, "day", RULE, "reset", observed_from="2025-01-01")
    assert (late["entry"] > 0).sum() > 100 and len(late) < len(whole)
    ours = lifecycle.fit_time_in_phase(late, "stability", clock="reset").survival([60, 120, 240], level=0.99)
    truth = lifecycle.fit_time_in_phase(whole, "stability", clock="reset").survival([60, 120, 240])
    assert ((ours["lower"] < truth) & (truth < ours["upper"])).all()


def test_columns_come_along_as_they_stood_at_the_first_purchase():
    log = log_of(a=[0, 5, 20], b=[10, 12], z=[70]).assign(channel=["web", "shop", "shop", "shop", "web", "web"])
    episodes = lifecycle.phase_episodes(log.iloc[::-1], "day", RULE, also="channel")
    assert episodes.groupby("customer_id")["channel"].unique().map(list).to_dict() == {"a": ["web"], "b": ["shop"]}
    on_a_table = lifecycle.phase_episodes(
        tables.transactions(log, amount=None, also="channel"), "day", RULE, also="channel"
    )
    assert on_a_table.equals(episodes)


def test_files_and_frames_agree(tmp_path):
    log = datasets.load("cdnow_sample")
    log.to_parquet(tmp_path / "log.parquet")
    from_file = lifecycle.phase_episodes(tmp_path / "log.parquet")
    assert from_file.equals(lifecycle.phase_episodes(log))


def test_stays_with_dates_count_where_they_lie():
    log = datasets.load("cdnow_sample")
    stays = lifecycle.phase_stays(log)
    moves = counting.transition_counts(tables.episodes(stays, next_phase="next_phase"), unit="day").to_pandas()
    episodes = lifecycle.phase_episodes(log, "day", clock="reset")
    counted = episodes.groupby(["phase", "next_phase"], observed=True).size()
    there = moves.dropna().groupby(["phase", "next_phase"])["stays"].sum()
    assert {key: n for key, n in counted.items() if n} == there.to_dict()
    frame = stays.to_pandas()
    assert (frame["start"] == frame["begun"]).all()


def test_a_rule_that_contradicts_itself():
    for change, message in (
        ({"build_up_purchases": 4}, "more than build_up_purchases"),
        ({"build_up_purchases": 1}, "2 or more"),
        ({"silence_days": 0}, "1 or more"),
        ({"silence_days": 30.5}, "whole number"),
        ({"stable_days": 2}, "too short for 4 days"),
        ({"back_to": "stability"}, "back_to= is one of"),
    ):
        with pytest.raises(ValueError, match=message):
            PhaseRule(**change)
    with pytest.raises(TypeError, match="PhaseRule"):
        lifecycle.phase_episodes(log_of(a=[0, 5]), rule={"silence_days": 30})


def test_arguments_and_logs_that_cannot_be_used():
    log = log_of(a=[0, 5])
    for arguments, message in (
        ({"unit": "fortnight"}, "unit= is one of"),
        ({"clock": "calendar"}, "clock= is one of"),
        ({"observed_from": "2025-01-01"}, "nobody is followed"),
        ({"customer": "who"}, "needs a column 'who'"),
        ({"also": "channel"}, "needs a column 'channel'"),
        ({"observed_until": "2023-01-01"}, "observed_until= .2023-01-01. lies before the first purchase of the log"),
    ):
        with pytest.raises(ValueError, match=message):
            lifecycle.phase_episodes(log, **arguments)
    with pytest.raises(ValueError, match="no rows"):
        lifecycle.phase_episodes(log.iloc[:0])


def test_sensitivity_against_counting_by_hand():
    log = datasets.load("cdnow_sample")
    table = lifecycle.rule_sensitivity(log, silence_days=(60, 182), stable_purchases=(3, 4), horizon=52, within=20)
    assert table.index.names == ["silence_days", "stable_purchases"] and len(table) == 4
    # Everybody is followed for 52 weeks from the first purchase, so the share is a plain one.
    rule = replace(PhaseRule(), silence_days=60, stable_purchases=3)
    episodes = lifecycle.phase_episodes(log, "week", rule)
    reached = episodes[(episodes["phase"] == "stability") & (episodes["entry"] <= 52)]["customer_id"].nunique()
    assert table["stable"][60, 3] == pytest.approx(reached / 2357, abs=1e-12)
    silent = episodes[(episodes["phase"] == "decline") & (episodes["entry"] <= 52)]["customer_id"].nunique()
    assert table["silent"][60, 3] == pytest.approx(silent / 2357, abs=1e-12)
    firsts = episodes[episodes["phase"] == "decline"].drop_duplicates("customer_id")
    curve = lifelines.KaplanMeierFitter().fit((firsts["exit"] - firsts["entry"]).round(6), firsts["next_phase"].notna())
    assert table["back"][60, 3] == pytest.approx(1 - curve.predict(20), abs=1e-9)
    # The longer one waits before calling it silence, the fewer are silent, and the fewer of them come back.
    one = lifecycle.rule_sensitivity(log, silence_days=(30, 90, 270))
    assert one["silent"].is_monotonic_decreasing and one["back"].is_monotonic_decreasing
    with pytest.raises(ValueError, match="a threshold= is one of"):
        lifecycle.rule_sensitivity(log, quiet_days=(3,))
    with pytest.raises(ValueError, match="name a threshold"):
        lifecycle.rule_sensitivity(log)
    # Missing where one rule's data end; refused where the data of all rules do.
    short = lifecycle.rule_sensitivity(log, silence_days=(91, 182), within=60)
    assert short["back"].isna().tolist() == [False, True]
    for change, message in (
        (
            {"within": 200},
            "within= .200. lies beyond the data: nobody was followed for more than 64.9 weeks after a decline",
        ),
        ({"horizon": 200}, "horizon= .200. lies beyond.*77.9 weeks after a first purchase"),
        ({"within": "x"}, "within= is a number"),
        ({"horizon": -1}, "0 or more; got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            lifecycle.rule_sensitivity(log, silence_days=(91, 182), **change)


def test_the_figure_of_stays_shows_each():
    log = datasets.load("cdnow_sample")
    episodes = lifecycle.phase_episodes(log)
    ids = ["00004", "00018", "00111"]
    ax = lifecycle.plot_episodes(episodes, ids, purchases=log)
    assert len(ax.patches) == episodes["customer_id"].isin(ids).sum()
    assert [label.get_text() for label in ax.get_yticklabels()] == ids
    assert len(ax.lines[0].get_xdata()) == len(
        log[log["customer_id"].isin(ids)].drop_duplicates(["customer_id", "date"])
    )
    assert "weeks" in ax.get_xlabel()
    bars = {to_hex(bar.get_facecolor()).upper() for bar in ax.patches}
    assert bars == {phases.PHASE_COLOURS[name] for name in episodes[episodes["customer_id"].isin(ids)]["phase"]}
    # The times of customers older than the log run from the day that `since` says, and so do the marks.
    older = log.assign(joined=log.groupby("customer_id")["date"].transform("min")).query("date >= '1997-07-01'")
    since = lifecycle.phase_episodes(older, since="joined")
    mine = older[older["customer_id"] == "00004"]
    ax = lifecycle.plot_episodes(since, ["00004"], purchases=older)
    assert ax.lines[0].get_xdata() == pytest.approx((mine["date"] - mine["joined"]).dt.days.unique() / 7)
    with pytest.raises(ValueError, match="made with since='joined'.*which the log lacks"):
        lifecycle.plot_episodes(since, ["00004"], purchases=log)
    with pytest.raises(ValueError, match="no stay of customer 'nobody'"):
        lifecycle.plot_episodes(episodes, ["nobody"])
    with pytest.raises(ValueError, match="forward"):
        lifecycle.plot_episodes(lifecycle.phase_episodes(log, clock="reset"))


# --- time in phase ------------------------------------------------------------------------------------------------------


def durations(rng, size, *, shape=1.3, scale=10.0, late=0.0, ties=False, channels=("web", "shop")):
    """Stays in one phase on the clock that is reset, some of them entered late; those over before are not in the table."""
    lasts, follow = scale * rng.weibull(shape, size), rng.uniform(2, 25, size)
    entry = np.where(rng.uniform(size=size) < late, rng.uniform(0, 6, size), 0.0)
    if ties:
        lasts, follow, entry = np.ceil(lasts), np.ceil(follow), np.floor(entry)
    table = pd.DataFrame({"customer_id": np.arange(size), "phase": "build-up", "entry": entry})
    table["exit"] = np.minimum(lasts, follow)
    table["next_phase"] = np.where(lasts <= follow, "decline", None)
    table["channel"] = rng.choice(channels, size)
    return table[table["exit"] > table["entry"]].reset_index(drop=True)


def to_r(table, folder):
    """The stays as a file, which R reads: a command line holds only so many numbers."""
    rows = table[["entry", "exit"]].set_axis(["entry", "leave"], axis=1)
    rows = rows.assign(left=table["next_phase"].notna().astype(int), group=pd.factorize(table["channel"], sort=True)[0])
    rows.to_csv(folder / "stays.csv", index=False)
    return f"library(survival); attach(read.csv({str(folder / 'stays.csv')!r}));"


@pytest.mark.parametrize("ties", [False, True])
def test_kaplan_meier_agrees_with_r(r, rng, tmp_path, ties):
    table = durations(rng, 200, late=0.4, ties=ties)
    fit = lifecycle.fit_time_in_phase(table, "build-up", clock="reset")
    times = np.array([1.0, 3, 5.5, 9, 14])
    survival, lower, upper, mean, quartiles = r(
        to_r(table, tmp_path)
        + f"""
        fit <- survfit(Surv(entry, leave, left) ~ 1, conf.type = "log-log")
        s <- summary(fit, times = c({", ".join(map(str, times))}))
        cat(s$surv, "\\n", s$lower, "\\n", s$upper, "\\n")
        cat(summary(fit, rmean = 14)$table[c("rmean", "se(rmean)")], "\\n")
        cat(unlist(quantile(fit, c(0.25, 0.5))), "\\n")
        """
    )
    ours = fit.survival(times, level=0.95)
    np.testing.assert_allclose(ours["estimate"], survival, rtol=1e-10)
    np.testing.assert_allclose(ours[["lower", "upper"]].T, [lower, upper], rtol=1e-8)
    np.testing.assert_allclose(fit.restricted_mean(14)[["estimate", "std_error"]].iloc[0], mean, rtol=1e-8)
    found = pd.concat([fit.quantile(q) for q in (0.25, 0.5)])[["estimate", "lower", "upper"]].T.to_numpy().ravel()
    np.testing.assert_allclose(found, quartiles, rtol=1e-10)


@pytest.mark.parametrize("ties", [False, True])
def test_logrank_agrees_with_r(r, rng, tmp_path, ties):
    three = ("phone", "shop", "web")
    table = durations(rng, 240, ties=ties, channels=three)
    (chisq,) = r(to_r(table, tmp_path) + "cat(survdiff(Surv(leave, left) ~ group)$chisq)")
    ours = lifecycle.fit_time_in_phase(table, "build-up", "channel", clock="reset").logrank()
    assert ours["statistic"] == pytest.approx(chisq[0], rel=1e-9) and ours["df"] == 2
    # With delayed entry R has it as the score test of a Cox model.
    late = durations(rng, 40 if ties else 150, late=0.5, ties=ties)
    (score,) = r(to_r(late, tmp_path) + 'cat(coxph(Surv(entry, leave, left) ~ group, ties = "exact")$score)')
    ours = lifecycle.fit_time_in_phase(late, "build-up", "channel", clock="reset").logrank()
    assert ours["statistic"] == pytest.approx(score[0], rel=1e-7) and ours["df"] == 1


def test_logrank_agrees_with_lifelines(rng):
    table = durations(rng, 300)
    ours = lifecycle.fit_time_in_phase(table, "build-up", "channel", clock="reset").logrank()
    theirs = lifelines.statistics.multivariate_logrank_test(
        table["exit"], table["channel"], table["next_phase"].notna()
    )
    assert ours["statistic"] == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours["p_value"] == pytest.approx(theirs.p_value, rel=1e-9)


def test_stays_counted_are_stays_in_rows(rng):
    """A table and the same table a hundred times over: the same curve, errors a tenth."""
    table = durations(rng, 150, late=0.3, ties=True)
    many = pd.concat([table] * 100, ignore_index=True)
    one, hundred = (lifecycle.fit_time_in_phase(t, "build-up", clock="reset") for t in (table, many))
    assert len(hundred.counts) == len(one.counts) and hundred.nobs == 100 * one.nobs
    np.testing.assert_allclose(one.survival([2, 5, 9]), hundred.survival([2, 5, 9]), rtol=1e-12)
    ratio = one.restricted_mean(9)["std_error"] / hundred.restricted_mean(9)["std_error"]
    assert ratio.item() == pytest.approx(10, rel=1e-9)
    for model in ("weibull", "lognormal"):
        few, lots = (lifecycle.fit_duration(t, "build-up", model, clock="reset") for t in (table, many))
        np.testing.assert_allclose(few.params, lots.params, rtol=1e-4)
        assert lots.loglik == pytest.approx(100 * few.loglik, rel=1e-7)
        np.testing.assert_allclose(few.cov, 100 * lots.cov, rtol=1e-2)


def test_groups_are_each_its_own(rng):
    table = durations(rng, 300)
    together = lifecycle.fit_time_in_phase(table, "build-up", "channel", clock="reset")
    for name, rows in table.groupby("channel"):
        alone = lifecycle.fit_time_in_phase(rows, "build-up", clock="reset")
        assert together.survival([3, 9]).loc[name].tolist() == alone.survival([3, 9]).tolist()
        assert together.quantile().loc[name].tolist() == alone.quantile().iloc[0].tolist()
    summary = together.summary()
    assert summary.index.names == ["channel", "parameter"] and len(summary) == 4
    assert list(summary.columns) == ["estimate", "std_error", "lower", "upper"]
    ax = together.plot()
    assert len(ax.lines) == 2 and "build-up" in ax.get_xlabel()


def test_visits_of_one_customer():
    rows = [("a", "build-up", 0, 4, "decline"), ("a", "decline", 4, 6, "build-up"), ("a", "build-up", 6, 7, "decline"), ("b", "build-up", 0, 5, None)]  # fmt: skip
    episodes = pd.DataFrame(rows, columns=COLUMNS)
    both = lifecycle.fit_time_in_phase(episodes, "build-up")
    assert (both.nobs, both.customers) == (3, 2)
    assert both.survival([1, 4]).tolist() == pytest.approx([2 / 3, 1 / 3])
    first = lifecycle.fit_time_in_phase(episodes, "build-up", visits="first")
    assert first.nobs == 2 and first.survival(4) == 0.5
    with pytest.raises(ValueError, match="observed for 5 time units: beyond it nothing is known; got t=5.1"):
        first.survival([1, 5.1])
    # One group may end before another.
    groups = lifecycle.fit_time_in_phase(episodes.assign(g=list("xxxy"), next_phase=None), "build-up", "g")
    assert groups.survival(5)["y"].item() == 1 and np.isnan(groups.survival(5)["x"].item())


def test_nobody_left_or_all_at_once():
    alike = pd.DataFrame({"phase": "build-up", "entry": 0.0, "exit": [5.0] * 4, "next_phase": None})
    fit = lifecycle.fit_time_in_phase(alike, "build-up")
    assert fit.survival([0, 5]).tolist() == [1, 1] and np.isinf(fit.quantile().to_numpy()).all()
    assert fit.restricted_mean(5).iloc[0].tolist() == [5, 0, 5, 5]
    with pytest.raises(ValueError, match="no stay in 'build-up' was seen to end"):
        lifecycle.fit_duration(alike, "build-up")
    gone = lifecycle.fit_time_in_phase(alike.assign(next_phase="decline"), "build-up")
    assert gone.survival([4.9, 5, 6]).tolist() == [1, 0, 0] and gone.quantile()["estimate"].item() == 5
    assert gone.survival(5, level=0.95)[["lower", "upper"]].isna().all(axis=None)


def test_stays_that_cannot_be_used(rng):
    table = durations(rng, 20)
    for change, message in (
        ({"exit": np.nan}, "column 'exit': 20 of 20 rows.*give the time as a number"),
        ({"entry": ["a", *table["entry"][1:]]}, "column 'entry': 1 of 20 rows.*row 0: customer_id 0,.* entry a"),
        ({"exit": table["entry"]}, "column 'exit': 20 of 20 rows.*customer_id 2,.*a stay has a length"),
        (
            {"next_phase": [" ", *table["next_phase"][1:]]},
            "column 'next_phase': 1 of 20 rows.*leave next_phase missing",
        ),
        ({"channel": None}, "column 'channel': 20 of 20.*a level of their own"),
        ({"phase": "decline"}, "nobody was in the phase 'build-up'; there are: 'decline'"),
    ):
        with pytest.raises(ValueError, match=message):
            lifecycle.fit_time_in_phase(table.assign(**change), "build-up", "channel", clock="reset")
    with pytest.raises(ValueError, match="carry it along.*also='basket'"):
        lifecycle.fit_time_in_phase(table, "build-up", "basket", clock="reset")
    with pytest.raises(ValueError, match="needs a column 'next_phase'"):
        lifecycle.fit_time_in_phase(table.drop(columns="next_phase"), "build-up")
    with pytest.raises(TypeError, match="DataFrame"):
        lifecycle.fit_time_in_phase(table["exit"], "build-up")
    with pytest.raises(ValueError, match="compares groups"):
        lifecycle.fit_time_in_phase(table, "build-up", clock="reset").logrank()
    fit = lifecycle.fit_time_in_phase(table, "build-up", clock="reset")
    for call in (
        lambda: fit.survival(-1),
        lambda: fit.quantile(1),
        lambda: fit.restricted_mean(1e6),
        lambda: fit.survival(1, 95),
        lambda: fit.survival(["a"]),
        lambda: fit.restricted_mean("a"),
    ):
        with pytest.raises(ValueError, match="0 or more|between 0 and 1|not beyond the longest|is a number or a list"):
            call()
    episodes = lifecycle.phase_episodes(datasets.load("cdnow_sample"), clock="reset")
    with pytest.raises(ValueError, match="say clock='reset'"):
        lifecycle.fit_time_in_phase(episodes, "build-up")
    with pytest.raises(ValueError, match="model= is one of"):
        lifecycle.fit_duration(table, "build-up", "gompertz")
    with pytest.raises(ValueError, match="models= names at least one of 'exponential'"):
        lifecycle.compare_durations(table, "build-up", models=(), clock="reset")
    alike = table.assign(entry=0.0, exit=5.0)
    for following, message in (
        (None, "no stay in 'build-up' was seen to end in any group"),
        ("decline", "groups cannot be compared"),
    ):
        with pytest.raises(ValueError, match=message):
            lifecycle.fit_time_in_phase(alike.assign(next_phase=following), "build-up", "channel").logrank()


def test_a_stay_that_was_under_way_is_no_fresh_one():
    log = datasets.load("cdnow_sample")
    late, counted, reset = (
        lifecycle.phase_episodes(log, observed_from="1997-10-01", **how)
        for how in ({}, {"counted": True}, {"clock": "reset"})
    )
    assert late.attrs["entered_late"] == counted.attrs["entered_late"] == 2357
    stability = lifecycle.fit_time_in_phase(reset, "stability", clock="reset").survival([13, 26])
    assert stability.round(2).tolist() == [1.0, 0.76]
    plain = late.copy()
    plain.attrs = {}
    for table, how in ((late, {}), (counted, {}), (plain, {}), (late, {"visits": "first"})):
        with pytest.raises(ValueError, match="column 'entry': .*under way when.*phase_episodes.*clock='reset'"):
            lifecycle.fit_time_in_phase(table, "stability", **how)
    for work in (lifecycle.fit_duration, lifecycle.compare_durations):
        with pytest.raises(ValueError, match="column 'entry'"):
            work(late, "stability")
    # Nobody was late in a log from its first day on: then some of the stays may be taken for themselves, in any order.
    whole = lifecycle.phase_episodes(log)
    assert whole.attrs["entered_late"] == 0
    full = lifecycle.fit_time_in_phase(whole, "stability").survival([13, 26])
    alone = whole[whole["phase"] == "stability"]
    assert lifecycle.fit_time_in_phase(alone, "stability").survival([13, 26]).equals(full)
    # A table of another origin shows by the stays before; pieces of a stay are one.
    whole.attrs = {}
    middle = (whole["entry"] + whole["exit"]) / 2
    pieces = pd.concat(
        [whole.assign(exit=middle, next_phase=whole["next_phase"].where(middle < 0)), whole.assign(entry=middle)]
    )  # fmt: skip
    for table in (whole.sample(frac=1, random_state=1), pieces):
        assert lifecycle.fit_time_in_phase(table, "stability").survival([13, 26]).tolist() == pytest.approx(
            full.tolist()
        )
    with pytest.raises(ValueError, match="put back the customers' earlier stays"):
        lifecycle.fit_time_in_phase(whole[whole["phase"] == "stability"], "stability")


def test_the_first_visit_is_the_earliest_in_whatever_order_the_rows_are():
    log = datasets.load("cdnow_sample")
    episodes, reset = lifecycle.phase_episodes(log), lifecycle.phase_episodes(log, clock="reset")
    first = lifecycle.fit_time_in_phase(episodes, "decline", visits="first")
    assert first.survival([13, 26]).round(3).tolist() == [0.89, 0.821]
    for table in (episodes.sample(frac=1, random_state=0), episodes.sort_values("entry", ascending=False)):
        found = lifecycle.fit_time_in_phase(table, "decline", visits="first")
        pd.testing.assert_frame_equal(found.counts, first.counts)
    # Times that begin anew with every phase do not tell.
    with pytest.raises(ValueError, match="column 'customer_id': 284 of.*clock='forward'.*first_visit"):
        lifecycle.fit_time_in_phase(reset, "decline", clock="reset", visits="first")
    marked = reset.assign(first_visit=~reset.duplicated(["customer_id", "phase"])).sample(frac=1, random_state=0)
    found = lifecycle.fit_time_in_phase(marked, "decline", clock="reset", visits="first")
    assert found.survival([13, 26]).tolist() == pytest.approx(first.survival([13, 26]).tolist())


def test_counts_weigh_by_whatever_they_call_their_customers():
    rows = [("new", 0, 1, "loyal", 60), ("new", 0, 1, "gone", 20), ("new", 0, 3, None, 20)]
    for name in ("customers", "stays"):
        counts = pd.DataFrame(rows, columns=["phase", "entry", "exit", "next_phase", name])
        fit = lifecycle.fit_time_in_phase(counts, "new")
        assert fit.nobs == 100 and fit.survival(1) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="column 'stays': 1 of 3.*number above 0"):
        lifecycle.fit_time_in_phase(counts.assign(stays=[60, -20, 20]), "new")


# --- parametric time in phase -------------------------------------------------------------------------------------------


def test_parametric_models_agree_with_r(r, rng, tmp_path):
    table = durations(rng, 300)
    models = {
        "exponential": "exponential",
        "weibull": "weibull",
        "lognormal": "lognormal",
        "loglogistic": "loglogistic",
    }
    calls = "; ".join(
        f'f <- survreg(Surv(leave, left) ~ 1, dist = "{name}"); cat(coef(f), f$scale, f$loglik[1], "\\n")'
        for name in models.values()
    )
    for model, (location, spread, loglik) in zip(models, r(to_r(table, tmp_path) + calls)):
        fit = lifecycle.fit_duration(table, "build-up", model, clock="reset")
        theirs = {
            "exponential": [np.exp(location)],
            "weibull": [np.exp(location), 1 / spread],
            "lognormal": [location, spread],
            "loglogistic": [np.exp(location), 1 / spread],
        }[model]
        np.testing.assert_allclose(fit.params, theirs, rtol=1e-4)
        assert fit.loglik == pytest.approx(loglik, abs=1e-5)


@pytest.mark.parametrize("model", ["exponential", "weibull", "lognormal", "loglogistic"])
def test_late_entries_are_conditioned_on(rng, model):
    """The log-likelihood written out: density over the survivor function at entry, in the unit of the data."""
    table = durations(rng, 250, late=0.5)
    fit = lifecycle.fit_duration(table, "build-up", model, clock="reset")
    frozen = {
        "exponential": lambda p: scipy.stats.expon(scale=p[0]),
        "weibull": lambda p: scipy.stats.weibull_min(p[1], scale=p[0]),
        "lognormal": lambda p: scipy.stats.lognorm(p[1], scale=np.exp(p[0])),
        "loglogistic": lambda p: scipy.stats.fisk(p[1], scale=p[0]),
    }[model]
    left = table["next_phase"].notna()

    def loglik(params):
        law = frozen(params)
        return (
            np.where(left, law.logpdf(table["exit"]), law.logsf(table["exit"])).sum() - law.logsf(table["entry"]).sum()
        )

    assert fit.loglik == pytest.approx(loglik(fit.params.to_numpy()), rel=1e-9)
    from statsmodels.tools.numdiff import approx_fprime, approx_hess

    np.testing.assert_allclose(approx_fprime(fit.params.to_numpy(), loglik, centered=True), 0, atol=0.02)
    np.testing.assert_allclose(
        fit.cov, np.linalg.inv(-approx_hess(fit.params.to_numpy(), loglik)), rtol=5e-3, atol=1e-6
    )
    times = np.array([0.0, 2, 8, 30])
    np.testing.assert_allclose(fit.survival(times), frozen(fit.params.to_numpy()).sf(times), rtol=1e-9)
    # The band against draws of the parameters.
    draws = rng.multivariate_normal(fit.params, fit.cov, 20_000)
    spread = np.std([np.log(-frozen(p).logsf(8.0)) for p in draws[:2000]])
    band = fit.survival([8.0], level=0.95)[["lower", "upper"]].to_numpy()[0]
    assert np.diff(np.log(-np.log(band[::-1])))[0] / (2 * 1.96) == pytest.approx(spread, rel=0.1)


def test_weibull_intervals_cover(rng):
    truth = np.exp(-((8.0 / 10.0) ** 1.3))
    covered, estimates = [], []
    for _ in range(200):
        table = durations(rng, 150, late=0.3)
        fit = lifecycle.fit_duration(table, "build-up", clock="reset")
        curve = lifecycle.fit_time_in_phase(table, "build-up", clock="reset")
        summary, both = fit.summary(), [x.survival([8.0], level=0.95).iloc[0] for x in (fit, curve)]
        inside = [row["lower"] <= truth <= row["upper"] for row in both]
        known = [
            summary["lower"][name] <= value <= summary["upper"][name] for name, value in (("lambda", 10), ("rho", 1.3))
        ]
        covered.append(inside + known)
        estimates.append(fit.params)
    # Three Monte Carlo errors of a share of 0.95 in 200.
    assert (np.abs(np.mean(covered, axis=0) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)).all(), np.mean(covered, axis=0)
    bias = pd.DataFrame(estimates)
    assert (np.abs(bias.mean() / [10, 1.3] - 1) < 0.02).all()


def test_restricted_mean_covers(rng):
    truth = scipy.integrate.quad(lambda t: np.exp(-((t / 10.0) ** 1.3)), 0, 12)[0]
    covered = []
    for _ in range(400):
        row = (
            lifecycle.fit_time_in_phase(durations(rng, 150, late=0.3), "build-up", clock="reset")
            .restricted_mean(12)
            .iloc[0]
        )
        covered.append(row["lower"] <= truth <= row["upper"])
    assert np.mean(covered) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 400))


def test_the_scale_of_time_does_not_matter(rng):
    table = durations(rng, 200, late=0.3)
    fit = lifecycle.fit_duration(table, "build-up", "lognormal", clock="reset")
    for factor in (1e-4, 1e5):
        other = table.assign(entry=table["entry"] * factor, exit=table["exit"] * factor)
        again = lifecycle.fit_duration(other, "build-up", "lognormal", clock="reset")
        assert again.params["mu"] == pytest.approx(fit.params["mu"] + np.log(factor), rel=1e-4)
        assert again.params["sigma"] == pytest.approx(fit.params["sigma"], rel=1e-4)
        np.testing.assert_allclose(again.cov, fit.cov, rtol=1e-3)


def test_models_are_ranked_and_held_against_the_data(rng):
    table = durations(rng, 5000, shape=2.0)
    ranked = lifecycle.compare_durations(table, "build-up", clock="reset")
    assert ranked.index[0] == "weibull" and ranked["aic"].is_monotonic_increasing
    assert ranked["largest_gap"]["weibull"] < 0.03 < 0.1 < ranked["largest_gap"]["exponential"]
    assert ranked["outside"]["weibull"] < 0.25 and ranked.attrs["largest_step"] < 0.01
    fit = lifecycle.fit_duration(table, "build-up", clock="reset")
    assert ranked["aic"]["weibull"] == fit.aic
    ax = fit.plot()
    lifecycle.fit_duration(table, "build-up", "exponential", clock="reset").plot(ax)
    assert [line.get_label() for line in ax.lines] == ["Kaplan-Meier", "Weibull", "exponential"]


def test_a_phase_that_a_rule_ends_after_a_wait_is_fitted_by_nothing():
    episodes = lifecycle.phase_episodes(datasets.load("cdnow"))
    ranked = lifecycle.compare_durations(episodes, "exploration")
    # Five stays of eight end after 26 weeks to the day: the rule's wait, not the customers'.
    assert ranked.attrs["largest_step"] > 14_700 / 23_570
    assert ranked.attrs == {
        "largest_step": pytest.approx((episodes.query("phase == 'exploration'")["exit"] == 26).mean()),
        "at": 26.0,
    }
    assert (ranked["largest_gap"] > 0.3).all() and (ranked["at"] == 26).all()
    # What no rule ends is fitted far better.
    assert lifecycle.compare_durations(episodes, "decline")["largest_gap"].min() < 0.02


# --- the generator ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_generated_lifecycles_have_the_occupancy_they_say(ties):
    stays = simulate.lifecycle(20_000, months=60, joining=20, ties=ties, seed=3)
    times = [3, 12, 30]
    truth = simulate.lifecycle_occupancy(times, ties=ties)
    # Everybody is followed for 40 months, so the shares are plain ones.
    for time in times:
        there = stays[(stays["entry"] <= time) & (stays["exit"] > time)]
        shares = there["phase"].value_counts() / 20_000
        error = np.sqrt(truth.loc[time] * (1 - truth.loc[time]) / 20_000)
        assert (np.abs(shares[truth.columns] - truth.loc[time]) < 4 * error + 1e-12).all()
    if ties:
        assert (stays[["entry", "exit"]] % 1 == 0).all(axis=None)


def test_generated_rates_are_the_hazards_in_every_cell():
    stays = simulate.lifecycle(40_000, lost_sight=0.01, observed_from=6, seed=4)
    stays["exposure"] = stays["exit"] - stays["entry"]
    assert (stays["entry"] > 0).groupby(stays["customer_id"]).first().mean() > 0.1  # some are entered late
    truth = simulate.LIFECYCLE
    for (origin, target), hazard in truth["hazards"].items():
        for (channel, grade, service), rows in stays[stays["phase"] == origin].groupby(["channel", "grade", "service"]):
            spec = truth["effects"].get((origin, target), {})
            effect = spec.get("channel", {}).get(channel, 0) + spec.get("grade", {}).get(grade, 0)
            expected = hazard * np.exp(effect + spec.get("service", 0) * (service - 3)) * rows["exposure"].sum()
            moves = (rows["next_phase"] == target).sum()
            # 210 cells: five standard errors of a Poisson count, and one for the smallest.
            assert abs(moves - expected) < 5 * np.sqrt(expected) + 1, (origin, target, channel, grade, service)


def test_generated_margins_and_covariates():
    stays = simulate.lifecycle(20_000, seed=5)
    who = stays.drop_duplicates("customer_id")
    for name in ("channel", "grade", "service"):
        shares, truth = who[name].value_counts(normalize=True), pd.Series(simulate.LIFECYCLE[name])
        np.testing.assert_allclose(shares[truth.index], truth, atol=0.02)
        assert (stays.groupby("customer_id")[name].nunique() == 1).all()
    stays["length"] = stays["exit"] - stays["entry"]
    sums = stays.groupby(["phase", "grade"], observed=True)[["margin", "length"]].sum()
    rate = sums["margin"] / sums["length"]
    for (phase, grade), value in rate.items():
        expected = simulate.LIFECYCLE["margin"][phase] * (1.5 if grade == "gold" else 1.0)
        assert value == pytest.approx(expected, rel=0.03)
    assert stays["joined"].between(0, 36).all() and (stays["joined"] + stays["exit"] <= 48 + 1e-9).all()


def test_generated_histories_hold_together():
    stays = simulate.lifecycle(2000, ties=True, frailty=1.0, seed=6)
    same = stays["customer_id"].eq(stays["customer_id"].shift())
    assert (stays["entry"][same] == stays["exit"].shift()[same]).all()
    assert (stays["phase"][same].astype(str) == stays["next_phase"].shift()[same].astype(str)).all()
    assert same.any() and stays["next_phase"][same.shift(-1, fill_value=False)].notna().all()
    assert (stays["entry"][~same] == 0).all()
    assert stays.attrs["hazards"]["decline > build-up"] == 0.04 and stays.attrs["frailty"] == 1.0


def test_frailty_makes_the_fast_faster():
    """With frailty, who moved early moves on early: not Markov. Without, the past says nothing."""
    hazards = {("exploration", "build-up"): 0.1, ("build-up", "stability"): 0.1}
    for frailty, differs in ((0.0, False), (1.0, True)):
        stays = simulate.lifecycle(20_000, hazards=hazards, effects={}, frailty=frailty, seed=7)
        second = stays[stays["phase"] == "build-up"].assign(early=lambda d: d["entry"] < 4)
        second["events"], second["time"] = second["next_phase"].notna(), second["exit"] - second["entry"]
        sums = second.groupby("early")[["events", "time"]].sum()
        rates = sums["events"] / sums["time"]
        z = (rates[True] - rates[False]) / np.sqrt((rates / sums["time"]).sum())
        assert (z > 10) if differs else (abs(z) < 3)


def test_occupancy_without_covariates_is_the_matrix_exponential():
    hazards = {("exploration", "stability"): 0.2, ("stability", "gone"): 0.05}
    truth = simulate.lifecycle_occupancy([7.5], hazards=hazards, effects={})
    generator = np.array([[-0.2, 0.2, 0], [0, -0.05, 0.05], [0, 0, 0]])
    np.testing.assert_allclose(
        truth[["exploration", "stability", "gone"]].iloc[0], expm(generator * 7.5)[0], atol=1e-12
    )


def test_a_generated_lifecycle_goes_into_a_file(tmp_path):
    stays = simulate.lifecycle(50, seed=8)
    stays.to_parquet(tmp_path / "stays.parquet")
    assert pd.read_parquet(tmp_path / "stays.parquet")["margin"].equals(stays["margin"])
