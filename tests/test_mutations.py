"""A copy of the whole course with one thing spoilt: its build fails and says what is wrong."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def copy(tmp_path, site):
    """A copy of the clone with what was built, so that only what is spoilt is done again."""
    target = tmp_path / "clone"
    shutil.copytree(
        ROOT,
        target,
        ignore=shutil.ignore_patterns(
            ".git", ".venv", "__pycache__", ".pytest_cache", ".hypothesis", "locks", "doctrees", "nbgrader"
        ),
    )
    return target


def build(copy):
    env = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "-m", "crmlab", "build"], cwd=copy, env=env, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def replace(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert text.count(old) >= 1, old
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_unspoilt_copy_is_built(copy):
    code, said = build(copy)
    assert code == 0, said
    assert "All stored notebooks are what their sources give" in said


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("exercises/src/05_retention.md", "**Question 3.**", "`fit = retention.fit_sbg(data[\"alive\"])`\n\n**Question 3.**", "a line of a solution stands in the student's notebook"),
        ("exercises/keys/05_retention.py", 'return _repeat_share(data, count_first=True)', "return _repeat_share(data)", "question 1.*this mistake is not told apart"),
        ("exercises/keys/05_retention.py", 'return "cannot tell"', 'return "prove"', "does not accept the solution of question 4"),
        ("notebooks/src/05_retention.md", "image:\n    alt:", "image:\n    other:", "draws a figure whose alt text"),
        ("notebooks/src/05_retention.md", "## A rule from a real report\n", "## A rule from a real report\n" + "\nOne more line that nobody can read.\n" * 20, r"05_retention, slide 3: \d+ pixels tall"),
        ("notebooks/src/05_retention.md", "{cite:p}`wilson_1927`", "{cite:p}`nobody_1900`", "no work 'nobody_1900'"),
        ("docs/api.md", "from.\n", "from {term}`no such term`.\n", "term not in glossary"),
    ],
    ids=["leak", "weak key", "wrong key", "no alt text", "slide that sticks out", "unknown work", "unknown term"],
)  # fmt: skip
def test_a_spoilt_copy_is_not(copy, chromium, file, old, new, says):

    replace(copy / file, old, new)
    code, said = build(copy)
    assert code == 1 and re.search(says, said, re.DOTALL), said
