"""What a model of hazards says of a customer's future, and whether its effects stay the same over time."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import linalg, stats

from crmlab.arguments import one_of
from crmlab.lifecycle import hazard_plots
from crmlab.lifecycle.checks import as_numbers, one_number
from crmlab.lifecycle.grouped import GroupedPart
from crmlab.lifecycle.multistate import _with_interval
from crmlab.lifecycle.newton import maximise
from crmlab.lifecycle.paths import Path, Sensitivity
from crmlab.lifecycle.stays import opening_phase
from crmlab.likelihood import LikelihoodResult, normal_quantile

__all__ = ["HazardsFit"]

_QUANTITIES = ("cumulative_hazard", "occupancy", "expected_time", "ever_reach")


@dataclass(frozen=True, eq=False)
class HazardsFit(LikelihoodResult):
    """What `fit_hazards` returns.

    Coefficients are logarithms: of hazard ratios, or of ratios of odds where the grouped model has several exits. Times are in the
    unit of the stays. A `profile` says of which customer a prediction is: a mapping of the formula's columns to values, or a DataFrame
    with a row a profile, whose index then is the first level of the result. Predictions start at the first time at which anybody was
    observed (0 unless all enter late), or at `since`, in the phase `start`; without it in the phase in which all customers start, which
    is refused where the stays do not show one: nobody is seen at time 0, or they start in several. Their intervals are on scales that keep them in range (see
    `MultistateFit`), by the delta method from coefficients and baselines together.

    Attributes
    ----------
    phases : tuple
    model, ties, clock, errors, formula : str
        As asked for.
    moves : pandas.Series
        Moves of each kind, by ``from`` and ``to``.
    nobs : float
        Customers; stays if only counts of stays were given.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> fit = lifecycle.fit_hazards(simulate.lifecycle(2000, seed=1), "grade + service")
    >>> gold, other = ({"grade": grade, "service": 3} for grade in ("gold", "ordinary"))
    >>> fit.ever_reach("stability", 24, gold).round(2)
          estimate  std_error  lower  upper
    time
    24.0      0.67       0.02   0.63   0.71
    >>> fit.difference("expected_time", 36, between=(other, gold))["estimate"].round(1).to_dict()
    {'exploration': -0.3, 'build-up': -0.2, 'stability': 5.9, 'decline': -5.4}
    """

    phases: tuple = ()
    model: str = "cox"
    ties: str | None = None
    clock: str = "forward"
    errors: str = "model"
    formula: str = "1"
    moves: pd.Series = field(default=None, repr=False)
    _rows: object = field(default=None, repr=False)
    _parts: list = field(default=(), repr=False)
    _bread: np.ndarray = field(default=None, repr=False)
    _lost: np.ndarray = field(default=None, repr=False)
    _gone: np.ndarray = field(default=None, repr=False)

    def summary(self, level=0.95):
        """Effects with errors and intervals, symmetric on the scale of the coefficients.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``transition`` and ``term``: ``estimate``, ``std_error``, ``lower``, ``upper``, and ``ratio``, the exponential of the estimate: what
            the hazard (or the odds) is multiplied by.
        """
        z = normal_quantile(level)
        error = np.sqrt(np.diag(self.cov))
        table = {"estimate": self.params, "std_error": error, "lower": self.params - z * error}
        return pd.DataFrame(table | {"upper": self.params + z * error, "ratio": np.exp(self.params)})

    # --- predictions ---------------------------------------------------------------------------------------------

    def cumulative_hazard(self, times, profile=None, level=0.95):
        """Hazard gathered by a time for a profile, by kind of move. Not a probability. Cox's model only.

        Parameters
        ----------
        times : float or sequence of float
        profile : mapping or DataFrame
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``from``, ``to``, ``time`` (after ``profile``): ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        return self._predict(self._cumulative_hazard, profile, level, "log", times=times)

    def occupancy(self, times, profile=None, start=None, since=None, level=0.95):
        """Probability of each phase at each time for a profile.

        Parameters
        ----------
        times : float or sequence of float
        profile : mapping or DataFrame
        start : phase or mapping of phase to share, optional
        since : float, optional
            When the customer is in `start`; by default at the beginning of the clock.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``time`` and ``phase`` (after ``profile``): ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        return self._predict(self._occupancy, profile, level, "logit", times=times, start=start, since=since)

    def expected_time(self, horizon, profile=None, start=None, since=None, level=0.95):
        """Expected time in each phase up to a horizon for a profile.

        Parameters
        ----------
        horizon : float
        profile, start, since, level
            As in `occupancy`.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``phase`` (after ``profile``): ``estimate``, ``std_error``, ``lower``, ``upper``, in the unit of time.
        """
        return self._predict(self._expected_time, profile, level, "logit", horizon=horizon, start=start, since=since)

    def ever_reach(self, phase, horizon, profile=None, start=None, since=None, level=0.95):
        """Probability of having been in a phase at least once by a time, for a profile: first passage.

        Parameters
        ----------
        phase : phase
        horizon : float or sequence of float
        profile, start, since, level
            As in `occupancy`.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``time`` (after ``profile``): ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        return self._predict(
            self._ever_reach, profile, level, "logit", phase=phase, horizon=horizon, start=start, since=since
        )

    def difference(self, quantity, *args, between, level=0.95, **kwargs):
        """How much higher a quantity is for one profile than for another; what the two share adds no error.

        Parameters
        ----------
        quantity : {"cumulative_hazard", "occupancy", "expected_time", "ever_reach"}
            A method of the fit, called with ``*args`` and ``**kwargs``.
        between : (profile, profile)
            Two mappings; the difference is the second minus the first.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed as the quantity is: ``estimate``, ``std_error``, ``lower``, ``upper`` (symmetric).
        """
        one_of("quantity", quantity, _QUANTITIES)
        if not isinstance(between, tuple | list) or len(between) != 2:
            raise ValueError(
                f"between= takes two profiles, such as ({{'grade': 'ordinary'}}, {{'grade': 'gold'}}); got {between!r}."
            )
        names = {"ever_reach": ("phase", "horizon"), "expected_time": ("horizon",)}.get(quantity, ("times",))
        named = dict(zip(names, args)) | kwargs
        if lacking := [name for name in names if name not in named]:
            raise ValueError(
                f"difference({quantity!r}, ...) needs {lacking[0]}=, as {quantity}() does: difference({quantity!r}, {lacking[0]}=..., between=...)."
            )
        for one in between:
            if isinstance(one, pd.DataFrame) and len(one) != 1:
                raise ValueError(
                    f"between= takes two profiles of one customer each; got a table with {len(one)} rows. Fix: give mappings, or one row, table.iloc[[0]]."
                )
        work = getattr(self, f"_{quantity}")
        (a, _, _, first), (b, _, index, second) = (
            work(self._columns(self._profiles(one)[0])[0], **named) for one in between
        )
        variance = self._variance(second.minus(first))
        z, error = normal_quantile(level), np.sqrt(variance)
        estimate = b - a
        columns = {
            "estimate": estimate,
            "std_error": error,
            "lower": estimate - z * error,
            "upper": estimate + z * error,
        }
        return pd.DataFrame(columns, index)

    # --- checks --------------------------------------------------------------------------------------------------

    def proportionality(self, transform="rank"):
        r"""Do the effects stay the same over time? A score test for each term, and for all.

        Adds :math:`\gamma\, g(t)\, x` to the model and tests :math:`\gamma = 0`, without fitting it (Grambsch and Therneau 1994, as the
        score test of ``cox.zph`` since version 3 of R's survival).

        Parameters
        ----------
        transform : {"rank", "identity", "log"} or callable
            :math:`g(t)`: the share of the moves of that kind that came before, the time, or its logarithm. ``"identity"`` and ``"log"`` are those of
            ``cox.zph``; ``"rank"`` differs from R's, which ranks all times of exit, and from R's default, ``"km"``. Clustering is ignored, as in R.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``transition`` and ``term``, the last row ("all", "all terms") being the test of all together: ``statistic``
            (chi-square), ``df``, ``p_value``; missing for an effect that ran away, or whose moves all fell on one day.
        """
        if not callable(transform):
            one_of("transform", transform, ("rank", "identity", "log"))
        size = len(self.params)
        if not size:
            raise ValueError("a fit without covariates has no effects whose proportionality could be tested.")
        score, cross, square = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
        for part in self._parts:
            g = self._transformed(part, transform)
            u, v = part.pieces_by_time
            at = part.columns.ravel()
            np.add.at(score, at, g @ u)
            np.add.at(cross, (at[:, None], at[None, :]), np.einsum("k,kij->ij", g, v))
            np.add.at(square, (at[:, None], at[None, :]), np.einsum("k,kij->ij", g**2, v))
        schur = square - cross @ self._bread @ cross.T
        # Nothing can be tested of an effect that ran away, nor of one whose moves all fell on one day.
        some = np.diag(schur) > 1e-10 * np.maximum(np.diag(square), 1e-300)
        ok = np.setdiff1d(np.flatnonzero(some), self._lost)
        with np.errstate(invalid="ignore", divide="ignore"):
            single = np.where(np.isin(np.arange(size), ok), score**2 / np.diag(schur), np.nan)
        whole = float(score[ok] @ np.linalg.lstsq(schur[np.ix_(ok, ok)], score[ok], rcond=None)[0])
        statistic, df = np.append(single, whole), np.append(np.isin(np.arange(size), ok).astype(int), len(ok))
        index = pd.MultiIndex.from_tuples([*self.params.index, ("all", "all terms")], names=self.params.index.names)
        return pd.DataFrame(
            {"statistic": statistic, "df": df, "p_value": stats.chi2.sf(statistic, np.where(df > 0, df, np.nan))}, index
        )

    def effect_over_time(self, transition, term, spans=8, level=0.95):
        """An effect within spans of time that hold equally many moves: one Newton step from the common estimates.

        All effects on these moves (with `shared` ones: on all moves) are let free within the span, so that the errors know of terms that go
        together; one span of all moves gives `summary` again. Clustered errors are clustered here too. Where a span holds too few moves for all effects
        apart, its information is taken as its share of that of all moves.

        Parameters
        ----------
        transition, term : str
            As in `summary`.
        spans : int, default 8
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``span``: ``begin``, ``end`` (times of its first and last move), ``moves``, ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        if (transition, term) not in self.params.index:
            raise ValueError(
                f"there is no effect of {term!r} on {transition!r}; there are: {'; '.join(f'{b} in {a}' for a, b in self.params.index)}."
            )
        if isinstance(spans, bool) or not isinstance(spans, int | np.integer) or spans < 1:
            raise ValueError(f"spans= is the number of spans of time, a whole number of 1 or more; got {spans!r}.")
        place = self.params.index.get_loc((transition, term))
        grid, size = self._rows.stays.grid, len(self.params)
        moves = np.zeros(len(grid))
        for part in self._parts:
            for exit in np.flatnonzero((part.columns == place).any(axis=1)):
                moves[part.where] += part.d if len(part.targets) == 1 else part.y.sum(axis=1)[:, exit]
        through = (moves.cumsum() - moves / 2) / moves.sum()
        span = np.minimum((through * spans).astype(int), spans - 1)
        # Parts hang together with this one if they have a coefficient in common with it.
        mine = {place}
        for _ in range(2):
            for part in self._parts:
                own = set(part.columns.ravel().tolist())
                mine |= own if own & mine else set()
        parts = [part for part in self._parts if mine & set(part.columns.ravel().tolist())]
        kept = np.setdiff1d(sorted(mine), self._lost)
        score, information = np.zeros((spans, size)), np.zeros((spans, size, size))
        for part in parts:
            u, v = part.pieces_by_time
            at, of = part.columns.ravel(), span[part.where]
            np.add.at(score, (of[:, None], at[None]), u)
            np.add.at(information, (of[:, None, None], at[:, None], at[None]), v)
        score, information = score[:, kept], information[:, kept[:, None], kept]
        whole, share = information.sum(axis=0), np.bincount(span, moves, spans) / moves.sum()
        here = int(np.searchsorted(kept, place))
        found = []
        for s in np.flatnonzero(share > 0):
            at = np.flatnonzero((moves > 0) & (span == s))
            row = {"begin": grid[at[0]], "end": grid[at[-1]], "moves": moves[at].sum()}
            if place in self._lost:
                found.append(row | {"estimate": np.nan, "std_error": np.nan})
                continue
            if information[s, here, here] <= 1e-12 * whole[here, here]:
                continue
            least = linalg.eigvalsh(information[s], whole, subset_by_index=[0, 0])[0]
            inverse = linalg.inv(information[s] if least > 1e-3 * share[s] else whole * share[s])[here]
            estimate = self.params.iloc[place] + inverse @ score[s]
            variance = inverse[here]
            if self.errors == "clustered":
                weights = np.zeros((size, 1))
                weights[kept, 0] = inverse
                variance = self._spread_within(parts, weights, np.flatnonzero(span == s)).item()
            found.append(row | {"estimate": estimate, "std_error": np.sqrt(variance)})
        table, z = (
            pd.DataFrame(found, columns=["begin", "end", "moves", "estimate", "std_error"]),
            normal_quantile(level),
        )
        table["lower"] = table["estimate"] - z * table["std_error"]
        table["upper"] = table["estimate"] + z * table["std_error"]
        return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="span"))

    def _spread_within(self, parts, weights, positions):
        """Covariance of weighted scores from customers' histories, of which only some neighbouring times count."""
        rows, (low, high) = self._rows, (positions[0], positions[-1])
        pattern, origin, target, begin, end = rows.kinds
        whole = np.zeros((len(pattern), weights.shape[1]))
        for part in parts:
            inside = np.flatnonzero((origin == part.origin) & (begin < high) & (end >= low))
            to = np.where(end[inside] <= high, target[inside], -1)
            since, until = np.maximum(begin[inside], low - 1), np.minimum(end[inside], high)
            whole[inside] += part.influence(pattern[inside], since, until, to, weights[part.columns])
        return rows.spread(whole)

    def shortcut(self):
        """What one complementary log-log model an exit would get wrong, where the grouped model has several exits.

        The shortcut takes each exit for itself, those who left by another merely leaving the risk set as the period ends; its
        probabilities need not leave room for each other.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``transition``: ``moves``, ``largest_gap`` (of the probability of the move in a period, shortcut less multinomial, the largest
            in size over all kinds of customers and periods), ``mean_gap`` (of its size, over customers), ``largest_sum`` (of the shortcut's
            probabilities over the exits; more than 1 is impossible).
        """
        parts = [part for part in self._parts if getattr(part, "link", "") == "logit"]
        if not parts:
            raise ValueError(
                "shortcut() is about the grouped model of a phase with several exits"
                + ("; in this fit every phase has one." if self.model == "grouped" else ": fit with model='grouped'.")
            )
        tables = [self._shortcut(part) for part in parts]
        return pd.concat(tables)

    # --- figures -------------------------------------------------------------------------------------------------

    def plot(self, level=0.95, ax=None):
        """Effects with their intervals, a row a term, a colour a kind of move.

        Parameters
        ----------
        level : float, default 0.95
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        return hazard_plots.effects(self, level, ax)

    def plot_proportionality(self, transition, term, spans=8, level=0.95, unit="", ax=None):
        """An effect over time, beside its common value and with the p-value of the test.

        Parameters
        ----------
        transition, term, spans, level
            As in `effect_over_time`.
        unit : str
            The unit of time, for the label.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        return hazard_plots.over_time(self, transition, term, spans, level, unit, ax)

    def plot_occupancy(self, phase, profile, times=None, start=None, since=None, level=0.95, unit="", ax=None):
        """Probability of a phase over time, a line a profile.

        Parameters
        ----------
        phase : phase
        profile : DataFrame
            A row a profile; its index names the lines.
        times : sequence of float, optional
            By default 101 times over the clock.
        start, since, level
            As in `occupancy`.
        unit : str
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        self._place(phase, "phase=")
        return hazard_plots.occupancy(self, phase, profile, times, start, since, level, unit, ax)

    # --- how -----------------------------------------------------------------------------------------------------

    def _predict(self, work, profile, level, scale, **named):
        profiles, single = self._profiles(profile)
        tables = []
        for x in self._columns(profiles):
            estimate, whole, index, sensitivity = work(x, **named)
            table = _with_interval(estimate, self._variance(sensitivity), level, scale, whole).set_index(index)
            table.loc[table["std_error"].isna(), ["lower", "upper"]] = np.nan
            tables.append(table)
        if single:
            return tables[0]
        names = profiles.index.name or "profile"
        return pd.concat(dict(zip(profiles.index, tables)), names=[names])

    def _cumulative_hazard(self, x, times):
        if self.model != "cox":
            raise ValueError(
                "cumulative_hazard() is of model='cox'; the grouped model has probabilities: see occupancy()."
            )
        times = self._times(times, None)
        values, index = [], []
        quantities = len(self._parts) * len(times)
        coefficients = np.zeros((len(self.params), quantities))
        noise = [np.zeros((len(part.where), 1, quantities)) for part in self._parts]
        for number, part in enumerate(self._parts):
            seen = self._rows.stays.grid[part.where][:, None] <= times
            at = slice(number * len(times), (number + 1) * len(times))
            values.append(part.increments(x)[:, 0] @ seen)
            direct, noise[number][:, :, at] = part.sensitivity(x, seen[:, None, :].astype(float))
            np.add.at(coefficients[:, at], part.columns, direct)
            names = (self.phases[part.origin], self.phases[part.targets[0]])
            index += [(*names, time) for time in times]
        index = pd.MultiIndex.from_tuples(index, names=["from", "to", "time"])
        return np.concatenate(values), 1.0, index, Sensitivity(coefficients, tuple(noise), self._unknown(x))

    def _occupancy(self, x, times, start=None, since=None):
        times = self._times(times, since)
        path, shares, first = self._path(x, start, since)
        ahead = path.at_times(first, path.until(times))
        index = pd.MultiIndex.from_product([times, self.phases], names=["time", "phase"])
        return path.estimate(shares, ahead), 1.0, index, path.sensitivity(shares, first, ahead)

    def _expected_time(self, x, horizon, start=None, since=None):
        horizon = self._times(one_number("horizon=", horizon), since)[0]
        path, shares, first = self._path(x, start, since)
        since = self._rows.stays.grid[0] if since is None else float(since)
        ahead = path.in_time(first, since, horizon)
        index = pd.Index(self.phases, name="phase")
        return path.estimate(shares, ahead), horizon - since, index, path.sensitivity(shares, first, ahead)

    def _ever_reach(self, x, phase, horizon, start=None, since=None):
        goal, times = self._place(phase, "phase="), self._times(horizon, since)
        path, shares, first = self._path(x, start, since, (goal,))
        ahead = path.at_times(first, path.until(times))[:, :, goal :: len(self.phases)]
        index = pd.Index(times, name="time")
        return path.estimate(shares, ahead), 1.0, index, path.sensitivity(shares, first, ahead)

    def _path(self, x, start=None, since=None, stopped=(), factors=None):
        if self.clock == "reset":
            raise ValueError(
                "predictions of phases need clock='forward': on the reset clock no phase follows another. cumulative_hazard() is there."
            )
        if self.ties == "breslow" and any(part.crowded for part in self._parts):
            warnings.warn(
                "many tied moves: Breslow's hazards understate who leaves; take ties='efron'.",
                UserWarning,
                stacklevel=4,
            )
        stays = self._rows.stays
        path = Path(
            self._parts, len(self.phases), stays.grid, x, len(self.params), stopped, factors or {}, self._unknown(x)
        )
        first = 0 if since is None else int(path.until(since))
        return path, self._start(start), first

    def _start(self, start):
        shares = np.zeros(len(self.phases))
        if start is None:
            shares[opening_phase(self._rows.stays)] = 1
        elif isinstance(start, Mapping | pd.Series):
            for name, share in start.items():
                shares[self._place(name, "start=")] = share
            if not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-8:
                raise ValueError(f"start= gives shares that sum to 1; they sum to {shares.sum():g}.")
        else:
            shares[self._place(start, "start=")] = 1
        return shares

    def _place(self, phase, what):
        if phase not in self.phases:
            raise ValueError(f"{what} is one of the phases {', '.join(map(repr, self.phases))}; got {phase!r}.")
        return self.phases.index(phase)

    def _times(self, times, since):
        found = as_numbers("a time", times)
        grid = self._rows.stays.grid
        first = grid[0] if since is None else one_number("since=", since)
        last = grid[-1]
        if not len(found) or not ((found >= first) & (found <= last)).all() or not grid[0] <= first <= last:
            raise ValueError(
                f"times lie between {first:g} and {last:g}, the last time at which a customer was observed: beyond it nothing is known; "
                f"got {times!r}."
            )
        return found

    def _profiles(self, profile):
        needed = self._rows.design._columns
        if profile is None and needed:
            raise ValueError(f"profile= says of which customer: a mapping with {', '.join(needed)}.")
        single = not isinstance(profile, pd.DataFrame)
        if single:
            if not isinstance(profile, Mapping | pd.Series | None):
                raise TypeError(
                    f"profile= is a mapping of the formula's columns to values, or a DataFrame with a row a profile; got {profile!r}."
                )
            given = {} if profile is None else dict(profile)
            if strange := [name for name in given if name not in needed]:
                raise ValueError(
                    f"profile= has {strange[0]!r}, which is no column of the formula; there are: {', '.join(needed) or 'none'}."
                )
            profile = pd.DataFrame({name: [value] for name, value in given.items()}, index=[0])
        if not len(profile):
            raise ValueError("profile= has no rows.")
        if profile.index.has_duplicates:
            again = profile.index[profile.index.duplicated()][0]
            raise ValueError(
                f"profile= has the name {again!r} more than once in its index. Fix: give each row its own."
            )
        for name, (least, most) in self._rows.ranges.items():
            if name not in profile:
                continue
            for value in profile[name].dropna():
                if isinstance(value, str | bool) or not np.isscalar(value) or not np.isfinite(value):
                    raise ValueError(f"column {name!r} is a number; got {value!r}.")
                if not least <= value <= most:
                    warnings.warn(
                        f"{name!r} was seen from {least:g} to {most:g}; for {value:g} the effect is drawn out beyond it, and the interval does not "
                        "know how wrong that may be.",
                        UserWarning,
                        stacklevel=4,
                    )
                    break
        return profile, single

    def _columns(self, profiles):
        """The columns of the formula for each profile."""
        made = self._rows.design.build(profiles)
        kept = [number for number, name in enumerate(self._rows.design.names) if name != "Intercept"]
        return made[:, kept]

    def _variance(self, sensitivity):
        """Variances of quantities."""
        if self.errors == "clustered":
            variance = np.diag(self._spread(sensitivity)).copy()
        else:
            g = sensitivity.coefficients
            variance = np.einsum("il,ij,jl->l", g, self._bread, g)
            for part, noise in zip(self._parts, sensitivity.noise):
                variance += part.noise_variance(noise)
        return np.full_like(variance, np.nan) if sensitivity.unknown else np.maximum(variance, 0)

    def _unknown(self, x):
        """Whether what is said of a customer with these columns hangs on an effect that has run away: then it has no error."""
        if not len(self._lost):
            return False
        for part in self._parts:
            exits = len(part.targets)
            each = np.broadcast_to(np.eye(exits), (len(part.where), exits, exits))
            slope = np.zeros((len(self.params), exits))
            np.add.at(slope, part.columns, part.sensitivity(x, each)[0])
            # How the chance of each move would change if the effect went on running, as a share of it.
            if (np.abs(self._gone.T @ slope) > 0.02 * part.increments(x).sum(axis=0)).any():
                return True
        return False

    def _spread(self, sensitivity):
        """Covariance of quantities from customers' histories."""
        rows = self._rows
        pattern, origin, target, begin, end = rows.kinds
        weights = self._bread @ sensitivity.coefficients
        whole = np.zeros((len(pattern), weights.shape[1]))
        for part, noise in zip(self._parts, sensitivity.noise):
            mine = np.flatnonzero(origin == part.origin)
            pieces = (v[mine] for v in (pattern, begin, end, target))
            whole[mine] += part.influence(*pieces, weights[part.columns], noise)
        return rows.spread(whole)

    def _transformed(self, part, transform):
        times = self._rows.stays.grid[part.where]
        if callable(transform):
            g = np.asarray(transform(times), dtype=float)
        elif transform == "rank":
            g = (part.d.cumsum() - part.d / 2) / part.d.sum()
        else:
            g = times if transform == "identity" else np.log(np.maximum(times, 1e-300))
        return g - (part.d @ g) / part.d.sum()

    def _shortcut(self, part):
        rows = self._rows
        pattern, origin, target, begin, end = rows.kinds
        mine = origin == part.origin
        one_each, at = [], []
        for goal in part.targets:
            columns = np.arange(part.columns.shape[1])[None]
            pieces = (pattern[mine], begin[mine], end[mine], target[mine], rows.count[mine])
            single = GroupedPart(part.origin, [goal], rows.matrix, columns, *pieces, "cloglog")
            maximise([single], columns.size)
            full = np.zeros(part.p.shape[:2])
            full[np.searchsorted(part.where, single.where)] = single.p[:, :, 0]
            one_each.append(full)
            at.append(f"{self.phases[part.origin]} -> {self.phases[goal]}")
        found = np.stack(one_each, axis=2)
        here = part.n > 0
        gap = np.where(here[:, :, None], found - part.p, 0)
        worst = np.abs(gap).reshape(-1, len(at)).argmax(axis=0)
        columns = {
            "moves": part.y.sum(axis=(0, 1)),
            "largest_gap": gap.reshape(-1, len(at))[worst, np.arange(len(at))],
            "mean_gap": (np.abs(gap) * part.n[:, :, None]).sum(axis=(0, 1)) / part.n.sum(),
            "largest_sum": np.where(here, found.sum(axis=2), 0).max(),
        }
        return pd.DataFrame(columns, pd.Index(at, name="transition"))
