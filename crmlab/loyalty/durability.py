"""Which loyalty lasts? Survival of each type after a shock, what the shock took, and the value at risk."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.likelihood import normal_quantile
from crmlab.loyalty._customers import each_once
from crmlab.loyalty.classes import LatentClasses
from crmlab.loyalty.three_steps import bch_weights

__all__ = ["fit_durability", "Durability"]


def fit_durability(data, time, event, group=None, shock=None, control="none", membership=None, customer="customer_id"):
    r"""Survival of each type of customer after a shock, beside those who met none.

    Of customers of type :math:`k` the share who are still there :math:`t` after the shock is estimated by Kaplan and Meier,

    .. math:: S_k(t) = \prod_{s \le t} \Big(1 - \frac{\sum_i w_{ik}\, dN_i(s)}{\sum_i w_{ik}\, Y_i(s)}\Big),

    with :math:`N_i` counting the departure and :math:`Y_i` saying who is followed. With known types a weight is 1 or 0. With latent classes it
    is that of Bolck, Croon and Hagenaars (`bch_weights`), which undoes the errors of classification; the likeliest class
    itself would mix the types, and make their survival look more alike than it is.

    Assumes that being lost from sight says nothing of leaving, within a type; that who met the shock is chance, or as
    good as chance; and, with classes, that leaving depends on the answers through the class alone.

    Parameters
    ----------
    data : pandas.DataFrame
        One row a customer.
    time : str
        Column with the time followed since the shock; its name is the unit of every result ("months").
    event : str
        Column that says whether the customer left at the end of it (True or 1), or was lost from sight.
    group : str, optional
        Column of the type. Either this or `membership`.
    shock : str, optional
        Column of the shock that the customer met; without it there is one curve a type.
    control : hashable, default "none"
        The value of `shock` of those who met none.
    membership : LatentClasses or pandas.DataFrame, optional
        Classes of `fit_classes`, or weights such as those of `bch_weights`, indexed by customer.
    customer : str
        Column that holds the index of `membership`.

    Returns
    -------
    Durability

    Raises
    ------
    ValueError
        If columns are missing or have missing values, times are not above 0, events are not 0 and 1, the control is no value of the
        shock or the only one, nobody left, a customer stands twice, or customers have no membership.

    Notes
    -----
    Errors are those of the influence function, with the customer as the unit; with weights 1 and 0 they are close to Greenwood's.
    They take the weights as known, so with classes they are a little too small. Where a customer with a negative weight leaves, a
    curve makes a small step upward. These steps stay: without them it would be too low. ``largest_rise`` says how much a curve rises at most.
    With known types the curves are those of R's ``survival::survfit(Surv(months, left) ~ type + shock)``.

    References
    ----------
    E. L. Kaplan and P. Meier (1958), Nonparametric estimation from incomplete observations, *Journal of the American Statistical
    Association* 53(282):457-481.
    A. Bolck, M. Croon and J. Hagenaars (2004), Estimating latent structure models with categorical variables: one-step versus
    three-step estimators, *Political Analysis* 12(1):3-27.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(2000, seed=1)
    >>> fit = loyalty.fit_durability(panel.customers, "months", "left", group="type", shock="shock")
    >>> fit.difference(12).xs("benefit", level="type").round(2)
                   estimate  std_error  lower  upper
    shock
    rival enters      -0.20       0.07  -0.34  -0.06
    discount ends     -0.58       0.06  -0.70  -0.46
    staff leave       -0.05       0.07  -0.19   0.09
    """
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"the customers come as a pandas DataFrame, one row each; got {type(data).__name__}.")
    if not len(data):
        raise ValueError("the table of customers has no rows.")
    if (group is None) == (membership is None):
        raise ValueError("say either group=, a column of types, or membership=, latent classes or weights.")
    wanted = [
        name for name in (time, event, group, shock, customer if membership is not None else None) if name is not None
    ]
    for name in wanted:
        if name not in data:
            raise ValueError(f"no column is named {name!r}; there are: {', '.join(map(str, data.columns))}.")
        if data[name].isna().any():
            rows = ", ".join(map(str, data.index[data[name].isna()][:3]))
            raise ValueError(
                f"column {name!r}: {data[name].isna().sum()} of {len(data)} rows are missing (rows {rows}). Fix: leave them out, and say how many."
            )
    if not pd.api.types.is_numeric_dtype(data[time]):
        raise ValueError(f"column {time!r} holds {data[time].dtype} values, not times.")
    times = data[time].to_numpy(dtype=float)
    if (bad := ~(np.isfinite(times) & (times > 0))).any():
        rows = ", ".join(map(str, data.index[bad][:3]))
        raise ValueError(
            f"column {time!r}: {bad.sum()} of {len(data)} times are not above 0 (rows {rows}). Fix: who left before the shock is not at risk of it."
        )
    if not data[event].isin([0, 1]).all():
        odd = data.loc[~data[event].isin([0, 1]), event].unique()[:3]
        raise ValueError(
            f"column {event!r} says by 1 and 0 (or True and False) who left; it has {', '.join(map(repr, odd))}."
        )
    left = data[event].to_numpy(dtype=float)
    if not left.any():
        raise ValueError(
            f"nobody left (no 1 in {event!r}): all {len(data)} customers were lost from sight or are still there. There is nothing to compare."
        )
    met = data[shock].astype(object) if shock else pd.Series("all", data.index, dtype=object)
    if shock and control not in set(met):
        raise ValueError(
            f"control= is one of the values of {shock!r} ({', '.join(map(repr, pd.unique(met)))}); got {control!r}."
        )
    shocks = _levels(data[shock]) if shock else ["all"]
    if shock and len(shocks) == 1:
        raise ValueError(
            f"column {shock!r} is {control!r} for all {len(data)} customers: nobody met a shock, and there is nothing to compare. Leave shock= out."
        )
    if customer in data:
        each_once(data[customer], f"column {customer!r}: ")
    if group is not None:
        names, label = _levels(data[group]), group
        weights = (data[group].astype(object).to_numpy()[:, None] == np.array(names, dtype=object)).astype(float)
    else:
        table = bch_weights(membership) if isinstance(membership, LatentClasses) else membership
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"membership= is LatentClasses or a pandas DataFrame; got {type(table).__name__}.")
        each_once(table.index, "membership=: ")
        lacking = ~data[customer].isin(table.index)
        if lacking.any():
            raise ValueError(
                f"membership= has one row for every customer; {lacking.sum()} are missing ({', '.join(map(str, data.loc[lacking, customer][:3]))})."
            )
        names, label = list(table.columns), "class"
        weights = table.loc[data[customer]].to_numpy(dtype=float)
        if (unknown := ~np.isfinite(weights).all(axis=1)).any():
            who = ", ".join(map(str, data.loc[unknown, customer][:3]))
            raise ValueError(
                f"membership= is missing or infinite for {unknown.sum()} of {len(data)} customers ({who}). Fix: leave them out, and say how many."
            )
    if "all" in names:
        raise ValueError(f"a {label} is named 'all', which is the name of the total: give it another name.")
    curves = {}
    for what in shocks:
        here = (met == what).to_numpy()
        for k, name in enumerate(names):
            curves[(what, name)] = _Curve(times[here], left[here], weights[here, k])
    empty = [key for key, curve in curves.items() if curve.size <= 0]
    if empty:
        raise ValueError(
            f"nobody is {empty[0][1]!r} with {empty[0][0]!r} (of {len(empty)} such cells): leave the type or the shock out, or join them."
        )
    sizes = pd.Series(weights.sum(axis=0), pd.Index(names, name=label))
    return Durability(time, label, tuple(names), tuple(shocks), control if shock else None, sizes, len(data), curves)


def _levels(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [name for name in column.cat.categories if (column == name).any()]
    return sorted(column.unique(), key=str)


class _Curve:
    """A weighted Kaplan-Meier curve with every customer's influence on it."""

    def __init__(self, times, left, weights):
        self.times, self.left, self.weights, self.size = times, left, weights, weights.sum()
        self.n = len(times)
        self.at = np.unique(times[left > 0])
        order = np.argsort(times, kind="stable")
        tail = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
        risk = tail[np.searchsorted(times[order], self.at, side="left")]
        gone = np.zeros(len(self.at))
        np.add.at(gone, np.searchsorted(self.at, times[left > 0]), weights[left > 0])
        ok = risk > 1e-9 * max(self.size, 1)
        step = np.divide(gone, risk, out=np.zeros_like(gone), where=ok)
        # A negative weight makes a small step upward. Cutting these off would bias the curve downward, so they stay.
        self.step, self.risk = np.minimum(step, 1), np.where(ok, risk, np.inf)
        self.survivor = np.cumprod(1 - self.step)
        self.rise = max(0.0, float((self.survivor - np.minimum.accumulate(self.survivor)).max(initial=0.0)))
        self.last = times[weights != 0].max(initial=0.0)
        # When the last has left, the curve is known for ever.
        self.known = np.inf if len(self.survivor) and self.survivor[-1] <= 1e-12 else self.last

    def survival(self, t):
        k = np.searchsorted(self.at, t, side="right")
        return 1.0 if k == 0 else float(self.survivor[k - 1])

    def _martingale(self):
        """Of every customer and event time: what it adds to the error of the cumulative hazard, less nothing beyond its own time."""
        own = np.searchsorted(self.at, self.times, side="right")  # event times up to one's own
        # Where the last one leaves, the curve is 0 whatever was before: nobody has influence on it.
        after = np.where(self.step < 1, 1 - self.step, np.inf)
        drag = np.append(0.0, np.cumsum(self.step / self.risk / after))
        kick = 1 / self.risk / after
        return own, drag, kick

    def influence(self, t):
        """Of every customer on S(t)."""
        k = np.searchsorted(self.at, t, side="right")
        s = self.survival(t)
        if k == 0 or s <= 0:
            return np.zeros(self.n)
        own, drag, kick = self._martingale()
        upto = np.minimum(own, k)
        jump = np.zeros(self.n)
        mine = (self.left > 0) & (self.times <= t)
        jump[mine] = kick[own[mine] - 1]
        return -s * self.weights * (jump - drag[upto])

    def restricted(self, t):
        """Mean time up to t, and every customer's influence on it."""
        edges = np.concatenate([[0.0], self.at[self.at < t], [t]])
        levels = np.concatenate([[1.0], self.survivor[: len(edges) - 2]])
        width = np.diff(edges)
        mean = float(width @ levels)
        influence = np.zeros(self.n)
        if len(edges) > 2:
            own, drag, kick = self._martingale()
            k = len(edges) - 2
            area = np.append(np.cumsum((width[1:] * levels[1:])[::-1])[::-1], 0.0)  # area from each event time to t
            pull = np.append(0.0, np.cumsum(np.diff(drag)[:k] * area[:k]))
            upto = np.minimum(own, k)
            jump = np.zeros(self.n)
            mine = (self.left > 0) & (own <= k) & (own > 0) & (self.times < t)
            jump[mine] = kick[own[mine] - 1] * area[own[mine] - 1]
            influence = -self.weights * (jump - pull[upto])
        return mean, influence


@dataclass(frozen=True, eq=False)
class Durability:
    """Survival by type and shock; see `fit_durability`.

    Attributes
    ----------
    unit : str
        Name of the column of times.
    label : str
        What the types are called: the column, or "class".
    groups, shocks : tuple
    control : hashable or None
    customers : pandas.Series
        Customers of each type (sums of weights).
    nobs : int
    """

    unit: str
    label: str
    groups: tuple
    shocks: tuple
    control: object
    customers: pd.Series
    nobs: int
    _curves: dict = field(repr=False)

    @property
    def largest_rise(self):
        """How far a curve rises above what it was before, at most: 0 with known types, above it where weights are negative."""
        return max(curve.rise for curve in self._curves.values())

    @property
    def followed(self):
        """For how long every type was followed after every shock: later than that, not all are known."""
        return min(curve.known for curve in self._curves.values())

    def _check(self, at):
        at = np.atleast_1d(np.asarray(at, dtype=float))
        if not (np.isfinite(at).all() and (at > 0).all()):
            raise ValueError(f"times are above 0, in {self.unit}; got {at.tolist()}.")
        if at.max() > self.followed:
            short = min(self._curves, key=lambda key: self._curves[key].known)
            raise ValueError(
                f"{short[1]!r} with {short[0]!r} was followed for {self.followed:g} {self.unit}, the shortest time; nothing is known of it "
                f"at {at.max():g}. Take an earlier time, or leave that type out."
            )
        return at

    def survival(self, at, level=0.95):
        """Share still there at these times, by shock and type, with intervals on the scale log(-log S), which stay within 0 and 1.

        Returns
        -------
        pandas.DataFrame
            Indexed by shock, type and time: ``estimate``, ``std_error``, ``lower``, ``upper``. The last three are missing where the
            estimate is 0 or 1 or beyond: nobody, or everybody, left, and the error is not known.
        """
        z, rows = normal_quantile(level), {}
        for t in self._check(at):
            for (shock, name), curve in self._curves.items():
                s, error = curve.survival(t), np.sqrt(np.sum(curve.influence(t) ** 2))
                if not 0 < s < 1:
                    error = lower = upper = np.nan
                else:
                    width = np.exp(z * error / (s * abs(np.log(s))))
                    lower, upper = s**width, s ** (1 / width)
                rows[(shock, name, t)] = (s, error, lower, upper)
        return self._table(rows, [self.unit])

    def _table(self, rows, more=()):
        # The levels keep the order of shocks and types, and the rows theirs: so pandas takes the index for a sorted one.
        both = [*self.groups, "all"] if any(key[1] == "all" for key in rows) else list(self.groups)
        levels = [list(self.shocks), both, *([sorted({key[2] for key in rows})] if more else [])]
        place = [{value: i for i, value in enumerate(level)} for level in levels]
        keys = sorted(rows, key=lambda key: [at[value] for at, value in zip(place, key)])
        codes = [[at[key[i]] for key in keys] for i, at in enumerate(place)]
        index = pd.MultiIndex(levels, codes, names=["shock", self.label, *more])
        return pd.DataFrame([rows[key] for key in keys], index, ["estimate", "std_error", "lower", "upper"])

    def summary(self, at=None, level=0.95):
        """As `survival`, at half of the time for which every type is followed, or at one time of yours."""
        if at is None:
            at = min(self.followed, max(curve.last for curve in self._curves.values())) / 2
        return self.survival([at], level).droplevel(-1)

    def _against_control(self):
        if self.control is None:
            raise ValueError("there is no shock in this fit (shock=): nothing to compare the types with.")
        return [shock for shock in self.shocks if shock != self.control]

    def difference(self, at, against=None, level=0.95):
        """What the shock took: survival with it less survival without, for each type.

        Parameters
        ----------
        at : float
        against : str, optional
            A type: then how much more it took from each other type than from this one (a difference of differences).
        level : float

        Returns
        -------
        pandas.DataFrame
            Indexed by shock and type: ``estimate`` (below 0: customers were lost), ``std_error``, ``lower``, ``upper``. Types with latent
            weights share customers; their errors allow for it.
        """
        at, z, rows = self._check(at)[0], normal_quantile(level), {}
        if against is not None and against not in self.groups:
            raise ValueError(f"against= is one of {', '.join(map(repr, self.groups))}; got {against!r}.")

        def gap(shock, name):
            with_it, without = self._curves[(shock, name)], self._curves[(self.control, name)]
            return with_it.survival(at) - without.survival(at), np.append(with_it.influence(at), -without.influence(at))

        self._warn_without_error(at, lambda curve: curve.influence(at))
        for shock in self._against_control():
            for name in self.groups:
                if name == against:
                    continue
                value, influence = gap(shock, name)
                if against is not None:
                    other, theirs = gap(shock, against)
                    value, influence = value - other, influence - theirs
                error = np.sqrt(np.sum(influence**2))
                rows[(shock, name)] = (value, error, value - z * error, value + z * error)
        return self._table(rows)

    def _warn_without_error(self, at, influence):
        """Curves on which nobody has influence add nothing to an error, though they are not known exactly."""
        exact = [key for key, curve in self._curves.items() if not np.any(influence(curve))]
        if exact and self.control is not None:
            named = ", ".join(f"{name!r} with {shock!r}" for shock, name in exact[:3])
            warnings.warn(
                f"up to {at:g} {self.unit} nobody, or everybody, left of {named} ({len(exact)} in all): their errors are not known and "
                "count as 0, so these intervals are too short.",
                stacklevel=3,
            )

    def mean_time(self, horizon, level=0.95):
        """Mean time with the firm within a horizon (the restricted mean), by shock and type, with intervals.

        Returns
        -------
        pandas.DataFrame
            Indexed by shock and type: ``estimate``, ``std_error``, ``lower``, ``upper``, in the unit of the times.
        """
        horizon, z, rows = self._check(horizon)[0], normal_quantile(level), {}
        for key, curve in self._curves.items():
            mean, influence = curve.restricted(horizon)
            error = np.sqrt(np.sum(influence**2))
            rows[key] = (mean, error, mean - z * error, mean + z * error)
        return self._table(rows)

    def value_at_risk(self, margin, horizon, customers=None, level=0.95, cost=None):
        r"""The margin that a shock takes within a horizon, by type, if all customers met it.

        .. math:: n_k\, m_k \int_0^h \big(S_k^{\text{control}}(t) - S_k^{\text{shock}}(t)\big)\,dt

        With a cost :math:`c_k` of holding a customer, less :math:`n_k\, c_k \int_0^h S_k^{\text{control}}(t)\,dt`, which those cost who are there.

        Parameters
        ----------
        margin : float, pandas.Series or dict
            Mean margin of a customer per unit of time, for all or by type.
        horizon : float
        customers : pandas.Series or dict, optional
            Customers of each type; by default those of the fit.
        level : float
        cost : float, pandas.Series or dict, optional
            What a customer costs per unit of time as long as there is no shock, for all or by type: then the result is what is held
            *less* this, with one interval for both.

        Returns
        -------
        pandas.DataFrame
            Indexed by shock and type, ``all`` last: ``estimate`` with ``std_error``, ``lower``, ``upper``, in money. Margins and numbers are
            taken as known, margins of those who leave as those of the type.
        """
        horizon, z, rows = self._check(horizon)[0], normal_quantile(level), {}

        def by_type(value):
            one = np.ndim(value) == 0 and not isinstance(value, (dict, pd.Series))
            return dict.fromkeys(self.groups, value) if one else dict(value)

        margins, costs = by_type(margin), by_type(0.0 if cost is None else cost)
        sizes = dict(self.customers if customers is None else customers)
        for what, given in (("margin", margins), ("customers", sizes), ("cost", costs)):
            lacking = [name for name in self.groups if name not in given]
            if lacking:
                raise ValueError(f"{what}= has no value for {', '.join(map(repr, lacking))}.")
        self._warn_without_error(horizon, lambda curve: curve.restricted(horizon)[1])
        for shock in self._against_control():
            total, influences = 0.0, 0.0
            for name in self.groups:
                (a, mine), (b, theirs) = (
                    self._curves[(shock, name)].restricted(horizon),
                    self._curves[(self.control, name)].restricted(horizon),
                )
                worth, paid = sizes[name] * margins[name], sizes[name] * costs[name]
                value = worth * (b - a) - paid * b
                influence = np.append(-worth * mine, (worth - paid) * theirs)
                total, influences = total + value, influences + influence
                error = np.sqrt(np.sum(influence**2))
                rows[(shock, name)] = (value, error, value - z * error, value + z * error)
            error = np.sqrt(np.sum(influences**2))
            rows[(shock, "all")] = (total, error, total - z * error, total + z * error)
        return self._table(rows)

    def plot(self, shock=None, groups=None, ax=None):
        """Curves of the types after one shock.

        Parameters
        ----------
        shock : hashable, optional
            By default the first that is not the control.
        groups : sequence, optional
            Types to show.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        shock = next((s for s in self.shocks if s != self.control), self.shocks[0]) if shock is None else shock
        groups = self.groups if groups is None else tuple(groups)
        for what, value, known in [("shock", shock, self.shocks), *(("groups", name, self.groups) for name in groups)]:
            if value not in known:
                raise ValueError(f"{what}= is one of {', '.join(map(repr, known))}; got {value!r}.")
        ax = style.axes(ax)
        dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3))]
        for k, name in enumerate(groups):
            curve = self._curves[(shock, name)]
            x = np.concatenate([[0.0], curve.at, [curve.last]])
            y = np.concatenate([[1.0], curve.survivor, [curve.survivor[-1] if len(curve.at) else 1.0]])
            ax.step(x, y, where="post", linestyle=dashes[k % len(dashes)], label=str(name))
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel=f"{self.unit} since the shock", ylabel="customers still there", ylim=(0, 1.02), xlim=(0, None))
        ax.legend(title=self.label, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return ax
