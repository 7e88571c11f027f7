"""The commands of the course: ``python -m crmlab <verb>``. ``make <verb>`` calls the same."""

import argparse
import os
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
    words = args.rest if named else ["-n", str(os.cpu_count() or 1), "--dist", "loadfile", *folders, *args.rest]
    # Stored notebooks are compared cell by cell. MPLBACKEND would replace the notebooks' own backend.
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"} | environment.NOTEBOOK_VARIABLES
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


VERBS = (run, test, lab, present, build, bench, setup, doctor, diff_lock, lock, conda, help)
# These need nothing but the standard library.
_BARE = (help, lock, conda)
# These hand all further words on to the program behind them.
_HANDING_ON = (test, lab, bench, lock)


def _word(verb):
    return verb.__name__.replace("_", "-")


def main(argv=None):
    """Run a command; return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m crmlab", description="The commands of the course.")
    parser.add_argument("--version", action="version", version=f"crmlab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb in VERBS:
        sub = verbs.add_parser(_word(verb), help=verb.__doc__, description=verb.__doc__)
        sub.set_defaults(call=verb)
        if verb in (run, build):
            sub.add_argument(
                "--jobs",
                type=int,
                default=os.cpu_count() or 1,
                help="notebooks executed at the same time (default: the cores)",
            )
        if verb is build:
            sub.add_argument("stem", nargs="?", help="one lesson, such as 05_retention (default: all)")
            sub.add_argument("--check", action="store_true", help="change nothing; fail if a stored notebook differs")
        if verb is present:
            sub.add_argument("stem", help="a lesson, such as 05_retention")
        if verb is diff_lock:
            sub.add_argument("old", help="a requirements.lock")
            sub.add_argument("new", help="another")
            sub.add_argument("stem", nargs="?", help="one lesson (default: all)")
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
                return subprocess.call([python, "-m", "crmlab", *argv], cwd=environment.root())
        return call(args)
    except environment.SetupError as error:
        print(f"crmlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncrmlab: interrupted; nothing was left half-written.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
