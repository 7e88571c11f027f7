"""Time in phase: how long stays last, from counts of them, and what parametric curves make of it.

In reading order: ``fit_time_in_phase`` (Kaplan-Meier, quantiles, restricted mean, log-rank), ``fit_duration`` (one
parametric model), ``compare_durations`` (several of them, with criteria and with where they miss the data).
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import special, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.lifecycle.checks import as_numbers, carry_along, refuse_rows
from crmlab.lifecycle.phases import PHASE_COLOURS, phase_colours
from crmlab.lifecycle.stays import LATE, WEIGHTS, _order, _positions, blank_codes, openings
from crmlab.likelihood import LikelihoodResult, normal_quantile

__all__ = ["fit_time_in_phase", "fit_duration", "compare_durations", "TimeInPhase", "DurationFit"]

_CLOCKS = ("forward", "reset")


def fit_time_in_phase(episodes, phase, groups=None, clock="forward", visits="all"):
    r"""How long stays in a phase last: the Kaplan-Meier estimate, from counts of stays.

    With :math:`n_j` stays under way just before time :math:`t_j` in the phase, of which :math:`d_j` end there,

    .. math:: \hat S(t) = \prod_{t_j \le t} \left(1 - \frac{d_j}{n_j}\right), \qquad
              \widehat{\operatorname{Var}} \hat S(t) = \hat S(t)^2 \sum_{t_j \le t} \frac{d_j}{n_j (n_j - d_j)}.

    A stay ends with a move to any other phase; where it leads is a question for `fit_multistate`. Assumes that how long
    a stay could be observed says nothing about how long it lasts, and that stays are independent of each other.

    Parameters
    ----------
    episodes : pandas.DataFrame
        One row a stay, as `phase_episodes` returns it: ``phase``, ``entry``, ``exit``, ``next_phase`` (missing: censored). Or its
        counts, with ``stays`` or ``customers`` in place of the ids (``phase_episodes(..., counted=True)``).
    phase : str
        Which phase.
    groups : str, optional
        A column of the episodes by which to compare, such as a channel.
    clock : {"forward", "reset"}
        How the times of `episodes` run. "forward": the time in phase is ``exit - entry``, so every stay has to be seen from its
        beginning. "reset": ``exit`` is the time in phase, and a stay with ``entry`` above 0 counts only from there on
        (delayed entry).
    visits : {"all", "first"}
        All stays in the phase, or only each customer's first of those in the table. Stays of one customer resemble each other: with "all" the
        intervals are too short where many come back. On the reset clock, where every stay begins at 0, a column ``first_visit`` says which is
        the first.

    Returns
    -------
    TimeInPhase

    Raises
    ------
    ValueError
        If nobody was in the phase, columns or times are missing or are no numbers, a stay has no length, a stay on the forward clock was
        under way when its customer was first seen, or on the reset clock nothing says which of a customer's visits was the first.

    Notes
    -----
    Fitted by lifelines' ``KaplanMeierFitter`` with counts as weights. Intervals are on the scale of log(-log S). In R:
    ``survfit(Surv(entry, exit, left) ~ group, conf.type = "log-log")``.

    References
    ----------
    E. L. Kaplan and P. Meier (1958), Nonparametric estimation from incomplete observations, *Journal of the American
    Statistical Association* 53(282):457-481.

    Examples
    --------
    >>> from crmlab import datasets, lifecycle
    >>> episodes = lifecycle.phase_episodes(datasets.load("cdnow_sample"), unit="week")
    >>> stays = lifecycle.fit_time_in_phase(episodes, "build-up")
    >>> stays.survival([13, 26, 39], level=0.95).round(3)
          estimate  lower  upper
    time
    13.0     0.832  0.810  0.851
    26.0     0.267  0.242  0.294
    39.0     0.080  0.064  0.099
    """
    one_of("visits", visits, ("all", "first"))
    counts, customers = _duration_counts(episodes, phase, groups, clock, visits)
    unit = episodes.attrs.get("unit", "time unit")
    return TimeInPhase(phase, groups, unit, int(counts["stays"].sum()), customers, counts)


@dataclass(frozen=True, eq=False)
class TimeInPhase:
    """Kaplan-Meier estimates of the time in one phase, by group if asked for; see `fit_time_in_phase`.

    Attributes
    ----------
    phase : str
    group : str or None
        The column of the groups.
    unit : str
        Of the times.
    nobs : int
        Stays.
    customers : int or None
        Customers who made them, where the episodes name customers.
    counts : pandas.DataFrame
        What was fitted: the group, ``entry``, ``exit``, ``left`` (whether the stay ended), ``stays``.
    """

    phase: str
    group: str | None
    unit: str
    nobs: int
    customers: int | None
    counts: pd.DataFrame = field(repr=False)

    def survival(self, t, level=None):
        """Share of the stays that last longer than `t`.

        Parameters
        ----------
        t : number or sequence of numbers
            Times in phase, 0 or more and not beyond the longest stay observed, unless all have ended by then. A group that was not
            observed so far is missing.
        level : float, optional
            With a confidence level, intervals come along.

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            A number for one time and one group, else a Series indexed by (group and) ``time``; with `level` a DataFrame of
            ``estimate``, ``lower``, ``upper``.

        Raises
        ------
        ValueError
            If no group was observed so far.
        """
        times = _times(t)
        table = self._join({name: _curve(rows, times, level or 0.95) for name, rows in self._groups()})
        _refuse_beyond(self, times, table["estimate"])
        if level is not None:
            return table
        single = np.ndim(t) == 0 and self.group is None
        return float(table["estimate"].iloc[0]) if single else table["estimate"].rename("survival")

    def quantile(self, q=0.5, level=0.95):
        """The time by which a share `q` of the stays has ended: the median for 0.5.

        Parameters
        ----------
        q : float, default 0.5
            Between 0 and 1.
        level : float, default 0.95
            Confidence level; the limits are where the band of the curve crosses.

        Returns
        -------
        pandas.DataFrame
            A row a group: ``estimate``, ``lower``, ``upper``; infinite where fewer than that share were seen to end.
        """
        if not 0 < q < 1:
            raise ValueError(f"q= is a share of the stays between 0 and 1; got {q!r}.")
        rows = {}
        for name, group in self._groups():
            times = _risk(group)["time"].to_numpy()
            band = _curve(group, times, level)
            # Where the curve has come down to 0 so has its lower limit; of the upper one nothing is known.
            band["lower"] = band["lower"].mask(band["estimate"] == 0, 0.0)
            # The first time at which the curve is no longer above 1 - q; the lower curve gets there first.
            reached = [band[name] <= 1 - q + 1e-12 for name in ("estimate", "lower", "upper")]
            found = [times[np.flatnonzero(curve)] for curve in reached]
            rows[name] = [part[0] if len(part) else np.inf for part in found]
        return self._rows(rows, ["estimate", "lower", "upper"])

    def restricted_mean(self, horizon, level=0.95):
        r"""Mean time in phase within a horizon, :math:`\int_0^h S(t)\,dt`: it exists where the mean does not.

        Parameters
        ----------
        horizon : float
            Above 0 and not beyond the longest stay observed.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            A row a group: ``estimate``, ``std_error``, ``lower``, ``upper``, in units of time.

        Notes
        -----
        In R: ``print(survfit(...), rmean = horizon)``.
        """
        z = normal_quantile(level)
        rows = {}
        for name, group in self._groups():
            longest = group["exit"].max()
            horizon = as_numbers("horizon=", horizon)[0]
            if not 0 < horizon <= longest:
                raise ValueError(
                    f"horizon= lies above 0 and not beyond the longest stay observed ({longest:g} {self.unit}s"
                    f"{'' if name is None else f' in group {name!r}'}); got {horizon!r}."
                )
            risk = _risk(group)
            risk = risk[risk["time"] <= horizon]
            curve = np.append(1.0, np.cumprod(1 - risk["ended"] / risk["at_risk"]))
            steps = np.diff(np.concatenate([[0.0], risk["time"], [horizon]]))
            areas = curve * steps
            rest = areas.sum() - np.cumsum(areas)[:-1]  # the area to the right of each event
            stayed = risk["at_risk"] - risk["ended"]
            with np.errstate(divide="ignore", invalid="ignore"):
                parts = np.where(rest > 0, rest**2 * risk["ended"] / (risk["at_risk"] * stayed), 0.0)
            error = np.sqrt(parts.sum())
            mean = areas.sum()
            rows[name] = [mean, error, max(mean - z * error, 0.0), min(mean + z * error, horizon)]
        return self._rows(rows, ["estimate", "std_error", "lower", "upper"])

    def logrank(self):
        """Whether the groups leave the phase at the same pace: the log-rank test, also for stays entered late.

        Returns
        -------
        pandas.Series
            ``statistic`` (chi-squared), ``df``, ``p_value``.

        Raises
        ------
        ValueError
            If there is only one group, no stay was seen to end, or no time at which stays ended tells two groups apart.

        Notes
        -----
        Best at seeing hazards that are a constant multiple of each other; curves that cross can escape it. In R:
        ``survdiff``, or for delayed entry the score test of ``coxph(..., ties = "exact")``.
        """
        groups = [rows for _, rows in self._groups()]
        if len(groups) < 2:
            raise ValueError(
                "a log-rank test compares groups: fit_time_in_phase(..., groups=) a column with two or more."
            )
        times = _risk(self.counts)["time"].to_numpy()
        if not len(times):
            raise ValueError(
                f"no stay in {self.phase!r} was seen to end in any group: there is nothing to compare. Fix: follow the customers for longer."
            )
        at_risk = np.stack([_at_risk(rows, times) for rows in groups])
        ended = np.stack([_ended(rows, times) for rows in groups])
        n, d = at_risk.sum(axis=0), ended.sum(axis=0)
        share = at_risk / n
        difference = (ended - share * d).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(n > 1, d * (n - d) / (n - 1), 0.0)
        cov = np.diag((share * factor).sum(axis=1)) - (share * factor) @ share.T
        # The differences sum to zero: the last group says nothing new.
        statistic = difference[:-1] @ np.linalg.lstsq(cov[:-1, :-1], difference[:-1], rcond=None)[0]
        df = np.linalg.matrix_rank(cov[:-1, :-1])
        if not df:
            raise ValueError(
                f"the groups cannot be compared: whenever stays in {self.phase!r} ended, those under way were all of one group, or all of them ended. "
                "Fix: join groups, or follow the customers for longer."
            )
        return pd.Series({"statistic": statistic, "df": df, "p_value": stats.chi2.sf(statistic, df)})

    def summary(self, level=0.95, horizon=None):
        """Median and restricted mean time in phase.

        Parameters
        ----------
        level : float, default 0.95
        horizon : float, optional
            Of the restricted mean; by default the longest time at which every group still has a stay under observation.

        Returns
        -------
        pandas.DataFrame
            Indexed by (group and) ``parameter``: ``estimate``, ``std_error`` (none for a median), ``lower``, ``upper``.
        """
        if horizon is None:
            horizon = min(rows["exit"].max() for _, rows in self._groups())
        median, mean = self.quantile(0.5, level), self.restricted_mean(horizon, level)
        tables = {
            name: pd.DataFrame(
                [{"std_error": np.nan, **median.iloc[row]}, mean.iloc[row]],
                index=pd.Index(["median", f"mean within {horizon:g} {self.unit}s"], name="parameter"),
            )[["estimate", "std_error", "lower", "upper"]]
            for row, (name, _) in enumerate(self._groups())
        }
        return self._join(tables)

    def plot(self, ax=None, level=0.95):
        """Draw the curves with their bands.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float, default 0.95

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        names = [name for name, _ in self._groups()]
        # Groups that are phases have their phase's colour.
        colours = phase_colours(names) if set(names) & set(PHASE_COLOURS) else [None] * len(names)
        for (name, group), colour in zip(self._groups(), colours):
            times = np.unique(np.append(0.0, group["exit"]))
            band = _curve(group, times, level)
            label = self.phase if name is None else f"{name}"
            (line,) = ax.step(times, band["estimate"], where="post", color=colour, label=label)
            ax.fill_between(
                times, band["lower"], band["upper"], step="post", alpha=0.2, color=line.get_color(), linewidth=0
            )
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel=f"time in {self.phase}, {self.unit}s", ylabel="share still in the phase", ylim=(0, 1.03))
        ax.legend(title=self.group)
        return ax

    def refit(self, rng):
        """The curve of as many customers, drawn from these with replacement: one replicate of `crmlab.resampling.bootstrap`.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        TimeInPhase

        Raises
        ------
        ValueError
            If customers have several stays in the phase: these belong together and are not drawn apart.
        """
        counts = _redrawn(self, rng)
        return TimeInPhase(self.phase, self.group, self.unit, self.nobs, self.customers, counts)

    def _groups(self):
        return list(_groups(self.counts, self.group))

    def _join(self, tables):
        return tables[None] if self.group is None else pd.concat(tables, names=[self.group])

    def _rows(self, rows, columns):
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.rename_axis(self.group) if self.group else table.set_axis([self.phase]).rename_axis("phase")


_MODELS = {"exponential": "Exponential", "weibull": "Weibull", "lognormal": "LogNormal", "loglogistic": "LogLogistic"}
_SHOWN = {"exponential": "exponential", "weibull": "Weibull", "lognormal": "log-normal", "loglogistic": "log-logistic"}


def fit_duration(episodes, phase, model="weibull", clock="forward", visits="all"):
    r"""Fit a parametric distribution to the time in a phase, from counts of stays.

    With time :math:`t` in the phase, the survivor functions and their parameters are

    - exponential: :math:`\exp(-t/\lambda)`, a constant hazard;
    - weibull: :math:`\exp(-(t/\lambda)^\rho)`, a hazard that rises (:math:`\rho > 1`) or falls;
    - lognormal: :math:`1 - \Phi((\log t - \mu)/\sigma)`;
    - loglogistic: :math:`1 / (1 + (t/\alpha)^\beta)`.

    Assumes, besides what `fit_time_in_phase` assumes, that the stays end at times without preferred values. **A phase that a
    rule ends after a fixed wait breaks this**: a share of the stays ends at exactly that time, which none of these
    distributions can say. Look at ``plot`` or at `compare_durations` before quoting one.

    Parameters
    ----------
    episodes, phase, clock, visits
        As in `fit_time_in_phase`.
    model : {"exponential", "weibull", "lognormal", "loglogistic"}

    Returns
    -------
    DurationFit

    Raises
    ------
    ValueError
        As `fit_time_in_phase`; also if no stay was seen to end, or the fit did not converge.

    Notes
    -----
    Fitted by lifelines with counts as weights. In R: ``survreg`` (without delayed entry), ``flexsurvreg`` (with it).

    Examples
    --------
    >>> from crmlab import datasets, lifecycle
    >>> episodes = lifecycle.phase_episodes(datasets.load("cdnow_sample"), unit="week")
    >>> lifecycle.fit_duration(episodes, "decline", "weibull").summary().round(2)
               estimate  std_error   lower   upper
    parameter
    lambda       264.44      27.36  215.90  323.90
    rho            0.76       0.03    0.69    0.82
    """
    one_of("model", model, _MODELS)
    one_of("visits", visits, ("all", "first"))
    counts, customers = _duration_counts(episodes, phase, None, clock, visits)
    return _fit_duration(counts, phase, model, episodes.attrs.get("unit", "time unit"), customers)


def _fit_duration(counts, phase, model, unit, customers=None):
    if not counts["left"].any():
        raise ValueError(f"no stay in {phase!r} was seen to end: how long they last cannot be told.")
    import lifelines  # here, since it takes a second to import

    # In units of the mean stay, so that the optimiser meets the same numbers whatever the unit.
    scale = float((counts["exit"] - counts["entry"]) @ counts["stays"] / counts.loc[counts["left"], "stays"].sum())
    fitter = getattr(lifelines, _MODELS[model] + "Fitter")()
    try:
        fitter.fit(counts["exit"] / scale, counts["left"], entry=counts["entry"] / scale, weights=counts["stays"])
    except lifelines.exceptions.ConvergenceError as error:
        raise ValueError(
            f"the {model} model of the time in {phase!r} did not converge: {str(error).split(chr(10))[0]}"
        ) from None
    names = [name.removesuffix("_") for name in fitter.params_.index]
    params = pd.Series(fitter.params_.to_numpy(), names)
    jacobian = pd.Series(1.0, names)
    for name in {"lambda", "alpha"} & set(names):
        params[name], jacobian[name] = params[name] * scale, scale
    if "mu" in names:
        params["mu"] += np.log(scale)
    ended = counts.loc[counts["left"], "stays"].sum()
    return DurationFit(
        params=params,
        cov=pd.DataFrame(fitter.variance_matrix_.to_numpy() * np.outer(jacobian, jacobian), names, names),
        loglik=float(fitter.log_likelihood_ - ended * np.log(scale)),
        nobs=float(counts["stays"].sum()),
        converged=True,
        model=model,
        phase=phase,
        unit=unit,
        counts=counts,
        customers=customers,
    )


@dataclass(frozen=True, eq=False)
class DurationFit(LikelihoodResult):
    """A parametric fit of the time in one phase; see `fit_duration`.

    Attributes
    ----------
    nobs : float
        Stays.
    model, phase, unit : str
    counts : pandas.DataFrame
        What was fitted.
    customers : int or None
        Customers who made the stays, where that is known.
    """

    model: str = ""
    phase: str = ""
    unit: str = ""
    counts: pd.DataFrame = field(repr=False, default=None)
    customers: int | None = None

    def refit(self, rng):
        """The same model fitted to as many customers, drawn from these with replacement; see `TimeInPhase.refit`."""
        return _fit_duration(_redrawn(self, rng), self.phase, self.model, self.unit, self.customers)

    def summary(self, level=0.95):
        """Estimates with intervals; see `LikelihoodResult.summary`. A mean of logarithms (mu) may be negative: its own is symmetric."""
        table = super().summary(level)
        if "mu" in table.index:
            estimate, error = table.loc["mu", ["estimate", "std_error"]]
            half = normal_quantile(level) * error
            table.loc["mu", ["lower", "upper"]] = estimate - half, estimate + half
        return table

    def survival(self, t, level=None):
        """Share of the stays that last longer than `t`, by the model.

        Parameters
        ----------
        t : number or sequence of numbers
        level : float, optional
            With a confidence level, intervals come along (delta method on the scale of log(-log S)).

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            As of `TimeInPhase.survival`.
        """
        times = _times(t)
        index = pd.Index(times, name="time")
        params = self.params.to_numpy()
        estimate = np.exp(_log_survival(self.model, params, times))
        if level is None:
            return float(estimate[0]) if np.ndim(t) == 0 else pd.Series(estimate, index, name="survival")

        def transformed(values):
            with np.errstate(divide="ignore"):
                return np.log(-_log_survival(self.model, values, times))

        steps = 1e-5 * np.sqrt(np.diag(self.cov))
        with np.errstate(invalid="ignore"):
            slopes = [
                (transformed(params + step) - transformed(params - step)) / (2 * step.max()) for step in np.diag(steps)
            ]
            middle = transformed(params)
            half = normal_quantile(level) * np.sqrt(np.einsum("it,ij,jt->t", slopes, self.cov, slopes))
            lower, upper = np.exp(-np.exp(middle + half)), np.exp(-np.exp(middle - half))
        table = pd.DataFrame({"estimate": estimate, "lower": lower, "upper": upper}, index)
        table.loc[times == 0] = 1.0
        return table

    def plot(self, ax=None, level=0.95):
        """Draw the model's curve over the Kaplan-Meier steps; a second model drawn into the same axes does not repeat them.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float, default 0.95
            Of the band around the steps.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        if not ax.lines:
            times = np.unique(np.append(0.0, self.counts["exit"]))
            band = _curve(self.counts, times, level)
            ax.step(times, band["estimate"], where="post", color="black", label="Kaplan-Meier")
            ax.fill_between(times, band["lower"], band["upper"], step="post", alpha=0.2, color="black", linewidth=0)
        grid = np.linspace(0, self.counts["exit"].max(), 300)
        ax.plot(grid, self.survival(grid), label=_SHOWN[self.model])
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel=f"time in {self.phase}, {self.unit}s", ylabel="share still in the phase", ylim=(0, 1.03))
        ax.legend()
        return ax


def compare_durations(episodes, phase, models=tuple(_MODELS), clock="forward", visits="all", level=0.95):
    """Several parametric models of the time in a phase: which fits best, and whether the best fits at all.

    A criterion such as AIC ranks models; the first of four bad ones is still bad. So each is also held against the
    Kaplan-Meier curve, which assumes no form.

    Parameters
    ----------
    episodes, phase, clock, visits
        As in `fit_time_in_phase`.
    models : sequence of str
        Names as in `fit_duration`.
    level : float, default 0.95
        Of the Kaplan-Meier band.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``model``, the smallest ``aic`` first: ``loglik``, ``aic``, ``difference`` (of AIC to the first), ``bic``,
        ``largest_gap`` (between the curves), ``at`` (the time in phase where it is), ``outside`` (share of the times at which
        stays ended where the model leaves the band). ``.attrs["largest_step"]`` is the largest share of all stays under way
        that ended at one time, and ``.attrs["at"]`` that time: where it is large, no smooth curve can follow.

    Examples
    --------
    >>> from crmlab import datasets, lifecycle
    >>> episodes = lifecycle.phase_episodes(datasets.load("cdnow_sample"), unit="week")
    >>> table = lifecycle.compare_durations(episodes, "exploration")
    >>> table[["difference", "largest_gap", "at", "outside"]].round(2)
                 difference  largest_gap    at  outside
    model
    weibull            0.00         0.38  26.0     0.94
    exponential      467.00         0.37  26.0     0.91
    loglogistic     1144.13         0.32  26.0     0.93
    lognormal       1494.23         0.34  26.0     0.95
    """
    models = (models,) if isinstance(models, str) else tuple(models)
    if not models:
        raise ValueError(f"models= names at least one of {', '.join(map(repr, _MODELS))}; got none.")
    for model in models:
        one_of("models", model, _MODELS)
    one_of("visits", visits, ("all", "first"))
    counts, _ = _duration_counts(episodes, phase, None, clock, visits)
    risk = _risk(counts)
    times = risk["time"].to_numpy()
    band = _curve(counts, times, level)
    before = np.append(1.0, band["estimate"])[:-1]
    rows = {}
    for model in models:
        fit = _fit_duration(counts, phase, model, episodes.attrs.get("unit", "time unit"))
        curve = fit.survival(times).to_numpy()
        # A step is missed on either side of it.
        gaps = np.stack([np.abs(curve - before), np.abs(curve - band["estimate"])])
        worst = np.unravel_index(gaps.argmax(), gaps.shape)
        outside = (curve < band["lower"]) | (curve > band["upper"])
        rows[model] = {
            "loglik": fit.loglik,
            "aic": fit.aic,
            "difference": 0.0,
            "bic": fit.bic,
            "largest_gap": gaps[worst],
            "at": times[worst[1]],
            "outside": outside.mean(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").sort_values("aic")
    table["difference"] = table["aic"] - table["aic"].iloc[0]
    step = (risk["ended"] / risk["at_risk"] * before).to_numpy()
    table.attrs |= {"largest_step": float(step.max()), "at": float(times[step.argmax()])}
    return table


def _redrawn(fit, rng):
    """Counts of as many customers, drawn with replacement; refused where a customer has several stays."""
    if fit.customers is None or fit.customers != fit.nobs:
        raise ValueError(
            f"the bootstrap draws customers, and these counts of stays in {fit.phase!r} do not say whose belong together. Fix: visits='first', "
            "or fit_multistate(episodes, clock='reset'), which keeps each customer's history."
        )
    stays = fit.counts["stays"].to_numpy(float)
    drawn = rng.multinomial(round(stays.sum()), stays / stays.sum())
    return fit.counts.assign(stays=drawn)[drawn > 0].reset_index(drop=True)


def _log_survival(model, params, times):
    with np.errstate(divide="ignore"):
        if model == "lognormal":
            return special.log_ndtr((params[0] - np.log(times)) / params[1])
        if model == "loglogistic":
            return -np.log1p((times / params[0]) ** params[1])
        return -((times / params[0]) ** (params[1] if model == "weibull" else 1.0))


def _duration_counts(episodes, phase, by, clock, visits):
    """Stays in the phase, counted by time in it: columns by, entry, exit, left, stays; and how many customers made them."""
    one_of("clock", clock, _CLOCKS)
    if not isinstance(episodes, pd.DataFrame):
        raise TypeError(f"episodes= is a DataFrame with one row a stay; got {type(episodes).__name__}.")
    needed = [
        "phase",
        "entry",
        "exit",
        "next_phase",
        *([by] if by else []),
        *(["customer_id"] if visits == "first" and "first_visit" not in episodes else []),
    ]
    lacking = [name for name in needed if name not in episodes]
    if lacking:
        if lacking[0] == by:
            raise ValueError(carry_along(by, episodes))
        raise ValueError(
            f"episodes= needs a column {lacking[0]!r}; there are: {', '.join(map(str, episodes.columns))}. phase_episodes makes such a table."
        )
    made = episodes.attrs.get("clock", clock)
    if made != clock:
        raise ValueError(f"these episodes run on the clock {made!r}: say clock={made!r}.")
    here = (episodes["phase"] == phase).to_numpy(dtype=bool, na_value=False)
    if not here.any():
        there = ", ".join(repr(str(name)) for name in episodes["phase"].dropna().unique()[:8])
        raise ValueError(f"nobody was in the phase {phase!r}; there are: {there}.")
    customers = "customer_id" in episodes
    weight = None if customers else next((name for name in WEIGHTS if name in episodes), None)
    beside = ["customer_id", "phase", "entry", "exit"]

    def refuse(name, bad, fix):
        refuse_rows(episodes, name, here & bad, fix, beside=beside)

    times = {name: pd.to_numeric(episodes[name], errors="coerce").to_numpy(float) for name in ("entry", "exit")}
    for name, values in times.items():
        refuse(name, ~np.isfinite(values), "give the time as a number, or leave these stays out")
    entry, leaving = times["entry"], times["exit"]
    refuse("exit", leaving <= entry, "a stay has a length: correct these times, or leave stays without length out")
    names = list(episodes["next_phase"].dropna().unique())
    blank = episodes["next_phase"].isin([names[number] for number in blank_codes(names)]).to_numpy()
    refuse("next_phase", blank, "write a phase; leave next_phase missing while the stay lasts")
    if by:
        refuse(by, episodes[by].isna().to_numpy(), "give these stays a level of their own, such as 'unknown'")
    if weight:
        number = pd.to_numeric(episodes[weight], errors="coerce").to_numpy(float)
        refuse(
            weight,
            ~(np.isfinite(number) & (number > 0)),
            "a count is a number above 0; leave out rows that stand for nobody",
        )
    since = np.zeros(len(episodes))
    if clock == "forward":
        since, late = _since_opened(episodes, entry, leaving)
        refuse("entry", late, LATE)
    if visits == "first":
        here &= _first_visits(episodes, here, since, clock)
        if not here.any():
            raise ValueError(f"these counts hold no first visit to {phase!r}.")
    stays = episodes[here]
    # Differences of times from the first purchase: rounded, so that equal numbers of days are equal.
    entry, leaving = (
        values[here] if clock == "reset" else np.round((values - since)[here], 9) for values in (entry, leaving)
    )
    keys = {by: stays[by].array} if by else {}  # a categorical keeps its order
    table = pd.DataFrame({**keys, "entry": entry, "exit": leaving, "left": stays["next_phase"].notna().to_numpy()})
    # Equal stays that were counted where the log lies, or one row each.
    table["stays"] = pd.to_numeric(stays[weight]).to_numpy() if weight else 1
    counts = table.groupby([*keys, "entry", "exit", "left"], observed=True)["stays"].sum().reset_index()
    if customers:
        return counts, int(stays["customer_id"].nunique())
    return counts, int(counts["stays"].sum()) if visits == "first" else None


def _since_opened(episodes, entry, leaving):
    """On the forward clock: since when each stay lasts, and whether it was under way when its customer was first seen."""
    nobody = np.zeros(len(episodes), bool)
    if "customer_id" not in episodes:  # counts, which say it by the phase before, or not at all
        late = (entry > 0) & episodes["came_from"].isna().to_numpy() if "came_from" in episodes else nobody
        return entry, late
    known = np.flatnonzero(np.isfinite(entry) & np.isfinite(leaving))
    customer = episodes["customer_id"].iloc[known]
    customer = pd.factorize(customer)[0] if customer.hasnans else customer.to_numpy()
    phases = [episodes[name].iloc[known] for name in ("phase", "next_phase")]
    if isinstance(phases[0].dtype, pd.CategoricalDtype) and phases[0].dtype == phases[1].dtype:
        origin, target = (column.cat.codes.to_numpy() for column in phases)
    else:
        origin, target = np.split(pd.factorize(pd.concat(phases).astype(object))[0], 2)
    grid, begin, end = _positions(entry[known], leaving[known])
    order = _order(customer, begin)
    order = np.arange(len(known)) if order is None else order
    opened, arrived = openings(*(values[order] for values in (customer, origin, target, begin, end)))
    since, late = entry.copy(), nobody
    since[known[order]] = entry[known[order][opened]]
    late[known[order]] = ~arrived & (grid[begin[order][opened]] > 1e-9 * grid[-1])
    return since, late & (episodes.attrs.get("entered_late") != 0)


def _first_visits(episodes, here, since, clock):
    """Which of the rows are of a customer's first stay in the phase."""
    if "first_visit" in episodes:
        return episodes["first_visit"].to_numpy(dtype=bool)
    customer = episodes["customer_id"]
    if clock == "forward":
        first = pd.Series(np.where(here, since, np.inf)).groupby(customer.to_numpy(), dropna=False).transform("min")
        return since == first.to_numpy()
    again = customer.where(here).duplicated(keep=False).to_numpy() & here
    refuse_rows(
        episodes,
        "customer_id",
        again,
        "times that begin anew with every phase do not say which of a customer's visits was the first: take clock='forward', or say it in a "
        "column first_visit (in rows in order of time: ~episodes.duplicated(['customer_id', 'phase']))",
        beside=["phase", "entry", "exit"],
    )
    return here


def _refuse_beyond(fit, times, estimate):
    """Times that no group was observed for; one group may have been observed for less than another."""
    known = estimate.to_numpy().reshape(-1, len(times))
    if np.isnan(known).all(axis=0).any():
        raise ValueError(
            f"the longest stay in {fit.phase!r} was observed for {fit.counts['exit'].max():g} {fit.unit}s: beyond it nothing is known; got "
            f"t={times.max():g}. Fix: an earlier t."
        )


def _groups(counts, by):
    return [(None, counts)] if by is None else counts.groupby(by, observed=True)


def _at_risk(counts, times):
    """Stays under way just before each time: entered before it, and not over."""
    weight = counts["stays"].to_numpy(float)
    total = np.zeros(len(times))
    for column, sign in (("entry", 1), ("exit", -1)):
        order = np.argsort(counts[column].to_numpy(), kind="stable")
        sums = np.append(0.0, np.cumsum(weight[order]))
        total += sign * sums[np.searchsorted(counts[column].to_numpy()[order], times, side="left")]
    return total


def _ended(counts, times):
    seen = counts[counts["left"]]
    return np.bincount(np.searchsorted(times, seen["exit"]), seen["stays"], minlength=len(times))


def _risk(counts):
    """At each time at which stays ended: how many were under way, and how many ended."""
    times = np.unique(counts.loc[counts["left"], "exit"])
    return pd.DataFrame({"time": times, "at_risk": _at_risk(counts, times), "ended": _ended(counts, times)})


def _curve(counts, times, level):
    """The Kaplan-Meier estimate of lifelines with its band, at any times."""
    from lifelines import KaplanMeierFitter  # here, since it takes a second to import

    normal_quantile(level)  # refuses what is no level
    fit = KaplanMeierFitter(alpha=1 - level)
    fit.fit(counts["exit"], counts["left"], entry=counts["entry"], weights=counts["stays"])
    table = pd.concat([fit.survival_function_, fit.confidence_interval_], axis=1).set_axis(
        ["estimate", "lower", "upper"], axis=1
    )
    # Where the curve has come down to 0, the band says nothing.
    table.loc[table["estimate"] == 0, ["lower", "upper"]] = np.nan
    place = np.searchsorted(table.index, times, side="right") - 1
    result = table.iloc[place].set_axis(pd.Index(times, name="time"))
    # Beyond the longest stay nothing is known, unless none was left.
    result.loc[(times > table.index.max()) & (result["estimate"] > 0).to_numpy()] = np.nan
    return result


def _times(t):
    times = as_numbers("t=", t)
    if times.ndim != 1 or times.size == 0 or not (np.isfinite(times) & (times >= 0)).all():
        raise ValueError(f"survival(t) takes times in the phase, 0 or more; got {t!r}.")
    return times
