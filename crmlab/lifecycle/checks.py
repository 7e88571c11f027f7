"""Refusals that more than one module of the lifecycle needs, with one wording each."""

import numpy as np

__all__ = ["as_numbers", "carry_along"]


def as_numbers(name, values):
    """One number or several as an array; a sentence where they are something else."""
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a number or a list of numbers; got {values!r}.") from None


def carry_along(name, episodes):
    """What to say of a column of groups= that the stays do not have."""
    return (
        f"groups= names a column {name!r}, which is not there (columns: {', '.join(map(str, episodes.columns))}). Fix: carry it along from "
        f"the log with phase_episodes(..., also={name!r})."
    )
