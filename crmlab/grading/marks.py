"""Marks: computed here, from the lecturer's key and the plain values that came back; never by what ran in the sandbox."""

import numbers
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlab.course import check, plain

__all__ = ["Credit", "Mark", "mark", "matches"]


# How likely two numbers of independent data agree to nine digits: less than this.
_NINE_DIGITS = 1e-8


@dataclass(frozen=True)
class Credit:
    """What part of a question's points an answer gets that is not right.

    Attributes
    ----------
    near : float
        The right number in a form that was not asked for: a percentage, rounded too much, as text, in a list of one.
    mistake : float
        A number that a known mistake leads to. The wrong one of some words gets nothing: it could be guessed.
    """

    near: float = 0.75
    mistake: float = 0.5


@dataclass(frozen=True)
class Mark:
    """The mark of one question.

    Attributes
    ----------
    question : str
    verdict : {"right", "near", "mistake", "part", "shape", "wrong", "error", "blank"}
    points, out_of : float
    answer : str
        What was answered, shortened.
    message, hint : str
    """

    question: str
    verdict: str
    points: float
    out_of: float
    answer: str = ""
    message: str = ""
    hint: str = ""


def mark(number, question, data, returned, out_of=1.0, credit=None):
    """The mark of a question.

    Parameters
    ----------
    number : str
    question : crmlab.course.check.Question
    data : dict
        The student's data.
    returned : crmlab.grading.returned.Returned
    out_of : float
        The points of the question.
    credit : Credit, optional

    Returns
    -------
    Mark
    """
    credit = credit or Credit()
    error = returned.errors.get(number)
    if number not in returned.answers:
        if error is None:
            return Mark(number, "blank", 0.0, out_of, message="There is no answer.", hint=question.hint)
        kind, message, line = error
        if kind == "NotImplementedError" and message.startswith("Question "):
            return Mark(number, "blank", 0.0, out_of, message="There is no answer.", hint=question.hint)
        message = f"Your code stopped before `answer` was set: {kind}: {message}" + (f" (line {line})" if line else "")
        return Mark(number, "error", 0.0, out_of, message=message, hint=question.hint)
    answer = returned.answers[number]
    verdict, share, message = _judge(question, answer, data, credit)
    hint = question.hint if verdict not in ("right", "blank") else ""
    return Mark(number, verdict, round(share * out_of, 4), out_of, shown(answer), message, hint)


def _judge(question, answer, data, credit):
    if isinstance(answer, plain.Other):
        message = f"Your answer is of type {answer.name}, not a plain value. Expected: {question.expects}."
        return "shape", 0.0, message
    try:
        verdict, message = question.judge(answer, data)
    except Exception as error:  # a value that nobody thought of must not stop the class
        message = f"Your answer could not be read ({type(error).__name__}). Expected: {question.expects}."
        return "shape", 0.0, message
    message = message[:600]
    if verdict == "right":
        return "right", 1.0, message
    if verdict == "mistake":
        if not any(message == known[:600] for known, _ in question.mistakes):
            return "near", credit.near, message
        return "mistake", 0.0 if question.choices else credit.mistake, message
    if verdict == "shape" and (inner := _one_inside(answer)) is not None:
        if question.judge(inner, data)[0] == "right":
            return "near", credit.near, f"The number is right. {message}"
    if verdict == "wrong" and np.ndim(expected := question.answer(data)) and np.size(expected) > 1:
        share = float(np.mean(np.abs(check.as_numbers(answer) - check.as_numbers(expected)) <= question.within))
        if share > 0:
            return "part", share, f"{share:.0%} of the numbers are right. {message}"
    return verdict, 0.0, message


def _one_inside(answer):
    """The number in a list, table or text of one, or None."""
    if isinstance(answer, str):
        text = answer.strip().rstrip("%").replace(",", ".")
        try:
            return float(text) / (100 if answer.strip().endswith("%") else 1) if len(text) < 40 else None
        except ValueError:
            return None
    while isinstance(answer, list) and len(answer) == 1:  # NumPy makes nothing of lists whose parts differ in length
        (answer,) = answer
    if isinstance(answer, pd.DataFrame | pd.Series | np.ndarray) and np.size(answer) == 1:
        answer = np.asarray(answer, dtype=object).ravel()[0]
    return float(answer) if isinstance(answer, numbers.Real) and not isinstance(answer, bool) else None


def shown(answer, most=80):
    """An answer for a page."""
    if isinstance(answer, plain.Other):
        return f"<{answer.name}>"[:most]
    if isinstance(answer, float):
        return f"{answer:.6g}"
    if isinstance(answer, pd.DataFrame | pd.Series | np.ndarray):
        return f"{type(answer).__name__} of shape {np.shape(answer)}"
    text = repr(answer)
    return text if len(text) <= most else text[: most - 1] + "…"


def matches(answers, rights, within, chance=0.01):
    """Answers that fit another student's data better than can be chance.

    A wrong answer may hit somebody's right one by accident, in a large class often. So a pair of students is named only if
    the number of such pairs to be expected by chance, given how often right answers of two students lie so close at all, is
    below `chance`. What fits to nine digits is no accident.

    Parameters
    ----------
    answers : dict
        By student id: the wrong numeric answers, by question.
    rights : dict
        By student id: the right ones.
    within : dict
        By question: its tolerance.

    Returns
    -------
    list of tuple
        Student, the other one, the questions, the pairs expected by chance; the least likely first.
    """
    ids = list(rights)
    table = {number: np.array([rights[one].get(number, np.nan) for one in ids], dtype=float) for number in within}
    near = {}
    for number, values in table.items():
        apart = np.abs(values[:, None] - values[None, :])[np.triu_indices(len(ids), 1)]
        near[number] = (np.sum(apart <= within[number]) + 1) / (np.sum(np.isfinite(apart)) + 1)
    found = []
    for student, wrong in answers.items():
        hits = {}
        for number, value in wrong.items():
            apart = np.abs(table[number] - value)
            for place in np.flatnonzero(apart <= within[number]):
                likely = _NINE_DIGITS if apart[place] <= 1e-9 * max(abs(value), 1e-6) else near[number]
                hits.setdefault(ids[place], {})[number] = likely
        for other, questions in hits.items():
            expected = len(ids) * len(answers) * float(np.prod(list(questions.values())))
            if other != student and expected < chance:
                found.append((student, other, list(questions), expected))
    return sorted(found, key=lambda row: row[3])


def right_answers(key, data):
    """The right answers to a key's questions, as plain values; numbers only."""
    rights = {}
    for number, question in key.questions.items():
        if not question.choices:
            value = question.answer(data)
            if np.ndim(value) == 0 and isinstance(value, numbers.Real):
                rights[number] = float(value)
    return rights
