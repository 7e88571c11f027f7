"""The decks: one reveal.js page a lesson, from the executed notebook, that needs no network."""

import hashlib
import http.server
import json
import shutil
import threading
import webbrowser
from functools import partial
from importlib.resources import files
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

from crmlab.course import environment
from crmlab.course.notebooks import LessonError, all_notebooks, write_text

WIDTH, HEIGHT = 1280, 720
_TEMPLATES = Path(__file__).resolve().parent / "templates"

# Run in the browser on a deck: every slide that is too tall or too wide, with what sticks out. Speaker notes do not
# count, nor does the text that MathJax keeps for screen readers.
OVERFLOW = """
() => {
  const found = [];
  const reveal = document.querySelector(".reveal .slides");
  for (const [number, slide] of Reveal.getSlides().entries()) {
    const place = Reveal.getIndices(slide);
    Reveal.slide(place.h, place.v, 99);
    if (slide.scrollHeight > Reveal.getConfig().height + 1)
      found.push(`slide ${number + 1}: ${slide.scrollHeight} pixels tall`);
    const scale = Reveal.getScale(), left = slide.getBoundingClientRect().left;
    for (const part of slide.querySelectorAll("*")) {
      if (part.closest("aside, mjx-assistive-mml")) continue;
      const right = (part.getBoundingClientRect().right - left) / scale;
      if (right > Reveal.getConfig().width + 1 || part.scrollWidth > part.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(part).overflowX)) {
        found.push(`slide ${number + 1}: too wide at <${part.tagName.toLowerCase()}> ${part.textContent.trim().slice(0, 60)}`);
        break;
      }
    }
  }
  return found;
}
"""


def build(site):
    """Write `slides/<stem>.html` for every lesson into the site, with reveal.js beside them.

    Mathematics comes from the site's own copy of MathJax.
    """
    folder = site / "slides"
    shipped = files("sphinx_revealjs") / "_static" / "revealjs"
    for part in ("dist", "plugin"):
        shutil.copytree(str(shipped / part), folder / "reveal.js" / part, dirs_exist_ok=True)
    shutil.copy(_TEMPLATES / "crmlab_deck" / "deck.css", folder / "deck.css")
    for item in all_notebooks():
        if item.kind == "lesson":
            write_text(folder / f"{item.stem}.html", deck(nbformat.read(item.built, as_version=4)))


def deck(notebook):
    """The HTML of a deck.

    A cell that draws shows its figure alone: its code is on the page and in the notebook.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata["title"] = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    for cell in notebook.cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            cell.metadata["transient"] = {"remove_source": True}
    exporter = SlidesExporter(
        template_name="crmlab_deck",
        extra_template_basedirs=[str(_TEMPLATES)],
        reveal_url_prefix="reveal.js",
        reveal_theme="white",  # one that asks no server for fonts
        reveal_width=str(WIDTH),
        reveal_height=str(HEIGHT),
        mathjax_url="../_static/mathjax/tex-chtml.js",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def check_overflow(site, stems):
    """Measure the decks of some lessons in a browser, where there is one; what was measured already is not again.

    Returns
    -------
    bool
        False where no Chromium or no Playwright is installed, so that nothing was measured.

    Raises
    ------
    LessonError
        With every slide that does not fit.
    """
    measured = site.parent / "slides-measured.json"
    known = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}
    decks = {stem: site / "slides" / f"{stem}.html" for stem in stems}
    style = (site / "slides" / "deck.css").read_bytes()
    marks = {stem: hashlib.sha256(style + deck.read_bytes()).hexdigest() for stem, deck in decks.items()}
    todo = [stem for stem in stems if known.get(stem) != marks[stem]]
    if not todo:
        return True
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if not program:
        return False
    broken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True).new_page()
        for stem in todo:
            broken += [f"{stem}, {line}" for line in overflowing(page, decks[stem])]
        browser.close()
    if broken:
        raise LessonError("slides that do not fit:\n" + "\n".join(f"  - {line}" for line in broken))
    write_text(measured, json.dumps(known | marks))
    return True


def overflowing(page, deck):
    """Open a deck in a Playwright page and list the slides that are too tall or too wide, once its fonts are there."""
    page.goto(Path(deck).as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.evaluate(
        "async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; await document.fonts.ready }"
    )
    return page.evaluate(OVERFLOW)


def present(stem):
    """Serve the site on this machine and open the deck of a lesson; until interrupted."""
    site = environment.root() / "build" / "site"
    page = f"slides/{stem}.html"
    if not (site / page).exists():
        known = ", ".join(sorted(file.stem for file in (site / "slides").glob("*.html"))) or "none yet"
        raise environment.SetupError(f"there is no deck of {stem!r}; there are: {known}. `run` builds them.")
    server = serve(site)
    address = f"http://127.0.0.1:{server.server_address[1]}/{page}"
    print(f"The deck is at {address} (s: speaker view, f: full screen, Ctrl+C: stop).", flush=True)
    webbrowser.open(address)
    try:
        threading.Event().wait()
    finally:
        server.shutdown()
    return 0


def serve(folder):
    """A web server for a folder, on a free port of this machine only, in a thread of its own."""
    handler = partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
