"""Customer retention: who comes back, who stays under contract, and what the future of a contract base is worth.

On a purchase log: ``repeat_share`` (a rule), ``cohort_triangle`` (activity of a shop's customers), ``compare_definitions``
(all rules side by side). On contracts: ``survivor_triangle`` counts them; ``fit_geometric``, ``fit_sbg``, ``fit_bdw`` and
``fit_latent_segments`` are models of the survivors, ``likelihood_ratio`` compares two of them. In money: ``base_value``,
``profit_curve``, ``split_budget``.
"""

from crmlab.retention.definitions import (
    cohort_triangle,
    compare_definitions,
    plot_cohort_triangle,
    plot_definitions,
    plot_repeat_share,
    repeat_share,
)
from crmlab.retention.dependence import BDWFit, LatentSegmentsFit, fit_bdw, fit_latent_segments, likelihood_ratio
from crmlab.retention.fits import GeometricFit, SBGFit, fit_geometric, fit_sbg
from crmlab.retention.projection import SurvivalFit
from crmlab.retention.survivors import survivor_triangle
from crmlab.retention.value import (
    Response,
    base_value,
    margin_multiple,
    plot_profit_curve,
    plot_split,
    profit_curve,
    split_budget,
)

__all__ = [
    "repeat_share",
    "plot_repeat_share",
    "cohort_triangle",
    "plot_cohort_triangle",
    "compare_definitions",
    "plot_definitions",
    "survivor_triangle",
    "fit_geometric",
    "fit_sbg",
    "fit_bdw",
    "fit_latent_segments",
    "likelihood_ratio",
    "SurvivalFit",
    "GeometricFit",
    "SBGFit",
    "BDWFit",
    "LatentSegmentsFit",
    "base_value",
    "margin_multiple",
    "profit_curve",
    "plot_profit_curve",
    "Response",
    "split_budget",
    "plot_split",
]
