"""The commands of the course: ``python -m crmlab <verb>``. ``make <verb>`` calls the same."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036  (it runs before pip could have said so)
    sys.exit(
        f"crmlab needs Python 3.11 or later; this is {sys.version.split()[0]}. With another one: make run PYTHON=python3.12"
    )

from crmlab import __version__  # noqa: E402  (an older Python would stop at the imports, with a riddle)
from crmlab.course import environment  # noqa: E402


def setup(args):
    """set up .venv from the lock (the other commands do it when needed)"""


def run(args):
    """execute every lesson into build/, build the pages, say where to open them"""
    from crmlab.course import run

    return run.run(jobs=args.jobs)


def build(args):
    """rewrite the stored notebooks from their sources (--check: only say what differs)"""
    from crmlab.course import run

    return run.build(args.stem, jobs=args.jobs, check=args.check)


def test(args):
    """run all tests, and every stored notebook again with nbval; further words go to pytest"""
    folders = ["tests", "crmlab", "notebooks", "exercises/solutions"]
    named = any((environment.root() / word.split("::")[0]).exists() for word in args.rest)
    # The whole takes a process on each core; a file stays in one, since cells of a notebook need each other.
    several = ["-n", str(os.cpu_count() or 1), "--dist", "loadfile", "--no-loadscope-reorder"]
    words = args.rest if named else [*several, *folders, *args.rest]
    # Stored notebooks are compared cell by cell. MPLBACKEND would replace the notebooks' own backend.
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"} | environment.NOTEBOOK_VARIABLES
    # Nor does the progress of whoever runs the tests play a part in them.
    env["CRMLAB_PROGRESS"] = str(environment.root() / "build" / "progress-of-tests.json")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--doctest-modules",
        "--nbval",
        "--nbval-current-env",
        *words,
    ]
    return subprocess.call(command, cwd=environment.root(), env=env)


def lab(args):
    """open JupyterLab at the first lesson"""
    first = sorted((environment.root() / "notebooks").glob("*.ipynb"))[0]
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(first), *args.rest], cwd=environment.root())


def bench(args):
    """time counting beside its peers and write docs/benchmarks.md (needs 4 GB and some minutes)"""
    script = environment.root() / "tests" / "benchmarks" / "bench.py"
    return subprocess.call([sys.executable, str(script), *args.rest], cwd=environment.root())


def present(args):
    """serve the slides of a lesson on this machine and open them"""
    from crmlab.course import slides

    return slides.present(args.stem)


def rerun(args):
    """run a lesson again on your own purchase log, with tables, figures, counts and a manifest"""
    from crmlab.course import rerun

    if args.manifest:
        return rerun.again(args.manifest, **rerun.again_words(args))
    return rerun.run(rerun.planned(args))


def cluster(args):
    """start a Spark master and workers on this machine, for rerun --engine, until Ctrl-C"""
    from crmlab.course import cluster

    return cluster.serve(args.workers, args.memory, args.port)


def handout(args):
    """make the sheets of a class: for each student the exercise with data of their own, for marks"""
    from crmlab.grading import handout

    return handout.handout(args.stem, args.roster, args.out, args.exercises, args.jobs, args.nbgrader)


def grade(args):
    """mark the submissions in a folder, each in a sandbox: gradebook, feedback pages, class report"""
    from crmlab.grading import grade, marks, sandbox

    limits = sandbox.Limits(seconds=args.seconds, cell_seconds=args.seconds / 3, memory_mb=args.memory)
    credit = marks.Credit(near=args.near, mistake=args.mistake)
    points = dict(args.points)
    jobs = args.jobs or grade.cores()
    return grade.grade(
        args.submissions, args.roster, args.out, args.exercise, args.exercises, points, credit, limits, args.due, jobs, args.unsafe
    )  # fmt: skip


def doctor(args):
    """say what is missing or mismatched in this installation, and how to mend it"""
    from crmlab.course import doctor

    return doctor.run()


def diff_lock(args):
    """list the key numbers of each lesson that differ between two locks"""
    from crmlab.course import difflock

    return difflock.run(args.old, args.new, args.stem)


def lock(args):
    """resolve pyproject.toml into requirements.lock (needs uv)"""
    environment.write_lock(args.rest)


def conda(args):
    """rewrite environment.yml from pyproject.toml"""
    (environment.root() / "environment.yml").write_text(environment.conda_file(), encoding="utf-8")


def help(args):
    """list the commands"""
    print(f"crmlab {__version__}. The commands, as `make VERB` or `python -m crmlab VERB`:\n")
    for verb in VERBS:
        print(f"  {_word(verb):<11}{verb.__doc__}")


VERBS = (
    run, test, lab, present, rerun, cluster, build, bench, handout, grade, setup, doctor, diff_lock, lock, conda, help,
)  # fmt: skip
# These need nothing but the standard library.
_BARE = (help, lock, conda)
# These hand all further words on to the program behind them.
_HANDING_ON = (test, lab, bench, lock)
# These take paths, which are meant from where the command was given.
_WITH_PATHS = (rerun, handout, grade, diff_lock)


def _grading(sub):
    sub.add_argument("submissions", help="folder with the notebooks that were handed in")
    sub.add_argument("--exercise", help="which one, if several were handed out, such as 05_retention")
    sub.add_argument(
        "--points", type=_pair, nargs="*", default=[], metavar="3=2", help="points of questions (default: 1 each)"
    )
    sub.add_argument(
        "--near", type=_share, default=0.75, help="credit for the right number in another form (default: 0.75)"
    )
    sub.add_argument(
        "--mistake", type=_share, default=0.5, help="credit for a number that a known mistake leads to (default: 0.5)"
    )
    sub.add_argument("--due", type=_moment, help="what is handed in later is marked as late, such as 2026-12-01T18:00")
    sub.add_argument(
        "--seconds", type=_seconds, default=60, help="for a whole submission (default: 60); a third of it for a cell"
    )
    sub.add_argument("--memory", type=_megabytes, default=2048, help="MB for a submission (default: 2048)")
    sub.add_argument(
        "--unsafe", action="store_true", help="without a sandbox, where there is none: only for work that you have read"
    )


def _pair(word):
    number, _, points = word.partition("=")
    try:
        value = float(points)
    except ValueError:
        value = -1
    if not number or not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{word!r} is not QUESTION=POINTS, such as 3=2")
    return number, value


def _at_least_one(word):
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number, 1 or more")
    return int(word)


def _share(word):
    if (value := _number(word)) is None or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a share between 0 and 1, such as 0.75")
    return value


def _seconds(word):
    if (value := _number(word)) is None or not 1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds between 1 and 86400, such as 60")
    return value


def _megabytes(word):
    if not word.isdecimal() or int(word) < 1024:  # in less the kit itself does not run
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of megabytes, 1024 or more, such as 2048")
    return int(word)


def _number(word):
    with contextlib.suppress(ValueError):
        return float(word)


def _moment(word):
    from datetime import datetime

    try:
        return datetime.fromisoformat(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not a date and time, such as 2026-12-01T18:00") from None


def _word(verb):
    return verb.__name__.replace("_", "-")


def _rerun_words(sub):
    sub.usage = (
        "python -m crmlab rerun LESSON --data 'logs/*.parquet' --map customer=... date=... --unit month --out DIR [...]\n"
        "       python -m crmlab rerun --manifest FILE [--out DIR] [--data ...] [--engine ...] [--memory-limit ...] [--threads N]"
    )
    sub.add_argument("stem", nargs="?", metavar="LESSON", help="02_lifecycle or 05_retention")
    sub.add_argument("--data", nargs="+", help="path or glob of Parquet or CSV files, in quotes")
    sub.add_argument("--map", nargs="+", metavar="NAME=COLUMN", help="customer, date, amount, order: your columns")
    sub.add_argument("--unit", help="day, week, month, quarter or year (default: month)")
    sub.add_argument("--out", help="a new folder for what is made")
    sub.add_argument("--engine", help="address of a Spark master (default: DuckDB in this process)")
    sub.add_argument("--name", help="what titles call the data (default: own log)")
    sub.add_argument("--set", nargs="+", metavar="NAME=VALUE", help="parameters of the lesson")
    sub.add_argument("--missing-customers", help="drop: leave out rows without a customer")
    sub.add_argument("--returns", help="drop or keep: what to do with negative amounts")
    sub.add_argument("--zero-amounts", help="keep, drop or refuse")
    sub.add_argument("--duplicates", help="keep, drop or refuse")
    sub.add_argument("--date-format", help="of dates that are text, as in %%d/%%m/%%Y")
    sub.add_argument("--time-zone", help="where the shop is, as in Europe/Berlin")
    sub.add_argument("--encoding", help="of CSV files")
    sub.add_argument("--memory-limit", help="of DuckDB, such as 4GB; what exceeds it goes to the disk under --out")
    sub.add_argument("--threads", type=_at_least_one, help="of DuckDB")
    sub.add_argument("--suppress", type=int, metavar="K", help="leave rows below K out of the counts that are kept")
    sub.add_argument("--seed", type=int, help="of random numbers (default: 0)")
    sub.add_argument("--manifest", help="make a rerun again from its manifest, and say what moved")


def _in(python, argv, folder):
    """The exit code of the same command in another Python, which Ctrl-C reaches too: it ends in its own way."""
    process = subprocess.Popen([python, "-m", "crmlab", *argv], cwd=folder)
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            code = process.wait()
            return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


def main(argv=None):
    """Run a command; return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m crmlab", description="The commands of the course.")
    parser.add_argument("--version", action="version", version=f"crmlab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb in VERBS:
        sub = verbs.add_parser(_word(verb), help=verb.__doc__, description=verb.__doc__)
        sub.set_defaults(call=verb)
        if verb in (run, build, handout, grade):
            sub.add_argument(
                "--jobs",
                type=_at_least_one,
                default=None if verb is grade else os.cpu_count() or 1,
                help="how many at the same time (default: the cores)",
            )
        if verb is build:
            sub.add_argument("stem", nargs="?", help="one lesson, such as 05_retention (default: all)")
            sub.add_argument("--check", action="store_true", help="change nothing; fail if a stored notebook differs")
        if verb is present:
            sub.add_argument("stem", help="a lesson, such as 05_retention")
        if verb is rerun:
            _rerun_words(sub)
        if verb is cluster:
            sub.add_argument("--workers", type=int, default=2, help="worker processes of one core each (default: 2)")
            sub.add_argument("--memory", default="1g", help="memory of each worker (default: 1g)")
            sub.add_argument("--port", type=int, default=7077, help="port of the master (default: 7077)")
        if verb is diff_lock:
            sub.add_argument("old", help="a requirements.lock")
            sub.add_argument("new", help="another")
            sub.add_argument("stem", nargs="?", help="one lesson (default: all)")
        if verb is handout:
            sub.add_argument("stem", help="an exercise, such as 05_retention")
            sub.add_argument("--nbgrader", action="store_true", help="write a course for nbgrader too")
        if verb is grade:
            _grading(sub)
        if verb in (handout, grade):
            sub.add_argument(
                "--roster",
                required=True,
                help="CSV file with the column student_id; name, email, submission if you like",
            )
            sub.add_argument("--out", required=True, help="folder to write to; the exercise gets one of its own in it")
            sub.add_argument(
                "--exercises", help="folder with src/ and keys/ of your own exercises (default: the kit's)"
            )
        if verb in _HANDING_ON:
            sub.usage = f"python -m crmlab {_word(verb)} [words that are handed on]"
    args, rest = parser.parse_known_args(argv)
    call = getattr(args, "call", help)
    if call in _HANDING_ON:
        rest = argv[1:]  # as they stand, in their order
    elif rest:
        parser.error(f"{_word(call)} does not know {' '.join(rest)}")
    args.rest = rest
    try:
        if call not in _BARE:
            python = environment.ready_python(mend=call is not doctor)
            if os.path.normcase(os.path.abspath(python)) != os.path.normcase(os.path.abspath(sys.executable)):
                return _in(python, argv, None if call in _WITH_PATHS else environment.root())
        return call(args)
    except environment.SetupError as error:
        print(f"crmlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending; a second Ctrl-C would only break that off
        again = "; what is done is kept, and the same command goes on from there" if call in (handout, grade) else ""
        print(f"\ncrmlab: interrupted; nothing was left half-written{again}.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
