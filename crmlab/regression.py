"""Regressions on counts, with formulas: a straight line by least squares, and what an interaction of two columns says.

In reading order: ``fit_linear`` (least squares with exact frequency weights), ``simple_slopes`` and ``johnson_neyman`` (how
the effect of one column depends on another, from any fit with an interaction).

Models of single concepts (`crmlab.satisfaction`) build on these; nothing here knows what the columns mean.
"""

import re
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.design import Design, columns_in, count_cases

__all__ = [
    "fit_linear",
    "simple_slopes",
    "johnson_neyman",
    "plot_simple_slopes",
    "LinearFit",
    "JohnsonNeyman",
]


def fit_linear(formula, data, weights=None, errors="robust"):
    r"""Least squares on counts: the straight line (or plane) that is nearest to the answers.

    .. math:: \hat\beta = \Big(\sum_i n_i x_i x_i'\Big)^{-1} \sum_i n_i x_i y_i,

    where :math:`n_i` customers share the case :math:`i`. The estimates and errors are those of the :math:`\sum n_i` single
    rows, to rounding.

    Assumes that the mean of the answer is linear in the columns, and that customers are independent. Classical errors assume
    further that the answers scatter equally everywhere, which ratings with a ceiling do not.

    Parameters
    ----------
    formula : str
        As in R or statsmodels: ``"loyalty ~ satisfaction * competition + market"``.
    data : DataFrame or Checked
        One row a customer, or one row a case with its count; see `crmlab.design.count_cases`.
    weights : str, optional
        The column that says how many customers a row stands for.
    errors : {"robust", "classical"}
        Robust errors (HC3) hold also where the scatter differs from place to place.

    Returns
    -------
    LinearFit

    Raises
    ------
    ValueError
        If the formula or the data cannot be used (see `crmlab.design.count_cases`), the answer is not numeric, a column is a combination
        of others, there are no more customers than parameters, or one customer alone decides a coefficient (a category with nobody
        else), where robust errors do not exist.

    Notes
    -----
    In R: ``lm(formula, data[rep(1:nrow(data), data$n), ])`` with ``sandwich::vcovHC(type = "HC3")``; R's own ``weights=``
    are not counts. In statsmodels: ``OLS.from_formula(...).fit(cov_type="HC3")`` on the single rows.

    References
    ----------
    J. S. Long and L. H. Ervin (2000), Using heteroscedasticity consistent standard errors in the linear regression model,
    *The American Statistician* 54(3):217-224.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import regression
    >>> answers = pd.DataFrame({"score": [1, 2, 3, 4, 5], "loyalty": [2, 3, 3, 5, 6], "n": [4, 9, 20, 30, 12]})
    >>> regression.fit_linear("loyalty ~ score", answers, weights="n").summary().round(3)
               estimate  std_error  lower  upper
    parameter
    Intercept     0.327      0.204 -0.080  0.734
    score         1.116      0.048  1.021  1.212
    """
    one_of("errors", errors, ("robust", "classical"))
    cases, count = count_cases(formula, data, weights)
    design = Design.of(formula, cases)
    y = _numeric_response(cases[design.response], design.response)
    design.require_full_rank(count)
    x = design.matrix
    nobs, parameters = count.sum(), x.shape[1]
    if nobs <= parameters:
        raise ValueError(
            f"{parameters} parameters take more than {parameters} customers; there are {nobs:g}. Ask a shorter formula, or more customers."
        )
    root = np.sqrt(count)
    # By QR, which does not square the condition number as the normal equations do.
    q, r = np.linalg.qr(x * root[:, None])
    inverse = np.linalg.inv(r)
    params = inverse @ (q.T @ (y * root))
    bread = inverse @ inverse.T
    residual = y - x @ params
    rest = float(count @ residual**2)
    if errors == "classical":
        cov = bread * rest / (nobs - parameters)
    else:
        leverage = (q / root[:, None]) ** 2 @ np.ones(parameters)
        _refuse_alone(leverage, bread, design, cases)
        meat = (x * (count * (residual / (1 - leverage)) ** 2)[:, None]).T @ x
        cov = bread @ meat @ bread
    total = float(count @ (y - np.average(y, weights=count)) ** 2)
    names = design.names
    return LinearFit(
        params=pd.Series(params, names),
        cov=pd.DataFrame(cov, names, names),
        nobs=float(nobs),
        df_resid=float(nobs - parameters),
        rsquared=1 - rest / total if total > 0 else np.nan,
        sigma=float(np.sqrt(rest / (nobs - parameters))),
        errors=errors,
        design=design,
        cases=cases.assign(customers=count),
    )


def _refuse_alone(leverage, bread, design, cases):
    """Refuse robust errors where one customer alone decides a coefficient: the fit meets that one exactly, and the scatter is unknown."""
    alone = np.flatnonzero(leverage > 1 - 1e-10)
    if not len(alone):
        return
    moved = np.abs(bread @ design.matrix[alone[0]]) / np.sqrt(np.diag(bread))
    names = [name for name, share in zip(design.names, moved) if share > 1e-6 * moved.max()]
    who = ", ".join(
        f"{name}={value!r}" for name, value in cases[list(design._columns)].iloc[alone[0]].to_dict().items()
    )
    others = f", and {len(alone) - 1} more like this" if len(alone) > 1 else ""
    raise ValueError(
        f"{', '.join(map(repr, names))}: one customer alone decides what is estimated here ({who}{others}), and is met exactly, so the robust errors (HC3) do not exist. "
        "Fix: join the category with another, leave the customer out and say so, or fit_linear(..., errors='classical')."
    )


class NormalScatter:
    """Likelihood and criteria of a fit by least squares: it has ``params``, ``sigma``, ``df_resid`` and ``nobs``."""

    @property
    def loglik(self):
        """Log-likelihood under normal scatter of equal size."""
        rest = self.sigma**2 * self.df_resid
        return float(-self.nobs / 2 * (np.log(2 * np.pi * rest / self.nobs) + 1))

    @property
    def aic(self):
        """Akaike's criterion; the standard deviation counts as a parameter."""
        return 2 * (len(self.params) + 1) - 2 * self.loglik

    @property
    def bic(self):
        """Schwarz's criterion; the standard deviation counts as a parameter."""
        return (len(self.params) + 1) * np.log(self.nobs) - 2 * self.loglik


@dataclass(frozen=True, eq=False)
class LinearFit(NormalScatter):
    """The least-squares fit of `fit_linear`; see there.

    Attributes
    ----------
    params, cov : pandas.Series, pandas.DataFrame
        Estimates by name, and their covariance.
    nobs, df_resid : float
        Customers, and customers less parameters.
    rsquared, sigma : float
        Share of the answers' variance that the columns explain; standard deviation of the rest.
    errors : str
        Which errors: ``"robust"`` or ``"classical"``.
    cases : pandas.DataFrame
        The distinct rows, with how many customers share each.
    """

    params: pd.Series
    cov: pd.DataFrame = field(repr=False)
    nobs: float
    df_resid: float
    rsquared: float
    sigma: float
    errors: str
    design: "Design" = field(repr=False)
    cases: pd.DataFrame = field(repr=False)

    def summary(self, level=0.95):
        """Estimates with standard errors and t intervals, indexed by ``parameter``."""
        error = np.sqrt(np.diag(self.cov))
        return _interval_table(self.params, error, t_quantile(level, self.df_resid), "parameter")

    def predict(self, new, level=0.95):
        """The mean answer at new values of the columns.

        Parameters
        ----------
        new : DataFrame
            The columns of the formula.
        level : float

        Returns
        -------
        pandas.DataFrame
            `new` with ``estimate``, ``std_error``, ``lower``, ``upper``: of the mean, not of a single customer.
        """
        x = self.design.build(new)
        error = np.sqrt(np.einsum("ij,jk,ik->i", x, self.cov.to_numpy(), x))
        table = _interval_table(
            pd.Series(x @ self.params.to_numpy(), new.index), error, t_quantile(level, self.df_resid)
        )
        return pd.concat([new, table], axis=1)

    def plot(self, ax=None, level=0.95):
        """Each coefficient but the intercept with its interval.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        return style.coefficients(
            self.summary(level).drop("Intercept", errors="ignore"), ax, f"change of {self.design.response} for one unit"
        )


def simple_slopes(fit, focal, moderator, at=None, level=0.95):
    r"""The effect of one column at chosen values of another, from a fit with their interaction.

    With coefficient :math:`\beta_1` of the focal column and :math:`\beta_3` of its product with the moderator :math:`m`,

    .. math:: \text{slope}(m) = \beta_1 + \beta_3 m, \qquad
              \operatorname{var} = v_{11} + 2 m v_{13} + m^2 v_{33}.

    If the moderator is a category, :math:`\beta_3` is that of the category, and 0 for the first.

    Parameters
    ----------
    fit : LinearFit, OrderedFit or a result of statsmodels
        Anything with ``params`` and a covariance, whose parameters are named ``focal`` and ``focal:moderator``.
    focal, moderator : str
        Names of the columns, as they stand in the names of the parameters.
    at : sequence, optional
        Values of the moderator. By default the mean and one standard deviation below and above it, or every category;
        for a result of statsmodels they must be given.
    level : float

    Returns
    -------
    pandas.DataFrame
        Indexed by the moderator: ``estimate`` (change of the answer, or of the hidden scale in an ordered model, for one
        unit of the focal column), ``std_error``, ``lower``, ``upper``.

    Raises
    ------
    ValueError
        If the fit has no such interaction, or the focal column interacts with a third one too or stands in a power or another
        function, on which its effect would depend as well.

    Warns
    -----
    UserWarning
        If a value lies outside the data by more than a tenth of their range.

    References
    ----------
    L. S. Aiken and S. G. West (1991), *Multiple Regression: Testing and Interpreting Interactions*, Sage.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from crmlab import regression
    >>> rng = np.random.default_rng(1)
    >>> data = pd.DataFrame({"score": rng.normal(size=200), "rivals": rng.integers(0, 6, 200)})
    >>> data["loyalty"] = 1 + (0.5 + 0.4 * data["rivals"]) * data["score"] + rng.normal(size=200)
    >>> fit = regression.fit_linear("loyalty ~ score * rivals", data)
    >>> regression.simple_slopes(fit, "score", "rivals", at=[0, 5]).round(2)
            estimate  std_error  lower  upper
    rivals
    0           0.33       0.11   0.12   0.55
    5           2.70       0.11   2.49   2.92
    """
    parts = _interaction(fit, focal, moderator)
    if at is None:
        at = _moderator_values(fit, moderator, parts)
    values = pd.Index(np.atleast_1d(np.asarray(at)), name=moderator)
    if parts.levels is None and not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise ValueError(f"{moderator!r} is a number in this fit: at= takes numbers; got {list(values)!r}.")
    cases = getattr(fit, "cases", None)
    if parts.levels is None and cases is not None and moderator in cases:
        warn_beyond(values, cases[moderator].min(), cases[moderator].max(), moderator)
    estimates, errors = np.transpose([parts.slope(value) for value in values])
    return _interval_table(pd.Series(estimates, values), errors, t_quantile(level, parts.df))


def johnson_neyman(fit, focal, moderator, level=0.95, limits=None, simultaneous=False):
    r"""Where on the moderator the effect of the focal column can be distinguished from zero, instead of at a few chosen values.

    Solves :math:`\text{slope}(m)^2 = q^2 \operatorname{var}(\text{slope}(m))`, a quadratic in :math:`m`, for the quantile
    :math:`q` of the level: between or beyond its roots the interval of the slope leaves zero out.

    Assumes what the fit assumes, and that the effect changes along a straight line of the moderator. The band holds at each
    value taken alone; with ``simultaneous=True`` it holds for all values at once (Potthoff), :math:`q^2 = 2 F_{2, df}`.

    Parameters
    ----------
    fit, focal, moderator
        As in `simple_slopes`; the moderator is numeric.
    level : float
    limits : (float, float), optional
        Range of the moderator to report; by default that of the data. For a result of statsmodels they must be given.
    simultaneous : bool, default False

    Returns
    -------
    JohnsonNeyman
        ``regions`` lists the stretches of the moderator and what the effect is there; ``bounds`` the values between them.

    Raises
    ------
    ValueError
        As `simple_slopes`; also if the moderator is a category, where `simple_slopes` has every value there is.

    References
    ----------
    P. O. Johnson and J. Neyman (1936), Tests of certain linear hypotheses and their application to some educational
    problems, *Statistical Research Memoirs* 1:57-93. R. F. Potthoff (1964), On the Johnson-Neyman technique and some
    extensions thereof, *Psychometrika* 29(3):241-256. In R: ``interactions::johnson_neyman``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from crmlab import regression
    >>> rng = np.random.default_rng(1)
    >>> data = pd.DataFrame({"score": rng.normal(size=200), "rivals": rng.uniform(0, 5, 200)})
    >>> data["loyalty"] = 1 + 0.4 * data["rivals"] * data["score"] + rng.normal(size=200)
    >>> fit = regression.fit_linear("loyalty ~ score * rivals", data)
    >>> regression.johnson_neyman(fit, "score", "rivals", limits=(0, 5)).regions.round(2)
       from    to                       effect  customers
    0  0.00  0.69  not distinguished from zero       0.18
    1  0.69  5.00                     positive       0.82
    """
    parts = _interaction(fit, focal, moderator)
    cases = getattr(fit, "cases", None)
    column = cases[moderator] if cases is not None and moderator in cases else None
    if parts.levels is not None or (column is not None and column.dtype == bool):
        raise ValueError(
            f"{moderator!r} is a category in this fit: it has no values in between. simple_slopes gives the effect in each."
        )
    if limits is None:
        if column is None:
            raise ValueError(
                f"limits= is the range of {moderator!r} to look at, such as (0, 10): this fit has no data."
            )
        limits = (column.min(), column.max())
    low, high = map(float, limits)
    if not low < high:
        raise ValueError(f"limits= are a lower and a higher value of {moderator!r}; got {limits!r}.")
    # The level is checked in both branches by the quantile.
    q = t_quantile(level, parts.df)
    if simultaneous:
        q = np.sqrt(2 * (stats.f.ppf(level, 2, parts.df) if np.isfinite(parts.df) else stats.chi2.ppf(level, 2) / 2))
    b1, b3 = parts.focal, parts.products[None]
    v11, v13, v33 = parts.v11, parts.v13[None], parts.v33[None]
    a, b, c = b3**2 - q**2 * v33, 2 * (b1 * b3 - q**2 * v13), b1**2 - q**2 * v11
    roots = np.roots([a, b, c]) if a else np.roots([b, c])
    inside = sorted(float(root.real) for root in roots if abs(root.imag) < 1e-12 and low < root.real < high)
    edges = [low, *inside, high]
    rows = []
    for start, end in zip(edges, edges[1:]):
        slope, error = parts.slope((start + end) / 2)
        effect = "not distinguished from zero" if abs(slope) <= q * error else "positive" if slope > 0 else "negative"
        share = np.nan
        if column is not None:
            count = cases["customers"]
            here = (column >= start) & ((column < end) if end < high else (column <= end))
            share = float(np.sum(count * here) / np.sum(count))
        rows.append({"from": start, "to": end, "effect": effect, "customers": share})
    return JohnsonNeyman(
        focal, moderator, pd.DataFrame(rows), tuple(inside), (low, high), level, simultaneous, q, parts, fit.nobs
    )


@dataclass(frozen=True, eq=False)
class JohnsonNeyman:
    """The regions that `johnson_neyman` found; see there.

    Attributes
    ----------
    focal, moderator : str
    regions : pandas.DataFrame
        ``from``, ``to`` (values of the moderator), ``effect`` ("positive", "negative", "not distinguished from zero"), ``customers``
        (the share of customers whose moderator lies there).
    bounds : tuple of float
        Where one region gives way to the next.
    limits : (float, float)
    level : float
    simultaneous : bool
    nobs : float
    """

    focal: str
    moderator: str
    regions: pd.DataFrame
    bounds: tuple
    limits: tuple
    level: float
    simultaneous: bool
    _q: float = field(repr=False)
    _parts: object = field(repr=False)
    nobs: float

    def summary(self, points=5):
        """The effect at evenly spaced values of the moderator, with the interval that the regions are made from."""
        values = np.linspace(*self.limits, points)
        estimates, errors = np.transpose([self._parts.slope(value) for value in values])
        return _interval_table(pd.Series(estimates, pd.Index(values, name=self.moderator)), errors, self._q)

    def plot(self, ax=None):
        """The effect along the moderator with its band; the regions where it can be distinguished from zero are drawn in colour.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        seen = set()
        for region in self.regions.itertuples(index=False):
            start, end, effect = region[0], region[1], region[2]
            values = np.linspace(start, end, 100)
            slopes, errors = np.transpose([self._parts.slope(value) for value in values])
            told = effect != "not distinguished from zero"
            colour = style.COLOURS[0] if told else "grey"
            label = ("distinguished from zero" if told else "not distinguished from zero") if told not in seen else None
            seen.add(told)
            ax.plot(values, slopes, color=colour, linestyle="-" if told else "--", label=label)
            ax.fill_between(values, slopes - self._q * errors, slopes + self._q * errors, color=colour, alpha=0.2, lw=0)
        ax.axhline(0, color="black", linewidth=1)
        for bound in self.bounds:
            ax.axvline(bound, color="grey", linestyle=":", linewidth=1.5)
        ax.set(xlabel=self.moderator, ylabel=f"effect of one unit of {self.focal}")
        ax.legend()
        return ax


def plot_simple_slopes(slopes, ax=None):
    """Simple slopes with their intervals.

    Parameters
    ----------
    slopes : pandas.DataFrame
        What `simple_slopes` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    named = slopes.set_axis([f"{v:.2f}" if isinstance(v, float) else str(v) for v in slopes.index])
    ax = style.coefficients(named, ax, "simple slope")
    ax.set_ylabel(slopes.index.name)
    return ax


# --- the interaction in a fit -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Interaction:
    """Focal coefficient, product coefficients (None: the numeric product; else by category) and their covariances."""

    focal: float
    v11: float
    products: dict
    v13: dict
    v33: dict
    levels: list | None
    df: float
    name: str

    def slope(self, value):
        if self.levels is None:
            product, v13, v33, m = self.products[None], self.v13[None], self.v33[None], float(value)
        elif value in self.products:
            product, v13, v33, m = self.products[value], self.v13[value], self.v33[value], 1.0
        elif value == self.levels[0] or self.levels[0] is None:
            return self.focal, np.sqrt(self.v11)
        else:
            raise ValueError(f"{self.name!r} has no category {value!r}; there are: {', '.join(map(str, self.levels))}.")
        return self.focal + product * m, np.sqrt(self.v11 + 2 * m * v13 + m**2 * v33)


def _interaction(fit, focal, moderator):
    params = fit.params
    names = [str(name) for name in getattr(params, "index", [])]
    cov = fit.cov if hasattr(fit, "cov") else fit.cov_params()
    cov = np.asarray(cov, dtype=float)
    if focal not in names:
        raise ValueError(f"the fit has no coefficient {focal!r}; it has: {', '.join(names)}.")
    products, foreign = {}, []
    for place, name in enumerate(names):
        pieces = name.split(":")
        if focal not in pieces or len(pieces) == 1:
            continue
        other = pieces[1 - pieces.index(focal)] if len(pieces) == 2 else None
        if other == moderator:
            products[None] = place
        elif other is not None and other.startswith(f"{moderator}[T.") and other.endswith("]"):
            products[other[len(moderator) + 3 : -1]] = place
        else:
            foreign.append(name)
    if not products:
        raise ValueError(
            f"the fit has no interaction of {focal!r} and {moderator!r}: write {focal} * {moderator} in the formula. It has: {', '.join(names)}."
        )
    if foreign:
        raise ValueError(
            f"{focal!r} interacts with further columns ({', '.join(foreign)}), so its effect is no function of {moderator!r} alone. "
            "Leave those products out, or hold that column fixed by centring it at the value of interest and dropping its product."
        )
    own, itself = columns_in(focal), re.sub(r"\[.*?\]", "", focal)
    pieces = {name: re.sub(r"\[.*?\]", "", name).split(":") for name in names}
    if also := [name for name in names if any(part != itself and own & columns_in(part) for part in pieces[name])]:
        raise ValueError(
            f"{focal!r} stands in a power or another function too ({', '.join(also)}), so its effect is no function of {moderator!r} alone: it differs from one value of "
            f"{focal!r} to the next. Fix: leave that term out, or take the effect from predict at two values."
        )
    df = float(getattr(fit, "df_resid", np.inf) or np.inf)
    use_t = getattr(fit, "use_t", True)  # statsmodels says so
    values, i = np.asarray(params, dtype=float), names.index(focal)
    levels = None
    if None not in products:
        levels = [None, *products]
        known = getattr(getattr(fit, "design", None), "levels", {}).get(moderator)
        if known is not None:
            # Categories may be other than text (True, 3): the names of the parameters have them as text.
            products = {level: products[str(level)] for level in known[1:]}
            levels = list(known)
    return _Interaction(
        focal=values[i],
        v11=cov[i, i],
        products={key: values[j] for key, j in products.items()},
        v13={key: cov[i, j] for key, j in products.items()},
        v33={key: cov[j, j] for key, j in products.items()},
        levels=levels,
        df=df if use_t else np.inf,
        name=moderator,
    )


def _moderator_values(fit, moderator, parts):
    if parts.levels is not None and parts.levels[0] is not None:
        return parts.levels
    cases = getattr(fit, "cases", None)
    if parts.levels is None and cases is not None and moderator in cases and cases[moderator].dtype == bool:
        return fit.design.levels[moderator]  # true and false, which a formula takes as 1 and 0
    if parts.levels is not None or cases is None or moderator not in cases:
        raise ValueError(
            f"at= says at which values of {moderator!r} to take the slope: this fit does not hold its data."
        )
    column, count = cases[moderator].to_numpy(dtype=float), cases["customers"].to_numpy(dtype=float)
    mean = np.average(column, weights=count)
    spread = np.sqrt(count @ (column - mean) ** 2 / (count.sum() - 1))
    return [mean - spread, mean, mean + spread]


def warn_beyond(values, low, high, name, stacklevel=3):
    """Say that a line is followed to where there are no data: beyond their range by more than a tenth of it."""
    values, low, high = np.asarray(values, dtype=float), float(low), float(high)
    far = (values < low - 0.1 * (high - low)) | (values > high + 0.1 * (high - low))
    if far.any():
        warnings.warn(
            f"{name!r} at {values[far][0]:g} lies outside the data ({low:g} to {high:g}): nothing was seen there.",
            stacklevel=stacklevel,
        )


def t_quantile(level, df):
    """Two-sided quantile of Student's t; of the normal distribution for infinitely many degrees of freedom."""
    if not 0 < level < 1:
        raise ValueError(f"level= is a confidence level between 0 and 1, such as 0.95; got {level!r}.")
    return stats.norm.ppf(0.5 + level / 2) if np.isinf(df) else stats.t.ppf(0.5 + level / 2, df)


def _interval_table(estimate, error, q, name=None):
    table = pd.DataFrame(
        {"estimate": estimate, "std_error": error, "lower": estimate - q * error, "upper": estimate + q * error}
    )
    return table.rename_axis(name) if name else table


def _numeric_response(column, name):
    if column.dtype == bool:
        return column.to_numpy(dtype=float)
    if not pd.api.types.is_numeric_dtype(column):
        raise ValueError(
            f"column {name!r} holds {column.dtype} values (for example {column.iloc[0]!r}): an answer that is averaged is a number. "
            "For ordered categories take crmlab.satisfaction.fit_ordered."
        )
    return column.to_numpy(dtype=float)
