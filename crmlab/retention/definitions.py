"""What "retained" means on a purchase log: rules that count repeat purchases, and the activity of cohorts."""

import numpy as np
import pandas as pd

from crmlab import counting, style, tables
from crmlab.arguments import one_of, whole_number
from crmlab.likelihood import normal_quantile
from crmlab.retention.survivors import PERIODS, age_column

__all__ = [
    "repeat_share",
    "plot_repeat_share",
    "cohort_triangle",
    "plot_cohort_triangle",
    "compare_definitions",
    "plot_definitions",
]


def repeat_share(
    log,
    at_least=3,
    count_first=False,
    window="year",
    base="active",
    group=None,
    customer="customer_id",
    date="date",
    level=0.95,
):
    r"""Share of customers who bought again at least so many times, year by year.

    The rule of thumb of many CRM reports. A customer-day is one purchase, however many rows it has. For year
    :math:`y`, with :math:`k_i(y)` the purchases that count, :math:`B(y)` the customers in the base and :math:`m` for `at_least`,

    .. math:: \text{share}(y) = \frac{\#\{i \in B(y) : k_i(y) \ge m\}}{\#B(y)}.

    Assumes that a year is observed whole. The last year of a log often is not: compare whole years only.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase: the customer, the day and, if grouped, the group; see `crmlab.tables.transactions`. To leave
        out returns or rows without a customer, check the log there first and hand in the result.
    at_least : int, default 3
        How many purchases make a customer a repeater.
    count_first : bool, default False
        Whether a customer's very first purchase in the log counts. By default it does not: it is a trial, not a repeat.
    window : {"year", "cumulative"}
        Count the purchases of the year, or all of them up to its end. A cumulative share rises with the customers'
        age alone, even if nobody's behaviour changes.
    base : {"active", "ever"}
        Divide by the customers who bought in the year, or by all who have ever bought by its end.
    group : str, optional
        A column of the log, such as a grade. A customer counts in the group that stood on its last purchase *before*
        the year (for a new customer: on its first), so that what happens in the year cannot choose the group.
    customer, date : str
        Names of the columns.
    level : float, default 0.95
        Confidence level of the Wilson intervals.

    Returns
    -------
    pandas.DataFrame
        One row a year and group, with the columns ``period`` (the year), ``group`` (only if asked for), ``customers``
        (the base), ``repeaters``, ``share``, ``lower``, ``upper``. ``.attrs["definition"]`` says in words what was counted.

    Raises
    ------
    ValueError
        If the log breaks its contract (see `crmlab.tables.transactions`) or an argument is not one of its choices.

    Notes
    -----
    The intervals treat customers as a random sample of those the firm could have had. Years share customers, so
    intervals of two years are not independent. In R: ``prop.test(repeaters, customers, correct = FALSE)``.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, *Journal of the American
    Statistical Association* 22(158):209-212.

    Examples
    --------
    >>> from crmlab import datasets, retention
    >>> log = datasets.load("cdnow_sample")
    >>> retention.repeat_share(log).round(3)
       period  customers  repeaters  share  lower  upper
    0    1997       2357        397  0.168  0.154  0.184
    1    1998        515        138  0.268  0.232  0.308
    """
    one_of("window", window, ("year", "cumulative"))
    one_of("base", base, ("active", "ever"))
    normal_quantile(level)  # refuses a level that is none
    at_least = whole_number("at_least", at_least, 1, "purchases")
    if group in ("customer_id", "date"):
        raise ValueError(
            f"group= is a column of customers' groups, such as a grade; {group!r} has another use in the log."
        )
    checked = tables.transactions(log, customer, date, amount=None, also=group)
    definition = {"at_least": at_least, "count_first": bool(count_first), "group": group}
    cases = counting.fetch(
        checked, "repeats", lambda: counting.repeat_counts(checked, at_least, count_first, group), definition
    )
    if group and isinstance(log, pd.DataFrame):
        # A categorical keeps its order.
        cases[["group", "group_after"]] = cases[["group", "group_after"]].astype(log[group].dtype)
    keys = ["period", "group"] if group else ["period"]
    rows = _base_of_each_year(cases, base).rename(columns={"in_year" if window == "year" else "so_far": "repeater"})
    rows["repeaters"] = rows["customers"].where(rows["repeater"], 0)
    result = rows.groupby(keys, observed=True)[["customers", "repeaters"]].sum().reset_index().astype({"period": int})
    result["share"] = result["repeaters"] / result["customers"]
    from statsmodels.stats.proportion import proportion_confint  # here, since it takes a second to import

    result["lower"], result["upper"] = proportion_confint(
        result["repeaters"], result["customers"], alpha=1 - level, method="wilson"
    )
    result.attrs["definition"] = (
        f"at least {at_least} purchases (customer-days) {'in the year' if window == 'year' else 'up to the end of the year'}, "
        f"the first {'counted' if count_first else 'not counted'}; of customers who {'bought in the year' if base == 'active' else 'ever bought by then'}"
    )
    return result


def _base_of_each_year(cases, base):
    """The customers in the base of each year, by case: those who bought in it, with `base` "ever" the silent ones too."""
    parts = [cases.assign(period=cases["year"])]
    last = cases["year"].max()
    if base == "ever":
        until = pd.to_numeric(cases["next_year"]).fillna(last + 1)
        # In a silent year nothing is bought, and what stood after the last purchase goes on standing.
        silent = cases.assign(in_year=False, **({"group": cases["group_after"]} if "group" in cases else {}))
        for year in range(cases["year"].min() + 1, last + 1):
            parts.append(silent[(cases["year"] < year) & (year < until)].assign(period=year))
    return pd.concat(parts, ignore_index=True)


def plot_repeat_share(shares, ax=None):
    """Draw the shares of `repeat_share` with their intervals, a line a group.

    Parameters
    ----------
    shares : pandas.DataFrame
        What `repeat_share` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    groups = list(shares.groupby("group", observed=True)) if "group" in shares else [(None, shares)]
    for number, (name, rows) in enumerate(groups):
        spread = np.abs(rows[["lower", "upper"]].sub(rows["share"], axis=0)).T
        ax.errorbar(rows["period"], rows["share"], spread, marker="os^Dv"[number % 5], capsize=4, label=name)
    if "group" in shares:
        ax.legend()
    ax.xaxis.set_major_locator(style.whole_numbers())
    ax.yaxis.set_major_formatter(style.PERCENT)
    ax.set(xlabel="year", ylabel="share of customers", ylim=(0, None))
    return ax


def cohort_triangle(log, period="month", customer="customer_id", date="date"):
    """How many customers of each cohort bought again, by age: activity, not survival.

    A cohort is the customers whose first purchase in the log fell in the same period. A customer is active at age
    `k` if it bought at least once in the `k`-th period after that. Activity can fall and rise again, since a shop's
    customers come back; it is therefore not a survivor function, and the models of survivors refuse it.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase; see `crmlab.tables.transactions`.
    period : {"week", "month", "quarter", "year"}
        Calendar periods; weeks begin on Monday.
    customer, date : str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        One row a cohort and age that the log covers: ``cohort`` (period), ``age_<period>s`` (0 is the period of the
        first purchase), ``customers`` (size of the cohort), ``active``, ``share`` (active / customers). The log's last
        period is included as it is: if it was cut short, so is its activity.

    Raises
    ------
    ValueError
        If the log breaks its contract, or the period is not one of those.

    Examples
    --------
    >>> from crmlab import datasets, retention
    >>> activity = retention.cohort_triangle(datasets.load("cdnow_sample"), period="quarter")
    >>> activity.head(3).round(3)
       cohort  age_quarters  customers  active  share
    0  1997Q1             0       2357    2357  1.000
    1  1997Q1             1       2357     524  0.222
    2  1997Q1             2       2357     418  0.177
    """
    one_of("period", period, PERIODS)
    checked = tables.transactions(log, customer, date, amount=None)
    counts = counting.fetch(checked, "cohorts", lambda: counting.cohort_triangle(checked, period), {"period": period})
    age = f"age_{period}s"
    cohorts = pd.PeriodIndex(pd.to_datetime(counts["cohort"]), freq=PERIODS[period])
    counts = counts.assign(cohort=cohorts)
    # Every age that the log covers, also where nobody was active.
    last = (cohorts + counts[age].to_numpy()).max()
    sizes = counts.drop_duplicates("cohort")[["cohort", "customers"]]
    ages = [range(last.ordinal - cohort.ordinal + 1) for cohort in sizes["cohort"]]
    result = sizes.assign(**{age: ages}).explode(age, ignore_index=True).astype({age: int})
    result = result.merge(counts[["cohort", age, "active"]], how="left", on=["cohort", age])
    result["active"] = result["active"].fillna(0).astype(int)
    result["share"] = result["active"] / result["customers"]
    result = result[["cohort", age, "customers", "active", "share"]]
    result.attrs["kind"] = "activity"
    return result


def plot_cohort_triangle(triangle, ax=None):
    """Heat map of a triangle: cohorts down, age across, the share as colour and number.

    Parameters
    ----------
    triangle : pandas.DataFrame
        What `cohort_triangle` or `survivor_triangle` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    import seaborn  # here, since it takes two seconds to import

    ax = style.axes(ax)
    age = age_column(triangle)
    shares = triangle.pivot(index="cohort", columns=age, values="share")
    sizes = triangle.groupby("cohort")["customers"].first()
    # Age 0 is always 100 %: it is left blank, so that the colours tell the other ages apart.
    rest = shares.iloc[:, 1:]
    many = rest.shape[1] > 20
    seaborn.heatmap(
        rest,
        ax=ax,
        cmap="cividis",
        annot=None if many else rest * 100,
        fmt=".0f",
        annot_kws={"size": 12},
        linewidths=0 if many else 0.5,
        cbar_kws={"label": "share of the cohort", "format": style.PERCENT},
        yticklabels=[f"{cohort} ({size:,})" for cohort, size in sizes.items()],
    )
    what = "still under contract" if "survivors" in triangle else "active"
    ax.set(
        xlabel=f"age, in {age.removeprefix('age_')} since the first",
        ylabel="cohort (customers)",
        title=f"Customers {what}, % of the cohort",
    )
    ax.grid(False)
    return ax


def compare_definitions(
    log,
    period="quarter",
    at=None,
    at_least=3,
    cohort=None,
    window=None,
    intention=None,
    customer="customer_id",
    date="date",
    level=0.95,
):
    r"""Retention by every definition in use, on one log, for one period.

    Each rate is a share of its own base, so that they differ even where nobody errs. Of period :math:`p`:

    - *repeat count, within the period*: of those who bought in :math:`p`, those with `at_least` repeat purchases in it;
    - *repeat count, since the start*: of all who ever bought, those with `at_least` repeat purchases by the end of :math:`p`;
    - *period*: of those who bought in :math:`p - 1`, those who bought in :math:`p`;
    - *cohort*: of those who first bought in the period `cohort`, those who bought in :math:`p`;
    - *cohort, unbounded*: of the same, those who bought in :math:`p` or later (what reports on apps call rolling);
    - *rolling*: of those who bought in the `window` periods before the last `window` periods, those who bought again in the
      last `window` periods up to :math:`p`;
    - *stated intention*: of those who answered, those who intend to buy again, or to start;
    - *contractual*: of those under contract, those who renewed. A purchase log cannot show it: nobody says that he has left.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase; see `crmlab.tables.transactions`.
    period : {"week", "month", "quarter", "year"}
        Calendar periods; weeks begin on Monday.
    at : str or pandas.Period, optional
        The period that is judged, such as ``"1998Q1"``; by default the last one that the log covers to its end.
    at_least : int, default 3
        Repeat purchases (customer-days, the very first not counted) that make a repeater.
    cohort : str or pandas.Period, optional
        The cohort that is followed; by default the first. In a log that begins in the middle of a firm's life its first
        cohort is full of old customers: choose a later one.
    window : int, optional
        Periods in a window of the rolling rate; by default a year's, or as many as fit twice into the log up to `at`.
    intention : sequence of bool, optional
        A survey's answers, one a respondent, asked of the firm's whole target group: True to buy (again), False not, missing for
        no answer. The respondents need not be in the log.
    customer, date : str
        Names of the columns.
    level : float, default 0.95
        Confidence level of the Wilson intervals.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``definition``: ``base`` and ``retained_if`` (in words), ``customers`` (in the base), ``retained``, ``rate``,
        ``lower``, ``upper``, ``moves_with`` (what changes it besides customers' loyalty). What cannot be computed from
        the data has missing numbers and its reason in ``moves_with``. ``.attrs`` has ``at``, ``cohort`` and ``window``.

    Raises
    ------
    ValueError
        If the log breaks its contract, the log does not cover the period, or an argument is not one of its choices.

    Examples
    --------
    >>> from crmlab import datasets, retention
    >>> rates = retention.compare_definitions(datasets.load("cdnow_sample"), at="1998Q1")
    >>> rates["rate"].dropna().round(3)
    definition
    repeat count, within the period    0.172
    repeat count, since the start      0.199
    period                             0.485
    cohort                             0.163
    cohort, unbounded                  0.218
    rolling                            0.530
    Name: rate, dtype: float64
    """
    one_of("period", period, PERIODS)
    at_least = whole_number("at_least", at_least, 1, "purchases")
    normal_quantile(level)  # refuses a level that is none
    checked = tables.transactions(log, customer, date, amount=None)
    dates = checked.table.date
    ends = counting.fetch(checked, "ends", lambda: checked.table.aggregate(first=dates.min(), last=dates.max()))
    first, last = (pd.Timestamp(day) for day in ends.iloc[0])
    begin, end = (day.to_period(PERIODS[period]) for day in (first, last))
    if last.normalize() < end.end_time.normalize():
        end -= 1  # the log stops within its last period
    at = _period("at", at, period, end)
    if not begin <= at <= last.to_period(PERIODS[period]):
        raise ValueError(
            f"at= is {at}, but the log runs from {first.date()} to {last.date()}"
            + (f": it covers no whole {period}. Take a shorter period=." if end < begin else ".")
        )
    if at == begin:
        raise ValueError(
            f"at= is {at}, the {period} in which the log begins: nothing came before it. Take a later one, or a shorter period=."
        )
    cohort = _period("cohort", cohort, period, begin)
    if not begin <= cohort < at:
        raise ValueError(
            f"cohort= is {cohort}, which does not lie between {begin} and the {period} that is judged, {at}."
        )
    available = (at - begin).n + 1
    if window is None:
        window = max(min(_A_YEAR[period], available // 2), 1)
    elif isinstance(window, bool) or not isinstance(window, (int, np.integer)) or not 1 <= window <= available // 2:
        raise ValueError(
            f"window= is a number of {period}s that fits twice into the {available} from {begin} to {at}; got {window!r}."
        )

    def days(start, stop):
        return start.start_time, stop.end_time.normalize()

    windows = {
        "bought": {
            "now": days(at, at),
            "before": days(at - 1, at - 1),
            "later": (at.start_time, last),
            "recent": days(at - window + 1, at),
            "earlier": days(at - 2 * window + 1, at - window),
            "ever": (first, at.end_time.normalize()),
        },
        "began": {"cohort": days(cohort, cohort)},
        "repeated": {"often_now": days(at, at), "often": (first, at.end_time.normalize())},
    }
    cases = counting.fetch(
        checked,
        "windows",
        lambda: counting.window_counts(checked, **windows, at_least=at_least),
        {"period": period, "at": str(at), "cohort": str(cohort), "window": int(window), "at_least": at_least},
    )
    several = f"{window} {period}s" if window > 1 else period
    times = f"{at_least} repeat purchase{'s' * (at_least > 1)} or more"
    asked = [
        ("repeat count, within the period", "now", "often_now", f"bought in {at}", f"{times} in {at}", "length of the period; new customers, whose first purchase is no repeat"),
        ("repeat count, since the start", "ever", "often", f"ever bought by {at}", f"{times} by then", "age of the customers: it rises even if nobody changes"),
        ("period", "before", "now", f"bought in {at - 1}", f"bought in {at}", "season; how often customers buy at all"),
        ("cohort", "cohort", "now", f"first bought in {cohort}", f"bought in {at}", "season; age of the cohort"),
        ("cohort, unbounded", "cohort", "later", f"first bought in {cohort}", f"bought in {at} or later", f"end of the log ({last.date()}): it falls towards it"),
        ("rolling", "earlier", "recent", f"bought in the {several} to {at - window}", f"bought in the {several} to {at}", "length of the window; a window that is no whole year has a season"),
    ]  # fmt: skip
    rows = []
    for name, base, kept, base_words, kept_words, moves in asked:
        in_base = cases[cases[base]]
        rows.append(
            (
                name,
                base_words,
                kept_words,
                in_base["customers"].sum(),
                in_base.loc[in_base[kept], "customers"].sum(),
                moves,
            )
        )
    rows.append(_stated(intention))
    rows.append(
        (
            "contractual",
            "under contract",
            "renewed",
            np.nan,
            np.nan,
            "not observable on a purchase log: nobody says that he has left",
        )
    )
    columns = ["definition", "base", "retained_if", "customers", "retained", "moves_with"]
    table = (
        pd.DataFrame(rows, columns=columns).set_index("definition").astype({"customers": "Int64", "retained": "Int64"})
    )
    known = table["customers"].fillna(0) > 0
    count, total = (table.loc[known, name].to_numpy(dtype=float) for name in ("retained", "customers"))
    from statsmodels.stats.proportion import proportion_confint  # here, since it takes a second to import

    table.insert(4, "rate", np.nan)
    table.loc[known, "rate"] = count / total
    for name, limits in zip(("lower", "upper"), proportion_confint(count, total, alpha=1 - level, method="wilson")):
        table.insert(5 + (name == "upper"), name, np.nan)
        table.loc[known, name] = limits
    table.attrs.update(at=str(at), cohort=str(cohort), window=int(window))
    return table


def plot_definitions(rates, ax=None):
    """Draw the rates of `compare_definitions` with their intervals, one under the other.

    Parameters
    ----------
    rates : pandas.DataFrame
        What `compare_definitions` returned; definitions without a number are left out.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    known = rates.dropna(subset="rate").iloc[::-1]
    place = np.arange(len(known))
    spread = np.abs(known[["lower", "upper"]].sub(known["rate"], axis=0)).T.to_numpy(dtype=float)
    ax.errorbar(known["rate"], place, xerr=spread, fmt="o", capsize=4)
    for y, rate in zip(place, known["rate"]):
        ax.annotate(f"{rate:.0%}", (rate, y), xytext=(0, 7), textcoords="offset points", ha="center")
    ax.set_yticks(place, known.index)
    ax.set_ylim(-0.5, len(known) - 0.2)
    ax.xaxis.set_major_formatter(style.PERCENT)
    ax.set(xlabel=f"customers retained, {rates.attrs['at']}, share of each base", ylabel="definition", xlim=(0, None))
    return ax


_A_YEAR = {"week": 52, "month": 12, "quarter": 4, "year": 1}


def _period(name, value, period, default):
    if value is None:
        return default
    try:
        return pd.Period(value, PERIODS[period])
    except (ValueError, TypeError):
        raise ValueError(f"{name}= is a {period}, such as {str(default)!r}; got {value!r}.") from None


def _stated(intention):
    """The row of a survey's answers."""
    words = ("stated intention", "asked and answered", "intends to buy (again)")
    if intention is None:
        return (*words, np.nan, np.nan, "no survey given: pass its answers as intention=")
    answers = pd.Series(intention).astype(object)
    given = answers.dropna()
    wrong = given[~given.isin([True, False])]
    if len(wrong):
        raise ValueError(
            f"intention= holds {len(wrong)} of {len(answers)} answers that are not True, False or missing "
            f"({'; '.join(map(repr, wrong.head(3)))}). Turn a scale into yes or no first, and say where you cut it."
        )
    silent = len(answers) - len(given)
    note = "mood on the day of asking; words are not purchases"
    return (*words, len(given), int(given.astype(bool).sum()), note + (f"; {silent} did not answer" if silent else ""))
