"""Generated surveys: satisfaction and loyalty with known curves, known error of measurement and known consequences."""

import numpy as np
import pandas as pd
from scipy import special

__all__ = ["satisfaction_survey", "satisfaction_panel", "SATISFACTION_SURVEY", "SATISFACTION_PANEL"]

# The truth behind the five markets. A customer with r rivals to go to and true satisfaction s has on average the loyalty
#   level + level_a_rival r + (slope + slope_a_rival r) (s - centre) + bend_a_rival r (s - threshold)+
SATISFACTION_SURVEY = {
    "markets": {"telephone": 0.0, "airlines": 2.5, "hospitals": 5.0, "computers": 7.5, "cars": 9.0},
    "level": 72.0,
    "level_a_rival": -4.0,
    "slope": 0.02,
    "slope_a_rival": 0.03,
    "bend_a_rival": 0.14,
    "centre": 50.0,
    "threshold": 68.0,
    "scatter": 8.0,
    "satisfaction_mean": 62.0,
    "satisfaction_sd": 14.0,
    "error_sd": 7.0,
}

# The truth behind the panel: satisfaction answers the gap, buying again answers more than satisfaction.
SATISFACTION_PANEL = {
    "score": 70.0,
    "penalty": 6.0,
    "reward": 2.0,
    "score_scatter": 8.0,
    "satisfaction_cuts": (45.0, 57.0, 68.0, 80.0),
    "rival_nearby": 0.4,
    "repurchase": {
        "constant": 0.9,
        "satisfaction": 0.45,
        "quality": 0.10,
        "price": 0.35,
        "service": 0.50,
        "ease": 0.25,
        "rival_nearby": -1.6,
    },
    "intention_rival_nearby": -0.4,
    "intention_cuts": (-3.0, -1.6, -0.4, 0.9),
    "answering_again": {"constant": -0.4, "repurchased": 1.6, "satisfaction": 0.2},
}


def satisfaction_survey(customers=400, error_sd=SATISFACTION_SURVEY["error_sd"], seed=None):
    r"""A survey in five markets, from a monopoly to keen competition, with a known curve in each.

    Satisfaction has the same distribution in all markets. A customer with :math:`r` rivals to go to (binomial of 10 around
    the market's mean) and true satisfaction :math:`s` has the loyalty

    .. math:: 72 - 4 r + (0.02 + 0.03 r)(s - 50) + 0.14 r\,(s - 68)_+ + \text{scatter},

    so that the mean curve of a market is the same with its mean number of rivals. What is asked is not the truth: each
    answer is the true satisfaction with an error of its own, and the question is asked twice.

    Parameters
    ----------
    customers : int, default 400
        In each market.
    error_sd : float, default 7
        Standard deviation of the error of each answer; the truth has 14, so the reliability is
        :math:`14^2 / (14^2 + 7^2) = 0.8`.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``market``, ``rivals`` (0 to 10), ``satisfaction`` and ``satisfaction_again`` (the two answers, 0 to
        100), ``satisfaction_true`` (what nobody sees), ``loyalty`` (stated, 0 to 100). The true parameters are
        ``simulate.SATISFACTION_SURVEY``.

    Examples
    --------
    >>> from crmlab import simulate
    >>> survey = simulate.satisfaction_survey(seed=1)
    >>> survey.groupby("market", observed=True)["loyalty"].mean().round(0).to_dict()
    {'telephone': 72.0, 'airlines': 65.0, 'hospitals': 55.0, 'computers': 48.0, 'cars': 44.0}
    """
    if customers < 1:
        raise ValueError(f"customers= is the number in each market, 1 or more; got {customers!r}.")
    rng = np.random.default_rng(seed)
    truth = SATISFACTION_SURVEY
    low, wide = 15.0, 75.0  # true satisfaction lies between 15 and 90, so that answers hardly ever leave the scale
    mean = (truth["satisfaction_mean"] - low) / wide
    size = mean * (1 - mean) / (truth["satisfaction_sd"] / wide) ** 2 - 1
    n = customers * len(truth["markets"])
    market = np.repeat(list(truth["markets"]), customers)
    rivals = rng.binomial(10, np.repeat([k / 10 for k in truth["markets"].values()], customers))
    s = low + wide * rng.beta(mean * size, (1 - mean) * size, n)
    loyalty = _true_loyalty(s, rivals) + truth["scatter"] * rng.standard_normal(n)
    answers = s[:, None] + error_sd * rng.standard_normal((n, 2))
    return pd.DataFrame(
        {
            "customer_id": [f"s{i:05d}" for i in range(n)],
            "market": pd.Categorical(market, list(truth["markets"])),
            "rivals": rivals,
            "satisfaction": np.clip(np.rint(answers[:, 0]), 0, 100).astype(int),
            "satisfaction_again": np.clip(np.rint(answers[:, 1]), 0, 100).astype(int),
            "satisfaction_true": s.round(2),
            "loyalty": np.clip(np.rint(loyalty), 0, 100).astype(int),
        }
    )


def _true_loyalty(s, rivals):
    truth = SATISFACTION_SURVEY
    line = truth["level"] + truth["level_a_rival"] * rivals
    line = line + (truth["slope"] + truth["slope_a_rival"] * rivals) * (s - truth["centre"])
    return line + truth["bend_a_rival"] * rivals * np.maximum(s - truth["threshold"], 0)


def satisfaction_panel(customers=3000, change=None, seed=None):
    r"""Customers of one firm, asked once, and followed: who buys again, who answers again.

    Each rates expectation (before) and performance (1 to 10), quality, price, service and ease (1 to 5, higher is better for
    the customer: a fair price, little effort). The satisfaction score is :math:`70 + 6 \min(g, 0) + 2 \max(g, 0)` with scatter,
    :math:`g` being performance less expectation; cut at 45, 57, 68 and 80 it gives the rating 1 to 5. Within a year the
    customer buys again with the log odds

    .. math:: 0.9 + 0.45\,(\text{satisfaction} - 3) + 0.10\,(\text{quality} - 3) + 0.35\,(\text{price} - 3)
              + 0.50\,(\text{service} - 3) + 0.25\,(\text{ease} - 3) - 1.6\,\text{rival nearby}.

    The stated intention (1 to 5) comes from the same wish, but hardly sees the rival. A year later all are asked again; those
    who have left answer less often.

    Parameters
    ----------
    customers : int, default 3000
    change : dict, optional
        What the firm does between the questionnaire and the purchase, such as ``{"service": 1}``: ratings move by so much
        (within 1 to 5) for the purchase, while the answers stand as given. With the same seed, the same customers with the
        same luck: the difference in ``repurchased`` is the true effect.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``rival_nearby``, ``expectation``, ``performance``, ``quality``, ``price``, ``service``, ``ease``, ``score``,
        ``satisfaction``, ``intention``, ``repurchased``, ``answered_again``, ``satisfaction_again`` (missing for those who did
        not answer). The true parameters are ``simulate.SATISFACTION_PANEL``.

    Examples
    --------
    >>> from crmlab import simulate
    >>> panel = simulate.satisfaction_panel(seed=1)
    >>> panel.groupby("intention")["repurchased"].mean().round(2).to_dict()
    {1: 0.51, 2: 0.5, 3: 0.59, 4: 0.66, 5: 0.75}
    """
    change = dict(change or {})
    truth = SATISFACTION_PANEL
    attributes = ("quality", "price", "service", "ease")
    if customers < 1:
        raise ValueError(f"customers= is a number of customers, 1 or more; got {customers!r}.")
    if strange := [name for name in change if name not in attributes]:
        raise ValueError(f"change= moves {', '.join(attributes)}; got {strange[0]!r}.")
    rng = np.random.default_rng(seed)
    n = customers
    rival = rng.uniform(size=n) < truth["rival_nearby"]
    halo = rng.standard_normal(n)
    ratings = {
        name: np.clip(np.rint(middle + 0.45 * halo + 0.85 * rng.standard_normal(n)), 1, 5).astype(int)
        for name, middle in zip(attributes, (3.9, 3.2, 3.3, 3.4))
    }
    expectation = np.clip(np.rint(6.5 + 1.2 * rng.standard_normal(n)), 1, 10).astype(int)
    pull = 0.9 * (ratings["quality"] - 3.9) + 0.3 * (ratings["service"] - 3.3)
    performance = np.clip(np.rint(6.8 + pull + 0.9 * rng.standard_normal(n)), 1, 10).astype(int)
    gap = performance - expectation
    score = truth["score"] + truth["penalty"] * np.minimum(gap, 0) + truth["reward"] * np.maximum(gap, 0)
    score = score + truth["score_scatter"] * rng.standard_normal(n)
    satisfaction = 1 + np.searchsorted(truth["satisfaction_cuts"], score)
    weight = truth["repurchase"]
    wish = weight["constant"] + weight["satisfaction"] * (satisfaction - 3)
    later = wish + weight["rival_nearby"] * rival
    for name in attributes:
        wish = wish + weight[name] * (ratings[name] - 3)
        later = later + weight[name] * (np.clip(ratings[name] + change.get(name, 0), 1, 5) - 3)
    stated = wish + truth["intention_rival_nearby"] * rival - 1.0 + rng.logistic(size=n)
    intention = 1 + np.searchsorted(truth["intention_cuts"], stated)
    repurchased = rng.uniform(size=n) < special.expit(later)
    again = truth["answering_again"]
    answers = again["constant"] + again["repurchased"] * repurchased + again["satisfaction"] * (satisfaction - 3)
    answered = rng.uniform(size=n) < special.expit(answers)
    second = 1 + np.searchsorted(truth["satisfaction_cuts"], score + 4.0 * rng.standard_normal(n))
    return pd.DataFrame(
        {
            "customer_id": [f"p{i:05d}" for i in range(n)],
            "rival_nearby": rival,
            "expectation": expectation,
            "performance": performance,
            **ratings,
            "score": score.round(1),
            "satisfaction": satisfaction,
            "intention": intention,
            "repurchased": repurchased.astype(int),
            "answered_again": answered,
            "satisfaction_again": pd.Series(second).where(answered).astype("Int64"),
        }
    )
