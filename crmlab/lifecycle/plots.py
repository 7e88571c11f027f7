"""Figures of a multi-state fit."""

import textwrap

import numpy as np

from crmlab import style
from crmlab.lifecycle.phases import phase_colours

__all__ = ["occupancy", "transitions"]

_MARKS = ("-", "--", ":", "-.")
_BOW = 0.18  # of an arrow, so that there and back are two


def occupancy(fit, times=None, start=None, since=None, level=0.95, unit="", ax=None):
    """See `crmlab.lifecycle.MultistateFit.plot_occupancy`."""
    ax = style.axes(ax)
    if times is None:
        samples = fit._samples.values()
        first = next(iter(samples)).grid[0] if since is None else since
        # Steps are drawn where they are; where they are too many to be seen, an even grid serves.
        steps = np.unique(np.concatenate([[first], *(sample.times for sample in samples)]))
        last = max(sample.grid[sample.end].max() for sample in samples)
        times = np.append(steps, last) if len(steps) <= 200 else np.linspace(first, last, 201)
        times = np.unique(times[times >= first])
    table = fit.occupancy(times, start, since, level=level or 0.95)
    reset = fit.clock == "reset"
    colours = phase_colours(fit.phases)
    for row, group in enumerate(fit.groups or (None,)):
        part = table if group is None else table.xs(group, level="group")
        for column, phase in enumerate(fit.phases):
            line = part.xs(phase, level="phase")
            if len(fit.groups) > 1:
                label = phase if row == 0 else None
            else:
                label = f"{phase} first" if reset and phase != start else phase
            if not np.nanmax(line["estimate"], initial=0):
                continue
            colour = colours[column]
            mark = _MARKS[row % len(_MARKS)]
            ax.step(line.index, line["estimate"], where="post", color=colour, linestyle=mark, label=label)
            if level:
                ax.fill_between(
                    line.index, line["lower"], line["upper"], step="post", color=colour, alpha=0.2, linewidth=0
                )
    for row, group in enumerate(fit.groups):
        ax.plot([], [], color="0.3", linestyle=_MARKS[row % len(_MARKS)], label=str(group))
    ax.yaxis.set_major_formatter(style.PERCENT)
    what = f"{unit}s" if unit else "time"
    ax.set(
        xlabel=f"{what} since {'the phase was entered' if reset else 'the start'}",
        ylabel="share of customers",
        ylim=(0, None),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def transitions(fit, sample, at=None, unit="", ax=None):
    """See `crmlab.lifecycle.MultistateFit.plot_transitions`."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    ax = style.axes(ax)
    count = len(fit.phases)
    # Clockwise from the left; wide, since a slide is.
    angle = np.pi - 2 * np.pi * np.arange(count) / count
    place = np.column_stack([1.9 * np.cos(angle), np.sin(angle)])
    colours = phase_colours(fit.phases)
    boxes = []
    for number, phase in enumerate(fit.phases):
        words = textwrap.fill(str(phase), 14) + "\n" + _number_in(sample, number, at)
        high = 0.17 * (words.count("\n") + 1)
        corner = place[number] - (0.5, high / 2)
        look = {
            "boxstyle": "round,pad=0.06",
            "facecolor": "white",
            "edgecolor": colours[number],
            "linewidth": 2.5,
            "zorder": 3,
        }
        boxes.append(ax.add_patch(FancyBboxPatch(corner, 1.0, high, **look)))
        ax.text(*place[number], words, ha="center", va="center", fontsize=12, zorder=4)
    moves = sample.moves.sum(axis=0)
    rooms, labels = [(spot, (0.72, 0.36)) for spot in place], []
    for i, j in sorted(zip(*np.nonzero(moves)), key=lambda pair: -moves[pair]):
        width = 0.8 + 4 * moves[i, j] / moves.max()
        arrow = FancyArrowPatch(
            place[i],
            place[j],
            connectionstyle=f"arc3,rad={_BOW}",
            arrowstyle="-|>",
            mutation_scale=12 + 2 * width,
            linewidth=width,
            color=colours[i],
            patchA=boxes[i],
            patchB=boxes[j],
            shrinkA=1,
            shrinkB=2,
            zorder=1,
        )
        ax.add_patch(arrow)
        spot = _spot(place[i], place[j], rooms, labels)
        labels.append((spot, (0.32, 0.26)))
        ax.text(
            *spot,
            f"{moves[i, j] / sample.exposure[i]:.2g}\n({moves[i, j]:,.0f})",
            ha="center",
            va="center",
            fontsize=10.5,
            linespacing=0.95,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colours[i], "linewidth": 0.8},
            zorder=2,
        )
    per = f"a {unit}" if unit else "a unit of time"
    ax.set(
        xlim=(-2.55, 2.55), ylim=(-1.35, 1.35), title=f"On each arrow: moves {per} in the phase it leaves (moves seen)"
    )
    ax.set_axis_off()
    return ax


def _number_in(sample, number, at):
    if (sample.origin == number).any():
        if at is not None:
            return f"{sample.present(at)[number]:,.0f} at {at:g}"
        mine = sample.origin == number
        return f"{mine.sum() if sample.weight is None else sample.weight[mine].sum():,.0f} stays"
    return f"{sample.moves[:, :, number].sum():,.0f} came" if at is None else "final"


def _spot(start, end, boxes, labels):
    """Where on its arrow a label is farthest from the boxes and from the labels that are already there."""
    along = np.linspace(0.15, 0.75, 41)[:, None]
    middle = (start + end) / 2 + _BOW * np.array([end[1] - start[1], start[0] - end[0]])
    spots = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
    # What is between two rectangles, sideways or upwards, whichever is more.
    gaps = [np.max(np.abs(spots - other) - room, axis=1) for other, room in [*boxes, *labels]]
    return spots[np.argmax(np.min(gaps, axis=0))]
