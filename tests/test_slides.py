"""The decks in a real browser: nothing outside is asked for, nothing sticks out, nobody is shut out."""

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
from crmlab.course.notebooks import LessonError

STEMS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
# Left by pandas in the corner of every DataFrame; axe calls it minor.
SERIOUS = ("serious", "critical")


def lesson(stem):
    return nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)


@pytest.mark.parametrize("stem", STEMS)
def test_a_deck_has_15_to_25_slides_and_notes_with_minutes(stem):
    low, high = (15, 25) if stem != "00_start_here" else (10, 25)
    assert low <= slides.count(lesson(stem)) <= high
    html = slides.deck(lesson(stem))
    assert re.findall(r"Minutes: \d+", html)
    assert html.count('<aside class="notes">') == sum(
        cell.metadata.slideshow.slide_type == "notes" for cell in lesson(stem).cells
    )


@pytest.mark.parametrize("stem", STEMS)
def test_alt_text_reaches_the_deck(stem):
    pictures = re.findall(r"<img src=\"data:image/png[^>]*>", slides.deck(lesson(stem)))
    wanted = [
        cell.metadata.mystnb.image.alt
        for cell in lesson(stem).cells
        if "mystnb" in cell.metadata and cell.metadata.slideshow.slide_type not in ("skip", "notes")
    ]
    found = [re.search(r'alt="([^"]*)"', picture)[1] for picture in pictures]
    assert len(found) == len(wanted) > 0
    assert all(len(alt) > 50 for alt in found)


@pytest.mark.parametrize("stem", STEMS)
def test_a_deck_opens_without_a_network_and_every_slide_fits(stem, site, open_page):
    page = open_page((site / "slides" / f"{stem}.html").as_uri())
    assert slides.overflowing(page, site / "slides" / f"{stem}.html") == []
    assert page.evaluate("Reveal.getTotalSlides()") == slides.count(lesson(stem))
    if "$" in "".join(cell.source for cell in lesson(stem).cells if cell.metadata.slideshow.slide_type == "slide"):
        assert page.locator("mjx-container").count() > 0


@pytest.mark.parametrize("stem", STEMS)
def test_no_slide_shuts_anybody_out(stem, site, open_page, axe):
    page = open_page((site / "slides" / f"{stem}.html").as_uri())
    page.wait_for_function("Reveal.isReady()")
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate(f"Reveal.slide({number}, 0, 99)")
        assert axe(page) == [], f"slide {number + 1}"


def test_a_slide_that_sticks_out_is_found(site, tmp_path, monkeypatch):
    copy = tmp_path / "site"
    shutil.copytree(site / "slides", copy / "slides")
    (copy / "_static").mkdir()
    notebook = lesson("05_retention")
    tall = next(cell for cell in notebook.cells if cell.source.startswith("## A rule"))
    tall.source += "\n\n" + "One more line that nobody can read.\n\n" * 20
    (copy / "slides" / "05_retention.html").write_text(slides.deck(notebook))
    with pytest.raises(LessonError, match=r"05_retention, slide 3: \d+ pixels tall"):
        slides.check_overflow(copy, ["05_retention"])

    notebook = lesson("05_retention")
    wide = next(cell for cell in notebook.cells if cell.source.startswith("## A rule"))
    wide.source += "\n\n| " + " | ".join(["a long heading"] * 12) + " |\n" + "|---" * 12 + "|\n"
    (copy / "slides" / "05_retention.html").write_text(slides.deck(notebook))
    with pytest.raises(LessonError, match="slide 3: too wide"):
        slides.check_overflow(copy, ["05_retention"])


def test_what_was_measured_is_not_measured_again(site, monkeypatch):
    slides.check_overflow(site, STEMS)
    monkeypatch.setattr(slides, "overflowing", lambda *_: pytest.fail("measured again"))
    assert slides.check_overflow(site, STEMS)
    assert set(STEMS) <= set(json.loads((site.parent / "slides-measured.json").read_text()))


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
