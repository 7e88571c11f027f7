"""Customer retention: who comes back, who stays under contract, and what the future of a contract base looks like.

In reading order: ``repeat_share`` (a rule on a purchase log), ``cohort_triangle`` (activity of a shop's customers),
``survivor_triangle`` (contracts, where leaving is observed), ``fit_geometric`` and ``fit_sbg`` (models of the survivors).
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlab import counting, style, tables
from crmlab.arguments import one_of
from crmlab.likelihood import LikelihoodResult, normal_quantile, warn_boundary

__all__ = [
    "repeat_share",
    "plot_repeat_share",
    "cohort_triangle",
    "plot_cohort_triangle",
    "survivor_triangle",
    "fit_geometric",
    "fit_sbg",
    "SurvivalFit",
    "GeometricFit",
    "SBGFit",
]

_PERIODS = {"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}  # the field's word: pandas' period


def repeat_share(
    log,
    at_least=3,
    count_first=False,
    window="year",
    base="active",
    group=None,
    customer="customer_id",
    date="date",
    level=0.95,
):
    r"""Share of customers who bought again at least so many times, year by year.

    The rule of thumb of many CRM reports. A customer-day is one purchase, however many rows it has. For year
    :math:`y`, with :math:`k_i(y)` the purchases that count, :math:`B(y)` the customers in the base and :math:`m` for `at_least`,

    .. math:: \text{share}(y) = \frac{\#\{i \in B(y) : k_i(y) \ge m\}}{\#B(y)}.

    Assumes that a year is observed whole. The last year of a log often is not: compare whole years only.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase: the customer, the day and, if grouped, the group; see `crmlab.tables.transactions`. To leave
        out returns or rows without a customer, check the log there first and hand in the result.
    at_least : int, default 3
        How many purchases make a customer a repeater.
    count_first : bool, default False
        Whether a customer's very first purchase in the log counts. By default it does not: it is a trial, not a repeat.
    window : {"year", "cumulative"}
        Count the purchases of the year, or all of them up to its end. A cumulative share rises with the customers'
        age alone, even if nobody's behaviour changes.
    base : {"active", "ever"}
        Divide by the customers who bought in the year, or by all who have ever bought by its end.
    group : str, optional
        A column of the log, such as a grade. A customer counts in the group that stood on its last purchase *before*
        the year (for a new customer: on its first), so that what happens in the year cannot choose the group.
    customer, date : str
        Names of the columns.
    level : float, default 0.95
        Confidence level of the Wilson intervals.

    Returns
    -------
    pandas.DataFrame
        One row a year and group, with the columns ``period`` (the year), ``group`` (only if asked for), ``customers``
        (the base), ``repeaters``, ``share``, ``lower``, ``upper``. ``.attrs["definition"]`` says in words what was counted.

    Raises
    ------
    ValueError
        If the log breaks its contract (see `crmlab.tables.transactions`) or an argument is not one of its choices.

    Notes
    -----
    The intervals treat customers as a random sample of those the firm could have had. Years share customers, so
    intervals of two years are not independent. In R: ``prop.test(repeaters, customers, correct = FALSE)``.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, *Journal of the American
    Statistical Association* 22(158):209-212.

    Examples
    --------
    >>> from crmlab import datasets, retention
    >>> log = datasets.load("cdnow_sample")
    >>> retention.repeat_share(log).round(3)
       period  customers  repeaters  share  lower  upper
    0    1997       2357        397  0.168  0.154  0.184
    1    1998        515        138  0.268  0.232  0.308
    """
    one_of("window", window, ("year", "cumulative"))
    one_of("base", base, ("active", "ever"))
    if isinstance(at_least, bool) or not isinstance(at_least, (int, np.integer)) or at_least < 1:
        raise ValueError(f"at_least= is a whole number of purchases, 1 or more; got {at_least!r}.")
    if group in ("customer_id", "date"):
        raise ValueError(
            f"group= is a column of customers' groups, such as a grade; {group!r} has another use in the log."
        )
    checked = tables.transactions(log, customer, date, amount=None, also=group)
    cases = counting.repeat_counts(checked, at_least, count_first, group).to_pandas()
    if group and isinstance(log, pd.DataFrame):
        # A categorical keeps its order.
        cases[["group", "group_after"]] = cases[["group", "group_after"]].astype(log[group].dtype)
    keys = ["period", "group"] if group else ["period"]
    rows = _base_of_each_year(cases, base).rename(columns={"in_year" if window == "year" else "so_far": "repeater"})
    rows["repeaters"] = rows["customers"].where(rows["repeater"], 0)
    result = rows.groupby(keys, observed=True)[["customers", "repeaters"]].sum().reset_index().astype({"period": int})
    result["share"] = result["repeaters"] / result["customers"]
    from statsmodels.stats.proportion import proportion_confint  # here, since it takes a second to import

    result["lower"], result["upper"] = proportion_confint(
        result["repeaters"], result["customers"], alpha=1 - level, method="wilson"
    )
    result.attrs["definition"] = (
        f"at least {at_least} purchases (customer-days) {'in the year' if window == 'year' else 'up to the end of the year'}, "
        f"the first {'counted' if count_first else 'not counted'}; of customers who {'bought in the year' if base == 'active' else 'ever bought by then'}"
    )
    return result


def _base_of_each_year(cases, base):
    """The customers in the base of each year, by case: those who bought in it, with `base` "ever" the silent ones too."""
    parts = [cases.assign(period=cases["year"])]
    last = cases["year"].max()
    if base == "ever":
        until = pd.to_numeric(cases["next_year"]).fillna(last + 1)
        # In a silent year nothing is bought, and what stood after the last purchase goes on standing.
        silent = cases.assign(in_year=False, **({"group": cases["group_after"]} if "group" in cases else {}))
        for year in range(cases["year"].min() + 1, last + 1):
            parts.append(silent[(cases["year"] < year) & (year < until)].assign(period=year))
    return pd.concat(parts, ignore_index=True)


def plot_repeat_share(shares, ax=None):
    """Draw the shares of `repeat_share` with their intervals, a line a group.

    Parameters
    ----------
    shares : pandas.DataFrame
        What `repeat_share` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    groups = list(shares.groupby("group", observed=True)) if "group" in shares else [(None, shares)]
    for number, (name, rows) in enumerate(groups):
        spread = np.abs(rows[["lower", "upper"]].sub(rows["share"], axis=0)).T
        ax.errorbar(rows["period"], rows["share"], spread, marker="os^Dv"[number % 5], capsize=4, label=name)
    if "group" in shares:
        ax.legend()
    ax.xaxis.set_major_locator(style.whole_numbers())
    ax.yaxis.set_major_formatter(style.PERCENT)
    ax.set(xlabel="year", ylabel="share of customers", ylim=(0, None))
    return ax


def cohort_triangle(log, period="month", customer="customer_id", date="date"):
    """How many customers of each cohort bought again, by age: activity, not survival.

    A cohort is the customers whose first purchase in the log fell in the same period. A customer is active at age
    `k` if it bought at least once in the `k`-th period after that. Activity can fall and rise again, since a shop's
    customers come back; it is therefore not a survivor function, and the models of survivors refuse it.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a purchase; see `crmlab.tables.transactions`.
    period : {"week", "month", "quarter", "year"}
        Calendar periods; weeks begin on Monday.
    customer, date : str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        One row a cohort and age that the log covers: ``cohort`` (period), ``age_<period>s`` (0 is the period of the
        first purchase), ``customers`` (size of the cohort), ``active``, ``share`` (active / customers). The log's last
        period is included as it is: if it was cut short, so is its activity.

    Raises
    ------
    ValueError
        If the log breaks its contract, or the period is not one of those.

    Examples
    --------
    >>> from crmlab import datasets, retention
    >>> activity = retention.cohort_triangle(datasets.load("cdnow_sample"), period="quarter")
    >>> activity.head(3).round(3)
       cohort  age_quarters  customers  active  share
    0  1997Q1             0       2357    2357  1.000
    1  1997Q1             1       2357     524  0.222
    2  1997Q1             2       2357     418  0.177
    """
    one_of("period", period, _PERIODS)
    checked = tables.transactions(log, customer, date, amount=None)
    counts = counting.cohort_triangle(checked, period).to_pandas()
    age = f"age_{period}s"
    cohorts = pd.PeriodIndex(pd.to_datetime(counts["cohort"]), freq=_PERIODS[period])
    counts = counts.assign(cohort=cohorts)
    # Every age that the log covers, also where nobody was active.
    last = (cohorts + counts[age].to_numpy()).max()
    sizes = counts.drop_duplicates("cohort")[["cohort", "customers"]]
    ages = [range(last.ordinal - cohort.ordinal + 1) for cohort in sizes["cohort"]]
    result = sizes.assign(**{age: ages}).explode(age, ignore_index=True).astype({age: int})
    result = result.merge(counts[["cohort", age, "active"]], how="left", on=["cohort", age])
    result["active"] = result["active"].fillna(0).astype(int)
    result["share"] = result["active"] / result["customers"]
    result = result[["cohort", age, "customers", "active", "share"]]
    result.attrs["kind"] = "activity"
    return result


def plot_cohort_triangle(triangle, ax=None):
    """Heat map of a triangle: cohorts down, age across, the share as colour and number.

    Parameters
    ----------
    triangle : pandas.DataFrame
        What `cohort_triangle` or `survivor_triangle` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    import seaborn  # here, since it takes two seconds to import

    ax = style.axes(ax)
    age = _age_column(triangle)
    shares = triangle.pivot(index="cohort", columns=age, values="share")
    sizes = triangle.groupby("cohort")["customers"].first()
    # Age 0 is always 100 %: it is left blank, so that the colours tell the other ages apart.
    rest = shares.iloc[:, 1:]
    many = rest.shape[1] > 20
    seaborn.heatmap(
        rest,
        ax=ax,
        cmap="cividis",
        annot=None if many else rest * 100,
        fmt=".0f",
        annot_kws={"size": 12},
        linewidths=0 if many else 0.5,
        cbar_kws={"label": "share of the cohort", "format": style.PERCENT},
        yticklabels=[f"{cohort} ({size:,})" for cohort, size in sizes.items()],
    )
    what = "still under contract" if "survivors" in triangle else "active"
    ax.set(
        xlabel=f"age, in {age.removeprefix('age_')} since the first",
        ylabel="cohort (customers)",
        title=f"Customers {what}, % of the cohort",
    )
    ax.grid(False)
    return ax


def survivor_triangle(contracts, period="year", observed_until=None, customer="customer_id", start="start", end="end"):
    """How many contracts of each cohort outlived each renewal: survival, since leaving is observed.

    A contract has survived to age `k` if it was still in force on the day `k` periods after its start. The ages of
    a cohort run as far as *every* contract in it could be followed, so that each number has the same customers behind it.

    Parameters
    ----------
    contracts : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a customer: the first day of the contract and the first day without it (missing while it runs).
    period : {"week", "month", "quarter", "year"}
        The time from one renewal to the next; cohorts are calendar periods of that length.
    observed_until : date-like, optional
        The last day on which the table was up to date; by default the latest date in it.
    customer, start, end : str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        One row a cohort and age: ``cohort``, ``age_<period>s``, ``customers``, ``survivors``, ``share``.
        `fit_sbg` and `fit_geometric` take it as it is.

    Raises
    ------
    ValueError
        If the table breaks its contract (see `crmlab.tables.contracts`), a date lies after `observed_until`, or no
        cohort was followed for a single period.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import retention
    >>> contracts = pd.DataFrame({
    ...     "customer_id": ["a", "b", "c"],
    ...     "start": pd.to_datetime(["2023-01-10", "2023-06-01", "2023-09-30"]),
    ...     "end": pd.to_datetime(["2024-01-10", None, "2025-09-30"]),
    ... })
    >>> retention.survivor_triangle(contracts, observed_until="2025-12-31")
      cohort  age_years  customers  survivors     share
    0   2023          0          3          3  1.000000
    1   2023          1          3          2  0.666667
    2   2023          2          3          1  0.333333
    """
    one_of("period", period, _PERIODS)
    # Dates after observed_until are refused below, by a message that names it.
    latest = None if observed_until is None else pd.Timestamp.max
    checked = tables.contracts(contracts, customer, start, end, latest=latest)
    result = counting.survivor_triangle(checked, period, observed_until).to_pandas()
    result["cohort"] = pd.PeriodIndex(pd.to_datetime(result["cohort"]), freq=_PERIODS[period])
    result["share"] = result["survivors"] / result["customers"]
    if result[f"age_{period}s"].max() < 1:
        raise ValueError(
            f"no cohort was followed for a whole {period}: nothing is known about renewals yet. Take a shorter period=."
        )
    return result


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
        Number of customers at the start, where `alive` is given in shares or percentages: without it the standard
        errors cannot be known.

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
    renewals = _renewals(alive, size)
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
        nobs=float(renewals.attrs["customers"]),
        converged=True,
        boundary=boundary,
        renewals=renewals,
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
        Number of customers at the start, where `alive` is given in shares or percentages: without it the standard
        errors cannot be known.

    Returns
    -------
    SBGFit
        With ``params`` ``alpha`` and ``beta``. Their Wald intervals are somewhat short in samples of a thousand; the
        intervals of ``survival`` and ``retention_rate`` are the ones to quote.

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
    renewals = _renewals(alive, size)
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
    theta, phi, loglik, converged, boundary = _maximise_sbg(renewals)
    if boundary:
        warn_boundary(boundary)
    with np.errstate(divide="ignore"):
        shape = np.array([theta, 1 - theta]) / np.float64(phi)
    information = np.full((2, 2), np.nan) if boundary else -_sbg_derivatives(theta, phi, renewals)[1]
    polar_cov = np.linalg.inv(information)
    # d(alpha, beta) / d(theta, phi)
    jacobian = (
        np.array([[1 / phi, -theta / phi**2], [-1 / phi, -(1 - theta) / phi**2]])
        if not boundary
        else np.full((2, 2), np.nan)
    )
    names = ["alpha", "beta"]
    return SBGFit(
        params=pd.Series(shape, names),
        cov=pd.DataFrame(jacobian @ polar_cov @ jacobian.T, names, names),
        loglik=float(loglik),
        nobs=float(renewals.attrs["customers"]),
        converged=converged,
        boundary=boundary,
        renewals=renewals,
        _polar=(theta, phi),
        _polar_cov=polar_cov,
    )


@dataclass(frozen=True, eq=False)
class SurvivalFit(LikelihoodResult):
    """What the fits of survivors share: predictions with intervals, and a figure.

    Attributes
    ----------
    renewals : pandas.DataFrame
        The counts that were fitted, indexed by ``age``: ``at_risk`` (renewals that came due) and ``lost``.
    """

    renewals: pd.DataFrame = field(repr=False, default=None)

    def survival(self, t, level=None):
        """The survivor function: share of the customers of period 0 still under contract at age `t`.

        Parameters
        ----------
        t : int or sequence of int
            Ages in periods, 0 or more.
        level : float, optional
            With a confidence level, intervals come along.

        Returns
        -------
        float, pandas.Series or pandas.DataFrame
            A number for one age, a Series indexed by ``age`` for several; with `level` a DataFrame of ``estimate``,
            ``lower``, ``upper``.
        """
        return self._predict(t, level, "survival", smallest=0)

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
        return self._predict(t, level, "retention_rate", smallest=1)

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

    def _predict(self, t, level, what, smallest):
        ages = np.atleast_1d(np.asarray(t))
        if (
            ages.ndim != 1
            or ages.size == 0
            or not np.issubdtype(ages.dtype, np.number)
            or (ages != np.floor(ages)).any()
            or (ages < smallest).any()
        ):
            raise ValueError(f"{what}(t) takes whole numbers of periods, {smallest} or more; got {t!r}.")
        ages = ages.astype(int)
        index = pd.Index(ages, name="age")
        estimate = getattr(self, "_" + what)(ages)
        if level is None:
            return float(estimate[0]) if np.ndim(t) == 0 else pd.Series(estimate, index, name=what)
        lower, upper = self._interval(ages, what, normal_quantile(level))
        return pd.DataFrame({"estimate": estimate, "lower": lower, "upper": upper}, index)


@dataclass(frozen=True, eq=False)
class GeometricFit(SurvivalFit):
    """The constant-rate fit of `fit_geometric`; see there."""

    model = "geometric (one constant rate)"

    def summary(self, level=0.95):
        """The churn probability with its standard error and Wilson interval; see `LikelihoodResult.summary`."""
        lower, upper = self._wilson(normal_quantile(level))
        row = {
            "estimate": self.params["theta"],
            "std_error": np.sqrt(self.cov.iloc[0, 0]),
            "lower": lower,
            "upper": upper,
        }
        return pd.DataFrame(row, index=pd.Index(["theta"], name="parameter"))

    def _wilson(self, z):
        # The score interval: unlike Wald's it has a length also where nobody, or everybody, was lost.
        n = self.renewals["at_risk"].sum()
        theta = self.params["theta"]
        middle = (theta + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(theta * (1 - theta) / n + z**2 / (4 * n**2))
        return max(middle - half, 0.0), min(middle + half, 1.0)

    def _survival(self, ages):
        return (1 - self.params["theta"]) ** ages

    def _retention_rate(self, ages):
        return np.full(ages.shape, 1 - self.params["theta"])

    def _interval(self, ages, what, z):
        low, high = self._wilson(z)
        power = ages if what == "survival" else 1
        return np.broadcast_to((1 - high) ** power, ages.shape), np.broadcast_to((1 - low) ** power, ages.shape)


@dataclass(frozen=True, eq=False)
class SBGFit(SurvivalFit):
    """The shifted-beta-geometric fit of `fit_sbg`; see there."""

    _polar: tuple = field(repr=False, default=None)  # theta = alpha / (alpha + beta), phi = 1 / (alpha + beta)
    _polar_cov: np.ndarray = field(repr=False, default=None)

    model = "shifted-beta-geometric (sBG)"

    def _survival(self, ages):
        rates = self._retention_rate(np.arange(1, ages.max() + 1))
        return np.append(1.0, np.cumprod(rates))[ages]

    def _retention_rate(self, ages):
        return 1 - _sbg_churn(*self._polar, ages)

    def _interval(self, ages, what, z):
        if self.boundary:  # no covariance there: said once by the warning, and again by the empty interval
            return np.full(ages.shape, np.nan), np.full(ages.shape, np.nan)
        theta, phi = self._polar
        before = np.arange(ages.max())  # u = t - 1
        # d log r(t) / d(theta, phi)
        slope = np.stack(
            [-1 / (1 - theta + before * phi), before / (1 - theta + before * phi) - before / (1 + before * phi)], axis=1
        )
        if what == "survival":
            slope = np.concatenate([np.zeros((1, 2)), np.cumsum(slope, axis=0)])[ages]
            estimate = self._survival(ages)
        else:
            slope = slope[ages - 1]
            estimate = self._retention_rate(ages)
        # The delta method on the logit scale, which keeps the limits between 0 and 1.
        error = np.sqrt(np.einsum("ij,jk,ik->i", slope, self._polar_cov, slope))
        with np.errstate(divide="ignore", invalid="ignore"):
            half = z * error / (1 - estimate)
            limits = special.expit(special.logit(estimate) + np.outer([-1, 1], half))
        return np.where(ages == 0, 1.0, limits) if what == "survival" else limits


def _sbg_churn(theta, phi, ages):
    """Churn probability at renewals 1, 2, ...: theta / (1 + (t - 1) phi), also for phi = infinity."""
    before = ages - 1
    return np.where(before == 0, theta, theta / (1 + np.maximum(before, 1) * phi))


def _sbg_loglik(theta, phi, renewals):
    churn = _sbg_churn(theta, phi, renewals.index.to_numpy())
    lost, kept = renewals["lost"].to_numpy(), (renewals["at_risk"] - renewals["lost"]).to_numpy()
    return float(np.sum(special.xlogy(lost, churn) + special.xlogy(kept, 1 - churn)))


def _sbg_derivatives(theta, phi, renewals):
    """Gradient and Hessian of the log-likelihood in (theta, phi)."""
    u = renewals.index.to_numpy() - 1.0
    n, d = renewals["at_risk"].to_numpy(), renewals["lost"].to_numpy()
    kept, stay, scale = n - d, 1 - theta + u * phi, 1 + u * phi
    gradient = np.array([np.sum(d) / theta - np.sum(kept / stay), np.sum(kept * u / stay) - np.sum(n * u / scale)])
    cross = np.sum(kept * u / stay**2)
    hessian = np.array(
        [
            [-np.sum(d) / theta**2 - np.sum(kept / stay**2), cross],
            [cross, np.sum(n * u**2 / scale**2) - np.sum(kept * u**2 / stay**2)],
        ]
    )
    return gradient, hessian


def _maximise_sbg(renewals):
    """Maximum in (theta, phi), the two edges of phi looked at apart: theta, phi, log-likelihood, converged, boundary."""
    total_lost, total_at_risk = renewals["lost"].sum(), renewals["at_risk"].sum()
    first = renewals.iloc[0]
    if total_lost == first["lost"]:
        theta = first["lost"] / first["at_risk"]
        note = "alpha, beta -> 0: all losses fell on the first renewal, so the fit says that the others never leave; predictions hold, alpha and beta have no errors"
        return theta, np.inf, _sbg_loglik(theta, np.inf, renewals), True, note

    scale = renewals.attrs["customers"]

    # Unbounded coordinates: logit(theta), log(phi).
    def objective(x):
        theta, phi = special.expit(x[0]), np.exp(x[1])
        return -_sbg_loglik(theta, phi, renewals) / scale

    def chain(x):
        theta, phi = special.expit(x[0]), np.exp(x[1])
        gradient, hessian = _sbg_derivatives(theta, phi, renewals)
        step = np.array([theta * (1 - theta), phi])
        bend = np.array([theta * (1 - theta) * (1 - 2 * theta), phi])
        return -gradient * step / scale, -(hessian * np.outer(step, step) + np.diag(gradient * bend)) / scale

    churn = total_lost / total_at_risk
    starts = [
        (special.logit(np.clip(first["lost"] / first["at_risk"], churn, 0.99)), np.log(phi)) for phi in (0.01, 0.1, 1.0)
    ]
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
    if _sbg_loglik(churn, 0.0, renewals) >= loglik - 1e-9 * abs(loglik):
        note = "alpha + beta -> infinity: no heterogeneity was found, the geometric model fits as well; take fit_geometric for intervals"
        return churn, 0.0, _sbg_loglik(churn, 0.0, renewals), True, note
    return theta, phi, loglik, bool(np.abs(chain(best.x)[0]).max() < 1e-7), None


def _renewals(alive, size):
    """The sufficient counts of any survivor data: at each age, the renewals that came due and the customers lost."""
    if isinstance(alive, pd.DataFrame):
        runs = _cohorts(alive)
    else:
        runs = [_survivors(alive, size)]
    longest = max(map(len, runs))
    at_risk, lost = np.zeros(longest), np.zeros(longest)
    for run in runs:
        at_risk[1 : len(run)] += run[:-1]
        lost[1 : len(run)] += run[:-1] - run[1:]
    table = pd.DataFrame({"at_risk": at_risk, "lost": lost}, index=pd.RangeIndex(longest, name="age")).iloc[1:]
    # Ages at which nobody is left say nothing, and would divide by zero.
    table = table[table["at_risk"] > 0]
    table.attrs["customers"] = float(sum(run[0] for run in runs))
    return table


_NOT_SURVIVAL = (
    "this is activity, not survival: a shop's customers fall silent and return. "
    "A model of survivors needs contracts, where leaving is observed: survivor_triangle counts them from start and end dates."
)


def _cohorts(triangle):
    if triangle.attrs.get("kind") == "activity" or "active" in triangle:
        raise ValueError("alive= is a table of cohort_triangle: " + _NOT_SURVIVAL)
    age = _age_column(triangle)
    if "survivors" not in triangle or "cohort" not in triangle:
        raise ValueError(
            f"a table of survivors has the columns cohort, age_<period>s and survivors (see survivor_triangle); got: {', '.join(map(str, triangle.columns))}."
        )
    runs = []
    for cohort, rows in triangle.sort_values(age).groupby("cohort"):
        if rows[age].tolist() != list(range(len(rows))):
            raise ValueError(
                f"cohort {cohort}: the ages are {rows[age].tolist()}, not 0, 1, 2, ... without gaps. Fill in the missing ages, or end the cohort before the gap."
            )
        runs.append(_check_survivors(rows["survivors"].to_numpy(), f"cohort {cohort}"))
    if max(map(len, runs)) < 2:
        raise ValueError("no cohort has been followed for a single period: nothing is known about renewals yet.")
    return runs


def _survivors(alive, size):
    if isinstance(alive, pd.Series) and (alive.attrs.get("kind") == "activity" or alive.name == "active"):
        raise ValueError("alive= is a column of cohort_triangle: " + _NOT_SURVIVAL)
    if isinstance(alive, (str, bytes)) or np.ndim(alive) != 1:
        raise TypeError(
            f"alive= is a sequence of customers still under contract in periods 0, 1, 2, ...; got {type(alive).__name__} of {np.ndim(alive)} dimensions."
        )
    if len(alive) == 0:
        raise ValueError("alive= is empty: it takes the customers still under contract in periods 0, 1, 2, ...")
    values = _check_survivors(np.asarray(alive), "alive=")
    if len(values) < 2:
        raise ValueError("alive= has one number: it takes at least two periods, the start and one renewal.")
    if size is not None:
        if not np.isfinite(size) or size <= 0:
            raise ValueError(f"size= is the number of customers at the start, above 0; got {size!r}.")
        return values / values[0] * size
    if values[0] == 100 or (values != np.round(values)).any():
        raise ValueError(
            f"alive= looks like shares or percentages (it starts {values[0]:g}, {values[1]:g}): without the number of customers no standard error can be "
            "known. Pass size=, the customers at the start (size=100 if there were a hundred of them)."
        )
    return values


def _check_survivors(values, where):
    if values.dtype == bool or not np.issubdtype(values.dtype, np.number):
        shown = "; ".join(
            f"period {i}: {value!r}" for i, value in enumerate(values.tolist()) if not isinstance(value, float | int)
        )
        raise TypeError(
            f"{where} holds {values.dtype} values, not numbers ({shown[:80]}). Make them numeric, for example with pandas.to_numeric."
        )
    values = values.astype(float)
    for wrong, why in [
        (~np.isfinite(values), "missing or infinite. Fill them in, or end the series before them."),
        (values < 0, "negative. Survivors are counts of customers."),
        (
            np.append(False, np.diff(values) > 0),
            "higher than the one before. Survivors of a contract cannot rise. If customers come back, " + _NOT_SURVIVAL,
        ),
    ]:
        if wrong.any():
            shown = "; ".join(f"period {i}: {values[i]:g}" for i in np.flatnonzero(wrong)[:3])
            raise ValueError(f"{where} {wrong.sum()} of {len(values)} values ({shown}) are {why}")
    if values[0] == 0:
        raise ValueError(f"{where} starts with no customer: there is nobody to follow.")
    return values


def _age_column(triangle):
    names = [name for name in triangle.columns if str(name).startswith("age_")]
    if len(names) != 1:
        raise ValueError(
            f"a triangle has one column of ages, named age_<period>s; got: {', '.join(map(str, triangle.columns))}."
        )
    return names[0]


def _offset(period, count):
    return pd.DateOffset(**{"months": 3 * count} if period == "quarter" else {period + "s": count})
