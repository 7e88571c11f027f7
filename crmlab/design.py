"""The door of every model with a formula: it refuses what cannot be used, counts equal rows, and makes the columns."""

import ast
import functools
import re
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import linalg

from crmlab import counting, tables

__all__ = [
    "count_cases",
    "count_columns",
    "row_counts",
    "refuse_of_all",
    "columns_in",
    "bare",
    "used_categories",
    "categories",
    "new_columns",
    "Design",
]

# What computes a value for each row from that row alone, beside NumPy's universal functions. All else may look at the whole column,
# as a mean does: equal rows are counted once here, and new rows come without the old, so it would not be the customers' column.
_OF_A_ROW = {
    "C",
    "I",
    "Q",
    "Treatment",
    "Sum",
    "Helmert",
    "Diff",
    "Poly",
    "exp",
    "exp2",
    "exp10",
    "log",
    "log2",
    "log10",
}
_NUMPY_OF_A_ROW = {"around", "clip", "digitize", "e", "interp", "isin", "pi", "round", "where"}
_PLAIN = (
    ast.Name,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.keyword,
    ast.expr_context,
    ast.Call,
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def count_cases(formula, data, weights=None):
    """The distinct rows of the columns that a formula needs, and how many customers share each.

    Parameters
    ----------
    formula : str
        The answer, a tilde, the columns: ``"satisfaction ~ influence * contact"``. The answer is a column as it stands.
    data : DataFrame or Checked
        One row a customer or one row a case with its count; or what `crmlab.tables.responses` checked, which is counted
        where it lies.
    weights : str, optional
        The column that says how many customers a row stands for. Frequencies only: sampling weights are no counts.

    Returns
    -------
    cases : pandas.DataFrame
        The distinct rows.
    count : numpy.ndarray
        How many customers each stands for.

    Raises
    ------
    TypeError
        If `data` is neither.
    ValueError
        If the formula has no answer, a term perhaps depends on all rows, a column is not there, is called ``customers``, has missing
        or infinite values, or the weights are not counts: negative, missing, fractions, or all 0.

    Examples
    --------
    >>> import pandas as pd
    >>> from crmlab import design
    >>> rows = pd.DataFrame({"score": [5, 5, 4], "stayed": [1, 1, 0]})
    >>> cases, count = design.count_cases("stayed ~ score", rows)
    >>> cases.assign(customers=count)
       stayed  score  customers
    0       1      5        2.0
    1       0      4        1.0
    """
    _, columns = _needed(formula)
    return count_columns(columns, data, weights)


def count_columns(columns, data, weights=None):
    """The distinct rows of some columns and how many customers share each; see `count_cases`."""
    columns = list(dict.fromkeys(columns))
    if isinstance(data, tables.Checked):
        if weights is not None:
            raise ValueError("weights= is for tables of counts: checked answers are counted here, one customer a row.")
        lacking = [name for name in columns if name not in data.table.columns]
        if lacking:
            raise ValueError(
                f"the checked answers have no column {lacking[0]!r}: name it when they are checked (also=)."
            )
        data, weights = counting.rating_counts(data, by=columns).to_pandas(), "customers"
    if not isinstance(data, pd.DataFrame):
        raise TypeError(
            f"data= is a DataFrame, or what tables.responses(...) checked; got {type(data).__name__}. A file: pandas.read_csv, or tables.responses."
        )
    for name in [*columns, *([weights] if weights else [])]:
        if name not in data.columns:
            raise ValueError(f"column {name!r} is not in the data; there are: {', '.join(map(str, data.columns))}.")
    if not len(data):
        raise ValueError("the data have no rows.")
    for name in columns:
        missing = data[name].isna()
        if pd.api.types.is_float_dtype(data[name]):
            missing |= np.isinf(data[name].astype(float))
        _refuse(data, name, missing, "missing or infinite: fill them in, or leave these rows out and say so")
    if weights in columns:
        raise ValueError(f"column {weights!r} is both in the formula and weights=: it cannot be counted by itself.")
    if "customers" in columns:
        raise ValueError(
            "column 'customers': in tables of cases that is the name of their count, so nothing else can have it. Fix: rename the column, or weights='customers' if it counts."
        )
    count = row_counts(data, weights)
    if weights is None:
        cases = data.groupby(columns, observed=True, sort=False).size().rename("_count").reset_index()
    else:
        kept = data.loc[count > 0, columns].assign(_count=count[count > 0])
        cases = kept.groupby(columns, observed=True, sort=False)["_count"].sum().reset_index()
    count = cases.pop("_count").to_numpy(dtype=float)
    return cases, count


def row_counts(data, weights=None):
    """How many customers each row stands for: 1, or the whole numbers of the column `weights`; refuses what is no count."""
    if weights is None:
        if "customers" in data and pd.api.types.is_numeric_dtype(data["customers"]):
            # The likely slip with a table of counts: every case would stand for one customer.
            raise ValueError(
                "the data have a column 'customers', as tables of counts do, and weights= is not given. Fix: weights='customers' if it counts them; else drop the column."
            )
        return np.ones(len(data))
    if weights not in data.columns:
        raise ValueError(f"column {weights!r} is not in the data; there are: {', '.join(map(str, data.columns))}.")
    column = pd.to_numeric(data[weights], errors="coerce").astype(float)
    wrong = ~np.isfinite(column) | (column < 0) | (column != np.floor(column))
    fix = "weights are counts of customers, whole numbers of 0 or more. Sampling weights need other errors than these"
    _refuse(data, weights, wrong, fix)
    if not (column > 0).any():
        raise ValueError(f"column {weights!r}: all {len(data):,} weights are 0, so there is no customer.")
    return column.to_numpy()


@functools.lru_cache(maxsize=64)
def _needed(formula):
    """The answer and all columns of a formula."""
    import formulaic

    try:
        parsed = formulaic.Formula(formula)
    except Exception as error:
        raise ValueError(f"formula {formula!r} cannot be read: {str(error).splitlines()[0]}") from None
    if not hasattr(parsed, "lhs"):
        raise ValueError(f"formula {formula!r} has no answer: write it before a tilde, as in 'loyalty ~ satisfaction'.")
    refuse_of_all(formula, parsed.rhs)
    answer = [str(name) for name in parsed.lhs.required_variables]
    terms = [str(term) for term in parsed.lhs]
    if len(answer) != 1 or len(terms) != 1 or terms[0].strip("`") != answer[0]:
        raise ValueError(
            f"formula {formula!r}: before the tilde stands one column as it is; compute a new column for anything else."
        )
    return answer[0], (*answer, *sorted(str(name) for name in parsed.rhs.required_variables if str(name) != answer[0]))


def refuse_of_all(formula, terms):
    """Refuse terms such as ``scale(x)`` or ``x - x.mean()``, whose value for one customer depends on all the others."""
    for term in terms:
        for factor in term.factors:
            if factor.eval_method.value != "python":
                continue
            # Names in backticks may hold anything; which name it is does not matter here.
            tree = ast.parse(re.sub(r"`[^`]*`", "column", str(factor.expr)), mode="eval")
            if (part := _of_all(tree.body)) is not None:
                raise ValueError(
                    f"formula {formula!r}: {str(factor.expr)!r} perhaps depends on all rows; make a column of it first, and name that column. ({part!r} is not known "
                    "to be computed row by row, as are I, C, Q, log, exp, NumPy's functions such as np.log and np.where, and sums, products, powers and comparisons.)"
                )


def _of_all(tree):
    """The first part of an expression that is not known to be computed row by row, as text; else None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in _OF_A_ROW:
            return node.func.id
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            if owner != "contr" and not (owner == "np" and _numpy_of_a_row(node.attr)):
                return ast.unparse(node)
        elif isinstance(node, ast.MatMult) or not isinstance(node, _PLAIN):
            return ast.unparse(node) if isinstance(node, ast.expr) else "@"
    return None


def _numpy_of_a_row(name):
    function = getattr(np, name, None)
    return name in _NUMPY_OF_A_ROW or (isinstance(function, np.ufunc) and function.signature is None)


def columns_in(name):
    """The columns that a coefficient's name speaks of: x and z of ``np.log(x):C(z)[T.shop]``; of a category nothing."""
    words = re.findall(r"(?<![\w.])[A-Za-z_]\w*\b(?!\s*\()", re.sub(r"\[.*?\]", "", name))
    return set(words) - {"np", "contr"}


def bare(factor):
    """A column without what the formula wraps it in: 'service' of 'C(service)' and of "Q('service')"."""
    inside = re.fullmatch(r"(?:C|Q)\(\s*(['\"`]?)([^,'\"`]+?)\1\s*(?:,.*)?\)", factor)
    return inside[2] if inside else factor


def used_categories(data, columns):
    """The data with only such categories of the columns as occur: one without customers has no effect that could be told."""
    kinds = [name for name in columns if isinstance(data[name].dtype, pd.CategoricalDtype)]
    return data.assign(**{name: data[name].cat.remove_unused_categories() for name in kinds})


def categories(spec, columns, data):
    """The categories of each column that a formula takes by category: what is no number, and numbers in ``C()``."""
    taken = {bare(str(factor)) for factor, (kind, _) in spec.encoder_state.items() if kind.value == "categorical"}
    return {
        name: list(data[name].cat.categories)
        if isinstance(data[name].dtype, pd.CategoricalDtype)
        else sorted(data[name].unique())
        for name in columns
        if name in taken or not pd.api.types.is_numeric_dtype(data[name]) or data[name].dtype == bool
    }


def new_columns(spec, new, levels):
    """A formula's columns for new values; refuses categories that were not in the data, and text in place of numbers."""
    from formulaic.errors import DataMismatchWarning

    for name in spec.required_variables:
        if name in levels:
            if strange := set(new[name]) - set(levels[name]):
                raise ValueError(
                    f"column {name!r}: {', '.join(map(repr, sorted(map(str, strange))[:3]))} was not in the data; there were: "
                    f"{', '.join(map(str, levels[name]))}."
                )
        elif not pd.api.types.is_numeric_dtype(new[name]):
            raise ValueError(
                f"column {name!r}: the new values are text or the like (row {new.index[0]}: {new[name].iloc[0]!r}), and the fit took numbers. Fix: pandas.to_numeric."
            )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataMismatchWarning)
        try:
            made = spec.get_model_matrix(new, na_action="ignore", output="pandas")
        except DataMismatchWarning as problem:
            strange = str(problem).partition("{")[2].partition("}")[0]
            raise ValueError(
                f"the new values make categories that were not in the data: {strange}. Fix: leave these rows out."
            ) from None
    values = made.to_numpy(dtype=float)
    if (wrong := ~np.isfinite(values).all(axis=0)).any():
        raise ValueError(
            f"the new values make {made.columns[wrong][0]!r} missing or infinite: look at what the formula computes."
        )
    return made


def _refuse(data, name, wrong, fix):
    if wrong.any():
        shown = "; ".join(f"row {row}: {data[name].iloc[row]}" for row in np.flatnonzero(wrong)[:3])
        raise ValueError(
            f"column {name!r}: {int(wrong.sum()):,} of {len(data):,} rows cannot be used ({shown}). Fix: {fix}."
        )


@dataclass(frozen=True, eq=False)
class Design:
    """The columns that a formula makes of the cases, and how to make them again of new ones.

    Attributes
    ----------
    response : str
    names : list of str
        Of the columns, with ``Intercept`` if the formula has one.
    matrix : numpy.ndarray
    levels : dict
        The categories of every column that is not numeric or stands in ``C()``, the first being the one that the others are
        compared with. Only those that occur.
    """

    response: str
    names: list
    matrix: np.ndarray = field(repr=False)
    levels: dict = field(repr=False)
    _spec: object = field(repr=False)
    _columns: tuple = field(repr=False)

    @classmethod
    def of(cls, formula, cases, intercept=True):
        """Make the columns. Without `intercept`, the constant is left out after the categories were coded beside it."""
        import formulaic

        response, columns = _needed(formula)
        right = formulaic.Formula(formula).rhs
        cases = used_categories(cases, columns[1:])
        if not columns[1:]:
            matrix = pd.DataFrame({"Intercept": np.ones(len(cases))})
            spec, levels = None, {}
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    matrix = formulaic.model_matrix(right, cases, na_action="ignore", output="pandas")
                except Exception as error:
                    raise ValueError(f"formula {formula!r}: {str(error).splitlines()[0]}") from None
            spec = matrix.model_spec
            levels = categories(spec, columns[1:], cases)
        if not intercept:
            if "Intercept" not in matrix:
                raise ValueError(
                    f"formula {formula!r} leaves the constant out: the cut points are this model's constants, so write the formula without '- 1' or '0 +'."
                )
            matrix = matrix.drop(columns="Intercept")
        values = matrix.to_numpy(dtype=float)
        if not np.isfinite(values).all():
            bad = matrix.columns[~np.isfinite(values).all(axis=0)][0]
            raise ValueError(
                f"the formula makes values of {bad!r} that are missing or infinite: look at what it computes."
            )
        return cls(response, list(matrix.columns), values, levels, spec, tuple(columns[1:]))

    def build(self, new):
        """The same columns for new values.

        Raises
        ------
        ValueError
            If a column is not there, has a category that the fit has not seen, or text where the fit took numbers.
        """
        if not isinstance(new, pd.DataFrame):
            raise TypeError(f"new values come as a DataFrame with the formula's columns; got {type(new).__name__}.")
        for name in self._columns:
            if name not in new:
                raise ValueError(
                    f"the new values have no column {name!r}; the formula needs {', '.join(self._columns)}."
                )
            if new[name].isna().any():
                raise ValueError(f"column {name!r}: {int(new[name].isna().sum()):,} of the new values are missing.")
        if self._spec is None:
            return np.ones((len(new), 1))[:, : len(self.names)]
        return new_columns(self._spec, new, self.levels)[self.names].to_numpy(dtype=float)

    def require_full_rank(self, count, constant=False):
        """Refuse columns that are combinations of others, by name; `constant` says that the model has a constant apart."""
        used = self.matrix[count > 0]
        if constant:
            used = used - used.mean(axis=0)
        elif "Intercept" in self.names:
            # A column that never changes is the constant again: it is named, not the constant.
            alike = (used == used[0]).all(axis=0)
            used = used * ~(alike & (np.array(self.names) != "Intercept"))
        size = np.sqrt((used**2).sum(axis=0))
        flat = [
            name
            for name, s, m in zip(self.names, size, np.abs(self.matrix).max(axis=0, initial=0))
            if s <= 1e-10 * m * np.sqrt(len(used)) or s == 0
        ]
        if flat:
            raise ValueError(f"{flat[0]!r} has the same value for every customer: it explains nothing. Leave it out.")
        if not self.names:
            return
        _, r, order = linalg.qr(used / size, mode="economic", pivoting=True)
        diagonal = np.abs(np.diag(r))
        rank = int((diagonal > 1e-9 * diagonal[0]).sum())
        if rank < len(self.names):
            named = ", ".join(repr(self.names[place]) for place in sorted(order[rank:]))
            raise ValueError(
                f"{named}: a combination of other columns of the formula, or there are too few different cases. Leave it out, or join categories."
            )
