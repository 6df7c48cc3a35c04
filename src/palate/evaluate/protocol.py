"""The two protocols under one roof: rank the next item, and judge probabilities row by row."""

from __future__ import annotations

from palate.evaluate.histories import Histories
from palate.evaluate.next_item import NextItemEvaluation, evaluate_next_item
from palate.evaluate.report import Setting
from palate.evaluate.rows import evaluate_ranker
from palate.evaluate.sampling import sampled_candidates

__all__ = [
    "Histories",
    "NextItemEvaluation",
    "Setting",
    "evaluate_next_item",
    "evaluate_ranker",
    "sampled_candidates",
]
