r"""What follows from hazards: probabilities of phases over time, times in them, and how errors carry over.

At each event time a customer in phase :math:`i` moves to :math:`m` with probability :math:`p_{im}`. Cox's model gives hazards
:math:`\lambda_m`, from which :math:`p_m = \lambda_m (1 - e^{-\Lambda}) / \Lambda` with :math:`\Lambda = \sum_m \lambda_m`: nobody's probabilities sum to more than 1. Everything asked of
a fit is linear in the probabilities of phases, :math:`q = p_0 F_0`, so its derivative by a probability is known,

.. math:: \frac{\partial q}{\partial p_{im}(k)} = \pi_i(k) \, \bigl(F_k[m] - F_k[i]\bigr),

with :math:`\pi(k)` where the customer is just before and :math:`F_k` what is still to come after the k-th event time. The delta method does the rest.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

__all__ = ["Path", "Sensitivity", "ObservedPart", "discounted_time"]


def _share(total):
    """(1 - e^-x) / x and its derivative."""
    small = total < 1e-5
    safe = np.where(small, 1.0, total)
    value = np.where(small, 1 - total / 2 + total**2 / 6, -np.expm1(-safe) / safe)
    slope = np.where(small, -0.5 + total / 3, (np.exp(-safe) - value) / safe)
    return value, slope


def moves_of(hazards):
    """Probabilities of moves from hazards (times, exits), and their derivatives (times, exits, exits)."""
    value, slope = _share(hazards.sum(axis=1))
    jacobian = hazards[:, :, None] * slope[:, None, None] + np.eye(hazards.shape[1]) * value[:, None, None]
    return hazards * value[:, None], jacobian


def scaled(p, factors):
    """Probabilities of moves if hazards are multiplied by `factors`, and their derivatives by those without.

    Where everybody leaves there is no hazard to speak of: the ways out are then taken in proportion to factor times probability.
    """
    total = p.sum(axis=1)
    everybody = total > 1 - 1e-12
    inner = np.where(everybody | (total <= 0), 0.5, total)
    much = np.where(total > 0, -np.log1p(-inner) / inner, 1.0)  # hazard by probability
    turn = np.where(total > 0, (1 / (1 - inner) - much) / inner, 0.5)
    eye = np.eye(p.shape[1])
    hazard = factors * p * much[:, None]
    found, jacobian = moves_of(hazard)
    by_p = factors[:, None] * (eye * much[:, None, None] + p[:, :, None] * turn[:, None, None])
    jacobian = jacobian @ by_p
    if everybody.any():
        part = factors * p[everybody]
        whole = part.sum(axis=1, keepdims=True)
        share = part / whole
        found[everybody] = share
        jacobian[everybody] = (eye - share[:, :, None]) * factors / whole[:, :, None]
    return found, jacobian


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How quantities depend on the coefficients, and on the noise of each part's baseline."""

    coefficients: np.ndarray  # (coefficients, quantities)
    noise: tuple
    unknown: bool = False  # whether they hang on an effect that has run away

    def minus(self, other):
        """Of the difference of two quantities of the same fit: what they share falls away."""
        noise = tuple(a - b for a, b in zip(self.noise, other.noise))
        return Sensitivity(self.coefficients - other.coefficients, noise, self.unknown or other.unknown)

    def times(self, matrix):
        """Of linear combinations of the quantities."""
        return Sensitivity(self.coefficients @ matrix, tuple(part @ matrix for part in self.noise), self.unknown)


@dataclass(frozen=True, eq=False)
class Path:
    """Transition probabilities of one kind of customer at each event time.

    Parameters
    ----------
    parts : list of CoxPart, GroupedPart or ObservedPart
    size : int
        Number of phases.
    grid : array
    x : array
        The customer's columns of the formula.
    coefficients : int
        Of the whole fit.
    stopped : tuple of int
        Phases that are never left.
    factors : dict of (int, int) to float
        What hazards are multiplied by.
    """

    parts: list
    size: int
    grid: np.ndarray
    x: np.ndarray
    coefficients: int
    stopped: tuple = ()
    factors: dict = field(default_factory=dict)
    unknown: bool = False

    @cached_property
    def where(self):
        """Positions in the grid at which anybody moved."""
        return np.unique(np.concatenate([part.where for part in self.parts]))

    @property
    def times(self):
        """At which anybody moved."""
        return self.grid[self.where]

    def until(self, when):
        """How many event times lie at or before a time."""
        return np.searchsorted(self.times, when, "right")

    @cached_property
    def _origins(self):
        """For each phase that is left: its parts with their places, its targets, probabilities, and the chain of derivatives."""
        found = []
        for origin in sorted({part.origin for part in self.parts} - set(self.stopped)):
            mine = [number for number, part in enumerate(self.parts) if part.origin == origin]
            targets = [target for number in mine for target in self.parts[number].targets]
            raw, places, column = np.zeros((len(self.where), len(targets))), [], 0
            for number in mine:
                part = self.parts[number]
                rows = np.searchsorted(self.where, part.where)
                exits = slice(column, column + len(part.targets))
                raw[rows, exits] = part.increments(self.x)
                places.append((number, rows, exits))
                column = exits.stop
            chain = None
            if self.parts[mine[0]].hazards:
                raw, chain = moves_of(raw)
            factors = np.array([self.factors.get((origin, target), 1.0) for target in targets])
            if (factors != 1).any():
                raw, more = scaled(raw, factors)
                chain = more if chain is None else more @ chain
            found.append((origin, targets, raw, chain, places))
        return found

    @cached_property
    def steps(self):
        """Transition matrix at each event time: (times, from, to)."""
        steps = np.zeros((len(self.where), self.size, self.size))
        for origin, targets, p, _, _ in self._origins:
            steps[:, origin, targets] = p
        each = np.arange(self.size)
        steps[:, each, each] = 1 - steps.sum(axis=2)
        return steps

    def before(self, start, first):
        """Probabilities of phases just before each event from `first` on, and after the last."""
        rows = np.empty((len(self.where) - first + 1, self.size))
        rows[0] = start
        for number in range(first, len(self.where)):
            rows[number - first + 1] = rows[number - first] @ self.steps[number]
        return rows

    def at_times(self, first, until):
        """F for the probability of each phase after so many events each: (events - first + 1, phases, len(until) * phases)."""
        until = np.maximum(until, first)
        last, size = until.max(), self.size
        ahead = np.zeros((last - first + 1, size, len(until) * size))
        stops = set(until.tolist())
        for number in range(last, first - 1, -1):
            if number < last:
                np.matmul(self.steps[number], ahead[number - first + 1], out=ahead[number - first])
            if number in stops:
                here = np.flatnonzero(until == number)[:, None] * size + np.arange(size)
                ahead[number - first, np.arange(size), here] += 1
        return ahead

    def in_time(self, first, since, horizon, discount=0.0):
        """F for the time in each phase between two times, discounted to the first of them."""
        last = max(int(self.until(horizon)), first)
        stops = np.concatenate([[since], self.times[first:last], [horizon]]) - since
        spans = np.diff(discounted_time(stops, discount))
        ahead = np.eye(self.size) * spans[:, None, None]
        for number in range(last - first - 1, -1, -1):
            ahead[number] += self.steps[first + number] @ ahead[number + 1]
        return ahead

    def estimate(self, start, ahead):
        """The quantities."""
        return start @ ahead[0]

    def sensitivity(self, start, first, ahead):
        """Their derivatives."""
        rows = self.before(start, first)
        quantities = ahead.shape[2]
        coefficients = np.zeros((self.coefficients, quantities))
        noise = [np.zeros((len(part.where), len(part.targets), quantities)) for part in self.parts]
        stop = len(ahead) - 1
        for origin, targets, _, chain, places in self._origins:
            derivative = np.zeros((len(self.where), len(targets), quantities))
            gain = ahead[1:, targets] - ahead[1:, [origin]]
            derivative[first : first + stop] = rows[:stop, origin, None, None] * gain
            if chain is not None:
                derivative = np.einsum("kml,kmn->knl", derivative, chain)
            for number, at, exits in places:
                part = self.parts[number]
                direct, noise[number] = part.sensitivity(self.x, derivative[at, exits])
                np.add.at(coefficients, part.columns, direct)
        return Sensitivity(coefficients, tuple(noise), self.unknown)


def discounted_time(stops, discount):
    """Discounted time from 0 to each stop: the integral of (1 + discount) ** -u."""
    rate = np.log1p(discount)
    return stops if rate == 0 else -np.expm1(-rate * stops) / rate


class ObservedPart:
    """One phase of a fit without covariates: shares of those at risk, with the multinomial errors of Greenwood."""

    hazards = False

    def __init__(self, sample, origin):
        moves, at_risk = sample.moves[:, origin], sample.at_risk[:, origin]
        some = np.flatnonzero(moves.any(axis=1))
        self.origin, self.targets = origin, list(np.flatnonzero(moves.any(axis=0)))
        self.where, self.y = sample.events[some], at_risk[some]
        self.p = moves[some][:, self.targets] / self.y[:, None]
        self.columns = np.zeros((len(self.targets), 0), int)

    def increments(self, x):
        """Probability of each move at each time."""
        return self.p

    def sensitivity(self, x, derivative):
        """There are no coefficients: all is noise."""
        return np.zeros((len(self.targets), 0, derivative.shape[2])), derivative

    def noise_variance(self, noise):
        """Variance of a quantity."""
        mean = np.einsum("km,kml->kl", self.p, noise)
        return np.einsum("kl,k->l", np.einsum("km,kml->kl", self.p, noise**2) - mean**2, 1 / self.y)

    def influence(self, pattern, begin, end, target, weights, noise):
        """What a stay of each row adds."""
        first, last = np.searchsorted(self.where, begin, "right"), np.searchsorted(self.where, end, "right") - 1
        mean = np.einsum("km,kml->kl", self.p, noise) / self.y[:, None]
        drop = np.concatenate([np.zeros((1, noise.shape[2])), mean.cumsum(axis=0)])
        stop = np.maximum(last + 1, first)
        found = drop[first] - drop[stop]
        for place, goal in enumerate(self.targets):
            mine = np.flatnonzero(target == goal)
            found[mine] += noise[last[mine], place] / self.y[last[mine], None]
        return found
