"""The key of the loyalty exercise."""

import numpy as np

from crmlab import loyalty, simulate
from crmlab.course.check import Key

key = Key("04_loyalty")
# The section of the lesson to read, where the words of a question would lead to another.
key.read_again = {"1": "Five reasons to stay"}

ATTITUDE, PATRONAGE = 4.25, 0.5
FORMULA = "price + promotion"


@key.data
def data(rng):
    case = rng.choice(["below", "lower half", "upper half", "above"], p=[1 / 3, 1 / 6, 1 / 6, 1 / 3])
    while True:
        panel = simulate.loyalty_panel(int(rng.integers(900, 1100)), weeks=26, seed=rng)
        posterior = simulate.loyalty_posterior(panel.answers)
        households = int(rng.integers(120, 160))
        found = {
            "purchases": panel.purchases,
            "answers": panel.answers,
            "items": panel.items(),
            "customers": panel.customers,
            "classes": posterior.idxmax(axis=1).rename("class"),
            "choices": simulate.brand_choices(households, 12, state=rng.uniform(0.5, 1.0), seed=rng),
        }
        if _fit(found).followed < 12:
            continue
        if _fit(found).survival([6, 12])["std_error"].isna().any():
            continue  # of some type nobody left, and the error is not known
        held = _held(found)
        # The cost lies well inside the interval, above or below the estimate, or clearly outside.
        down, up = held["estimate"] - held["lower"], held["upper"] - held["estimate"]
        away = {"below": -1.3 * down, "lower half": -0.5 * down, "upper half": 0.5 * up, "above": 1.3 * up}[case]
        found["cost"] = float(np.round(held["estimate"] + away, -1))
        if found["cost"] < 1000:
            continue  # no discount costs so little
        # No mistake comes out like the answer, or like another, by chance.
        if all(key.questions[number].told_apart(found) for number in "23456"):
            return found


_made = {}  # what the mistakes of several questions need, for the data looked at last


def _once(data, name, compute):
    if _made.get("of") is not data["purchases"]:
        _made.clear()
        _made["of"] = data["purchases"]
    if name not in _made:
        _made[name] = compute()
    return _made[name]


def _wallet(data):
    return _once(data, "wallet", lambda: loyalty.share_of_wallet(data["purchases"], "ours").customers["share"])


def _scores(data):
    return _once(data, "scores", lambda: loyalty.attitude_scales(data["answers"], data["items"]).scores)


def _held(data):
    fit = _fit(data)
    margin = data["customers"].groupby("type", observed=True)["margin"].mean()
    return fit.value_at_risk(margin, 12).loc[("discount ends", "all")]


@key.question(
    "1",
    expects="one of the five types, as a word",
    hint="Ask what would make this customer leave: a better price, a new shop, a breach of trust, people who go?",
    explanation="Habit holds this customer. A rival next door would be handier still, and the habit would move there.",
    choices=loyalty.TYPES[:-1],
)
def portrait(data):
    return "inertia"


@portrait.mistake(
    "A customer who stays out of trust would be satisfied and would think more of this shop than of others."
)
def _(data):
    return "trust"


@portrait.mistake(
    "There are two other shops: nobody is captive here. The customer has not looked at them, which is something else."
)
def _(data):
    return "monopoly"


@portrait.mistake("Who stays for a benefit knows prices. This customer has not compared any for years.")
def _(data):
    return "benefit"


@key.question(
    "2",
    expects="a share between 0 and 1, to three decimals",
    hint="share_of_wallet(...).summary() has a row for all spending.",
    explanation="Money spent here over money spent at all suppliers, all customers together.",
)
def wallet(data):
    rows = data["purchases"]
    return rows.loc[rows["supplier"] == "ours", "amount"].sum() / rows["amount"].sum()


@wallet.mistake(
    "This is the mean of the customers' shares. It counts a small wallet as much as a large one; the question asks for the share of the money."
)
def _(data):
    return _wallet(data).mean()


@wallet.mistake("This is the share of purchases. Baskets differ in size, and the question asks for money.")
def _(data):
    return (data["purchases"]["supplier"] == "ours").mean()


@wallet.mistake(
    "This is the share of customers who spend more than half of their money here, not the share of the money."
)
def _(data):
    return (_wallet(data) > 0.5).mean()


@wallet.mistake(
    "This is our spending over that of the others. A share of wallet has everything in its denominator, our own part too."
)
def _(data):
    share = wallet.answer(data)
    return share / (1 - share)


def _cells(data):
    def compute():
        share = _wallet(data)
        return loyalty.dick_basu(_scores(data)["attitude"].reindex(share.index), share, ATTITUDE, PATRONAGE)

    return _once(data, "cells", compute)


@key.question(
    "3",
    expects="a share between 0 and 1, to three decimals",
    hint="attitude_scales gives the score, share_of_wallet the patronage; dick_basu puts them together.",
    explanation="They come, and do not think more of this shop than of others: something else holds them.",
)
def spurious(data):
    return _cells(data).summary().loc["spurious", "estimate"]


@spurious.mistake(
    "This is their share among customers with high patronage. The question asks for the share of all customers."
)
def _(data):
    found = _cells(data).summary()["estimate"]
    return found["spurious"] / (found["spurious"] + found["true"])


@spurious.mistake(
    "This is latent loyalty: they think highly of the shop and buy elsewhere. Spurious is the other way round."
)
def _(data):
    return _cells(data).summary().loc["latent", "estimate"]


@spurious.mistake(
    "This is the share with a low attitude, whatever they buy. Without high patronage it is no loyalty, not a spurious one."
)
def _(data):
    found = _cells(data).summary()["estimate"]
    return found["spurious"] + found["none"]


@spurious.mistake("You took the first question of the scale alone. The score is the mean of both.")
def _(data):
    share = _wallet(data)
    first = data["answers"].set_index("customer_id")["attitude_1"].reindex(share.index)
    return ((first < ATTITUDE) & (share >= PATRONAGE)).mean()


def _rules(data):
    return _once(data, "rules", lambda: loyalty.typology(_scores(data)).customers["type"])


def _agreement(data):
    return _once(
        data, "agreement", lambda: loyalty.agreement(_rules(data), data["classes"], draws=2).summary()["estimate"]
    )


@key.question(
    "4",
    expects="a number up to 1, to three decimals",
    hint="typology(scores).customers['type'] has the types by rule; agreement(first, second).summary() has three measures.",
    explanation="Kappa takes off the agreement that chance would give with these frequencies of types.",
)
def kappa(data):
    return _agreement(data)["kappa"]


@kappa.mistake("This is the share of customers on whom both agree. Part of it is chance; kappa takes that off.")
def _(data):
    return _agreement(data)["agreement"]


@kappa.mistake("This is the adjusted Rand index, which knows no names of types. The question asks for kappa.")
def _(data):
    return _agreement(data)["adjusted_rand"]


@kappa.mistake(
    "You took one sixth for what chance gives. The types are not equally frequent: multiply the shares of each in both groupings."
)
def _(data):
    same = _agreement(data)["agreement"]
    return (same - 1 / 6) / (1 - 1 / 6)


@kappa.mistake(
    "This is what chance alone would give. Kappa is the agreement beyond it, as a share of what was left to agree on."
)
def _(data):
    rules, classes = _rules(data).astype(str), data["classes"].astype(str)
    return float((rules.value_counts(normalize=True) * classes.value_counts(normalize=True)).sum())


def _order(data):
    return _once(data, "order", lambda: loyalty.state_dependence_test(data["choices"], FORMULA).params)


@key.question(
    "5",
    expects="a number, to two decimals",
    within=0.005,
    hint="Which of the two functions asks only about the order of the purchases?",
    explanation="Of each customer only the order of the brands is used, and taste, of whatever kind, cancels.",
)
def habit(data):
    return _order(data)["bought last time"]


@habit.mistake(
    "This is the estimate with one taste for everybody. Households differ, and their differences pass for habit in it."
)
def _(data):
    fit = _once(data, "one taste", lambda: loyalty.fit_brand_choice(data["choices"], FORMULA))
    return fit.params["bought last time"]


@habit.mistake("This is the coefficient of the promotion. Habit is that of the brand bought last time.")
def _(data):
    return _order(data)["promotion"]


@habit.mistake("This is the odds ratio, the exponential of the answer. The question asks for the coefficient.")
def _(data):
    return float(np.exp(habit.answer(data)))


@habit.mistake("This is the share of purchases that repeat the one before. Taste makes repeats too.")
def _(data):
    rows = data["choices"]
    rows = rows[rows["chosen"] == 1].sort_values(["customer_id", "purchase"])
    brand = rows["brand"].astype(str)
    later = rows["purchase"] > 0
    return float((brand == brand.shift())[later].mean())


def _fit(data):
    def compute():
        return loyalty.fit_durability(data["customers"], "months", "left", group="type", shock="shock")

    return _once(data, "durability", compute)


@key.question(
    "6",
    expects="a difference of two shares, below 0, to three decimals",
    hint="fit_durability(...).difference(12) compares each type with those who met no shock.",
    explanation="Survival with the shock less survival without: what the end of the discount took within a year.",
)
def taken(data):
    return _fit(data).difference(12).loc[("discount ends", "benefit"), "estimate"]


@taken.mistake(
    "This is the share still there a year after the discount ended. Some would have left without that: compare with those who met no shock."
)
def _(data):
    return _fit(data).survival([12]).loc[("discount ends", "benefit", 12.0), "estimate"]


@taken.mistake("The size is right and the sign is not: it is the survival with the shock less the survival without.")
def _(data):
    return -taken.answer(data)


@taken.mistake("This is the difference after 6 months. The question asks for 12.")
def _(data):
    return _fit(data).difference(6).loc[("discount ends", "benefit"), "estimate"]


@taken.mistake(
    "You counted everybody who was lost from sight before month 12 as still there. Nobody knows that of them."
)
def _(data):
    rows = data["customers"]
    rows = rows[rows["type"] == "benefit"]
    gone = rows["left"] & (rows["months"] <= 12)
    by = (1 - gone).groupby(rows["shock"], observed=True).mean()
    return by["discount ends"] - by["none"]


@key.question(
    "7",
    expects='one of the words "pays", "does not pay", "cannot tell"',
    hint="value_at_risk gives what the discount holds, with an interval. Where does the cost lie?",
    explanation="It pays if the cost is below the whole interval of what it holds, and does not if it is above. Inside, these customers do not say.",
    choices=("pays", "does not pay", "cannot tell"),
)
def judgement(data):
    held = _held(data)
    if data["cost"] < held["lower"]:
        return "pays"
    return "does not pay" if data["cost"] > held["upper"] else "cannot tell"


def _by_estimate(data):
    return "pays" if _held(data)["estimate"] > data["cost"] else "does not pay"


@judgement.mistake(
    "Hold the cost against the whole interval of what is held. If it lies inside, the estimate alone says nothing; if it lies outside, the data do say."
)
def _(data):
    return _by_estimate(data) if judgement.answer(data) == "cannot tell" else "cannot tell"


@judgement.mistake(
    "This is the wrong way round: the estimate of what is held lies on the other side of the cost. Then ask whether the interval has the cost in it."
)
def _(data):
    return "does not pay" if _by_estimate(data) == "pays" else "pays"
