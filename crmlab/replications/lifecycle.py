"""Published numbers of the lifecycle."""

import pandas as pd

from crmlab import lifecycle
from crmlab.replications import published

# Eleven customers, as the vignette prints them: time, and where each went ("": still there).
_TIMES = (1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8)
_ENDS = ("a", "a", "b", "", "a", "a", "c", "", "b", "c", "")
_STATES = ("entry", "a", "b", "c")
_PRINTED = {
    1: ("0.909", "0.0909", "0.0000", "0.000"),
    2: ("0.818", "0.1818", "0.0000", "0.000"),
    3: ("0.727", "0.1818", "0.0909", "0.000"),
    5: ("0.623", "0.2857", "0.0909", "0.000"),
    6: ("0.416", "0.3896", "0.1948", "0.000"),
    7: ("0.208", "0.3896", "0.1948", "0.208"),
}


def _fit():
    stays = pd.DataFrame({"customer_id": range(11), "phase": "entry", "entry": 0, "exit": _TIMES})
    return lifecycle.fit_multistate(stays.assign(next_phase=[end or None for end in _ENDS]), phases=_STATES)


@published(
    "Aalen-Johansen, the simple example of R's survival vignette (section 2.3.1)",
    "therneau_2023",
    **{f"{state}, time {time}": text for time, row in _PRINTED.items() for state, text in zip(_STATES, row)},
)
def _():
    found = _fit().occupancy(list(_PRINTED))
    return {f"{state}, time {time}": found.loc[time, state] for time in _PRINTED for state in _STATES}


@published(
    "Customers at risk, the simple example of R's survival vignette (section 2.3.1)",
    "therneau_2023",
    **{f"at risk, time {time}": text for time, text in zip(_PRINTED, ("11", "10", "9", "7", "6", "4"))},
)
def _():
    found = _fit().counts().groupby("time")["at_risk"].first()
    return {f"at risk, time {time}": found[time] for time in _PRINTED}
