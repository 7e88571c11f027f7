"""Runs inside the sandbox, beside the submission: executes its cells and writes what `answer` held after each question.

Nothing here guards anything: a submission can overwrite all of it, and then only its own answers suffer. bubblewrap
guards. What is noted of a submission (``{"note": ...}``) helps the lecturer to look; no mark hangs on it.
"""

import json
import os
import resource
import signal
import sys
import time

# Of an answer, and of a message.
_ANSWER, _MESSAGE = 60_000, 300
_OUTPUT = 10_000_000


class CellTimeout(BaseException):
    """A cell ran too long; no `except Exception` of the cell takes it."""


def main():
    """Execute ``run.json`` of the current folder; write lines of JSON to what was standard output."""
    limits = json.loads(sys.argv[1])
    for name, value in limits["rlimits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    out = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)

    def emit(**record):
        os.write(out, json.dumps(record).encode("ascii") + b"\n")

    with open("run.json", encoding="utf-8") as file:
        job = json.load(file)
    os.unlink("run.json")
    # This very kit, however it is installed: the interpreter was started without anybody's paths.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    shell = _shell()
    names, noted = shell.user_ns, set()

    def note(what):
        what = what[:_MESSAGE]
        if what not in noted and len(noted) < 20:
            noted.add(what)
            emit(note=what)

    from crmlab.course import plain
    from crmlab.course.sheet import Sheet

    genuine = Sheet.check

    signal.signal(signal.SIGALRM, _stop_cell)
    _watch(note)
    shell.run_cell(job["setup"], store_history=False, silent=True)
    if shell.failure:
        raise SystemExit(f"the sheet's first cell failed: {shell.failure}")
    # Whatever goes wrong before this line is our fault, and no student's.
    emit(begun=True)
    os.dup2(nothing, 2)
    sys.stdout = sys.stderr = _Sink(note)
    before = _library()
    section = None
    for cell in job["cells"]:
        if cell["question"] != section:
            section = cell["question"]
            # What an earlier question left behind is not an answer to this one.
            names.pop("answer", None)
        shell.failure, began, text = None, time.process_time(), None
        signal.setitimer(signal.ITIMER_REAL, limits["cell_seconds"])
        try:
            shell.run_cell(cell["source"], store_history=False, silent=True)
            names = shell.user_ns
            if section is not None and "answer" in names:
                text = plain.dumps(names["answer"])
                if len(text) > _ANSWER:
                    text = plain.dumps(plain.Other(f"{type(names['answer']).__name__}, too large"))
        except BaseException as error:  # a cell that reached into the shell, or an answer that stops who looks at it
            shell.failure = (type(error).__name__, str(error), 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if shell.failure:
            kind, message, line = shell.failure
            emit(question=section, error=[str(kind)[:80], str(message)[:_MESSAGE], int(line)])
            if kind == "CellTimeout" and time.process_time() - began < limits["cell_seconds"] / 2:
                emit(starved=True)  # it waited for others more than it ran
        if getattr(names.get("check"), "__func__", None) is not genuine:
            note("It puts something else in the place of `check`.")
        if text is not None:
            emit(question=section, answer=text)
    for changed in sorted(key for key, value in _library().items() if key in before and before[key] is not value)[:5]:
        note(f"It changes {changed}.")
    emit(finished=True, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    os._exit(0)  # threads, exit handlers and children of the submission are not waited for


def _shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.cache_size = 0

    class Shell(InteractiveShell):
        """IPython without a screen: magics and ``!`` work, nothing is shown, an error is kept and not drawn."""

        failure = None

        def enable_gui(self, gui=None):
            pass

        def enable_matplotlib(self, gui=None):
            return "agg", "agg"

        def ask_exit(self):
            pass

        def showtraceback(self, exc_tuple=None, *args, **kwargs):
            kind, error, trace = exc_tuple or sys.exc_info()
            line = 0
            while trace is not None:
                if trace.tb_frame.f_code.co_filename.startswith("<ipython-input"):
                    line = trace.tb_lineno
                trace = trace.tb_next
            if self.failure is None and kind is not None:
                try:
                    message = str(error)
                except Exception:
                    message = ""
                self.failure = (kind.__name__, message, line)

        def showsyntaxerror(self, *args, **kwargs):
            kind, error, _ = sys.exc_info()
            self.failure = (kind.__name__, str(error.msg), error.lineno or 0)

        showindentationerror = showsyntaxerror

    shell = Shell.instance(config=config)
    shell.display_pub.publish = lambda *args, **kwargs: None
    shell.display_formatter.format = lambda *args, **kwargs: ({}, {})
    sys.displayhook = shell.displayhook
    return shell


def _stop_cell(*_):
    raise CellTimeout("the cell ran longer than a cell may")


class _Sink:
    """Takes what is printed, and no more than a limit of it."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, note):
        self.left, self.note = _OUTPUT, note

    def write(self, text):
        self.left -= len(text)
        if self.left < 0:
            self.note("It prints more than 10 MB.")
            raise RuntimeError("more than 10 MB were printed")
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False

    def fileno(self):
        return 1


def _library():
    """What stands under the names of the libraries that answers are computed with."""
    return {
        f"{name}.{attribute}": value
        for name, module in list(sys.modules.items())
        if name in ("numpy", "pandas", "json", "builtins") or name.startswith("crmlab.")
        for attribute, value in list(vars(module).items())
        if not attribute.startswith("_") and callable(value)
    }


_EVENTS = {
    "the network": {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "socket.gethostbyname"},
    "a process": {"subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "pty.spawn"},
    "a signal": {"os.kill", "os.killpg"},
    "a pickle": {"pickle.find_class"},
    "a file": {
        *("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.rmdir", "os.chdir", "os.chmod"),
        *("os.symlink", "os.link", "os.truncate", "shutil.rmtree"),
    },
}
_KINDS = {event: kind for kind, events in _EVENTS.items() for event in events}


def _watch(note):
    """Note what cells try that no exercise asks for. An audit hook sees it even where the error is caught."""
    kit = os.path.dirname(os.path.dirname(sys.modules["crmlab"].__file__))
    fine = (os.getcwd(), "/tmp", sys.prefix, sys.base_prefix, "/usr", "/dev", "/sys", "/proc/cpuinfo", "/proc/meminfo")
    fine += (os.path.join(kit, "crmlab"), os.path.join(kit, "datasets"), "/etc/localtime", "/etc/fonts")
    fine = tuple(os.path.realpath(part) for part in fine)
    on_the_way = {os.path.realpath(part) for part in sys.path}
    busy = []

    def hook(event, arguments):
        kind = _KINDS.get(event)
        if kind is None or busy or not _by_a_cell(direct=kind == "a pickle"):
            return
        busy.append(True)
        try:
            if kind == "a file":
                if not isinstance(arguments[0], str | bytes):
                    return
                target = os.path.realpath(os.fsdecode(arguments[0]))
                if target.startswith(fine) or target in on_the_way:
                    return
                note(f"It reaches for {target[:120]} ({event}).")
            else:
                note(f"It reaches for {kind} ({event} {str(arguments)[:100]}).")
        except Exception:
            pass
        finally:
            busy.clear()

    sys.addaudithook(hook)


def _by_a_cell(direct):
    """Whether a cell of the submission is behind this, and not the import of a library."""
    frame, steps = sys._getframe(2), 0
    while frame is not None and steps < 60:
        name = frame.f_code.co_filename
        if name.startswith("<ipython-input") or name == "<string>":
            return True
        if name.startswith("<frozen importlib") or (direct and steps > 2):
            return False
        frame, steps = frame.f_back, steps + 1
    return False


if __name__ == "__main__":
    main()
