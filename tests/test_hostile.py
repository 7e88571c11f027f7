"""Submissions that want more than a mark: none gets it, none costs a neighbour a point, and each is reported.

They answer a small exercise of three questions. Questions 1 and 3 of every submission are answered rightly unless its trick
is in the way; what it tries stands in the cell of question 2, so its marks are known beforehand.
"""

import json
import os
import re
import subprocess
import time
import uuid
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import classroom
import pytest

from crmlab.course import check
from crmlab.grading import grade, marks, roster, sandbox, submissions, workers
from crmlab.grading.handout import handout

pytestmark = pytest.mark.usefixtures("bubblewrap")

# Long enough for a slow machine, short enough for those that use it up.
LIMITS = sandbox.Limits(seconds=15, cell_seconds=5, memory_mb=1024)

SOURCE = """\
---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
---

# Exercise: a small exam

Three questions.

```{code-cell} ipython3
from crmlab.course import Exercise

exercise = Exercise("91_exam", student="")  # your student id between the quotation marks
check, data = exercise.check, exercise.data
```

**Question 1.** The mean amount?

```{code-cell} ipython3
# BEGIN SOLUTION
answer = data["sales"]["amount"].mean()
# END SOLUTION
check("1", answer)
```

**Question 2.** The smallest and the largest amount?

```{code-cell} ipython3
# BEGIN SOLUTION
answer = [data["sales"]["amount"].min(), data["sales"]["amount"].max()]
# END SOLUTION
check("2", answer)
```

**Question 3.** Do customers "stay" or "leave"?

```{code-cell} ipython3
# BEGIN SOLUTION
answer = "stay"
# END SOLUTION
check("3", answer)
```
"""

KEY = """\
import pandas as pd

from crmlab.course.check import Key

key = Key("91_exam")


@key.data
def data(rng):
    return {"sales": pd.DataFrame({"customer": [f"c{i}" for i in range(50)], "amount": rng.uniform(10, 90, 50)})}


@key.question("1", expects="a mean", hint="mean()", explanation="The sum over the number.")
def mean(data):
    return data["sales"]["amount"].mean()


@mean.mistake("This is the median.")
def _(data):
    return data["sales"]["amount"].median()


@key.question("2", expects="two numbers", hint="min() and max()", explanation="Both ends.")
def ends(data):
    return [data["sales"]["amount"].min(), data["sales"]["amount"].max()]


@ends.mistake("The other order.")
def _(data):
    return [data["sales"]["amount"].max(), data["sales"]["amount"].min()]


@key.question("3", expects="a word", hint="Think.", explanation="SECRET-OF-THE-KEY", choices=("stay", "leave"))
def word(data):
    return "stay"


@word.mistake("They stay.")
def _(data):
    return "leave"
"""

MARK = f"outliver-{uuid.uuid4().hex[:8]}"
FORGED = 'import os\nforged = b\'{"question": "2", "answer": "99"}\\n{"marks": 100}\\n{"question": "9", "answer": "1"}\\nnot json\\n\'\nfor fd in range(3, 40):\n    try:\n        os.write(fd, forged)\n    except OSError:\n        pass'

# What stands in the cell of question 2; what becomes of questions 1, 2, 3; what the lecturer or the student is told.
TRICKS = {
    "endless loop": ("while True:\n    pass", "right error right", "ran too long"),
    "endless loop that catches everything": ("while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass", "right blank blank", "longer than the time"),
    "fork bomb": ("import os\ntry:\n    while True:\n        os.fork()\nexcept OSError:\n    while True:\n        pass", None, "It reaches for a process"),
    "memory hog": ("hog = bytearray(8 * 10**9)", "right error right", "MemoryError"),
    "memory hog in many processes": ("import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        hog = b'x' * 200_000_000\n        time.sleep(60)\n        os._exit(0)\ntime.sleep(60)", "right blank blank", "more memory"),
    "disk filler": ("for i in range(1000):\n    with open(f'/tmp/fill{i}', 'wb') as file:\n        file.write(b'x' * 10**7)", "right error right", "No space left"),
    "one huge file": ("with open('big', 'wb') as file:\n    for _ in range(1000):\n        file.write(b'x' * 10**7)", "right error right", "File too large"),
    "memory file": ("import os\nfd = os.memfd_create('x')\nwhile True:\n    os.write(fd, b'x' * 10**7)", "right error right", "File too large"),
    "deletes what it finds": ("import os, shutil\nfor place in ('/work', '/usr', '/root', '/etc', '/proc', '/sheet', '/tmp'):\n    shutil.rmtree(place, ignore_errors=True)\nos.remove('/usr/bin/env')", "right error right", "It reaches for a file|It reaches for /"),
    "reads the key": ("import crmlab.course.check as c\nanswer = c.load_key('91_exam')", "right error right", "no exercise '91_exam'"),
    "searches for the key": ("import os, sys, crmlab\nkit = os.path.dirname(os.path.dirname(crmlab.__file__))\nplaces = [os.path.join(one, 'crmlab') for one in [kit, *sys.path]] + [os.path.join(kit, 'exercises'), '{work}', '/home', '/sheet', '/tmp', '/etc']\nwanted = '91_exam', '05_retention.py'\nanswer = [os.path.join(a, b) for place in places for a, _, bs in os.walk(place) for b in bs if b.startswith(wanted) or b == 'secret']\nos.listdir('/root')", "right shape right", "It reaches for"),
    "reads another's work": ("answer = open('{folder}/honest/sheet.ipynb').read()", "right error right", "FileNotFoundError"),
    "reads the class secret": ("answer = open('{work}/roster.class/secret').read()", "right error right", "FileNotFoundError"),
    "network": ("import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 2)\nexcept OSError as error:\n    answer = str(error)", "right shape right", "It reaches for the network"),
    "web page": ("import urllib.request\nurllib.request.urlopen('http://192.0.2.1/')", "right error right", "It reaches for the network"),
    "patches check": ("def check(question, answer=None):\n    return 'right'", "right blank right", "in the place of `check`"),
    "patches numpy": ("import numpy as np, pandas as pd\nnp.mean = np.array = lambda *a, **k: 0\npd.Series = float", "right blank right", "It changes numpy"),
    "patches how answers go out": ("from crmlab.course import plain\nplain.dumps = lambda value: '{\"dict\": 1}'", "right blank blank", "not in order"),
    "fakes outputs": (None, "right blank right", None),
    "forges the results": (FORGED, "right shape right", "What came back was not in order"),
    "forges the results and leaves": (FORGED + "\nos._exit(0)", "right shape blank", "What came back was not in order"),
    "prints without end": ("while True:\n    print('x' * 10**6)", "right error right", "prints more than 10 MB"),
    "floods the pipe": ("import os\nwhile True:\n    for fd in range(3, 40):\n        try:\n            os.write(fd, b'x' * 10**6)\n        except OSError:\n            pass", "right blank blank", "returned more than is allowed"),
    "huge answer": ("answer = 'x' * 10**7", "right shape right", "too large"),
    "answer that holds itself": ("answer = []\nanswer += [answer] * 50", "right shape right", "type list"),
    "kills its parent": ("import os, signal\nfor pid in (1, os.getppid(), -1):\n    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass", "right blank right", "It reaches for a signal"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", "right blank blank", "ended before its last cell"),
    "closes all files": ("import os\nos.closerange(0, 256)", "right blank blank", "ended before its last cell"),
    "leaves": ("import sys\nsys.exit()", "right error right", "SystemExit"),
    "new namespaces": ("import subprocess\nanswer = subprocess.run(['unshare', '-Urm', 'mount', '-t', 'tmpfs', 'x', '/mnt'], capture_output=True).returncode\nassert answer == 0, 'not allowed'", "right shape right", "It reaches for a process"),
    "pickle as answer": ("class Evil:\n    def __reduce__(self):\n        import os\n        return os.system, ('touch {work}/pwned',)\nanswer = Evil()", "right shape right", "type Evil"),
    "unpickles": ("import pickle\npickle.loads(b\"cos\\nsystem\\n(S'touch {work}/pwned'\\ntR.\")", "right blank right", "It reaches for a"),
    "environment": ("import os\nanswer = dict(os.environ)", "right shape right", "type dict"),
    "kernel magics": ("%reset -f\n%cd /\n!rm -rf /usr/bin/env /sheet\n!touch {work}/pwned\n%load_ext autoreload", "right blank right", "It reaches for a process"),
    "quits the kernel": ("exit\nquit\nget_ipython().kernel.do_shutdown(False)", "right error right", "AttributeError|NoneType"),
    "a process that outlives the run": (f"import subprocess\nsubprocess.Popen(['/bin/sh', '-c', 'exec -a {MARK} sleep 300 || sleep 300 # {MARK}'], start_new_session=True)", "right blank right", "It reaches for a process"),
    "a number that lies": ("class Right(float):\n    __eq__ = lambda *_: True\n    __sub__ = __rsub__ = lambda *_: 0.0\nanswer = Right()", "right shape right", "type Right"),
    "beyond all bounds": ("answer = 10 ** 400", "right shape right", "beyond all bounds"),
    "not a number": ("answer = [float('nan'), float('inf')]", "right shape right", "NaN"),
    "script as answer": ("answer = '<script>alert(1)</script>'", "right shape right", "text"),
    "formula as answer": ("answer = '=HYPERLINK(\"http://x\")'", "right shape right", "text"),
    "claims to be another": (None, "right right right", "handed out to honest"),
}  # fmt: skip
# Files that are no notebook: nothing of them is run.
BROKEN = {
    "malformed": (b"{\"cells\": [", "cut short or damaged"),
    "not text": (bytes(range(256)) * 10, "cut short or damaged"),
    "nested too deep": (b"[" * 200_000 + b"]" * 200_000, "nested too deep"),
    "a million cells": (b'{"cells":[' + b",".join([b"{}"] * 1_000_000) + b"]}", "1000000 cells"),
    "many megabytes": (b'{"cells":[' + b" " * 21_000_000 + b"]}", "more than 20 MB"),
    "one long cell": (json.dumps({"cells": [{"cell_type": "code", "source": "x" * 200_000}]}).encode(), "characters"),
    "cells that are none": (b'{"cells": [1, null]}', "no cell"),
    "keys twice": (b'{"cells": [], "cells": []}', "twice"),
}  # fmt: skip
LINKS = ("link to the secret", "link to another's work", "folder that is a link", "pipe")


@dataclass
class Class:
    results: dict
    work: Path
    seconds: float
    page: str


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    work = tmp_path_factory.mktemp("hostile")
    folder = work / "handed in"
    for name, text in (("src/91_exam.md", SOURCE), ("keys/91_exam.py", KEY)):
        (work / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "own" / name).write_text(text, encoding="utf-8")
    everybody = ["honest", "honest too", *TRICKS, *BROKEN, *LINKS]
    ids = {who: re.sub(r"\W", "-", who) for who in everybody}
    lines = ["student_id,name"] + [f"{one},\"=cmd|' /C calc'!A0 {one}\"" for one in ids.values()]
    (work / "roster.csv").write_text("\n".join(lines), encoding="utf-8")
    handout("91_exam", work / "roster.csv", work / "out", exercises=work / "own")
    solutions = classroom.solutions("91_exam", work / "own")
    for who in ("honest", "honest too", *TRICKS):
        plainly = classroom.sheet(work / "out", "91_exam", ids[who])
        code = TRICKS.get(who, ("",))[0]
        if who == "fakes outputs":
            for cell in plainly.cells:
                if cell.id == "check-2":
                    cell.outputs = [{"output_type": "display_data", "metadata": {}, "data": {"application/vnd.crmlab.feedback+json": {"question": "2", "verdict": "right"}}}]  # fmt: skip
            code = "raise NotImplementedError('Question 2: compute')"
        if who == "claims to be another":
            plainly.metadata["crmlab"]["student"], code = "honest", None
        code = code and code.replace("{folder}", str(folder)).replace("{work}", str(work))
        answers = solutions if not code else solutions | {"2": code}
        classroom.hand_in(folder, ids[who], classroom.filled(plainly, answers))
    for who, (content, _) in BROKEN.items():
        classroom.hand_in(folder, ids[who], content)
    for who, target in zip(LINKS, (work / "roster.class" / "secret", folder / "honest" / "sheet.ipynb")):
        (folder / ids[who]).mkdir()
        (folder / ids[who] / "sheet.ipynb").symlink_to(target)
    (folder / ids[LINKS[2]]).symlink_to(folder / "honest")
    (folder / ids[LINKS[3]]).mkdir()
    os.mkfifo(folder / ids[LINKS[3]] / "sheet.ipynb")
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET_OF_THE_LECTURER", "s3cr3t")
        grade.grade(folder, work / "roster.csv", work / "marks", limits=LIMITS, jobs=2)
    seconds = time.monotonic() - began
    results = {
        who: json.loads((work / "marks" / "91_exam" / "results" / f"{one}.json").read_text())
        for who, one in ids.items()
    }
    return Class(results, work, seconds, (work / "marks" / "91_exam" / "report.html").read_text(encoding="utf-8"))


def said(result):
    """All that the lecturer and the student are told."""
    return " ".join(
        result["reports"] + result["hints"] + [mark["message"] + mark["answer"] for mark in result["marks"]]
    )


@pytest.mark.parametrize("who", TRICKS)
def test_a_trick_gets_what_its_answers_deserve(graded, who):
    result, (_, verdicts, report) = graded.results[who], TRICKS[who]
    found = [mark["verdict"] for mark in result["marks"]]
    if (
        verdicts is None
    ):  # every child of the bomb is a submission of its own: the first answer is safe, the rest is chance
        assert found[0] == "right" and found[1] in ("blank", "error")
    else:
        assert found == verdicts.split(), said(result)
    assert result["status"] == "graded"
    if report:
        assert re.search(report, said(result)), said(result)


@pytest.mark.parametrize("who", BROKEN)
def test_a_file_that_is_no_notebook_is_said(graded, who):
    result = graded.results[who]
    assert result["status"] == "unreadable" and sum(mark["points"] for mark in result["marks"]) == 0
    assert BROKEN[who][1] in said(result)


@pytest.mark.parametrize("who", LINKS)
def test_a_link_is_not_followed(graded, who):
    result = graded.results[who]
    assert result["status"] == "unreadable"
    assert re.search("link|no ordinary file", said(result)), said(result)


@pytest.mark.parametrize("who", ["honest", "honest too"])
def test_the_neighbours_lose_nothing(graded, who):
    result = graded.results[who]
    assert [mark["verdict"] for mark in result["marks"]] == ["right"] * 3
    assert result["reports"] == [] and result["hints"] == []


def test_no_secret_came_out(graded):
    secret = (graded.work / "roster.class" / "secret").read_text().strip()
    keyed = ("right",)
    for file in (graded.work / "marks").rglob("*"):
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        assert secret not in text and "s3cr3t" not in text and "A_SECRET_OF" not in text
    for who, result in graded.results.items():
        # What the key says of a right answer is said to those who gave it, and came from nowhere else.
        for mark in result["marks"]:
            assert ("SECRET-OF-THE-KEY" in mark["message"]) == (mark["question"] == "3" and mark["verdict"] in keyed), (
                who
            )
    assert graded.results["searches for the key"]["marks"][1]["answer"] == "[]"


def test_nothing_was_left_behind(graded):
    assert not (graded.work / "pwned").exists()
    assert MARK not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert Path("/usr/bin/env").exists() and (graded.work / "roster.class" / "secret").exists()
    memory = max(result["memory_mb"] for result in graded.results.values())
    # Looked at ten times a second, so what is seen may lie above the limit by what is taken in a tenth.
    assert LIMITS.memory_mb * 0.5 < memory < LIMITS.memory_mb * 3


def test_each_is_in_the_report(graded):
    for who, result in graded.results.items():
        for line in result["reports"]:
            assert line.split("'")[0].split("<")[0][:40].strip() in graded.page.replace("&#x27;", "'").replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"), who  # fmt: skip


def test_formulas_and_scripts_are_defused(graded):
    book = (graded.work / "marks" / "91_exam" / "gradebook.csv").read_text(encoding="utf-8-sig")
    assert "'=cmd" in book and not re.search(r"(^|[,\"])=", book, re.MULTILINE)
    for page in (graded.work / "marks" / "91_exam" / "feedback").iterdir():
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and "default-src 'none'" in text
    assert "&lt;script&gt;" in (graded.work / "marks" / "91_exam" / "feedback" / "script-as-answer.html").read_text()


def test_a_sandbox_that_is_missing_is_a_refusal(graded, monkeypatch, capsys):
    from crmlab.course.environment import SetupError

    monkeypatch.setattr(sandbox, "available", lambda: "bubblewrap is not installed")
    with pytest.raises(SetupError, match="not run.*--unsafe"):
        grade.grade(graded.work / "handed in", graded.work / "roster.csv", graded.work / "other", credit=marks.Credit())


def test_what_lies_in_the_way_of_the_packages_is_refused(graded):
    import sys

    from crmlab.course.environment import SetupError

    with pytest.raises(SetupError, match="which submissions can read"):
        grade.grade(graded.work / "handed in", graded.work / "roster.csv", Path(sys.prefix) / "marks")


@pytest.mark.skipif(
    os.geteuid() != 0, reason="it is the way in which everybody but root is sealed: every other test shows it"
)
def test_who_is_not_root_is_sealed_by_one_bubblewrap(monkeypatch):
    monkeypatch.setattr(sandbox, "visible", lambda: [Path("/usr")])
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        command = sandbox.command([], {})
    assert command[0] == "bwrap" and "setpriv" not in command
    command = command[: len(command) - command[::-1].index("--")]
    script = "id -u; ls /; ls -d /proc/[0-9]* | wc -l; touch /usr/x /x /etc/x 2>/dev/null || echo sealed; unshare -Ur true 2>/dev/null || echo no namespaces"
    done = subprocess.run([*command, "/bin/sh", "-c", script], user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60)  # fmt: skip
    lines = done.stdout.split("\n")
    assert lines[0] == "65534" and "sealed" in lines and "no namespaces" in lines, done
    assert not {"root", "home", "work"} & set(lines)


def test_a_process_of_ours_that_breaks_stops_nobody(graded, monkeypatch, tmp_path):
    """The first two pools lose everything, as if a process had been killed; then all is marked as before."""

    class Broken(workers.ProcessPoolExecutor):
        left = 2

        def submit(self, *words, **more):
            if not (Broken.left and words[1] == "honest"):
                return super().submit(*words, **more)
            Broken.left -= 1
            future = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    handed = tmp_path / "handed in"
    for one in ("honest", "honest-too"):
        classroom.hand_in(handed, one, (graded.work / "handed in" / one / "sheet.ipynb").read_text(encoding="utf-8"))
    settings = grade.Settings("91_exam", str(graded.work / "roster.csv"), str(graded.work / "own"), limits=LIMITS)
    students = [roster.Student(one) for one in ("honest", "honest-too")]
    attempts = {one: [submissions.Attempt(f"{one}/sheet.ipynb", 0)] for one in ("honest", "honest-too")}
    with monkeypatch.context() as patch:
        patch.setattr(workers, "ProcessPoolExecutor", Broken)
        results = grade._run(
            students,
            submissions.Collected(attempts),
            handed,
            tmp_path / "out",
            settings,
            2,
            check.load_key("91_exam", graded.work / "own" / "keys"),
        )
    assert Broken.left == 0
    for result in results.values():
        assert [mark["verdict"] for mark in result["marks"]] == ["right"] * 3
