"""Handing out and grading: rosters, sheets, plain values, cells that were moved about, and a class whose marks are known."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path

import classroom
import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlab.course import Exercise, Sheet, check, plain
from crmlab.course.check import load_key
from crmlab.course.environment import SetupError
from crmlab.grading import feedback, grade, marks, returned, roster, sandbox, submissions
from crmlab.grading.handout import handout, sheet_notebook

STEM = "05_retention"
SOLVED = ("01_delivered_value", "03_satisfaction", STEM)


# --- The roster and what stays with the lecturer


def write_roster(folder, text):
    path = folder / "roster.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_roster_is_read_as_spreadsheets_write_it(tmp_path, capsys):
    path = write_roster(tmp_path, "\ufeffname;student_id;other\nWang Xiaoming 王小明; 0042 ;x\n")
    (one,) = roster.read_roster(path)
    assert (one.student_id, one.name) == ("0042", "Wang Xiaoming 王小明")
    assert capsys.readouterr().out == "Of the roster these columns are not used: other.\n"
    path = write_roster(tmp_path, 'Student ID\t Name \tE-mail\n0042\t"Able,\nAnn"\t\n\t\t\n7\tBob\n')
    assert roster.read_roster(path) == [roster.Student("0042", "Able, Ann"), roster.Student("7", "Bob")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,Name\n1,x\n", "column student_id, and a row a student; its first line has id, Name"),
        ("student_id\n", "and a row a student"),
        ("student_id,name\na,x\n,y\n", "no student_id in line 3"),
        ("student_id,name\na,x\n,y\n\n,z\n", "no student_id in lines 3, 5"),
        ("student_id\na\nb\na\n", "the student_id a twice, in lines 2 and 4"),
        ("student_id\na\n\nA\n", "differ only in capitals, a and A, in lines 2 and 4"),
        ("student_id,name,email\n0042,Able, Ann,a@b.c\n", "more cells than columns in line 2.*between quotation marks"),
        ('student_id,name\na,"x\nb,y\n', "from line 2.*quotation mark"),
        ("student_id,name,Name\na,x,y\n", "the column name twice"),
        (b"student_id,name\na,x\nb,\xfcber\n", "not in UTF-8 .line 3.*CSV UTF-8"),
        ("student_id\n=1+1\n", "begins with ="),
        ("student_id\n../../etc\n", "full stop"),
        ("student_id\na/b\n", "slash"),
        ('student_id\n"a"")"\n', "quotation mark"),
    ],
)
def test_a_roster_that_cannot_be_used_says_why(tmp_path, text, says):
    with pytest.raises(SetupError, match=says):
        roster.read_roster(write_roster(tmp_path, text))


def test_file_names_are_harmless_and_different():
    ids = ["s1", "a b", "a-b", "王小明", "a" * 80, "x:y", "x?y"]
    names = [roster.safe_name(one) for one in ids]
    assert len(set(names)) == len(ids) and all(name.isascii() and "/" not in name for name in names)


def test_formulas_are_defused_and_numbers_are_not():
    assert [roster.defused(text) for text in ("=1", "+1 x", "-2.5", "@a", " =a", "a\tb", "0.5", "|x", "-")] == [
        "'=1", "'+1 x", "-2.5", "'@a", "' =a", "a b", "0.5", "'|x", "-",
    ]  # fmt: skip


def test_without_the_class_folder_nothing_is_known(tmp_path):
    with pytest.raises(SetupError, match="made by `handout`"):
        roster.ClassFolder(tmp_path / "roster.csv")


# --- Plain values


def values():
    leaves = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=20)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=20)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(values())
def test_plain_values_come_back_as_they_were(value):
    np.testing.assert_equal(plain.loads(plain.dumps(value)), value)


def test_tables_come_back_as_they_were():
    frame = pd.DataFrame(
        {
            "who": ["a", "b", None],
            "when": pd.to_datetime(["2025-01-01", "2025-06-30 12:00:00.5", None], format="ISO8601"),
            "kind": pd.Categorical(["x", None, "y"], categories=["y", "x"], ordered=True),
            "n": [1, 2, 3],
            "share": [0.1, np.nan, np.inf],
            "yes": [True, False, True],
        }
    )
    pd.testing.assert_frame_equal(plain.loads(plain.dumps(frame)), frame)
    indexed = frame.set_index(["who", "when"])["share"]
    pd.testing.assert_series_equal(plain.loads(plain.dumps(indexed)), indexed)
    for index in (pd.Index([3, 5, 9], name="age"), pd.Index([0.5, 1, 2]), pd.RangeIndex(1, 4)):
        found = plain.loads(plain.dumps(pd.Series([1, 2, 3], index=index, name="alive")))
        pd.testing.assert_series_equal(
            found, pd.Series([1, 2, 3], index=index, name="alive"), check_index_type=False, check_names=True
        )
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(plain.loads(plain.dumps(array)), array)
    assert plain.loads(plain.dumps(np.float32(0.5))) == 0.5 and plain.loads(plain.dumps(np.bool_(True))) is True
    assert plain.loads(plain.dumps(frame.iloc[:, :0])).shape == (3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "Infinity", "1e999", "1" * 400, '{"a": 1, "a": 2}', '{"a": 1}', '{"float": "1"}', '{"array": [1], "shape": [10]}',
        '{"array": [1], "shape": [-1]}', '{"dict": [[[1], 2]]}', '{"dict": [1]}', '{"column": {}}', '{"table": {"columns": [1], "index": 1}}',
        '{"column": {"name": "a", "dtype": "os", "values": [], "index": 0}}', '{"column": {"name": "a", "dtype": "int64", "values": ["x"], "index": 1}}',
        '{"column": {"name": "a", "dtype": "int64", "values": [1], "index": 7}}', '{"table": {"columns": [], "index": -5}}', '{"table": {"columns": [], "index": []}}',
        '{"column": {"name": "a", "dtype": "category", "values": [7], "categories": [1], "index": 1}}', "[" * 100 + "]" * 100, "[" * 10**5, "", "{",
    ],
)  # fmt: skip
def test_what_has_no_form_is_refused(text):
    with pytest.raises(ValueError):
        plain.loads(text)


def test_lines_that_came_back_are_read_strictly():
    lines = b'{"begun": true}\n{"question": "1", "answer": "0.5"}\n{"question": "1", "answer": "0.25"}\nx\n{"marks": 7}\n{"question": "9", "answer": "1"}\n{"question": "2", "answer": "NaN"}\n{"note": "a\\u202eb"}\n\xff\n'
    found = returned.read(lines, {"1": None, "2": None})
    assert found.begun and found.answers == {"1": 0.25} and len(found.refused) == 5
    assert found.notes == ["a b"]


# --- The sheet


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three students with a sheet each, unpacked; nothing is graded."""
    work = tmp_path_factory.mktemp("small")
    path = write_roster(work, "student_id,name\ns001,Ann\ns002,Bob\n王小明,Wang\n")
    handout(STEM, path, work / "out")
    for name in ("s001", "s002"):
        with zipfile.ZipFile(work / "out" / STEM / "students" / f"{STEM}_{name}.zip") as archive:
            archive.extractall(work)
    with zipfile.ZipFile(work / "out" / STEM / f"{STEM}_common.zip") as archive:
        archive.extractall(work)
    return work


def test_a_sheet_has_the_data_that_the_key_marks_with(small):
    key, lecturer = load_key(STEM), roster.ClassFolder(small / "roster.csv")
    sheet = Sheet(folder=small / f"{STEM}_s001")
    drawn = key.data_for("s001", secret=lecturer.secret)
    for name, value in drawn.items():
        (pd.testing.assert_frame_equal if isinstance(value, pd.DataFrame) else pd.testing.assert_series_equal)(
            sheet.data[name], value
        )
    assert not sheet.data["alive"].equals(key.data_for("s001")["alive"])  # not those that anybody can make
    assert not sheet.data["alive"].equals(Sheet(folder=small / f"{STEM}_s002").data["alive"])
    common = Sheet("s001", folder=small / STEM)
    assert common.data["alive"].equals(sheet.data["alive"])
    assert Sheet("王小明", folder=small / STEM).student == "王小明"


def test_nothing_on_a_sheet_tells_an_answer_or_the_secret(small):
    secret = (small / "roster.class" / "secret").read_text().strip()
    key = load_key(STEM)
    data = Sheet(folder=small / f"{STEM}_s001").data
    answers = [repr(float(value)) for value in marks.right_answers(key, data).values()]
    lines = [line.strip() for code in classroom.solutions(STEM).values() for line in code.splitlines()]
    for folder in (small / f"{STEM}_s001", small / STEM):
        for file in folder.rglob("*"):
            text = file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""
            assert secret not in text
            assert not any(answer in text for answer in answers)
            assert file.name == "data.json" or not any(line in text for line in lines if len(line) > 12)
            assert not any(question.explanation in text for question in key.questions.values())


def test_the_same_class_is_handed_out_as_the_same_bytes(small, capsys):
    before = {file.name: file.read_bytes() for file in (small / "out").rglob("*.zip")}
    handout(STEM, small / "roster.csv", small / "again")
    assert {file.name: file.read_bytes() for file in (small / "again").rglob("*.zip")} == before
    assert (small / "roster.class" / "secret").stat().st_mode & 0o077 == 0
    assert "give it to nobody" in capsys.readouterr().out


def test_a_sheet_says_what_is_wrong_with_where_it_is_and_whose(small):
    with pytest.raises(FileNotFoundError, match="Unpack the whole sheet"):
        Sheet(folder=small)
    with pytest.raises(ValueError, match="this sheet is for 's001'; you wrote 's002'"):
        Sheet("s002", folder=small / f"{STEM}_s001")
    with pytest.raises(ValueError, match="no student id: write yours"):
        Sheet(folder=small / STEM)
    with pytest.raises(ValueError, match="no student 'S001'. Is it spelled"):
        Sheet("S001", folder=small / STEM)


def test_a_sheet_checks_the_form_and_nothing_else(small):
    sheet = Sheet(folder=small / f"{STEM}_s001")
    right = marks.right_answers(load_key(STEM), sheet.data)
    for answer, verdict in [
        (right["1"], "form"), (np.float64(0.123), "form"), (None, "blank"), (..., "blank"), ("0.5", "shape"),
        (pd.Series([0.5]), "shape"), (True, "shape"),
    ]:  # fmt: skip
        receipt = sheet.check("1", answer)
        assert receipt.verdict == verdict, receipt
        assert "right" not in receipt.message.replace("form is right", "")
    assert sheet.check("4", "stay").verdict == "shape" and sheet.check(4, "Prove").verdict == "form"
    stale = 0.25 + 0.5
    assert sheet.check("2", stale).verdict == "form" and sheet.check("3", stale).verdict == "stale"
    assert "answer to question 2" in sheet.check("3", stale)._repr_html_()
    with pytest.raises(ValueError, match="no question '9'"):
        sheet.check("9")


@pytest.mark.parametrize("stem", SOLVED)
def test_each_exercise_becomes_a_sheet_whose_solutions_are_right(stem, tmp_path, monkeypatch, capsys):
    handout(stem, write_roster(tmp_path, "student_id\nzoe\n"), tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / stem / "students" / f"{stem}_zoe.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / f"{stem}_zoe")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = classroom.filled(classroom.sheet(tmp_path / "out", stem, "zoe"), classroom.solutions(stem))
    key, names, given = load_key(stem), {}, {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            if cell.id.startswith("answer-"):
                given[cell.id.removeprefix("answer-")] = plain.loads(plain.dumps(names["answer"]))
    data = key.data_for("zoe", secret=roster.ClassFolder(tmp_path / "roster.csv").secret)
    for number, question in key.questions.items():
        mark = marks.mark(number, question, data, returned.Returned(answers=given))
        assert (mark.verdict, mark.points) == ("right", 1), mark


def test_without_an_id_the_formative_exercise_says_so_loudly(monkeypatch, capsys):
    monkeypatch.delenv("CRMLAB_STATIC", raising=False)
    exercise = Exercise(STEM, student=" ")
    assert "NOT YOUR DATA" in capsys.readouterr().out
    feedback = exercise.check("4", "cannot tell")
    assert repr(feedback).startswith("NOT YOUR DATA") and "role='alert'" in feedback._repr_mimebundle_()["text/html"]
    assert "NOT YOUR" not in repr(Exercise(STEM, student="s1").check("4", "prove"))
    monkeypatch.setenv("CRMLAB_STATIC", "1")  # the printed solutions have no id on purpose
    assert "NOT YOUR" not in repr(Exercise(STEM).check("4", "prove"))
    assert check.NO_ID not in capsys.readouterr().out


# --- Cells that were moved about


def cells_of(notebook):
    file = io.StringIO()
    nbformat.write(notebook, file)
    found = json.loads(file.getvalue())
    return [
        {"kind": c["cell_type"], "source": "".join(c["source"]), "id": c.get("id", ""), "about": c["metadata"].get("crmlab", {})}
        for c in found["cells"]
    ]  # fmt: skip


@pytest.fixture
def pristine():
    return sheet_notebook(STEM, student="s001")


def answers_of(job):
    """Which question's cells set `answer` to what, in a job whose answers are constants."""
    found = {}
    for cell in job["cells"]:
        if cell["source"].startswith("answer = "):
            found[cell["question"]] = cell["source"].removeprefix("answer = ")
    return found


def moved(pristine, how):
    answers = {str(n): f"answer = {n}" for n in range(1, 8)}
    cells = cells_of(classroom.filled(pristine, answers))
    place = {cell["id"]: n for n, cell in enumerate(cells)}
    if how == "checks deleted":
        cells = [cell for cell in cells if not cell["id"].startswith("check-")]
    elif how == "checks edited":
        for cell in cells:
            if cell["id"].startswith("check-"):
                cell["source"] = "answer = 99"
    elif how == "checks twice":
        cells = [cell for one in cells for cell in ([one, one] if one["id"].startswith("check-") else [one])]
    elif how == "checks at the end":
        cells = [c for c in cells if not c["id"].startswith("check-")] + [c for c in cells if c["id"].startswith("check-")]  # fmt: skip
    elif how == "questions in another order":
        cut = place["check-3"] + 1
        cells = cells[:2] + cells[cut:] + cells[2:cut]
    elif how == "another check in the place":
        cells[place["check-2"]]["source"] = cells[place["check-1"]]["source"]
    elif how == "new ids":
        for n, cell in enumerate(cells):
            cell["id"] = f"x{n}"
    elif how == "no ids, no metadata":
        for cell in cells:
            cell["id"], cell["about"] = "", {}
    elif how == "split cell":
        one = cells[place["answer-2"]]
        cells[place["answer-2"] : place["answer-2"] + 1] = [
            one | {"source": "step = 1"},
            one | {"id": "new", "about": {}},
        ]
    elif how == "answered in a new cell":
        one = cells[place["answer-2"]]
        cells[place["answer-2"]] = one | {"source": ""}
        cells.insert(place["check-2"] + 1, one | {"id": "new", "about": {}})
    elif how == "answer cell deleted, new one":
        one = cells.pop(place["answer-2"])
        cells.insert(place["answer-2"], one | {"id": "new", "about": {}})
    elif how == "copied cell":  # answer 3 pasted in the place of 4, with the metadata that it carries
        cells[place["answer-4"]] = cells[place["answer-3"]] | {"source": "answer = 4", "id": "new"}
    elif how == "answer cell twice":
        one = cells[place["answer-2"]]
        cells.insert(place["answer-2"], one | {"source": "answer = 'earlier'", "id": "new"})
    return cells


HOWS = (
    "untouched", "checks deleted", "checks edited", "checks twice", "checks at the end", "questions in another order", "another check in the place",
    "new ids", "no ids, no metadata", "split cell", "answered in a new cell", "answer cell deleted, new one", "answer cell twice", "copied cell",
)  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
def test_cells_that_were_moved_about_do_not_matter(pristine, how):
    job, said = submissions.job(moved(pristine, how), pristine)
    assert answers_of(job) == {str(n): str(n) for n in range(1, 8)}
    assert not any(cell["source"].startswith(("check(", "answer = 99")) for cell in job["cells"])
    words = {"checks deleted": "deleted", "checks edited": "changed", "checks twice": "twice", "another check in the place": "changed", "questions in another order": "another order"}  # fmt: skip
    assert (words[how] in " ".join(said)) if how in words else (said == [] or how == "checks at the end"), said


def test_a_question_without_an_answer_does_not_get_that_of_the_one_before(pristine, bubblewrap):
    cells = cells_of(classroom.filled(pristine, {"1": "answer = 0.5", "3": "answer = 0.25"}))
    job, _ = submissions.job(cells, pristine)
    job["setup"] = (
        "def check(*_): pass\ndata = {'log': __import__('pandas').Series([1]), 'alive': 1, 'office': 1, 'firm': 1}"
    )
    job["cells"] = [cell for cell in job["cells"] if "Sheet" not in cell["source"]]
    found = returned.read(sandbox.run(job, {}).lines, {str(n): None for n in range(1, 8)})
    assert found.answers == {"1": 0.5, "3": 0.25}


# --- Whose a file is


def test_whose_a_file_is(tmp_path):
    students = [
        roster.Student("s1", "Ann Able"), roster.Student("s10", "Bob Baker"), roster.Student("007", "Ann Able-Smith"),
        roster.Student("x", "王小明", submission="wang_77"),
    ]  # fmt: skip
    for name, owner in [
        ("s1/a.ipynb", "s1"), ("05_retention_s10.ipynb", "s10"), ("s1_s10_x.ipynb", None), ("Ann Able_123_assignsubmission_file/a.ipynb", "s1"),
        ("007 late/deep/er/a.ipynb", "007"), ("wang_77_s1.ipynb", "x"), ("nobody.ipynb", None), ("as10b.ipynb", None), ("s10/s1.ipynb", "s10"),
    ]:  # fmt: skip
        found = [one.student_id for one in submissions._owners(name.split("/")[0], students)]
        if name == "s1_s10_x.ipynb":
            found = [] if found == ["s10"] else found  # the longest id: said in the report as the notebook's owner
        assert found == ([owner] if owner else []), name
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    os.utime(tmp_path / "s10/s1.ipynb", (1, 1))
    collected = submissions.collect(tmp_path, students)
    assert [attempt.path for attempt in collected.attempts["s10"]][-1] == "s10/s1.ipynb"  # the oldest is last
    assert {name for name, _ in collected.nobody} >= {"nobody.ipynb", "as10b.ipynb"}


def test_what_is_no_notebook_is_named(tmp_path):
    (tmp_path / "s1").mkdir()
    for name in ("s1/sheet.ipynb", "s1/data.json", "s2.py", "05_retention_s3.zip", "README.txt", ".DS_Store"):
        (tmp_path / name).write_text("{}")
    found = submissions.collect(tmp_path, [roster.Student(f"s{n}") for n in range(1, 4)], STEM)
    assert set(found.attempts) == {"s1"}
    assert found.others == {"s1": ["s1/data.json"], "s2": ["s2.py"], "s3": ["05_retention_s3.zip"]}
    assert [name for name, _ in found.nobody] == ["README.txt"]


def test_the_number_of_the_exercise_is_nobodys_id(tmp_path):
    students = [roster.Student(f"{n:02d}") for n in range(1, 31)]
    for name, owner in [
        ("01_delivered_value_07.ipynb", "07"), ("01_delivered_value.ipynb", None), ("01_delivered_value_07 (1).ipynb", "07"),
        ("01_delivered_value (2).ipynb", None), ("07", "07"), ("01_delivered_value_01.ipynb", "01"),
    ]:  # fmt: skip
        found = [one.student_id for one in submissions._owners(name, students, "01_delivered_value")]
        assert found == ([owner] if owner else []), name


def test_a_folder_that_is_called_a_notebook_stops_nobody(tmp_path):
    (tmp_path / "s1/a/b/c/x.ipynb").mkdir(parents=True)
    (tmp_path / "s1/y.ipynb").mkdir()
    (tmp_path / "s1/sheet.ipynb").write_text("{}")
    collected = submissions.collect(tmp_path, [roster.Student("s1")])
    assert [one.path for one in collected.attempts["s1"]] == ["s1/sheet.ipynb"]
    assert [name for name, _ in collected.nobody] == ["s1/a/b/c/x.ipynb"]
    with pytest.raises(submissions.Unreadable, match="no ordinary file"):
        submissions._read(tmp_path, "s1/y.ipynb")


def test_names_and_words_that_are_no_text_reach_no_page(tmp_path):
    (tmp_path / os.fsdecode(b"L\x94sung.ipynb")).write_text("{}")
    ((name, _),) = submissions.collect(tmp_path, [roster.Student("s1")]).nobody
    assert name == "L?sung.ipynb"
    assert plain.loads('{"other": "\\ud800"}').name == "?" and returned.clean("\ud800", 9) == "?"
    grade._write(tmp_path / "a.html", "\ud800")
    assert (tmp_path / "a.html").read_text() == "?"
    notebook = '{"metadata": {"n": NaN, "m": 1e999}, "cells": [{"cell_type": "code", "source": "1", "outputs": [NaN, 99999999999999999999999]}]}'
    (tmp_path / "n.ipynb").write_text(notebook)
    assert submissions.read_notebook(tmp_path, "n.ipynb")[0][0]["source"] == "1"


def test_an_out_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file is a file; --out takes a folder"):
        roster.out_folder(tmp_path / "file" / "below")


# --- Marks


def test_partial_credit():
    key = load_key(STEM)
    data = key.data_for("m")
    question, right = key.questions["1"], key.questions["1"].answer(data)

    def points(answer, number="1", **more):
        came = returned.Returned(answers={number: plain.loads(plain.dumps(answer))})
        mark = marks.mark(number, key.questions[number], data, came, **more)
        return mark.verdict, mark.points

    assert points(right) == ("right", 1) and points(right, out_of=3) == ("right", 3)
    for near in (100 * right, f"{100 * right}%", [right], pd.Series([right]), pd.DataFrame({"a": [right]}), str(right)):
        assert points(near) == ("near", 0.75), near
    assert points(question.mistakes[0][1](data)) == ("mistake", 0.5)
    assert points(question.mistakes[0][1](data), credit=marks.Credit(mistake=0)) == ("mistake", 0)
    assert points("prove", "4") == ("mistake", 0)  # a word can be guessed
    for answer, verdict in [(0.123456, "wrong"), ([1, 2], "shape"), (None, "blank"), (True, "shape"), ([True], "shape"), ([[1, 2], [3]], "shape"), ({"a": 1}, "shape"), (object(), "shape"), (float("nan"), "shape"), (pd.DataFrame(), "shape"), ("x" * 9999, "shape")]:  # fmt: skip
        assert points(answer) == (verdict, 0), answer
    error = marks.mark("1", question, data, returned.Returned(errors={"1": ("KeyError", "'x'", 3)}))
    assert error.verdict == "error" and "KeyError: 'x' (line 3)" in error.message


def test_answers_of_another_are_found_and_chance_is_not():
    rng = np.random.default_rng(5)
    ids = [f"s{n}" for n in range(200)]
    rights = {one: {"1": rng.uniform(), "2": rng.uniform(), "3": 1000 * rng.uniform()} for one in ids}
    within = {"1": 0.0005, "2": 0.0005, "3": 0.005}
    # Everybody answers at random: many hit somebody's right answer to one question, and nobody is named.
    answers = {one: {"1": rng.uniform(), "2": rng.uniform(), "3": 1000 * rng.uniform()} for one in ids}
    hits = sum(any(abs(answers[a]["1"] - rights[b]["1"]) < 0.0005 for b in ids if b != a) for a in ids)
    assert hits > 10 and marks.matches(answers, rights, within) == []
    answers["s7"] = {number: round(value, 3) for number, value in rights["s9"].items()}
    answers["s8"] = {"3": rights["s9"]["3"]}  # one answer, but to the last digit
    found = marks.matches(answers, rights, within)
    assert {(one, other) for one, other, *_ in found} == {("s7", "s9"), ("s8", "s9")}


def test_what_to_read_is_where_the_lesson_speaks_of_it():
    from crmlab.course import environment

    found = feedback.sections(STEM, environment.root() / "exercises")
    assert set(found) == {str(n) for n in range(1, 8)} and len(set(found.values())) >= 4
    assert '"Leavers leave"' in found["3"]  # and not where activity is followed
    for stem in check.keys():
        lesson = (environment.root() / "notebooks" / "src" / f"{stem}.md").read_text(encoding="utf-8")
        for number, section in load_key(stem).read_again.items():
            assert number in load_key(stem).questions and f"## {section}\n" in lesson, (stem, number)
    assert feedback.sections("99_none", environment.root() / "exercises") == {}


# --- A class whose marks are known


def kinds(key):
    """How students of the class answer: the code, and the points a question."""
    right = classroom.solutions(STEM)
    stub = {number: "raise NotImplementedError('Question: compute')" for number in right}
    return {
        "right": (right, "1111111"),
        "mistakes": (right | {"3": "answer = retention.fit_geometric(data['alive']).survival(10)", "7": right["7"] + "\nanswer = answer / firm['margin']"}, "11m111m"),
        "nearly": (right | {"1": right["1"] + "\nanswer = 100 * answer", "2": right["2"] + "\nanswer = [answer]"}, "nn11111"),
        "half": (right | {number: stub[number] for number in "4567"}, "1110000"),
        "wrong": ({number: "answer = 'prove'" if number == "4" else "answer = 0.987654321" for number in right}, "0000000"),
        "stops": (right | {"2": "activity = undefined_name\nanswer = 1", "5": "answer = 1 /"}, "1011011"),
        "blank": ({}, "0000000"),
        "of the neighbour": (None, "0001000"),
    }  # fmt: skip


UNMARKED = {"broken": "not readable", "missing": "nothing handed in", "a script": "no notebook in it", "of another exercise": "of another exercise"}  # fmt: skip
CREDIT = {"1": 1.0, "0": 0.0, "m": 0.5, "n": 0.75}


@pytest.fixture(scope="module")
def big_class(tmp_path_factory, bubblewrap):
    """300 students if CRMLAB_CLASS says so, else 28: every kind of submission, moved about, late, twice, broken, missing."""
    size = int(os.environ.get("CRMLAB_CLASS", "28"))
    work = tmp_path_factory.mktemp("class")
    ids = [f"{20260000 + n}" for n in range(size)]
    path = write_roster(
        work, "student_id,name,email\n" + "\n".join(f"{one},Name {one},{one}@example.org" for one in ids)
    )
    # The same secret every time: the data, and so the marks, do not hang on chance.
    (work / "roster.class").mkdir()
    (work / "roster.class" / "secret").write_text("20261122" * 8)
    handout(STEM, path, work / "out")
    key, lecturer = load_key(STEM), roster.ClassFolder(path)
    how, expected, folder = kinds(key), {}, work / "handed in"
    names = [*how, "late", "twice", "broken", "missing", "a script", "of another exercise"]
    data = {}
    for n, one in enumerate(ids):
        name = names[n % len(names)]
        answers, points = how.get(name, how["right"])
        notebook = classroom.sheet(work / "out", STEM, one)
        if name == "of the neighbour":  # everything is computed from the data of the student before
            other = ids[n - 1]
            data[other] = plain.loads(lecturer.data_text(STEM, other, key))
            theirs = {number: question.answer(data[other]) for number, question in key.questions.items()}
            answers = {
                number: f"answer = {value if isinstance(value, str) else float(value)!r}"
                for number, value in theirs.items()
            }
            answers["4"] = "answer = 'cannot tell'"
        made = classroom.filled(notebook, answers)
        made.cells = _moved_somehow(made.cells, n)
        if name in UNMARKED:
            points = "0000000"
        if name == "broken":
            classroom.hand_in(folder, one, b"this is no notebook")
        elif name == "a script":
            (folder / f"{one}.py").write_text("answer = 1")
        elif name == "of another exercise":
            made.metadata["crmlab"]["stem"] = "04_loyalty"
            classroom.hand_in(folder, one, made)
        elif name != "missing":
            file = classroom.hand_in(folder, one, made)
            when = datetime(2026, 12, 1, 12 if name != "late" else 23).timestamp()
            os.utime(file, (when, when))
            if name == "twice":
                first = classroom.hand_in(folder, one, notebook, "first.ipynb")
                os.utime(first, (when - 999, when - 999))
        status = UNMARKED.get(name, "graded")
        expected[one] = (status, name == "late", [CREDIT[letter] for letter in points])
        if name == "of the neighbour":  # which may be what a known mistake gives on one's own data
            own = plain.loads(lecturer.data_text(STEM, one, key))
            for place, (number, question) in enumerate(key.questions.items()):
                if number != "4":  # two students' right answers may lie within the tolerance
                    verdict = question.judge(float(theirs[number]), own)[0]
                    expected[one][2][place] = {"right": 1.0, "mistake": 0.5}.get(verdict, 0.0)
    grade.grade(folder, path, work / "marks", due=datetime(2026, 12, 1, 18), jobs=grade.cores())
    return work, ids, names, expected


def _moved_somehow(cells, n):
    if n % 4 == 1:
        return [cell for cell in cells if not cell.id.startswith("check-")]
    if n % 4 == 2:
        return [cell for cell in cells if not cell.id.startswith("check-")] + [cell for cell in cells if cell.id.startswith("check-")]  # fmt: skip
    return cells


def book(work):
    with open(work / "marks" / STEM / "gradebook.csv", encoding="utf-8-sig", newline="") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def test_every_mark_of_the_class_is_what_was_known(big_class):
    work, ids, names, expected = big_class
    rows = book(work)
    for n, one in enumerate(ids):
        status, late, points = expected[one]
        row = rows[one]
        what = names[n % len(names)]
        assert row["status"] == status and row["late"] == ("yes" if late else "no"), what
        assert [float(row[f"q{number}"]) for number in range(1, 8)] == points, (what, row)
        assert float(row["points"]) == sum(points) and row["out_of"] == "7"
        assert row["notebooks"] == {"twice": "2", "missing": "0", "a script": "0"}.get(what, "1")
        assert (row["reported"] == "") == (what not in UNMARKED or what == "missing"), (what, row["reported"])


def test_the_platform_gets_what_is_in_the_gradebook(big_class):
    work, ids, names, expected = big_class
    rows, text = book(work), (work / "marks" / STEM / "moodle.csv").read_text(encoding="utf-8")
    platform = {row["ID number"]: row for row in csv.DictReader(text.splitlines())}
    assert set(platform) == {one for one in ids if expected[one][0] != "nothing handed in"}
    for one, row in platform.items():
        assert (
            row[STEM] == (rows[one]["points"] if expected[one][0] == "graded" else "-") and "@" in row["Email address"]
        )
    said = {name: platform[one][f"{STEM} feedback"] for name, one in zip(names, ids) if one in platform}
    assert said["mistakes"] == "Not fully right. Question 3: a known mistake; question 7: a known mistake."
    assert said["stops"] == "Not fully right. Question 2: your code stopped; question 5: your code stopped."
    assert said["late"] == "All right. Handed in late." and said["right"] == "All right."
    assert said["broken"] == "Not marked: not readable. Open your copy in JupyterLab, save it, and hand it in again."


def test_who_used_the_data_of_another_is_in_the_report_and_nobody_else(big_class):
    work, ids, names, _ = big_class
    page = (work / "marks" / STEM / "report.html").read_text(encoding="utf-8")
    pairs = page.split("fit another student's data</h2>")[1].split("</table>")[0]
    for n, one in enumerate(ids):
        if names[n % len(names)] == "of the neighbour":
            assert f"<tr><td>{one} (Name {one})</td><td>{ids[n - 1]}" in pairs
    assert pairs.count("<tr><td>") == sum(names[n % len(names)] == "of the neighbour" for n in range(len(ids)))


def test_each_student_has_a_page_that_says_which_mistake(big_class):
    work, ids, names, _ = big_class
    pages = {one: (work / "marks" / STEM / "feedback" / f"{one}.html").read_text(encoding="utf-8") for one in ids}
    slip = pages[ids[names.index("mistakes")]]
    assert "You used one constant rate" in slip and "A known mistake</span>, 0.5 of 1" in slip and "Read again." in slip
    assert "NameError: name &#x27;undefined_name&#x27; is not defined (line 1)" in pages[ids[names.index("stops")]]
    assert "could not" not in slip and "Please" not in slip
    assert "Handed in late" in pages[ids[names.index("late")]]
    assert "2 notebooks were handed in; the last one counts, not" in pages[ids[names.index("twice")]]
    # Where nothing was marked, no question is spoken of.
    for name in UNMARKED:
        assert "<h2>" not in pages[ids[names.index(name)]]
    assert "the file is cut short or damaged" in pages[ids[names.index("broken")]]
    assert f"{ids[names.index('a script')]}.py is no notebook" in pages[ids[names.index("a script")]]
    assert "sheet.ipynb is of another exercise: 04_loyalty" in pages[ids[names.index("of another exercise")]]
    # Right answers, and what others did, are on nobody's page.
    key = load_key(STEM)
    blank = pages[ids[names.index("blank")]]
    assert not any(question.explanation in blank for question in key.questions.values())


def test_what_is_done_is_not_done_again(big_class, capsys, monkeypatch):
    work, ids, names, _ = big_class
    before = (work / "marks" / STEM / "gradebook.csv").read_bytes()
    done = work / "marks" / STEM / "results"
    # As if it had been interrupted: two results are missing.
    some = [ids[names.index("right")], ids[names.index("mistakes")]]
    for one in some:
        (done / f"{one}.json").unlink()
    (done / f"{ids[2]}.json").write_text("{half")
    again = []
    whole = grade._in_pool
    monkeypatch.setattr(grade, "_in_pool", lambda todo, *rest, **more: again.extend(todo) or whole(todo, *rest, **more))
    due = datetime(2026, 12, 1, 18)
    grade.grade(work / "handed in", work / "roster.csv", work / "marks", due=due, jobs=grade.cores())
    assert {task[0] for task in again} == {*some, ids[2]}
    assert f"{len(ids) - 3} of {len(ids)} are marked already" in capsys.readouterr().out
    assert (work / "marks" / STEM / "gradebook.csv").read_bytes() == before


def test_ctrl_c_twice_ends_it_at_once_and_the_same_command_goes_on(small, tmp_path, bubblewrap, capsys):
    from crmlab.__main__ import main

    handed, out, right = tmp_path / "handed in", tmp_path / "marks", classroom.solutions(STEM)
    slow = dict.fromkeys(right, "import time\ntime.sleep(60)")
    for one, answers in (("s001", right), ("s002", slow)):
        classroom.hand_in(handed, one, classroom.filled(classroom.sheet(small / "out", STEM, one), answers))
    words = ["grade", str(handed), "--roster", str(small / "roster.csv"), "--out", str(out), "--jobs", "2"]
    running = subprocess.Popen(
        [sys.executable, "-m", "crmlab", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while running.poll() is None and not (out / STEM / "results" / "s001.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(1)
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGINT)
    try:
        said, _ = running.communicate(timeout=20)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130 and time.monotonic() - began < 20
    assert "Stopping" in said and "the same command goes on from there" in said and "Traceback" not in said, said
    # What ran has ended too, though it had a minute to go.
    until = time.monotonic() + 10
    while (left := _alive(session=running.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    classroom.hand_in(handed, "s002", classroom.filled(classroom.sheet(small / "out", STEM, "s002"), right))
    kept = (out / STEM / "results" / "s001.json").stat().st_mtime_ns
    assert main(words) == 0 and "of 3 are marked already" in capsys.readouterr().out
    assert (out / STEM / "results" / "s001.json").stat().st_mtime_ns == kept
    with open(out / STEM / "gradebook.csv", encoding="utf-8-sig", newline="") as file:
        assert [row["points"] for row in csv.DictReader(file)] == ["7", "7", "0"]


def _alive(session):
    """The processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session, *_ = stat.read_text().rpartition(")")[2].split()
            found += [stat.parent.name] if int(its_session) == session and state != "Z" else []
    return found


def test_the_commands(big_class, tmp_path, capsys):
    from crmlab.__main__ import main

    work, *_ = big_class
    words = ["grade", str(work / "handed in"), "--roster", str(work / "roster.csv"), "--out", str(tmp_path)]
    for stem in ("99_none", "04_loyalty"):
        assert main([*words, "--exercise", stem]) == 1
        assert (
            f"'{stem}' was not handed out to this class; in {work}/roster.class there is {STEM}."
            in capsys.readouterr().err
        )
    assert not any(tmp_path.iterdir())
    assert main([*words, "--points", "9=2"]) == 1 and "points for question 9" in capsys.readouterr().err
    for option, word, says in [
        ("--points", "x", "QUESTION=POINTS, such as 3=2"), ("--due", "gestern", "such as 2026-12-01T18:00"), ("--near", "2", "share between 0 and 1"),
        ("--seconds", "-1", "seconds between 1 and"), ("--seconds", "nan", "seconds between 1 and"), ("--memory", "0", "megabytes, 1024 or more"),
    ]:  # fmt: skip
        with pytest.raises(SystemExit):
            main([*words, option, word])
        assert f"{word!r} is not " in (said := capsys.readouterr().err) and says in said
    assert main(["handout", "99_none", "--roster", str(work / "roster.csv"), "--out", str(tmp_path)]) == 1
    assert "there is no exercise '99_none'" in capsys.readouterr().err
