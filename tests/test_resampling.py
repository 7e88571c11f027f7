"""The bootstrap draws customers."""

import numpy as np
import pandas as pd
import pytest

from crmlab import datasets, lifecycle, resampling, retention
from crmlab.likelihood import BoundaryWarning
from crmlab.retention.survivors import read

ALIVE = [1000, 869, 743, 653, 593, 551, 517, 491]


def test_agrees_with_the_delta_method():
    fit = retention.fit_sbg(ALIVE)
    found = resampling.bootstrap(fit, lambda fit: fit.survival([4, 12]), n=400, seed=3)
    delta = fit.survival([4, 12], level=0.95)
    width = delta["upper"] - delta["lower"]
    assert (found["upper"] - found["lower"]).to_numpy() == pytest.approx(width.to_numpy(), rel=0.15)
    assert found["std_error"].to_numpy() == pytest.approx((width / 2 / 1.96).to_numpy(), rel=0.12)
    assert found["estimate"].to_numpy() == pytest.approx(delta["estimate"].to_numpy())


def test_the_error_of_a_share_is_the_binomial_one():
    fit = retention.fit_geometric([400, 300])
    found = resampling.bootstrap(fit, lambda fit: fit.params["theta"], n=2000, seed=1)
    assert found["std_error"].iloc[0] == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.06)


def test_the_seed_decides_and_basic_mirrors_percentile():
    fit = retention.fit_geometric(ALIVE)

    def statistic(fit):
        return fit.survival(3)

    a, b, c = (resampling.bootstrap(fit, statistic, n=50, seed=seed) for seed in (1, 1, 2))
    assert a.equals(b) and not a.equals(c)
    basic = resampling.bootstrap(fit, statistic, n=50, seed=1, kind="basic")
    assert basic["lower"].iloc[0] == pytest.approx(2 * a["estimate"].iloc[0] - a["upper"].iloc[0])
    assert a.attrs["replicates"].shape == (50, 1) and a.attrs["failed"] == 0


def test_samples_are_customers():
    data = read(ALIVE)
    rng = np.random.default_rng(1)
    sizes = {data.resampled(rng).customers for _ in range(5)}
    assert sizes == {1000.0}
    lost = np.mean([data.resampled(rng).renewals.loc[1, "lost"] for _ in range(500)])
    assert lost == pytest.approx(131, abs=3 * np.sqrt(131 * 0.869 / 500))


def test_simulated_samples_keep_the_follow_up():
    table = {"a": [1000, 800, 640, 512], "b": [1000, 800]}
    triangle = pd.concat(
        pd.DataFrame({"cohort": name, "age_years": range(len(run)), "survivors": run}) for name, run in table.items()
    )
    data = read(triangle)
    rng = np.random.default_rng(2)
    drawn = [data.simulated(0.2, rng) for _ in range(400)]
    assert {sample.customers for sample in drawn} == {2000.0}
    mean = sum(sample.renewals.reindex(range(1, 4)) for sample in drawn) / len(drawn)
    expected = data.renewals
    assert mean["at_risk"].to_numpy() == pytest.approx(expected["at_risk"].to_numpy(), rel=0.01)
    assert mean["lost"].to_numpy() == pytest.approx(expected["lost"].to_numpy(), rel=0.03)


@pytest.fixture(scope="module")
def stays():
    return lifecycle.phase_episodes(datasets.load("cdnow_sample"), unit="week")


def test_other_processes_give_the_same_numbers_and_an_interruption_reaches_us():
    fit = retention.fit_sbg(ALIVE)
    here, there = (resampling.bootstrap(fit, lambda fit: fit.survival([8, 12]), n=40, jobs=jobs) for jobs in (1, 2))
    assert here.equals(there) and (here.attrs["replicates"] == there.attrs["replicates"]).all()

    def stopped(fit, seen=[]):  # noqa: B006  (counts its own calls)
        seen.append(fit)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return fit.survival(8)

    with pytest.raises(KeyboardInterrupt):
        resampling.bootstrap(fit, stopped, n=40)


def test_a_replicate_that_starts_at_the_estimate_ends_where_any_start_ends():
    for alive in (ALIVE, [1000, 631, 468, 382, 326, 289, 262, 241], [60, 50, 45, 40, 36]):
        fit = retention.fit_sbg(alive)
        with resampling.quietly():
            for seed in range(40):
                near = fit.refit(np.random.default_rng(seed))
                afresh = retention.fit_sbg(fit.survivors.resampled(np.random.default_rng(seed)))
                assert (near.boundary is None) == (afresh.boundary is None)
                assert near.survival([1, 12]).to_numpy() == pytest.approx(afresh.survival([1, 12]).to_numpy(), abs=1e-6)


def test_histories_of_phases_are_drawn_whole(stays):
    fit = lifecycle.fit_multistate(stays, errors="jackknife")
    rng = np.random.default_rng(4)
    again = fit.refit(rng)
    assert again.customers == fit.customers == 2357
    # Whole histories: every move in a draw belongs to a customer whose stays follow each other up to it.
    (sample,) = again._samples.values()
    same = sample.customer[1:] == sample.customer[:-1]
    assert (sample.begin[1:][same] == sample.end[:-1][same]).all() and (sample.begin[:-1][~same] >= 0).all()
    assert (sample.begin[np.diff(sample.customer, prepend=-1) > 0] == 0).all()

    def statistic(fit):
        return fit.occupancy([30, 60]).stack()

    found = resampling.bootstrap(fit, statistic, n=300, seed=5)
    table = fit.occupancy([30, 60], level=0.95)
    seen = table["std_error"].to_numpy() > 0
    assert found["std_error"].to_numpy()[seen] == pytest.approx(table["std_error"].to_numpy()[seen], rel=0.15)
    assert found["estimate"].to_numpy() == pytest.approx(table["estimate"].to_numpy())


def test_what_follows_customers_can_be_bootstrapped_too(stays):
    fit = lifecycle.fit_multistate(stays, errors="jackknife")

    def statistic(fit):
        return fit.ever_reach("stability", 60, method="stopped")["estimate"]

    found = resampling.bootstrap(fit, statistic, n=150, seed=6)
    table = fit.ever_reach("stability", 60, method="stopped")
    assert found["std_error"].iloc[0] == pytest.approx(table["std_error"].iloc[0], rel=0.2)


def test_stays_of_one_customer_are_never_drawn_apart(stays):
    first = lifecycle.fit_time_in_phase(stays, "build-up", visits="first")
    found = resampling.bootstrap(first, lambda fit: fit.survival([13, 20]), n=300, seed=7)
    band = first.survival([13, 20], level=0.95)
    assert (found["upper"] - found["lower"]).to_numpy() == pytest.approx(
        (band["upper"] - band["lower"]).to_numpy(), rel=0.2
    )
    weibull = lifecycle.fit_duration(stays, "decline", visits="first")
    spread = resampling.bootstrap(weibull, lambda fit: fit.params["rho"], n=30, seed=8)["std_error"].iloc[0]
    assert spread == pytest.approx(weibull.summary()["std_error"]["rho"], rel=0.5)
    for several in (lifecycle.fit_time_in_phase(stays, "build-up"), lifecycle.fit_duration(stays, "build-up")):
        with pytest.raises(ValueError, match="visits='first'"):
            several.refit(np.random.default_rng(1))
    counted = lifecycle.phase_episodes(datasets.load("cdnow_sample"), counted=True)
    with pytest.raises(ValueError, match="follows customers, and a table of counts"):
        lifecycle.fit_multistate(counted).refit(np.random.default_rng(1))


def test_bad_arguments_and_too_few_data():
    fit = retention.fit_geometric(ALIVE)
    for change, message in [
        ({"n": 1}, "whole number of replicates"),
        ({"n": 2.5}, "whole number of replicates"),
        ({"jobs": 0}, "jobs= is a number of processes, 1 or more"),
        ({"level": 2}, "level="),
        ({"kind": "exact"}, "kind= is one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            resampling.bootstrap(fit, lambda fit: fit.survival(1), **{"n": 10} | change)
    with pytest.warns(BoundaryWarning):
        tiny = retention.fit_sbg([3, 3, 2, 2])
    with pytest.raises(ValueError, match="samples could not be fitted.*too few for a bootstrap"):
        resampling.bootstrap(tiny, lambda fit: fit.survival(1), n=50)


def test_a_statistic_that_is_no_number_is_counted_and_a_table_refused():
    fit, calls = retention.fit_geometric(ALIVE), []

    def sometimes(fit):
        calls.append(1)
        return float("nan") if len(calls) == 3 else fit.survival(1)

    found = resampling.bootstrap(fit, sometimes, n=20)
    assert found.attrs["failed"] == 1 and found.notna().all(axis=None)
    with pytest.raises(ValueError, match="of a table take a column"):
        resampling.bootstrap(fit, lambda fit: np.ones((2, 3)), n=5)


def test_a_group_that_was_not_drawn_is_a_sample_that_failed():
    stays = pd.DataFrame(
        {"customer_id": range(24), "phase": "x", "entry": 0.0, "exit": np.arange(1.0, 25), "next_phase": "y"}
    ).assign(group=["a"] * 21 + ["b"] * 3)
    fit = lifecycle.fit_multistate(stays, groups="group")
    found = resampling.bootstrap(fit, lambda fit: fit.occupancy([5])["x"], n=100)
    assert 0 < found.attrs["failed"] < 11 and found.attrs["replicates"].shape == (100 - found.attrs["failed"], 2)
