"""A submission in a bubblewrap: no network, no file but its own and the installed packages, bounded in every way.

bubblewrap (``apt install bubblewrap``) is the only security code here; this module writes its command line, gives limits
on top (``setrlimit``, sizes of the memory file systems) and ends what runs too long or holds too much memory. Inside there
are: the interpreter and its packages and the system's libraries, read-only, without the keys of the exercises; the folder
``/sheet`` in memory with the student's own data. There are not: the network, other processes, the lecturer's files and
environment, a user with any privilege.
"""

import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits", "Outcome", "available", "run"]

# Who it is when the lecturer is root: nobody.
_NOBODY = 65534
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    Attributes
    ----------
    seconds, cell_seconds : float
        Of the clock, for all and for each cell.
    memory_mb : int
        Of all its processes together, and of the address space of each.
    processes : int
        Processes and threads at a time.
    file_mb, space_mb : int
        The largest file, and each of the two folders in memory that it can write to.
    answers_kb : int
        What may come back.
    """

    seconds: float = 60
    cell_seconds: float = 20
    memory_mb: int = 2048
    processes: int = 64
    file_mb: int = 32
    space_mb: int = 64
    answers_kb: int = 1024

    def for_the_inside(self):
        """What the runner sets before it reads the submission; nobody can raise it again."""
        # Threads count as processes, and DuckDB starts one a core.
        several = self.processes + 2 * (os.cpu_count() or 1)
        rlimits = {"AS": self.memory_mb << 20, "NPROC": several, "FSIZE": self.file_mb << 20, "NOFILE": 256, "CORE": 0}
        return {"rlimits": rlimits | {"CPU": int(self.seconds) + 1}, "cell_seconds": self.cell_seconds}


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    lines : bytes
        What came back, at most `Limits.answers_kb`.
    ended : {"finished", "time", "memory", "answers", "machine", "died"}
        How it ended: by itself, by a limit, for want of memory on the machine, or before it was done.
    said : str
        What bubblewrap or the interpreter said, where the run did not begin.
    seconds : float
    memory_mb : float
        The most that was seen of it.
    starved : bool
        Whether it was stopped by the clock while it had the processor for less than half of the time.
    """

    lines: bytes
    ended: str
    said: str
    seconds: float
    memory_mb: float
    starved: bool = False


@functools.cache
def available():
    """Why there is no sandbox here, or None: a probe looks for what the sandbox has to keep out.

    Returns
    -------
    str or None
    """
    if not sys.platform.startswith("linux"):
        return f"bubblewrap runs on Linux; this is {sys.platform}"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "setpriv is not installed (Debian, Ubuntu: apt install util-linux)"
    probe = """
import os, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))
found = []
if os.getuid() == 0 or "CapEff:\\t0000000000000000" not in open("/proc/self/status").read(): found.append("privileges")
for place in ("/", "/usr", "/dev", sys.prefix):
    try:
        open(os.path.join(place, "probe"), "w")
        found.append("a file can be written in " + place)
    except OSError: pass
try:
    socket.create_connection(("192.0.2.1", 9), 1)
    found.append("a network")
except TimeoutError: found.append("a network")
except OSError: pass
if len(socket.if_nameindex()) > 1: found.append("a network")
if len([name for name in os.listdir("/proc") if name.isdigit()]) > 3: found.append("other processes")
children = []
try:
    for _ in range(30):
        child = os.fork()
        if child == 0:
            import time
            time.sleep(20)
            os._exit(0)
        children.append(child)
    found.append("no limit on processes")
except OSError: pass
print("; ".join(found) or "sealed", flush=True)
os._exit(0)
"""
    try:
        done = subprocess.run(
            command(["-c", probe], {}), capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start: {error}"
    if done.stdout.strip() != "sealed":
        return f"bubblewrap does not seal: {(done.stdout + done.stderr).strip()[:300]}"
    return None


def visible():
    """The folders of this machine that a submission can read."""
    places = [Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), _PACKAGE, _PACKAGE.parent / "datasets"]
    places = [place for place in dict.fromkeys(place.resolve() for place in places) if place.is_dir()]
    # A folder inside another comes with it.
    return [place for place in places if not any(other in place.parents for other in places)]


def command(arguments, files, space_mb=64):
    """The command line that runs this Python with `arguments` in the sandbox.

    `files` are put into ``/sheet``: descriptors by name.
    """
    view = _view()
    inside = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"]  # fmt: skip
    inside += ["--dev", "/dev", "--proc", "/proc"]
    # Before the view: what it shows may lie below /tmp.
    for place in ("/tmp", "/sheet"):
        inside += ["--perms", "0700", "--size", str(space_mb << 20), "--tmpfs", place]
    inside += view
    for name, descriptor in files.items():
        inside += ["--file", str(descriptor), f"/sheet/{name}"]
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": "/sheet", "LANG": "C.UTF-8", "TZ": "UTC", "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp", "IPYTHONDIR": "/tmp",
        "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "CRMLAB_STATIC": "1",
    }  # fmt: skip
    for name, value in environment.items():
        inside += ["--setenv", name, value]
    inside += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/sheet", "--"]
    inside += [_python(), "-I", "-B", *arguments]
    if os.geteuid() != 0:
        return inside
    # To the root of this machine no limit on processes applies, so it is nobody who runs bubblewrap. Nobody may not read
    # an interpreter under /root: an outer bubblewrap shows the same folders, then the user changes, and the inner one seals.
    outer = ["bwrap", "--die-with-parent", "--unshare-pid", "--perms", "1777", "--size", "1048576", "--tmpfs", "/tmp", *view]  # fmt: skip
    outer += ["--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc"]
    outer += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--"]
    who = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]
    return outer + who + inside


def run(job, files, limits=None):
    """Run a submission.

    Parameters
    ----------
    job : dict
        ``setup`` and ``cells``, as `crmlab.grading.returned.job` makes them.
    files : dict
        The content of the files in its folder, by name.
    limits : Limits, optional

    Returns
    -------
    Outcome
    """
    limits = limits or Limits()
    held = {name: _held(content) for name, content in (files | {"run.json": json.dumps(job)}).items()}
    descriptors = {name: file.fileno() for name, file in held.items()}
    arguments = [str(_PACKAGE / "grading" / "runner.py"), json.dumps(limits.for_the_inside())]
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command(arguments, descriptors, limits.space_mb),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            pass_fds=list(descriptors.values()),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        )
        try:
            lines, ended, most, worked = _listen(process, limits, began)
        finally:
            # The process namespace dies with bubblewrap, and all that is in it.
            process.kill()
            process.wait()
            process.stdout.close()
            for file in held.values():
                file.close()
        said.seek(0)
        words = said.read(2000).decode("utf-8", "replace")
    starved = ended == "time" and worked < limits.seconds / 2
    return Outcome(lines, ended, words, time.monotonic() - began, most, starved)


def _listen(process, limits, began):
    """Read what comes back until the end or a limit; how it ended, the most memory, the seconds on the processor."""
    lines, most, worked, looked = b"", 0.0, 0.0, 0.0
    pipe = process.stdout.fileno()
    while True:
        ready, _, _ = select.select([pipe], [], [], 0.1)
        if ready:
            part = os.read(pipe, 65536)
            if not part:
                return lines, "finished" if b'"finished": true' in lines[-200:] else "died", most, worked
            lines += part
            if len(lines) > limits.answers_kb << 10:
                return lines[: limits.answers_kb << 10], "answers", most, worked
        now = time.monotonic()
        if now - looked > 0.1:
            looked = now
            memory, worked = _usage(process.pid)
            most = max(most, memory)
            if memory > limits.memory_mb:
                return lines, "memory", most, worked
            if _free() < _floor():
                return lines, "machine", most, worked
        if now - began > limits.seconds:
            return lines, "time", most, worked


def _usage(pid):
    """Megabytes that a process and all below it hold (what they share counts for each), and their seconds of processor."""
    pages, ticks, todo = 0, 0, [pid]
    while todo:
        one = todo.pop()
        try:
            # After the name in brackets, which may hold anything: utime, stime and those of ended children; then rss.
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            pages, ticks = pages + int(fields[21]), ticks + sum(map(int, fields[11:15]))
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                todo += [int(word) for word in children.read_text().split()]
        except (OSError, IndexError, ValueError):
            continue  # it has ended
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, ticks / os.sysconf("SC_CLK_TCK")


def _free():
    """Megabytes that the machine has left."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return float("inf")


@functools.cache
def _floor():
    """Megabytes below which a submission is ended to save the machine: what no limit of a process counts (memory files)."""
    return min(256, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 / 20)


def _view():
    """The options that show the folders of the interpreter and the packages, read-only, without the keys."""
    options, made = [], set()
    places = visible()
    for place in places:
        for parent in reversed(place.parents):
            if str(parent) not in (*made, "/", "/tmp"):
                made.add(str(parent))
                options += ["--perms", "0755", "--dir", str(parent)]
        options += ["--ro-bind", str(place), str(place)]
    for name in ("lib", "lib32", "lib64", "bin", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "alternatives", "fonts", "localtime"):
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    # An installed kit carries the keys inside the package, and an editable install a copy among the packages.
    for keys in sorted({(Path(entry) / "crmlab" / "_keys").resolve() for entry in (*sys.path, _PACKAGE.parent)}):
        if keys.is_dir() and any(keys.is_relative_to(place) for place in places):
            options += ["--size", "4096", "--tmpfs", str(keys), "--remount-ro", str(keys)]
    return options


def _python():
    """The interpreter, by its path inside the environment: a link elsewhere is shown where it leads."""
    return os.path.join(os.path.realpath(sys.prefix), "bin", os.path.basename(sys.executable))


def _held(content):
    """An open file without a name, to hand in by its descriptor."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the caller)
    file.write(content.encode("utf-8") if isinstance(content, str) else content)
    file.seek(0)
    return file
