"""Generated data with known truth: what an estimator should find, so that one can see whether it does.

One module a concept, named like it; everything is called from here: ``simulate.contracts(...)``.
"""

from crmlab.simulate.lifecycle import LIFECYCLE, lifecycle, lifecycle_occupancy
from crmlab.simulate.retention import COMPANY_CASE, company_case, contracts, shop

__all__ = ["contracts", "shop", "company_case", "COMPANY_CASE", "lifecycle", "lifecycle_occupancy", "LIFECYCLE"]
