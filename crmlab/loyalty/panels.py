"""Histories of purchases behind the door, for the models of habit."""

import numpy as np
import pandas as pd

from crmlab.choice.situations import Design, Long, complete, frame, present, shown

__all__ = ["choice_panel", "Panel", "STATE"]

STATE = "bought last time"


def choice_panel(data, chosen, customer="customer_id", order=None, attributes=None, offers=None, on=None):
    """Bring purchases into the long form that the choice models take: one row a brand of a purchase.

    Either the offers stand beside each purchase, in columns such as ``price_A``, ``price_B`` (as in scanner panels), or in a table
    of their own with a row a brand and, say, a week.

    Parameters
    ----------
    data : pandas.DataFrame
        One row a purchase.
    chosen : str
        Column that says which brand was bought.
    customer : str
    order : str, optional
        Column by which a customer's purchases are ordered; by default they stand in their order.
    attributes : sequence of str
        Without `offers`: attributes whose columns are named ``<attribute>_<brand>``. With them: its columns to carry along, by
        default all.
    offers : pandas.DataFrame, optional
        One row a brand and value of `on`, with the brand under the name `chosen`.
    on : str, optional
        Column of both tables that joins them, such as the week.

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``purchase`` (0, 1, ... of a customer), ``brand``, ``chosen`` (1 or 0) and the attributes.

    Raises
    ------
    ValueError
        If a column is missing, a brand has no column or row of an attribute, a purchase has no offers, or `order` holds numbers as text.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> rows = pd.DataFrame({"customer_id": ["a", "a"], "choice": ["A", "B"], "price_A": [1.0, 1.2], "price_B": [1.1, 0.9]})
    >>> loyalty.choice_panel(rows, chosen="choice", attributes=["price"]).iloc[:2].values.tolist()
    [['a', 0, 'A', 1, 1.0], ['a', 0, 'B', 0, 1.1]]
    """
    frame(data)
    wanted = [name for name in (customer, chosen, order, on) if name is not None]
    present(data, wanted)
    complete(data, wanted)
    if order:
        _refuse_numbers_as_text(data, order)
    rows = data.sort_values([customer, order], kind="stable") if order else data.sort_values(customer, kind="stable")
    purchase = rows.groupby(customer, sort=False, observed=True).cumcount().to_numpy()
    column = rows[chosen]
    brands = list(column.cat.categories) if isinstance(column.dtype, pd.CategoricalDtype) else sorted(column.unique())
    if (offers is None) != (on is None):
        raise ValueError(
            "offers= and on= belong together: the table of offers, and the column that joins it to the purchases."
        )
    n, j = len(rows), len(brands)
    table = pd.DataFrame(
        {
            "customer_id": np.repeat(rows[customer].to_numpy(), j),
            "purchase": np.repeat(purchase, j),
            "brand": pd.Categorical(np.tile(np.asarray(brands, dtype=object), n), brands),
            "chosen": (
                np.repeat(column.astype(object).to_numpy(), j) == np.tile(np.asarray(brands, dtype=object), n)
            ).astype(int),
        }
    )
    if offers is None:
        if not attributes:
            raise ValueError(
                "attributes= names what the brands differ in, such as ['price']; its columns are price_<brand>."
            )
        for name in attributes:
            columns = [f"{name}_{brand}" for brand in brands]
            present(rows, columns)
            complete(rows, columns)
            table[name] = rows[columns].to_numpy().ravel()
        return table
    present(offers, [on, chosen])
    attributes = [name for name in offers if name not in (on, chosen)] if attributes is None else list(attributes)
    present(offers, attributes)
    complete(offers, attributes)
    keyed = offers.assign(**{chosen: offers[chosen].astype(object)}).set_index([on, chosen])
    if keyed.index.has_duplicates:
        twice = keyed.index[keyed.index.duplicated()]
        raise ValueError(
            f"the table of offers has {len(twice)} rows that repeat a {on} and {chosen} ({shown([str(pair) for pair in twice])}). Fix: one row each."
        )
    key = pd.MultiIndex.from_arrays([np.repeat(rows[on].to_numpy(), j), table["brand"].astype(object)])
    lacking = ~key.isin(keyed.index)
    if lacking.any():
        raise ValueError(
            f"{lacking.sum()} rows have no offer ({on}, {chosen}: {shown([str(pair) for pair in key[lacking]])}). Fix: a row for every brand in every {on} with a purchase."
        )
    for name in attributes:
        table[name] = keyed[name].reindex(key).to_numpy()
    return table


def _refuse_numbers_as_text(data, name):
    """Refuse a column to order by in which "10" would come before "2"."""
    column = data[name]
    category = isinstance(column.dtype, pd.CategoricalDtype)
    values = column.cat.categories.to_series() if category else column
    if pd.api.types.infer_dtype(values) != "string":
        return
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and not (category and numbers.is_monotonic_increasing):
        raise ValueError(
            f"column {name!r} orders the purchases, and holds numbers as text ({shown(values)}), of which '10' comes before '2'. Fix: data[{name!r}] = pd.to_numeric(data[{name!r}])."
        )


class Panel:
    """Purchases behind the door: histories in order, with what was bought before; the first purchase only conditions."""

    def __init__(self, data, formula, customer, order, alternative, chosen):
        frame(data)
        present(data, [customer, order, alternative, chosen])
        complete(data, [customer, order])
        _refuse_numbers_as_text(data, order)
        rows = data.sort_values([customer, order], kind="stable")
        ids = rows.groupby([customer, order], sort=False, observed=True).ngroup()
        rows = rows.assign(_occasion=ids.to_numpy())
        if isinstance(rows[alternative].dtype, pd.CategoricalDtype):
            rows[alternative] = rows[alternative].cat.remove_unused_categories()
        long = Long(rows, "_occasion", alternative, chosen, None, customer, None, "same")
        design = Design.of(formula, long)
        self.names, self.brands = list(design.columns), list(long.labels)
        j = len(self.brands)
        x = design.matrix.reshape(-1, j, len(self.names))
        # A column that hardly anything but the brand decides is a constant under another name.
        if np.allclose(np.ptp(x, axis=0), 0):
            raise ValueError(f"formula= {formula!r} holds nothing but constants of the brands; these are always there.")
        who, self.customers = pd.factorize(long.data[customer].to_numpy()[long.order][long.start])
        took = long.kind[long.chosen]
        size = np.bincount(who)
        first = np.flatnonzero(np.diff(who, prepend=-1))
        self.once = int(np.sum(size == 1))
        if (size == 1).all():
            raise ValueError(
                f"all {len(size)} customers have one purchase: whether they come back to a brand cannot be seen."
            )
        later = np.ones(len(who), bool)
        later[first] = False
        self.all_x, self.all_y, self.first, self.size = x, took, first, size
        self.x, self.y = x[later], took[later]
        self.last = took[np.flatnonzero(later) - 1]
        kept = size > 1
        self.person = (np.cumsum(kept) - 1)[who[later]]
        self.start = np.flatnonzero(np.diff(self.person, prepend=-1))
        self.initial = took[first][kept]
        self.ids = self.customers[kept]
