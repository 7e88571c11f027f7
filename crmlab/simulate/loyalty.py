"""Generated customers of known loyalty type: what they answer, where they buy, and who stays after a shock."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from crmlab.arguments import one_of, whole_number

__all__ = ["loyalty_panel", "loyalty_posterior", "brand_choices", "LoyaltyPanel", "LOYALTY"]

# The truth behind `loyalty_panel`. Rows of the tables are in the order of `types`, columns in that of `scales` or `suppliers`.
LOYALTY = {
    "types": ("monopoly", "kinship", "benefit", "inertia", "trust", "none"),
    "shares": {
        "country": (0.26, 0.10, 0.12, 0.24, 0.18, 0.10),
        "city": (0.06, 0.10, 0.26, 0.24, 0.22, 0.12),
    },
    "scales": ("alternatives", "ties", "price_sensitivity", "switching_effort", "satisfaction", "trust", "attitude"),
    "means": (
        (1.8, 2.0, 4.0, 5.0, 3.6, 3.5, 3.6),
        (4.9, 6.1, 3.5, 3.5, 4.8, 4.9, 4.9),
        (5.4, 1.9, 6.0, 2.7, 4.6, 3.6, 4.0),
        (4.7, 2.1, 3.6, 5.6, 4.3, 3.8, 3.9),
        (4.9, 2.5, 3.0, 3.6, 5.9, 6.0, 5.9),
        (5.6, 1.8, 4.5, 2.4, 3.6, 2.9, 3.0),
    ),
    "between_sd": 0.8,  # of customers of one type, on every scale
    "error_sd": 0.9,  # of an item around the customer's own standing
    "items": 2,  # a scale
    "suppliers": ("ours", "east", "west"),
    # Utility of a purchase: taste for ours (that for the others is 0), a euro of price, a promotion, the supplier of last time.
    "taste": (5.0, 2.2, 0.4, 0.5, 1.8, 0.0),
    "price": (-0.1, -0.2, -0.8, -0.2, -0.2, -0.4),
    "promotion": (0.1, 0.2, 1.5, 0.2, 0.2, 0.5),
    "state": (0.0, 0.2, 0.0, 1.8, 0.3, 0.0),
    "taste_sd": 0.6,  # of customers of one type, for ours and for east
    "buys_in_a_week": 0.5,
    "amount": 40.0,  # mean basket at the regular price, in euros
    # Hazard of leaving a month without a shock, and what a shock multiplies it by.
    "hazard": (0.010, 0.010, 0.030, 0.020, 0.012, 0.080),
    "shocks": {
        "none": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        "rival enters": (8.0, 1.2, 2.0, 3.0, 1.3, 1.5),
        "discount ends": (1.0, 1.1, 5.0, 1.2, 1.1, 1.3),
        "staff leave": (1.0, 6.0, 1.0, 1.1, 1.8, 1.0),
    },
    "margin": (22.0, 14.0, 9.0, 18.0, 24.0, 7.0),  # mean a month, in euros
}


@dataclass(frozen=True, eq=False)
class LoyaltyPanel:
    """What `loyalty_panel` generates.

    Attributes
    ----------
    customers : pandas.DataFrame
        One row a customer: ``customer_id``, ``type`` (the truth), ``area``, ``margin`` (a month), ``shock``, ``months`` (followed
        after the shock), ``left`` (whether the customer left at the end of them).
    answers : pandas.DataFrame
        One row a customer: ``customer_id`` and the items, such as ``trust_1``, each from 1 to 7.
    purchases : pandas.DataFrame
        One row a purchase before the shock: ``customer_id``, ``date``, ``week``, ``supplier``, ``amount``.
    offers : pandas.DataFrame
        One row a supplier in a week: ``week``, ``supplier``, ``price``, ``promotion``.
    """

    customers: pd.DataFrame
    answers: pd.DataFrame
    purchases: pd.DataFrame
    offers: pd.DataFrame

    def items(self):
        """The items of each scale: a dict of lists of column names."""
        return {scale: [f"{scale}_{i}" for i in range(1, LOYALTY["items"] + 1)] for scale in LOYALTY["scales"]}

    def __repr__(self):
        return f"LoyaltyPanel of {len(self.customers):,} generated customers and {len(self.purchases):,} purchases"


def loyalty_panel(customers=2000, weeks=40, follow=24, error_sd=None, seed=None):
    r"""Customers of known loyalty type: answers with error, purchases at three suppliers, and a shock.

    A customer's type depends on the area. On each scale the customer stands at the mean of the type, give or take
    :math:`\text{between\_sd}`; each item adds an error of its own, and is rounded to 1 to 7. The customer buys in half of the
    weeks, at the supplier with the largest utility

    .. math:: a_{is} + \beta\,(\text{price} - 10) + \pi\,\text{promotion} + \gamma\,1(\text{bought there last time}) + \varepsilon,

    with coefficients of the type, tastes :math:`a_{is}` of its own and Gumbel :math:`\varepsilon`. Sixteen earlier weeks are not
    shown, so that the first purchase in the log is already the child of taste and habit. Then each customer meets one of three
    shocks or none, by lot, and leaves at the hazard of the type times what the shock makes of it. The truth is in
    ``simulate.LOYALTY``.

    Parameters
    ----------
    customers : int, default 2000
    weeks : int, default 40
        Of purchases before the shock.
    follow : float, default 24
        Months that a customer is followed at most; a fifth is lost from sight earlier.
    error_sd : float, optional
        Error of an item, in points; by default that of ``LOYALTY`` (0.9).
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    LoyaltyPanel

    Examples
    --------
    >>> from crmlab import simulate
    >>> panel = simulate.loyalty_panel(500, seed=1)
    >>> panel.customers["type"].value_counts(normalize=True).round(2).head(3).to_dict()
    {'inertia': 0.24, 'benefit': 0.21, 'trust': 0.19}
    """
    whole_number("customers", customers)
    if weeks < 2:
        raise ValueError(f"weeks= are 2 or more; got {weeks!r}.")
    rng = np.random.default_rng(seed)
    truth = LOYALTY
    names = truth["types"]
    area = rng.choice(["country", "city"], customers)
    shares = np.array([truth["shares"][place] for place in area])
    kind = (rng.uniform(size=customers)[:, None] > shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    ids = [f"l{i:05d}" for i in range(customers)]

    # What they answer.
    error = truth["error_sd"] if error_sd is None else error_sd
    stands = np.array(truth["means"])[kind] + truth["between_sd"] * rng.standard_normal(
        (customers, len(truth["scales"]))
    )
    items = stands[:, :, None] + error * rng.standard_normal((*stands.shape, truth["items"]))
    items = np.clip(np.rint(items), 1, 7).astype(int)
    columns = [f"{scale}_{i}" for scale in truth["scales"] for i in range(1, truth["items"] + 1)]
    answers = pd.DataFrame(items.reshape(customers, -1), columns=columns)
    answers.insert(0, "customer_id", ids)

    # Where they buy.
    before = 16
    promotion = rng.uniform(size=(before + weeks, 3)) < 0.2
    price = 10.0 + rng.normal(0, 0.7, (before + weeks, 3)) - 1.5 * promotion
    taste = np.zeros((customers, 3))
    taste[:, 0] = np.array(truth["taste"])[kind]
    taste[:, :2] += truth["taste_sd"] * rng.standard_normal((customers, 2))
    of_type = {name: np.array(truth[name])[kind, None] for name in ("price", "promotion", "state")}
    last, log = np.full(customers, -1), []
    for week in range(before + weeks):
        utility = taste + of_type["price"] * (price[week] - 10) + of_type["promotion"] * promotion[week]
        utility = utility + of_type["state"] * (last[:, None] == np.arange(3)) + rng.gumbel(size=(customers, 3))
        buys = rng.uniform(size=customers) < truth["buys_in_a_week"]
        where = utility.argmax(axis=1)
        last = np.where(buys, where, last)
        basket = rng.gamma(4.0, truth["amount"] / 4.0, customers) * price[week, where] / 10
        day = rng.integers(0, 7, customers)
        if week >= before:
            who = np.flatnonzero(buys)
            rows = {
                "customer": who,
                "week": week - before,
                "day": day[who],
                "supplier": where[who],
                "amount": basket[who],
            }
            log.append(pd.DataFrame(rows))
    log = pd.concat(log, ignore_index=True).sort_values(["customer", "week"], ignore_index=True)
    purchases = pd.DataFrame(
        {
            "customer_id": np.array(ids, dtype=object)[log["customer"]],
            "date": pd.Timestamp("2025-01-06") + pd.to_timedelta(7 * log["week"] + log["day"], unit="D"),
            "week": log["week"],
            "supplier": pd.Categorical.from_codes(log["supplier"], truth["suppliers"]),
            "amount": log["amount"].clip(lower=0.01).round(2),
        }
    )
    offers = pd.DataFrame(
        {
            "week": np.repeat(np.arange(weeks), 3),
            "supplier": pd.Categorical(np.tile(truth["suppliers"], weeks), truth["suppliers"]),
            "price": price[before:].ravel().round(2),
            "promotion": promotion[before:].ravel().astype(int),
        }
    )

    # Who stays.
    shocks = list(truth["shocks"])
    met = rng.integers(0, len(shocks), customers)
    hazard = np.array(truth["hazard"])[kind] * np.array(list(truth["shocks"].values()))[met, kind]
    leaves = rng.exponential(1 / hazard)
    seen = np.where(rng.uniform(size=customers) < 0.2, rng.uniform(0, follow, customers), follow)
    table = pd.DataFrame(
        {
            "customer_id": ids,
            "type": pd.Categorical.from_codes(kind, names),
            "area": pd.Categorical(area, ["country", "city"]),
            "margin": (rng.gamma(4.0, np.array(truth["margin"])[kind] / 4.0)).round(2),
            "shock": pd.Categorical.from_codes(met, shocks),
            "months": np.minimum(leaves, seen).round(2).clip(0.01),
            "left": leaves <= seen,
        }
    )
    return LoyaltyPanel(table, answers, purchases, offers)


def loyalty_posterior(answers, error_sd=None):
    """The probability of each type given the answers, under the true parameters: nobody can classify better from them.

    Parameters
    ----------
    answers : pandas.DataFrame
        The ``answers`` of a `loyalty_panel`.
    error_sd : float, optional
        As given to `loyalty_panel`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``customer_id``, a column a type. The mean of the largest probability of each row is the share that the
        best classifier gets right, on average.

    Examples
    --------
    >>> from crmlab import simulate
    >>> panel = simulate.loyalty_panel(2000, seed=1)
    >>> best = simulate.loyalty_posterior(panel.answers)
    >>> truth = panel.customers.set_index("customer_id")["type"].astype(str)
    >>> print(f"expected {best.max(axis=1).mean():.2f}, reached {(best.idxmax(axis=1) == truth).mean():.2f}")
    expected 0.89, reached 0.88
    """
    truth = LOYALTY
    error = truth["error_sd"] if error_sd is None else error_sd
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    edges = np.concatenate([[-np.inf], np.arange(1.5, 7), [np.inf]])
    logp = np.zeros((len(answers), len(truth["types"])))
    prior = np.mean(list(truth["shares"].values()), axis=0)
    for k, means in enumerate(truth["means"]):
        for scale, mean in zip(truth["scales"], means):
            at = mean + truth["between_sd"] * nodes
            # Probability of each answer at each standing, then of all the items of the scale together.
            below = special.ndtr((edges[:, None] - at) / error)
            answer = np.diff(below, axis=0)
            together = np.ones((len(answers), len(nodes)))
            for i in range(1, truth["items"] + 1):
                together = together * answer[answers[f"{scale}_{i}"].to_numpy() - 1]
            logp[:, k] += np.log(np.maximum(together @ weights, 1e-300))
    logp += np.log(prior)
    posterior = special.softmax(logp, axis=1)
    return pd.DataFrame(posterior, pd.Index(answers["customer_id"], name="customer_id"), list(truth["types"]))


def brand_choices(
    customers=200, purchases=15, state=0.0, taste="normal", taste_sd=1.2, price=-1.0, promotion=0.5, seed=None
):
    r"""Brand choices of households with tastes of their own and, if asked for, a habit: one row a brand of a purchase.

    Four brands; the utility of brand :math:`j` for household :math:`i` is

    .. math:: a_{ij} + \beta\,\text{price} + \pi\,\text{promotion} + \gamma\,1(\text{bought last time}) + \varepsilon .

    Tastes :math:`a_{ij}` are normal, or two camps with one favourite brand each. Twenty earlier purchases are not shown: the first one
    that is has come about by taste and habit, as in every real panel.

    Parameters
    ----------
    customers, purchases : int
    state : float, default 0
        :math:`\gamma`: 0 is pure heterogeneity.
    taste : {"normal", "camps"}
    taste_sd : float
        Of tastes; with "camps" the favourite has three times it.
    price, promotion : float
        :math:`\beta` and :math:`\pi`; prices vary by half a euro, a promotion is there in a fifth of the weeks.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``purchase`` (0, 1, ...), ``brand``, ``chosen``, ``price``, ``promotion``. In ``.attrs`` the true ``state``,
        ``price``, ``promotion``.

    Examples
    --------
    >>> from crmlab import simulate
    >>> simulate.brand_choices(2, 3, seed=1).shape
    (24, 6)
    """
    one_of("taste", taste, ("normal", "camps"))
    rng = np.random.default_rng(seed)
    brands, before = list("ABCD"), 20
    total = purchases + before
    if taste == "normal":
        own = taste_sd * rng.standard_normal((customers, 4)) + np.array([0.8, 0.4, 0.0, 0.0])
    else:
        own = 3 * taste_sd * np.eye(4)[rng.integers(0, 2, customers)]
    promoted = rng.uniform(size=(customers, total, 4)) < 0.2
    prices = 3.0 + 0.5 * rng.standard_normal((customers, total, 4)) - 0.4 * promoted
    fixed = own[:, None] + price * (prices - 3) + promotion * promoted + rng.gumbel(size=prices.shape)
    where, last = np.zeros((customers, total), int), np.full(customers, -1)
    for t in range(total):
        last = (fixed[:, t] + state * (last[:, None] == np.arange(4))).argmax(axis=1)
        where[:, t] = last
    shape = (customers, purchases, 4)
    i, t, j = (axis.ravel() for axis in np.indices(shape))
    table = pd.DataFrame(
        {
            "customer_id": np.array([f"h{n:04d}" for n in range(customers)], dtype=object)[i],
            "purchase": t,
            "brand": pd.Categorical.from_codes(j, brands),
            "chosen": (where[:, before:, None] == np.arange(4)).ravel().astype(int),
            "price": prices[:, before:].ravel().round(3),
            "promotion": promoted[:, before:].ravel().astype(int),
        }
    )
    table.attrs |= {"state": state, "price": price, "promotion": promotion}
    return table
