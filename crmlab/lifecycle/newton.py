"""Newton's method for a likelihood that is a sum of parts which share coefficients."""

import numpy as np
from scipy import linalg

__all__ = ["maximise"]


def maximise(parts, size, steps=60):
    """Newton's method: coefficients, log-likelihood, information there and at the start, and whether the score vanished."""
    theta, states = np.zeros(size), [part.start() for part in parts]

    def evaluate(theta, states):
        loglik, score, information, advances = 0.0, np.zeros(size), np.zeros((size, size)), []
        own = 0.0
        for part, state in zip(parts, states):
            value, u, v, advance, decrement = part.evaluate(theta, state)
            loglik, own = loglik + value, own + decrement
            at = part.columns.ravel()
            np.add.at(score, at, u.sum(axis=0))
            np.add.at(information, (at[:, None], at[None, :]), v.sum(axis=0))
            advances.append(advance)
        return loglik, score, information, advances, own

    now = evaluate(theta, states)
    first, converged = None, False
    for _ in range(steps):
        loglik, score, information, advances, own = now
        # Once the constants fit customers who are all alike, this is the information at no effect.
        first = information if first is None else first
        step = _solve(information, score)
        gain = score @ step + own
        moves, length = [advance(step) for advance in advances], 1.0
        for _ in range(30):
            there = theta + length * step
            other = [None if a is None else a + length * b for a, b in zip(states, moves)]
            new = evaluate(there, other)
            if np.isfinite(new[0]) and new[0] >= loglik - 1e-11 * (1 + abs(loglik)):
                break
            length /= 2
        theta, states, now = there, other, new
        # Newton's steps square the error: after one that promised so little there is none left.
        if gain < 1e-9:
            converged = True
            break
    for part, state in zip(parts, states):
        part.settle(theta, state)
    return theta, now[0], now[2], first, converged


def _solve(information, score):
    if not len(score):
        return score
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    try:
        factor = linalg.cho_factor(information / np.outer(scale, scale))
        return linalg.cho_solve(factor, score / scale) / scale
    except linalg.LinAlgError:
        return linalg.lstsq(information, score)[0]
