"""A sheet for marks: data of the student's own, and a `check` that looks at the form of an answer, not at its value."""

import gzip
import hashlib
import html
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crmlab.course import check, plain

__all__ = ["Sheet", "Receipt"]


@dataclass(frozen=True)
class Receipt:
    """What `Sheet.check` says of an answer.

    Attributes
    ----------
    question : str
    verdict : {"form", "shape", "blank", "stale"}
        Whether the answer has the form that is asked for. Whether it is right is said when the sheet is marked.
    message : str
    """

    question: str
    verdict: str
    message: str

    def __repr__(self):
        return f"Question {self.question}. {self.message}"

    def _repr_html_(self):
        colour = {"form": "#00537d", "blank": "#555555"}.get(self.verdict, "#a33c00")
        return (
            f"<div style='border-left:.4em solid {colour};padding:.3em .8em;max-width:46em'>"
            f"<strong style='color:{colour}'>Question {html.escape(self.question)}.</strong> {html.escape(self.message)}</div>"
        )


class Sheet:
    """A student's sheet for marks, from the files beside its notebook.

    Parameters
    ----------
    student : str, optional
        Your student id. A sheet made for one student knows it; the common sheet of a class asks for it.
    folder : str or pathlib.Path
        Where ``sheet.json`` and the data are: the folder that was handed out.

    Raises
    ------
    FileNotFoundError
        If the files of the sheet are not in the folder.
    ValueError
        If no id is given where one is needed, the class has no such id, or the sheet is another student's.

    Notes
    -----
    Neither the answers nor what they are computed with are on the sheet. The exercise of the same name in the kit has
    other data and a `check` that says what is wrong: practise there.
    """

    def __init__(self, student="", folder="."):
        folder, student = Path(folder), str(student).strip()
        if not (folder / "sheet.json").exists():
            raise FileNotFoundError(
                f"sheet.json is not in {folder.resolve()}. Unpack the whole sheet, and leave its files beside the notebook."
            )
        self._about = json.loads((folder / "sheet.json").read_text(encoding="utf-8"))
        if owner := self._about["student"]:
            if student and student != owner:
                raise ValueError(f"this sheet is for {owner!r}; you wrote {student!r}. Work on your own.")
            student, data = owner, (folder / "data.json").read_bytes()
        else:
            if not student:
                raise ValueError('no student id: write yours between the quotation marks, student="".')
            file = folder / "data" / common_name(self._about["stem"], student)
            if not file.exists():
                raise ValueError(
                    f"the class has no student {student!r}. Is it spelled as on your list (capitals, leading zeros)?"
                )
            data = gzip.decompress(file.read_bytes())
        self.student = student
        self.data = plain.loads(data.decode("utf-8"))
        self._seen = {}

    def check(self, question, answer=None):
        """Whether an answer has the form that the question asks for; not whether it is right.

        Returns
        -------
        Receipt
        """
        number, questions = str(question), self._about["questions"]
        if number not in questions:
            raise ValueError(f"there is no question {number!r}; there are: {', '.join(questions)}.")
        asked = questions[number]
        if answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip()):
            return Receipt(number, "blank", f"No answer yet. Expected: {asked['expects']}.")
        # Which question had this very object before? (Words and small numbers are one object wherever they stand.)
        if not isinstance(answer, str | int):
            first = self._seen.setdefault(id(answer), (number, answer))[0]
            if first != number:
                message = f"This is still the answer to question {first}: `answer` was not set again. Did the cell above stop with an error?"
                return Receipt(number, "stale", message)
        like = {"word": "", "number": 0.0}.get(asked["form"])
        like = np.zeros(asked["form"]) if like is None else like
        if problem := check.shape_problem(answer, like, tuple(asked["choices"])):
            return Receipt(number, "shape", f"{problem} Expected: {asked['expects']}.")
        shown = repr(answer.item() if isinstance(answer, np.generic) else answer)
        return Receipt(
            number, "form", f"Your answer is {shown[:80]}: the form is right. Whether it is, your marks say."
        )


def common_name(stem, student):
    """The file of a student's data on the common sheet."""
    return hashlib.sha256(f"{stem}\0{student}".encode()).hexdigest()[:16] + ".json.gz"
