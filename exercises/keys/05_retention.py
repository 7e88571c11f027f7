"""The key of the retention exercise."""

import pandas as pd

from crmlab import retention, simulate
from crmlab.course.check import Key

key = Key("05_retention")


@key.data
def data(rng):
    log = simulate.shop(customers=int(rng.integers(500, 700)), start="2024-01-01", years=2, seed=rng)
    table = simulate.contracts(2000, alpha=rng.uniform(0.5, 0.9), beta=rng.uniform(1.0, 3.0), seed=rng)
    triangle = retention.survivor_triangle(table, observed_until="2025-12-31").head(7)
    return {"log": log, "alive": pd.Series(triangle["survivors"].to_numpy(), index=triangle["age_years"], name="alive")}


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
