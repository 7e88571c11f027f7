"""Citations in a lesson's source, as plain text for notebook and deck; the pages link them to the list of references.

A source cites as Sphinx does: ``{cite:t}`fader_hardie_2007` `` gives "Fader and Hardie (2007)", ``{cite:p}`` puts all of it in
brackets. A fenced block ``{bibliography}`` becomes the list of what the lesson cites.
"""

import functools
import re

import pybtex.database
import pybtex.plugin

from crmlab.course import environment

_CITE = re.compile(r"\{cite:([tp])\}`([^`]+)`")
_LIST = re.compile(r"^```\{bibliography\}\n(?::.*\n)*```$", re.MULTILINE)


def resolve(texts):
    """The texts of a lesson's cells with every citation and the list of references spelled out.

    Parameters
    ----------
    texts : list of str

    Returns
    -------
    list of str

    Raises
    ------
    KeyError
        If a work is cited that docs/references.bib does not have.
    """
    keys = [key.strip() for text in texts for _, group in _CITE.findall(text) for key in group.split(",")]
    spelled = [_CITE.sub(lambda match: _in_text(*match.groups()), text) for text in texts]
    return [_LIST.sub(lambda _: reference_list(keys), text) for text in spelled]


def resolve_list(texts):
    """As `resolve`, but only the list of references: for pages, where Sphinx links the citations."""
    return [
        _LIST.sub(
            lambda _, own=texts: reference_list(
                key.strip() for text in own for _, group in _CITE.findall(text) for key in group.split(",")
            ),
            text,
        )
        for text in texts
    ]


def reference_list(keys):
    """A Markdown list of works, by author and year."""
    style = pybtex.plugin.find_plugin("pybtex.style.formatting", "unsrt")()
    backend = pybtex.plugin.find_plugin("pybtex.backends", "markdown")()
    entries = sorted(
        {key: _entry(key) for key in keys}.values(), key=lambda entry: (_names(entry), entry.fields["year"])
    )
    return "\n".join(
        "- " + formatted.text.render(backend).replace("\n", " ") for formatted in style.format_entries(entries)
    )


def _in_text(kind, group):
    works = [_entry(key.strip()) for key in group.split(",")]
    if kind == "t":
        return "; ".join(f"{_names(work)} ({work.fields['year']})" for work in works)
    return "(" + "; ".join(f"{_names(work)}, {work.fields['year']}" for work in works) + ")"


def _names(entry):
    names = [
        " ".join(person.prelast_names + person.last_names).strip("{}")
        for person in entry.persons.get("author") or entry.persons["editor"]
    ]
    if len(names) > 3:
        return f"{names[0]} et al."
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _entry(key):
    works = _bibliography(environment.root() / "docs" / "references.bib")
    if key not in works:
        raise KeyError(f"docs/references.bib has no work {key!r}.")
    return works[key]


@functools.cache
def _bibliography(file):
    return pybtex.database.parse_file(str(file)).entries
