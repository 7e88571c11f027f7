"""What the fits of survivors share: projection, the lifetime still to come, intervals, and the figure."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.likelihood import LikelihoodResult, normal_quantile
from crmlab.retention.survivors import Survivors

__all__ = ["SurvivalFit"]

# Terms that are added one by one before integrals take the rest of an infinite sum.
_TERMS = 500
# Where in an interval of length 1 such an integral looks, and with what weights.
_PLACES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_PLACES, _WEIGHTS = (_PLACES + 1) / 2, _WEIGHTS / 2
# How far, on the log or logit scale, a profile is followed before its limit counts as infinite (or 0, or 1).
_FAR = 20.0


@dataclass(frozen=True, eq=False)
class SurvivalFit(LikelihoodResult):
    """What the fits of survivors share: predictions with intervals, and a figure.

    Attributes
    ----------
    survivors : Survivors
        The counts that were fitted; ``renewals`` shows them.
    """

    survivors: Survivors = field(repr=False, default=None)
    # Estimates in coordinates without edges (logits and logarithms), and their covariance; a model that lies on an edge has
    # infinite ones and no covariance.
    working: np.ndarray = field(repr=False, default=None)
    working_cov: np.ndarray = field(repr=False, default=None)

    model: ClassVar[str]
    names: ClassVar[tuple]
    # The scale on which each parameter has no edge: "log" for positive ones, "logit" for shares.
    scales: ClassVar[tuple]

    @classmethod
    def at(cls, **params):
        """The model at parameters that are given instead of fitted: for predictions from published estimates.

        Parameters
        ----------
        **params : float
            Each parameter of the model, by name.

        Returns
        -------
        SurvivalFit
            With predictions, but without data: it has no intervals, ``summary``, ``plot``, test or bootstrap.

        Examples
        --------
        >>> from crmlab import retention
        >>> round(retention.SBGFit.at(alpha=3.80, beta=15.19).residual_lifetime(0, discount=0.1), 3)
        3.308
        """
        if sorted(params) != sorted(cls.names):
            raise TypeError(f"{cls.__name__}.at takes {', '.join(cls.names)}; got {', '.join(params) or 'nothing'}.")
        values = pd.Series({name: float(params[name]) for name in cls.names})
        wrong = [
            name
            for name, scale in zip(cls.names, cls.scales)
            if not (0 < values[name] < (1 if scale == "logit" else np.inf))
        ]
        if wrong:
            raise ValueError(
                f"{wrong[0]} = {values[wrong[0]]:g} is out of range: probabilities lie between 0 and 1, the rest above 0."
            )
        unknown = np.full((len(values), len(values)), np.nan)
        return cls(
            params=values,
            cov=pd.DataFrame(unknown, cls.names, cls.names),
            loglik=np.nan,
            nobs=np.nan,
            converged=True,
            boundary="the parameters were given, not fitted: there are no errors",
            working=cls._working(np.array([_link(s, v) for s, v in zip(cls.scales, values)])),
        )

    @property
    def renewals(self):
        """The counts that were fitted, indexed by ``age``: ``at_risk`` (renewals that came due) and ``lost``."""
        return self._data().renewals

    def _data(self):
        """The survivors behind the fit; a model made by `at` has none."""
        if self.survivors is None:
            raise TypeError(
                f"the parameters of this {type(self).__name__} were given, not fitted: it has predictions, but no data for a summary, a test, "
                "a bootstrap or a plot. Fix: fit the model to survivors."
            )
        return self.survivors

    def survival(self, t, level=None):
        """The survivor function: share of the customers of period 0 still under contract at age `t`.

        Parameters
        ----------
        t : int or sequence of int
            Ages in periods, 0 or more.
        level : float, optional
            With a confidence level, intervals come along (delta method on the logit scale). `crmlab.resampling.bootstrap` gives
            others, also where a fit lies on an edge.

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            A number for one age, a Series indexed by ``age`` for several; with `level` a DataFrame of ``estimate``,
            ``lower``, ``upper``.
        """
        ages = _whole("t", t, 0)
        return self._predict(
            "survival", t, pd.Index(ages, name="age"), lambda w: self._survival(w, ages), level, "logit"
        )

    def retention_rate(self, t, level=None):
        """The retention rate at renewal `t`: of the customers at age `t` - 1, the share still there at age `t`.

        Parameters
        ----------
        t : int or sequence of int
            Number of the renewal, 1 or more.
        level : float, optional
            With a confidence level, intervals come along.

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            As `survival`.
        """
        ages = _whole("t", t, 1)
        return self._predict(
            "retention_rate", t, pd.Index(ages, name="age"), lambda w: self._retention_rate(w, ages), level, "logit"
        )

    def residual_lifetime(self, renewals, discount=0.0, next_payment="now", level=None):
        r"""Discounted expected residual lifetime: the payments still to come from a customer who has renewed so often.

        .. math:: \sum_{k=1}^{\infty} \frac{S(n + k)}{S(n)} \frac{1}{(1 + d)^{k - 1}}

        for :math:`n` renewals made, in payments of 1. A customer pays on each renewal. Multiply by the payment to get money.

        Parameters
        ----------
        renewals : int or sequence of int
            Renewals made so far, 0 or more: the customer's age in periods.
        discount : float, default 0
            Discount rate a period, :math:`d`.
        next_payment : {"now", "after_one_period"}
            When the next renewal falls due: at once (it is not discounted, but the customer may decline), or a period from
            now, which divides the sum by :math:`1 + d`.
        level : float, optional
            With a confidence level, intervals come along (delta method on the log scale). An infinite estimate has the lower
            limit that the parameters' confidence region leaves it, which is finite if part of the region is.

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            A number for one age, a Series indexed by ``renewals`` for several; with `level` a DataFrame of ``estimate``,
            ``lower``, ``upper``. Infinite where customers stay for ever on average, as in the sBG model without a
            discount if alpha is 1 or less.

        References
        ----------
        P. S. Fader and B. G. S. Hardie (2010), Customer-base valuation in a contractual setting: the perils of ignoring
        heterogeneity, *Marketing Science* 29(1):85-93.
        """
        made = _whole("renewals", renewals, 0)
        check_rate("discount", discount)
        one_of("next_payment", next_payment, ("now", "after_one_period"))
        later = 1.0 if next_payment == "now" else 1 / (1 + discount)

        def value(working):
            return later * np.array([self._residual(working, n, discount) for n in made])

        return self._predict("residual_lifetime", renewals, pd.Index(made, name="renewals"), value, level, "log")

    def lifetime(self, discount=0.0, level=None):
        r"""Expected lifetime of a new customer, in payments: the first, made now, and all that follow.

        .. math:: \sum_{t=0}^{\infty} \frac{S(t)}{(1 + d)^t}

        Parameters
        ----------
        discount : float, default 0
            Discount rate a period, :math:`d`; without one this is the expected number of periods under contract.
        level : float, optional
            With a confidence level, an interval comes along.

        Returns
        -------
        float or pandas.Series
            With `level` a Series of ``estimate``, ``lower``, ``upper``. It may be infinite; see `residual_lifetime`.
        """
        check_rate("discount", discount)

        def value(working):
            return np.array([1 + self._residual(working, 0, discount) / (1 + discount)])

        found = self._predict("lifetime", 0, pd.Index([0]), value, level, "log")
        return found if level is None else found.iloc[0].rename("lifetime")

    def summary(self, level=0.95, intervals="profile"):
        """Estimates with standard errors and intervals.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.
        intervals : {"profile", "wald"}
            Profile likelihood: all values that a likelihood-ratio test would not refuse, the other parameters fitted anew
            for each. It may be open to one side, and it exists where the fit lies on an edge. Wald: symmetric on the
            logarithmic (for shares the logit) scale, at once but too short in samples of a thousand.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        one_of("intervals", intervals, ("profile", "wald"))
        quantile = normal_quantile(level)
        error = pd.Series(np.sqrt(np.diag(self.cov)), self.params.index)
        table = pd.DataFrame({"estimate": self.params, "std_error": error}).rename_axis("parameter")
        for number, (name, scale) in enumerate(zip(self.params.index, self.scales)):
            if intervals == "profile":
                limits = self._profile(number, level)
            else:
                slope = _slope(scale, self.params[name])
                limits = _link(scale, self.params[name]) + quantile * np.array([-1, 1]) * error[name] * slope
                limits = _inverse(scale, limits)
            table.loc[name, ["lower", "upper"]] = limits
        return table

    def refit(self, rng):
        """Fit the same model to as many customers, drawn from these with replacement: one replicate of a bootstrap.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        SurvivalFit
        """
        return self._fit(self._data().resampled(rng))

    def plot(self, ax=None, what="survival", holdout=None, periods=None, level=0.95, unit="period", label=None):
        """Draw what was observed, the fitted curve with its band and, where given, the hold-out.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A second model drawn into the same axes does not repeat the data.
        what : {"survival", "retention_rate"}
            The survivor function, or the retention rate of each renewal.
        holdout : sequence, optional
            Survivors, in numbers of customers, of the periods after those that were fitted.
        periods : int, optional
            How far to draw the curve; by default to the end of the data or of the hold-out.
        level : float, default 0.95
            Confidence level of the band.
        unit : str, default "period"
            What a period is, for the axis: "year", "month".
        label : str, optional
            Name of the curve in the legend; by default the model's.

        Returns
        -------
        matplotlib.axes.Axes
        """
        one_of("what", what, ("survival", "retention_rate"))
        ax = style.axes(ax)
        survivors = np.append(1, np.cumprod(1 - self.renewals["lost"] / self.renewals["at_risk"]))
        seen = len(survivors)
        if holdout is not None:
            survivors = np.append(survivors, np.asarray(holdout, dtype=float) / self.nobs)
        observed = pd.Series(survivors)
        if what == "retention_rate":
            observed = (observed / observed.shift()).iloc[1:]
        ages = np.arange(observed.index[0], (periods or len(survivors) - 1) + 1)
        curve = getattr(self, what)(ages, level=level)
        new = not ax.lines
        (line,) = ax.plot(ages, curve["estimate"], label=label or self.model)
        ax.fill_between(ages, curve["lower"], curve["upper"], alpha=0.2, color=line.get_color(), linewidth=0)
        if new:
            fitted, later = observed[observed.index < seen], observed[observed.index >= seen]
            ax.plot(fitted, "o", color="black", label="observed")
            if len(later):
                ax.plot(later, "o", color="black", fillstyle="none", label="hold-out, not used in the fit")
                ax.axvline(seen - 0.5, color="grey", linestyle=":", linewidth=1.5)
        ax.xaxis.set_major_locator(style.whole_numbers())
        ax.yaxis.set_major_formatter(style.PERCENT)
        if what == "survival":
            ax.set(
                xlabel=f"age, {unit}s since the start of the contract",
                ylabel="share still under contract",
                ylim=(0, 1.03),
            )
        else:
            ax.set(
                xlabel=f"renewal, number of {unit}s since the start",
                ylabel="retention rate at the renewal",
                ylim=(None, 1.0),
            )
        ax.legend()
        return ax

    @classmethod
    def _fit(cls, survivors):
        """Fit this model to counts that were read already."""
        raise NotImplementedError

    @staticmethod
    def _log_survival(working, t):
        """Logarithm of S(t) at working coordinates; `t` may be fractional, for the integral of a tail."""
        raise NotImplementedError

    @staticmethod
    def _working(coordinates):
        """Working coordinates of the parameters, which are given on their scales."""
        raise NotImplementedError

    @staticmethod
    def _ordered(coordinates):
        """Whether parameters that could change places stand in their order."""
        return True

    def _tail(self, working):
        """The power of 1 / t by which S(t) falls in the end; infinite if it falls faster than any power."""
        return np.inf

    def _survival(self, working, ages):
        return np.exp(self._log_survival(working, ages.astype(float)))

    def _retention_rate(self, working, ages):
        return np.exp(self._log_survival(working, ages * 1.0) - self._log_survival(working, ages - 1.0))

    def _residual(self, working, made, discount):
        # A sum of infinitely many positive terms: the first ones as they are, the rest as an integral (midpoint rule).
        power = self._tail(working)
        if discount == 0 and power <= 1 + 1e-9:
            return np.inf
        begin = self._log_survival(working, np.array([float(made)]))

        def log_term(k):
            return self._log_survival(working, made + k) - begin - (k - 1) * np.log1p(discount)

        total = np.exp(log_term(np.arange(1.0, _TERMS + 1))).sum()
        if np.exp(log_term(np.array([float(_TERMS)])))[0] < 1e-16 * total:
            return total
        # Piece by piece, each twice as long as the one before, over the logarithm of k: so none steps over the mass.
        width, start = np.log(2), _TERMS + 0.5
        while start < 1e300:
            k = start * np.exp(width * _PLACES)
            piece = width * (_WEIGHTS * k * np.exp(log_term(k))).sum()
            total += piece
            if piece < 1e-13 * total:
                return total
            last = start * np.array([1.0, 2.0])
            ends = log_term(last)
            # Where only a power of k is left, the rest has a closed form.
            if discount == 0 and abs((ends[0] - ends[1]) / width - power) < 1e-10:
                return total + last[1] * np.exp(ends[1]) / (power - 1)
            start = last[1]
        return np.inf  # more than numbers can hold

    def _predict(self, what, asked, index, function, level, scale):
        estimate = function(self.working)
        if level is None:
            return float(estimate[0]) if np.ndim(asked) == 0 else pd.Series(estimate, index, name=what)
        lower, upper = self._limits(function, estimate, normal_quantile(level), scale)
        return pd.DataFrame({"estimate": estimate, "lower": lower, "upper": upper}, index)

    def _limits(self, function, estimate, z, scale):
        """The delta method on a scale that keeps the limits where they belong."""
        if self.boundary:  # no covariance there: said once by the warning, and again by the empty interval
            return np.full(estimate.shape, np.nan), np.full(estimate.shape, np.nan)
        from statsmodels.tools.numdiff import approx_fprime  # here, since it takes half a second to import

        known = ~np.isfinite(estimate) | (estimate == 1)  # nobody has left at age 0; and infinity has no slope
        with np.errstate(divide="ignore", invalid="ignore"):
            gradient = np.atleast_2d(approx_fprime(self.working, function, centered=True))
            error = np.sqrt(np.einsum("ij,jk,ik->i", gradient, self.working_cov, gradient)) * _slope(scale, estimate)
            limits = _inverse(scale, _link(scale, estimate) + z * np.outer([-1, 1], error))
        limits = np.where(known, estimate, limits)
        for place in np.flatnonzero(np.isinf(estimate)):
            limits[0, place] = self._least(lambda working, at=place: function(working)[at], z)
        return limits

    def _least(self, function, z):
        """The least value on the rim of the parameters' confidence region: what an infinite prediction may be at least."""
        root = np.linalg.cholesky(self.working_cov)

        def rim(direction):
            return self.working + z * root @ (direction / np.linalg.norm(direction))

        # From where the survivor function falls fastest in the end: if it is infinite there, it is everywhere.
        steep = optimize.minimize(lambda d: -self._tail(rim(d)), np.ones(len(root)), method="Nelder-Mead").x
        if np.isinf(function(rim(steep))):
            return np.inf
        return optimize.minimize(lambda d: function(rim(d)), steep, method="Nelder-Mead", options={"xatol": 1e-3}).fun

    def _profile(self, number, level):
        """Limits of a parameter by profile likelihood; 0, 1 or infinity where the profile never falls far enough."""
        # An estimate on an edge is followed from a point close to it.
        best = np.clip([_link(s, p) for s, p in zip(self.scales, self.params)], -_FAR, _FAR)
        counts = Counts.of(self.renewals)
        bar = self.loglik - stats.chi2.ppf(level, 1) / 2
        others = [i for i in range(len(best)) if i != number]

        def loglik(x):
            return log_likelihood(lambda t: self._log_survival(self._working(x), t), counts)

        def above(value, starts):
            """By how much the profile stands above the bar, and where the other parameters are."""

            def cost(rest):
                x = np.insert(rest, number, value)
                found = loglik(x) if self._ordered(x) else -np.inf
                return self.loglik - found if np.isfinite(found) else 1e10

            method = "Nelder-Mead" if others[1:] else "BFGS"  # a ridge of two bends too much for slopes by differences
            found = min((optimize.minimize(cost, start, method=method) for start in starts), key=lambda r: r.fun)
            return self.loglik - found.fun - bar, found.x

        limits = []
        for direction in (-1, 1):
            inside, rest, step = best[number], best[others], 0.25
            while True:
                outside = inside + direction * step
                if abs(outside) > _FAR:
                    limits.append(direction * np.inf)
                    break
                # The others may move along with the parameter, or stay.
                height, there = above(outside, (rest, rest + direction * step))
                if height < 0:
                    starts = (rest, there)
                    limits.append(optimize.brentq(lambda v, s=starts: above(v, s)[0], inside, outside, xtol=1e-5))
                    break
                inside, rest, step = outside, there, step * 1.5
        return _inverse(self.scales[number], np.array(limits))


class Counts(NamedTuple):
    """The table of renewals as arrays, since a likelihood is asked for it thousands of times."""

    age: np.ndarray
    lost: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, renewals):
        """Those of a table of renewals."""
        lost = renewals["lost"].to_numpy(dtype=float)
        return cls(renewals.index.to_numpy(), lost, renewals["at_risk"].to_numpy(dtype=float) - lost)


def log_likelihood(log_survival, counts):
    """Log-likelihood of the losses at each renewal under a survivor function, given by its logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        stay = np.diff(log_survival(np.arange(counts.age[-1] + 1.0)))[counts.age - 1]
        leave = np.log(-np.expm1(stay))
        # Nobody who could not leave has left: such a term is 0, not 0 times minus infinity.
        found = np.where(counts.lost > 0, counts.lost * leave, 0.0).sum()
        found += np.where(counts.kept > 0, counts.kept * stay, 0.0).sum()
    return -np.inf if np.isnan(found) else float(found)


def _whole(name, value, smallest):
    found = np.atleast_1d(np.asarray(value))
    if (
        found.ndim != 1
        or found.size == 0
        or not np.issubdtype(found.dtype, np.number)
        or (found != np.floor(found)).any()
        or (found < smallest).any()
    ):
        raise ValueError(f"{name} takes whole numbers of periods, {smallest} or more; got {value!r}.")
    return found.astype(int)


def geometric_residual(churn, discount):
    """Discounted payments still to come at a constant churn probability: infinite without churn and without discount."""
    with np.errstate(divide="ignore"):
        return (1 - churn) * (1 + discount) / (churn + np.float64(discount))


def check_rate(name, value):
    if not (np.ndim(value) == 0 and 0 <= value <= 1):
        raise ValueError(f"{name}= is a rate a period between 0 and 1, such as 0.1 for 10 %; got {value!r}.")


def _link(scale, value):
    with np.errstate(divide="ignore"):
        return np.log(value) if scale == "log" else special.logit(value)


def _inverse(scale, value):
    return np.exp(value) if scale == "log" else special.expit(value)


def _slope(scale, value):
    """Derivative of the link."""
    return 1 / value if scale == "log" else 1 / (value * (1 - value))
