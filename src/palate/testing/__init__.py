"""The contract batteries: one line holds a component to every law of its kind.

from palate.testing import check_ranker
print(check_ranker(MyRanker))
"""

from __future__ import annotations

from palate.testing.battery import Battery, BatteryReport, NotApplicable
from palate.testing.calibrators import check_calibrator
from palate.testing.memories import check_memory
from palate.testing.next_item import check_next_item_model
from palate.testing.rankers import check_ranker
from palate.testing.readers import check_dataset_reader
from palate.testing.recommenders import check_recommender

__all__ = [
    "Battery",
    "BatteryReport",
    "NotApplicable",
    "check_calibrator",
    "check_dataset_reader",
    "check_memory",
    "check_next_item_model",
    "check_ranker",
    "check_recommender",
]
