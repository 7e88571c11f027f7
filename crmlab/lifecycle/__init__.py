"""The customer lifecycle: phases from a log, time in phase, and the multi-state model of who moves where."""

from crmlab.lifecycle.multistate import MultistateFit, fit_multistate
from crmlab.lifecycle.phases import PHASES, PhaseRule, phase_episodes, phase_stays, plot_episodes, rule_sensitivity
from crmlab.lifecycle.times import DurationFit, TimeInPhase, compare_durations, fit_duration, fit_time_in_phase

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
    "TimeInPhase",
    "DurationFit",
    "MultistateFit",
]
