"""The contract at the door: tables are checked once, when they come in, and a refusal says how to mend it."""

import numpy as np
import pandas as pd
import pandera.pandas as pa

__all__ = ["transactions", "contracts"]


def transactions(log, customer="customer_id", date="date", amount=None, also=None):
    """Check a purchase log and give its columns their standard names.

    Parameters
    ----------
    log : pandas.DataFrame
        One row a purchase (or an item of one).
    customer, date : str
        The columns that hold the customer's id and the day of purchase.
    amount : str, optional
        The column that holds the amount paid.
    also : str, optional
        A further column to carry along, such as the customer's grade; it may not be missing.

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``date`` (the calendar day) and, if asked for, ``amount`` and the further column under
        its own name; rows in the order of the input, numbered from 0.

    Raises
    ------
    TypeError
        If `log` is not a DataFrame.
    ValueError
        If a column or all rows are missing, or if values are: missing ids, dates that are text or missing, amounts
        that are not finite numbers. The message names the column, counts the rows, shows three and says what to do.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import tables
    >>> log = pd.DataFrame({"who": ["a", "b"], "when": pd.to_datetime(["2026-01-03", "2026-01-04"])})
    >>> tables.transactions(log, customer="who", date="when")
      customer_id       date
    0           a 2026-01-03
    1           b 2026-01-04
    """
    given = (
        {"customer_id": customer, "date": date}
        | ({"amount": amount} if amount else {})
        | ({also: also} if also else {})
    )
    frame = _columns(log, given, "a purchase log")
    _require_dates(frame, "date", date)
    _validate(
        frame,
        given,
        customer_id=_column(
            (pd.Series.notna, "drop these rows, or give them an id: a purchase without a customer cannot be followed")
        ),
        date=_column((pd.Series.notna, "drop these rows, or fill in the day")),
        amount=_column((_finite, "make the column numeric and finite, for example with pandas.to_numeric")),
        **(
            {
                also: _column(
                    (pd.Series.notna, "fill in the value, or give these rows a level of their own, such as 'unknown'")
                )
            }
            if also
            else {}
        ),
    )
    return frame.assign(date=_day(frame["date"]))


def contracts(table, customer="customer_id", start="start", end="end"):
    """Check a table of contracts, one row a customer, and give its columns their standard names.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a contract.
    customer, start, end : str
        The columns that hold the customer's id, the first day of the contract and the first day *without* it
        (missing while the contract runs).

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``start``, ``end``.

    Raises
    ------
    TypeError
        If `table` is not a DataFrame.
    ValueError
        If a column is missing, a start is missing, an end is not after its start, dates are text, or a customer
        has several contracts.
    """
    frame = _columns(table, {"customer_id": customer, "start": start, "end": end}, "a table of contracts")
    _require_dates(frame, "start", start)
    if frame["end"].notna().any():
        _require_dates(frame, "end", end)
    else:  # nobody has left: the column may come in any type
        frame["end"] = pd.Series(pd.NaT, frame.index, dtype="datetime64[ns]")
    frame = frame.assign(start=_day(frame["start"]), end=_day(frame["end"]))
    _validate(
        frame,
        {"customer_id": customer, "start": start, "end": end},
        customer_id=_column(
            (pd.Series.notna, "drop these rows, or give them an id"),
            (
                lambda ids: ~ids.duplicated(keep=False),
                "join a customer's contracts into one row, or give each contract an id of its own",
            ),
        ),
        start=_column((pd.Series.notna, "drop these rows, or fill in the first day")),
        end=_column(
            (
                lambda ends: ~(ends <= frame["start"]),
                "the end is the first day without the contract, so it lies after the start; leave it empty while the contract runs",
            )
        ),
    )
    return frame


def _columns(table, wanted, what):
    """The wanted columns under their standard names, or a refusal that lists what is there."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{what} is a pandas DataFrame; got {type(table).__name__}.")
    for name, given in wanted.items():
        count = list(table.columns).count(given)
        if count == 0:
            raise ValueError(
                f"{what} needs a column {given!r}; there are: {', '.join(map(str, table.columns))}. If yours has another name, say so with {_argument(name)}=."
            )
        if count > 1:
            raise ValueError(f"column {given!r} stands {count} times in the table; rename or drop all but one.")
    if table.empty:
        raise ValueError(f"{what} has no rows.")
    # Numbered rows, since an index may repeat: a message then names each row by its place, counted from 0.
    return table[list(wanted.values())].set_axis(list(wanted), axis=1).reset_index(drop=True)


def _argument(name):
    return name.removesuffix("_id")


def _require_dates(frame, name, given):
    if not pd.api.types.is_datetime64_any_dtype(frame[name]):
        shown = ", ".join(repr(value) for value in frame[name].head(3))
        raise ValueError(
            f"column {given!r} holds {frame[name].dtype} values, not dates, in {len(frame):,} rows (for example {shown}). "
            f"Read them with pandas.to_datetime(..., format=...), saying the format, so that day and month cannot be swapped."
        )


def _day(dates):
    """The calendar day as written on the spot: the time of day and the zone are dropped, the date is not moved."""
    return (dates.dt.tz_localize(None) if dates.dt.tz is not None else dates).dt.normalize()


def _finite(values):
    if not pd.api.types.is_numeric_dtype(values):
        return pd.Series(False, values.index)
    return pd.Series(np.isfinite(values.to_numpy(dtype=float, na_value=np.nan)), values.index)


def _column(*checks):
    """A pandera column from pairs: `good` maps a Series to the rows that may stay, `fix` tells what to do about the others."""
    return pa.Column(checks=[pa.Check(good, error=fix, ignore_na=False) for good, fix in checks], nullable=True)


def _validate(frame, given, **columns):
    """Run the pandera checks; of the first column that fails, name it, count the rows, show three and say the fix."""
    schema = pa.DataFrameSchema({name: column for name, column in columns.items() if name in given})
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        cases = cases[(cases["column"] == cases["column"].iloc[0]) & (cases["check"] == cases["check"].iloc[0])]
        shown = "; ".join(f"row {row}: {value}" for row, value in zip(cases["index"].head(3), cases["failure_case"]))
        raise ValueError(
            f"column {given[cases['column'].iloc[0]]!r}: {len(cases):,} of {len(frame):,} rows cannot be used ({shown}). Fix: {cases['check'].iloc[0]}."
        ) from None
