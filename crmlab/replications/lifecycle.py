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


def _recidivism():
    # Who was arrested within a year of release, in weeks: the data that lifelines carries.
    from lifelines.datasets import load_rossi

    rossi = load_rossi()
    stays = rossi.assign(customer_id=range(len(rossi)), phase="released", entry=0, exit=rossi["week"])
    stays["next_phase"] = stays["arrest"].map({1: "arrested", 0: None})
    return lifecycle.fit_hazards(stays, " + ".join(_ROSSI)).summary().droplevel("transition")


# As printed, but for the sign of race and mar, whose categories are compared the other way round there.
_ROSSI = {
    "fin": ("-0.37942", "0.19138"),
    "age": ("-0.05744", "0.02200"),
    "race": ("0.31390", "0.30799"),
    "wexp": ("-0.14980", "0.21222"),
    "mar": ("-0.43370", "0.38187"),
    "paro": ("-0.08487", "0.19576"),
    "prio": ("0.09150", "0.02865"),
}


@published(
    "Cox's model with tied weeks (Efron), Rossi's recidivism data, the fit mod.allison",
    "fox_weisberg_2018",
    **{f"{name}, {what}": text for name, row in _ROSSI.items() for what, text in zip(("coef", "se"), row)},
)
def _():
    found = _recidivism()
    return {
        f"{name}, {what}": found.loc[name, column]
        for name in _ROSSI
        for what, column in (("coef", "estimate"), ("se", "std_error"))
    }
