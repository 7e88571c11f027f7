"""What every likelihood fit of the kit returns: estimates, covariance, log-likelihood and criteria, in one frozen object."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["LikelihoodResult", "BoundaryWarning", "warn_boundary", "normal_quantile"]


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
