"""The door of the choice models: the long table is checked, the formula becomes columns, equal situations are counted."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from crmlab.choice.likelihood import Core, shown
from crmlab.design import categories, new_columns, refuse_of_all, used_categories

__all__ = ["Long", "Design", "frame", "present", "complete", "shown"]


def frame(data):
    """Refuse what is no DataFrame with rows."""
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"the choices come as a pandas DataFrame, one row an alternative; got {type(data).__name__}.")
    if not len(data):
        raise ValueError("the table of choices has no rows.")


def present(data, names):
    """Refuse columns that are not there."""
    missing = [name for name in names if name not in data]
    if missing:
        raise ValueError(
            f"no column is named {', '.join(map(repr, missing))}; there are: {', '.join(map(str, data.columns))}."
        )


def complete(data, names):
    """Refuse missing values."""
    for name in names:
        missing = data[name].isna().to_numpy()
        if missing.any():
            raise ValueError(
                f"column {name!r}: {missing.sum()} of {len(data)} rows are missing (rows {shown(data.index[missing])}). "
                "Fill them in, or leave out the whole occasion: a choice set without one of its alternatives is another choice."
            )


class Long:
    """The long table behind the door: checked, its rows by occasion and alternative."""

    def __init__(self, data, occasion, alternative, chosen, weights, cluster, counts, choice_sets):
        frame(data)
        columns = [name for name in (weights, cluster, counts) if isinstance(name, str)]
        present(data, [occasion, alternative, chosen, *columns])
        complete(data, [occasion, alternative, chosen, *columns])
        self.data, self.occasion_name, self.alternative_name = data, occasion, alternative
        codes, self.occasions = pd.factorize(data[occasion])
        kinds = data[alternative]
        if isinstance(kinds.dtype, pd.CategoricalDtype):
            kinds = kinds.cat.remove_unused_categories()
        else:
            kinds = kinds.astype("category")
        self.labels = kinds.cat.categories
        if len(self.labels) < 2:
            raise ValueError(
                f"column {alternative!r} has one alternative only, {self.labels[0]!r}: there is no choice."
            )
        kind = kinds.cat.codes.to_numpy().astype(np.int64)
        key = codes * len(self.labels) + kind
        self.order = np.argsort(key, kind="stable")
        self.code, self.kind = codes[self.order], kind[self.order]
        twice = np.diff(key[self.order], prepend=-1) == 0
        self._refuse(
            twice,
            "have an alternative twice",
            "An occasion has one row for each alternative: give every occasion an id of its own",
        )
        self.start = np.flatnonzero(np.diff(self.code, prepend=-1))
        self.size = np.diff(np.append(self.start, len(self.code)))
        took = self._zero_one(data[chosen], chosen)[self.order]
        picks = np.add.reduceat(took, self.start)
        self._refuse(
            picks[self.code] == 0,
            f"have no choice (no 1 in {chosen!r})",
            "If nothing was taken, add a row for it, such as an alternative 'none'",
        )
        self._refuse(
            picks[self.code] > 1,
            f"have two choices or more (several 1s in {chosen!r})",
            "One alternative is taken on an occasion: split it into several",
        )
        self._refuse(
            self.size[self.code] < 2, "have one alternative only", "There is no choice in them: leave them out"
        )
        if choice_sets == "same" and (self.size < len(self.labels)).any():
            first = np.flatnonzero(self.size < len(self.labels))[0]
            lacks = self.labels[np.setdiff1d(np.arange(len(self.labels)), self.kind[self.code == first])]
            self._refuse(
                (self.size < len(self.labels))[self.code],
                "lack an alternative that others have",
                f"Occasion {self.occasions[first]} lacks {shown(lacks)}. Restore the row, or, if it was not on offer, say choice_sets='varying'",
            )
        self.chosen = np.flatnonzero(took)  # one an occasion, in their order
        self.copies = self._constant(counts, "counts")
        if (broken := self.copies % 1 != 0).any():
            raise ValueError(
                f"counts={counts!r}: {broken.sum()} of {len(self.copies)} occasions ({shown(self.occasions[broken])}) have fractions ({shown(self.copies[broken])}). "
                "Counts are whole numbers of equal occasions; sampling weights go under weights=."
            )
        self.weight = self._sampling(weights)
        self.cluster = None
        if cluster is not None:
            who, _ = pd.factorize(data[cluster])
            self.cluster = self._same_within(who[self.order], cluster)
            if counts is not None:
                least, most = (np.full(self.cluster.max() + 1, fill) for fill in (np.inf, -np.inf))
                np.minimum.at(least, self.cluster, self.copies)
                np.maximum.at(most, self.cluster, self.copies)
                if (least < most).any():
                    raise ValueError(
                        f"counts= differs within {np.sum(least < most)} choosers of {cluster!r}: with cluster= it counts choosers with the same history, "
                        "so it is one number for all occasions of a chooser."
                    )

    def _refuse(self, wrong, what, fix):
        if wrong.any():
            names = self.occasions[np.unique(self.code[wrong])]
            raise ValueError(
                f"{len(names)} of {len(self.occasions)} occasions ({self.occasion_name}: {shown(names)}) {what}. {fix}."
            )

    def _zero_one(self, column, name):
        if column.dtype == bool or (pd.api.types.is_numeric_dtype(column) and column.isin([0, 1]).all()):
            return column.to_numpy().astype(float)
        others = column[~column.isin([0, 1])]
        raise ValueError(
            f"column {name!r} says by 1 and 0 (or True and False) whether the row was chosen; {len(others)} rows have something else ({shown(others)})."
        )

    def _same_within(self, values, name):
        first = values[self.start]
        self._refuse(
            values != first[self.code],
            f"have several values of {name!r}",
            "It belongs to the occasion and is the same for all of its alternatives",
        )
        return first

    def _constant(self, name, argument):
        if name is None:
            return np.ones(len(self.start))
        column = self.data[name]
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(f"{argument}={name!r} is a column of numbers; it holds {column.dtype}.")
        values = self._same_within(column.to_numpy(dtype=float)[self.order], name)
        bad = ~np.isfinite(values) | (values <= 0)
        if bad.any():
            raise ValueError(
                f"{argument}={name!r}: {bad.sum()} of {len(values)} occasions ({shown(self.occasions[bad])}) have values that are not above 0 or not finite."
            )
        return values

    def _sampling(self, weights):
        if weights is None:
            return np.ones(len(self.start))
        if isinstance(weights, str):
            values = self._constant(weights, "weights")
        else:
            values = self._choice_based(dict(weights))
        return values / (np.sum(values * self.copies) / self.copies.sum())

    def _choice_based(self, shares):
        if set(shares) != set(self.labels):
            raise ValueError(
                f"weights= gives the population share of every alternative ({', '.join(map(str, self.labels))}); got {', '.join(map(str, shares))}."
            )
        population = np.array([shares[label] for label in self.labels], dtype=float)
        if not (population > 0).all() or abs(population.sum() - 1) > 0.005:
            raise ValueError(
                f"weights= are shares of the population, above 0, that sum to 1; these sum to {population.sum():g}."
            )
        sample = np.bincount(self.kind[self.chosen], self.copies, len(self.labels)) / self.copies.sum()
        if (sample == 0).any():
            raise ValueError(
                f"nobody in the sample chose {shown(self.labels[sample == 0])}: no weight makes up for that. Leave the alternative out of the data."
            )
        return (population / sample)[self.kind[self.chosen]]

    def count(self, matrix, names):
        """Count the distinct choice situations: a `Core`."""
        # An integer for every distinct row, exactly; then for every distinct sequence of rows in an occasion.
        row = self.kind
        for column in matrix.T:
            row = _pair(row, pd.factorize(column)[0])
        situation = np.zeros(len(self.start), dtype=np.int64)
        for place in range(self.size.max()):
            has = self.size > place
            part = np.full(len(self.start), -1)
            part[has] = row[self.start[has] + place]
            situation = _pair(situation, part + 1)
        _, first = np.unique(situation, return_index=True)
        sizes = self.size[first]
        start = np.append(0, np.cumsum(sizes)[:-1])
        rows = np.repeat(self.start[first] - start, sizes) + np.arange(sizes.sum())
        rank = np.empty(first.size, dtype=np.int64)
        rank[situation[first]] = np.arange(first.size)
        cell = start[rank[situation]] + self.chosen - self.start
        # What is resampled, and whose scores are independent: choosers, or occasions, of which equal ones are counted.
        if self.cluster is None:
            key = pd.DataFrame({"cell": cell, "weight": self.weight})
            unit = key.groupby(["cell", "weight"], sort=True).ngroup().to_numpy()
            copies = np.bincount(unit, self.copies)
            once = np.unique(unit, return_index=True)[1]
            triples = self.weight[once], unit[once], cell[once]
        else:
            unit = self.cluster
            copies = np.empty(unit.max() + 1)
            copies[unit] = self.copies
            triples = self.weight, unit, cell
        units = sparse.csr_array((triples[0], (triples[1], triples[2])), shape=(len(copies), len(rows)))
        return Core(
            x=np.ascontiguousarray(matrix[rows]),
            start=start,
            alternative=self.kind[rows],
            labels=list(self.labels),
            units=units,
            copies=copies,
            copies_of_occasions=self.copies.sum(),
            names=names,
            occasions=self.occasions[first],
        )


def _pair(a, b):
    """An integer for each distinct pair."""
    if len(b) and b.max() <= 0 and (b == b[0]).all():
        return a
    return pd.factorize(a * (int(b.max()) + 1) + b)[0]


@dataclass(frozen=True, eq=False)
class Design:
    """The formula's columns, and how to make them for other rows."""

    columns: pd.Index
    matrix: np.ndarray
    absorbed: tuple
    variables: tuple
    spec: object
    keep: tuple
    levels: dict

    @classmethod
    def of(cls, formula, long):
        """The design of the rows of the fit; refuses what does not differ between alternatives."""
        import formulaic  # here, since it takes a while to import

        if not isinstance(formula, str) or "~" in formula:
            raise ValueError(
                f"formula= is the right-hand side of a utility, such as 'price + C(brand)'; got {formula!r}."
            )
        try:
            parsed = formulaic.Formula(formula)
        except formulaic.errors.FormulaicError as error:
            raise ValueError(f"formula= {formula!r} cannot be read: {str(error).splitlines()[0]}") from None
        refuse_of_all(formula, parsed)
        data = long.data
        variables = tuple(sorted(parsed.required_variables))
        present(data, variables)
        complete(data, variables)
        for name in variables:
            if pd.api.types.is_numeric_dtype(data[name]) and not np.isfinite(data[name].to_numpy(dtype=float)).all():
                raise ValueError(f"column {name!r} has infinite values: no utility can be computed from them.")
        data = used_categories(data, variables)
        made = parsed.get_model_matrix(data, na_action="raise", output="pandas")
        spec = made.model_spec
        matrix = made.to_numpy(dtype=float)[long.order]
        if not np.isfinite(matrix).all():
            wrong = made.columns[~np.isfinite(matrix).all(axis=0)]
            raise ValueError(
                f"the formula gives values that are not finite in {shown(wrong)}: look for a logarithm of 0."
            )
        varies = (matrix != np.repeat(matrix[long.start], long.size, axis=0)).any(axis=0)
        absorbed = []
        factors = {term: set(map(str, term.factors)) for term in spec.terms}
        for term, place in spec.term_indices.items():
            still = [i for i in place if not varies[i]]
            if not still:
                continue
            inside = any(factors[term] < other for other in factors.values())
            if str(term) != "1" and not inside:
                what = shown(made.columns[still])
                raise ValueError(
                    f"{what} is the same for all alternatives in each of the {len(long.start)} occasions ({long.occasion_name}: {shown(long.occasions)}): "
                    f"it cannot tell why one was chosen. Leave it out, or, if it belongs to the chooser, let it interact: C({long.alternative_name}) * {term}."
                )
            absorbed.append(str(term))
        keep = tuple(int(i) for i in np.flatnonzero(varies))
        if not keep:
            raise ValueError(f"formula= {formula!r} has no attribute that differs between alternatives.")
        names = [made.columns[i] for i in keep]
        tidy = [re.sub(r"C\((\w+)(?:, [^\]]*)?\)\[(?:T\.)?([^\]]*)\]", r"\1[\2]", name) for name in names]
        names = tidy if len(set(tidy)) == len(names) else names
        levels = categories(spec, variables, data)
        return cls(pd.Index(names), matrix[:, keep], tuple(absorbed), variables, spec, keep, levels)

    def apply(self, data):
        """The columns for other rows of the same kind."""
        present(data, self.variables)
        complete(data, self.variables)
        return new_columns(self.spec, data, self.levels).to_numpy(dtype=float)[:, self.keep]
