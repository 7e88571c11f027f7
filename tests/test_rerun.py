"""A lesson run again on another log: what comes out, what is refused before anything runs, and what a second run says."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pandas as pd
import pytest

from crmlab import counting, datasets, lifecycle, retention, tables
from crmlab.course import notebooks, rerun
from crmlab.course.environment import SetupError
from crmlab.course.rerun import kernel, lesson, manifest, output
from crmlab.course.rerun import plan as plans

WORDS = ["--map", "customer=cust_no", "date=when", "amount=net"]


def shop(customers=600, seed=3):
    """Generated: a shop without CDs, in another currency, with its own column names and customers of different pace."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        day, last = int(rng.integers(0, 300)), int(rng.integers(300, 720))
        while day <= last:
            rows.append((f"K{number:04d}", day, round(float(rng.gamma(2, 30)), 2)))
            day += 1 + int(rng.exponential(40 if number % 3 else 150))
    log = pd.DataFrame(rows, columns=["cust_no", "when", "net"])
    log["when"] = (pd.Timestamp("2023-01-05") + pd.to_timedelta(log["when"], "D")).dt.date
    return log


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    log = shop()
    log.iloc[::2].to_parquet(folder / "a.parquet", index=False)
    log.iloc[1::2].to_parquet(folder / "b.parquet", index=False)
    return folder


def command(*words, cwd=None):
    env = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "crmlab", "rerun", *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def done(logs, tmp_path_factory):
    """Both lessons, run again from another folder than the clone, with a path that is meant from there."""
    out = tmp_path_factory.mktemp("done")
    for stem in plans.lessons():
        data = os.path.join("..", logs.name, "*.parquet")
        code, said = command(stem, "--data", data, *WORDS, "--out", stem, "--name", "Tea & Co", cwd=out)
        assert code == 0, said
    return out


@pytest.mark.parametrize("stem", plans.lessons())
def test_a_rerun_leaves_everything_that_was_asked_for(done, stem):
    folder = done / stem
    made = manifest.read(folder)[0]
    notebook = nbformat.read(folder / f"{stem}.ipynb", as_version=4)
    assert not (folder / ".unfinished").exists()
    assert made["tables"] and made["figures"] and made["counts"]
    for name in made["tables"]:
        assert len(pd.read_csv(folder / "tables" / f"{name}.csv"))
        latex = (folder / "tables" / f"{name}.tex").read_text()
        assert latex.startswith("\\begin{tabular}") and not re.search(r"(?<!\\)[_%#]", latex)
    for name in made["figures"]:
        assert (folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (folder / "figures" / f"{name}.svg").read_text()
    page = (folder / "report.html").read_text()
    assert page.count("<img alt=") == len(made["figures"]) and "alt=''" not in page
    assert "http" not in re.sub(r"base64,[^']*|xmlns\S*", "", page)
    assert "Tea &amp; Co" in page and "600 customers" in page
    # Nothing of the lesson's own data, and nobody's name.
    for text in (page, nbformat.writes(notebook)):
        said = re.sub(r"base64,[^']*|\"image/png\": \"[^\"]*\"|SHOP = .*CDNOW.*", "", text)
        assert "CDNOW," not in said and "23,570" not in said and "K0001" not in said
    assert made["log"]["customers"] == 600 and made["log"]["first_day"] == "2023-01-05"
    assert sorted(made["log"]["files"]) == ["a.parquet", "b.parquet"]
    assert made["versions"]["pandas"] == pd.__version__ and len(made["commit"] or "0" * 40) >= 40
    assert [row["step"] for row in made["log"]["rows"]][0] == "rows in"


def test_the_numbers_are_those_of_the_log(done):
    log = (
        shop()
        .rename(columns={"cust_no": "customer_id", "when": "date"})
        .assign(date=lambda d: pd.to_datetime(d["date"]))
    )
    episodes = lifecycle.phase_episodes(log, unit="month")
    year = lifecycle.fit_multistate(episodes).occupancy([12], level=0.95).round(3).reset_index()
    table = pd.read_csv(next((done / "02_lifecycle" / "tables").glob("*where-are-they*.csv")))
    pd.testing.assert_frame_equal(table, year, check_dtype=False)
    shares = retention.repeat_share(log).round(3)
    table = pd.read_csv(next((done / "05_retention" / "tables").glob("*four-readings*.csv")))
    found = table[(table["window"] == "year") & (table["base"] == "active")].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[shares.columns], shares, check_dtype=False)


def test_the_counts_serve_to_fit_again_without_the_log(done):
    folder = done / "02_lifecycle" / "counts"
    (file,) = folder.glob("stays-*.parquet")
    counts = pd.read_parquet(file)
    assert "customer_id" not in counts
    fit = lifecycle.fit_multistate(counts[~counts["empty"]], phases=lifecycle.PHASES)
    table = pd.read_csv(next((done / "02_lifecycle" / "tables").glob("*where-are-they*.csv")))
    days = fit.occupancy([12 * 365.25 / 12], level=0.95)["estimate"].round(3)
    assert days.tolist() == table["estimate"].tolist()


def test_made_again_from_its_manifest_it_is_the_same_and_a_changed_log_is_told(done, logs, tmp_path):
    code, said = command("--manifest", done / "05_retention" / "manifest.json", "--out", tmp_path / "same", cwd=done)
    assert code == 0 and "The same numbers: 4 tables and 4 tables of counts are equal." in said
    changed = tmp_path / "logs"
    changed.mkdir()
    for file in ("a.parquet", "b.parquet"):
        log = pd.read_parquet(logs / file)
        (log.iloc[:-40] if file == "b.parquet" else log).to_parquet(changed / file, index=False)
    code, said = command(
        "--manifest", done / "05_retention", "--data", changed / "*.parquet", "--out", tmp_path / "other", cwd=done
    )
    assert code == 1
    assert re.search(r"log: file b.parquet: \w{12} -> \w{12}", said) and "log: rows in:" in said
    assert re.search(r"tables/02-\S+: row \d+, \w+: \S+ -> \S+", said)
    code, said = command("--manifest", tmp_path / "nowhere.json")
    assert code == 1 and "--manifest takes the manifest.json of a rerun" in said


def test_small_cells_are_taken_out_if_asked(logs, tmp_path):
    plan = plans.make(
        "02_lifecycle", logs / "*.parquet", ["customer=cust_no", "date=when"], "week", tmp_path, suppress=3
    )
    found = plans.check(plan)
    _, log = plan.open()
    keeper = kernel.Keeper(plan.work() / "counts")
    counts = keeper("stays", {"n": 1}, lambda: lifecycle.phase_episodes(log, counted=True))
    assert keeper("stays", {"n": 1}, None).equals(counts.reset_index(drop=True))  # not counted again
    made = output.write(plan, found, nbformat.v4.new_notebook(), tmp_path)
    ((name, entry),) = made["counts"].items()
    left = pd.read_parquet(tmp_path / "counts" / name)
    assert left["stays"].min() == 3 and (counts["stays"] < 3).any()
    assert entry["suppressed"] == {
        "rows": int((counts["stays"] < 3).sum()),
        "stays": (gone := int(counts.loc[counts["stays"] < 3, "stays"].sum())),
        "shares": {"stays": gone / counts["stays"].sum()},
    }
    assert output.taken_out(entry).endswith(f"{gone / counts['stays'].sum():.1%} of the stays")
    assert output.BIASED in (tmp_path / "report.html").read_text()
    assert len(left) + entry["suppressed"]["rows"] == len(counts)


def test_an_interruption_keeps_what_was_counted_and_the_same_command_goes_on(logs, tmp_path):
    out = tmp_path / "out"
    words = [
        sys.executable,
        "-m",
        "crmlab",
        "rerun",
        "05_retention",
        "--data",
        str(logs / "*.parquet"),
        *WORDS,
        "--out",
        str(out),
    ]
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    until = time.monotonic() + 300
    while running.poll() is None and not list(out.glob(".unfinished/counts/*.json")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 130 and "the same command goes on from there" in said, said
    kept = {file: file.stat().st_mtime_ns for file in (out / ".unfinished" / "counts").glob("*.parquet")}
    assert kept and not (out / "manifest.json").exists()
    # Another command has no business there, the same one goes on.
    code, other = command("05_retention", "--data", logs / "*.parquet", *WORDS, "--unit", "quarter", "--out", out)
    assert code == 1 and "unfinished rerun of another command" in other
    code, said = command(*words[4:])
    assert code == 0 and re.search(r"Going on with .*: \d tables of counts are there", said)
    code, said = command(*words[4:])
    assert code == 1 and "holds a finished rerun" in said


@pytest.mark.parametrize(
    "words, says",
    [
        (["13_x", "--data", "LOG", *WORDS, "--out", "o"], "'13_x' is no lesson; lessons that run on a purchase log: 02_lifecycle, 05_ret"),
        (["03_satisfaction", "--data", "LOG", *WORDS, "--out", "o"], "is about data that no log holds"),
        (["02_lifecycle", "--data", "LOG", *WORDS], "rerun needs --out"),
        (["02_lifecycle", "--data", "a.parquet", "b.parquet", *WORDS, "--out", "o"], "put it in quotes"),
        (["02_lifecycle", "--data", "LOG", "--map", "client=cust_no", "--out", "o"], "--map knows customer, date, amount, order; got client"),
        (["02_lifecycle", "--data", "LOG", "--map", "customer", "--out", "o"], "--map takes NAME=VALUE; got 'customer'"),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--unit", "quarter", "--out", "o"], "--unit of 02_lifecycle is one of day, week, month, year"),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--engine", "yarn", "--out", "o"], "--engine is the address of a Spark master"),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--set", "WAIT=3", "--out", "o"], "has no parameter 'WAIT'; there are: UNIT, SILENCE"),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--unit", "year", "--out", "o"], "too coarse a unit for it, which should fit 4 times. Fix: --unit month"),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--set", "SILENCE=700", "--out", "o"], "decline after SILENCE=700 days.*--set SILENCE="),
        (["02_lifecycle", "--data", "LOG", *WORDS, "--memory-limit", "much", "--out", "o"], "DuckDB: .*Memory must have a number"),
        (["02_lifecycle", "--data", "log.csv", *WORDS, "--engine", "spark://127.0.0.1:1", "--out", "o"], "on Spark a log is Parquet"),
        (["02_lifecycle", "--data", "none/*.parquet", *WORDS, "--out", "o"], "there is no file none"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_anything_runs(logs, tmp_path, monkeypatch, capsys, words, says):
    from crmlab import __main__ as main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.environment, "ready_python", lambda **_: sys.executable)
    code = main.main(["rerun", *[str(logs / "*.parquet") if word == "LOG" else word for word in words]])
    said = capsys.readouterr().err
    assert code == 1 and re.search(says, said), said
    assert list(tmp_path.iterdir()) == []  # no folder is left behind


@pytest.mark.parametrize(
    "change, words, says",
    [
        (lambda log: log.drop(columns="net"), [], "needs a column 'net'.*say so with --map amount="),
        (lambda log: log.assign(net=-log["net"]), [], "rows cannot be used.*--returns drop leaves them out"),
        (
            lambda log: log.assign(cust_no=log["cust_no"].where(log["cust_no"] != "K0003")),
            [],
            "leave them out with --missing-customers drop",
        ),
        (lambda log: log.assign(when=pd.to_datetime(log["when"]).dt.strftime("%d/%m/%Y")), [], "--date-format"),
        (lambda log: log[log["when"] == log["when"].max()], [], "the log has one day only"),
        (lambda log: log[log["when"] < log["when"].min() + pd.Timedelta(days=60)], [], "too coarse a unit for it"),
        (lambda log: b"PAR1 but no more", [], "cannot be read"),
    ],
)
def test_a_log_that_cannot_serve_is_refused_with_a_fix(tmp_path, change, words, says):
    log = change(shop(60))
    file = tmp_path / "log.parquet"
    file.write_bytes(log) if isinstance(log, bytes) else log.to_parquet(file, index=False)
    plan = plans.make("02_lifecycle", file, ["customer=cust_no", "date=when", "amount=net"], "month", tmp_path / "o")
    with pytest.raises(SetupError, match=says):
        plans.check(plan)


def test_policies_and_settings_reach_the_log_and_the_lesson(tmp_path):
    log = shop(80)
    log.loc[::9, "net"] *= -1
    log.loc[::11, "cust_no"] = None
    log.to_csv(tmp_path / "log.csv", index=False)
    policies = {"returns": "drop", "missing_customers": "drop", "encoding": None}
    given = ["SILENCE=90", "YEAR=9"]
    plan = plans.make("02_lifecycle", tmp_path / "log.csv", ["customer=cust_no", "date=when", "amount=net"], "month", tmp_path / "o", None, given, policies)  # fmt: skip
    found = plans.check(plan)
    assert found.report.loc["returns", "left_out"] > 0 and found.report.loc["missing customers", "left_out"] > 0
    assert (found.parameters["SILENCE"], found.parameters["YEAR"]) == (90, 9) and 90 in found.parameters["TRIED"]
    assert plans.loads(plan.dumps()) == plan


@pytest.mark.parametrize("stem", plans.lessons())
def test_the_notebook_of_a_rerun_takes_its_log_from_one_place_and_keeps_no_sentence(stem):
    notebook = lesson.make(stem, "own log")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("log = rerun.log()" in source for source in code) == 1
    assert not any("datasets.load(" in source or "simulate." in source for source in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    prose = [cell.source for cell in notebook.cells[1:] if cell.cell_type == "markdown"]
    assert prose and all(re.fullmatch(r"#+ .*", text) for text in prose)
    assert set(plans._PARAMETERS) <= {item.stem for item in notebooks.all_notebooks()}


def test_counts_give_the_same_lifecycle_as_stays():
    log = datasets.load("cdnow_sample")
    stays = lifecycle.phase_episodes(log)
    counts = lifecycle.phase_episodes(log, counted=True)
    assert counts["stays"].sum() == len(stays) and len(counts) < len(stays) and "customer_id" not in counts
    assert counts.attrs == stays.attrs
    for phase in lifecycle.PHASES:
        for visits in ("all", "first"):
            a, b = (lifecycle.fit_time_in_phase(table, phase, visits=visits) for table in (stays, counts))
            assert a.nobs == b.nobs
            pd.testing.assert_frame_equal(a.counts, b.counts, check_dtype=False)
    stays["came_from"] = stays.groupby("customer_id")["phase"].shift()
    a, b = (lifecycle.fit_time_in_phase(table, "decline", groups="came_from") for table in (stays, counts))
    pd.testing.assert_frame_equal(a.survival([13, 26], 0.95), b.survival([13, 26], 0.95), check_dtype=False)
    a, b = (lifecycle.fit_multistate(table).occupancy([26, 52], level=0.95) for table in (stays, counts))
    pd.testing.assert_frame_equal(a, b, rtol=1e-12)
    reset, counted = (
        lifecycle.phase_episodes(log, clock="reset", counted=c, observed_from="1997-06-01") for c in (False, True)
    )
    a, b = (lifecycle.fit_time_in_phase(table, "build-up", clock="reset") for table in (reset, counted))
    pd.testing.assert_frame_equal(a.counts, b.counts, check_dtype=False)


def test_counting_is_tables_door_and_kept_by_what_was_counted(tmp_path):
    asked = []

    def keep(name, definition, count):
        asked.append((name, json.dumps(definition, default=str)))
        return count()

    from dataclasses import replace

    log = replace(tables.transactions(datasets.load("cdnow_sample")), _keep=keep)
    retention.repeat_share(log), retention.repeat_share(log, at_least=2), retention.cohort_triangle(log)
    lifecycle.rule_sensitivity(log, silence_days=(60, 90))
    (
        lifecycle.phase_episodes(log, counted=True),
        lifecycle.phase_episodes(log, counted=True, observed_until="1998-01-01"),
    )
    assert len(asked) == len(set(asked)) == 7
    assert (
        counting.fetch(
            tables.transactions(datasets.load("cdnow_sample")), "any", lambda: counting.summary_counts(log)
        ).shape[1]
        == 4
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("SILENCE=half", "whole number of days"), ("SILENCE=0", "SILENCE"), ("YEAR=-3", "number above 0"), ("TRIED=91", "a list"),
        ("TRIED=[91,0]", "a list"), ("LOOK=[]", "a list"), ("COUNTED=False", "does not change COUNTED"), ("SHOP=a", "Fix: --name"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_are_told_before_anything_runs(given, says, tmp_path):
    with pytest.raises(SetupError, match=says):
        plans.make("02_lifecycle", "a.parquet", {"customer": "a"}, "month", tmp_path, settings=[given])


def test_a_manifest_takes_no_other_words(capsys):
    from crmlab.__main__ import main

    for words, says in [
        (["--set", "YEAR=3"], "not --set"),
        (["--unit", "week"], "not --unit"),
        (["--data", "a", "b"], "got 2"),
    ]:
        assert main(["rerun", "--manifest", "none", *words]) == 1
        assert says in capsys.readouterr().err


def test_files_of_one_name_are_told_apart_and_out_is_no_file(tmp_path):
    for year in ("y=1997", "y=1998"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "data_0.parquet").write_text(year)
    plan = plans.make("02_lifecycle", tmp_path / "*" / "*.parquet", {"customer": "a"}, "month", tmp_path / "file")
    assert sorted(manifest.hashes(plan)) == ["y=1997/data_0.parquet", "y=1998/data_0.parquet"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="is a file; --out takes a folder"):
        rerun.run(plan)
