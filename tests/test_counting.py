"""Counts: against pandas and brute force, against lifetimes, on Spark, and as good as the rows for every estimate."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import _needs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crmlab import counting, datasets, lifecycle, retention, simulate, tables

OFFSETS = {"day": {"days": 1}, "week": {"weeks": 1}, "month": {"months": 1}, "quarter": {"months": 3}, "year": {"years": 1}}  # fmt: skip


def day(number):
    return pd.Timestamp("1968-12-25") + pd.Timedelta(days=number)


# Few customers and few days, so that same-day purchases, ties and month ends are common.
logs = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 900), st.integers(0, 3), st.integers(0, 2000)), min_size=1, max_size=40
).map(
    lambda rows: pd.DataFrame(
        {
            "customer_id": [f"{who:03d}" for who, *_ in rows],
            "date": [day(number) for _, number, *_ in rows],
            "amount": [cents / 100 for *_, cents in rows],
            "order": [f"{who}-{number}-{order}" for who, number, order, _ in rows],
        }
    )
)

spells = st.lists(
    st.tuples(st.integers(0, 800), st.one_of(st.none(), st.integers(1, 900))), min_size=1, max_size=30
).map(
    lambda rows: pd.DataFrame(
        {
            "customer_id": range(len(rows)),
            "start": [day(start) for start, _ in rows],
            "end": pd.to_datetime([None if length is None else day(start + length) for start, length in rows]),
            "tariff": ["abc"[start % 3] for start, _ in rows],
        }
    )
)


def checked(log, **options):
    return tables.transactions(log, order="order", earliest="1960-01-01", **options)


def completed(start, until, unit):
    """By brute force: the largest k for which start + k periods is not after `until`."""
    return next(k for k in itertools.count() if start + pd.DateOffset(**OFFSETS[unit]) * (k + 1) > until)


def frame_of(expression, by):
    return expression.to_pandas().sort_values(by, ignore_index=True)


# --- customers ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(logs, st.sampled_from(["day", "order", "none"]), st.booleans(), st.booleans(), st.sampled_from(["at_last", "since_last"]), st.sampled_from([None, 450]))  # fmt: skip
def test_the_summary_is_that_of_pandas(log, merge, count_first, first_in_monetary, recency, until):
    seen = log if until is None else log[log["date"] <= day(until)]
    if seen.empty:
        return
    end = seen["date"].max() if until is None else day(until)
    keys = {"day": ["customer_id", "date"], "order": ["customer_id", "order"], "none": [seen.reset_index().index]}[
        merge
    ]
    purchases = seen.groupby(keys).agg(
        customer_id=("customer_id", "first"), date=("date", "min"), amount=("amount", "sum")
    )
    purchases = purchases.reset_index(drop=True)
    expected = []
    for customer, rows in purchases.groupby("customer_id"):
        first, last, n = rows["date"].min(), rows["date"].max(), len(rows)
        first_amount = rows.loc[rows["date"] == first, "amount"].mean()
        repeat = (rows["amount"].sum() - first_amount) / (n - 1) if n > 1 else np.nan
        expected.append(
            (
                customer,
                n if count_first else n - 1,
                ((end - last) if recency == "since_last" else (last - first)).days / 7,
                (end - first).days / 7,
                rows["amount"].sum() / n if first_in_monetary else repeat,
            )
        )
    summary = counting.customer_summary(
        checked(log), "week", merge, count_first, first_in_monetary, recency, None if until is None else day(until)
    )
    columns = ["customer_id", "frequency", "recency_weeks", "age_weeks", "monetary"]
    pd.testing.assert_frame_equal(frame_of(summary, "customer_id"), pd.DataFrame(expected, columns=columns))


@pytest.mark.filterwarnings("ignore")  # lifetimes is five years old
@pytest.mark.parametrize("until", ["1997-09-30", "1998-06-30"])
def test_the_defaults_are_those_of_lifetimes(until):
    from lifetimes.utils import summary_data_from_transaction_data

    log = datasets.load("cdnow_sample")
    theirs = summary_data_from_transaction_data(
        log, "customer_id", "date", "amount", observation_period_end=until
    ).reset_index()
    ours = frame_of(counting.customer_summary(log, observed_until=until), "customer_id").fillna({"monetary": 0})
    assert ours["customer_id"].tolist() == theirs["customer_id"].tolist()
    np.testing.assert_allclose(ours.iloc[:, 1:], theirs.iloc[:, [1, 2, 3, 4]], rtol=1e-12)


def test_the_counts_are_the_summary_counted():
    log = tables.transactions(datasets.load("cdnow"))
    summary, counts = counting.customer_summary(log).to_pandas(), counting.summary_counts(log).to_pandas()
    columns = ["frequency", "recency_days", "age_days"]
    expected = summary.groupby(columns).size().reset_index(name="customers")
    pd.testing.assert_frame_equal(counts, expected)
    assert len(counts) < len(summary) / 2


def test_calibration_and_holdout_are_the_published_ones():
    split = counting.calibration_holdout(
        datasets.load("cdnow_sample"), "1997-09-30", "1998-06-30", unit="week"
    ).to_pandas()
    published = (2357, 2457, 1411, 1882)
    assert (len(split), split["frequency"].sum(), (split["frequency"] == 0).sum(), split["holdout_frequency"].sum()) == published  # fmt: skip
    assert (split["holdout_weeks"] == 39).all()
    shorter = counting.calibration_holdout(datasets.load("cdnow_sample"), "1997-09-30", "1997-12-31").to_pandas()
    assert 0 < shorter["holdout_frequency"].sum() < 1882 and (shorter["holdout_days"] == 92).all()


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (("1999-01-01", None), "ends on 1998-06-30 .the last day of the log., which is not after.*1999-01-01.*Fix: an earlier"),
        (("1997-09-30", "1997-06-30"), "ends on 1997-06-30 .holdout_until=., which is not after.*1997-09-30"),
        (("1997-09-30", "1997-09-30"), "not after calibration_until="),
        (("1996-09-30", "1997-06-30"), "calibration_until= .1996-09-30. lies before the first purchase of the log .1997-01-01."),
    ],
)  # fmt: skip
def test_periods_that_are_none_are_refused(days, message):
    log = tables.transactions(datasets.load("cdnow_sample"))
    with pytest.raises(ValueError, match=message):
        counting.calibration_holdout(log, *days)
    for count in (counting.customer_summary, counting.histories):
        with pytest.raises(
            ValueError, match="observed_until= .1990-01-01. lies before the first purchase.*a later day"
        ):
            count(log, observed_until="1990-01-01")


@pytest.mark.parametrize("at_least", [0, 2.5, "3", True])
def test_at_least_is_a_whole_number(at_least):
    log = tables.transactions(datasets.load("cdnow_sample"))
    window = {"all": ("1997-01-01", "1998-06-30")}
    for count in (
        lambda: counting.repeat_counts(log, at_least),
        lambda: counting.window_counts(log, window, repeated=window, at_least=at_least),
        lambda: retention.repeat_share(log, at_least),
        lambda: retention.compare_definitions(log, at_least=at_least),
    ):
        with pytest.raises(ValueError, match="at_least= is a whole number of purchases, 1 or more; got"):
            count()
    assert len(retention.compare_definitions(log, at_least=np.int64(3))) == 8


def test_definitions_are_arguments_with_names():
    log = datasets.load("cdnow_sample")
    for name in ("unit", "merge", "recency"):
        with pytest.raises(ValueError, match=f"{name}= is one of"):
            counting.customer_summary(log, **{name: "fortnight"})
    with pytest.raises(ValueError, match="merge='order' needs the column.*order="):
        counting.customer_summary(log, merge="order")
    with pytest.raises(TypeError, match="counts contracts; got an object of transactions"):
        counting.tenure_counts(tables.transactions(log))


# --- shops -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(logs, st.sampled_from(["week", "month", "quarter", "year"]))
def test_the_cohort_triangle_is_that_of_pandas(log, period):
    age = f"age_{period}s"
    ours = counting.cohort_triangle(checked(log), period).to_pandas()
    frequency = {"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}[period]
    visits = log.assign(period=log["date"].dt.to_period(frequency))[["customer_id", "period"]].drop_duplicates()
    visits["cohort"] = visits.groupby("customer_id")["period"].transform("min")
    expected = visits.groupby(["cohort", "period"]).size()
    got = {(str(row.cohort.date()), getattr(row, age)): row.active for row in ours.itertuples()}
    assert got == {(str(c.start_time.date()), p.ordinal - c.ordinal): n for (c, p), n in expected.items()}
    assert (ours.groupby("cohort")["customers"].first() == ours[ours[age] == 0].set_index("cohort")["active"]).all()


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(1, 3), st.booleans())
def test_repeat_counts_by_brute_force(log, at_least, count_first):
    ours = counting.repeat_counts(checked(log), at_least, count_first).to_pandas()
    days = log.drop_duplicates(["customer_id", "date"]).assign(year=lambda d: d["date"].dt.year)
    for year, rows in ours.groupby("year"):
        buyers = set(days.loc[days["year"] == year, "customer_id"])
        assert rows["customers"].sum() == len(buyers)
        so_far = [((days["customer_id"] == who) & (days["year"] <= year)).sum() - (not count_first) for who in buyers]
        assert rows.loc[rows["so_far"], "customers"].sum() == sum(n >= at_least for n in so_far)


# --- contracts ---------------------------------------------------------------------------------------------------------


def terms(table):
    return tables.contracts(table, also="tariff", earliest="1960-01-01")


@settings(max_examples=40, deadline=None)
@given(spells, st.sampled_from(list(OFFSETS)))
def test_tenures_by_brute_force(table, unit):
    until = max(table["start"].max(), table["end"].max()) if table["end"].notna().any() else table["start"].max()
    expected = {}
    for row in table.itertuples():
        tenure = completed(row.start, until, unit)
        ended = np.inf if pd.isna(row.end) else completed(row.start, row.end - pd.Timedelta(days=1), unit) + 1
        # A renewal that is not due yet has not been missed: before it only losers would be known.
        lost = ended <= tenure
        tenure = min(ended, tenure)
        expected[row.tariff, tenure, lost] = expected.get((row.tariff, tenure, lost), 0) + 1
    ours = counting.tenure_counts(terms(table), unit, by="tariff").to_pandas()
    assert {tuple(row[:3]): row[3] for row in ours.itertuples(index=False)} == expected
    # The same as person-periods: every renewal that came due before the contract was lost or the table ends.
    risks, losses = {}, {}
    for (tariff, tenure, lost), n in expected.items():
        for renewal in range(1, tenure + 1):
            risks[tariff, renewal] = risks.get((tariff, renewal), 0) + n
            losses[tariff, renewal] = losses.get((tariff, renewal), 0) + n * (lost and renewal == tenure)
    periods = counting.person_periods(terms(table), unit, by="tariff").to_pandas().set_index(["tariff", "renewal"])
    assert periods["at_risk"].to_dict() == risks and periods["lost"].to_dict() == losses


@settings(max_examples=25, deadline=None)
@given(spells, st.sampled_from(["week", "month", "quarter", "year"]))
def test_survivors_by_brute_force(table, period):
    until = table[["start", "end"]].max().max()
    ours = counting.survivor_triangle(terms(table), period).to_pandas()
    for cohort, rows in ours.groupby("cohort"):
        first = cohort.to_period({"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}[period])
        members = table[(table["start"] >= first.start_time) & (table["start"] <= first.end_time)]
        assert rows[f"age_{period}s"].tolist() == list(range(min(completed(s, until, period) for s in members["start"]) + 1))  # fmt: skip
        for age, size, survivors in rows.iloc[:, 1:].itertuples(index=False):
            due = members["start"] + pd.DateOffset(**OFFSETS[period]) * age
            assert (size, survivors) == (len(members), (members["end"].isna() | (members["end"] > due)).sum())


def ending_any_day(rng, customers, until, rate=0.003):
    """Contracts that begin in the three years before `until` and end at a constant hazard a day."""
    start = until - pd.to_timedelta(rng.integers(1, 1000, customers), unit="D")
    end = pd.Series(start + pd.to_timedelta(np.ceil(rng.exponential(1 / rate, customers)), unit="D"))
    return pd.DataFrame({"customer_id": range(customers), "start": start, "end": end.where(end <= until)})


@pytest.mark.parametrize(("unit", "days"), [("month", 365.25 / 12), ("quarter", 365.25 / 4), ("year", 365.25)])
def test_a_period_that_is_not_over_does_not_raise_the_hazard(rng, unit, days):
    until = pd.Timestamp("2024-06-15")
    table = ending_any_day(rng, 30_000, until)
    truth = -np.expm1(-0.003 * days)
    tenures = counting.tenure_counts(table, unit, observed_until=until).to_pandas()
    low, high = retention.fit_geometric(tenures).summary(level=0.99).loc["theta", ["lower", "upper"]]
    assert low < truth < high
    # No renewal loses more than its share: not the last either, at which only those who left would be known.
    periods = counting.person_periods(table, unit, observed_until=until).to_pandas()
    error = np.sqrt(truth * (1 - truth) / periods["at_risk"])
    assert (np.abs(periods["lost"] / periods["at_risk"] - truth) < 4 * error).all()
    # The same contracts as stays in a phase, on its clock and on the customer's.
    stays = table.assign(phase="customer", next_phase=table["end"].notna().map({True: "gone", False: None}))
    stays = tables.episodes(stays, next_phase="next_phase")
    for clock in ("phase", "customer"):
        moves = counting.transition_counts(stays, unit, clock, observed_until=until).to_pandas()
        assert moves.loc[moves["next_phase"].notna(), "stays"].sum() == periods["lost"].sum()
        assert (moves["stays"] * (moves["left"] - moves["entered"])).sum() == periods["at_risk"].sum()
        assert moves["stays"].sum() == len(table)


def test_a_loss_in_a_period_that_is_over_stays_a_loss():
    table = pd.DataFrame(
        {
            "customer_id": list("abcd"),
            "start": pd.to_datetime(["2024-01-10"] * 4),
            # Within the last full month, on the day of its renewal, after it, and on the day of the renewal before.
            "end": pd.to_datetime(["2024-05-20", "2024-06-10", "2024-06-12", "2024-05-10"]),
        }
    )
    tenures = counting.tenure_counts(table, observed_until="2024-06-15").to_pandas()
    assert tenures.to_numpy().tolist() == [[4, True, 1], [5, False, 1], [5, True, 2]]
    day_later = counting.tenure_counts(table, observed_until="2024-07-10").to_pandas()
    assert day_later.to_numpy().tolist() == [[4, True, 1], [5, True, 2], [6, True, 1]]


def test_stays_that_begin_in_a_period_that_is_not_over():
    stays = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b"],
            "phase": ["build-up", "stability", "build-up"],
            "start": pd.to_datetime(["2024-01-10", "2024-06-12", "2024-01-10"]),
            "end": pd.to_datetime(["2024-06-12", None, None]),
        }
    )
    moves = counting.transition_counts(stays, clock="customer", observed_until="2024-06-15").to_pandas()
    assert moves["next_phase"].isna().all()
    assert moves[["phase", "entered", "left", "stays"]].to_numpy().tolist() == [
        ["build-up", 0, 5, 2],
        ["stability", 5, 5, 1],
    ]
    with pytest.raises(ValueError, match="2 stays begin or end after observed_until"):
        counting.transition_counts(stays, observed_until="2024-06-01")


# --- phases and answers ------------------------------------------------------------------------------------------------

STAYS = pd.DataFrame(
    [
        ("a", "build-up", "2024-01-31", "2024-03-31"),
        ("a", "stability", "2024-03-31", "2024-08-15"),
        ("a", "build-up", "2024-08-15", None),
        ("b", "build-up", "2024-02-10", "2024-04-10"),
        ("b", "stability", "2024-04-10", None),
        ("c", "build-up", "2024-01-31", "2024-03-31"),
        ("c", "stability", "2024-03-31", "2024-08-15"),
        ("c", "build-up", "2024-08-15", None),
    ],
    columns=["customer_id", "phase", "start", "end"],
).assign(start=lambda d: pd.to_datetime(d["start"]), end=lambda d: pd.to_datetime(d["end"]))


def moves(clock, unit="month"):
    table = counting.transition_counts(STAYS, unit, clock, observed_until="2024-12-31").to_pandas()
    return {(r.phase, r.next_phase, r.entered, r.left): r.stays for r in table.itertuples()}


def test_transitions_counted_by_hand():
    assert moves("phase") == {
        ("build-up", "stability", 0, 2): 3, ("stability", "build-up", 0, 5): 2,
        ("build-up", None, 0, 4): 2, ("stability", None, 0, 8): 1,
    }  # fmt: skip
    # On the customer's clock a later phase is entered late; 15 August is in the seventh month after 31 January.
    assert moves("customer") == {
        ("build-up", "stability", 0, 2): 3, ("stability", "build-up", 2, 7): 2,
        ("build-up", None, 7, 11): 2, ("stability", None, 2, 10): 1,
    }  # fmt: skip
    months = {(p, n, str(e.date()), str(left.date())): k for (p, n, e, left), k in moves("calendar").items()}
    assert months["stability", "build-up", "2024-03-01", "2024-08-01"] == 2


def test_days_lose_nothing():
    table = counting.transition_counts(STAYS, "day", "customer", observed_until="2024-12-31").to_pandas()
    days = (STAYS["end"].fillna(pd.Timestamp("2024-12-31")) - STAYS["start"]).dt.days.sum()
    assert ((table["left"] - table["entered"]) * table["stays"]).sum() == days


def test_histories_are_customers_not_stays():
    stays = counting.histories(tables.episodes(STAYS), observed_until="2024-12-31").to_pandas()
    assert stays.set_index("history")["customers"].to_dict() == {
        "00000-00002 build-up > stability, 00002-00007 stability > build-up, 00007-00011 build-up": 2,
        "00000-00002 build-up > stability, 00002-00010 stability": 1,
    }
    log = pd.DataFrame({"customer_id": list("aabbc"), "date": pd.to_datetime(["2024-01-31", "2024-04-30", "2024-01-02", "2024-04-02", "2024-01-30"])})  # fmt: skip
    visits = counting.histories(tables.transactions(log, amount=None), observed_until="2024-05-01").to_pandas()
    assert visits.set_index("history")["customers"].to_dict() == {
        "00000 / 00003": 1,
        "00000 00003 / 00003": 2,
    }
    with pytest.raises(TypeError, match="check the data first"):
        counting.histories(log)


def test_ratings_crossed(rng):
    answers = pd.DataFrame(
        {"customer_id": range(500), "satisfaction": rng.integers(1, 6, 500), "stayed": rng.random(500) < 0.5}
    )
    done = tables.responses(answers, "satisfaction", also="stayed")
    expected = answers.groupby(["satisfaction", "stayed"]).size().reset_index(name="customers")
    pd.testing.assert_frame_equal(counting.rating_counts(done).to_pandas(), expected)
    assert counting.rating_counts(done, by="stayed").to_pandas()["customers"].sum() == 500
    with pytest.raises(TypeError, match="check the answers first"):
        counting.rating_counts(answers)


# --- counts are as good as rows ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3), st.floats(0.5, 5), st.integers(30, 300))
def test_fits_of_survivors_on_counts_equal_those_on_rows(seed, alpha, beta, customers):
    table = simulate.contracts(customers, alpha, beta, seed=seed)
    counts = retention.survivor_triangle(table, observed_until="2025-12-31")
    last = counts["age_years"].max()
    # Each customer a cohort of its own: the likelihood of the rows.
    years = (table["end"].dt.year - table["start"].dt.year).fillna(last + 1)
    rows = pd.DataFrame(
        [(who, age, float(n > age)) for who, n in zip(table["customer_id"], years) for age in range(last + 1)],
        columns=["cohort", "age_years", "survivors"],
    )
    for fit in (retention.fit_geometric, retention.fit_sbg):
        try:
            on_counts = fit(counts)
        except (ValueError, Warning):  # too few losses to tell, or a boundary
            continue
        on_rows = fit(rows)
        assert on_rows.nobs == on_counts.nobs == len(table)
        np.testing.assert_allclose(on_rows.params, on_counts.params, rtol=1e-8)
        np.testing.assert_allclose(on_rows.cov, on_counts.cov, rtol=1e-8)
        np.testing.assert_allclose(on_rows.loglik, on_counts.loglik, rtol=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
@example(33)
def test_hazards_on_counts_equal_those_on_rows(seed):
    import statsmodels.api as sm

    rng = np.random.default_rng(seed)
    table = simulate.contracts(400, 1.0, 2.0, seed=seed)
    table["tariff"] = rng.integers(0, 2, len(table))
    counts = counting.person_periods(
        tables.contracts(table, also="tariff"), "year", observed_until="2025-12-31", by="tariff"
    ).to_pandas()
    rows = []
    for row in table.itertuples():
        lost = not pd.isna(row.end)
        n = row.end.year - row.start.year if lost else 2025 - row.start.year
        rows += [(row.tariff, renewal, int(lost and renewal == n)) for renewal in range(1, n + 1)]
    rows = pd.DataFrame(rows, columns=["tariff", "renewal", "lost"])
    family = sm.families.Binomial(sm.families.links.CLogLog())

    def design(frame):
        return np.column_stack([np.ones(len(frame)), frame["tariff"], np.log(frame["renewal"])])

    # To the last step of the coefficients: the standard errors come from the step before it.
    converged = {"tol": 1e-14, "tol_criterion": "params", "maxiter": 200}
    on_rows = sm.GLM(rows["lost"], design(rows), family=family).fit(**converged)
    pairs = np.column_stack([counts["lost"], counts["at_risk"] - counts["lost"]])
    on_counts = sm.GLM(pairs, design(counts), family=family).fit(**converged)
    np.testing.assert_allclose(on_counts.params, on_rows.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(on_counts.bse, on_rows.bse, rtol=1e-8)


@settings(max_examples=15, deadline=None)
@given(logs, st.integers(1, 3), st.booleans(), st.sampled_from(["year", "cumulative"]), st.sampled_from(["active", "ever"]))  # fmt: skip
def test_shares_on_counts_equal_those_on_rows(log, at_least, count_first, window, base):
    from statsmodels.stats.proportion import proportion_confint

    days = log.drop_duplicates(["customer_id", "date"]).assign(year=lambda d: d["date"].dt.year)
    shares = retention.repeat_share(checked(log), at_least, count_first, window, base)
    for row in shares.itertuples():
        repeaters = members = 0
        for _, own in days.groupby("customer_id"):
            n_year, n_all = (own["year"] == row.period).sum(), (own["year"] <= row.period).sum()
            if not (n_year if base == "active" else n_all):
                continue
            first = own["year"].min() == row.period if window == "year" else True
            n = (n_year if window == "year" else n_all) - (first and not count_first)
            members, repeaters = members + 1, repeaters + (n >= at_least)
        assert (row.customers, row.repeaters) == (members, repeaters)
        interval = proportion_confint(repeaters, members, method="wilson")
        np.testing.assert_allclose((row.lower, row.upper), interval, rtol=1e-8, atol=1e-12)


def test_retention_takes_what_the_door_takes(tmp_path):
    log = datasets.load("cdnow_sample")
    log.to_csv(tmp_path / "log.csv", index=False)
    log.to_parquet(tmp_path / "log.parquet", index=False)
    triangle, shares = retention.cohort_triangle(log), retention.repeat_share(log)
    for data in (tmp_path / "log.csv", str(tmp_path / "*.parquet"), tables.transactions(log, returns="drop")):
        pd.testing.assert_frame_equal(retention.cohort_triangle(data), triangle)
        pd.testing.assert_frame_equal(retention.repeat_share(data), shares)
    contracts = simulate.contracts(200, 1, 2, seed=1)
    contracts.to_parquet(tmp_path / "contracts.parquet", index=False)
    pd.testing.assert_frame_equal(
        retention.survivor_triangle(tmp_path / "contracts.parquet"), retention.survivor_triangle(contracts)
    )


# --- Spark -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    _needs(["java"], "Java")
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        _needs([], "pyspark")
    import ibis

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield ibis.pyspark.connect(session)
    session.stop()


def on_spark(spark, frame, folder):
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    frame.to_parquet(path, index=False, coerce_timestamps="us")
    return spark.read_parquet(path)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)  # pyspark's
def test_spark_gives_the_same_tables(spark, tmp_path):
    log = datasets.load("cdnow_sample").assign(order=lambda d: d.index // 2, grade=lambda d: d["cds"].clip(upper=3).map(str))  # fmt: skip
    contracts = simulate.contracts(500, 1, 2, cohorts=3, seed=3).assign(tariff=lambda d: d["customer_id"].str[-1])
    any_day = ending_any_day(np.random.default_rng(3), 500, pd.Timestamp("2024-06-15"))
    answers = pd.DataFrame({"customer_id": range(60), "rating": [1 + n % 5 for n in range(60)]})

    def every_table(bring):
        log_in = tables.transactions(bring(log), order="order", also="grade")
        contracts_in = tables.contracts(bring(contracts), also="tariff", latest="2027-01-01")
        stays_in, answers_in = tables.episodes(bring(STAYS)), tables.responses(bring(answers), "rating")
        yield "report", log_in.report().reset_index()
        for merge, recency in (("day", "at_last"), ("order", "since_last"), ("none", "at_last")):
            yield merge, counting.customer_summary(log_in, "week", merge, recency=recency).order_by("customer_id")
        yield "counts", counting.summary_counts(log_in)
        yield "split", counting.calibration_holdout(log_in, "1997-09-30").order_by("customer_id")
        yield "repeats", counting.repeat_counts(log_in, group="grade")
        for period in ("week", "month", "quarter", "year"):
            yield f"cohorts, {period}", counting.cohort_triangle(log_in, period)
            yield f"survivors, {period}", counting.survivor_triangle(contracts_in, period)
            yield f"tenures, {period}", counting.tenure_counts(contracts_in, period)
            yield f"ended any day, {period}", counting.tenure_counts(bring(any_day), period)
        yield "person-periods", counting.person_periods(contracts_in, "year", by="tariff")
        for clock in ("phase", "customer", "calendar"):
            yield clock, counting.transition_counts(stays_in, clock=clock)
        yield "ratings", counting.rating_counts(answers_in)
        yield "histories", counting.histories(log_in, "quarter")
        yield "histories of phases", counting.histories(stays_in)

    def fetched(tables_of):
        return {name: t if isinstance(t, pd.DataFrame) else t.to_pandas() for name, t in tables_of}

    embedded_folder, spark_folder = tmp_path / "embedded", tmp_path / "spark"
    embedded_folder.mkdir(), spark_folder.mkdir()

    def embedded(frame):
        path = embedded_folder / f"{len(list(embedded_folder.iterdir()))}.parquet"
        frame.to_parquet(path, index=False)
        return path

    ours = fetched(every_table(embedded))
    theirs = fetched(every_table(lambda frame: on_spark(spark, frame, spark_folder)))
    assert ours.keys() == theirs.keys()
    for name, table in ours.items():
        for column in table.columns:
            left, right = table[column], theirs[name][column]
            if left.dtype.kind == "f":
                np.testing.assert_allclose(left, right.astype(float), rtol=1e-12, err_msg=f"{name}: {column}")
            else:
                assert left.astype(object).where(left.notna(), None).tolist() == right.astype(object).where(right.notna(), None).tolist(), (name, column)  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("clock", ["forward", "reset"])
def test_spark_gives_the_same_phases(spark, tmp_path, clock):
    log = datasets.load("cdnow_sample").head(1200).assign(channel=lambda d: d["cds"].clip(upper=3).map(str))
    # Every other customer is older than the log.
    first = log.groupby("customer_id")["date"].transform("min")
    log["joined"] = first.where(log["customer_id"].astype(int) % 2 == 0, pd.Timestamp("1996-06-01"))
    arguments = {"unit": "day", "clock": clock, "observed_from": "1997-05-01", "since": "joined", "also": "channel"}
    ours = lifecycle.phase_episodes(log, **arguments)
    theirs = lifecycle.phase_episodes(on_spark(spark, log, tmp_path), **arguments)
    pd.testing.assert_frame_equal(ours.drop(columns="channel"), theirs.drop(columns="channel"))
    stays = lifecycle.phase_stays(on_spark(spark, log, tmp_path)).to_pandas()
    here = lifecycle.phase_stays(log).to_pandas()
    columns = ["customer_id", "start", "phase", "next_phase", "first"]
    listed = [t[columns].astype(str).sort_values(columns).to_numpy().tolist() for t in (stays, here)]
    assert listed[0] == listed[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_spark_refuses_by_the_same_words(spark, tmp_path):
    log = datasets.load("cdnow_sample").head(20)
    log.loc[3, "customer_id"] = None
    with pytest.raises(ValueError, match="column 'customer_id': 1 of 20 rows.*missing_customers='drop'"):
        tables.transactions(on_spark(spark, log, tmp_path))
    log = log.assign(amount=-1.0)
    with pytest.raises(ValueError, match="column 'amount': 19 of 20 rows.*returns='drop'"):
        tables.transactions(on_spark(spark, log, tmp_path), missing_customers="drop")
    log = log.assign(amount=1.0, date=log["date"].dt.strftime("%d/%m/%Y"))
    with pytest.raises(ValueError, match="date_format= is for data in DuckDB.*make the column a date there"):
        tables.transactions(on_spark(spark, log, tmp_path), missing_customers="drop", date_format="%d/%m/%Y")
