"""Grade a class: every submission in its sandbox, several at a time; what is done stays done if the work is interrupted."""

import contextlib
import hashlib
import json
import os
import sys
import time
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from crmlab import __version__
from crmlab.course import check, notebooks, plain, sheet
from crmlab.course.check import load_key
from crmlab.course.environment import SetupError
from crmlab.grading import feedback, gradebook, marks, report, returned, sandbox, submissions, workers
from crmlab.grading.handout import about_sheet, exercises_folder, sheet_notebook
from crmlab.grading.returned import clean
from crmlab.grading.roster import ClassFolder, out_folder, read_roster, safe_name

__all__ = ["Settings", "grade", "grade_one"]

_ENDED = {
    "time": "It ran longer than the time allowed and was stopped; what it had answered before counts.",
    "memory": "It took more memory than allowed and was stopped; what it had answered before counts.",
    "answers": "It returned more than is allowed and was stopped; what it had answered before counts.",
    "died": "It ended before its last cell; what it had answered before counts.",
    "machine": "The machine ran out of memory while it ran.",
}


@dataclass(frozen=True)
class Settings:
    """What the marks of a class depend on, beside the submissions.

    Attributes
    ----------
    stem : str
    roster : str
    exercises : str
        The folder with ``src/`` and ``keys/``.
    points : dict
        By question; 1 for those that are not named.
    credit : Credit
    limits : Limits
    bare : bool
        Without a sandbox: only for submissions that you would run yourself.
    """

    stem: str
    roster: str
    exercises: str
    points: dict = field(default_factory=dict)
    credit: marks.Credit = field(default_factory=marks.Credit)
    limits: sandbox.Limits = field(default_factory=sandbox.Limits)
    bare: bool = False

    def fingerprint(self):
        """A hash of all this and of the key, the source and the code that marks."""
        folder = Path(self.exercises)
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode() + __version__.encode())
        own = sorted(Path(__file__).parent.glob("*.py")) + [Path(module.__file__) for module in (check, plain, sheet)]
        for file in [folder / "src" / f"{self.stem}.md", folder / "keys" / f"{self.stem}.py", *own]:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def grade(folder, roster, out, stem=None, exercises=None, points=None, credit=None, limits=None, due=None, jobs=2, unsafe=False):  # fmt: skip
    """Grade the submissions in a folder; write marks, feedback and the class report.

    Parameters
    ----------
    folder, roster, out : str or pathlib.Path
    stem : str, optional
        The exercise, which was handed out; not needed if it was the only one. What is made comes to a folder of this name in `out`.
    exercises : str or pathlib.Path, optional
        The folder of your own exercises, as for `handout`.
    points : dict, optional
        By question.
    credit : Credit, optional
    limits : Limits, optional
    due : datetime.datetime, optional
        What was handed in later is marked as late; its points are not changed.
    jobs : int
    unsafe : bool
        Run submissions without a sandbox where there is none.

    Returns
    -------
    int
        0
    """
    began = time.perf_counter()
    out_folder(out)
    students = read_roster(roster)
    lecturer = ClassFolder(roster)
    stem = _handed_out(lecturer, stem)
    out = Path(out) / stem
    if not unsafe and (why := sandbox.available()):
        raise SetupError(
            f"there is no sandbox here: {why}. Submissions are programs of strangers, so they are not run. On Linux install bubblewrap; elsewhere "
            "grade in a container (docs/instructor.md shows one). --unsafe runs them with your own rights: only for work that you have read."
        )
    own = exercises_folder(exercises or lecturer.record(stem).get("exercises")).resolve()
    settings = Settings(stem, str(roster), str(own), points or {}, credit or marks.Credit(), limits or sandbox.Limits(), unsafe and bool(sandbox.available()))  # fmt: skip
    _apart(folder, out, lecturer.path, own)
    key = _key(settings)
    if unknown := set(settings.points) - set(key.questions):
        raise SetupError(
            f"points for question {sorted(unknown)[0]}, which there is not; there are: {', '.join(key.questions)}."
        )
    collected = submissions.collect(folder, students, stem)
    results = _run(students, collected, Path(folder), out, settings, jobs, key)
    for student in students:
        one = student.student_id
        _describe(results[one], student, collected.attempts.get(one, []), collected.others.get(one, []), due)
    ordered = [results[student.student_id] for student in students]
    found = _matches(ordered, key)
    gradebook.write(out, stem, ordered, list(key.questions), key, settings)
    sections = feedback.sections(stem, own)
    for result in ordered:
        page = feedback.page(stem, result, sections)
        _write(out / "feedback" / f"{safe_name(result['student_id'])}.html", page)
    seconds = time.perf_counter() - began
    page = report.page(stem, ordered, key, collected.nobody, found, settings, seconds)
    _write(out / "report.html", page)
    print(report.summary(ordered, collected.nobody, found, out, seconds))
    return 0


def _write(path, page):
    """Write a page; what is no text in it must not cost the others theirs."""
    notebooks.write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _handed_out(lecturer, stem):
    """The exercise that is meant, which somebody must have been given."""
    stems = lecturer.stems()
    if not stems:
        raise SetupError(f"no exercise was handed out: in {lecturer.path} there is none. `handout` makes the sheets.")
    there = f"in {lecturer.path} there {'is' if len(stems) == 1 else 'are'} {', '.join(stems)}"
    if stem is None and len(stems) > 1:
        raise SetupError(f"which exercise? {there[0].upper()}{there[1:]}: say which with --exercise.")
    if stem is not None and stem not in stems:
        raise SetupError(f"the exercise {stem!r} was not handed out to this class; {there}.")
    return stem or stems[0]


def _key(settings):
    try:
        return load_key(settings.stem, Path(settings.exercises) / "keys")
    except ValueError as error:
        raise SetupError(str(error)) from None


def _apart(folder, out, private, own):
    """Refuse to work where a submission could read what it must not."""
    for place in (Path(folder), Path(out), private, own / "keys", own / "src"):
        for shown in sandbox.visible():
            if place.resolve().is_relative_to(shown):
                raise SetupError(
                    f"{place} lies in {shown}, which submissions can read. Move it out of the way of the packages."
                )


def _run(students, collected, folder, out, settings, jobs, key):
    """The result of every student, from an earlier run where nothing has changed."""
    mark_of, lecturer = settings.fingerprint(), ClassFolder(settings.roster)
    results, todo = {}, []
    for student in students:
        one = student.student_id
        attempts = collected.attempts.get(one, [])
        newest = attempts[0].path if attempts else None
        file = out / "results" / f"{safe_name(one)}.json"
        # A class folder that was lost and made again has other data.
        data = lecturer.data_text(settings.stem, one, key).encode()
        digest = hashlib.sha256(f"{mark_of}{one}".encode() + hashlib.sha256(data).digest())
        digest.update(os.fsencode(newest or "") + b"\0" + _bytes(folder, newest))
        fingerprint = digest.hexdigest()
        earlier = _earlier(file, fingerprint)
        if earlier is not None:
            results[one] = earlier
        else:
            todo.append((one, newest, fingerprint, file))
    if results:
        print(f"{len(results)} of {len(students)} are marked already and have not changed.")
    bar = tqdm(total=len(todo), unit="submission", desc="Grading", disable=None)

    def keep(result, fingerprint, file):
        # A run for which the machine had no memory says nothing of the student: it is run again.
        if result["ended"] != "machine":
            notebooks.write_text(file, json.dumps(result | {"fingerprint": fingerprint}))
        results[result["student_id"]] = result
        bar.update()

    with bar:
        starved, left = [], todo
        for _ in range(2):  # if a process of ours broke, its neighbours are run again, still several at a time
            left, more = _in_pool(left, folder, settings, jobs, keep)
            starved += more
        # What broke one twice, or was short of memory or of the processor among others, is run once more, alone: a greedy
        # submission must not cost its neighbour a point.
        for task in left + starved:
            broken, _ = _in_pool([task], folder, settings, 1, keep, last=True)
            for one, newest, fingerprint, file in broken:
                keep(_failed(one, newest, "Grading it broke the program three times."), fingerprint, file)
    return results


def _in_pool(todo, folder, settings, jobs, keep, last=False):
    """Grade in several processes; return what has to be done again: what was lost with a process, and what starved."""
    lost, starved = [], []
    if not todo:
        return lost, starved
    with workers.pool(min(jobs, len(todo))) as pool:
        with workers.undisturbed():
            running = {pool.submit(grade_one, task[0], task[1], str(folder), settings): task for task in todo}
        for done in as_completed(running):
            task = running[done]
            try:
                result = done.result()
            except BrokenProcessPool:
                lost.append(task)
                continue
            except Exception as error:  # a fault of ours must not stop the class
                why = f"Grading it failed ({type(error).__name__}: {str(error)[:150]})."
                result = _failed(task[0], task[1], why)
            if result.pop("starved", False) and jobs > 1 and not last:
                starved.append(task)
            else:
                keep(result, task[2], task[3])
    return lost, starved


def _failed(student_id, newest, why):
    return _empty(student_id, newest) | {
        "status": "failed",
        "ended": "machine",
        "reports": [f"{why} Look at it by hand."],
    }


def _empty(student_id, newest):
    return {
        "student_id": student_id, "file": newest and clean(newest, 200), "status": "missing" if newest is None else "graded", "ended": "",
        "marks": [], "reports": [], "hints": [], "rights": {}, "values": {}, "seconds": 0.0, "memory_mb": 0.0,
    }  # fmt: skip


_loaded = {}  # per process: the key and the sheet of the exercise


def _load(settings):
    if settings.stem not in _loaded:
        key = _key(settings)
        lecturer = ClassFolder(settings.roster)
        about = lecturer.record(settings.stem).get("sheet") or about_sheet(key, settings.stem)
        _loaded[settings.stem] = key, sheet_notebook(settings.stem, settings.exercises), about
    return _loaded[settings.stem]


def grade_one(student_id, newest, folder, settings):
    """Grade one submission; never raises for anything that is in it.

    Returns
    -------
    dict
        Plain values: status, marks, what to report, right answers.
    """
    key, pristine, about = _load(settings)
    result = _empty(student_id, newest)
    text = ClassFolder(settings.roster).data_text(settings.stem, student_id, key)
    data = plain.loads(text)
    result["rights"] = marks.right_answers(key, data)
    came = returned.Returned()
    if newest is not None:
        try:
            cells, said = submissions.read_notebook(folder, newest)
        except submissions.Unreadable as error:
            result |= {"status": "unreadable", "reports": [clean(f"{newest} cannot be read: {error}.", 400)]}
        else:
            if said.get("stem") not in (None, settings.stem):
                another = f"{newest} is of another exercise: {clean(str(said['stem']), 40)}."
                result |= {"status": "another", "reports": [clean(another, 400)]}
    if result["status"] == "graded":
        job, hints = submissions.job(cells, pristine)
        files = {"data.json": text, "sheet.json": json.dumps(about | {"student": student_id})}
        if said.get("student") not in (None, "", student_id):
            result["reports"].append(f"The notebook was handed out to {clean(str(said['student']), 40)}.")
        run = _run_bare if settings.bare else sandbox.run
        outcome = run(job, files, settings.limits)
        came = returned.read(outcome.lines, key.questions)
        result |= {
            "starved": outcome.ended == "machine" or outcome.starved or came.starved,
            "ended": outcome.ended,
            "seconds": outcome.seconds,
            "memory_mb": outcome.memory_mb,
            "hints": hints,
        }
        result["reports"] += [_ENDED[outcome.ended]] if outcome.ended in _ENDED else []
        result["reports"] += came.notes + [f"What came back was not in order: {why}." for why in came.refused]
        if outcome.ended == "machine":
            result["status"] = "failed"
        slow = [number for number, (kind, *_) in came.errors.items() if kind == "CellTimeout"]
        result["reports"] += [f"A cell of question {number} ran too long." for number in slow if number]
        if not came.begun and outcome.ended != "machine":  # run once more, and then for the lecturer to look at
            why = f"The sandbox did not reach its first cell: {_last(outcome.said) or outcome.ended}."
            return _failed(student_id, newest, why) | {"rights": result["rights"], "starved": True}
    for number, question in key.questions.items():
        out_of = settings.points.get(number, 1.0)
        try:
            mark = marks.mark(number, question, data, came, out_of, settings.credit)
        except Exception as error:  # an answer that nobody thought of costs its own question and no other
            message = f"Your answer could not be read ({type(error).__name__}). Expected: {question.expects}."
            mark = marks.Mark(number, "shape", 0.0, out_of, message=message, hint=question.hint)
            result["reports"].append(
                f"The answer to question {number} could not be marked ({type(error).__name__}). Look at it by hand."
            )
        result["marks"].append(asdict(mark))
        answer = came.answers.get(number)
        if mark.verdict not in ("right", "near") and type(answer) in (int, float) and number in result["rights"]:
            result["values"][number] = float(answer)
    return result


def _last(text):
    return text.strip().splitlines()[-1][:200] if text.strip() else ""


def _run_bare(job, files, limits):
    """As `sandbox.run`, with nothing around it but a folder of its own and the limits."""
    import signal
    import subprocess
    import tempfile

    def leave(*_):
        process.kill()
        os._exit(1)

    with tempfile.TemporaryDirectory() as folder:
        for name, content in (files | {"run.json": json.dumps(job)}).items():
            Path(folder, name).write_text(content, encoding="utf-8")
        began = time.monotonic()
        script = str(Path(__file__).parent / "runner.py")
        command = [sys.executable, "-B", script, json.dumps(limits.for_the_inside() | {"rlimits": {}})]
        ended = "finished"
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        # A bubblewrap ends with the process that started it; this does not by itself.
        previous = signal.signal(signal.SIGTERM, leave)
        try:
            lines, _ = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            lines, ended = process.communicate()[0], "time"
        finally:
            signal.signal(signal.SIGTERM, previous)
    if ended == "finished" and b'"finished": true' not in lines[-200:]:
        ended = "died"
    return sandbox.Outcome(lines[: limits.answers_kb << 10], ended, "", time.monotonic() - began, 0.0)


def _describe(result, student, attempts, others, due):
    """Add what does not depend on the content: name, lateness, attempts, files that are no notebooks."""
    result |= {"name": student.name, "email": student.email, "attempts": len(attempts), "late": False, "handed_in": ""}
    if attempts:
        when = datetime.fromtimestamp(attempts[0].handed_in).astimezone()
        result["handed_in"] = when.isoformat(timespec="seconds")
        result["late"] = due is not None and when > (due if due.tzinfo else due.astimezone())
    elif others:
        what = f"{submissions.some(others)} {'is no notebook' if len(others) == 1 else 'are no notebooks'}"
        packed = any(name.lower().endswith((".zip", ".7z", ".rar", ".gz")) for name in others)
        inside = "; what is packed in a file is not looked at" if packed else ""
        result |= {"status": "no notebook", "reports": [f"{what}{inside}."]}
    if len(attempts) > 1:
        others = ", ".join(clean(attempt.path, 200) for attempt in attempts[1:4])
        result["hints"] = [*result["hints"], f"{len(attempts)} notebooks were handed in; the last one counts, not {others}."]  # fmt: skip


def _matches(results, key):
    within = {n: question.within for n, question in key.questions.items() if any(n in one["rights"] for one in results)}
    rights = {one["student_id"]: one["rights"] for one in results}
    return marks.matches({one["student_id"]: one["values"] for one in results if one["values"]}, rights, within)


def _earlier(file, fingerprint):
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found.get("fingerprint") == fingerprint:
            return found
    return None


def _bytes(folder, relative):
    """The content of a submission, to see whether it has changed; nothing where it cannot be read."""
    if relative is None:
        return b""
    try:
        return submissions._read(folder, relative)
    except submissions.Unreadable as error:
        return str(error).encode("utf-8", "surrogatepass")


def cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
