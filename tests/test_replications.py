"""Published numbers come out, and what does not is said."""

import re

import pytest

from crmlab import replications
from crmlab.course import environment


@pytest.fixture(scope="module")
def found():
    return replications.table()


def test_every_published_number_comes_out_or_its_miss_is_explained(found):
    missed = found[found["verdict"] == "missed"]
    assert (missed["reason"] != "").all(), missed.to_string()
    # A reason for a number that comes out is stale.
    assert (found.loc[found["verdict"] == "reproduced", "reason"] == "").all()


def test_the_tolerance_is_half_a_unit_of_the_last_printed_digit(found):
    for row in found.itertuples():
        digits = len(row.theirs.partition(".")[2])
        assert row.tolerance == pytest.approx(0.5 * 10**-digits)


def test_every_source_is_in_the_bibliography(found):
    keys = re.findall(r"@\w+\{([^,]+),", (environment.root() / "docs" / "references.bib").read_text(encoding="utf8"))
    assert set(found["source"]) <= set(keys)


def test_a_wrong_number_is_a_miss():
    case = replications.Case("m", "t", "s", {"a": "0.704", "b": "12"}, lambda: {"a": 0.7046, "b": 12.4}, {})
    assert [row["verdict"] for row in case.rows()] == ["missed", "reproduced"]
    with pytest.raises(ValueError, match="computes"):
        replications.Case("m", "t", "s", {"a": "1"}, dict, {}).rows()
    with pytest.raises(ValueError, match="module="):
        replications.table("nothing")


def test_the_readme_says_how_many_come_out(found):
    line = replications.badge(found)
    text = " ".join((environment.root() / "README.md").read_text(encoding="utf-8").split())
    assert line in text, f"README.md should say: {line}"
