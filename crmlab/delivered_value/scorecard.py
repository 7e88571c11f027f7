"""Value and cost in points, from ratings: the firm beside its rivals, with intervals, weights moved, and scales judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from crmlab import style, tables
from crmlab.arguments import one_of, whole_number
from crmlab.likelihood import normal_quantile

__all__ = ["VALUE", "COST", "scorecard", "Scorecard"]

# Kotler's eight components.
VALUE = ("product", "service", "personnel", "image")
COST = ("money", "time", "energy", "effort")


def scorecard(
    data,
    firm="firm",
    customer="customer_id",
    value=VALUE,
    cost=COST,
    importance=None,
    outcome=None,
    scale=(1, 10),
    missing="refuse",
):
    r"""Score what a firm and its rivals deliver, from ratings and importance.

    With the mean rating :math:`\bar r_{fk}` of firm :math:`f` on component :math:`k` and weights :math:`w_k` that sum to 1 over all
    components, value and cost together,

    .. math:: \text{value}_f = \sum_{k \in \text{value}} w_k \bar r_{fk}, \quad \text{cost}_f = \sum_{k \in \text{cost}} w_k \bar r_{fk},
              \quad \text{delivered value}_f = \text{value}_f - \text{cost}_f.

    Assumes that a point is the same everywhere on the scale, that what a component lacks another can make up for, and that one set of
    weights holds for everybody: score groups apart that want different things.

    Parameters
    ----------
    data : DataFrame, path, (connection, name), ibis.Table or Checked
        One row a customer and firm that it rated; see `crmlab.tables.responses`. Customers may have rated several firms.
    firm, customer : str
        Columns that say who was rated, and by whom.
    value, cost : sequence of str or dict
        Columns of ratings, or component to its column or columns (items), whose mean is taken. Of a cost, a high rating means
        that there is much of it.
    importance : dict, optional
        Component to its points (a number), or to the column in which each customer states them. By default all count alike.
    outcome : str, optional
        Column of an overall judgement, for `Scorecard.derived_importance`.
    scale : (int, int)
        Lowest and highest rating.
    missing : {"refuse", "drop", "available"}
        What to do with missing ratings: refuse them, leave out every row that has one, or take what was answered, item by item.

    Returns
    -------
    Scorecard

    Raises
    ------
    ValueError
        If ratings are not whole numbers of the scale or missing, a customer rates a firm twice or states two importances of one component,
        a component has no weight or a negative one, or nobody answered some component.

    Notes
    -----
    Standard errors come from customers: what one customer said of several firms, or several components, is held together.

    References
    ----------
    P. Kotler (1994), *Marketing Management*, 8th edition, Prentice Hall. B. T. Gale (1994), *Managing Customer Value*, Free Press.

    Examples
    --------
    >>> from crmlab import delivered_value, simulate
    >>> survey = simulate.delivered_value_survey(customers=200, seed=1)
    >>> items = {name: [f"{name}_1", f"{name}_2"] for name in delivered_value.VALUE + delivered_value.COST}
    >>> card = delivered_value.scorecard(
    ...     survey, value={name: items[name] for name in delivered_value.VALUE},
    ...     cost={name: items[name] for name in delivered_value.COST})
    >>> card.summary()[["value", "cost", "estimate"]].round(2)
            value  cost  estimate
    firm
    branch   3.51  2.59      0.92
    rival    3.33  2.42      0.90
    app      2.62  1.58      1.05
    """
    one_of("missing", missing, ("refuse", "drop", "available"))
    value, cost = _items(value, "value"), _items(cost, "cost")
    both = sorted(set(value) & set(cost))
    if both:
        raise ValueError(f"{', '.join(both)} stands under value= and under cost=: a component is one of the two.")
    components = value | cost
    weights, stated = _importance(importance, components)
    ratings = [column for columns in components.values() for column in columns]
    also = [firm, *stated.values(), *([outcome] if outcome else [])]
    policy = {"refuse": "refuse", "drop": "drop", "available": "keep"}[missing]
    checked = tables.responses(data, ratings, customer, scale, also=also, missing_ratings=policy)
    rows = checked.to_pandas()
    firms = list(pd.unique(data[firm])) if isinstance(data, pd.DataFrame) else sorted(rows[firm].unique())
    firms = [name for name in firms if (rows[firm] == name).any()]
    rows = rows.sort_values(["customer_id", firm], ignore_index=True)
    twice = rows.duplicated(["customer_id", firm])
    if twice.any():
        raise ValueError(
            f"{twice.sum()} rows rate a firm that their customer rated already ({', '.join(rows['customer_id'][twice].astype(str).head(3))}). "
            "Take the mean of a customer's answers, or the last."
        )
    scores = pd.DataFrame({"customer_id": rows["customer_id"], "firm": rows[firm]})
    for name, columns in components.items():
        scores[name] = rows[columns].astype(float).mean(axis=1)  # of the items that were answered
    unanswered = scores.groupby("firm")[list(components)].count()
    empty = [f"{name} of {who}" for who in firms for name in components if unanswered.loc[who, name] < 2]
    if empty:
        raise ValueError(f"fewer than two customers rated {', '.join(empty[:3])}: leave the component or the firm out.")
    if stated:
        by_customer = rows.groupby("customer_id")[list(stated.values())]
        differs = by_customer.nunique() > 1
        if differs.any(axis=None):
            column = differs.columns[differs.any()][0]
            who = differs.index[differs[column]]
            raise ValueError(
                f"column {column!r}: {len(who)} customers state two importances or more ({', '.join(map(str, who[:3]))}). Importance is the customer's, the same for all "
                "firms: take the mean of what each said, or the last."
            )
        weights = by_customer.first().astype(float)
        weights.columns = list(stated)
        if (weights < 0).any(axis=None) or (weights.sum() <= 0).any():
            raise ValueError("stated importance is in points, 0 or more, and no component may have none at all.")
    return Scorecard(
        firms=tuple(firms),
        value=tuple(value),
        cost=tuple(cost),
        nobs=int(rows["customer_id"].nunique()),
        report=checked.report(),
        scale=tuple(scale),
        items=components,
        _scores=scores,
        _stated=weights,
        _rows=rows.rename(columns={firm: "firm"}),
        _outcome=outcome,
    )


def _items(components, argument):
    if not isinstance(components, Mapping):
        components = {name: name for name in ([components] if isinstance(components, str) else components)}
    if not components:
        raise ValueError(f"{argument}= names no component.")
    return {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in components.items()}


def _importance(importance, components):
    """Fixed weights as a Series, and the columns of stated ones."""
    if importance is None:
        importance = dict.fromkeys(components, 1.0)
    given = dict(importance)
    if set(given) != set(components):
        wrong = sorted(set(components) ^ set(given))
        raise ValueError(f"importance= is said for every component and no other; look at {', '.join(map(str, wrong))}.")
    texts = [isinstance(points, str) for points in given.values()]
    if all(texts):
        return None, {name: given[name] for name in components}
    if any(texts):
        raise ValueError(
            "importance= gives points for every component or a column for every component, not some of each."
        )
    weights = pd.Series({name: float(given[name]) for name in components})
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"importance= is in points, 0 or more and not all 0; got {weights.to_dict()}.")
    return weights, {}


@dataclass(frozen=True, eq=False)
class Scorecard:
    """What `scorecard` made of the answers.

    Attributes
    ----------
    firms, value, cost : tuple of str
    nobs : int
        Customers who answered.
    report : pandas.DataFrame
        How many rows came in, were left out, and why.
    scale : tuple
    items : dict
        Component to its columns.
    """

    firms: tuple
    value: tuple
    cost: tuple
    nobs: int
    report: pd.DataFrame = field(repr=False)
    scale: tuple
    items: dict = field(repr=False)
    _scores: pd.DataFrame = field(repr=False)
    _stated: object = field(repr=False)
    _rows: pd.DataFrame = field(repr=False)
    _outcome: str | None = field(repr=False, default=None)

    @property
    def names(self):
        """All components, value before cost."""
        return (*self.value, *self.cost)

    @property
    def weights(self):
        """The weight of each component; they sum to 1."""
        points = self._stated if isinstance(self._stated, pd.Series) else self._stated.mean()
        return (points / points.sum()).reindex(list(self.names)).rename("weight").rename_axis("component")

    def components(self, level=0.95):
        """Mean rating of each firm on each component.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``firm`` and ``component``: ``side`` ("value" or "cost"), ``weight``, ``answers``, ``rating``, ``std_error``, ``lower``, ``upper``.
        """
        means, cov = self._moments()
        z = normal_quantile(level)
        error = np.sqrt(np.diag(cov))[: len(self.firms) * len(self.names)]
        index = pd.MultiIndex.from_product([self.firms, self.names], names=["firm", "component"])
        answers = self._scores.groupby("firm")[list(self.names)].count().loc[list(self.firms)].to_numpy().ravel()
        rating = means[: len(error)]
        return pd.DataFrame(
            {
                "side": ["value" if name in self.value else "cost" for name in self.names] * len(self.firms),
                "weight": np.tile(self.weights, len(self.firms)),
                "answers": answers,
                "rating": rating,
                "std_error": error,
                "lower": rating - z * error,
                "upper": rating + z * error,
            },
            index,
        )

    def summary(self, level=0.95):
        """Totals of each firm.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``firm``: ``value``, ``cost``, and ``estimate`` (delivered value) with ``std_error``, ``lower``, ``upper``, in points of the scale.
        """
        value, cost = self._total(self.value), self._total(self.cost)
        table = pd.DataFrame({"value": value(self._moments()[0]), "cost": cost(self._moments()[0])}, list(self.firms))
        totals = self._with_interval(lambda m: value(m) - cost(m), self.firms, level)
        return table.join(totals).rename_axis("firm")

    def profile(self, firm, rival, level=0.95):
        """Where a firm is ahead of a rival and where behind, component by component.

        Parameters
        ----------
        firm, rival : str
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``component`` and last "delivered value": ``difference`` (in points of the rating, firm minus rival), ``lower``, ``upper``,
            and ``contribution``, what it adds to the difference in delivered value (weight times difference, with a cost's sign turned).
            Contributions sum to the last row exactly.
        """
        a, b = self._place(firm, "firm"), self._place(rival, "rival")
        size = len(self.names)

        def differences(m):
            ratings = m[: len(self.firms) * size].reshape(len(self.firms), size)
            step = ratings[a] - ratings[b]
            return np.append(step, self._signs * self._weights_of(m) @ step)

        table = self._with_interval(differences, [*self.names, "delivered value"], level)
        step = table["estimate"].to_numpy()
        contribution = np.append(self._signs * self.weights.to_numpy() * step[:-1], step[-1])
        table = table.rename(columns={"estimate": "difference"})[["difference", "lower", "upper"]]
        return table.assign(contribution=contribution).rename_axis("component")

    def plot_profile(self, firm, rival, level=0.95, ax=None):
        """Draw `profile`: a dot a component with its interval, costs turned so that to the right is always better for the firm.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.profile(firm, rival, level).iloc[:-1]
        at = np.arange(len(table))
        for side, colour, marker in ((self.value, style.COLOURS[0], "o"), (self.cost, style.COLOURS[1], "s")):
            rows = np.array([name in side for name in table.index])
            sign = 1 if side is self.value else -1
            middle = sign * table["difference"][rows]
            half = [
                middle - np.minimum(sign * table["lower"], sign * table["upper"])[rows],
                np.maximum(sign * table["lower"], sign * table["upper"])[rows] - middle,
            ]
            label = "value (right: more of it)" if sign == 1 else "cost (right: less of it)"
            ax.errorbar(middle, at[rows], xerr=half, fmt=marker, color=colour, capsize=4, label=label)
        ax.axvline(0, color="grey", linewidth=1.5, linestyle=":")
        ax.set_yticks(at, table.index)
        ax.invert_yaxis()
        ax.legend()
        ax.set(xlabel=f"points by which {firm} is better than {rival}", ylabel="component")
        return ax

    def value_map(self, price, level=0.95):
        """Gale's customer value map: quality beside the others' against price beside the others'.

        Quality is the weighted mean of all components but money, costs turned round on the scale (little of a cost is good). Both are
        divided by their mean over the firms.

        Parameters
        ----------
        price : str or dict
            The component that is the price as customers rate it ("money"), or each firm's price in money, all above 0.
        level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Indexed by ``firm``: ``relative_price``, ``relative_quality`` with ``lower``, ``upper``, and ``above_line``: how far the firm lies above the
            line of fair value, which passes through (1, 1) with the weight of money over the weight of all else as its slope.
        """
        money = price if isinstance(price, str) else "money"
        if money not in self.cost:
            raise ValueError(
                f"price= names a cost component or gives each firm's price; costs are {', '.join(self.cost)}."
            )
        rest = [i for i, name in enumerate(self.names) if name != money]
        low, high = self.scale
        size = len(self.names)

        def quality(m):
            ratings = m[: len(self.firms) * size].reshape(len(self.firms), size)[:, rest]
            turned = np.where(self._signs[rest] > 0, ratings, low + high - ratings)
            weight = self._weights_of(m)[rest]
            score = turned @ weight / weight.sum()
            return score / score.mean()

        table = self._with_interval(quality, self.firms, level).rename(columns={"estimate": "relative_quality"})
        if isinstance(price, str):
            paid = self.components().xs(money, level="component")["rating"].loc[list(self.firms)]
        else:
            if set(price) != set(self.firms) or min(price.values()) <= 0:
                raise ValueError(
                    f"price= gives a price above 0 for every firm ({', '.join(self.firms)}): a ratio of prices has no meaning at 0. Leave the firm out, or take the rated 'money'."
                )
            paid = pd.Series(price, dtype=float).loc[list(self.firms)]
        table.insert(0, "relative_price", paid / paid.mean())
        weight = self.weights
        slope = weight[money] / (1 - weight[money])
        table["above_line"] = table["relative_quality"] - 1 - slope * (table["relative_price"] - 1)
        table.attrs["slope"] = float(slope)
        return table.drop(columns="std_error").rename_axis("firm")

    def plot_value_map(self, price, level=0.95, ax=None):
        """Draw `value_map` with the line of fair value: above it, customers get more than they pay for.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.value_map(price, level)
        half = [table["relative_quality"] - table["lower"], table["upper"] - table["relative_quality"]]
        ax.errorbar(
            table["relative_price"],
            table["relative_quality"],
            yerr=half,
            fmt="o",
            capsize=4,
            label=f"firm, with its {level:.0%} interval",
        )
        for name, row in table.iterrows():
            ax.annotate(name, (row["relative_price"], row["relative_quality"]), (9, 5), textcoords="offset points")
        ax.axline((1, 1), slope=table.attrs["slope"], color="grey", linestyle="--", label="fair value")
        ax.margins(x=0.2, y=0.3)
        ax.legend(loc="lower right")
        paid = "price as rated" if isinstance(price, str) else "price"
        ax.set(xlabel=f"{paid}, relative to the mean", ylabel="quality, relative to the mean")
        return ax

    def sensitivity(self, firm, rival, draws=20_000, seed=0):
        """Whether the lead over a rival hangs on the weights.

        Parameters
        ----------
        firm, rival : str
        draws : int
            How many sets of weights are drawn, all sets being equally likely.
        seed : int or numpy.random.Generator

        Returns
        -------
        pandas.DataFrame
            Indexed by ``component``: ``weight`` now, and ``tipping_weight``, at which the two would be level if the other weights kept their
            proportions (NaN where no weight between 0 and 1 does it). ``.attrs["share_ahead"]`` is the share of the drawn sets of weights under
            which the firm is ahead; ``.attrs["difference"]`` the difference in delivered value under the weights as they are.
        """
        whole_number("draws", draws)
        gain = self._signs * self.profile(firm, rival)["difference"].to_numpy()[:-1]
        weight = self.weights.to_numpy()
        total = weight @ gain
        with np.errstate(divide="ignore", invalid="ignore"):
            others = (total - weight * gain) / (1 - weight)
            tipping = others / (others - gain)
        tipping[~((tipping >= 0) & (tipping <= 1))] = np.nan
        table = pd.DataFrame({"weight": weight, "tipping_weight": tipping}, pd.Index(self.names, name="component"))
        drawn = np.random.default_rng(seed).dirichlet(np.ones(len(weight)), draws)
        table.attrs = {"share_ahead": float(np.mean(drawn @ gain > 0)), "difference": float(total)}
        return table

    def reliability(self, level=0.95):
        r"""Cronbach's alpha of each component that has several items, firm by firm.

        .. math:: \alpha = \frac{k}{k - 1} \left(1 - \frac{\sum_i s_i^2}{s^2_\text{sum}}\right)

        Firms are kept apart, since differences between firms would make the items of a component look alike. Rows in which an item is
        missing are left out; ``answers`` counts those used.

        Parameters
        ----------
        level : float, default 0.95
            Of Feldt's interval, which assumes items of equal error.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``component`` and ``firm``: ``items``, ``answers``, ``alpha``, ``lower``, ``upper``.

        Raises
        ------
        ValueError
            If every component has one item only.

        References
        ----------
        L. J. Cronbach (1951), Coefficient alpha and the internal structure of tests, *Psychometrika* 16(3):297-334.
        """
        several = {name: columns for name, columns in self.items.items() if len(columns) > 1}
        if not several:
            raise ValueError("every component has one item: a single question shows no reliability. Ask two or more.")
        normal_quantile(level)  # checks the level
        rows = {}
        for name in (name for name in self.names if name in several):
            for firm in self.firms:
                answers = self._rows.loc[self._rows["firm"] == firm, several[name]].astype(float).dropna()
                n, k = answers.shape
                whole = answers.sum(axis=1).var()
                alpha = k / (k - 1) * (1 - answers.var().sum() / whole) if n > 1 and whole > 0 else np.nan
                df = (n - 1, (n - 1) * (k - 1))
                ends = stats.f.ppf([0.5 + level / 2, 0.5 - level / 2], *df) if n > 1 else [np.nan, np.nan]
                lower, upper = (1 - (1 - alpha) * end for end in ends)
                rows[name, firm] = {"items": k, "answers": n, "alpha": alpha, "lower": lower, "upper": upper}
        table = pd.DataFrame.from_dict(rows, orient="index")
        table.index = pd.MultiIndex.from_tuples(table.index, names=["component", "firm"])
        return table.astype({"items": int, "answers": int})

    def derived_importance(self, level=0.95):
        """What the overall judgement moves with, beside what people say counts.

        A linear regression of the outcome on the component scores, costs turned round; its coefficients, each times the standard
        deviation of its component, as shares of their sum. Errors are clustered by customer. Components that move together cannot be
        told apart well, and what moves with the judgement need not cause it.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``component``: ``stated`` (weight), ``derived`` (share; negative where the sign is wrong), ``coefficient`` (points of the
            outcome for one point of the component), ``std_error``, ``lower``, ``upper``.

        Raises
        ------
        ValueError
            If the scorecard was made without `outcome`.
        """
        if self._outcome is None:
            raise ValueError(
                "derived importance needs an overall judgement: name its column by outcome= in scorecard(...)."
            )
        from statsmodels.regression.linear_model import OLS  # here, since it takes a second to import

        scores = self._scores[list(self.names)].to_numpy() * self._signs
        whole = np.isfinite(scores).all(axis=1)
        design = np.column_stack([np.ones(whole.sum()), scores[whole]])
        groups = pd.factorize(self._scores["customer_id"][whole])[0]
        fit = OLS(self._rows[self._outcome].to_numpy(dtype=float)[whole], design).fit(
            cov_type="cluster", cov_kwds={"groups": groups}
        )
        slope, error = fit.params[1:], fit.bse[1:]
        strength = slope * scores[whole].std(axis=0)
        z = normal_quantile(level)
        return pd.DataFrame(
            {
                "stated": self.weights.to_numpy(),
                "derived": strength / np.abs(strength).sum(),
                "coefficient": slope,
                "std_error": error,
                "lower": slope - z * error,
                "upper": slope + z * error,
            },
            pd.Index(self.names, name="component"),
        )

    def plot(self, level=0.95, ax=None):
        """Draw delivered value by firm, with intervals.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.summary(level)
        half = [table["estimate"] - table["lower"], table["upper"] - table["estimate"]]
        ax.errorbar(np.arange(len(table)), table["estimate"], yerr=half, fmt="o", capsize=4)
        ax.set_xticks(np.arange(len(table)), table.index)
        ax.margins(x=0.2)
        ax.set(xlabel="firm", ylabel="delivered value, points")
        return ax

    # --- inside ---------------------------------------------------------------------------------------------------

    @property
    def _signs(self):
        return np.array([1.0] * len(self.value) + [-1.0] * len(self.cost))

    def _place(self, firm, argument):
        if firm not in self.firms:
            raise ValueError(f"{argument}= is one of {', '.join(map(repr, self.firms))}; got {firm!r}.")
        return self.firms.index(firm)

    def _total(self, side):
        picked = [self.names.index(name) for name in side]
        size = len(self.names)

        def total(m):
            return m[: len(self.firms) * size].reshape(len(self.firms), size)[:, picked] @ self._weights_of(m)[picked]

        return total

    def _weights_of(self, moments):
        points = moments[len(self.firms) * len(self.names) :]
        return points / points.sum() if len(points) else self.weights.to_numpy()

    def _moments(self):
        """Mean ratings by firm and component, then mean stated points; their covariance over customers."""
        who, customers = pd.factorize(self._scores["customer_id"])
        blocks, means = [], []
        for firm in self.firms:
            rows = (self._scores["firm"] == firm).to_numpy()
            ratings = self._scores.loc[rows, list(self.names)].to_numpy()
            mean = np.nanmean(ratings, axis=0)
            influence = np.zeros((len(customers), len(self.names)))
            influence[who[rows]] = np.where(np.isfinite(ratings), ratings - mean, 0) / np.isfinite(ratings).sum(axis=0)
            means.append(mean)
            blocks.append(influence)
        if isinstance(self._stated, pd.DataFrame):
            points = self._stated.loc[customers, list(self.names)].to_numpy()
            means.append(points.mean(axis=0))
            blocks.append((points - points.mean(axis=0)) / len(points))
        influence = np.hstack(blocks)
        return np.concatenate(means), influence.T @ influence * len(customers) / (len(customers) - 1)

    def _with_interval(self, function, index, level):
        """A function of the moments with delta-method errors; its derivatives by central differences."""
        means, cov = self._moments()
        estimate = function(means)
        step = 1e-5
        slope = np.empty((len(estimate), len(means)))
        for i in range(len(means)):
            up, down = means.copy(), means.copy()
            up[i] += step
            down[i] -= step
            slope[:, i] = (function(up) - function(down)) / (2 * step)
        error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slope, cov, slope), 0))
        half = normal_quantile(level) * error
        table = {"estimate": estimate, "std_error": error, "lower": estimate - half, "upper": estimate + half}
        return pd.DataFrame(table, list(index))
