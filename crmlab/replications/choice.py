"""Published numbers of choice."""

from crmlab import choice, datasets
from crmlab.replications import published

# Shares of the ways to travel in the population, as Greene gives them.
_POPULATION = {"air": 0.14, "train": 0.13, "bus": 0.09, "car": 0.64}


def _travel(**more):
    table = datasets.load("modechoice")
    table["mode"] = table["mode"].cat.reorder_categories(["car", "air", "train", "bus"])
    table["air"] = (table["mode"] == "air").astype(int)
    fit = choice.fit_conditional_logit(table, "individual", "mode", "choice", "gc + ttme + C(mode) + hinc:air", **more)
    names = {
        "gc": "generalised cost",
        "ttme": "terminal time",
        "mode[air]": "air",
        "mode[train]": "train",
        "mode[bus]": "bus",
        "hinc:air": "income x air",
    }
    return {words: fit.params[name] for name, words in names.items()} | {"loglik": fit.loglik}


@published(
    "conditional logit, travel mode choice, unweighted",
    "greene_2003",
    **{
        "generalised cost": "-.01550",
        "terminal time": "-.09612",
        "air": "5.2074",
        "train": "3.8690",
        "bus": "3.1632",
        "income x air": ".01329",
        "loglik": "-199.128",
    },
)
def _():
    return _travel()


@published(
    "conditional logit, travel mode choice, choice-based weights",
    "greene_2003",
    **{
        "generalised cost": "-.01333",
        "terminal time": "-.13405",
        "air": "6.5940",
        "train": "3.6190",
        "bus": "3.3218",
        "income x air": "-.00108",
    },
)
def _():
    ours = _travel(weights=_POPULATION)
    del ours["loglik"]
    return ours
