"""The counted models on the shipped MovieLens, against the figures that a plain script reached on the same protocol.

Leave-one-out by time, all but the last two items for counting, histories cut to 50, full ranking, seen items out of
the race, 610 users; the standard error of each figure is about .012.
"""

from __future__ import annotations

import pytest

from palate.data.opening import open_dataset
from palate.evaluate.next_item import evaluate_next_item
from palate.registry import find
from palate.tasks import NextItemTask


@pytest.fixture(scope="module")
def task() -> NextItemTask:
    return NextItemTask.prepare(open_dataset("movielens-small"))


@pytest.mark.parametrize(
    ("name", "hit_rate", "ndcg"),
    [("popularity", 0.038, 0.018), ("item-to-item", 0.062, 0.032), ("transitions", 0.090, 0.049)],
)
def test_reference_figures(task: NextItemTask, name: str, hit_rate: float, ndcg: float) -> None:
    model = find("next-item", name).factory(task.catalogue.num_items)
    model.count(task.train)
    histories, targets = task.held_out("test")
    found = evaluate_next_item(model, histories, targets, (10,), max_length=50, resamples=10).values()
    assert found["hr@10"] == pytest.approx(hit_rate, abs=0.012)
    assert found["ndcg@10"] == pytest.approx(ndcg, abs=0.008)
