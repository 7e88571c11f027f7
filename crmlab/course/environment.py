"""The environment: a `.venv` from the hashed lock, made by the standard library alone.

Nothing here may import a third-party package: it runs on a bare Python, before anything is installed.
"""

import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

# The clone: this file is <root>/crmlab/course/environment.py there, and lies in site-packages elsewhere.
_ABOVE = Path(__file__).resolve().parents[2]
EXTRAS = ("course", "test", "dev")

# What every execution of a notebook is given, so that the same source gives the same bytes.
NOTEBOOK_VARIABLES = {
    "IPYKERNEL_CELL_NAME": "<cell>",  # else a warning names a temporary file
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",  # sums in another order differ in the last digit
    "OPENBLAS_NUM_THREADS": "1",
    "TZ": "UTC",
    "CRMLAB_STATIC": "1",  # a slider shows itself as text: its ids are new on every run, and no page could move it
}


class SetupError(Exception):
    """Something outside the kit is missing; the message says how to mend it."""


def root():
    """The folder of the clone; refused with a reason where crmlab was installed without one."""
    if (_ABOVE / "pyproject.toml").is_file() and (_ABOVE / "notebooks").is_dir():
        return _ABOVE
    raise SetupError(
        "this command works on the course, so it needs a clone of the repository; the installed package has only the modules and the data."
    )


def ready_python(mend=True):
    """The interpreter to run a command with: this one if crmlab is installed in it, else that of an up-to-date `.venv`.

    With ``mend=False`` the `.venv` is taken as it is, to be looked at.
    """
    venv = root() / ".venv"
    if Path(sys.prefix) != venv and _installed_here():
        return sys.executable  # a conda or other environment that the user made for the kit
    if mend:
        set_up(venv)
    elif not python_of(venv).exists():
        raise SetupError("nothing is set up yet. Mend: python -m crmlab setup")
    return str(python_of(venv))


def set_up(venv, lock=None):
    """Make a virtual environment with what a lock names, each file checked against its hash, and the clone, editable.

    Does nothing where that is done already.
    """
    lock = lock or root() / "requirements.lock"
    wanted = _wanted(lock)
    if _stamp(venv) == wanted:
        return
    stamp = venv / "crmlab-setup"
    # What is installed already, by its two hashes: a change of pyproject.toml alone does not fetch anything again.
    if not (_stamp(venv) or "").startswith(wanted.split()[0]):
        packages = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
        print(
            f"Setting up {venv.name} from {lock.name}: about {packages} packages, a minute or two. This happens once.",
            flush=True,
        )
        stamp.unlink(missing_ok=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
        if made.returncode:
            raise SetupError(
                "this Python cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv. "
                f"It said:\n{made.stdout}{made.stderr}"
            )
        _pip(venv, "install", "--require-hashes", "--requirement", str(lock), count=packages)
    # The clone itself has no hash; its build tools come from the lock, so nothing is fetched here.
    _pip(venv, "install", "--no-deps", "--no-build-isolation", "--editable", str(root()))
    # Written last: an interrupted set-up has no stamp, and is done again.
    stamp.write_text(wanted, encoding="utf-8")


def write_lock(words=()):
    """Resolve pyproject.toml for every platform into requirements.lock, with hashes; further words go to uv."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
    ]
    command += [part for extra in EXTRAS for part in ("--extra", extra)] + [
        "--no-header",
        "--quiet",
        "--output-file",
        "requirements.lock",
        *words,
    ]
    if subprocess.run(command, cwd=root()).returncode:
        raise SetupError("the lock was not written. It takes uv: python -m pip install uv")


def conda_file():
    """environment.yml as it follows from pyproject.toml: conda brings Python, pip what the kit asks for.

    The versions are those of the lock, so that conda users run what everybody runs. (pip cannot take the lock itself
    beside an editable install: a clone has no hash.)
    """
    project = tomllib.loads((root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (root() / "requirements.lock").read_text(encoding="utf-8")
    asked = project["dependencies"] + [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    pins = []
    for name in (re.match(r"[\w.-]+", line)[0] for line in asked):
        pins += re.findall(rf"^({re.escape(name)}==.*?) *\\?$", lock, re.MULTILINE)
    lines = "\n".join(f"      - {pin}" for pin in pins)
    return f"""\
# Generated from pyproject.toml and requirements.lock by `python -m crmlab conda`; a test compares. Do not edit.
name: {project["name"]}
channels:
  - conda-forge
dependencies:
  - python{project["requires-python"]}
  - pip
  - pip:
{lines}
      - --editable .
"""


def _installed_here():
    try:
        importlib.metadata.distribution("crmlab")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def python_of(venv):
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _wanted(lock):
    """What an environment depends on, as two hashes: the lock with this Python's version, and the project file."""
    python = repr(sys.version_info[:2]).encode()
    project = (root() / "pyproject.toml").read_bytes()
    return f"{hashlib.sha256(python + lock.read_bytes()).hexdigest()} {hashlib.sha256(project).hexdigest()}"


def _stamp(venv):
    stamp = venv / "crmlab-setup"
    return stamp.read_text(encoding="utf-8") if stamp.exists() and python_of(venv).exists() else None


def _pip(venv, *arguments, count=None):
    command = [str(python_of(venv)), "-m", "pip", "--disable-pip-version-check", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root())
    said, seen = [], 0
    for line in process.stdout:
        said.append(line)
        seen += line.startswith(("Collecting", "Requirement already"))
        if count and sys.stderr.isatty():
            print(f"\r  {min(seen, count)} of about {count} packages found", end="", file=sys.stderr, flush=True)
    if count and sys.stderr.isatty():
        print(file=sys.stderr)
    if process.wait():
        raise SetupError(
            "pip could not install the packages (is a package registry reachable?). Its last lines:\n"
            + "".join(said[-15:])
        )
