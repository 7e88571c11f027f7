"""Two explanations of a rising retention rate beside each other: customers who differ, and customers who change with time.

``fit_bdw`` has both, ``fit_latent_segments`` has two kinds of customers who never change, and ``likelihood_ratio`` tests a
model against one that contains it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlab.likelihood import LikelihoodRatio, chi_bar_square_sf, warn_boundary
from crmlab.retention.fits import GeometricFit, SBGFit, log_beta_survival, polar
from crmlab.retention.projection import Counts, SurvivalFit, geometric_residual, log_likelihood
from crmlab.retention.survivors import read

__all__ = ["fit_bdw", "fit_latent_segments", "likelihood_ratio", "BDWFit", "LatentSegmentsFit"]


def fit_bdw(alive, size=None):
    r"""Fit the beta-discrete-Weibull (BdW) model: customers differ, and each may grow more, or less, likely to stay.

    A customer survives :math:`t` renewals with probability :math:`(1 - \theta)^{t^c}`; over customers :math:`\theta` has a
    beta distribution with parameters :math:`\alpha, \beta`. Then

    .. math:: S(t) = \frac{B(\alpha, \beta + t^c)}{B(\alpha, \beta)}.

    With :math:`c = 1` nobody changes: the sBG model. With :math:`c < 1` each customer's churn probability falls with age,
    with :math:`c > 1` it rises. Assumes that the shape :math:`c` is the same for everybody.

    Parameters
    ----------
    alive, size
        As in `fit_geometric`.

    Returns
    -------
    BDWFit
        With ``params`` ``alpha``, ``beta``, ``c``.

    Raises
    ------
    TypeError, ValueError
        If `alive` is not a series of survivors, or cannot tell three parameters: fewer than three renewals, nobody lost,
        or all losses at the first renewal.

    Warns
    -----
    BoundaryWarning
        If the maximum lies on the edge alpha + beta -> infinity: no heterogeneity is left beside the change with age (the
        discrete Weibull model). Estimates and predictions hold; for intervals take `crmlab.resampling.bootstrap`.

    Notes
    -----
    Survivors of a few years cannot tell well what :math:`c` is, since heterogeneity and a falling churn probability draw
    almost the same curve: read the interval of ``c`` in ``summary()``, which is a profile likelihood's, before its
    estimate. What the curve does not tell, only data on single customers, or an experiment, can.

    References
    ----------
    P. S. Fader, B. G. S. Hardie, Y. Liu, J. Davin and T. Steenburgh (2018), "How to project customer retention"
    revisited: the role of duration dependence, *Journal of Interactive Marketing* 43:1-16.

    Examples
    --------
    >>> from crmlab import retention
    >>> fit = retention.fit_bdw([1000, 631, 468, 382, 326, 289, 262, 241])
    >>> fit.params.round(3).to_dict(), round(fit.loglik, 2)
    ({'alpha': 0.456, 'beta': 0.779, 'c': 1.283}, -1679.6)
    """
    survivors = read(alive, size)
    renewals = _enough(survivors, "alpha, beta and c")

    log_survival = BDWFit._log_survival
    first = renewals["lost"].iloc[0] / renewals["at_risk"].iloc[0]
    churn = renewals["lost"].sum() / renewals["at_risk"].sum()
    start = special.logit(np.clip(first, churn, 0.99))
    starts = [(start, np.log(phi), np.log(c)) for phi, c in ((0.05, 1.0), (0.5, 0.7), (0.5, 1.5))]
    working, loglik, hessian, converged = _maximise(log_survival, renewals, starts)

    # Without heterogeneity, phi = 0: the maximum if nothing inside is better by more than rounding.
    edge, edge_loglik, _, edge_converged = _maximise(
        lambda x, t: log_survival((x[0], -np.inf, x[1]), t), renewals, [(start, 0.0)]
    )
    boundary = None
    if edge_loglik >= loglik - 1e-8 * abs(loglik):
        working, loglik, converged = np.array([edge[0], -np.inf, edge[1]]), edge_loglik, edge_converged
        boundary = (
            "alpha + beta -> infinity: beside the change with age no heterogeneity was found (the discrete Weibull model); "
            "predictions hold, and crmlab.resampling.bootstrap gives their intervals"
        )
        warn_boundary(boundary)
    theta, scale, c = special.expit(working[0]), np.exp(-working[1]), np.exp(working[2])
    alpha, beta = theta * scale, (1 - theta) * scale
    # d(alpha, beta, c) / d(logit theta, log phi, log c)
    jacobian = np.array(
        [[alpha * (1 - theta), -alpha, 0], [-beta * theta, -beta, 0], [0, 0, c]]
        if boundary is None
        else np.ones((3, 3))
    )
    return _fitted(
        BDWFit,
        [alpha, beta, c],
        jacobian,
        working,
        loglik,
        hessian,
        converged,
        boundary,
        survivors,
    )


def fit_latent_segments(alive, size=None):
    r"""Fit two latent segments: two kinds of customers, each with one constant churn probability.

    .. math:: S(t) = \pi (1 - \theta_1)^t + (1 - \pi)(1 - \theta_2)^t, \qquad \theta_1 > \theta_2

    Assumes that a customer stays in its segment for good. Who is in which is not observed; ``.membership(t)`` gives the share
    of the first among those left.

    Parameters
    ----------
    alive, size
        As in `fit_geometric`.

    Returns
    -------
    LatentSegmentsFit
        With ``params`` ``share_leaving`` (:math:`\pi`), ``theta_leaving`` (:math:`\theta_1`), ``theta_loyal``
        (:math:`\theta_2`).

    Raises
    ------
    TypeError, ValueError
        If `alive` is not a series of survivors, or cannot tell three parameters: fewer than three renewals, nobody lost,
        or all losses at the first renewal.

    Warns
    -----
    BoundaryWarning
        If the second segment vanishes (one constant rate fits as well), if the loyal never leave, or if the others all
        leave at the first renewal.

    Notes
    -----
    The segments are a way to say that customers differ, as the beta distribution of `fit_sbg` is another. Survivors of one
    product seldom tell which is right: both curves pass through the same points. They part beyond them, since two segments
    soon become one, whose rate is constant, while under a beta distribution the rate goes on rising. And neither can be told,
    from survivors alone, from customers who are all alike and whose churn probability falls with age: for any falling
    :math:`S(t)` there is such a common churn probability, :math:`1 - S(t)/S(t-1)`. See `fit_bdw` and its ``c``.

    Examples
    --------
    >>> from crmlab import retention
    >>> fit = retention.fit_latent_segments([1000, 631, 468, 382, 326, 289, 262, 241])
    >>> fit.params.round(3).to_dict(), round(fit.loglik, 2)
    ({'share_leaving': 0.561, 'theta_leaving': 0.586, 'theta_loyal': 0.083}, -1680.05)
    """
    survivors = read(alive, size)
    renewals = _enough(survivors, "two segments")
    churn = renewals["lost"] / renewals["at_risk"]
    high, low = special.logit(np.clip([churn.iloc[0], churn.iloc[-1]], 0.005, 0.9))
    if high <= low:  # a rate that rises with age has no mixture; start on both sides of the middle
        middle = special.logit(np.clip(renewals["lost"].sum() / renewals["at_risk"].sum(), 0.005, 0.9))
        high, low = middle + 0.7, middle - 0.7
    starts = [(share, high + 0.3, low - 0.3) for share in (-1.0, 0.0, 1.0)]
    working, loglik, hessian, converged = _maximise(_segments_log_survival, renewals, starts)
    if working[1] < working[2]:
        working, order = np.array([-working[0], working[2], working[1]]), [0, 2, 1]
        signs = np.array([-1, 1, 1])
        hessian = (hessian * np.outer(signs, signs))[np.ix_(order, order)]

    boundary = None
    total_at_risk, total_lost = renewals["at_risk"].sum(), renewals["lost"].sum()
    constant = special.xlogy(total_lost, total_lost / total_at_risk) + special.xlogy(
        total_at_risk - total_lost, 1 - total_lost / total_at_risk
    )
    # A mixture that is hardly better has a ridge instead of a peak, on which errors mean nothing.
    flat = np.linalg.eigvalsh(-hessian).min() <= 0 and constant >= loglik - 0.01
    if flat or constant >= loglik - 1e-7 * abs(loglik):
        boundary = "one segment: a constant rate fits as well, so the two cannot be told; take fit_geometric"
        working, loglik, converged = (
            np.array([np.inf, special.logit(total_lost / total_at_risk), -np.inf]),
            constant,
            True,
        )
    else:
        # Far out on a scale without edges is the edge of a share.
        for number, edge, words in (
            (2, -np.inf, "theta_loyal = 0: those of the second segment never leave"),
            (1, np.inf, "theta_leaving = 1: those of the first segment all leave at the first renewal"),
        ):
            if abs(working[number]) > 8 and np.sign(working[number]) == np.sign(edge):
                pinned = working.copy()
                pinned[number] = edge
                free = np.isfinite(pinned)

                def held(x, t, pinned=pinned, free=free):
                    full = pinned.copy()
                    full[free] = x
                    return _segments_log_survival(full, t)

                found, at_edge, _, edge_converged = _maximise(held, renewals, [pinned[free]])
                if at_edge >= loglik - 1e-7 * abs(loglik):
                    working = pinned
                    working[free] = found
                    loglik, converged = at_edge, edge_converged
                    boundary = f"{boundary}; {words}" if boundary else words
        if boundary:
            boundary += "; predictions hold, and crmlab.resampling.bootstrap gives their intervals"
    if boundary:
        warn_boundary(boundary)
    params = special.expit(working)
    return _fitted(
        LatentSegmentsFit,
        params,
        np.diag(params * (1 - params)),
        working,
        loglik,
        hessian,
        converged,
        boundary,
        survivors,
    )


def likelihood_ratio(restricted, fit, replicates=999, seed=0):
    r"""Test a model of survivors against one that contains it.

    The statistic is :math:`2(\log L_1 - \log L_0)`. Its distribution if the restricted model is true depends on *where* the
    restriction lies:

    - geometric in sBG: on an edge (alpha + beta -> infinity), so :math:`\frac12 \chi^2_0 + \frac12 \chi^2_1`;
    - geometric in BdW: one parameter on an edge, one inside (c = 1), so :math:`\frac12 \chi^2_1 + \frac12 \chi^2_2`;
    - sBG in BdW: inside, :math:`\chi^2_1`;
    - geometric in two latent segments: no such distribution is known to hold, since without a second segment its churn
      probability means nothing; the statistic is compared with samples drawn from the geometric fit.

    Parameters
    ----------
    restricted, fit : SurvivalFit
        The smaller and the larger model, fitted to the same data.
    replicates : int, default 999
        Samples, where the distribution has to be sampled.
    seed : int or numpy.random.Generator, default 0
        Of those samples.

    Returns
    -------
    LikelihoodRatio
        With ``statistic``, ``p_value`` and ``null`` (in words); ``summary()`` is a table.

    Raises
    ------
    ValueError
        If the two were fitted to different data, or the second does not contain the first: compare their ``aic`` then.

    References
    ----------
    S. G. Self and K.-Y. Liang (1987), Asymptotic properties of maximum likelihood estimators and likelihood ratio tests
    under nonstandard conditions, *Journal of the American Statistical Association* 82(398):605-610.

    Examples
    --------
    >>> from crmlab import retention
    >>> alive = [1000, 869, 743, 653, 593, 551, 517, 491]
    >>> test = retention.likelihood_ratio(retention.fit_geometric(alive), retention.fit_sbg(alive))
    >>> round(test.statistic, 1), test.null
    (51.9, '1/2 chi2(0) + 1/2 chi2(1)')
    """
    pair = (type(restricted), type(fit))
    if pair not in _NULLS:
        raise ValueError(
            f"{getattr(fit, 'model', fit)} does not contain {getattr(restricted, 'model', restricted)} as a special case, or the test is not known: compare their aic. "
            "Nested are geometric in sBG, geometric in BdW, sBG in BdW and geometric in two latent segments."
        )
    if not restricted.renewals.equals(fit.renewals):
        raise ValueError("the two models were fitted to different data: fit both to the same survivors.")
    statistic = 2 * (fit.loglik - restricted.loglik)
    if statistic < 1e-9 * abs(fit.loglik):  # a fit on the edge equals the restricted one but for rounding
        statistic = 0.0
    weights = _NULLS[pair]
    if weights is not None:
        null = " + ".join(f"{'1/2 ' if weight < 1 else ''}chi2({df})" for df, weight in weights.items())
        return LikelihoodRatio(statistic, chi_bar_square_sf(statistic, weights), null, restricted.model, fit.model)
    from crmlab.resampling import quietly, replicate

    theta = restricted.params["theta"]

    def draw(rng):
        sample = restricted.survivors.simulated(theta, rng)
        with quietly():
            return 2 * (fit._fit(sample).loglik - restricted._fit(sample).loglik)

    drawn, failed = replicate(draw, replicates, seed)
    # The statistic itself counts as one of the samples, so that no p-value is 0.
    p_value = (1 + (drawn >= statistic - 1e-9).sum()) / (1 + len(drawn))
    null = f"{len(drawn)} samples from the geometric fit" + (f", {failed} more could not be fitted" if failed else "")
    return LikelihoodRatio(statistic, float(p_value), null, restricted.model, fit.model)


@dataclass(frozen=True, eq=False)
class BDWFit(SurvivalFit):
    """The beta-discrete-Weibull fit of `fit_bdw`; see there."""

    model = "beta-discrete-Weibull (BdW)"
    names = ("alpha", "beta", "c")
    scales = ("log", "log", "log")

    @classmethod
    def _fit(cls, survivors):
        return fit_bdw(survivors)

    @staticmethod
    def _log_survival(working, t):
        return log_beta_survival(working[:2], t ** np.exp(working[2]))

    @staticmethod
    def _working(coordinates):
        return np.append(polar(*coordinates[:2]), coordinates[2])

    def _tail(self, working):
        return np.exp(working[2] - working[1]) * special.expit(working[0])  # c alpha


@dataclass(frozen=True, eq=False)
class LatentSegmentsFit(SurvivalFit):
    """The fit of `fit_latent_segments`; see there."""

    model = "two latent segments"
    names = ("share_leaving", "theta_leaving", "theta_loyal")
    scales = ("logit", "logit", "logit")

    @classmethod
    def _fit(cls, survivors):
        return fit_latent_segments(survivors)

    @staticmethod
    def _log_survival(working, t):
        return _segments_log_survival(working, t)

    @staticmethod
    def _working(coordinates):
        return coordinates

    @staticmethod
    def _ordered(coordinates):
        return coordinates[1] >= coordinates[2]

    def _residual(self, working, made, discount):
        # Each segment's own, weighted by its share of those left.
        logs, theta = _segments(working, np.array([float(made)])), special.expit(working[1:])
        shares = np.exp([float(log[0]) for log in logs] - np.logaddexp(*logs))
        return sum(s * geometric_residual(t, discount) for s, t in zip(shares, theta) if s > 0)

    def membership(self, t):
        """The share of the first segment among the customers left at age `t`.

        Parameters
        ----------
        t : int or sequence of int
            Ages in periods.

        Returns
        -------
        float or pandas.Series
        """
        share, leaving, _ = self.params
        left = self.survival(np.atleast_1d(t))
        found = share * (1 - leaving) ** left.index.to_numpy() / left
        return float(found.iloc[0]) if np.ndim(t) == 0 else found.rename("membership")


# What the statistic is compared with: weights of chi-square distributions by their degrees of freedom; None: samples.
_NULLS = {
    (GeometricFit, SBGFit): {0: 0.5, 1: 0.5},
    (GeometricFit, BDWFit): {1: 0.5, 2: 0.5},
    (SBGFit, BDWFit): {1: 1.0},
    (GeometricFit, LatentSegmentsFit): None,
}


def _segments(working, t):
    """Logarithm of the share of all customers who are in each segment and still there at age t."""
    # xlogy: nothing has happened at age 0, whatever the churn.
    first = special.log_expit(working[0]) + special.xlogy(t, special.expit(-working[1]))
    second = special.log_expit(-working[0]) + special.xlogy(t, special.expit(-working[2]))
    return first, second


def _segments_log_survival(working, t):
    return np.logaddexp(*_segments(working, t))


def _enough(survivors, what):
    renewals = survivors.renewals
    if renewals["lost"].sum() == 0:
        raise ValueError(
            f"no customer was lost in {len(renewals)} periods: {what} cannot be told. fit_geometric gives an upper limit of the churn probability."
        )
    if len(renewals) < 3:
        raise ValueError(
            f"alive= covers {len(renewals)} renewal{'s' * (len(renewals) > 1)}: three parameters need at least three (four numbers). fit_geometric needs one, fit_sbg two."
        )
    if renewals["lost"].iloc[1:].sum() == 0:
        raise ValueError(f"all losses fell on the first renewal: {what} cannot be told. fit_sbg says what can be said.")
    return renewals


def _maximise(log_survival, renewals, starts):
    """Maximum over coordinates without edges: where, the log-likelihood, its Hessian, and whether the gradient vanishes."""
    from statsmodels.tools.numdiff import approx_fprime, approx_hess3  # here, since it takes half a second to import

    counts, scale = Counts.of(renewals), renewals["at_risk"].iloc[0]

    def cost(x):
        found = log_likelihood(lambda t: log_survival(x, t), counts)
        return -found / scale if np.isfinite(found) else 1e10

    def gradient(x):
        return approx_fprime(x, cost, centered=True)

    found = [optimize.minimize(cost, np.array(x, dtype=float), method="BFGS", jac=gradient) for x in starts]
    best = min(found, key=lambda result: result.fun).x
    hessian = approx_hess3(best, cost)
    for _ in range(5):  # Newton's last steps, where the surface is flat along a ridge
        slope = gradient(best)
        try:
            step = np.linalg.solve(hessian, slope)
        except np.linalg.LinAlgError:
            break
        if np.abs(slope).max() < 1e-9 or np.abs(step).max() > 1 or cost(best - step) > cost(best):
            break
        best = best - step
        hessian = approx_hess3(best, cost)
    return best, -cost(best) * scale, -hessian * scale, bool(np.abs(gradient(best)).max() < 1e-7)


def _fitted(kind, params, jacobian, working, loglik, hessian, converged, boundary, survivors):
    names = list(kind.names)
    shape = (len(names), len(names))
    working_cov = np.linalg.inv(-hessian) if boundary is None else np.full(shape, np.nan)
    return kind(
        params=pd.Series(params, names, dtype=float),
        cov=pd.DataFrame(jacobian @ working_cov @ jacobian.T, names, names),
        loglik=float(loglik),
        nobs=survivors.customers,
        converged=converged,
        boundary=boundary,
        survivors=survivors,
        working=working,
        working_cov=working_cov,
    )
