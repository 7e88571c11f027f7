"""Values as plain JSON and back: the data of a student's sheet on the way out, answers on the way in.

No pickle: what comes in can only be a value of the kinds listed here, of bounded size, or an error. A number, word, truth
value, missing value, list and dictionary stand for themselves, but a dictionary is written as ``{"dict": [[key, value], ...]}``,
so that the other forms cannot be mistaken for one:

``{"float": "nan"}``
    a number that JSON has not: ``nan``, ``inf``, ``-inf``
``{"time": "2026-12-01T00:00:00"}``
    a point in time, as ISO 8601
``{"array": [...], "shape": [...]}``
    a NumPy array, its values in row order
``{"column": {...}}``
    a pandas Series: ``name``, ``dtype``, ``values``, ``index``
``{"table": {...}}``
    a pandas DataFrame: ``columns`` (each as above, without its index) and ``index``
``{"other": "..."}``
    something else: only the name of its type
"""

import datetime
import json
import math
import numbers

import numpy as np
import pandas as pd

__all__ = ["Other", "dumps", "loads"]

_DTYPES = {"int64", "float64", "bool", "object", "datetime64[ns]", "category"}
_DEPTH, _LARGEST = 20, 2**63


class Other:
    """Something that is no plain value; only the name of its type came along."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<{self.name}>"


def dumps(value):
    """A value as JSON text.

    Examples
    --------
    >>> from crmlab.course import plain
    >>> plain.dumps({"alive": [1000, 874], "rate": 0.5})
    '{"dict":[["alive",[1000,874]],["rate",0.5]]}'
    >>> plain.loads(plain.dumps({"alive": [1000, 874], "rate": 0.5}))
    {'alive': [1000, 874], 'rate': 0.5}
    """
    return json.dumps(_encode(value, ()), separators=(",", ":"), allow_nan=False)


def loads(text, largest=10_000_000):
    """The value that a JSON text stands for.

    Raises
    ------
    ValueError
        If the text is longer than `largest`, is no JSON, names a key twice, is nested too deep, or has a form that is
        not one of the above.
    """
    if len(text) > largest:
        raise ValueError(f"{len(text)} characters; {largest} are allowed")
    return _decode(strict_json(text), 0)


def strict_json(text, numbers=True):
    """JSON as the standard has it, each key once, numbers finite; anything else is a ValueError.

    With ``numbers=False`` they are not read, whatever they are: each is None.
    """

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    def finite(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("a number beyond all bounds")
        return number

    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    def whole(text):
        if len(text) > 20 or abs(int(text)) > _LARGEST:
            raise ValueError("a number beyond all bounds")
        return int(text)

    readers = {"parse_float": finite, "parse_constant": refuse, "parse_int": whole}
    if not numbers:
        readers = dict.fromkeys(readers, lambda text: None)
    try:
        return json.loads(text, object_pairs_hook=once, **readers)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _encode(value, above):
    if len(above) > _DEPTH or id(value) in above:  # a list may hold itself
        return {"other": "deeply nested " + type(value).__name__}
    if value is None or value is pd.NA or value is pd.NaT or value is Ellipsis:
        return None
    # Exact types: a subclass may say of itself what it likes.
    kind = type(value)
    if kind in (bool, str):
        return value
    if isinstance(value, np.generic) and kind.__module__ == "numpy":
        if isinstance(value, np.datetime64):
            return _encode(pd.Timestamp(value), above)
        return _encode(value.item(), above) if type(value.item()) is not kind else {"other": kind.__name__}
    if kind is int:
        return value if abs(value) < _LARGEST else {"other": "int beyond all bounds"}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (pd.Timestamp, datetime.datetime, datetime.date):
        return {"time": value.isoformat()}
    below = (*above, id(value))
    if kind in (list, tuple):
        return [_encode(part, below) for part in value]
    if kind is dict:
        return {"dict": [[_encode(k, below), _encode(v, below)] for k, v in value.items()]}
    if kind is np.ndarray:
        return {"array": [_encode(part, below) for part in value.ravel().tolist()], "shape": list(value.shape)}
    if kind is pd.Series:
        return {"column": _column(value) | {"index": _index(value.index)}}
    if kind is pd.DataFrame:
        columns = [_column(value.iloc[:, place]) for place in range(value.shape[1])]
        return {"table": {"columns": columns, "index": _index(value.index)}}
    return {"other": (value.name if kind is Other else kind.__name__)[:100]}


def _column(series):
    dtype, more = str(series.dtype), {}
    if dtype == "category":
        more = {
            "categories": [_encode(part, (0,)) for part in series.cat.categories.tolist()],
            "ordered": bool(series.cat.ordered),
        }
        values = series.cat.codes.tolist()
    elif dtype == "datetime64[ns]":
        values = [None if part is pd.NaT else part.isoformat() for part in series]
    else:
        if dtype not in _DTYPES:  # int32 and its like: the values are kept, the width is not
            dtype = {"i": "int64", "u": "int64", "f": "float64", "b": "bool"}.get(series.dtype.kind, "object")
            series = series.astype(dtype) if dtype != "object" else series.astype(object)
        values = [_encode(part, (0,)) for part in series.tolist()]
    return {"name": _encode(series.name, (0,)), "dtype": dtype, "values": values} | more


def _index(index):
    if type(index) is pd.RangeIndex and index.start == 0 and index.step == 1 and index.name is None:
        return len(index)
    return [_column(index.get_level_values(level).to_series()) for level in range(index.nlevels)]


def _decode(found, depth):
    if depth > _DEPTH:
        raise ValueError("nested too deep")
    if isinstance(found, list):
        return [_decode(part, depth + 1) for part in found]
    if not isinstance(found, dict):
        return found
    match found:
        case {"float": "nan" | "inf" | "-inf" as text, **rest} if not rest:
            return float(text)
        case {"time": str(text), **rest} if not rest and len(text) < 50:
            return pd.Timestamp(text)
        case {"other": str(name), **rest} if not rest:
            return Other(name[:120].encode("utf-8", "replace").decode("utf-8"))  # half a surrogate is no text
        case {"dict": list(pairs), **rest} if not rest:
            return {_key(pair): _decode(pair[1], depth + 1) for pair in pairs}
        case {"array": list(values), "shape": list(shape), **rest} if not rest:
            if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) != len(values) or len(shape) > 9:
                raise ValueError("an array whose values do not fill its shape")
            return np.array([_decode(part, depth + 1) for part in values]).reshape(shape)
        case {"column": dict(parts), **rest} if not rest:
            name, values = _values(parts, {"index"})
            return pd.Series(values, index=_labels(parts["index"], len(values)), name=name)
        case {"table": {"columns": list(columns), "index": index, **more}, **rest} if not rest and not more:
            read = [_values(column) for column in columns]
            if not read and type(index) is not int and not (isinstance(index, list) and index):
                raise ValueError("an index that cannot be read")
            rows = len(read[0][1]) if read else (index if type(index) is int else len(_values(index[0])[1]))
            if any(len(values) != rows for _, values in read):
                raise ValueError("a table whose columns are not equally long")
            labels = _labels(index, rows)
            table = pd.DataFrame({place: values for place, (_, values) in enumerate(read)})
            if not read:
                table = pd.DataFrame(index=range(rows))
            table.columns = pd.Index([name for name, _ in read], dtype=object if not read else None)
            return table if labels is None else table.set_axis(labels, axis=0)
    raise ValueError(f"no form that we know: {', '.join(map(str, found))[:100]}")


def _key(pair):
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str | numbers.Real)):
        raise ValueError("a dictionary whose keys are no words or numbers")
    return pair[0]


def _values(parts, beside=frozenset()):
    """Name and values of a column."""
    if not isinstance(parts, dict) or not set(parts) - beside - {"categories", "ordered"} == {
        "name",
        "dtype",
        "values",
    }:
        raise ValueError("a column without name, dtype and values")
    name, dtype, values = parts["name"], parts["dtype"], parts["values"]
    if dtype not in _DTYPES or not isinstance(values, list) or isinstance(name, list | dict):
        raise ValueError("a column that cannot be read")
    try:
        if dtype == "category":
            kinds = [_decode(part, 1) for part in parts["categories"]]
            return name, pd.Categorical.from_codes(
                np.asarray(values, dtype=int), categories=kinds, ordered=parts["ordered"] is True
            )
        if dtype == "datetime64[ns]":
            return name, pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601").astype(
                "datetime64[ns]"
            ).to_numpy()
        plain = [_decode(part, 1) for part in values]
        if dtype == "object":
            held = np.empty(len(plain), dtype=object)
            held[:] = plain
            return name, held
        return name, np.asarray(plain, dtype=dtype).reshape(len(plain))
    except (TypeError, KeyError, OverflowError, AttributeError) as error:
        raise ValueError(f"a column that cannot be read: {error}"[:200]) from None


def _labels(index, rows):
    if type(index) is int:
        if index != rows or not 0 <= index <= 10_000_000:
            raise ValueError("an index of another length")
        return None
    if not isinstance(index, list) or not index:
        raise ValueError("an index that cannot be read")
    levels = [_values(level) for level in index]
    if any(len(values) != rows for _, values in levels):
        raise ValueError("an index of another length")
    if len(levels) == 1:
        return pd.Index(levels[0][1], name=levels[0][0])
    return pd.MultiIndex.from_arrays([values for _, values in levels], names=[name for name, _ in levels])
