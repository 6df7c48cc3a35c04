"""Metric names as people write them: ``auc``, ``ndcg@10``, ``coverage@20``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from palate.errors import ConfigError, UnknownNameError

__all__ = ["RANKING_METRICS", "ROW_METRICS", "Metric", "parse_metric", "parse_metrics"]

# Name -> whether a cut-off @k may be left out.
RANKING_METRICS = {
    "recall": False,
    "ndcg": True,
    "mrr": True,
    "map": True,
    "hr": False,
    "precision": False,
    "coverage": False,
}
# Name -> whether higher is better; pcoc has its best value at 1 and is judged by its distance from it.
ROW_METRICS = {
    "auc": True,
    "gauc": True,
    "avg_auc": True,
    "log_loss": False,
    "brier": False,
    "ece": False,
    "ece_mass": False,
    "pcoc": False,
    "f1": True,
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and its cut-off.

    Attributes:
        name: ``ndcg``, ``auc``, ...
        k: How many places of the ranked list count; ``None`` for all, or for a metric of rows.
        family: ``ranking`` (lists of items) or ``rows`` (one score and one label per row).
    """

    name: str
    k: int | None
    family: Literal["ranking", "rows"]

    @property
    def higher_is_better(self) -> bool:
        """Say which direction is an improvement (``False`` for ``pcoc``: nearer to 1 is better)."""
        return ROW_METRICS.get(self.name, True)

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


def parse_metric(text: str | Metric, family: Literal["ranking", "rows"] | None = None) -> Metric:
    """Read a metric such as ``ndcg@10``; upper case and spaces around it do not matter.

    Args:
        text: The name, with ``@k`` where the metric has a cut-off.
        family: The family it must belong to, or ``None`` for any.

    Raises:
        UnknownNameError: If there is no such metric (in this family); the message suggests the nearest.
        ConfigError: If ``@k`` is missing, not a whole number above 0, or given to a metric that has none.

    Example:
        >>> parse_metric("NDCG@10")
        Metric(name='ndcg', k=10, family='ranking')
        >>> parse_metric("ndgc@10")
        Traceback (most recent call last):
        palate.errors.UnknownNameError: [P101] There is no metric called "ndgc". Did you mean "ndcg"?
    """
    if isinstance(text, Metric):
        text = str(text)
    name, at, cut = text.strip().lower().partition("@")
    name = name.strip()
    known = {"ranking": list(RANKING_METRICS), "rows": list(ROW_METRICS)}
    options = known["ranking"] + known["rows"] if family is None else known[family]
    if name not in options:
        what = "metric" if family is None else {"ranking": "ranking metric", "rows": "metric of rows"}[family]
        raise UnknownNameError.among(what, name, options)
    if name in ROW_METRICS:
        if at:
            raise ConfigError(f'"{text}" is not a metric: {name} has no cut-off.', remedy=f'Write "{name}".')
        return Metric(name, None, "rows")
    if not at:
        if not RANKING_METRICS[name]:
            raise ConfigError(f'"{text}" needs a cut-off.', remedy=f'Write, for example, "{name}@10".')
        return Metric(name, None, "ranking")
    if not re.fullmatch(r"\s*[1-9][0-9]*\s*", cut):
        raise ConfigError(
            f'"{text}" has the cut-off "{cut}"; a whole number above 0 is expected.',
            remedy=f'Write, for example, "{name}@10".',
        )
    return Metric(name, int(cut), "ranking")


def parse_metrics(
    texts: Iterable[str | Metric], family: Literal["ranking", "rows"] | None = None
) -> tuple[Metric, ...]:
    """Read several metrics, each once, in order; see :func:`parse_metric`."""
    if isinstance(texts, str):
        texts = [texts]
    metrics = tuple(dict.fromkeys(parse_metric(text, family) for text in texts))
    if not metrics:
        raise ConfigError("No metric was named.", remedy='Name at least one, for example "ndcg@10".')
    return metrics
