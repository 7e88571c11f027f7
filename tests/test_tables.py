"""The contract at the door: every refusal names the column, counts the rows, shows some and says the fix; nothing is dropped in silence."""

import datetime

import duckdb
import ibis
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlab import tables

GOOD = pd.DataFrame(
    {
        "customer_id": ["01", "02", "02"],
        "date": pd.to_datetime(["2025-01-01", "2025-01-02", "2025-03-04"]),
        "amount": [1.0, 2.0, 0.0],
    }
)


def as_pandas(frame, folder):
    return frame


def as_polars(frame, folder):
    return polars.from_pandas(frame)


def as_csv(frame, folder):
    frame.to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


def as_parquet_glob(frame, folder):
    for number in range(len(frame)):
        frame.iloc[[number]].to_parquet(folder / f"part{number}.parquet", index=False)
    return str(folder / "part*.parquet")


def as_duckdb(frame, folder):
    connection = duckdb.connect()
    connection.register("given", frame)
    connection.execute("create table log as select * from given")
    return connection, "log"


def as_ibis(frame, folder):
    return ibis.memtable(frame)


EVERY_SOURCE = pytest.mark.parametrize(
    "source", [as_pandas, as_polars, as_csv, as_parquet_glob, as_duckdb, as_ibis], ids=lambda f: f.__name__[3:]
)


def sorted_rows(checked):
    return checked.to_pandas().sort_values(["customer_id", "date"], ignore_index=True)


@EVERY_SOURCE
def test_every_source_gives_the_same_rows(source, tmp_path):
    checked = tables.transactions(source(GOOD, tmp_path))
    pd.testing.assert_frame_equal(sorted_rows(checked), GOOD, check_dtype=False)
    assert checked.report().loc["rows kept", "found"] == 3


@EVERY_SOURCE
def test_every_source_leaves_out_and_says_so(source, tmp_path):
    more = pd.DataFrame(
        {
            "customer_id": ["02", None, "", "03", "03"],
            "date": pd.to_datetime(["2025-03-04"] * 5),
            "amount": [0.0, 5.0, 6.0, -5.0, 5.0],
        }
    )
    data = source(pd.concat([GOOD, more], ignore_index=True), tmp_path)
    with pytest.raises(ValueError, match="rows repeat another in every column"):
        tables.transactions(data, duplicates="refuse")
    checked = tables.transactions(
        data, missing_customers="drop", returns="drop", zero_amounts="drop", duplicates="drop"
    )
    report = checked.report()
    # A blank id is no id either.
    assert report["left_out"].to_dict() == {
        "rows in": 0, "exact duplicates": 1, "missing customers": 2, "returns": 1, "zero amounts": 1, "rows kept": 0,
    }  # fmt: skip
    assert report.loc["rows in", "found"] == 8 and report.loc["rows kept", "found"] == 3 == len(checked.to_pandas())


@EVERY_SOURCE
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"customer_id": ["01", None, "02"]}, r"column 'customer_id': 1 of 3 rows.*Fix: .*missing_customers='drop'"),
        ({"date": pd.to_datetime(["2025-01-01", None, None])}, r"column 'date': 2 of 3 rows.*Fix: .*fill in the day"),
        ({"date": pd.to_datetime(["2025-01-01", "2261-01-01", "2025-01-01"])}, r"column 'date': 1 of 3 rows.*2261.*in the future"),
        ({"date": pd.to_datetime(["2025-01-01", "1970-01-01", "1899-12-30"])}, r"column 'date': 2 of 3 rows.*earliest="),
        ({"amount": [1.0, None, 2.0]}, r"column 'amount': 1 of 3 rows.*numeric and finite"),
        ({"amount": [1.0, float("inf"), 2.0]}, r"column 'amount': 1 of 3 rows.*inf"),
        ({"amount": ["1", "2", "x"]}, r"column 'amount'.* in 3 rows|column 'amount': 1 of 3 rows.*amount: x"),
        ({"amount": [1.0, -2.0, 2.0]}, r"column 'amount': 1 of 3 rows.*-2.*returns='drop'"),
        ({"date": ["01/02/2025", "02/02/2025", "2025-02-03"]}, r"column 'date' holds .* not dates.*01/02/2025.*date_format=|column 'date': 2 of 3 rows.*date_format="),
    ],
)  # fmt: skip
def test_every_source_refuses_bad_values(source, change, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tables.transactions(source(GOOD.assign(**change), tmp_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"customer_id": ["01", None, "02"]}, r"\(row 1: None\)"),
        ({"date": pd.to_datetime(["2025-01-01", None, None])}, r"\(row 1: NaT; row 2: NaT\)"),
        ({"date": [20250101, 20250102, 20250103]}, r"int64 values, not dates"),
        ({"date": ["01/02/2025"] * 3}, r"object values, not dates, in 3 rows \(for example '01/02/2025'.*format="),
        ({"customer_id": ["01", 7, "02"]}, r"column 'customer_id' mixes types in its 3 rows: 2 str, 1 int .*row 1: 7"),
        ({"customer_id": [True, False, True]}, r"holds bool values, not ids"),
        ({"amount": [1.0, "2", 3.0]}, r"column 'amount' mixes types.*row 1: '2'"),
        ({"amount": [True, False, True]}, r"not numbers"),
    ],
)
def test_a_dataframe_shows_the_place_of_the_row(change, says):
    with pytest.raises(ValueError, match=says):
        tables.transactions(GOOD.assign(**change))


def test_only_three_rows_are_shown():
    with pytest.raises(ValueError, match=r"40 of 40 rows cannot be used \(row 0: None; row 1: None; row 2: None\)\."):
        tables.transactions(pd.DataFrame({"customer_id": [None] * 40, "date": GOOD["date"][0]}), amount=None)


def test_what_is_not_a_table_is_refused():
    with pytest.raises(TypeError, match="DataFrame.*; got list"):
        tables.transactions([1, 2])
    with pytest.raises(ValueError, match="needs a column 'date'; there are: customer_id, when, amount.*date="):
        tables.transactions(GOOD.rename(columns={"date": "when"}))
    with pytest.raises(ValueError, match="needs a column 'amount'"):
        tables.transactions(GOOD.drop(columns="amount"))
    with pytest.raises(ValueError, match="cannot be named 'date'"):
        tables.transactions(GOOD, also="date")
    for name in ("returns", "zero_amounts", "duplicates", "missing_customers"):
        with pytest.raises(ValueError, match=f"{name}= is one of 'refuse'"):
            tables.transactions(GOOD, **{name: "ignore"})


@pytest.mark.parametrize("source", [as_pandas, as_polars, as_csv, as_duckdb, as_ibis], ids=lambda f: f.__name__[3:])
def test_no_rows_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        tables.transactions(source(GOOD.iloc[:0], tmp_path))


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match="no rows left: all 2 were left out .2 returns"):
        tables.transactions(GOOD.head(2).assign(amount=-1), returns="drop")


# --- days and zones --------------------------------------------------------------------------------------------------


def test_the_day_is_the_one_written_on_the_spot():
    zoned = GOOD.assign(date=(GOOD["date"] + pd.Timedelta(hours=23)).dt.tz_localize("Asia/Shanghai"))
    for data in (zoned, polars.from_pandas(zoned)):
        assert sorted_rows(tables.transactions(data))["date"].tolist() == GOOD["date"].tolist()


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_moments_in_a_file_need_the_place(unit, tmp_path):
    # Shortly after midnight in Berlin, which in Greenwich is the day before.
    moments = (GOOD["date"] + pd.Timedelta(minutes=5)).dt.tz_localize("Europe/Berlin").dt.as_unit(unit)
    GOOD.assign(date=moments).to_parquet(tmp_path / "log.parquet", index=False)
    with pytest.raises(ValueError, match="column 'date' holds moments.*time_zone='Europe/Berlin'"):
        tables.transactions(tmp_path / "log.parquet")
    checked = tables.transactions(tmp_path / "log.parquet", time_zone="Europe/Berlin")
    assert sorted_rows(checked)["date"].tolist() == GOOD["date"].tolist()
    london = tables.transactions(tmp_path / "log.parquet", time_zone="Europe/London")
    assert sorted_rows(london)["date"].tolist() == (GOOD["date"] - pd.Timedelta(days=1)).tolist()


def test_what_a_connection_does_not_have_is_said():
    connection, _ = as_duckdb(GOOD, None)
    with pytest.raises(ValueError, match="no table 'lgo'"):
        tables.transactions((connection, "lgo"))
    connection.execute("create table moments as select 'a' as customer_id, timestamptz '2025-01-01 00:00+00' as date")
    with pytest.raises(ValueError, match="time_zone= is the name of a zone.*'Mars/Base'"):
        tables.transactions((connection, "moments"), amount=None, time_zone="Mars/Base")


def test_a_zone_for_days_without_one_is_refused():
    with pytest.raises(ValueError, match="has no time zone: leave time_zone= out"):
        tables.transactions(GOOD, time_zone="Europe/Berlin")


def test_text_is_a_date_by_a_stated_format(tmp_path):
    written = GOOD.assign(date=GOOD["date"].dt.strftime("%d/%m/%Y"))
    for source in (as_pandas, as_csv, as_duckdb):
        checked = tables.transactions(source(written, tmp_path), date_format="%d/%m/%Y")
        assert sorted_rows(checked)["date"].tolist() == GOOD["date"].tolist()
    mixed = written.assign(date=["01/01/2025", "2025-01-02", "31/02/2025"])
    with pytest.raises(ValueError, match=r"column 'date': 2 of 3 rows.*row 1: 2025-01-02; row 2: 31/02/2025"):
        tables.transactions(mixed, date_format="%d/%m/%Y")
    with pytest.raises(ValueError, match="leave date_format= out"):
        tables.transactions(GOOD, date_format="%d/%m/%Y")


@pytest.mark.parametrize(
    "text", ["20250101", "2025-1-1", "1/1/2025", "2025-13-01", "2025-01-01T10:00Z", "2025-01-01 10:00+02:00", "soon"]
)
def test_text_in_a_csv_is_a_date_only_year_first(text, tmp_path):
    (tmp_path / "log.csv").write_text(f"customer_id,date\n1,2025-01-02\n2,{text}\n")
    with pytest.raises(ValueError, match="column 'date': 1 of 2 rows.*date_format="):
        tables.transactions(tmp_path / "log.csv", amount=None)


@settings(max_examples=25, deadline=None)  # a file each
@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2025, 12, 31)), st.sampled_from(["T", " "]))
def test_the_time_of_day_in_a_csv_does_not_move_the_day(moment, between):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text(f"customer_id,date\n1,{moment.isoformat(between)}\n")
        (day,) = tables.transactions(path, amount=None).to_pandas()["date"]
        assert day.date() == moment.date()


def test_the_limits_of_dates_are_arguments():
    old = GOOD.assign(date=GOOD["date"] - pd.DateOffset(years=80))
    assert len(tables.transactions(old, earliest="1900-01-01").to_pandas()) == 3
    with pytest.raises(ValueError, match=r"1 of 3 rows.*after latest= \(2025-02-01\)"):
        tables.transactions(GOOD, latest="2025-02-01")


# --- ids ---------------------------------------------------------------------------------------------------------------


@EVERY_SOURCE
def test_ids_keep_their_zeros(source, tmp_path):
    assert set(tables.transactions(source(GOOD, tmp_path)).to_pandas()["customer_id"]) == {"01", "02"}


@EVERY_SOURCE
def test_further_columns_come_along_and_may_not_be_missing(source, tmp_path):
    frame = GOOD.assign(grade=["x", "y", "z"], order=["o1", "o2", "o2"])
    checked = tables.transactions(source(frame, tmp_path), order="order", also="grade")
    assert sorted_rows(checked)["grade"].tolist() == ["x", "y", "z"]
    assert sorted_rows(checked)["order_id"].tolist() == ["o1", "o2", "o2"]
    with pytest.raises(ValueError, match="column 'grade': 1 of 3 rows"):
        tables.transactions(source(frame.assign(grade=["x", None, "z"]), tmp_path), also="grade")
    with pytest.raises(ValueError, match="column 'order': 1 of 3 rows"):
        tables.transactions(source(frame.assign(order=["x", None, "z"]), tmp_path), order="order")


def test_ids_that_are_numbers_stay_numbers():
    with_gap = GOOD.assign(customer_id=[7.0, np.nan, 8.0])
    checked = tables.transactions(with_gap, missing_customers="drop")
    assert checked.report().loc["missing customers", "left_out"] == 1
    assert checked.to_pandas()["customer_id"].tolist() == [7, 8]
    in_polars = polars.DataFrame({"customer_id": [7.0, float("nan")], "date": GOOD["date"].head(2).to_list()})
    assert tables.transactions(in_polars, amount=None, missing_customers="drop").report().loc["rows kept", "found"] == 1


# --- files -------------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    GOOD.to_csv(tmp_path / "log.csv", index=False, encoding="utf-8-sig")
    assert len(tables.transactions(tmp_path / "log.csv").to_pandas()) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "gb18030", "cp1252"])
def test_other_encodings_are_said_not_guessed(encoding, tmp_path):
    name = "Köln" if encoding != "gb18030" else "北京"
    GOOD.assign(city=name).to_csv(tmp_path / "log.csv", index=False, encoding=encoding)
    with pytest.raises(ValueError, match="cannot be read.*encoding='latin-1'"):
        tables.transactions(tmp_path / "log.csv", also="city")
    checked = tables.transactions(tmp_path / "log.csv", also="city", encoding=encoding)
    assert checked.to_pandas()["city"].tolist() == [name] * 3
    assert checked.to_pandas()["customer_id"].tolist() == ["01", "02", "02"]


def test_an_encoding_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown encoding"):
        tables.transactions(as_csv(GOOD, tmp_path), encoding="klingon")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_parquet_file_cut_short_is_refused(share, tmp_path):
    GOOD.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="cut.parquet cannot be read.*cut short"):
        tables.transactions(tmp_path / "cut.parquet")


def test_a_damaged_page_is_found_when_it_is_read(tmp_path):
    many = pd.concat([GOOD] * 5000, ignore_index=True).assign(amount=np.random.default_rng(1).random(15_000))
    many.to_parquet(tmp_path / "log.parquet", compression="zstd")
    raw = bytearray((tmp_path / "log.parquet").read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 2000] = bytes(2000)
    (tmp_path / "log.parquet").write_bytes(raw)
    with pytest.raises(ValueError, match="cannot be read"):
        tables.transactions(tmp_path / "log.parquet")


@pytest.mark.parametrize("line", ["51,2025-01-01,1,9,9", "51", '51,"2025-01-01,1'])
def test_a_broken_line_of_a_csv_is_refused(line, tmp_path):
    rows = "".join(f"{n},2025-01-01,1\n" for n in range(50))
    (tmp_path / "log.csv").write_text(f"customer_id,date,amount\n{rows}{line}\n{rows}")
    with pytest.raises(ValueError, match="cannot be read.*Line: 52.*51.*mend that line"):
        tables.transactions(tmp_path / "log.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_and_line_ends(separator, end, tmp_path):
    frame = GOOD.assign(note=["a, b; c", 'he said "x"', "two\nlines"])
    for name in ("log.csv", "log.csv.gz"):
        frame.to_csv(tmp_path / name, index=False, sep=separator, lineterminator=end)
        read = sorted_rows(tables.transactions(tmp_path / name, also="note"))
        assert read["note"].tolist() == frame["note"].tolist()


def test_a_column_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'date' stands 2 times"):
        tables.transactions(pd.concat([GOOD, GOOD[["date"]]], axis=1))
    (tmp_path / "log.csv").write_text("customer_id,date,Date,amount\n1,2025-01-01,2025-01-02,1\n")
    with pytest.raises(ValueError, match="'date' stands 2 times"):
        tables.transactions(tmp_path / "log.csv")
    columns = [pa.array(GOOD[name]) for name in ("customer_id", "date", "date", "amount")]
    pa.parquet.write_table(pa.table(columns, names=["customer_id", "date", "date", "amount"]), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="'date' stands 2 times"):
        tables.transactions(tmp_path / "log.parquet")


def test_files_with_columns_in_another_order_are_not_mixed_up(tmp_path):
    GOOD.to_csv(tmp_path / "a.csv", index=False)
    GOOD.assign(note="x")[["amount", "date", "note", "customer_id"]].to_csv(tmp_path / "b.csv", index=False)
    checked = tables.transactions(tmp_path / "*.csv").to_pandas()
    assert checked["customer_id"].value_counts().to_dict() == {"01": 2, "02": 4}


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        tables.transactions(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="is a folder.*glob"):
        tables.transactions(tmp_path)
    with pytest.raises(ValueError, match="ends neither in"):
        tables.transactions(tmp_path / "log.xlsx")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        tables.transactions(tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text("customer_id,date,amount\n")
    with pytest.raises(ValueError, match="no rows"):
        tables.transactions(tmp_path / "header.csv")


def test_rows_are_not_pulled(tmp_path, monkeypatch):
    """Whatever the size of the log, the door fetches a row of counts, or three rows to show."""
    pd.concat([GOOD] * 1000).to_parquet(tmp_path / "log.parquet")
    fetched = []
    backend = ibis.backends.duckdb.Backend
    execute = backend.execute
    monkeypatch.setattr(
        backend, "execute", lambda self, *a, **k: (out := execute(self, *a, **k), fetched.append(len(out)))[0]
    )
    tables.transactions(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="zero_amounts='drop'"):
        tables.transactions(tmp_path / "log.parquet", zero_amounts="refuse")
    assert fetched and max(fetched) <= 3


def test_the_engine_keeps_its_bounds(tmp_path):
    engine = tables.connect(memory_limit="300MB", spill_folder=tmp_path / "spill", threads=1)
    checked = tables.transactions(as_csv(GOOD, tmp_path), connection=engine)
    assert len(checked.to_pandas()) == 3
    setting = "select current_setting('memory_limit'), current_setting('temp_directory'), current_setting('threads')"
    assert engine.raw_sql(setting).fetchall() == [("286.1 MiB", str(tmp_path / "spill"), 1)]
    assert len(tables.transactions(GOOD, connection=engine).to_pandas()) == 3


# --- the object --------------------------------------------------------------------------------------------------------


def test_the_object_says_what_was_left_out_everywhere():
    checked = tables.transactions(GOOD.assign(amount=[1.0, -2.0, 0.0]), returns="drop")
    for shown in (repr(checked), checked._repr_html_()):
        assert "2 of 3 rows kept" in shown and "left out: 1 returns" in shown and "1 zero amounts" in shown
    with pytest.raises(AttributeError):
        checked.kind = "contracts"


def test_what_was_checked_passes_again_as_it_is():
    checked = tables.transactions(GOOD)
    assert tables.transactions(checked) is checked
    with pytest.raises(TypeError, match="takes contracts; got an object of transactions"):
        tables.contracts(checked)
    with pytest.raises(ValueError, match="no column 'grade'"):
        tables.transactions(checked, also="grade")


# --- contracts, phases, answers ----------------------------------------------------------------------------------------

CONTRACTS = pd.DataFrame(
    {
        "customer_id": ["a", "b"],
        "start": pd.to_datetime(["2024-01-01", "2024-05-01"]),
        "end": pd.to_datetime(["2025-01-01", None]),
    }
)


@EVERY_SOURCE
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"end": pd.to_datetime(["2023-01-01", None])}, "column 'end': 1 of 2 rows.*after the start"),
        ({"end": pd.to_datetime(["2024-01-01", None])}, "column 'end': 1 of 2 rows"),
        ({"start": pd.to_datetime([None, "2024-05-01"])}, "column 'start': 1 of 2 rows"),
        ({"customer_id": ["a", "a"]}, "column 'customer_id': 2 of 2 rows.*join a customer's contracts"),
        ({"start": ["x", "y"]}, "not dates|column 'start': 2 of 2 rows"),
        ({"end": ["x", "y"]}, "not dates|column 'end': 2 of 2 rows"),
    ],
)
def test_bad_contracts_are_refused(source, change, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tables.contracts(source(CONTRACTS.assign(**change), tmp_path))


def test_an_end_in_the_year_9999_is_not_an_end():
    ends = CONTRACTS.assign(end=[datetime.date(9999, 12, 31), None])
    with pytest.raises(ValueError, match="column 'end': 1 of 2 rows.*in the future.*leave an unknown end empty"):
        tables.contracts(ends)


def test_contracts_that_all_run():
    frame = tables.contracts(CONTRACTS.assign(end=None)).to_pandas()
    assert frame["end"].isna().all()


PHASES = pd.DataFrame(
    {
        "customer_id": ["a", "a", "b"],
        "phase": ["build-up", "stability", "build-up"],
        "start": pd.to_datetime(["2024-01-01", "2024-06-01", "2024-02-01"]),
        "end": pd.to_datetime(["2024-06-01", None, None]),
    }
)


@pytest.mark.parametrize("source", [as_pandas, as_csv, as_duckdb])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phase": ["build-up", None, "build-up"]}, "column 'phase': 1 of 3 rows"),
        ({"start": pd.to_datetime(["2024-01-01", "2024-05-01", "2024-02-01"])}, "column 'start': 1 of 3.*one phase at a time"),
        ({"start": pd.to_datetime(["2024-01-01", "2024-07-01", "2024-02-01"])}, "column 'end': 1 of 3.*next_phase="),
        ({"end": pd.to_datetime([None, None, None])}, "column 'start': 1 of 3.*one phase at a time"),
        ({"end": pd.to_datetime(["2024-06-01", "2024-09-01", None])}, "column 'end': 1 of 3.*no stay of the customer begins"),
    ],
)  # fmt: skip
def test_bad_phases_are_refused(source, change, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tables.episodes(source(PHASES.assign(**change), tmp_path))


def test_the_next_phase_may_be_named():
    gone = PHASES.assign(end=pd.to_datetime(["2024-06-01", "2024-09-01", None]), to=["stability", "gone", None])
    stays = tables.episodes(gone, next_phase="to").to_pandas()
    assert stays.sort_values(["customer_id", "start"])["next_phase"].tolist()[:2] == ["stability", "gone"]
    with pytest.raises(ValueError, match="column 'to': 1 of 3 rows.*has no next phase yet"):
        tables.episodes(gone.assign(to=["stability", "gone", "gone"]), next_phase="to")


ANSWERS = pd.DataFrame({"customer_id": ["a", "b", "c"], "satisfaction": [5, 1, 3], "stayed": [True, False, True]})


@EVERY_SOURCE
def test_answers(source, tmp_path):
    checked = tables.responses(source(ANSWERS, tmp_path), "satisfaction", also="stayed")
    assert sorted(checked.to_pandas()["satisfaction"]) == [1, 3, 5]
    for wrong in (6, 2.5):
        data = source(ANSWERS.assign(satisfaction=[5, wrong, 3]), tmp_path)
        with pytest.raises(ValueError, match="column 'satisfaction': 1 of 3 rows.*whole numbers from 1 to 5"):
            tables.responses(data, "satisfaction")
    data = source(ANSWERS.assign(satisfaction=[5, None, 3]), tmp_path)
    with pytest.raises(ValueError, match="column 'satisfaction': 1 of 3 rows.*missing_ratings='drop'"):
        tables.responses(data, "satisfaction")
    assert len(tables.responses(data, "satisfaction", missing_ratings="drop").to_pandas()) == 2
    kept = tables.responses(data, "satisfaction", missing_ratings="keep").to_pandas()
    assert kept["satisfaction"].isna().sum() == 1


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_moments_of_a_frame_are_days_of_the_place_that_is_named(duplicates):
    log = pd.DataFrame({"customer_id": ["a", "b"], "date": pd.to_datetime(["2026-01-03 23:30", "2026-01-04 12:00"])})
    log["date"] = log["date"].dt.tz_localize("UTC")
    for data, connection in ((log, None), (log, tables.connect())):
        options = {"amount": None, "duplicates": duplicates, "connection": connection}
        as_written = tables.transactions(data, **options).to_pandas()
        there = tables.transactions(data, time_zone="Europe/Berlin", **options).to_pandas()
        assert as_written.set_index("customer_id")["date"].dt.day.to_dict() == {"a": 3, "b": 4}
        assert there.set_index("customer_id")["date"].dt.day.to_dict() == {"a": 4, "b": 4}


def test_periods_and_intervals_are_refused_with_the_way_out():
    log = pd.DataFrame({"customer_id": ["a", "b"], "date": pd.PeriodIndex(["2026-01", "2026-02"], freq="M")})
    with pytest.raises(ValueError, match=r"column 'date' holds period\[M\] values .for example 2026-01.*to_timestamp"):
        tables.transactions(log, amount=None)
    log = log.assign(date=log["date"].dt.to_timestamp(), age=pd.cut([1, 5], [0, 2, 6]))
    with pytest.raises(ValueError, match=r"column 'age' holds interval.*astype\(str\)"):
        tables.transactions(log, amount=None, also="age")


def test_a_named_next_phase_is_that_of_the_next_stay():
    stays = pd.DataFrame(
        {
            "customer_id": ["a", "a"],
            "phase": ["x", "y"],
            "start": pd.to_datetime(["2024-01-01", "2024-06-01"]),
            "end": pd.to_datetime(["2024-06-01", None]),
            "to": ["y", None],
        }
    )
    assert tables.episodes(stays, next_phase="to").table.next_phase.count().to_pandas() == 1
    with pytest.raises(ValueError, match="column 'to': 1 of 2.*row 0: z.*in another phase: correct one of the two"):
        tables.episodes(stays.assign(to=["z", None]), next_phase="to")
    late = stays.assign(start=pd.to_datetime(["2024-01-01", "2024-08-01"]))
    with pytest.raises(ValueError, match="column 'end': 1 of 2.*begins later: fill the gap with a row of its own"):
        tables.episodes(late, next_phase="to")
    # Numbers as text, and a column in which nobody has moved yet.
    assert tables.episodes(stays.assign(phase=[1, 2], to=["2", None]), next_phase="to")
    assert tables.episodes(stays.tail(1).assign(to=float("nan")), next_phase="to")
