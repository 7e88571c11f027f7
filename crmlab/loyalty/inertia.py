"""Habit or taste? Brand choice with state dependence, with and without tastes that differ."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlab import style
from crmlab.arguments import whole_number
from crmlab.choice.likelihood import small_sample
from crmlab.likelihood import LikelihoodResult, normal_quantile, wald_table, warn_boundary
from crmlab.loyalty._newton import inverse, settle
from crmlab.loyalty.panels import STATE, Panel

__all__ = ["fit_brand_choice", "BrandChoice"]

# Standard deviation of the penalty on tastes and memberships: far wider than any of them, but a class that never begins
# with some brand would have no maximum without it.
_WIDE = 10.0


def fit_brand_choice(
    data,
    formula,
    classes=1,
    state=True,
    customer="customer_id",
    order="purchase",
    alternative="brand",
    chosen="chosen",
    starts=5,
    seed=0,
):
    r"""Brand choice with price, promotion and habit; customers may differ in taste.

    The utility of brand :math:`j` for a customer of taste class :math:`k` on occasion :math:`t` is

    .. math:: u_{ktj} = \alpha_{kj} + x_{tj}'\beta + \gamma\,1(\text{bought last time}) + \varepsilon_{tj},

    a conditional logit. :math:`\gamma` is state dependence: buying a brand itself makes buying it again likelier. With one class everybody
    has the same taste, and all that makes customers differ is put down to :math:`\gamma`. With several, the class of a customer is
    unknown, and its probability depends on the brand of the first purchase,

    .. math:: P(k \mid y_0) = \text{softmax}_k(\delta_k + \delta_{k, y_0}),

    which handles the initial conditions: the first purchase seen is no fresh start, but the child of taste and habit
    (Wooldridge 2005). It is not modelled itself.

    Assumes that tastes have finitely many values and stay as they are. A few classes never hold all the taste there is, so some of it
    still passes for habit: `state_dependence_test` asks without any model of taste.

    Parameters
    ----------
    data : pandas.DataFrame
        One row a brand of a purchase, as `choice_panel` gives them.
    formula : str
        What the brands differ in, ``"price + display"``. Constants of the brands and the last purchase are added.
    classes : int, default 1
        Classes of taste.
    state : bool, default True
        Whether there is state dependence; without it the fit is the restricted model.
    customer, order, alternative, chosen : str
        The columns.
    starts : int
        Random starts, with several classes.
    seed : int

    Returns
    -------
    BrandChoice

    Raises
    ------
    ValueError
        If columns are missing, `order` holds numbers as text, an occasion has no choice or two or lacks a brand, all customers have one purchase, or attributes cannot
        be told apart.

    Warns
    -----
    BoundaryWarning
        If an attribute predicts the choice perfectly, so that its coefficient is infinite. Errors are NaN then.
    RuntimeWarning
        If the maximum was not reached.

    Notes
    -----
    Errors are robust (a sandwich over customers). With one class the fit is `crmlab.choice.fit_conditional_logit` with
    the column of the last purchase and ``cluster=`` customer. Tastes and memberships carry a penalty so weak (normal, standard
    deviation 10) that it only holds those that would run off to infinity; ``loglik`` is without it. The unit is the customer: ``nobs`` counts
    customers, and ``bic`` takes the logarithm of their number; that of the conditional logit takes occasions, so do not compare the two.

    References
    ----------
    P. M. Guadagni and J. D. C. Little (1983), A logit model of brand choice calibrated on scanner data, *Marketing Science* 2(3):203-238.
    J. J. Heckman (1981), Heterogeneity and state dependence, in S. Rosen (ed.), *Studies in Labor Markets*, University of Chicago Press.
    W. A. Kamakura and G. J. Russell (1989), A probabilistic choice model for market segmentation and elasticity structure, *Journal of
    Marketing Research* 26(4):379-390.
    J. M. Wooldridge (2005), Simple solutions to the initial conditions problem in dynamic, nonlinear panel data models with
    unobserved heterogeneity, *Journal of Applied Econometrics* 20(1):39-54.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.brand_choices(150, seed=1)  # nobody in it has a habit
    >>> naive = loyalty.fit_brand_choice(panel, "price + promotion")
    >>> tastes = loyalty.fit_brand_choice(panel, "price + promotion", classes=3, starts=2)
    >>> [float(round(fit.params["bought last time"], 1)) for fit in (naive, tastes)]
    [0.8, 0.4]
    """
    whole_number("classes", classes)
    whole_number("starts", starts)
    panel = Panel(data, formula, customer, order, alternative, chosen)
    if classes >= len(panel.ids):
        raise ValueError(
            f"{classes} classes of taste take more customers than that; {len(panel.ids)} have two purchases or more."
        )
    model = _Likelihood(panel, classes, state)
    rng = np.random.default_rng(seed)
    # All starts go part of the way, the best of them on to the end.
    tries = starts if classes > 1 else 1
    runs = [model.climb(model.begin(rng) * model.scale, 1e-6) for _ in range(tries)]
    best = model.climb(min(runs, key=lambda run: run.fun).x, 1e-10)
    ends = [-run.fun for run in runs]
    at, information, endless = model.polish(best.x)
    which = model.endless(endless)
    # Before the classes change places: the penalty is on memberships beside the first class.
    converged = bool(np.abs(model.scaled(at)[1]).max() < 1e-3 * np.sqrt(len(panel.y)))
    at, information = model.ordered(at, information)
    params = at / model.scale
    loglik, scores = model.parts(params)
    scores = scores / model.scale
    units = len(panel.ids)
    names = model.names()
    bread, boundary = inverse(information), None
    if bread is None:
        boundary = "the information is not positive definite: attributes repeat each other, or classes are too many. Take fewer."
        cov = np.full((len(names), len(names)), np.nan)
    else:
        cov = bread @ (scores.T @ scores) @ bread * small_sample(units) / np.outer(model.scale, model.scale)
        if which.any():
            cov[:] = np.nan
            found = ", ".join(repr(name) for name, off in zip(names, which) if off)
            boundary = f"off to infinity: {found}. The choice is predicted perfectly (separation), so that errors do not exist. Leave the attribute out, or a brand that nobody takes."
    if boundary:
        warn_boundary(f"brand choice: {boundary}")
    if not converged:
        warnings.warn("the maximum was not reached: take more starts, or fewer classes.", RuntimeWarning, stacklevel=2)
    return BrandChoice(
        params=pd.Series(params, names),
        cov=pd.DataFrame(cov, names, names),
        loglik=float(loglik.sum()),
        nobs=float(units),
        converged=converged,
        boundary=boundary,
        classes=int(classes),
        state=bool(state),
        formula=formula,
        brands=tuple(map(str, panel.brands)),
        purchases=len(panel.y),
        left_out=panel.once,
        reached=int(np.sum(np.array(ends) > max(ends) - 1)),
        starts=len(ends),
        _model=model,
    )


class _Likelihood:
    """Log-likelihood of the histories, with derivatives by customer. Parameters: attributes, habit, tastes by class, memberships."""

    def __init__(self, panel, classes, state):
        self.panel, self.classes, self.state = panel, classes, state
        n, j, _ = panel.x.shape
        habit = (panel.last[:, None] == np.arange(j)).astype(float)
        self.x = np.concatenate([panel.x, habit[:, :, None]], axis=2) if state else panel.x
        self.common, self.tastes = self.x.shape[2], j - 1
        # Who began with which brand; brands that nobody began with have no column.
        began = sorted(set(panel.initial))
        dummies = [(panel.initial == b).astype(float) for b in began[1:]] if classes > 1 else []
        self.began = [panel.brands[b] for b in began]
        self.z = np.column_stack([np.ones(len(panel.initial)), *dummies])
        self.took = np.eye(j)[panel.y]
        self.wide = np.zeros(self.common + classes * self.tastes + (classes - 1) * self.z.shape[1])
        self.wide[self.common :] = 1 / _WIDE**2 if classes > 1 else 0.0
        # Prices in cents and dummies of 0 and 1 are one scale to the optimiser.
        self.scale = np.ones(len(self.wide))
        within = (self.x - self.x.mean(axis=1, keepdims=True)).std(axis=(0, 1))
        self.scale[: self.common] = np.where(within > 0, within, 1.0)

    def split(self, params):
        a = self.common + self.classes * self.tastes
        alpha = np.zeros((self.classes, self.tastes + 1))
        alpha[:, 1:] = params[self.common : a].reshape(self.classes, -1)
        delta = np.zeros((self.classes, self.z.shape[1]))
        delta[1:] = params[a:].reshape(self.classes - 1, self.z.shape[1])
        return params[: self.common], alpha, delta

    def names(self):
        names = [*self.panel.names, *([STATE] if self.state else [])]
        words = [f"[{k + 1}]" for k in range(self.classes)] if self.classes > 1 else [""]
        names += [f"taste{word}: {brand}" for word in words for brand in self.panel.brands[1:]]
        began = ["constant", *(f"began with {b}" for b in self.began[1:])]
        return names + [f"class[{k + 1}]: {b}" for k in range(1, self.classes) for b in began]

    def begin(self, rng):
        share = np.bincount(self.panel.y, minlength=self.tastes + 1) + 0.5
        alpha = np.log(share[1:] / share[0])
        params = np.zeros(len(self.wide))
        spread = 1.5 if self.classes > 1 else 0.0
        a = self.common + self.classes * self.tastes
        params[self.common : a] = (alpha + spread * rng.standard_normal((self.classes, self.tastes))).ravel()
        return params

    def probabilities(self, params, x=None):
        """Of each brand on each occasion, by class."""
        beta, alpha, _ = self.split(params)
        u = ((self.x if x is None else x) @ beta)[:, :, None] + alpha.T
        u = np.exp(u - u.max(axis=1, keepdims=True))
        return u / u.sum(axis=1, keepdims=True)

    def _joint(self, params, p):
        rows = np.arange(len(self.panel.y))
        logs = np.log(np.maximum(p[rows, self.panel.y], 1e-300))
        prior = special.log_softmax(self.z @ self.split(params)[2].T, axis=1)
        return np.add.reduceat(logs, self.panel.start) + prior, prior

    def posterior(self, params):
        return special.softmax(self._joint(params, self.probabilities(params))[0], axis=1)

    def parts(self, params):
        """Log-likelihood and score of every customer."""
        p = self.probabilities(params)
        joint, prior = self._joint(params, p)
        loglik = special.logsumexp(joint, axis=1)
        post = np.exp(joint - loglik[:, None])
        residual = (self.took[:, :, None] - p) * post[self.panel.person][:, None, :]  # occasion, brand, class
        scores = [np.einsum("njk,njp->np", residual, self.x)]
        scores += [residual[:, 1:, k] for k in range(self.classes)]
        scores = np.add.reduceat(np.column_stack(scores), self.panel.start)
        member = (post - np.exp(prior))[:, 1:, None] * self.z[:, None, :]
        return loglik, np.column_stack([scores, member.reshape(len(post), -1)])

    def value(self, params):
        loglik, scores = self.parts(params)
        return -loglik.sum() + 0.5 * params @ (self.wide * params), -scores.sum(axis=0) + self.wide * params

    def climb(self, begin, tolerance):
        """From a start, in scaled parameters, to where a step gains less than this share of the log-likelihood."""
        options = {"maxiter": 2000, "maxfun": 4000, "ftol": tolerance}
        return optimize.minimize(self.scaled, begin, jac=True, method="L-BFGS-B", options=options)

    def scaled(self, params):
        """`value`, with attributes in units of their own spread."""
        value, gradient = self.value(params / self.scale)
        return value, gradient / self.scale

    def polish(self, params):
        """A few Newton steps in scaled parameters; the information from differences of the gradient."""

        def information(at):
            step = 1e-5
            rows = [self.scaled(at + step * e)[1] - self.scaled(at - step * e)[1] for e in np.eye(len(at))]
            return (np.array(rows) + np.array(rows).T) / (4 * step)

        return settle(
            params,
            lambda at: -self.scaled(at)[0],
            lambda at: -self.scaled(at)[1],
            information,
            lambda step: self.moves(step).max(),
            1e-6 * len(self.panel.y),
        )

    def moves(self, step):
        """The most that a step of each scaled parameter changes a utility, or the logit of a class."""
        most = np.abs(step)
        within = np.ptp(self.x, axis=1).max(axis=0) / self.scale[: self.common]
        most[: self.common] *= within
        return most

    def endless(self, step):
        """Which parameters run off to infinity along a step; none that the penalty holds."""
        return np.zeros(len(self.wide), bool) if step is None else (self.moves(step) > 0.05) & (self.wide == 0)

    def ordered(self, params, hessian):
        """Classes from large to small, of scaled parameters. The permutation is linear in them, so it carries the Hessian along."""
        if self.classes == 1:
            return params, hessian
        order = np.argsort(-self.posterior(params / self.scale).sum(axis=0), kind="stable")
        size, width = len(params), self.z.shape[1]
        turn = np.zeros((size, size))
        turn[: self.common, : self.common] = np.eye(self.common)
        a = self.common + self.classes * self.tastes
        for new, old in enumerate(order):
            for t in range(self.tastes):
                turn[self.common + new * self.tastes + t, self.common + old * self.tastes + t] = 1
            for w in range(width):
                if new:
                    if old:
                        turn[a + (new - 1) * width + w, a + (old - 1) * width + w] += 1
                    if order[0]:
                        turn[a + (new - 1) * width + w, a + (order[0] - 1) * width + w] -= 1
        back = np.linalg.inv(turn)
        return turn @ params, back.T @ hessian @ back


@dataclass(frozen=True, eq=False)
class BrandChoice(LikelihoodResult):
    """Brand choice with habit and taste; see `fit_brand_choice`. The unit is the customer.

    Attributes
    ----------
    classes : int
    state : bool
    formula : str
    brands : tuple of str
        The first has taste 0 in every class.
    purchases : int
        Those explained; the first of each customer is not.
    left_out : int
        Customers with one purchase, who say nothing of repeats.
    reached, starts : int
        How many starts came within 1 of the best log-likelihood, and of how many.
    """

    classes: int = 1
    state: bool = True
    formula: str = ""
    brands: tuple = ()
    purchases: int = 0
    left_out: int = 0
    reached: int = 1
    starts: int = 1
    _model: object = field(repr=False, default=None)

    def summary(self, level=0.95):
        """Coefficients with robust errors and normal intervals, indexed by ``parameter``."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    @property
    def posterior(self):
        """The probability of each class of taste for every customer."""
        post = self._model.posterior(self.params.to_numpy())
        return pd.DataFrame(
            post, pd.Index(self._model.panel.ids, name="customer_id"), [f"class {k + 1}" for k in range(self.classes)]
        )

    @property
    def tastes(self):
        """Each class's share, and what share each brand would have in it if nothing but taste counted."""
        alpha = self._model.split(self.params.to_numpy())[1]
        table = pd.DataFrame(special.softmax(alpha, axis=1), self.posterior.columns.rename("class"), list(self.brands))
        table.insert(0, "share", self.posterior.mean().to_numpy())
        return table

    def decompose(self, promotion, brand=None, draws=200, level=0.95, seed=0):
        """How much of the repeat probability goes with habit, and how much with promotion.

        The repeat probability is the mean, over occasions, of the probability of the brand bought last time. It is computed as
        things are, with the coefficient of the last purchase set to 0 (no inertia), and with promotions set to 0 (no benefit). What each
        takes away depends on which goes first, so both orders are given; where they differ, the two work together.

        Tastes are held: each customer keeps its classes' posterior probabilities. What the past purchases owe to habit is not undone:
        this is the next purchase of each, not the market without habit.

        Parameters
        ----------
        promotion : str, sequence of str or dict
            Columns of the formula that are set to 0, or to the values of a dict, such as ``{"promotion": 0, "price": 10}``.
        brand : str, optional
            Only occasions after a purchase of this brand, and only its promotions.
        draws : int
            Of the parameters, for the intervals.
        level : float
        seed : int or numpy.random.Generator

        Returns
        -------
        pandas.DataFrame
            Indexed by ``order`` and ``step``: ``repeat`` (the probability after the step), ``change`` with ``lower`` and ``upper``.

        Raises
        ------
        ValueError
            If the fit has no state dependence, or a column or the brand is not in it.
        """
        if not self.state:
            raise ValueError("the fit has no state dependence (state=False): there is no inertia to set to zero.")
        settings = (
            promotion
            if isinstance(promotion, dict)
            else dict.fromkeys([promotion] if isinstance(promotion, str) else promotion, 0.0)
        )
        model, panel = self._model, self._model.panel
        for name in settings:
            if name not in panel.names:
                raise ValueError(f"promotion= names columns of the formula ({', '.join(panel.names)}); got {name!r}.")
        if brand is not None and str(brand) not in self.brands:
            raise ValueError(f"brand= is one of {', '.join(map(repr, self.brands))}; got {brand!r}.")
        if self.boundary is not None and not np.isfinite(self.cov.to_numpy()).all():
            raise ValueError(f"the fit has no covariance ({self.boundary}), so that the changes have no intervals.")
        places = [self.brands.index(str(brand))] if brand is not None else list(range(len(self.brands)))
        rows = np.isin(panel.last, places)
        if not rows.any():
            raise ValueError(f"no purchase follows one of {brand!r}.")
        x = model.x[rows]
        plain = x.copy()
        for name, value in settings.items():
            for place in places:
                plain[:, place, panel.names.index(name)] = value
        last, person, at = panel.last[rows], panel.person[rows], np.arange(rows.sum())

        def repeats(params):
            post = model.posterior(params)[person]
            off = params.copy()
            off[model.common - 1] = 0.0
            return np.array(
                [
                    np.mean((model.probabilities(b, a)[at, last] * post).sum(axis=1))
                    for a, b in ((x, params), (x, off), (plain, params), (plain, off))
                ]
            )

        params = self.params.to_numpy()
        drawn = np.random.default_rng(seed).multivariate_normal(params, self.cov.to_numpy(), draws, method="eigh")
        values = np.vstack([repeats(params), [repeats(b) for b in drawn]])
        full, no_state, no_promotion, neither = values.T
        steps = {
            ("inertia first", "as it is"): (full, full * np.nan),
            ("inertia first", "without inertia"): (no_state, no_state - full),
            ("inertia first", "then without promotion"): (neither, neither - no_state),
            ("promotion first", "as it is"): (full, full * np.nan),
            ("promotion first", "without promotion"): (no_promotion, no_promotion - full),
            ("promotion first", "then without inertia"): (neither, neither - no_promotion),
        }
        tail = (1 - level) / 2
        normal_quantile(level)
        table = {}
        for key, (value, change) in steps.items():
            limits = np.quantile(change[1:], [tail, 1 - tail])
            table[key] = {"repeat": value[0], "change": change[0], "lower": limits[0], "upper": limits[1]}
        return pd.DataFrame(table).T.rename_axis(["order", "step"])

    def plot(self, ax=None):
        """Coefficients of the attributes and of habit, with intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        table = self.summary().iloc[: self._model.common]
        return style.coefficients(table, ax, "change of utility for one unit", "attribute")
