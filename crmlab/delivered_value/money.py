"""Value and cost in money, from choices: part-worths over the worth of a dollar, and what a change of the offer would do."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlab import style
from crmlab.arguments import one_of
from crmlab.choice.conditional import ConditionalLogit, fit_as, shares_and_slopes
from crmlab.delivered_value import live
from crmlab.design import columns_in
from crmlab.likelihood import normal_quantile

__all__ = ["fit_choice", "ChoiceFit", "PriceWarning"]

_METHODS = ("delta", "krinsky_robb", "bootstrap", "fieller")
_IN_AN_HOUR = {"second": 3600, "minute": 60, "hour": 1}


class PriceWarning(UserWarning):
    """The money that was computed hangs on a price coefficient that is badly known, or lies beyond what the data hold."""


def fit_choice(
    data,
    occasion,
    alternative,
    chosen,
    formula,
    weights=None,
    cluster=None,
    counts=None,
    price=None,
    choice_sets="same",
):
    r"""Fit what people choose, so that value and cost can be read in money.

    The model is the conditional logit of `crmlab.choice.fit_conditional_logit`, which explains the arguments. With the
    coefficient :math:`\beta_p < 0` of the price, :math:`\lambda = -\beta_p` is the utility of one unit of money, and
    one unit more of attribute :math:`k` is worth :math:`\beta_k / \lambda`.

    Parameters
    ----------
    data, occasion, alternative, chosen, formula, weights, cluster, counts, choice_sets
        As in `crmlab.choice.fit_conditional_logit`.
    price : str, optional
        The column of the formula that holds what the chooser pays, in units of money, larger is dearer. It can also be given to
        each method.

    Returns
    -------
    ChoiceFit

    Raises
    ------
    TypeError, ValueError
        As `crmlab.choice.fit_conditional_logit`; also if the formula has no column `price`.

    Warns
    -----
    PriceWarning
        If choosers prefer to pay more (the methods that speak in money refuse such a fit), or if within an occasion one price is a
        hundred times another, as where some are in cents. A price that is in cents throughout cannot be noticed: all amounts
        then are in cents.

    Notes
    -----
    In R: ``clogit`` of survival, then ``-coef(fit)["time"] / coef(fit)["price"]``; package support.CEs for intervals.

    Examples
    --------
    >>> from crmlab import delivered_value, simulate
    >>> choices = simulate.delivered_value_choices(customers=300, seed=1)
    >>> fit = delivered_value.fit_choice(
    ...     choices, occasion="occasion", alternative="alternative", chosen="chosen", cluster="customer_id", price="money",
    ...     formula="product + service + personnel + image + money + time + energy + effort + C(alternative)")
    >>> fit.willingness_to_pay().loc[["service", "time"]].round(2)
               estimate  std_error  lower  upper
    attribute
    service        3.31       0.19   2.93   3.69
    time          -0.33       0.02  -0.38  -0.29
    """
    fit = fit_as(
        ChoiceFit, data, occasion, alternative, chosen, formula, weights, cluster, counts, choice_sets, price=price
    )
    if price is not None:
        fit._known(price, "price")
        if fit.params[price] >= 0:
            warnings.warn(_wrong_sign(price, fit.params[price]), PriceWarning, stacklevel=2)
        if mixed := _mixed_units(fit._core, fit.params.index.get_loc(price), price):
            warnings.warn(mixed, PriceWarning, stacklevel=2)
    return fit


@dataclass(frozen=True, eq=False)
class ChoiceFit(ConditionalLogit):
    """The fit of `fit_choice`: a conditional logit that also speaks in money.

    All amounts are ratios of a combination of coefficients to the worth of a unit of money. Intervals of a ratio: ``"delta"`` (symmetric;
    good where the price coefficient is many standard errors from 0), ``"krinsky_robb"`` (quantiles of the ratio at draws from the
    estimates' normal distribution), ``"bootstrap"`` (quantiles over samples of choosers, each fitted again) and ``"fieller"``
    (exact for normal estimates; reaches to infinity where the price coefficient may be 0).

    Attributes
    ----------
    price : str or None
        The price column that methods take by default.
    """

    price: str | None = field(default=None)

    def willingness_to_pay(self, price=None, level=0.95, method="delta", draws=None, seed=0):
        """Money that a chooser would give for one more unit of each attribute; negative where more of it is a cost.

        Parameters
        ----------
        price : str, optional
            The price column; by default that of the fit.
        level : float, default 0.95
            Confidence level.
        method : {"delta", "krinsky_robb", "bootstrap", "fieller"}
            How intervals are made; see `ChoiceFit`.
        draws : int, optional
            Draws of the Krinsky-Robb method (default 20,000) or samples of the bootstrap (500).
        seed : int or numpy.random.Generator
            Of the draws.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``attribute``: ``estimate``, ``std_error`` (delta method; NaN for the others, since a ratio need not have one),
            ``lower``, ``upper``, in the unit of the price.

        Raises
        ------
        ValueError
            If choosers prefer to pay more (wrong sign), or the price also enters by another column of the formula.

        Warns
        -----
        PriceWarning
            If the price coefficient is within two standard errors of 0, so that the ratio may be anything; or if an attribute's typical
            difference is worth more than the largest price difference in the data: extrapolation.
        """
        price = self._price(price)
        names = [name for name in self.params.index if name != price]
        rows = np.eye(len(self.params))[[self.params.index.get_loc(name) for name in names]]
        table = self._in_money(rows, price, level, method, draws, seed)
        self._warn_beyond(table["estimate"].to_numpy(), names, price)
        return table.set_axis(pd.Index(names, name="attribute"))

    def value_of_an_hour(self, time, price=None, unit="minute", level=0.95, method="delta", draws=None, seed=0):
        """Money that a chooser would give to be spared an hour.

        Parameters
        ----------
        time : str or sequence of str
            Columns of time.
        price : str, optional
            The price column; by default that of the fit.
        unit : {"second", "minute", "hour"}
            Of the columns of time.
        level, method, draws, seed
            As in `willingness_to_pay`, which also says what is raised and warned of.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``attribute``: ``estimate``, ``std_error``, ``lower``, ``upper``, in units of the price for an hour.
        """
        one_of("unit", unit, _IN_AN_HOUR)
        times = [time] if isinstance(time, str) else list(time)
        price = self._price(price)
        for name in times:
            self._known(name, "time")
        rows = -_IN_AN_HOUR[unit] * np.eye(len(self.params))[[self.params.index.get_loc(name) for name in times]]
        table = self._in_money(rows, price, level, method, draws, seed)
        self._warn_beyond(-table["estimate"].to_numpy() / _IN_AN_HOUR[unit], times, price)
        return table.set_axis(pd.Index(times, name="attribute"))

    def delivered_value(
        self, offers, reference, price=None, components=None, level=0.95, method="delta", draws=None, seed=0
    ):
        r"""What each offer gives a chooser beyond a reference offer, in money, and through which component.

        Utility has no zero, so value is a difference: :math:`(V(\text{offer}) - V(\text{reference})) / \lambda`. The price is in it: an
        offer that is a dollar dearer and otherwise the same delivers a dollar less. The components sum to the total exactly.

        Parameters
        ----------
        offers : pandas.DataFrame
            One row an offer, with the columns of the formula and the column of alternatives, or indexed by the alternatives.
        reference : hashable
            Which of the offers the others are compared with: a rival's, today's, or an opt-out such as "none".
        price : str, optional
            The price column; by default that of the fit.
        components : dict, optional
            Name of a component to the columns that make it up: ``{"time": ["wait", "ride"]}``. Columns not named keep their own name; the
            alternatives' constants come together as "constant", what the attributes do not explain.
        level, method, draws, seed
            Of the intervals of the total; as in `willingness_to_pay`.

        Returns
        -------
        pandas.DataFrame
            Indexed by offer: a column a component, then ``delivered_value``, ``lower``, ``upper``, in the unit of the price.

        Raises
        ------
        ValueError
            If the reference is not among the offers, or as `willingness_to_pay`.
        """
        price = self._price(price)
        offers, labels = self._labelled(offers)
        if reference not in labels:
            raise ValueError(
                f"reference= is one of the offers {', '.join(map(repr, labels))}; got {reference!r}. Utility has no zero: value is always more or less than another offer's."
            )
        matrix = self._design.apply(offers)
        difference = matrix - matrix[labels.get_loc(reference)]
        money = difference * self.params.to_numpy() / -self.params[price]
        groups = self._groups(components)
        parts = {
            name: money[:, [self.params.index.get_loc(c) for c in columns]].sum(axis=1)
            for name, columns in groups.items()
        }
        table = pd.DataFrame(parts, labels)
        table["delivered_value"] = table.sum(axis=1)
        limits = self._in_money(difference, price, level, method, draws, seed)
        table["lower"], table["upper"] = limits["lower"].to_numpy(), limits["upper"].to_numpy()
        table.loc[reference, ["lower", "upper"]] = 0.0  # by definition
        return table

    def plot_delivered_value(self, offers, offer, reference, price=None, components=None, unit="money", ax=None):
        """Draw the way from the reference offer's value to another's as a waterfall, a bar a component.

        Parameters
        ----------
        offers, reference, price, components
            As in `delivered_value`.
        offer : hashable
            The offer to explain.
        unit : str
            What money is counted in, for the axis: "dollars a month".
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.delivered_value(offers, reference, price, components)
        if offer not in table.index:
            raise ValueError(f"offer= is one of the offers {', '.join(map(repr, table.index))}; got {offer!r}.")
        row = table.loc[offer]
        parts = row.drop(["delivered_value", "lower", "upper"])
        ends = parts.cumsum()
        begins = ends - parts
        at = np.arange(len(parts))
        colours = [style.COLOURS[0] if part >= 0 else style.COLOURS[1] for part in parts]
        ax.barh(at, parts, left=begins, color=colours, height=0.6)
        total = row["delivered_value"]
        ax.barh(len(parts), total, color=style.COLOURS[6], height=0.6)
        half = [[total - row["lower"]], [row["upper"] - total]]
        ax.errorbar(total, len(parts), xerr=half, color="grey", capsize=5)
        for place, value, start in [*zip(at, parts, begins), (len(parts), total, 0)]:
            right = max(start, start + value) if place < len(parts) else max(0, row["upper"])
            ax.annotate(f"{value:+.2f}", (right, place), (4, 0), textcoords="offset points", va="center", fontsize=12)
        ax.vlines(ends[:-1], at[:-1] - 0.3, at[1:] + 0.3, color="grey", linewidth=1)
        ax.axvline(0, color="black", linewidth=1)
        ax.set_yticks([*at, len(parts)], [*parts.index, "delivered value"])
        ax.invert_yaxis()
        ax.use_sticky_edges = False  # bars would otherwise touch the frame
        ax.margins(x=0.14, y=0.02)
        ax.grid(axis="y", visible=False)
        ax.set(
            xlabel=f"{unit} more than {reference}",
            ylabel="component",
            title=f"What {offer} delivers beyond {reference}",
        )
        return ax

    def what_if(self, offers, changes, firm=None, price=None, costs=None, weights=None, level=0.95):
        r"""What changes of an offer would do to choice shares, to what customers are left with, and per unit of the firm's cost.

        Customers' surplus is the expected utility of the best alternative in money, the logsum
        :math:`\log \sum_j \exp(V_j) / \lambda`, up to a constant that cancels in differences. The rivals are taken to stand still.

        Parameters
        ----------
        offers : pandas.DataFrame
            The market as it is: a row an alternative, of one occasion or of many (then with the column of occasions).
        changes : dict
            Name of the change to alternative to column to new value, ``{"second teller": {"branch": {"time": 15}}}``; a function makes it
            from the old one: ``{"time": lambda minutes: minutes - 10}``.
        firm : hashable, optional
            Whose share and value are followed; by default the one alternative that is changed.
        price : str, optional
            The price column; by default that of the fit.
        costs : dict, optional
            Name of the change to what it costs the firm for each of its customers, in the unit of the price. A lower price costs what it
            is lower by; it is counted by itself if the change touches the firm's price and nothing is said here.
        weights : str, optional
            Column of weights of the occasions, constant within each, such as for a choice-based sample.
        level : float, default 0.95
            Confidence level of the intervals (delta method).

        Returns
        -------
        pandas.DataFrame
            Indexed by ``change``, first "as it is": ``share``, ``share_change`` with ``share_lower`` and ``share_upper``; ``surplus_change``,
            what the average customer in the market gains; ``value_gained``, what the average customer who takes the firm as it is gains,
            with ``value_lower`` and ``value_upper``; ``cost``, of the same customers; ``value_per_cost``, delivered value gained for one
            unit of the firm's cost. On several occasions both means weigh an occasion by the probability that the firm is taken there:
            only who takes it gains by the change and costs the firm its price.

        Raises
        ------
        ValueError
            If a change names an alternative or a column that is not there or gives no number, or more than one alternative is changed and
            `firm` is not said.

        Warns
        -----
        PriceWarning
            If a change moves a column beyond the values in the data of the fit, by more than a tenth of their range.
        """
        price = self._price(price)
        lam = -self.params[price]
        offers = self._market(offers)
        costs = dict(costs or {})
        unknown = set(costs) - set(changes)
        if unknown:
            raise ValueError(
                f"costs= names {', '.join(map(repr, unknown))}, which is no change; there are: {', '.join(map(repr, changes))}."
            )
        for change in changes.values():
            flat = change if isinstance(change, dict) else changes
            for alternative, columns in flat.items():
                if not isinstance(columns, dict):
                    raise ValueError(
                        f"changes= is {{name of the change: {{alternative: {{column: value}}}}}}; {alternative!r} is no alternative."
                    )
        touched = {alternative for change in changes.values() for alternative in change}
        if firm is None:
            if len(touched) != 1:
                raise ValueError(f"changes touch {len(touched)} alternatives: say with firm= whose share to follow.")
            (firm,) = touched
        own = (offers[self.alternative] == firm).to_numpy()
        if not own.any():
            raise ValueError(
                f"firm={firm!r} is not among the alternatives {', '.join(map(repr, offers[self.alternative].unique()))}."
            )
        z, cov, beta = normal_quantile(level), self.cov.to_numpy(), self.params.to_numpy()
        money = -np.eye(len(beta))[self.params.index.get_loc(price)]  # lambda = money @ beta
        now = self._state(offers, own, weights)
        rows = {"as it is": {"share": now["share"], "share_change": 0.0, "surplus_change": 0.0, "value_gained": 0.0}}
        for name, change in changes.items():
            changed = self._changed(offers, name, change)
            self._warn_outside(offers, changed, change)
            then = self._state(changed, own, weights)
            row = {"share": then["share"], "share_change": then["share"] - now["share"]}
            slope = then["share_slope"] - now["share_slope"]
            half = z * np.sqrt(slope @ cov @ slope)
            row |= {"share_lower": row["share_change"] - half, "share_upper": row["share_change"] + half}
            row["surplus_change"] = (then["logsum"] - now["logsum"]) / lam
            step = then["offers"] - now["offers"]
            gains = step @ beta / lam
            row["value_gained"] = gained = float(now["takers"] @ gains)
            slope = (now["takers"] @ step - gained * money) / lam + (gains - gained) @ now["takers_slope"]
            half = z * np.sqrt(slope @ cov @ slope)
            row |= {"value_lower": gained - half, "value_upper": gained + half}
            cost = costs.get(name)
            if cost is None and firm in change and price in change[firm]:
                cost = float(now["weights"] @ (offers[price][own] - changed[price][own]).to_numpy(dtype=float))
            if cost is not None:
                row |= {"cost": cost, "value_per_cost": gained / cost if cost > 0 else np.nan}
            rows[name] = row
        columns = "share share_change share_lower share_upper surplus_change value_gained value_lower value_upper cost value_per_cost"
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns.split()).rename_axis("change")

    def plot_what_if(self, offers, alternative, column, values, weights=None, unit=None, at=None, ax=None, level=0.95):
        """Draw choice shares as one attribute of one alternative moves.

        Parameters
        ----------
        offers, weights
            As in `what_if`.
        alternative, column : str
            What moves.
        values : sequence of float
            Through which values.
        unit : str, optional
            Of the column, for the axis.
        at : float, optional
            Where to put the mark; by default where the alternative stands now (its mean over occasions).
        ax : matplotlib.axes.Axes, optional
        level : float, default 0.95
            Of the band of that alternative.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        offers = self._market(offers)
        own = (offers[self.alternative] == alternative).to_numpy()
        values = np.asarray(list(values), dtype=float)
        at = float(offers[column][own].mean()) if at is None and column in offers else at
        kinds = list(pd.unique(offers[self.alternative]))
        curves, errors = {kind: [] for kind in kinds}, []
        for value in [*values, at]:
            changed = self._changed(offers, "the move", {alternative: {column: value}})
            for kind in kinds:
                state = self._state(changed, (changed[self.alternative] == kind).to_numpy(), weights)
                curves[kind].append(state["share"])
                if kind == alternative:
                    slope = state["share_slope"]
                    errors.append(np.sqrt(slope @ self.cov.to_numpy() @ slope))
        half = normal_quantile(level) * np.array(errors)
        for number, (kind, shares) in enumerate(curves.items()):
            dashes = ["-", "--", "-.", ":"][number % 4]
            (line,) = ax.plot(values, shares[:-1], linestyle=dashes)
            ax.annotate(
                str(kind),
                (values[-1], shares[-2]),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=line.get_color(),
            )
            ax.plot(at, shares[-1], "o", color=line.get_color())
            if kind == alternative:
                middle = np.array(shares[:-1])
                ax.fill_between(
                    values, middle - half[:-1], middle + half[:-1], alpha=0.2, color=line.get_color(), linewidth=0
                )
        ax.axvline(at, color="grey", linestyle=":", linewidth=1.5)
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(
            xlabel=f"{column} of {alternative}" + (f", {unit}" if unit else ""), ylabel="choice share", ylim=(0, None)
        )
        return ax

    def slider(self, offers, alternative, column, low, high, step=1, weights=None, unit=None):
        """A slider that moves one attribute of one alternative, and the choice shares that follow; in JupyterLab.

        `plot_what_if` draws the same for all values at once: it is what pages and slides show.

        Parameters
        ----------
        offers, alternative, column, weights, unit
            As in `plot_what_if`.
        low, high, step : float
            From where to where, and how finely.

        Returns
        -------
        crmlab.delivered_value.live.Slider
            Shows itself as a slider where somebody can move it, and else as a line of text.
        """
        offers = self._market(offers)
        own = (offers[self.alternative] == alternative).to_numpy()
        self._changed(offers, "the slider", {alternative: {column: low}})

        def draw(value):
            return self.plot_what_if(offers, alternative, column, np.linspace(low, high, 25), weights, unit, at=value)

        def say(value):
            changed = self._changed(offers, "the slider", {alternative: {column: value}})
            share = self._state(changed, own, weights)["share"]
            return f"{column} of {alternative}: {value:g}{' ' + unit if unit else ''}. Its choice share: {100 * share:.1f} %."

        return live.Slider(column, low, high, step, float(offers[column][own].mean()), draw, say)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _price(self, price):
        """The price column, once it is clear that money can be read off it."""
        price = self.price if price is None else price
        if price is None:
            raise ValueError(
                f"which column is the price? Say price=, here or in fit_choice; columns: {', '.join(self.params.index)}."
            )
        self._known(price, "price")
        others = [name for name in self.params.index if name != price and price in columns_in(name)]
        if others:
            raise ValueError(
                f"the price enters also by {', '.join(others)}: a unit of money is then worth more to some than to others, and there is no one willingness to pay. "
                "Fit each group of choosers apart."
            )
        slope = self.params[price]
        if slope >= 0:
            raise ValueError(_wrong_sign(price, slope))
        error = np.sqrt(self.cov.loc[price, price])
        if slope > -1.96 * error:
            warnings.warn(
                f"the coefficient of {price!r} is {slope:.4g} with a standard error of {error:.2g}: it may be 0, and money amounts divide by it. "
                "They may be of any size; method='fieller' shows how far they reach.",
                PriceWarning,
                stacklevel=3,
            )
        return price

    def _warn_beyond(self, amounts, names, price):
        core = self._core
        ranges = np.maximum.reduceat(core.x, core.start) - np.minimum.reduceat(core.x, core.start)
        typical = np.average(ranges, axis=0, weights=core.totals)
        largest = ranges[:, self.params.index.get_loc(price)].max()
        for name, amount in zip(names, amounts):
            worth = abs(amount) * typical[self.params.index.get_loc(name)]
            if worth > largest and not name.startswith(f"{self.alternative}["):
                warnings.warn(
                    f"a typical difference in {name!r} ({typical[self.params.index.get_loc(name)]:.4g}) comes out as worth {worth:.4g}, but no two prices on offer "
                    f"differed by more than {largest:.4g}. Nobody was asked to pay so much: the amount is extrapolation.",
                    PriceWarning,
                    stacklevel=3,
                )

    def _known(self, name, argument):
        if name not in self.params.index:
            raise ValueError(f"{argument}= is a column of the fit: {', '.join(self.params.index)}; got {name!r}.")

    def _in_money(self, rows, price, level, method, draws, seed):
        """Ratios rows @ beta / lambda with their intervals."""
        one_of("method", method, _METHODS)
        beta, cov = self.params.to_numpy(), self.cov.to_numpy()
        money = -np.eye(len(beta))[self.params.index.get_loc(price)]
        lam = money @ beta
        estimate = rows @ beta / lam
        slope = (rows - estimate[:, None] * money) / lam
        error = np.sqrt(np.einsum("ij,jk,ik->i", slope, cov, slope))
        z = normal_quantile(level)
        attrs = {}
        if method == "delta":
            lower, upper = estimate - z * error, estimate + z * error
        elif method == "fieller":
            lower, upper = _fieller(rows, money, beta, cov, z)
        else:
            rng = np.random.default_rng(seed)
            if method == "krinsky_robb":
                drawn = rng.multivariate_normal(beta, cov, size=draws or 20_000, method=_root(cov))
            else:
                drawn = self._bootstrap(draws or 500, rng)
                attrs["samples"] = len(drawn)
            ratios = drawn @ rows.T / (drawn @ money)[:, None]
            lower, upper = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        if method != "delta":
            error = np.full(len(rows), np.nan)
        table = pd.DataFrame({"estimate": estimate, "std_error": error, "lower": lower, "upper": upper})
        table.attrs = attrs
        return table

    def _bootstrap(self, samples, rng):
        """Coefficients of so many samples of choosers (of occasions, where nothing says who chose)."""
        beta = self.params.to_numpy()
        found = []
        for _ in range(samples):
            try:
                params, converged = self._core.resampled(rng).maximise(start=beta)
            except (np.linalg.LinAlgError, FloatingPointError, ValueError):
                continue  # a ValueError says that an attribute separates the choices of this sample
            if converged:
                found.append(params)
        if len(found) < samples:
            warnings.warn(
                f"{samples - len(found)} of {samples} bootstrap samples have no maximum and are left out: the intervals are too short.",
                PriceWarning,
                stacklevel=5,
            )
        if not found:
            raise ValueError("no bootstrap sample has a maximum: there are too few choosers.")
        return np.array(found)

    def _groups(self, components):
        """Component to columns: what was named, then the constants, then every other column by itself."""
        given = {
            name: [columns] if isinstance(columns, str) else list(columns)
            for name, columns in (components or {}).items()
        }
        named = [column for columns in given.values() for column in columns]
        for column in named:
            self._known(column, "components")
        twice = {column for column in named if named.count(column) > 1}
        if twice:
            raise ValueError(f"components= has {', '.join(sorted(twice))} twice: the parts would not sum to the whole.")
        constant = [
            c for c in self.params.index if c not in named and c.startswith(f"{self.alternative}[") and c.endswith("]")
        ]
        given |= {column: [column] for column in self.params.index if column not in named and column not in constant}
        return given | ({"constant": constant} if constant else {})

    def _labelled(self, offers):
        offers = self._market(offers)
        labels = pd.Index(offers[self.alternative], name="offer")
        if not labels.is_unique:
            # Several offers of one alternative, such as today's and tomorrow's: known by the table's own index.
            labels = offers.index.rename("offer")
        if not labels.is_unique:
            raise ValueError(
                "offers have to be told apart: give each row of the table a label of its own as its index."
            )
        return offers, labels

    def _market(self, offers):
        """The offers with their alternatives as a column."""
        if not isinstance(offers, pd.DataFrame):
            raise TypeError(f"offers= is a DataFrame, a row an offer; got {type(offers).__name__}.")
        if self.alternative not in offers:
            offers = offers.rename_axis(self.alternative).reset_index()
        return offers

    def _changed(self, offers, name, change):
        changed = offers.copy()
        for alternative, columns in change.items():
            own = offers[self.alternative] == alternative
            if not own.any():
                raise ValueError(
                    f"{name!r} changes {alternative!r}, which is not among the alternatives {', '.join(map(repr, offers[self.alternative].unique()))}."
                )
            for column, value in columns.items():
                if column not in self._design.variables or column not in offers:
                    raise ValueError(
                        f"{name!r} changes {column!r}, which the utility does not know; it knows {', '.join(self._design.variables)}."
                    )
                new = value(offers.loc[own, column]) if callable(value) else value
                if pd.api.types.is_numeric_dtype(changed[column]):
                    if np.asarray(new).dtype.kind not in "biuf":
                        raise ValueError(
                            f"{name!r}: {column!r} of {alternative!r} is a number, or a function of the old one; got {new!r}."
                        )
                    changed[column] = changed[column].astype(float)
                changed.loc[own, column] = new
        return changed

    def _warn_outside(self, offers, changed, change):
        """Say that an offer was moved beyond the levels that choosers saw."""
        for alternative, columns in change.items():
            own = (offers[self.alternative] == alternative).to_numpy()
            for column, value in columns.items():
                if column not in self.params.index:
                    continue  # a category or a function of the column: its levels are not in the fit
                seen = self._core.x[:, self.params.index.get_loc(column)]
                new = changed.loc[own, column].to_numpy(dtype=float)
                room = 0.1 * (seen.max() - seen.min())
                far = new[(new < seen.min() - room) | (new > seen.max() + room)]
                if len(far):
                    step = (
                        ""
                        if callable(value) or np.ndim(value)
                        else f" For a change write lambda t: t {'-' if value < 0 else '+'} {abs(value):g}."
                    )
                    warnings.warn(
                        f"{column!r} of {alternative!r} becomes {far[0]:g}, outside the levels on offer ({seen.min():g} to {seen.max():g}).{step}",
                        PriceWarning,
                        stacklevel=3,
                    )

    def _state(self, offers, own, weights):
        """Of a market: the firm's share, its derivatives, the mean logsum, the firm's offers and how its customers spread over them."""
        matrix, start, order = self._offers(offers)
        beta = self.params.to_numpy()
        probability, slope = shares_and_slopes(matrix, start, beta)
        value = matrix @ beta
        top = np.maximum.reduceat(value, start)
        sizes = np.diff(np.append(start, len(matrix)))
        logsum = top + np.log(np.add.reduceat(np.exp(value - np.repeat(top, sizes)), start))
        weight = np.ones(len(start)) if weights is None else offers[weights].to_numpy(dtype=float)[order][start]
        row_weight = np.repeat(weight, sizes) / weight.sum()
        mine = own[order]
        share = float(row_weight[mine] @ probability[mine])
        takers = row_weight[mine] * probability[mine] / share
        return {
            "share": share,
            "share_slope": row_weight[mine] @ slope[mine],
            "logsum": float(weight @ logsum / weight.sum()),
            "offers": matrix[mine],
            "takers": takers,
            "takers_slope": row_weight[mine][:, None] * slope[mine] / share,
            "weights": _in_rows(takers, order, mine, own),
        }


def _root(cov):
    """How to draw with this covariance: from few choosers it has no full rank."""
    if not np.isfinite(cov).all():
        raise ValueError("the coefficients have no covariance to draw from: there is one chooser only.")
    try:
        np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        return "eigh"
    return "cholesky"


def _in_rows(values, order, mine, own):
    """Values of the firm's rows in occasion order, in the order of the table."""
    full = np.zeros(len(order))
    full[order[mine]] = values
    return full[own]


def _wrong_sign(price, slope):
    return (
        f"the coefficient of {price!r} is {slope:+.4g}: choosers prefer to pay more, and nothing can be counted in such money. "
        "Either the column has the wrong sign (it is what the chooser pays; a discount or an income is its negative), or a higher price "
        "stands for something good that the formula leaves out, such as quality."
    )


def _mixed_units(core, column, price):
    """What to say if prices of the same occasion look as if some were in cents and some in dollars; else nothing."""
    paid = core.x[:, column]
    largest = np.maximum.reduceat(paid, core.start)
    smallest = np.minimum.reduceat(np.where(paid > 0, paid, np.inf), core.start)
    odd = np.flatnonzero(largest >= 100 * smallest)
    if len(odd):
        first = odd[0]
        return (
            f"in {len(odd)} of {len(core.start)} distinct occasions (such as {core.occasions[first]}: {smallest[first]:g} and {largest[first]:g}) one {price!r} is a hundred times "
            "another or more: are some in cents, some in dollars? All have to be in one unit."
        )
    return None


def _fieller(rows, money, beta, cov, z):
    """Fieller's limits: all r at which rows @ beta - r * lambda may be 0."""
    lam = money @ beta
    top = rows @ beta
    v_money = money @ cov @ money
    v_rows = np.einsum("ij,jk,ik->i", rows, cov, rows)
    v_both = rows @ cov @ money
    a = lam**2 - z**2 * v_money
    b = top * lam - z**2 * v_both
    c = top**2 - z**2 * v_rows
    if a <= 0:
        return np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    return (b - root) / a, (b + root) / a
