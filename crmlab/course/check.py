"""``check("3", answer)``: right, or which known mistake it looks like, or what was expected, with a hint.

A key (``exercises/keys/<stem>.py``) says, for every question, how to compute the right answer from the student's own
data, and how to compute each mistake that people make. The check is formative: it runs beside the student, and its key
may be read.
"""

import hashlib
import hmac
import html
import importlib.util
import math
import numbers
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from crmlab.course import progress

__all__ = ["Exercise", "Key", "Feedback"]

# Feedback carries its verdict in this form too, so that a program can read it off an executed notebook.
MIME = "application/vnd.crmlab.feedback+json"

# How far a number that lacks more than one digit may lie from the right one, as a part of it.
_ROUNDED = 0.02

_HERE = Path(__file__).resolve().parents[1]
_KEYS = _HERE / "_keys" if (_HERE / "_keys").is_dir() else _HERE.parent / "exercises" / "keys"


@dataclass(frozen=True)
class Feedback:
    """What `check` says of an answer.

    Attributes
    ----------
    question : str
    verdict : {"right", "mistake", "shape", "wrong", "blank"}
    message : str
    hint : str
    tries, right, questions : int
        How often this question was tried; how many questions are right so far, of how many.
    notice : str
        What stands above everything else, such as that no student id was given.
    """

    question: str
    verdict: str
    message: str
    hint: str = ""
    tries: int = 1
    right: int = 0
    questions: int = 1
    notice: str = ""

    _SIGNS = {
        "right": ("Right", "#00664b"),
        "mistake": ("Not yet", "#a33c00"),
        "shape": ("Not yet", "#a33c00"),
        "wrong": ("Not yet", "#a33c00"),
        "blank": ("No answer yet", "#555555"),
    }

    def _footer(self):
        tries = f"try {self.tries}, " if self.verdict != "blank" else ""
        return f"{tries}{self.right} of {self.questions} questions right so far"

    def __repr__(self):
        lines = [self.notice] if self.notice else []
        lines += [f"Question {self.question}. {self._SIGNS[self.verdict][0]}. {self.message}"]
        lines += [f"Hint: {self.hint}"] if self.hint else []
        bar = "#" * self.right + "-" * (self.questions - self.right)
        return "\n".join([*lines, f"[{bar}] {self._footer()}"])

    def _repr_mimebundle_(self, include=None, exclude=None):
        sign, colour = self._SIGNS[self.verdict]
        hint = f"<p style='margin:.3em 0'><em>Hint.</em> {html.escape(self.hint)}</p>" if self.hint else ""
        done = 100 * self.right / self.questions
        bar = (
            f"<div role='img' aria-label='{html.escape(self._footer())}' style='height:.5em;width:16em;background:#dddddd'>"
            f"<div style='height:100%;width:{done:.0f}%;background:#00664b'></div></div><small>{html.escape(self._footer())}</small>"
        )
        box = _loud(self.notice) if self.notice else ""
        box += (
            f"<div style='border-left:.4em solid {colour};padding:.3em .8em;max-width:46em'>"
            f"<p style='margin:.3em 0'><strong style='color:{colour}'>Question {html.escape(self.question)}. {sign}.</strong> {html.escape(self.message)}</p>{hint}{bar}</div>"
        )
        return {"text/plain": repr(self), "text/html": box, MIME: {"question": self.question, "verdict": self.verdict}}


# The printed solutions are executed without an id on purpose; everybody else forgot it.
NO_ID = 'NOT YOUR DATA: no student id is set, so these are the data of the printed solutions. Write your id between the quotation marks of student="" and run the notebook again.'


def _loud(text):
    return f"<div role='alert' style='background:#a33c00;color:#ffffff;padding:.4em .8em;max-width:46em'><strong>{html.escape(text)}</strong></div>"


class _Notice:
    """Shows itself in a notebook as a box that is not overlooked."""

    def __repr__(self):
        return NO_ID

    def _repr_html_(self):
        return _loud(NO_ID)


@dataclass(frozen=True)
class Question:
    """One question of a key: what is expected, and the mistakes that people make."""

    number: str
    expects: str
    hint: str
    explanation: str
    within: float
    answer: object
    choices: tuple = ()
    mistakes: list = field(default_factory=list)

    def mistake(self, message):
        """Decorate a function that computes, from the data, the answer of somebody who made this mistake."""

        def register(compute):
            self.mistakes.append((message, compute))
            return compute

        return register

    def told_apart(self, data):
        """Whether the right answer and those of all mistakes lie clearly apart on these data, none alike by chance.

        For a key's `data`: what is not told apart is drawn again.
        """
        answers = [self.answer(data), *(compute(data) for _, compute in self.mistakes)]
        return bool(np.diff(np.sort(answers)).min() >= 3 * self.within)

    def judge(self, answer, data):
        """Verdict and message for an answer."""
        if answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip()):
            return "blank", f"Expected: {self.expects}."
        expected = self.answer(data)
        if problem := shape_problem(answer, expected, self.choices):
            return "shape", f"{problem} Expected: {self.expects}."
        if _same(answer, expected, self.within):
            return "right", self.explanation
        for message, compute in self.mistakes:
            if _same(answer, compute(data), self.within):
                return "mistake", message
        if (
            isinstance(expected, numbers.Real)
            and 0 < abs(expected) <= 1
            and _same(answer, 100 * expected, 100 * self.within)
        ):
            return "mistake", "This is a percentage. The answer is asked for as a share, between 0 and 1."
        if isinstance(expected, numbers.Real) and self._rounded(float(answer), float(expected)):
            return "mistake", f"This is right as far as it goes, but rounded too much. Expected: {self.expects}."
        return "wrong", f"This is not it, and not a mistake that we know. Expected: {self.expects}."

    def _rounded(self, answer, expected):
        """Whether an answer is the right number with too few digits."""
        one_fewer = (round(-math.log10(2 * self.within)) if self.within else 0) - 1
        if answer and _same(answer, round(expected, one_fewer), 1e-9):
            return True
        # With several digits fewer, far off, it is a guess: 1000 is what everything from 500 to 1500 rounds to.
        near = abs(answer - expected) <= _ROUNDED * abs(expected)
        return near and any(_same(answer, round(expected, digits), 1e-9) for digits in range(-6, 3))


class Key:
    """The key of an exercise: its data, its questions, their mistakes.

    Parameters
    ----------
    stem : str
        The stem of the exercise, ``05_retention``.

    Examples
    --------
    >>> from crmlab.course.check import Key
    >>> key = Key("demo")
    >>> @key.data
    ... def data(rng):
    ...     return {"customers": int(rng.integers(50, 100)), "repeaters": 20}
    >>> @key.question("1", expects="a share between 0 and 1", hint="Divide.", explanation="Repeaters over customers.")
    ... def share(data):
    ...     return data["repeaters"] / data["customers"]
    >>> @share.mistake("You divided the wrong way round.")
    ... def _(data):
    ...     return data["customers"] / data["repeaters"]
    >>> mine = key.data_for("student 7")
    >>> share.judge(mine["customers"] / 20, mine)
    ('mistake', 'You divided the wrong way round.')
    """

    def __init__(self, stem):
        self.stem = stem
        self.questions = {}
        self.read_again = {}  # the section of the lesson that a question sends back to, where the hint does not show it

    def data(self, make):
        """Decorate the function that makes a student's data from a seeded ``numpy.random.Generator``."""
        self._make = make
        return make

    def question(self, number, expects, hint, explanation, within=0.0005, choices=()):
        """Decorate the function that computes the right answer from the data.

        Parameters
        ----------
        number : str
        expects : str
            What an answer looks like: its form and unit.
        hint, explanation : str
            Said after a wrong and after a right answer.
        within : float
            How far a number may lie from the right one.
        choices : tuple of str
            For a question that is answered by a word.
        """

        def register(compute):
            self.questions[number] = Question(number, expects, hint, explanation, within, compute, tuple(choices))
            return self.questions[number]

        return register

    def data_for(self, student, secret=None):
        """The data of one student: the same for the same id, on every machine; with a class secret, other data."""
        text = f"{self.stem}\0{student}".encode()
        seed = hmac.digest(secret, text, "sha256") if secret else hashlib.sha256(text).digest()
        return self._make(np.random.default_rng(int.from_bytes(seed[:8], "big")))

    def prove(self, students=("a", "b", "c")):
        """Show that the key can tell right from wrong, for several students.

        Raises
        ------
        AssertionError
            If an answer is rejected, a blank or a mistake accepted, two mistakes cannot be told apart, or two students
            have the same answers.
        """
        answers = []
        for student in students:
            data = self.data_for(student)
            for number, question in self.questions.items():
                where = f"{self.stem}, question {number}, student {student!r}"
                right = question.answer(data)
                assert question.judge(right, data)[0] == "right", f"{where}: the key rejects its own answer."
                for blank in (None, ..., ""):
                    assert question.judge(blank, data)[0] == "blank", f"{where}: a blank is not seen as one."
                assert question.mistakes, f"{where}: no mistake is named."
                for message, compute in question.mistakes:
                    assert question.judge(compute(data), data) == ("mistake", message), (
                        f"{where}: this mistake is not told apart: {message}"
                    )
            answers.append([question.answer(data) for question in self.questions.values() if not question.choices])
        for i in range(len(answers)):
            for j in range(i):
                same = [a for a, b in zip(answers[i], answers[j]) if _same(a, b, 1e-9)]
                assert not same, (
                    f"{self.stem}: students {students[i]!r} and {students[j]!r} share an answer: {same[0]}."
                )


class Exercise:
    """A student's exercise: data of one's own, and `check`.

    Parameters
    ----------
    stem : str
        The stem of the exercise, ``05_retention``.
    student : str, optional
        Your student id: it decides your data. Without one you get the data of the printed solutions, and are told so, now
        and at every check.

    Examples
    --------
    >>> from crmlab.course import Exercise
    >>> exercise = Exercise("05_retention", student="s001")
    >>> exercise.check("1", None)
    Question 1. No answer yet. Expected: a share between 0 and 1, to three decimals.
    [-------] 0 of 7 questions right so far
    """

    def __init__(self, stem, student=""):
        self._key = load_key(stem)
        self.student = str(student).strip()
        # CRMLAB_STATIC is set where the printed solutions are made.
        self._notice = NO_ID if not self.student and not os.environ.get("CRMLAB_STATIC") else ""
        if self._notice:
            _show(_Notice())
        self.data = self._key.data_for(self.student)
        self._tries, self._right = {}, set()

    def check(self, question, answer=None):
        """Check an answer; displays what there is to say.

        Parameters
        ----------
        question : str
            Number of the question.
        answer
            Your answer, in the form that the question asks for.

        Returns
        -------
        Feedback
        """
        number = str(question)
        if number not in self._key.questions:
            raise ValueError(f"there is no question {number!r}; there are: {', '.join(self._key.questions)}.")
        asked = self._key.questions[number]
        # The key computes with fresh data: a student's notebook may have changed its own.
        verdict, message = asked.judge(answer, self._key.data_for(self.student))
        if verdict != "blank":
            self._tries[number] = self._tries.get(number, 0) + 1
        (self._right.add if verdict == "right" else self._right.discard)(number)
        progress.note(self._key.stem, self.student, number, verdict)
        hint = asked.hint if verdict in ("wrong", "mistake") else ""
        return Feedback(
            number,
            verdict,
            message,
            hint,
            self._tries.get(number, 0),
            len(self._right),
            len(self._key.questions),
            self._notice,
        )


def _show(notice):
    """Show something now: in a notebook as a box, elsewhere as a line."""
    try:
        from IPython.display import display
    except ImportError:
        print(notice)
    else:
        display(notice)


def keys(folder=None):
    """Stems of all exercises, of the kit or in another folder."""
    return sorted(file.stem for file in Path(folder or _KEYS).glob("*.py"))


def load_key(stem, folder=None):
    """The `Key` of an exercise, from its file in the kit or in another folder.

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    """
    folder = _KEYS if folder is None else Path(folder)
    file = folder / f"{stem}.py"
    if not file.exists():
        raise ValueError(f"there is no exercise {stem!r}; there are: {', '.join(keys(folder))}.")
    spec = importlib.util.spec_from_file_location(f"crmlab_key_{stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.key


def shape_problem(answer, expected, choices):
    """What is wrong with the form of an answer, or None."""
    if isinstance(expected, str):
        if not isinstance(answer, str):
            return f"Your answer is of type {type(answer).__name__}, not a word."
        if answer.strip().casefold() not in {choice.casefold() for choice in choices}:
            return f"Your answer is {answer!r}; the choices are {', '.join(map(repr, choices))}."
        return None
    if isinstance(answer, str):
        if as_numbers(answer) is not None:
            return "Your answer is text: write the number without quotation marks."
        return f"Your answer is the text {answer!r}, not a number. Numbers have a point and no sign for money or percent: 0.496."
    values = as_numbers(answer)
    if values is None or isinstance(answer, bool):
        return f"Your answer is of type {type(answer).__name__}, not {'numbers' if np.ndim(expected) else 'a number'}."
    if values.size == 1 and np.ndim(expected) == 0 and values.ndim:
        how = ".item()" if hasattr(answer, "item") else "[0]"
        return f"Your answer is of type {type(answer).__name__} and holds one number: take the number out with {how}."
    if values.shape != np.shape(expected):
        return f"Your answer holds {values.size} {'number' if values.size == 1 else 'numbers'}; {np.size(expected)} {'is' if np.size(expected) == 1 else 'are'} expected."
    if np.isnan(values).any():
        return "Your answer has missing values (NaN)."
    return None


def as_numbers(value):
    if isinstance(value, pd.DataFrame):
        return None
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None


def _same(answer, expected, within):
    if isinstance(expected, str):
        return isinstance(answer, str) and answer.strip().casefold() == expected.casefold()
    return np.shape(answer) == np.shape(expected) and bool(
        np.all(np.abs(as_numbers(answer) - as_numbers(expected)) <= within)
    )
