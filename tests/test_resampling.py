"""The bootstrap draws customers."""

import numpy as np
import pytest

from crmlab import resampling, retention
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
    import pandas as pd

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


def test_bad_arguments_and_too_few_data():
    fit = retention.fit_geometric(ALIVE)
    for change, message in [
        ({"n": 1}, "whole number of replicates"),
        ({"n": 2.5}, "whole number of replicates"),
        ({"level": 2}, "level="),
        ({"kind": "exact"}, "kind= is one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            resampling.bootstrap(fit, lambda fit: fit.survival(1), **{"n": 10} | change)
    with pytest.warns(BoundaryWarning):
        tiny = retention.fit_sbg([3, 3, 2, 2])
    with pytest.raises(ValueError, match="samples could not be fitted.*too few for a bootstrap"):
        resampling.bootstrap(tiny, lambda fit: fit.survival(1), n=50)
