"""The decks: one reveal.js page a lesson, from the executed notebook, that needs no network."""

import http.server
import shutil
import threading
import webbrowser
from functools import partial
from importlib.resources import files
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

from crmlab.course import environment
from crmlab.course.notebooks import all_notebooks, write_text

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


def count(notebook):
    """How many slides the deck of a notebook has."""
    return sum(cell.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide") for cell in notebook.cells)


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
