"""What is to be run on which log; everything that can be wrong with it is said here, before anything runs."""

import ast
import glob
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from crmlab import counting, tables
from crmlab.course import environment, notebooks
from crmlab.course.environment import SetupError

MAPPED = ("customer", "date", "amount", "order")
# Arguments of crmlab.tables.transactions that have a word on the command line.
POLICIES = ("missing_customers", "returns", "zero_amounts", "duplicates", "date_format", "time_zone", "encoding")
# A log shorter than this many units tells nothing by the unit.
FEWEST_UNITS = 4
_SMALLER = {"year": "month", "quarter": "month", "month": "week", "week": "day"}
_DAYS = {**counting._DAYS, "quarter": 3 * counting._DAYS["month"]}


@dataclass(frozen=True)
class Plan:
    """One rerun: which lesson, which data, under which names and policies, into which folder."""

    stem: str
    data: str
    columns: dict
    unit: str
    out: str
    engine: str = "duckdb"
    name: str = "own log"
    policies: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)  # parameters of the lesson that the user gave
    memory_limit: str | None = None
    threads: int | None = None
    suppress: int = 0
    seed: int = 0

    def work(self):
        """The folder of an unfinished rerun."""
        return Path(self.out) / ".unfinished"

    def open(self):
        """The engine and the checked log on it; the first thing of the kernel and of the checks."""
        if self.engine == "duckdb":
            connection = tables.connect(self.memory_limit, self.work() / "spill", self.threads)
            source, given = self.data, {"connection": connection}
        else:
            connection = spark(self.engine)
            source, given = connection.read_parquet(self.data), {}
        names = {"amount": None} | self.columns
        return connection, tables.transactions(source, **names, **self.policies, **given)

    def dumps(self):
        """The plan as text, from which `loads` makes it again."""
        return json.dumps(asdict(self), indent=1)


def loads(text):
    """A plan from its text."""
    return Plan(**json.loads(text))


@dataclass(frozen=True)
class Found:
    """What the checks found in the log."""

    report: pd.DataFrame
    first: pd.Timestamp
    last: pd.Timestamp
    customers: int
    parameters: dict  # of the lesson

    @property
    def days(self):
        """From the first purchase to the last."""
        return (self.last - self.first).days


def spark(address):
    """A session on a Spark cluster, as an Ibis backend."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise SetupError('PySpark is not installed. Mend: pip install "pyspark>=4", and Java 17') from None
    import ibis

    builder = SparkSession.builder.master(address).appName("crmlab rerun")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    builder = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
    if "127.0.0.1" in address or address.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return ibis.pyspark.connect(session)


def lessons():
    """Stems of the lessons that can be run again: those that this module knows how to set up."""
    return tuple(_PARAMETERS)


def make(stem, data, columns, unit, out, engine=None, settings=(), policies=None, **more):
    """A plan from the words of the command line.

    Raises
    ------
    SetupError
        If a word is not known; says which are.
    """
    if stem not in _PARAMETERS:
        known = {item.stem for item in notebooks.all_notebooks()}
        why = "is about data that no log holds" if stem in known else "is no lesson"
        raise SetupError(f"{stem!r} {why}; lessons that run on a purchase log: {', '.join(_PARAMETERS)}.")
    columns = _pairs("--map", columns)
    strange = [name for name in columns if name not in MAPPED]
    if strange:
        raise SetupError(f"--map knows {', '.join(MAPPED)}; got {strange[0]}. As in --map customer=cust_no date=when")
    if unit not in _UNITS[stem]:
        raise SetupError(f"--unit of {stem} is one of {', '.join(_UNITS[stem])}; got {unit!r}.")
    engine = engine or "duckdb"
    if engine != "duckdb" and not re.match(r"spark://[^:/]+:\d+$|local(\[\d+\])?$", engine):
        raise SetupError(f"--engine is the address of a Spark master, as in spark://127.0.0.1:7077; got {engine!r}.")
    if engine != "duckdb" and re.search(r"[.](csv|tsv|txt)\b", str(data).lower()):
        raise SetupError(f"on Spark a log is Parquet; got {data}.")
    given = {name: _value(value) for name, value in _pairs("--set", settings).items()}
    known = parameters_of(stem)
    strange = [name for name in given if name not in known]
    if strange:
        raise SetupError(f"{stem} has no parameter {strange[0]!r}; there are: {', '.join(known)}.")
    _check_settings(given)
    policies = {name: value for name, value in (policies or {}).items() if value is not None}
    return Plan(stem, str(data), columns, unit, str(out), engine, policies=policies, settings=given, **more)


def from_words(args):
    """The plan of a command line, as argparse read it."""
    for name, words in (("LESSON", args.stem), ("--data", args.data), ("--out", args.out)):
        if not words:
            raise SetupError(f"rerun needs {name}. `python -m crmlab rerun --help` shows a whole command.")
    data = _one_path(args.data)
    if args.suppress is not None and args.suppress < 0:
        raise SetupError(f"--suppress takes a number of customers, 0 or more; got {args.suppress}.")
    policies = {name: getattr(args, name) for name in POLICIES}
    more = {name: getattr(args, name) for name in ("name", "memory_limit", "threads", "suppress", "seed")}
    more = {name: value for name, value in more.items() if value is not None}
    unit = args.unit or "month"
    return make(args.stem, data, args.map or (), unit, args.out, args.engine, args.set or (), policies, **more)


def again_words(args):
    """What a command line with ``--manifest`` changes of that rerun, as argparse read it.

    Raises
    ------
    SetupError
        If it holds a word that would make it another rerun.
    """
    for name in ("stem", "map", "unit", "name", "set", "suppress", "seed", *POLICIES):
        if getattr(args, name) is not None:
            option = "LESSON" if name == "stem" else "--" + name.replace("_", "-")
            raise SetupError(
                "--manifest makes the same rerun again; it takes --out, --data, --engine, --memory-limit and --threads, "
                f"not {option}."
            )
    more = {name: getattr(args, name) for name in ("out", "engine", "memory_limit", "threads")}
    return more | {"data": _one_path(args.data) if args.data else None}


def _one_path(words):
    if len(words) > 1:
        raise SetupError(
            f"--data takes one path or glob, and got {len(words)}: put it in quotes, as in --data 'logs/*.parquet'."
        )
    return words[0]


def check(plan):
    """Open the log, hold it to its contract, and see whether the lesson can say anything about it.

    Returns
    -------
    Found

    Raises
    ------
    SetupError
        With what is wrong and how to mend it, in the words of the command line.
    """
    import duckdb

    _check_settings(plan.settings)
    try:
        connection, log = plan.open()
        dates = log.table.date
        ends = log.table.aggregate(first=dates.min(), last=dates.max(), n=log.table.customer_id.nunique()).to_pandas()
        report = log.report()
    except duckdb.Error as error:  # a bound that is none, a disk that is full
        raise SetupError(f"DuckDB: {' '.join(str(error).splitlines()[:2])}") from None
    except (ValueError, TypeError, OSError) as error:
        raise SetupError(_in_words_of_the_command(str(error))) from None
    except Exception as error:  # an engine's own: a cluster that is not there, a file that Spark cannot read
        if plan.engine == "duckdb":
            raise
        said = str(error).strip().splitlines()[0][:300]
        if "NANOS" in said:
            said += ". Fix: write days as dates, or moments in microseconds, as in frame.to_parquet(..., coerce_timestamps='us')"
        raise SetupError(f"{plan.engine} could not read {plan.data}: {said}") from None
    finally:
        if plan.engine != "duckdb" and "connection" in locals():
            connection._session.stop()
    first, last = (pd.Timestamp(ends[name].iloc[0]) for name in ("first", "last"))
    found = Found(report, first, last, int(ends["n"].iloc[0]), {})
    if found.days == 0:
        raise SetupError(f"the log has one day only ({first:%Y-%m-%d}): nobody can be followed.")
    units = found.days / _DAYS[plan.unit]
    if units < FEWEST_UNITS:
        smaller = _SMALLER.get(plan.unit)
        fix = f"Fix: --unit {smaller}" if smaller in _UNITS[plan.stem] else "Fix: a longer log"
        raise SetupError(
            f"the log runs from {first:%Y-%m-%d} to {last:%Y-%m-%d}, {units:.1f} {plan.unit}s: too coarse a unit for it, "
            f"which should fit {FEWEST_UNITS} times. {fix}."
        )
    parameters = _PARAMETERS[plan.stem](plan, found) | {"SHOP": plan.name} | plan.settings
    _CHECKS[plan.stem](plan, found, parameters)
    return Found(report, first, last, found.customers, parameters)


def files(plan):
    """The files of the log that this machine can read."""
    if "://" in plan.data:
        return []
    path = os.path.expanduser(plan.data)
    if os.path.isdir(path):
        path = os.path.join(path, "**", "*.parquet")
    return sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))


def names(paths):
    """Names of the files of a log: their paths below the folder that they share, since partitions hold files of one name."""
    if not paths:
        return []
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return [os.path.relpath(path, shared).replace(os.sep, "/") for path in paths]


# --- the lessons -------------------------------------------------------------------------------------------------------


def parameters_of(stem):
    """Names and values of a lesson's parameters, as the lesson has them."""
    source = environment.root() / "notebooks" / "src" / f"{stem}.md"
    cells = notebooks.read_source(source).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}


_UNITS = {"02_lifecycle": ("day", "week", "month", "year"), "05_retention": ("week", "month", "quarter", "year")}


def _lifecycle_parameters(plan, found):
    length = _DAYS[plan.unit]
    silence = plan.settings.get("SILENCE", 182)
    year = plan.settings.get("YEAR", max(1, round(365 / length)))
    wait = silence / length
    return {
        "UNIT": plan.unit,
        "SILENCE": silence,
        "YEAR": year,
        "LOOK": sorted({round(wait * part, 2) for part in (1 / 6, 1 / 3, 1 / 2, 1)}),
        "TRIED": sorted({days for days in (14, 30, 60, 91, 182, 273, silence) if days < found.days}),
        "COUNTED": True,
    }


def _lifecycle_check(plan, found, parameters):
    days = _DAYS[plan.unit]
    silence, year = parameters["SILENCE"], parameters["YEAR"]
    needed = max(silence + year / 2 * days, year * days)
    if needed > found.days:
        half = found.days / 2
        raise SetupError(
            f"the log covers {found.days} days. With decline after SILENCE={silence} days and a look at YEAR={year:g} {plan.unit}s, "
            f"{needed:.0f} days are needed. Fix: a longer log, or --set SILENCE={max(1, int(half / 2))} YEAR={max(1, int(half / days))}."
        )


def _retention_parameters(plan, found):
    # Definitions compare a period with the one before, and the log's first and last are seldom whole.
    spans = [unit for unit in ("quarter", "month", "week") if found.days / _DAYS[unit] >= FEWEST_UNITS]
    return {"PERIOD": plan.unit, "SPAN": spans[0] if spans else "week", "JUDGED": None}


def _retention_check(plan, found, parameters):
    if found.days < FEWEST_UNITS * 7:
        raise SetupError(f"the log covers {found.days} days: the definitions of retention need {FEWEST_UNITS} weeks.")


_PARAMETERS = {"02_lifecycle": _lifecycle_parameters, "05_retention": _retention_parameters}
_CHECKS = {"02_lifecycle": _lifecycle_check, "05_retention": _retention_check}


# Parameters that have options of their own, or none.
_NOT_SET = {"SHOP": "Fix: --name", "UNIT": "Fix: --unit", "PERIOD": "Fix: --unit", "COUNTED": "A rerun always counts"}


def _check_settings(settings):
    """Say what is wrong with the values of ``--set``."""

    def number(value):
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")

    def whole(value):
        return number(value) and isinstance(value, int)

    kinds = {
        "SILENCE": (whole, "a whole number of days above 0", "182"),
        "YEAR": (number, "a number above 0, in units of the durations", "12"),
        "AT_LEAST": (whole, "a whole number of purchases above 0", "3"),
        "TRIED": (whole, "a list of whole numbers of days above 0", '"[91,182]"'),
        "LOOK": (number, "a list of numbers above 0, in units of the durations", '"[1,3,6]"'),
    }
    for name, value in settings.items():
        if name in _NOT_SET:
            raise SetupError(f"--set does not change {name}. {_NOT_SET[name]}.")
        if name not in kinds:
            continue
        fits, what, such = kinds[name]
        values = value if what.startswith("a list") and isinstance(value, list | tuple) else [value]
        listed = what.startswith("a list") == isinstance(value, list | tuple)
        if not listed or not values or not all(map(fits, values)):
            raise SetupError(f"--set {name} is {what}, as in --set {name}={such}; got {value!r}.")


# --- words -------------------------------------------------------------------------------------------------------------


def _pairs(option, words):
    if isinstance(words, dict):
        return words
    found = dict(word.partition("=")[::2] for word in words)
    wrong = [word for word in words if not all(word.partition("=")[::2])]
    if wrong:
        raise SetupError(f"{option} takes NAME=VALUE; got {wrong[0]!r}.")
    return found


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word, such as a unit


def _in_words_of_the_command(message):
    """The fix of an error of `crmlab.tables` as one would type it here."""
    for name in POLICIES:
        option = "--" + name.replace("_", "-")
        message = re.sub(rf"\b{name}='([^']*)'", rf"{option} \1", message)
        message = re.sub(rf"\b{name}= \(as in '([^']*)'\)", rf"{option}, as in {option} '\1'", message)
        message = re.sub(rf"\b{name}=(?!\w)", option, message)
    message = re.sub(r"say so with (\w+)=", r"say so with --map \1=YOUR_COLUMN", message)
    return message.replace(
        " If it has no amounts, say amount=None.", " If it has no amounts, leave amount= out of --map."
    )


__all__ = [
    "Found", "Plan", "again_words", "check", "files", "from_words", "lessons", "loads", "make", "names", "parameters_of", "spark",
]  # fmt: skip
