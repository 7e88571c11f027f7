"""Does the slope change, and where? A sup-F test whose bootstrap runs on counts."""

import functools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize

from crmlab import style
from crmlab.design import count_columns

__all__ = ["threshold_test", "ThresholdTest"]


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
    points = points_of(data, satisfaction, loyalty, weights)
    return find_threshold(points, satisfaction, draws, seed, trim, level)


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
        ax.axhline(chance, color=style.COLOURS[1], linestyle="--", label="exceeded by chance in 1 sample of 20")
        room = 1.45  # above the curve and the interval, for the legend
        if self.p_value <= 1 - self.level:
            label = f"{self.level:.0%} interval"
            ax.axvspan(*self.interval(), 0, 1 / room, color=style.COLOURS[0], alpha=0.15, linewidth=0, label=label)
        ax.set(xlabel=f"{self.satisfaction}: place of the change", ylabel="F ratio")
        ax.set_ylim(0, room * max(self.profile.max(), chance))
        ax.legend(loc="upper left")
        return ax


def require_number(column, name):
    if not pd.api.types.is_numeric_dtype(column) and column.dtype != bool:
        raise ValueError(
            f"column {name!r} holds {column.dtype} values (for example {column.iloc[0]!r}), not numbers: give the ratings numbers, or take fit_ordered."
        )


def points_of(data, satisfaction, loyalty, weights):
    """All that least squares needs of the customers: by value of satisfaction their number, mean and scatter."""
    if satisfaction == loyalty:
        raise ValueError(f"satisfaction= and loyalty= are the same column, {satisfaction!r}.")
    cases, count = count_columns([satisfaction, loyalty], data, weights)
    for name in (satisfaction, loyalty):
        require_number(cases[name], name)
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


def find_threshold(points, satisfaction, draws, seed, trim, level=0.95):
    """The test on the counts of `points_of`."""
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
