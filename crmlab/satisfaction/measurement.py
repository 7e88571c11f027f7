"""Satisfaction is measured with error: how far that flattens its slope, and two ways to undo it."""

import numbers
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, stats

from crmlab import style
from crmlab.arguments import one_of, whole_number
from crmlab.design import columns_in, count_columns
from crmlab.regression import LinearFit, fit_linear, t_quantile
from crmlab.satisfaction.threshold import require_number

__all__ = ["reliability", "fit_corrected", "simex", "CorrectedFit", "SimexFit"]


def reliability(data, items, of="mean", weights=None, level=0.95):
    r"""How far several questions (or one question asked twice) measure the same thing: Cronbach's alpha.

    .. math:: \alpha = \frac{k}{k-1}\Big(1 - \frac{\sum_j s_j^2}{s_{\text{sum}}^2}\Big)

    is the reliability of the mean of :math:`k` questions: the share of its variance that is not error. That of a single one
    is :math:`\alpha / (k - (k-1)\,\alpha)`; for one question asked twice it is close to the correlation of the two answers.

    Assumes that the questions measure one thing equally well and that their errors are independent. Errors that go together
    (a mood, the same halo twice) pass for truth.

    Parameters
    ----------
    data : DataFrame or Checked
        One row a customer, or one a case with its count.
    items : sequence of str
        Two or more columns.
    of : {"mean", "single"}
        The reliability of the questions' mean, or of one of them.
    weights : str, optional
    level : float
        Of Feldt's interval.

    Returns
    -------
    pandas.DataFrame
        One row, ``reliability``: ``estimate``, ``std_error``, ``lower``, ``upper``.

    Raises
    ------
    ValueError
        With fewer than two items or three customers, an item named twice, or if all answers are equal.

    References
    ----------
    L. J. Cronbach (1951), Coefficient alpha and the internal structure of tests, *Psychometrika* 16(3):297-334.
    L. S. Feldt (1965), The approximate sampling distribution of Kuder-Richardson reliability coefficient twenty,
    *Psychometrika* 30(3):357-370.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> survey = simulate.satisfaction_survey(seed=1)
    >>> satisfaction.reliability(survey, ["satisfaction", "satisfaction_again"], of="single").round(3)
                 estimate  std_error  lower  upper
    parameter
    reliability     0.795      0.008  0.779  0.811
    """
    one_of("of", of, ("mean", "single"))
    t_quantile(level, np.inf)
    items = list(items) if not isinstance(items, str) else [items]
    k = len(items)
    if len(set(items)) < k:
        raise ValueError(f"items= names a column twice: an answer agrees with itself; got {items!r}.")
    if k < 2:
        raise ValueError(
            f"items= are two columns or more: how far one answer repeats cannot be seen from itself; got {items!r}."
        )
    cases, count = count_columns(items, data, weights)
    for name in items:
        require_number(cases[name], name)
    x, n = cases[items].to_numpy(dtype=float), count.sum()
    if n < 3:
        raise ValueError(f"a reliability takes three customers or more; there are {n:g}.")
    centred = x - count @ x / n
    cov = (centred * count[:, None]).T @ centred / (n - 1)
    if cov.sum() <= 0:
        raise ValueError("the sum of the items is the same for every customer: there is nothing to measure reliably.")
    alpha = k / (k - 1) * (1 - np.trace(cov) / cov.sum())
    df = n - 1, (n - 1) * (k - 1)
    tail = (1 - level) / 2
    limits = [1 - (1 - alpha) * stats.f.ppf(1 - tail, *df), 1 - (1 - alpha) * stats.f.ppf(tail, *df)]
    error = (1 - alpha) * np.sqrt(2 * k / ((k - 1) * (n - 2))) if n > 2 else np.nan
    values = np.array([alpha, *limits])
    if of == "single":
        error = error * k / (k - (k - 1) * alpha) ** 2
        values = values / (k - (k - 1) * values)
    row = dict(zip(("estimate", "std_error", "lower", "upper"), (values[0], error, values[1], values[2])))
    return pd.DataFrame(row, index=pd.Index(["reliability"], name="parameter"))


def fit_corrected(formula, data, focal, reliability, reliability_error=0.0, weights=None):
    r"""Least squares, with the slope of one badly measured column put right.

    If a column is measured as :math:`w = x + u` with error :math:`u` that has nothing to do with anything, least squares
    finds too flat a slope: with one column, :math:`\rho\,\beta` instead of :math:`\beta`, where the reliability
    :math:`\rho = \operatorname{var}(x) / \operatorname{var}(w)`. Knowing :math:`\rho`, the error's variance
    :math:`(1 - \rho) \operatorname{var}(w)` is taken off the moments before the equations are solved:

    .. math:: \hat\beta = (S_{ww} - \Lambda)^{-1} S_{wy}.

    The other columns, taken as free of error, are put right on the way.

    Assumes classical error: mean zero, independent of the truth, of the other columns and of the answer. A rating at the
    end of its scale can only err inward, which is not classical.

    Parameters
    ----------
    formula, data, weights
        As in `crmlab.regression.fit_linear`.
    focal : str
        The numeric column that was measured with error; in the formula it stands by itself, in no product.
    reliability : float
        Between 0 and 1, from elsewhere: a retest, several questions, a published study. See `reliability`.
    reliability_error : float
        Its standard error, which then widens the intervals. 0 takes the reliability as known.

    Returns
    -------
    CorrectedFit
        ``naive`` is the fit without correction.

    Raises
    ------
    ValueError
        If the reliability is not between 0 and 1, the column stands in a product or a power, or the reliability is lower than the
        other columns' relation to it allows.

    Notes
    -----
    Errors are those of the estimating equations (a sandwich on counts). In Stata: ``eivreg``.

    References
    ----------
    W. A. Fuller (1987), *Measurement Error Models*, Wiley.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> survey = simulate.satisfaction_survey(seed=1)
    >>> fit = satisfaction.fit_corrected("loyalty ~ satisfaction + market", survey, "satisfaction", reliability=0.8)
    >>> fit.summary().loc["satisfaction"].round(3).to_dict()
    {'naive': 0.27, 'estimate': 0.338, 'std_error': 0.02, 'lower': 0.299, 'upper': 0.376}
    """
    if not isinstance(reliability, numbers.Real):
        raise TypeError(
            f"reliability= is a number, above 0 and up to 1; got {type(reliability).__name__}. Of the table of reliability(...): table['estimate'].item()."
        )
    if not 0 < reliability <= 1:
        raise ValueError(f"reliability= is a share of variance, above 0 and up to 1; got {reliability!r}.")
    if not (np.isfinite(reliability_error) and reliability_error >= 0):
        raise ValueError(f"reliability_error= is a standard error, 0 or more; got {reliability_error!r}.")
    naive = fit_linear(formula, data, weights)
    design, cases = naive.design, naive.cases
    if focal not in design.names:
        raise ValueError(f"{focal!r} is not a column of the formula by itself; it has: {', '.join(design.names)}.")
    if product := [name for name in design.names if focal in name.split(":") and name != focal]:
        raise ValueError(
            f"{focal!r} stands in a product too ({product[0]}), whose error is not classical. Fix: leave the product out, or take simex."
        )
    if other := [name for name in design.names if name != focal and focal in columns_in(name)]:
        raise ValueError(
            f"{focal!r} stands in a power too, or another function ({other[0]}), whose error is not classical. Fix: leave it out, or take simex."
        )
    x, count, n = design.matrix, cases["customers"].to_numpy(dtype=float), naive.nobs
    y = cases[design.response].to_numpy(dtype=float)
    place = design.names.index(focal)
    w = x[:, place]
    away = (w - count @ w / n) ** 2
    error_variance = (1 - reliability) * (count @ away) / n
    # What is left of the column's variance once the others are known must be more than the error's.
    root, others = np.sqrt(count), np.delete(x, place, axis=1)
    own = w * root
    if others.shape[1]:
        others = others * root[:, None] / np.sqrt(count @ others**2)
        own = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
    if own @ own / n <= error_variance * (1 + 1e-9):
        raise ValueError(
            f"a reliability of {reliability:g} leaves {focal!r} no variance of its own beside the other columns. It cannot be that low, or the errors are not independent of them."
        )
    moments = (x * count[:, None]).T @ x / n
    size = np.sqrt(np.diag(moments))  # columns may be in any units
    moments[place, place] -= error_variance
    inverse = np.linalg.inv(moments / np.outer(size, size)) / np.outer(size, size)
    params = inverse @ ((x * count[:, None]).T @ y / n)
    score = x * (y - x @ params)[:, None]
    score[:, place] += (1 - reliability) * away * params[place]
    influence = score @ inverse
    cov = (influence * count[:, None]).T @ influence / (n * naive.df_resid)
    by_reliability = -inverse[:, place] * params[place] * (count @ away) / n
    cov += reliability_error**2 * np.outer(by_reliability, by_reliability)
    return CorrectedFit(
        params=pd.Series(params, design.names),
        cov=pd.DataFrame(cov, design.names, design.names),
        nobs=n,
        df_resid=naive.df_resid,
        focal=focal,
        reliability=float(reliability),
        error_variance=float(error_variance),
        naive=naive,
    )


def simex(fit, data, column, error_sd, lambdas=(0.5, 1.0, 1.5, 2.0), replicates=50, extrapolation="quadratic", seed=0):
    r"""Undo measurement error in any model: make the error worse on purpose, see what it does, and go back.

    The model is fitted again with further error of variance :math:`\lambda \sigma_u^2` added to the column, for several
    :math:`\lambda`. The estimates drift as :math:`\lambda` grows; the drift is followed back to :math:`\lambda = -1`, where no
    error would be left.

    Assumes classical error of known size, and that the drift has the form of the extrapolation: "quadratic" goes most of
    the way and is steady, "rational" (:math:`a + b / (c + \lambda)`) is exact in a straight-line model and less steady.

    Parameters
    ----------
    fit : callable
        Takes a DataFrame and returns a fit with ``params`` and ``cov``: ``lambda d: fit_ordered("stayed ~ satisfaction", d)``.
    data : DataFrame
        One row a customer: to each its own error is added, so that counts do not serve.
    column : str
        The numeric column that was measured with error.
    error_sd : float
        Standard deviation of the error, :math:`\sigma_u`; from a reliability it is the column's standard deviation times
        :math:`\sqrt{1 - \rho}`.
    lambdas : sequence of float
        Above 0.
    replicates : int
        Fits for each :math:`\lambda`.
    extrapolation : {"quadratic", "rational", "linear"}
    seed : int or numpy.random.Generator

    Returns
    -------
    SimexFit

    Raises
    ------
    ValueError
        If the column is not numeric, or an argument is not what it should be. What the fit itself refuses, it refuses here.

    Notes
    -----
    Errors follow Stefanski and Cook (1995): the fits' own covariance less the spread among replicates, extrapolated
    too, and what the finite number of replicates adds. In R:
    ``simex::simex``.

    References
    ----------
    J. R. Cook and L. A. Stefanski (1994), Simulation-extrapolation estimation in parametric measurement error models,
    *Journal of the American Statistical Association* 89(428):1314-1328.
    L. A. Stefanski and J. R. Cook (1995), Simulation-extrapolation: the measurement error jackknife, *Journal of the
    American Statistical Association* 90(432):1247-1256.

    Examples
    --------
    >>> from crmlab import regression, satisfaction, simulate
    >>> cars = simulate.satisfaction_survey(seed=1).query("market == 'cars'")
    >>> line = lambda data: regression.fit_linear("loyalty ~ satisfaction", data)
    >>> satisfaction.simex(line, cars, "satisfaction", error_sd=7).summary().round(2)
                  naive  estimate  std_error  lower  upper
    parameter
    Intercept     10.74      2.35       2.86  -3.26   7.95
    satisfaction   0.53      0.66       0.04   0.57   0.75
    """
    one_of("extrapolation", extrapolation, ("quadratic", "rational", "linear"))
    if not isinstance(data, pd.DataFrame) or column not in data:
        raise ValueError(f"data= is a DataFrame with the column {column!r}, one row a customer.")
    if not pd.api.types.is_numeric_dtype(data[column]):
        raise ValueError(f"column {column!r} holds {data[column].dtype} values, not numbers.")
    if not (np.isfinite(error_sd) and error_sd >= 0):
        raise ValueError(f"error_sd= is a standard deviation, 0 or more; got {error_sd!r}.")
    spread = float(data[column].std())
    if error_sd >= spread:
        raise ValueError(
            f"error_sd={error_sd:g} is no smaller than the standard deviation of {column!r} ({spread:.3g}): the answers would be nothing but error."
        )
    lambdas = np.asarray(lambdas, dtype=float)
    if lambdas.ndim != 1 or len(np.unique(lambdas)) < 3 or not (lambdas > 0).all():
        raise ValueError(f"lambdas= are three different numbers above 0 or more; got {list(lambdas)!r}.")
    whole_number("replicates", replicates, 2)
    rng = np.random.default_rng(seed)
    if not callable(fit):
        raise TypeError(
            f"fit= is a function of the data, such as lambda d: fit_linear('loyalty ~ satisfaction', d); got {type(fit).__name__}."
        )
    naive = fit(data)
    if not all(hasattr(naive, name) for name in ("params", "cov", "nobs")) or not hasattr(naive.params, "index"):
        raise TypeError(
            f"fit= returns a fit with params, cov and nobs, such as fit_linear gives; it returned {type(naive).__name__}."
        )
    names = list(naive.params.index)
    path, spreads, drawn = [naive.params.to_numpy()], [naive.cov.to_numpy()], [np.zeros((len(names), len(names)))]
    for scale in lambdas:
        estimates, covariances = [], []
        for _ in range(replicates):
            noisier = data[column] + np.sqrt(scale) * error_sd * rng.standard_normal(len(data))
            again = fit(data.assign(**{column: noisier}))
            estimates.append(again.params.to_numpy())
            covariances.append(again.cov.to_numpy())
        path.append(np.mean(estimates, axis=0))
        among = np.cov(estimates, rowvar=False).reshape(len(names), len(names))
        spreads.append(np.mean(covariances, axis=0) - among)
        drawn.append(among / replicates)
    at = np.append(0.0, lambdas)
    path = pd.DataFrame(path, pd.Index(at, name="lambda"), names)
    params = {name: _extrapolate(at, path[name].to_numpy(), extrapolation)(-1.0) for name in names}
    # The covariance is always extrapolated by the quadratic: it has no reason to be rational.
    flat = np.array(spreads).reshape(len(at), -1)
    cov = np.array([np.polyval(np.polyfit(at, element, 2), -1.0) for element in flat.T]).reshape(len(names), -1)
    # The mean of a few replicates is not their expectation: what that adds, by the weight of each lambda.
    weight = np.vander([-1.0], 3) @ np.linalg.pinv(np.vander(at, 3))
    cov += np.einsum("k,kij->ij", weight[0] ** 2, np.array(drawn))
    return SimexFit(
        params=pd.Series(params),
        cov=pd.DataFrame((cov + cov.T) / 2, names, names),
        nobs=float(naive.nobs),
        column=column,
        error_sd=float(error_sd),
        extrapolation=extrapolation,
        path=path,
        naive=naive,
    )


@dataclass(frozen=True, eq=False)
class CorrectedFit:
    """The corrected fit of `fit_corrected`; see there.

    Attributes
    ----------
    params, cov : pandas.Series, pandas.DataFrame
    nobs, df_resid : float
    focal : str
    reliability, error_variance : float
        Of the focal column, and what of its variance is error.
    naive : LinearFit
    """

    params: pd.Series
    cov: pd.DataFrame = field(repr=False)
    nobs: float
    df_resid: float
    focal: str
    reliability: float
    error_variance: float
    naive: LinearFit = field(repr=False)

    def summary(self, level=0.95):
        """Corrected estimates with errors and intervals, indexed by ``parameter``; ``naive`` beside them."""
        return _beside(self.params, self.cov, self.naive.params, t_quantile(level, self.df_resid))

    def plot(self, ax=None, level=0.95):
        """The slopes before and after the correction; see `SimexFit.plot` for how an error works.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        tables = {"naive": self.naive.summary(level), "corrected": self.summary(level)}
        for i, (label, table) in enumerate(tables.items()):
            table = table.drop("Intercept", errors="ignore")
            place = np.arange(len(table))[::-1] + 0.12 * (1 - 2 * i)
            bars = np.abs(table[["lower", "upper"]].to_numpy().T - table["estimate"].to_numpy())
            ax.errorbar(table["estimate"].to_numpy(), place, xerr=bars, fmt="os"[i], capsize=4, label=label)
        ax.axvline(0, color="grey", linestyle=":", linewidth=1.5)
        ax.set_yticks(np.arange(len(table))[::-1], list(table.index))
        ax.set(xlabel=f"change of {self.naive.design.response} for one unit", ylabel="parameter")
        ax.legend()
        return ax


@dataclass(frozen=True, eq=False)
class SimexFit:
    """The fit of `simex`; see there.

    Attributes
    ----------
    params, cov : pandas.Series, pandas.DataFrame
    nobs : float
    column, error_sd, extrapolation
        As given.
    path : pandas.DataFrame
        The mean estimates at each ``lambda``, from the naive ones at 0.
    naive : object
        The fit without correction.
    """

    params: pd.Series
    cov: pd.DataFrame = field(repr=False)
    nobs: float
    column: str
    error_sd: float
    extrapolation: str
    path: pd.DataFrame = field(repr=False)
    naive: object = field(repr=False)

    def summary(self, level=0.95):
        """Corrected estimates with errors and normal intervals, indexed by ``parameter``; ``naive`` beside them."""
        return _beside(self.params, self.cov, self.naive.params, t_quantile(level, np.inf))

    def plot(self, parameter=None, ax=None):
        """How the estimate drifts as error is added, and where it would be without any.

        Parameters
        ----------
        parameter : str, optional
            By default the column itself.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        parameter = self.column if parameter is None else parameter
        one_of("parameter", parameter, list(self.params.index))
        ax = style.axes(ax)
        at, values = self.path.index.to_numpy(), self.path[parameter].to_numpy()
        curve = _extrapolate(at, values, self.extrapolation)
        back, forth = np.linspace(-1, 0, 50), np.linspace(0, at.max(), 50)
        ax.plot(forth, curve(forth), color=style.COLOURS[0])
        ax.plot(back, curve(back), color=style.COLOURS[0], linestyle="--")
        ax.plot(at[1:], values[1:], "o", color=style.COLOURS[0], label="with error added")
        ax.plot(0, values[0], "s", color="black", label="as measured")
        ax.plot(-1, self.params[parameter], "D", color=style.COLOURS[1], label="without error, extrapolated")
        ax.set(xlabel="error added, in multiples of the error's variance", ylabel=f"coefficient of {parameter}")
        ax.legend()
        return ax


def _beside(params, cov, naive, q):
    variance = np.diag(cov)
    error = np.sqrt(np.where(variance >= 0, variance, np.nan))
    table = {
        "naive": naive,
        "estimate": params,
        "std_error": error,
        "lower": params - q * error,
        "upper": params + q * error,
    }
    return pd.DataFrame(table).rename_axis("parameter")


def _extrapolate(at, values, form):
    """The drift as a function of lambda."""
    if form != "rational":
        line = np.polyfit(at, values, 1 if form == "linear" else 2)
        return lambda x: np.polyval(line, x)
    # a + b / (c + lambda) with c above 1, so that it stays finite up to lambda = -1: linear in a and b for a given c.
    spread = np.ptp(values)
    if spread <= 1e-12 * np.abs(values).max():
        return lambda x: values[0] + 0 * np.asarray(x)

    def solve(log_c):
        columns = np.column_stack([np.ones_like(at), 1 / (1 + np.exp(log_c) + at)])
        return np.linalg.lstsq(columns, values, rcond=None)[0], columns

    def misfit(log_c):
        b, columns = solve(log_c)
        return np.sum((values - columns @ b) ** 2) / spread**2

    grid = np.linspace(-4, 6, 41)
    best = grid[np.argmin([misfit(g) for g in grid])]
    best = optimize.minimize_scalar(misfit, bounds=(best - 0.25, best + 0.25), method="bounded").x
    (a, b), _ = solve(best)
    return lambda x: a + b / (1 + np.exp(best) + np.asarray(x))
