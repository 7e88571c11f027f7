"""What loyalty looks like before anybody explains it: wallets, repeats, runs, attitude scales, and Dick and Basu's four cells."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlab import counting, style, tables
from crmlab.likelihood import normal_quantile
from crmlab.loyalty._customers import each_once
from crmlab.satisfaction import reliability

__all__ = [
    "share_of_wallet",
    "repeat_measures",
    "sequence_measures",
    "attitude_scales",
    "dick_basu",
    "Wallet",
    "Sequences",
    "Scales",
    "DickBasu",
]

CELLS = ("true", "latent", "spurious", "none")
PATTERNS = ("undivided", "divided", "unstable", "none", "one purchase")


def shares(flags, level=0.95, name="parameter"):
    """Shares of the columns of a frame of flags, with Wilson intervals."""
    from statsmodels.stats.proportion import proportion_confint  # here, since it takes a while to import

    normal_quantile(level)
    count, n = flags.sum().to_numpy(), len(flags)
    lower, upper = proportion_confint(count, n, alpha=1 - level, method="wilson")
    share = count / n
    table = {"customers": count.astype(int), "estimate": share, "std_error": np.sqrt(share * (1 - share) / n)}
    return pd.DataFrame(table | {"lower": lower, "upper": upper}, pd.Index(list(flags), name=name))


def _several_suppliers(log, column):
    if isinstance(log, pd.DataFrame) and column not in log:
        raise ValueError(
            f"no column is named {column!r}; there are: {', '.join(map(str, log.columns))}. A firm's own log holds only what was bought "
            "from it: what customers spend elsewhere comes from a panel or a survey. Fix: a log of all suppliers, with column= their names."
        )


def share_of_wallet(log, supplier, column="supplier", customer="customer_id", date="date", amount="amount"):
    r"""Of what customers spend with all suppliers, the share that one of them gets.

    .. math:: \text{share}_i = \frac{\text{spent here}_i}{\text{spent}_i}, \qquad
              \text{share of all spending} = \frac{\sum_i \text{spent here}_i}{\sum_i \text{spent}_i}.

    The second is the mean of the first, weighted by the size of the wallet. Both are for the customers and suppliers in the log:
    a supplier that is not in it makes every share too large.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
        Purchases at several suppliers, as `crmlab.tables.transactions` takes them; summed where they lie.
    supplier : str
        Which supplier's share.
    column, customer, date, amount : str
        The columns.

    Returns
    -------
    Wallet

    Raises
    ------
    ValueError
        If there is no column of suppliers, no purchase at this one, one supplier only, or the door refuses the log.

    References
    ----------
    T. L. Keiningham, L. Aksoy, A. Buoye and B. Cooil (2011), Customer loyalty isn't enough. Grow your share of wallet, *Harvard
    Business Review* 89(10):29-31.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(500, seed=1)
    >>> wallet = loyalty.share_of_wallet(panel.purchases, supplier="ours")
    >>> wallet.summary().round(3)
                       estimate  std_error  lower  upper
    parameter
    of all spending       0.624      0.013  0.599  0.650
    mean of customers     0.617      0.013  0.592  0.642
    all of it here        0.126      0.015  0.100  0.158
    nothing here          0.014      0.005  0.007  0.029
    """
    _several_suppliers(log, column)
    checked = tables.transactions(log, customer=customer, date=date, amount=amount, also=column)
    table = checked.table
    table = table.mutate(_where=table[column].cast("string"))
    known = sorted(table.select("_where").distinct().to_pandas()["_where"])
    if str(supplier) not in known:
        raise ValueError(f"supplier= is one of {', '.join(map(repr, known))}; got {supplier!r}.")
    if len(known) == 1:
        raise ValueError(
            f"column {column!r} has one supplier only, {known[0]!r}: without what customers spend elsewhere every share would be 1."
        )
    here = (table._where == str(supplier)).ifelse(table.amount, 0.0)
    sums = (
        table.group_by("customer_id")
        .aggregate(spent_here=here.sum(), spent=table.amount.sum(), purchases=table.count())
        .order_by("customer_id")
        .to_pandas()
        .set_index("customer_id")
    )
    spent = sums["spent"].where(sums["spent"] > 0)
    return Wallet(sums.assign(share=sums["spent_here"] / spent), str(supplier), tuple(known))


@dataclass(frozen=True, eq=False)
class Wallet:
    """Shares of wallet; see `share_of_wallet`.

    Attributes
    ----------
    customers : pandas.DataFrame
        Indexed by ``customer_id``: ``spent_here``, ``spent``, ``purchases``, ``share`` (missing where nothing was spent).
    supplier : str
    suppliers : tuple of str
    """

    customers: pd.DataFrame = field(repr=False)
    supplier: str
    suppliers: tuple

    @property
    def nobs(self):
        """Customers who spent something."""
        return int(self.customers["share"].notna().sum())

    def summary(self, level=0.95):
        """The share of all spending, the mean customer's, and who buys all or nothing here; the customer is the unit of the errors.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``parameter``: ``estimate``, ``std_error``, ``lower``, ``upper``.
        """
        rows = self.customers[self.customers["share"].notna()]
        n, z = len(rows), normal_quantile(level)
        if n < 2:
            raise ValueError(f"an interval takes two customers or more who spent something; there are {n}.")
        ratio = rows["spent_here"].sum() / rows["spent"].sum()
        off = (rows["spent_here"] - ratio * rows["spent"]) / rows["spent"].mean()
        values = np.array([ratio, rows["share"].mean()])
        errors = np.array([off.std(), rows["share"].std()]) / np.sqrt(n)
        names = pd.Index(["of all spending", "mean of customers"], name="parameter")
        lower, upper = (np.clip(values + sign * z * errors, 0, 1) for sign in (-1, 1))
        means = pd.DataFrame({"estimate": values, "std_error": errors, "lower": lower, "upper": upper}, names)
        flags = pd.DataFrame({"all of it here": rows["share"] == 1, "nothing here": rows["share"] == 0})
        return pd.concat([means, shares(flags, level).drop(columns="customers")])

    def plot(self, ax=None):
        """How the shares are spread over customers.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        ax.hist(self.customers["share"].dropna(), bins=np.linspace(0, 1, 21), edgecolor="white")
        ax.xaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel=f"share of a customer's spending that goes to {self.supplier}", ylabel="customers", xlim=(0, 1))
        return ax


def repeat_measures(log, customer="customer_id", date="date", repeats=(1, 3), level=0.95):
    """How far customers come back, from a log of one firm: counted first, where the log lies.

    Purchases of one day are one. Nothing is said about attitude, nor about what customers buy elsewhere: this is repeat patronage
    as one's own log shows it.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
    customer, date : str
    repeats : sequence of int
        Thresholds: the shares of customers with so many repeat purchases or more.
    level : float
        Of Wilson's interval for shares, of the normal one for means.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``parameter``: ``estimate``, ``std_error``, ``lower``, ``upper``. ``.attrs["customers"]`` has their number,
        ``.attrs["counts"]`` how many customers made so many repeat purchases.

    Examples
    --------
    >>> from crmlab import datasets, loyalty
    >>> loyalty.repeat_measures(datasets.load("cdnow_sample")).round(3)
                                  estimate  std_error   lower   upper
    parameter
    bought again                     0.483      0.010   0.463   0.503
    bought again 3 times or more     0.224      0.009   0.207   0.241
    repeat purchases                 1.841      0.078   1.689   1.993
    weeks between purchases         16.017      0.431  15.173  16.861
    """
    checked = tables.transactions(log, customer=customer, date=date, amount=None)
    counts = counting.summary_counts(checked).to_pandas()
    n, x = counts["customers"].to_numpy(dtype=float), counts["frequency"].to_numpy(dtype=float)
    total, z = n.sum(), normal_quantile(level)
    from statsmodels.stats.proportion import proportion_confint

    rows = {}
    for k in repeats:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"repeats= are whole numbers, 1 or more; got {k!r}.")
        hit = n[x >= k].sum()
        share = hit / total
        limits = proportion_confint(hit, total, alpha=1 - level, method="wilson")
        rows["bought again" + (f" {k} times or more" if k > 1 else "")] = (
            share,
            np.sqrt(share * (1 - share) / total),
            *limits,
        )

    def mean(values, weight):
        size = weight.sum()
        if size < 2:
            return (np.nan,) * 4
        centre = weight @ values / size
        error = np.sqrt(weight @ (values - centre) ** 2 / (size - 1) / size)
        return centre, error, centre - z * error, centre + z * error

    rows["repeat purchases"] = mean(x, n)
    again = x > 0
    rows["weeks between purchases"] = mean(counts["recency_days"].to_numpy(dtype=float)[again] / 7 / x[again], n[again])
    columns = ["estimate", "std_error", "lower", "upper"]
    table = pd.DataFrame(list(rows.values()), pd.Index(list(rows), name="parameter"), columns)
    table.attrs |= {
        "customers": int(total),
        "counts": {int(k): int(v) for k, v in counts.groupby("frequency")["customers"].sum().items()},
    }
    return table


def sequence_measures(log, column="supplier", customer="customer_id", date="date"):
    """In which order customers went to which suppliers: runs, switches, repeats, and Brown's patterns.

    A purchase repeats if it goes to the supplier of the purchase before. The patterns are Brown's (1952): *undivided* (AAAA), *unstable*
    (AAABBB: one change for good, with two purchases or more on either side), *divided* (ABABBA: two suppliers, several changes),
    *none* (anything else). A repeat is no proof of habit: who prefers A buys AAAA without any.

    Parameters
    ----------
    log : DataFrame, path, (connection, name), ibis.Table or Checked
    column, customer, date : str
        Purchases are ordered by day; several of one day keep the order of the rows of a DataFrame, and are counted.

    Returns
    -------
    Sequences

    Raises
    ------
    ValueError
        If there is no column of suppliers, or the door refuses the log.

    References
    ----------
    G. H. Brown (1952), Brand loyalty: fact or fiction?, *Advertising Age* 23:53-55.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> days = pd.date_range("2026-01-01", periods=6)
    >>> log = pd.DataFrame({"customer_id": ["a"] * 6 + ["b"] * 6, "date": [*days, *days], "supplier": list("XXXYYYXYXYYX")})
    >>> loyalty.sequence_measures(log).customers[["repeats", "longest_run", "pattern"]]
                 repeats  longest_run   pattern
    customer_id
    a                  4            3  unstable
    b                  1            2   divided
    """
    _several_suppliers(log, column)
    checked = tables.transactions(log, customer=customer, date=date, amount=None, also=column)
    wanted = ["customer_id", "date", column] + (["_row"] if "_row" in checked.table.columns else [])
    rows = checked.table.select(*wanted).to_pandas()
    rows = rows.sort_values(["customer_id", "date", *(wanted[3:] or [column])], ignore_index=True)
    first = rows["customer_id"].ne(rows["customer_id"].shift()).to_numpy()
    same_day = ~first & rows["date"].eq(rows["date"].shift()).to_numpy()
    repeat = ~first & rows[column].eq(rows[column].shift()).to_numpy()
    run = np.cumsum(~repeat)
    rows = rows.assign(repeat=repeat, new_run=~repeat, run=run, length=pd.Series(run).groupby(run).transform("size"))
    by = rows.groupby("customer_id", sort=True)
    found = pd.DataFrame(
        {
            "purchases": by.size(),
            "suppliers": by[column].nunique(),
            "runs": by["new_run"].sum(),
            "longest_run": by["length"].max(),
            "repeats": by["repeat"].sum(),
        }
    )
    found["repeat_rate"] = found["repeats"] / (found["purchases"] - 1).where(found["purchases"] > 1)
    shortest = by["length"].min()
    pattern = np.select(
        [
            found["purchases"] == 1,
            found["suppliers"] == 1,
            (found["suppliers"] == 2) & (found["runs"] == 2) & (shortest >= 2),
            (found["suppliers"] == 2) & (found["runs"] > 2),
        ],
        ["one purchase", "undivided", "unstable", "divided"],
        "none",
    )
    found["pattern"] = pd.Categorical(pattern, PATTERNS)
    return Sequences(found, int(same_day.sum()))


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of suppliers; see `sequence_measures`.

    Attributes
    ----------
    customers : pandas.DataFrame
        Indexed by ``customer_id``: ``purchases``, ``suppliers`` (different ones), ``runs``, ``longest_run``, ``repeats``,
        ``repeat_rate`` (missing with one purchase), ``pattern``.
    same_day : int
        Purchases on the day of the customer's purchase before: their order is that of the rows.
    """

    customers: pd.DataFrame = field(repr=False)
    same_day: int

    @property
    def nobs(self):
        """Customers."""
        return len(self.customers)

    def summary(self, level=0.95):
        """The repeat rate over all purchases with one before them (the customer is the unit of its error), and each pattern's share.

        Customers with one purchase have no sequence: their share is a row of its own.
        """
        rows, z = self.customers, normal_quantile(level)
        possible = (rows["purchases"] - 1).to_numpy(dtype=float)
        if not possible.sum():
            raise ValueError(f"all {len(rows)} customers have one purchase: there is nothing that could be repeated.")
        rate = rows["repeats"].sum() / possible.sum()
        error = (
            np.std((rows["repeats"] - rate * possible) / possible.mean(), ddof=1) / np.sqrt(len(rows))
            if len(rows) > 1
            else np.nan
        )
        top = pd.DataFrame(
            [{"estimate": rate, "std_error": error, "lower": rate - z * error, "upper": rate + z * error}],
            pd.Index(["repeat rate"], name="parameter"),
        )
        flags = pd.DataFrame({name: rows["pattern"] == name for name in PATTERNS})
        return pd.concat([top, shares(flags, level).drop(columns="customers")])

    def plot(self, ax=None):
        """Shares of the patterns.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self.summary().drop("repeat rate")
        bars = np.abs(table[["lower", "upper"]].to_numpy().T - table["estimate"].to_numpy())
        ax.bar(table.index, table["estimate"], yerr=bars, capsize=4)
        ax.yaxis.set_major_formatter(style.PERCENT)
        ax.set(xlabel="pattern of suppliers", ylabel="share of customers")
        return ax


def attitude_scales(answers, items, scale=(1, 7), reverse=(), customer="customer_id", contradiction=5, level=0.95):
    r"""Scores of attitude scales, with the reliability of each and the customers whose answers cannot be taken at their word.

    A score is the mean of a scale's items, those in `reverse` turned round. Reliability is Cronbach's alpha
    (`crmlab.satisfaction.reliability`). Three kinds of answers are found and kept, so that the analyst decides: items of one scale
    that lie `contradiction` points or more apart (contradictory), the same answer to every question although there are
    reversed ones or several scales (straight-lining), and missing ones.

    Parameters
    ----------
    answers : pandas.DataFrame
        One row a customer.
    items : dict of str to sequence of str
        The columns of each scale.
    scale : (int, int)
        Lowest and highest answer.
    reverse : sequence of str
        Items in which agreement means little of the thing.
    customer : str
        Column of ids.
    contradiction : int
        From how many points on two items of one scale contradict each other.
    level : float
        Of Feldt's interval for the reliability.

    Returns
    -------
    Scales

    Raises
    ------
    ValueError
        If columns or answers are missing, answers lie outside the scale, a customer stands twice, or a scale is the same for
        everybody: then it measures nothing.

    Examples
    --------
    >>> from crmlab import loyalty, simulate
    >>> panel = simulate.loyalty_panel(500, seed=1)
    >>> scales = loyalty.attitude_scales(panel.answers, panel.items())
    >>> scales.summary().loc[["trust"]].round(2)
               items  estimate  std_error  lower  upper
    parameter
    trust          2      0.78       0.02   0.74   0.82
    """
    if not isinstance(answers, pd.DataFrame):
        raise TypeError(f"the answers come as a pandas DataFrame, one row a customer; got {type(answers).__name__}.")
    items = {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in dict(items).items()}
    columns = [column for of in items.values() for column in of]
    if bare := [name for name, of in items.items() if not of]:
        raise ValueError(f"scale {bare[0]!r} has no items: name the columns of its questions, or leave it out.")
    if several := [column for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        raise ValueError(
            f"item {several[0]!r} stands twice in items=: an item belongs to one scale, once. Fix: leave it out of the others."
        )
    reverse = [reverse] if isinstance(reverse, str) else list(reverse)
    if odd := [name for name in reverse if name in answers and name not in columns]:
        raise ValueError(f"reverse= names items of the scales ({', '.join(columns)}); got {odd[0]!r}.")
    if missing := [name for name in [customer, *columns, *reverse] if name not in answers]:
        raise ValueError(
            f"no column is named {', '.join(map(repr, missing[:3]))}; there are: {', '.join(map(str, answers.columns))}."
        )
    if not len(answers):
        raise ValueError("the table of answers has no rows.")
    ids = answers[customer]
    each_once(ids, f"column {customer!r}: ")
    low, high = scale
    for name in columns:
        column = answers[name]
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(f"column {name!r} holds {column.dtype} values, not numbers from {low} to {high}.")
        for bad, what, fix in (
            (column.isna(), "missing", "leave these customers out, and say how many they were"),
            (
                ~column.between(low, high),
                "outside the scale",
                f"answers run from {low} to {high}; correct them, or say another scale=",
            ),
        ):
            if bad.any():
                rows = ", ".join(map(str, ids[bad].iloc[:3]))
                raise ValueError(
                    f"column {name!r}: {bad.sum()} of {len(answers)} answers are {what} ({customer}: {rows}). Fix: {fix}."
                )
    turned = answers[columns].astype(float).copy()
    turned[reverse] = low + high - turned[reverse]
    scores, rows, spread = {}, {}, {}
    for name, of in items.items():
        scores[name] = turned[of].mean(axis=1)
        if scores[name].nunique() == 1 and len(answers) > 1:
            raise ValueError(
                f"scale {name!r} ({', '.join(of)}) has the same score for all {len(answers)} customers: it measures nothing. Leave it out."
            )
        spread[name] = turned[of].max(axis=1) - turned[of].min(axis=1)
        if len(of) > 1 and len(answers) > 2:
            rows[name] = reliability(turned, of, level=level).iloc[0].to_dict()
        else:
            rows[name] = dict.fromkeys(["estimate", "std_error", "lower", "upper"], np.nan)
        rows[name] = {"items": len(of)} | rows[name]
    index = pd.Index(ids, name="customer_id")
    raw = answers[columns]
    straight = raw.nunique(axis=1).eq(1).to_numpy() if len(items) > 1 or reverse else np.zeros(len(answers), bool)
    contrary = pd.DataFrame(spread).ge(contradiction)
    flags = pd.DataFrame(
        {
            "contradictory": contrary.apply(lambda row: ", ".join(row.index[row]), axis=1).to_numpy(),
            "straight_lining": straight,
        },
        index,
    )
    return Scales(
        pd.DataFrame(scores).set_axis(index),
        pd.DataFrame(rows).T.rename_axis("parameter").astype({"items": int}),
        flags,
    )


@dataclass(frozen=True, eq=False)
class Scales:
    """Scores of scales; see `attitude_scales`.

    Attributes
    ----------
    scores : pandas.DataFrame
        Indexed by ``customer_id``, a column a scale.
    flags : pandas.DataFrame
        Indexed alike: ``contradictory`` (scales whose items contradict each other, or empty) and ``straight_lining``.
    """

    scores: pd.DataFrame = field(repr=False)
    _reliability: pd.DataFrame = field(repr=False)
    flags: pd.DataFrame = field(repr=False)

    @property
    def nobs(self):
        """Customers."""
        return len(self.scores)

    def summary(self):
        """Reliability of each scale, indexed by ``parameter``: ``items``, ``estimate``, ``std_error``, ``lower``, ``upper``; missing for a single item."""
        return self._reliability.copy()

    def doubtful(self):
        """The customers whose answers contradict each other or are all the same, with the reason."""
        return self.flags[self.flags["contradictory"].ne("") | self.flags["straight_lining"]]

    def plot(self, ax=None):
        """Reliability of the scales.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        table = self._reliability.dropna()
        bars = np.abs(table[["lower", "upper"]].to_numpy().T - table["estimate"].to_numpy())
        ax.errorbar(table["estimate"].to_numpy(), np.arange(len(table))[::-1], xerr=bars, fmt="o", capsize=4)
        ax.set_yticks(np.arange(len(table))[::-1], list(table.index))
        ax.set(xlabel="reliability (Cronbach's alpha)", ylabel="scale", xlim=(None, 1))
        return ax


def dick_basu(attitude, patronage, attitude_cut, patronage_cut):
    """Dick and Basu's four cells: relative attitude and repeat patronage, each high or low.

    ============== =============== ==============
    attitude       high patronage  low patronage
    ============== =============== ==============
    high           true            latent
    low            spurious        none
    ============== =============== ==============

    High is at or above the cut point. Where to cut is a decision, not a fact: `DickBasu.sensitivity` says what hangs on it.

    Parameters
    ----------
    attitude, patronage : pandas.Series
        By customer, on the same customers: attitude *relative to rivals*, such as a score of `attitude_scales`, and repeat patronage,
        such as a share of wallet.
    attitude_cut, patronage_cut : float

    Returns
    -------
    DickBasu

    Raises
    ------
    ValueError
        If the two are not about the same customers, have missing values or do not differ between customers.

    References
    ----------
    A. S. Dick and K. Basu (1994), Customer loyalty: toward an integrated conceptual framework, *Journal of the Academy of Marketing
    Science* 22(2):99-113.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import loyalty
    >>> attitude, wallet = pd.Series([6, 6, 2, 2.5], list("abcd")), pd.Series([0.9, 0.1, 0.8, 0.2], list("abcd"))
    >>> loyalty.dick_basu(attitude, wallet, attitude_cut=4, patronage_cut=0.5).cells.tolist()
    ['true', 'latent', 'spurious', 'none']
    """
    named = {"attitude": attitude, "patronage": patronage}
    for name, values in named.items():
        if not isinstance(values, pd.Series):
            raise TypeError(f"{name}= is a pandas Series, indexed by customer; got {type(values).__name__}.")
        if not len(values):
            raise ValueError(f"{name}= has no customers.")
        if values.isna().any():
            raise ValueError(
                f"{name}= is missing for {values.isna().sum()} of {len(values)} customers ({', '.join(map(str, values.index[values.isna()][:3]))}): leave them out, and say so."
            )
        if values.nunique() == 1 and len(values) > 1:
            raise ValueError(f"{name}= is {values.iloc[0]:g} for all {len(values)} customers: it cannot divide them.")
    each_once(attitude.index, "attitude=: ")
    each_once(patronage.index, "patronage=: ")
    if set(attitude.index) != set(patronage.index):
        odd = attitude.index.symmetric_difference(patronage.index)
        raise ValueError(
            f"attitude= and patronage= are about the same customers, each once; {len(odd)} are in one only ({', '.join(map(str, odd[:3]))})."
        )
    table = pd.DataFrame({"attitude": attitude, "patronage": patronage.reindex(attitude.index)}).rename_axis(
        "customer_id"
    )
    return DickBasu(table, float(attitude_cut), float(patronage_cut))


@dataclass(frozen=True, eq=False)
class DickBasu:
    """The four cells; see `dick_basu`.

    Attributes
    ----------
    customers : pandas.DataFrame
        Indexed by ``customer_id``: ``attitude``, ``patronage``.
    attitude_cut, patronage_cut : float
    """

    customers: pd.DataFrame = field(repr=False)
    attitude_cut: float
    patronage_cut: float

    def _cells(self, attitude_cut, patronage_cut):
        mind, hand = self.customers["attitude"] >= attitude_cut, self.customers["patronage"] >= patronage_cut
        cell = np.select([mind & hand, mind, hand], CELLS[:3], CELLS[3])
        return pd.Series(pd.Categorical(cell, CELLS), self.customers.index, name="cell")

    @property
    def nobs(self):
        """Customers."""
        return len(self.customers)

    @property
    def cells(self):
        """The cell of every customer."""
        return self._cells(self.attitude_cut, self.patronage_cut)

    def summary(self, level=0.95):
        """Share of customers in each cell with Wilson's interval, indexed by ``parameter``."""
        cells = self.cells
        return shares(pd.DataFrame({name: cells == name for name in CELLS}), level)

    def sensitivity(self, attitude_cuts, patronage_cuts):
        """What other cut points would have said.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``attitude_cut`` and ``patronage_cut``: the share of each cell, and ``moved``, the share of customers in
            another cell than with the cut points of this object.
        """
        rows, base = {}, self.cells
        for a in attitude_cuts:
            for p in patronage_cuts:
                cells = self._cells(a, p)
                rows[(a, p)] = {name: (cells == name).mean() for name in CELLS} | {
                    "moved": (cells.astype(str) != base.astype(str)).mean()
                }
        return pd.DataFrame(rows).T.rename_axis(["attitude_cut", "patronage_cut"])

    def plot(self, ax=None):
        """Every customer between the cut points; points are shaken a little, since answers repeat.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = style.axes(ax)
        shake = np.random.default_rng(0).uniform(-1, 1, (2, len(self.customers)))
        width = [0.012 * np.ptp(self.customers[name]) for name in ("patronage", "attitude")]
        cells = self.cells
        for name, colour, marker in zip(CELLS, style.COLOURS, "osD^"):
            rows = (cells == name).to_numpy()
            x = self.customers["patronage"].to_numpy() + shake[0] * width[0]
            y = self.customers["attitude"].to_numpy() + shake[1] * width[1]
            label = f"{name} ({rows.mean():.0%})"
            ax.plot(x[rows], y[rows], marker, color=colour, markersize=4, alpha=0.5, label=label, linestyle="none")
        ax.axhline(self.attitude_cut, color="black", linewidth=1)
        ax.axvline(self.patronage_cut, color="black", linewidth=1)
        ax.set(xlabel="repeat patronage", ylabel="relative attitude")
        legend = ax.legend(title="loyalty", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for handle in legend.legend_handles:
            handle.set(alpha=1, markersize=8)
        return ax
