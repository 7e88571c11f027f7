"""The contract at the door: data are checked once, where they lie, and a refusal says how to mend them.

``transactions``, ``contracts``, ``episodes`` and ``responses`` take a pandas or polars DataFrame, a path or glob of CSV or
Parquet files, a pair (DuckDB connection, table name) or any Ibis table. They look at every row in one pass on the backend,
refuse what no analysis can use, leave out what a named policy says, and return an object that knows both counts. ``connect``
sets the memory limit and the spill folder of the embedded DuckDB.

The checks are Ibis expressions, all counted by one query. pandera's Ibis backend was tried for them: it takes a query a check,
and fetches every row of the table as soon as one value is wrong.
"""

import datetime
import functools
import html
import zoneinfo
from dataclasses import dataclass, field

import pandas as pd

from crmlab import sources
from crmlab.arguments import one_of
from crmlab.sources import connect

__all__ = ["transactions", "contracts", "episodes", "responses", "connect", "Checked"]

# What a missing id looks like once it has been made text.
_BLANK = ("", "nan", "NaN", "None", "NULL", "<NA>")
# The only text that is a date without further words: year first, so that day and month cannot be swapped.
_ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d+)?)?)?$"
_POLICY_WORDS = {"refuse": "none may be there", "drop": "left out", "keep": "kept"}
_FIX_ID = "leave them out with missing_customers='drop', or give them an id: what has no customer cannot be followed"


@dataclass(frozen=True, eq=False)
class Checked:
    """Data that passed the door: an Ibis table under standard column names, and what was left out on the way.

    Attributes
    ----------
    table : ibis.Table
        The rows that were kept. Nothing has been fetched: every count runs where the data lie.
    kind : str
        ``"transactions"``, ``"contracts"``, ``"episodes"`` or ``"responses"``.
    columns : dict
        Standard column name to the name in the data.
    """

    table: object = field(repr=False)
    kind: str
    columns: dict
    _steps: tuple = field(repr=False)
    # Where counts of these data are kept: takes their name, their definition and what computes them; see crmlab.counting.fetch.
    _keep: object = field(default=None, repr=False)

    def report(self):
        """How many rows came in, how many were left out and why, how many were kept.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``step``: ``policy``, ``found`` (rows of that kind, among those not left out by a step above;
            missing where nobody looked) and ``left_out``.

        Examples
        --------
        >>> import pandas as pd
        >>> from crmlab import tables
        >>> log = pd.DataFrame({"customer_id": ["a", "b"], "date": pd.to_datetime(["2026-01-03"] * 2), "amount": [9.5, -9.5]})
        >>> tables.transactions(log, returns="drop").report()
                                  policy  found  left_out
        step
        rows in                               2         0
        exact duplicates   keep, not counted   <NA>         0
        missing customers             refuse      0         0
        returns                         drop      1         1
        zero amounts                    keep      0         0
        rows kept                             1         0
        """
        table = pd.DataFrame(self._steps, columns=["step", "policy", "found", "left_out"]).set_index("step")
        return table.astype({"found": "Int64", "left_out": "Int64"})

    def to_pandas(self):
        """Fetch the rows that were kept, in no particular order.

        Returns
        -------
        pandas.DataFrame
        """
        return self.table.drop([name for name in ("_row",) if name in self.table.columns]).to_pandas()

    def _lines(self):
        yield f"{self.kind}: {self._steps[-1][2]:,} of {self._steps[0][2]:,} rows kept"
        for step, policy, found, left_out in self._steps[1:-1]:
            if left_out:
                yield f"left out: {left_out:,} {step}"
            elif found:
                yield f"{policy}: {found:,} {step}"
        yield "columns: " + ", ".join(name if name == own else f"{name} ({own})" for name, own in self.columns.items())

    def __repr__(self):
        return "\n  ".join(self._lines())

    def _repr_html_(self):
        first, *rest = self._lines()
        return f"<p><b>{first}</b></p><ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in rest) + "</ul>"


def transactions(
    data,
    customer="customer_id",
    date="date",
    amount="amount",
    order=None,
    also=None,
    *,
    missing_customers="refuse",
    returns="refuse",
    zero_amounts="keep",
    duplicates="keep",
    date_format=None,
    time_zone=None,
    earliest="1970-01-02",
    latest=None,
    encoding="utf-8",
    connection=None,
):
    """Check a purchase log and give its columns their standard names.

    Parameters
    ----------
    data : DataFrame, path, (connection, name) or ibis.Table
        One row a purchase, or an item of one. A pandas or polars DataFrame; a path or glob of ``.csv`` or ``.parquet``
        files; a pair of a DuckDB connection and the name of a table in it; any Ibis table, such as one on Spark.
    customer, date : str
        The columns that hold the customer's id and the day of purchase. Ids may be whole numbers or text, which stays
        text ("007" is not 7), also from CSV.
    amount : str or None
        The column that holds the amount paid, in one currency; None for a log without amounts.
    order : str, optional
        The column that tells which rows are one purchase, such as an invoice number.
    also : str or sequence of str, optional
        Further columns to carry along, such as the customer's grade; they may not be missing.
    missing_customers : {"refuse", "drop"}
        What to do with rows without a customer; an empty or blank text and "nan" are no id either.
    returns : {"refuse", "drop", "keep"}
        What to do with negative amounts. Kept, a return counts as a purchase and lowers the monetary value. A return
        that was left out leaves its purchase behind.
    zero_amounts : {"keep", "refuse", "drop"}
        What to do with amounts of 0; kept, they count as purchases.
    duplicates : {"keep", "refuse", "drop"}
        What to do with rows equal to another in *every* column of the data; "drop" leaves one of each. The default
        does not look for them: two equal items of one purchase are no error, and looking takes as long as counting.
    date_format : str, optional
        How dates that are text are written, as in ``"%d/%m/%Y"``. Without it, text is a date only in CSV files, and only
        as ``YYYY-MM-DD``, with or without a time of day.
    time_zone : str, optional
        Where the shop is, as in ``"Europe/Berlin"``. Needed where a file or database stores moments (with time zone):
        which day it was depends on it. A DataFrame says its own zone, and the day is the one written on the spot; with
        `time_zone` it is the day there.
    earliest, latest : date-like
        Dates outside are refused: by default those after today, and those up to 1970-01-01, the day that programs
        write for no date.
    encoding : str
        Of CSV files.
    connection : ibis.backends.duckdb.Backend, optional
        Where files and DataFrames are read, such as ``connect(memory_limit="2GB")``.

    Returns
    -------
    Checked
        Its ``table`` has ``customer_id``, ``date`` (the calendar day) and, if asked for, ``amount``, ``order_id`` and the
        further columns under their own names. Its ``report()`` says what was left out. Handed in again it comes back as it is.

    Raises
    ------
    TypeError
        If `data` is of another kind.
    ValueError
        If a column is missing or stands twice, the data cannot be read or have no rows, ids are of several types, dates are
        text, missing, in another format, in the future or absurd, amounts are missing or not finite, or a policy refuses.
        The message names the column, counts the rows, shows three and says what to do.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import tables
    >>> log = pd.DataFrame({"who": ["007", "12"], "when": pd.to_datetime(["2026-01-03", "2026-01-04"]), "paid": [9.5, 0]})
    >>> tables.transactions(log, customer="who", date="when", amount="paid")
    transactions: 2 of 2 rows kept
      keep: 1 zero amounts
      columns: customer_id (who), date (when), amount (paid)
    """
    one_of("missing_customers", missing_customers, ("refuse", "drop"))
    for name, value in (("returns", returns), ("zero_amounts", zero_amounts), ("duplicates", duplicates)):
        one_of(name, value, ("refuse", "drop", "keep"))
    given = {"customer_id": customer, "date": date} | _optional(amount=amount, order_id=order) | _further(also)
    door = _Door("a purchase log", "transactions", data, given, encoding, connection, duplicates, time_zone)
    if door.passed:
        return door.passed
    door.ids("customer_id", missing_customers)
    door.dates("date", date_format, time_zone, earliest, latest)
    if amount is not None:
        door.amounts("amount", returns, zero_amounts)
    door.present("order_id", "fill in the number, or leave order= out")
    for name in _further(also):
        door.present(name, "fill in the value, or give these rows a level of their own, such as 'unknown'")
    return door.close()


def contracts(
    data,
    customer="customer_id",
    start="start",
    end="end",
    also=None,
    *,
    missing_customers="refuse",
    duplicates="keep",
    date_format=None,
    time_zone=None,
    earliest="1900-01-02",
    latest=None,
    encoding="utf-8",
    connection=None,
):
    """Check a table of contracts, one row a customer, and give its columns their standard names.

    Parameters
    ----------
    data : DataFrame, path, (connection, name) or ibis.Table
        One row a contract; see `transactions`.
    customer, start, end : str
        The columns that hold the customer's id, the first day of the contract and the first day *without* it
        (missing while the contract runs).
    also : str or sequence of str, optional
        Further columns to carry along, such as the tariff; they may not be missing.
    missing_customers : {"refuse", "drop"}
        What to do with rows without a customer.
    duplicates : {"keep", "refuse", "drop"}
        What to do with rows equal in every column. Kept, they are refused as several contracts of one customer.
    date_format, time_zone, encoding, connection
        As in `transactions`.
    earliest, latest : date-like
        Dates outside are refused: by default those after today (an end of 9999-12-31 is a contract that runs) and those
        up to 1900-01-01, which spreadsheets write for no date.

    Returns
    -------
    Checked
        Its ``table`` has ``customer_id``, ``start``, ``end`` and the further columns.

    Raises
    ------
    TypeError, ValueError
        As `transactions`; also if an end is not after its start, or a customer has several contracts.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import tables
    >>> rows = pd.DataFrame({"customer_id": ["a", "b"], "start": pd.to_datetime(["2024-05-01"] * 2), "end": [pd.NaT, pd.Timestamp("2025-05-01")]})
    >>> tables.contracts(rows).table.end.count().to_pandas()
    1
    """
    one_of("missing_customers", missing_customers, ("refuse", "drop"))
    one_of("duplicates", duplicates, ("refuse", "drop", "keep"))
    given = {"customer_id": customer, "start": start, "end": end} | _further(also)
    door = _Door("a table of contracts", "contracts", data, given, encoding, connection, duplicates, time_zone)
    if door.passed:
        return door.passed
    door.ids("customer_id", missing_customers)
    door.spell(date_format, time_zone, earliest, latest, "the contract")
    for name in _further(also):
        door.present(name, "fill in the value, or give these rows a level of their own, such as 'unknown'")
    checked = door.close()
    door.unique("customer_id", "join a customer's contracts into one row, or give each contract an id of its own")
    return checked


def episodes(
    data,
    customer="customer_id",
    phase="phase",
    start="start",
    end="end",
    next_phase=None,
    also=None,
    *,
    missing_customers="refuse",
    duplicates="keep",
    date_format=None,
    time_zone=None,
    earliest="1900-01-02",
    latest=None,
    encoding="utf-8",
    connection=None,
):
    """Check a table of phases that customers went through, one row a stay, and give its columns their standard names.

    Parameters
    ----------
    data : DataFrame, path, (connection, name) or ibis.Table
        One row a stay in a phase; see `transactions`. A customer may come back to a phase.
    customer, phase, start, end : str
        The columns that hold the customer's id, the phase, its first day and the first day *after* it (missing while
        the customer is in it).
    next_phase : str, optional
        The column that holds the phase moved to. Without it, a stay that ended is followed by the customer's stay that
        begins on that day. Name it where some phases, such as "gone for good", have no rows of their own; a customer does
        not come back from those, and where a next stay has a row, it is the one named.
    also : str or sequence of str, optional
        Further columns to carry along; they may not be missing.
    missing_customers, duplicates, date_format, time_zone, earliest, latest, encoding, connection
        As in `contracts`.

    Returns
    -------
    Checked
        Its ``table`` has ``customer_id``, ``phase``, ``start``, ``end``, ``next_phase`` (missing while the stay lasts) and
        the further columns.

    Raises
    ------
    TypeError, ValueError
        As `transactions`; also if an end is not after its start, stays of one customer overlap, a stay ended and
        nothing says where the customer went, or the phase moved to is not that of the customer's next stay.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import tables
    >>> rows = pd.DataFrame({
    ...     "customer_id": ["a", "a"], "phase": ["build-up", "stability"],
    ...     "start": pd.to_datetime(["2024-05-01", "2025-02-01"]), "end": pd.to_datetime(["2025-02-01", None]),
    ... })
    >>> stays = tables.episodes(rows).table
    >>> stays.order_by("start").next_phase.to_pandas().tolist()
    ['stability', None]
    """
    import ibis

    one_of("missing_customers", missing_customers, ("refuse", "drop"))
    one_of("duplicates", duplicates, ("refuse", "drop", "keep"))
    given = {"customer_id": customer, "phase": phase, "start": start, "end": end}
    given |= _optional(next_phase=next_phase) | _further(also)
    door = _Door("a table of phases", "episodes", data, given, encoding, connection, duplicates, time_zone)
    if door.passed:
        return door.passed
    door.ids("customer_id", missing_customers)
    door.present("phase", "fill in the phase, or give these rows one of their own, such as 'unknown'")
    door.spell(date_format, time_zone, earliest, latest, "the phase")
    for name in _further(also):
        door.present(name, "fill in the value, or give these rows a level of their own, such as 'unknown'")
    checked = door.close()
    stays = checked.table
    order = ibis.window(group_by="customer_id", order_by=["start", ibis.coalesce(stays.end, stays.start)])
    stays = stays.mutate(_next_start=stays.start.lead().over(order), _follows=stays.phase.lead().over(order))
    if next_phase is None:
        stays = stays.mutate(next_phase=(stays._next_start == stays.end).ifelse(stays._follows, ibis.null(str)))
    overlap = stays._next_start.notnull() & (stays.end.isnull() | (stays._next_start < stays.end)).fill_null(False)
    door.forbid(
        stays, "start", overlap, "a customer is in one phase at a time: let a stay end on the day the next one begins"
    )
    lost = stays.end.notnull() & stays.next_phase.isnull()
    door.forbid(
        stays,
        "end",
        lost,
        "the stay ended and no stay of the customer begins on that day: fill the gap with a phase of its own, "
        "or name the column of the phase moved to with next_phase=",
    )
    early = stays.end.isnull() & stays.next_phase.notnull()
    door.forbid(stays, "next_phase", early, "a stay that lasts has no next phase yet: empty it, or fill in the end")
    if next_phase is not None:
        named, follows = stays.next_phase, stays._follows
        if named.type().is_string() != follows.type().is_string():  # as where no stay of the table has ended yet
            named, follows = named.cast("string"), follows.cast("string")
        other = (stays._next_start == stays.end) & (named != follows)
        door.forbid(
            stays,
            "next_phase",
            other,
            "the customer's stay that begins on that day is in another phase: correct one of the two",
        )
        gap = stays._next_start > stays.end
        door.forbid(
            stays,
            "end",
            gap,
            "the customer's next stay begins later: fill the gap with a row of its own, in the phase moved to",
        )
    return Checked(stays.drop("_next_start", "_follows"), checked.kind, checked.columns, checked._steps)


def responses(
    data,
    ratings,
    customer="customer_id",
    scale=(1, 5),
    also=None,
    *,
    missing_customers="refuse",
    missing_ratings="refuse",
    duplicates="keep",
    encoding="utf-8",
    connection=None,
):
    """Check answers to a survey, one row an answering customer, and give its columns their standard names.

    Parameters
    ----------
    data : DataFrame, path, (connection, name) or ibis.Table
        One row a questionnaire; see `transactions`.
    ratings : str or sequence of str
        The columns that hold ratings.
    customer : str
        The column that holds the customer's id.
    scale : (int, int)
        Lowest and highest rating; ratings are whole numbers.
    also : str or sequence of str, optional
        Further columns to carry along, such as what the customer did later; they may not be missing.
    missing_customers : {"refuse", "drop"}
        What to do with rows without a customer.
    missing_ratings : {"refuse", "drop", "keep"}
        What to do with questionnaires in which a rating is missing.
    duplicates, encoding, connection
        As in `transactions`.

    Returns
    -------
    Checked
        Its ``table`` has ``customer_id``, the ratings as whole numbers and the further columns, under their own names.

    Raises
    ------
    TypeError, ValueError
        As `transactions`; also if a rating is not a whole number of the scale.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import tables
    >>> answers = pd.DataFrame({"customer_id": ["a", "b"], "satisfaction": [5, None], "stayed": [True, False]})
    >>> tables.responses(answers, "satisfaction", also="stayed", missing_ratings="drop")
    responses: 1 of 2 rows kept
      left out: 1 missing ratings
      columns: customer_id, satisfaction, stayed
    """
    one_of("missing_customers", missing_customers, ("refuse", "drop"))
    one_of("missing_ratings", missing_ratings, ("refuse", "drop", "keep"))
    one_of("duplicates", duplicates, ("refuse", "drop", "keep"))
    rated = _further(ratings)
    given = {"customer_id": customer} | rated | _further(also)
    door = _Door("a table of answers", "responses", data, given, encoding, connection, duplicates)
    if door.passed:
        return door.passed
    door.ids("customer_id", missing_customers)
    door.ratings(rated, scale, missing_ratings)
    for name in _further(also):
        door.present(name, "fill in the value, or give these rows a level of their own, such as 'unknown'")
    return door.close()


def _optional(**names):
    return {standard: name for standard, name in names.items() if name is not None}


def _further(also):
    """Columns under their own names; a standard name has another use."""
    names = () if also is None else (also,) if isinstance(also, str) else tuple(also)
    taken = {"customer_id", "date", "amount", "order_id", "start", "end", "phase", "next_phase", "_row"}
    for name in names:
        if name in taken:
            raise ValueError(f"a further column cannot be named {name!r}, which has another use here; rename it.")
    return {name: name for name in names}


class _Door:
    """One table on its way in: what is asked of it is collected, then counted by a single query in `close`."""

    def __init__(self, what, kind, data, given, encoding, connection, duplicates, time_zone=None):
        self.what, self.kind, self.given = what, kind, given
        self.passed = None
        if isinstance(data, Checked):
            self.passed = _pass_again(data, kind, given)
            return
        self.frame = data if isinstance(data, pd.DataFrame) else None
        raw, self.text, self.place = sources.open_data(what, data, given, encoding, connection, time_zone)
        self.count_in = None
        if duplicates != "keep":
            raw = self._without_duplicates(raw, duplicates)
        found = "not counted" if duplicates == "keep" else self.count_in - self._rows(raw)
        self.policies = []  # (step, policy, is such a row, standard column, fix)
        self.faults = []  # (is such a row, standard column, fix)
        self.duplicates = (duplicates, found)
        names = dict(given) | ({"_row": "_row"} if "_row" in raw.columns else {})
        self.original = raw.select(**{standard: raw[own] for standard, own in names.items()})
        # What each column becomes: expressions on the table as it came, so that one scan serves all.
        self.columns = {name: self.original[name] for name in names}

    # --- what may be asked -------------------------------------------------------------------------------------

    def ids(self, name, policy):
        column = self.columns[name]
        kind = column.type()
        if not (kind.is_string() or kind.is_integer() or kind.is_floating() or kind.is_uuid() or kind.is_null()):
            self._wrong_type(name, "ids", "make them text or whole numbers")
        missing = column.isnull()
        if kind.is_string():
            missing = missing | column.strip().isin(_BLANK)
        elif kind.is_floating():
            missing = missing | column.isnan()
        self.policies.append(("missing customers", policy, missing, name, _FIX_ID))

    def dates(self, name, date_format, time_zone, earliest, latest, required=True):
        written = self.original[name]
        self.columns[name] = column = self._day(name, date_format, time_zone)
        if required:
            self.faults.append((written.isnull(), name, "drop these rows, or fill in the day"))
        if written.type().is_string():
            how = f"as {date_format}" if date_format else "as YYYY-MM-DD"
            fix = f"write them all {how}, which they are not, or say how they are written with date_format= (as in '%d/%m/%Y')"
            self.faults.append((written.notnull() & column.isnull(), name, fix))
        first, last = pd.Timestamp(earliest).date(), _today() if latest is None else pd.Timestamp(latest).date()
        fix = f"before {first}: correct them, or give an earlier earliest= if they are meant"
        self.faults.append((column < first, name, fix))
        until = f"in the future, after {last}" if latest is None else f"after latest= ({last})"
        fix = f"{until}: correct them, leave an unknown end empty, or give a later latest= if they are meant"
        self.faults.append((column > last, name, fix))

    def spell(self, date_format, time_zone, earliest, latest, what):
        self.dates("start", date_format, time_zone, earliest, latest)
        self.dates("end", date_format, time_zone, earliest, latest, required=False)
        fix = f"the end is the first day without {what}, so it lies after the start; leave it empty while {what} lasts"
        self.faults.append((self.columns["end"] <= self.columns["start"], "end", fix))

    def amounts(self, name, returns, zero_amounts):
        fix = "make the column numeric and finite, for example with pandas.to_numeric, or leave these rows out"
        column = self._number(name, fix)
        self.faults.append((_not_finite(column), name, fix))
        fix = "say what to do with returns: returns='drop' leaves them out, returns='keep' counts them as purchases"
        self.policies.append(("returns", returns, column < 0, name, fix))
        fix = "say what to do with them: zero_amounts='drop' leaves them out, zero_amounts='keep' counts them as purchases"
        self.policies.append(("zero amounts", zero_amounts, column == 0, name, fix))

    def ratings(self, names, scale, policy):
        low, high = scale
        for name in names:
            fix = f"ratings are whole numbers from {low} to {high}; correct them, or say another scale="
            column = self._number(name, fix)
            missing = _not_finite(column)
            self.columns[name] = missing.ifelse(None, column).cast("int64")
            fix_missing = "say what to do: missing_ratings='drop' leaves these questionnaires out, 'keep' keeps them"
            self.policies.append(("missing ratings", policy, missing, name, fix_missing))
            outside = (column < low) | (column > high) | (column != column.round())
            self.faults.append(((outside & ~missing), name, fix))

    def present(self, name, fix):
        if name in self.given:
            column = self.columns[name]
            missing = column.isnull() | column.isnan() if column.type().is_floating() else column.isnull()
            self.faults.append((missing, name, fix))

    # --- what was asked, counted -------------------------------------------------------------------------------

    def close(self):
        """Count everything in one query; refuse, or leave out and return the rest."""
        import ibis

        # A row is left out for the first reason that holds, and only rows that stay can be at fault.
        kept = ibis.literal(True)
        steps, marks = [], {}
        for number, (_, policy, bad, _, _) in enumerate(self.policies):
            marks[f"policy{number}"] = kept & bad.fill_null(False)
            if policy == "drop":
                kept = kept & ~bad.fill_null(False)
        for number, (bad, _, _) in enumerate(self.faults):
            marks[f"fault{number}"] = kept & bad.fill_null(False)
        marked = self.original.mutate(**marks, _kept=kept)
        query = marked.aggregate(
            _rows=marked.count(), _kept=marked._kept.sum(), **{name: marked[name].sum() for name in marks}
        )
        counts = {name: 0 if pd.isna(n) else int(n) for name, n in self._run(query).iloc[0].items()}
        if not counts["_rows"]:
            raise ValueError(f"{self.what} has no rows.")
        self.count_in = self.count_in or counts["_rows"]
        for number, (_, policy, _, name, fix) in enumerate(self.policies):
            if policy == "refuse" and counts[f"policy{number}"]:
                self._refuse(marked, f"policy{number}", name, counts[f"policy{number}"], fix)
        for number, (_, name, fix) in enumerate(self.faults):
            if counts[f"fault{number}"]:
                self._refuse(marked, f"fault{number}", name, counts[f"fault{number}"], fix)
        policy, found = self.duplicates
        label, found = ("keep, not counted", None) if policy == "keep" else (policy, found)
        steps = [("rows in", "", self.count_in, 0), ("exact duplicates", label, found, found or 0)]
        for number, (step, policy, *_) in enumerate(self.policies):
            n = counts[f"policy{number}"]
            steps.append((step, policy, n, n if policy == "drop" else 0))
        steps.append(("rows kept", "", counts["_kept"], 0))
        if not counts["_kept"]:
            left = ", ".join(f"{n:,} {step}" for step, _, _, n in steps if n)
            raise ValueError(f"{self.what} has no rows left: all {self.count_in:,} were left out ({left}).")
        table = self.original.select(**self.columns, _kept=kept)
        table = table.filter(table._kept) if any(n for *_, n in steps[2:]) else table
        self.table = table.drop("_kept")
        return Checked(self.table, self.kind, dict(self.given), tuple(steps))

    def unique(self, name, fix):
        """Refuse ids that stand in several rows."""
        twice = self.table.group_by(name).having(self.table.count() > 1).aggregate(rows=self.table.count())
        shown = self._run(twice.order_by(name).limit(3))
        if len(shown):
            rows = int(self._run(twice.aggregate(rows=twice.rows.sum()))["rows"].iloc[0])
            self._say(name, rows, "; ".join(f"{v!r} {n} times" for v, n in zip(shown[name], shown["rows"])), fix)

    def forbid(self, table, name, bad, fix):
        """Refuse rows that only show themselves beside others of the same customer."""
        marked = table.mutate(_bad=bad)
        count = self._run(marked.aggregate(n=marked._bad.sum()))["n"].iloc[0]
        if not pd.isna(count) and count:
            self._refuse(marked, "_bad", name, int(count), fix)

    # --- how -----------------------------------------------------------------------------------------------------

    def _without_duplicates(self, raw, policy):
        if self.frame is not None:
            repeated = self.frame.duplicated().to_numpy()
            self.count_in = len(self.frame)
            if policy == "refuse" and repeated.any():
                rows = repeated.nonzero()[0]
                shown = "; ".join(f"row {row}" for row in rows[:3])
                self._refuse_duplicates(len(rows), shown)
            import ibis

            return ibis.memtable(self.place.loc[~repeated])
        self.count_in = self._rows(raw)
        distinct = raw.distinct()
        extra = self.count_in - self._rows(distinct)
        if policy == "refuse" and extra:
            twice = raw.group_by(*raw.columns).having(raw.count() > 1).aggregate(_copies=raw.count()).limit(3)
            rows = self._run(twice.select(*self.given.values(), "_copies"))
            self._refuse_duplicates(extra, "; ".join(map(_show_row, rows.to_dict("records"))))
        return distinct

    def _refuse_duplicates(self, count, shown):
        raise ValueError(
            f"{self.what}: {count:,} of {self.count_in:,} rows repeat another in every column ({shown}). Fix: duplicates='drop' leaves "
            "one of each, duplicates='keep' keeps them (two equal items of one purchase are no error)."
        )

    def _rows(self, table):
        return int(self._run(table.aggregate(n=table.count()))["n"].iloc[0])

    def _run(self, query):
        """Execute; what the engine cannot read becomes a message of ours."""
        import duckdb

        try:
            return query.to_pandas()
        except duckdb.Error as error:
            raise sources.unreadable(self.what, error) from None

    def _refuse(self, marked, mark, name, count, fix):
        rows = marked.filter(marked[mark])
        if "_row" in marked.columns:
            numbers = self._run(rows.order_by("_row").select("_row").limit(3))["_row"]
            values = self.frame[self.given[name]]
            shown = "; ".join(f"row {row}: {values.iloc[row]}" for row in numbers)
        else:
            own = {self.given.get(column, column): rows[column] for column in self.columns}
            shown = "; ".join(map(_show_row, self._run(rows.select(**own).limit(3)).to_dict("records")))
        self._say(name, count, shown, fix)

    def _say(self, name, count, shown, fix):
        raise ValueError(
            f"column {self.given.get(name, name)!r}: {count:,} of {self.count_in:,} rows cannot be used ({shown}). Fix: {fix}."
        )

    def _wrong_type(self, name, wanted, fix):
        column, rows = self.original[name], self._rows(self.original)
        if not rows:
            raise ValueError(f"{self.what} has no rows.")
        kind = self.frame[self.given[name]].dtype if self.frame is not None else column.type()
        shown = ", ".join(repr(value) for value in self._run(column.as_table().limit(3))[name])
        raise ValueError(
            f"column {self.given[name]!r} holds {kind} values, not {wanted}, in {rows:,} rows (for example {shown}). Fix: {fix}."
        )

    def _day(self, name, date_format, time_zone):
        """The calendar day as written on the spot: the time of day is dropped, the date is not moved."""
        column, own = self.columns[name], self.given[name]
        kind = column.type()
        if kind.is_null():
            return column.cast("date")
        if kind.is_string() and date_format:
            self._require_duckdb("date_format", own, "make the column a date there")
            return _try_strptime()(column, date_format).date()
        if date_format:
            raise ValueError(f"column {own!r} holds {kind} values, not text: leave date_format= out.")
        if kind.is_string() and self.text:
            return column.re_search(_ISO).ifelse(column.left(10), None).try_cast("date")
        if kind.is_date():
            return column
        if not kind.is_timestamp():
            self._wrong_type(
                name,
                "dates",
                "say how they are written, so that day and month cannot be swapped: date_format= here, or format= of pandas.to_datetime",
            )
        if kind.timezone is None:
            if time_zone:
                raise ValueError(
                    f"column {own!r} has no time zone: leave time_zone= out; its days are taken as written."
                )
            return column.date()
        if time_zone is None:
            raise ValueError(
                f"column {own!r} holds moments ({kind}), and which day it was depends on the place. Fix: say where, as in time_zone='Europe/Berlin'."
            )
        self._require_duckdb("time_zone", own, "make the column a date, or a time without zone, there")
        if time_zone not in zoneinfo.available_timezones():
            raise ValueError(f"time_zone= is the name of a zone, such as 'Europe/Berlin'; got {time_zone!r}.")
        return _in_zone()(time_zone, column).date()

    def _require_duckdb(self, argument, own, fix):
        # The two functions behind these arguments are DuckDB's own.
        engine = self.original.get_backend().name
        if engine != "duckdb":
            raise ValueError(f"{argument}= is for data in DuckDB, and column {own!r} is in {engine}. Fix: {fix}.")

    def _number(self, name, fix):
        column = self.columns[name]
        if self.text or column.type().is_null():
            column = column.try_cast("float64")
        elif column.type().is_decimal():
            column = column.cast("float64")
        elif not column.type().is_numeric() or column.type().is_boolean():
            self._wrong_type(name, "numbers", fix)
        self.columns[name] = column
        return column


def _not_finite(column):
    return column.isnull() | column.isnan() | column.isinf() if column.type().is_floating() else column.isnull()


def _show_row(row):
    return ", ".join(f"{name}: {value}" for name, value in row.items())


@functools.cache
def _try_strptime():
    import ibis
    import ibis.expr.datatypes as dt

    @ibis.udf.scalar.builtin(name="try_strptime")
    def try_strptime(text: str, pattern: str) -> dt.timestamp: ...

    return try_strptime


@functools.cache
def _in_zone():
    import ibis
    import ibis.expr.datatypes as dt

    @ibis.udf.scalar.builtin(name="timezone")
    def timezone(zone: str, moment: dt.Timestamp(timezone="UTC")) -> dt.timestamp: ...

    return timezone


def _today():
    """The last calendar day that has begun anywhere on Earth."""
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=14)).date()


def _pass_again(checked, kind, given):
    if checked.kind != kind:
        raise TypeError(f"this takes {kind}; got an object of {checked.kind}.")
    lacking = [name for name in given if name not in checked.table.columns]
    if lacking:
        raise ValueError(f"the checked {kind} have no column {lacking[0]!r}: name it when they are checked (also=).")
    return checked
