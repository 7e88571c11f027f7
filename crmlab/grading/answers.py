"""The lecturer's page of an exercise: each answer with its reason, the code that gives it, the common mistakes, the minutes."""

import html
import re

from crmlab.course import environment, notebooks
from crmlab.grading.feedback import FOOT, HEAD, sections
from crmlab.grading.marks import shown

__all__ = ["page"]

# What a student who has read the lesson takes, as we reckon it: nobody has measured it.
_MINUTES_A_WORD, _MINUTES_A_NUMBER = 3, 6


def page(stem, key, folder):
    """The HTML page, from the exercise's source and key.

    Parameters
    ----------
    stem : str
    key : crmlab.course.check.Key
    folder : pathlib.Path
        With ``src/``.
    """
    said = html.escape
    texts, codes = {}, {}
    for cell in notebooks.read_source(folder / "src" / f"{stem}.md").cells:
        if asked := re.match(r"\s*\*\*Question (\w+)\.\*\*\s*", cell.source):
            texts[asked[1]] = cell.source[asked.end() :]
        region = re.search(r"BEGIN SOLUTION\n(.*?)\n *#+ *END SOLUTION", cell.source, re.DOTALL)
        if region and (asked := re.search(r"""^check\(\s*["'](\w+)""", cell.source, re.MULTILINE)):
            codes[asked[1]] = region[1]
    data, to_read = key.data_for(""), sections(stem, folder)
    minutes = sum(_MINUTES_A_WORD if question.choices else _MINUTES_A_NUMBER for question in key.questions.values())
    parts = [HEAD.format(title=f"{said(stem)}: answers"), f"<h1>{said(stem)}: answers with their reasons</h1>"]
    parts.append(
        f"<p>For the lecturer. {len(key.questions)} questions, about {minutes} minutes for somebody who has read the lesson (reckoned, not measured"
        f"{_lesson(stem)}). The values are those of the printed data, which nobody is marked on; every student's own are in <code>results/</code> of what "
        "<code>grade</code> writes.</p>"
    )
    for number, question in key.questions.items():
        parts.append(f"<section><h2>Question {said(number)}</h2><p>{said(texts.get(number, '').replace('*', ''))}</p>")
        parts.append(f"<p><strong>Answer on the printed data: <code>{said(_value(question, data))}</code></strong>, within {question.within:g}. {said(question.explanation)}</p>")  # fmt: skip
        parts.append(f"<pre><code>{said(codes.get(number, ''))}</code></pre>")
        parts.append("<p>Common mistakes, and what the student is told:</p><ul>")
        parts += [
            f"<li><code>{said(shown(plainly(compute(data))))}</code>: {said(message)}</li>"
            for message, compute in question.mistakes
        ]
        where = f" Read again: {said(to_read[number])}" if number in to_read else ""
        parts.append(f"</ul><p><em>Hint.</em> {said(question.hint)}{where}</p></section>")
    return "\n".join(parts) + FOOT


def _value(question, data):
    return shown(plainly(question.answer(data)))


def plainly(value):
    """A NumPy number as Python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _lesson(stem):
    """The minutes that the lesson itself states, and those of its slides."""
    lesson = environment.root() / "notebooks" / "src" / f"{stem}.md"
    if not lesson.exists():
        return ""
    text = lesson.read_text(encoding="utf-8")
    reading = re.search(r"About (\d+) minutes to read", text)
    deck = sum(int(found) for found in re.findall(r"^Minutes: (\d+)\. ", text, re.MULTILINE))
    return f"; the lesson takes {reading[1] if reading else '?'} to read and {deck} to show"
