"""The satisfaction trap: satisfied customers who leave all the same. How many, who, what it costs, what would move them."""

import ast
import numbers
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib import ticker
from statsmodels.stats.proportion import proportion_confint

from crmlab import counting, style, tables
from crmlab.arguments import one_of
from crmlab.design import row_counts
from crmlab.likelihood import normal_quantile
from crmlab.satisfaction.ordered import OrderedFit

__all__ = ["trap", "remedies", "Trap", "Remedies", "ASSUMPTIONS"]

# What `remedies` takes for granted, in the order in which it usually fails.
ASSUMPTIONS = (
    "The columns are causes: customers who rate them higher stay more because of that, and not because of something else that moves both.",
    "A change of the rating is within the firm's power, and costs nothing that the customers notice elsewhere.",
    "Satisfaction and all columns that are not changed stay as they are: what a remedy does through satisfaction comes on top.",
    "The model's form is right: on the log odds every step of a rating counts the same, for everybody, up to the end of the scale.",
)


def trap(data, satisfied, loyal, weights=None):
    r"""How many of the satisfied customers are not loyal.

    .. math:: \text{trap} = \frac{\#\{\text{satisfied and not loyal}\}}{\#\{\text{satisfied}\}}

    The two words need a rule each, and the result depends on them: say the rule beside the number. Loyalty that was
    stated in the same questionnaire is not loyalty that was seen afterwards.

    Parameters
    ----------
    data : DataFrame or Checked
        One row a customer, or one a case with its count.
    satisfied, loyal : str
        The rules, as expressions of columns that are true or false (or 1 and 0): ``"satisfaction >= 4"``, ``"repurchased"``.
    weights : str, optional
        The column that says how many customers a row stands for.

    Returns
    -------
    Trap

    Raises
    ------
    ValueError
        If a rule cannot be computed or is neither true nor false; if a column in it has missing values; if nobody is
        satisfied (there is no share), or everybody (the trap is then plain disloyalty, and the rule tells nothing apart).

    References
    ----------
    T. O. Jones and W. E. Sasser (1995), Why satisfied customers defect, *Harvard Business Review* 73(6):88-99.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> panel = simulate.satisfaction_panel(seed=1)
    >>> found = satisfaction.trap(panel, satisfied="satisfaction >= 4", loyal="repurchased")
    >>> found.summary().round(3)
                            estimate  std_error  lower  upper  customers    of
    parameter
    trap                       0.262      0.011  0.241  0.284        423  1613
    trap, of all customers     0.141      0.006  0.129  0.154        423  3000
    held                       0.557      0.013  0.530  0.583        772  1387
    satisfied                  0.538      0.009  0.520  0.555       1613  3000
    loyal                      0.654      0.009  0.637  0.671       1962  3000
    >>> found.who("rival_nearby").round(3)
                  estimate  std_error  lower  upper  customers   of  of_trap
    rival_nearby
    False            0.152      0.011  0.131  0.176        149  978    0.352
    True             0.431      0.020  0.393  0.470        274  635    0.648
    """
    if isinstance(data, tables.Checked):
        data, weights = counting.rating_counts(data).to_pandas(), "customers"
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"data= is a DataFrame, or what tables.responses(...) checked; got {type(data).__name__}.")
    rules = {"satisfied": _rule(data, satisfied, "satisfied"), "loyal": _rule(data, loyal, "loyal")}
    count = row_counts(data, weights)
    if count @ rules["satisfied"] == 0:
        raise ValueError(f"satisfied={satisfied!r}: no customer is, so there is no share of them. Take a lower bar.")
    if count @ ~rules["satisfied"] == 0:
        raise ValueError(
            f"satisfied={satisfied!r}: all {count.sum():,.0f} customers are, so satisfaction tells nobody apart. Take a higher bar, or speak of loyalty alone."
        )
    cases = data.drop(columns=[weights] if weights else []).assign(
        _satisfied=rules["satisfied"], _loyal=rules["loyal"], _count=count
    )
    return Trap(satisfied, loyal, cases[count > 0].reset_index(drop=True))


@dataclass(frozen=True, eq=False)
class Trap:
    """Satisfied customers and whether they stay; see `trap`.

    Attributes
    ----------
    satisfied, loyal : str
        The rules.
    """

    satisfied: str
    loyal: str
    _cases: pd.DataFrame = field(repr=False)

    @property
    def nobs(self):
        """Customers."""
        return float(self._cases["_count"].sum())

    @property
    def table(self):
        """Customers by satisfied and loyal."""
        cells = self._cases.groupby(["_satisfied", "_loyal"])["_count"].sum()
        cells = cells.unstack(fill_value=0.0).reindex(index=[True, False], columns=[True, False], fill_value=0.0)
        return cells.set_axis(["satisfied", "not satisfied"]).set_axis(["loyal", "not loyal"], axis=1).astype(int)

    def summary(self, level=0.95):
        """The shares with Wilson intervals.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``trap`` (of the satisfied, those who are not loyal), ``trap, of all customers``, ``held``
            (of those not satisfied, those who are loyal all the same), ``satisfied``, ``loyal``; with ``estimate``,
            ``std_error``, ``lower``, ``upper``, ``customers`` and ``of``.
        """
        (stay, leave), (held, gone) = self.table.to_numpy()
        n = stay + leave + held + gone
        cells = {
            "trap": (leave, stay + leave),
            "trap, of all customers": (leave, n),
            "held": (held, held + gone),
            "satisfied": (stay + leave, n),
            "loyal": (stay + held, n),
        }
        return pd.concat([_shares([k], [m], level).set_axis([name]) for name, (k, m) in cells.items()]).rename_axis(
            "parameter"
        )

    def who(self, by, level=0.95):
        """The trap in each group: who is in it.

        Parameters
        ----------
        by : str or sequence of str
            Columns with few values; cut numbers into classes with ``pandas.cut`` first.
        level : float

        Returns
        -------
        pandas.DataFrame
            Indexed by `by`: ``estimate`` (the share of the group's satisfied customers who are not loyal), ``std_error``,
            ``lower``, ``upper``, ``customers`` (in the trap), ``of`` (satisfied), ``of_trap`` (share of all in the trap).
        """
        by = [by] if isinstance(by, str) else list(by)
        for name in by:
            if name not in self._cases or name.startswith("_"):
                there = ", ".join(str(column) for column in self._cases if not str(column).startswith("_"))
                raise ValueError(f"by={name!r} is not a column of the data; there are: {there}.")
            if self._cases[name].isna().any():
                raise ValueError(
                    f"column {name!r}: {int(self._cases[name].isna().sum()):,} rows are missing. Give them a level of their own."
                )
            if self._cases[name].nunique() > 30:
                raise ValueError(
                    f"column {name!r} has {self._cases[name].nunique()} values: cut it into classes with pandas.cut."
                )
        content = self._cases[self._cases["_satisfied"]]
        content = content.assign(_left=content["_count"] * ~content["_loyal"])
        sums = content.groupby(by, observed=True)[["_left", "_count"]].sum()
        table = _shares(sums["_left"], sums["_count"], level).set_axis(sums.index)
        return table.assign(of_trap=table["customers"] / table["customers"].sum())

    def cost(self, margin, customers=None, unavoidable=0.0, level=0.95):
        r"""What the trap costs: trapped customers times the margin that each takes along.

        .. math:: \text{cost} = N \cdot P(\text{satisfied}) \cdot (P(\text{not loyal} \mid \text{satisfied}) - u) \cdot m.

        Parameters
        ----------
        margin : float
            Margin of a customer over the time that counts, in money. Say over which time, and net of what it costs to serve.
        customers : float, optional
            Customers of the firm; by default those in the data.
        unavoidable : float
            Share :math:`u` of satisfied customers who would leave whatever one does: they die, move, or no longer need it.
        level : float

        Returns
        -------
        pandas.DataFrame
            One row, ``cost``: ``estimate``, ``std_error``, ``lower``, ``upper``, in the unit of the margin. The interval knows the
            sample of customers, not the doubts about margin and :math:`u`.

        Raises
        ------
        ValueError
            If an argument is out of its range, or `unavoidable` is more than the trap.
        """
        z = normal_quantile(level)
        given = {"margin": margin, "customers": self.nobs if customers is None else customers}
        for name, value in (given | {"unavoidable": unavoidable}).items():
            if not isinstance(value, numbers.Real):
                raise TypeError(f"{name}= is a number; got {value!r}.")
        for name, value in given.items():
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"{name}= is a finite number of 0 or more; got {value!r}.")
        if not 0 <= unavoidable < 1:
            raise ValueError(f"unavoidable= is a share, from 0 to below 1; got {unavoidable!r}.")
        (stay, leave), _ = self.table.to_numpy()
        n = self.nobs
        if unavoidable > leave / (stay + leave):
            raise ValueError(
                f"unavoidable={unavoidable:g} is more than the trap ({leave / (stay + leave):.2g}): nothing is left beyond it."
            )
        # Of a customer: 1 - u if trapped, -u if satisfied and loyal, 0 else.
        mean = (leave - unavoidable * (stay + leave)) / n
        variance = (leave * (1 - unavoidable) ** 2 + stay * unavoidable**2) / n - mean**2
        scale = (n if customers is None else customers) * margin
        if unavoidable == 0:
            limits = proportion_confint(leave, n, alpha=1 - level, method="wilson")
        else:
            half = z * np.sqrt(variance / n)
            limits = mean - half, mean + half
        row = {
            "estimate": scale * mean,
            "std_error": scale * np.sqrt(variance / n),
            "lower": scale * limits[0],
            "upper": scale * limits[1],
        }
        return pd.DataFrame(row, index=pd.Index(["cost"], name="parameter"))

    def plot(self, by=None, ax=None, level=0.95):
        """The trap's share with intervals: overall, or in each group of a column.

        Parameters
        ----------
        by : str, optional
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        overall = self.summary(level).loc["trap", "estimate"]
        groups = self.summary(level).loc[["trap"]] if by is None else self.who(by, level)
        place = np.arange(len(groups))
        bars = np.abs(groups[["lower", "upper"]].to_numpy().T - groups["estimate"].to_numpy())
        ax.errorbar(place, groups["estimate"].to_numpy(), yerr=bars, fmt="o", capsize=5)
        if by is not None:
            ax.axhline(overall, color="grey", linestyle="--", label="all satisfied customers")
            ax.legend()
        names = ["all satisfied customers"] if by is None else [_named(name) for name in groups.index]
        ax.set_xticks(place, [f"{name}\n({n:,.0f})" for name, n in zip(names, groups["of"])])
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(
            xlabel="satisfied customers" if by is None else f"{by} (satisfied customers)",
            ylabel="satisfied and not loyal,\nshare of the satisfied",
            xlim=(-0.6, len(groups) - 0.4),
            ylim=(0, None),
        )
        return ax


def remedies(fit, changes, satisfied, by=None, limits=(1, 5), at_least=None):
    r"""Which remedy would move whom: a counterfactual on the fitted model of loyalty.

    For every satisfied customer the model predicts loyalty as things are, and again with one thing changed. The mean
    difference is the effect of the remedy, with the delta method's interval, over these customers as they are:

    .. math:: \Delta = \frac1N \sum_i n_i \big(P(\text{loyal} \mid x_i + d) - P(\text{loyal} \mid x_i)\big).

    A rating at the end of its scale cannot be raised: such customers stay as they are, and ``reached`` says how many are not.

    Assumes `ASSUMPTIONS`; the result carries them. They are strong: a survey says who stays, an experiment says what moves them.

    Parameters
    ----------
    fit : OrderedFit
        Loyalty (two answers, or several with `at_least`) explained by satisfaction, the columns to change and whatever else
        moves loyalty.
    changes : dict
        Name of the remedy to a change, or column to change: ``{"service": 1, "easier and cheaper": {"ease": 1, "price": 1}}``.
    satisfied : str
        The rule, as in `trap`, of columns in the fit's formula.
    by : str, optional
        A column of the formula: the effect in each group.
    limits : (float, float) or dict
        Ends of the scale of the changed columns; a dict of them by column where they differ: ``{"service": (1, 5), "promo": (0, 1)}``.
    at_least : optional
        The answer that counts as loyal, with all above it; by default the highest of all.

    Returns
    -------
    Remedies

    Raises
    ------
    ValueError
        If a column is not in the formula or not numeric, or has values outside the limits; if nobody is satisfied, or a change
        moves nobody.

    Examples
    --------
    >>> from crmlab import satisfaction, simulate
    >>> panel = simulate.satisfaction_panel(seed=1)
    >>> formula = "repurchased ~ satisfaction + quality + price + service + ease + rival_nearby"
    >>> fit = satisfaction.fit_ordered(formula, panel)
    >>> moved = satisfaction.remedies(fit, {"service": 1, "price": 1}, satisfied="satisfaction >= 4")
    >>> moved.summary()[["before", "after", "lower", "upper", "customers_moved"]].round(3)
             before  after  lower  upper  customers_moved
    remedy
    service   0.736  0.801  0.053  0.077          104.956
    price     0.736  0.787  0.039  0.063           82.608

    [2 rows x 9 columns]
    """
    if not isinstance(fit, OrderedFit):
        raise TypeError(f"fit= is what fit_ordered returned, a model of loyalty; got {type(fit).__name__}.")
    if not isinstance(changes, dict) or not changes:
        raise TypeError("changes= is a dict of what is changed by how much, such as {'service': 1}.")
    at_least = fit.levels[-1] if at_least is None else at_least
    one_of("at_least", at_least, fit.levels[1:])
    cases = fit.cases[_rule(fit.cases, satisfied, "satisfied")]
    if not len(cases):
        raise ValueError(f"satisfied={satisfied!r}: no customer is.")
    if by is not None and by not in cases:
        raise ValueError(f"by={by!r} is not in the fit's formula; there are: {', '.join(fit.design._columns)}.")
    groups = {"all": np.ones(len(cases), dtype=bool)}
    if by is not None:
        groups = {value: (cases[by] == value).to_numpy() for value in pd.unique(cases[by].sort_values())}
    answer = fit.levels.index(at_least)
    before = fit._at_least(fit.design.build(cases), answer)
    rows, index = [], []
    for name, change in changes.items():
        change = change if isinstance(change, dict) else {name: change}
        moved, reached = cases.copy(), np.zeros(len(cases), dtype=bool)
        for column, amount in change.items():
            if column not in fit.design._columns:
                raise ValueError(
                    f"remedy {name!r}: column {column!r} is not in the fit's formula; there are: {', '.join(fit.design._columns)}."
                )
            if not isinstance(amount, numbers.Real):
                raise TypeError(f"remedy {name!r}: the change of {column!r} is a number, such as 1; got {amount!r}.")
            if not pd.api.types.is_numeric_dtype(cases[column]) or cases[column].dtype == bool:
                raise ValueError(f"remedy {name!r}: column {column!r} is no rating that could be raised or lowered.")
            moved[column] = (cases[column] + amount).clip(*_ends(fit.cases, column, limits))
            reached |= (moved[column] != cases[column]).to_numpy()
        if not reached.any():
            raise ValueError(
                f"remedy {name!r} moves no satisfied customer: all stand at the end of the scale, limits={limits!r}."
            )
        after = fit._at_least(fit.design.build(moved), answer)
        for group, inside in groups.items():
            count = cases["customers"].to_numpy() * inside
            share = count / count.sum()
            gradient = share @ (after[1] - before[1])
            gain = float(share @ (after[0] - before[0]))
            error = float(np.sqrt(gradient @ fit.cov.to_numpy() @ gradient))
            rows.append(
                [share @ before[0], share @ after[0], gain, error, gain * count.sum(), share @ reached, count.sum()]
            )
            index.append(name if by is None else (name, group))
    names = ["remedy"] if by is None else ["remedy", by]
    index = pd.MultiIndex.from_tuples(index, names=names) if by is not None else pd.Index(index, name="remedy")
    columns = ["before", "after", "estimate", "std_error", "customers_moved", "reached", "customers"]
    assumptions = list(ASSUMPTIONS)
    changed = {
        column for name, change in changes.items() for column in (change if isinstance(change, dict) else [name])
    }
    if moved := sorted(changed & _words(satisfied)):
        assumptions[2] = (
            f"All columns that are not changed stay as they are. How {' and '.join(moved)} would be raised, and what that does besides, is left open."
        )
    return Remedies(
        pd.DataFrame(rows, index, columns), satisfied, by, float(cases["customers"].sum()), tuple(assumptions)
    )


@dataclass(frozen=True, eq=False)
class Remedies:
    """What each remedy would do; see `remedies`.

    Attributes
    ----------
    satisfied : str
        The rule.
    by : str or None
    nobs : float
        Satisfied customers.
    assumptions : tuple of str
    """

    _table: pd.DataFrame = field(repr=False)
    satisfied: str
    by: str | None
    nobs: float
    assumptions: tuple = ASSUMPTIONS

    def summary(self, level=0.95):
        """The effects.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``remedy`` (and group): mean probability of loyalty ``before`` and ``after``, ``estimate`` (the difference),
            ``std_error``, ``lower``, ``upper``, ``customers_moved`` (the difference times the customers), ``reached`` (the share
            whose rating could change), ``customers``.
        """
        half = normal_quantile(level) * self._table["std_error"]
        table = self._table.copy()
        place = list(table).index("std_error") + 1
        table.insert(place, "lower", table["estimate"] - half)
        table.insert(place + 1, "upper", table["estimate"] + half)
        return table

    def plot(self, ax=None, level=0.95):
        """The effect of each remedy with its interval, by group if there are any.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        level : float

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.summary(level)
        groups = [None] if self.by is None else list(dict.fromkeys(table.index.get_level_values(self.by)))
        remedies = list(dict.fromkeys(table.index.get_level_values("remedy")))
        for i, group in enumerate(groups):
            rows = table if group is None else table.xs(group, level=self.by)
            place = np.arange(len(remedies))[::-1] - (i - (len(groups) - 1) / 2) * 0.2
            bars = np.abs(rows[["lower", "upper"]].to_numpy().T - rows["estimate"].to_numpy())
            label = None if group is None else f"{self.by}: {_named(group)}"
            ax.errorbar(rows["estimate"].to_numpy(), place, xerr=bars, fmt="osD^v"[i % 5], capsize=4, label=label)
        ax.axvline(0, color="grey", linestyle=":", linewidth=1.5)
        ax.set_yticks(np.arange(len(remedies))[::-1], remedies)
        ax.xaxis.set_major_formatter(ticker.PercentFormatter(xmax=1, decimals=0, symbol=""))
        ax.set(
            xlabel="change of the share who stay, in percentage points",
            ylabel="remedy",
            ylim=(-0.6, len(remedies) - 0.4),
        )
        if self.by is not None:
            ax.legend()
        return ax


def _ends(cases, column, limits):
    """The ends of a column's scale, once it is clear that it lies between them: cut to others, a rating would be moved by the cut."""
    if isinstance(limits, dict) and column not in limits:
        raise ValueError(f"limits= has no scale for the column {column!r}; it has: {', '.join(map(repr, limits))}.")
    ends = limits[column] if isinstance(limits, dict) else limits
    if not (np.shape(ends) == (2,) and ends[0] < ends[1]):
        raise ValueError(f"limits= are the lower and the higher end of a scale, such as (1, 5); got {ends!r}.")
    if (beyond := ~cases[column].between(*ends)).any():
        raise ValueError(
            f"column {column!r}: {cases['customers'][beyond].sum():,.0f} of {cases['customers'].sum():,.0f} customers have values outside limits={tuple(ends)!r} "
            f"(from {cases[column].min():g} to {cases[column].max():g}), which would be cut to them. Fix: say the ends of its scale, limits={{{column!r}: (lowest, highest)}}."
        )
    return ends


def _named(value):
    """How a group is called in a figure."""
    return {True: "yes", False: "no"}[bool(value)] if isinstance(value, bool | np.bool_) else str(value)


def _rule(data, rule, name):
    """A rule as true or false of each row."""
    if not isinstance(rule, str):
        raise TypeError(f"{name}= is an expression of columns, such as 'satisfaction >= 4'; got {type(rule).__name__}.")
    try:
        words = _words(rule)
    except SyntaxError:
        raise ValueError(f"{name}={rule!r} is no expression of columns, such as 'satisfaction >= 4'.") from None
    for column in [c for c in data.columns if c in words]:
        if data[column].isna().any():
            shown = ", ".join(map(str, np.flatnonzero(data[column].isna())[:3]))
            raise ValueError(
                f"column {column!r}: {int(data[column].isna().sum()):,} of {len(data):,} rows are missing (rows {shown}), and a rule says nothing of them. "
                "Fix: leave them out, or give them a value, and say so."
            )
    if strange := sorted(words - set(data.columns)):
        raise ValueError(
            f"{name}={rule!r}: there is no column {strange[0]!r}; there are: {', '.join(map(str, data.columns))}."
        )
    value = data.eval(rule, engine="python")
    value = pd.Series(np.broadcast_to(value, len(data)), data.index)
    if not value.isin([0, 1]).all():
        raise ValueError(
            f"{name}={rule!r} is neither true nor false (for example {value.iloc[0]!r}): write a comparison, such as 'satisfaction >= 4'."
        )
    return value.astype(bool).to_numpy()


def _words(rule):
    """The names in a rule."""
    return {node.id for node in ast.walk(ast.parse(rule.replace("`", ""), mode="eval")) if isinstance(node, ast.Name)}


def _shares(some, of, level):
    some, of = np.asarray(some, dtype=float), np.asarray(of, dtype=float)
    normal_quantile(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = some / of
        error = np.sqrt(share * (1 - share) / of)
        lower, upper = proportion_confint(some, of, alpha=1 - level, method="wilson")
    table = {"estimate": share, "std_error": error, "lower": lower, "upper": upper}
    return pd.DataFrame(table | {"customers": some.astype(int), "of": of.astype(int)})
