"""How far a student has come: what is done, and what each open question wants.

`check` notes every answer in one file of the student's home, outside the kit, so that it survives an upgrade, a new clone and a deleted
notebook. It holds no answers: only which question was tried how often, and whether it is right.
"""

import contextlib
import datetime
import html
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["progress", "Progress"]

# Raised when an older kit could not read the file any more; the kit then leaves the file alone.
_FORMAT = 1


def file():
    """Where it is kept: ``.crmlab/progress.json`` in the home folder, or what the variable CRMLAB_PROGRESS names."""
    return Path(os.environ.get("CRMLAB_PROGRESS") or Path.home() / ".crmlab" / "progress.json")


def note(stem, student, number, verdict):
    """Note an answer. Not without a student's id, whose data are those of the printed solutions; nor when a lesson is built."""
    if not student or verdict == "blank" or os.environ.get("CRMLAB_STATIC"):
        return
    # A check must not fail because a home folder is full or read-only, or the file is not as it should be; `progress` says that nothing is kept.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = _read()
        entry = kept["students"].setdefault(student, {}).setdefault(stem, {}).setdefault(number, {"tries": 0})
        entry["tries"] += 1
        entry["right"] = verdict == "right"
        entry["last"] = datetime.date.today().isoformat()
        path = file()
        path.parent.mkdir(parents=True, exist_ok=True)
        # In one step, by a name of its own: two notebooks may check at the same time.
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix="progress-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as text:
                json.dump(kept, text, indent=1, ensure_ascii=False)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


def progress(student=None):
    """What is done of the exercises, and what each open question wants.

    Parameters
    ----------
    student : str, optional
        Your student id, as you wrote it into the exercises; not needed where only one has worked here.

    Returns
    -------
    Progress

    Raises
    ------
    ValueError
        If several students have worked here and none is named, or the named one has not; or the file cannot be read.

    Examples
    --------
    >>> import crmlab
    >>> crmlab.progress().open["05_retention"]["1"]
    'a share between 0 and 1, to three decimals'
    """
    students = _read()["students"]
    if student is None and len(students) > 1:
        raise ValueError(
            f"several students have worked here ({', '.join(sorted(students))}): say which, as in progress({min(students)!r})."
        )
    if student is not None and students and str(student) not in students:
        raise ValueError(
            f"no answer of {str(student)!r} is kept in {file()}; there are: {', '.join(sorted(students))}."
        )
    who = str(student) if student is not None else next(iter(students), "")
    from crmlab.course.check import keys, load_key  # here: it notes its answers with this module

    return Progress(who, {stem: load_key(stem).questions for stem in keys()}, students.get(who, {}))


@dataclass(frozen=True)
class Progress:
    """What `progress` returns; it shows itself.

    Attributes
    ----------
    student : str
    """

    student: str
    _questions: dict
    _kept: dict

    @property
    def done(self):
        """Numbers of the questions answered right, by exercise."""
        return {
            stem: [n for n in questions if self._kept.get(stem, {}).get(n, {}).get("right")]
            for stem, questions in self._questions.items()
        }

    @property
    def open(self):
        """What each question that is not right yet wants, by exercise and number."""
        return {
            stem: {n: question.expects for n, question in questions.items() if n not in self.done[stem]}
            for stem, questions in self._questions.items()
        }

    def _sections(self):
        for stem, questions in self._questions.items():
            tried = self._kept.get(stem, {})
            done, wanted = self.done[stem], self.open[stem]
            lines = []
            # Of an exercise that has not been begun, its questions would only be a long list.
            for number, expects in wanted.items() if tried else ():
                tries = tried.get(number, {}).get("tries", 0)
                lines.append((number, expects, f"{tries} {'try' if tries == 1 else 'tries'}" if tries else "not tried"))
            yield stem, len(done), len(questions), bool(tried), lines

    def __repr__(self):
        said = [
            f"Progress of {self.student}"
            if self.student
            else "No answers yet: write your student id into an exercise and check one."
        ]
        for stem, done, count, begun, lines in self._sections():
            state = f"{done} of {count} right" if begun else "not begun"
            said.append(f"{stem:<22} [{'#' * done}{'-' * (count - done)}] {state}")
            said += [f"    question {number} wants {expects} ({tries})" for number, expects, tries in lines]
        return "\n".join([*said, f"Kept in {file()}"])

    def _repr_html_(self):
        parts = []
        for stem, done, count, begun, lines in self._sections():
            state = f"{done} of {count} right" if begun else "not begun"
            items = "".join(
                f"<li>Question {html.escape(number)} wants {html.escape(expects)} <small>({tries})</small></li>"
                for number, expects, tries in lines
            )
            parts.append(
                f"<p style='margin:.5em 0 0'><strong>{html.escape(stem)}</strong>: {state}</p>"
                + (f"<ul>{items}</ul>" if items else "")
            )
        head = (
            f"Progress of {html.escape(self.student)}"
            if self.student
            else "No answers yet: write your student id into an exercise."
        )
        return f"<p><b>{head}</b></p>{''.join(parts)}<small>Kept in {html.escape(str(file()))}</small>"


def _read():
    path = file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        known = kept.get("format") == _FORMAT and isinstance(kept["students"], dict)
    except FileNotFoundError:
        return {"format": _FORMAT, "students": {}}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}). Fix: move it away; a new one begins with your next answer."
        ) from None
    if not known:
        raise ValueError(
            f"{path} was written by another version of crmlab, which this one cannot read. Fix: upgrade, or move it away."
        )
    return kept
