"""Survivors of contracts: counted from start and end dates, and read in whatever form a fit is given."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlab import counting, tables
from crmlab.arguments import one_of

__all__ = ["survivor_triangle"]

PERIODS = {"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}  # the field's word: pandas' period


def survivor_triangle(contracts, period="year", observed_until=None, customer="customer_id", start="start", end="end"):
    """How many contracts of each cohort outlived each renewal: survival, since leaving is observed.

    A contract has survived to age `k` if it was still in force on the day `k` periods after its start. The ages of
    a cohort run as far as *every* contract in it could be followed, so that each number has the same customers behind it.

    Parameters
    ----------
    contracts : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a customer: the first day of the contract and the first day without it (missing while it runs).
    period : {"week", "month", "quarter", "year"}
        The time from one renewal to the next; cohorts are calendar periods of that length.
    observed_until : date-like, optional
        The last day on which the table was up to date; by default the latest date in it.
    customer, start, end : str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        One row a cohort and age: ``cohort``, ``age_<period>s``, ``customers``, ``survivors``, ``share``.
        `fit_sbg` and `fit_geometric` take it as it is.

    Raises
    ------
    ValueError
        If the table breaks its contract (see `crmlab.tables.contracts`), a date lies after `observed_until`, or no
        cohort was followed for a single period.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import retention
    >>> contracts = pd.DataFrame({
    ...     "customer_id": ["a", "b", "c"],
    ...     "start": pd.to_datetime(["2023-01-10", "2023-06-01", "2023-09-30"]),
    ...     "end": pd.to_datetime(["2024-01-10", None, "2025-09-30"]),
    ... })
    >>> retention.survivor_triangle(contracts, observed_until="2025-12-31")
      cohort  age_years  customers  survivors     share
    0   2023          0          3          3  1.000000
    1   2023          1          3          2  0.666667
    2   2023          2          3          1  0.333333
    """
    one_of("period", period, PERIODS)
    # Dates after observed_until are refused below, by a message that names it.
    latest = None if observed_until is None else pd.Timestamp.max
    checked = tables.contracts(contracts, customer, start, end, latest=latest)
    result = counting.survivor_triangle(checked, period, observed_until).to_pandas()
    result["cohort"] = pd.PeriodIndex(pd.to_datetime(result["cohort"]), freq=PERIODS[period])
    result["share"] = result["survivors"] / result["customers"]
    if result[f"age_{period}s"].max() < 1:
        raise ValueError(
            f"no cohort was followed for a whole {period}: nothing is known about renewals yet. Take a shorter period=."
        )
    return result


@dataclass(frozen=True, eq=False)
class Survivors:
    """Survivor data of any form, counted: what every fit of this package is made on.

    Attributes
    ----------
    cells : pandas.Series
        Customers, indexed by ``tenure`` and ``lost``: those lost at renewal `tenure`, and those whom the data follow to
        age `tenure` and no further. A customer is in one cell, so resampling cells is resampling customers.
    """

    cells: pd.Series

    @property
    def customers(self):
        """Number of customers."""
        return float(self.cells.sum())

    @property
    def renewals(self):
        """At each age, the renewals that came due and the customers lost: all that a likelihood needs."""
        tenure = self.cells.index.get_level_values("tenure").to_numpy()
        lost = self.cells.index.get_level_values("lost").to_numpy(dtype=bool)
        customers = self.cells.to_numpy(dtype=float)
        longest = tenure.max() + 1
        at_risk = np.bincount(tenure, customers, longest)[::-1].cumsum()[::-1]
        gone = np.bincount(tenure[lost], customers[lost], longest)
        table = pd.DataFrame({"at_risk": at_risk, "lost": gone}, index=pd.RangeIndex(longest, name="age")).iloc[1:]
        # Ages at which nobody is left say nothing, and would divide by zero.
        return table[table["at_risk"] > 0]

    def resampled(self, rng):
        """As many customers, drawn from these with replacement."""
        customers = self.cells.to_numpy(dtype=float)
        drawn = rng.multinomial(round(customers.sum()), customers / customers.sum())
        return Survivors(pd.Series(drawn, self.cells.index)[drawn > 0])

    def simulated(self, churn, rng):
        """As many customers, of whom each renewal loses the share `churn`, followed as long as these.

        Where customers are followed for different times, those whose time ends at an age are drawn from the ones left
        with the share seen there.
        """
        seen = self.renewals
        ended = {tenure: customers for (tenure, lost), customers in self.cells.items() if not lost}
        left = round(self.customers)
        cells = {(0, False): min(round(ended.get(0, 0)), left)}
        left -= cells[0, False]
        for age, chance in zip(seen.index, np.broadcast_to(churn, len(seen))):
            cells[age, True] = rng.binomial(left, chance)
            left -= cells[age, True]
            stayed = seen.at[age, "at_risk"] - seen.at[age, "lost"]
            # The last age ends it for everybody, also for more than were left in the data.
            share = 1.0 if age == seen.index[-1] else min(ended.get(age, 0) / stayed, 1.0) if stayed else 0.0
            cells[age, False] = rng.binomial(left, share)
            left -= cells[age, False]
        return Survivors(_cells(cells))


def _cells(counts):
    index = pd.MultiIndex.from_tuples(counts, names=["tenure", "lost"])
    cells = pd.Series(list(counts.values()), index, name="customers", dtype=float)
    return cells[cells > 0]


def read(alive, size=None):
    """Survivor data in any of the forms that the fits take; see `crmlab.retention.fit_geometric`."""
    if isinstance(alive, Survivors):
        return alive
    if isinstance(alive, pd.DataFrame):
        if size is not None:
            raise ValueError(
                f"size= is for shares of one group of customers; a table counts customers already, so size={size!r} would change nothing: leave size= out."
            )
        if {"lost", "customers"} <= set(alive):
            return _tenures(alive)
        runs = _cohorts(alive)
    else:
        runs = [_survivors(alive, size)]
    counts = {}
    for run in runs:
        for age, lost in enumerate(run[:-1] - run[1:], start=1):
            counts[age, True] = counts.get((age, True), 0.0) + lost
        counts[len(run) - 1, False] = counts.get((len(run) - 1, False), 0.0) + run[-1]
    return Survivors(_cells(counts))


def _tenures(table):
    names = [name for name in table.columns if str(name).startswith("tenure")]
    if len(names) != 1:
        raise ValueError(
            "a table of tenures has the columns tenure_<period>s, lost and customers (see crmlab.counting.tenure_counts); "
            f"got: {', '.join(map(str, table.columns))}."
        )
    (name,) = names
    if table["lost"].dtype != bool:
        raise ValueError(
            f"column 'lost' holds {table['lost'].dtype} values; it is True of customers who left and False of those still there. "
            "Compare text with its word first, e.g. table['lost'] == 'Yes'."
        )
    for column in (name, "customers"):
        values = pd.to_numeric(table[column], errors="coerce")
        wrong = ~np.isfinite(values) | (values < 0) | ((column == name) & (values % 1 != 0))
        if wrong.any():
            raise ValueError(
                f"column {column!r}: {wrong.sum()} of {len(table)} rows are not {'whole ' if column == name else ''}numbers of 0 or more "
                f"({_first(table, column, wrong)})."
            )
    early = table["lost"] & (table[name] < 1) & (table["customers"] > 0)
    if early.any():
        raise ValueError(
            f"column {name!r}: {early.sum()} of {len(table)} rows are customers lost at tenure 0 ({_first(table, name, early)}). "
            "The tenure of a customer who left is the number of the first renewal that it did not see, 1 or more."
        )
    counts = table.groupby([table[name].astype(int).rename("tenure"), "lost"])["customers"].sum().astype(float)
    counts = counts[counts > 0]
    if counts.empty or counts.index.get_level_values("tenure").max() < 1:
        raise ValueError("no customer was followed for a single period: nothing is known about renewals yet.")
    return Survivors(counts)


def _first(table, column, wrong):
    return "; ".join(f"row {row}: {value}" for row, value in table.loc[wrong, column].head(3).items())


_NOT_SURVIVAL = (
    "this is activity, not survival: a shop's customers fall silent and return. "
    "A model of survivors needs contracts, where leaving is observed: survivor_triangle counts them from start and end dates."
)


def _cohorts(triangle):
    if triangle.attrs.get("kind") == "activity" or "active" in triangle:
        raise ValueError("alive= is a table of cohort_triangle: " + _NOT_SURVIVAL)
    if not any(str(name).startswith("age_") for name in triangle.columns) and "survivors" not in triangle:
        raise ValueError(
            f"alive= is a table with the columns {', '.join(map(str, triangle.columns))}. Pass one column of survivors, such as "
            f"table[{triangle.columns[0]!r}], or a table of survivor_triangle or counting.tenure_counts."
        )
    age = age_column(triangle)
    if "survivors" not in triangle or "cohort" not in triangle:
        raise ValueError(
            f"a table of survivors has the columns cohort, age_<period>s and survivors (see survivor_triangle); got: {', '.join(map(str, triangle.columns))}."
        )
    runs = []
    for cohort, rows in triangle.sort_values(age).groupby("cohort"):
        if rows[age].tolist() != list(range(len(rows))):
            raise ValueError(
                f"cohort {cohort}: the ages are {rows[age].tolist()}, not 0, 1, 2, ... without gaps. Fill in the missing ages, or end the cohort before the gap."
            )
        runs.append(_check_survivors(rows["survivors"].to_numpy(), f"cohort {cohort}"))
    if max(map(len, runs)) < 2:
        raise ValueError("no cohort has been followed for a single period: nothing is known about renewals yet.")
    return runs


def _survivors(alive, size):
    if isinstance(alive, pd.Series) and (alive.attrs.get("kind") == "activity" or alive.name == "active"):
        raise ValueError("alive= is a column of cohort_triangle: " + _NOT_SURVIVAL)
    if isinstance(alive, (str, bytes)) or np.ndim(alive) != 1:
        raise TypeError(
            f"alive= is a sequence of customers still under contract in periods 0, 1, 2, ...; got {type(alive).__name__} of {np.ndim(alive)} dimensions."
        )
    if len(alive) == 0:
        raise ValueError("alive= is empty: it takes the customers still under contract in periods 0, 1, 2, ...")
    values = _check_survivors(np.asarray(alive), "alive=")
    if len(values) < 2:
        raise ValueError("alive= has one number: it takes at least two periods, the start and one renewal.")
    if size is not None:
        if not np.isfinite(size) or size <= 0:
            raise ValueError(f"size= is the number of customers at the start, above 0; got {size!r}.")
        if values[0] not in (1, 100) and (values == np.round(values)).all() and values[0] != size:
            raise ValueError(
                f"alive= counts customers already (it starts {values[0]:g}, {values[1]:g}), so size={size:g} would change them: leave size= out."
            )
        return values / values[0] * size
    if values[0] == 100 or (values != np.round(values)).any():
        raise ValueError(
            f"alive= looks like shares or percentages (it starts {values[0]:g}, {values[1]:g}): without the number of customers no standard error can be "
            "known. Pass size=, the customers at the start (size=100 if there were a hundred of them)."
        )
    return values


def _check_survivors(values, where):
    if values.dtype == bool or not np.issubdtype(values.dtype, np.number):
        strange = [(i, value) for i, value in enumerate(values.tolist()) if not isinstance(value, float | int)]
        shown = "; ".join(f"period {i}: {value!r}" for i, value in strange[:3])
        raise TypeError(
            f"{where} holds {values.dtype} values, not numbers ({shown}). Make them numeric, for example with pandas.to_numeric."
        )
    values = values.astype(float)
    for wrong, why in [
        (~np.isfinite(values), "missing or infinite. Fill them in, or end the series before them."),
        (values < 0, "negative. Survivors are counts of customers."),
        (
            np.append(False, np.diff(values) > 0),
            "higher than the one before. Survivors of a contract cannot rise. If customers come back, " + _NOT_SURVIVAL,
        ),
    ]:
        if wrong.any():
            shown = "; ".join(f"period {i}: {values[i]:g}" for i in np.flatnonzero(wrong)[:3])
            raise ValueError(f"{where}: {wrong.sum()} of {len(values)} values ({shown}) are {why}")
    if values[0] == 0:
        raise ValueError(f"{where} starts with no customer: there is nobody to follow.")
    return values


def age_column(triangle):
    names = [name for name in triangle.columns if str(name).startswith("age_")]
    if len(names) != 1:
        raise ValueError(
            f"a triangle has one column of ages, named age_<period>s; got: {', '.join(map(str, triangle.columns))}."
        )
    return names[0]
