"""Loyalty types: telling trust from habit, price, kinship and captivity.

In reading order: ``share_of_wallet``, ``repeat_measures`` and ``sequence_measures`` (what customers do), ``attitude_scales`` (what they
think) and ``dick_basu`` (both); ``typology`` (five types by rule, with reasons); ``fit_classes`` and ``select_classes`` (types by model),
``agreement`` between them, ``fit_membership`` and ``bch_weights`` (what goes with a class, without the bias of assigning it);
``choice_panel``, ``fit_brand_choice`` and ``state_dependence_test`` (habit or taste, and what promotion does); ``fit_durability`` (which
loyalty outlasts a shock, and the value at risk).
"""

from crmlab.loyalty.classes import Agreement, LatentClasses, agreement, fit_classes, select_classes
from crmlab.loyalty.durability import Durability, fit_durability
from crmlab.loyalty.inertia import BrandChoice, fit_brand_choice
from crmlab.loyalty.measures import (
    DickBasu,
    Scales,
    Sequences,
    Wallet,
    attitude_scales,
    dick_basu,
    repeat_measures,
    sequence_measures,
    share_of_wallet,
)
from crmlab.loyalty.panels import choice_panel
from crmlab.loyalty.state_dependence import StateDependence, state_dependence_test
from crmlab.loyalty.three_steps import Membership, bch_weights, fit_membership
from crmlab.loyalty.typology import RULES, TYPES, Typology, typology

__all__ = [
    "share_of_wallet",
    "repeat_measures",
    "sequence_measures",
    "attitude_scales",
    "dick_basu",
    "Wallet",
    "Sequences",
    "Scales",
    "DickBasu",
    "typology",
    "Typology",
    "RULES",
    "TYPES",
    "fit_classes",
    "select_classes",
    "agreement",
    "bch_weights",
    "fit_membership",
    "LatentClasses",
    "Agreement",
    "Membership",
    "choice_panel",
    "fit_brand_choice",
    "state_dependence_test",
    "BrandChoice",
    "StateDependence",
    "fit_durability",
    "Durability",
]
