"""What latent classes may be used for: comparisons and covariates by three steps, without the bias of assigned classes."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.design import refuse_of_all
from crmlab.likelihood import LikelihoodResult, wald_table, warn_boundary
from crmlab.loyalty._customers import each_once
from crmlab.loyalty._newton import inverse, settle
from crmlab.loyalty.classes import LatentClasses

__all__ = ["bch_weights", "fit_membership", "Membership"]


def bch_weights(posterior, assignment="modal"):
    r"""Weights that undo the errors of putting customers into their likeliest class (Bolck, Croon and Hagenaars).

    With :math:`D_{ks}`, the probability that a customer of class :math:`k` is assigned to :math:`s`, the weight of customer :math:`i`
    for class :math:`k` is :math:`w_{ik} = \sum_s a_{is} (D^{-1})_{sk}`, where :math:`a_{is}` says whether :math:`i` was assigned to
    :math:`s`. Weighted sums over customers are then right on average for the class, whatever was not in the measurement:
    spending, survival, shares. Some weights are negative: that is how the wrongly assigned are taken off again.

    Assumes that what is compared depends on the answers only through the class.

    Parameters
    ----------
    posterior : LatentClasses or pandas.DataFrame
        Probabilities of the classes, a row a customer.
    assignment : {"modal", "proportional"}
        Into the likeliest class, or into all in proportion to the posterior.

    Returns
    -------
    pandas.DataFrame
        Shaped as the posterior; rows sum to 1, columns to the class's expected number. ``.attrs["classification"]`` is :math:`D`.

    Raises
    ------
    ValueError
        If rows do not sum to 1, nobody is assigned to a class, or the classes are so hard to tell apart that :math:`D` cannot be inverted.

    Notes
    -----
    As StepMix's ``n_steps=3, correction="BCH"``, which applies them inside to the outcomes that it knows; survival is not among these.

    References
    ----------
    A. Bolck, M. Croon and J. Hagenaars (2004), Estimating latent structure models with categorical variables: one-step versus
    three-step estimators, *Political Analysis* 12(1):3-27.
    J. K. Vermunt (2010), Latent class modeling with covariates: two improved three-step approaches, *Political Analysis* 18(4):450-469.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> posterior = pd.DataFrame({"A": [0.9, 0.9, 0.2, 0.2], "B": [0.1, 0.1, 0.8, 0.8]})
    >>> loyalty.bch_weights(posterior).round(2).iloc[0].to_dict()
    {'A': 1.26, 'B': -0.26}
    """
    one_of("assignment", assignment, ("modal", "proportional"))
    if isinstance(posterior, LatentClasses):
        posterior = posterior.posterior
    p = posterior.to_numpy(dtype=float)
    if p.ndim != 2 or not len(p) or not np.allclose(p.sum(axis=1), 1, atol=1e-6) or (p < -1e-9).any():
        raise ValueError("posterior= has probabilities of the classes that sum to 1 for every customer.")
    assigned = np.eye(p.shape[1])[p.argmax(axis=1)] if assignment == "modal" else p
    empty = assigned.sum(axis=0) == 0
    if empty.any():
        raise ValueError(
            f"nobody is assigned to {', '.join(map(str, posterior.columns[empty][:3]))}: its weights do not exist. Take fewer classes, or assignment='proportional'."
        )
    classification = (p.T @ assigned) / p.sum(axis=0)[:, None]
    if np.linalg.cond(classification) > 1e6:
        raise ValueError(
            "the classes cannot be told apart by the answers: the correction does not exist. Take fewer classes."
        )
    weights = pd.DataFrame(assigned @ np.linalg.inv(classification), posterior.index, posterior.columns)
    weights.attrs["classification"] = classification
    return weights


def fit_membership(classes, formula, data, base=None):
    r"""What goes with being in a class: a multinomial logit of latent membership on covariates, by three steps.

    .. math:: P(k \mid z) = \frac{\exp(z'\gamma_k)}{\sum_l \exp(z'\gamma_l)}, \qquad \gamma_{\text{base}} = 0.

    The classes were fitted without the covariates; each customer was assigned to the likeliest; the third step counts with
    the errors of that assignment by maximum likelihood (Vermunt 2010). Regressing the assigned class itself pulls
    effects towards each other, as a rule towards 0.

    Parameters
    ----------
    classes : LatentClasses
    formula : str
        One-sided, as in ``"area + age"``.
    data : pandas.DataFrame
        Covariates, indexed as the scores of the classes.
    base : str, optional
        The class to compare with; by default the largest.

    Returns
    -------
    Membership

    Raises
    ------
    ValueError
        If there is one class only, customers of the classes are not in the data, columns are missing, have missing or infinite values or are
        the same for everybody, or the base is no class.

    Warns
    -----
    BoundaryWarning
        If an effect runs off to infinity, as where all customers with some value of a covariate are of one class. Errors are NaN then.
    RuntimeWarning
        If the maximum was not reached.

    Notes
    -----
    As StepMix's ``n_steps=3, correction="ML", structural="covariate"``, which gives no errors. Ours take the first step as known, so they
    are a little too small.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(500, seed=1)
    >>> scales = loyalty.attitude_scales(panel.answers, panel.items())
    >>> classes = loyalty.fit_classes(scales.scores, classes=6, starts=2)
    >>> fit = loyalty.fit_membership(classes, "area", panel.customers.set_index("customer_id"))
    >>> fit.summary().shape
    (10, 4)
    """
    import formulaic

    labels = list(classes.labels)
    if len(labels) < 2:
        raise ValueError("classes= is one class, in which all customers are: fit two or more.")
    base = labels[0] if base is None else base
    one_of("base", base, labels)
    each_once(data.index, "data=: ")
    lacking = classes._scores.index.difference(data.index)
    if len(lacking):
        raise ValueError(
            f"data= has one row for each customer of the classes, under the same index; {len(lacking)} are missing ({', '.join(map(str, lacking[:3]))})."
        )
    rows = data.loc[classes._scores.index]
    try:
        parsed = formulaic.Formula(formula)
    except formulaic.errors.FormulaicError as error:
        raise ValueError(f"formula= {formula!r} cannot be read: {str(error).splitlines()[0]}") from None
    refuse_of_all(formula, parsed)
    for name in sorted(parsed.required_variables):
        if name not in rows:
            raise ValueError(f"no column is named {name!r}; there are: {', '.join(map(str, rows.columns))}.")
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows = rows.assign(**{name: rows[name].cat.remove_unused_categories()})
        _refuse(rows, name, rows[name].isna(), "is missing", "leave them out of the classes too")
        if pd.api.types.is_numeric_dtype(rows[name]):
            _refuse(
                rows,
                name,
                np.isinf(rows[name].to_numpy(dtype=float)),
                "is infinite",
                "correct them, or leave them out of the classes too",
            )
        if rows[name].nunique() == 1:
            raise ValueError(
                f"column {name!r} is {rows[name].iloc[0]} for all {len(rows)} customers: it explains nothing. Leave it out."
            )
    matrix = parsed.get_model_matrix(rows, output="pandas", na_action="ignore")
    terms = {str(term): tuple(matrix.columns[places]) for term, places in matrix.model_spec.term_indices.items()}
    z, back = _standard(matrix, formula)
    p = classes._posterior
    classification = bch_weights(classes).attrs["classification"]
    others = [k for k, name in enumerate(labels) if name != base]
    # The logarithm of P(assigned | class) for every customer.
    seen = np.log(np.maximum(classification[:, p.argmax(axis=1)].T, 1e-300))
    model = _Third(z, seen, others)
    done = optimize.minimize(
        lambda b: -model.value(b),
        np.zeros(len(others) * z.shape[1]),
        jac=lambda b: -model.scores(b).sum(axis=0),
        hess=model.information,
        method="trust-exact",
        options={"gtol": 1e-8 * len(z), "maxiter": 500},
    )
    at, information, endless = settle(
        done.x, model.value, lambda b: model.scores(b).sum(axis=0), model.information, model.reach, 1e-6 * len(z)
    )
    scores = model.scores(at)
    converged = bool(np.abs(scores.sum(axis=0)).max() < 1e-6 * len(z))
    names = [f"{labels[k]}: {column}" for k in others for column in matrix.columns]
    back = np.kron(np.eye(len(others)), back)
    bread, boundary = inverse(information), None
    if bread is None:
        boundary = "the information is not positive definite: covariates repeat each other, or the classes are hard to tell apart. Take fewer."
        cov = np.full((len(at), len(at)), np.nan)
    else:
        cov = back @ bread @ (scores.T @ scores) @ bread @ back.T
    if bread is not None and endless is not None:
        # What one more step moves each effect, between the lowest and the highest value of its column.
        span = np.ptp(matrix.to_numpy(dtype=float), axis=0)
        runs = np.abs(back @ endless) * np.tile(np.where(span > 0, span, 1.0), len(others)) > 0.05
        cov[:] = np.nan
        which = [repr(name) for name, off in zip(names, runs) if off]
        boundary = (
            f"off to infinity: {', '.join(which[:3])}{', ...' if len(which) > 3 else ''}. Some value of the covariates leaves no doubt of a class, "
            "so that errors do not exist. Join categories, or leave the covariate out."
        )
    if boundary:
        warn_boundary(f"membership: {boundary}")
    if not converged:
        warnings.warn(
            "the maximum was not reached: take fewer covariates, or fewer classes.", RuntimeWarning, stacklevel=2
        )
    return Membership(
        params=pd.Series(back @ at, names),
        cov=pd.DataFrame(cov, names, names),
        loglik=float(model.value(at)),
        nobs=float(len(z)),
        converged=converged,
        boundary=boundary,
        base=base,
        formula=formula,
        terms=terms,
    )


def _refuse(rows, name, wrong, what, fix):
    wrong = np.asarray(wrong)
    if wrong.any():
        who = ", ".join(map(str, rows.index[wrong][:3]))
        raise ValueError(f"column {name!r} {what} for {wrong.sum()} of {len(rows)} customers ({who}). Fix: {fix}.")


def _standard(matrix, formula):
    """The columns in units of their own spread, and what turns coefficients of these into those of the columns as they are."""
    raw = matrix.to_numpy(dtype=float)
    wrong = ~np.isfinite(raw).all(axis=0)
    if wrong.any():
        raise ValueError(
            f"formula= {formula!r} gives values of {matrix.columns[wrong][0]!r} that are missing or infinite: look for a logarithm of 0."
        )
    constant = "Intercept" in matrix.columns
    centre, scale = raw.mean(axis=0), raw.std(axis=0)
    flat = scale <= 1e-12 * np.abs(centre)
    # Without an intercept nothing takes up a mean.
    centre = np.where(flat | (not constant), 0.0, centre)
    scale = np.where(flat, np.where(raw[0] == 0, 1.0, np.abs(raw[0])), scale)
    z = (raw - centre) / scale
    if np.linalg.matrix_rank(z) < z.shape[1]:
        raise ValueError(f"the columns of {formula!r} repeat each other ({', '.join(matrix.columns)}): leave one out.")
    back = np.diag(1 / scale)
    if constant:
        back[list(matrix.columns).index("Intercept")] -= centre / scale
    return z, back


class _Third:
    """The third step's likelihood of logits `z @ gamma` of the classes `others`; `seen` is log P(assigned | class) of every customer."""

    def __init__(self, z, seen, others):
        self.z, self.seen, self.others = z, seen, others

    def _logs(self, flat):
        linear = np.zeros(self.seen.shape)
        linear[:, self.others] = self.z @ flat.reshape(len(self.others), -1).T
        return special.log_softmax(linear, axis=1)

    def _both(self, flat):
        """Probabilities of the classes, without and with the assignment."""
        prior = self._logs(flat)
        return np.exp(prior)[:, self.others], special.softmax(prior + self.seen, axis=1)[:, self.others]

    def reach(self, step):
        """The most that a step changes a logit."""
        return np.abs(self.z @ step.reshape(len(self.others), -1).T).max()

    def value(self, flat):
        return special.logsumexp(self._logs(flat) + self.seen, axis=1).sum()

    def scores(self, flat):
        prior, post = self._both(flat)
        return ((post - prior)[:, :, None] * self.z[:, None, :]).reshape(len(self.z), -1)

    def information(self, flat):
        """Minus the Hessian."""
        found = np.zeros((len(flat), len(flat)))
        width = self.z.shape[1]
        prior, post = self._both(flat)
        for k in range(len(self.others)):
            for m in range(k + 1):
                weight = [p[:, k] * ((k == m) - p[:, m]) for p in (prior, post)]
                part = self.z.T @ (self.z * (weight[0] - weight[1])[:, None])
                found[k * width : (k + 1) * width, m * width : (m + 1) * width] = part
                found[m * width : (m + 1) * width, k * width : (k + 1) * width] = part.T
        return found


@dataclass(frozen=True, eq=False)
class Membership(LikelihoodResult):
    """Covariates on membership; see `fit_membership`.

    Attributes
    ----------
    base : str
        The class that others are compared with.
    formula : str
    terms : dict
        Its terms, and the columns of each: ``{"region": ("region[T.north]", "region[T.south]")}``.
    """

    base: str = ""
    formula: str = ""
    terms: dict = field(repr=False, default_factory=dict)

    def summary(self, level=0.95):
        """Log odds against the base class with robust errors and normal intervals, indexed by ``parameter``."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    def test(self, term):
        """Whether a term of the formula matters to membership at all: Wald's test over all classes, as (statistic, df, p-value).

        Parameters
        ----------
        term : str
            A term, ``"region"``, with all of its columns; or one column, ``"region[T.north]"``.

        Raises
        ------
        ValueError
            If it is neither, or the fit has no errors (see its ``boundary``).
        """
        column = self.params.index.str.partition(": ").get_level_values(2)
        known = list(dict.fromkeys([*self.terms, *column]))
        one_of("term", term, known)
        names = self.params.index[column.isin(self.terms.get(term, (term,)))]
        value, cov = self.params[names].to_numpy(), self.cov.loc[names, names].to_numpy()
        if not np.isfinite(cov).all():
            raise ValueError(f"the fit has no errors, so that nothing can be tested ({self.boundary})")
        statistic = float(value @ np.linalg.solve(cov, value))
        return statistic, len(names), float(stats.chi2.sf(statistic, len(names)))

    def plot(self, ax=None):
        """The effects with their intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        table = self.summary()
        table = table[~table.index.str.endswith("Intercept")]
        return style.coefficients(table, ax, f"log odds against {self.base}", "class and covariate")
