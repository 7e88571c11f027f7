"""Does what comes next depend on more than the phase and the time? Log-rank tests from landmarks."""

import numpy as np
import pandas as pd

__all__ = ["markov_test"]

_FEWEST = 5  # moves expected on either side, below which a comparison says nothing
_BLOCK = 8_000_000  # numbers held at once


def markov_test(sample, phases, landmarks=None, draws=10_000, seed=0):
    """The tests behind `crmlab.lifecycle.MultistateFit.markov_test`, for one group of customers."""
    origin, target, begin, end = sample.kinds
    table, weight = sample.histories
    pairs = np.nonzero(sample.moves.sum(axis=0))
    landmarks = _quantiles(sample) if landmarks is None else np.unique(np.asarray(landmarks, dtype=float))
    if not len(landmarks):
        raise ValueError("landmarks= is empty: it takes the times at which customers are told apart by their phase.")
    owner = np.repeat(np.arange(len(weight)), np.diff(table.indptr))
    kind = table.indices
    looks = [_Look(sample, when, owner, kind, weight, pairs) for when in landmarks]
    names = [name for look in looks for name in look.names]
    if not names:
        raise ValueError(
            f"too few customers to test: for no kind of move and none of the times {', '.join(f'{t:g}' for t in landmarks)} are {_FEWEST} moves "
            "expected of those in some phase and of the others. Fix: name other times with landmarks=, or follow more customers."
        )
    score, spread = np.zeros(len(names)), np.zeros((len(names), len(names)))
    block = max(1, _BLOCK // len(names))
    for first in range(0, len(weight), block):
        last = min(first + block, len(weight))
        rows = slice(table.indptr[first], table.indptr[last])
        whole = np.hstack([look.influence(owner[rows], kind[rows], first, last) for look in looks])
        score += weight[first:last] @ whole
        spread += (whole * weight[first:last, None]).T @ whole
    error = np.sqrt(np.diag(spread))
    z = np.abs(score) / error
    # How far the largest of so many dependent statistics goes by chance.
    values, vectors = np.linalg.eigh(spread / np.outer(error, error))
    root = vectors * np.sqrt(np.maximum(values, 0))
    chance = np.abs(np.random.default_rng(seed).standard_normal((draws, len(z))) @ root.T)
    frame = pd.DataFrame(names, columns=["pair", "landmark", "phase"])
    result = []
    for pair in (None, *range(len(pairs[0]))):
        mine = np.flatnonzero(frame["pair"] == pair) if pair is not None else np.arange(len(z))
        row = (
            {"from": "any", "to": "any"}
            if pair is None
            else {k: phases[v[pair]] for k, v in zip(("from", "to"), pairs)}
        )
        if len(mine):
            best = mine[np.argmax(z[mine])]
            above = np.sum(chance[:, mine].max(axis=1) >= z[best])
            row |= {"statistic": z[best], "landmark": frame["landmark"][best], "phase": phases[frame["phase"][best]]}
            row |= {"comparisons": len(mine), "p_value": (1 + above) / (1 + draws)}
        else:
            row |= {"statistic": np.nan, "landmark": np.nan, "phase": None, "comparisons": 0, "p_value": np.nan}
        result.append(row)
    return pd.DataFrame(result).set_index(["from", "to"])


class _Look:
    """All comparisons at one landmark: for each kind of move and phase, those who were in the phase against the others."""

    def __init__(self, sample, when, owner, kind, weight, pairs):
        self.sample, self.pairs = sample, pairs
        size, count = len(sample.phases), len(sample.events)
        self.here = np.searchsorted(sample.grid, when, "right") - 1
        self.first = np.searchsorted(sample.times, when, "right")
        origin, target, begin, end = sample.kinds
        # The phase of each history at the landmark; who was not under observation takes no part.
        self.at = np.full(len(weight), -1)
        covers = (begin[kind] <= self.here) & (end[kind] > self.here)
        self.at[owner[covers]] = origin[kind[covers]]
        keep = (self.at[owner] >= 0) & (end[kind] > self.here)
        owner, kind = owner[keep], kind[keep]
        enter, leave = self._span(kind)
        cell = origin[kind] * size + self.at[owner]

        length = count - self.first + 1
        flows = [
            np.bincount(where * size * size + cell, weight[owner], length * size * size).reshape(length, size, size)
            for where in (enter, leave)
        ]
        # At risk at event k: entered at or before it (enter <= k) and not left before it (leave > k).
        at_risk = (flows[0] - flows[1]).cumsum(axis=0)[:-1]
        total = at_risk.sum(axis=2)
        share = at_risk / np.where(total > 0, total, 1)[:, :, None]
        i, j = pairs
        moved = (target[kind] >= 0) & (leave > 0)
        code = (leave[moved] - 1) * size * size + origin[kind[moved]] * size + target[kind[moved]]
        moves = np.bincount(code, weight[owner[moved]], (length - 1) * size * size).reshape(-1, size, size)
        jump = moves[:, i, j] / np.where(total > 0, total, 1)[:, i]
        self.share = share[:, i, :]
        self.hazard = _from_zero(jump)
        self.expected = _from_zero(jump[:, :, None] * self.share)
        inside = (jump[:, :, None] * at_risk[:, i, :]).sum(axis=0)
        outside = moves[:, i, j].sum(axis=0)[:, None] - inside
        self.used = np.nonzero((inside >= _FEWEST) & (outside >= _FEWEST))
        self.names = [(pair, when, phase) for pair, phase in zip(*self.used)]

    def _span(self, kind):
        """The event times after the landmark before which a stay begins and ends, as counts."""
        seen, (_, _, begin, end) = self.sample.events_until, self.sample.kinds
        return np.maximum(seen[begin[kind]] - self.first, 0), seen[end[kind]] - self.first

    def influence(self, owner, kind, first, last):
        """What each history adds to each statistic: its moves less those expected, seen from the mean of those at risk."""
        pair, phase = self.used
        origin, target, begin, end = self.sample.kinds
        whole = np.zeros((last - first, len(pair)))
        keep = (self.at[owner] >= 0) & (end[kind] > self.here)
        owner, kind = owner[keep], kind[keep]
        enter, leave = self._span(kind)
        for number, (p, q) in enumerate(zip(pair, phase)):
            mine = origin[kind] == self.pairs[0][p]
            who, a, b = owner[mine], enter[mine], leave[mine]
            inside = self.at[who] == q
            value = self.expected[b, p, q] - self.expected[a, p, q] - inside * (self.hazard[b, p] - self.hazard[a, p])
            moved = target[kind[mine]] == self.pairs[1][p]
            value[moved] += inside[moved] - self.share[b[moved] - 1, p, q]
            whole[:, number] = np.bincount(who - first, value, last - first)
        return whole


def _from_zero(jumps):
    return np.concatenate([np.zeros((1, *jumps.shape[1:])), jumps.cumsum(axis=0)])


def _quantiles(sample):
    """Times by which a tenth, ..., nine tenths of the moves had happened."""
    moves = sample.moves.sum(axis=(1, 2)).cumsum()
    return np.unique(sample.times[np.searchsorted(moves, moves[-1] * np.arange(1, 10) / 10)])
