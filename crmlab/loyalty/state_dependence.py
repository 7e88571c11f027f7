"""Is there habit at all? A test on the order of purchases, which needs no model of taste."""

import itertools
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse, stats

from crmlab import style
from crmlab.choice.likelihood import Core
from crmlab.likelihood import LikelihoodResult, wald_table
from crmlab.loyalty.panels import STATE, Panel

__all__ = ["state_dependence_test", "StateDependence"]


def state_dependence_test(
    data, formula, customer="customer_id", order="purchase", alternative="brand", chosen="chosen", block=4
):
    r"""Is there habit at all? A test that holds whatever the customers' tastes are.

    A customer's history is cut into blocks of `block` purchases between two that are held. Within a block only the *order* of the
    purchases is asked about: given which brands were bought, and the purchases before and after, the probability of the order that
    was seen among all orders :math:`s` is

    .. math:: \frac{\exp\{\sum_t x_{t, y_t}'\beta + \gamma\, R(y)\}}{\sum_{s} \exp\{\sum_t x_{t, s_t}'\beta + \gamma\, R(s)\}},

    with :math:`R` the number of repeats, the two held purchases included. Tastes cancel, of whatever distribution, and so does how the
    history began: a customer who loves A buys A often, but has no reason to buy it *in a row*.

    Without habit (:math:`\gamma = 0`) this is exact. With habit it is exact where the attributes do not change within a block
    (Chamberlain 1985), nor up to the held purchase that closes it; where they do, the cancelling is not complete, and the estimate comes
    out a little too small (Honore and Kyriazidou 2000 treat the difference). Take the test from here, and the size from both ways.

    Assumes that a taste stays as it is over a history: one that drifts makes runs, and passes for habit. So does buying at one shop
    for a while.

    Parameters
    ----------
    data, formula, customer, order, alternative, chosen
        As in `fit_brand_choice`.
    block : int, default 4
        Purchases whose order is asked about, 2 to 6. More hold more information and take longer: 6 have up to 720 orders.

    Returns
    -------
    StateDependence

    Raises
    ------
    ValueError
        As `fit_brand_choice`; also if no customer has a block with two brands in it.

    References
    ----------
    G. Chamberlain (1985), Heterogeneity, omitted variable bias, and duration dependence, in J. J. Heckman and B. Singer (eds.),
    *Longitudinal Analysis of Labor Market Data*, Cambridge University Press.
    B. E. Honore and E. Kyriazidou (2000), Panel data discrete choice models with lagged dependent variables, *Econometrica*
    68(4):839-874.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> for state in (0.0, 1.0):
    ...     panel = simulate.brand_choices(200, state=state, seed=1)
    ...     test = loyalty.state_dependence_test(panel, "price + promotion")
    ...     print(state, round(test.estimate, 2), test.p_value < 0.05)
    0.0 -0.08 False
    1.0 0.85 True
    """
    if isinstance(block, bool) or not isinstance(block, (int, np.integer)) or not 2 <= block <= 6:
        raise ValueError(f"block= is a whole number of purchases from 2 to 6; got {block!r}.")
    panel = Panel(data, formula, customer, order, alternative, chosen)
    parts, sizes, owners, taken = [], [], [], []
    blocks = 0
    orders = {}
    for owner, (first, size) in enumerate(zip(panel.first, panel.size)):
        y = panel.all_y[first : first + size]
        at = 1
        while at + 2 < size:
            length = min(block, size - 1 - at)
            inside = y[at : at + length]
            blocks += 1
            key = tuple(sorted(inside))
            if key[0] != key[-1]:
                if key not in orders:
                    orders[key] = np.array(sorted(set(itertools.permutations(key))))
                ways = orders[key]
                x = panel.all_x[first + at : first + at + length][np.arange(length), ways].sum(axis=1)
                whole = np.column_stack([np.full(len(ways), y[at - 1]), ways, np.full(len(ways), y[at + length])])
                repeats = (whole[:, 1:] == whole[:, :-1]).sum(axis=1)
                parts.append(np.column_stack([x, repeats]))
                sizes.append(len(ways))
                owners.append(owner)
                taken.append(int(np.flatnonzero((ways == inside).all(axis=1))[0]))
            at += length + 1
    if not parts:
        raise ValueError(
            f"no customer has a block of purchases with two brands in it ({len(panel.size)} customers, {blocks} blocks): who always buys the same says nothing of habit."
        )
    sizes, owners = np.array(sizes), np.array(owners)
    start = np.append(0, np.cumsum(sizes)[:-1])
    who, owner = np.unique(owners, return_inverse=True)
    cells = start + np.array(taken)
    names = [*panel.names, STATE]
    rows = int(sizes.sum())
    core = Core(
        x=np.concatenate(parts).astype(float),
        start=start,
        alternative=np.zeros(rows, dtype=int),
        labels=["order"],
        units=sparse.csr_array((np.ones(len(cells)), (owner, cells)), shape=(len(who), rows)),
        copies=np.ones(len(who)),
        copies_of_occasions=float(len(cells)),
        names=names,
        occasions=np.arange(len(cells)),
    )
    core.refuse_unidentified()
    params, converged = core.maximise()
    cov = core.sandwich(params, np.linalg.inv(core.information(params)))
    without = replace(core, x=core.x[:, :-1], names=names[:-1])
    plain, found = without.maximise()
    if not (converged and found):
        warnings.warn("the maximum was not reached: do not use the test.", RuntimeWarning, stacklevel=2)
    loglik = core.loglik(params)
    return StateDependence(
        params=pd.Series(params, names),
        cov=pd.DataFrame(cov, names, names),
        loglik=loglik,
        nobs=float(len(who)),
        converged=bool(converged and found),
        statistic=max(0.0, 2 * (loglik - without.loglik(plain))),
        blocks=len(cells),
        left_out=blocks - len(cells),
        customers=len(panel.size),
    )


@dataclass(frozen=True, eq=False)
class StateDependence(LikelihoodResult):
    """The test of habit; see `state_dependence_test`.

    Attributes
    ----------
    nobs : float
        Customers with a block that says something; ``customers`` is the number of all.
    statistic : float
        Twice the gain in log-likelihood by state dependence.
    blocks, left_out : int
        Blocks used, and those with one brand only, which have one order.
    """

    statistic: float = np.nan
    blocks: int = 0
    left_out: int = 0
    customers: int = 0

    @property
    def estimate(self):
        """State dependence: what the last purchase adds to the utility of its brand."""
        return float(self.params[STATE])

    @property
    def p_value(self):
        """Of no state dependence: the likelihood ratio against chi-square with one degree of freedom."""
        return float(stats.chi2.sf(self.statistic, 1))

    def summary(self, level=0.95):
        """Coefficients with robust errors and normal intervals, indexed by ``parameter``; tastes have none, since they cancel."""
        return wald_table(self.params, np.sqrt(np.diag(self.cov)), level).rename_axis("parameter")

    def plot(self, ax=None):
        """The coefficients with their intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        return style.coefficients(self.summary(), ax, "change of utility for one unit", "attribute")
