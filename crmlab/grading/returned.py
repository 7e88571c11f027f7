"""What came back from the sandbox: lines of JSON from a process that may have been taken over, read as such."""

import re
from dataclasses import dataclass, field

from crmlab.course import plain

__all__ = ["Returned", "read", "clean"]

_LINE, _NOTES = 400_000, 20


@dataclass
class Returned:
    """The answers and messages of a submission.

    Attributes
    ----------
    answers : dict
        By question: a plain value.
    errors : dict
        By question: kind, message and line of the last error of its cells; under ``""`` those before the first question.
    notes : list of str
        What was noticed of it.
    refused : list of str
        What came back and was not of the form that is expected.
    begun : bool
        Whether the student's first cell was reached: if not, the fault is not the student's.
    starved : bool
        Whether a cell ran out of time while it waited for the processor.
    """

    answers: dict = field(default_factory=dict)
    errors: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    begun: bool = False
    starved: bool = False


def read(lines, questions):
    """Read the lines; whatever has not the form of one is left out, and said.

    Parameters
    ----------
    lines : bytes
    questions : collection of str
        The numbers that there are.
    """
    found = Returned()

    def refuse(why):
        if len(found.refused) < 5:
            found.refused.append(clean(why, 150))

    for line in lines.split(b"\n"):
        if not line:
            continue
        try:
            if len(line) > _LINE:
                raise ValueError("a line that is too long")
            record = plain.strict_json(line.decode("ascii"))
            _take(record, questions, found)
        except Exception as error:  # whatever a forged line leads to
            refuse(f"{error}")
    return found


def _take(record, questions, found):
    match record:
        case {"note": str(text), **rest} if not rest:
            if len(found.notes) < _NOTES:
                found.notes.append(clean(text, 200))
        case {"question": str() | None as number, "error": [str(kind), str(message), int(line)], **rest} if not rest:
            if number is not None and number not in questions:
                raise ValueError("an error of no question")
            found.errors[number or ""] = (clean(kind, 60), clean(message, 300), line)
        case {"question": str(number), "answer": str(text), **rest} if not rest:
            if number not in questions:
                raise ValueError("an answer to no question")
            # The last one stands: cells may be run again further down.
            found.answers[number] = plain.loads(text, largest=_LINE)
            found.errors.pop(number, None)
        case {"begun": True, **rest} if not rest:
            found.begun = True
        case {"starved": True, **rest} if not rest:
            found.starved = True
        case {"finished": True, **rest}:
            pass
        case _:
            raise ValueError("a line that we do not know")


def clean(text, most):
    """Text for a page or a table: one line, printable, not too long."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", text)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else text[: most - 1] + "…"
