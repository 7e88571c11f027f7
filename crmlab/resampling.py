"""Bootstrap intervals of anything that is computed from a fit, with the customer as the unit that is drawn."""

import contextlib
import warnings

import numpy as np
import pandas as pd

from crmlab.arguments import one_of
from crmlab.likelihood import BoundaryWarning, normal_quantile

__all__ = ["bootstrap"]


def bootstrap(fit, statistic, n=1000, level=0.95, kind="percentile", seed=0, jobs=1):
    """Interval of a statistic of a fit, by fitting again to customers drawn with replacement.

    A customer is drawn with its whole history, so what belongs together stays together: never single stays or renewals. The draws are
    made on the counts of equal customers, so the cost does not grow with their number but with that of their distinct histories.

    Parameters
    ----------
    fit : result with a ``refit(rng)``
        The fits of `crmlab.retention`; `crmlab.lifecycle.fit_multistate` on stays whose customers are known; `fit_time_in_phase` and
        `fit_duration` where each customer has one stay, as with ``visits="first"``.
    statistic : callable
        Takes a fit; gives a number, a Series or a sequence of numbers: ``lambda fit: fit.survival([5, 10])``.
    n : int, default 1000
        Replicates.
    level : float, default 0.95
        Confidence level.
    kind : {"percentile", "basic"}
        Percentile: between quantiles of the replicates. Basic: the same quantiles mirrored at the estimate, which undoes a
        bias of the replicates but may leave the range of the statistic.
    seed : int or numpy.random.Generator, default 0
        Each replicate has random numbers of its own, so the result does not depend on `jobs`.
    jobs : int, default 1
        Processes that share the replicates. Starting them takes a second or two, so they pay for fits that are slower than
        those of `crmlab.retention`. An interruption ends them all.

    Returns
    -------
    pandas.DataFrame
        Indexed as the statistic: ``estimate``, ``std_error``, ``lower``, ``upper``. ``.attrs["replicates"]`` holds all
        replicates, ``.attrs["failed"]`` how many samples could not be fitted, gave no finite number, or other rows than the
        fit (a group was not drawn), and were left out.

    Raises
    ------
    ValueError
        If an argument is out of range, or more than a tenth of the samples cannot be fitted.

    References
    ----------
    A. C. Davison and D. V. Hinkley (1997), *Bootstrap Methods and their Application*, Cambridge University Press.

    Examples
    --------
    >>> import crmlab
    >>> fit = crmlab.retention.fit_sbg([1000, 869, 743, 653, 593, 551, 517, 491])
    >>> crmlab.resampling.bootstrap(fit, lambda fit: fit.survival([8, 12]), n=200).round(2)
         estimate  std_error  lower  upper
    age
    8        0.46       0.02   0.43   0.49
    12       0.38       0.02   0.35   0.42
    """
    normal_quantile(level)
    one_of("kind", kind, ("percentile", "basic"))
    estimate = statistic(fit)
    index = estimate.index if isinstance(estimate, pd.Series) else pd.RangeIndex(np.size(estimate))
    if np.ndim(estimate) > 1:
        raise ValueError(
            "statistic= gives a number, a Series or a sequence; of a table take a column: lambda fit: fit.survival(10, level=0.95)['estimate']."
        )
    values = np.atleast_1d(np.asarray(estimate, dtype=float))

    def draw(rng):
        with quietly():
            found = statistic(fit.refit(rng))
        same = not isinstance(estimate, pd.Series) or (isinstance(found, pd.Series) and found.index.equals(index))
        found = np.atleast_1d(np.asarray(found, dtype=float))
        if found.shape != values.shape or not same:
            raise ValueError("The statistic has other rows than that of the fit: a group, or a phase, was not drawn.")
        # What the fit itself does not have, no sample has to have.
        if not np.isfinite(found[np.isfinite(values)]).all():
            raise ValueError("The statistic is no finite number.")
        return found

    drawn, failed = replicate(draw, n, seed, jobs)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    if kind == "basic":
        low, high = 2 * values - high, 2 * values - low
    found = pd.DataFrame(
        {"estimate": values, "std_error": drawn.std(axis=0, ddof=1), "lower": low, "upper": high}, index
    )
    found.attrs.update(replicates=drawn, failed=failed, kind=kind)
    return found


def replicate(draw, n, seed, jobs=1):
    """`n` draws with random numbers of their own each, and how many failed; a bar shows in a terminal."""
    from tqdm import tqdm  # here, since it is only needed for long work

    for name, value, least in (("n", n, 2), ("jobs", jobs, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            what = "a bootstrap takes a whole number of replicates" if name == "n" else "jobs= is a number of processes"
            raise ValueError(f"{what}, {least} or more; got {value!r}.")
    drawn, failures = [], []
    generators = np.random.default_rng(seed).spawn(n)
    with tqdm(total=n, desc="bootstrap", delay=2, disable=None, leave=False) as bar:
        for batch in _batches(draw, generators, jobs):
            for value, failure in batch:
                if failure is None:
                    drawn.append(value)
                else:
                    failures.append(failure)
                bar.update()
    if len(failures) > n / 10:
        raise ValueError(
            f"{len(failures)} of {n} samples could not be fitted, the first because: {failures[0]} The data are too few for a bootstrap."
        )
    return np.array(drawn), len(failures)


def _batches(draw, generators, jobs):
    """The outcomes in the order of the generators, some at a time."""
    if jobs == 1:
        yield from ([_attempt(draw, rng)] for rng in generators)
        return
    import joblib  # here: it sends functions that were written in a notebook to other processes

    size = max(1, min(50, len(generators) // (4 * jobs)))
    parts = [generators[begin : begin + size] for begin in range(0, len(generators), size)]
    work = joblib.Parallel(n_jobs=jobs, return_as="generator")
    yield from work(joblib.delayed(_attempts)(draw, part) for part in parts)


def _attempts(draw, generators):
    return [_attempt(draw, rng) for rng in generators]


def _attempt(draw, rng):
    try:
        return draw(rng), None
    except ValueError as error:  # a sample that cannot be fitted, such as one in which nobody left
        return None, str(error)


@contextlib.contextmanager
def quietly():
    """Without the warnings of samples that lie on an edge: there are always some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundaryWarning)
        yield
