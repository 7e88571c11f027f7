"""The five types of loyalty by rule: conditions on scales, reasons for every customer, and what hangs on the cut points."""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.loyalty._customers import each_once
from crmlab.loyalty.measures import shares

__all__ = ["typology", "Typology", "RULES", "TYPES"]

TYPES = ("monopoly", "kinship", "benefit", "inertia", "trust", "none")

# On scales from 1 to 7. The order is that of precedence: what ties a customer from outside comes first, since it holds whatever the
# customer thinks; trust comes before habit and price, which it may accompany.
RULES = {
    "monopoly": "alternatives < 3.25",
    "kinship": "ties >= 4.25",
    "trust": "satisfaction >= 4.75 and trust >= 4.75",
    "benefit": "price_sensitivity >= 5 and switching_effort < 4.5",
    "inertia": "switching_effort >= 4.25",
}

_CONDITION = re.compile(r"^\s*([A-Za-z_]\w*)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*$")
_COMPARE = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}


def typology(scores, rules=None):
    """Place customers among the types of loyalty by rules on their scores, and say why.

    A rule is a list of conditions joined by ``and``; the first rule that fits decides, in the order of the dict, and who fits
    none is ``none``. Nothing is hidden by that order: `Typology.ambiguous` has everybody whom several rules fit.

    Assumes that the scales measure what they are called and that a cut point means the same to every customer. A typology is
    chosen, not estimated: `fit_classes` is the other way.

    Parameters
    ----------
    scores : pandas.DataFrame
        Indexed by customer, a column a scale, such as the ``scores`` of `attitude_scales`.
    rules : dict of str to str, optional
        Conditions by type, ``{"trust": "satisfaction >= 5 and trust >= 5", ...}``; by default ``loyalty.RULES``, for scales from 1 to 7.

    Returns
    -------
    Typology

    Raises
    ------
    ValueError
        If a rule cannot be read or names a column that is not there, scores are missing, a customer stands twice, or a scale that a
        rule needs is the same for everybody.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> scores = pd.DataFrame({"satisfaction": [6, 6, 3], "trust": [6, 2, 2], "ties": [1, 6, 1]}, index=list("abc"))
    >>> found = loyalty.typology(scores, {"kinship": "ties >= 5", "trust": "satisfaction >= 5 and trust >= 5"})
    >>> found.customers["type"].tolist()
    ['trust', 'kinship', 'none']
    >>> found.customers.loc["a", "reason"]
    'satisfaction 6 >= 5 and trust 6 >= 5'
    """
    if not isinstance(scores, pd.DataFrame):
        raise TypeError(f"the scores come as a pandas DataFrame, one row a customer; got {type(scores).__name__}.")
    if not len(scores):
        raise ValueError("the table of scores has no rows.")
    parsed = {name: _parse(name, rule) for name, rule in dict(RULES if rules is None else rules).items()}
    if not parsed:
        raise ValueError("rules= has no rule.")
    if "none" in parsed:
        raise ValueError("'none' is the type of those whom no rule fits: it has no rule of its own.")
    for column in dict.fromkeys(column for conditions in parsed.values() for column, _, _ in conditions):
        if column not in scores:
            raise ValueError(
                f"a rule needs the column {column!r}, which is not there; there are: {', '.join(map(str, scores.columns))}."
            )
        values = scores[column]
        if not pd.api.types.is_numeric_dtype(values):
            raise ValueError(f"column {column!r} holds {values.dtype} values, not numbers.")
        if values.isna().any():
            who = ", ".join(map(str, scores.index[values.isna()][:3]))
            raise ValueError(
                f"column {column!r}: {values.isna().sum()} of {len(scores)} customers have no score ({who}). Fix: leave them out, and say how many."
            )
        if values.nunique() == 1 and len(scores) > 1:
            raise ValueError(
                f"column {column!r} is {values.iloc[0]:g} for all {len(scores)} customers: a rule on it tells nobody apart."
            )
    each_once(scores.index)
    return Typology(scores, parsed)


def _parse(name, rule):
    conditions = []
    for part in str(rule).split(" and "):
        found = _CONDITION.match(part)
        if not found:
            raise ValueError(
                f"the rule of {name!r} cannot be read at {part.strip()!r}: a condition is a column, one of >= > <= < and a number, "
                "several joined by 'and'."
            )
        conditions.append((found[1], found[2], float(found[3])))
    return tuple(conditions)


@dataclass(frozen=True, eq=False)
class Typology:
    """Customers placed by rule; see `typology`.

    Attributes
    ----------
    scores : pandas.DataFrame
    rules : dict
        Conditions of each type: (column, comparison, cut point).
    """

    scores: pd.DataFrame = field(repr=False)
    rules: dict

    def _fits(self, shift=0.0):
        """Which rules fit whom, with every condition made easier (or, below 0, harder) by so many points."""
        fits = {}
        for name, conditions in self.rules.items():
            hit = np.ones(len(self.scores), bool)
            for column, sign, cut in conditions:
                eased = cut - shift if ">" in sign else cut + shift
                hit &= _COMPARE[sign](self.scores[column].to_numpy(dtype=float), eased)
            fits[name] = hit
        return pd.DataFrame(fits, self.scores.index)

    def _types(self, fits):
        kind = np.where(fits.any(axis=1), fits.to_numpy().argmax(axis=1), len(self.rules))
        return pd.Series(pd.Categorical.from_codes(kind, self.types), self.scores.index, name="type")

    @property
    def types(self):
        """Names of the types, in the order of precedence, and ``none``."""
        return (*self.rules, "none")

    @property
    def nobs(self):
        """Customers."""
        return len(self.scores)

    @property
    def customers(self):
        """Indexed by customer: ``type``, ``reason`` (the conditions that decided, with the customer's scores) and ``also`` (other types that fit)."""
        fits = self._fits()
        kind = self._types(fits)
        reasons = [
            " and ".join(f"{column} {row[column]:g} {sign} {cut:g}" for column, sign, cut in self.rules.get(name, ()))
            or "no rule fits"
            for name, row in zip(kind, self.scores.to_dict("records"))
        ]
        names = np.array(list(self.rules), dtype=object)
        also = [", ".join(names[row][names[row] != name]) for name, row in zip(kind, fits.to_numpy())]
        return pd.DataFrame({"type": kind, "reason": reasons, "also": also}, self.scores.index)

    def ambiguous(self):
        """The customers whom several rules fit: the type by precedence, and the others."""
        rows = self.customers
        return rows[rows["also"] != ""]

    def summary(self, level=0.95):
        """Share of customers of each type with Wilson's interval, and ``ambiguous``, the share whom several rules fit.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``customers``, ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        fits = self._fits()
        kind = self._types(fits)
        flags = {name: kind == name for name in self.types} | {"ambiguous": fits.sum(axis=1) > 1}
        return shares(pd.DataFrame(flags), level)

    def sensitivity(self, shifts=(-0.5, -0.25, 0.25, 0.5)):
        """The shares if every condition were so many points easier to meet (above 0) or harder (below 0).

        Returns
        -------
        pandas.DataFrame
            Indexed by ``shift``: the share of each type, and ``moved``, the share of customers who change type.
        """
        base, rows = self._types(self._fits()), {}
        for shift in sorted({0.0, *map(float, shifts)}):
            kind = self._types(self._fits(shift))
            rows[shift] = {name: (kind == name).mean() for name in self.types} | {"moved": (kind != base).mean()}
        return pd.DataFrame(rows).T.rename_axis("shift")

    def plot(self, ax=None):
        """Shares of the types, with how many of each other rules fit as well.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        rows = self.customers
        clear = rows[rows["also"] == ""]["type"].value_counts(sort=False) / len(rows)
        several = rows[rows["also"] != ""]["type"].value_counts(sort=False) / len(rows)
        names = list(self.types)
        ax.bar(names, clear[names], label="one rule fits, or none")
        ax.bar(
            names, several[names], bottom=clear[names].to_numpy(), hatch="//", edgecolor="white", label="several fit"
        )
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel="type of loyalty, by rule", ylabel="share of customers")
        ax.set_ylim(0, 1.2 * (clear + several).max())  # room for the legend
        ax.legend(loc="upper right", ncols=2)
        return ax
