"""The bundled data: they are what their cards say, and come out of a clone and of a wheel alike."""

import json
import os
import subprocess
import sys
import zipfile

import frictionless
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from crmlab import datasets, simulate

NAMES = datasets.catalog().index


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_valid_against_its_card(name, tmp_path):
    descriptor = datasets.card(name).descriptor
    frame = datasets.load(name)
    if descriptor["format"] == "parquet":  # frictionless reads Parquet only with a second Parquet library
        frame.to_csv(tmp_path / "data.csv", index=False)
        resource = {key: descriptor[key] for key in ("name", "schema")} | {"path": "data.csv", "encoding": "utf-8"}
        report = frictionless.Resource.from_descriptor(resource, basepath=str(tmp_path)).validate()
    else:
        resource = {
            key: value
            for key, value in descriptor.items()
            if key not in ("rows", "row", "index", "generated", "parameters", "package")
        } | {"path": datasets.path(name).name}
        report = frictionless.Resource.from_descriptor(resource, basepath=str(datasets.path(name).parent)).validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "note"])[:5]
    assert len(frame) == descriptor["rows"] and datasets.path(name).stat().st_size == descriptor["bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_everything(name):
    card = datasets.card(name)
    d = card.descriptor
    for key in ("name", "title", "description", "row", "generated", "version", "hash", "licenses", "sources"):
        assert d[key] or d[key] is False, key
    frame = datasets.load(name).reset_index() if "index" in d else datasets.load(name)
    assert [field["name"] for field in d["schema"]["fields"]] == list(frame)
    for shown in (repr(card), card._repr_html_()):
        assert d["title"] in shown and d["licenses"][0]["title"] in shown
        assert ("GENERATED" in shown) == d["generated"]
        assert all(field["name"] in shown for field in d["schema"]["fields"])


def test_a_frictionless_check_can_fail(tmp_path):
    descriptor = json.loads(json.dumps(datasets.card("donations").descriptor))
    text = datasets.path("donations").read_text().replace("0,0,6,3464", "9,0,6,3464")
    (tmp_path / "donations.csv").write_text(text)
    resource = {key: descriptor[key] for key in ("name", "path", "schema")}
    assert not frictionless.Resource.from_descriptor(resource, basepath=str(tmp_path)).validate().valid


@pytest.mark.parametrize(
    ("name", "file", "skip"), [("cdnow", "CDNOW_master.txt", 1), ("cdnow_sample", "CDNOW_sample.txt", 0)]
)
def test_cdnow_is_the_file_of_lifetimes_row_by_row(name, file, skip):
    from importlib.resources import files

    rows = [
        line.split()
        for line in (files("lifetimes") / "datasets" / file).read_text().splitlines()[skip:]
        if line.strip()
    ]
    ours = datasets.load(name)
    text = ours.assign(
        date=ours["date"].dt.strftime("%Y%m%d"), cds=ours["cds"].astype(str), amount=ours["amount"].map("{:.2f}".format)
    )
    assert text.to_numpy().tolist() == [[*row[:-1], f"{float(row[-1]):.2f}"] for row in rows]


def test_cdnow_has_the_published_totals():
    log, sample = datasets.load("cdnow"), datasets.load("cdnow_sample")
    assert (len(log), log["customer_id"].nunique(), round(log["amount"].sum(), 2)) == (69_659, 23_570, 2_500_315.63)
    # Calibration: 39 weeks from 1 January 1997; purchases are customer-days after the first.
    end = pd.Timestamp("1997-01-01") + pd.Timedelta(weeks=39)
    days = sample.drop_duplicates(["customer_id", "date"])
    calibration = days[days["date"] < end].groupby("customer_id").size() - 1
    assert (len(calibration), calibration.sum(), (calibration == 0).sum(), (calibration > 0).sum()) == (
        2357,
        2457,
        1411,
        946,
    )
    assert (days["date"] >= end).sum() == 1882


def test_published_tables_have_their_totals():
    assert datasets.load("donations")["donors"].sum() == 11_104
    segments = datasets.load("retention_two_segments")
    assert segments.loc[0].tolist() == [1000, 1000] and segments.loc[12].tolist() == [173, 394]
    five = datasets.load("retention_five_cohorts")
    assert five.groupby("cohort").size().to_dict() == {2003: 5, 2004: 4, 2005: 3, 2006: 2, 2007: 1}


def test_the_company_case_is_what_its_generator_makes():
    pd.testing.assert_frame_equal(datasets.load("company_case_log"), simulate.company_case())
    for name in ("company_case", "company_case_log"):
        assert datasets.card(name).descriptor["parameters"] == simulate.COMPANY_CASE
    # Counted again from the log by other means: the purchases after the first, of everybody who came by the year's end.
    log = datasets.load("company_case_log").drop_duplicates(["customer_id", "date"])
    for row in datasets.load("company_case").itertuples():
        days = log[(log["grade"] == row.grade) & (log["date"].dt.year <= row.year)].groupby("customer_id").size()
        assert (len(days), (days > 3).sum()) == (row.customers, row.repeaters)


def test_the_company_case_has_the_effect_that_it_says(rng):
    # Purchases of the last year over those of a firm without the programme: 1.06 to the fourth.
    with_it, without = (
        np.mean([(simulate.company_case(effect, seed=seed)["date"].dt.year == 2023).sum() for seed in range(20)])
        for effect in (simulate.COMPANY_CASE["programme_effect"], 0)
    )
    assert with_it / without == pytest.approx(1.06**4, rel=0.03)


def test_the_travel_data_are_the_table_of_statsmodels():
    from statsmodels.datasets import modechoice

    theirs = modechoice.load_pandas().data.astype(int)
    ours = datasets.load("modechoice")
    assert ours["mode"].cat.categories.tolist() == ["air", "train", "bus", "car"]
    pd.testing.assert_frame_equal(ours.assign(mode=ours["mode"].cat.codes.astype(int) + 1), theirs, check_dtype=False)
    # What the lesson finds in them: waits of ways not taken have two values each, those of ways taken do not.
    waits = ours.groupby(["mode", "choice"], observed=True)["ttme"].nunique().unstack()
    assert (
        waits.loc[["air", "train", "bus"], 0].tolist() == [2, 2, 2]
        and (waits.loc[["air", "train", "bus"], 1] > 10).all()
    )


def test_another_packages_file_that_changed_is_refused(tmp_path, monkeypatch):
    descriptor = json.loads((ROOT / "datasets" / "modechoice.json").read_text())
    (tmp_path / "modechoice.json").write_text(json.dumps(descriptor | {"hash": "sha256:0"}))
    monkeypatch.setattr(datasets, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="it comes with statsmodels.*the version of the lock"):
        datasets.load("modechoice")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_FOLDER", tmp_path)
    for end in ("json", "csv"):
        (tmp_path / f"donations.{end}").write_bytes((ROOT / "datasets" / f"donations.{end}").read_bytes())
    assert len(datasets.load("donations")) == 22
    with open(tmp_path / "donations.csv", "a") as file:
        file.write("9,9,6,1\n")
    with pytest.raises(ValueError, match="not the file that its card describes.*git checkout"):
        datasets.load("donations")


def test_a_wrong_name_gets_a_helpful_answer():
    with pytest.raises(ValueError, match="Did you mean 'cdnow_sample'"):
        datasets.load("cdnow_smaple")
    with pytest.raises(ValueError, match="There are: .*cdnow, cdnow_sample, "):
        datasets.card("zzz")
    with pytest.raises(TypeError, match="by its name"):
        datasets.load(datasets.load("donations"))


def test_the_wheel_alone_loads_every_data_set_and_key(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = """
import crmlab, pathlib, sys
from crmlab import datasets
from crmlab.course import Exercise
assert pathlib.Path(crmlab.__file__).is_relative_to(sys.argv[1]), crmlab.__file__
for name in datasets.catalog().index:
    assert len(datasets.load(name)) == datasets.card(name).descriptor["rows"], name
assert Exercise("05_retention").check("1", None).verdict == "blank"
print(len(datasets.catalog()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "CRMLAB_STATIC": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(NAMES)
