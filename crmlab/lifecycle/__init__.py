"""Lifecycle phases: which phase a customer is in, how long it stays, and where it goes next.

In reading order: `fit_multistate` (hazards, transition probabilities and occupancy of any set of phases, with standard errors).
"""

from crmlab.lifecycle.multistate import MultistateFit, fit_multistate

__all__ = ["fit_multistate", "MultistateFit"]
