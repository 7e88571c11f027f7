"""Count where the data lie: the tables of counts from which everything else is estimated.

Every function takes what `crmlab.tables` checked (or data that it would take under their standard column names) and returns
an Ibis table: an expression that runs on the engine that holds the data, embedded DuckDB or a Spark session, when
``.to_pandas()`` asks for it. The tables are small whatever the log: their rows are the distinct cases, and the last column
says how many customers (or stays) each of them stands for. Fits take that column as exact frequency weights.

In reading order: customers' buying (``customer_summary``, ``summary_counts``, ``calibration_holdout``), shops over time
(``cohort_triangle``, ``repeat_counts``), contracts (``tenure_counts``, ``survivor_triangle``, ``person_periods``), phases
(``transition_counts``), answers (``rating_counts``), and whole histories for the bootstrap (``histories``).
"""

import pandas as pd

from crmlab import tables
from crmlab.arguments import one_of, whole_number

__all__ = [
    "customer_summary",
    "summary_counts",
    "calibration_holdout",
    "cohort_triangle",
    "repeat_counts",
    "window_counts",
    "tenure_counts",
    "survivor_triangle",
    "person_periods",
    "transition_counts",
    "rating_counts",
    "histories",
]

# Durations as fractions of a mean month or year; a customer's age in completed periods is another thing, see tenure_counts.
_DAYS = {"day": 1, "week": 7, "month": 365.25 / 12, "year": 365.25}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_TRUNCATE = {"day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}


def customer_summary(
    log,
    unit="day",
    merge="day",
    count_first=False,
    first_in_monetary=False,
    recency="at_last",
    observed_until=None,
):
    """Frequency, recency, age and monetary value of each customer: one row a customer.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
        One row a purchase or an item of one. For a log without amounts, check it first with ``amount=None``.
    unit : {"day", "week", "month", "year"}
        Of durations: days, or days divided by 7, 365.25 / 12, 365.25.
    merge : {"day", "order", "none"}
        What is one purchase: all rows of a customer's day, all rows of an order (dated by its first day), or each row.
    count_first : bool, default False
        Whether frequency includes the first purchase; by default it counts repeat purchases.
    first_in_monetary : bool, default False
        Whether the mean amount of a purchase includes the first one, which may be a trial. Left out, a customer without
        repeat purchase has no mean. Of several purchases on the first day their mean is left out once.
    recency : {"at_last", "since_last"}
        Age at the last purchase (the convention of the buy-till-you-die models), or the time since it (that of RFM).
    observed_until : date-like, optional
        The last day observed; purchases after it are not counted, nor customers who came after it. By default the last
        day of the log.

    Returns
    -------
    ibis.Table
        ``customer_id``, ``frequency``, ``recency_<unit>s``, ``age_<unit>s`` (from the first purchase to `observed_until`)
        and, if the log has amounts, ``monetary``.

    Raises
    ------
    ValueError
        If the log breaks its contract, an argument is not one of its choices, or `observed_until` lies before the first purchase.

    Notes
    -----
    With the defaults, what ``summary_data_from_transaction_data`` of the Python package lifetimes returns, except that it
    puts 0 where there is no mean.

    References
    ----------
    P. S. Fader, B. G. S. Hardie and K. L. Lee (2005), "Counting your customers" the easy way, *Marketing Science*
    24(2):275-284.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> log = datasets.load("cdnow_sample")
    >>> summary = counting.customer_summary(log, unit="week", observed_until="1997-09-30").to_pandas()
    >>> len(summary), int(summary["frequency"].sum()), int((summary["frequency"] == 0).sum())
    (2357, 2457, 1411)
    """
    one_of("unit", unit, _DAYS)
    one_of("merge", merge, ("day", "order", "none"))
    one_of("recency", recency, ("at_last", "since_last"))
    table = _checked(log, "transactions")
    until = _last_day(table, observed_until)
    customers = _customers(table if observed_until is None else table.filter(table.date <= until), merge)
    first, last, purchases = customers["first"], customers["last"], customers["purchases"]
    length = until.delta(last, unit="day") if recency == "since_last" else last.delta(first, unit="day")
    columns = {
        "customer_id": customers.customer_id,
        "frequency": purchases if count_first else purchases - 1,
        f"recency_{unit}s": _in_unit(length, unit),
        f"age_{unit}s": _in_unit(until.delta(first, unit="day"), unit),
    }
    if "total" in customers.columns:
        repeat = (purchases > 1).ifelse((customers.total - customers.first_amount) / (purchases - 1), None)
        columns["monetary"] = customers.total / purchases if first_in_monetary else repeat
    return customers.select(**columns)


def summary_counts(log, **definitions):
    """How many customers share each frequency, recency and age: what the buying models are fitted on.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
    **definitions
        As in `customer_summary`.

    Returns
    -------
    ibis.Table
        ``frequency``, ``recency_<unit>s``, ``age_<unit>s``, ``customers``, in that order of rows.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> counting.summary_counts(datasets.load("cdnow_sample"), observed_until="1997-09-30").to_pandas().head(2)
       frequency  recency_days  age_days  customers
    0          0             0       189         13
    1          0             0       190         20
    """
    summary = customer_summary(log, **definitions)
    return _count(summary, [name for name in summary.columns if name not in ("customer_id", "monetary")])


def calibration_holdout(log, calibration_until, holdout_until=None, **definitions):
    """Each customer's summary up to a day, and what it bought between then and a later day.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
    calibration_until : date-like
        Last day of the calibration period. Customers who first bought after it are not in the table.
    holdout_until : date-like, optional
        Last day of the hold-out period, by default that of the log.
    **definitions
        As in `customer_summary`; every hold-out purchase counts, since none can be a first one.

    Returns
    -------
    ibis.Table
        The columns of `customer_summary`, ``holdout_frequency`` and ``holdout_<unit>s`` (length of the hold-out period).

    Raises
    ------
    ValueError
        If the hold-out does not end after the calibration period, or that ends before the first purchase of the log.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> split = counting.calibration_holdout(datasets.load("cdnow_sample"), "1997-09-30")
    >>> int(split.holdout_frequency.sum().to_pandas())
    1882
    """
    table = _checked(log, "transactions")
    begin = _day(calibration_until)
    end = _day(table.date.max().to_pandas() if holdout_until is None else holdout_until)
    if end <= begin:
        whose = "the last day of the log" if holdout_until is None else "holdout_until="
        raise ValueError(
            f"the hold-out ends on {end:%Y-%m-%d} ({whose}), which is not after calibration_until= ({begin:%Y-%m-%d}): it has no day. "
            "Fix: an earlier calibration_until=, or a later holdout_until= if the log was observed longer."
        )
    calibrated, until = _last_day(table, begin, "calibration_until"), _last_day(table, end, "holdout_until")
    summary = customer_summary(log, observed_until=begin, **definitions)
    later = table.filter((table.date > calibrated) & (table.date <= until))
    later = _customers(later, definitions.get("merge", "day")).select("customer_id", holdout_frequency="purchases")
    joined = summary.left_join(later, "customer_id").drop("customer_id_right")
    unit = definitions.get("unit", "day")
    return joined.mutate(
        holdout_frequency=joined.holdout_frequency.fill_null(0),
        **{f"holdout_{unit}s": _in_unit(until.delta(calibrated, unit="day"), unit)},
    )


def cohort_triangle(log, period="month"):
    """How many customers of each cohort bought again, by age; see `crmlab.retention.cohort_triangle`.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
    period : {"week", "month", "quarter", "year"}
        Calendar periods; weeks begin on Monday.

    Returns
    -------
    ibis.Table
        ``cohort`` (first day of the period), ``age_<period>s``, ``customers`` (size of the cohort), ``active``. Cells in
        which nobody bought have no row.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> counting.cohort_triangle(datasets.load("cdnow_sample"), period="quarter").to_pandas().head(2)
          cohort  age_quarters  customers  active
    0 1997-01-01             0       2357    2357
    1 1997-01-01             1       2357     524
    """
    one_of("period", period, [name for name in _TRUNCATE if name != "day"])
    table = _checked(log, "transactions")
    visits = table.select("customer_id", begin=table.date.truncate(_TRUNCATE[period])).distinct()
    firsts = visits.group_by("customer_id").aggregate(cohort=visits.begin.min())
    cells = _count(visits.join(firsts, "customer_id"), ["cohort", "begin"], "active")
    age = _completed(cells.cohort, cells.begin, period)
    cells = cells.mutate(age=age)
    sizes = cells.filter(cells.age == 0).select("cohort", customers="active")
    cells = cells.join(sizes, "cohort")
    return cells.select("cohort", **{f"age_{period}s": cells.age}, customers="customers", active="active").order_by(
        "cohort", f"age_{period}s"
    )


def repeat_counts(log, at_least=3, count_first=False, group=None):
    """How many customers bought at least so many times, in each year and up to it; see `crmlab.retention.repeat_share`.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
    at_least : int
        Purchases (customer-days) that make a repeater.
    count_first : bool
        Whether a customer's very first purchase counts.
    group : str, optional
        A further column of the log.

    Returns
    -------
    ibis.Table
        One row a case, for customers who bought in ``year`` and next in ``next_year`` (missing: not again): ``in_year`` and
        ``so_far`` (enough purchases in the year, up to its end), ``group`` (the group that stood before the year; for a
        new customer its first) and ``group_after`` (that stood after it), ``customers``. Of two groups on one day the row
        that stands later counts as later where the rows have an order, else the one later in the alphabet.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> counts = counting.repeat_counts(datasets.load("cdnow_sample")).to_pandas()
    >>> counts.groupby("year")["customers"].sum().to_dict()
    {1997: 2357, 1998: 515}
    """
    import ibis

    at_least = whole_number("at_least", at_least, 1, "purchases")
    table = _checked(log, "transactions")
    years = table.mutate(year=table.date.year())
    grouped = {}
    if group:
        if "_row" in table.columns:
            moment = years.date.epoch_days().cast("int64") * 2**32 + years["_row"]
        else:
            moment = years.date.cast("string") + years[group].cast("string")
        grouped = {"group_first": years[group].argmin(moment), "group_after": years[group].argmax(moment)}
    years = years.group_by("customer_id", "year").aggregate(purchases=years.date.nunique(), **grouped)
    order = ibis.window(group_by="customer_id", order_by="year")
    years = years.mutate(nth=ibis.row_number().over(order), next_year=years.year.lead().over(order))
    not_counted = ibis.literal(0) if count_first else (years.nth == 0).cast("int64")
    years = years.mutate(counted=years.purchases - not_counted)
    if group:
        years = years.mutate(group=ibis.coalesce(years.group_after.lag().over(order), years.group_first))
    years = years.mutate(
        in_year=years.counted >= at_least,
        so_far=years.counted.sum().over(ibis.cumulative_window(group_by="customer_id", order_by="year")) >= at_least,
    )
    return _count(years, ["year", "next_year", "in_year", "so_far", *(["group", "group_after"] if group else [])])


def window_counts(log, bought, began=None, repeated=None, at_least=3, count_first=False):
    """How many customers bought in which windows of time; see `crmlab.retention.compare_definitions`.

    Parameters
    ----------
    log : Checked or data that `crmlab.tables.transactions` takes
    bought : dict of str to (date, date)
        Windows by name, first and last day, in which at least one purchase counts.
    began : dict of str to (date, date), optional
        Windows in which the customer's first purchase counts.
    repeated : dict of str to (date, date), optional
        Windows in which at least `at_least` purchases (customer-days) count.
    at_least : int
        Purchases that make a repeater.
    count_first : bool
        Whether a customer's very first purchase counts as one of those.

    Returns
    -------
    ibis.Table
        One row a case: a column a window (True if the customer did), ``customers``.

    Examples
    --------
    >>> from crmlab import counting, datasets
    >>> halves = {"first": ("1997-01-01", "1997-06-30"), "second": ("1997-07-01", "1997-12-31")}
    >>> counting.window_counts(datasets.load("cdnow_sample"), bought=halves).to_pandas()
       first  second  customers
    0   True   False       1738
    1   True    True        619
    """
    import ibis

    at_least = whole_number("at_least", at_least, 1, "purchases")
    table = _checked(log, "transactions")
    days = table.select("customer_id", "date").distinct()
    # As dates again: a backend may hand the days over as moments.
    days = days.mutate(date=days.date.cast("date"))
    first = days.group_by("customer_id").aggregate(first=days.date.min())
    days = days.join(first, "customer_id")

    def within(date, window):
        begin, end = (ibis.date(str(_day(day).date())) for day in window)
        return (date >= begin) & (date <= end)

    flags = {name: within(days.date, window).any() for name, window in bought.items()}
    flags |= {name: within(days["first"], window).any() for name, window in (began or {}).items()}
    counts = ibis.literal(True) if count_first else days.date > days["first"]
    flags |= {name: (within(days.date, window) & counts).sum() >= at_least for name, window in (repeated or {}).items()}
    return _count(days.group_by("customer_id").aggregate(**flags), list(flags))


def tenure_counts(contracts, unit="month", observed_until=None, by=()):
    """How many contracts were lost, or still run, at each tenure: what survival models are fitted on.

    Parameters
    ----------
    contracts : Checked or data that `crmlab.tables.contracts` takes
    unit : {"day", "week", "month", "quarter", "year"}
        The time from one renewal to the next. Months are those of the calendar: a contract of 31 January renews on the
        last of February.
    observed_until : date-like, optional
        The last day on which the table was up to date; by default the latest date in it.
    by : str or sequence of str
        Further columns of the contracts by which to count.

    Returns
    -------
    ibis.Table
        The columns of `by`, ``tenure_<unit>s``, ``lost``, ``customers``. For a contract that was lost, the tenure is the
        number of the first renewal that it did not see, 1 or more; for the others, the last renewal up to `observed_until`.

    Raises
    ------
    ValueError
        If the table breaks its contract, or a date lies after `observed_until`.

    Notes
    -----
    A contract that ended before its next renewal was due by `observed_until` is not ``lost`` here: it counts as followed to
    the renewal before, as those that run do. Of the renewals not yet due only losses are known, and counting them would
    raise every churn rate. These contracts are the ends in the table less the customers ``lost``; a shorter `unit` has
    fewer of them. Where every contract ends on the day of a renewal there are none.

    Examples
    --------
    >>> from crmlab import counting, simulate
    >>> table = simulate.contracts(1000, alpha=0.7, beta=1.2, seed=1)
    >>> counting.tenure_counts(table, unit="year", observed_until="2025-12-31").to_pandas().head(2)
       tenure_years  lost  customers
    0             1  True        366
    1             2  True        152
    """
    table = _tenures(contracts, unit, observed_until)
    by = _names(by)
    counts = _count(table, [*by, "tenure", "lost"])
    return counts.rename({f"tenure_{unit}s": "tenure"})


def survivor_triangle(contracts, period="year", observed_until=None):
    """How many contracts of each cohort outlived each renewal; see `crmlab.retention.survivor_triangle`.

    Parameters
    ----------
    contracts : Checked or data that `crmlab.tables.contracts` takes
    period : {"week", "month", "quarter", "year"}
    observed_until : date-like, optional

    Returns
    -------
    ibis.Table
        ``cohort`` (first day of the period), ``age_<period>s``, ``customers``, ``survivors``, for the ages to which every
        contract of the cohort could be followed.

    Examples
    --------
    >>> from crmlab import counting, simulate
    >>> table = simulate.contracts(1000, alpha=0.7, beta=1.2, seed=1)
    >>> counting.survivor_triangle(table, observed_until="2025-12-31").to_pandas()["survivors"].head(3).tolist()
    [1000, 634, 482]
    """
    import ibis

    one_of("period", period, [name for name in _TRUNCATE if name != "day"])
    table = _tenures(contracts, period, observed_until)
    table = table.mutate(cohort=table.start.truncate(_TRUNCATE[period]))
    cases = _count(table, ["cohort", "tenure", "lost", "followed"])
    cohorts = cases.group_by("cohort").aggregate(size=cases.customers.sum(), last=cases.followed.min())
    ages = cohorts.select("cohort", "size", age=ibis.range(0, (cohorts["last"] + 1).cast("int64")).unnest())
    cells = ages.join(cases, "cohort")
    cells = cells.group_by("cohort", "age", "size").aggregate(
        survivors=cells.customers.sum(where=~cells.lost | (cells.tenure > cells.age)).fill_null(0)
    )
    return cells.select("cohort", **{f"age_{period}s": "age"}, customers="size", survivors="survivors").order_by(
        "cohort", f"age_{period}s"
    )


def person_periods(contracts, unit="month", observed_until=None, by=()):
    """How many contracts came up for each renewal and how many were lost at it: what discrete-time hazards are fitted on.

    The table of a binomial model with one row a period and covariate pattern; each contract counts up to the last renewal that
    was due by `observed_until`, whether or not it ended after that.

    Parameters
    ----------
    contracts, unit, observed_until, by
        As in `tenure_counts`.

    Returns
    -------
    ibis.Table
        The columns of `by`, ``renewal`` (1, 2, ... periods after the start), ``at_risk``, ``lost``.

    Examples
    --------
    >>> from crmlab import counting, simulate
    >>> table = simulate.contracts(1000, alpha=0.7, beta=1.2, seed=1)
    >>> counting.person_periods(table, unit="year", observed_until="2025-12-31").to_pandas().head(2)
       renewal  at_risk  lost
    0        1     1000   366
    1        2      634   152
    """
    import ibis

    by = _names(by)
    cases = tenure_counts(contracts, unit, observed_until, by).rename(tenure=f"tenure_{unit}s")
    # A contract that was not followed to its first renewal was at risk at none.
    periods = cases.filter(cases.tenure > 0)
    periods = periods.mutate(renewal=ibis.range(1, (periods.tenure + 1).cast("int64")).unnest())
    return (
        periods.group_by(*by, "renewal")
        .aggregate(
            at_risk=periods.customers.sum(),
            lost=periods.customers.sum(where=periods.lost & (periods.tenure == periods.renewal)).fill_null(0),
        )
        .order_by(*by, "renewal")
    )


def transition_counts(episodes, unit="month", clock="phase", observed_until=None, by=()):
    """How many stays in each phase ended in a move to which other phase, and when: what multi-state models are fitted on.

    Parameters
    ----------
    episodes : Checked or data that `crmlab.tables.episodes` takes
    unit : {"day", "week", "month", "quarter", "year"}
        Periods begun; a stay that begins and ends in the same period of the clock has ``entered`` equal to ``left``.
    clock : {"phase", "customer", "calendar"}
        Time since the phase was entered, time since the customer's first phase (a later phase is then entered late: delayed
        entry), or the calendar.
    observed_until : date-like, optional
        The last day on which the table was up to date; by default the latest date in it.
    by : str or sequence of str
        Further columns of the stays by which to count.

    Returns
    -------
    ibis.Table
        The columns of `by`, ``phase``, ``next_phase`` (missing while the stay lasts), ``entered`` and ``left`` (periods;
        on the calendar the first days of periods), ``stays``. For a stay that lasts, ``left`` is the last period observed.

    Notes
    -----
    Time since the phase or since the customer's first counts as far as its periods were over by `observed_until`. A move in
    a period that was not over is not counted, since those who did not move then are not known yet: the stay lasts, to the
    last full period. Only the calendar has a last period that may be cut short, for moves and for stays that last alike.

    The customer is not in the table: errors that must respect that a customer's stays belong together need `histories`.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import counting
    >>> stays = pd.DataFrame({
    ...     "customer_id": ["a", "a", "b"], "phase": ["build-up", "stability", "build-up"],
    ...     "start": pd.to_datetime(["2024-05-01", "2025-02-01", "2025-01-10"]), "end": pd.to_datetime(["2025-02-01", None, None]),
    ... })
    >>> counting.transition_counts(stays, observed_until="2025-06-30").to_pandas()
           phase next_phase  entered  left  stays
    0   build-up  stability        0     9      1
    1   build-up       None        0     5      1
    2  stability       None        0     4      1
    """
    stays = _stays(episodes, unit, clock, observed_until)
    return _count(stays, [*_names(by), "phase", "next_phase", "entered", "left"], "stays")


def rating_counts(responses, by=None):
    """How many customers gave each combination of ratings and other answers: the cross-table as a list.

    Parameters
    ----------
    responses : Checked
        What `crmlab.tables.responses` returned.
    by : str or sequence of str, optional
        The columns to cross; by default all but the customer.

    Returns
    -------
    ibis.Table
        The columns of `by` and ``customers``.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import counting, tables
    >>> answers = pd.DataFrame({"customer_id": ["a", "b", "c"], "satisfaction": [5, 5, 2], "stayed": [True, True, False]})
    >>> counting.rating_counts(tables.responses(answers, "satisfaction", also="stayed")).to_pandas()
       satisfaction  stayed  customers
    0             2   False          1
    1             5    True          2
    """
    table = _checked(responses, "responses")
    return _count(table, _names(by) if by else [n for n in table.columns if n not in ("customer_id", "_row")])


def histories(data, unit="month", observed_until=None):
    """How many customers share each whole history: the unit of the bootstrap and of errors clustered by customer.

    Transitions and person-periods of one customer hang together, so neither is a unit to draw. Draw these, with
    ``customers`` as weights.

    Parameters
    ----------
    data : Checked
        What `crmlab.tables.transactions` or `crmlab.tables.episodes` returned.
    unit : {"day", "week", "month", "quarter", "year"}
    observed_until : date-like, optional
        The last day observed; by default the latest date in the data.

    Returns
    -------
    ibis.Table
        ``history`` and ``customers``. Of a purchase log: the completed periods since the first purchase in which the customer
        bought, after a slash the period in which observation ends ("00000 00003 / 00011"). Of phases: the stays on the
        customer's clock ("00000-00009 build-up > stability, 00009-00014 stability").

    Examples
    --------
    >>> from crmlab import counting, datasets, tables
    >>> log = tables.transactions(datasets.load("cdnow_sample"))
    >>> counting.histories(log, unit="quarter").to_pandas().sort_values("customers").tail(1).values.tolist()
    [['00000 / 00005', 1464]]
    """
    import ibis

    if not isinstance(data, tables.Checked) or data.kind not in ("transactions", "episodes"):
        raise TypeError(
            "histories are those of tables.transactions(...) or tables.episodes(...): check the data first."
        )
    if data.kind == "episodes":
        stays = _stays(data, unit, "customer", observed_until)
        moved = stays.next_phase.notnull().ifelse(ibis.literal(" > ") + stays.next_phase.fill_null(""), "")
        stays = stays.mutate(item=_padded(stays.entered) + "-" + _padded(stays["left"]) + " " + stays.phase + moved)
        customers = stays.group_by("customer_id").aggregate(history=stays.item.collect())
        return _count(customers.select(history=customers.history.sort().join(", ")), ["history"])
    one_of("unit", unit, _TRUNCATE)
    table = data.table
    until = _last_day(table, observed_until)
    table = table.filter(table.date <= until)
    firsts = table.group_by("customer_id").aggregate(first=table.date.min())
    visits = table.join(firsts, "customer_id")
    visits = visits.select("customer_id", "first", age=_completed(visits["first"], visits.date, unit)).distinct()
    customers = visits.group_by("customer_id", "first").aggregate(ages=_padded(visits.age).collect())
    end = _padded(_completed(customers["first"], until, unit))
    return _count(customers.select(history=customers.ages.sort().join(" ") + " / " + end), ["history"])


def fetch(checked, name, count, definition=None):
    """The table that an expression of counts gives: computed, or taken from where a rerun keeps it.

    `count` makes the expression; it is called only if the table is not kept yet. `definition` says what was counted.
    """
    if checked._keep is None:
        return count().to_pandas()
    return checked._keep(name, definition or {}, lambda: count().to_pandas())


def _checked(data, kind):
    """The table behind data of that kind, checked now if they are not."""
    if isinstance(data, tables.Checked):
        if data.kind != kind:
            raise TypeError(f"this counts {kind}; got an object of {data.kind}.")
        return data.table
    if kind == "responses":
        raise TypeError(
            "check the answers first: tables.responses(data, ratings=[...]) says which columns are ratings."
        )
    return getattr(tables, kind)(data).table


def _names(by):
    return [by] if isinstance(by, str) else list(by)


def _count(table, columns, name="customers"):
    return table.group_by(*columns).aggregate(**{name: table.count()}).order_by(*columns)


def _customers(table, merge):
    """One row a customer. First by day, then by customer: it is faster than counting distinct days, and knows the first day."""
    has_amount = "amount" in table.columns
    if merge == "order":
        if "order_id" not in table.columns:
            raise ValueError(
                "merge='order' needs the column that tells orders: name it as order= of tables.transactions."
            )
        amount = {"amount": table.amount.sum()} if has_amount else {}
        table = table.group_by("customer_id", "order_id").aggregate(date=table.date.min(), **amount)
    amount = {"amount": table.amount.sum()} if has_amount else {}
    count = {} if merge == "day" else {"purchases": table.count()}
    days = table.group_by("customer_id", "date").aggregate(**amount, **count)
    purchases = days.count() if merge == "day" else days.purchases.sum()
    if has_amount:
        first = days.amount if merge == "day" else days.amount / days.purchases
        amount = {"total": days.amount.sum(), "first_amount": first.argmin(days.date)}
    return days.group_by("customer_id").aggregate(
        first=days.date.min(), last=days.date.max(), purchases=purchases, **amount
    )


def _last_day(table, given, name="observed_until"):
    """The last day that counts: the given one, which does not lie before the log, or the log's."""
    import ibis

    until = _day(table.date.max().to_pandas() if given is None else given)
    if given is not None:
        first = _day(table.date.min().to_pandas())
        if until < first:
            raise ValueError(
                f"{name}= ({until:%Y-%m-%d}) lies before the first purchase of the log ({first:%Y-%m-%d}). Fix: a later day."
            )
    return ibis.date(str(until.date()))


def _day(date):
    return pd.Timestamp(date).tz_localize(None).normalize()


def _in_unit(days, unit):
    return days if unit == "day" else days / _DAYS[unit]


def _padded(number):
    return number.cast("string").lpad(5, "0")


def _completed(start, day, unit):
    """Whole periods from `start` to `day`: the largest k for which start + k periods is not after `day`.

    In months as pandas and people count: from 31 January one month is complete on the last of February.
    """
    if unit in ("day", "week"):
        days = day.delta(start, unit="day")
        return (days // 7 if unit == "week" else days).cast("int64")
    import ibis

    months = (day.year() - start.year()) * 12 + day.month() - start.month()
    is_last_of_month = (day + ibis.interval(days=1)).day() == 1
    months = months - ((start.day() > day.day()) & ~is_last_of_month).cast("int64")
    return (months // _MONTHS[unit]).cast("int64")


def _begun(start, day, unit):
    """Periods begun from `start` to `day`: 0 on the same day, k on the day that completes the k-th."""
    import ibis

    return _completed(start, (day - ibis.interval(days=1)).cast("date"), unit) + 1


def _observed(table, given, what):
    """The last day observed; dates after it are refused."""
    import ibis

    latest = table.aggregate(start=table.start.max(), end=table.end.max()).to_pandas().iloc[0].dropna().max()
    until = _day(latest if given is None else given)
    day = ibis.date(str(until.date()))
    if pd.Timestamp(latest) > until:
        late = table.filter((table.start > day) | (table.end > day).fill_null(False))
        shown = ", ".join(map(str, late.limit(3).customer_id.to_pandas()))
        raise ValueError(
            f"{int(late.count().to_pandas()):,} {what} begin or end after observed_until ({until:%Y-%m-%d}), for example of {shown}. "
            "Fix: a later observed_until=, or leave their end empty."
        )
    return day


def _tenures(contracts, unit, observed_until):
    """The contracts with the last period that each was followed to the end of, its tenure and whether it was lost."""
    import ibis

    one_of("unit", unit, _TRUNCATE)
    table = _checked(contracts, "contracts")
    until = _observed(table, observed_until, "contracts")
    table = table.mutate(followed=_completed(table.start, until, unit))
    # What ended in a period that is not over was followed to the one before, like what still runs; else that period would
    # hold only losers.
    ended = ibis.coalesce(_begun(table.start, table.end, unit), table.followed + 1)
    return table.mutate(lost=ended <= table.followed, tenure=ibis.least(ended, table.followed))


def _stays(episodes, unit, clock, observed_until):
    import ibis

    one_of("unit", unit, _TRUNCATE)
    one_of("clock", clock, ("phase", "customer", "calendar"))
    stays = _checked(episodes, "episodes")
    until = _observed(stays, observed_until, "stays")
    if clock == "calendar":
        begin, end = stays.start, ibis.coalesce(stays.end, until)
        return stays.mutate(entered=begin.truncate(_TRUNCATE[unit]), left=end.truncate(_TRUNCATE[unit]))
    stays = stays.mutate(origin=stays.start)
    if clock == "customer":
        stays = stays.mutate(origin=stays.start.min().over(group_by="customer_id"))
    stays = stays.mutate(_followed=_completed(stays.origin, until, unit))
    # As with contracts: nothing that fell in a period that is not over counts.
    ended = ibis.coalesce(_begun(stays.origin, stays.end, unit), stays._followed + 1)
    return stays.mutate(
        entered=ibis.least(_begun(stays.origin, stays.start, unit), stays._followed),
        left=ibis.least(ended, stays._followed),
        next_phase=(ended <= stays._followed).ifelse(stays.next_phase, ibis.null(stays.next_phase.type())),
    )
