"""Generated lifecycles: customers who move between phases at hazards that are known."""

import itertools

import numpy as np
import pandas as pd

from crmlab.arguments import one_of

__all__ = ["lifecycle", "lifecycle_occupancy", "LIFECYCLE"]

# The truth behind `lifecycle`, with times in months. Hazards are those of a customer of the web shop, ordinary, service 3.
LIFECYCLE = {
    "phases": ("exploration", "build-up", "stability", "decline"),
    "hazards": {
        ("exploration", "build-up"): 0.12,
        ("exploration", "decline"): 0.15,
        ("build-up", "stability"): 0.10,
        ("build-up", "decline"): 0.08,
        ("stability", "build-up"): 0.01,
        ("stability", "decline"): 0.03,
        ("decline", "build-up"): 0.04,
    },
    # Logarithms of hazard ratios: against the web shop, against ordinary customers, and a point of service.
    "effects": {
        ("exploration", "build-up"): {"channel": {"shop": 0.2, "referral": 0.6}, "service": 0.15},
        ("exploration", "decline"): {"channel": {"referral": -0.4}, "service": -0.10},
        ("build-up", "stability"): {"channel": {"referral": 0.3}, "grade": {"gold": 0.5}, "service": 0.20},
        ("build-up", "decline"): {"grade": {"gold": -0.3}, "service": -0.15},
        ("stability", "decline"): {"grade": {"gold": -0.5}, "service": -0.30},
        ("decline", "build-up"): {"grade": {"gold": 0.4}, "service": 0.10},
    },
    "channel": {"web": 0.5, "shop": 0.3, "referral": 0.2},
    "grade": {"ordinary": 0.8, "gold": 0.2},
    "service": {1: 0.05, 2: 0.15, 3: 0.35, 4: 0.30, 5: 0.15},
    # Mean margin a month by phase, what gold multiplies it by, and the shape of its gamma distribution over a month.
    "margin": {"exploration": 5.0, "build-up": 9.0, "stability": 20.0, "decline": 0.5},
    "margin_gold": 1.5,
    "margin_shape": 2.0,
}
_COVARIATES = ("channel", "grade", "service")


def lifecycle(
    customers,
    months=48,
    joining=36,
    hazards=None,
    effects=None,
    frailty=0.0,
    lost_sight=0.0,
    observed_from=0,
    ties=False,
    seed=None,
):
    r"""Customers who move between the phases of the lifecycle at known hazards: one row a stay.

    A customer in phase :math:`j` with covariates :math:`x` moves to phase :math:`k` at the constant hazard
    :math:`\lambda_{jk} \exp(x'\beta_{jk})` a month, times a frailty of its own if asked for. The process is Markov unless
    there is frailty: then who has moved fast before moves fast again.

    The truth is in ``simulate.LIFECYCLE`` and, as used, in ``.attrs``: ``hazards`` and ``effects`` (by "from > to"), ``frailty``,
    ``margin`` (the mean a month in each phase, half as much again for gold).

    Parameters
    ----------
    customers : int
    months : float, default 48
        Length of the calendar window; what lasts longer is censored at its end.
    joining : float, default 36
        Customers come evenly over the first so many months (staggered entry), so they are followed for different times.
    hazards : dict of (str, str) to float, optional
        Hazards a month by (from, to), in place of those of ``LIFECYCLE``. Phases without a way out are absorbing.
    effects : dict, optional
        Effects of the covariates, shaped as in ``LIFECYCLE``; ``{}`` for none.
    frailty : float, default 0
        Variance of a gamma distributed factor with mean 1 that multiplies all hazards of a customer.
    lost_sight : float, default 0
        Hazard a month of being lost from sight, whatever the phase (independent censoring).
    observed_from : float, default 0
        Month of the calendar from which customers are followed. Those who came before it are entered late, in the phase in
        which they are then.
    ties : bool, default False
        Whether everything happens at the end of whole months: a Markov chain with the probabilities
        :math:`(1 - e^{-\Lambda_j}) \lambda_{jk} / \Lambda_j`, where :math:`\Lambda_j` is the sum over :math:`k`.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``phase``, ``entry``, ``exit`` (months since the customer came), ``next_phase`` (missing: censored),
        ``channel`` ("web", "shop", "referral"), ``grade`` ("ordinary", "gold"), ``service`` (1 to 5), ``joined`` (month of
        the calendar) and ``margin`` (money earned with the customer between entry and exit). By customer and time.

    Examples
    --------
    >>> from crmlab import simulate
    >>> stays = simulate.lifecycle(1000, seed=1)
    >>> stays.groupby("phase", observed=True)["margin"].sum().round(-3)
    phase
    exploration     19000.0
    build-up        50000.0
    stability      177000.0
    decline          7000.0
    Name: margin, dtype: float64
    """
    rng = np.random.default_rng(seed)
    hazards = LIFECYCLE["hazards"] if hazards is None else dict(hazards)
    effects = LIFECYCLE["effects"] if effects is None else effects
    phases = _phases(hazards)
    who = pd.DataFrame(
        {name: rng.choice(list(LIFECYCLE[name]), customers, p=list(LIFECYCLE[name].values())) for name in _COVARIATES}
    )
    joined = rng.uniform(0, joining, customers)
    sight = rng.exponential(1 / lost_sight, customers) if lost_sight else np.full(customers, np.inf)
    factor = rng.gamma(1 / frailty, frailty, customers) if frailty else np.ones(customers)
    if ties:
        joined, sight = np.floor(joined), np.ceil(sight)
    begin = np.maximum(observed_from - joined, 0)
    end = np.minimum(months - joined, begin + sight)

    # All customers at once, from one move to the next.
    active = np.arange(customers)
    phase, time = np.zeros(customers, int), np.zeros(customers)
    parts = []
    while len(active):
        rates = _rates(phases, hazards, effects, phase[active], who.iloc[active]) * factor[active, None]
        total = rates.sum(axis=1)
        with np.errstate(divide="ignore"):
            wait = rng.exponential(size=len(active)) / total
        wait = np.ceil(wait) if ties else wait
        chosen = (rng.uniform(size=len(active))[:, None] * total[:, None] < rates.cumsum(axis=1)).argmax(axis=1)
        leaves = time[active] + wait
        over = leaves > end[active]
        parts.append(
            pd.DataFrame(
                {
                    "customer": active,
                    "phase": phase[active],
                    "entry": np.maximum(time[active], begin[active]),
                    "exit": np.minimum(leaves, end[active]),
                    "next_phase": np.where(over, -1, chosen),
                }
            )
        )
        phase[active], time[active] = chosen, leaves
        active = active[~over]
    stays = pd.concat(parts).query("exit > entry").sort_values(["customer", "entry"], ignore_index=True)
    mine = stays.pop("customer").to_numpy()
    ordered = {name: pd.Categorical.from_codes(stays[name], phases, ordered=True) for name in ("phase", "next_phase")}
    money = pd.Series(LIFECYCLE["margin"]).reindex(phases).fillna(0.0).to_numpy()[stays["phase"]]
    stays = stays.assign(**ordered, **{name: who[name].to_numpy()[mine] for name in _COVARIATES})
    stays.insert(
        0, "customer_id", np.char.add("k", np.char.zfill(mine.astype(str), len(str(customers)))).astype(object)
    )
    stays["joined"] = joined[mine]
    money = money * np.where(stays["grade"] == "gold", LIFECYCLE["margin_gold"], 1.0)
    shape = LIFECYCLE["margin_shape"] * (stays["exit"] - stays["entry"])
    stays["margin"] = (rng.gamma(shape) * money / LIFECYCLE["margin_shape"]).round(2)
    truth = {"hazards": _named(hazards), "effects": _named(effects), "frailty": frailty, "margin": LIFECYCLE["margin"]}
    stays.attrs |= {"unit": "month", "clock": "forward", **truth}
    return stays


def lifecycle_occupancy(times, start="exploration", hazards=None, effects=None, ties=False):
    """The true share of customers in each phase, averaged over the covariates: what `lifecycle` generates, without frailty.

    Parameters
    ----------
    times : sequence of float
        Months since the customers came; whole ones with `ties`.
    start : str
        The phase at time 0.
    hazards, effects, ties
        As in `lifecycle`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``time``, a column a phase.

    Examples
    --------
    >>> from crmlab import simulate
    >>> simulate.lifecycle_occupancy([0, 12, 36]).round(3)
    phase  exploration  build-up  stability  decline
    time
    0.0          1.000     0.000      0.000    0.000
    12.0         0.031     0.192      0.287    0.490
    36.0         0.000     0.123      0.417    0.461
    """
    from scipy.linalg import expm

    hazards = LIFECYCLE["hazards"] if hazards is None else dict(hazards)
    effects = LIFECYCLE["effects"] if effects is None else effects
    phases = _phases(hazards)
    one_of("start", start, phases)
    cells = list(itertools.product(*(LIFECYCLE[name].items() for name in _COVARIATES)))
    who = pd.DataFrame([[value for value, _ in cell] for cell in cells], columns=list(_COVARIATES))
    weights = np.prod([[share for _, share in cell] for cell in cells], axis=1)
    times = np.asarray(times, dtype=float)
    shares = np.zeros((len(times), len(phases)))
    rows = [_rates(phases, hazards, effects, np.full(len(who), j), who) for j in range(len(phases))]
    for cell, weight in enumerate(weights):
        rates = np.stack([row[cell] for row in rows])
        total = rates.sum(axis=1)
        if ties:
            moves = rates / np.where(total, total, 1)[:, None] * -np.expm1(-total)[:, None]
            step = moves + np.diag(np.exp(-total))
            powers = [np.linalg.matrix_power(step, int(t)) for t in times]
        else:
            powers = [expm((rates - np.diag(total)) * t) for t in times]
        shares += weight * np.stack([power[phases.index(start)] for power in powers])
    return pd.DataFrame(shares, index=pd.Index(times, name="time"), columns=pd.Index(phases, name="phase"))


def _named(moves):
    """Keys as text, which a file can hold."""
    return {f"{origin} > {target}": value for (origin, target), value in moves.items()}


def _phases(hazards):
    """The phases in the order of the lifecycle, any others after them."""
    named = dict.fromkeys(name for pair in hazards for name in pair)
    return [*LIFECYCLE["phases"], *(name for name in named if name not in LIFECYCLE["phases"])]


def _rates(phases, hazards, effects, phase, who):
    """Hazards of each customer towards each phase."""
    rates = np.zeros((len(who), len(phases)))
    for (origin, target), hazard in hazards.items():
        rows = np.flatnonzero(phase == phases.index(origin))
        spec = effects.get((origin, target), {})
        here = who.iloc[rows]
        score = spec.get("service", 0.0) * (here["service"].to_numpy() - 3.0)
        for name in ("channel", "grade"):
            score = score + here[name].map(spec.get(name, {})).fillna(0.0).to_numpy(float)
        rates[rows, phases.index(target)] = hazard * np.exp(score)
    return rates
