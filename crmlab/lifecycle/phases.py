"""From a purchase log to phases of the customer lifecycle: an explicit rule, and the stays that it makes.

In reading order: ``PhaseRule`` (the thresholds), ``phase_episodes`` (one row a stay), ``phase_stays`` (the same as an
expression, for logs whose stays outgrow the memory), ``rule_sensitivity`` (what other thresholds would say) and
``plot_episodes`` (a few customers as bars).
"""

from dataclasses import asdict, dataclass, replace
from itertools import cycle, product

import numpy as np
import pandas as pd

from crmlab import counting, style, tables
from crmlab.arguments import one_of, whole_number
from crmlab.lifecycle.checks import as_numbers

__all__ = ["PHASES", "PhaseRule", "phase_episodes", "phase_stays", "rule_sensitivity", "plot_episodes"]

PHASES = ("exploration", "build-up", "stability", "decline")
# One colour a phase in every figure.
PHASE_COLOURS = dict(zip(PHASES, style.COLOURS))
_HATCHES = dict(zip(PHASES, ("", "..", "", "//")))
_CLOCKS = ("forward", "reset")
_WAITS = ("stability", "decline", "back", "stays")  # what rule_sensitivity counts of each customer
_UNKNOWN = -(2**30)  # a day that is not known, where a number has to stand


@dataclass(frozen=True)
class PhaseRule:
    """Which purchases make a phase. A purchase is a customer's day, however many rows it has.

    - **exploration** begins with the first purchase.
    - **build-up** begins with purchase number `build_up_purchases`.
    - **stability** begins with the purchase that completes `stable_purchases` of them within `stable_days`.
    - **decline** begins, from any phase, when `silence_days` have passed since the last purchase without another. That is
      the day on which the silence can be known, not the day of the last purchase. A purchase on that very day is in time.
    - A purchase in decline brings the customer **back**, to `back_to`. From then on purchases are counted afresh, so a
      customer who returned becomes stable by what it buys after its return.

    On every day the rule looks at that day and what was before it, never at what came after: the phase of a customer on
    a day would have been the same if the log had ended there.

    Parameters
    ----------
    build_up_purchases : int, default 2
        Purchases that end the exploration, the first one counted.
    stable_purchases : int, default 4
        Purchases that make stability, more than `build_up_purchases`.
    stable_days : int, default 365
        Days within which they must fall, from the first of them to the last.
    silence_days : int, default 182
        Days without a purchase that make decline.
    back_to : {"build-up", "exploration"}
        Where a customer begins again who comes back.

    Raises
    ------
    ValueError
        If a threshold is no whole number, or they contradict each other.

    Examples
    --------
    >>> from crmlab import lifecycle
    >>> print(lifecycle.PhaseRule(silence_days=90))
    exploration from the first purchase; build-up from purchase 2; stability with 4 purchases within 365 days; decline after 90 days without one; back to build-up
    """

    build_up_purchases: int = 2
    stable_purchases: int = 4
    stable_days: int = 365
    silence_days: int = 182
    back_to: str = "build-up"

    def __post_init__(self):
        one_of("back_to", self.back_to, ("build-up", "exploration"))
        for name, least in (
            ("build_up_purchases", 2),
            ("stable_purchases", 3),
            ("stable_days", 1),
            ("silence_days", 1),
        ):
            whole_number(name, getattr(self, name), least)
        if self.stable_purchases <= self.build_up_purchases:
            raise ValueError(
                f"stable_purchases= ({self.stable_purchases}) is more than build_up_purchases= ({self.build_up_purchases}): "
                "stability comes after build-up."
            )
        if self.stable_days < self.stable_purchases - 1:
            raise ValueError(
                f"stable_days= ({self.stable_days}) is too short for {self.stable_purchases} days with a purchase: nobody could be stable."
            )

    def __str__(self):
        return (
            f"exploration from the first purchase; build-up from purchase {self.build_up_purchases}; stability with "
            f"{self.stable_purchases} purchases within {self.stable_days} days; decline after {self.silence_days} days without one; "
            f"back to {self.back_to}"
        )


def phase_episodes(
    log,
    unit="week",
    rule=None,
    clock="forward",
    observed_from=None,
    observed_until=None,
    since=None,
    also=(),
    customer="customer_id",
    date="date",
    counted=False,
):
    r"""Turn a purchase log into stays in lifecycle phases, one row a stay, by a stated rule.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase; see `crmlab.tables.transactions`. To leave out returns or rows without a customer, check the
        log there first and hand in the result.
    unit : {"day", "week", "month", "year"}
        Of the times: days divided by 1, 7, 365.25 / 12, 365.25.
    rule : PhaseRule, optional
        The thresholds; by default those of ``PhaseRule()``.
    clock : {"forward", "reset"}
        Whether times run from the customer's first purchase, or begin again with every phase.
    observed_from : date-like, optional
        The day from which customers are followed. What was bought before decides in which phase a customer is on that day and
        since when its time runs; a stay that was under way then is entered late, at that day (delayed entry).
    observed_until : date-like, optional
        The last day observed, by default the last day of the log. Later purchases do not count.
    since : str, optional
        A column with the day of the customer's first purchase *ever*, for customers older than the log. How often they
        bought before it is not known. Such a customer is taken up on the first day on which the rule can tell its phase
        from the log alone: when it is stable, or in decline, or comes back.
    also : str or sequence of str
        Further columns to carry along, such as the channel: as they stood on the customer's first purchase in the log.
    customer, date : str
        Names of the columns.
    counted : bool, default False
        Whether to count equal stays where the log lies and to fetch the counts only, which do not grow with the customers and name
        none of them.

    Returns
    -------
    pandas.DataFrame
        One row a stay, by customer and time: ``customer_id``, ``phase``, ``entry``, ``exit``, ``next_phase`` (missing while
        the stay lasts: it is censored at ``exit``), and the columns of `also`. The phases are ordered categories.
        ``.attrs`` says ``unit``, ``clock``, ``rule``, ``since``, ``entered_late`` (how many customers' first stays have an ``entry`` above
        0) and how many stays were ``left_out``: those that begin on the last day
        observed have no length (the move into them is in the table, as the end of the stay before); on the clock that is
        reset, so are the first stays in stability of customers older than the log, whose beginning is not known.

        With `counted`, one row a kind of stay: in place of the customer ``came_from`` (the phase before; missing for a customer's first
        stay), ``first_visit`` (whether it was the customer's first stay in the phase) and ``stays``, how many there were.
        `fit_time_in_phase`, `fit_duration`, `compare_durations` and `fit_multistate` take it as it is; what must know which stays belong to one
        customer (the jackknife, the landmark, the bootstrap) does not.

    Raises
    ------
    TypeError, ValueError
        If the log breaks its contract, an argument is not one of its choices, nobody is followed, or the days in `since`
        contradict the log.

    Notes
    -----
    Runs where the data lie, as one expression of window functions; no customer is looked at by itself.

    A phase that is left after a silence of fixed length is left at a time that is known in advance, which no smooth
    distribution fits and which makes the process not Markov; see `crmlab.lifecycle.fit_duration` and
    `crmlab.lifecycle.fit_multistate`.

    A customer file that holds only those who bought after `observed_from` is another matter: whoever left before is not
    in it at all. Then follow the customers from the first day in the file on.

    Examples
    --------
    >>> from crmlab import datasets, lifecycle
    >>> log = datasets.load("cdnow_sample")
    >>> episodes = lifecycle.phase_episodes(log, unit="week")
    >>> episodes.head(4).round(1)
      customer_id        phase  entry  exit next_phase
    0       00004  exploration    0.0   2.4   build-up
    1       00004     build-up    2.4  28.4    decline
    2       00004      decline   28.4  30.4   build-up
    3       00004     build-up   30.4  75.3    decline
    """
    one_of("clock", clock, _CLOCKS)
    one_of("unit", unit, counting._DAYS)
    rule = PhaseRule() if rule is None else rule
    if not isinstance(rule, PhaseRule):
        raise TypeError(f"rule= is a PhaseRule, such as PhaseRule(silence_days=90); got {type(rule).__name__}.")
    names = _names(also)
    wanted = [*names, *([since] if since and since not in names else [])]
    checked = tables.transactions(log, customer, date, amount=None, also=wanted or None)
    window = {"observed_from": observed_from, "observed_until": observed_until, "since": since}
    if counted:
        definition = {"rule": str(rule), "clock": clock, "also": names, **window}
        found = counting.fetch(
            checked, "stays", lambda: _counted(_stays(checked, rule, also=names, **window), clock, names), definition
        )
        return _counted_frame(found, checked, unit, rule, clock, names, since, observed_until)
    stays = _stays(checked, rule, also=names, **window)
    origin = stays["first"] if clock == "forward" else stays.begun
    # Small whole numbers without gaps: they are sorted and fetched in half the time.
    found = stays.select(
        "customer_id",
        *names,
        _phase=stays.phase.cast("int8"),
        _next=stays.next_phase.fill_null(-1).cast("int8"),
        _start=stays.start.cast("int32"),
        _end=stays.end.cast("int32"),
        _origin=origin.fill_null(_UNKNOWN).cast("int32"),
    )
    found = found.order_by("customer_id", "_start").to_pandas()
    start, end, origin = (found.pop(name).to_numpy() for name in ("_start", "_end", "_origin"))
    unknown, empty = origin == _UNKNOWN, end <= start
    late = np.zeros(len(start), bool)
    if observed_from is not None or since:  # only a customer's first stay can be
        late = ~found["customer_id"].duplicated().to_numpy() & (start > origin) & ~unknown & ~empty
    days = counting._DAYS[unit]
    frame = pd.DataFrame(
        {
            "customer_id": found["customer_id"],
            "phase": pd.Categorical.from_codes(found.pop("_phase"), PHASES, ordered=True),
            "entry": (start - origin) / days,
            "exit": (end - origin) / days,
            "next_phase": pd.Categorical.from_codes(found.pop("_next"), PHASES, ordered=True),
            **{name: found[name] for name in names},
        },
        copy=False,
    )
    if unknown.any() or empty.any():
        frame = frame.loc[~(unknown | empty)]
    frame = frame.reset_index(drop=True)
    left_out = {"begin on the last day": int(empty.sum()), "beginning not known": int(unknown.sum())}
    said = {"since": since, "entered_late": int(late.sum()), "left_out": left_out}
    return _described(frame, checked, unit, rule, clock, said, observed_until)


def _described(frame, checked, unit, rule, clock, said, observed_until):
    """The table with what it was made by in its attrs; refused if nobody is followed."""
    if frame.empty and observed_until is not None:
        first = checked.table.date.min().to_pandas()
        if counting._day(observed_until) < counting._day(first):
            raise ValueError(
                f"observed_until= ({counting._day(observed_until):%Y-%m-%d}) lies before the first purchase of the log "
                f"({counting._day(first):%Y-%m-%d}). Fix: a later day."
            )
    if frame.empty:
        raise ValueError(
            "nobody is followed: no stay lasts for a day between observed_from= and the last day observed. Fix: an earlier "
            "observed_from=, or a log that goes on longer."
        )
    frame.attrs |= {"unit": unit, "clock": clock, "rule": str(rule), **said}
    return frame


def _counted(stays, clock, names):
    """How many stays are alike: an expression whose rows do not grow with the customers."""
    import ibis

    before = ibis.window(group_by="customer_id", order_by="start")
    same = ibis.window(group_by=["customer_id", "phase"])
    stays = stays.mutate(
        came_from=stays.phase.lag().over(before), first_visit=stays.start == stays.start.min().over(same)
    )
    # Stays without length, and on the reset clock those whose beginning is not known, are counted apart.
    origin = stays["first"] if clock == "forward" else stays.begun
    stays = stays.mutate(
        phase=stays.phase.cast("int64"),
        next_phase=stays.next_phase.fill_null(-1).cast("int64"),
        came_from=stays.came_from.fill_null(-1).cast("int64"),
        entry=(stays.start - origin).cast("int64"),
        exit=(stays.end - origin).cast("int64"),
        empty=stays.end <= stays.start,
    )
    keys = ["phase", "came_from", "first_visit", "entry", "exit", "next_phase", "empty", *names]
    counts = stays.group_by(*keys).aggregate(stays=stays.count()).order_by(*keys)
    # By name, so that whoever has the counts alone can read them.
    return counts.mutate(**{name: _phase_name(counts[name]) for name in ("phase", "came_from", "next_phase")})


def _phase_name(number):
    # Not an array to look up in: engines differ about the element number null.
    return number.cases(*enumerate(PHASES), else_=None)


def _counted_frame(found, checked, unit, rule, clock, names, since, observed_until):
    weight = found["stays"].to_numpy()
    unknown, empty = found["entry"].isna().to_numpy(), found["empty"].to_numpy(dtype=bool)
    left_out = {"begin on the last day": int(weight[empty].sum()), "beginning not known": int(weight[unknown].sum())}
    found = found[~(unknown | empty)].reset_index(drop=True)
    late = (found["entry"].astype(int) > 0) & found["came_from"].isna()
    said = {"since": since, "entered_late": int(found.loc[late, "stays"].sum()), "left_out": left_out}
    phase, came, following = (
        pd.Categorical(found[name], PHASES, ordered=True) for name in ("phase", "came_from", "next_phase")
    )
    days = counting._DAYS[unit]
    columns = {
        "phase": phase,
        "came_from": came,
        "first_visit": found["first_visit"].astype(bool),
        "entry": found["entry"].astype(int) / days,
        "exit": found["exit"].astype(int) / days,
        "next_phase": following,
        **{name: found[name] for name in names},
        "stays": found["stays"].astype(int),
    }
    return _described(pd.DataFrame(columns), checked, unit, rule, clock, said, observed_until)


def phase_stays(
    log, rule=None, observed_from=None, observed_until=None, since=None, also=(), customer="customer_id", date="date"
):
    """The stays of `phase_episodes` as an expression with dates: nothing is fetched until asked for.

    Parameters
    ----------
    log, rule, observed_from, observed_until, since, also, customer, date
        As in `phase_episodes`.

    Returns
    -------
    ibis.Table
        ``customer_id``, ``phase``, ``start`` and ``end`` (the day on which the phase was left; missing while it lasts),
        ``next_phase``, ``begun`` (when the stay really began: before ``start`` if it is entered late, missing if it is not
        known), ``first`` (the customer's first purchase) and the columns of `also`. In no particular order. It keeps the contract of
        `crmlab.tables.episodes`, so that `crmlab.counting.transition_counts` counts it where it lies. Each look at it applies
        the rule again: where it is looked at more than once, write it with ``to_parquet`` first.

    Examples
    --------
    >>> from crmlab import counting, datasets, lifecycle, tables
    >>> stays = lifecycle.phase_stays(datasets.load("cdnow_sample"))
    >>> checked = tables.episodes(stays, next_phase="next_phase")
    >>> moves = counting.transition_counts(checked, unit="week").to_pandas()
    >>> int(moves.dropna().groupby(["phase", "next_phase"])["stays"].sum()["stability", "decline"])
    199
    """
    import ibis

    rule = PhaseRule() if rule is None else rule
    stays = _stays(log, rule, observed_from, observed_until, since, also, customer, date)
    epoch = ibis.date("1970-01-01")

    def day(number):
        return (epoch + number.as_interval("D")).cast("date")

    return stays.select(
        customer_id=stays.customer_id,
        phase=_phase_name(stays.phase),
        start=day(stays.start),
        end=stays.next_phase.notnull().ifelse(day(stays.end), None),
        next_phase=_phase_name(stays.next_phase),
        begun=day(stays.begun),
        first=day(stays["first"]),
        **{column: stays[column] for column in _names(also)},
    )


def rule_sensitivity(
    log,
    rule=None,
    unit="week",
    horizon=52,
    within=26,
    observed_from=None,
    observed_until=None,
    since=None,
    customer="customer_id",
    date="date",
    **thresholds,
):
    """What other thresholds would say of the same customers: one row a rule.

    Parameters
    ----------
    log, unit, observed_from, observed_until, since, customer, date
        As in `phase_episodes`.
    rule : PhaseRule, optional
        The thresholds that are not varied.
    horizon : float, default 52
        Time since the first purchase, in the unit, for ``stable`` and ``silent``.
    within : float, default 26
        Time since the decline began, in the unit, for ``back``.
    **thresholds : sequence
        Which thresholds of `PhaseRule` to vary, such as ``silence_days=(60, 90, 182)``; all combinations are tried.

    Returns
    -------
    pandas.DataFrame
        Indexed by the thresholds: ``stays``; ``stable`` and ``silent``, the shares of customers who have been in stability and in
        decline by `horizon`; ``back``, the share of a customer's first declines that ended in a return by `within`.
        Estimated by Kaplan-Meier, so customers who were followed for less count as far as they go; missing for a rule under which
        nobody was followed so long.

    Raises
    ------
    TypeError, ValueError
        As `phase_episodes`; also if a threshold is not one of the rule's, or none is varied, or `horizon` or `within` lies beyond
        the data under each of the rules.

    Examples
    --------
    >>> from crmlab import datasets, lifecycle
    >>> log = datasets.load("cdnow_sample")
    >>> lifecycle.rule_sensitivity(log, silence_days=(91, 182, 273)).round(3)
                  stays  stable  silent   back
    silence_days
    91             7583   0.117   0.980  0.253
    182            6459   0.161   0.874  0.179
    273            5948   0.180   0.707  0.120
    """
    from crmlab.lifecycle import times

    rule = PhaseRule() if rule is None else rule
    if not thresholds:
        raise ValueError(
            f"name a threshold to vary, such as silence_days=(60, 90, 182); there are: {', '.join(asdict(rule))}."
        )
    for name in thresholds:
        one_of("a threshold", name, tuple(asdict(rule)))
    values = [[value] if isinstance(value, (str, int)) else list(value) for value in thresholds.values()]
    for name, value in (("horizon=", horizon), ("within=", within)):
        if not as_numbers(name, value)[0] >= 0:
            raise ValueError(f"{name} is a time in {unit}s, 0 or more; got {value!r}.")
    checked = tables.transactions(log, customer, date, amount=None, also=since)
    window = {"observed_from": observed_from, "observed_until": observed_until, "since": since}
    rows, followed = {}, {"horizon": [], "within": []}
    for combination in product(*values):
        varied = replace(rule, **dict(zip(thresholds, combination)))
        definition = {"rule": str(varied), **window}
        found = counting.fetch(
            checked, "waits", lambda rule=varied: _counted_waits(_stays(checked, rule, **window)), definition
        )
        found = found.astype({"entry": float, "exit": float}).assign(
            entry=found["entry"] / counting._DAYS[unit], exit=found["exit"] / counting._DAYS[unit], phase="waiting"
        )
        fits = {
            kind: times.fit_time_in_phase(
                part.assign(next_phase=part["left"].where(part["left"])), "waiting", clock="reset"
            )
            for kind, part in found.groupby(found["kind"].map(dict(enumerate(_WAITS))))
            if kind != "stays"
        }
        stable, silent, declines = (fits.get(kind) for kind in ("stability", "decline", "back"))
        rows[combination] = {
            "stays": int(found.loc[found["kind"] == _WAITS.index("stays"), "stays"].sum()),
            "stable": _ended(stable, horizon),
            "silent": _ended(silent, horizon),
            "back": _ended(declines, within),
        }
        followed["horizon"] += [fit for fit in (stable, silent) if fit is not None]
        followed["within"] += [declines] if declines is not None else []
    for name, value, what in (("horizon", horizon, "a first purchase"), ("within", within, "a decline")):
        if followed[name] and all(np.isnan(_ended(fit, value)) for fit in followed[name]):
            longest = max(fit.counts["exit"].max() for fit in followed[name])
            raise ValueError(
                f"{name}= ({value:g}) lies beyond the data: nobody was followed for more than {longest:.1f} {unit}s after {what}. Fix: a "
                f"smaller {name}=."
            )
    index = pd.MultiIndex.from_tuples(rows, names=list(thresholds))
    table = pd.DataFrame(list(rows.values()), index=index)
    return table.set_axis(index.get_level_values(0)) if len(thresholds) == 1 else table


def _ended(fit, when):
    """Share of stays that ended by a time, by Kaplan-Meier; missing where that is not known."""
    from crmlab.lifecycle import times

    return np.nan if fit is None else 1 - times._curve(fit.counts, np.array([when]), 0.95)["estimate"].iloc[0]


def _counted_waits(stays):
    """Counted: each customer's time from the first purchase to the first arrival in stability and in decline, and the length of
    its first decline; and the stays."""
    import ibis

    stays = stays.filter(stays.end > stays.start)
    stability, decline = PHASES.index("stability"), PHASES.index("decline")
    here, there = stays.phase, stays.next_phase.fill_null(-1)
    # Least and greatest numbers only, which need little memory a customer. Of a customer's declines the first ends first, and if
    # any has ended the first has. The first stay's phase comes along in the last two bits of its day.
    before_all = 2**24  # days, so that the numbers are above 0
    customers = stays.group_by("customer_id", "first").aggregate(
        entry=stays.start.min(),
        opening=((stays.start + before_all) * 4 + here).cast("int64").min(),
        last=stays.end.max(),
        stable=stays.end.min(where=there == stability),
        silent=stays.end.min(where=there == decline),
        declined=stays.start.min(where=here == decline),
        back=stays.end.min(where=here == decline),
        gone=there.max(where=here == decline),
        stays=stays.count(),
    )
    customers = customers.mutate(begins=customers.opening % 4)
    # Four rows a customer, one for each kind of wait, rather than four looks at the customers.
    rows = customers.mutate(kind=ibis.range(0, len(_WAITS)).unnest())
    zero, first = rows.entry - rows.entry, rows["first"]
    waits = [
        (
            rows.begins != phase,
            rows.entry - first,
            ibis.coalesce(rows[arrival], rows["last"]) - first,
            rows[arrival].notnull(),
        )
        for phase, arrival in ((stability, "stable"), (decline, "silent"))
    ]
    waits.append((rows.declined.notnull(), zero, rows.back - rows.declined, rows.gone >= 0))
    waits.append((ibis.literal(True), zero, zero, ibis.literal(False)))

    def by_kind(part):
        return ibis.cases(*((rows.kind == kind, wait[part]) for kind, wait in enumerate(waits)), else_=None)

    rows = rows.select("kind", "stays", there=by_kind(0), entry=by_kind(1), exit=by_kind(2), left=by_kind(3))
    rows = rows.filter(rows.there)
    keys = ["kind", "entry", "exit", "left"]
    number = (rows.kind == len(_WAITS) - 1).ifelse(rows.stays, 1)
    return rows.group_by(*keys).aggregate(stays=number.sum().cast("int64")).order_by(*keys)


def plot_episodes(episodes, customers=None, purchases=None, ax=None):
    """Draw the stays of a few customers as bars, a row a customer, with their purchases as marks.

    Parameters
    ----------
    episodes : pandas.DataFrame
        What `phase_episodes` returned, on the forward clock.
    customers : sequence, optional
        Ids of the customers to draw, from the top; by default the first eight.
    purchases : pandas.DataFrame, optional
        ``customer_id`` and ``date`` of their purchases; with episodes made by ``since=`` that column too.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the episodes run on the clock that is reset, a customer has none, or the purchases lack the column of ``since=``.
    """
    if episodes.attrs.get("clock", "forward") != "forward":
        raise ValueError(
            "a customer's stays follow each other on the forward clock only: phase_episodes(..., clock='forward')."
        )
    chosen = list(episodes["customer_id"].unique()[:8] if customers is None else customers)
    lacking = [who for who in chosen if who not in set(episodes["customer_id"])]
    if lacking:
        raise ValueError(f"no stay of customer {lacking[0]!r} is in the episodes.")
    ax = style.axes(ax)
    unit = episodes.attrs.get("unit", "time unit")
    rows = {who: len(chosen) - 1 - number for number, who in enumerate(chosen)}
    shown = episodes[episodes["customer_id"].isin(chosen)]
    for phase, colour in PHASE_COLOURS.items():
        part = shown[shown["phase"] == phase]
        places = part["customer_id"].map(rows)
        length = part["exit"] - part["entry"]
        look = {"color": colour, "hatch": _HATCHES[phase], "edgecolor": "white", "height": 0.6, "label": phase}
        ax.barh(places, length, left=part["entry"], **look)
    if purchases is not None:
        days = purchases[purchases["customer_id"].isin(chosen)].drop_duplicates(["customer_id", "date"])
        since = days_since_start(days, episodes.attrs.get("since")) / counting._DAYS[unit]
        ax.plot(
            since, days["customer_id"].map(rows), "|", color="black", markersize=13, markeredgewidth=2, label="purchase"
        )
    ax.set_yticks(list(rows.values()), [str(who) for who in rows])
    ax.grid(axis="y", visible=False)
    ax.set_xlim(left=-0.01 * shown["exit"].max())  # a mark at 0 shows whole
    ax.set(xlabel=f"time since the first purchase, {unit}s", ylabel="customer")
    ax.figure.legend(loc="outside lower center", ncols=5)
    return ax


def days_since_start(log, since=None, customer="customer_id", date="date"):
    """Days of each purchase from the day on which the customer's times run: its first in the log, or what the column `since` said there."""
    days = pd.to_datetime(log[date]).dt.normalize().reset_index(drop=True)
    who = pd.factorize(log[customer])[0]
    first = days.groupby(who).transform("min")
    if since is not None:
        if since not in log.columns:
            raise ValueError(
                f"the episodes were made with since={since!r}, so their times run from the day in that column, which the log lacks (columns: "
                f"{', '.join(map(str, log.columns))}). Fix: give the log that they were made of."
            )
        # As it stood on the first purchase, which is how phase_episodes reads it.
        rows = np.argsort(days.to_numpy(), kind="stable")
        rows = rows[~pd.Series(who[rows]).duplicated().to_numpy()]
        start = pd.Series(pd.to_datetime(log[since]).dt.normalize().to_numpy()[rows], index=who[rows])
        first = start.reindex(who).reset_index(drop=True)
    return (days - first).dt.days.fillna(-1).astype(int).to_numpy()


def phase_colours(phases):
    """A colour for each of some phases: their own for those of `PHASES`, for others in turn those that are left."""
    own = [PHASE_COLOURS.get(phase) for phase in phases]
    left = [colour for colour in style.COLOURS if colour not in own] or list(style.COLOURS)
    others = cycle(left)
    return [colour or next(others) for colour in own]


def _stays(
    log, rule, observed_from=None, observed_until=None, since=None, also=(), customer="customer_id", date="date"
):
    """Stays as whole days since 1970: customer_id, first, phase (0 to 3), begun, start, end, next_phase, further columns."""
    import ibis

    if not isinstance(rule, PhaseRule):
        raise TypeError(f"rule= is a PhaseRule, such as PhaseRule(silence_days=90); got {type(rule).__name__}.")
    names = _names(also)
    wanted = [*names, *([since] if since and since not in names else [])]
    table = tables.transactions(log, customer, date, amount=None, also=wanted or None).table
    until = int(
        counting._day(table.date.max().to_pandas() if observed_until is None else observed_until).timestamp() // 86400
    )
    table = table.mutate(day=table.date.epoch_days())
    table = table.filter(table.day <= until)

    # One row a customer's day. `back` and `built` are the days of the purchases that would complete a phase.
    visits = table.select("customer_id", "day").distinct()
    order = ibis.window(group_by="customer_id", order_by="day")
    visits = visits.mutate(
        before=visits.day.lag().over(order),
        built=visits.day.lag(rule.build_up_purchases - 1).over(order),
        back=visits.day.lag(rule.stable_purchases - 1).over(order),
    )
    # A spell is a run of purchases without a silence.
    opens = visits.before.isnull() | (visits.day - visits.before > rule.silence_days)
    running = ibis.cumulative_window(group_by="customer_id", order_by="day")
    visits = visits.mutate(spell=opens.ifelse(visits.day, None).max().over(running))
    stable = (visits.back >= visits.spell) & (visits.day - visits.back <= rule.stable_days)
    spells = visits.group_by("customer_id", "spell").aggregate(
        last=visits.day.max(),
        build_up=visits.day.min(where=visits.built == visits.spell),
        stability=visits.day.min(where=stable),
    )
    order = ibis.window(group_by="customer_id", order_by="spell")
    spells = spells.mutate(
        first=spells.spell.min().over(group_by="customer_id"), following=spells.spell.lead().over(order)
    )
    silent = spells["last"] + rule.silence_days
    spells = spells.mutate(
        decline=(silent <= until).ifelse(silent, None), returned=spells.spell > spells["first"], hidden=False
    )
    if wanted:
        spells = spells.inner_join(_at_first(table, wanted), "customer_id")
    if since:
        spells = _older(spells, table, since, rule)

    # Four rows a spell, one for each phase that it may have.
    explores = ~spells.returned if rule.back_to == "build-up" else ibis.literal(True)
    spells = spells.mutate(build_up=explores.ifelse(spells.build_up, spells.spell))
    spells = spells.mutate(exploration=explores.ifelse(spells.spell, None))
    rows = spells.mutate(phase=ibis.range(0, 4).unnest())
    starts = [rows.exploration, rows.build_up, rows.stability, rows.decline]
    ends = [*starts[1:], rows.following]
    cases = []
    for phase in range(4):
        # The first of the later phases that the spell reached; after decline, the next spell.
        later = ends[phase:3] if phase < 3 else [rows.following]
        where = [ibis.literal(phase + 1 + n) for n in range(len(later))]
        if phase == 3:
            where = [ibis.literal(PHASES.index(rule.back_to))]
        to = ibis.cases(*((day.notnull(), there) for day, there in zip(later, where)), else_=None)
        cases.append((starts[phase], ibis.coalesce(*later) if len(later) > 1 else later[0], to))

    def by_phase(part):
        return ibis.cases(*((rows.phase == phase, case[part]) for phase, case in enumerate(cases)), else_=None)

    rows = rows.mutate(start=by_phase(0), ended=by_phase(1), next_phase=by_phase(2))
    rows = rows.filter(rows.start.notnull() & ~(rows.hidden & (rows.phase < 2)))
    # Somebody older than the log who is seen to be stable may have been so before.
    rows = rows.mutate(begun=(rows.hidden & (rows.phase == 2)).ifelse(None, rows.start))
    if observed_from is not None:
        opening = int(counting._day(observed_from).timestamp() // 86400)
        rows = rows.filter(rows.ended.isnull() | (rows.ended > opening))
        rows = rows.mutate(start=ibis.greatest(rows.start, opening))
    return rows.select(
        "customer_id", "first", "phase", "begun", "start", "next_phase", *names, end=ibis.coalesce(rows.ended, until)
    )


def _at_first(table, names):
    """The columns as they stood on the customer's first purchase: of one day's rows the earliest, or the first in the alphabet."""
    if "_row" in table.columns:
        moment = table.day.cast("int64") * 2**32 + table["_row"]
        values = {name: table[name].argmin(moment) for name in names}
    else:
        values = {
            name: table[name].argmin(table.day.cast("string").lpad(8, "0") + table[name].cast("string"))
            for name in names
        }
    return table.group_by("customer_id").aggregate(**values)


def _older(spells, table, since, rule):
    """Customers older than the log: their time runs from before it, and their first spell is not known from its start."""
    if not (spells[since].type().is_date() or spells[since].type().is_timestamp()):
        raise ValueError(
            f"column {since!r} holds {spells[since].type()} values, not dates. Fix: make it a date, for example with pandas.to_datetime."
        )
    opening = table.aggregate(day=table.day.min()).to_pandas()["day"].iloc[0]
    if pd.isna(opening):
        raise ValueError("nobody is followed: the log begins after observed_until=.")
    spells = spells.mutate(joined=spells[since].cast("date").epoch_days())
    firsts = spells.filter(spells.spell == spells["first"])
    wrong = (firsts.joined > firsts["first"]) | ((firsts.joined < firsts["first"]) & (firsts.joined >= int(opening)))
    bad = firsts.filter(wrong)
    count = int(bad.count().to_pandas())
    if count:
        shown = ", ".join(map(str, bad.order_by("customer_id").limit(3).customer_id.to_pandas()))
        raise ValueError(
            f"column {since!r}: {count:,} customers have a first purchase ever that the log contradicts (for example {shown}): "
            "it lies after their first purchase in the log, or in the time of the log without a row there. Fix: correct these days."
        )
    older = spells.joined < spells["first"]
    in_first = spells.spell == spells["first"]
    # Silent since the log began, for longer than the rule allows: then its first purchase there is a return for certain.
    returns = older & in_first & (spells["first"] - int(opening) >= rule.silence_days)
    return spells.mutate(returned=spells.returned | returns, hidden=older & in_first & ~returns, first=spells.joined)


def _names(also):
    return [also] if isinstance(also, str) else list(also)
