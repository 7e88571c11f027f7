"""Figures of a model of hazards."""

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.likelihood import normal_quantile

__all__ = ["effects", "over_time", "occupancy"]


def effects(fit, level=0.95, ax=None):
    """See `crmlab.lifecycle.HazardsFit.plot`."""
    ax = style.axes(ax)
    table = fit.summary(level)
    terms = list(dict.fromkeys(table.index.get_level_values("term")))
    moves = list(dict.fromkeys(table.index.get_level_values("transition")))
    marks = "osD^vPX*"
    room = 0.8 / max(1, len(moves))
    for number, move in enumerate(moves):
        part = table.xs(move, level="transition")
        height = np.array([terms.index(term) for term in part.index]) + (number - (len(moves) - 1) / 2) * room
        ratio, low, high = (np.exp(part[name]) for name in ("estimate", "lower", "upper"))
        known = part["std_error"].notna().to_numpy()
        error = np.where(known, [ratio - low, high - ratio], 0)
        # An effect that has run away has no place on the axis.
        kept = known & np.isfinite(ratio.to_numpy())
        colour = style.COLOURS[number % len(style.COLOURS)]
        look = {"fmt": marks[number % len(marks)], "color": colour, "label": move, "capsize": 3, "linewidth": 1.6}
        ax.errorbar(ratio[kept], height[kept], xerr=error[:, kept], **look)
    ax.axvline(1, color="0.3", linewidth=1)
    ax.set_xscale("log")
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    low, high = ax.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if low <= tick <= high]
    if len(ticks) >= 2:
        ax.set_xticks(ticks)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(terms)), terms)
    ax.grid(axis="y", visible=False)
    for border in range(1, len(terms)):
        ax.axhline(border - 0.5, color="0.8", linewidth=1)
    ax.set_ylim(len(terms) - 0.5, -0.5)
    several = fit.model == "grouped" and any(len(part.targets) > 1 for part in fit._parts)
    ax.set(
        xlabel=f"{'odds or hazard' if several else 'hazard'} ratio ({level:.0%} interval, log scale)",
        ylabel="term of the formula",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="move")
    return ax


def over_time(fit, transition, term, spans=8, level=0.95, unit="", ax=None):
    """See `crmlab.lifecycle.HazardsFit.plot_proportionality`."""
    ax = style.axes(ax)
    table = fit.effect_over_time(transition, term, spans, level)
    whole = fit.summary(level).loc[(transition, term)]
    middle = (table["begin"] + table["end"]) / 2
    ax.axhspan(whole["lower"], whole["upper"], color="0.85", label=f"constant, {level:.0%} interval")
    ax.axhline(whole["estimate"], color="0.3", linewidth=1.5)
    ax.axhline(0, color="0.3", linewidth=0.8, linestyle=":")
    ax.errorbar(
        middle,
        table["estimate"],
        yerr=[table["estimate"] - table["lower"], table["upper"] - table["estimate"]],
        xerr=[middle - table["begin"], table["end"] - middle],
        fmt="o",
        color=style.COLOURS[0],
        capsize=3,
        linewidth=1.6,
        label="in spans of equally many moves",
    )
    p = fit.proportionality().loc[(transition, term), "p_value"]
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    ax.set(
        xlabel=f"time{f', {unit}s' if unit else ''}",
        ylabel="effect (log of ratio)",
        title=f"{transition}: {term} (proportional? {said})",
    )
    ax.legend(loc="best")
    return ax


def occupancy(fit, phase, profile, times=None, start=None, since=None, level=0.95, unit="", ax=None):
    """See `crmlab.lifecycle.HazardsFit.plot_occupancy`."""
    ax = style.axes(ax)
    normal_quantile(level)
    grid = fit._rows.stays.grid
    times = np.linspace(grid[0] if since is None else since, grid[-1], 101) if times is None else times
    table = fit.occupancy(times, profile, start, since, level).xs(phase, level="phase")
    lines = (
        {None: table}
        if not isinstance(profile, pd.DataFrame)
        else {name: table.xs(name, level=0) for name in profile.index}
    )
    for number, (name, line) in enumerate(lines.items()):
        colour, mark = style.COLOURS[number % len(style.COLOURS)], ("-", "--", ":", "-.")[number % 4]
        ax.plot(line.index, line["estimate"], mark, color=colour, label=name)
        ax.fill_between(line.index, line["lower"], line["upper"], color=colour, alpha=0.2, linewidth=0)
    ax.yaxis.set_major_formatter(style.PERCENT)
    what = f"{unit}s" if unit else "time"
    ax.set(xlabel=f"{what} since the start", ylabel=f"share in {phase}", ylim=(0, None))
    if None not in lines:
        ax.legend()
    return ax
