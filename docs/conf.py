"""Sphinx, for pages that open from `file:` without a network."""

import sys
from pathlib import Path

from crmlab import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "crmlab"
author = "The crmlab authors"
copyright = f"2026, {author}"
version = release = __version__
language = "en"

# The last one brings MathJax and its fonts in a wheel and points Sphinx at them.
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "first_use",
    "sphinx-mathjax-offline",
]
templates_path = ["_templates"]
exclude_patterns = ["_templates", "_ext"]

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "unsrt"

# The notebooks come executed; the pages show what they hold.
nb_execution_mode = "off"
nb_merge_streams = True
# Feedback carries its verdict in a form for programs; pages show the one for people.
suppress_warnings = ["mystnb.unknown_mime_type"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "sphinx_book_theme"
html_title = "crmlab"
html_static_path = ["_static"]
html_css_files = ["crmlab.css"]
html_js_files = ["labels.js"]
# The summaries of search results are fetched page by page, which a browser forbids for `file:`.
html_show_search_summary = False
html_context = {"default_mode": "light"}
html_copy_source = False
html_theme_options = {
    # The sidebar has a search field; the theme would put a second one above the page.
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 2,
}
