"""Stays in phases on their way in: checked, coded as small integers, and counted by time.

`take` refuses what no multi-state model can use, with the customers' names; `Sample` holds what one group of customers shows:
moves and customers at risk at each time (all that estimates and Greenwood errors need), and, where customers are known, their
distinct histories (what the jackknife needs).
"""

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from crmlab.lifecycle.checks import carry_along

__all__ = [
    "Stays",
    "Sample",
    "take",
    "distinct_histories",
    "Intake",
    "openings",
    "opening_phase",
    "blank_codes",
    "LATE",
]

_COLUMNS = ("phase", "entry", "exit", "next_phase")
# The names in a table of crmlab.counting.transition_counts.
_OTHER_NAMES = {"entered": "entry", "left": "exit"}
WEIGHTS = ("customers", "stays")
# What to say of stays whose length exit - entry is not.
LATE = (
    "on the forward clock a stay is seen from its beginning, and these were under way when the customer was first seen: "
    "phase_episodes(..., clock='reset') knows since when. In other tables put back the customers' earlier stays if they were left out; or leave "
    "these stays out, give times since the phase was entered, and say attrs['clock'] = 'reset' and clock='reset'"
)


@dataclass(frozen=True, eq=False)
class Stays:
    """All stays, coded. Arrays have a row a stay; `customer` is None for a table of counts."""

    phases: tuple
    grid: np.ndarray  # every distinct time of entry or exit
    origin: np.ndarray  # phase
    target: np.ndarray  # next phase, -1 while the stay lasts
    begin: np.ndarray  # position of the entry in grid
    end: np.ndarray
    weight: np.ndarray | None
    customer: np.ndarray | None  # 0, 1, 2, ..., stays of one customer beside each other and in order of time
    group: np.ndarray | None
    groups: tuple | None

    def samples(self):
        """One `Sample` a group."""
        if self.groups is None:
            return {None: self.part(slice(None))}
        return {name: self.part(self.group == number) for number, name in enumerate(self.groups)}

    def part(self, rows):
        """The `Sample` of some rows, all of a customer or none."""
        weight, customer = (None if v is None else v[rows] for v in (self.weight, self.customer))
        if customer is not None and not isinstance(rows, slice):
            customer = _runs(customer)
        pieces = (v[rows] for v in (self.origin, self.target, self.begin, self.end))
        return Sample(self.phases, self.grid, *pieces, weight, customer)


@dataclass(frozen=True, eq=False)
class Sample:
    """The stays of one group of customers, and what is counted of them."""

    phases: tuple
    grid: np.ndarray
    origin: np.ndarray
    target: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    weight: np.ndarray | None
    customer: np.ndarray | None
    _size: int = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_size", len(self.phases))

    @property
    def stays(self):
        """Number of stays."""
        return float(len(self.origin) if self.weight is None else self.weight.sum())

    @cached_property
    def customers(self):
        """Number of customers; None if only counts of stays are known."""
        if self.customer is None:
            return None
        if self.weight is None:
            return float(self.customer[-1] + 1) if len(self.customer) else 0.0
        return float(self.weight[np.diff(self.customer, prepend=-1) > 0].sum())

    # --- by time -------------------------------------------------------------------------------------------------

    @cached_property
    def _ends(self):
        """Stays that ended at each position in grid, by phase and next phase (first: none); None where that is mostly empty."""
        k, length = self._size, len(self.grid)
        if length * k * (k + 1) > 1_000_000 + 4 * len(self.origin):
            return None
        cell = (self.end * k + self.origin) * (k + 1) + (self.target + 1)
        return np.bincount(cell, self.weight, length * k * (k + 1)).reshape(length, k, k + 1)

    @cached_property
    def events(self):
        """Positions in grid at which somebody moved."""
        if self._ends is not None:
            return np.flatnonzero(self._ends[:, :, 1:].any(axis=(1, 2)))
        seen = np.zeros(len(self.grid), bool)
        seen[self.end[self.target >= 0]] = True
        return np.flatnonzero(seen)

    @property
    def times(self):
        """At which somebody moved."""
        return self.grid[self.events]

    @cached_property
    def events_until(self):
        """For each position in grid, how many event times lie at or before it."""
        count = np.zeros(len(self.grid), np.int64)
        count[self.events] = 1
        return np.cumsum(count)

    @cached_property
    def moves(self):
        """Moves at each event time: (times, from, to)."""
        if self._ends is not None:
            return self._ends[self.events][:, :, 1:].astype(float)
        k, moved = self._size, self.target >= 0
        when = self.events_until[self.end[moved]] - 1
        cell = (when * k + self.origin[moved]) * k + self.target[moved]
        weight = None if self.weight is None else self.weight[moved]
        count = np.bincount(cell, weight, len(self.events) * k * k)
        return count.reshape(-1, k, k).astype(float)

    @cached_property
    def _entries(self):
        """Stays that began at each position in grid, by phase."""
        return self._tally(self.begin)

    @cached_property
    def _exits(self):
        return self._tally(self.end) if self._ends is None else self._ends.sum(axis=2)

    def _tally(self, where):
        k, length = self._size, len(self.grid)
        return np.bincount(where * k + self.origin, self.weight, length * k).reshape(length, k)

    @cached_property
    def _flows(self):
        """How many had entered, and left, each phase up to each position in grid."""
        return self._entries.cumsum(axis=0), self._exits.cumsum(axis=0)

    @cached_property
    def at_risk(self):
        """In each phase just before each event time: entered before it, not left before it."""
        entered, left = self._flows
        before = self.events - 1  # an event is never at position 0, where somebody must have entered
        return (entered[before] - left[before]).astype(float)

    def present(self, when):
        """In each phase at a time: entered at or before it, not left by then. None: just before the first event."""
        entered, left = self._flows
        last = self.beginning if when is None else np.searchsorted(self.grid, when, "right") - 1
        return np.maximum(entered[last] - left[last], 0.0) if last >= 0 else np.zeros(self._size)

    @property
    def beginning(self):
        """Position in grid just before the first event; without events that of the first entry."""
        return self.events[0] - 1 if len(self.events) else self.begin.min()

    @cached_property
    def exposure(self):
        """Time spent in each phase."""
        return self.grid @ (self._exits - self._entries)

    # --- by customer ---------------------------------------------------------------------------------------------

    @cached_property
    def _kinds(self):
        """Distinct stays (origin, target, begin, end), and which of them each row is."""
        k, length = self._size, len(self.grid)
        key = (self.origin.astype(np.int64) * (k + 1) + self.target + 1) * length + self.begin
        key = key * length + self.end
        code, distinct = pd.factorize(key)
        rest, end = np.divmod(distinct, length)
        rest, begin = np.divmod(rest, length)
        origin, target = np.divmod(rest, k + 1)
        return (origin, target - 1, begin, end), code

    @property
    def kinds(self):
        """Distinct stays: arrays of origin, target, begin, end."""
        return self._kinds[0]

    @cached_property
    def histories(self):
        """Distinct histories: a sparse table (histories, kinds of stays) and how many customers have each."""
        kinds, code = self._kinds
        return distinct_histories(code, len(kinds[0]), self.customer, self.weight)

    @cached_property
    def distinct(self):
        """The same sample with one customer for each history, weighted by how many have it; and these weights."""
        table, count = self.histories
        kinds, rows = self.kinds, table.indices
        owner = np.repeat(np.arange(len(count)), np.diff(table.indptr))
        return Sample(self.phases, self.grid, *(v[rows] for v in kinds), count[owner], owner), count

    def reweighted(self, count):
        """The customers with other weights, one a customer; those of weight 0 are left out."""
        weight = count[self.customer]
        rows = weight > 0
        pieces = (v[rows] for v in (self.origin, self.target, self.begin, self.end))
        return Sample(self.phases, self.grid, *pieces, weight[rows].astype(float), _runs(self.customer[rows]))

    @cached_property
    def _marks(self):
        """See `marks`; which of them stand in the histories, customer after customer; where each customer's begin."""
        k, length, rows = self._size + 1, len(self.grid), len(self.origin)
        goes_on = (self.customer[1:] == self.customer[:-1]) & (self.begin[1:] == self.end[:-1])
        opens = np.append(True, ~goes_on)
        after = np.append(np.where(goes_on, self.origin[1:] + 1, 0), 0)
        # A stay is marked by its end, after the opening of a history that did not go on from the stay before.
        place = np.arange(rows) + np.cumsum(opens)
        key = np.empty(place[-1] + 1, np.int64)
        key[place] = (((self.origin + np.int64(1)) * k + self.target + 1) * k + after) * length + self.end
        key[place[opens] - 1] = (self.origin[opens] + np.int64(1)) * length + self.begin[opens]
        code, distinct = pd.factorize(key)
        rest, when = np.divmod(distinct, length)
        rest, after = np.divmod(rest, k)
        origin, target = np.divmod(rest, k)
        first = place[np.diff(self.customer, prepend=-1) > 0] - 1
        return (origin - 1, target - 1, after - 1, when), code, np.append(first, len(code))

    @property
    def marks(self):
        """What makes up a history: distinct (phase left, phase moved to, phase begun, position in grid), -1 for none of them.

        A customer's influence on an estimate is a sum over its marks: how it came into view, each move, how it was last seen. There are far
        fewer kinds of these than of stays.
        """
        return self._marks[0]

    @cached_property
    def _pairs(self):
        """How many customers have each two marks; None where that table would be larger than the histories."""
        marks, code, first = self._marks
        count, length = len(marks[0]), np.diff(first)
        if count**2 > 2e7 or (length.astype(float) ** 2).sum() > 2e8:
            return None
        last = np.repeat(first[1:], length)
        weight = None if self.weight is None else np.repeat(self._weights, length)
        total, here, both, rows = np.zeros(count**2), np.arange(len(code)), [], []
        for apart in range(1, length.max() + 1):
            here = here[here + apart < last[here]]
            both.append(code[here] * count + code[here + apart])
            rows.append(here)
            # Counted when there is enough to count, since each count costs a pass over the table.
            if sum(map(len, both)) > 2e7 or apart == length.max():
                known = None if weight is None else weight[np.concatenate(rows)]
                total += np.bincount(np.concatenate(both), known, count**2)
                both, rows = [], []
        total = total.reshape(count, count)
        return total + total.T + np.diag(np.bincount(code, weight, count))

    @cached_property
    def _weights(self):
        first = np.diff(self.customer, prepend=-1) > 0
        return np.ones(first.sum()) if self.weight is None else self.weight[first]

    def spread(self, influence):
        """Sum over customers of the squared influence; `influence` has a row a mark and a column a number."""
        if self._pairs is not None:
            return np.maximum(np.einsum("ml,ml->l", influence, self._pairs @ influence), 0)
        marks, code, first = self._marks
        table = sparse.csr_matrix((np.ones(len(code)), code, first), shape=(len(first) - 1, len(marks[0])))
        total = np.zeros(influence.shape[1])
        block = max(1, 4_000_000 // max(1, influence.shape[1]))
        for begin in range(0, len(first) - 1, block):
            whole = table[begin : begin + block] @ influence
            np.square(whole, out=whole)
            total += self._weights[begin : begin + block] @ whole
        return total

    def landmark(self, phase, when):
        """The customers who are in a phase at a time, from that time on; None if there is none."""
        here = np.searchsorted(self.grid, when, "right") - 1
        inside = (self.origin == phase) & (self.begin <= here) & (self.end > here)
        if not inside.any():
            return None
        chosen = np.zeros(self.customer[-1] + 1, bool)
        chosen[self.customer[inside]] = True
        rows = chosen[self.customer] & (self.end > here)
        weight = None if self.weight is None else self.weight[rows]
        begin = np.maximum(self.begin[rows], here)
        pieces = (self.origin[rows], self.target[rows], begin, self.end[rows])
        return Sample(self.phases, self.grid, *pieces, weight, _runs(self.customer[rows]))

    def stopped(self, phase):
        """The same customers up to their first time in a phase; who is first seen there stays as that one stay."""
        inside = np.cumsum(self.origin == phase)
        first = np.diff(self.customer, prepend=-1) > 0
        earlier = inside - (self.origin == phase)
        # Stays in the phase before this one, since the customer's first stay.
        rows = earlier - earlier[first][self.customer] == 0
        # Of the phase itself only who began there needs to be known: it is never left, and its own stay says no more.
        weight = None if self.weight is None else self.weight[rows]
        pieces = (v[rows] for v in (self.origin, self.target, self.begin, self.end))
        return Sample(self.phases, self.grid, *pieces, weight, _runs(self.customer[rows]))


def distinct_histories(code, count, customer, weight=None):
    """Distinct histories: a sparse table (histories, kinds of stays) and how many customers have each.

    `code` says for each stay which of `count` kinds it is; a customer's stays stand beside each other. Stay by stay: what a customer's
    history is after its n-th stay follows from what it was before and from that stay.
    """
    first = np.flatnonzero(np.diff(customer, prepend=-1) > 0)
    length = np.diff(np.append(first, len(customer)))
    weight = np.ones(len(first)) if weight is None else weight[first]
    rows, weights = [], []
    path, example = np.zeros(len(first), np.int64), first
    nth = 0
    while len(first):
        path, known = pd.factorize(path * count + code[first + nth])
        example = np.empty(len(known), np.int64)
        example[path] = first
        done = length == nth + 1
        total = np.bincount(path[done], weight[done], len(known))
        ended = np.flatnonzero(np.bincount(path[done], minlength=len(known)))
        if len(ended):
            rows.append(code[example[ended][:, None] + np.arange(nth + 1)])
            weights.append(total[ended])
        path, first, length, weight = path[~done], first[~done], length[~done], weight[~done]
        nth += 1
    sizes = np.concatenate([np.full(len(r), r.shape[1]) for r in rows])
    columns = np.concatenate([r.ravel() for r in rows])
    start = np.append(0, np.cumsum(sizes))
    table = sparse.csr_matrix((np.ones(len(columns)), columns, start), shape=(len(sizes), count))
    return table, np.concatenate(weights)


def openings(customer, origin, target, begin, end):
    """In which row each stay was opened (pieces of one stay follow each other), and whether the customer was seen in another phase until then.

    Rows are sorted by customer and time; `begin` and `end` are whole numbers, of which equal ones are one time.
    """
    beside = (customer[1:] == customer[:-1]) & (begin[1:] == end[:-1])
    goes_on = np.append(False, beside & (origin[1:] == origin[:-1]) & (target[:-1] < 0))
    opened = np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(goes_on))))
    arrived = np.append(False, beside & (origin[1:] != origin[:-1]))
    return opened, arrived[opened]


def opening_phase(stays):
    """The phase in which customers start, of `Stays` or a `Sample`; refused where these do not show one."""
    seen = stays.origin[stays.begin == 0]
    # Times run since a customer's start: who is seen at 0 is seen there. Whoever is first at a later time may be anywhere.
    everybody = stays.customer is not None and not stays.begin[np.diff(stays.customer, prepend=-1) > 0].any()
    if len(seen) and (everybody or stays.grid[0] == 0) and (seen == seen[0]).all():
        return seen[0]
    if len(seen) and (everybody or stays.grid[0] == 0):
        there = ", ".join(str(stays.phases[k]) for k in np.unique(seen))
        raise ValueError(
            f"customers start in several phases ({there}): say in which one this customer does, with start=."
        )
    raise ValueError(
        "nobody was seen from the start of the clock on, and where those happened to be who were seen first says nothing of the others. Fix: say "
        f"with start= in which phase this customer is at {stays.grid[0]:g}."
    )


def blank_codes(found):
    """Which of these names are text without a letter."""
    return [number for number, name in enumerate(found) if isinstance(name, str) and not name.strip()]


def take(data, clock, phases=None, groups=None, weights=None, gaps="refuse"):
    """Check and code a table of stays or of their counts; see `crmlab.lifecycle.fit_multistate`."""
    return Intake(data, groups, weights).code(clock, phases, gaps)


class Intake:
    """The checks, in the order in which their messages help most."""

    def __init__(self, data, groups, weights):
        if not isinstance(data, pd.DataFrame):
            if not hasattr(data, "to_pandas"):
                raise TypeError(
                    f"episodes= is a table with the columns customer_id, {', '.join(_COLUMNS)}; got {type(data).__name__}."
                )
            data = data.to_pandas()
        others = {a: b for a, b in _OTHER_NAMES.items() if a in data.columns and b not in data.columns}
        data = data.rename(columns=others) if others else data
        self.known = "customer_id" in data.columns
        if weights is None and not self.known:
            weights = next((name for name in WEIGHTS if name in data.columns), None)
        wanted = [*_COLUMNS, *([groups] if groups is not None else []), *([weights] if weights is not None else [])]
        lacking = [name for name in wanted if name not in data.columns]
        if not self.known and weights is None:
            lacking.append("customer_id")
        if lacking and lacking[0] == groups:
            raise ValueError(carry_along(groups, data))
        if lacking:
            raise ValueError(
                f"a table of stays has the columns customer_id, {', '.join(_COLUMNS)}; {lacking[0]!r} is not there (columns: "
                f"{', '.join(map(str, data.columns))}). A table of counts has a column customers in place of customer_id: "
                "phase_episodes(log, counted=True) makes one of a log, crmlab.counting.transition_counts(..., unit='day', clock='customer') one of "
                "stays with dates."
            )
        if not len(data):
            raise ValueError("the table of stays has no rows: there is nobody to follow.")
        self.data, self.group_name, self.weight_name = data, groups, weights

    def code(self, clock, phases, gaps):
        """The stays, coded; `order` says how the rows were sorted for it, if they were."""
        data = self.data
        made_for = data.attrs.get("clock")
        if made_for == "reset" and clock == "forward":
            raise ValueError(
                "these stays have times since the phase was entered (clock='reset'), so nobody's phases follow each other: fit "
                "with clock='reset', or make the stays with clock='forward'."
            )
        customer = self._customers()
        labels, origin, target = self._phases(phases)
        entry, exit = self._time("entry"), self._time("exit")
        weight = self._weights()
        group, names = self._groups()
        grid, begin, end = _positions(entry, exit)
        empty = (end == begin) & (target < 0)
        self._refuse(
            (end <= begin) & ~empty,
            "exit",
            "a stay ends after it began: correct the times, or give them in a finer unit (in counts of stays with dates: "
            "transition_counts(..., unit='day'); of a log: phase_episodes(..., counted=True))",
        )
        order = self._with_length(empty, weight)
        if order is not None:
            grid, begin, end = _positions(entry[order], exit[order])
        if customer is not None:
            by_time = _order(customer if order is None else customer[order], begin)
            if by_time is not None:
                begin, end = begin[by_time], end[by_time]
                order = by_time if order is None else order[by_time]
        if order is not None:
            self.order = order
            customer, origin, target, weight, group = (
                None if v is None else v[order] for v in (customer, origin, target, weight, group)
            )
        if customer is not None:
            customer = _runs(customer)
            if made_for != "reset":
                self._follow(customer, origin, target, begin, end, gaps)
            self._same_for_customer(
                customer, group, self.group_name, "a group is the customer's own, for all its stays"
            )
            self._same_for_customer(
                customer, weight, self.weight_name, "a weight says how many customers share a history"
            )
        if clock == "reset" and made_for != "reset":
            grid, begin, end = self._since_opened(grid, customer, origin, target, begin, end)
        if not (target >= 0).any():
            who = "" if customer is None else f" ({self._names(np.arange(len(target)))})"
            raise ValueError(
                f"no customer{who} ever leaves a phase: every next_phase is missing, and nothing can be estimated. Fix: fill in "
                "next_phase where a stay ended in a move, or follow the customers for longer."
            )
        return Stays(labels, grid, origin, target, begin, end, weight, customer, group, names)

    def _with_length(self, empty, weight):
        """Positions of the rows that say something, None for all: a stay that lasts and has no length yet does not."""
        if not empty.any():
            return None
        many = int(empty.sum()) if weight is None else weight[empty].sum()
        warnings.warn(
            f"left out, since nothing was seen of them yet: {many:,.0f} of the stays, which last (next_phase is missing) and have no length (exit = entry).",
            UserWarning,
            stacklevel=5,
        )
        if empty.all():
            raise ValueError("no stay has a length: there is nothing to follow. Fix: give times in a finer unit.")
        return np.flatnonzero(~empty)

    def _since_opened(self, grid, customer, origin, target, begin, end):
        """Times since the phase was entered; the pieces of one stay go on."""
        opened = np.arange(len(begin))
        if customer is not None:
            opened, seen = openings(customer, origin, target, begin, end)
        elif "came_from" in self.data:
            seen = self.data["came_from"].notna().to_numpy()
            seen = seen if self.order is None else seen[self.order]
        else:
            seen = True  # counts do not say
        if self.data.attrs.get("entered_late") != 0:
            self._refuse((grid[begin[opened]] > 1e-9 * grid[-1]) & ~seen, "entry", LATE, ordered=True)
        since = grid[begin[opened]]
        return _positions(grid[begin] - since, grid[end] - since)

    # --- columns -------------------------------------------------------------------------------------------------

    def _customers(self):
        if not self.known:
            return None
        column = self.data["customer_id"]
        self._refuse(column.isna().to_numpy(), "customer_id", "name the customer, or leave these rows out")
        return column.to_numpy() if column.dtype != "category" else column.cat.codes.to_numpy()

    def _phases(self, given):
        """Labels in order, and each row's phase and next phase as positions among them."""
        (origin, first), (target, second) = (_coded(self.data[name]) for name in ("phase", "next_phase"))
        self._refuse(origin < 0, "phase", "fill in the phase, or give these rows one of their own, such as 'unknown'")
        for column, found, code in (("phase", first, origin), ("next_phase", second, target)):
            blank = blank_codes(found)
            self._refuse(
                np.isin(code, blank) if blank else None,
                column,
                "write a phase; leave next_phase missing while the stay lasts",
            )
        kind = self.data["phase"].dtype
        if given is None and isinstance(kind, pd.CategoricalDtype):
            given = list(kind.categories)
        labels = list(dict.fromkeys([*first, *second])) if given is None else list(given)
        if len(set(labels)) != len(labels):
            raise ValueError(f"phases= names each phase once; got {labels}.")
        place = {name: number for number, name in enumerate(labels)}
        coded = []
        for column, found, code in (("phase", first, origin), ("next_phase", second, target)):
            strange = [number for number, name in enumerate(found) if name not in place]
            known = ", ".join(map(str, labels))
            self._refuse(
                np.isin(code, strange) if strange else None,
                column,
                f"the phases are {known}; correct the name, or add it to phases= (or to the categories of the column)",
            )
            table = np.array([*(place[name] for name in found), -1], np.int8 if len(labels) < 100 else np.int32)
            coded.append(table[code])
        origin, target = coded
        self._refuse(
            origin == target,
            "next_phase",
            "a move leads to another phase: join the two stays into one, or leave next_phase missing in the first of them",
        )
        return tuple(labels), origin, target

    def _time(self, name):
        column = self.data[name]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            raise TypeError(
                f"column {name!r} holds {column.dtype} values, not numbers. Fix: give times as numbers since the customer's start, such "
                "as weeks since the first purchase; phase_episodes makes them of a log."
            )
        values = column.to_numpy(dtype=float, na_value=np.nan) if column.hasnans else column.to_numpy()
        if values.dtype.kind == "f":
            fix = "fill in the time; a stay that lasts has the last time observed as its exit, and no next_phase"
            self._refuse(~np.isfinite(values), name, fix)
        return values

    def _weights(self):
        if self.weight_name is None:
            return None
        values = pd.to_numeric(self.data[self.weight_name], errors="coerce").to_numpy(float)
        self._refuse(
            ~(np.isfinite(values) & (values > 0)),
            self.weight_name,
            "a count is a number above 0; leave out rows that stand for nobody",
        )
        return values

    def _groups(self):
        if self.group_name is None:
            return None, None
        column = self.data[self.group_name]
        code, names = pd.factorize(column, sort=True)
        self._refuse(
            code < 0, self.group_name, "fill in the group, or give these rows one of their own, such as 'unknown'"
        )
        return code, tuple(names)

    # --- rows beside each other ----------------------------------------------------------------------------------

    def _follow(self, customer, origin, target, begin, end, gaps):
        """A customer's stays: one at a time, each beginning where and when the one before ended."""
        same = customer[1:] == customer[:-1]
        step = begin[1:].astype(np.int64) - end[:-1]
        self._refuse_next(
            same & (step < 0), "entry", "a customer is in one phase at a time: let a stay end when the next one begins"
        )
        moved = target[:-1] >= 0
        arrives = np.where(moved, target[:-1], origin[:-1])
        self._refuse_next(
            same & (step == 0) & (arrives != origin[1:]),
            "phase",
            "it is not the phase that the stay before led to: correct next_phase there (if it is missing, fill it in), or phase here",
        )
        if gaps == "refuse":
            self._refuse_next(
                same & (step > 0),
                "entry",
                "the customer's stay before ended earlier, and nothing says where it was in between: fill the gap with a stay, or say that "
                "nobody was watching with gaps='keep'",
            )
        # Who goes on after a gap must be where it went, unless nobody was watching and it went on from there.

    def _same_for_customer(self, customer, values, name, why):
        if values is not None:
            fix = f"{why}: give every row of a customer the same"
            self._refuse_next((customer[1:] == customer[:-1]) & (values[1:] != values[:-1]), name, fix)

    # --- refusals ------------------------------------------------------------------------------------------------

    order = None

    def _refuse_next(self, bad, name, fix):
        if bad.any():
            self._refuse(np.append(False, bad), name, fix, ordered=True)

    def _refuse(self, bad, name, fix, ordered=False):
        if bad is None or not bad.any():
            return
        rows = np.flatnonzero(bad)
        if ordered and self.order is not None:
            rows = self.order[rows]
        shown = "; ".join(self._row(row, name) for row in rows[:3])
        raise ValueError(
            f"column {name!r}: {len(rows):,} of {len(self.data):,} rows cannot be used ({shown}). Fix: {fix}."
        )

    def _row(self, row, name):
        shown = self.data.iloc[row]
        who = f"customer {_named(shown['customer_id'])}, " if self.known and name != "customer_id" else ""
        named = "" if name in _COLUMNS else f"{name} {shown[name]}, "
        names = [column for column in ("phase", "entry", "exit", "next_phase")]
        return f"row {row}: {who}{named}" + ", ".join(f"{column} {_show(shown[column])}" for column in names)

    def _names(self, rows):
        names = list(dict.fromkeys(self.data["customer_id"].iloc[rows[:50]]))
        return ", ".join(map(_named, names[:3])) + (", ..." if len(names) > 3 else "")


def _named(customer):
    return repr(customer) if isinstance(customer, str) else str(customer)


def _coded(column):
    """Positions among the values (of categories all, also without rows), -1 for missing, and these values."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        code, found = pd.factorize(column)
        return code, list(found)
    return column.cat.codes.to_numpy(), list(column.cat.categories)


def _show(value):
    return "missing" if pd.isna(value) else f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _runs(customer):
    """0, 1, 2, ... for customers that stand beside each other."""
    change = np.empty(len(customer), np.int64)
    if len(change):
        change[0] = 0
        np.cumsum(customer[1:] != customer[:-1], out=change[1:])
    return change


def _order(customer, begin):
    """How to sort by customer and entry, or None if the rows already stand so."""
    same = customer[1:] == customer[:-1]
    try:
        ascending = bool((customer[1:] >= customer[:-1]).all())
    except TypeError:
        ascending = False
    if ascending and not (same & (begin[1:] < begin[:-1])).any():
        return None
    code = customer if customer.dtype.kind in "iu" else pd.factorize(customer)[0]
    return np.lexsort((begin, code))


def _positions(entry, exit):
    """All distinct times in order, and the positions of entries and exits among them."""
    low = min(entry.min(), exit.min())
    span = max(entry.max(), exit.max()) - low
    if all(v.dtype.kind in "iu" for v in (entry, exit)) and span <= 4 * len(entry) + 1000:
        begin, end = (np.subtract(v, low, dtype=np.int64) for v in (entry, exit))
        seen = np.zeros(int(span) + 1, bool)
        seen[begin] = seen[end] = True
        grid = (np.flatnonzero(seen) + low).astype(float)
        if seen.all():
            return grid, begin, end
        place = np.cumsum(seen) - 1
        return grid, place[begin], place[end]
    code, distinct = pd.factorize(np.concatenate([entry, exit]).astype(float))
    order = np.argsort(distinct)
    grid = distinct[order]
    # Times that differ by rounding alone are one time, or a stay would not begin when the one before ended.
    new = np.append(True, np.diff(grid) > 1.5e-8 * max(1e-300, np.abs(grid).mean()))
    place = np.empty(len(grid), np.int64)
    place[order] = np.cumsum(new) - 1
    code = place[code]
    return grid[new], code[: len(entry)], code[len(entry) :]
