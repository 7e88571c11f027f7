"""What latent classes may be used for: comparisons and covariates by three steps, without the bias of assigned classes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from crmlab import style
from crmlab.arguments import one_of
from crmlab.design import refuse_of_all
from crmlab.likelihood import LikelihoodResult, wald_table, warn_boundary
from crmlab.loyalty._customers import each_once
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
        If customers of the classes are not in the data, columns are missing or have missing values, or the base is no class.

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
        if rows[name].isna().any():
            raise ValueError(
                f"column {name!r} is missing for {rows[name].isna().sum()} of {len(rows)} customers. Fix: leave them out of the classes too."
            )
    matrix = parsed.get_model_matrix(rows, output="pandas")
    z, p = matrix.to_numpy(dtype=float), classes._posterior
    if np.linalg.matrix_rank(z) < z.shape[1]:
        raise ValueError(f"the columns of {formula!r} repeat each other ({', '.join(matrix.columns)}): leave one out.")
    assigned = p.argmax(axis=1)
    classification = bch_weights(classes).attrs["classification"]
    others = [k for k, name in enumerate(labels) if name != base]
    seen = classification[:, assigned].T  # P(assigned | class)

    def parts(flat):
        linear = np.zeros((len(z), len(labels)))
        linear[:, others] = z @ flat.reshape(len(others), -1).T
        prior = special.softmax(linear, axis=1)
        joint = prior * seen
        total = joint.sum(axis=1)
        residual = joint / total[:, None] - prior
        scores = (residual[:, others, None] * z[:, None, :]).reshape(len(z), -1)
        return np.log(total).sum(), scores

    start = np.zeros(len(others) * z.shape[1])
    done = optimize.minimize(
        lambda b: -parts(b)[0],
        start,
        jac=lambda b: -parts(b)[1].sum(axis=0),
        method="BFGS",
        options={"gtol": 1e-6 * len(z), "maxiter": 2000},
    )
    loglik, scores = parts(done.x)
    names = [f"{labels[k]}: {column}" for k in others for column in matrix.columns]
    step = 1e-5
    hessian = np.array(
        [
            (parts(done.x + step * e)[1].sum(0) - parts(done.x - step * e)[1].sum(0)) / (2 * step)
            for e in np.eye(len(done.x))
        ]
    )
    bread = np.linalg.inv(-(hessian + hessian.T) / 2)
    cov = bread @ (scores.T @ scores) @ bread
    converged = bool(np.abs(scores.sum(axis=0)).max() < 1e-3 * max(1, len(z) ** 0.5))
    boundary = (
        "an effect runs off to infinity: a class has hardly any customers with some value of the covariates."
        if np.abs(done.x).max() > 15
        else None
    )
    if boundary:
        warn_boundary(f"membership: {boundary}")
    return Membership(
        pd.Series(done.x, names),
        pd.DataFrame(cov, names, names),
        float(loglik),
        float(len(z)),
        converged,
        boundary,
        base,
        formula,
    )


@dataclass(frozen=True, eq=False)
class Membership(LikelihoodResult):
    """Covariates on membership; see `fit_membership`.

    Attributes
    ----------
    base : str
        The class that others are compared with.
    formula : str
    """

    base: str = ""
    formula: str = ""

    def summary(self, level=0.95):
        """Log odds against the base class with robust errors and normal intervals, indexed by ``parameter``."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    def test(self, column):
        """Whether a column of the formula matters to membership at all: Wald's test over all classes, as (statistic, df, p-value)."""
        names = [name for name in self.params.index if name.partition(": ")[2] == column]
        if not names:
            known = dict.fromkeys(name.partition(": ")[2] for name in self.params.index)
            raise ValueError(f"column= is one of {', '.join(map(repr, known))}; got {column!r}.")
        value = self.params[names].to_numpy()
        statistic = float(value @ np.linalg.solve(self.cov.loc[names, names].to_numpy(), value))
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
