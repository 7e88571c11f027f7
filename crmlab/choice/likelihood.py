"""The likelihood of choices in distinct situations: its maximum, its derivatives, what has no maximum."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, sparse

__all__ = ["Core", "small_sample", "shown"]


def small_sample(units):
    """The factor G / (G - 1) of robust covariances; nothing can be said of one unit."""
    return units / (units - 1) if units > 1 else np.nan


def shown(values, most=3):
    """The first few distinct values, for messages."""
    unique = pd.unique(pd.Series(values))
    return ", ".join(map(str, unique[:most])) + (", ..." if len(unique) > most else "")


def _times(value):
    return "" if np.isclose(value, 1) else f"{value:.4g} "


@dataclass(frozen=True, eq=False)
class Core:
    """Counts of choices in distinct situations; a cell is an alternative of a situation.

    Rows of `units` are choosers (or distinct occasions), `copies` how many there are of each; its entries are the
    weights of their choices by cell.
    """

    x: np.ndarray
    start: np.ndarray
    alternative: np.ndarray
    labels: list
    units: sparse.csr_array
    copies: np.ndarray
    copies_of_occasions: float
    names: list
    occasions: object

    def __post_init__(self):
        object.__setattr__(self, "sizes", np.diff(np.append(self.start, len(self.x))))
        self._set_chosen(self.copies @ self.units)

    def _set_chosen(self, chosen):
        object.__setattr__(self, "chosen", np.asarray(chosen, dtype=float))
        object.__setattr__(self, "totals", np.add.reduceat(self.chosen, self.start))

    def resampled(self, rng):
        """The same cells with the choices of choosers drawn anew."""
        size = int(round(self.copies.sum()))
        drawn = rng.multinomial(size, self.copies / self.copies.sum())
        other = object.__new__(Core)
        other.__dict__.update(self.__dict__)
        other._set_chosen(drawn @ self.units)
        return other

    def without(self, drop):
        """The core without an alternative and the choices of it, and the coefficients of both that can be compared.

        Returns
        -------
        Core
        numpy.ndarray
            A row for each column that is left: which combination of all coefficients it stands for. Without the alternative that is the
            reference of the constants, for example, one constant follows from the others, and their differences are left.
        """
        code = self.labels.index(drop)
        stay = self.alternative != code
        sizes = np.add.reduceat(stay.astype(int), self.start)
        stay &= np.repeat(sizes > 1, self.sizes)
        sizes = sizes[sizes > 1]
        if not len(sizes):
            raise ValueError(f"without {drop!r} no occasion has two alternatives left.")
        units = self.units[:, np.flatnonzero(stay)]
        start = np.append(0, np.cumsum(sizes)[:-1])
        occasions = float(self.copies @ (units > 0).sum(axis=1))
        parts = (start, self.alternative[stay], self.labels, units, self.copies, occasions)
        rest = Core(self.x[stay], *parts, self.names, self.occasions)
        information = rest.information(np.zeros(len(self.names)))
        scale = np.sqrt(np.diag(self.information(np.zeros(len(self.names)))))
        information /= np.outer(scale, scale)
        kept = []
        for column in range(len(self.names)):
            trial = information[np.ix_([*kept, column], [*kept, column])]
            if np.linalg.eigvalsh(trial)[0] > 1e-10:
                kept.append(column)
        # What the others are, within occasions, in terms of those that are kept.
        combination = np.linalg.solve(information[np.ix_(kept, kept)], information[kept]) * (
            scale / scale[kept][:, None]
        )
        combination[np.abs(combination) < 1e-9] = 0
        names = []
        for row, column in zip(combination, kept):
            others = [(value, self.names[i]) for i, value in enumerate(row) if value and i not in kept]
            names.append(
                self.names[column] + "".join(f" {'-' if v < 0 else '+'} {_times(abs(v))}{n}" for v, n in others)
            )
        return Core(np.ascontiguousarray(rest.x[:, kept]), *parts, names, self.occasions), combination

    def probability(self, params):
        """Of every cell."""
        value = self.x @ params
        value = np.exp(value - np.repeat(np.maximum.reduceat(value, self.start), self.sizes))
        return value / np.repeat(np.add.reduceat(value, self.start), self.sizes)

    def loglik(self, params):
        """Of the choices, weighted."""
        value = self.x @ params
        top = np.maximum.reduceat(value, self.start)
        logsum = top + np.log(np.add.reduceat(np.exp(value - np.repeat(top, self.sizes)), self.start))
        return float(self.chosen @ value - self.totals @ logsum)

    def _derivatives(self, params):
        p = self.probability(params)
        weight = p * np.repeat(self.totals, self.sizes)
        mean = np.add.reduceat(p[:, None] * self.x, self.start)
        gradient = (self.chosen - weight) @ self.x
        centred = self.x - np.repeat(mean, self.sizes, axis=0)
        return gradient, (centred * weight[:, None]).T @ centred

    def information(self, params):
        """Minus the Hessian."""
        return self._derivatives(params)[1]

    def scores(self, params):
        """The gradient of one copy of each unit."""
        p = self.probability(params)
        mean = np.add.reduceat(p[:, None] * self.x, self.start)
        return self.units @ (self.x - np.repeat(mean, self.sizes, axis=0))

    def sandwich(self, params, bread):
        """Covariance that allows for weights and for what a chooser's occasions share."""
        scores = self.scores(params)
        meat = (scores * self.copies[:, None]).T @ scores * small_sample(self.copies.sum())
        return bread @ meat @ bread

    def spread(self):
        """Standard deviation of each column within occasions."""
        return np.sqrt(np.diag(self._derivatives(np.zeros(self.x.shape[1]))[1]) / self.totals.sum())

    def refuse_unidentified(self):
        """Refuse columns of which one follows from the others in every situation."""
        information = self.information(np.zeros(self.x.shape[1]))
        scale = np.sqrt(np.diag(information))
        values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
        if values[0] < 1e-10 * len(values):
            part = [name for name, size in zip(self.names, np.abs(vectors[:, 0])) if size > 1e-4]
            raise ValueError(
                f"{', '.join(part)} cannot be told apart: within every occasion one follows from the others. Leave one out. "
                "(All alternatives have a constant? One is the reference: write C(...) and keep the intercept. "
                "A chooser's variable enters as C(...) * variable.)"
            )

    def maximise(self, start=None, steps=60):
        """Newton's method on a concave function: estimates, and whether the gradient vanished there."""
        scale = self.spread()
        scaled = object.__new__(Core)
        scaled.__dict__.update(self.__dict__ | {"x": self.x / scale})
        params = np.zeros(len(scale)) if start is None else start * scale
        value = scaled.loglik(params)
        converged = False
        for _ in range(steps):
            gradient, information = scaled._derivatives(params)
            try:
                step = np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                break
            decrement = gradient @ step
            factor = 1.0
            while factor > 1e-8:
                trial = scaled.loglik(params + factor * step)
                if trial >= value - 1e-12 * abs(value):
                    break
                factor /= 2
            params, value = params + factor * step, trial
            if decrement < 1e-16 * max(1.0, self.totals.sum()):
                converged = True
                break
            if np.abs(params).max() > 200:
                break
        # Separation shows in utilities that run away; only then is it worth asking.
        runs = scaled.x @ params
        far = np.max(np.maximum.reduceat(runs, self.start) - np.minimum.reduceat(runs, self.start))
        if not converged or far > 25:
            self._refuse_separation()
        return params / scale, converged

    def _refuse_separation(self):
        """A direction in which every chosen alternative is at least as good as the others, and some better: no maximum."""
        scale = self.spread()
        taken = np.flatnonzero(self.chosen > 0)
        at = np.searchsorted(self.start, taken, side="right") - 1
        size = self.sizes[at]
        first = np.repeat(self.start[at] - np.append(0, np.cumsum(size)[:-1]), size) + np.arange(size.sum())
        ahead = (np.repeat(self.x[taken], size, axis=0) - self.x[first]) / scale
        keep = np.repeat(taken, size) != first
        ahead, where = ahead[keep], np.repeat(at, size)[keep]
        total = ahead.sum(axis=0)
        found = optimize.linprog(
            -total,
            A_ub=np.vstack([-ahead, ahead]),
            b_ub=np.append(np.zeros(len(ahead)), np.ones(len(ahead))),
            bounds=(None, None),
            method="highs",
        )
        if found.status != 0 or -found.fun < 1e-6:
            return
        direction = found.x
        names = [name for name, size in zip(self.names, np.abs(direction)) if size > 1e-6 * np.abs(direction).max()]
        strictly = np.unique(where[ahead @ direction > 1e-7])
        raise ValueError(
            f"separation: {', '.join(names)} {'predicts' if len(names) == 1 else 'together predict'} the choice without exception, in {len(strictly)} of {len(self.start)} "
            f"distinct occasions (such as {shown(self.occasions[strictly])}) and against none. The likelihood has no maximum: the coefficient would be infinite. "
            "Leave the attribute out, join levels, or leave out an alternative that nobody chose."
        )
