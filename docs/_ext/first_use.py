"""Link the first use of every glossary term on a page to its entry, so that no author has to."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

# Text in these is left alone: it is a name, code, mathematics or a link already.
_CLOSED = (
    nodes.literal,
    nodes.literal_block,
    nodes.reference,
    nodes.title,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    addnodes.pending_xref,
)


class LinkFirstUse(SphinxPostTransform):
    """On lessons and exercises: each term once, the longest first ("survivor function" before "survivor")."""

    default_priority = 5  # before Sphinx resolves the references

    def run(self, **kwargs):
        if not self.env.docname.startswith(("lessons/", "exercises/")):
            return
        terms = {name.lower() for (kind, name) in self.env.domaindata["std"]["objects"] if kind == "term"}
        latin = sorted((term for term in terms if term.isascii()), key=len, reverse=True)
        if not latin:
            return
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, latin)) + r")s?\b", re.IGNORECASE)  # or its plural
        seen = set()
        for text in list(self.document.findall(nodes.Text)):
            if not _open(text):
                continue
            parts, end = [], 0
            for match in pattern.finditer(str(text)):
                term = match[1].lower()
                if term in seen:
                    continue
                seen.add(term)
                link = addnodes.pending_xref(
                    "",
                    reftype="term",
                    refdomain="std",
                    reftarget=term,
                    refexplicit=True,
                    refdoc=self.env.docname,
                    refwarn=True,
                )
                link += nodes.inline(match[0], match[0], classes=["xref", "std", "std-term"])
                parts += [nodes.Text(str(text)[end : match.start()]), link]
                end = match.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(str(text)[end:])])


def _open(text):
    node = text.parent
    while node is not None:
        if isinstance(node, _CLOSED) or "cell_output" in node.get("classes", []):
            return False
        node = node.parent
    return True


def setup(app):
    app.add_post_transform(LinkFirstUse)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
