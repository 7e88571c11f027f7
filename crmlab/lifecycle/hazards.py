"""What moves customers: hazards of each kind of move with covariates."""

import warnings

import numpy as np
import pandas as pd
from scipy import linalg

from crmlab.arguments import one_of
from crmlab.lifecycle.covariates import bare, refuse_flat, take_rows, term_factors, warn_few
from crmlab.lifecycle.cox import CoxPart
from crmlab.lifecycle.grouped import GroupedPart
from crmlab.lifecycle.hazards_fit import HazardsFit
from crmlab.lifecycle.newton import maximise
from crmlab.lifecycle.paths import Sensitivity
from crmlab.likelihood import warn_boundary

__all__ = ["fit_hazards"]


def fit_hazards(
    episodes,
    formula,
    model="cox",
    ties="efron",
    shared=(),
    errors="model",
    clock="forward",
    width=1,
    phases=None,
    weights=None,
    gaps="refuse",
):
    r"""Hazards of every kind of move with covariates: which customers move sooner, and where to.

    Each kind of move :math:`j \to m` has a baseline of its own, whose shape is left free, and effects of its own unless they are shared.

    ``model="cox"`` is :math:`\lambda_{jm}(t \mid x) = \lambda_{jm}(t) \, e^{x'\beta_{jm}}`, estimated by Cox's partial likelihood, with
    ties as Efron's or Breslow's rule has them. A row is at risk in ``(entry, exit]``, as in R.

    ``model="grouped"`` takes moves to be known by the period (week, month) only. Where a phase has one exit, the probability of moving in a
    period is :math:`1 - \exp(-e^{\alpha_k + x'\beta})`, the proportional hazards model seen in periods: its coefficients are logarithms of
    hazard ratios. Where a phase has several, a customer can take only one of them in a period, and the model is multinomial,
    :math:`p_m = e^{\alpha_{km} + x'\beta_m} / (1 + \sum_l e^{\alpha_{kl} + x'\beta_l})`: its coefficients are logarithms of ratios of odds
    (moving there, against staying). `HazardsFit.shortcut` says what the usual shortcut, one complementary log-log model an exit, would
    have got wrong.

    **Assumes** that hazards (or odds) are proportional, which `HazardsFit.proportionality` tests; that censoring and late entry say nothing of the
    customer's future, given the covariates; and, for predictions, that the phase, the time and the covariates say all that matters (Markov).

    Estimation runs on counts of customers by kind, time and fate: its cost does not grow with the rows once they are counted.

    Parameters
    ----------
    episodes : DataFrame or ibis.Table
        One row a stay, as for `fit_multistate`, with the columns of the formula; or its counts. A covariate that changes during a stay
        splits it: rows that follow each other in the same phase, ``next_phase`` missing in all but the last, each with the values of its time.
        What a row says must have been known when it began.
    formula : str
        The columns alone, ``"channel + grade * service"``; ``"1"`` for none. Categories are compared with their first.
    model : {"cox", "grouped"}
    ties : {"efron", "breslow"}
        For Cox's model: what several moves at one time count. Efron's rule is nearer the truth. Where a large share of those at risk moves at one
        time, Breslow's hazards understate who leaves: of everybody who moves on one day a third would seem to stay. Predictions then warn.
    shared : "all" or sequence of str
        Columns whose effects are the same for every kind of move. Their coefficients stand under the transition ``"all"``.
    errors : {"model", "clustered"}
        From the curvature of the likelihood; or from how each customer's whole history moves the estimates (Lin and Wei's sandwich), which
        is also right where stays of a customer hang together beyond the covariates. Clustered errors need ``customer_id``; distinct
        histories are counted.
    clock : {"forward", "reset"}
        Time since the customer's start, or since the phase was entered, as in `fit_multistate`. Predictions of phases need the forward clock.
    width : float, default 1
        Length of a period of the grouped model; all times are whole multiples of it.
    phases, weights, gaps
        As in `fit_multistate`.

    Returns
    -------
    HazardsFit

    Raises
    ------
    TypeError, ValueError
        As `fit_multistate`; if a column of the formula is not there or has missing values; if a term says nothing, or nothing of
        its own, among those at risk of a move; if times of the grouped model are no multiples of the width.

    Warns
    -----
    BoundaryWarning
        If the moves are separated: an effect grows without bound since nobody, or everybody, with some values moved. Its error is missing.
    UserWarning
        If a kind of move was seen fewer than five times an effect (Vittinghoff and McCulloch 2007), the fit did not converge, or stays that
        last have no length and are left out.

    Notes
    -----
    In R: ``survival::coxph(Surv(entry, exit, next_phase == m) ~ ..., subset = phase == j, ties = , cluster = customer_id)`` for each move, or
    the multi-state ``coxph`` with ``id`` and ``istate``; ``glm(..., binomial("cloglog"))`` and ``nnet::multinom`` on the person-periods.

    References
    ----------
    D. R. Cox (1972), Regression models and life-tables, *JRSS B* 34(2):187-202. B. Efron (1977), The efficiency of Cox's likelihood function for
    censored data, *JASA* 72:557-565. R. L. Prentice and L. A. Gloeckler (1978), Regression analysis of grouped survival data,
    *Biometrics* 34:57-67. D. Y. Lin and L. J. Wei (1989), The robust inference for the Cox proportional hazards model, *JASA* 84:1074-1078.
    H. Putter, M. Fiocco and R. B. Geskus (2007), Tutorial in biostatistics: competing risks and multi-state models, *Statistics in Medicine* 26:2389-2430.

    Examples
    --------
    >>> from crmlab import lifecycle, simulate
    >>> stays = simulate.lifecycle(2000, seed=1)
    >>> fit = lifecycle.fit_hazards(stays, "grade + service")
    >>> fit.summary().loc[("stability -> decline", "service")].round(2).to_dict()
    {'estimate': -0.24, 'std_error': 0.05, 'lower': -0.34, 'upper': -0.15, 'ratio': 0.78}
    """
    one_of("model", model, ("cox", "grouped"))
    one_of("ties", ties, ("efron", "breslow"))
    one_of("errors", errors, ("model", "clustered"))
    one_of("clock", clock, ("forward", "reset"))
    one_of("gaps", gaps, ("refuse", "keep"))
    rows = take_rows(episodes, formula, clock, phases, weights, gaps)
    if errors == "clustered" and rows.stays.customer is None:
        raise ValueError(
            "errors='clustered' needs to know whose stays belong together, which a table of counts does not say: give the stays with their "
            "customer_id (weights= may count customers with the same history), or take errors='model'."
        )
    if model == "grouped":
        _whole_periods(rows.stays.grid, width)
    elif ties == "efron" and (rows.count != np.round(rows.count)).any():
        raise ValueError("ties='efron' counts customers, so weights are whole numbers; take ties='breslow' for others.")
    parts, index = _parts(rows, model, ties, shared)
    found = maximise(parts, len(index))
    theta, loglik, information, null, converged = found
    moves = _moves(rows, parts)
    for (origin, target), number in moves.items():
        terms = sum(name == f"{origin} -> {target}" for name, _ in index)
        if terms and number < 5 * terms:
            warn_few(number, terms, f"{origin} -> {target}")
    bread, lost, gone, boundary = _invert(information, null, index)
    if boundary:
        warn_boundary(boundary)
    elif not converged:
        warnings.warn(
            "the fit did not converge: look at the coefficients before using them.", UserWarning, stacklevel=2
        )
    fit = HazardsFit(
        params=pd.Series(theta, index, name="estimate", dtype=float),
        cov=None,
        loglik=loglik,
        nobs=rows.customers if rows.customers is not None else float(rows.weight.sum()),
        converged=converged,
        boundary=boundary,
        phases=rows.stays.phases,
        model=model,
        ties=ties if model == "cox" else None,
        clock=clock,
        errors=errors,
        formula=formula,
        moves=pd.Series(moves, dtype=float).rename_axis(["from", "to"]).rename("moves"),
        _rows=rows,
        _parts=parts,
        _bread=bread,
        _lost=lost,
        _gone=gone,
    )
    cov = bread
    if errors == "clustered" and len(index):
        cov = fit._spread(Sensitivity(np.eye(len(index)), (None,) * len(parts)))
    cov = np.where(np.isin(np.arange(len(index)), lost), np.nan, 0.0) + cov
    cov = cov + np.where(np.isin(np.arange(len(index)), lost), np.nan, 0.0)[:, None]
    object.__setattr__(fit, "cov", pd.DataFrame(cov, index, index))
    return fit


def _whole_periods(grid, width):
    if isinstance(width, str | bool) or not np.isscalar(width) or not 0 < width < np.inf:
        raise ValueError(f"width= is the length of a period, a number above 0; got {width!r}.")
    off = np.abs(grid / width - np.round(grid / width)) > 1e-6
    if off.any():
        shown = ", ".join(f"{time:g}" for time in grid[off][:3])
        raise ValueError(
            f"model='grouped' takes whole periods of {width:g}: {int(off.sum()):,} of {len(grid):,} times of entry and exit lie between them ({shown}). "
            "Fix: make the stays in whole units (phase_episodes(..., unit='day')), say how long a period is with width=, or take model='cox'."
        )


def _parts(rows, model, ties, shared):
    """The parts of the likelihood, and the index of its coefficients (transition, term)."""
    stays, names = rows.stays, rows.names
    every = {factor for name in names for factor in term_factors(name)}
    if isinstance(shared, str) and shared != "all":
        raise TypeError(f"shared= is 'all' or a list of columns, such as [{shared!r}]; got {shared!r}.")
    if shared != "all":
        shared = [bare(str(name)) for name in shared]
    if shared != "all" and (strange := set(shared) - every):
        raise ValueError(
            f"shared= names {sorted(map(str, strange))[0]!r}, which is no column of the formula; there are: {', '.join(sorted(every)) or 'none'}."
        )
    common = [shared == "all" or (term_factors(name) <= set(shared)) for name in names]
    pattern, origin, target, begin, end = rows.kinds
    size = len(stays.phases)
    moved = target >= 0
    seen = np.bincount(origin[moved] * size + target[moved], rows.count[moved], size * size).reshape(size, size)
    entries = [("all", name) for name, alike in zip(names, common) if alike]
    columns = {}
    for i, j in zip(*np.nonzero(seen)):
        label = f"{stays.phases[i]} -> {stays.phases[j]}"
        own = []
        for name, alike in zip(names, common):
            if alike:
                own.append(entries.index(("all", name)))
            else:
                own.append(len(entries))
                entries.append((label, name))
        columns[i, j] = own
    parts = []
    for i in np.flatnonzero(seen.any(axis=1)):
        mine = origin == i
        goals = np.flatnonzero(seen[i])
        here = (pattern[mine], begin[mine], end[mine])
        count, to = rows.count[mine], target[mine]
        if not all(common):
            own = [number for number, alike in enumerate(common) if not alike]
            move = f"moves from {stays.phases[i]!r}"
            refuse_flat(rows.matrix[:, own], [names[number] for number in own], here[0], count, move)
        if model == "cox":
            for j in goals:
                own = np.array([columns[i, j]], int).reshape(1, -1)
                parts.append(CoxPart(i, int(j), rows.matrix, own, *here, to == j, count, ties))
        else:
            own = np.array([columns[i, j] for j in goals], int).reshape(len(goals), -1)
            link = "cloglog" if len(goals) == 1 else "logit"
            parts.append(GroupedPart(i, goals.tolist(), rows.matrix, own, *here, to, count, link))
    index = pd.MultiIndex.from_tuples(entries, names=["transition", "term"]) if entries else None
    if index is None:
        index = pd.MultiIndex.from_arrays([[], []], names=["transition", "term"])
    return parts, index


def _moves(rows, parts):
    """How many moves of each kind."""
    _, origin, target, _, _ = rows.kinds
    phases = rows.stays.phases
    return {
        (phases[part.origin], phases[target_]): float(rows.count[(origin == part.origin) & (target == target_)].sum())
        for part in parts
        for target_ in part.targets
    }


def _invert(information, null, index):
    """Inverse information; which coefficients have run away, in which directions, and what to say of it."""
    if not len(index):
        return information, np.array([], int), None, None
    scale = np.sqrt(np.diag(null))
    if (scale == 0).any() or np.linalg.cond(null / np.outer(scale, scale)) > 1e12:
        values, vectors = linalg.eigh(null / np.outer(np.maximum(scale, 1e-300), np.maximum(scale, 1e-300)))
        named = ", ".join(repr(" ".join(index[k])) for k in np.flatnonzero(np.abs(vectors[:, 0]) > 0.1))
        raise ValueError(
            f"{named}: a combination of other terms among the customers at risk, so these effects cannot be told apart. Fix: leave a term out."
        )
    # Information that is left in each direction, as a share of what there was without any effect.
    values, vectors = linalg.eigh(information, null)
    gone = values < 1e-6
    if not gone.any():
        return linalg.inv(information), np.array([], int), None, None
    kept = vectors[:, ~gone]
    bread = (kept / values[~gone]) @ kept.T
    size = np.abs(vectors[:, gone]) * scale[:, None]
    lost = np.flatnonzero((size > 0.05 * size.max(axis=0)).any(axis=1))
    named = "; ".join(f"{index[k][1]} in {index[k][0]}" for k in lost[:4]) + ("; ..." if len(lost) > 4 else "")
    message = (
        f"separation: the effect of {named} grows without bound, since nobody (or everybody) with some values moved. Its estimate is only a "
        "large number and has no error; join categories, have the effect shared by all moves (shared=), or leave it out."
    )
    away = vectors[:, gone]
    return bread, lost, away / np.abs(away).max(axis=0), message
