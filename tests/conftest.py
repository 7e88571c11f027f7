"""What every test shares."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

# Figures are drawn in memory. Not by MPLBACKEND: nbval's kernels would inherit it and draw nothing.
matplotlib.use("agg")

ROOT = Path(__file__).resolve().parents[1]

# Data that the kit fetches and does not carry: a copy beside the clone serves the tests where there is no network.
if (ROOT.parent / "shared" / "data").is_dir():
    os.environ.setdefault("CRMLAB_DATA", str(ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def _no_progress_of_ours(monkeypatch, tmp_path):
    # Answers that a test gives are nobody's.
    monkeypatch.setenv("CRMLAB_PROGRESS", str(tmp_path / "progress.json"))


# Files that take minutes go first, so that no process is left alone with one at the end.
SLOW = ("test_mutations", "test_hostile", "test_grading", "test_rerun_spark", "test_pages", "test_slides", "test_rerun")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


@pytest.fixture(autouse=True)
def _nothing_left_by_others():
    """No test sees the style, the display options or the figures of a lesson or an example that ran before it."""
    import matplotlib.pyplot as plt

    matplotlib.rcdefaults()
    yield
    pd.reset_option("display")
    plt.close("all")


def _needs(programs, what):
    found = next((shutil.which(program) for program in programs if shutil.which(program)), None)
    if found is None:
        # In CI they are installed: there a missing one is a failure, not a skip.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")
    return found


def forget_spark():
    """End the Spark of an earlier test in this process: what it was started with cannot be changed any more."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if session := SparkSession.getActiveSession():
        session.stop()
    if gateway := SparkContext._gateway:
        gateway.shutdown()
        gateway.proc.stdin.close()  # it ends when nobody speaks to it
        gateway.proc.wait(60)
        SparkContext._gateway = SparkContext._jvm = None


@pytest.fixture(scope="session")
def r():
    """Run an R script; it prints numbers, a line a vector, which come back as arrays."""
    rscript = _needs(["Rscript"], "R")

    def run(script):
        # Plain R: nobody's profile or saved workspace has a say.
        command = [rscript, "--vanilla", "-e", "options(digits = 15, width = 10000)\n" + script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [np.array(line.split(), dtype=float) for line in done.stdout.splitlines() if line.strip()]

    return run


@pytest.fixture(scope="module")  # not longer: while Playwright's event loop runs, no test can start one of its own
def chromium():
    """An installed Chromium, driven by Playwright; it reaches nothing but files and this machine."""
    program = _needs(["chromium", "chromium-browser", "google-chrome"], "Chromium")
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built pages; what changed is built again, by one of the test processes while the others wait."""
    from crmlab.course import run

    with open(tmp_path_factory.getbasetemp().parent / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
        assert run.run(jobs=2) == 0
    return ROOT / "build" / "site"


@pytest.fixture
def open_page(chromium):
    """Open a page with the network off; a request to anywhere outside or a complaint in the console fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    complaints = []

    def visit(address):
        page = context.new_page()
        page.on(
            "request",
            lambda request: complaints.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_load_state("load")
        page.wait_for_timeout(100)  # scripts that run after that have their say
        return page

    yield visit
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def axe():
    """axe-core on a page: its serious and critical complaints, each with the places."""
    from axe_playwright_python.sync_playwright import Axe

    tool = Axe()

    def check(page):
        found = tool.run(page, options={"preload": False}).response["violations"]
        bad = [violation for violation in found if violation["impact"] in ("serious", "critical")]
        return [f"{v['id']}: {v['nodes'][0]['html'][:120]} ({len(v['nodes'])})" for v in bad]

    return check


@pytest.fixture(scope="session")
def bubblewrap():
    """A sandbox that seals."""
    from crmlab.grading import sandbox

    program = _needs(["bwrap"], "bubblewrap")
    # A container may forbid what bubblewrap is made of, whatever we do: then nothing can be shown here.
    bare = subprocess.run([program, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    if bare.returncode != 0:
        pytest.skip(f"bubblewrap is forbidden here: {bare.stderr.strip()}")
    assert sandbox.available() is None


@pytest.fixture(scope="session")
def nbgrader():
    """Run a real nbgrader in a course directory; `.ci/run` has it in an environment of its own beside the kit's."""
    program = _needs([str(ROOT / "build" / "nbgrader" / "bin" / "nbgrader"), "nbgrader"], "nbgrader")

    def run(folder, *words):
        env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        env["PATH"] = f"{Path(program).parent}{os.pathsep}{env['PATH']}"  # it calls alembic by its bare name
        command = [program, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
