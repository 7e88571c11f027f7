"""The customer lifecycle: phases from a log, time in phase, the multi-state model, what moves customers, and what it is worth."""

from crmlab.lifecycle.hazards import fit_hazards
from crmlab.lifecycle.hazards_fit import HazardsFit
from crmlab.lifecycle.margins import PhaseValue, add_purchases, value_by_phase
from crmlab.lifecycle.multistate import MultistateFit, fit_multistate
from crmlab.lifecycle.phases import PHASES, PhaseRule, phase_episodes, phase_stays, plot_episodes, rule_sensitivity
from crmlab.lifecycle.times import DurationFit, TimeInPhase, compare_durations, fit_duration, fit_time_in_phase
from crmlab.lifecycle.value import expected_value, plot_gains, rank_transitions, what_if

__all__ = [
    "PHASES",
    "PhaseRule",
    "phase_episodes",
    "phase_stays",
    "rule_sensitivity",
    "plot_episodes",
    "fit_time_in_phase",
    "fit_duration",
    "compare_durations",
    "fit_multistate",
    "fit_hazards",
    "add_purchases",
    "value_by_phase",
    "expected_value",
    "what_if",
    "rank_transitions",
    "plot_gains",
    "TimeInPhase",
    "DurationFit",
    "MultistateFit",
    "HazardsFit",
    "PhaseValue",
]
