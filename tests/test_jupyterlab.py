"""A student's and a lecturer's JupyterLab, driven in a real browser."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT

from crmlab.course.environment import NOTEBOOK_VARIABLES

TOKEN = "t0ken"
# RISE's own slips, seen with every notebook although its slides work. It has no console, which the manager of widgets asks
# for: in live slides a slider is its line of text.
RISE_NOISE = ("RangeError", "theme/", "Failed to load resource", ".css", "Shared module @jupyterlab/console")


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """A JupyterLab over copies of the exercise and the lesson, on this machine only."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "exercises" / "05_retention.ipynb", folder / "exercise.ipynb")
    shutil.copy(ROOT / "notebooks" / "05_retention.ipynb", folder / "lesson.ipynb")
    # The code of a lesson up to its slider, so that the slider is the last cell.
    lesson = json.loads((ROOT / "notebooks" / "01_delivered_value.ipynb").read_text())
    code = [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]
    last = next(i for i, cell in enumerate(code) if ".slider(" in "".join(cell["source"]))
    (folder / "slider.ipynb").write_text(json.dumps(lesson | {"cells": code[: last + 1]}))
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    command += [
        f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--allow-root",
    ]
    # A student's server has nothing of what the command `test` sets for stored notebooks, where a slider is a line of text.
    ours = {"MPLBACKEND", *NOTEBOOK_VARIABLES}
    env = {k: v for k, v in os.environ.items() if k not in ours} | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={TOKEN}", timeout=2).read()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.5)
        yield folder, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def visit(lab, chromium):
    """Open an address of the server; whatever asks for another machine is recorded and refused."""
    _, address = lab
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    outside, complaints = [], []

    def route(request):
        if request.request.url.startswith((address, "data:", "blob:")):
            request.continue_()
        else:
            outside.append(request.request.url)
            request.abort()

    context.route("**/*", route)

    def visit(path):
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/{path}?token={TOKEN}")
        return page

    visit.complaints = complaints
    yield visit
    context.close()
    assert outside == []


def answer(folder, number, lines):
    """Write a student's answer into the notebook, as typing it would."""
    file = folder / "exercise.ipynb"
    notebook = json.loads(file.read_text())
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if f'check("{number}"' in source:
            cell["source"] = f'{lines}\ncheck("{number}", answer)'
    file.write_text(json.dumps(notebook))


def run_all(page, until):
    """Run all cells and wait for what the last of them shows."""
    session = "jupyterapp.shell.currentWidget.sessionContext"
    page.wait_for_selector(".jp-CodeCell", timeout=60_000)
    page.wait_for_function(
        f"window.jupyterapp && {session}?.isReady && {session}.session?.kernel?.status === 'idle'", timeout=60_000
    )
    for second in range(240):
        # A kernel that has just become ready may drop what it is sent: asked again every minute. Not awaited, since the
        # promise may never settle.
        if second % 60 == 3:
            page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.locator(".jp-CodeCell").last.scroll_into_view_if_needed()  # cells out of sight are not drawn
        if page.locator(until).count():
            return
        page.wait_for_timeout(1000)
    raise AssertionError(
        f"{until} is not shown after four minutes: {page.locator('.jp-Notebook').inner_text()[-2000:]}"
    )


def test_a_student_answers_wrongly_and_rightly_and_reads_both(lab, visit):
    folder, _ = lab
    answer(folder, "3", "answer = retention.fit_geometric(data['alive']).survival(10)")
    answer(folder, "4", "answer = 'cannot tell'")
    page = visit("lab/workspaces/exercise/tree/exercise.ipynb")
    run_all(page, until="text=NotImplementedError: Question 7: compute")
    page.locator(".jp-Cell", has_text="Question 4.").first.scroll_into_view_if_needed()
    page.locator("text=Question 4. Right.").wait_for(timeout=30_000)
    wrong = page.locator("text=Question 3. Not yet.")
    wrong.scroll_into_view_if_needed()
    assert "one constant rate" in wrong.locator("xpath=..").inner_text()
    blank = page.locator("text=NotImplementedError: Question 1: compute").first
    blank.scroll_into_view_if_needed()
    assert blank.is_visible()


def test_a_student_moves_the_slider_of_a_lesson(lab, visit):
    page = visit("lab/workspaces/slider/tree/slider.ipynb")  # its own, since JupyterLab opens again what was open
    run_all(page, until=".widget-slider")
    slider = page.locator(".widget-slider").first
    slider.scroll_into_view_if_needed()
    box = page.locator(".widget-vbox", has=slider).first
    assert "time of branch: 25 minutes a visit. Its choice share: 33.3 %." in box.inner_text()
    picture = box.locator("img").get_attribute("src")
    handle = slider.locator("[role=slider], .noUi-handle").first
    handle.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    box.locator("text=time of branch: 15 minutes a visit. Its choice share: 45.8 %.").wait_for(timeout=30_000)
    page.wait_for_function(
        "([image, before]) => image.src !== before", arg=[box.locator("img").element_handle(), picture], timeout=30_000
    )


def test_rise_shows_a_lesson_as_slides(lab, visit):
    page = visit("rise/lesson.ipynb")
    page.wait_for_selector(".reveal .slides section.present h1", timeout=60_000)
    assert "retention" in page.locator(".reveal .slides section.present").first.inner_text().lower()
    assert page.evaluate("document.querySelectorAll('.reveal .slides section').length") >= 15
    assert [line for line in visit.complaints if not any(noise in line for noise in RISE_NOISE)] == []
