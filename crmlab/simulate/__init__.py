"""Generated data with known truth: what an estimator should find, so that one can see whether it does.

One module a concept, named like it; everything is called from here: ``simulate.contracts(...)``.
"""

from crmlab.simulate.delivered_value import (
    DELIVERED_VALUE,
    choice_design,
    delivered_value_choices,
    delivered_value_survey,
)
from crmlab.simulate.lifecycle import LIFECYCLE, lifecycle, lifecycle_occupancy
from crmlab.simulate.loyalty import LOYALTY, LoyaltyPanel, brand_choices, loyalty_panel, loyalty_posterior
from crmlab.simulate.retention import COMPANY_CASE, company_case, contracts, shop
from crmlab.simulate.satisfaction import (
    SATISFACTION_PANEL,
    SATISFACTION_SURVEY,
    satisfaction_panel,
    satisfaction_survey,
)

__all__ = [
    "contracts",
    "shop",
    "company_case",
    "COMPANY_CASE",
    "satisfaction_survey",
    "satisfaction_panel",
    "SATISFACTION_SURVEY",
    "SATISFACTION_PANEL",
    "choice_design",
    "delivered_value_choices",
    "delivered_value_survey",
    "DELIVERED_VALUE",
    "lifecycle",
    "lifecycle_occupancy",
    "LIFECYCLE",
    "loyalty_panel",
    "loyalty_posterior",
    "brand_choices",
    "LoyaltyPanel",
    "LOYALTY",
]
