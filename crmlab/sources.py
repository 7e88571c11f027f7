"""Opening data where they lie: DataFrames, CSV and Parquet files, DuckDB and Ibis tables, each as an Ibis table.

What `crmlab.tables` checks is opened here. Nothing is guessed: CSV is read as text with the header as it is written, and a
file that cannot be read is refused with its reason.
"""

import csv
import functools
import glob
import gzip
import os
import tempfile
from collections import Counter

import pandas as pd

__all__ = ["connect", "open_data", "unreadable"]

# Columns whose names in the data are arguments of the functions of `tables`.
_STANDARD = ("customer_id", "date", "amount", "order_id", "start", "end", "phase", "next_phase")
_DUCKDB_ENCODINGS = ("utf-8", "utf-16", "latin-1")


def connect(memory_limit=None, spill_folder=None, threads=None):
    """An embedded DuckDB with bounds of its own, for ``connection=`` of the functions of this module.

    Parameters
    ----------
    memory_limit : str, optional
        Such as ``"2GB"``; by default DuckDB takes up to four fifths of the memory.
    spill_folder : path, optional
        Where DuckDB puts what exceeds the limit; by default a folder among the system's temporary files.
    threads : int, optional
        By default all cores.

    Returns
    -------
    ibis.backends.duckdb.Backend

    Examples
    --------
    >>> from crmlab import tables
    >>> engine = tables.connect(memory_limit="500MB")
    >>> engine.raw_sql("select current_setting('memory_limit')").fetchone()
    ('476.8 MiB',)
    """
    import ibis  # here, as everywhere below, since it takes half a second to import

    spill = spill_folder or os.path.join(tempfile.gettempdir(), "crmlab-spill")
    given = {"memory_limit": memory_limit, "temp_directory": os.fspath(spill), "threads": threads}
    return ibis.duckdb.connect(**{name: value for name, value in given.items() if value is not None})


@functools.cache
def embedded():
    """The DuckDB of everybody who names no other."""
    return connect()


def open_data(what, data, given, encoding, connection, time_zone=None):
    """The data as an Ibis table that has the wanted columns; whether everything in it is text; the pandas frame behind it.

    With a `time_zone` the moments of a DataFrame stay moments; without one they are the time written on the spot.
    """
    import ibis

    if isinstance(data, pd.DataFrame):
        _require(what, list(data.columns), given)
        frame = _plain_frame(data, given, time_zone)
        return _bring(frame, connection), False, frame
    if type(data).__module__.partition(".")[0] == "polars":
        data = data.collect() if hasattr(data, "collect") else data
        _require(what, data.columns, given)
        return _bring(data if time_zone else _plain_zones(data), connection), False, None
    if isinstance(data, (str, os.PathLike)):
        table, text = _read_files(what, os.path.expanduser(os.fspath(data)), given, encoding, connection)
        return table, text, None
    if isinstance(data, tuple) and len(data) == 2:
        backend, name = data
        if not hasattr(backend, "table") or not hasattr(backend, "raw_sql"):  # a connection of duckdb itself
            backend = ibis.duckdb.from_connection(backend)
        try:
            data = backend.table(name)
        except ibis.common.exceptions.TableNotFound:
            raise ValueError(f"the connection has no table {name!r}.") from None
    if isinstance(data, ibis.Table):
        _require(what, list(data.columns), given)
        return data, False, None
    raise TypeError(
        f"{what} is a pandas DataFrame or polars DataFrame, a path or glob of .csv or .parquet files, a pair (DuckDB connection, table name) "
        f"or an Ibis table; got {type(data).__name__}."
    )


def _bring(frame, connection):
    import ibis

    if connection is None:
        return ibis.memtable(frame)
    # Read in place, not copied.
    name = ibis.util.gen_name("crmlab")
    connection.con.register(name, frame)
    return connection.table(name)


def _require(what, there, given, fold=str):
    """Each wanted column stands once, or a refusal that lists what is there."""
    counts = Counter(map(fold, there))
    for standard, own in given.items():
        if own not in there:
            raise ValueError(
                f"{what} needs a column {own!r}; there are: {', '.join(map(str, there))}."
                # A column that the caller named is misspelt; a standard one may have another name here.
                + (
                    f" If yours has another name, say so with {standard.removesuffix('_id')}=."
                    if standard in _STANDARD
                    else ""
                )
                + (" If it has no amounts, say amount=None." if standard == "amount" else "")
            )
        if counts[fold(own)] > 1:
            raise ValueError(
                f"column {own!r} stands {counts[fold(own)]} times in the table; rename or drop all but one."
            )


def _plain_frame(data, given, time_zone=None):
    """The wanted columns in types that every backend knows, with the number of the row; mixed types are refused."""
    if data.empty:
        raise ValueError("the table has no rows.")
    frame = data[list(dict.fromkeys(given.values()))].reset_index(drop=True)
    for own in frame.columns:
        column = frame[own]
        if isinstance(column.dtype, pd.CategoricalDtype):
            frame[own] = column = column.astype(column.cat.categories.dtype)
        if isinstance(column.dtype, pd.PeriodDtype | pd.IntervalDtype):
            raise ValueError(
                f"column {own!r} holds {column.dtype} values (for example {column.iloc[0]}), which no database knows. Fix: make periods the "
                f"days on which they begin, as in data[{own!r}].dt.to_timestamp(), and what is no date text, as in data[{own!r}].astype(str)."
            )
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            frame[own] = column.dt.tz_convert("UTC").dt.as_unit("us") if time_zone else column.dt.tz_localize(None)
        elif column.dtype == object:
            _require_one_type(own, column)
    # Numbered rows: messages name a row by its place, and of two rows of one day the later one is known.
    return frame.assign(_row=range(len(frame)))


def _require_one_type(own, column):
    kinds = column.dropna().map(type)
    counts = kinds.value_counts()
    if len(counts) > 1:
        held = ", ".join(f"{n:,} {kind.__name__}" for kind, n in counts.items())
        rare = kinds[kinds == counts.index[-1]].index[:3]
        shown = "; ".join(f"row {row}: {column[row]!r}" for row in rare)
        raise ValueError(
            f"column {own!r} mixes types in its {len(column):,} rows: {held} (for example {shown}). Fix: make them one type; "
            f"ids are safest as text, but mind that 7, 7.0 and '007' become different customers."
        )


def _plain_zones(data):
    import polars

    aware = polars.selectors.datetime(time_zone="*")
    return data.with_columns(aware.dt.replace_time_zone(None))


def _read_files(what, path, given, encoding, connection):
    import duckdb
    import ibis

    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: name its files by a glob, as in {os.path.join(path, '*.parquet')!r}.")
    is_parquet, is_csv = (
        any(end in path.lower() for end in ends) for ends in ((".parquet", ".pq"), (".csv", ".tsv", ".txt"))
    )
    if not (is_parquet or is_csv):
        raise ValueError(
            f"{path}: the name ends neither in .parquet nor in .csv, so its format is not known; rename it."
        )
    remote = "://" in path
    if not remote and not glob.glob(path, recursive=True):
        raise FileNotFoundError(f"there is no file {path}.")
    backend = connection or embedded()
    try:
        if is_csv:
            return _read_csv(what, path, given, encoding, backend, connection), True
        table = backend.read_parquet(path, union_by_name=True)
        _require_in_parquet(what, path, remote, table, given)
        return _with_known_types(backend, table), False
    except (duckdb.Error, UnicodeError, LookupError, ibis.common.exceptions.IbisError) as error:
        raise unreadable(path, error) from None


def _read_csv(what, path, given, encoding, backend, connection):
    """Everything as text: no guess about types, so that ids keep their zeros and dates their order of day and month."""
    import ibis

    if encoding.lower().replace("_", "-") not in _DUCKDB_ENCODINGS:
        options = {"dtype": str, "encoding": encoding, "keep_default_na": False, "na_values": [""]}
        parts = [pd.read_csv(file, **options) for file in sorted(glob.glob(path, recursive=True))]
        frame = pd.concat(parts, ignore_index=True)
        _require(what, list(frame.columns), given)
        return _bring(frame, connection)
    alike = {}
    for file in sorted(glob.glob(path, recursive=True)):
        names, separator = _header(what, file, encoding)
        # DuckDB renames the second of two equal names, in silence: look at the header as it is written.
        _require(what, names, given, fold=str.lower)
        alike.setdefault((tuple(names), separator), []).append(file)
    # Nothing is left to DuckDB's guess, which reads past an open quote: it then names the line that is broken.
    options = {"auto_detect": False, "header": True, "quote": '"', "escape": '"'}
    options["encoding"] = encoding.lower().replace("_", "-")
    parts = []
    for (names, separator), files in alike.items():
        folded = [name.lower() for name in names]
        own = [name if folded.index(name.lower()) == n else f"{name}_{n}" for n, name in enumerate(names)]
        parts.append(backend.read_csv(files, columns=dict.fromkeys(own, "VARCHAR"), sep=separator, **options))
    # Files may have their columns in different orders, or a column more.
    every = dict.fromkeys(name for part in parts for name in part.columns)
    parts = [part.select(**{n: part[n] if n in part.columns else ibis.null(str) for n in every}) for part in parts]
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _header(what, file, encoding):
    """The column names as they are written, and what separates them: known from the first line, it is not guessed from broken ones."""
    with (gzip.open if file.lower().endswith(".gz") else open)(file, "rt", encoding=encoding, newline="") as text:
        line = text.readline().removeprefix("\ufeff")
    if not line.strip():
        raise ValueError(f"{what}: {file} is empty.")
    separator = max(",;\t|", key=line.count)
    return next(csv.reader([line], delimiter=separator)), separator


def _require_in_parquet(what, path, remote, table, given):
    import pyarrow.parquet

    _require(what, list(table.columns), given)
    # DuckDB knows no upper and lower case in names and renames the second of two equal ones, in silence.
    for file in [] if remote else glob.glob(path, recursive=True):
        names = pyarrow.parquet.read_schema(file).names
        _require(what, [*names, *(own for own in given.values() if own not in names)], given, fold=str.lower)


def _with_known_types(backend, table):
    """Moments to the nanosecond, as pandas writes them, are a type that Ibis does not know: take microseconds."""
    import ibis

    unknown = [name for name, kind in table.schema().items() if "TIMESTAMPTZ_NS" in str(kind)]
    if not unknown:
        return table
    replaced = ", ".join(f'"{name}"::TIMESTAMPTZ AS "{name}"' for name in unknown)
    view = ibis.util.gen_name("crmlab")
    backend.raw_sql(f'CREATE TEMP VIEW "{view}" AS SELECT * REPLACE ({replaced}) FROM "{table.get_name()}"')
    return backend.table(view)


def unreadable(what, error):
    """What an engine says of data that it cannot read, as an error with a fix."""
    said = " ".join(str(error).strip().splitlines()[:3])
    fix = "it is cut short, damaged or of another format: fetch or write it again"
    if " encoded" in said or "unicode" in said or isinstance(error, (UnicodeError, LookupError)):
        fix = "say how the file is encoded, as in encoding='latin-1', 'utf-16' or 'gb18030'"
    elif "CSV" in said:
        fix = "mend that line (a quote left open, too many or too few fields)"
    return ValueError(f"{what} cannot be read ({said}). Fix: {fix}.")
