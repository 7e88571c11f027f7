"""The shape of the link between satisfaction and loyalty: does its slope change, where, and in which market."""

import functools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.regression import count_columns, t_quantile

__all__ = [
    "fit_curve",
    "compare_curves",
    "threshold_test",
    "fit_penalty_reward",
    "fit_markets",
    "CurveFit",
    "ThresholdTest",
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
        One row a customer, or one a case with its count; see `crmlab.regression.count_cases`.
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
        For the threshold its ``test`` holds the p-value. If it is above 1 - level, ``summary(level)`` gives the threshold no
        interval: where the slope does not change, there is no place at which it does.

    Raises
    ------
    ValueError
        If a column cannot be used, is not numeric, has fewer different values than the shape has parameters, or holds
        ratings of 0 or less for the logarithm.

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
    one_of("shape", shape, SHAPES)
    points = _points(data, satisfaction, loyalty, weights)
    if shape == "threshold":
        test = _threshold(points, satisfaction, draws, seed, 0.1)
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


def threshold_test(
    data, satisfaction="satisfaction", loyalty="loyalty", weights=None, draws=999, seed=0, trim=0.1, level=0.95
):
    r"""Does the slope change somewhere, and where? A sup-F test with a bootstrap p-value, and an interval for the place.

    For every place :math:`\tau` the two lines that meet there are fitted and compared with one straight line; the largest
    F ratio is the test. If there is no change, :math:`\tau` is nowhere, so the usual tables of F do not hold: looking at
    many places finds a change too often. The bootstrap makes loyalty anew around the *straight* line, with each customer's
    residual times a normal draw (so that unequal scatter stays as it is), and looks for the best place each time.

    The interval holds all places that fit nearly as well as the best; how much worse is still near, a second bootstrap says,
    around the two fitted lines. It is an interval only if there is a change: read the p-value first.

    Parameters
    ----------
    data, satisfaction, loyalty, weights
        As in `fit_curve`.
    draws : int
        Bootstrap samples.
    seed : int or numpy.random.Generator
        The same seed gives the same p-value.
    trim : float
        Share of customers that must lie beyond the place on either side.
    level : float
        Of the interval in ``summary`` and the plot.

    Returns
    -------
    ThresholdTest

    Raises
    ------
    ValueError
        If satisfaction has fewer than five different values, or so few in the middle that no place can be looked at.

    Notes
    -----
    The draws need only, for each value of satisfaction, the sum of the squared residuals there: the sum of normal draws
    weighted by residuals is normal with that variance. So the bootstrap of single customers runs on counts, exactly.

    References
    ----------
    B. E. Hansen (1996), Inference when a nuisance parameter is not identified under the null hypothesis, *Econometrica*
    64(2):413-430. B. E. Hansen (2017), Regression kink with an unknown threshold, *Journal of Business & Economic
    Statistics* 35(2):228-240.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> survey = simulate.satisfaction_survey(seed=1)
    >>> satisfaction.threshold_test(survey.query("market == 'cars'")).p_value
    0.001
    >>> satisfaction.threshold_test(survey.query("market == 'telephone'")).p_value
    0.737
    """
    points = _points(data, satisfaction, loyalty, weights)
    return _threshold(points, satisfaction, draws, seed, trim, level)


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
        If nobody was disappointed, or nobody was surprised: then there is only one slope.

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
        _require_number(cases[name], name)
    gap = cases[performance].astype(float) - cases[expectation].astype(float)
    for side, what in ((gap < 0, "fell short of"), (gap > 0, "exceeded")):
        if not side.any():
            raise ValueError(
                f"no {performance!r} {what} its {expectation!r}: the two slopes cannot be compared. Are both on the same scale?"
            )
    frame = pd.DataFrame({"gap": gap, outcome: cases[outcome].astype(float), "_n": count})
    points = _points(frame, "gap", outcome, "_n")
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
class CurveFit:
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
    test: "ThresholdTest | None" = None
    _basis: object = field(repr=False, default=None)

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
        b = self.params.to_numpy()
        g = gradient(x, b)
        estimate, error = value(x, b), np.sqrt(np.einsum("ij,jk,ik->i", g, self.cov.to_numpy(), g))
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
class ThresholdTest:
    """Whether and where the slope changes; see `threshold_test`.

    Attributes
    ----------
    statistic, p_value : float
        The largest F ratio, and the share of bootstrap samples without a change that had a larger one.
    threshold : float
        The place that fits best. It is always there; whether it means anything, the p-value says.
    profile : pandas.Series
        The F ratio at each place looked at.
    nobs : float
    draws : int
    """

    statistic: float
    p_value: float
    threshold: float
    profile: pd.Series = field(repr=False)
    nobs: float
    draws: int
    level: float = field(repr=False)
    satisfaction: str = field(repr=False)
    _null: np.ndarray = field(repr=False)
    _around: tuple = field(repr=False)
    _worse: np.ndarray = field(repr=False)

    @functools.cached_property
    def _near(self):
        """How much better than the true place the best one looks, in samples around the two lines; drawn when asked for."""
        spread, directions, fitted, scale, seed = self._around
        rng = np.random.default_rng(seed)
        return _largest(rng, spread, directions, self.draws, fitted, last=True) / scale

    def interval(self, level=None):
        """The places that fit nearly as well as the best, as (lower, upper).

        A limit at the end of the places looked at says that the change may lie beyond.
        """
        level = self.level if level is None else level
        if not 0 < level < 1:
            raise ValueError(f"level= is a confidence level between 0 and 1, such as 0.95; got {level!r}.")
        # A larger p-value is needed of a bootstrap with few draws: the order statistic that is exact for its number.
        rank = min(int(np.ceil(level * (len(self._near) + 1))), len(self._near))
        critical = np.sort(self._near)[rank - 1]
        places = self.profile.index.to_numpy()
        near = np.append(places[self._worse <= critical], self.threshold)
        return float(near.min()), float(near.max())

    def summary(self, level=None):
        """One row: the threshold with its interval (missing if no change can be shown), the F ratio and its p-value."""
        level = self.level if level is None else level
        lower, upper = self.interval(level) if self.p_value <= 1 - level else (np.nan, np.nan)
        row = {
            "estimate": self.threshold,
            "lower": lower,
            "upper": upper,
            "sup_F": self.statistic,
            "p_value": self.p_value,
        }
        return pd.DataFrame(row, index=pd.Index(["threshold"], name="parameter"))

    def plot(self, ax=None):
        """The F ratio along the places looked at, and what chance reaches in one sample of twenty.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        ax.plot(self.profile, label="F ratio of two lines to one")
        chance = np.quantile(self._null, 0.95)
        ax.axhline(chance, color=style.COLOURS[1], linestyle="--", label="largest by chance, 1 sample in 20")
        if self.p_value <= 1 - self.level:
            lower, upper = self.interval()
            ax.axvspan(
                lower, upper, color=style.COLOURS[0], alpha=0.15, linewidth=0, label=f"{self.level:.0%} interval"
            )
        ax.set(xlabel=f"{self.satisfaction}: place of the change", ylabel="F ratio", ylim=(0, None))
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


def _require_number(column, name):
    if not pd.api.types.is_numeric_dtype(column) and column.dtype != bool:
        raise ValueError(
            f"column {name!r} holds {column.dtype} values (for example {column.iloc[0]!r}), not numbers: give the ratings numbers, or take fit_ordered."
        )


def _points(data, satisfaction, loyalty, weights):
    """All that least squares needs of the customers: by value of satisfaction their number, mean and scatter."""
    if satisfaction == loyalty:
        raise ValueError(f"satisfaction= and loyalty= are the same column, {satisfaction!r}.")
    cases, count = count_columns([satisfaction, loyalty], data, weights)
    for name in (satisfaction, loyalty):
        _require_number(cases[name], name)
    x, y = cases[satisfaction].to_numpy(dtype=float), cases[loyalty].to_numpy(dtype=float)
    values, place = np.unique(x, return_inverse=True)
    n = np.bincount(place, count)
    mean = np.bincount(place, count * y) / n
    within = np.bincount(place, count * (y - mean[place]) ** 2)
    if len(values) == 1:
        raise ValueError(
            f"column {satisfaction!r}: all {n.sum():,.0f} customers gave {values[0]:g}. Where all are equally satisfied, loyalty cannot be traced to it."
        )
    return pd.DataFrame({"customers": n, "mean": mean, "within": within}, pd.Index(values, name=satisfaction))


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
    params, _, rank, _ = np.linalg.lstsq(columns * root[:, None], mean * root, rcond=1e-12)
    if rank < columns.shape[1]:
        raise ValueError(f"shape {shape!r} cannot be told from a simpler one on these values. Take a simpler shape.")
    if shape == "threshold":
        params = np.append(params, tau)
    nobs, df = n.sum(), n.sum() - len(params)
    if df <= 0:
        raise ValueError(f"shape {shape!r} has {len(params)} parameters; {nobs:g} customers are not enough.")
    squares = within + n * (mean - basis.value(x, params)) ** 2  # of the residuals of all customers there
    gradient = basis.gradient(x, params)
    cov = _robust(gradient, n, squares)
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


def _robust(gradient, n, squares):
    """HC3 on counts: the leverage depends on satisfaction only, so the squared residuals there add up first."""
    scale = np.sqrt(np.sum(n[:, None] * gradient**2, axis=0))
    scale[scale == 0] = 1
    g = gradient / scale
    information = (g * n[:, None]).T @ g
    if np.linalg.cond(information) > 1e14:  # two lines with one slope: the place has no error
        return np.full((g.shape[1],) * 2, np.nan)
    bread = np.linalg.inv(information)
    leverage = np.einsum("ij,jk,ik->i", g, bread, g)
    free = np.maximum(1 - leverage, 1e-8)
    meat = (g * (squares / free**2)[:, None]).T @ g
    return bread @ meat @ bread / np.outer(scale, scale)


def _threshold(points, satisfaction, draws, seed, trim, level=0.95):
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 99:
        raise ValueError(f"draws= is the number of bootstrap samples, 99 or more; got {draws!r}.")
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim= is a share of customers below one half; got {trim!r}.")
    x, n = points.index.to_numpy(), points["customers"].to_numpy()
    mean, within = points["mean"].to_numpy(), points["within"].to_numpy()
    if len(x) < 5:
        raise ValueError(
            f"column {points.index.name!r} has {len(x)} different values: two lines and the place where they meet take five or more."
        )
    nobs = n.sum()
    share = np.cumsum(n) / nobs
    low = max(x[1], x[min(np.searchsorted(share, trim), len(x) - 1)])
    high = min(x[-2], x[min(np.searchsorted(share, 1 - trim), len(x) - 1)])
    if low >= high:
        raise ValueError(
            f"column {points.index.name!r}: so many customers gave {low:g} that no place has {trim:.0%} of them on either side. Take a smaller trim=."
        )
    places = np.linspace(low, high, 201)
    root = np.sqrt(n)
    line = np.linalg.qr(np.column_stack([root, root * (x - np.average(x, weights=n))]))[0]

    def directions(places):
        """The part of (x - place)+ that a straight line does not have, of length one, a column a place."""
        bent = np.maximum(x[:, None] - places, 0) * root[:, None]
        bent -= line @ (line.T @ bent)
        return bent / np.sqrt((bent**2).sum(axis=0))

    bent = directions(places)
    scaled = root * mean

    def gain(places):
        return (directions(np.atleast_1d(places)).T @ scaled) ** 2

    gains = (bent.T @ scaled) ** 2
    best = int(gains.argmax())
    beside = places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)]
    finer = optimize.minimize_scalar(
        lambda place: -gain(place)[0], bounds=beside, method="bounded", options={"xatol": 1e-6}
    )
    threshold, top = (float(finer.x), -finer.fun) if -finer.fun > gains[best] else (float(places[best]), gains[best])

    straight = scaled - line @ (line.T @ scaled)
    rest = within.sum() + straight @ straight
    left = rest - top
    if left <= 1e-12 * rest:
        raise ValueError("two lines meet every customer exactly: without scatter there is nothing to test.")
    statistic = top / (left / (nobs - 4))

    rng = np.random.default_rng(seed)
    # Under one line: sums of residuals times normal draws, by value of satisfaction. Residuals are widened for the fit.
    leverage = np.maximum(1 - (line**2).sum(axis=1) / n, 1e-8)
    squares = (within + straight**2) / leverage
    null = _largest(rng, np.sqrt(squares / n), bent, draws) / (squares.sum() / nobs)
    # Around two lines: how much better than the true place the best one looks.
    kink = directions(np.array([threshold]))[:, 0]
    fitted = kink * (kink @ scaled)
    leverage = np.maximum(1 - ((line**2).sum(axis=1) + kink**2) / n, 1e-8)
    squares = (within + (straight - fitted) ** 2) / leverage
    around = np.sqrt(squares / n), np.column_stack([bent, kink]), fitted, squares.sum() / nobs, rng.integers(2**62)
    return ThresholdTest(
        statistic=float(statistic),
        p_value=float((1 + (null >= statistic).sum()) / (draws + 1)),
        threshold=threshold,
        profile=pd.Series(gains / (left / (nobs - 4)), pd.Index(places, name=points.index.name), name="F"),
        nobs=float(nobs),
        draws=int(draws),
        level=level,
        satisfaction=satisfaction,
        _null=null,
        _around=around,
        _worse=(top - gains) / (squares.sum() / nobs),
    )


def _largest(rng, spread, bent, draws, centre=0.0, last=False):
    """Largest gain over the places, of each bootstrap sample; with `last`, less the gain at the last place."""
    out = np.empty(draws)
    size = max(1, int(2e7 // max(bent.shape)))  # so many samples at a time, for the memory
    for start in range(0, draws, size):
        stop = min(start + size, draws)
        gains = ((centre + rng.standard_normal((stop - start, len(spread))) * spread) @ bent) ** 2
        out[start:stop] = gains.max(axis=1) - (gains[:, -1] if last else 0)
    return out
