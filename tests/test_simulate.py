"""Generated data have the truth that they claim."""

import numpy as np
import pytest

from crmlab import simulate


def test_the_shop_has_the_rates_it_says():
    log = simulate.shop(20_000, years=2, rate=4.0, shape=1.0, leaving=0.3, seed=3)
    assert log["customer_id"].nunique() == 20_000
    assert log["date"].dt.year.unique().tolist() == [2024, 2025]
    assert log["date"].is_monotonic_increasing and (log["amount"] >= 0).all()
    # Time under way before leaving: joining uniform over 1.5 of 2 years, leaving at a constant hazard.
    hazard = -np.log1p(-0.3)
    joined = np.linspace(0, 1.5, 10_001)
    exposure = np.mean((1 - np.exp(-hazard * (2 - joined))) / hazard)
    assert len(log) == pytest.approx(20_000 * (1 + 4.0 * exposure), rel=0.03)


def test_contracts_leave_as_the_beta_geometric_says():
    table = simulate.contracts(50_000, alpha=0.7, beta=1.2, seed=4, observed_until="2025-12-31")
    years = table["end"].dt.year - table["start"].dt.year
    # P(T = 1) = alpha / (alpha + beta), P(T > 2) = (1 - that) * (beta + 1) / (alpha + beta + 1).
    assert (years == 1).mean() == pytest.approx(0.7 / 1.9, abs=0.008)
    assert (years.fillna(99) > 2).mean() == pytest.approx(1.2 / 1.9 * 2.2 / 2.9, abs=0.008)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: simulate.shop(50, seed=seed),
        lambda seed: simulate.contracts(50, 1, 2, seed=seed),
        lambda seed: simulate.company_case(seed=seed),
    ],
)
def test_the_seed_decides(make):
    assert make(1).equals(make(1)) and not make(1).equals(make(2))
