"""Published numbers of retention."""

from crmlab import datasets, retention
from crmlab.replications import published


def _seen(segment):
    return datasets.load("retention_two_segments")[segment].loc[:7]


@published("sBG, segment Regular, years 0-7", "fader_hardie_2007", alpha="0.704", beta="1.182", loglik="-1680.27")
def _():
    fit = retention.fit_sbg(_seen("regular"))
    return {**fit.params, "loglik": fit.loglik}


@published("sBG, segment High End, years 0-7", "fader_hardie_2007", alpha="0.668", beta="3.806", loglik="-1611.16")
def _():
    fit = retention.fit_sbg(_seen("high_end"))
    return {**fit.params, "loglik": fit.loglik}


@published(
    "BdW, segment Regular, years 0-7",
    "fader_et_al_2018",
    alpha="0.456",
    beta="0.779",
    c="1.283",
    loglik="-1679.60",
)
def _():
    fit = retention.fit_bdw(_seen("regular"))
    return {**fit.params, "loglik": fit.loglik}


@published("sBG, five annual cohorts jointly", "fader_hardie_2010", alpha="3.798", beta="15.192")
def _():
    return dict(_five_cohorts().params)


# The source computes these from its rounded estimates; so do we, with a base of customers that has exactly those.
@published(
    "Discounted expected residual lifetime at (3.80, 15.19), 10 %, next payment due now",
    "fader_hardie_2010",
    **{f"{made} renewals made": text for made, text in enumerate(["3.308", "3.450", "3.585", "3.716", "3.841"])},
)
def _():
    fit = retention.SBGFit.at(alpha=3.80, beta=15.19)
    return {f"{made} renewals made": value for made, value in fit.residual_lifetime(range(5), discount=0.1).items()}


@published(
    "Residual value of the five cohorts at $100 a year, 10 %, million dollars",
    "fader_hardie_2010",
    **{"sBG": "12.05", "one constant rate": "10.58", "error of the constant rate, percent": "-12"},
)
def _():
    base = _base()
    # The source's constant rate is that of the last year: of all customers of 2006, those still there in 2007.
    constant = retention.fit_geometric([base.iloc[1:].sum() + _lost_last_year(), base.iloc[1:].sum()])
    worth = {
        name: retention.base_value(fit, base, payment=100, discount=0.1).loc["total", "value"] / 1e6
        for name, fit in (("sBG", _five_cohorts()), ("one constant rate", constant))
    }
    error = 100 * (worth["one constant rate"] / worth["sBG"] - 1)
    return {**worth, "error of the constant rate, percent": error}


@published(
    "Margin multiple at a retention rate of 60, 70, 80 and 90 %",
    "gupta_lehmann_2003",
    **{
        f"{rate} % kept, discount {discount} %": text
        for discount, texts in ((10, ["1.20", "1.75", "2.67", "4.50"]), (12, ["1.15", "1.67", "2.50", "4.09"]))
        for rate, text in zip((60, 70, 80, 90), texts)
    },
)
def _():
    return {
        f"{rate} % kept, discount {discount} %": retention.margin_multiple(rate / 100, discount / 100)
        for discount in (10, 12)
        for rate in (60, 70, 80, 90)
    }


def _five_cohorts():
    return retention.fit_sbg(datasets.load("retention_five_cohorts"))


def _base():
    """Customers of 2007 by the renewals that they have made."""
    last = datasets.load("retention_five_cohorts").groupby("cohort").tail(1)
    return last.set_index("age_years")["survivors"].sort_index()


def _lost_last_year():
    counts = datasets.load("retention_five_cohorts").sort_values(["cohort", "age_years"])
    return -counts.groupby("cohort")["survivors"].diff().groupby(counts["cohort"]).last().sum()
