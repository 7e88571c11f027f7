"""The types of loyalty by model: latent classes, how many, which is which, how steady, and how far they agree with the rules."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlab import style
from crmlab.arguments import one_of, whole_number
from crmlab.likelihood import LikelihoodResult, normal_quantile, wald_table, warn_boundary
from crmlab.loyalty._customers import each_once
from crmlab.loyalty._newton import inverse
from crmlab.resampling import replicate

__all__ = [
    "fit_classes",
    "select_classes",
    "agreement",
    "LatentClasses",
    "Agreement",
]


def fit_classes(scores, classes, items=None, kind="continuous", starts=10, seed=0):
    r"""Latent classes of customers: groups that nobody named, within which the answers are independent.

    .. math:: f(x_i) = \sum_{k=1}^{K} \pi_k \prod_j f_{kj}(x_{ij}),

    where :math:`f_{kj}` is normal with mean and variance of class and item ("continuous") or a probability of yes ("binary").
    Everything that goes together in the answers is put down to the classes: two items that share an error or a wording make
    a class too many. The fit is StepMix's EM from several random starts; it takes binary, categorical and continuous
    items, covariates and three-step corrections, which no other maintained Python library does together. Equal customers are counted first,
    and continuous items fitted in units of their own spread, so that the unit they come in makes no difference.

    Assumes independence within classes, and says nothing of what a class is: see `LatentClasses.matched` and `agreement`.

    Parameters
    ----------
    scores : pandas.DataFrame
        Indexed by customer, a column an item or a scale.
    classes : int
        How many; see `select_classes`.
    items : sequence of str, optional
        Columns to use; by default all.
    kind : {"continuous", "binary"}
    starts : int
        Random starts; the best is kept. A single one often ends in a lesser maximum.
    seed : int
        The same seed gives the same classes in the same order: from large to small.

    Returns
    -------
    LatentClasses

    Raises
    ------
    ValueError
        If columns or scores are missing or infinite, an item is the same for everybody or not 0 and 1 ("binary"), or there are more classes than customers.

    Notes
    -----
    Errors come from the outer product of the customers' scores. In R: ``poLCA`` (categorical), ``mclust`` with model VVI (continuous).

    References
    ----------
    P. F. Lazarsfeld and N. W. Henry (1968), *Latent Structure Analysis*, Houghton Mifflin.
    S. Morin, R. Legault, F. Laliberte, Z. Bakk, C.-E. Giguere, R. de la Sablonniere and E. Lacourse (2025), StepMix: a Python package for
    pseudo-likelihood estimation of generalized mixture models with external variables, *Journal of Statistical Software* 113(8).

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(500, seed=1)
    >>> scales = loyalty.attitude_scales(panel.answers, panel.items())
    >>> fit = loyalty.fit_classes(scales.scores, classes=6, starts=2)
    >>> fit.shares.round(2).tolist()
    [0.25, 0.19, 0.17, 0.15, 0.14, 0.09]
    """
    one_of("kind", kind, ("continuous", "binary"))
    whole_number("classes", classes)
    whole_number("starts", starts)
    x, items = _door(scores, items, kind)
    if len(scores) <= classes:
        raise ValueError(f"{classes} classes take more customers than that; there are {len(scores)}.")
    for name in items:
        column = scores[name]
        if column.nunique() == 1:
            raise ValueError(
                f"column {name!r} is {column.iloc[0]:g} for all {len(scores)} customers: it tells no class from another. Leave it out."
            )
    z, centre, scale = _standard(x, kind)
    cells, member, count = np.unique(z, axis=0, return_inverse=True, return_counts=True)
    model, ends = _stepmix(cells, count, classes, kind, starts, seed)
    weights, first, second = _parameters(model, kind)
    order = np.argsort(-weights, kind="stable")
    weights, first, second = weights[order], first[order], None if second is None else second[order]
    log_joint = _log_joint(cells, weights, first, second)
    params, names, scored = _scores(cells, log_joint, weights, first, second, items)
    information = (scored * count[:, None]).T @ scored
    boundary = _boundary(weights * len(x), first, second, items)
    cov = np.full((len(names), len(names)), np.nan)
    if boundary is None:
        found = inverse(information)
        if found is None:
            boundary = "the information is singular: the classes are not identified. Take fewer."
        else:
            cov = found
    if boundary is not None:
        warn_boundary(f"latent classes: {boundary}")
    posterior = np.exp(log_joint - special.logsumexp(log_joint, axis=1, keepdims=True))[member.ravel()]
    # Back to the items' own units: shares stay, means are shifted and stretched, variances stretched twice.
    spread = scale if second is None else np.append(scale, scale**2)
    moved = centre if second is None else np.append(centre, np.zeros(len(items)))
    factor = np.append(np.ones(classes - 1), np.tile(spread, classes))
    params = np.append(np.zeros(classes - 1), np.tile(moved, classes)) + factor * params
    cov = cov * np.outer(factor, factor)
    loglik = float(count @ special.logsumexp(log_joint, axis=1) - len(x) * np.log(scale).sum())
    first, second = centre + scale * first, None if second is None else scale**2 * second
    return LatentClasses(
        params=pd.Series(params, names),
        cov=pd.DataFrame(cov, names, names),
        loglik=loglik,
        nobs=float(len(x)),
        converged=bool(model.converged_),
        boundary=boundary,
        kind=kind,
        items=tuple(items),
        labels=tuple(f"class {k + 1}" for k in range(classes)),
        reached=int(np.sum(np.array(ends) > max(ends) - 0.1)),
        starts=int(starts),
        _scores=scores[items],
        _weights=weights,
        _first=first,
        _second=second,
        _posterior=posterior,
        _seed=seed,
    )


def _door(scores, items, kind):
    """The items of a table of scores as numbers, and their names; refuses what is missing, endless or no number."""
    if not isinstance(scores, pd.DataFrame):
        raise TypeError(f"the scores come as a pandas DataFrame, one row a customer; got {type(scores).__name__}.")
    items = list(scores.columns if items is None else items)
    if missing := [name for name in items if name not in scores]:
        raise ValueError(
            f"no column is named {', '.join(map(repr, missing[:3]))}; there are: {', '.join(map(str, scores.columns))}."
        )
    for name in items:
        column = scores[name]
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(f"column {name!r} holds {column.dtype} values, not numbers.")
        if column.isna().any():
            who = ", ".join(map(str, scores.index[column.isna()][:3]))
            raise ValueError(
                f"column {name!r}: {column.isna().sum()} of {len(scores)} customers have no score ({who}). Fix: leave them out, and say how many."
            )
        endless = ~np.isfinite(column.to_numpy(dtype=float))
        if endless.any():
            who = ", ".join(map(str, scores.index[endless][:3]))
            raise ValueError(
                f"column {name!r}: {endless.sum()} of {len(scores)} customers have an infinite score ({who}). Fix: correct them, or leave them out, and say how many."
            )
        if kind == "binary" and not column.isin([0, 1]).all():
            raise ValueError(
                f"column {name!r} has answers other than 0 and 1 ({', '.join(map(str, column[~column.isin([0, 1])].unique()[:3]))}): take kind='continuous'."
            )
    return scores[items].to_numpy(dtype=float), items


def _standard(x, kind):
    """Continuous items with mean 0 and variance 1, since StepMix adds a fixed number to variances; their means and spreads."""
    if kind == "binary":
        return x, np.zeros(x.shape[1]), np.ones(x.shape[1])
    centre, scale = x.mean(axis=0), x.std(axis=0)
    return (x - centre) / scale, centre, scale


def _stepmix(cells, count, classes, kind, starts, seed):
    """A fitted StepMix, silently, and the log-likelihood at which every start ended."""
    from stepmix import StepMix  # here, since scikit-learn takes a while to import

    # Random responsibilities put all normal classes into the middle of the data, where EM is slow: these start from k-means.
    how = {
        "continuous": {"measurement": "gaussian_diag", "init_params": "kmeans"},
        "binary": {"measurement": "binary", "init_params": "random"},
    }

    def run(start, tolerance):
        model = StepMix(
            classes, **how[kind], abs_tol=tolerance, max_iter=5000, random_state=seed + start, progress_bar=0
        )
        return model.fit(cells if kind == "continuous" else cells.astype(int), sample_weight=count)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of it is said by our own result
        runs = [run(start, 1e-7) for start in range(starts)]
        ends = np.array([model.lower_bound_ for model in runs]) * count.sum()
        # A class that shrinks onto one score has as high a likelihood as one likes: such ends are no maxima, and set aside.
        spikes = np.array([kind == "continuous" and _spiked(model) for model in runs])
        ends = np.where(spikes & ~spikes.all(), -np.inf, ends)
        # Only the best start goes all the way.
        model = run(int(np.argmax(ends)), 1e-10)
    return model, ends


def _spiked(model):
    """Whether a class has next to none of an item's variance, which is 1."""
    return bool((np.asarray(model.get_parameters()["measurement"]["covariances"]) < 1e-3).any())


def _parameters(model, kind):
    found = model.get_parameters()
    measured = found["measurement"]
    if kind == "binary":
        return found["weights"], np.asarray(measured["pis"]), None
    return found["weights"], np.asarray(measured["means"]), np.asarray(measured["covariances"])


def _log_joint(cells, weights, first, second):
    if second is None:
        p = np.clip(first, 1e-12, 1 - 1e-12)
        fits = cells @ np.log(p).T + (1 - cells) @ np.log1p(-p).T
    else:
        fits = -0.5 * (((cells[:, None] - first) ** 2) / second + np.log(2 * np.pi * second)).sum(axis=2)
    return fits + np.log(weights)


def _scores(cells, log_joint, weights, first, second, items):
    """Parameters with their names, and every cell's derivative of its log-likelihood by each."""
    post = np.exp(log_joint - special.logsumexp(log_joint, axis=1, keepdims=True))
    classes = len(weights)
    params, names, parts = [], [], []
    # The last class's share follows from the others'.
    for k in range(classes - 1):
        params.append(weights[k])
        names.append(f"share[{k + 1}]")
        parts.append(post[:, k] / weights[k] - post[:, -1] / weights[-1])
    for k in range(classes):
        away = cells - first[k]
        spread = first[k] * (1 - first[k]) if second is None else second[k]
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = post[:, [k]] * away / spread
        word = "yes" if second is None else "mean"
        for j, item in enumerate(items):
            params.append(first[k, j])
            names.append(f"{word}[{k + 1}, {item}]")
            parts.append(slopes[:, j])
        if second is not None:
            slopes = post[:, [k]] * 0.5 * (away**2 / second[k] - 1) / second[k]
            for j, item in enumerate(items):
                params.append(second[k, j])
                names.append(f"variance[{k + 1}, {item}]")
                parts.append(slopes[:, j])
    return np.array(params), names, np.column_stack(parts)


def _boundary(customers, first, second, items):
    if second is None:
        edge = np.argwhere((first < 1e-6) | (first > 1 - 1e-6))
        what = "is certain"
    else:
        edge = np.argwhere(second < 1e-3)  # of the item's variance, which is 1
        what = "has next to no variance"
    if (customers < 1).any():
        return f"a class has fewer than one customer ({customers.min():.2f}): take fewer classes."
    if len(edge):
        k, j = edge[0]
        return f"item {items[j]!r} {what} in class {k + 1}: errors do not exist there. Take fewer classes, or leave the item out."
    return None


@dataclass(frozen=True, eq=False)
class LatentClasses(LikelihoodResult):
    """Latent classes; see `fit_classes`. Classes are numbered from large to small.

    Attributes
    ----------
    kind : str
    items, labels : tuple of str
        Items, and the names of the classes.
    reached, starts : int
        How many of the random starts ended at the best maximum, and of how many. One alone is no proof that it is the highest.
    """

    kind: str = "continuous"
    items: tuple = ()
    labels: tuple = ()
    reached: int = 0
    starts: int = 0
    _scores: pd.DataFrame = field(repr=False, default=None)
    _weights: np.ndarray = field(repr=False, default=None)
    _first: np.ndarray = field(repr=False, default=None)
    _second: np.ndarray = field(repr=False, default=None)
    _posterior: np.ndarray = field(repr=False, default=None)
    _seed: int = 0

    def summary(self, level=0.95):
        """Shares, means (or probabilities of yes) and variances of all classes, indexed by ``parameter``, with normal intervals."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    @property
    def shares(self):
        """The share of each class."""
        return pd.Series(self._weights, pd.Index(self.labels, name="class"), name="share")

    @property
    def profiles(self):
        """Mean of each item (or probability of yes) in each class."""
        return pd.DataFrame(self._first, pd.Index(self.labels, name="class"), list(self.items))

    @property
    def posterior(self):
        """The probability of each class for every customer."""
        return pd.DataFrame(self._posterior, self._scores.index, list(self.labels))

    @property
    def modal(self):
        """The likeliest class of every customer. What follows from it is biased by those it puts into the wrong class: `bch_weights`."""
        return pd.Series(
            pd.Categorical.from_codes(self._posterior.argmax(axis=1), list(self.labels)),
            self._scores.index,
            name="class",
        )

    @property
    def entropy(self):
        """Relative entropy: 1 if every customer's class is certain, 0 if the posterior says nothing."""
        p = np.clip(self._posterior, 1e-300, 1)
        return 1.0 if p.shape[1] == 1 else float(1 + (p * np.log(p)).sum() / (len(p) * np.log(p.shape[1])))

    def predict(self, scores):
        """The probability of each class for other customers.

        Parameters
        ----------
        scores : pandas.DataFrame
            With the items of the fit.

        Raises
        ------
        ValueError
            If an item is not there, or a score is missing, infinite, no number, or not 0 or 1 ("binary").
        """
        x, _ = _door(scores, self.items, self.kind)
        joint = _log_joint(x, self._weights, self._first, self._second)
        return pd.DataFrame(special.softmax(joint, axis=1), scores.index, list(self.labels))

    def matched(self, reference, names=None):
        """The same classes under the names of a typology: paired one to one so that as many customers as possible agree.

        Parameters
        ----------
        reference : pandas.Series
            A type of every customer, such as ``typology(...).customers["type"]``.
        names : sequence of str, optional
            The types to pair with; by default those of the reference. Classes beyond them keep their number.

        Returns
        -------
        LatentClasses
            With the types as ``labels``; the order of the classes stays. A name is a reading: look at ``profiles`` before you believe it.
        """
        both = _aligned(reference, self.modal)[0]
        names = list(dict.fromkeys(both.dropna())) if names is None else list(names)
        hit = np.array(
            [[self._posterior[(both == name).to_numpy(), k].sum() for name in names] for k in range(len(self.labels))]
        )
        rows, columns = optimize.linear_sum_assignment(-hit)
        labels = list(self.labels)
        for k, j in zip(rows, columns):
            labels[k] = str(names[j])
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__} | {"labels": tuple(labels)}
        return LatentClasses(**fields)

    def stability(self, draws=20, starts=5, seed=0):
        """Whether the classes come out again when the customers are drawn anew.

        Each time customers are drawn with replacement, classes fitted to them, and *all* customers placed by that fit.

        Parameters
        ----------
        draws : int
            Samples of customers.
        starts : int
            Random starts of each fit. With too few, a lesser maximum passes for a class that does not come out again.
        seed : int or numpy.random.Generator

        Returns
        -------
        pandas.DataFrame
            Indexed by class: ``jaccard`` (mean over draws of the customers that the class and its best partner share, of those in
            either) and ``lower``, the smallest but for one draw in twenty. In ``.attrs``: ``adjusted_rand``, the mean of the whole grouping;
            ``failed``.

        References
        ----------
        C. Hennig (2007), Cluster-wise assessment of cluster stability, *Computational Statistics & Data Analysis* 52(1):258-271.
        """
        x, _, _ = _standard(self._scores.to_numpy(dtype=float), self.kind)
        own = self._posterior.argmax(axis=1)
        k = len(self.labels)

        def draw(rng):
            rows, count = np.unique(x[rng.integers(0, len(x), len(x))], axis=0, return_counts=True)
            model, _ = _stepmix(rows, count, k, self.kind, starts, int(rng.integers(2**31 - 1 - starts)))
            theirs = _log_joint(x, *_parameters(model, self.kind)).argmax(axis=1)
            table = np.zeros((k, k))
            np.add.at(table, (own, theirs), 1)
            either = table.sum(axis=1)[:, None] + table.sum(axis=0) - table
            jaccard = table / np.maximum(either, 1)
            first, second = optimize.linear_sum_assignment(-jaccard)
            return np.append(jaccard[first, second], _adjusted_rand(table))

        drawn, failed = replicate(draw, draws, seed)
        found = pd.DataFrame(
            {"jaccard": drawn[:, :k].mean(axis=0), "lower": np.quantile(drawn[:, :k], 0.05, axis=0)},
            pd.Index(self.labels, name="class"),
        )
        found.attrs |= {"adjusted_rand": float(drawn[:, k].mean()), "failed": failed}
        return found

    def plot(self, ax=None):
        """The profile of every class.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        places = np.arange(len(self.items))
        for k, (label, row) in enumerate(self.profiles.iterrows()):
            ax.plot(places, row.to_numpy(), "osD^vP*X"[k % 8] + "-", label=f"{label} ({self._weights[k]:.0%})")
        ax.set_xticks(places, [str(name).replace("_", "\n") for name in self.items])
        ax.set(xlabel="scale", ylabel="mean score" if self.kind == "continuous" else "share who say yes")
        ax.legend(title="class", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return ax


def select_classes(scores, most=8, items=None, kind="continuous", starts=5, seed=0):
    """Fit one class, two, and so on, and compare.

    The likelihood rises with every class; BIC charges for them, and is the usual guide. It errs towards more classes where items
    are not independent within classes: look at the smallest class and at the profiles too.

    Parameters
    ----------
    scores, items, kind, starts, seed
        As in `fit_classes`.
    most : int
        The largest number to try.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``classes``: ``loglik``, ``parameters``, ``aic``, ``bic``, ``entropy``, ``smallest`` (its share), ``reached`` (starts that
        ended at the best maximum).

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(800, seed=1)
    >>> scales = loyalty.attitude_scales(panel.answers, panel.items())
    >>> table = loyalty.select_classes(scales.scores, most=4, starts=2)
    >>> bool(table["bic"].is_monotonic_decreasing)
    True
    """
    whole_number("most", most)
    rows = {}
    for k in range(1, most + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an edge shows in the table: its errors are not asked for
            fit = fit_classes(scores, k, items, kind, starts, seed)
        rows[k] = {
            "loglik": fit.loglik,
            "parameters": len(fit.params),
            "aic": fit.aic,
            "bic": fit.bic,
            "entropy": fit.entropy,
            "smallest": fit.shares.min(),
            "reached": fit.reached,
        }
    return pd.DataFrame(rows).T.rename_axis("classes").astype({"parameters": int, "reached": int})


def _aligned(a, b):
    for name, values in (("first", a), ("second", b)):
        if not isinstance(values, pd.Series):
            raise TypeError(
                f"the {name} grouping is a pandas Series, indexed by customer; got {type(values).__name__}."
            )
        if values.isna().any():
            raise ValueError(f"the {name} grouping is missing for {values.isna().sum()} of {len(values)} customers.")
    each_once(a.index, "the first grouping: ")
    each_once(b.index, "the second grouping: ")
    if set(a.index) != set(b.index):
        odd = a.index.symmetric_difference(b.index)
        raise ValueError(
            f"both groupings are of the same customers, each once; {len(odd)} are in one only ({', '.join(map(str, odd[:3]))})."
        )
    return a.reindex(b.index).astype(str), b.astype(str)


def _adjusted_rand(table):
    """Of a table of two groupings, or of a stack of them."""
    pairs = lambda n: n * (n - 1) / 2  # noqa: E731
    both, rows, columns = pairs(table).sum((-1, -2)), pairs(table.sum(-1)).sum(-1), pairs(table.sum(-2)).sum(-1)
    chance = rows * columns / pairs(table.sum((-1, -2)))
    most = (rows + columns) / 2
    with np.errstate(invalid="ignore"):
        return np.where(most == chance, 1.0, (both - chance) / (most - chance))


def _kappa(table):
    n = table.sum((-1, -2))
    same = np.trace(table, axis1=-2, axis2=-1) / n
    chance = (table.sum(-1) * table.sum(-2)).sum(-1) / n**2
    with np.errstate(invalid="ignore"):
        return np.where(chance == 1, 1.0, (same - chance) / (1 - chance))


def agreement(first, second, draws=1000, level=0.95, seed=0):
    r"""How far two groupings of the same customers agree: adjusted Rand, kappa, and the table of the two.

    Agreement counts customers under the same *name* in both; kappa takes off what chance would give,
    :math:`(p_o - p_e) / (1 - p_e)`. The adjusted Rand index knows no names: it asks of every pair of customers whether both
    groupings put them together.

    Parameters
    ----------
    first, second : pandas.Series
        A group of every customer; give both the same names first (`LatentClasses.matched`), or only the adjusted Rand index means something.
    draws : int
        Samples of customers, for the intervals.
    level : float
    seed : int or numpy.random.Generator

    Returns
    -------
    Agreement

    References
    ----------
    L. Hubert and P. Arabie (1985), Comparing partitions, *Journal of Classification* 2:193-218.
    J. Cohen (1960), A coefficient of agreement for nominal scales, *Educational and Psychological Measurement* 20(1):37-46.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> loyalty.agreement(pd.Series(list("aabbcc")), pd.Series(list("aabbca"))).summary()["estimate"].round(3).to_dict()
    {'agreement': 0.833, 'kappa': 0.75, 'adjusted_rand': 0.444}
    """
    a, b = _aligned(first, second)
    order = first.cat.categories if isinstance(first.dtype, pd.CategoricalDtype) else sorted(set(a))
    names = list(dict.fromkeys([str(name) for name in order if str(name) in set(a) | set(b)] + sorted(set(b))))
    table = pd.crosstab(a, b).reindex(index=names, columns=names, fill_value=0)
    table = table.rename_axis(index=first.name or "first", columns=second.name or "second")
    counts = table.to_numpy(dtype=float)

    def measures(stack):
        total = stack.sum((-1, -2))
        return np.stack([np.trace(stack, axis1=-2, axis2=-1) / total, _kappa(stack), _adjusted_rand(stack)], axis=-1)

    normal_quantile(level)
    whole_number("draws", draws)
    drawn = np.random.default_rng(seed).multinomial(int(counts.sum()), counts.ravel() / counts.sum(), draws)
    drawn = measures(drawn.reshape(draws, *counts.shape).astype(float))
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = {"estimate": measures(counts), "std_error": drawn.std(axis=0, ddof=1), "lower": low, "upper": high}
    index = pd.Index(["agreement", "kappa", "adjusted_rand"], name="parameter")
    return Agreement(table, pd.DataFrame(found, index))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two groupings side by side; see `agreement`.

    Attributes
    ----------
    table : pandas.DataFrame
        Customers by first grouping (rows) and second.
    """

    table: pd.DataFrame
    _summary: pd.DataFrame = field(repr=False)

    @property
    def nobs(self):
        """Customers."""
        return int(self.table.to_numpy().sum())

    def summary(self):
        """``agreement``, ``kappa`` and ``adjusted_rand`` with bootstrap intervals, indexed by ``parameter``."""
        return self._summary.copy()

    def plot(self, ax=None):
        """The table, each row as shares.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        total = self.table.sum(axis=1).to_numpy()[:, None]
        share = np.divide(self.table.to_numpy(), total, where=total > 0, out=np.zeros(self.table.shape))
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(self.table.to_numpy()):
            for j, customers in enumerate(row):
                ax.text(
                    j, i, f"{customers:,}", ha="center", va="center", color="white" if share[i, j] > 0.5 else "black"
                )
        ax.set_xticks(range(self.table.shape[1]), self.table.columns)
        ax.set_yticks(range(self.table.shape[0]), self.table.index)
        ax.grid(False)
        ax.set(xlabel=str(self.table.columns.name), ylabel=str(self.table.index.name))
        return ax
