"""Intervals and tests under one roof: how sure is a number, and is a difference real?"""

from __future__ import annotations

from palate.evaluate.auc_intervals import AUCDifference, auc_interval, bootstrap_auc, compare_auc
from palate.evaluate.intervals import Interval, bootstrap_interval, bootstrap_ratio
from palate.evaluate.significance import (
    PairedTest,
    holm,
    paired_bootstrap,
    paired_t,
    permutation_test,
    wilcoxon,
)

__all__ = [
    "AUCDifference",
    "Interval",
    "PairedTest",
    "auc_interval",
    "bootstrap_auc",
    "bootstrap_interval",
    "bootstrap_ratio",
    "compare_auc",
    "holm",
    "paired_bootstrap",
    "paired_t",
    "permutation_test",
    "wilcoxon",
]
