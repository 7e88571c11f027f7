r"""Cox's partial likelihood of one kind of move, from counts: who is at risk, and who moves, by time and kind of customer.

Let :math:`n_{kg}` customers of kind :math:`g` be at risk at the k-th time, :math:`d_{kg}` of whom move, :math:`r_g = e^{x_g'\beta}`. With
:math:`S_k = \sum_g n_{kg} r_g` and :math:`D_k = \sum_g d_{kg} r_g` the logarithm of the partial likelihood is

.. math:: \sum_{kg} d_{kg} x_g'\beta - \sum_k \sum_{l=0}^{d_k - 1} \log(S_k - c_{kl} D_k), \qquad c_{kl} = l / d_k \text{ (Efron)}, \; 0 \text{ (Breslow)}.

Efron's inner sum has a term a move. It is a sum over a discrete uniform distribution, whose Gauss quadrature gives it to
rounding from some hundred terms, so that a million moves in a month cost no more than a thousand.
"""

import functools

import numpy as np
from scipy import linalg, sparse

__all__ = ["CoxPart", "efron_nodes"]

_DENSE = 20_000_000  # numbers in a table of times by kinds of customers
_DIRECT = 256  # so many tied moves are summed one by one


@functools.lru_cache(maxsize=4096)
def efron_nodes(moves):
    """Points c and weights w with sum_l f(l / d) = sum w f(c), l = 0, ..., d - 1, to rounding for the f of Efron's rule.

    These have their pole at or beyond c = 1. The points 0, ..., d - 1 are cut into panels that halve towards the end, so that the pole
    is never nearer than a panel is long; on each, Gauss quadrature of the discrete uniform distribution (16 nodes, error below 1e-20).
    """
    cuts = [0]
    while moves - cuts[-1] > _DIRECT:
        cuts.append(cuts[-1] + (moves - cuts[-1]) // 2)
    points, weights = [], []
    for first, last in zip(cuts, cuts[1:]):
        where, much = _discrete_gauss(last - first)
        points.append(first + where)
        weights.append(much)
    points.append(np.arange(cuts[-1], moves, dtype=float))
    weights.append(np.ones(moves - cuts[-1]))
    return np.concatenate(points) / moves, np.concatenate(weights)


def _discrete_gauss(size, nodes=16):
    """Gauss quadrature of the sum over 0, ..., size - 1, from the recurrence of the discrete Chebyshev polynomials."""
    k = np.arange(1, nodes)
    off = np.sqrt(size**2 * (1 - (k / size) ** 2) / (4 * (4 - 1 / k**2)))
    where, vectors = linalg.eigh_tridiagonal(np.full(nodes, (size - 1) / 2), off)
    return where, size * vectors[0] ** 2


class CoxPart:
    """One kind of move: its partial likelihood at any coefficients, and what each stay adds to estimates.

    Parameters
    ----------
    origin, target : int
    design : array (kinds of customers, terms)
    columns : array (1, terms)
        Where the terms stand among all coefficients of the fit.
    pattern, begin, end : array
        A row a kind of stay in the phase: kind of customer, positions of entry and exit in the grid of times.
    moved : array of bool
        Whether it ended in this move.
    count : array
        How many stays each row stands for.
    ties : {"efron", "breslow"}
    """

    hazards = True  # what `increments` returns are hazards, not probabilities

    def __init__(self, origin, target, design, columns, pattern, begin, end, moved, count, ties):
        self.origin, self.targets, self.columns = origin, [target], columns
        self.where = np.unique(end[moved])  # positions in the grid at which somebody moved
        kinds, times = len(design), len(self.where)
        total = np.bincount(pattern, count, kinds)
        self.centre = total @ design / total.sum()
        self.design = design - self.centre  # seen from the mean, so that nothing overflows
        first, last = self.span(begin, end)
        dense = kinds * times <= _DENSE
        self.moves = self._table(last[moved], pattern[moved], count[moved], (times, kinds), dense)
        self.d = np.asarray(self.moves.sum(axis=1)).ravel()
        # At risk at times first, ..., last: a change of +1 at last and -1 before first, summed from the end.
        at, sign = np.concatenate([last, first - 1]), np.concatenate([count, -count])
        kept = at >= 0
        flows = self._table(at[kept], np.tile(pattern, 2)[kept], sign[kept], (times, kinds), dense)
        self.dense = dense
        self.flows = flows[::-1].cumsum(axis=0)[::-1] if dense else flows
        if ties == "efron":
            nodes = [efron_nodes(int(round(d))) for d in self.d]
            self.node = np.repeat(np.arange(times), [len(c) for c, _ in nodes])
            self.c, self.w = (np.concatenate(part) for part in zip(*nodes))
        else:
            self.node, self.c, self.w = np.arange(times), np.zeros(times), self.d

    @staticmethod
    def _table(row, column, value, shape, dense):
        if dense:
            return np.bincount(row * shape[1] + column, value, shape[0] * shape[1]).reshape(shape)
        return sparse.csr_matrix((value, (row, column)), shape=shape)

    def span(self, begin, end):
        """The first and last time at which a stay is at risk; the first lies after the last if at none."""
        return np.searchsorted(self.where, begin, "right"), np.searchsorted(self.where, end, "right") - 1

    @functools.cached_property
    def crowded(self):
        """Whether at some time several, and more than a fifth of those at risk, moved."""
        return bool(((self.d > 1) & (self.d > 0.2 * self.at_risk())).any())

    def at_risk(self):
        """Customers at risk at each time."""
        ones = np.ones((self.design.shape[0], 1))
        return self._risk(ones)[:, 0]

    def _risk(self, values):
        found = self.flows @ values
        return found if self.dense else np.cumsum(found[::-1], axis=0)[::-1]

    def _by_time(self, values, weights):
        """Sums over the nodes of each time."""
        if values.ndim == 1:
            return np.bincount(self.node, weights * values, len(self.where))
        found = np.empty((len(self.where), values.shape[1]))
        for column in range(values.shape[1]):
            found[:, column] = np.bincount(self.node, weights * values[:, column], len(self.where))
        return found

    def start(self):
        """What the part keeps beside the coefficients between steps: nothing."""
        return None

    def evaluate(self, theta, state=None):
        """Log-likelihood, score and information at each time; the step of the part's own parameters, of which there are none."""
        beta = theta[self.columns[0]]
        terms = len(beta)
        eta = self.design @ beta
        top = eta.max(initial=0.0)
        r = np.exp(eta - top)
        upper = np.triu_indices(terms)
        columns = np.column_stack([np.ones_like(r), self.design, self.design[:, upper[0]] * self.design[:, upper[1]]])
        s = self._risk(r[:, None] * columns)
        d = np.asarray(self.moves @ (r[:, None] * columns))
        node, c, w = self.node, self.c, self.w
        den = s[node, 0] - c * d[node, 0]
        loglik = float((self.moves @ (eta - top)).sum()) - w @ np.log(den)
        inverse = 1 / den
        q0, q1 = self._by_time(inverse, w), self._by_time(inverse, w * c)
        v0, v1, v2 = (self._by_time(inverse**2, w * c**power) for power in (0, 1, 2))
        s1, d1 = s[:, 1 : 1 + terms], d[:, 1 : 1 + terms]
        score = np.asarray(self.moves @ self.design) - (s1 * q0[:, None] - d1 * q1[:, None])
        square = np.zeros((len(self.where), terms, terms))
        square[:, upper[0], upper[1]] = s[:, 1 + terms :] * q0[:, None] - d[:, 1 + terms :] * q1[:, None]
        square[:, upper[1], upper[0]] = square[:, upper[0], upper[1]]
        cross = s1[:, :, None] * d1[:, None, :]
        information = square - (
            v0[:, None, None] * s1[:, :, None] * s1[:, None, :]
            - v1[:, None, None] * (cross + cross.transpose(0, 2, 1))
            + v2[:, None, None] * d1[:, :, None] * d1[:, None, :]
        )
        self.pieces_by_time = score, information
        return loglik, score, information, lambda step: None, 0.0

    def settle(self, theta, state=None):
        """Keep what predictions and errors need, at the estimates."""
        beta = theta[self.columns[0]]
        self.risk = np.exp(self.design @ beta)
        columns = np.column_stack([np.ones_like(self.risk), self.design]) * self.risk[:, None]
        s, d = self._risk(columns), np.asarray(self.moves @ columns)
        node, c, w = self.node, self.c, self.w
        inverse = 1 / (s[node, 0] - c * d[node, 0])
        mean = (s[node, 1:] - c[:, None] * d[node, 1:]) * inverse[:, None]
        self.beta = beta
        self.h0, self.g0 = self._by_time(inverse, w), self._by_time(inverse, w * c)
        self.hx, self.gx = self._by_time(mean, w * inverse), self._by_time(mean, w * c * inverse)
        self.mean = self._by_time(mean, w) / self.d[:, None]
        self.v, self.v1 = self._by_time(inverse**2, w), self._by_time(inverse**2, w * c)

    # --- predictions ---------------------------------------------------------------------------------------------

    def increments(self, x):
        """Hazard at each time for a customer with these columns: (times, 1)."""
        return self.h0[:, None] * np.exp((x - self.centre) @ self.beta)

    def sensitivity(self, x, derivative):
        """How a quantity depends on the coefficients of the part, and on the noise of its baseline.

        `derivative` (times, 1, quantities) is that of the quantity by the increments.
        """
        x = x - self.centre
        r = np.exp(x @ self.beta)
        slope = r * (x * self.h0[:, None] - self.hx)
        return np.einsum("kl,kp->pl", derivative[:, 0], slope)[None], derivative * r

    def noise_variance(self, noise):
        """Variance of a quantity that is so sensitive to the baseline, the coefficients apart."""
        return np.einsum("kl,k->l", noise[:, 0] ** 2, self.v)

    def influence(self, pattern, begin, end, target, weights, noise=None):
        """What a stay of each row adds to quantities: `weights` (1, terms, quantities) apply to its score residual."""
        first, last = self.span(begin, end)
        moved = target == self.targets[0]
        x, r, w = self.design[pattern], self.risk[pattern], weights[0]
        zero = np.zeros((1, 1))
        h0 = np.concatenate([zero[0], self.h0.cumsum()])
        hxw = np.concatenate([np.zeros((1, w.shape[1])), (self.hx @ w).cumsum(axis=0)])
        stop = np.maximum(last + 1, first)
        xw = x @ w
        found = -r[:, None] * (xw * (h0[stop] - h0[first])[:, None] - (hxw[stop] - hxw[first]))
        k = last[moved]
        event = xw[moved] - (self.mean @ w)[k] + r[moved, None] * (xw[moved] * self.g0[k][:, None] - (self.gx @ w)[k])
        if noise is not None:
            n = noise[:, 0]
            drop = np.concatenate([np.zeros((1, n.shape[1])), (n * self.v[:, None]).cumsum(axis=0)])
            found -= r[:, None] * (drop[stop] - drop[first])
            event += n[k] * ((self.h0 / self.d)[k] + r[moved] * self.v1[k])[:, None]
        found[moved] += event
        return found
