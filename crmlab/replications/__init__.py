"""Every published number whose model the kit has, computed again: ours beside theirs.

One module a concept holds its cases; `table` runs them. A published number is written down as it was printed, and its
tolerance follows from that: half a unit of the last printed digit. Nothing else is typed in.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

__all__ = ["table", "badge", "published", "Case"]


@dataclass(frozen=True)
class Case:
    """One published result: a model on its data, and the numbers that its authors printed.

    Attributes
    ----------
    module : str
        The concept, such as ``"retention"``.
    title : str
        Which model, on which data.
    source : str
        Key of the work in ``docs/references.bib``.
    printed : dict of str to str
        The numbers as printed, by name: ``{"alpha": "0.704"}``.
    compute : callable
        Gives ours, under the same names.
    misses : dict of str to str
        Numbers that are known not to come out, each with the reason. They are shown as missed.
    """

    module: str
    title: str
    source: str
    printed: dict[str, str]
    compute: Callable[[], dict[str, float]]
    misses: dict[str, str]

    def rows(self):
        """Ours beside theirs, a row a number."""
        ours = dict(self.compute())
        if set(ours) != set(self.printed):
            raise ValueError(
                f"{self.module}, {self.title}: the case computes {sorted(ours)}, the source prints {sorted(self.printed)}."
            )
        rows = []
        for name, text in self.printed.items():
            theirs = float(text)
            # Half a unit of the last digit; the tiny rest is the rounding of a binary number that ends in 5.
            tolerance = float(Decimal(5).scaleb(Decimal(text).as_tuple().exponent - 1))
            difference = float(ours[name]) - theirs
            reproduced = abs(difference) <= tolerance + 1e-12 * abs(theirs)
            rows.append(
                {
                    "module": self.module,
                    "case": self.title,
                    "quantity": name,
                    "ours": float(ours[name]),
                    "theirs": text,
                    "difference": difference,
                    "tolerance": tolerance,
                    "source": self.source,
                    "verdict": "reproduced" if reproduced else "missed",
                    "reason": self.misses.get(name, ""),
                }
            )
        return rows


_CASES = []


def published(title, source, misses=None, **printed):
    """Register a function as the computation of a published result.

    Parameters
    ----------
    title : str
        Which model, on which data.
    source : str
        Key of the work in ``docs/references.bib``.
    misses : dict of str to str, optional
        Names of numbers that do not come out, with the reason.
    **printed : str
        The numbers as they were printed, e.g. ``alpha="0.704"``. Names with spaces: ``**{"year 12": "0.17"}``.
    """

    def register(compute):
        module = compute.__module__.rpartition(".")[2]
        _CASES.append(Case(module, title, source, printed, compute, misses or {}))
        return compute

    return register


def table(module=None):
    """Ours beside theirs, for every published number.

    Parameters
    ----------
    module : str, optional
        Only the cases of one concept, such as ``"retention"``.

    Returns
    -------
    pandas.DataFrame
        ``module``, ``case``, ``quantity``, ``ours``, ``theirs`` (as printed), ``difference``, ``tolerance`` (half a unit
        of the last printed digit), ``source``, ``verdict`` ("reproduced" or "missed"), ``reason`` (of a miss).

    Raises
    ------
    ValueError
        If there is no case of that concept.

    Examples
    --------
    >>> from crmlab import replications
    >>> found = replications.table("retention").set_index(["case", "quantity"])
    >>> found.loc[("sBG, segment Regular, years 0-7", "alpha"), ["theirs", "verdict"]].tolist()
    ['0.704', 'reproduced']
    """
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    if module is not None and module not in names:
        raise ValueError(f"module= is one of {', '.join(map(repr, names))}; got {module!r}.")
    for name in names:
        importlib.import_module(f"{__name__}.{name}")
    cases = [case for name in names for case in _CASES if case.module == name and module in (None, name)]
    return pd.DataFrame([row for case in cases for row in case.rows()])


def badge(found=None):
    """The line of the README: how many published numbers come out.

    Parameters
    ----------
    found : pandas.DataFrame, optional
        What `table` returned, to spare running it again.
    """
    found = table() if found is None else found
    good = (found["verdict"] == "reproduced").sum()
    return f"**{good} of {len(found)} published numbers come out to the last printed digit**"
