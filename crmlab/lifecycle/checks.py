"""Refusals that more than one module of the lifecycle needs, with one wording each."""

import numpy as np

__all__ = ["as_numbers", "one_number", "carry_along", "refuse_rows"]


def as_numbers(name, values):
    """One number or several as an array; a sentence where they are something else."""
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a number or a list of numbers; got {values!r}.") from None


def one_number(name, value, hint=""):
    """One finite number; a sentence where it is something else."""
    try:
        if isinstance(value, bool | str) or np.ndim(value):
            raise TypeError
        found = float(value)
        if not np.isfinite(found):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{name} is one number{hint}; got {value!r}.") from None
    return found


def refuse_rows(table, name, bad, fix, of="", beside=()):
    """Refuse rows of a table for what a column says in them: how many, the first of them, and what to do."""
    rows = np.flatnonzero(bad)
    if not len(rows):
        return
    columns = [column for column in dict.fromkeys([*beside, name]) if column in table.columns]
    shown = "; ".join(f"row {row}: " + ", ".join(f"{c} {table[c].iloc[row]}" for c in columns) for row in rows[:3])
    raise ValueError(f"column {name!r}{of}: {len(rows):,} of {len(table):,} rows cannot be used ({shown}). Fix: {fix}.")


def carry_along(name, episodes):
    """What to say of a column of groups= that the stays do not have."""
    return (
        f"groups= names a column {name!r}, which is not there (columns: {', '.join(map(str, episodes.columns))}). Fix: carry it along from "
        f"the log with phase_episodes(..., also={name!r})."
    )
