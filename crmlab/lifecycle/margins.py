"""Where the money sits: what stays brought, and what a customer brings per unit of time in each phase."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.counting import _DAYS
from crmlab.lifecycle.checks import carry_along, refuse_rows
from crmlab.lifecycle.phases import days_since_start, phase_colours
from crmlab.likelihood import wald_table

__all__ = ["add_purchases", "value_by_phase", "PhaseValue"]


def add_purchases(episodes, log, amount="amount", unit=None, customer="customer_id", date="date", since=None):
    """What each stay brought: purchases and money in ``(entry, exit]``.

    A purchase that moves a customer to another phase belongs to the phase that it ends, in which the customer was when it was made: so a
    return is earned in decline. The first purchase, at time 0, lies in no phase: it is what made the customer.

    Parameters
    ----------
    episodes : pandas.DataFrame
        As `phase_episodes` makes them, on the forward clock.
    log : pandas.DataFrame
        The same log.
    amount : str, default "amount"
        Its column of money: turnover or, if the log has it, margin.
    unit : {"day", "week", "month", "year"}, optional
        Of the episodes' times; by default what they say themselves (``attrs``).
    customer, date : str
        Columns of the log.
    since : str, optional
        The column of the log with the day from which the episodes' times run, if not from the first purchase in the log; by default what the
        episodes say themselves (``attrs``).

    Returns
    -------
    pandas.DataFrame
        The episodes with ``purchases`` (rows of the log) and ``money``; ``.attrs["outside"]`` counts the purchases that lie in no stay, first ones
        among them.

    Raises
    ------
    ValueError
        If a column is not there or holds something missing, the unit is not known, there are no episodes, or the log does not have their customers.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> log = simulate.shop(200, years=1, seed=1)
    >>> stays = lifecycle.add_purchases(lifecycle.phase_episodes(log, unit="week"), log)
    >>> int(stays["purchases"].sum() + stays.attrs["outside"]) == len(log)
    True
    """
    unit = episodes.attrs.get("unit") if unit is None else unit
    if unit not in _DAYS:
        raise ValueError(f"unit= of the episodes' times is one of {', '.join(map(repr, _DAYS))}; got {unit!r}.")
    if episodes.attrs.get("clock", "forward") != "forward":
        raise ValueError(
            "these episodes begin anew with every phase (clock='reset'), so no date can be found in them: make them with clock='forward'."
        )
    for name in (customer, date, amount):
        if name not in log.columns:
            raise ValueError(f"the log has no column {name!r}; there are: {', '.join(map(str, log.columns))}.")
    _require_stays(episodes, ("customer_id", "entry", "exit"), "Fix: make them of the log with phase_episodes(log).")
    made = pd.to_datetime(log[date], errors="coerce")
    money = pd.to_numeric(log[amount], errors="coerce").to_numpy(float)
    of, out = " of the log", "fill it in, or leave these purchases out of the log before the episodes are made of it"
    refuse_rows(log, customer, log[customer].isna(), out, of, (date, amount))
    refuse_rows(log, date, made.isna(), f"it is no date there; {out}", of, (customer, amount))
    refuse_rows(log, amount, ~np.isfinite(money), f"it is no amount there; {out}", of, (customer, date))
    strange = ~episodes["customer_id"].isin(log[customer]).to_numpy()
    fix = f"the log has no such customer in its column {customer!r}; give the log that the episodes were made of, with ids of the same type"
    refuse_rows(episodes, "customer_id", strange, fix, " of the episodes", ("phase", "entry", "exit"))
    since = days_since_start(log, episodes.attrs.get("since") if since is None else since, customer, date)
    who, names = pd.factorize(log[customer])
    mine = pd.Index(names).get_indexer(episodes["customer_id"])
    begin, end = (np.round(episodes[name].to_numpy(float) * _DAYS[unit]).astype(int) for name in ("entry", "exit"))
    room = max(since.max(initial=0), end.max(initial=0)) + 1
    order = np.lexsort((end, mine))
    keys = mine[order] * room + end[order]
    place = np.minimum(np.searchsorted(keys, who * room + since), len(keys) - 1)
    stay = order[place]
    inside = (mine[stay] == who) & (begin[stay] < since) & (since <= end[stay])
    found = episodes.assign(
        purchases=np.bincount(stay[inside], minlength=len(episodes)),
        money=np.bincount(stay[inside], money[inside], len(episodes)),
    )
    found.attrs |= {**episodes.attrs, "outside": int((~inside).sum())}
    return found


def value_by_phase(episodes, money="margin", groups=None):
    r"""What a customer brings per unit of time in each phase: money over time spent there, with errors clustered by customer.

    .. math:: \hat m_j = \frac{\sum_c M_{cj}}{\sum_c T_{cj}}, \qquad
        \widehat{\mathrm{var}}(\hat m_j) = \frac{\sum_c (M_{cj} - \hat m_j T_{cj})^2}{(\sum_c T_{cj})^2}

    for the money :math:`M_{cj}` that customer :math:`c` brought in phase :math:`j` and the time :math:`T_{cj}` it spent there.

    **Assumes** that being cut off says nothing of the money, and that money accrues evenly over the stay as far as the use of
    :math:`\hat m_j` in `expected_value` goes.

    Parameters
    ----------
    episodes : pandas.DataFrame
        Stays with ``customer_id``, ``phase``, ``entry``, ``exit`` and a column of money, as `crmlab.simulate.lifecycle` or `add_purchases` makes
        them.
    money : str, default "margin"
        The column to sum: margin, turnover, or a number of purchases.
    groups : str, optional
        A column; everything by its values.

    Returns
    -------
    PhaseValue

    Raises
    ------
    ValueError
        If there are no rows, a column is not there or something in it is missing or infinite, or a stay ends before it begins.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> lifecycle.value_by_phase(simulate.lifecycle(2000, seed=1)).summary().round(2)
                 estimate  std_error  lower  upper
    parameter
    exploration      5.44       0.05   5.33   5.55
    build-up         9.91       0.09   9.72  10.09
    stability       22.63       0.20  22.24  23.03
    decline          0.54       0.00   0.53   0.55
    """
    for name in ("customer_id", "phase", "entry", "exit", money):
        if name not in episodes.columns:
            raise ValueError(
                f"a table of stays with money has the columns customer_id, phase, entry, exit and {money}; {name!r} is not there (columns: "
                f"{', '.join(map(str, episodes.columns))}). Fix: from a log take add_purchases(episodes, log), which makes money and purchases."
            )
    if groups is not None and groups not in episodes.columns:
        raise ValueError(carry_along(groups, episodes))
    values = pd.to_numeric(episodes[money], errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        shown = "; ".join(f"row {row}: customer {episodes['customer_id'].iloc[row]}" for row in wrong[:3])
        raise ValueError(
            f"column {money!r}: {len(wrong):,} of {len(episodes):,} rows hold no number ({shown}). Fix: fill in the money, 0 where there was none."
        )
    _require_stays(episodes, ("customer_id", "phase", "entry", "exit"), "")
    if groups is not None:
        refuse_rows(episodes, groups, episodes[groups].isna(), _FILL, "", ("customer_id", "phase"))
    phase = episodes["phase"]
    names = list(phase.cat.categories) if isinstance(phase.dtype, pd.CategoricalDtype) else list(phase.unique())
    place = pd.Index(names).get_indexer(phase)
    time = (episodes["exit"] - episodes["entry"]).to_numpy(float)
    parts = {None: np.ones(len(episodes), bool)}
    if groups is not None:
        parts = {value: (episodes[groups] == value).to_numpy() for value in sorted(episodes[groups].unique())}
    found = {}
    for value, mine in parts.items():
        who, known = pd.factorize(episodes.loc[mine, "customer_id"])
        cell, size = who * len(names) + place[mine], len(known) * len(names)
        brought, spent = (np.bincount(cell, v[mine], size).reshape(-1, len(names)) for v in (values, time))
        total = spent.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = brought.sum(axis=0) / total
            influence = (brought - rate * spent) / total
        cov = influence.T @ influence
        # Of one customer nothing is known of how customers differ.
        few = (spent > 0).sum(axis=0) < 2
        cov[few] = cov[:, few] = np.nan
        found[value] = (rate, cov, total, brought.sum(axis=0), float(len(known)))
    return PhaseValue(tuple(names), money, groups, float(episodes["customer_id"].nunique()), found)


_FILL = "it is missing there; fill it in, or leave these customers out and say so"


def _require_stays(episodes, columns, fix):
    """Refuse stays without rows, without these columns, with something missing in them, or that end before they begin."""
    for name in columns:
        if name not in episodes.columns:
            raise ValueError(
                f"the episodes have no column {name!r}; there are: {', '.join(map(str, episodes.columns))}. {fix}".rstrip()
            )
    if not len(episodes):
        raise ValueError("the episodes have no rows.")
    times = {name: pd.to_numeric(episodes[name], errors="coerce").to_numpy(float) for name in ("entry", "exit")}
    for name in columns:
        bad = ~np.isfinite(times[name]) if name in times else episodes[name].isna().to_numpy()
        refuse_rows(episodes, name, bad, _FILL, " of the episodes", columns)
    fix = "a stay ends after it began; look whether entry and exit are exchanged"
    refuse_rows(episodes, "exit", times["exit"] < times["entry"], fix, " of the episodes", columns)


@dataclass(frozen=True, eq=False)
class PhaseValue:
    """What `value_by_phase` returns.

    Attributes
    ----------
    phases : tuple
    money : str
        The column that was summed.
    group : str or None
        The column of the groups.
    nobs : float
        Customers.
    """

    phases: tuple
    money: str
    group: str | None
    nobs: float
    _found: dict = field(repr=False)

    @property
    def groups(self):
        """Values of the groups; empty without groups."""
        return () if self.group is None else tuple(self._found)

    def of(self, group):
        """The values of one group."""
        if group not in self._found:
            raise ValueError(f"there is no group {group!r}; there are: {', '.join(map(repr, self.groups)) or 'none'}.")
        return PhaseValue(self.phases, self.money, None, self._found[group][4], {None: self._found[group]})

    def summary(self, level=0.95):
        """Money per customer and unit of time in each phase.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter`` (the phase; with groups after the group): ``estimate``, ``std_error``, ``lower``, ``upper``. Missing where nobody spent
            any time; errors also where only one customer did.
        """

        def table(rate, cov, total, money, nobs):
            return wald_table(rate, np.sqrt(np.diag(cov)), level).set_axis(pd.Index(self.phases, name="parameter"))

        return self._each(table)

    def totals(self):
        """Time and money in each phase, and their shares: where customers are, and where the money is.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``phase``: ``time``, ``money``, ``share_of_time``, ``share_of_money``.
        """

        def table(rate, cov, total, money, nobs):
            columns = {
                "time": total,
                "money": money,
                "share_of_time": total / total.sum(),
                "share_of_money": money / money.sum(),
            }
            return pd.DataFrame(columns, pd.Index(self.phases, name="phase"))

        return self._each(table)

    def plot(self, level=0.95, unit="", ax=None):
        """Money per unit of time in each phase, with its interval.

        Parameters
        ----------
        level : float, default 0.95
        unit : str
            The unit of time, for the label.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.summary(level)
        groups = self.groups or (None,)
        room = 0.8 / len(groups)
        marks = "osD^vP"
        for number, group in enumerate(groups):
            part = table if group is None else table.xs(group, level="group")
            at = np.arange(len(self.phases)) + (number - (len(groups) - 1) / 2) * room / 2
            error = [part["estimate"] - part["lower"], part["upper"] - part["estimate"]]
            look = {"fmt": marks[number % len(marks)], "capsize": 4, "linewidth": 1.8}
            if group is None:
                for place, colour in enumerate(phase_colours(self.phases)):
                    one = [[error[0].iloc[place]], [error[1].iloc[place]]]
                    ax.errorbar(at[place], part["estimate"].iloc[place], yerr=one, color=colour, **look)
            else:
                ax.errorbar(at, part["estimate"], yerr=error, color=style.COLOURS[number], label=str(group), **look)
        ax.set_xticks(range(len(self.phases)), self.phases)
        ax.set(ylabel=f"{self.money} per customer{f'-{unit}' if unit else ' and unit of time'}", xlabel="phase")
        ax.set_ylim(min(0, ax.get_ylim()[0]), None)
        if self.group is not None:
            ax.legend(title=self.group)
        return ax

    def _each(self, table):
        if self.group is None:
            return table(*self._found[None])
        return pd.concat({name: table(*part) for name, part in self._found.items()}, names=["group"])
