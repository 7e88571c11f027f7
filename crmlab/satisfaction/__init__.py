"""Satisfaction and loyalty: the curve between them, what bends it, what blurs it, and the trap.

In reading order: ``fit_ordered`` (ratings as ordered answers) and ``proportional_odds_test``; ``fit_curve``, ``compare_curves``,
``threshold_test`` and ``fit_penalty_reward`` (does the slope change, and where); ``fit_markets``, ``simple_slopes`` and
``johnson_neyman`` (what the slope depends on); ``reliability``, ``fit_corrected`` and ``simex`` (error of measurement); ``trap``
and ``remedies`` (satisfied customers who leave). All fits take tables of counts, and give what the single rows would.
"""

from crmlab.regression import fit_linear, johnson_neyman, plot_simple_slopes, simple_slopes
from crmlab.satisfaction.curve import (
    CurveFit,
    MarketCurves,
    compare_curves,
    fit_curve,
    fit_markets,
    fit_penalty_reward,
)
from crmlab.satisfaction.measurement import CorrectedFit, SimexFit, fit_corrected, reliability, simex
from crmlab.satisfaction.ordered import OrderedFit, fit_ordered, proportional_odds_test
from crmlab.satisfaction.threshold import ThresholdTest, threshold_test
from crmlab.satisfaction.trap import ASSUMPTIONS, Remedies, Trap, remedies, trap

__all__ = [
    "fit_linear",
    "fit_ordered",
    "proportional_odds_test",
    "OrderedFit",
    "fit_curve",
    "compare_curves",
    "threshold_test",
    "fit_penalty_reward",
    "fit_markets",
    "CurveFit",
    "ThresholdTest",
    "MarketCurves",
    "simple_slopes",
    "johnson_neyman",
    "plot_simple_slopes",
    "reliability",
    "fit_corrected",
    "simex",
    "CorrectedFit",
    "SimexFit",
    "trap",
    "remedies",
    "Trap",
    "Remedies",
    "ASSUMPTIONS",
]
