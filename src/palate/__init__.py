"""Palate: from a log of who chose what to a chosen, calibrated, saved and served recommender.

    import palate

    data = palate.open("movielens-small")
    rec = palate.fit(data, "sasrec", seed=0)
    rec.evaluate()
    rec.recommend(history=["Toy Story (1995)"], k=10)
    rec.save("runs/mine")
    palate.load("runs/mine")

Everything is imported on first use: ``import palate`` brings in neither torch nor polars.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palate.data.dataset import Dataset as Dataset
    from palate.data.opening import open_dataset as open
    from palate.errors import PalateError as PalateError
    from palate.fitting import fit as fit
    from palate.recommender import Recommender as Recommender
    from palate.recommender import load as load
    from palate.registry import models as models

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "Dataset": ("palate.data.dataset", "Dataset"),
    "PalateError": ("palate.errors", "PalateError"),
    "Recommender": ("palate.recommender", "Recommender"),
    "fit": ("palate.fitting", "fit"),
    "load": ("palate.recommender", "load"),
    "models": ("palate.registry", "models"),
    "open": ("palate.data.opening", "open_dataset"),
}

__all__ = ["Dataset", "PalateError", "Recommender", "fit", "load", "models", "open"]


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'palate' has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
