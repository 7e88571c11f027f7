"""crmlab: every idea of customer relationship management, as a number.

The modules are imported when they are first used, so ``import crmlab`` costs next to nothing:

>>> import crmlab
>>> alive = crmlab.datasets.load("retention_two_segments")["regular"]
>>> fit = crmlab.retention.fit_sbg(alive[:8])
>>> fit.params.round(3).to_dict()
{'alpha': 0.704, 'beta': 1.182}
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "choice",
    "counting",
    "course",
    "datasets",
    "delivered_value",
    "design",
    "lifecycle",
    "likelihood",
    "loyalty",
    "regression",
    "replications",
    "resampling",
    "retention",
    "satisfaction",
    "simulate",
    "style",
    "tables",
)
__all__ = ["__version__", "progress", *_MODULES]


def __getattr__(name):
    # Lazy, so that a command which needs only the standard library runs before anything is installed.
    if name in _MODULES:
        return importlib.import_module(f"crmlab.{name}")
    if name == "progress":
        return importlib.import_module("crmlab.course.progress").progress
    raise AttributeError(f"module 'crmlab' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
