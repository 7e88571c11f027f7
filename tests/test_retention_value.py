"""Retention in money: identities, hand calculations, simulation, bad input."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from crmlab import datasets, retention, simulate

WINNING = retention.Response(ceiling=0.4, spend=5, rate=0.2)
KEEPING = retention.Response(ceiling=0.8, spend=10, rate=0.6)


class TestBaseValue:
    def test_is_customers_times_lifetimes_and_its_interval_covers_a_simulated_base(self):
        fit = retention.fit_sbg(datasets.load("retention_five_cohorts"))
        base = pd.Series({0: 100.0, 3: 50.0})
        found = retention.base_value(fit, base, payment=7, discount=0.2, next_payment="after_one_period")
        each = fit.residual_lifetime([0, 3], 0.2, "after_one_period")
        assert found.loc[0, "value"] == pytest.approx(700 * each[0])
        assert found.loc["total", "value"] == pytest.approx(700 * each[0] + 350 * each[3])
        # The rows move together, so the total's interval is nearly as wide as the sum of theirs.
        width = found["upper"] - found["lower"]
        assert 0.9 * width[:2].sum() < width["total"] < 1.01 * width[:2].sum()

    def test_without_a_level_there_are_no_limits(self):
        fit, base = retention.fit_sbg(datasets.load("retention_five_cohorts")), pd.Series({0: 100.0, 3: 50.0})
        found = retention.base_value(fit, base, level=None)
        pd.testing.assert_frame_equal(found, retention.base_value(fit, base)[["customers", "value"]])

    def test_a_base_lived_to_its_end_pays_its_value(self):
        rng = np.random.default_rng(3)
        theta = rng.beta(0.8, 2.0, 400_000)
        # Those who have renewed twice, and the payments that they still make.
        old = rng.uniform(size=len(theta)) < (1 - theta) ** 2
        more = rng.geometric(theta[old].clip(1e-9)) - 1
        paid = np.where(more < 500, (1 - 1.1 ** -more.clip(0, 500).astype(float)) / (1 - 1 / 1.1), 11.0)
        fit = retention.SBGFit.at(alpha=0.8, beta=2.0)
        assert fit.residual_lifetime(2, discount=0.1) == pytest.approx(
            paid.mean(), abs=3 * paid.std() / np.sqrt(old.sum())
        )

    @pytest.mark.parametrize("customers", [pd.Series([1, -2]), pd.Series([1, np.nan]), pd.Series([], dtype=float)])
    def test_bad_bases(self, customers):
        with pytest.raises(ValueError, match="customers= holds"):
            retention.base_value(retention.SBGFit.at(alpha=1, beta=2), customers)
        with pytest.raises(ValueError, match="renewals takes whole numbers"):
            retention.base_value(retention.SBGFit.at(alpha=1, beta=2), pd.Series({"2007": 5}))

    def test_the_coverage_of_a_bases_value(self):
        """95 of 100 intervals hold the value under the true parameters."""
        truth, base = retention.SBGFit.at(alpha=0.8, beta=2.0), pd.Series([500, 300, 200])
        true = float(base @ truth.residual_lifetime(base.index, 0.1))
        rng = np.random.default_rng(5)
        shares = -np.diff(np.append(truth.survival(range(8)), 0))
        inside = 0
        for _ in range(300):
            alive = 3000 - np.append(0, rng.multinomial(3000, shares)[:-1].cumsum())
            total = retention.base_value(retention.fit_sbg(alive), base, 1, 0.1).loc["total"]
            inside += total["lower"] <= true <= total["upper"]
        assert abs(inside / 300 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 300)


class TestProfitCurve:
    def test_the_multiple_is_the_constant_rate_model(self):
        for rate in (0.0, 0.5, 0.95):
            fit = retention.GeometricFit.at(theta=max(1 - rate, 1e-12)) if rate else None
            expected = fit.residual_lifetime(0, 0.1, "after_one_period") if fit else 0
            assert retention.margin_multiple(rate) == pytest.approx(expected)
        assert retention.margin_multiple(1.0, discount=0) == np.inf
        # Margins that grow by 3 %: the sum by hand.
        by_hand = sum(0.8**t * 1.03 ** (t - 1) / 1.1**t for t in range(1, 500))
        assert retention.margin_multiple(0.8, 0.1, growth=0.03) == pytest.approx(by_hand)

    @given(st.floats(0.1, 0.9), st.floats(0.01, 0.5), st.floats(0.001, 0.05))
    def test_gain_elasticity_and_break_even(self, rate, discount, points):
        row = retention.profit_curve([rate], margin=3, discount=discount, points=points).iloc[0]
        value = lambda r: 3 * sum((r / (1 + discount)) ** t for t in range(3000))  # noqa: E731
        assert row["value"] == pytest.approx(value(rate), rel=1e-6)
        assert row["gain"] == pytest.approx(value(rate + points) - value(rate), rel=1e-4)
        step = 1e-6
        slope = (value(rate + step) - value(rate - step)) / (2 * step)
        assert row["elasticity"] == pytest.approx(slope * rate / value(rate), rel=1e-4)
        # Paid for every customer who is there, the break-even cost eats the gain.
        assert (3 - row["break_even"]) / 3 * value(rate + points) == pytest.approx(value(rate), rel=1e-6)

    def test_five_points_are_a_half_at_ninety_percent(self):
        curve = retention.profit_curve([0.6, 0.9], points=0.05, discount=0)
        assert curve.loc[0.9, "defection_cut"] == pytest.approx(0.5)
        assert curve.loc[0.9, "value_after"] == pytest.approx(2 * curve.loc[0.9, "value"])
        assert curve.loc[0.6, "gain_share"] == pytest.approx(0.4 / 0.35 - 1)

    def test_what_cannot_be_is_missing_or_refused(self):
        curve = retention.profit_curve([0.5, 0.98], points=0.05, acquisition=10)
        assert curve.loc[0.98, ["value_after", "gain", "defection_cut", "break_even"]].isna().all()
        assert np.isnan(curve.loc[0.5, "gain_share"])  # of a value below zero
        for change, message in [
            ({"rate": [80]}, "between 0 and 1, such as 0.8"),
            ({"points": 5}, "such as 0.05 for five points"),
            ({"discount": -0.1}, "discount="),
            ({"acquisition": -1}, "acquisition="),
            ({"first_margin": "never"}, "first_margin= is one of"),
        ]:
            with pytest.raises(ValueError, match=message):
                retention.profit_curve(**change)

    def test_the_figure_shows_the_curve(self):
        curve = retention.profit_curve(points=0.05)
        ax = retention.plot_profit_curve(curve, label="five points")
        assert ax.lines[0].get_ydata()[0] == curve["gain_share"].iloc[0]
        assert ax.get_xlabel() and ax.get_ylabel() and "5 points" in ax.get_title()


class TestSplit:
    def test_equity_is_the_sum_of_what_a_prospect_brings(self):
        split = retention.split_budget(8, WINNING, KEEPING, margin=50, discount=0.1)
        row = split.loc[0.5]
        a, r, kept = WINNING(4.0), KEEPING(row["keeping"]), row["keeping"]
        assert 4 + a * kept == pytest.approx(8)
        # Won with probability a; then in each later period there with r, having cost R the period before.
        later = sum(r**t * (50 - kept / r) / 1.1**t for t in range(1, 2000))
        assert row["equity"] == pytest.approx(a * 50 - 4 + a * later)
        assert (row["acquisition_rate"], row["retention_rate"]) == pytest.approx((a, r))

    def test_the_best_share_is_the_best_of_a_fine_grid(self):
        split = retention.split_budget(8, WINNING, KEEPING, margin=50)

        def equity(share):
            a = WINNING(8 * share)
            kept = 8 * (1 - share) / a
            r = KEEPING(kept)
            return a * 50 - 8 * share + a * (50 - kept / r) * (r / 1.1) / (1 - r / 1.1)

        grid = np.linspace(0.3, 0.9, 60_001)
        assert split.attrs["best"] == pytest.approx(grid[np.argmax(equity(grid))], abs=1e-3)
        free = split.attrs["free"]
        found = optimize.minimize(
            lambda x: -(WINNING(x[0]) * 50 - x[0] + WINNING(x[0]) * (50 - x[1] / KEEPING(x[1])) * (KEEPING(x[1]) / 1.1) / (1 - KEEPING(x[1]) / 1.1)),
            [5, 10],
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-10},
        )  # fmt: skip
        assert (free["winning"], free["keeping"]) == pytest.approx(found.x, rel=1e-3)
        assert free["equity"] >= split["equity"].max()

    def test_a_response_passes_through_its_point_and_stays_below_its_ceiling(self):
        assert KEEPING(10) == pytest.approx(0.6) and KEEPING(0) == 0 and KEEPING(1e9) == pytest.approx(0.8)
        for wrong in ({"ceiling": 0.5}, {"spend": 0}, {"ceiling": 1.2}):
            with pytest.raises(ValueError, match="a Response takes"):
                retention.Response(**{"ceiling": 0.8, "spend": 10, "rate": 0.6} | wrong)
        with pytest.raises(TypeError, match="winning= is a Response"):
            retention.split_budget(8, 0.2, KEEPING, 50)
        for change, message in [
            ({"budget": 0}, "budget="),
            ({"margin": -50}, "margin="),
            ({"discount": 10}, "discount="),
        ]:
            with pytest.raises(ValueError, match=message):
                retention.split_budget(**{"budget": 8, "winning": WINNING, "keeping": KEEPING, "margin": 50} | change)

    def test_the_figure_marks_the_best(self):
        split = retention.split_budget(8, WINNING, KEEPING, margin=50)
        ax = retention.plot_split(split)
        assert f"{split.attrs['best']:.0%}" in ax.texts[0].get_text() and ax.get_ylabel()


def test_generated_contracts_with_a_change_of_age_follow_the_bdw_model():
    table = simulate.contracts(20_000, alpha=0.8, beta=2.0, c=1.5, seed=3)
    alive = retention.survivor_triangle(table, observed_until="2025-12-31")
    truth = retention.BDWFit.at(alpha=0.8, beta=2.0, c=1.5)
    expected = truth.survival(alive["age_years"])
    assert alive["share"].to_numpy() == pytest.approx(expected.to_numpy(), abs=4 * np.sqrt(0.25 / 20_000))
