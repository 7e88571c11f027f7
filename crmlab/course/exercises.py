"""From an exercise's source to the student's notebook, and the proof that the exercise works."""

import copy
import re

import nbformat

from crmlab.course.notebooks import LessonError

_BEGIN = re.compile(r"^(?P<indent>\s*)#+\s*BEGIN SOLUTION\s*$", re.IGNORECASE)
_END = re.compile(r"^\s*#+\s*END SOLUTION\s*$", re.IGNORECASE)
_CHECK = re.compile(r"""^check\(\s*["'](?P<number>[^"']+)["']""", re.MULTILINE)
_STUB = 'raise NotImplementedError("{what}: compute `answer` in place of this line")'


def student_version(notebook, name):
    """The notebook that a student gets: a function of the source alone.

    Each region between ``# BEGIN SOLUTION`` and ``# END SOLUTION`` (the marks of nbgrader and otter) becomes one line
    that fails loudly until it is replaced. Cells tagged ``solution`` are left out, and so are all outputs.

    Raises
    ------
    LessonError
        If a mark is nested, unclosed or unopened, or a cell that checks an answer has no solution.
    """
    result = copy.deepcopy(notebook)
    result.cells = [cell for cell in result.cells if "solution" not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(result.cells, start=1):
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        asked = _CHECK.search(cell.source)
        stripped = _strip(cell.source, f"{name}, cell {number}", f"Question {asked['number']}" if asked else "Exercise")
        if asked and stripped == cell.source:
            raise LessonError(
                f"{name}, cell {number}: it checks question {asked['number']} but marks no solution (# BEGIN SOLUTION ... # END SOLUTION)."
            )
        if stripped != cell.source:
            cell.source = stripped
            # "Run all" then goes on to the next question instead of stopping at the first.
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
    return result


def solution_lines(notebook):
    """The lines inside solution regions that say something, for the proof that none reaches a student."""
    lines = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            inside = False
            for line in cell.source.splitlines():
                if _BEGIN.match(line) or _END.match(line):
                    inside = not inside
                elif inside and line.strip() and not line.strip().startswith("#"):
                    lines.append(line.strip())
    return lines


def prove(stem, executed, student):
    """Prove an exercise: solutions right, blanks and named mistakes refused each with its own message, nothing leaked.

    Parameters
    ----------
    stem : str
    executed : nbformat.NotebookNode
        The exercise with solutions, executed.
    student : nbformat.NotebookNode
        What `student_version` made of the source.

    Raises
    ------
    LessonError
        With the first thing that does not hold.
    """
    from crmlab.course.check import MIME, load_key

    key = load_key(stem)
    verdicts = {}
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            if said := output.get("data", {}).get(MIME):
                verdicts[said["question"]] = said["verdict"]
    if list(verdicts) != list(key.questions):
        raise LessonError(f"{stem}: the solutions check questions {list(verdicts)}, the key has {list(key.questions)}.")
    wrong = [number for number, verdict in verdicts.items() if verdict != "right"]
    if wrong:
        raise LessonError(f"{stem}: the key does not accept the solution of question {wrong[0]}.")
    key.prove()
    written = nbformat.writes(student)
    texts = "\n".join(cell.source for cell in student.cells)
    for line in solution_lines(executed):
        # A line that the lesson's text shows as an example anyway, such as an import, is no secret.
        if line in texts.splitlines() or (len(line) > 12 and line in texts):
            raise LessonError(f"{stem}: a line of a solution stands in the student's notebook: {line}")
    if "BEGIN SOLUTION" in written.upper():
        raise LessonError(f"{stem}: a solution mark stands in the student's notebook.")


def _strip(source, where, what):
    kept, inside = [], False
    for line in source.splitlines():
        if begin := _BEGIN.match(line):
            if inside:
                raise LessonError(f"{where}: a BEGIN SOLUTION inside another.")
            inside = True
            kept.append(begin["indent"] + _STUB.format(what=what))
        elif _END.match(line):
            if not inside:
                raise LessonError(f"{where}: an END SOLUTION without its BEGIN SOLUTION.")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise LessonError(f"{where}: a BEGIN SOLUTION without its END SOLUTION.")
    return "\n".join(kept)
