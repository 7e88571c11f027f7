"""The shape of the link between satisfaction and loyalty: does its slope change, where, and in which market."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.design import count_columns
from crmlab.regression import NormalScatter, t_quantile, warn_beyond
from crmlab.satisfaction.threshold import ThresholdTest, find_threshold, points_of, require_number

__all__ = [
    "fit_curve",
    "compare_curves",
    "fit_penalty_reward",
    "fit_markets",
    "CurveFit",
    "MarketCurves",
]

SHAPES = ("linear", "log", "cubic", "spline", "threshold")


def fit_curve(
    data,
    shape="spline",
    satisfaction="satisfaction",
    loyalty="loyalty",
    weights=None,
    knots=None,
    draws=999,
    seed=0,
):
    r"""Fit one shape of the link between satisfaction and loyalty by least squares on counts.

    ============= ============================================================================================
    shape         mean loyalty at satisfaction :math:`x`
    ============= ============================================================================================
    "linear"      :math:`a + b x`
    "log"         :math:`a + b \log x`: each further point does less
    "cubic"       a polynomial of degree three in :math:`x - \bar x`
    "spline"      a natural cubic spline: smooth, straight beyond the outer knots
    "threshold"   :math:`a + b x + c\,(x - \tau)_+`: two straight lines that meet at :math:`\tau`
    ============= ============================================================================================

    Assumes that satisfaction is measured without error (see `fit_corrected` for what happens if not) and that customers are
    independent. Loyalty is a number: an intention on a scale, or 1 for a customer who came back and 0 for one who did not.
    Errors are robust (HC3) and hold also where loyalty scatters less near the top of its scale.

    Parameters
    ----------
    data : DataFrame or Checked
        One row a customer, or one a case with its count; see `crmlab.design.count_cases`.
    shape : {"linear", "log", "cubic", "spline", "threshold"}
    satisfaction, loyalty : str
        Names of the columns.
    weights : str, optional
        The column that says how many customers a row stands for.
    knots : sequence of float, optional
        Of the spline, three or more. By default four: the 5th, 35th, 65th and 95th percentile.
    draws, seed
        Of the bootstrap behind the threshold, as in `threshold_test`.

    Returns
    -------
    CurveFit
        For the threshold its ``test`` holds the p-value. Where the place has no standard error (one slope on both sides, or a
        single value of satisfaction beyond it), the other errors take it as known. If it is above 1 - level, ``summary(level)`` gives the threshold no
        interval: where the slope does not change, there is no place at which it does.

    Raises
    ------
    ValueError
        If a column cannot be used, is not numeric, has fewer different values than the shape has parameters, or holds
        ratings of 0 or less for the logarithm; if one customer alone decides a parameter, which then has no robust error.

    Notes
    -----
    The spline has the columns of R's ``rms::rcs`` and the span of ``splines::ns``. In R the threshold is
    ``segmented::segmented(lm(y ~ x))``, whose errors are classical.

    References
    ----------
    T. O. Jones and W. E. Sasser (1995), Why satisfied customers defect, *Harvard Business Review* 73(6):88-99.
    B. E. Hansen (2017), Regression kink with an unknown threshold, *Journal of Business & Economic Statistics* 35(2):228-240.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> cars = simulate.satisfaction_survey(seed=1).query("market == 'cars'")
    >>> satisfaction.fit_curve(cars, "threshold").summary().round(2)
                     estimate  std_error  lower  upper
    parameter
    Intercept           28.21       4.05  20.25  36.18
    slope below          0.17       0.08   0.00   0.33
    change of slope      0.64       0.11   0.43   0.86
    threshold           59.46       2.45  52.56  70.50
    """
    if isinstance(data, str):
        raise TypeError(f"data= comes first, then shape=: fit_curve(data, {data!r}).")
    one_of("shape", shape, SHAPES)
    points = points_of(data, satisfaction, loyalty, weights)
    if shape == "threshold":
        test = find_threshold(points, satisfaction, draws, seed, 0.1)
        return _fit(points, shape, satisfaction, loyalty, tau=test.threshold, test=test)
    return _fit(points, shape, satisfaction, loyalty, knots=_knots(points, knots) if shape == "spline" else None)


def compare_curves(
    data, shapes=SHAPES, satisfaction="satisfaction", loyalty="loyalty", weights=None, draws=999, seed=0
):
    """The shapes side by side: what each explains, what it costs, and whether it misses something.

    Parameters
    ----------
    data, satisfaction, loyalty, weights, draws, seed
        As in `fit_curve`.
    shapes : sequence of str

    Returns
    -------
    pandas.DataFrame
        Indexed by ``shape``: ``parameters`` of the curve (the threshold's place is one), ``rsquared``, ``aic``, ``bic``,
        ``lack_of_fit`` (an F ratio: how far the mean at each value of satisfaction lies from the curve, against the scatter
        among customers of equal satisfaction) and its ``p_value``; missing where no two customers are equally satisfied.

    Notes
    -----
    A small p-value says that the curve misses something that the means show. It takes the scatter as equal everywhere.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> cars = simulate.satisfaction_survey(seed=1).query("market == 'cars'")
    >>> satisfaction.compare_curves(cars).round(3)
               parameters  rsquared       aic       bic  lack_of_fit  p_value
    shape
    linear              2     0.379  2977.538  2989.513        1.632    0.003
    log                 2     0.326  3009.999  3021.973        2.203    0.000
    cubic               4     0.427  2948.791  2968.748        1.136    0.239
    spline              4     0.428  2948.679  2968.636        1.134    0.241
    threshold           4     0.425  2950.669  2970.626        1.166    0.198
    """
    rows = {}
    for shape in shapes:
        fit = fit_curve(data, shape, satisfaction, loyalty, weights, draws=draws, seed=seed)
        ratio, p_value = fit.lack_of_fit()
        rows[shape] = [len(fit.params), fit.rsquared, fit.aic, fit.bic, ratio, p_value]
    columns = ["parameters", "rsquared", "aic", "bic", "lack_of_fit", "p_value"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("shape")


def fit_penalty_reward(data, expectation, performance, outcome="satisfaction", weights=None):
    r"""Does falling short of expectation cost more than exceeding it earns?

    With the gap :math:`g` = performance less expectation,

    .. math:: y = a + b_-\,\min(g, 0) + b_+\,\max(g, 0).

    The penalty :math:`b_-` is what a point of falling short takes away, the reward :math:`b_+` what a point above gives. The
    place of the kink is known (0), so the difference has an ordinary test.

    Assumes that both were measured without error and on one scale, expectation *before* the purchase.

    Parameters
    ----------
    data, weights
        As in `fit_curve`.
    expectation, performance, outcome : str
        Names of the columns.

    Returns
    -------
    CurveFit
        Of shape "penalty-reward" along the gap, with the parameters ``Intercept``, ``penalty``, ``reward``; its ``summary``
        has a last row for ``penalty - reward``.

    Raises
    ------
    ValueError
        If nobody was disappointed, or nobody was surprised: then there is only one slope; or if only one customer was.

    References
    ----------
    V. Mittal, W. T. Ross and P. M. Baldasare (1998), The asymmetric impact of negative and positive attribute-level
    performance on overall satisfaction and repurchase intentions, *Journal of Marketing* 62(1):33-47.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> panel = simulate.satisfaction_panel(seed=1)
    >>> satisfaction.fit_penalty_reward(panel, "expectation", "performance").summary().round(2)
                      estimate  std_error  lower  upper
    parameter
    Intercept             3.65       0.02   3.61   3.70
    penalty               0.51       0.01   0.48   0.54
    reward                0.16       0.01   0.14   0.18
    penalty - reward      0.35       0.02   0.31   0.40
    """
    cases, count = count_columns([expectation, performance, outcome], data, weights)
    for name in (expectation, performance, outcome):
        require_number(cases[name], name)
    gap = cases[performance].astype(float) - cases[expectation].astype(float)
    for side, what in ((gap < 0, "fell short of"), (gap > 0, "exceeded")):
        if not side.any():
            raise ValueError(
                f"no {performance!r} {what} its {expectation!r}: the two slopes cannot be compared. Are both on the same scale?"
            )
    frame = pd.DataFrame({"gap": gap, outcome: cases[outcome].astype(float), "_n": count})
    points = points_of(frame, "gap", outcome, "_n")
    return _fit(points, "penalty-reward", f"{performance} - {expectation}", outcome)


def fit_markets(
    data,
    shape="spline",
    market="market",
    satisfaction="satisfaction",
    loyalty="loyalty",
    weights=None,
    draws=999,
    seed=0,
):
    """One curve for each market, as Jones and Sasser drew them, each with its own parameters.

    Parameters
    ----------
    data, shape, satisfaction, loyalty, weights, draws, seed
        As in `fit_curve`.
    market : str
        The column that tells the markets apart.

    Returns
    -------
    MarketCurves

    Raises
    ------
    ValueError
        As `fit_curve`, with the market named.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> curves = satisfaction.fit_markets(simulate.satisfaction_survey(seed=1), shape="linear")
    >>> curves.summary().xs("slope", level="parameter").round(2)
               estimate  std_error  lower  upper
    market
    telephone     -0.01       0.03  -0.06   0.05
    airlines       0.17       0.03   0.11   0.24
    hospitals      0.31       0.03   0.24   0.38
    computers      0.37       0.03   0.30   0.43
    cars           0.53       0.04   0.45   0.60
    """
    cases, count = count_columns([market, satisfaction, loyalty], data, weights)
    cases = cases.assign(_n=count)
    fits = {}
    for name, rows in cases.groupby(market, observed=True, sort=False):
        try:
            fits[name] = fit_curve(rows, shape, satisfaction, loyalty, "_n", draws=draws, seed=seed)
        except ValueError as error:
            raise ValueError(f"{market} {name!r}: {error}") from None
    return MarketCurves(market, fits)


# --- what a fit knows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CurveFit(NormalScatter):
    """One shape, fitted; see `fit_curve` and `fit_penalty_reward`.

    Attributes
    ----------
    shape : str
    params, cov : pandas.Series, pandas.DataFrame
        Estimates by name, and their robust covariance.
    nobs, df_resid : float
        Customers, and customers less parameters.
    rsquared, sigma : float
    points : pandas.DataFrame
        Indexed by satisfaction: ``customers``, ``mean`` and ``within`` (sum of squares around the mean) of loyalty there.
    test : ThresholdTest or None
    """

    shape: str
    params: pd.Series
    cov: pd.DataFrame = field(repr=False)
    nobs: float
    df_resid: float
    rsquared: float
    sigma: float
    points: pd.DataFrame = field(repr=False)
    satisfaction: str
    loyalty: str
    test: ThresholdTest | None = None
    _basis: object = field(repr=False, default=None)

    def summary(self, level=0.95):
        """Estimates with robust errors and intervals, indexed by ``parameter``.

        The threshold's interval is that of its test, and missing if the slope cannot be shown to change.
        """
        error = pd.Series(np.sqrt(np.diag(self.cov)), self.params.index)
        q = t_quantile(level, self.df_resid)
        table = pd.DataFrame({"estimate": self.params, "std_error": error})
        if self.shape == "penalty-reward":
            contrast = np.array([0, 1, -1])
            table.loc["penalty - reward"] = [contrast @ self.params, np.sqrt(contrast @ self.cov.to_numpy() @ contrast)]
        table["lower"] = table["estimate"] - q * table["std_error"]
        table["upper"] = table["estimate"] + q * table["std_error"]
        if self.test is not None:
            table.loc["threshold", ["lower", "upper"]] = self.test.interval(level)
            if self.test.p_value > 1 - level:
                table.loc["threshold", ["std_error", "lower", "upper"]] = np.nan
        return table.rename_axis("parameter")

    def predict(self, x, level=0.95):
        """Mean loyalty at values of satisfaction.

        Parameters
        ----------
        x : float or sequence of float
        level : float

        Returns
        -------
        pandas.DataFrame
            Indexed by satisfaction: ``estimate``, ``std_error``, ``lower``, ``upper``, of the mean.

        Warns
        -----
        UserWarning
            If a value lies outside the data by more than a tenth of their range.
        """
        return self._along(x, level, self._basis.value, self._basis.gradient)

    def slope(self, x, level=0.95):
        """What one more point of satisfaction does to mean loyalty at values of satisfaction; returns as `predict`.

        At the threshold itself it is the slope above.
        """
        return self._along(x, level, self._basis.slope, self._basis.slope_gradient)

    def _along(self, x, level, value, gradient):
        x = np.atleast_1d(np.asarray(x, dtype=float))
        if not np.isfinite(x).all():
            raise ValueError(f"x holds values of {self.satisfaction!r}, finite numbers; got {x!r}.")
        warn_beyond(x, self.points.index.min(), self.points.index.max(), self.satisfaction, stacklevel=4)
        b = self.params.to_numpy()
        g = gradient(x, b)
        # A place without an error is taken as known.
        cov = np.nan_to_num(self.cov.to_numpy())
        estimate, error = value(x, b), np.sqrt(np.einsum("ij,jk,ik->i", g, cov, g))
        q = t_quantile(level, self.df_resid)
        columns = {
            "estimate": estimate,
            "std_error": error,
            "lower": estimate - q * error,
            "upper": estimate + q * error,
        }
        return pd.DataFrame(columns, pd.Index(x, name=self.satisfaction))

    def lack_of_fit(self):
        """F ratio of the means' distance from the curve to the scatter around the means, and its p-value."""
        n, mean, within = self.points["customers"], self.points["mean"], self.points["within"].sum()
        away = float(n @ (mean - self._basis.value(self.points.index.to_numpy(), self.params.to_numpy())) ** 2)
        df = len(n) - len(self.params), self.nobs - len(n)
        if min(df) <= 0 or within <= 0:
            return np.nan, np.nan
        ratio = away / df[0] / (within / df[1])
        return ratio, float(stats.f.sf(ratio, *df))

    def plot(self, ax=None, level=0.95, label=None, points=True):
        """The curve with its band, and the mean loyalty of customers of like satisfaction.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float
        label : str, optional
            Of the curve in the legend; by default its shape.
        points : bool
            Whether to draw the means, in at most twelve groups of like satisfaction; larger dots are more customers.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        x = np.linspace(self.points.index.min(), self.points.index.max(), 200)
        curve = self.predict(x, level)
        (line,) = ax.plot(x, curve["estimate"], label=label or self.shape)
        ax.fill_between(x, curve["lower"], curve["upper"], color=line.get_color(), alpha=0.2, linewidth=0)
        if points:
            groups = _groups(self.points)
            size = 20 + 120 * groups["customers"] / groups["customers"].max()
            ax.scatter(
                groups["satisfaction"], groups["mean"], s=size, color=line.get_color(), edgecolor="white", zorder=3
            )
        if self.test is not None and self.test.p_value <= 1 - level:
            ax.axvline(self.params["threshold"], color=line.get_color(), linestyle=":", linewidth=1.5)
            ax.axvspan(*self.test.interval(level), color=line.get_color(), alpha=0.1, linewidth=0)
        ax.set(xlabel=self.satisfaction, ylabel=self.loyalty)
        ax.legend()
        return ax


@dataclass(frozen=True, eq=False)
class MarketCurves:
    """One `CurveFit` a market; see `fit_markets`.

    Attributes
    ----------
    market : str
        Name of the column.
    fits : dict
        Market to `CurveFit`.
    """

    market: str
    fits: dict = field(repr=False)

    @property
    def nobs(self):
        """Customers in all markets."""
        return sum(fit.nobs for fit in self.fits.values())

    def summary(self, level=0.95):
        """Estimates by market and ``parameter``; see `CurveFit.summary`."""
        return pd.concat({name: fit.summary(level) for name, fit in self.fits.items()}, names=[self.market])

    def predict(self, x, level=0.95):
        """Mean loyalty by market at values of satisfaction; see `CurveFit.predict`."""
        return pd.concat({name: fit.predict(x, level) for name, fit in self.fits.items()}, names=[self.market])

    def slope(self, x, level=0.95):
        """The slope by market at values of satisfaction; see `CurveFit.slope`."""
        return pd.concat({name: fit.slope(x, level) for name, fit in self.fits.items()}, names=[self.market])

    def plot(self, ax=None, level=0.95, points=False):
        """One curve a market, each in its own colour and line.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float
        points : bool

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        for i, (name, fit) in enumerate(self.fits.items()):
            fit.plot(ax, level, label=str(name), points=points)
            curve = [line for line in ax.lines if line.get_label() == str(name)][-1]
            curve.set_linestyle(("-", "--", "-.", ":")[i % 4])
        ax.legend(title=self.market)
        return ax


# --- how --------------------------------------------------------------------------------------------------------------


def _groups(points, most=12):
    if len(points) > most:
        edges = np.cumsum(points["customers"]) / points["customers"].sum()
        group = np.minimum((edges - 1e-12) * most // 1, most - 1)
    else:
        group = np.arange(len(points))
    frame = pd.DataFrame(
        {"n": points["customers"], "x": points["customers"] * points.index, "y": points["customers"] * points["mean"]}
    )
    sums = frame.groupby(np.asarray(group)).sum()
    return pd.DataFrame({"satisfaction": sums["x"] / sums["n"], "mean": sums["y"] / sums["n"], "customers": sums["n"]})


class _Linear:
    """A shape that is linear in its parameters: its columns, and their derivatives along satisfaction."""

    def __init__(self, names, columns, slopes):
        self.names, self.columns, self.slopes = names, columns, slopes

    def gradient(self, x, b):
        return self.columns(x)

    def slope_gradient(self, x, b):
        return self.slopes(x)

    def value(self, x, b):
        return self.columns(x) @ b

    def slope(self, x, b):
        return self.slopes(x) @ b


class _Kink:
    """Two lines that meet; the place is a parameter."""

    names = ("Intercept", "slope below", "change of slope", "threshold")

    def gradient(self, x, b):
        above = x > b[3]
        return np.column_stack([np.ones_like(x), x, np.maximum(x - b[3], 0), -b[2] * above])

    def slope_gradient(self, x, b):
        zero = np.zeros_like(x)
        return np.column_stack([zero, zero + 1, x >= b[3], zero])

    def value(self, x, b):
        return b[0] + b[1] * x + b[2] * np.maximum(x - b[3], 0)

    def slope(self, x, b):
        return b[1] + b[2] * (x >= b[3])


def _basis(shape, points, knots):
    if shape == "linear":
        return _Linear(
            ("Intercept", "slope"),
            lambda x: np.column_stack([np.ones_like(x), x]),
            lambda x: np.column_stack([np.zeros_like(x), np.ones_like(x)]),
        )
    if shape == "log":
        if points.index.min() <= 0:
            raise ValueError(
                f"column {points.index.name!r} holds {points.index.min():g}: the logarithm takes values above 0. Add a constant that makes sense on the scale, or take another shape."
            )
        return _Linear(
            ("Intercept", "slope of log"),
            lambda x: np.column_stack([np.ones_like(x), np.log(x)]),
            lambda x: np.column_stack([np.zeros_like(x), 1 / x]),
        )
    if shape == "cubic":
        c = np.average(points.index, weights=points["customers"])
        return _Linear(
            ("Intercept", "slope at the mean", "square", "cube"),
            lambda x: np.column_stack([np.ones_like(x), x - c, (x - c) ** 2, (x - c) ** 3]),
            lambda x: np.column_stack([np.zeros_like(x), np.ones_like(x), 2 * (x - c), 3 * (x - c) ** 2]),
        )
    if shape == "penalty-reward":
        return _Linear(
            ("Intercept", "penalty", "reward"),
            lambda x: np.column_stack([np.ones_like(x), np.minimum(x, 0), np.maximum(x, 0)]),
            lambda x: np.column_stack([np.zeros_like(x), x < 0, x >= 0]).astype(float),
        )
    return _Linear(
        ("Intercept", "slope below the knots", *(f"bend at {t:g}" for t in knots[:-2])),
        lambda x: np.column_stack([np.ones_like(x), x, _bends(x, knots, 3)]),
        lambda x: np.column_stack([np.zeros_like(x), np.ones_like(x), _bends(x, knots, 2)]),
    )


def _bends(x, knots, power):
    """Harrell's columns of a natural cubic spline (power 3) or their derivatives (power 2)."""
    last, before = knots[-1], knots[-2]
    factor = 1 if power == 3 else 3

    def plus(t):
        return np.maximum(x - t, 0) ** power

    columns = [
        plus(t) - plus(before) * (last - t) / (last - before) + plus(last) * (before - t) / (last - before)
        for t in knots[:-2]
    ]
    return factor * np.column_stack(columns) / (last - knots[0]) ** 2


def _knots(points, knots):
    if knots is None:
        share = np.cumsum(points["customers"]) / points["customers"].sum()
        knots = [points.index[np.searchsorted(share, p)] for p in (0.05, 0.35, 0.65, 0.95)]
    knots = np.unique(np.asarray(knots, dtype=float))
    if len(knots) < 3:
        raise ValueError(
            f"a spline takes three different knots; here are {', '.join(f'{t:g}' for t in knots)}. Too many customers gave the same rating: give knots=, or take another shape."
        )
    return knots


def _fit(points, shape, satisfaction, loyalty, tau=None, knots=None, test=None):
    x, n = points.index.to_numpy(), points["customers"].to_numpy()
    mean, within = points["mean"].to_numpy(), points["within"].to_numpy()
    basis = _Kink() if shape == "threshold" else _basis(shape, points, knots)
    if shape == "threshold":
        columns = np.column_stack([np.ones_like(x), x, np.maximum(x - tau, 0)])
    else:
        columns = basis.columns(x)
    if len(x) < len(basis.names):
        raise ValueError(
            f"shape {shape!r} has {len(basis.names)} parameters, and column {points.index.name!r} only {len(x)} different values. Take a simpler shape."
        )
    root = np.sqrt(n)
    weighted = columns * root[:, None]
    size = np.sqrt((weighted**2).sum(axis=0))  # satisfaction may be in any unit
    params, _, rank, _ = np.linalg.lstsq(weighted / np.where(size > 0, size, 1), mean * root, rcond=1e-12)
    params = params / np.where(size > 0, size, 1)
    if rank < columns.shape[1]:
        raise ValueError(f"shape {shape!r} cannot be told from a simpler one on these values. Take a simpler shape.")
    if shape == "threshold":
        params = np.append(params, tau)
    nobs, df = n.sum(), n.sum() - len(params)
    if df <= 0:
        raise ValueError(f"shape {shape!r} has {len(params)} parameters; {nobs:g} customers are not enough.")
    squares = within + n * (mean - basis.value(x, params)) ** 2  # of the residuals of all customers there
    gradient = basis.gradient(x, params)
    cov = _robust(gradient, n, squares, basis.names)
    total = within.sum() + n @ (mean - np.average(mean, weights=n)) ** 2
    names = list(basis.names)
    return CurveFit(
        shape=shape,
        params=pd.Series(params, names),
        cov=pd.DataFrame(cov, names, names),
        nobs=float(nobs),
        df_resid=float(df),
        rsquared=float(1 - squares.sum() / total) if total > 0 else np.nan,
        sigma=float(np.sqrt(squares.sum() / df)),
        points=points,
        satisfaction=satisfaction,
        loyalty=loyalty,
        test=test,
        _basis=basis,
    )


def _robust(gradient, n, squares, names):
    """HC3 on counts: the leverage depends on satisfaction only, so the squared residuals there add up first."""
    scale = np.sqrt(np.sum(n[:, None] * gradient**2, axis=0))
    scale[scale == 0] = 1
    g = gradient / scale
    information = (g * n[:, None]).T @ g
    if np.linalg.cond(information) > 1e14:
        # Two lines with one slope, or a single value beyond the place: it has no error, and the others take it as known.
        cov = np.full((g.shape[1],) * 2, np.nan)
        cov[:-1, :-1] = _robust(gradient[:, :-1], n, squares, names[:-1])
        return cov
    bread = np.linalg.inv(information)
    leverage = np.einsum("ij,jk,ik->i", g, bread, g)
    if (alone := np.flatnonzero(leverage > 1 - 1e-10)).size:
        moved = np.abs(bread @ g[alone[0]])
        told = ", ".join(repr(name) for name, share in zip(names, moved) if share > 1e-6 * moved.max())
        raise ValueError(
            f"{told}: one customer alone decides what is estimated here, and is met exactly, so there is no robust error. Take a simpler shape, or leave the customer out and say so."
        )
    meat = (g * (squares / (1 - leverage) ** 2)[:, None]).T @ g
    return bread @ meat @ bread / np.outer(scale, scale)
