"""The key of the delivered-value exercise."""

import numpy as np
import pandas as pd

from crmlab import delivered_value, simulate
from crmlab.course.check import Key
from crmlab.delivered_value import COST, VALUE

key = Key("01_delivered_value")
# The section of the lesson to read, where the words of a question would lead to another.
key.read_again = {"2": "The other way: ask for ratings", "3": "The bank: an experiment"}

_EIGHT = " + ".join(VALUE + COST)


@key.data
def data(rng):
    # Drawn again where two of the answers that somebody may give would be taken for each other.
    while True:
        drawn = _draw(rng)
        if _told_apart(drawn):
            return drawn


def _draw(rng):
    worth = {"time": -rng.uniform(0.04, 0.06), "money": -rng.uniform(0.14, 0.18)}
    choices = simulate.delivered_value_choices(customers=250, part_worths=worth, seed=rng)
    offers = pd.DataFrame(simulate.DELIVERED_VALUE["offers"]).T.rename_axis("alternative")
    offers.loc["branch", "time"] = int(rng.integers(22, 29))
    survey = simulate.delivered_value_survey(customers=200, items=1, seed=rng)
    survey = survey.rename(columns=lambda name: name.removesuffix("_1"))
    points = {name: int(rng.integers(4, 12)) for name in VALUE + COST}
    points |= {"money": int(rng.integers(22, 32)), "time": int(rng.integers(14, 20))}
    points |= {"personnel": int(rng.integers(13, 18))}
    return {
        "choices": choices,
        "offers": offers,
        "survey": survey[["customer_id", "firm", *VALUE, *COST]],
        "importance": points,
        "cost": round(float(rng.uniform(1.1, 1.9)), 2),
    }


def _told_apart(drawn):
    fit = _fit(drawn)
    lead = fit.delivered_value(drawn["offers"], "rival").loc["branch"]
    beyond = lead["delivered_value"]
    app = fit.delivered_value(drawn["offers"], "app").loc["branch", "delivered_value"]
    row = _plan(drawn)
    ratio = row["value_per_cost"]
    value, cost = _leads(drawn)
    alike = np.subtract(*_leads(drawn, dict.fromkeys(VALUE + COST, 1)))
    at_ten = _plan(drawn, time=10)["value_per_cost"]
    worth, money = fit.params["time"], fit.params["money"]
    bare = _fit(drawn, _EIGHT).params
    left = row["value_gained"] - row["cost"]
    answers = [
        ([60 * worth / money, 60 * bare["time"] / bare["money"], worth / money, money / worth, -60 * worth], 0.02),
        ([value - cost, alike, value, value + cost, cost - value], 0.003),
        ([beyond, -beyond, app, beyond - lead["constant"], beyond - lead["money"]], 0.02),
        ([ratio, row["value_gained"], left, at_ten, row["surplus_change"] / row["cost"], 1 / ratio], 0.02),
    ]
    return all(np.diff(np.sort(values)).min() > apart for values, apart in answers)


@key.question(
    "1",
    expects='one of the words "value", "cost", "both", "neither"',
    hint="The eight components: product, service, personnel, image; money, time, energy, effort. Into which of them do ten minutes on the phone fall?",
    explanation="Ten minutes of a customer's time are a cost that is gone. What the customer gets, an answer, is the same.",
    choices=("value", "cost", "both", "neither"),
)
def total(data):
    return "cost"


@total.mistake("The customer gets the same answer as before. What has changed is what it takes to get it: time.")
def _(data):
    return "value"


@total.mistake("The same ten minutes cannot be counted twice, once as better service and once as time saved.")
def _(data):
    return "both"


@total.mistake("Money is one cost of four. The fee is the same, but ten minutes need no longer be given up.")
def _(data):
    return "neither"


def _leads(data, points=None):
    """By how much the branch has more value, and more cost, than the rival: by hand, which is quicker than the scorecard."""
    points = pd.Series(points or data["importance"])
    means = data["survey"].groupby("firm")[[*VALUE, *COST]].mean()
    part = points / points.sum() * (means.loc["branch"] - means.loc["rival"])
    return part[list(VALUE)].sum(), part[list(COST)].sum()


@key.question(
    "2",
    expects="a difference in points, to three decimals, with its sign",
    hint='scorecard(data["survey"], importance=data["importance"]).summary() has the delivered value of each firm under "estimate".',
    explanation="Weights times mean ratings, value minus cost, branch minus rival.",
)
def score(data):
    return np.subtract(*_leads(data))


@score.mistake("You let all components count alike. Hand in the points: importance=data['importance'].")
def _(data):
    return np.subtract(*_leads(data, dict.fromkeys(VALUE + COST, 1)))


@score.mistake(
    "This is the difference in total customer value. The costs have still to be taken off: look at 'estimate'."
)
def _(data):
    return _leads(data)[0]


@score.mistake(
    "You added the costs instead of subtracting them: a high rating of a cost means that there is much of it."
)
def _(data):
    return sum(_leads(data))


@score.mistake("This is the rival minus the branch. The question asks for the branch minus the rival.")
def _(data):
    return -np.subtract(*_leads(data))


def _fit(data, formula=_EIGHT + " + C(alternative)"):
    columns = {"occasion": "occasion", "alternative": "alternative", "chosen": "chosen", "cluster": "customer_id"}
    return delivered_value.fit_choice(data["choices"], **columns, price="money", formula=formula)


@key.question(
    "3",
    expects="dollars for an hour, to two decimals, positive",
    hint='fit_choice(..., formula="product + ... + effort + C(alternative)", price="money") gives a fit; value_of_an_hour("time") turns minutes into hours.',
    explanation="The part-worth of a minute over that of a dollar, times sixty.",
    within=0.006,
)
def hour(data):
    return _fit(data).value_of_an_hour("time").loc["time", "estimate"]


@hour.mistake("This is the worth of a minute. An hour has sixty.")
def _(data):
    return _fit(data).value_of_an_hour("time").loc["time", "estimate"] / 60


@hour.mistake("This is how many minutes a dollar is worth: price over time. Take time over price, and sixty minutes.")
def _(data):
    return _fit(data).params["money"] / _fit(data).params["time"]


@hour.mistake(
    "Your formula has no constants: what is liked about an alternative goes to its attributes. Add C(alternative)."
)
def _(data):
    return _fit(data, _EIGHT).value_of_an_hour("time").loc["time", "estimate"]


@hour.mistake("This is the part-worth of an hour, in units of utility. Divide by the part-worth of a dollar.")
def _(data):
    return -60 * _fit(data).params["time"]


@hour.mistake(
    "You divided the wrong way round: this is the hours that a dollar is worth, times sixty squared. Take time over money."
)
def _(data):
    return 60 * _fit(data).params["money"] / _fit(data).params["time"]


@hour.mistake(
    "This is what an hour more is worth to them, which is negative. The question asks for the worth of an hour that they are spared."
)
def _(data):
    return -_fit(data).value_of_an_hour("time").loc["time", "estimate"]


def _beyond(data, offer="branch", reference="rival", column="delivered_value"):
    return _fit(data).delivered_value(data["offers"], reference=reference).loc[offer, column]


@key.question(
    "4",
    expects="dollars a month, to two decimals, with its sign",
    hint='fit.delivered_value(data["offers"], reference="rival") has a row for each offer.',
    explanation="The difference of the two utilities over the worth of a dollar: the sum of all components and the constant.",
    within=0.006,
)
def beyond(data):
    return _beyond(data)


@beyond.mistake("This is the rival beyond the branch. The reference is the rival, and the row is the branch.")
def _(data):
    return _beyond(data, "rival", "branch")


@beyond.mistake("This is the branch beyond the app. The reference is the rival.")
def _(data):
    return _beyond(data, "branch", "app")


@beyond.mistake("You left the constant out: what the eight attributes do not explain is delivered too.")
def _(data):
    return _beyond(data) - _beyond(data, column="constant")


@beyond.mistake("You left the fee out. Delivered value is after all costs, and money is one of them.")
def _(data):
    return _beyond(data) - _beyond(data, column="money")


def _plan(data, **branch):
    changes = {"shorter": {"branch": branch or {"time": lambda minutes: minutes - 10}}}
    return _fit(data).what_if(data["offers"], changes, costs={"shorter": data["cost"]}).loc["shorter"]


@key.question(
    "5",
    expects="dollars for a dollar, to two decimals",
    hint="what_if(offers, changes, costs={...}) has the column value_per_cost. The new time of the branch is its old one less ten.",
    explanation="What ten minutes are worth, over what they cost. Above 1 it beats a price cut, which gives a dollar for a dollar.",
    within=0.006,
)
def plan(data):
    return _plan(data)["value_per_cost"]


@plan.mistake("This is what the customer gains. Divide it by what the change costs the bank.")
def _(data):
    return _plan(data)["value_gained"]


@plan.mistake("This is what is left after the cost. The question asks for a ratio: divide.")
def _(data):
    row = _plan(data)
    return row["value_gained"] - row["cost"]


@plan.mistake("You set the time to ten minutes. The question shortens it by ten.")
def _(data):
    return _plan(data, time=10)["value_per_cost"]


@plan.mistake(
    "This divides the gain of the average customer in the whole market. The question asks for a customer of the branch: value_gained."
)
def _(data):
    row = _plan(data)
    return row["surplus_change"] / row["cost"]


@plan.mistake("You divided the cost by the gain. The question asks for the gain for each dollar of cost.")
def _(data):
    return 1 / _plan(data)["value_per_cost"]


@key.question(
    "6",
    expects='one of the words "hate", "patience", "nothing"',
    hint="Who wrote down the times of the chosen offers, and who the others? What would the model find if customers did not care at all?",
    explanation="Chosen and unchosen offers were measured in two ways, so the column tells which was chosen. Customers who do not care would give such a coefficient too.",
    choices=("hate", "patience", "nothing"),
)
def leak(data):
    return "nothing"


@leak.mistake(
    "A lottery among the offers would give such a coefficient too, if the stated times are shorter than the catalogue's."
)
def _(data):
    return "hate"


@leak.mistake(
    "That the coefficient is flawed does not prove the opposite. Customers may be impatient; this column cannot say."
)
def _(data):
    return "patience"
