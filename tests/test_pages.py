"""The pages in a real browser, from `file:` and with the network off."""

import json
import re

from conftest import ROOT

from crmlab.course import pages


def test_every_page_opens_without_a_network(site, open_page):
    pages = sorted(path for path in site.rglob("*.html") if not {"_static", "reveal.js"} & set(path.parts))
    assert len(pages) > 10
    for path in pages:
        page = open_page(path.as_uri())
        assert page.title(), path
        assert page.locator("html").get_attribute("lang") == "en"
        page.close()


def test_mathematics_is_set_and_figures_are_drawn(site, open_page):
    page = open_page((site / "lessons" / "05_retention.html").as_uri())
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() > 10
    assert page.evaluate("[...document.fonts].some(font => font.family.startsWith('MJX') && font.status == 'loaded')")
    pictures = page.locator(".cell_output img")
    stored = json.loads((ROOT / "notebooks" / "05_retention.ipynb").read_text(encoding="utf-8"))
    drawn = sum("image/png" in out.get("data", {}) for cell in stored["cells"] for out in cell.get("outputs", []))
    assert pictures.count() == drawn > 5
    for i in range(drawn):
        assert pictures.nth(i).evaluate("image => image.complete && image.naturalWidth") > 500
        alt = pictures.nth(i).get_attribute("alt")
        assert len(alt.split()) > 12 and "_images" not in alt and "No description" not in alt
    assert "Ask the room" not in page.inner_text("body")  # a speaker's note


def test_search_finds_a_word_of_the_lesson(site, open_page):
    page = open_page((site / "search.html").as_uri() + "?q=heterogeneity")
    page.wait_for_selector("#search-results li a")
    assert any(
        "retention" in link
        for link in page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
    )


def test_the_exercise_page_holds_no_solution(site):
    text = (site / "exercises" / "05_retention.html").read_text(encoding="utf-8")
    words = re.sub(r"<[^>]+>", "", text)
    assert "NotImplementedError" in words and "fit_sbg(data" not in words and "cohort_triangle(data" not in words


def test_every_data_set_has_its_page(site):
    from crmlab import datasets

    for name in datasets.catalog().index:
        text = (site / "data" / f"{name}.html").read_text(encoding="utf-8")
        assert "licence" in text and "source" in text
        assert ("GENERATED" in text) == datasets.card(name).descriptor["generated"]


def test_pages_shut_nobody_out(site, open_page, axe):
    for path in sorted(site.rglob("*.html")):
        if not {"_static", "reveal.js", "slides"} & set(path.parts):  # every slide has its turn in test_slides
            page = open_page(path.as_uri())
            assert axe(page) == [], path
            page.close()


def test_terms_are_linked_from_their_first_use_to_the_glossary(site):
    text = (site / "lessons" / "05_retention.html").read_text(encoding="utf-8")
    links = re.findall(r'href="\.\./glossary\.html#term-([^"]+)"', text)
    assert "survivor-function" in links and "cohort" in links
    assert len(links) == len(set(links)) > 8  # each term once


def test_citations_are_linked_to_the_references(site):
    text = (site / "lessons" / "05_retention.html").read_text(encoding="utf-8")
    assert re.search(r'href="\.\./references\.html#[^"]+"', text)
    assert "{cite" not in text


def test_what_pages_and_decks_depend_on_makes_them_stale(tmp_path):
    for name in (
        "requirements.lock",
        "crmlab/module.py",
        "crmlab/course/templates/deck.css",
        "build/site-src/index.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    seen = {pages._fingerprint(tmp_path, tmp_path / "build" / "site-src")}
    for name in (
        "requirements.lock",
        "crmlab/module.py",
        "crmlab/course/templates/deck.css",
        "build/site-src/index.md",
    ):
        (tmp_path / name).write_text("two")
        seen.add(pages._fingerprint(tmp_path, tmp_path / "build" / "site-src"))
    assert len(seen) == 5
