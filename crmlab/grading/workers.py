"""Processes that work for a class, and end at once when Ctrl-C is pressed."""

import contextlib
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

__all__ = ["pool", "undisturbed"]


@contextlib.contextmanager
def pool(jobs):
    """A pool of `jobs` processes.

    The first Ctrl-C kills them, with what they run, and is then raised as KeyboardInterrupt; those that come while they
    are ended are ignored, so that nobody is left waiting for a process.
    """
    executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    previous = None
    if threading.current_thread() is threading.main_thread():
        previous = signal.signal(signal.SIGINT, _once)
    try:
        yield executor
        executor.shutdown()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            print("\nStopping; what is running is ended.", file=sys.stderr)
            for process in list((executor._processes or {}).values()):
                process.terminate()
        executor.shutdown(cancel_futures=True)
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def undisturbed():
    """While work is handed out: Ctrl-C waits, and the processes that are started meanwhile never get it.

    Nor does anything that they start. It is for `pool` to end them.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # Windows has none
    if mask is None:
        yield
        return
    before = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def _once(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
