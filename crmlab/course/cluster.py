"""A Spark standalone cluster on this machine: a master and workers on the loopback, from the `spark-class` of the PySpark wheel."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from crmlab.course.environment import SetupError

__all__ = ["Cluster", "serve"]

_HOST = "127.0.0.1"
_PATIENCE = 90  # seconds in which a Java process has to be up


class Cluster:
    """A master and workers that live as long as the ``with`` block; nobody but this machine can reach them.

    Parameters
    ----------
    workers : int
        Processes of one core each.
    memory : str
        Of each worker, as Spark writes it: ``"1g"``.
    port : int
        Of the master; 0 takes a free one.

    Attributes
    ----------
    address : str
        What ``--engine`` takes: ``spark://127.0.0.1:7077``.
    processes : list of subprocess.Popen
        The master, then the workers; each leads a process group of its own, in which its executors are.
    """

    def __init__(self, workers=2, memory="1g", port=0):
        self.workers, self.memory, self.port = workers, memory, port or _free_port()
        self.address = f"spark://{_HOST}:{self.port}"
        self.processes = []

    def __enter__(self):
        program = _spark_class()
        self._folder = tempfile.TemporaryDirectory(prefix="crmlab-spark-", ignore_cleanup_errors=True)
        self._page = _free_port()
        try:
            self._start(
                program, "master.Master", "--host", _HOST, "--port", str(self.port), "--webui-port", str(self._page)
            )
            self._wait(lambda: self._status() is not None, "the master")
            for number in range(self.workers):
                work = Path(self._folder.name) / f"worker-{number}"
                words = [
                    "--host",
                    _HOST,
                    "--cores",
                    "1",
                    "--memory",
                    self.memory,
                    "--webui-port",
                    "0",
                    "--work-dir",
                    str(work),
                ]
                self._start(program, "worker.Worker", *words, self.address)
            self._wait(lambda: self.alive() == self.workers, "its workers")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._folder.cleanup()

    def alive(self):
        """How many workers the master knows to be there."""
        page = self._status() or ""
        found = re.search(r'"aliveworkers"\s*:\s*(\d+)', page)
        return int(found[1]) if found else 0

    def kill(self, number=0):
        """Kill a worker with its executors at once, as a power cut would."""
        process = self.processes[1 + number]
        for pid in [*_descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def _start(self, program, part, *words):
        log = open(Path(self._folder.name) / f"{part}-{len(self.processes)}.log", "wb")  # noqa: SIM115  (lives with the process)
        with log:
            env = os.environ | {"SPARK_LOCAL_IP": _HOST, "SPARK_NO_DAEMONIZE": "1", "SPARK_DAEMON_MEMORY": "512m"}
            command = [str(program), f"org.apache.spark.deploy.{part}", *words]
            made = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        self.processes.append(made)

    def _status(self):
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{self._page}/json/", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def _wait(self, ready, what):
        until = time.monotonic() + _PATIENCE
        while not ready():
            gone = next((p for p in self.processes if p.poll() is not None), None)
            if gone is not None or time.monotonic() > until:
                logs = sorted(Path(self._folder.name).glob("*.log"))
                said = logs[-1].read_text(errors="replace").strip().splitlines()[-3:] if logs else []
                raise SetupError(f"{what} of Spark did not start. It said: {' '.join(said)}")
            time.sleep(0.2)


def serve(workers=2, memory="1g", port=7077):
    """Start a cluster, say its address, and keep it until Ctrl-C.

    Returns
    -------
    int
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else its processes would stay behind
    with Cluster(workers, memory, port) as cluster:
        print(f"Spark: {cluster.address}, {workers} workers of {memory}. In another terminal:")
        print(f"  python -m crmlab rerun ... --engine {cluster.address}")
        print("Ctrl-C ends it.", flush=True)
        try:
            while all(process.poll() is None for process in cluster.processes):
                time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
    print("crmlab: a process of the cluster has ended.", file=sys.stderr)
    return 1


def _spark_class():
    try:
        import pyspark
    except ImportError:
        raise SetupError('PySpark is not installed. Mend: pip install "pyspark>=4", and Java 17') from None
    return Path(pyspark.__file__).parent / "bin" / "spark-class"


def _free_port():
    with socket.socket() as found:
        found.bind((_HOST, 0))
        return found.getsockname()[1]


def _descendants(pid):
    """Processes that a process started, and those that these started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = {}
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, left = [], [pid]
    while left:
        left += (more := children.get(left.pop(), []))
        found += more
    return found
