"""Generated contracts and shops: the retention lesson's data with known truth."""

import numpy as np
import pandas as pd

__all__ = ["contracts", "shop", "company_case", "COMPANY_CASE"]

# The truth behind the bundled company case; its card shows the same numbers, and a test compares the two.
COMPANY_CASE = {
    "first_year": 2019,
    "years": 5,
    "programme_effect": 0.06,
    "ordinary": {"customers_at_start": 900, "joining_a_year": 300, "purchases_a_year": 1.6, "leaving_a_year": 0.25},
    "gold": {"customers_at_start": 120, "joining_a_year": 30, "purchases_a_year": 4.5, "leaving_a_year": 0.10},
    "key account": {"customers_at_start": 8, "joining_a_year": 0, "purchases_a_year": 24.0, "leaving_a_year": 0.0},
    "heterogeneity_shape": 2.0,
    "seed": 20190101,
}


def contracts(customers, alpha, beta, start="2018-01-01", observed_until="2025-12-31", cohorts=1, c=1.0, seed=None):
    """Contracts renewed once a year, with churn probabilities drawn from a beta distribution (the sBG and BdW models).

    Parameters
    ----------
    customers : int
        Customers in each cohort.
    alpha, beta : float
        Parameters of the beta distribution of the customers' churn probabilities.
    start : date-like
        First day of the first cohort's year; starts are spread evenly over the year.
    observed_until : date-like
        Contracts that run on after this day have no end yet.
    cohorts : int, default 1
        Number of yearly cohorts.
    c : float, default 1
        How each customer's churn changes with age: it survives t renewals with probability (1 - theta)^(t^c). With 1 it
        never changes (sBG); below 1 it falls, above 1 it rises (BdW).
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``start``, ``end`` (the first day without the contract; missing while it runs).

    Examples
    --------
    >>> from crmlab import retention, simulate
    >>> table = simulate.contracts(1000, alpha=0.7, beta=1.2, seed=1)
    >>> retention.survivor_triangle(table, observed_until="2025-12-31")["survivors"].head(3).tolist()
    [1000, 634, 482]
    """
    rng = np.random.default_rng(seed)
    first, until = pd.Timestamp(start), pd.Timestamp(observed_until)
    parts = []
    for cohort in range(cohorts):
        year = first + pd.DateOffset(years=cohort)
        starts = year + pd.to_timedelta(rng.integers(0, 365, customers), unit="D")
        churn = rng.beta(alpha, beta, customers).clip(1e-9, 1 - 1e-15)
        if c == 1:
            renewals = rng.geometric(churn)
        else:  # the first whole t at which (1 - theta)^(t^c) has fallen below a uniform number
            renewals = np.ceil((np.log(rng.uniform(size=customers)) / np.log1p(-churn)) ** (1 / c)).clip(1)
        # Far beyond the last day observed it does not matter when, and a date has its limits.
        renewals = np.minimum(renewals, until.year - year.year + 2)
        ends = pd.Series([s + pd.DateOffset(years=int(n)) for s, n in zip(starts, renewals)])
        parts.append(pd.DataFrame({"start": starts, "end": ends.where(ends <= until)}))
    table = pd.concat(parts, ignore_index=True)
    table = table[table["start"] <= until].reset_index(drop=True)
    table.insert(0, "customer_id", [f"c{i:06d}" for i in range(len(table))])
    return table


def shop(customers, start="2024-01-01", years=2, rate=4.0, shape=1.0, leaving=0.3, amount=30.0, seed=None):
    """Purchases at a shop whose customers differ, come at their own pace, and leave without a word.

    Customers come evenly over the first three quarters of the time. After the first purchase each buys at random with a rate of
    its own (gamma distributed) until it leaves for good, which nobody sees.

    Parameters
    ----------
    customers : int
    start : date-like
        First day of the log.
    years : float
        Length of the log.
    rate, shape : float
        Mean of the purchase rates a year, and shape of their gamma distribution (the smaller, the more customers differ).
    leaving : float
        Probability of leaving within a year.
    amount : float
        Mean amount of a purchase; amounts are exponential, rounded to cents.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``date``, ``amount``, by date.

    Examples
    --------
    >>> from crmlab import simulate
    >>> simulate.shop(100, seed=1)["customer_id"].nunique()
    100
    """
    rng = np.random.default_rng(seed)
    joined = rng.uniform(0, 0.75 * years, customers)
    stay = np.minimum(rng.exponential(-1 / np.log1p(-leaving), customers), years - joined)
    count = rng.poisson(rng.gamma(shape, rate / shape, customers) * stay)
    who = np.concatenate([np.arange(customers), np.repeat(np.arange(customers), count)])
    time = joined[who] + np.append(np.zeros(customers), rng.uniform(size=count.sum())) * stay[who]
    days = (pd.Timestamp(start) + pd.DateOffset(years=years) - pd.Timestamp(start)).days
    log = pd.DataFrame(
        {
            "customer_id": [f"s{i:05d}" for i in who],
            "date": pd.Timestamp(start) + pd.to_timedelta(np.floor(time / years * days), unit="D"),
        }
    )
    log["amount"] = rng.exponential(amount, len(log)).round(2)
    return log.sort_values(["date", "customer_id"], kind="stable").reset_index(drop=True)


def company_case(programme_effect=COMPANY_CASE["programme_effect"], seed=COMPANY_CASE["seed"]):
    """A firm's purchases in the five years after its CRM programme began, by grade of customer.

    Modelled on a company that judged its programme by the share of customers with three or more repeat purchases. Each
    customer has a grade for good, a purchase rate of its own (gamma distributed around the grade's) and a yearly
    probability of leaving for good. From one year to the next the programme multiplies everybody's rate by
    ``1 + programme_effect``, and does nothing else. Sales through agents are not in it: agents do not report who bought.

    Parameters
    ----------
    programme_effect : float, default 0.06
        Growth of the purchase rates a year; 0 is a firm in which nobody's behaviour ever changes.
    seed : int or numpy.random.Generator
        The default makes the bundled data set ``company_case_log``.

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``date``, ``grade`` ("ordinary", "gold", "key account"), one row a purchase, by date. Customers
        who never bought in those years do not appear, as in a real log.

    Examples
    --------
    >>> from crmlab import simulate
    >>> simulate.company_case().groupby("grade")["customer_id"].nunique().to_dict()
    {'gold': 247, 'key account': 8, 'ordinary': 1787}
    """
    rng = np.random.default_rng(seed)
    truth = COMPANY_CASE
    parts = []
    for grade in ("ordinary", "gold", "key account"):
        spec = truth[grade]
        size = spec["customers_at_start"] + spec["joining_a_year"] * truth["years"]
        # Those of the start are there on the first day; the others join evenly.
        joined = np.append(
            np.zeros(spec["customers_at_start"]), rng.uniform(0, truth["years"], size - spec["customers_at_start"])
        )
        rate = rng.gamma(truth["heterogeneity_shape"], spec["purchases_a_year"] / truth["heterogeneity_shape"], size)
        lifetime = (
            rng.exponential(-1 / np.log1p(-spec["leaving_a_year"]), size)
            if spec["leaving_a_year"]
            else np.full(size, np.inf)
        )
        for year in range(truth["years"]):
            begin, end = np.maximum(joined, year), np.minimum(joined + lifetime, year + 1)
            exposure = np.maximum(end - begin, 0)
            count = rng.poisson(rate * (1 + programme_effect) ** year * exposure)
            who = np.repeat(np.arange(size), count)
            when = begin[who] + rng.uniform(size=len(who)) * exposure[who]
            parts.append(
                pd.DataFrame({"customer_id": [f"{grade[0]}{i:04d}" for i in who], "time": when, "grade": grade})
            )
    log = pd.concat(parts)
    first, end = (pd.Timestamp(truth["first_year"] + years, 1, 1) for years in (0, truth["years"]))
    day = np.floor(log.pop("time") / truth["years"] * (end - first).days).astype(int)
    log.insert(1, "date", first + pd.to_timedelta(day, unit="D"))
    return log.sort_values(["date", "customer_id"], kind="stable").reset_index(drop=True)
