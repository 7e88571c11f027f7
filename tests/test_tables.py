"""The contract at the door: every refusal names the column, counts the rows, shows some and says the fix."""

import pandas as pd
import pytest

from crmlab import tables

GOOD = pd.DataFrame(
    {
        "customer_id": ["01", "02", "02"],
        "date": pd.to_datetime(["2025-01-01", "2025-01-02", "2025-03-04"]),
        "amount": [1.0, 2.0, 0.0],
    }
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"customer_id": ["01", None, "02"]}, r"column 'customer_id': 1 of 3 rows.*row 1.*Fix: drop"),
        ({"date": pd.to_datetime(["2025-01-01", None, None])}, r"column 'date': 2 of 3 rows.*row 1: NaT; row 2.*Fix"),
        (
            {"date": ["01/02/2025", "02/02/2025", "03/02/2025"]},
            r"column 'date' holds .* not dates.*'01/02/2025'.*format=",
        ),
        ({"date": [20250101, 20250102, 20250103]}, r"int64 values, not dates"),
        ({"amount": [1.0, float("nan"), 2.0]}, r"column 'amount': 1 of 3 rows.*row 1: nan.*numeric and finite"),
        ({"amount": [1.0, float("inf"), 2.0]}, r"column 'amount': 1 of 3 rows.*inf"),
        ({"amount": ["1", "2", "x"]}, r"column 'amount': 3 of 3 rows"),
    ],
)
def test_bad_values_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        tables.transactions(GOOD.assign(**change), amount="amount")


def test_bad_tables_are_refused():
    with pytest.raises(TypeError, match="DataFrame; got list"):
        tables.transactions([1, 2])
    with pytest.raises(ValueError, match="needs a column 'date'; there are: customer_id, when, amount.*date="):
        tables.transactions(GOOD.rename(columns={"date": "when"}))
    with pytest.raises(ValueError, match="stands 2 times"):
        tables.transactions(pd.concat([GOOD, GOOD[["date"]]], axis=1))
    with pytest.raises(ValueError, match="no rows"):
        tables.transactions(GOOD.iloc[:0])


def test_ids_and_days_are_kept():
    zoned = GOOD.assign(date=(GOOD["date"] + pd.Timedelta(hours=23)).dt.tz_localize("Asia/Shanghai"))
    frame = tables.transactions(zoned)
    assert frame["customer_id"].tolist() == ["01", "02", "02"]
    assert frame["date"].tolist() == GOOD["date"].tolist()  # the day on the spot, not the one in Greenwich


CONTRACTS = pd.DataFrame(
    {
        "customer_id": ["a", "b"],
        "start": pd.to_datetime(["2024-01-01", "2024-05-01"]),
        "end": pd.to_datetime(["2025-01-01", None]),
    }
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"end": pd.to_datetime(["2023-01-01", None])}, "column 'end': 1 of 2 rows.*after the start"),
        ({"end": pd.to_datetime(["2024-01-01", None])}, "column 'end': 1 of 2 rows"),
        ({"start": pd.to_datetime([None, "2024-05-01"])}, "column 'start': 1 of 2 rows"),
        ({"customer_id": ["a", "a"]}, "column 'customer_id': 2 of 2 rows.*join a customer's contracts"),
        ({"start": ["x", "y"]}, "not dates"),
        ({"end": ["x", "y"]}, "not dates"),
    ],
)
def test_bad_contracts_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        tables.contracts(CONTRACTS.assign(**change))


def test_contracts_that_all_run():
    frame = tables.contracts(CONTRACTS.assign(end=None))
    assert frame["end"].isna().all() and frame["end"].dtype.kind == "M"
