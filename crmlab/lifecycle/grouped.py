r"""Hazards in discrete time: in each period, which customers in a phase move, and where to, from counts.

Of :math:`n_{kg}` customers of kind :math:`g` who are in the phase as period :math:`k` begins, :math:`y_{kgm}` move to :math:`m`. With
one way out the probability is :math:`p = 1 - \exp(-e^\eta)` (complementary log-log: the proportional hazards model seen in
periods), with several :math:`p_m = e^{\eta_m} / (1 + \sum_l e^{\eta_l})`; :math:`\eta_m = \alpha_{km} + x_g'\beta_m`. Every period has constants of its own, which are solved for
period by period, so that their number costs next to nothing.
"""

import numpy as np
from scipy import special

__all__ = ["GroupedPart"]

_LARGEST = 60_000_000  # numbers in the table of periods by kinds of customers by exits twice


class GroupedPart:
    """One phase: its likelihood at any coefficients, and what each stay adds to estimates. See `CoxPart` for the parameters."""

    hazards = False  # what `increments` returns are probabilities

    def __init__(self, origin, targets, design, columns, pattern, begin, end, target, count, link):
        self.origin, self.targets, self.columns, self.link = origin, list(targets), columns, link
        moved = np.isin(target, self.targets)
        self.where = np.unique(end[moved])
        periods, kinds, exits = len(self.where), len(design), len(self.targets)
        if periods * kinds * exits**2 > _LARGEST:
            raise ValueError(
                f"{kinds:,} different kinds of customers in {periods:,} periods are too many for model='grouped', which counts them: round the "
                "covariates or take wider periods (width=), or take model='cox'."
            )
        total = np.bincount(pattern, count, kinds)
        self.centre = total @ design / total.sum()
        self.design = design - self.centre
        first, last = self.span(begin, end)
        at, sign = np.concatenate([last, first - 1]), np.concatenate([count, -count])
        kept = at >= 0
        flows = np.bincount((at * kinds + np.tile(pattern, 2))[kept], sign[kept], periods * kinds)
        self.n = flows.reshape(periods, kinds)[::-1].cumsum(axis=0)[::-1]
        place = np.full(max(target.max(), max(self.targets)) + 1, -1)
        place[self.targets] = np.arange(exits)
        cell = (last[moved] * kinds + pattern[moved]) * exits + place[target[moved]]
        self.y = np.bincount(cell, count[moved], periods * kinds * exits).reshape(periods, kinds, exits)
        by_period = self.y.sum(axis=1)
        self.d = by_period.sum(axis=1)
        self.open = by_period > 0  # into which phases anybody moved in the period: else the probability is 0
        self.stays = self.d < self.n.sum(axis=1)  # whether anybody stayed
        self.free = self.open.copy()  # constants that have to be found
        one = np.argmax(self.open, axis=1)
        # Where nobody stays the exits are compared with the first of them.
        self.free[~self.stays, one[~self.stays]] = False

    def span(self, begin, end):
        """The first and last period in which a stay is at risk."""
        return np.searchsorted(self.where, begin, "right"), np.searchsorted(self.where, end, "right") - 1

    def at_risk(self):
        """Customers at risk in each period."""
        return self.n.sum(axis=1)

    def start(self):
        """Constants of the periods as if all customers were alike."""
        share = self.y.sum(axis=1) / self.n.sum(axis=1)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.where(self.stays, 1 - share.sum(axis=1), 1.0)[:, None]
            found = np.log(-np.log1p(-share)) if self.link == "cloglog" else np.log(share / rest)
        return np.where(self.free, found, 0.0)

    def _cells(self, theta, alpha):
        """Probabilities of moves, their log-likelihood, and its first two derivatives by eta, in each cell."""
        eta = alpha[:, None, :] + (self.design @ theta[self.columns].T)[None]
        if self.link == "cloglog":
            stays = self.stays[:, None]
            eta = np.clip(eta[:, :, 0], -500, 30)
            mu = np.exp(eta)
            p = -np.expm1(-mu)
            y, rest = self.y[:, :, 0], self.n - self.y[:, :, 0]
            loglik = np.where(stays, special.xlogy(y, np.maximum(p, 1e-300)) - rest * mu, 0).sum()
            up = np.where(mu < 30, mu / np.expm1(np.minimum(mu, 30)), 0)
            slope = np.where(stays, y * up - rest * mu, 0)
            bend = np.where(stays, y * up * (mu + up - 1) + rest * mu, 0)
            p = np.where(stays, p, 1.0)
            return p[:, :, None], loglik, slope[:, :, None], bend[:, :, None, None], (up, mu)
        eta = np.where(self.open[:, None, :], eta, -np.inf)
        top = np.maximum(eta.max(axis=2), np.where(self.stays, 0.0, -np.inf)[:, None])
        e = np.exp(eta - top[:, :, None])
        stay = np.exp(-top) * self.stays[:, None]
        total = e.sum(axis=2) + stay
        p = e / total[:, :, None]
        rest = self.n - self.y.sum(axis=2)
        tiny = 1e-300
        loglik = (self.y * np.log(np.maximum(p, tiny))).sum() + (rest * np.log(np.maximum(stay / total, tiny))).sum()
        slope = self.y - self.n[:, :, None] * p
        bend = -p[:, :, :, None] * p[:, :, None, :]
        exits = np.arange(p.shape[2])
        bend[:, :, exits, exits] += p
        return p, loglik, slope, self.n[:, :, None, None] * bend, None

    def _blocks(self, bend):
        """Information on the constants (A, with 1 for those that are not free), between them and the coefficients (B)."""
        exits, terms = len(self.targets), self.design.shape[1]
        a = bend.sum(axis=1) * (self.free[:, :, None] & self.free[:, None, :])
        each = np.arange(exits)
        a[:, each, each] += ~self.free
        b = np.einsum("kgmn,gp->kmnp", bend, self.design, optimize=True)
        return a, (b * self.free[:, :, None, None]).reshape(len(a), exits, exits * terms)

    def evaluate(self, theta, alpha):
        """Log-likelihood; score and information of the coefficients in each period, the constants solved for; their step and what it gains."""
        _, loglik, slope, bend, _ = self._cells(theta, alpha)
        exits, terms = len(self.targets), self.design.shape[1]
        a, b = self._blocks(bend)
        square = (self.design[:, :, None] * self.design[:, None, :]).reshape(len(self.design), -1)
        c = np.einsum("kgmn,gs->kmns", bend, square, optimize=True).reshape(len(a), exits, exits, terms, terms)
        c = c.transpose(0, 1, 3, 2, 4).reshape(len(a), exits * terms, exits * terms)
        ua = slope.sum(axis=1) * self.free
        ub = np.einsum("kgm,gp->kmp", slope, self.design, optimize=True).reshape(len(a), -1)
        solved = np.linalg.solve(a, np.concatenate([ua[:, :, None], b], axis=2))
        score = ub - np.einsum("kmq,km->kq", b, solved[:, :, 0])
        information = c - np.einsum("kmq,kmr->kqr", b, solved[:, :, 1:])

        def advance(step):
            return solved[:, :, 0] - solved[:, :, 1:] @ step[self.columns].ravel()

        self.pieces_by_time = score, information
        return loglik, score, information, advance, float((ua * solved[:, :, 0]).sum())

    def settle(self, theta, alpha):
        """Keep what predictions and errors need, at the estimates."""
        self.theta, self.alpha = theta, alpha
        self.p, _, _, bend, self.pieces = self._cells(theta, alpha)
        self.a, self.b = self._blocks(bend)

    # --- predictions ---------------------------------------------------------------------------------------------

    def increments(self, x):
        """Probability of each move in each period for a customer with these columns: (periods, exits)."""
        eta = self.alpha + (x - self.centre) @ self.theta[self.columns].T
        if self.link == "cloglog":
            return np.where(self.stays[:, None], -np.expm1(-np.exp(np.minimum(eta, 30))), 1.0)
        eta = np.where(self.open, eta, -np.inf)
        top = np.maximum(eta.max(axis=1), np.where(self.stays, 0.0, -np.inf))[:, None]
        e = np.exp(eta - top)
        return e / (e.sum(axis=1, keepdims=True) + np.exp(-top) * self.stays[:, None])

    def sensitivity(self, x, derivative):
        """How a quantity depends on the coefficients (the constants solved for) and on the constants."""
        p = self.increments(x)
        x = x - self.centre
        if self.link == "cloglog":
            with np.errstate(divide="ignore", invalid="ignore"):
                turn = np.where(p < 1, -(1 - p) * np.log1p(-p), 0.0)
            by_eta = derivative * turn[:, :, None]
        else:
            by_eta = p[:, :, None] * (derivative - np.einsum("km,kml->kl", p, derivative)[:, None])
        noise = by_eta * self.free[:, :, None]
        direct = np.einsum("kml,p->mpl", by_eta, x)
        through = np.einsum("kmq,kml->ql", self.b, np.linalg.solve(self.a, noise)).reshape(direct.shape)
        return direct - through, noise

    def noise_variance(self, noise):
        """Variance of a quantity that is so sensitive to the constants, the coefficients apart."""
        return np.einsum("kml,kml->l", noise, np.linalg.solve(self.a, noise))

    def influence(self, pattern, begin, end, target, weights, noise=None):
        """What a stay of each row adds to quantities: `weights` (exits, terms, quantities) apply to its efficient score."""
        first, last = self.span(begin, end)
        exits, terms, quantities = weights.shape
        right = -np.einsum("kmq,ql->kml", self.b, weights.reshape(exits * terms, quantities))
        constant = np.linalg.solve(self.a, right if noise is None else right + noise) * self.free[:, :, None]
        stop = np.maximum(last + 1, first)
        moved = np.isin(target, self.targets)
        place = np.full(max(target.max(initial=0), max(self.targets)) + 1, -1)
        place[self.targets] = np.arange(exits)
        found = np.zeros((len(pattern), quantities))
        cloglog = self.link == "cloglog"
        drift = self.pieces[1][:, :, None] * self.stays[:, None, None] if cloglog else self.p
        # Sums over periods of what is expected: that of the constants, and how often each exit, by kind of customer.
        zero = np.zeros((1, len(self.design)))
        for m in range(exits):
            often = np.concatenate([zero, drift[:, :, m].cumsum(axis=0)])
            expected = often[stop, pattern] - often[first, pattern]
            xw = self.design @ weights[m]
            found -= expected[:, None] * xw[pattern]
            for column in range(quantities):
                steps = drift[:, :, m] * constant[:, m, column][:, None]
                so_far = np.concatenate([zero, steps.cumsum(axis=0)])
                found[:, column] -= so_far[stop, pattern] - so_far[first, pattern]
            mine = np.flatnonzero(moved)[place[target[moved]] == m]
            k, g = last[mine], pattern[mine]
            much = (sum(self.pieces)[k, g] * self.stays[k])[:, None] if cloglog else 1.0
            found[mine] += much * (xw[g] + constant[k, m])
        return found
