"""How every figure of the kit looks: colour-blind-safe, legible from the last row of a lecture room."""

import matplotlib as mpl
import matplotlib.ticker

__all__ = ["COLOURS", "PERCENT", "use", "axes", "coefficients", "whole_numbers"]

# Okabe and Ito's palette (2008), told apart with every common form of colour blindness and, in this order, in print:
# blue, vermilion, green, purple, orange, sky blue, black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

# Shares are shown as percentages on every axis.
PERCENT = mpl.ticker.PercentFormatter(xmax=1, decimals=0)

_SETTINGS = {
    "figure.figsize": (8, 4.5),  # the shape of a slide
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "legend.frameon": False,
}


def use():
    """Set the kit's style for the session, as every lesson does in its first cell.

    Examples
    --------
    >>> from crmlab import style
    >>> style.use()
    """
    mpl.rcParams.update(_SETTINGS)


def axes(ax=None):
    """The axes to draw on: the ones given, or those of a new figure, with the kit's colours.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # here, since it starts a drawing backend

    ax = plt.figure().add_subplot()
    ax.set_prop_cycle(color=COLOURS)
    return ax


def coefficients(table, ax=None, xlabel="estimate", ylabel="parameter"):
    """Estimates with their intervals, the first on top, beside a line at 0.

    Parameters
    ----------
    table : pandas.DataFrame
        ``estimate``, ``lower`` and ``upper``, as the summaries of fits have them.
    ax : matplotlib.axes.Axes, optional
    xlabel, ylabel : str

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes(ax)
    place = range(len(table) - 1, -1, -1)
    bars = abs(table[["lower", "upper"]].to_numpy().T - table["estimate"].to_numpy())
    ax.errorbar(table["estimate"].to_numpy(), place, xerr=bars, fmt="o", capsize=4)
    ax.axvline(0, color="grey", linestyle=":", linewidth=1.5)
    ax.set_yticks(place, [str(name) for name in table.index])
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.6, len(table) - 0.4))
    ax.grid(axis="y", visible=False)
    return ax


def whole_numbers():
    """A tick locator for axes that count: whole numbers only."""
    return mpl.ticker.MaxNLocator(integer=True)
