"""``doctor``: look at an installation as a helper would, and say how to mend what is wrong."""

import importlib.metadata
import re
import shutil
import sys

from crmlab.course import environment


def run():
    """Print one line a check.

    Returns
    -------
    int
        0 if nothing is wrong, else 1. What only some tests want (R, a browser) is mentioned and counts for nothing.
    """
    wrong = 0
    for what, problem, mend in _checks():
        wrong += bool(problem)
        print(f"{'WRONG' if problem else 'fine '}  {what}" + (f": {problem}\n       Mend: {mend}" if problem else ""))
    for program, use in (("Rscript", "tests against R"), ("chromium", "tests of the pages in a browser")):
        if not shutil.which(program):
            print(f"note   no {program}: {use} are skipped")
    print("\nNothing is wrong." if not wrong else f"\n{wrong} thing{'s are' if wrong > 1 else ' is'} wrong.")
    return int(wrong > 0)


def _checks():
    """Every check: what was looked at, what is wrong with it (or None), how to mend it."""
    root = environment.root()
    version = ".".join(map(str, sys.version_info[:2]))
    yield (
        f"Python {version}",
        None if sys.version_info >= (3, 11) else "3.11 or later is needed",
        "install a later Python and run `make setup` with it: make setup PYTHON=python3.12",
    )
    yield "packages of the lock", _packages(root), "python -m crmlab setup (or delete .venv first, to begin anew)"
    yield "Jupyter's kernel", _kernel(), "delete .venv and run: python -m crmlab setup"
    yield "bundled data", _data(), "git checkout datasets"
    yield "stored notebooks", _notebooks(), "python -m crmlab build"
    yield (
        "environment.yml",
        None
        if (root / "environment.yml").read_text(encoding="utf-8") == environment.conda_file()
        else "differs from pyproject.toml",
        "python -m crmlab conda",
    )
    free = shutil.disk_usage(root).free / 1e9
    yield "room on the disk", None if free > 1 else f"{free:.1f} GB are free, 1 GB is needed", "make room"


def _packages(root):
    """The pins of the lock that this environment does not have, by their markers for this machine."""
    from packaging.requirements import Requirement

    missing, other = [], []
    lines = re.findall(r"^([\w.-]+==[^\\\n]+)", (root / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                other.append(f"{requirement.name} {found} instead of {str(requirement.specifier)[2:]}")
    said = [f"{len(missing)} missing ({', '.join(missing[:5])})"] if missing else []
    said += [f"{len(other)} of another version ({'; '.join(other[:5])})"] if other else []
    return " and ".join(said) or None


def _kernel():
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:  # whatever is wrong with it, this is what the student has to be told
        return f"not to be found ({error})"
    same = command in ("python", "python3") or shutil.which(command) and sys.prefix in command
    return None if same else f"starts {command}, not this environment's Python"


def _data():
    from crmlab import datasets

    for name in datasets.catalog().index:
        try:
            datasets.load(name)
        except Exception as error:
            return f"{name}: {error}"
    return None


def _notebooks():
    from crmlab.course.notebooks import all_notebooks

    missing = [item.name for item in all_notebooks() if not item.stored.exists()]
    return f"missing: {', '.join(missing)}" if missing else None
