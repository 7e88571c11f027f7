"""The class report: how it went, question by question, which mistakes, and what to look at."""

import html
from collections import Counter

import numpy as np

from crmlab.grading import submissions
from crmlab.grading.feedback import FOOT, HEAD
from crmlab.grading.gradebook import SIGNS, STATUS, total

__all__ = ["page", "summary"]


def summary(results, nobody, found, out, seconds):
    """What the command prints when it is done."""
    status = Counter(one["status"] for one in results)
    lines = [f"{len(results)} students: " + ", ".join(f"{count} {STATUS[name]}" for name, count in status.items()) + f"; {sum(one['late'] for one in results)} late. {seconds:.0f} s."]  # fmt: skip
    odd = sum(bool(one["reports"]) for one in results)
    if odd:
        lines.append(f"{odd} to be looked at: the report says why.")
    if nobody:
        lines.append(f"Nobody's, and not marked: {submissions.some([name for name, _ in nobody])}.")
    if found:
        lines.append(f"{len(found)} pairs of students whose answers fit the other's data.")
    lines.append(f"In {out}: gradebook.csv, moodle.csv, report.html, feedback/ with a page a student.")
    return "\n".join(lines)


def page(stem, results, key, nobody, found, settings, seconds):
    """The HTML page for the lecturer."""
    said = html.escape
    worked = [one for one in results if one["status"] == "graded"]
    out_of = sum(settings.points.get(number, 1.0) for number in key.questions)
    names = {one["student_id"]: one["name"] for one in results}
    parts = [HEAD.format(title=f"{said(stem)}: class report"), f"<h1>{said(stem)}: class report</h1>"]
    status = Counter(STATUS[one["status"]] for one in results)
    parts.append(
        f"<p>{len(results)} students: {', '.join(f'{n} {said(name)}' for name, n in status.items())}; {sum(one['late'] for one in results)} late.</p>"
    )
    if worked:
        sums = np.array([total(one) for one in worked])
        low, middle, high = np.quantile(sums, [0.25, 0.5, 0.75])
        parts.append(
            f"<p>Points of those graded: median {middle:g} of {out_of:g}, the middle half between {low:g} and {high:g}, mean {sums.mean():.2f}.</p>"
        )
        parts += _histogram(sums, out_of)
        parts += _questions(worked, key)
        parts += _mistakes(worked, key)
    parts += _pairs(found, names)
    parts += _odd(results, nobody)
    limits = settings.limits
    most = max((one["memory_mb"] for one in results), default=0)
    longest = max((one["seconds"] for one in results), default=0)
    where = "without a sandbox" if settings.bare else "in a sandbox without a network"
    parts.append(
        f"<h2>How it was run</h2><p>Each notebook {where}, for {limits.seconds:g} s at most (the longest took {longest:.1f} s), in {limits.memory_mb} MB of "
        f"memory (the most that was seen: {most:.0f} MB), with {limits.processes} processes. Credit: {settings.credit.near:g} of a question's points for a right number in another form, "
        f"{settings.credit.mistake:g} for a known mistake.</p>"
    )
    return "\n".join(parts) + FOOT


def _histogram(sums, out_of):
    bins = np.linspace(0, out_of, 11)
    counts, _ = np.histogram(sums, bins)
    most = max(counts.max(), 1)
    rows = [
        f"<tr><td class='number'>{low:g} to {high:g}</td><td class='number'>{n}</td><td><div style='background:#00664b;height:.8rem;width:{18 * n / most:.2f}rem'></div></td></tr>"
        for low, high, n in zip(bins, bins[1:], counts)
    ]
    return [
        "<table><tr><th class='number'>points</th><th class='number'>students</th><td></td></tr>",
        *rows,
        "</table>",
    ]


def _questions(worked, key):
    columns = [name for name in SIGNS if any(m["verdict"] == name for one in worked for m in one["marks"])]
    head = "".join(f"<th class='number'>{SIGNS[name][0].lower()}</th>" for name in columns)
    rows = []
    for number in key.questions:
        marks = [next(m for m in one["marks"] if m["question"] == number) for one in worked]
        counts = Counter(mark["verdict"] for mark in marks)
        points = np.array([mark["points"] for mark in marks])
        rest = np.array([total(one) for one in worked]) - points
        tells = np.corrcoef(points, rest)[0, 1] if points.std() > 0 and rest.std() > 0 else np.nan
        cells = "".join(f"<td class='number'>{counts[name]}</td>" for name in columns)
        share = points.mean() / marks[0]["out_of"] if marks[0]["out_of"] else 0
        rows.append(
            f"<tr><td>{number}</td><td class='number'>{share:.0%}</td>{cells}<td class='number'>{'' if np.isnan(tells) else f'{tells:.2f}'}</td></tr>"
        )
    return [
        "<h2>Questions</h2>",
        f"<table><tr><th>question</th><th class='number'>points won</th>{head}<th class='number'>correlation with the rest</th></tr>",
        *rows,
        "</table><p>A question whose points do not go with those of the others (a correlation near 0 or below) asks for something else, or is not clear.</p>",
    ]


def _mistakes(worked, key):
    counts = Counter(
        (mark["question"], mark["message"])
        for one in worked
        for mark in one["marks"]
        if mark["verdict"] in ("mistake", "near")
    )
    if not counts:
        return []
    rows = [
        f"<tr><td class='number'>{n}</td><td>{html.escape(number)}</td><td>{html.escape(message)}</td></tr>"
        for (number, message), n in counts.most_common(15)
    ]
    return [
        "<h2>The most common mistakes</h2>",
        "<table><tr><th class='number'>students</th><th>question</th><th>what they were told</th></tr>",
        *rows,
        "</table>",
    ]


def _pairs(found, names):
    parts = ["<h2>Answers that fit another student's data</h2>"]
    if not found:
        return [*parts, "<p>None beyond what chance would bring.</p>"]

    def who(one):
        return html.escape(f"{one} ({names[one]})" if names.get(one) else one)

    rows = [
        f"<tr><td>{who(one)}</td><td>{who(other)}</td><td>{html.escape(', '.join(numbers))}</td><td class='number'>{expected:.1g}</td></tr>"
        for one, other, numbers, expected in found[:100]
    ]
    return [
        *parts,
        "<p>The answers of the first are right on the data of the second. They got no points for it; why it is so, only the students can say.</p>",
        "<table><tr><th>answers of</th><th>fit the data of</th><th>questions</th><th class='number'>such pairs expected by chance</th></tr>",
        *rows,
        "</table>",
    ]


def _odd(results, nobody):
    parts = ["<h2>To be looked at</h2>"]
    rows = [
        f"<tr><td>{html.escape(one['student_id'])}</td><td>{'<br>'.join(html.escape(line) for line in one['reports'])}</td></tr>"
        for one in results
        if one["reports"]
    ]
    rows += [f"<tr><td>{html.escape(name)}</td><td>Not marked: {html.escape(why)}.</td></tr>" for name, why in nobody]
    if not rows:
        parts.append("<p>Nothing.</p>")
    else:
        parts.append(
            "<p>What was noticed while a submission ran. No mark hangs on it: an honest notebook may do such things too.</p>"
        )
        parts += ["<table><tr><th>whose</th><th>what</th></tr>", *rows, "</table>"]
    small = [one for one in results if one["hints"]]
    if small:
        rows = [
            f"<tr><td>{html.escape(one['student_id'])}</td><td>{html.escape(' '.join(one['hints']))}</td></tr>"
            for one in small
        ]
        parts += [
            "<h2>Changed cells and several notebooks</h2><p>Without consequence for the marks.</p>",
            "<table><tr><th>whose</th><th>what</th></tr>",
            *rows,
            "</table>",
        ]
    return parts
