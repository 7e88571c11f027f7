"""Choice among alternatives: the conditional logit and what its fit can tell."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.choice.likelihood import small_sample
from crmlab.choice.situations import Design, Long, complete, frame, present, shown
from crmlab.likelihood import LikelihoodResult, normal_quantile, wald_table

__all__ = ["fit_conditional_logit", "ConditionalLogit"]


def fit_conditional_logit(
    data, occasion, alternative, chosen, formula, weights=None, cluster=None, counts=None, choice_sets="same"
):
    r"""Fit a conditional logit: what makes choosers take one alternative and leave the others.

    On an occasion with the choice set :math:`C`, alternative :math:`j` with the attributes :math:`x_j` is chosen with probability

    .. math:: P(j) = \frac{\exp(x_j'\beta)}{\sum_{k \in C} \exp(x_k'\beta)},

    which is what a chooser does who takes the largest utility :math:`x_j'\beta + \varepsilon_j`, the :math:`\varepsilon_j` being
    independent with equal Gumbel distributions (McFadden 1974). The log-likelihood is
    :math:`\sum_s \sum_{j \in C_s} n_{sj} \log P_s(j)`: it needs only how often each alternative of each *distinct* situation
    was chosen, so equal occasions are counted first.

    Assumes that everybody has the same :math:`\beta` but for what the formula says, and that alternatives are alike in what is
    not measured (`ConditionalLogit.iia_check`).

    Parameters
    ----------
    data : pandas.DataFrame
        Long: one row for each alternative of each occasion.
    occasion, alternative, chosen : str
        Columns: which occasion, which alternative, and 1 (or True) in the row of the one that was taken, else 0.
    formula : str
        The utility, one-sided, as in formulaic, R or statsmodels: ``"cost + wait + C(mode)"``. ``C(mode)`` gives each alternative but
        the first a constant. What does not differ between alternatives, such as the chooser's income, enters by an interaction:
        ``"C(mode) * income"``. The intercept and the main effect of income are the same for all alternatives, cancel, and have
        no coefficient; ``absorbed`` lists them.
    weights : str or dict, optional
        Sampling weights: a column, constant within an occasion, or for a choice-based sample the shares of the alternatives
        in the population, ``{"air": 0.14, ...}``. Then each occasion weighs population share over sample share of what was chosen
        there (Manski and Lerman 1977). Only their ratios matter. Errors become robust.
    cluster : str, optional
        Column that says who chose, where a chooser has several occasions; errors are then robust to what these share.
    counts : str, optional
        Column that says how many equal occasions a row stands for, constant within an occasion; with `cluster`, how many
        choosers with this very history, constant within the chooser.
    choice_sets : {"same", "varying"}
        With "same", an occasion that lacks an alternative is refused, since its row may have been lost.
        "varying" says that it was not on offer there.

    Returns
    -------
    ConditionalLogit

    Raises
    ------
    TypeError
        If `data` is no DataFrame.
    ValueError
        If a column is missing or has missing values, an occasion has no choice or two, an alternative twice or not at all, an
        attribute does not differ within any occasion, attributes cannot be told apart, or a combination of attributes predicts
        choices perfectly (separation: no estimate exists). Occasions and columns are named.

    Warns
    -----
    RuntimeWarning
        If robust errors come from no more choosers than coefficients, or the maximum was not reached.

    Notes
    -----
    Model-based errors come from the inverse information. Robust ones are the sandwich over choosers (or occasions), times G / (G - 1)
    for G choosers. Equal to a Cox model with a stratum per occasion. In R: ``survival::clogit(chosen ~ cost + strata(occasion))``,
    with ``weights`` and ``cluster`` its robust errors without that factor. In Python: ``statsmodels.discrete.conditional_models.ConditionalLogit``,
    which takes neither weights nor clusters.

    References
    ----------
    D. McFadden (1974), Conditional logit analysis of qualitative choice behavior, in P. Zarembka (ed.), *Frontiers in
    Econometrics*, Academic Press.
    C. F. Manski and S. R. Lerman (1977), The estimation of choice probabilities from choice based samples, *Econometrica*
    45(8):1977-1988.

    Examples
    --------
    >>> from crmlab import choice, datasets
    >>> travel = datasets.load("modechoice")
    >>> fit = choice.fit_conditional_logit(
    ...     travel, occasion="individual", alternative="mode", chosen="choice", formula="gc + ttme + C(mode)")
    >>> fit.summary().round(3)
                 estimate  std_error  lower  upper
    parameter
    gc             -0.016      0.004 -0.024 -0.007
    ttme           -0.097      0.010 -0.118 -0.077
    mode[train]    -1.853      0.370 -2.579 -1.128
    mode[bus]      -2.566      0.384 -3.319 -1.812
    mode[car]      -5.776      0.656 -7.062 -4.491
    """
    return fit_as(ConditionalLogit, data, occasion, alternative, chosen, formula, weights, cluster, counts, choice_sets)


def fit_as(kind, data, occasion, alternative, chosen, formula, weights, cluster, counts, choice_sets, **more):
    """`fit_conditional_logit` with a result of another kind."""
    one_of("choice_sets", choice_sets, ("same", "varying"))
    long = Long(data, occasion, alternative, chosen, weights, cluster, counts, choice_sets)
    design = Design.of(formula, long)
    core = long.count(design.matrix, list(design.columns))
    core.refuse_unidentified()
    params, converged = core.maximise()
    information = core.information(params)
    bread = np.linalg.inv(information)
    robust = weights is not None or cluster is not None
    cov = core.sandwich(params, bread) if robust else bread
    if robust and len(core.copies) <= len(params):
        warnings.warn(
            f"robust errors of {len(params)} coefficients from {_units(core, cluster)}: their covariance has no full rank, and the errors are often far too small. "
            "Have more choosers, or a shorter formula.",
            RuntimeWarning,
            stacklevel=3,
        )
    if not converged:
        warnings.warn(
            "the maximum was not reached: look at the attributes' sizes, and do not use the errors.",
            RuntimeWarning,
            stacklevel=3,
        )
    return kind(
        params=pd.Series(params, design.columns),
        cov=pd.DataFrame(cov, design.columns, design.columns),
        loglik=core.loglik(params),
        nobs=float(core.copies_of_occasions),
        converged=converged,
        formula=formula,
        alternatives=tuple(core.labels),
        absorbed=design.absorbed,
        weighted=weights is not None,
        choosers=None if cluster is None else float(core.copies.sum()),
        occasion=occasion,
        alternative=alternative,
        _core=core,
        _design=design,
        **more,
    )


def _units(core, cluster):
    """How many histories the robust errors are from, in words."""
    return f"{len(core.copies)} {'distinct occasions' if cluster is None else 'choosers'}"


@dataclass(frozen=True, eq=False)
class ConditionalLogit(LikelihoodResult):
    """The fit of `fit_conditional_logit`.

    Attributes
    ----------
    formula : str
    alternatives : tuple
    absorbed : tuple of str
        Terms of the formula that are the same for all alternatives and cancel.
    weighted : bool
        Whether sampling weights were used. Then ``loglik`` is a weighted sum and no likelihood; ``aic`` and ``bic`` are NaN.
    choosers : float or None
        Number of choosers whose occasions were held together for the errors.
    occasion, alternative : str
        The columns that name them, also in tables to predict for.
    """

    formula: str = ""
    alternatives: tuple = ()
    absorbed: tuple = ()
    weighted: bool = False
    choosers: float | None = None
    occasion: str = ""
    alternative: str = ""
    _core: object = field(repr=False, default=None)
    _design: object = field(repr=False, default=None)

    @property
    def aic(self):
        """Akaike's criterion; NaN with sampling weights."""
        return np.nan if self.weighted else super().aic

    @property
    def bic(self):
        """Schwarz's criterion; NaN with sampling weights."""
        return np.nan if self.weighted else super().bic

    def summary(self, level=0.95):
        """Coefficients with standard errors and Wald intervals, indexed by ``parameter``."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    def fit_statistics(self):
        """How well the model fits, beside no model and beside shares alone.

        Returns
        -------
        pandas.Series
            ``occasions``; ``situations`` (distinct ones); ``loglik``; ``loglik_equal`` (every alternative as likely as the others);
            ``loglik_shares`` (everybody chooses by the overall shares; NaN where choice sets vary); ``r2_mcfadden`` (1 - loglik /
            loglik_equal) and ``r2_adjusted`` (with a parameter charged as in AIC); ``hit_rate`` (share of occasions in which the
            likeliest alternative was chosen); ``aic``; ``bic``.

        Examples
        --------
        >>> from crmlab import choice, datasets
        >>> travel = datasets.load("modechoice")
        >>> fit = choice.fit_conditional_logit(travel, "individual", "mode", "choice", "gc + ttme + C(mode)")
        >>> fit.fit_statistics()[["loglik", "loglik_equal", "loglik_shares"]].round(2).tolist()
        [-199.98, -291.12, -283.76]
        """
        core = self._core
        equal = -float(core.totals @ np.log(core.sizes))
        shares = np.nan
        if (core.sizes == len(core.labels)).all():
            chosen = np.bincount(core.alternative, core.chosen, len(core.labels))
            chosen = chosen[chosen > 0]
            shares = float(chosen @ np.log(chosen / chosen.sum()))
        likeliest = core.probability(self.params.to_numpy())
        # Where several are equally likely, each gets its part.
        top = likeliest >= np.repeat(np.maximum.reduceat(likeliest, core.start), core.sizes) * (1 - 1e-12)
        part = top / np.repeat(np.add.reduceat(top.astype(float), core.start), core.sizes)
        return pd.Series(
            {
                "occasions": self.nobs,
                "situations": float(len(core.start)),
                "loglik": self.loglik,
                "loglik_equal": equal,
                "loglik_shares": shares,
                "r2_mcfadden": 1 - self.loglik / equal,
                "r2_adjusted": 1 - (self.loglik - len(self.params)) / equal,
                "hit_rate": float(core.chosen @ part / core.totals.sum()),
                "aic": self.aic,
                "bic": self.bic,
            },
            name="fit",
        )

    def predict(self, data, level=None):
        """Probability of each alternative being chosen, on occasions old or new.

        Parameters
        ----------
        data : pandas.DataFrame
            One row an alternative of an occasion, with the columns of the formula, of occasion and of alternative; a table without
            the column of occasions is one occasion. Alternatives may be added and left out.
        level : float, optional
            With a confidence level, intervals come along (delta method on the logit scale).

        Returns
        -------
        pandas.Series or pandas.DataFrame
            In the rows of `data`: ``probability``; with `level` also ``lower`` and ``upper``.

        Raises
        ------
        ValueError
            If columns are missing or have missing values, or a level of a category was not in the data of the fit.
        """
        matrix, start, order = self._offers(data)
        probability, slope = shares_and_slopes(matrix, start, self.params.to_numpy())
        if level is None:
            return pd.Series(_unsorted(probability, order), data.index, name="probability")
        error = np.sqrt(np.einsum("ij,jk,ik->i", slope, self.cov.to_numpy(), slope))
        lower, upper = _logit_interval(probability, error, level)
        table = {"probability": probability, "lower": lower, "upper": upper}
        return pd.DataFrame({name: _unsorted(value, order) for name, value in table.items()}, data.index)

    def shares(self, data=None, level=0.95):
        """Choice share of each alternative: the mean of its predicted probability over occasions.

        Parameters
        ----------
        data : pandas.DataFrame, optional
            Occasions, as in `predict`; by default those of the fit, with their weights, so that the shares are the population's.
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        pandas.DataFrame
            Indexed by alternative: ``observed`` (only without `data`), ``predicted``, ``lower``, ``upper`` (delta method on the
            logit scale; for the coefficients' uncertainty, with these occasions as they are).
        """
        core = self._core
        if data is None:
            matrix, start, codes, labels, totals = core.x, core.start, core.alternative, core.labels, core.totals
        else:
            matrix, start, order = self._offers(data)
            codes, labels = pd.factorize(data[self.alternative].to_numpy()[order])
            totals = np.ones(len(start))
        share, slope = _mean_shares(matrix, start, codes, len(labels), totals, self.params.to_numpy())
        error = np.sqrt(np.einsum("ij,jk,ik->i", slope, self.cov.to_numpy(), slope))
        lower, upper = _logit_interval(share, error, level)
        table = pd.DataFrame({"predicted": share, "lower": lower, "upper": upper}, pd.Index(labels, name="alternative"))
        if data is None:
            observed = np.bincount(core.alternative, core.chosen, len(core.labels)) / core.totals.sum()
            table.insert(0, "observed", observed)
        return table

    def iia_check(self, drop):
        r"""Is the choice among the others the same without one alternative? (Independence of irrelevant alternatives.)

        The model says that dropping an alternative leaves the ratios of the others' probabilities as they were. So the
        coefficients, estimated again on the occasions that chose among the others, should be the same but for chance
        (Hausman and McFadden 1984).

        Parameters
        ----------
        drop : hashable
            The alternative to leave out.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``, those that can still be estimated (without the reference of the constants, their differences): ``all``, ``without``, ``difference`` and its ``std_error``.
            ``.attrs`` has ``statistic``, ``df`` and ``p_value`` of the robust test; ``hausman``, the statistic of Hausman
            and McFadden (NaN with weights or clusters, or where the difference of their covariances is not positive
            definite); ``dropped``; ``occasions``, how many are left.

        Raises
        ------
        ValueError
            If there is no such alternative, or fewer than two others; if there are no more choosers than coefficients to compare.

        Notes
        -----
        The robust test takes the covariance of the difference from both fits' influence functions by chooser: it needs no
        efficient estimate, never comes out negative, and holds with weights and clusters. The statistic is chi-squared
        if the model is true. The test has little power against some departures: a small statistic is no proof.

        References
        ----------
        J. Hausman and D. McFadden (1984), Specification tests for the multinomial logit model, *Econometrica* 52(5):1219-1240.
        """
        core = self._core
        if drop not in core.labels:
            raise ValueError(f"drop= is one of the alternatives {', '.join(map(repr, core.labels))}; got {drop!r}.")
        rest, combination = core.without(drop)
        if len(core.copies) <= len(rest.names):
            raise ValueError(
                f"the test compares {len(rest.names)} coefficients at once, and {_units(core, self.choosers)} cannot tell how they vary together: it takes more of these than "
                "coefficients. Fit a shorter formula, or get more choosers."
            )
        params, _ = rest.maximise()
        own = self.params.to_numpy()
        both = combination @ own
        bread_all, bread_rest = np.linalg.inv(core.information(own)), np.linalg.inv(rest.information(params))
        influence = rest.scores(params) @ bread_rest - core.scores(own) @ bread_all @ combination.T
        cov = (influence * core.copies[:, None]).T @ influence * small_sample(core.copies.sum())
        difference = params - both
        statistic = float(difference @ np.linalg.solve(cov, difference))
        errors = np.sqrt(np.diag(cov))
        table = pd.DataFrame(
            {"all": both, "without": params, "difference": difference, "std_error": errors},
            pd.Index(rest.names, name="parameter"),
        )
        classical = bread_rest - combination @ bread_all @ combination.T
        hausman = np.nan
        if not self.weighted and self.choosers is None and np.linalg.eigvalsh(classical).min() > 0:
            hausman = float(difference @ np.linalg.solve(classical, difference))
        table.attrs |= {
            "dropped": drop,
            "statistic": statistic,
            "df": len(difference),
            "p_value": float(stats.chi2.sf(statistic, len(difference))),
            "hausman": hausman,
            "occasions": float(rest.copies_of_occasions),
        }
        return table

    def plot(self, ax=None, level=0.95):
        """Draw how strongly each attribute pulls, with intervals.

        Coefficients have the units of their attributes and cannot be compared. Drawn is what one standard deviation of
        the attribute (within occasions) does to the log-odds of being chosen.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float, default 0.95

        Returns
        -------
        matplotlib.axes.Axes
        """
        table = self.summary(level).mul(self._core.spread(), axis=0)
        return style.coefficients(
            table, ax, "change of the log-odds by one standard deviation of the attribute", "attribute"
        )

    def _offers(self, data):
        """The design of a table to predict for, its occasions in order, and that order."""
        frame(data)
        present(data, [self.alternative, *self._design.variables])
        if self.occasion in data:
            complete(data, [self.occasion])
            codes = pd.factorize(data[self.occasion])[0]
        else:
            codes = np.zeros(len(data), dtype=int)
        twice = pd.DataFrame({"o": codes, "a": data[self.alternative].to_numpy()}).duplicated().to_numpy()
        if twice.any():
            raise ValueError(
                f"{twice.sum()} rows have an alternative that stands in its occasion already "
                f"({shown(data[self.alternative][twice])}). Give every occasion its own {self.occasion!r}."
            )
        order = np.argsort(codes, kind="stable")
        matrix = self._design.apply(data)[order]
        return matrix, np.flatnonzero(np.diff(codes[order], prepend=-1)), order


def _unsorted(values, order):
    result = np.empty_like(values)
    result[order] = values
    return result


def _logit_interval(share, error, level):
    z = normal_quantile(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(error > 0, z * error / (share * (1 - share)), 0)
        odds = np.log(share) - np.log1p(-share)
    return 1 / (1 + np.exp(half - odds)), 1 / (1 + np.exp(-half - odds))


def shares_and_slopes(matrix, start, params):
    """Probabilities in each occasion and their derivatives by the coefficients."""
    sizes = np.diff(np.append(start, len(matrix)))
    value = matrix @ params
    value = np.exp(value - np.repeat(np.maximum.reduceat(value, start), sizes))
    probability = value / np.repeat(np.add.reduceat(value, start), sizes)
    mean = np.add.reduceat(probability[:, None] * matrix, start)
    return probability, probability[:, None] * (matrix - np.repeat(mean, sizes, axis=0))


def _mean_shares(matrix, start, codes, alternatives, totals, params):
    """Shares of the alternatives over occasions, and their derivatives by the coefficients."""
    probability, slope = shares_and_slopes(matrix, start, params)
    sizes = np.diff(np.append(start, len(matrix)))
    weight = np.repeat(totals / totals.sum(), sizes)
    pick = sparse.csr_array((weight, (codes, np.arange(len(codes)))), shape=(alternatives, len(codes)))
    return pick @ probability, pick @ slope
