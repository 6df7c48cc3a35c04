"""What is evaluated is what is served: a request scores the catalogue as the same rows are scored offline."""

import numpy as np
import pytest

import palate
from palate.rank_recommender import _largest
from palate.testing.recommenders import small_log


@pytest.fixture(scope="module")
def log():
    return small_log()


@pytest.mark.parametrize("model", ["lr", "deepfm", "finalmlp", "qnn-alpha"])
def test_a_request_gives_the_scores_of_the_same_rows(model, log):
    ranker = palate.fit(log, model, training={"epochs": 2, "learning_rate": 0.02})
    assert [field.name for field in ranker.encoder.plan.fields if field.derive == "history"] == ["history"]
    items = log.items["item"].to_list()
    for who in ({"user": 3}, {"user": 3, "history": [1, 4, 7]}, {"history": [2]}, {"user": "stranger", "history": []}):
        listed = ranker.recommend(**who, k=len(items), exclude_seen=False)
        told = {name: [str(item) for item in value] if name == "history" else value for name, value in who.items()}
        rows = [{**told, "item": item.item} for item in listed]
        assert len(listed) == len(items)
        np.testing.assert_allclose([item.score for item in listed], ranker.score(rows).scores, rtol=1e-5, atol=1e-6)


def test_the_history_of_a_request_is_one_row_for_all_candidates(log, monkeypatch):
    ranker = palate.fit(log, "fm", training={"epochs": 1})
    ranker.recommend(user=3)
    seen = []
    embedding = ranker.model.embedding
    forward = embedding.forward
    monkeypatch.setattr(embedding, "forward", lambda batch: seen.append(batch.sequences) or forward(batch))
    ranker.recommend(user=3)
    ((history,),) = seen
    assert history.shape == (15, 20)
    assert history.stride(0) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_are_those_of_a_stable_sort(seed):
    values = np.random.default_rng(seed).integers(0, 6, 40).astype(float)
    values[:7] = -np.inf
    whole = np.argsort(-values, kind="stable")
    for k in (1, 5, 33, 40, 100):
        expected = [place for place in whole[:k] if np.isfinite(values[place])]
        assert _largest(values, k).tolist() == expected
