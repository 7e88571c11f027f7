"""`crmlab.progress`: what is kept of a student's answers, where, and what it says."""

import json

import pytest

import crmlab
from crmlab.course import Exercise, progress
from crmlab.course.check import load_key


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("CRMLAB_PROGRESS", str(tmp_path / "home" / "progress.json"))
    monkeypatch.delenv("CRMLAB_STATIC", raising=False)
    return tmp_path / "home" / "progress.json"


def test_it_says_what_is_done_and_what_each_open_question_wants(file):
    assert "No answers yet" in repr(crmlab.progress()) and not file.exists()
    exercise = Exercise("05_retention", student="李 1")
    exercise.check("4", "prove")
    exercise.check("4", "cannot tell")
    exercise.check("1", 0.123)
    exercise.check("2")  # a blank is no try
    found = crmlab.progress()
    assert found.student == "李 1" and found.done["05_retention"] == ["4"]
    wanted = {n: q.expects for n, q in load_key("05_retention").questions.items() if n != "4"}
    assert found.open["05_retention"] == wanted
    said = repr(found)
    assert "05_retention           [#------] 1 of 7 right" in said and f"question 1 wants {wanted['1']} (1 try)" in said
    assert f"question 2 wants {wanted['2']} (not tried)" in said and "question 4" not in said
    assert "02_lifecycle" in said and "not begun" in said and str(file) in said
    assert "Question 1 wants" in found._repr_html_() and "李 1" in found._repr_html_()


def test_another_kernel_and_another_kit_find_it_again(file):
    Exercise("05_retention", student="s1").check("4", "cannot tell")
    kept = json.loads(file.read_text())
    assert kept["students"]["s1"]["05_retention"]["4"]["tries"] == 1 and "cannot tell" not in file.read_text()
    # A right answer that is made wrong again is open again; an exercise that a later kit adds or drops does no harm.
    kept["students"]["s1"]["99_later"] = {"1": {"tries": 2, "right": True}}
    file.write_text(json.dumps(kept))
    Exercise("05_retention", student="s1").check("4", "prove")
    assert crmlab.progress().done["05_retention"] == []
    assert json.loads(file.read_text())["students"]["s1"]["99_later"]


def test_nothing_is_kept_of_nobody_nor_of_a_build(file, monkeypatch):
    Exercise("05_retention").check("4", "cannot tell")
    monkeypatch.setenv("CRMLAB_STATIC", "1")
    Exercise("05_retention", student="s1").check("4", "cannot tell")
    assert not file.exists()


def test_several_students_at_one_machine_are_asked_for(file):
    for student in ("s1", "s2"):
        Exercise("05_retention", student=student).check("4", "cannot tell")
    with pytest.raises(ValueError, match=r"several students have worked here \(s1, s2\)"):
        crmlab.progress()
    with pytest.raises(ValueError, match="no answer of 's3' is kept"):
        crmlab.progress("s3")
    assert crmlab.progress("s2").done["05_retention"] == ["4"]


def test_a_file_that_cannot_be_read_is_told_and_left_alone(file):
    file.parent.mkdir()
    for content in ("{", '{"format": 2, "students": {}}', "[]"):
        file.write_text(content)
        assert Exercise("05_retention", student="s1").check("4", "cannot tell").verdict == "right"
        assert file.read_text() == content
        with pytest.raises(ValueError, match="move it away"):
            progress.progress()


def test_a_file_that_is_not_as_it_should_be_costs_no_check(file):
    file.parent.mkdir()
    for students in ('{"s1": 7}', '{"s1": {"05_retention": {"4": {}}}}', '{"s1": {"05_retention": []}}'):
        file.write_text('{"format": 1, "students": ' + students + "}")
        assert Exercise("05_retention", student="s1").check("4", "cannot tell").verdict == "right"
        assert [one.name for one in file.parent.iterdir()] == [file.name]
