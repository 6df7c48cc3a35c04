"""Metrics, protocols, uncertainty, significance: how good is it, how sure is that, and is the difference real?

Rows (a score and a label each): :func:`auc`, :func:`gauc`, :func:`log_loss`, :func:`ece`, ..., all at once with
:func:`evaluate_ranker`. Ranked items: :func:`ranks_of_targets`, :func:`metrics_of_ranks`, :func:`metrics_of_lists`,
all at once with :func:`evaluate_next_item`. Then :func:`bootstrap_interval` and :func:`compare`.
"""

from __future__ import annotations

from palate.evaluate.classification import (
    GroupAUC,
    ReliabilityCurve,
    auc,
    brier,
    ece,
    f1,
    gauc,
    log_loss,
    log_loss_from_logits,
    pcoc,
    per_group_auc,
    reliability_curve,
)
from palate.evaluate.compare import ComparedModel, Comparison, compare
from palate.evaluate.names import Metric, parse_metric, parse_metrics
from palate.evaluate.protocol import (
    Histories,
    NextItemEvaluation,
    evaluate_next_item,
    evaluate_ranker,
    sampled_candidates,
)
from palate.evaluate.ranking import Relevance, coverage, metrics_of_lists, metrics_of_ranks, ranks_of_targets
from palate.evaluate.report import MetricResult, MetricTable, Setting, over_seeds
from palate.evaluate.uncertainty import (
    AUCDifference,
    Interval,
    PairedTest,
    auc_interval,
    bootstrap_auc,
    bootstrap_interval,
    bootstrap_ratio,
    compare_auc,
    holm,
    paired_bootstrap,
    paired_t,
    permutation_test,
    wilcoxon,
)

__all__ = [
    "AUCDifference",
    "ComparedModel",
    "Comparison",
    "GroupAUC",
    "Histories",
    "Interval",
    "Metric",
    "MetricResult",
    "MetricTable",
    "NextItemEvaluation",
    "PairedTest",
    "Relevance",
    "ReliabilityCurve",
    "Setting",
    "auc",
    "auc_interval",
    "bootstrap_auc",
    "bootstrap_interval",
    "bootstrap_ratio",
    "brier",
    "compare",
    "compare_auc",
    "coverage",
    "ece",
    "evaluate_next_item",
    "evaluate_ranker",
    "f1",
    "gauc",
    "holm",
    "log_loss",
    "log_loss_from_logits",
    "metrics_of_lists",
    "metrics_of_ranks",
    "over_seeds",
    "paired_bootstrap",
    "paired_t",
    "parse_metric",
    "parse_metrics",
    "pcoc",
    "per_group_auc",
    "permutation_test",
    "ranks_of_targets",
    "reliability_curve",
    "sampled_candidates",
    "wilcoxon",
]
