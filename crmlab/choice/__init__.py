"""Choice among alternatives: the conditional logit on counts of choice situations.

``fit_conditional_logit`` takes a long table, one row an alternative of a choice occasion, and a formula; it counts equal
situations before it fits. The fit predicts, gives shares with intervals and checks independence of irrelevant alternatives.
Delivered value and loyalty use it.
"""

from crmlab.choice.conditional import ConditionalLogit, fit_conditional_logit

__all__ = ["fit_conditional_logit", "ConditionalLogit"]
