r"""The arithmetic of multi-state estimates, on counts by time.

Everything asked of a fit is a linear function of the row vector of probabilities :math:`p(u)`, so each has the same form. Write
:math:`M_k = I + dA_k` for the transitions at the k-th event time, :math:`F_k` for what is still to come after it (the product of
later :math:`M`, or its integral for an expected time), :math:`p_k` for the probabilities just before it, :math:`Y_{ik}` for the
customers at risk. Then an estimate is :math:`p_0 F_0`, and to first order its error is

.. math:: \sum_k \sum_i \frac{p_{ik}}{Y_{ik}} \, \varepsilon_{ik} F_k,

with :math:`\varepsilon_{ik}` the row of observed minus expected moves out of phase i. Greenwood: these rows are independent and
multinomial. Jackknife: they are summed over each customer's history first, then squared.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Chain", "Start", "path", "integral", "linear", "hazards", "hazard_variance"]

_BLOCK = 8_000_000  # numbers held at once


@dataclass(frozen=True, eq=False)
class Chain:
    """Transition probabilities at each event time of a sample; `stopped` phases are never left."""

    sample: object
    stopped: tuple = ()

    @cached_property
    def steps(self):
        """M, (times, from, to); its rows sum to 1."""
        moves, at_risk = self.sample.moves.copy(), self.sample.at_risk
        moves[:, list(self.stopped), :] = 0
        # Where nobody is at risk nobody moves: such a row is that of the identity. Weights that are no whole numbers may leave
        # a trace of those who have left.
        anybody = at_risk > 0
        at_risk = np.where(anybody, at_risk, 1)
        steps = moves / at_risk[:, :, None]
        diagonal = np.arange(steps.shape[1])
        stay = np.maximum(at_risk - moves.sum(axis=2), 0) / at_risk
        steps[:, diagonal, diagonal] = np.where(anybody, stay, 1)
        return steps

    @property
    def times(self):
        """At which somebody moved."""
        return self.sample.times

    def until(self, when, side="right"):
        """How many event times lie at or before a time."""
        return np.searchsorted(self.times, when, side)

    def before(self, start, first, last):
        """Probabilities just before events first, ..., last - 1, and after the last of them."""
        rows = np.empty((last - first + 1, len(start)))
        rows[0] = start
        for number in range(first, last):
            rows[number - first + 1] = rows[number - first] @ self.steps[number]
        return rows


@dataclass(frozen=True, eq=False)
class Start:
    """Where the customers are at the beginning: given (`size` None), or the shares seen among `size` of them."""

    shares: np.ndarray
    first: int  # number of event times that lie before
    size: float | None = None
    position: int | None = None  # of the beginning in the grid, if the shares are those seen then


def path(chain, start, until, errors=None):
    """Probabilities after so many event times each, and their variances (None without errors): (targets, phases).

    From each target to the next: what is known at the one is carried on by the transitions in between, and what these add comes
    on top. So each event time is visited once, however many targets there are.
    """
    size = chain.steps.shape[1]
    stops, place = np.unique(np.maximum(until, start.first), return_inverse=True)
    if errors is None:
        return chain.before(start.shares, start.first, stops[-1])[stops - start.first][place], None
    shares, first = start.shares, start.first
    estimate, variance = np.empty((2, len(stops), size))
    covariance = (np.diag(shares) - np.outer(shares, shares)) / start.size if start.size else np.zeros((size, size))
    influence = _at_start(chain, start) if errors == "jackknife" else None
    kept, done = [], 0
    for number, stop in enumerate(stops):
        rows = chain.before(shares, first, stop)
        ahead = _products(chain, first, stop)
        if errors == "greenwood":
            covariance = ahead[0].T @ covariance @ ahead[0] + _covariance(chain, rows, first, ahead)
            variance[number] = np.maximum(np.diag(covariance), 0)
        else:
            influence = influence @ ahead[0] + _influence(chain, rows, first, ahead)
            kept.append(influence)
            if len(kept) * influence.size > 2 * _BLOCK or number == len(stops) - 1:
                variance[done : number + 1] = chain.sample.spread(np.hstack(kept)).reshape(-1, size)
                kept, done = [], number + 1
        estimate[number] = shares = rows[-1]
        first = stop
    return estimate[place], variance[place]


def linear(chain, start, ahead, errors):
    """The estimate start x F_0 and its variance."""
    rows = chain.before(start.shares, start.first, start.first + len(ahead) - 1)
    if errors == "jackknife":
        influence = _at_start(chain, start) @ ahead[0] + _influence(chain, rows, start.first, ahead)
        return start.shares @ ahead[0], chain.sample.spread(influence)
    covariance = _covariance(chain, rows, start.first, ahead)
    if start.size:
        shares = np.diag(start.shares) - np.outer(start.shares, start.shares)
        covariance = covariance + ahead[0].T @ shares @ ahead[0] / start.size
    return start.shares @ ahead[0], np.maximum(np.diag(covariance), 0)


def _products(chain, first, last):
    """F for the probabilities after `last` events: the product of the steps that are still to come."""
    size = chain.steps.shape[1]
    ahead = np.empty((last - first + 1, size, size))
    ahead[-1] = np.eye(size)
    for number in range(last - 1, first - 1, -1):
        np.matmul(chain.steps[number], ahead[number - first + 1], out=ahead[number - first])
    return ahead


def integral(chain, first, since, horizon):
    """F for the time in each phase from since to horizon."""
    size = chain.steps.shape[1]
    last = max(int(chain.until(horizon)), first)
    ahead = np.empty((last - first + 1, size, size))
    stops = np.concatenate([[since], chain.times[first:last], [horizon]])
    for number in range(last - first, -1, -1):
        ahead[number] = np.eye(size) * (stops[number + 1] - stops[number])
        if number < last - first:
            ahead[number] += chain.steps[first + number] @ ahead[number + 1]
    return ahead


def _covariance(chain, rows, first, ahead):
    """What the event times add, from counts: the moves out of a phase are multinomial, given how many could move."""
    count = len(ahead) - 1
    steps = chain.steps[first : first + count]
    weight = _per_customer(chain, rows, first) * rows[:-1]
    # Sum over times and phases of weight x F' (diag(q) - q q') F, with q the row of the step.
    after = ahead[1:].reshape(-1, ahead.shape[2])
    mean = (steps @ ahead[1:]).reshape(after.shape)
    reached = np.matmul(weight[:, None, :], steps).reshape(-1, 1)
    return after.T @ (reached * after) - mean.T @ (weight.reshape(-1, 1) * mean)


def _influence(chain, rows, first, ahead):
    """What the event times add to each mark's influence; see `crmlab.lifecycle.stays.Sample.marks`."""
    sample, count = chain.sample, len(ahead) - 1
    weight = _per_customer(chain, rows, first)
    expected = np.zeros_like(ahead)
    drift = chain.steps[first : first + count] - np.eye(ahead.shape[1])
    np.cumsum(weight[:, :, None] * (drift @ ahead[1:]), axis=0, out=expected[1:])
    left, moved_to, begun, when = sample.marks
    position = sample.events_until[when]
    step, event = np.clip(position - first, 0, count), position - 1 - first
    # What a stay has gathered of expected moves: that until its end less that until its beginning.
    leaves, begins = left >= 0, begun >= 0
    influence = np.zeros((len(when), ahead.shape[2]))
    influence[leaves] -= expected[step[leaves], left[leaves]]
    influence[begins] += expected[step[begins], begun[begins]]
    moved = np.flatnonzero((moved_to >= 0) & (event >= 0) & (event < count) & ~np.isin(left, chain.stopped))
    i, j, k = left[moved], moved_to[moved], event[moved]
    influence[moved] += weight[k, i][:, None] * (ahead[k + 1, j] - ahead[k + 1, i])
    return influence


def _at_start(chain, start):
    """Each mark's influence on the shares at the start: present then is who had begun by then and not ended by then."""
    left, _, begun, when = chain.sample.marks
    influence = np.zeros((len(when), len(start.shares)))
    if start.size:
        own = (np.eye(len(start.shares)) - start.shares) / start.size
        for phase, sign in ((begun, 1), (left, -1)):
            chosen = (phase >= 0) & (when <= start.position)
            influence[chosen] += sign * own[phase[chosen]]
    return influence


def _per_customer(chain, rows, first):
    """p / Y just before each event."""
    at_risk = chain.sample.at_risk[first : first + len(rows) - 1]
    return np.divide(rows[:-1], at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)


def hazards(sample, pairs, until):
    """Cumulative hazards (pairs, targets) after so many events."""
    origin, target = pairs
    jump = sample.moves[:, origin, target] / _someone(sample, origin)
    return np.concatenate([np.zeros((1, len(origin))), jump.cumsum(axis=0)])[until].T


def hazard_variance(sample, pairs, until, errors):
    """Variance of the cumulative hazards: binomial at each time, or summed over customers first."""
    origin, target = pairs
    at_risk = _someone(sample, origin)
    moves = sample.moves[:, origin, target]
    if errors == "greenwood":
        jump = moves * (at_risk - moves) / at_risk**3
        return np.concatenate([np.zeros((1, len(origin))), jump.cumsum(axis=0)])[until].T
    expected = np.concatenate([np.zeros((1, len(origin))), (moves / at_risk**2).cumsum(axis=0)])
    left, moved_to, begun, when = sample.marks
    seen = sample.events_until[when]
    variance = np.empty((len(origin), len(until)))
    per = max(1, 4 * _BLOCK // max(1, len(when)))
    for pair, (i, j) in enumerate(zip(origin, target)):
        ends, begins, moved = left == i, begun == i, (left == i) & (moved_to == j)
        for first in range(0, len(until), per):
            stop = until[first : first + per]
            gathered = expected[:, pair][np.minimum(seen[:, None], stop)]
            influence = gathered * (begins.astype(float) - ends)[:, None]
            influence[moved] += (seen[moved, None] <= stop) / at_risk[seen[moved] - 1, pair][:, None]
            variance[pair, first : first + per] = sample.spread(influence)
    return variance


def _someone(sample, origin):
    """Customers at risk, 1 where nobody is, since then nobody moves either."""
    at_risk = sample.at_risk[:, origin]
    return np.where(at_risk > 0, at_risk, 1)
