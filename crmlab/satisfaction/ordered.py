"""Ratings as what they are: ordered categories. Ordered logit and probit on counts, and the check of their one assumption."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import linalg, optimize, special, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.design import Design, count_cases
from crmlab.likelihood import LikelihoodResult, normal_quantile, wald_table

__all__ = ["fit_ordered", "OrderedFit", "proportional_odds_test"]

_MEANING = {
    "logit": "log odds of a higher answer, for one unit",
    "probit": "shift of the hidden scale, in standard deviations",
}


def fit_ordered(formula, data, weights=None, link="logit", levels=None):
    r"""Ordered logit or probit of a rating, on counts.

    Behind the rating :math:`y` lies a hidden scale :math:`y^* = x'\beta + \varepsilon`, which cut points
    :math:`\tau_1 < \dots < \tau_{K-1}` divide into the :math:`K` answers:

    .. math:: P(y \le k \mid x) = F(\tau_k - x'\beta),

    with :math:`F` logistic or normal. The log-likelihood weighs each case with its count :math:`n_i`, so that estimates and
    errors are those of the single rows, at a cost that does not grow with them. With two answers it is the ordinary
    logit or probit.

    Assumes that customers are independent, and that a column shifts all answers alike: one coefficient for all cut points.
    `proportional_odds_test` looks whether it does.

    Parameters
    ----------
    formula : str
        ``"satisfaction ~ influence + contact"``; the answer is one column. The cut points are the constants.
    data : DataFrame or Checked
        See `crmlab.design.count_cases`.
    weights : str, optional
        The column that says how many customers a row stands for.
    link : {"logit", "probit"}
    levels : sequence, optional
        The answers from lowest to highest. Not needed for numbers, booleans and ordered categoricals; text has no order of
        its own. Give the whole scale, and an answer that nobody gave is noticed.

    Returns
    -------
    OrderedFit
        ``params`` holds the coefficients, then the cut points, named like ``Low|Medium``.

    Raises
    ------
    ValueError
        If the data cannot be used (`crmlab.design.count_cases`); if there is only one answer, or one that nobody gave
        (its cut point has no estimate); if a column tells the answers apart without error (separation: its coefficient
        has no finite estimate); if a column is a combination of others, or the same for all.

    Warns
    -----
    RuntimeWarning
        If the maximum was not reached; ``converged`` is then False.
    UserWarning
        If there are more than twenty answers and `levels` does not name them: a measurement, not a rating.

    Notes
    -----
    In R: ``MASS::polr(y ~ x, weights = n, Hess = TRUE)``; in statsmodels ``OrderedModel`` on single rows, which takes no
    counts. The log-likelihood is concave (Pratt 1981), so Newton's steps find its one maximum.

    References
    ----------
    P. McCullagh (1980), Regression models for ordinal data, *Journal of the Royal Statistical Society B* 42(2):109-142.
    J. W. Pratt (1981), Concavity of the log likelihood, *Journal of the American Statistical Association* 76(373):103-106.

    Examples
    --------
    >>> from crmlab import datasets, satisfaction
    >>> housing = datasets.load("housing")
    >>> fit = satisfaction.fit_ordered("satisfaction ~ influence + type + contact", housing, weights="tenants")
    >>> fit.params.round(3).to_dict()
    {'influence[T.Medium]': 0.566, 'influence[T.High]': 1.289, 'type[T.Apartment]': -0.572, 'type[T.Atrium]': -0.366, 'type[T.Terrace]': -1.091, 'contact[T.High]': 0.36, 'Low|Medium': -0.496, 'Medium|High': 0.691}
    """
    one_of("link", link, _MEANING)
    cases, count = count_cases(formula, data, weights)
    design = Design.of(formula, cases, intercept=False)
    given = levels is not None
    levels = _levels(cases[design.response], design.response, levels)
    if not given and len(levels) > 20:
        warnings.warn(
            f"column {design.response!r} has {len(levels)} different values, and each is taken as an answer of its own: is it a measurement? "
            "Then take fit_linear.",
            stacklevel=2,
        )
    y = pd.Index(levels).get_indexer(cases[design.response])
    _refuse_empty(y, count, levels, design.response)
    design.require_full_rank(count, constant=True)
    found = _maximise(design.matrix, y, count, len(levels), link)
    if found.direction is not None:
        _say_separation(found.direction, design, levels)
    if not found.converged:
        warnings.warn(
            "the maximum of the likelihood was not reached: do not use the estimates. Look for columns that nearly repeat each other.",
            RuntimeWarning,
            stacklevel=2,
        )
    names = [*design.names, *_cut_names(levels)]
    order = np.r_[len(levels) - 1 : len(names), 0 : len(levels) - 1]
    return OrderedFit(
        params=pd.Series(found.theta[order], names),
        cov=pd.DataFrame(found.cov[np.ix_(order, order)], names, names),
        loglik=found.loglik,
        nobs=float(count.sum()),
        converged=found.converged,
        link=link,
        levels=tuple(levels),
        cases=cases.assign(customers=count),
        design=design,
    )


@dataclass(frozen=True, eq=False)
class OrderedFit(LikelihoodResult):
    """The ordered logit or probit of `fit_ordered`; see there.

    Attributes
    ----------
    link : str
    levels : tuple
        The answers from lowest to highest.
    cases : pandas.DataFrame
        The distinct rows, with how many ``customers`` share each.
    """

    link: str = "logit"
    levels: tuple = ()
    cases: pd.DataFrame = field(repr=False, default=None)
    design: Design = field(repr=False, default=None)

    @property
    def coefficients(self):
        """The estimates without the cut points."""
        return self.params[self.design.names]

    @property
    def cut_points(self):
        """The estimated cut points, from lowest to highest."""
        return self.params[len(self.design.names) :]

    def summary(self, level=0.95):
        """Estimates with standard errors and Wald intervals, indexed by ``parameter``; see `LikelihoodResult.summary`."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    def probabilities(self, new=None, level=0.95, at_least=None):
        """The probability of each answer, or of an answer and all above it.

        Parameters
        ----------
        new : DataFrame, optional
            The columns of the formula; by default the distinct rows of the data without the answer.
        level : float
            Of the intervals, which are made on the logit scale and stay between 0 and 1.
        at_least : optional
            An answer: the probability of it or a higher one.

        Returns
        -------
        pandas.DataFrame
            The rows of `new`, once for each answer, with the answer in its column, ``estimate``, ``lower``, ``upper``.

        Raises
        ------
        ValueError
            If a column or category is unknown, or `at_least` is not an answer.
        """
        z = normal_quantile(level)
        if new is None:
            new = self.cases.drop(columns=[self.design.response, "customers"]).drop_duplicates(ignore_index=True)
        x = self.design.build(new)
        if at_least is not None:
            one_of("at_least", at_least, self.levels)
            parts = [self._at_least(x, self.levels.index(at_least))]
            answers = [at_least]
        else:
            tails = [self._at_least(x, k) for k in range(len(self.levels) + 1)]
            parts = [(a - b, da - db) for (a, da), (b, db) in zip(tails, tails[1:])]
            answers = self.levels
        rows = []
        for answer, (p, gradient) in zip(answers, parts):
            error = np.sqrt(np.einsum("ij,jk,ik->i", gradient, self.cov.to_numpy(), gradient))
            lower, upper = _logit_limits(p, error, z)
            answered = new.drop(columns=self.design.response, errors="ignore")
            rows.append(
                answered.assign(**{self.design.response: answer, "estimate": p, "lower": lower, "upper": upper})
            )
        table = pd.concat(rows, keys=range(len(rows))).swaplevel().sort_index(kind="stable", level=0)
        return table.reset_index(drop=True)

    def _at_least(self, x, k):
        """P(y >= level k) and its gradient in the order of `params`."""
        cuts = len(self.levels) - 1
        gradient = np.zeros((len(x), x.shape[1] + cuts))
        if k <= 0:
            return np.ones(len(x)), gradient
        if k > cuts:
            return np.zeros(len(x)), gradient
        at = self.cut_points.iloc[k - 1] - x @ self.coefficients.to_numpy()
        density = _density(at, self.link)
        gradient[:, : x.shape[1]] = density[:, None] * x
        gradient[:, x.shape[1] + k - 1] = -density
        return _cdf(-at, self.link), gradient

    def plot(self, ax=None, level=0.95):
        """Each coefficient with its interval.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        return style.coefficients(self.summary(level).loc[self.design.names], ax, _MEANING[self.link])

    def plot_probabilities(self, by, new=None, ax=None, level=0.95):
        """The probability of each answer along one column, with intervals.

        Parameters
        ----------
        by : str
            The column on the horizontal axis.
        new : DataFrame, optional
            The rows to predict, one for each value of `by`. By default the values in the data, the other columns held at
            their most frequent value.
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        columns = [c for c in self.cases if c not in (self.design.response, "customers")]
        one_of("by", by, columns)
        if new is None:
            values = self.design.levels.get(by) or sorted(self.cases[by].unique())
            usual = {c: self.cases.groupby(c, observed=True)["customers"].sum().idxmax() for c in columns if c != by}
            new = pd.DataFrame({by: values, **usual})
        ax = style.axes(ax)
        table = self.probabilities(new, level)
        values = list(dict.fromkeys(table[by]))
        numeric = pd.api.types.is_numeric_dtype(table[by])
        place = np.asarray(values, dtype=float) if numeric else np.arange(len(values))
        step = np.min(np.diff(np.sort(place))) if len(place) > 1 else 1
        for i, (answer, rows) in enumerate(table.groupby(self.design.response, sort=False, observed=True)):
            shift = (i - (len(self.levels) - 1) / 2) * 0.08 * step
            bars = np.abs(rows[["lower", "upper"]].to_numpy().T - rows["estimate"].to_numpy())
            ax.errorbar(place + shift, rows["estimate"].to_numpy(), yerr=bars, fmt="o-", capsize=4, label=str(answer))
        if not numeric:
            ax.set_xticks(place, [str(value) for value in values])
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel=by, ylabel="probability of the answer", ylim=(0, None))
        ax.legend(title=self.design.response)
        return ax


def proportional_odds_test(fit):
    r"""Does each column shift all answers alike? Brant's test of the ordered model's assumption.

    At each cut point :math:`k` the ordinary logit (or probit) of "above :math:`k`" is fitted by itself. If the assumption
    holds, its coefficients are the same at every cut, but for chance. The test compares them, with the covariance that
    fits to the same customers have.

    Parameters
    ----------
    fit : OrderedFit
        With three answers or more.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``parameter``, ``all columns`` first: the coefficient at each cut, ``chi2``, ``df``, ``p_value``. A small
        p-value says that one coefficient is not enough; look at the coefficients whether it matters.

    Raises
    ------
    ValueError
        If the fit has two answers or no columns, or a column separates the answers at one cut.

    Notes
    -----
    In large samples the test finds differences that change no decision, and in small cells it says "different" too often.
    In R: ``brant::brant``; the likelihood ratio test of ``VGAM::vglm(cumulative(parallel = TRUE))`` against ``FALSE`` answers
    the same question.

    References
    ----------
    R. Brant (1990), Assessing proportionality in the proportional odds model for ordinal logistic regression,
    *Biometrics* 46(4):1171-1178.

    Examples
    --------
    >>> from crmlab import datasets, satisfaction
    >>> housing = datasets.load("housing")
    >>> fit = satisfaction.fit_ordered("satisfaction ~ influence + type + contact", housing, weights="tenants")
    >>> satisfaction.proportional_odds_test(fit).round(3)
                         Low|Medium  Medium|High   chi2  df  p_value
    parameter
    all columns                 NaN          NaN  8.534   6    0.201
    influence[T.Medium]       0.601        0.536  0.317   1    0.573
    influence[T.High]         1.243        1.304  0.197   1    0.658
    type[T.Apartment]        -0.616       -0.528  0.468   1    0.494
    type[T.Atrium]           -0.180       -0.487  2.805   1    0.094
    type[T.Terrace]          -1.081       -1.111  0.031   1    0.860
    contact[T.High]           0.430        0.313  1.286   1    0.257
    """
    if not isinstance(fit, OrderedFit):
        raise TypeError(f"fit= is what fit_ordered returned; got {type(fit).__name__}.")
    levels, design = fit.levels, fit.design
    if len(levels) < 3 or not design.names:
        raise ValueError(
            "the test compares coefficients between cut points: it takes three answers or more, and a column to explain them."
        )
    x, count = design.matrix, fit.cases["customers"].to_numpy()
    y = pd.Index(levels).get_indexer(fit.cases[design.response])
    cuts, width = len(levels) - 1, x.shape[1]
    # The cases of one x together: the covariance between cuts is theirs.
    full = np.column_stack([np.ones(len(x)), x])
    slopes, above, influence = [], [], []
    for k in range(cuts):
        found = _maximise(x, (y > k).astype(int), count, 2, fit.link)
        if found.direction is not None:
            raise ValueError(
                f"between {levels[k]!r} and {levels[k + 1]!r} a column tells the answers apart without error, so its coefficient there has no "
                "finite estimate: join sparse categories before the test."
            )
        at = x @ found.theta[1:] - found.theta[0]
        p, density = _cdf(at, fit.link), _density(at, fit.link)
        score = density / (p * (1 - p))
        information = (full * (count * density * score)[:, None]).T @ full
        slopes.append(found.theta[1:])
        above.append(p)
        influence.append((score, linalg.inv(information)))
    covariance = np.zeros((cuts * width, cuts * width))
    for j in range(cuts):
        for k in range(j, cuts):
            (score_j, inverse_j), (score_k, inverse_k) = influence[j], influence[k]
            between = above[k] - above[j] * above[k]
            middle = (full * (count * score_j * score_k * between)[:, None]).T @ full
            block = (inverse_j @ middle @ inverse_k)[1:, 1:]
            covariance[j * width : (j + 1) * width, k * width : (k + 1) * width] = block
            covariance[k * width : (k + 1) * width, j * width : (j + 1) * width] = block.T
    slopes = np.concatenate(slopes)

    def test(columns):
        contrast = np.zeros(((cuts - 1) * len(columns), cuts * width))
        for k in range(1, cuts):
            for i, column in enumerate(columns):
                contrast[(k - 1) * len(columns) + i, [column, k * width + column]] = 1, -1
        differences = contrast @ slopes
        chi2 = differences @ linalg.solve(contrast @ covariance @ contrast.T, differences, assume_a="pos")
        return chi2, len(differences), stats.chi2.sf(chi2, len(differences))

    by_cut = slopes.reshape(cuts, width)
    rows = {"all columns": [*[np.nan] * cuts, *test(range(width))]}
    rows |= {name: [*by_cut[:, i], *test([i])] for i, name in enumerate(design.names)}
    columns = [*_cut_names(levels), "chi2", "df", "p_value"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("parameter").astype({"df": int})


# --- the answers ----------------------------------------------------------------------------------------------------


def _levels(column, name, given):
    if given is not None:
        levels = list(given)
        if len(set(levels)) != len(levels):
            raise ValueError(f"levels= names an answer twice: {levels!r}.")
        if strange := set(column) - set(levels):
            raise ValueError(
                f"column {name!r} holds {sorted(map(str, strange))[0]!r}, which levels= does not name: {levels!r}."
            )
        return levels
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.cat.ordered or len(column.cat.categories) == 2:
            return list(column.cat.categories)
    elif pd.api.types.is_numeric_dtype(column):
        return [value.item() for value in np.sort(column.unique())]
    else:
        values = sorted(column.unique(), key=str)
        if all(isinstance(value, bool | np.bool_) for value in values):
            return [bool(value) for value in values]
    raise ValueError(
        f"column {name!r} has no order ({', '.join(map(str, pd.unique(column)[:4]))}). Fix: give levels=, from the lowest answer to the highest."
    )


def _refuse_empty(y, count, levels, name):
    got = np.bincount(y, count, len(levels))
    empty = [str(level) for level, n in zip(levels, got) if n == 0]
    if (got > 0).sum() == 1:
        only = levels[int(got.argmax())]
        raise ValueError(
            f"column {name!r}: all {got.sum():,.0f} customers answered {only!r}. Where nobody answers otherwise, nothing can explain the answer."
        )
    if empty:
        raise ValueError(
            f"column {name!r}: nobody answered {', '.join(empty)}, so its cut point has no estimate. Fix: join it with the answer next to it, or leave it out of the scale."
        )


def _cut_names(levels):
    return [f"{a}|{b}" for a, b in zip(levels, levels[1:])]


def _say_separation(direction, design, levels):
    cuts = len(levels) - 1
    guilty = [name for name, d in zip(design.names, direction[cuts:]) if abs(d) > 1e-6]
    raise ValueError(
        f"separation: {', '.join(map(repr, guilty))} tells some answers of {design.response!r} apart without a single error, so the likelihood rises for ever and "
        "the coefficient has no finite estimate. Fix: join sparse categories, leave the column out, or get more customers; a larger number of steps would only print a larger number."
    )


# --- the likelihood -------------------------------------------------------------------------------------------------


def _cdf(at, link):
    return special.expit(at) if link == "logit" else special.ndtr(at)


def _density(at, link):
    if link == "logit":
        return special.expit(at) * special.expit(-at)
    return np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)


def _bend(at, link):
    """Derivative of the density."""
    return _density(at, link) * ((special.expit(-at) - special.expit(at)) if link == "logit" else -at)


def _logit_limits(p, error, z):
    with np.errstate(divide="ignore", invalid="ignore"):
        half = z * error / (p * (1 - p))
        return special.expit(special.logit(p) + np.outer([-1, 1], half))


@dataclass
class _Maximum:
    theta: np.ndarray  # cut points, then coefficients
    cov: np.ndarray
    loglik: float
    converged: bool
    direction: np.ndarray | None  # in which the likelihood rises for ever


def _maximise(x, y, count, answers, link):
    """Newton's method in centred and scaled columns; a direction without end is looked for where the steps grow long."""
    cuts = answers - 1
    total = count.sum()
    mean = count @ x / total
    scale = np.sqrt(count @ (x - mean) ** 2 / total) if x.shape[1] else np.ones(0)
    z = (x - mean) / scale
    upper_cut, lower_cut = y < cuts, y > 0
    top, bottom = np.minimum(y, cuts - 1), np.maximum(y - 1, 0)
    shares = np.cumsum(np.bincount(y, count, answers))[:-1] / total
    start = special.logit(shares) if link == "logit" else special.ndtri(shares)
    theta = np.r_[start, np.zeros(z.shape[1])]

    def value(theta):
        if (np.diff(theta[:cuts]) <= 0).any():
            return -np.inf, None
        eta = z @ theta[cuts:]
        u = np.where(upper_cut, theta[top] - eta, np.inf)
        low = np.where(lower_cut, theta[bottom] - eta, -np.inf)
        # Far out on the right 1 - F loses its digits: the same interval is taken on the left.
        flip = np.where(np.isinf(u), low, np.where(np.isinf(low), u, low + u)) > 0
        p = np.where(flip, _cdf(-low, link) - _cdf(-u, link), _cdf(u, link) - _cdf(low, link))
        p = np.maximum(p, 1e-300)
        return float(count @ np.log(p)), (u, low, p)

    def derivatives(parts):
        u, low, p = parts
        with np.errstate(invalid="ignore"):
            gu = np.where(upper_cut, _density(np.where(upper_cut, u, 0), link) / p, 0)
            gl = np.where(lower_cut, _density(np.where(lower_cut, low, 0), link) / p, 0)
            hu = np.where(upper_cut, _bend(np.where(upper_cut, u, 0), link) / p, 0) - gu**2
            hl = np.where(lower_cut, -_bend(np.where(lower_cut, low, 0), link) / p, 0) - gl**2
        cross = gu * gl  # d2 log p / du dl
        gradient, hessian = np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        np.add.at(gradient, top, count * gu * upper_cut)
        np.add.at(gradient, bottom, -count * gl * lower_cut)
        gradient[cuts:] = z.T @ (count * (gl - gu))
        np.add.at(hessian, (top, top), count * hu * upper_cut)
        np.add.at(hessian, (bottom, bottom), count * hl * lower_cut)
        both = upper_cut & lower_cut
        np.add.at(hessian, (top[both], bottom[both]), (count * cross)[both])
        np.add.at(hessian, (bottom[both], top[both]), (count * cross)[both])
        for k in range(cuts):
            at_k = (top == k) & upper_cut
            column = -(z[at_k].T @ (count * (hu + cross))[at_k])
            at_k = (bottom == k) & lower_cut
            column -= z[at_k].T @ (count * (hl + cross))[at_k]
            hessian[k, cuts:] = hessian[cuts:, k] = column
        hessian[cuts:, cuts:] = (z * (count * (hu + hl + 2 * cross))[:, None]).T @ z
        return gradient, hessian

    now, parts = value(theta)
    converged = False
    for _ in range(100):
        gradient, hessian = derivatives(parts)
        try:
            step = np.linalg.solve(-hessian, gradient)
        except np.linalg.LinAlgError:
            break
        decrement = gradient @ step
        if not decrement >= 0:  # the curvature is lost in rounding
            break
        if decrement < 1e-16 * total or decrement < 1e-18:
            converged = True
            break
        length = 1.0
        while True:
            then, new_parts = value(theta + length * step)
            if then >= now - 1e-13 * abs(now):
                break
            length /= 2
            if length < 1e-10:
                break
        if length < 1e-10:
            converged = decrement < 1e-10 * total
            break
        theta, now, parts = theta + length * step, then, new_parts
        if np.abs(theta).max() > 1e4:  # on scaled columns: without end
            break
    # Where the likelihood rises for ever, the steps may yet fade away: some answers are then certain, or far apart.
    eta = z @ theta[cuts:]
    far = 12 if link == "logit" else 5
    if not converged or np.ptp(eta) > far or parts[2].max() > 1 - 1e-5:
        direction = _recession(z, y, cuts)
        if direction is not None:
            return _Maximum(theta, None, now, False, direction)
    # Back to the columns as they came: tau = tau_z + mean / scale * beta_z, beta = beta_z / scale.
    back = np.eye(len(theta))
    back[:cuts, cuts:] = mean / scale
    back[cuts:, cuts:] = np.diag(1 / scale)
    _, hessian = derivatives(parts)
    cov = back @ linalg.inv(-hessian) @ back.T
    return _Maximum(back @ theta, cov, now, converged, None)


def _recession(z, y, cuts):
    """A direction in which no case gets less likely and some get more, if there is one: found by linear programming.

    Along (dtau, dbeta) the probability of a case cannot fall if its upper limit does not come down and its lower limit does
    not go up. If that holds for all cases, the likelihood has no maximum.
    """
    up, low = np.flatnonzero(y < cuts), np.flatnonzero(y > 0)
    moves = np.zeros((len(up) + len(low), cuts + z.shape[1]))  # each must be >= 0
    moves[np.arange(len(up)), y[up]] = 1
    moves[len(up) + np.arange(len(low)), y[low] - 1] = -1
    moves[: len(up), cuts:], moves[len(up) :, cuts:] = -z[up], z[low]
    moves = np.unique(moves, axis=0)
    found = _feasible(moves, np.zeros(moves.shape[1], dtype=bool))
    if found is None:
        return None
    # Columns that the direction can do without are none of its cause.
    fixed = np.zeros(moves.shape[1], dtype=bool)
    for column in range(cuts, moves.shape[1]):
        fixed[column] = True
        without = _feasible(moves, fixed)
        if without is None:
            fixed[column] = False
        else:
            found = without
    return found


def _feasible(moves, fixed):
    """A direction in which no row of `moves` is negative and some are positive, without the fixed places; or None."""
    total = moves.sum(axis=0)
    bounds = [(0, 0) if still else (-1, 1) for still in fixed]
    # A few cases mostly suffice to show that there is none; those that a found one offends are added.
    asked = np.arange(len(moves)) if len(moves) <= 2000 else np.linspace(0, len(moves) - 1, 1000).astype(int)
    while True:
        found = optimize.linprog(-total, A_ub=-moves[asked], b_ub=np.zeros(len(asked)), bounds=bounds, method="highs")
        if found.status != 0 or -found.fun <= 1e-7:
            return None
        offended = np.setdiff1d(np.flatnonzero(moves @ found.x < -1e-9), asked)
        if not len(offended):
            return found.x
        asked = np.union1d(asked, offended[np.argsort(moves[offended] @ found.x)[:1000]])
