"""The key of the lifecycle exercise."""

import numpy as np

from crmlab import lifecycle, simulate
from crmlab.course.check import Key

key = Key("02_lifecycle")
# The section of the lesson to read, where the words of a question would lead to another.
key.read_again = {"6": "Who goes where"}

SILENCE = 60


@key.data
def data(rng):
    log = simulate.shop(int(rng.integers(800, 1000)), years=2, rate=rng.uniform(4, 8), seed=rng)
    # New customers came until the end, so some are still trying when the log ends.
    log = log[log["date"] < "2025-05-15"].reset_index(drop=True)
    days = log.drop_duplicates(["customer_id", "date"]).groupby("customer_id")["date"]
    # A customer who fell silent after a few purchases, and came back.
    since = (days.max() - days.min()).dt.days
    candidates = [who for who in since[since > 200].index if _suits(log, who)]
    customer = candidates[int(rng.integers(len(candidates)))]
    while True:
        found = {"log": log, "customer": customer, "episodes": _episodes(rng)}
        # No mistake of the questions on the episodes comes out like the answer, or like another, by chance.
        if all(key.questions[number].told_apart(found) for number in "3456"):
            break
    while True:
        found["company"] = _company(rng)
        if all(key.questions[number].told_apart(found) for number in ("8", "9", "10")):
            return found


def _episodes(rng):
    faster = rng.uniform(0.8, 1.2)
    hazards = {move: faster * hazard for move, hazard in simulate.LIFECYCLE["hazards"].items()}
    size = int(rng.integers(900, 1200))
    stays = simulate.lifecycle(size, months=36, joining=30, hazards=hazards, effects={}, seed=rng)
    return stays[["customer_id", "phase", "entry", "exit", "next_phase"]]


def _company(rng):
    faster = rng.uniform(0.8, 1.2)
    hazards = {move: faster * hazard for move, hazard in simulate.LIFECYCLE["hazards"].items()}
    return simulate.lifecycle(int(rng.integers(1200, 1500)), hazards=hazards, ties=True, seed=rng)


def _purchases(log, customer):
    dates = log.loc[log["customer_id"] == customer, "date"].drop_duplicates().sort_values()
    return (dates - dates.iloc[0]).dt.days.tolist()


def _first_gap(days):
    return next(((a, b) for a, b in zip(days, days[1:]) if b - a > SILENCE), (0, 0))


def _suits(log, customer):
    days = _purchases(log, customer)
    last, back = _first_gap(days)
    if not (last > 0 and back - last > SILENCE + 10):
        return False
    # Silent once more at the end, so that there is a last decline; and no mistake comes out like another by chance.
    first = log.loc[log["customer_id"] == customer, "date"].min()
    again = (log["date"].max() - first).days >= days[-1] + SILENCE
    values = sorted([last + SILENCE, last, back, days[-1] + SILENCE, (last + SILENCE) / 7])
    return again and min(b - a for a, b in zip(values, values[1:])) > 1


def _days(data):
    return _purchases(data["log"], data["customer"])


@key.question(
    "1",
    expects="a whole number of days",
    hint="Go along the purchases until a gap is longer than 60 days. When could somebody who does not know the future see it?",
    explanation="Decline begins on the day on which 60 days of silence are complete.",
)
def decline_day(data):
    return _first_gap(_days(data))[0] + SILENCE


@decline_day.mistake(
    "This is the day of the last purchase before the silence. On that day nobody could know that a silence had begun: decline begins when it is complete."
)
def _(data):
    return _first_gap(_days(data))[0]


@decline_day.mistake(
    "This is the day of the return. Decline begins while the customer is silent, not when the silence ends."
)
def _(data):
    return _first_gap(_days(data))[1]


@decline_day.mistake(
    "This is the last decline, 60 days after the last purchase of all. Look for the first silence of more than 60 days; the customer came back from it."
)
def _(data):
    return _days(data)[-1] + SILENCE


@decline_day.mistake(
    "This is the right day counted in weeks. The question asks for days: phase_episodes(..., unit='day')."
)
def _(data):
    return decline_day.answer(data) / 7


_made = {}  # the stays of the log looked at last: every mistake of question 2 needs them


def _stays(data):
    if _made.get("log") is not data["log"]:
        rule = lifecycle.PhaseRule(silence_days=SILENCE)
        _made.update(log=data["log"], stays=lifecycle.phase_episodes(data["log"], unit="week", rule=rule))
    return _made["stays"]


def _exploration(data):
    stays = _stays(data)
    stays = stays[stays["phase"] == "exploration"]
    return stays.assign(weeks=stays["exit"] - stays["entry"], ended=stays["next_phase"].notna())


@key.question(
    "2",
    expects="a share between 0 and 1, to three decimals",
    hint="phase_episodes makes the stays; fit_time_in_phase(episodes, 'exploration') has survival(t).",
    explanation="The Kaplan-Meier estimate at four weeks: stays that were cut off count for as long as they were seen.",
)
def exploring(data):
    return lifecycle.fit_time_in_phase(_stays(data), "exploration").survival(4)


@exploring.mistake("This is the share that has left exploration by then. The question asks for those still in it.")
def _(data):
    return 1 - lifecycle.fit_time_in_phase(_stays(data), "exploration").survival(4)


@exploring.mistake(
    "You left out the stays that have not ended. They are the long ones: without them everybody seems to move on quickly."
)
def _(data):
    stays = _exploration(data)
    return (stays.loc[stays["ended"], "weeks"] > 4).mean()


@exploring.mistake(
    "You divided the stays seen to last longer than 4 weeks by all stays. Those that were cut off before 4 weeks are then counted as ended."
)
def _(data):
    return (_exploration(data)["weeks"] > 4).mean()


@exploring.mistake("This is the share after 4 days: the times of these episodes have to run in weeks.")
def _(data):
    return lifecycle.fit_time_in_phase(_stays(data), "exploration").survival(4 / 7)


def _fit(data):
    return lifecycle.fit_multistate(data["episodes"])


@key.question(
    "3",
    expects="a number of months, to two decimals",
    within=0.005,
    hint="fit_time_in_phase(episodes, 'build-up').restricted_mean(12) is the mean time within 12 months.",
    explanation="The area under the survivor function up to 12 months.",
)
def mean_time(data):
    return lifecycle.fit_time_in_phase(data["episodes"], "build-up").restricted_mean(12)["estimate"].item()


def _build_up(data):
    stays = data["episodes"]
    stays = stays[stays["phase"] == "build-up"]
    return stays.assign(months=stays["exit"] - stays["entry"])


@mean_time.mistake("You averaged the stays that ended. The stays under way are missing, and they are longer than most.")
def _(data):
    stays = _build_up(data)
    return stays.loc[stays["next_phase"].notna(), "months"].clip(upper=12).mean()


@mean_time.mistake("You averaged all stays as if each had ended where it was cut off.")
def _(data):
    return _build_up(data)["months"].clip(upper=12).mean()


@mean_time.mistake(
    "This is the plain mean of the stays that ended, some of them longer than 12 months. The stays under way are missing, and a stay counts as 12 at most."
)
def _(data):
    stays = _build_up(data)
    return stays.loc[stays["next_phase"].notna(), "months"].mean()


@mean_time.mistake(
    "This is the plain mean of all stays. Those under way are averaged as if each had ended where it was cut off, and a stay counts as 12 at most."
)
def _(data):
    return _build_up(data)["months"].mean()


@mean_time.mistake(
    "This is the time that a customer spends in build-up in their first 12 months with the firm. The question asks for the length of a stay, from its own beginning."
)
def _(data):
    return _fit(data).expected_time(12).loc["build-up", "estimate"]


@key.question(
    "4",
    expects="a share between 0 and 1, to three decimals",
    hint="fit_multistate(episodes).occupancy([12]) has a column for each phase.",
    explanation="The Aalen-Johansen estimate of the share in stability 12 months after the customers came.",
)
def in_stability(data):
    return _fit(data).occupancy([12]).loc[12, "stability"]


@in_stability.mistake(
    "This is the share who have ever been stable by then. Some of them have left the phase again; the question asks who is in it."
)
def _(data):
    return _fit(data).ever_reach("stability", 12)["estimate"].item()


@in_stability.mistake(
    "You counted in which phase each customer was last seen. Customers were followed for different times; the question asks for month 12."
)
def _(data):
    return (data["episodes"].drop_duplicates("customer_id", keep="last")["phase"] == "stability").mean()


@in_stability.mistake(
    "You divided the customers seen in stability at month 12 by all customers. Many were not followed for 12 months: of them nobody knows."
)
def _(data):
    stays = data["episodes"]
    there = stays[(stays["entry"] <= 12) & (stays["exit"] > 12) & (stays["phase"] == "stability")]
    return there["customer_id"].nunique() / stays["customer_id"].nunique()


@key.question(
    "5",
    expects="a share between 0 and 1, to three decimals",
    hint="ever_reach('stability', horizon) counts a customer from their first arrival on, whatever happens afterwards.",
    explanation="First passage: once reached is reached, and those who fall silent first may still come back and get there.",
)
def ever(data):
    return _fit(data).ever_reach("stability", 24)["estimate"].item()


@ever.mistake("This is the share who are in stability at month 24. Some who got there have left it again.")
def _(data):
    return _fit(data).occupancy([24]).loc[24, "stability"]


@ever.mistake("This is the share by month 12. The question asks for month 24.")
def _(data):
    return _fit(data).ever_reach("stability", 12)["estimate"].item()


@ever.mistake(
    "You divided the customers who were seen in stability by all. Many were cut off before 24 months, some before they could get there."
)
def _(data):
    stays = data["episodes"]
    reached = stays[(stays["phase"] == "stability") & (stays["entry"] <= 24)]
    return reached["customer_id"].nunique() / stays["customer_id"].nunique()


@ever.mistake(
    "This is a cumulative hazard, of those who were in build-up at each time. It is no share of customers, and can exceed 1."
)
def _(data):
    return _fit(data).cumulative_hazard([24])["estimate"].loc[("build-up", "stability", 24)]


@key.question(
    "6",
    expects="declines a month in stability, to three decimals",
    hint="Count the moves from stability to decline, and divide them by the months that customers spent in stability.",
    explanation="Moves over the time at risk of them. A month before stability is no month at risk of leaving it.",
)
def honest_rate(data):
    return _fit(data).transitions().loc[("stability", "decline"), "rate"]


def _from_stability(data):
    stays = data["episodes"]
    moves = ((stays["phase"] == "stability") & (stays["next_phase"] == "decline")).sum()
    regulars = stays[stays["customer_id"].isin(stays.loc[stays["phase"] == "stability", "customer_id"])]
    return stays, moves, regulars


@honest_rate.mistake(
    "You divided by all the months since these customers came. Before they were stable they could not decline from stability: that time is immortal."
)
def _(data):
    _, moves, regulars = _from_stability(data)
    return moves / (regulars["exit"] - regulars["entry"]).sum()


@honest_rate.mistake("This is the share of the stays in stability that ended in decline. A rate is per month at risk.")
def _(data):
    stays, moves, _ = _from_stability(data)
    return moves / (stays["phase"] == "stability").sum()


@honest_rate.mistake("You divided by the months of all customers. Only those in stability are at risk of leaving it.")
def _(data):
    stays, moves, _ = _from_stability(data)
    return moves / (stays["exit"] - stays["entry"]).sum()


@honest_rate.mistake("You counted every way out of stability. The question asks for those to decline.")
def _(data):
    return _fit(data).transitions().loc["stability", "rate"].sum()


@honest_rate.mistake("This is the rate a year. The question asks for declines a month.")
def _(data):
    return 12 * honest_rate.answer(data)


@honest_rate.mistake("This is the mean time to a decline, in months. The rate is one over it.")
def _(data):
    return 1 / honest_rate.answer(data)


@honest_rate.mistake("This is the rate from build-up to decline. The question asks for customers in stability.")
def _(data):
    return _fit(data).transitions().loc[("build-up", "decline"), "rate"]


@key.question(
    "7",
    expects='one of the words "stands", "falls", "cannot tell"',
    hint="Which of the two numbers starts with all customers at time 0, and which with those in a phase at a later time?",
    explanation="Occupancy of the whole base from the start does not need the Markov property. Forecasts from a phase at a later time do: take the landmark form for them.",
    choices=("stands", "falls", "cannot tell"),
)
def judgement(data):
    return "stands"


@judgement.mistake(
    "The test says that the past matters for those in a given phase at a given time. The share of the whole base in each phase is right nevertheless."
)
def _(data):
    return "falls"


@judgement.mistake(
    "It can be told: the Aalen-Johansen estimate of occupancy from the start holds without the Markov property, as long as being cut off says nothing of the future."
)
def _(data):
    return "cannot tell"


# --- what moves customers, and what it is worth -----------------------------------------------------------------

MOVES = "channel + grade + service"
WORTH = {"exploration": 5, "build-up": 9, "stability": 20, "decline": 0.5}
WHO = {"channel": "web", "grade": "ordinary", "service": 3}
_fits = {}  # of the company looked at last: every mistake needs them


def _hazards(data, **how):
    if _fits.get("company") is not data["company"]:
        _fits.clear()
        _fits["company"] = data["company"]
    asked = tuple(sorted(how.items()))
    if asked not in _fits:
        _fits[asked] = lifecycle.fit_hazards(data["company"], MOVES, **how)
    return _fits[asked]


def _effect(data, move, **how):
    return _hazards(data, **how).params[move, "service"]


@key.question(
    "8",
    expects="a ratio, to two decimals",
    within=0.005,
    hint="fit_hazards(data['company'], 'channel + grade + service').summary() has a row for each move and term, and a column ratio.",
    explanation="The hazard ratio of one point of service for that move alone. Below 1: better served customers fall silent later.",
)
def hazard_ratio(data):
    return float(np.exp(_effect(data, "stability -> decline")))


@hazard_ratio.mistake(
    "This is the coefficient, the logarithm of the ratio. What the hazard is multiplied by is its exponential."
)
def _(data):
    return _effect(data, "stability -> decline")


@hazard_ratio.mistake(
    "This is the effect on the move from build-up to decline. The question asks for customers in stability."
)
def _(data):
    return float(np.exp(_effect(data, "build-up -> decline")))


@hazard_ratio.mistake(
    "This is one effect for all moves together. Service speeds up some moves and slows down others; mixed, little is left of either."
)
def _(data):
    return float(np.exp(_effect(data, "all", shared="all")))


@hazard_ratio.mistake("This is the ratio for one point of service less. The question asks for one point more.")
def _(data):
    return float(np.exp(-_effect(data, "stability -> decline")))


@hazard_ratio.mistake("This is the share by which the hazard falls. The question asks what it is multiplied by.")
def _(data):
    return 1 - hazard_ratio.answer(data)


def _stable(data):
    stays = data["company"]
    stays = stays[stays["phase"] == "stability"]
    return stays.assign(months=stays["exit"] - stays["entry"])


@key.question(
    "9",
    expects="money a month, to two decimals",
    within=0.005,
    hint="value_by_phase(data['company']) divides the margin in each phase by the months that were spent there.",
    explanation="Margin earned in stability over all customer-months in stability.",
)
def stable_month(data):
    stays = _stable(data)
    return stays["margin"].sum() / stays["months"].sum()


@stable_month.mistake("This is the mean margin of a stay in stability. Stays have different lengths: divide by months.")
def _(data):
    return _stable(data)["margin"].mean()


@stable_month.mistake(
    "You averaged the margins a month of the stays, a stay of one month counting as much as one of three years. Divide all the margin by all the months."
)
def _(data):
    stays = _stable(data)
    return (stays["margin"] / stays["months"]).mean()


@stable_month.mistake("You divided by the months in all phases. The question asks for a month in stability.")
def _(data):
    stays = data["company"]
    return _stable(data)["margin"].sum() / (stays["exit"] - stays["entry"]).sum()


@stable_month.mistake("This is what a month brings over all phases. The question asks for stability.")
def _(data):
    stays = data["company"]
    return stays["margin"].sum() / (stays["exit"] - stays["entry"]).sum()


@stable_month.mistake("This is margin a year. The question asks for a month.")
def _(data):
    return 12 * stable_month.answer(data)


def _what_if(data, move="decline -> build-up", change=1.5):
    fit = _hazards(data)
    if (move, change) not in _fits:
        found = lifecycle.what_if(fit, move, change, WORTH, 36, WHO, start="exploration")
        _fits[move, change] = found["estimate"]
    return _fits[move, change]


@key.question(
    "10",
    expects="money a month, to two decimals",
    within=0.005,
    hint="what_if(fit, 'decline -> build-up', 1.5, margins, 36, profile, start='exploration') also says the time treated.",
    explanation="The gain, spread over the months that the customer is then in decline: the programme is paid for in each of them.",
)
def ceiling(data):
    return _what_if(data)["gain per time treated"]


@ceiling.mistake("This is the whole gain of a customer. It has to pay for every month that the customer is in decline.")
def _(data):
    return _what_if(data)["gain"]


@ceiling.mistake(
    "You spread the gain over all 36 months. The programme is paid for only while the customer is in decline."
)
def _(data):
    return _what_if(data)["gain"] / 36


@ceiling.mistake(
    "You divided by the months in decline as they are without the programme. With it customers are back sooner, and fewer months are paid for."
)
def _(data):
    time = _hazards(data).expected_time(36, WHO, start="exploration")
    return _what_if(data)["gain"] / time.loc["decline", "estimate"]


@ceiling.mistake(
    "This is all that the customer brings, a month in decline. What the programme may cost is what it adds."
)
def _(data):
    return _what_if(data)["value then"] / _what_if(data)["time treated"]


@ceiling.mistake("You multiplied the rate by 0.5. Half as much again is a factor of 1.5.")
def _(data):
    return _what_if(data, change=0.5)["gain per time treated"]


@ceiling.mistake("This is for the move from exploration to build-up. The programme works on customers in decline.")
def _(data):
    return _what_if(data, move="exploration -> build-up")["gain per time treated"]
