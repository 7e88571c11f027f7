"""Models of survivors: one constant churn probability, and churn probabilities that differ over customers (sBG)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlab.likelihood import normal_quantile, warn_boundary
from crmlab.retention.projection import Counts, SurvivalFit, geometric_residual
from crmlab.retention.survivors import read

__all__ = ["fit_geometric", "fit_sbg", "GeometricFit", "SBGFit"]


def fit_geometric(alive, size=None):
    r"""Fit one constant churn probability to the survivors of a contract base.

    .. math:: S(t) = (1 - \theta)^t

    Assumes that every customer leaves at every renewal with the same probability :math:`\theta`. The estimate is the
    number of losses over the number of renewals that came due, in closed form.

    Parameters
    ----------
    alive : sequence, pandas.Series or pandas.DataFrame
        Customers still under contract in periods 0, 1, 2, ...; the last are censored. Or a table of
        `survivor_triangle`, whose cohorts are fitted jointly, each as far as it was followed.
    size : float, optional
        Number of customers at the start, where `alive` is a sequence of shares or percentages: without it the standard
        errors cannot be known. A table counts customers already.

    Returns
    -------
    GeometricFit

    Raises
    ------
    TypeError, ValueError
        If `alive` is not a series of survivors: negative, rising, missing, text, shorter than two periods, shares
        without `size`, or an activity table.

    Warns
    -----
    BoundaryWarning
        If no customer was lost, or all at the first renewal: the estimate is 0 or 1, and only the interval of
        ``survival(t, level=...)`` says what it may be.

    Notes
    -----
    Equal to a binomial model with an intercept only, on renewals. In R: ``glm(cbind(lost, kept) ~ 1, binomial)``.

    Examples
    --------
    >>> from crmlab import retention
    >>> fit = retention.fit_geometric([1000, 869, 743, 653])
    >>> fit.params.round(4).to_dict()
    {'theta': 0.1328}
    """
    survivors = read(alive, size)
    renewals = survivors.renewals
    at_risk, lost = renewals["at_risk"].sum(), renewals["lost"].sum()
    theta = lost / at_risk
    boundary = None
    if theta == 0:
        boundary = (
            "theta = 0: no customer was lost; read the upper limit of the churn probability off survival(1, level=0.95)"
        )
    elif theta == 1:
        boundary = (
            "theta = 1: every customer was lost at the first renewal; read the limits off survival(1, level=0.95)"
        )
    if boundary:
        warn_boundary(boundary)
    loglik = special.xlogy(lost, theta) + special.xlogy(at_risk - lost, 1 - theta)
    variance = theta * (1 - theta) / at_risk if boundary is None else np.nan
    return GeometricFit(
        params=pd.Series({"theta": theta}),
        cov=pd.DataFrame([[variance]], ["theta"], ["theta"]),
        loglik=float(loglik),
        nobs=survivors.customers,
        converged=True,
        boundary=boundary,
        survivors=survivors,
        working=np.array([special.logit(theta)]),
        working_cov=np.array([[1 / (at_risk * theta * (1 - theta))]]) if boundary is None else np.full((1, 1), np.nan),
    )


def fit_sbg(alive, size=None):
    r"""Fit the shifted-beta-geometric (sBG) model to the survivors of a contract base.

    Every customer leaves at a renewal with a probability :math:`\theta` of its own that never changes; over customers
    :math:`\theta` has a beta distribution with parameters :math:`\alpha, \beta`. Then

    .. math:: S(t) = \frac{B(\alpha, \beta + t)}{B(\alpha, \beta)}, \qquad
              r(t) = \frac{S(t)}{S(t-1)} = \frac{\beta + t - 1}{\alpha + \beta + t - 1}.

    The retention rate :math:`r(t)` rises with age although nobody's does: those who leave easily leave first.

    Parameters
    ----------
    alive : sequence, pandas.Series or pandas.DataFrame
        Customers still under contract in periods 0, 1, 2, ...; the last are censored. Or a table of
        `survivor_triangle`, whose cohorts are fitted jointly, each as far as it was followed.
    size : float, optional
        Number of customers at the start, where `alive` is a sequence of shares or percentages: without it the standard
        errors cannot be known. A table counts customers already.

    Returns
    -------
    SBGFit
        With ``params`` ``alpha`` and ``beta``. What to quote are the intervals of ``survival``, ``retention_rate`` and
        ``residual_lifetime``; alpha and beta vary together and mean little one by one.

    Raises
    ------
    TypeError, ValueError
        If `alive` is not a series of survivors (see `fit_geometric`), or cannot tell two parameters: fewer than two
        renewals, nobody lost, or all lost at once.

    Warns
    -----
    BoundaryWarning
        If the maximum lies on the edge: alpha + beta -> infinity (no heterogeneity, the geometric model) or
        alpha, beta -> 0 (some leave at once, the others never).

    Notes
    -----
    Fitted in :math:`\theta = \alpha/(\alpha+\beta)` and :math:`\phi = 1/(\alpha+\beta)`, in which the geometric model
    is the ordinary point :math:`\phi = 0` and the likelihood needs no beta function, so that it cannot overflow.
    :math:`T - 1` has scipy's ``betanbinom(1, alpha, beta)`` distribution.

    References
    ----------
    P. S. Fader and B. G. S. Hardie (2007), How to project customer retention, *Journal of Interactive Marketing*
    21(1):76-90.

    Examples
    --------
    >>> from crmlab import retention
    >>> fit = retention.fit_sbg([1000, 869, 743, 653, 593, 551, 517, 491])
    >>> fit.params.round(3).to_dict(), round(fit.loglik, 2)
    ({'alpha': 0.668, 'beta': 3.806}, -1611.16)
    >>> fit.survival([8, 12], level=0.95).round(3)
         estimate  lower  upper
    age
    8       0.460  0.428  0.493
    12      0.378  0.341  0.417
    """
    return _fit_sbg(read(alive, size))


def _fit_sbg(survivors, near=None):
    """The fit to counts; `near` are the coordinates of a fit to data that are nearly the same, from which to start."""
    renewals = survivors.renewals
    if renewals["lost"].sum() == 0:
        raise ValueError(
            f"no customer was lost in {len(renewals)} periods: alpha and beta cannot be told. fit_geometric gives an upper limit of the churn probability."
        )
    if renewals["lost"].iloc[0] == renewals["at_risk"].iloc[0]:
        raise ValueError(
            "all customers were lost at the first renewal: alpha and beta cannot be told. fit_geometric says what can be said."
        )
    if len(renewals) < 2:
        raise ValueError(
            "alive= covers one renewal: two parameters need at least two (three numbers). fit_geometric needs one."
        )
    counts = Counts.of(renewals)
    theta, phi, loglik, converged, boundary = _maximise_sbg(counts, survivors.customers, near)
    if boundary:
        warn_boundary(boundary)
    with np.errstate(divide="ignore"):
        shape = np.array([theta, 1 - theta]) / np.float64(phi)
    information = np.full((2, 2), np.nan) if boundary else -_sbg_derivatives(theta, phi, counts)[1]
    polar_cov = np.linalg.inv(information)
    # d(alpha, beta) / d(theta, phi)
    jacobian = (
        np.array([[1 / phi, -theta / phi**2], [-1 / phi, -(1 - theta) / phi**2]])
        if not boundary
        else np.full((2, 2), np.nan)
    )
    names = list(SBGFit.names)
    with np.errstate(divide="ignore"):
        working = np.array([special.logit(theta), np.log(phi)])
        stretch = np.array([1 / (theta * (1 - theta)), 1 / phi if phi else np.nan])
    return SBGFit(
        params=pd.Series(shape, names),
        cov=pd.DataFrame(jacobian @ polar_cov @ jacobian.T, names, names),
        loglik=float(loglik),
        nobs=survivors.customers,
        converged=converged,
        boundary=boundary,
        survivors=survivors,
        working=working,
        working_cov=polar_cov * np.outer(stretch, stretch),
    )


@dataclass(frozen=True, eq=False)
class GeometricFit(SurvivalFit):
    """The constant-rate fit of `fit_geometric`; see there."""

    model = "geometric (one constant rate)"
    names = ("theta",)
    scales = ("logit",)

    def summary(self, level=0.95):
        """The churn probability with its standard error and Wilson interval.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        lower, upper = self._wilson(normal_quantile(level))
        row = {
            "estimate": self.params["theta"],
            "std_error": np.sqrt(self.cov.iloc[0, 0]),
            "lower": lower,
            "upper": upper,
        }
        return pd.DataFrame(row, index=pd.Index(["theta"], name="parameter"))

    @classmethod
    def _fit(cls, survivors):
        return fit_geometric(survivors)

    def _wilson(self, z):
        # The score interval: unlike Wald's it has a length also where nobody, or everybody, was lost.
        n = self.renewals["at_risk"].sum()
        theta = self.params["theta"]
        middle = (theta + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(theta * (1 - theta) / n + z**2 / (4 * n**2))
        return max(middle - half, 0.0), min(middle + half, 1.0)

    @staticmethod
    def _working(coordinates):
        return coordinates

    @staticmethod
    def _log_survival(working, t):
        # 0 renewals are survived for certain, also by customers who all leave at the first.
        return special.xlogy(t, special.expit(-working[0]))

    def _retention_rate(self, working, ages):
        return np.full(ages.shape, special.expit(-working[0]))

    def _residual(self, working, made, discount):
        return geometric_residual(special.expit(working[0]), discount)

    def _limits(self, function, estimate, z, scale):
        if self.survivors is None:
            return super()._limits(function, estimate, z, scale)
        # Every prediction falls as theta rises, so the interval of theta is theirs, turned round.
        low, high = self._wilson(z)
        return function(np.array([special.logit(high)])), function(np.array([special.logit(low)]))


@dataclass(frozen=True, eq=False)
class SBGFit(SurvivalFit):
    """The shifted-beta-geometric fit of `fit_sbg`; see there."""

    model = "shifted-beta-geometric (sBG)"
    names = ("alpha", "beta")
    scales = ("log", "log")

    @classmethod
    def _fit(cls, survivors):
        return fit_sbg(survivors)

    def refit(self, rng):
        """Fit the same model to as many customers, drawn from these with replacement; see `GeometricFit.refit`."""
        near = self.working if self.boundary is None else None
        return _fit_sbg(self._data().resampled(rng), near)

    @staticmethod
    def _log_survival(working, t):
        return log_beta_survival(working, t)

    @staticmethod
    def _working(coordinates):
        return polar(*coordinates[:2])

    def _retention_rate(self, working, ages):
        return 1 - _sbg_churn(special.expit(working[0]), np.exp(working[1]), ages)

    def _tail(self, working):
        return special.expit(working[0]) * np.exp(-working[1])  # alpha


def polar(log_alpha, log_beta):
    """Working coordinates, logit(theta) and log(phi), of theta = alpha / (alpha + beta) and phi = 1 / (alpha + beta)."""
    return np.array([log_alpha - log_beta, -np.logaddexp(log_alpha, log_beta)])


def log_beta_survival(working, u):
    """log B(alpha, beta + u) / B(alpha, beta) from logit(theta) and log(phi), without the cancellation of beta functions."""
    with np.errstate(over="ignore", divide="ignore"):
        total = np.exp(-working[1])  # alpha + beta
    stay = special.log_expit(-working[0])  # log(1 - theta)
    if total == 0:  # alpha, beta -> 0: some leave at once, the others never
        return np.where(u > 0, stay, 0.0)
    if np.isinf(total):
        return u * stay
    alpha, beta = total * special.expit(working[0]), total * np.exp(stay)
    # The same ratio of gamma functions, as steps of u or as steps of alpha: the shorter ones cancel less.
    few = u <= alpha
    small, large = np.where(few, u, 0.0), np.where(few, 0.0, u)
    return np.where(
        few,
        small * stay + _excess(beta, small) - _excess(total, small),
        -alpha * np.log1p(large / beta) + _excess(beta, alpha) - _excess(beta + large, alpha),
    )


def _excess(b, u):
    """log of Gamma(b + u) / (Gamma(b) b^u), which vanishes as b grows."""

    def rest(x):
        return x**-1.0 / 12 - x**-3.0 / 360 + x**-5.0 / 1260

    # Stirling's series for both gamma functions; beyond 100 what is left out is below the last digit.
    big, tame = np.maximum(b, 100.0), np.minimum(b, 100.0)
    series = (big + u - 0.5) * np.log1p(u / big) - u + rest(big + u) - rest(big)
    return np.where(b > 100, series, special.gammaln(tame + u) - special.gammaln(tame) - u * np.log(tame))


def _sbg_churn(theta, phi, ages):
    """Churn probability at renewals 1, 2, ...: theta / (1 + (t - 1) phi), also for phi = infinity."""
    before = ages - 1
    return np.where(before == 0, theta, theta / (1 + np.maximum(before, 1) * phi))


def _sbg_loglik(theta, phi, counts):
    churn = _sbg_churn(theta, phi, counts.age)
    return float(np.sum(special.xlogy(counts.lost, churn) + special.xlogy(counts.kept, 1 - churn)))


def _sbg_derivatives(theta, phi, counts):
    """Gradient and Hessian of the log-likelihood in (theta, phi)."""
    u, d, kept = counts.age - 1.0, counts.lost, counts.kept
    n, stay, scale = d + kept, 1 - theta + u * phi, 1 + u * phi
    gradient = np.array([np.sum(d) / theta - np.sum(kept / stay), np.sum(kept * u / stay) - np.sum(n * u / scale)])
    cross = np.sum(kept * u / stay**2)
    hessian = np.array(
        [
            [-np.sum(d) / theta**2 - np.sum(kept / stay**2), cross],
            [cross, np.sum(n * u**2 / scale**2) - np.sum(kept * u**2 / stay**2)],
        ]
    )
    return gradient, hessian


def _maximise_sbg(counts, scale, near=None):
    """Maximum in (theta, phi), the two edges of phi looked at apart: theta, phi, log-likelihood, converged, boundary."""
    total_lost, total_at_risk = counts.lost.sum(), (counts.lost + counts.kept).sum()
    first = counts.lost[0] / (counts.lost[0] + counts.kept[0])
    if total_lost == counts.lost[0]:
        theta = first
        note = "alpha, beta -> 0: all losses fell on the first renewal, so the fit says that the others never leave; predictions hold, alpha and beta have no errors"
        return theta, np.inf, _sbg_loglik(theta, np.inf, counts), True, note

    # Unbounded coordinates: logit(theta), log(phi).
    def objective(x):
        theta, phi = special.expit(x[0]), np.exp(x[1])
        return -_sbg_loglik(theta, phi, counts) / scale

    def chain(x):
        # The optimiser asks for the gradient and the curvature of one point by separate calls.
        if "x" in known and (known["x"] == x).all():
            return known["value"]
        known["x"], known["value"] = np.array(x), slopes(x)
        return known["value"]

    known = {}

    def slopes(x):
        theta, phi = special.expit(x[0]), np.exp(x[1])
        gradient, hessian = _sbg_derivatives(theta, phi, counts)
        step = np.array([theta * (1 - theta), phi])
        bend = np.array([theta * (1 - theta) * (1 - 2 * theta), phi])
        return -gradient * step / scale, -(hessian * np.outer(step, step) + np.diag(gradient * bend)) / scale

    churn = total_lost / total_at_risk
    starts = [(special.logit(np.clip(first, churn, 0.99)), np.log(phi)) for phi in (0.01, 0.1, 1.0)]
    starts = starts if near is None else [near]
    found = [
        optimize.minimize(
            objective,
            x,
            method="trust-exact",
            jac=lambda x: chain(x)[0],
            hess=lambda x: chain(x)[1],
            options={"gtol": 1e-10},
        )
        for x in starts
    ]
    best = min(found, key=lambda result: result.fun)
    theta, phi, loglik = special.expit(best.x[0]), np.exp(best.x[1]), -best.fun * scale
    # phi = 0 is the geometric model: it is the maximum if nothing inside is better by more than rounding.
    if _sbg_loglik(churn, 0.0, counts) >= loglik - 1e-9 * abs(loglik):
        note = "alpha + beta -> infinity: no heterogeneity was found, the geometric model fits as well; take crmlab.resampling.bootstrap, or fit_geometric, for intervals of predictions"
        return churn, 0.0, _sbg_loglik(churn, 0.0, counts), True, note
    return theta, phi, loglik, bool(np.abs(chain(best.x)[0]).max() < 1e-7), None
