"""Multi-state survival: where customers are, where they go, and how sure that is. No model but the states themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import special

from crmlab.arguments import one_of
from crmlab.lifecycle import aalen_johansen as aj
from crmlab.lifecycle import markov, plots
from crmlab.lifecycle.checks import as_numbers, one_number
from crmlab.lifecycle.stays import take
from crmlab.likelihood import normal_quantile

__all__ = ["fit_multistate", "MultistateFit"]


def fit_multistate(
    episodes, clock="forward", groups=None, errors="greenwood", phases=None, weights=None, gaps="refuse"
):
    r"""Hazards, transition probabilities and occupancy of phases, without a model of their shape.

    At each time :math:`u` at which somebody moved, let :math:`Y_i(u)` be the customers in phase :math:`i` just before it and
    :math:`dN_{ij}(u)` those of them who moved to :math:`j`. The Nelson-Aalen and Aalen-Johansen estimates are

    .. math:: \hat A_{ij}(t) = \sum_{u \le t} \frac{dN_{ij}(u)}{Y_i(u)}, \qquad
        \hat P(s, t) = \prod_{s < u \le t} \bigl(I + d\hat A(u)\bigr), \qquad \hat p(t) = \hat p(0)\, \hat P(0, t),

    with :math:`dA_{ii} = -\sum_j dA_{ij}`. A stay is at risk from after its entry up to its exit, ``(entry, exit]``, so that customers may
    come under observation late (delayed entry), and may leave a phase and come back to it. Moves at the same time are taken
    together: nothing is jittered.

    **Assumes** that who is still observed moves like who no longer is (censoring and late entry say nothing of the
    customer's future). Occupancy needs no more. Transition probabilities, expected times from a given phase and first passage also take
    the process to be Markov: what comes next depends on the phase and the time, not on how the customer got there.
    `MultistateFit.markov_test` tests that, and ``transition_probability(..., method="landmark")`` does without it.

    Everything but the jackknife and the landmark needs only the counts by time, so its cost does not grow with the rows once
    they are counted.

    Parameters
    ----------
    episodes : DataFrame or ibis.Table
        One row a stay: ``customer_id``, ``phase``, ``entry``, ``exit`` (numbers, in the same unit), ``next_phase`` (missing if
        the customer was in the phase when last seen). Or its counts: the same without ``customer_id`` and with a column
        ``customers`` or ``stays``, as ``phase_episodes(log, counted=True)`` makes them of a log and `crmlab.counting.transition_counts`, by
        ``unit="day"``, of stays with dates (in longer periods a move within one has no length, which is refused); errors are then Greenwood's, since
        counts do not know whose stays belong together.
    clock : {"forward", "reset"}
        Time since the customer's start, or since the phase was entered. On the reset clock each phase stands alone: a fit says
        when a stay ends and which phase comes first, with every phase that follows taken as final. Stays on the forward clock are
        moved to begin at 0, so each must be seen from its beginning (counts that do not say ``came_from`` are trusted); those of a table with
        ``attrs["clock"] == "reset"`` are taken as they stand (an entry above 0 is then a late one).
    groups : str, optional
        A column that is constant for each customer: everything is estimated for each of its values.
    errors : {"greenwood", "jackknife"}
        Greenwood: binomial and multinomial at each time, from counts. Infinitesimal jackknife: from how each customer's whole history
        would move the estimate, which is also right where stays of one customer hang together or the process is not Markov.
    phases : sequence, optional
        The phases in order; others are refused. By default the categories of the column ``phase``, or the order in which
        the table names them.
    weights : str, optional
        A column with the number of customers that a row stands for; with ``customer_id``, how many share that whole history.
    gaps : {"refuse", "keep"}
        What to do with customers who were out of sight between two stays: refuse them, or take them as not at risk meanwhile.

    Returns
    -------
    MultistateFit

    Raises
    ------
    TypeError, ValueError
        With the column, the number of rows, up to three of them with their customers, and the fix: if times are missing or not
        numbers, a stay does not end after it began, a customer is in two phases at once, a stay begins elsewhere than where the one
        before led, the customer is out of sight in between, a phase is unknown or leads to itself, nobody ever moves, or on the reset clock
        a stay was under way when the customer was first seen, so that nothing says since when it lasts.

    Warns
    -----
    UserWarning
        If stays that last have no length: they are left out.

    Notes
    -----
    Times that differ by rounding alone (relative 1.5e-8) are one time. In R: ``survival::survfit(Surv(entry, exit, factor(next_phase)) ~ 1,
    id = customer_id, istate = phase, influence = TRUE)`` (jackknife errors; without ``influence = TRUE`` those of version 3.5 leave out that the
    shares at the start are estimated) and ``etm::etm`` (Greenwood's).

    References
    ----------
    O. O. Aalen and S. Johansen (1978), An empirical transition matrix for non-homogeneous Markov chains based on censored
    observations, *Scandinavian Journal of Statistics* 5(3):141-150. P. K. Andersen, O. Borgan, R. D. Gill and N. Keiding (1993),
    *Statistical Models Based on Counting Processes*, Springer, section IV.4. S. Datta and G. A. Satten (2001), Validity of the
    Aalen-Johansen estimators of stage occupation probabilities and Nelson-Aalen estimators of integrated transition hazards for
    non-Markov models, *Statistics & Probability Letters* 55(4):403-411.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import lifecycle
    >>> stays = pd.DataFrame(
    ...     [("a", "new", 0, 2, "loyal"), ("a", "loyal", 2, 5, "gone"), ("b", "new", 0, 3, "gone"), ("c", "new", 0, 4, None),
    ...      ("d", "new", 0, 2, "loyal"), ("d", "loyal", 2, 6, None)],
    ...     columns=["customer_id", "phase", "entry", "exit", "next_phase"],
    ... )
    >>> fit = lifecycle.fit_multistate(stays)
    >>> fit.transition_probability(0, 5)
    to      new  loyal  gone
    from
    new    0.25   0.25   0.5
    loyal  0.00   0.50   0.5
    gone   0.00   0.00   1.0
    """
    one_of("clock", clock, ("forward", "reset"))
    one_of("errors", errors, ("greenwood", "jackknife"))
    one_of("gaps", gaps, ("refuse", "keep"))
    stays = take(episodes, clock, phases, groups, weights, gaps)
    if errors == "jackknife" and stays.customer is None:
        raise ValueError(
            "errors='jackknife' needs to know whose stays belong together, which a table of counts does not say: give the stays with their "
            "customer_id (weights= may count customers with the same history), or take errors='greenwood'."
        )
    return MultistateFit(stays.phases, clock, errors, groups, stays.samples())


@dataclass(frozen=True, eq=False)
class MultistateFit:
    """What `fit_multistate` returns.

    Times are in the unit of the stays. Intervals of probabilities are symmetric on the logit scale, which keeps them between 0 and
    1 and treats a probability and its complement alike; those of hazards and rates on the logarithmic scale; those of an
    expected time on the logit scale of its share of the horizon. An estimate of exactly 0 or 1 has no error of its own: its
    interval is the point, which says no more than that nothing else was seen.

    Attributes
    ----------
    phases : tuple
        In order.
    clock, errors : str
        As asked for.
    group : str or None
        The column of the groups. With groups, every table has them as its first index level.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import lifecycle
    >>> counts = pd.DataFrame(
    ...     [("new", 0, 1, "loyal", 60), ("new", 0, 1, "gone", 20), ("new", 0, 3, None, 20), ("loyal", 1, 2, "gone", 15),
    ...      ("loyal", 1, 3, "new", 9), ("loyal", 1, 3, None, 36)],
    ...     columns=["phase", "entry", "exit", "next_phase", "customers"],
    ... )
    >>> fit = lifecycle.fit_multistate(counts)
    >>> fit.summary().round(3)
                   estimate  std_error  lower  upper
    parameter
    new -> loyal      0.429      0.055  0.333  0.552
    new -> gone       0.143      0.032  0.092  0.221
    loyal -> new      0.086      0.029  0.045  0.165
    loyal -> gone     0.143      0.037  0.086  0.237
    >>> fit.occupancy(2, level=0.95).round(3)
                estimate  std_error  lower  upper
    time phase
    2.0  new        0.20      0.040  0.133  0.290
         loyal      0.45      0.050  0.356  0.548
         gone       0.35      0.048  0.263  0.448
    >>> fit.ever_reach("loyal", 3, start="new").round(3)
          estimate  std_error  lower  upper
    time
    3.0        0.6      0.049  0.501  0.691
    >>> fit.expected_time(3)["estimate"].round(2).to_dict()
    {'new': 1.4, 'loyal': 1.05, 'gone': 0.55}
    """

    phases: tuple
    clock: str
    errors: str
    group: str | None
    _samples: dict = field(repr=False)

    # --- what was counted ----------------------------------------------------------------------------------------

    @property
    def nobs(self):
        """Number of stays."""
        return sum(sample.stays for sample in self._samples.values())

    @property
    def customers(self):
        """Number of customers; None if only counts of stays were given."""
        numbers = [sample.customers for sample in self._samples.values()]
        return None if None in numbers else sum(numbers)

    @property
    def groups(self):
        """Values of the groups; empty without groups."""
        return () if self.group is None else tuple(self._samples)

    def counts(self):
        """Moves and customers at risk at each time: all that the estimates know.

        Returns
        -------
        pandas.DataFrame
            ``time``, ``from``, ``to``, ``moves``, ``at_risk`` (in the phase just before), for the kinds of moves that were seen.
        """

        def table(sample):
            when, i, j = np.nonzero(sample.moves)
            columns = {
                "time": sample.times[when],
                "from": self._labels(i),
                "to": self._labels(j),
                "moves": sample.moves[when, i, j],
                "at_risk": sample.at_risk[when, i],
            }
            return pd.DataFrame(columns)

        frame = self._each(table)
        return frame if self.group is None else frame.reset_index("group").reset_index(drop=True)

    def transitions(self):
        """Each kind of move that was seen: how many, in how much time in the phase, and the rate that this makes.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``from`` and ``to``: ``moves``, ``exposure`` (time that customers spent in ``from``), ``rate`` (their ratio).
        """

        def table(sample):
            i, j = self._pairs(sample)
            moves = sample.moves.sum(axis=0)[i, j]
            columns = {"moves": moves, "exposure": sample.exposure[i], "rate": moves / sample.exposure[i]}
            index = pd.MultiIndex.from_arrays([self._labels(i), self._labels(j)], names=["from", "to"])
            return pd.DataFrame(columns, index)

        return self._each(table)

    def summary(self, level=0.95):
        """Mean rate of each kind of move: moves over time at risk, as if the hazard were constant.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter`` ("exploration -> build-up"; with groups after the group): ``estimate`` (moves per
            unit of time in the phase), ``std_error``, ``lower``, ``upper``.
        """

        def table(sample):
            i, j = self._pairs(sample)
            moves, exposure = sample.moves.sum(axis=0)[i, j], sample.exposure[i]
            if self.errors == "greenwood":
                variance = moves / exposure**2
            else:
                left, moved_to, begun, when = sample.marks
                exposed = ((left[:, None] == i) * 1.0 - (begun[:, None] == i)) * sample.grid[when][:, None]
                moved = (left[:, None] == i) & (moved_to[:, None] == j)
                influence = (moved - exposed * moves / exposure) / exposure
                variance = sample.spread(influence)
            names = [f"{a} -> {b}" for a, b in zip(self._labels(i), self._labels(j))]
            frame = _with_interval(moves / exposure, variance, level, "log")
            return frame.set_index(pd.Index(names, name="parameter"))

        return self._each(table)

    # --- hazards -------------------------------------------------------------------------------------------------

    def cumulative_hazard(self, times=None, level=0.95):
        """Nelson-Aalen: how much hazard of each kind of move has gathered by a time. Not a probability; it can exceed 1.

        Parameters
        ----------
        times : float or sequence of float, optional
            By default every time at which somebody moved.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``from``, ``to``, ``time``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """

        def table(sample):
            when = sample.times if times is None else self._times(times)
            until = np.searchsorted(sample.times, when, "right")
            i, j = self._pairs(sample)
            estimate = aj.hazards(sample, (i, j), until)
            variance = aj.hazard_variance(sample, (i, j), until, self.errors)
            frame = _with_interval(estimate.ravel(), variance.ravel(), level, "log")
            pairs = [np.repeat(self._labels(x), len(when)) for x in (i, j)]
            frame.index = pd.MultiIndex.from_arrays([*pairs, np.tile(when, len(i))], names=["from", "to", "time"])
            return frame

        return self._each(table)

    # --- probabilities -------------------------------------------------------------------------------------------

    def transition_probability(self, s, t, method="aalen-johansen", level=None):
        """Probability of each phase at `t` for who is in each phase at `s`.

        Parameters
        ----------
        s, t : float
            Times on the clock, s <= t.
        method : {"aalen-johansen", "landmark"}
            The landmark estimate follows, from `s` on, only the customers who are in the phase at `s`, phase by phase (Putter and
            Spitoni 2018). It does not need the process to be Markov, and has fewer customers behind it. Its errors are
            the jackknife's, whatever the fit's are.
        level : float, optional
            Confidence level; without it only the estimates.

        Returns
        -------
        pandas.DataFrame
            Rows ``from``, columns ``to``. With `level` indexed by ``from`` and ``to``: ``estimate``, ``std_error``, ``lower``, ``upper``.
            A landmark row is missing where nobody was in the phase at `s`.

        References
        ----------
        H. Putter and C. Spitoni (2018), Non-parametric estimation of transition probabilities in non-Markov multi-state models:
        the landmark Aalen-Johansen estimator, *Statistical Methods in Medical Research* 27(7):2081-2092.
        """
        one_of("method", method, ("aalen-johansen", "landmark"))
        self._times([s, t])
        if t < s:
            raise ValueError(f"s= comes before t=; got s={s!r}, t={t!r}.")
        if method == "landmark":
            self._forward("the landmark estimate")
            self._know_customers("the landmark estimate")

        def table(sample):
            size = len(self.phases)
            estimate, variance = np.full((2, size, size), np.nan)
            for number in range(size):
                part, errors = sample, self.errors
                if method == "landmark":
                    part, errors = sample.landmark(number, s), "jackknife"
                    if part is None and (sample.origin == number).any():
                        continue  # nobody to follow; a final phase needs nobody
                    part = sample if part is None else part
                shares = np.eye(size)[number]
                chain = self._chain(part, number)
                value = self._probabilities(chain, aj.Start(shares, chain.until(s)), [t], level, errors)
                estimate[number], variance[number] = (v[0] for v in value)
            if level is None:
                return pd.DataFrame(estimate, self._index("from"), self._index("to"))
            frame = _with_interval(estimate.ravel(), variance.ravel(), level, "logit")
            frame.index = pd.MultiIndex.from_product([self.phases, self.phases], names=["from", "to"])
            return frame

        return self._each(table)

    def occupancy(self, times, start=None, since=None, level=None):
        """Probability of being in each phase at each time.

        Right also for a process that is not Markov, if `start` and `since` are left alone.

        Parameters
        ----------
        times : float or sequence of float
        start : phase or mapping of phase to share, optional
            Where the customers are at the beginning. By default where those under observation were, just before the first
            move or at `since`; that these shares are estimated is part of the errors.
        since : float, optional
            When that beginning is. By default the beginning of the clock.
        level : float, optional
            Confidence level; without it only the estimates.

        Returns
        -------
        pandas.DataFrame
            Rows ``time``, a column a phase. With `level` indexed by ``time`` and ``phase``: ``estimate``, ``std_error``, ``lower``,
            ``upper``. Missing for a group that was not followed so far.
        """
        times = self._times(times, since)

        def table(sample):
            begin = self._start(sample, start, since)
            chain = self._chain(sample, start)
            estimate, variance = self._probabilities(chain, begin, times, level, self.errors)
            if level is None:
                return pd.DataFrame(estimate, pd.Index(times, name="time"), self._index("phase"))
            frame = _with_interval(estimate.ravel(), variance.ravel(), level, "logit")
            frame.index = pd.MultiIndex.from_product([times, self.phases], names=["time", "phase"])
            return frame

        return self._each(table)

    def expected_time(self, horizon, start=None, since=None, level=0.95):
        """Expected time in each phase up to a horizon: the area under the occupancy.

        Parameters
        ----------
        horizon : float
            A time on the clock; the phases' times sum to what lies between the beginning and it.
        start, since
            As in `occupancy`.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``phase``: ``estimate``, ``std_error``, ``lower``, ``upper``, in the unit of time.
        """
        horizon = self._times(one_number("horizon=", horizon), since)[0]

        def table(sample):
            chain, begin = self._chain(sample, start), self._start(sample, start, since)
            first = sample.grid[0] if since is None else since
            estimate, variance = aj.linear(chain, begin, aj.integral(chain, begin.first, first, horizon), self.errors)
            if horizon > sample.grid[sample.end].max():
                estimate, variance = estimate * np.nan, variance * np.nan
            return _with_interval(estimate, variance, level, "logit", horizon - first).set_index(self._index("phase"))

        return self._each(table)

    def ever_reach(self, phase, horizon, start=None, since=None, method="aalen-johansen", level=0.95):
        """Probability of having been in a phase at least once by a time: first passage.

        Who gets there counts, whether or not it stays; who ends in a phase that nobody leaves before that never will.
        A customer that is there at the beginning has reached it.

        Parameters
        ----------
        phase : phase
        horizon : float or sequence of float
            Times on the clock.
        start, since
            As in `occupancy`.
        method : {"aalen-johansen", "stopped"}
            From the hazards of all customers, which takes the process to be Markov; or from each customer's history up to its first
            time in the phase, which with `start` and `since` left alone needs no such thing. The latter follows customers, and
            takes those who came under observation late as not having been there before.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``time``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        one_of("method", method, ("aalen-johansen", "stopped"))
        goal = self._place(phase, "phase=")
        times = self._times(horizon, since)
        if method == "stopped":
            self._know_customers("method='stopped'")

        def table(sample):
            if method == "stopped" and self.clock == "forward":
                sample = sample.stopped(goal)
            chain, begin = self._chain(sample, start, (goal,)), self._start(sample, start, since)
            estimate, variance = self._probabilities(chain, begin, times, level, self.errors)
            frame = _with_interval(estimate[:, goal], variance[:, goal], level, "logit")
            return frame.set_index(pd.Index(times, name="time"))

        return self._each(table)

    def difference(self, quantity, *args, between=None, level=0.95, **kwargs):
        """How much higher a quantity is in one group than in another.

        Groups are independent samples. The limits are put together from those of the two groups (Zou and Donner 2008), so that
        a difference of probabilities stays between -1 and 1.

        Parameters
        ----------
        quantity : {"occupancy", "transition_probability", "expected_time", "ever_reach", "cumulative_hazard", "summary"}
            A method of the fit, called with ``*args`` and ``**kwargs``.
        between : (group, group), optional
            The difference is the second minus the first; by default of two groups in their order.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed as the quantity is: ``estimate``, ``std_error``, ``lower``, ``upper``.

        References
        ----------
        G. Y. Zou and A. Donner (2008), Construction of confidence limits about effect measures: a general approach, *Statistics
        in Medicine* 27(10):1693-1702.
        """
        one_of(
            "quantity",
            quantity,
            ("occupancy", "transition_probability", "expected_time", "ever_reach", "cumulative_hazard", "summary"),
        )
        if between is None and len(self.groups) == 2:
            between = self.groups
        if between is None or len(between) != 2 or not set(between) <= set(self.groups):
            raise ValueError(
                f"between= names two groups of {', '.join(map(repr, self.groups)) or 'a fit with groups='}; got {between!r}."
            )
        found = getattr(self, quantity)(*args, level=level, **kwargs)
        first, second = (found.xs(name, level="group") for name in between)
        index = second.index[second.index.isin(first.index)]
        a, b = first.loc[index], second.loc[index]
        estimate = b["estimate"] - a["estimate"]
        down = np.hypot(b["estimate"] - b["lower"], a["upper"] - a["estimate"])
        up = np.hypot(b["upper"] - b["estimate"], a["estimate"] - a["lower"])
        error = np.hypot(a["std_error"], b["std_error"])
        columns = {"estimate": estimate, "std_error": error, "lower": estimate - down, "upper": estimate + up}
        return pd.DataFrame(columns)

    def markov_test(self, landmarks=None, draws=10_000, seed=0):
        r"""Test whether what comes next depends on more than the phase and the time.

        If the process is Markov, then among customers who are in phase :math:`l` at a time :math:`t`, it does not matter where they were
        at an earlier time :math:`s`. For each landmark :math:`s`, phase :math:`q` and kind of move :math:`l \to m`, the log-rank statistic

        .. math:: U = \sum_{t > s} \Bigl( dN^{(q)}_{lm}(t) - Y^{(q)}_l(t) \frac{dN_{lm}(t)}{Y_l(t)} \Bigr)

        compares those who were in :math:`q` at :math:`s` with all others who were under observation then. Its variance is that of the
        customers' contributions; the p-value of the largest :math:`|z|` comes from the joint normal distribution of all of them, so
        that looking many times is paid for. Comparisons with fewer than 5 moves expected on either side are left out.

        Parameters
        ----------
        landmarks : sequence of float, optional
            By default the times by which a tenth, two tenths, ..., nine tenths of the moves had happened.
        draws : int, default 10000
            Of the joint normal distribution; the smallest possible p-value is 1 / (draws + 1).
        seed : int or numpy.random.Generator

        Returns
        -------
        pandas.DataFrame
            Indexed by ``from`` and ``to``, the first row ("any", "any") being the test of all of them together: ``statistic`` (largest
            :math:`|z|`), ``landmark`` and ``phase`` (where it was found), ``comparisons`` (how many were made), ``p_value``.

        Notes
        -----
        A large p-value is no proof: with few customers the test sees little. In R: ``mstate::MarkovTest``, which takes p-values from a
        wild bootstrap.

        References
        ----------
        A. C. Titman and H. Putter (2022), General tests of the Markov property in multi-state models, *Biostatistics*
        23(2):380-396.
        """
        self._forward("the test of the Markov property")
        self._know_customers("the test of the Markov property")
        if landmarks is not None:
            landmarks = self._times(landmarks)
        return self._each(lambda sample: markov.markov_test(sample, self.phases, landmarks, draws, seed))

    # --- figures -------------------------------------------------------------------------------------------------

    def refit(self, rng):
        """The same estimates of as many customers, drawn from these with replacement: one replicate of `crmlab.resampling.bootstrap`.

        A customer is drawn with its whole history; distinct histories are drawn by how many customers have each. Errors of a replicate
        are Greenwood's, which cost nothing.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        MultistateFit

        Raises
        ------
        ValueError
            If the fit was made on counts of stays, which do not say whose stays belong together; or a group has no move in this draw.
        """
        self._know_customers("the bootstrap")
        parts = {name: sample.distinct for name, sample in self._samples.items()}
        count = np.concatenate([count for _, count in parts.values()])
        drawn = rng.multinomial(round(count.sum()), count / count.sum())
        samples, begin = {}, 0
        for name, (sample, known) in parts.items():
            samples[name] = sample.reweighted(drawn[begin : begin + len(known)])
            begin += len(known)
            if not (samples[name].target >= 0).any():
                raise ValueError("nobody moves in this draw.")
        return MultistateFit(self.phases, self.clock, "greenwood", self.group, samples)

    def plot(self, ax=None):
        """The same as `plot_occupancy`."""
        return self.plot_occupancy(ax=ax)

    def plot_occupancy(self, times=None, start=None, since=None, level=0.95, unit="", ax=None):
        """Occupancy over time, a line a phase with its band; groups differ in their lines.

        Parameters
        ----------
        times : sequence of float, optional
            By default at most 200 times over the clock.
        start, since, level
            As in `occupancy`; with ``level=None`` no bands.
        unit : str
            The unit of time, such as ``"week"``, for the label.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        return plots.occupancy(self, times, start, since, level, unit, ax)

    def plot_transitions(self, group=None, at=None, unit="", ax=None):
        """The phases and the moves between them: numbers in each phase, moves and their mean rates.

        Parameters
        ----------
        group : optional
            Which group, if the fit has groups.
        at : float, optional
            Show how many were in each phase at this time; by default how many stays began there or were joined.
        unit : str
            The unit of time, such as ``"week"``, for the labels.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        if self.group is not None and group not in self._samples:
            raise ValueError(f"group= is one of {', '.join(map(repr, self.groups))}; got {group!r}.")
        if at is not None:
            self._times(at)
        return plots.transitions(self, self._samples[group], at, unit, ax)

    # --- how -----------------------------------------------------------------------------------------------------

    def _each(self, table):
        if self.group is None:
            return table(self._samples[None])
        return pd.concat({name: table(sample) for name, sample in self._samples.items()}, names=["group"])

    def _labels(self, numbers):
        return np.array(self.phases, dtype=object)[numbers]

    def _index(self, name):
        return pd.Index(self.phases, name=name)

    def _pairs(self, sample):
        """The kinds of moves that any group shows, from phases in which this one ever was."""
        seen = sum((part.moves.sum(axis=0) > 0) & (sample.exposure > 0)[:, None] for part in self._samples.values())
        return np.nonzero(seen)

    def _place(self, phase, what):
        if phase not in self.phases:
            raise ValueError(f"{what} is one of the phases {', '.join(map(repr, self.phases))}; got {phase!r}.")
        return self.phases.index(phase)

    def _times(self, times, since=None):
        found = as_numbers("a time", times)
        grid = next(iter(self._samples.values())).grid
        first = grid[0] if since is None else as_numbers("since=", since)[0]
        last = max(grid[sample.end].max() for sample in self._samples.values())
        if not grid[0] <= first <= last:
            raise ValueError(
                f"since= lies between {grid[0]:g} and {last:g}, when customers were observed; got {since!r}."
            )
        if not len(found) or not ((found >= first) & (found <= last)).all():
            raise ValueError(
                f"times lie between {first:g} and {last:g}, the last time at which a customer was observed: beyond it nothing is known; "
                f"got {times!r}."
            )
        return found

    def _forward(self, what):
        if self.clock == "reset":
            raise ValueError(f"{what} needs clock='forward': on the reset clock no phase follows another.")

    def _know_customers(self, what):
        if any(sample.customer is None for sample in self._samples.values()):
            raise ValueError(
                f"{what} follows customers, and a table of counts does not say whose stays belong together: fit the stays with their customer_id."
            )

    def _chain(self, sample, start, stopped=()):
        if self.clock == "forward":
            return aj.Chain(sample, stopped)
        if isinstance(start, int | np.integer) and start not in self.phases:
            here = start
        elif start is None or isinstance(start, Mapping | pd.Series):
            raise ValueError(
                "on the reset clock start= names one phase, whose stays all begin at 0; phases after it begin anew, and are not "
                "followed. Take clock='forward' to follow customers through them."
            )
        else:
            here = self._place(start, "start=")
        return aj.Chain(sample, tuple({*range(len(self.phases))} - {here} | {*stopped}))

    def _start(self, sample, start, since):
        first = 0 if since is None else int(np.searchsorted(sample.times, since, "right"))
        if start is None:
            seen = sample.present(since)
            if not seen.sum():
                raise ValueError(
                    f"nobody was under observation at since={since!r}: say where customers start with start=."
                )
            here = sample.beginning if since is None else np.searchsorted(sample.grid, since, "right") - 1
            return aj.Start(seen / seen.sum(), first, seen.sum(), here)
        if isinstance(start, Mapping | pd.Series):
            shares = np.zeros(len(self.phases))
            for name, share in start.items():
                shares[self._place(name, "start=")] = share
            if not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-8:
                raise ValueError(f"start= gives shares that sum to 1; they sum to {shares.sum():g}.")
            return aj.Start(shares, first)
        return aj.Start(np.eye(len(self.phases))[self._place(start, "start=")], first)

    def _probabilities(self, chain, start, times, level, errors):
        """Estimates and variances, (times, phases); the variances are not computed if nobody wants them."""
        times = np.asarray(times, dtype=float)
        estimate, variance = aj.path(chain, start, chain.until(times), None if level is None else errors)
        unknown = times > chain.sample.grid[chain.sample.end].max()
        estimate[unknown] = np.nan
        return estimate, np.full_like(estimate, np.nan) if variance is None else np.where(
            unknown[:, None], np.nan, variance
        )


def _with_interval(estimate, variance, level, scale, whole=1.0):
    """Estimates with errors and limits that are symmetric on a scale: "log", or "logit" of the share of a whole."""
    z = normal_quantile(level)
    estimate = np.asarray(estimate, dtype=float)
    error = np.sqrt(np.maximum(variance, 0))
    share = estimate / whole if whole else estimate
    inside = (share > 1e-12) & (error > 1e-12 * whole)
    if scale == "logit":
        inside &= share < 1 - 1e-12
        share, relative = np.where(inside, share, 0.5), np.where(inside, error / whole if whole else 0, 0)
        half = z * relative / (share * (1 - share))
        lower, upper = (whole * special.expit(special.logit(share) + sign * half) for sign in (-1, 1))
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.exp(np.where(inside, z * error / np.where(inside, estimate, 1), 0))
        lower, upper = estimate / factor, estimate * factor
    columns = {"estimate": estimate, "std_error": error, "lower": lower, "upper": upper}
    columns |= {name: np.where(inside, columns[name], estimate) for name in ("lower", "upper")}
    return pd.DataFrame(columns)
