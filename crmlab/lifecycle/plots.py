"""Figures of a multi-state fit. Placeholder."""


def occupancy(fit, times, start, since, level, ax):
    """Later."""
    raise NotImplementedError


def transitions(fit, sample, at, unit, ax):
    """Later."""
    raise NotImplementedError
