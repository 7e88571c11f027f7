"""Every definition of retention on one log, beside a count by hand."""

import numpy as np
import pandas as pd
import pytest

from crmlab import datasets, retention, simulate


def by_hand(log, now, before, cohort, earlier, recent, at_least=3):
    """The rates of `compare_definitions`, with sets of customers."""
    log = log.assign(date=pd.to_datetime(log["date"]).dt.normalize())
    first = log.groupby("customer_id")["date"].min()

    def bought(start, stop):
        return set(log.loc[log["date"].between(start, stop), "customer_id"])

    def often(start, stop):
        days = log[log["date"].between(start, stop)].drop_duplicates(["customer_id", "date"])
        days = days[days["date"] > first.loc[days["customer_id"]].to_numpy()]
        count = days.groupby("customer_id").size()
        return set(count[count >= at_least].index)

    begin, end = log["date"].min(), log["date"].max()
    came = set(first[first.between(*cohort)].index)
    pairs = {
        "repeat count, within the period": (bought(*now), often(*now)),
        "repeat count, since the start": (bought(begin, now[1]), often(begin, now[1])),
        "period": (bought(*before), bought(*now)),
        "cohort": (came, bought(*now)),
        "cohort, unbounded": (came, bought(now[0], end)),
        "rolling": (bought(*earlier), bought(*recent)),
    }
    return {name: (len(base), len(base & kept)) for name, (base, kept) in pairs.items()}


def days(start, stop):
    return pd.Timestamp(start), pd.Timestamp(stop)


@pytest.mark.parametrize(
    "log",
    [
        datasets.load("cdnow_sample"),
        datasets.load("cdnow_sample").assign(date=lambda d: d["date"] + pd.Timedelta("13h")),
    ],
)
def test_cdnow_by_hand(log):
    found = retention.compare_definitions(log, at="1998Q1")
    expected = by_hand(
        log,
        now=days("1998-01-01", "1998-03-31"),
        before=days("1997-10-01", "1997-12-31"),
        cohort=days("1997-01-01", "1997-03-31"),
        earlier=days("1997-04-01", "1997-09-30"),
        recent=days("1997-10-01", "1998-03-31"),
    )
    for name, (base, kept) in expected.items():
        assert (found.loc[name, "customers"], found.loc[name, "retained"]) == (base, kept), name
        assert found.loc[name, "rate"] == pytest.approx(kept / base)
    assert (found["lower"].dropna() < found["rate"].dropna()).all() and (
        found["rate"].dropna() < found["upper"].dropna()
    ).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_generated_shop_by_hand(seed):
    log = simulate.shop(400, years=2, seed=seed)
    found = retention.compare_definitions(log, period="month", at="2025-06", cohort="2024-02", window=3, at_least=1)
    expected = by_hand(
        log,
        now=days("2025-06-01", "2025-06-30"),
        before=days("2025-05-01", "2025-05-31"),
        cohort=days("2024-02-01", "2024-02-29"),
        earlier=days("2025-01-01", "2025-03-31"),
        recent=days("2025-04-01", "2025-06-30"),
        at_least=1,
    )
    rows = found.dropna(subset="rate")
    assert dict(zip(rows.index, zip(rows["customers"], rows["retained"]))) == expected


def test_the_last_whole_period_is_judged():
    log = datasets.load("cdnow_sample")
    assert retention.compare_definitions(log).attrs == {"at": "1998Q2", "cohort": "1997Q1", "window": 3}
    assert retention.compare_definitions(log[log["date"] < "1998-06-30"]).attrs["at"] == "1998Q1"


def test_a_rate_counted_since_the_start_rises_though_nobody_changes():
    """Generated: no programme, no leaving; the rates within a period stay, the count since the start climbs."""
    log = simulate.shop(3000, start="2021-01-01", years=4, rate=3, shape=2, leaving=1e-9, seed=8)
    rates = pd.DataFrame(
        {
            at: retention.compare_definitions(log, period="quarter", at=at, cohort="2021Q1")["rate"]
            for at in ("2022Q1", "2024Q4")
        }
    )
    rise = rates["2024Q4"] - rates["2022Q1"]
    assert rise["repeat count, since the start"] > 0.3
    assert abs(rise["cohort"]) < 0.1


def test_answers_of_a_survey():
    log = datasets.load("cdnow_sample")
    answers = pd.Series([True, False, None, True])
    row = retention.compare_definitions(log, intention=answers).loc["stated intention"]
    assert (row["customers"], row["retained"]) == (3, 2) and "1 did not answer" in row["moves_with"]
    without = retention.compare_definitions(log).loc[["stated intention", "contractual"]]
    assert without["rate"].isna().all() and "not observable on a purchase log" in without["moves_with"].iloc[1]
    with pytest.raises(
        ValueError, match=r"intention= holds 2 of 3 answers that are not True, False or missing \(5; 'yes'\)"
    ):
        retention.compare_definitions(log, intention=[5, "yes", True])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"period": "fortnight"}, "period= is one of"),
        ({"at": "soon"}, "at= is a quarter, such as '1998Q2'; got 'soon'"),
        ({"at": "1999Q1"}, "at= is 1999Q1, but the log runs from 1997-01-01 to 1998-06-30"),
        ({"cohort": "1998Q2"}, "cohort= is 1998Q2, which does not lie between"),
        ({"period": "year"}, "at= is 1997, the year in which the log begins.*a shorter period="),
        ({"window": 4}, "window= is a number of quarters that fits twice into the 6"),
        ({"level": 95}, "level= is a confidence level"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        retention.compare_definitions(datasets.load("cdnow_sample"), **arguments)


def test_small_logs():
    one = pd.DataFrame({"customer_id": ["a", "a"], "date": pd.to_datetime(["2024-01-05", "2024-04-01"])})
    found = retention.compare_definitions(one, at="2024Q2")
    assert found.loc["cohort", ["customers", "retained"]].tolist() == [1, 1]
    # Nobody bought in the period: no rate is made up.
    gap = pd.DataFrame({"customer_id": ["a", "b"], "date": pd.to_datetime(["2024-01-05", "2024-12-31"])})
    found = retention.compare_definitions(gap, at="2024Q3")
    assert np.isnan(found.loc["period", "rate"]) and found.loc["period", "customers"] == 0
    assert found.loc["cohort", "rate"] == 0
    with pytest.raises(ValueError, match="covers no whole quarter"):
        retention.compare_definitions(one.head(1))


def test_the_figure_shows_what_is_known():
    rates = retention.compare_definitions(datasets.load("cdnow_sample"))
    ax = retention.plot_definitions(rates)
    assert [label.get_text() for label in ax.get_yticklabels()] == rates["rate"].dropna().index[::-1].tolist()
    assert "1998Q2" in ax.get_xlabel()
