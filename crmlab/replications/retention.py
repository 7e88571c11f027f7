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
