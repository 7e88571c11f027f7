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

__all__ = ["Chain", "Start", "probabilities", "integral", "greenwood", "jackknife", "hazards", "hazard_variance"]

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
        # Where nobody is at risk nobody moves: such a row is that of the identity.
        stay, at_risk = at_risk - moves.sum(axis=2) + (at_risk == 0), np.where(at_risk > 0, at_risk, 1)
        steps = moves / at_risk[:, :, None]
        diagonal = np.arange(steps.shape[1])
        steps[:, diagonal, diagonal] = stay / at_risk
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


def probabilities(chain, first, until):
    """F for the probabilities after so many events each: (events + 1, phases, targets x phases), in blocks of targets."""
    size = chain.steps.shape[1]
    identity = np.eye(size)[:, None, :]
    until = np.asarray(until)
    last = max(int(until.max()), first)
    per = max(1, _BLOCK // ((last - first + 1) * size * size))
    for begin in range(0, len(until), per):
        part = until[begin : begin + per]
        ahead = np.zeros((last - first + 1, size, len(part), size))
        stops = set(part.tolist())
        for number in range(last, first - 1, -1):
            now = ahead[number - first]
            if number < last:
                np.matmul(chain.steps[number], ahead[number - first + 1].reshape(size, -1), out=now.reshape(size, -1))
            if number in stops:
                now[:, part == number, :] = identity
        yield slice(begin, begin + per), ahead.reshape(last - first + 1, size, -1)


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


def greenwood(chain, start, ahead):
    """Variance from counts: at each time the moves out of a phase are multinomial, given how many could move."""
    count = len(ahead) - 1
    first = start.first
    steps = chain.steps[first : first + count]
    weight = _weight(chain, start, count)
    after = ahead[1:]
    variance = np.zeros(ahead.shape[2])
    block = max(1, _BLOCK // ahead[0].size)
    for begin in range(0, count, block):
        part = slice(begin, begin + block)
        mean = steps[part] @ after[part]
        square = steps[part] @ np.square(after[part])
        p = weight[1][part]
        variance += np.einsum("ki,kil->l", weight[0][part] * p, np.maximum(square - np.square(mean), 0))
    if start.size:
        mean = start.shares @ ahead[0]
        variance += np.maximum(start.shares @ np.square(ahead[0]) - np.square(mean), 0) / start.size
    return variance


def jackknife(chain, start, ahead):
    """Variance from customers: the infinitesimal jackknife, a customer with its whole history left out a little."""
    sample = chain.sample
    count, first = len(ahead) - 1, start.first
    size = ahead.shape[1]
    weight = _weight(chain, start, count)[0]
    after = ahead[1:]
    expected = np.zeros_like(ahead)
    drift = chain.steps[first : first + count] - np.eye(size)
    np.cumsum(weight[:, :, None] * (drift @ after), axis=0, out=expected[1:])
    origin, target, after_, when = sample.marks
    position = sample.events_until[when]
    step = np.clip(position - first, 0, count)
    event = position - 1 - first
    moved = (target >= 0) & (event >= 0) & (event < count) & ~np.isin(origin, chain.stopped)
    leaves, begins = origin >= 0, after_ >= 0
    seen_at_start = when <= start.position if start.size else None
    variance = np.empty(ahead.shape[2])
    per = max(1, 4 * _BLOCK // max(1, len(origin)))
    for begin in range(0, len(variance), per):
        part = slice(begin, begin + per)
        influence = np.zeros((len(origin), len(variance[part])))
        # What a stay has gathered of expected moves: that until its end less that until its beginning.
        influence[leaves] -= expected[step[leaves], origin[leaves], part]
        influence[begins] += expected[step[begins], after_[begins], part]
        i, k = origin[moved], event[moved]
        influence[moved] += weight[k, i][:, None] * (after[k, target[moved], part] - after[k, i, part])
        if start.size:
            value = (ahead[0][:, part] - start.shares @ ahead[0][:, part]) / start.size
            # Present at the start: begun by then less ended by then.
            for chosen, phase, sign in ((begins, after_, 1), (leaves, origin, -1)):
                chosen = chosen & seen_at_start
                influence[chosen] += sign * value[phase[chosen]]
        variance[part] = sample.spread(influence)
    return variance


def _weight(chain, start, count):
    """p / Y and p, just before each event."""
    first = start.first
    p = chain.before(start.shares, first, first + count)[:-1]
    at_risk = chain.sample.at_risk[first : first + count]
    return np.divide(p, at_risk, out=np.zeros_like(p), where=at_risk > 0), p


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
