"""The last steps to a maximum, and what to say where there is none."""

import numpy as np
from scipy import linalg

__all__ = ["settle", "inverse"]


def settle(at, value, gradient, information, reach, small):
    """Newton's steps from where an optimiser stopped, and the step itself where it never gets small.

    At a maximum the step is next to nothing. Where the likelihood rises for ever with an effect (separation), gradient and information
    fade alike, so that every step still moves a logit by about 1, however small the gradient is. That does not depend on units.

    Parameters
    ----------
    at : numpy.ndarray
        Parameters, in units that make their columns comparable.
    value, gradient, information : callable
        The log-likelihood, its gradient, minus its Hessian.
    reach : callable
        The most that a step changes a logit of the model.
    small : float
        Gradients below it are those of a place where an optimiser would stop.

    Returns
    -------
    at, information : numpy.ndarray
    endless : numpy.ndarray or None
        The step along which there is no maximum.
    """
    before = np.inf
    matrix = information(at)
    for _ in range(8):
        slope = gradient(at)
        try:
            step = np.linalg.solve(matrix, slope)
        except np.linalg.LinAlgError:
            break
        far = reach(step)
        if far < 1e-6:
            return at + step, matrix, None
        if far > 0.1 and far > before / 2 and np.abs(slope).max() < small:
            return at, matrix, step
        now, factor = value(at), 1.0
        while factor > 1e-4 and not value(at + factor * step) >= now:
            factor /= 2
        if factor <= 1e-4:
            break
        at, before = at + factor * step, far
        matrix = information(at)
    return at, matrix, None


def inverse(information):
    """Of an information matrix; None if it is not positive definite."""
    try:
        return linalg.cho_solve(linalg.cho_factor(information), np.eye(len(information)))
    except (np.linalg.LinAlgError, ValueError):
        return None
