"""Published numbers of satisfaction and loyalty."""

from crmlab import datasets, satisfaction
from crmlab.replications import published


@published(
    "ordered logit, satisfaction of tenants in Copenhagen",
    "venables_ripley_2002",
    **{
        "influence medium": "0.566",
        "influence high": "1.289",
        "apartment": "-0.572",
        "atrium": "-0.366",
        "terrace": "-1.091",
        "contact high": "0.360",
        "low | medium": "-0.496",
        "medium | high": "0.691",
    },
)
def _():
    housing = datasets.load("housing")
    fit = satisfaction.fit_ordered("satisfaction ~ influence + type + contact", housing, weights="tenants")
    names = ["influence[T.Medium]", "influence[T.High]", "type[T.Apartment]", "type[T.Atrium]", "type[T.Terrace]"]
    names += ["contact[T.High]", "Low|Medium", "Medium|High"]
    printed = ["influence medium", "influence high", "apartment", "atrium", "terrace"]
    printed += ["contact high", "low | medium", "medium | high"]
    return dict(zip(printed, fit.params[names]))
