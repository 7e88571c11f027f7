"""The decks in a real browser: nothing outside is asked for, nothing sticks out, nobody is shut out."""

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import urllib.request

import nbformat
import pytest
from conftest import ROOT

from crmlab.course import slides

STEMS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def lesson(stem):
    return nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)


def count(notebook):
    return sum(cell.metadata.slideshow.slide_type in ("slide", "subslide") for cell in notebook.cells)


@pytest.mark.parametrize("stem", STEMS)
def test_a_deck_has_15_to_25_slides_and_notes_with_minutes(stem):
    # The tour and the table of published numbers are no lecture of a full hour.
    low, high = {"00_start_here": (10, 25), "90_replications": (4, 12)}.get(stem, (15, 25))
    assert low <= count(lesson(stem)) <= high
    deck = slides.deck(lesson(stem))
    assert re.findall(r"Minutes: \d+", deck)
    assert deck.count('<aside class="notes">') == sum(
        cell.metadata.slideshow.slide_type == "notes" for cell in lesson(stem).cells
    )


@pytest.mark.parametrize("stem", STEMS)
def test_alt_text_reaches_the_deck(stem):
    pictures = re.findall(r"<img\b[^>]*data:image/png[^>]*>", slides.deck(lesson(stem)))
    wanted = [
        cell.metadata.mystnb.image.alt
        for cell in lesson(stem).cells
        if "mystnb" in cell.metadata and cell.metadata.slideshow.slide_type not in ("skip", "notes")
    ]
    found = [re.search(r'alt="([^"]*)"', picture)[1] for picture in pictures]
    assert [html.unescape(alt) for alt in found] == wanted != []


@pytest.mark.parametrize("stem", STEMS)
def test_a_deck_opens_without_a_network_and_every_slide_fits(stem, site, open_page):
    page = open_page((site / "slides" / f"{stem}.html").as_uri())
    assert slides.overflowing(page, site / "slides" / f"{stem}.html") == []
    assert page.evaluate("Reveal.getTotalSlides()") == count(lesson(stem))
    if "$" in "".join(cell.source for cell in lesson(stem).cells if cell.metadata.slideshow.slide_type == "slide"):
        assert page.locator("mjx-container").count() > 0


@pytest.mark.parametrize("stem", STEMS)
def test_no_slide_shuts_anybody_out(stem, site, open_page, axe):
    page = open_page((site / "slides" / f"{stem}.html").as_uri())
    page.wait_for_function("Reveal.isReady()")
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate(f"Reveal.slide({number}, 0, 99)")
        assert axe(page) == [], f"slide {number + 1}"


MEASURE = """
import sys
from pathlib import Path
from crmlab.course import slides
try:
    print(slides.check_overflow(Path(sys.argv[1]), ["05_retention"]))
except slides.LessonError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("One more line that nobody can read.\n\n" * 20, r"05_retention, slide 3: \d+ pixels tall"),
        ("| " + " | ".join(["aLongHeading"] * 12) + " |\n" + "|---" * 12 + "|\n", "05_retention, slide 3: too wide"),
        ("", "True"),
    ],
)
def test_a_slide_that_sticks_out_is_found(site, chromium, tmp_path, more, says):
    shutil.copytree(site / "slides", tmp_path / "site" / "slides")
    shutil.copytree(site / "_static" / "mathjax", tmp_path / "site" / "_static" / "mathjax")
    notebook = lesson("05_retention")
    next(cell for cell in notebook.cells if cell.source.startswith("## A rule")).source += "\n\n" + more
    (tmp_path / "site" / "slides" / "05_retention.html").write_text(slides.deck(notebook), encoding="utf-8")
    # In a process of its own: Playwright cannot be started twice in one.
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "site")], capture_output=True, text=True, timeout=120
    )
    assert re.search(says, done.stdout), done


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    (tmp_path / "site" / "slides").mkdir(parents=True)
    for name in ("05_retention.html", "deck.css"):
        (tmp_path / "site" / "slides" / name).write_text("one")
    monkeypatch.setattr(shutil, "which", lambda name: None)  # without a browser only what is known can pass
    assert slides.check_overflow(tmp_path / "site", ["05_retention"]) is False
    marks = {"05_retention": hashlib.sha256(b"oneone").hexdigest()}
    (tmp_path / "slides-measured.json").write_text(json.dumps(marks))
    assert slides.check_overflow(tmp_path / "site", ["05_retention"]) is True
    (tmp_path / "site" / "slides" / "deck.css").write_text("two")
    assert slides.check_overflow(tmp_path / "site", ["05_retention"]) is False


def test_present_serves_the_deck_on_this_machine_only(site):
    server = slides.serve(site)
    try:
        host, port = server.server_address
        assert host == "127.0.0.1"
        assert (
            b"Reveal.initialize" in urllib.request.urlopen(f"http://127.0.0.1:{port}/slides/05_retention.html").read()
        )
    finally:
        server.shutdown()
        server.server_close()
    done = subprocess.run(
        [sys.executable, "-m", "crmlab", "present", "99_none"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and "no deck of '99_none'; there are: " in done.stderr
