"""The key of the retention exercise."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from crmlab import retention, simulate
from crmlab.course.check import Key
from crmlab.likelihood import BoundaryWarning

key = Key("05_retention")
# The section of the lesson to read, where the words of a question would lead to another.
key.read_again = {"3": "Leavers leave"}


@key.data
def data(rng):
    log = _shop(rng)
    table = simulate.contracts(2000, alpha=rng.uniform(0.5, 0.9), beta=rng.uniform(1.0, 3.0), seed=rng)
    triangle = retention.survivor_triangle(table, observed_until="2025-12-31").head(7)
    alive = pd.Series(triangle["survivors"].to_numpy(), index=triangle["age_years"], name="alive")
    firm = pd.Series(
        {
            "rate": rng.integers(70, 93) / 100,
            "margin": float(rng.integers(20, 80)),
            "discount": rng.integers(5, 13) / 100,
        }
    )
    return {"log": log, "alive": alive, "office": _office(rng), "firm": firm}


def _shop(rng):
    """A shop in which the quarters around the one asked for, and the next cohort, all have shares of their own."""
    while True:
        log = simulate.shop(customers=int(rng.integers(500, 700)), start="2024-01-01", years=2, seed=rng)
        activity = retention.cohort_triangle(log, period="quarter").set_index(["cohort", "age_quarters"])["share"]
        shares = np.sort([activity[key] for key in [("2024Q1", 3), ("2024Q1", 2), ("2024Q1", 4), ("2024Q2", 3)]])
        if np.diff(shares).min() > 0.002:
            return log


def _office(rng):
    """Survivors of a small line of business whose customers differ a little, so that the test of it is a close call."""
    while True:
        churn = rng.beta(5, 20, 400)
        renewals = rng.geometric(churn)
        office = pd.Series([int((renewals > age).sum()) for age in range(7)], name="office").rename_axis("age_years")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundaryWarning)
            statistic = _test({"office": office}).statistic
        if 0.5 < statistic < 6:
            return office


def _test(data):
    return retention.likelihood_ratio(retention.fit_geometric(data["office"]), retention.fit_sbg(data["office"]))


def _repeat_share(data, year=2025, **rule):
    return retention.repeat_share(data["log"], **{"at_least": 3} | rule).set_index("period").loc[year, "share"]


@key.question(
    "1",
    expects="a share between 0 and 1, to three decimals",
    hint="repeat_share(log, at_least=3) counts within each year, of the customers active in it; look at the row of 2025.",
    explanation="Repeat purchases of the year, of those who bought in it.",
)
def repeat(data):
    return _repeat_share(data)


@repeat.mistake("You counted the first purchase too. The rule speaks of repeat purchases: leave count_first at False.")
def _(data):
    return _repeat_share(data, count_first=True)


@repeat.mistake(
    "You counted all purchases since the start. Take window='year': a cumulative count rises with age alone."
)
def _(data):
    return _repeat_share(data, window="cumulative")


@repeat.mistake(
    "You divided by everybody who ever bought. The question asks for those who bought in 2025: base='active'."
)
def _(data):
    return _repeat_share(data, base="ever")


@repeat.mistake("This is the share of 2024. Look at the row of 2025.")
def _(data):
    return _repeat_share(data, year=2024)


def _cohort(data, age, cohort="2024Q1"):
    activity = retention.cohort_triangle(data["log"], period="quarter")
    return activity[(activity["cohort"] == cohort) & (activity["age_quarters"] == age)].iloc[0]


@key.question(
    "2",
    expects="a share between 0 and 1, to three decimals",
    hint="cohort_triangle(log, period='quarter') has a row for each cohort and age; the quarter of the first purchase has age 0.",
    explanation="Age counts the quarters since the first one, which is 0.",
)
def active(data):
    return _cohort(data, 3)["share"]


@active.mistake(
    "This is one quarter too early: the quarter of the first purchase has age 0, so three quarters later is age 3."
)
def _(data):
    return _cohort(data, 2)["share"]


@active.mistake(
    "This is one quarter too late: the quarter of the first purchase has age 0, so three quarters later is age 3."
)
def _(data):
    return _cohort(data, 4)["share"]


@active.mistake("This is the cohort of the second quarter of 2024. Take those who came in the first.")
def _(data):
    return _cohort(data, 3, "2024Q2")["share"]


@key.question(
    "3",
    expects="a share between 0 and 1, to three decimals",
    hint="fit_sbg(alive) gives a fit; its survival(t) is the share of the starting customers left at age t.",
    explanation="The sBG survivor function at age 10, years beyond the data.",
)
def projection(data):
    return retention.fit_sbg(data["alive"]).survival(10)


@projection.mistake(
    "You used one constant rate (fit_geometric). It forgets that leavers leave first, and expects too few to be left."
)
def _(data):
    return retention.fit_geometric(data["alive"]).survival(10)


@projection.mistake(
    "This is the retention rate at the tenth renewal: of those who were left then. The question asks for the share of all who started."
)
def _(data):
    return retention.fit_sbg(data["alive"]).retention_rate(10)


@projection.mistake("This is the share that has gone by year 10. The question asks for those still there.")
def _(data):
    return 1 - retention.fit_sbg(data["alive"]).survival(10)


@key.question(
    "4",
    expects='one of the words "prove", "disprove", "cannot tell"',
    hint="Think of a base in which nobody ever changes, but customers differ. What does its retention rate do?",
    explanation="Customers who differ but never change give the same rising rate as customers who grow fonder. Survivors alone cannot tell the two apart.",
    choices=("prove", "disprove", "cannot tell"),
)
def loyalty(data):
    return "cannot tell"


@loyalty.mistake(
    "The rate also rises if nobody changes: those who leave easily leave first. So a rising rate is no proof."
)
def _(data):
    return "prove"


@loyalty.mistake(
    "That leavers leave first is a sufficient explanation, not the only one: customers may grow fonder as well. The survivors do not exclude it."
)
def _(data):
    return "disprove"


def _left(data, fit=retention.fit_sbg, made=3, discount=0.1, **when):
    return 100 * fit(data["alive"]).residual_lifetime(made, discount, **when)


@key.question(
    "5",
    expects="an amount of money, to two decimals",
    within=0.005,
    hint="fit_sbg(alive) gives a fit; its residual_lifetime(renewals, discount) counts payments of 1.",
    explanation="A hundred for each discounted payment still expected of a customer who has renewed three times.",
)
def residual(data):
    return _left(data)


@residual.mistake(
    "This is the value of a new customer. One who has renewed three times is likelier to stay: renewals=3."
)
def _(data):
    return _left(data, made=0)


@residual.mistake(
    "You used one constant rate (fit_geometric), under which a customer of three renewals is like a new one."
)
def _(data):
    return _left(data, fit=retention.fit_geometric)


@residual.mistake(
    "You put the next payment a year away. It falls due now, so it is not discounted: next_payment='now'."
)
def _(data):
    return _left(data, next_payment="after_one_period")


@residual.mistake("This counts payments, not money: each of them is 100.")
def _(data):
    return _left(data) / 100


@key.question(
    "6",
    expects="a p-value between 0 and 1, to three decimals",
    hint="likelihood_ratio(fit_geometric(office), fit_sbg(office)) has the p_value, and says in null what it compared with.",
    explanation="One constant rate lies at the edge of the sBG model, so half of the null distribution is a zero.",
)
def p_value(data):
    return _test(data).p_value


@p_value.mistake(
    "You compared with chi-square of one degree of freedom. One constant rate lies on the edge of the sBG model: without heterogeneity half of all samples give a statistic of 0, so the p-value is half of that."
)
def _(data):
    return stats.chi2.sf(_test(data).statistic, 1)


@p_value.mistake(
    "You compared with chi-square of two degrees of freedom. The sBG model has one parameter more, not two."
)
def _(data):
    return stats.chi2.sf(_test(data).statistic, 2)


@p_value.mistake(
    "This is the statistic. The question asks how probable one as large would be if all customers were alike."
)
def _(data):
    return _test(data).statistic


@p_value.mistake(
    "This is half the statistic: the gain in log-likelihood. The question asks for the p-value of the test."
)
def _(data):
    return _test(data).statistic / 2


def _worth(data, points=0.05, discount=None):
    firm = data["firm"]
    discount = firm["discount"] if discount is None else discount
    return retention.profit_curve([firm["rate"]], margin=firm["margin"], discount=discount, points=points).iloc[0]


@key.question(
    "7",
    expects="an amount of money, to two decimals",
    within=0.005,
    hint="profit_curve([rate], margin=, discount=, points=0.05) has a column break_even.",
    explanation="What five points add to a customer's value, spread over the discounted years that it stays.",
)
def break_even(data):
    return _worth(data)["break_even"]


@break_even.mistake(
    "This is the whole gain in a customer's value. The programme costs money every year that the customer stays: take break_even."
)
def _(data):
    return _worth(data)["gain"]


@break_even.mistake("This is what one point may cost. The programme brings five: points=0.05.")
def _(data):
    return _worth(data, points=0.01)["break_even"]


@break_even.mistake("You left out the discount: discount=0. Margins far away count less.")
def _(data):
    return _worth(data, discount=0)["break_even"]


@break_even.mistake("This is a share of the margin. The question asks for money: pass the firm's margin.")
def _(data):
    return _worth(data)["break_even"] / data["firm"]["margin"]
