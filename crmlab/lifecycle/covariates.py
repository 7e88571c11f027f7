"""Stays with covariates on their way into a model of hazards: checked, coded, and counted by kind of customer."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from crmlab.design import Design, bare, refuse_of_all
from crmlab.lifecycle.stays import Intake, Stays, distinct_histories

__all__ = ["Rows", "take_rows", "term_factors"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Stays (or pieces of stays between which covariates change), and which kind of customer each is of."""

    stays: Stays
    design: Design
    matrix: np.ndarray = field(repr=False)  # (kinds of customers, terms)
    names: list  # of the terms
    pattern: np.ndarray = field(repr=False)
    ranges: dict = field(repr=False)  # least and largest value seen, of columns of numbers

    @property
    def weight(self):
        """How many customers each row stands for."""
        weight = self.stays.weight
        return np.ones(len(self.pattern)) if weight is None else weight

    @cached_property
    def customers(self):
        """Number of customers; None if only counts of stays are known."""
        if self.stays.customer is None:
            return None
        return float(self.weight[np.diff(self.stays.customer, prepend=-1) > 0].sum())

    @cached_property
    def _kinds(self):
        """Distinct rows (pattern, origin, target, begin, end), how many customers each stands for, and which each row is."""
        stays, k, length = self.stays, len(self.stays.phases), len(self.stays.grid)
        move = stays.origin.astype(np.int64) * (k + 1) + stays.target + 1
        sizes = (len(self.matrix), k * (k + 1), length, length)
        columns = (self.pattern, move, stays.begin, stays.end)
        if np.prod(np.array(sizes, float)) < 2**62:
            key = np.ravel_multi_index(columns, sizes)
            code, distinct = _factorize(key, int(np.prod(np.array(sizes))))
            pattern, move, begin, end = np.unravel_index(distinct, sizes)
        else:  # the key would not fit: two by two
            code, first = pd.factorize(columns[0] * sizes[1] + columns[1])
            code, second = pd.factorize(code * length + columns[2])
            code, third = pd.factorize(code * length + columns[3])
            rest, end = np.divmod(third, length)
            rest, begin = np.divmod(second[rest], length)
            pattern, move = np.divmod(first[rest], sizes[1])
        origin, target = np.divmod(move, k + 1)
        count = np.bincount(code, stays.weight, len(pattern))
        return (pattern, origin, target - 1, begin, end), count.astype(float), code

    @property
    def kinds(self):
        """Distinct rows: arrays of pattern, origin, target, begin, end."""
        return self._kinds[0]

    @property
    def count(self):
        """How many rows of each kind."""
        return self._kinds[1]

    @cached_property
    def histories(self):
        """Distinct histories of customers: a sparse table (histories, kinds of rows), and how many have each."""
        return distinct_histories(self._kinds[2], len(self.count), self.stays.customer, self.stays.weight)

    def spread(self, influence):
        """Covariance of numbers from what each kind of row adds to them, summed over customers before it is squared."""
        table, weight = self.histories
        total = np.zeros((influence.shape[1],) * 2)
        block = max(1, 4_000_000 // max(1, influence.shape[1]))
        for first in range(0, len(weight), block):
            whole = table[first : first + block] @ influence
            total += (whole * weight[first : first + block, None]).T @ whole
        return total


def _factorize(key, size):
    """Codes and distinct values of whole numbers below `size`; by counting where that is the shorter way."""
    if size > 4 * len(key) + 1000:
        return pd.factorize(key)
    seen = np.zeros(size, bool)
    seen[key] = True
    distinct = np.flatnonzero(seen)
    place = np.cumsum(seen) - 1
    return place[key], distinct


def take_rows(episodes, formula, clock, phases, weights, gaps):
    """Check and code stays and the columns of a formula; see `crmlab.lifecycle.fit_hazards`."""
    intake = Intake(episodes, None, weights)
    data = intake.data
    stays = intake.code(clock, phases, gaps)
    columns, formula = _columns(formula, data)
    codes, levels = np.zeros(len(data), np.int64), []
    for name in columns:
        code, found = _levels(data, name, intake)
        if len(found) == 1:
            raise ValueError(
                f"column {name!r} has the same value, {found.tolist()[0]!r}, in every row: it explains nothing. Fix: leave it out."
            )
        codes, levels = codes * len(found) + code, [*levels, found]
        # Only codes that occur, so that the next column has room.
        codes, seen = _factorize(codes, int(codes.max()) + 1)
        levels = [part[(seen // len(found))] for part in levels[:-1]] + [found[seen % len(found)]]
    cases = pd.DataFrame({name: _cast(values, data[name]) for name, values in zip(columns, levels)})
    if not len(columns):
        cases = pd.DataFrame(index=range(1))
    design = Design.of(formula, cases)
    if "Intercept" not in design.names:
        raise ValueError(
            "the formula leaves the constant out: every kind of move has a hazard of its own, which takes its place; write it without '- 1' or '0 +'."
        )
    kept = [number for number, name in enumerate(design.names) if name != "Intercept"]
    pattern = codes if intake.order is None else codes[intake.order]
    ranges = {name: (cases[name].min(), cases[name].max()) for name in columns if name not in design.levels}
    return Rows(stays, design, design.matrix[:, kept], [design.names[number] for number in kept], pattern, ranges)


def _columns(formula, data):
    import formulaic

    if not isinstance(formula, str):
        raise TypeError(f"formula= is text such as 'channel + service'; got {type(formula).__name__}.")
    left, tilde, right = formula.partition("~")
    if tilde and left.strip():
        raise ValueError(
            f"formula {formula!r}: what is explained are the moves themselves, so write the columns alone: {right.strip()!r}."
        )
    right = right.strip() if tilde else formula.strip()
    full = f"moves ~ {right}"
    try:
        terms = formulaic.Formula(full).rhs
        names = sorted(str(name) for name in terms.required_variables)
    except Exception as error:
        raise ValueError(f"formula {formula!r} cannot be read: {str(error).splitlines()[0]}") from None
    refuse_of_all(formula, terms)
    for name in names:
        if name not in data.columns:
            raise ValueError(
                f"column {name!r} of the formula is not in the table of stays; there are: {', '.join(map(str, data.columns))}. Fix: carry it along "
                f"from the log with phase_episodes(..., also={name!r}), or merge it by customer_id."
            )
    return names, full


def _levels(data, name, intake):
    """Codes and values of a column, missing and infinite ones refused."""
    column = data[name]
    missing = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column):
        missing = missing | np.isinf(column.to_numpy(dtype=float, na_value=np.nan))
    intake._refuse(
        missing, name, "it is missing or infinite there; fill it in, or leave these customers out and say so"
    )
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()  # nobody has them, so they have no effect
        return column.cat.codes.to_numpy().astype(np.int64), np.asarray(column.cat.categories, dtype=object)
    code, found = pd.factorize(column)
    return code.astype(np.int64), np.asarray(found)


def _cast(values, like):
    if isinstance(like.dtype, pd.CategoricalDtype):
        return pd.Categorical(values, like.cat.remove_unused_categories().cat.categories)
    return pd.array(values, dtype=like.dtype) if len(values) else values


def term_factors(name):
    """The columns that a term is made of: 'channel[T.shop]:C(service)[T.2]' of channel and service."""
    return {bare(piece.partition("[")[0]) for piece in name.split(":")}


def refuse_flat(matrix, names, pattern, count, move):
    """Refuse terms that say nothing, or nothing of their own, among the customers who are at risk of a move."""
    from scipy import linalg

    weight = np.bincount(pattern, count, len(matrix))
    used = matrix[weight > 0]
    if not used.shape[1]:
        return
    used = used - used.mean(axis=0)
    size = np.sqrt((used**2).sum(axis=0))
    for number, name in enumerate(names):
        if size[number] <= 1e-10 * max(1e-300, np.abs(matrix[:, number]).max()) * np.sqrt(len(used)):
            raise ValueError(
                f"{move}: {name!r} has the same value for every customer at risk, so its effect on this move cannot be told. Fix: leave it out, join "
                f"categories, or let its effect be the same for all moves with shared=."
            )
    _, r, order = linalg.qr(used / size, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    rank = int((diagonal > 1e-9 * diagonal[0]).sum())
    if rank < used.shape[1]:
        named = ", ".join(repr(names[place]) for place in sorted(order[rank:]))
        raise ValueError(
            f"{move}: {named} is a combination of other terms of the formula among the customers at risk, or these are too few different customers. "
            "Fix: leave it out, or join categories."
        )


def warn_few(moves, terms, label):
    """Say that a kind of move was seen too seldom for so many effects."""
    warnings.warn(
        f"{label}: {moves:,.0f} moves for {terms} effect{'s' * (terms > 1)}, fewer than 5 an effect: estimates may be far off, and their intervals too short. Have "
        "fewer terms, join categories, or let effects be the same for all moves with shared=.",
        UserWarning,
        stacklevel=3,
    )
