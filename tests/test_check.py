"""`check`: each kind of answer gets the verdict and the words that it deserves."""

import numpy as np
import pandas as pd
import pytest

from crmlab.course import Exercise
from crmlab.course.check import MIME, Key, load_key


def make_key():
    key = Key("demo")

    @key.data
    def data(rng):
        return {"customers": int(rng.integers(1000, 9000)), "repeaters": 250}

    @key.question("1", expects="a share", hint="Divide.", explanation="That is it.")
    def share(data):
        return data["repeaters"] / data["customers"]

    @share.mistake("This is the share of those who did not repeat.")
    def _(data):
        return 1 - data["repeaters"] / data["customers"]

    @key.question("2", expects="two numbers", hint="Two.", explanation="Yes.")
    def both(data):
        return pd.Series([data["customers"], data["repeaters"] / data["customers"]])

    @both.mistake("The other order.")
    def _(data):
        return [data["repeaters"] / data["customers"], data["customers"]]

    @key.question("3", expects="a word", hint="Think.", explanation="Yes.", choices=("stay", "leave"))
    def word(data):
        return "stay"

    @word.mistake("They stay.")
    def _(data):
        return "leave"

    return key


@pytest.fixture
def key():
    return make_key()


def test_each_answer_gets_its_verdict(key):
    data = key.data_for("7")
    share, both, word = key.questions.values()
    right = data["repeaters"] / data["customers"]
    for question, answer, verdict, says in [
        (share, right, "right", "That is it"),
        (share, right + 0.0004, "right", ""),
        (share, right + 0.0006, "wrong", "not a mistake that we know"),
        (share, np.float32(right), "right", ""),
        (share, 1 - right, "mistake", "did not repeat"),
        (share, 100 * right, "mistake", "percentage"),
        (share, None, "blank", "a share"),
        (share, ..., "blank", "a share"),
        (share, str(right), "shape", "quotation marks"),
        (share, [right, right], "shape", "2 numbers; 1 is expected"),
        (share, pd.Series([right]), "shape", "Series and holds one number: take the number out with .item()"),
        (share, [right], "shape", "take the number out with [0]"),
        (share, "49.6%", "shape", "Numbers have a point"),
        (share, round(right, 2), "mistake", "rounded too much"),
        (share, float("nan"), "shape", "missing"),
        (share, True, "shape", "bool"),
        (share, pd.DataFrame({"a": [right]}), "shape", "DataFrame"),
        (share, {"a": 1}, "shape", "dict"),
        (both, [data["customers"], right], "right", ""),
        (both, np.array([data["customers"], right]), "right", ""),
        (both, [right, data["customers"]], "mistake", "other order"),
        (both, right, "shape", "2 are expected"),
        (word, " Stay ", "right", ""),
        (word, "leave", "mistake", "They stay"),
        (word, "go", "shape", "'stay', 'leave'"),
        (word, 3, "shape", "not a word"),
        (word, "", "blank", "a word"),
    ]:
        found, message = question.judge(answer, data)
        assert (found, says in message) == (verdict, True), (answer, found, message)


def test_answers_that_are_alike_by_chance_are_seen(key):
    share = key.questions["1"]
    assert share.told_apart({"customers": 100, "repeaters": 20})
    assert not share.told_apart({"customers": 100, "repeaters": 50})  # one half, and the other half


def test_the_demo_key_proves_itself_and_a_weakened_one_does_not(key):
    key.prove()

    weak = make_key()
    object.__setattr__(weak.questions["1"], "within", 1.0)  # accepts anything near
    with pytest.raises(AssertionError, match="not told apart"):
        weak.prove()

    same = make_key()
    same._make = lambda rng: {"customers": 1000, "repeaters": 250}
    with pytest.raises(AssertionError, match="share an answer"):
        same.prove()

    silent = make_key()
    silent.questions["3"].mistakes.clear()
    with pytest.raises(AssertionError, match="no mistake is named"):
        silent.prove()


def test_the_same_student_has_the_same_data_and_another_has_others(key):
    assert key.data_for("a") == key.data_for("a") != key.data_for("b")
    assert Exercise("05_retention", 7).data["alive"].equals(Exercise("05_retention", "7").data["alive"])


def test_tries_and_progress_are_counted():
    exercise = Exercise("05_retention", student="s1")
    assert exercise.check("4", "prove").verdict == "mistake"
    feedback = exercise.check(4, "cannot tell")
    assert (feedback.verdict, feedback.tries, feedback.right, feedback.questions) == ("right", 2, 1, 7)
    assert exercise.check("1").tries == 0  # a blank is no try
    assert exercise.check("4", "disprove").right == 0  # a right answer that is made wrong again no longer counts
    with pytest.raises(ValueError, match="no question '9'; there are: 1, 2, 3, 4"):
        exercise.check("9", 1)
    with pytest.raises(ValueError, match="no exercise '99_none'; there are: .*05_retention"):
        Exercise("99_none")


def test_a_student_who_changes_the_data_is_checked_against_the_true_ones():
    exercise = Exercise("05_retention", student="s2")
    exercise.data["alive"][:] = 1
    key = load_key("05_retention")
    right = key.questions["3"].answer(key.data_for("s2"))
    assert exercise.check("3", right).verdict == "right"


def test_feedback_shows_itself_as_text_as_html_and_to_programs():
    bundle = Exercise("05_retention").check("4", "prove")._repr_mimebundle_()
    for form in ("text/plain", "text/html"):
        assert "Not yet" in bundle[form] and "Hint" in bundle[form] and "0 of 7" in bundle[form]
    assert bundle[MIME] == {"question": "4", "verdict": "mistake"}
    assert (
        "right"
        not in Exercise("05_retention")
        .check("1", 0.5)
        ._repr_mimebundle_()["text/html"]
        .split("questions right")[0]
        .lower()
    )


@pytest.mark.parametrize(
    ("expected", "within", "answer", "verdict"),
    [
        (0.0148, 0.0005, 0.01, "rounded"),  # a third too small, and yet the right number to two decimals
        (0.0151, 0.0005, 0.02, "rounded"),
        (0.0148, 0.0005, 0.02, "wrong"),
        (0.0048, 0.0005, 0.0, "wrong"),  # nothing is left of it
        (1.34, 0.005, 1.3, "rounded"),
        (1.34, 0.005, 1.0, "wrong"),
        (149.6, 0.005, 150, "rounded"),  # further digits may lack where it is near
        (131.4, 0.005, 130, "rounded"),
        (131.4, 0.005, 100, "wrong"),
        (127, 1, 130, "rounded"),
        (127, 0, 130, "rounded"),
    ],
)
def test_a_number_with_too_few_digits(expected, within, answer, verdict):
    key = Key("digits")
    question = key.question("1", expects="a number", hint="-", explanation="-", within=within)(lambda data: data)
    found, message = question.judge(answer, expected)
    assert (found, "rounded too much" in message) == (
        ("mistake", True) if verdict == "rounded" else ("wrong", False)
    ), message


def test_a_guess_is_not_a_rounded_answer():
    key = Key("guess")

    @key.question("1", expects="a number", hint="", explanation="")
    def number(data):
        return data

    for right in (0.03, 0.317, 0.72, 6.3, 613.7, 1313.1):
        for guess in (0.1, 0.4, 0.5, 1, 10, 100, 1000, 10_000):
            assert number.judge(guess, right)[0] == "wrong", (guess, right)
    assert number.judge(614, 613.7)[0] == number.judge(0.72, 0.7162)[0] == "mistake"
