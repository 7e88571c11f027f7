"""A figure with a slider, where there is somebody to move it; elsewhere a line of text that is the same every time."""

import os

__all__ = ["Slider", "STATIC"]

# Set by the build: what is stored in a notebook may not hold a slider, whose ids are new on every run and which no page can move.
STATIC = "CRMLAB_STATIC"


class Slider:
    """A slider and the figure that follows it.

    Parameters
    ----------
    name : str
    low, high, step, value : float
        Range, fineness and starting place of the slider.
    draw : callable
        Draws the figure for a value on new axes.
    say : callable
        The result for a value, in words.
    """

    def __init__(self, name, low, high, step, value, draw, say):
        self.name, self.low, self.high, self.step = name, low, high, step
        self.value = min(max(value, low), high)
        self.draw, self.say = draw, say

    def __repr__(self):
        return f"{self.say(self.value)} (In JupyterLab this cell shows a slider from {self.low:g} to {self.high:g}.)"

    def widget(self):
        """The slider as an ipywidgets box."""
        import ipywidgets

        slider = ipywidgets.FloatSlider(
            value=self.value,
            min=self.low,
            max=self.high,
            step=self.step,
            description=self.name,
            continuous_update=False,  # a figure takes a moment to draw
            layout=ipywidgets.Layout(width="36em"),
        )
        words = ipywidgets.HTML()
        picture = ipywidgets.Image(format="png")

        def follow(change=None):
            words.value, picture.value = self.say(slider.value), self._png(slider.value)

        slider.observe(follow, names="value")
        follow()
        return ipywidgets.VBox([slider, words, picture])

    def _png(self, value):
        import io

        import matplotlib.pyplot as plt

        ax = self.draw(value)
        file = io.BytesIO()
        ax.figure.savefig(file, format="png")
        # Closed, or the notebook would show the figure a second time below the slider.
        plt.close(ax.figure)
        return file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        said = {"text/plain": repr(self)}
        if os.environ.get(STATIC):
            return said
        return self.widget()._repr_mimebundle_() | said
