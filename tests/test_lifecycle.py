"""Lifecycle: the rule that makes phases, time in phase, and the generator behind the lessons."""

import datetime
from dataclasses import replace

import lifelines
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlab import counting, datasets, lifecycle, simulate, tables
from crmlab.lifecycle import PhaseRule

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
        with pytest.raises(ValueError, match="nobody is followed"):
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


def test_spark_gives_the_same_stays():
    pyspark = pytest.importorskip("pyspark")
    import ibis

    session = pyspark.sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    log = datasets.load("cdnow_sample").head(1500)
    engine = ibis.pyspark.connect(session)
    session.createDataFrame(log).createOrReplaceTempView("phase_log")
    table = engine.table("phase_log")
    there = lifecycle.phase_episodes(table, "day", PhaseRule())
    assert listed(there) == listed(lifecycle.phase_episodes(log, "day"))
    session.stop()


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
    with pytest.raises(ValueError, match="no stay of customer 'nobody'"):
        lifecycle.plot_episodes(episodes, ["nobody"])
    with pytest.raises(ValueError, match="forward"):
        lifecycle.plot_episodes(lifecycle.phase_episodes(log, clock="reset"))
