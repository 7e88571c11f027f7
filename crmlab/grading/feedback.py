"""A page for each student: what was answered, which mistake it looks like, and what to read."""

import html
import math
import re
from collections import Counter

from crmlab.course import environment, notebooks
from crmlab.course.check import load_key
from crmlab.grading.gradebook import IN_VAIN, SIGNS, STATUS, total

__all__ = ["page", "sections"]

# Nothing is fetched and nothing runs on these pages.
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #ffffff }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.15rem; margin: 1.6rem 0 .3rem }}
section {{ border-left: .4rem solid #cccccc; padding: 0 1rem; margin: 1rem 0 }}
section p {{ margin: .3rem 0 }} code {{ background: #f2f2f2; padding: 0 .2rem; overflow-wrap: anywhere }} pre {{ white-space: pre-wrap }}
table {{ border-collapse: collapse; margin: .6rem 0 }} th, td {{ text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #cccccc }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums }}
</style></head><body><main>
"""
FOOT = "</main></body></html>\n"


def page(stem, result, to_read):
    """The HTML page of a student.

    Parameters
    ----------
    stem : str
    result : dict
        As `crmlab.grading.grade.grade_one` gives it, with the name.
    to_read : dict
        By question: a section of the lesson, from `sections`.
    """
    said = html.escape
    out_of = sum(mark["out_of"] for mark in result["marks"])
    who = said(result["name"] or result["student_id"])
    parts = [HEAD.format(title=f"{said(stem)}: {who}"), f"<h1>{said(stem)}: feedback for {who}</h1>"]
    marked = result["status"] == "graded"
    parts.append(
        f"<p><strong>{f'{total(result):g} of {out_of:g} points.' if marked else _not_marked(result['status'])}</strong></p>"
    )
    if result["late"]:
        parts.append(f"<p>Handed in late ({said(result['handed_in'])}).</p>")
    parts += [f"<p>{said(line)}</p>" for line in _to_the_student(result)]
    for mark in result["marks"] if marked else ():
        sign, colour = SIGNS[mark["verdict"]]
        parts.append(
            f"<section style='border-color:{colour}'><h2>Question {said(mark['question'])}: <span style='color:{colour}'>{sign}</span>, {mark['points']:g} of {mark['out_of']:g}</h2>"
        )
        if mark["answer"]:
            parts.append(f"<p>Your answer: <code>{said(mark['answer'])}</code></p>")
        parts.append(f"<p>{said(mark['message'])}</p>")
        if mark["hint"]:
            parts.append(f"<p><em>Hint.</em> {said(mark['hint'])}</p>")
        if mark["verdict"] != "right" and mark["question"] in to_read:
            parts.append(f"<p><em>Read again.</em> {said(to_read[mark['question']])}</p>")
        parts.append("</section>")
    return "\n".join(parts) + FOOT


def _not_marked(status):
    return f"{STATUS[status].capitalize()}." if status == "missing" else f"Not marked: {STATUS[status]}."


def _to_the_student(result):
    if result["status"] in IN_VAIN:
        return [*result["reports"], IN_VAIN[result["status"]]]
    lines = [
        line for line in result["reports"] if line.startswith(("It ran longer", "It took more", "It ended before"))
    ]
    lines += [line for line in result["hints"] if "notebooks were handed in" in line]
    return lines


def sections(stem, folder):
    """The section of the lesson to read for each question: named in ``read_again`` of the key, else the one that says most of what its hint says.

    Names of functions count most, and words that stand in few sections more than those that stand in all.
    """
    lesson = environment.root() / "notebooks" / "src" / f"{stem}.md"
    if not lesson.exists():
        return {}
    titled = []
    for cell in notebooks.read_source(lesson).cells:
        heading = re.match(r"#{1,3} (.*)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            titled.append((heading[1].strip(), Counter()))
        if titled:
            titled[-1][1].update(_words(cell.source))
    titled = [(title, words) for title, words in titled if title != "Key ideas" and sum(words.values()) > 30]
    spread = Counter(word for _, words in titled for word in words)
    name = titled[0][0] if titled else ""
    found, key = {}, load_key(stem, folder / "keys")
    named = key.read_again
    for number, question in key.questions.items():
        asked = set(_words(f"{question.hint} {question.explanation}"))

        def weight(words, asked=asked):
            return sum(
                (3 if "_" in word else 1) * math.log(1 + len(titled) / spread[word]) * (1 + math.log(words[word]))
                for word in asked
                if words[word]
            ) / (1 + math.log(1 + sum(words.values())))

        if titled:
            best = named.get(number) or max(titled, key=lambda pair: weight(pair[1]))[0]
            found[number] = f'The lesson {stem}, section "{best}".' if best != name else f"The lesson {stem}."
    return found


def _words(text):
    return [word for word in re.findall(r"[a-z][a-z_]{3,}", text.lower()) if word not in _COMMON]


_COMMON = set(
    "that this with from have each their them they what which when then than there those these into only your".split()
)
