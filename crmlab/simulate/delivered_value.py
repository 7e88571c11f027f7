"""Generated surveys and choice experiments about what customers get and give: the delivered-value lesson's data with known truth."""

import itertools

import numpy as np
import pandas as pd

__all__ = ["choice_design", "delivered_value_choices", "delivered_value_survey", "DELIVERED_VALUE"]

# The truth behind the generated bank: a branch against a rival's branch and an app.
DELIVERED_VALUE = {
    # Utility of one more unit: levels of what one gets, a dollar a month, a minute a visit (of which there is one a month), a form, a kilometre.
    "part_worths": {
        "product": 0.45,
        "service": 0.50,
        "personnel": 0.30,
        "image": 0.20,
        "money": -0.15,
        "time": -0.05,
        "energy": -0.30,
        "effort": -0.25,
    },
    # What each alternative is worth apart from that.
    "constants": {"branch": 0.0, "rival": -0.2, "app": 0.3},
    # What the experiment varies.
    "levels": {
        "product": (1, 2, 3, 4),
        "service": (1, 2, 3, 4),
        "personnel": (1, 2, 3, 4),
        "image": (1, 2, 3, 4),
        "money": (0, 4, 8, 12),
        "time": (5, 10, 20, 30),
        "energy": (1, 2, 3, 4),
        "effort": (0, 1, 2, 3),
    },
    # Two kinds of customer who differ in what they make of money and time; elsewhere the same.
    "segments": {"hurried": {"money": -0.12, "time": -0.08}, "thrifty": {"money": -0.30, "time": -0.01}},
    # What is on offer today.
    "offers": {
        "branch": {"product": 3, "service": 3, "personnel": 4, "image": 3, "money": 6, "time": 25, "energy": 2, "effort": 1},
        "rival": {"product": 3, "service": 3, "personnel": 3, "image": 3, "money": 5, "time": 15, "energy": 2, "effort": 2},
        "app": {"product": 2, "service": 2, "personnel": 1, "image": 2, "money": 0, "time": 5, "energy": 3, "effort": 0},
    },
    # The survey: mean ratings from 1 to 10 (of a cost: how much of it there is), and what weighs how much in the overall
    # judgement (derived) beside what people say (stated).
    "ratings": {
        "branch": {"product": 7.0, "service": 6.8, "personnel": 7.8, "image": 7.0, "money": 5.0, "time": 7.2, "energy": 4.5, "effort": 4.0},
        "rival": {"product": 6.8, "service": 6.6, "personnel": 6.5, "image": 6.8, "money": 4.6, "time": 5.2, "energy": 4.5, "effort": 5.0},
        "app": {"product": 6.0, "service": 5.6, "personnel": 3.5, "image": 6.0, "money": 2.0, "time": 2.5, "energy": 5.5, "effort": 2.0},
    },
    "stated": {"product": 15, "service": 15, "personnel": 10, "image": 5, "money": 30, "time": 10, "energy": 10, "effort": 5},
    "derived": {"product": 15, "service": 20, "personnel": 10, "image": 5, "money": 10, "time": 25, "energy": 10, "effort": 5},
    "prices": {"branch": 6.0, "rival": 5.0, "app": 0.0},
}  # fmt: skip

_COSTS = ("money", "time", "energy", "effort")


def choice_design(levels, alternatives, tasks, better, seed=None):
    """A balanced choice experiment in which no alternative dominates another.

    For each alternative every level of an attribute is shown equally often; which levels meet is random, and of a hundred
    shuffles the one with the smallest correlations is taken. Then levels are swapped between tasks until in no task one
    alternative is at least as good as another in everything: such a task would be answered alike by everybody and tell nothing.

    Parameters
    ----------
    levels : dict
        Attribute to its levels.
    alternatives : sequence of str
        Their names.
    tasks : int
        Number of choice tasks; a multiple of each attribute's number of levels.
    better : dict
        Attribute to 1 if more of it is better for the customer, -1 if less is.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``task`` (from 1), ``alternative`` and the attributes. ``.attrs["correlation"]`` is the largest absolute correlation between
        two attributes of differences within tasks.

    Raises
    ------
    ValueError
        If the tasks cannot show every level equally often, or dominance cannot be removed.

    Examples
    --------
    >>> from crmlab import simulate
    >>> design = simulate.choice_design(
    ...     {"price": (1, 2, 3), "speed": (1, 2, 3)}, ["a", "b"], tasks=6, better={"price": -1, "speed": 1}, seed=1)
    >>> design.groupby(["alternative", "price"]).size().tolist()
    [2, 2, 2, 2, 2, 2]
    """
    uneven = [f"{name} ({len(set(values))} levels)" for name, values in levels.items() if tasks % len(set(values))]
    if uneven or len(levels) < 2:
        raise ValueError(
            f"{tasks} tasks cannot show every level equally often: {', '.join(uneven) or 'two attributes or more are needed'}. Take a common multiple."
        )
    if set(better) != set(levels) or not set(better.values()) <= {1, -1}:
        raise ValueError("better= gives 1 (more is better) or -1 (less is better) for every attribute.")
    rng = np.random.default_rng(seed)
    names = list(levels)
    columns = [np.repeat(np.asarray(levels[name], dtype=float), tasks // len(levels[name])) for name in names]
    best = min(
        (np.stack([[rng.permutation(column) for column in columns] for _ in alternatives]) for _ in range(100)),
        key=_largest_correlation,
    )
    sign = np.array([better[name] for name in names])
    for _ in range(100 * tasks):
        bad = np.flatnonzero(_dominated(best, sign))
        if not len(bad):
            break
        # A swap keeps every level as often as it was.
        a, k, other = rng.integers(len(alternatives)), rng.integers(len(names)), rng.integers(tasks)
        pair = [rng.choice(bad), other]
        trial = best.copy()
        trial[a, k, pair] = trial[a, k, pair[::-1]]
        if _dominated(trial, sign).sum() <= len(bad):
            best = trial
    else:
        raise ValueError(
            "dominated alternatives could not be avoided: take more attributes, more levels or fewer alternatives."
        )
    table = pd.DataFrame(best.transpose(2, 0, 1).reshape(-1, len(names)), columns=names)
    if all(float(value).is_integer() for values in levels.values() for value in values):
        table = table.astype(int)
    table.insert(0, "task", np.repeat(np.arange(1, tasks + 1), len(alternatives)))
    table.insert(1, "alternative", np.tile(list(alternatives), tasks))
    table.attrs["correlation"] = _largest_correlation(best)
    return table


def _largest_correlation(design):
    centred = (design - design.mean(axis=0)).transpose(1, 0, 2).reshape(design.shape[1], -1)
    spread = np.sqrt((centred**2).sum(axis=1))
    if not spread.all():
        return 1.0  # an attribute that never differs tells nothing
    unit = centred / spread[:, None]
    return float(np.abs(unit @ unit.T - np.eye(len(unit))).max())


def _dominated(design, sign):
    """Tasks in which an alternative is at least as good as another in everything."""
    worth = design * sign[:, None]
    pairs = itertools.permutations(range(len(worth)), 2)
    return np.any([(worth[a] >= worth[b]).all(axis=0) for a, b in pairs], axis=0)


def delivered_value_choices(
    customers=300, tasks=8, opt_out=False, part_worths=None, constants=None, segments=None, blocks=3, seed=None
):
    """A choice experiment about a bank's branch, a rival's branch and an app, with known part-worths.

    Each customer meets a block of tasks of one balanced design (`choice_design`) and takes the alternative with the highest
    utility: part-worths times attributes, plus a constant for the alternative, plus a Gumbel error. The attributes are the four
    components of value and the four of cost: ``product``, ``service``, ``personnel``, ``image`` (levels 1 to 4), ``money`` (dollars a
    month, with one visit a month), ``time`` (minutes a visit), ``energy`` (forms to fill in), ``effort`` (kilometres).

    Parameters
    ----------
    customers : int
    tasks : int
        Tasks that one customer answers.
    opt_out : bool, default False
        Whether "none" can be taken: all attributes 0, utility 0. The alternatives' constants are then 2 lower, so that "none" is not
        hopeless.
    part_worths, constants : dict, optional
        Utilities that replace those of ``DELIVERED_VALUE["part_worths"]`` and ``["constants"]``.
    segments : dict, optional
        Name to the part-worths that differ, such as ``DELIVERED_VALUE["segments"]``; equally many customers in each.
    blocks : int
        Into how many blocks the design is cut; it has tasks times blocks tasks.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        One row an alternative of a task: ``customer_id``, ``occasion``, ``task``, ``alternative``, the attributes, ``chosen`` (1 or 0) and
        with segments ``segment``. ``.attrs["truth"]`` has ``part_worths``, ``constants``, ``segments``.

    Examples
    --------
    >>> from crmlab import simulate
    >>> choices = simulate.delivered_value_choices(customers=3, seed=1)
    >>> len(choices), choices["chosen"].sum()
    (72, np.int64(24))
    >>> choices.attrs["truth"]["part_worths"]["time"]
    -0.05
    """
    rng = np.random.default_rng(seed)
    worth = DELIVERED_VALUE["part_worths"] | (part_worths or {})
    fixed = DELIVERED_VALUE["constants"] | (constants or {})
    if opt_out:
        fixed = {name: value - 2 for name, value in fixed.items()}
    better = {name: -1 if name in _COSTS else 1 for name in worth}
    design = choice_design(
        DELIVERED_VALUE["levels"], list(DELIVERED_VALUE["constants"]), tasks * blocks, better, seed=rng
    )
    if opt_out:
        none = pd.DataFrame({"task": range(1, tasks * blocks + 1), "alternative": "none"} | dict.fromkeys(worth, 0))
        design = pd.concat([design, none]).sort_values("task", kind="stable", ignore_index=True)
        fixed["none"] = 0.0
    size = len(fixed)
    names = list(worth)
    offered = design[names].to_numpy(dtype=float).reshape(tasks * blocks, size, len(names))
    kinds = list(segments or {"all": {}})
    kind = rng.permutation(np.arange(customers) % len(kinds))
    beta = np.array([[(worth | (segments or {"all": {}})[name])[k] for k in names] for name in kinds])
    block = rng.permutation(np.arange(customers) % blocks)
    shown = block[:, None] * tasks + np.arange(tasks)
    utility = np.einsum("ctak,ck->cta", offered[shown], beta[kind]) + np.array(list(fixed.values()))
    utility += rng.gumbel(size=utility.shape)
    chosen = utility == utility.max(axis=2, keepdims=True)
    rows = (shown[:, :, None] * size + np.arange(size)).ravel()
    table = design.iloc[rows].reset_index(drop=True)
    table.insert(0, "customer_id", np.repeat([f"k{i:04d}" for i in range(customers)], tasks * size))
    table.insert(1, "occasion", np.repeat(np.arange(1, customers * tasks + 1), size))
    table["chosen"] = chosen.ravel().astype(int)
    if segments:
        table["segment"] = np.repeat(np.array(kinds)[kind], tasks * size)
    table.attrs = {"truth": {"part_worths": worth, "constants": fixed, "segments": segments or {}}}
    return table


def delivered_value_survey(customers=400, items=2, missing=0.0, prices=None, seed=None):
    """A survey in which customers rate a branch, a rival and an app on the eight components of value and cost.

    Ratings run from 1 to 10; of a cost they say how much of it there is. A customer rates high or low in general (halo), each
    component has `items` questions with errors of their own, importance is stated in points that sum to 100 up to rounding, and the
    overall judgement follows the *derived* weights of ``DELIVERED_VALUE``, which are not the stated ones: people say that
    money counts most, and judge by time.

    Parameters
    ----------
    customers : int
        Each rates all three firms.
    items : int
        Questions a component.
    missing : float
        Probability that a rating is missing, at random.
    prices : dict, optional
        Dollars a month by firm; by default ``DELIVERED_VALUE["prices"]``.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        One row a customer and firm: ``customer_id``, ``firm``, ratings ``product_1``, ``product_2``, ..., ``importance_product``, ...,
        ``overall`` (1 to 10) and ``price``. ``.attrs["truth"]`` has ``ratings`` (means before rounding to the scale), ``stated``, ``derived``.

    Examples
    --------
    >>> from crmlab import simulate
    >>> survey = simulate.delivered_value_survey(customers=5, seed=1)
    >>> survey.shape
    (15, 28)
    """
    rng = np.random.default_rng(seed)
    truth = DELIVERED_VALUE
    names, firms = list(truth["part_worths"]), list(truth["ratings"])
    sign = np.array([-1 if name in _COSTS else 1 for name in names])
    means = np.array([[truth["ratings"][firm][name] for name in names] for firm in firms])
    halo = rng.normal(0, 0.7, (customers, 1, 1)) * sign
    felt = means + halo + rng.normal(0, 1.3, (customers, len(firms), len(names)))
    rated = felt[..., None] + rng.normal(0, 0.8, (*felt.shape, items))
    rated = np.clip(np.round(rated), 1, 10)
    weights = np.array([truth["derived"][name] for name in names]) / 100
    overall = 5.5 + 2 * ((felt - 5.5) * sign) @ weights + rng.normal(0, 0.8, (customers, len(firms)))
    points = np.array([truth["stated"][name] for name in names]) * rng.gamma(6, 1 / 6, (customers, len(names)))
    points = np.round(100 * points / points.sum(axis=1, keepdims=True))
    if missing:
        rated[rng.uniform(size=rated.shape) < missing] = np.nan
    table = pd.DataFrame(
        {
            "customer_id": np.repeat([f"k{i:04d}" for i in range(customers)], len(firms)),
            "firm": np.tile(firms, customers),
        }
    )
    flat = rated.reshape(customers * len(firms), len(names), items)
    columns = {f"{name}_{i + 1}": flat[:, k, i] for k, name in enumerate(names) for i in range(items)}
    columns |= {f"importance_{name}": np.repeat(points[:, k], len(firms)) for k, name in enumerate(names)}
    table = pd.concat([table, pd.DataFrame(columns)], axis=1)
    table["overall"] = np.clip(np.round(overall), 1, 10).ravel()
    table["price"] = table["firm"].map(prices or truth["prices"])
    whole = [name for name in table.columns[2:-1] if not table[name].isna().any()]
    table = table.astype(dict.fromkeys(whole, int))
    table.attrs = {"truth": {name: truth[name] for name in ("ratings", "stated", "derived")}}
    return table
