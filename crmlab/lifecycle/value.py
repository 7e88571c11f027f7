"""What a customer is expected to bring, and what moving one rate is worth."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.lifecycle.checks import one_number
from crmlab.lifecycle.hazards_fit import HazardsFit
from crmlab.lifecycle.margins import PhaseValue
from crmlab.lifecycle.multistate import MultistateFit
from crmlab.lifecycle.paths import ObservedPart, Path
from crmlab.lifecycle.stays import opening_phase
from crmlab.likelihood import wald_table

__all__ = ["expected_value", "what_if", "rank_transitions", "plot_gains"]


def expected_value(fit, value, horizon, profile=None, start=None, since=None, discount=0.0, group=None, level=0.95):
    r"""What a customer is expected to bring up to a horizon, and in which phases.

    .. math:: V = \sum_j m_j \int_s^h (1 + d)^{-(u - s)} \, p_j(u) \, du

    with the probabilities :math:`p_j(u)` of the phases from the multi-state model, started at :math:`s`, the margin :math:`m_j` a unit of time and the discount
    rate :math:`d` a unit of time.

    **Assumes**, beyond the model, that money depends on the past through the phase (and the profile) only, and takes the estimates of
    moves and of money as independent of each other. Where both come from the same purchases they are not, and the intervals are somewhat
    too short: on CDNOW resampling whole customers gives one about a tenth wider.

    Parameters
    ----------
    fit : MultistateFit or HazardsFit
        On the forward clock.
    value : PhaseValue, mapping or Series
        Margin per unit of time in each phase; a mapping is taken as known without error.
    horizon : float
        A time on the clock.
    profile : mapping
        For a fit with covariates: which customer.
    start : phase or mapping of phase to share, optional
        By default the phase in which all customers start; refused where the stays do not show it, because nobody is seen at time 0.
    since : float, optional
        When the customer is there; by default the beginning of the clock.
    discount : float, default 0
        A unit of time: 0.01 for 1 % a month if times are months.
    group : optional
        For a `MultistateFit` with groups: which.
    level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Indexed by ``phase``, the last row being ``"total"``: ``estimate``, ``std_error``, ``lower``, ``upper``.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> stays = simulate.lifecycle(2000, seed=1)
    >>> fit = lifecycle.fit_multistate(stays)
    >>> lifecycle.expected_value(fit, lifecycle.value_by_phase(stays), 24, discount=0.01).round(1)
                 estimate  std_error  lower  upper
    phase
    exploration      17.7        0.4   16.9   18.5
    build-up         39.2        1.0   37.3   41.2
    stability       121.3        3.5  114.5  128.1
    decline           4.7        0.1    4.6    4.9
    total           183.0        3.5  176.2  189.8
    """
    study = _Study(fit, value, horizon, profile, start, since, discount, group)
    times, sensitivity = study.times()
    size = len(study.phases)
    # Rows: each phase, and all together.
    matrix = np.column_stack([np.diag(study.money), study.money])
    by_money = np.column_stack([np.diag(times), times])
    estimate = np.append(study.money * times, study.money @ times)
    variance = study.variance(sensitivity.times(matrix)) + study.money_variance(by_money)
    return _table(estimate, variance, level, pd.Index([*study.phases, "total"][: size + 1], name="phase"))


def what_if(
    fit,
    transition,
    change,
    value,
    horizon,
    profile=None,
    start=None,
    since=None,
    discount=0.0,
    cost=None,
    group=None,
    level=0.95,
):
    r"""What moving one rate is worth, against what it may cost.

    Multiplies the hazard of one kind of move by `change`, all others as they are, and follows the customer again. The gain per unit of time that
    the customer is then in the phase that the move leaves is what working on it may cost at most: whoever is to move such
    customers pays for all of them, as long as they are there.

    **Assumes** that the hazard can be moved, and that moving it leaves the others alone: an estimate of what it is worth if it works, not that it does.

    Parameters
    ----------
    fit, value, horizon, profile, start, since, discount, group, level
        As in `expected_value`.
    transition : (phase, phase) or str
        Such as ``("decline", "build-up")`` or ``"decline -> build-up"``.
    change : float
        What the hazard is multiplied by: 1.2 for a fifth more.
    cost : float, optional
        What the programme costs per customer and unit of time in the phase that the move leaves.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``quantity``: ``"value now"``, ``"value then"``, ``"gain"``, ``"time treated"`` (discounted), ``"gain per time treated"`` (what it may
        cost at most), and with `cost` ``"net gain"``; ``estimate``, ``std_error``, ``lower``, ``upper``.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> fit = lifecycle.fit_multistate(simulate.lifecycle(2000, seed=1))
    >>> worth = {"exploration": 5, "build-up": 9, "stability": 20, "decline": 0.5}
    >>> lifecycle.what_if(fit, "decline -> build-up", 1.2, worth, 36).round(2)
                           estimate  std_error   lower   upper
    quantity
    value now                299.84       5.11  289.82  309.86
    value then               315.18       5.19  305.00  325.36
    gain                      15.33       0.30   14.75   15.92
    time treated              14.57       0.28   14.02   15.12
    gain per time treated      1.05       0.03    0.99    1.12
    """
    study = _Study(fit, value, horizon, profile, start, since, discount, group)
    move = study.move(transition)
    study.factor(change)
    now, before = study.times()
    then, after = study.times({move: float(change)})
    m, size = study.money, len(study.phases)
    gain, treated = m @ (then - now), then[move[0]]
    if treated <= 0:
        raise ValueError(
            f"a customer who starts there is never in {study.phases[move[0]]!r} before the horizon: nothing can change."
        )
    here = np.eye(size)[move[0]]
    zero = np.zeros(size)
    per = gain / treated
    # Derivatives of each row by the times now, the times then, and the money.
    rows = {
        "value now": (m @ now, m, zero, now),
        "value then": (m @ then, zero, m, then),
        "gain": (gain, -m, m, then - now),
        "time treated": (treated, zero, here, zero),
        "gain per time treated": (per, -m / treated, (m - per * here) / treated, (then - now) / treated),
    }
    if cost is not None:
        cost = one_number("cost=", cost)
        rows["net gain"] = (gain - cost * treated, -m, m - cost * here, then - now)
    estimate = np.array([row[0] for row in rows.values()])
    by_now, by_then, by_money = (np.column_stack([row[place] for row in rows.values()]) for place in (1, 2, 3))
    sensitivity = after.times(by_then).minus(before.times(-by_now))
    variance = study.variance(sensitivity) + study.money_variance(by_money)
    return _table(estimate, variance, level, pd.Index(list(rows), name="quantity"))


def rank_transitions(
    fit, change, value, horizon, profile=None, start=None, since=None, discount=0.0, group=None, level=0.95
):
    """Which transition to work on: what the same relative change of each rate is worth, the most first.

    A rate whose rise would lose money is lowered instead, divided by `change`.

    Parameters
    ----------
    change : float
        Above 1: what rates are multiplied or divided by.
    fit, value, horizon, profile, start, since, discount, group, level
        As in `what_if`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``from`` and ``to``: ``factor`` (what the hazard is multiplied by), ``gain`` with ``std_error``, ``lower``, ``upper``, and ``may_cost``, the gain
        per unit of time in ``from``.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> fit = lifecycle.fit_multistate(simulate.lifecycle(2000, seed=1))
    >>> worth = {"exploration": 5, "build-up": 9, "stability": 20, "decline": 0.5}
    >>> lifecycle.rank_transitions(fit, 1.1, worth, 36)[["factor", "gain", "may_cost"]].round(2).head(2)
                        factor  gain  may_cost
    from     to
    decline  build-up      1.1  7.88      0.52
    build-up stability     1.1  7.03      1.24
    """
    study = _Study(fit, value, horizon, profile, start, since, discount, group)
    if isinstance(change, str | bool) or not (np.isscalar(change) and 1 < change < np.inf):
        raise ValueError(f"change= is a number above 1, such as 1.1 for a tenth; got {change!r}.")
    base, _ = study.times()
    rows = []
    for move in study.moves():
        names = tuple(study.phases[place] for place in move)
        up, _ = study.times({move: change})
        factor = change if study.money @ (up - base) >= 0 else 1 / change
        if up[move[0]] <= 0:
            continue
        given = (value, horizon, profile, start, since, discount)
        found = what_if(fit, names, factor, *given, group=group, level=level)
        rows.append(
            {"from": names[0], "to": names[1], "factor": factor}
            | {"gain": found.loc["gain", "estimate"], **found.loc["gain", ["std_error", "lower", "upper"]].to_dict()}
            | {"may_cost": found.loc["gain per time treated", "estimate"]}
        )
    if not rows:
        raise ValueError(
            "a customer who starts there never moves before the horizon: there is nothing to rank. Fix: take another start=."
        )
    return pd.DataFrame(rows).sort_values("gain", ascending=False).set_index(["from", "to"])


def plot_gains(ranked, money="margin", ax=None):
    """What `rank_transitions` found, a bar a transition with its interval.

    Parameters
    ----------
    ranked : pandas.DataFrame
    money : str
        What the gain is counted in, for the label.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    table = ranked[::-1]
    names = [f"{a} → {b}  (× {factor:.2f})" for (a, b), factor in zip(table.index, table["factor"])]
    error = [table["gain"] - table["lower"], table["upper"] - table["gain"]]
    ax.barh(names, table["gain"], xerr=error, color=style.COLOURS[5], error_kw={"capsize": 4, "linewidth": 1.5})
    ax.set(xlabel=f"gain per customer, {money}", ylabel="move (its hazard times)")
    ax.grid(axis="y", visible=False)
    return ax


class _Study:
    """A fit, the money of its phases, and where a customer starts: what the functions above share."""

    def __init__(self, fit, value, horizon, profile, start, since, discount, group):
        if not isinstance(fit, HazardsFit | MultistateFit):
            raise TypeError(f"fit= is what fit_multistate or fit_hazards returned; got {type(fit).__name__}.")
        if fit.clock == "reset":
            raise ValueError(
                "the value of a customer needs clock='forward': on the reset clock no phase follows another."
            )
        if isinstance(discount, str | bool) or not np.isscalar(discount) or not -1 < discount < np.inf:
            raise ValueError(f"discount= is a rate per unit of time, such as 0.01; got {discount!r}.")
        self.fit, self.phases, self.discount = fit, fit.phases, float(discount)
        if isinstance(fit, HazardsFit):
            if group is not None:
                raise ValueError("group= is for fit_multistate with groups; this fit has profile=.")
            grid = fit._rows.stays.grid
            profiles, single = fit._profiles(profile)
            if not single:
                raise ValueError("profile= is one customer here, a mapping of columns to values.")
            self.x = fit._columns(profiles)[0]
            self.shares = fit._start(start)
        else:
            if profile is not None:
                raise ValueError("profile= is for fit_hazards; a fit without covariates takes group= at most.")
            if group not in fit._samples:
                raise ValueError(
                    f"group= is one of {', '.join(map(repr, fit.groups)) or 'none: the fit has no groups'}; got {group!r}."
                )
            self.sample = fit._samples[group]
            grid = self.sample.grid
            self.parts = [ObservedPart(self.sample, j) for j in np.flatnonzero(self.sample.moves.any(axis=(0, 2)))]
            self.shares = self._start(start)
        self.horizon = fit._times(one_number("horizon=", horizon), since)[0]
        self.since = grid[0] if since is None else one_number("since=", since)
        self.money, self.cov = self._money(value)

    def times(self, factors=None):
        """Discounted time in each phase, with its derivatives."""
        if isinstance(self.fit, HazardsFit):
            path, _, _ = self.fit._path(self.x, dict(zip(self.phases, self.shares)), None, (), factors)
        else:
            path = Path(self.parts, len(self.phases), self.sample.grid, np.zeros(0), 0, (), factors or {})
        first = 0 if self.since == path.grid[0] else int(path.until(self.since))
        ahead = path.in_time(first, self.since, self.horizon, self.discount)
        return path.estimate(self.shares, ahead), path.sensitivity(self.shares, first, ahead)

    def variance(self, sensitivity):
        """Of quantities, from the moves alone."""
        if isinstance(self.fit, HazardsFit):
            return self.fit._variance(sensitivity)
        if self.fit.errors == "greenwood":
            return sum(part.noise_variance(noise) for part, noise in zip(self.parts, sensitivity.noise))
        origin, target, begin, end = self.sample.kinds
        whole = np.zeros((len(origin), sensitivity.coefficients.shape[1]))
        for part, noise in zip(self.parts, sensitivity.noise):
            mine = np.flatnonzero(origin == part.origin)
            whole[mine] += part.influence(None, begin[mine], end[mine], target[mine], None, noise)
        table, weight = self.sample.histories
        return weight @ (table @ whole) ** 2

    def moves(self):
        """Kinds of moves, as pairs of positions."""
        parts = self.fit._parts if isinstance(self.fit, HazardsFit) else self.parts
        return [(int(part.origin), int(target)) for part in parts for target in part.targets]

    def move(self, transition):
        """One kind of move, from what the user called it."""
        names = transition.split(" -> ") if isinstance(transition, str) else transition
        known = {(self.phases[a], self.phases[b]): (a, b) for a, b in self.moves()}
        try:
            return known[tuple(names)]
        except (KeyError, TypeError):
            shown = ", ".join(f"'{a} -> {b}'" for a, b in known)
            raise ValueError(f"transition= is one of the moves that were seen, {shown}; got {transition!r}.") from None

    def factor(self, change):
        """Refuse what no hazard can be multiplied by."""
        if isinstance(change, str | bool) or not np.isscalar(change) or not 0 < change < np.inf:
            raise ValueError(
                f"change= is what the hazard is multiplied by, a number above 0 such as 1.2; got {change!r}."
            )

    def _start(self, start):
        if start is None:
            return np.eye(len(self.phases))[opening_phase(self.sample)]
        return self.fit._start(self.sample, start, None).shares

    def _amount(self, name, amount):
        """The money of one phase as the user gave it; missing is refused later, if the phase is needed."""
        if name not in self.phases:
            raise ValueError(
                f"value= names {name!r}, which is no phase of the fit; there are: {', '.join(map(repr, self.phases))}."
            )
        if isinstance(amount, str | bool) or np.ndim(amount):
            raise ValueError(f"value= gives {name!r} no number: {amount!r}.")
        return np.nan if amount is None or amount is pd.NA else float(amount)

    def money_variance(self, weights):
        """Of linear combinations of the money: missing where money enters whose error is not known."""
        unknown = np.isnan(np.diag(self.cov))
        found = np.einsum("jl,ji,il->l", weights, np.nan_to_num(self.cov), weights)
        return np.where((weights[unknown] != 0).any(axis=0), np.nan, found)

    def _money(self, value):
        """Money in each phase of the fit, and its covariance."""
        size = len(self.phases)
        if isinstance(value, PhaseValue):
            if value.group is not None:
                raise ValueError(
                    f"value= holds groups ({', '.join(map(str, value.groups))}): take one with value.of(...)."
                )
            known, cov = list(value.phases), value._found[None][1]
            rates = value._found[None][0]
            rate = dict(zip(known, rates))
        elif isinstance(value, Mapping | pd.Series):
            cov, known = None, list(value.keys())
            rate = {name: self._amount(name, amount) for name, amount in value.items()}
        else:
            raise TypeError(
                f"value= is what value_by_phase returned, or a mapping of phases to money; got {type(value).__name__}."
            )
        left = {self.phases[a] for a, _ in self.moves()} | {self.phases[b] for _, b in self.moves()}
        lacking = [name for name in self.phases if name in left and not np.isfinite(rate.get(name, np.nan))]
        if lacking:
            raise ValueError(
                f"value= has no money for the phase {lacking[0]!r}. Fix: give each phase its money per unit of time, 0 where there is none."
            )
        money = np.array(
            [float(rate.get(name, 0.0)) if np.isfinite(rate.get(name, np.nan)) else 0.0 for name in self.phases]
        )
        whole = np.zeros((size, size))
        if cov is not None:
            at = [known.index(name) if name in known else -1 for name in self.phases]
            for i, a in enumerate(at):
                for j, b in enumerate(at):
                    # Where nobody spent time there is no money, so no error of it.
                    some = min(a, b) >= 0 and np.isfinite(rates[a]) and np.isfinite(rates[b])
                    whole[i, j] = cov[a, b] if some else 0.0
        return money, whole


def _table(estimate, variance, level, index):
    return wald_table(estimate, np.sqrt(np.maximum(variance, 0)), level).set_axis(index)
