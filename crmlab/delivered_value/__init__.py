"""Customer delivered value: what customers get minus what they give, as a score and in money.

In reading order: ``scorecard`` (ratings and importance, the firm beside its rivals) and ``fit_choice`` (what people choose,
and from that what each component is worth in money: ``willingness_to_pay``, ``value_of_an_hour``, ``delivered_value``, ``what_if``).
"""

from crmlab.delivered_value.money import ChoiceFit, PriceWarning, fit_choice
from crmlab.delivered_value.scorecard import COST, VALUE, Scorecard, scorecard

__all__ = ["VALUE", "COST", "scorecard", "Scorecard", "fit_choice", "ChoiceFit", "PriceWarning"]
