"""What every likelihood fit of the kit returns: estimates, covariance, log-likelihood and criteria, in one frozen object."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "LikelihoodResult",
    "LikelihoodRatio",
    "BoundaryWarning",
    "warn_boundary",
    "normal_quantile",
    "wald_table",
    "chi_bar_square_sf",
]


class BoundaryWarning(UserWarning):
    """The estimate lies on the edge of the parameter space, where standard errors do not exist."""


def warn_boundary(message):
    """Say a boundary solution aloud, at the line of the caller of the ``fit_*`` function."""
    warnings.warn(message, BoundaryWarning, stacklevel=3)


def normal_quantile(level):
    """The two-sided standard normal quantile of a confidence level, e.g. 1.96 for 0.95.

    Raises
    ------
    ValueError
        If the level is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level= is a confidence level between 0 and 1, such as 0.95; got {level!r}.")
    return stats.norm.ppf(0.5 + level / 2)


def wald_table(estimate, std_error, level=0.95):
    """Estimates with standard errors and normal intervals: the table of a `summary`, indexed as the estimates are."""
    half = normal_quantile(level) * std_error
    table = {"estimate": estimate, "std_error": std_error, "lower": estimate - half, "upper": estimate + half}
    return pd.DataFrame(table)


@dataclass(frozen=True, eq=False)
class LikelihoodResult:
    """A maximum-likelihood fit.

    Attributes
    ----------
    params : pandas.Series
        Estimates by name.
    cov : pandas.DataFrame
        Their covariance, the inverse of the observed information; NaN where it does not exist.
    loglik : float
        Log-likelihood at the estimates.
    nobs : float
        Number of customers (frequency weights summed).
    converged : bool
        Whether the optimiser reached a point where the gradient vanishes.
    boundary : str or None
        Where the maximum lies on the edge of the parameter space: which edge, and what to read instead.
    """

    params: pd.Series
    cov: pd.DataFrame = field(repr=False)
    loglik: float
    nobs: float
    converged: bool
    boundary: str | None = None

    @property
    def aic(self):
        """Akaike's criterion, 2 k - 2 log L."""
        return 2 * len(self.params) - 2 * self.loglik

    @property
    def bic(self):
        """Schwarz's criterion, k log(nobs) - 2 log L."""
        return len(self.params) * np.log(self.nobs) - 2 * self.loglik

    def summary(self, level=0.95):
        """Estimates with standard errors and intervals.

        Positive parameters get an interval that is symmetric on the logarithmic scale, so that it stays positive.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        error = pd.Series(np.sqrt(np.diag(self.cov)), self.params.index)
        factor = np.exp(normal_quantile(level) * error / self.params)
        table = pd.DataFrame(
            {"estimate": self.params, "std_error": error, "lower": self.params / factor, "upper": self.params * factor}
        )
        return table.rename_axis("parameter")


@dataclass(frozen=True)
class LikelihoodRatio:
    """A likelihood-ratio test of a model against a larger one that contains it.

    Attributes
    ----------
    statistic : float
        Twice the gain in log-likelihood.
    p_value : float
        Probability of a gain so large, or larger, if the restricted model is true.
    null : str
        What the statistic was compared with.
    restricted, model : str
        The smaller and the larger model.
    """

    statistic: float
    p_value: float
    null: str
    restricted: str
    model: str

    def summary(self):
        """The test as a table of one row."""
        row = {"statistic": self.statistic, "p_value": self.p_value, "null": self.null}
        return pd.DataFrame(row, index=pd.Index([f"{self.restricted} in {self.model}"], name="test"))


def chi_bar_square_sf(statistic, weights):
    """Survivor function of a mixture of chi-square distributions, for tests of parameters on an edge.

    Parameters
    ----------
    statistic : float
    weights : dict of int to float
        Weight of the chi-square distribution with so many degrees of freedom; chi-square with 0 is the number 0.

    Returns
    -------
    float

    References
    ----------
    S. G. Self and K.-Y. Liang (1987), Asymptotic properties of maximum likelihood estimators and likelihood ratio tests
    under nonstandard conditions, *Journal of the American Statistical Association* 82(398):605-610.

    Examples
    --------
    >>> from crmlab.likelihood import chi_bar_square_sf
    >>> round(chi_bar_square_sf(2.706, {0: 0.5, 1: 0.5}), 3)
    0.05
    """
    return float(sum(w * (stats.chi2.sf(statistic, df) if df else float(statistic <= 0)) for df, w in weights.items()))
