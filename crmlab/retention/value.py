"""Retention in money: what a contract base is worth, what a point of retention is worth, and winning against keeping."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from crmlab import style
from crmlab.arguments import one_of
from crmlab.likelihood import normal_quantile
from crmlab.retention.projection import check_rate

__all__ = [
    "base_value",
    "margin_multiple",
    "profit_curve",
    "plot_profit_curve",
    "Response",
    "split_budget",
    "plot_split",
]


def base_value(fit, customers, payment=1.0, discount=0.1, next_payment="now", level=0.95):
    r"""Residual value of a contract base: all payments still to come from the customers of today, discounted.

    .. math:: \sum_n N_n \cdot m \cdot \text{DERL}(n)

    with :math:`N_n` customers who have made :math:`n` renewals, the payment :math:`m`, and the discounted expected residual
    lifetime of ``fit.residual_lifetime``. Assumes that all customers follow the fitted model, whenever they came.

    Parameters
    ----------
    fit : SurvivalFit
    customers : pandas.Series
        Customers now under contract, indexed by the renewals that they have made.
    payment : float, default 1
        What a customer pays (or leaves, after costs) at each renewal.
    discount : float, default 0.1
        Discount rate a period.
    next_payment : {"now", "after_one_period"}
        When the next renewal falls due; see ``residual_lifetime``.
    level : float or None, default 0.95
        Confidence level; None leaves the limits out. The interval is that of the parameters: how many of these customers
        happen to stay is not in it.

    Returns
    -------
    pandas.DataFrame
        One row for each number of renewals made and a last one, ``total``: ``customers``, ``value``, ``lower``,
        ``upper``, in the unit of `payment`. The limits of the total are not the sums of the others.

    Raises
    ------
    ValueError
        If `customers` is not indexed by whole numbers of renewals, or holds negative or missing numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import datasets, retention
    >>> fit = retention.fit_sbg(datasets.load("retention_five_cohorts"))
    >>> base = pd.Series([10_000, 8_000, 6_480, 5_307, 4_391])  # renewals made: 0 to 4
    >>> worth = retention.base_value(fit, base, payment=100, discount=0.1)
    >>> (worth.loc["total", ["value", "lower", "upper"]] / 1e6).round(2).tolist()
    [12.05, 11.53, 12.61]
    """
    base = pd.Series(customers, dtype=float)
    wrong = ~np.isfinite(base) | (base < 0)
    if base.empty or wrong.any():
        shown = "; ".join(f"{made} renewals: {number}" for made, number in base[wrong].head(3).items())
        raise ValueError(
            f"customers= holds {wrong.sum()} of {len(base)} numbers that are missing or below 0 ({shown})."
        )
    made = base.index.to_numpy()
    each = fit.residual_lifetime(made, discount, next_payment, level=level)  # checks the renewals and the rest
    each = each.to_frame("estimate") if level is None else each
    rows = each.mul(payment * base.to_numpy(), axis=0).rename(columns={"estimate": "value"})
    rows.insert(0, "customers", base.to_numpy())
    later = 1.0 if next_payment == "now" else 1 / (1 + discount)

    def total(working):
        left = np.array([fit._residual(working, int(n), discount) for n in made])
        return np.array([later * payment * float(base.to_numpy() @ left)])

    value = total(fit.working)
    limits = [] if level is None else [limit[0] for limit in fit._limits(total, value, normal_quantile(level), "log")]
    rows.loc["total"] = [base.sum(), value[0], *limits]
    return rows.rename_axis("renewals")


def margin_multiple(rate, discount=0.1, growth=0.0):
    r"""Gupta and Lehmann's multiple: how many margins a customer is worth, if retention and margin stay as they are.

    .. math:: \frac{r}{1 + i - r (1 + g)}

    for a retention rate :math:`r`, a discount rate :math:`i` and a margin growing by :math:`g` a period. The first margin
    counted comes a period from now, from those who are then still there.

    Parameters
    ----------
    rate : float or array
        Retention rate a period, from 0 to 1.
    discount : float, default 0.1
    growth : float, default 0

    Returns
    -------
    float or numpy.ndarray
        Infinite where margins would outgrow the discount.

    Notes
    -----
    This is ``residual_lifetime(..., next_payment="after_one_period")`` of a constant rate.

    References
    ----------
    S. Gupta and D. R. Lehmann (2003), Customers as assets, *Journal of Interactive Marketing* 17(1):9-24.

    Examples
    --------
    >>> from crmlab import retention
    >>> retention.margin_multiple([0.6, 0.7, 0.8, 0.9]).round(2).tolist()
    [1.2, 1.75, 2.67, 4.5]
    """
    found = np.asarray(rate, dtype=float)
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"rate= is a retention rate between 0 and 1, such as 0.8 for 80 %; got {rate!r}.")
    check_rate("discount", discount)
    with np.errstate(divide="ignore"):
        lost = 1 + discount - found * (1 + growth)
        multiple = np.where(lost > 0, found / lost, np.inf)
    return float(multiple) if np.ndim(rate) == 0 else multiple


def profit_curve(rate=None, margin=1.0, discount=0.1, acquisition=0.0, points=0.01, growth=0.0, first_margin="now"):
    r"""What retention is worth at every base: the value of a customer, and what some points more would add.

    .. math:: V(r) = m \left( 1 + \frac{r}{1 + i - r(1 + g)} \right) - a

    with the margin :math:`m` a period, the cost of winning a customer :math:`a`, and the multiple of `margin_multiple`. The
    same number of points is worth more the higher the base, since it is a larger share of those who leave.

    Parameters
    ----------
    rate : sequence of float, optional
        Retention rates; by default 50 % to 98 % by half points.
    margin : float, default 1
        Margin a customer and period.
    discount : float, default 0.1
        Discount rate a period; 0 is allowed.
    acquisition : float, default 0
        Cost of winning a customer.
    points : float, default 0.01
        The rise in retention, as a share: 0.05 is five points.
    growth : float, default 0
        Growth of a customer's margin a period.
    first_margin : {"now", "after_one_period"}
        Whether the first margin comes with the acquisition, for certain, or a period later, from those who stay (the
        formula without its 1).

    Returns
    -------
    pandas.DataFrame
        Indexed by ``rate``: ``lifetime`` (expected periods, :math:`1 / (1 - r)`), ``multiple``, ``value``, ``value_after``
        (with `points` more; missing where that is more than 100 %), ``gain`` and ``gain_share`` (of the value before;
        missing where that is not above 0), ``defection_cut`` (`points` as a share of those who leave), ``elasticity`` of
        the value (percent for one percent of retention rate) and ``break_even`` (the most that `points` may cost for each
        customer a period, for as long as it stays).

    Raises
    ------
    ValueError
        If a rate is not between 0 and 1, or a cost or rate is negative.

    References
    ----------
    F. F. Reichheld and W. E. Sasser (1990), Zero defections: quality comes to services, *Harvard Business Review*
    68(5):105-111. S. Gupta and D. R. Lehmann (2003), Customers as assets, *Journal of Interactive Marketing* 17(1):9-24.

    Examples
    --------
    Five points more, at three bases. From 90 % it is half of those who leave:

    >>> from crmlab import retention
    >>> curve = retention.profit_curve([0.6, 0.75, 0.9], points=0.05)
    >>> curve[["value", "value_after", "gain_share", "defection_cut"]].round(2)
          value  value_after  gain_share  defection_cut
    rate
    0.60   2.20         2.44        0.11           0.12
    0.75   3.14         3.67        0.17           0.20
    0.90   5.50         7.33        0.33           0.50
    """
    one_of("first_margin", first_margin, ("now", "after_one_period"))
    rates = (
        np.round(np.arange(0.50, 0.9801, 0.005), 3) if rate is None else np.atleast_1d(np.asarray(rate, dtype=float))
    )
    if not (0 < points < 1):
        raise ValueError(f"points= is a rise in retention as a share, such as 0.05 for five points; got {points!r}.")
    if acquisition < 0:
        raise ValueError(f"acquisition= is the cost of winning a customer, 0 or more; got {acquisition!r}.")
    now = 1.0 if first_margin == "now" else 0.0

    def value(r):
        return margin * (now + margin_multiple(r, discount, growth)) - acquisition

    multiple = margin_multiple(rates, discount, growth)
    before, after = value(rates), np.full(rates.shape, np.nan)
    possible = rates + points <= 1 + 1e-12
    after[possible] = value(np.minimum(rates[possible] + points, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        # dV/dr = m (1 + i) / (1 + i - r (1 + g))^2
        slope = margin * (1 + discount) / (1 + discount - rates * (1 + growth)) ** 2
        table = pd.DataFrame(
            {
                "lifetime": 1 / (1 - rates),
                "multiple": multiple,
                "value": before,
                "value_after": after,
                "gain": after - before,
                "gain_share": np.where(before > 0, (after - before) / before, np.nan),
                "defection_cut": np.where(possible, points / (1 - rates), np.nan),
                "elasticity": np.where(before > 0, slope * rates / before, np.nan),
                # A customer kept at the higher rate is paid for now and at each period it is there.
                "break_even": (after - before) / (1 + margin_multiple(np.minimum(rates + points, 1), discount)),
            },
            pd.Index(rates, name="rate"),
        )
    table.attrs["points"] = points
    return table


def plot_profit_curve(curve, ax=None, label=None):
    """Draw what the points of `profit_curve` add to the value of a customer, against the base that they start from.

    Parameters
    ----------
    curve : pandas.DataFrame
        What `profit_curve` returned.
    ax : matplotlib.axes.Axes, optional
    label : str, optional
        Name of the line in the legend.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    ax.plot(curve.index, curve["gain_share"], label=label)
    points = 100 * curve.attrs["points"]
    ax.xaxis.set_major_formatter(style.PERCENT)
    ax.yaxis.set_major_formatter(style.PERCENT)
    ax.set(
        xlabel="retention rate before",
        ylabel="gain, share of the value before",
        title=f"What {points:g} point{'s' * (points != 1)} of retention add to a customer's value",
        ylim=(0, None),
    )
    if label:
        ax.legend()
    return ax


@dataclass(frozen=True)
class Response:
    r"""How a rate answers to spending: :math:`c (1 - e^{-k x})`, from a ceiling and one point that is known.

    Attributes
    ----------
    ceiling : float
        The rate that no money can exceed.
    spend : float
        Today's spending for each prospect (winning) or for each customer and period (keeping).
    rate : float
        The rate that this spending reaches, below the ceiling.
    """

    ceiling: float
    spend: float
    rate: float

    def __post_init__(self):
        if not (0 < self.rate < self.ceiling <= 1 and self.spend > 0):
            raise ValueError(
                f"a Response takes a ceiling of at most 1, a rate below it and a spend above 0; got ceiling={self.ceiling}, spend={self.spend}, rate={self.rate}."
            )

    def __call__(self, spend):
        """The rate that so much spending reaches."""
        k = -np.log1p(-self.rate / self.ceiling) / self.spend
        return -self.ceiling * np.expm1(-k * np.asarray(spend, dtype=float))


def split_budget(budget, winning, keeping, margin, discount=0.1):
    r"""Split a budget between winning customers and keeping them.

    For each prospect :math:`A` is spent and wins a customer with probability :math:`a(A)`. For each customer :math:`R` is
    spent a period and keeps it with probability :math:`r(R)`. The equity of a prospect is

    .. math:: a m - A + a \left( m - \frac{R}{r} \right) \frac{r'}{1 - r'}, \qquad r' = \frac{r}{1 + d},

    and the budget binds the first period: :math:`A + a R = B`. Assumes that the two responses do not touch each other: that
    customers won at a higher price stay like the others, which they often do not.

    Parameters
    ----------
    budget : float
        Money for each prospect, :math:`B`.
    winning, keeping : Response
        How acquisition and retention answer to spending.
    margin : float
        Margin a customer and period.
    discount : float, default 0.1

    Returns
    -------
    pandas.DataFrame
        Indexed by ``share_winning``, the share of the budget that goes to winning: ``winning`` and ``keeping`` (money a
        prospect, money a customer), ``acquisition_rate``, ``retention_rate``, ``equity``. ``.attrs["best"]`` is the share
        with the highest equity, found to four digits; ``.attrs["free"]`` the spending and equity that would be best if
        the budget did not bind.

    References
    ----------
    R. C. Blattberg and J. Deighton (1996), Manage marketing by the customer equity test, *Harvard Business Review*
    74(4):136-144.

    Examples
    --------
    >>> from crmlab import retention
    >>> winning = retention.Response(ceiling=0.4, spend=5, rate=0.2)
    >>> keeping = retention.Response(ceiling=0.8, spend=10, rate=0.6)
    >>> split = retention.split_budget(8, winning, keeping, margin=50)
    >>> round(split.attrs["best"], 2)
    0.64
    """
    if not budget > 0:
        raise ValueError(f"budget= is money for each prospect, above 0; got {budget!r}.")
    if not margin > 0:
        raise ValueError(f"margin= is what a customer leaves a period, above 0; got {margin!r}.")
    check_rate("discount", discount)
    for name, response in (("winning", winning), ("keeping", keeping)):
        if not isinstance(response, Response):
            raise TypeError(f"{name}= is a Response(ceiling=, spend=, rate=); got {type(response).__name__}.")

    def equity(spent, kept):
        a, r = winning(spent), keeping(kept)
        there = r / (1 + discount)
        with np.errstate(divide="ignore", invalid="ignore"):
            later = np.where(r > 0, (margin - kept / r) * there / (1 - there), 0.0)
        return a * margin - spent + a * later

    def of(share):
        spent = share * budget
        kept = (budget - spent) / winning(spent)
        return spent, kept, equity(spent, kept)

    shares = np.round(np.arange(0.01, 1.0001, 0.01), 2)
    spent, kept, worth = of(shares)
    table = pd.DataFrame(
        {
            "winning": spent,
            "keeping": kept,
            "acquisition_rate": winning(spent),
            "retention_rate": keeping(kept),
            "equity": worth,
        },
        pd.Index(shares, name="share_winning"),
    )
    around = shares[int(np.argmax(worth))]
    best = optimize.minimize_scalar(
        lambda share: -of(share)[2], bounds=(max(around - 0.01, 1e-6), min(around + 0.01, 1)), method="bounded"
    )
    # Free of the budget the two are found one after the other: keeping first, since its best does not depend on winning.
    keep = optimize.minimize_scalar(
        lambda kept: -equity(winning.spend, kept), bounds=(1e-9, 50 * keeping.spend), method="bounded"
    ).x
    win = optimize.minimize_scalar(
        lambda spent: -equity(spent, keep), bounds=(0, 50 * winning.spend), method="bounded"
    ).x
    table.attrs["best"] = round(float(best.x), 4)
    table.attrs["free"] = {"winning": float(win), "keeping": float(keep), "equity": float(equity(win, keep))}
    return table


def plot_split(split, ax=None):
    """Draw the equity of a prospect against the share of the budget that goes to winning.

    Parameters
    ----------
    split : pandas.DataFrame
        What `split_budget` returned.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = style.axes(ax)
    ax.plot(split.index, split["equity"])
    best = split.attrs["best"]
    ax.axvline(best, color="grey", linestyle=":", linewidth=1.5)
    ax.annotate(
        f"best: {best:.0%} to winning",
        (best, split["equity"].min()),
        xytext=(8, 4),
        textcoords="offset points",
    )
    ax.xaxis.set_major_formatter(style.PERCENT)
    ax.set(xlabel="share of the budget for winning customers", ylabel="equity of a prospect, money")
    return ax
