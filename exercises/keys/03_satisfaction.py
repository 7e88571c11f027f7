"""The key of the satisfaction exercise."""

import numpy as np
import pandas as pd

from crmlab import satisfaction, simulate
from crmlab.course.check import Key

key = Key("03_satisfaction")
MARGIN, CUSTOMERS, UNAVOIDABLE = 90, 20_000, 0.04


@key.data
def data(rng):
    # Drawn again where two of the answers that somebody may give would be taken for each other.
    while True:
        drawn = _draw(rng)
        if all(question.told_apart(drawn) for question in (content, corrected, near)):
            return drawn


def _draw(rng):
    visits = rng.integers(0, 3, 700)
    hidden = rng.uniform(0.4, 0.9) * visits + rng.logistic(size=700)
    rating = 1 + np.digitize(hidden, [-2.0, -1.0, 0.6, 2.0])
    answers = pd.DataFrame({"visits": visits, "rating": rating}).value_counts(sort=False).rename("n").reset_index()
    survey = simulate.satisfaction_survey(500, seed=rng)
    columns = ["customer_id", "market", "rivals", "satisfaction", "satisfaction_again", "loyalty"]
    panel = simulate.satisfaction_panel(1500, seed=rng).drop(columns=["score", "answered_again", "satisfaction_again"])
    return {"answers": answers, "survey": survey[columns], "panel": panel}


def _cars(data):
    return data["survey"][data["survey"]["market"] == "cars"]


def _rated(data, visits=2, weights="n"):
    fit = satisfaction.fit_ordered("rating ~ visits", data["answers"], weights=weights)
    return fit, pd.DataFrame({"visits": [visits]})


@key.question(
    "1",
    expects="a share between 0 and 1, to three decimals",
    hint="fit_ordered('rating ~ visits', answers, weights='n') gives a fit; its probabilities(new, at_least=4) takes a table of new customers.",
    explanation="The probability of a 4 or a 5, from one coefficient and the cut point between 3 and 4.",
)
def content(data):
    fit, new = _rated(data)
    return fit.probabilities(new, at_least=4)["estimate"].item()


@content.mistake("You let every row count as one customer. Each row stands for n of them: weights='n'.")
def _(data):
    fit, new = _rated(data, weights=None)
    return fit.probabilities(new, at_least=4)["estimate"].item()


@content.mistake("This is the probability of a 4 alone. A 5 is satisfied as well: at_least=4.")
def _(data):
    fit, new = _rated(data)
    return fit.probabilities(new).set_index("rating").loc[4, "estimate"]


@content.mistake("This is the probability of a 3 or less. The question asks for a 4 or a 5.")
def _(data):
    fit, new = _rated(data)
    return 1 - fit.probabilities(new, at_least=4)["estimate"].item()


@content.mistake("This is a customer with one visit. The question asks for one with two.")
def _(data):
    fit, new = _rated(data, visits=1)
    return fit.probabilities(new, at_least=4)["estimate"].item()


@key.question(
    "2",
    expects="points of loyalty for one point of satisfaction, to three decimals",
    hint="fit_curve(cars, 'threshold') has the parameters 'slope below' and 'change of slope'; what is the slope above?",
    explanation="Above the threshold the slope is the one below plus its change.",
)
def above(data):
    params = satisfaction.fit_curve(_cars(data), "threshold").params
    return params["slope below"] + params["change of slope"]


@above.mistake("This is the change of the slope. Above the threshold it comes on top of the slope below.")
def _(data):
    return satisfaction.fit_curve(_cars(data), "threshold").params["change of slope"]


@above.mistake("The change is added, not taken off.")
def _(data):
    params = satisfaction.fit_curve(_cars(data), "threshold").params
    return params["slope below"] - params["change of slope"]


@above.mistake("This is the slope below the threshold.")
def _(data):
    return satisfaction.fit_curve(_cars(data), "threshold").params["slope below"]


@above.mistake("This is the slope of one straight line, which mixes the two. Take shape 'threshold'.")
def _(data):
    return satisfaction.fit_curve(_cars(data), "linear").params["slope"]


@above.mistake("You took all markets together. The question is about cars.")
def _(data):
    params = satisfaction.fit_curve(data["survey"], "threshold").params
    return params["slope below"] + params["change of slope"]


def _product(data):
    return satisfaction.fit_linear("loyalty ~ satisfaction * rivals", data["survey"])


@key.question(
    "3",
    expects="points of loyalty for one point of satisfaction, to three decimals",
    hint="simple_slopes(fit, 'satisfaction', 'rivals', at=[8]) adds to the coefficient of satisfaction what eight rivals do to it.",
    explanation="The coefficient of satisfaction plus eight times that of the product.",
)
def slope(data):
    return satisfaction.simple_slopes(_product(data), "satisfaction", "rivals", at=[8])["estimate"].item()


@slope.mistake("This is the coefficient of satisfaction: the slope for a customer without any rival.")
def _(data):
    return _product(data).params["satisfaction"]


@slope.mistake("This is what one rival adds. Take eight of them, and the slope of a customer without any.")
def _(data):
    return _product(data).params["satisfaction:rivals"]


@slope.mistake("You took the effect of the rivals off. Each rival adds the coefficient of the product.")
def _(data):
    params = _product(data).params
    return params["satisfaction"] - 8 * params["satisfaction:rivals"]


@slope.mistake("Your formula has no product, so the slope is the same for everybody: satisfaction * rivals.")
def _(data):
    return satisfaction.fit_linear("loyalty ~ satisfaction + rivals", data["survey"]).params["satisfaction"]


_TWICE = ["satisfaction", "satisfaction_again"]


def _corrected(data, rho, rows=None):
    rows = _cars(data) if rows is None else rows
    return satisfaction.fit_corrected("loyalty ~ satisfaction", rows, "satisfaction", rho).params["satisfaction"]


def _rho(data, of="single", rows=None):
    return satisfaction.reliability(data["survey"] if rows is None else rows, _TWICE, of=of)["estimate"].item()


def _naive(data):
    return satisfaction.fit_linear("loyalty ~ satisfaction", _cars(data)).params["satisfaction"]


@key.question(
    "4",
    expects="points of loyalty for one point of satisfaction, to three decimals",
    hint="reliability(survey, [the two answers], of='single') first; then fit_corrected(formula, cars, 'satisfaction', that number).",
    explanation="The slope as measured, divided by the reliability of a single answer.",
)
def corrected(data):
    return _corrected(data, _rho(data))


@corrected.mistake("This is the slope as measured, without correction.")
def _(data):
    return _naive(data)


@corrected.mistake(
    "You multiplied by the reliability. Noise has flattened the slope already: divide, or let fit_corrected do it."
)
def _(data):
    return _naive(data) * _rho(data)


@corrected.mistake(
    "You took the reliability of the mean of both answers. The slope is that of one answer, which is less reliable: of='single'."
)
def _(data):
    return _corrected(data, _rho(data, of="mean"))


@corrected.mistake(
    "This is the slope over all markets, corrected. The reliability is that of all; the slope is that of cars."
)
def _(data):
    return _corrected(data, _rho(data), data["survey"])


@corrected.mistake("You divided by the root of the reliability. That corrects a correlation, not a slope.")
def _(data):
    return _naive(data) / np.sqrt(_rho(data))


def _trap(data, satisfied="satisfaction >= 4"):
    return satisfaction.trap(data["panel"], satisfied=satisfied, loyal="repurchased")


@key.question(
    "5",
    expects="a share between 0 and 1, to three decimals",
    hint="trap(panel, satisfied='satisfaction >= 4', loyal='repurchased') has a method who(by) that gives the share in each group.",
    explanation="Of the satisfied customers with a rival nearby, those who did not buy again.",
)
def near(data):
    return _trap(data).who("rival_nearby").loc[True, "estimate"]


@near.mistake(
    "This is the share among all satisfied customers. Look at those with a rival nearby: who('rival_nearby')."
)
def _(data):
    return _trap(data).summary().loc["trap", "estimate"]


@near.mistake("These are the customers without a rival nearby.")
def _(data):
    return _trap(data).who("rival_nearby").loc[False, "estimate"]


@near.mistake("This is the share of the trap that has a rival nearby. The question asks the other way round.")
def _(data):
    return _trap(data).who("rival_nearby").loc[True, "of_trap"]


@near.mistake("These are all customers with a rival nearby. Of the satisfied only.")
def _(data):
    return 1 - data["panel"].groupby("rival_nearby")["repurchased"].mean()[True]


@near.mistake("This is the share who came back. The trap holds those who did not.")
def _(data):
    return 1 - _trap(data).who("rival_nearby").loc[True, "estimate"]


def _cost(data, **arguments):
    known = {"margin": MARGIN, "customers": CUSTOMERS, "unavoidable": UNAVOIDABLE} | arguments
    return _trap(data).cost(**known).loc["cost", "estimate"]


@key.question(
    "6",
    expects="euros a year, to the whole euro",
    hint="trap(...).cost(margin=, customers=, unavoidable=) multiplies out what the question says.",
    explanation="Customers times the share satisfied, times what leaves beyond the 4 %, times the margin.",
    within=1,
)
def cost(data):
    return _cost(data)


@cost.mistake("You counted the 4 % who would leave whatever one does: unavoidable=0.04.")
def _(data):
    return _cost(data, unavoidable=0.0)


@cost.mistake("This is the cost among those who were asked. The firm has 20,000 customers: customers=20_000.")
def _(data):
    return _cost(data, customers=None)


@cost.mistake("You took all 20,000 customers as satisfied. Only a part of them is.")
def _(data):
    return CUSTOMERS * MARGIN * (_trap(data).summary().loc["trap", "estimate"] - UNAVOIDABLE)


@cost.mistake("You took 4 % off the sum. They are 4 % of the satisfied customers.")
def _(data):
    return (1 - UNAVOIDABLE) * _cost(data, unavoidable=0.0)


@cost.mistake("You took 4 % off all customers. They are 4 % of the satisfied ones.")
def _(data):
    return CUSTOMERS * MARGIN * (_trap(data).summary().loc["trap, of all customers", "estimate"] - UNAVOIDABLE)


@key.question(
    "7",
    expects='one of "larger survey", "better fit", "reliable score", "experiment"',
    hint="Which of the four would still leave open whether those who praise the service would have stayed anyway?",
    explanation="Only if chance decides who gets the better service are the other reasons for staying the same in both groups. The other three make the number more exact, not more causal.",
    choices=("larger survey", "better fit", "reliable score", "experiment"),
)
def proof(data):
    return "experiment"


@proof.mistake(
    "More customers narrow the interval. It closes in on the same number, whether or not service is a cause."
)
def _(data):
    return "larger survey"


@proof.mistake(
    "A model can fit perfectly and still confuse a cause with a companion. The fit does not see the difference."
)
def _(data):
    return "better fit"


@proof.mistake("A better measure of satisfaction makes its slope right. Whether service is a cause, it cannot tell.")
def _(data):
    return "reliable score"
