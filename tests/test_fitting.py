"""From a log to a recommender: every kind of model inside keeps the laws of a recommender."""

import numpy as np
import pytest

import palate
from palate.errors import ConfigError, UnknownNameError
from palate.fitting import calibrate_ranker, fit_ranker
from palate.tasks import NextItemTask, RankTask
from palate.testing import check_recommender
from palate.testing.recommenders import small_log

EPOCHS = {"epochs": 3, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def log():
    return small_log()


@pytest.mark.parametrize("model", ["fm", "qnn-alpha", "popularity", "transitions", "sasrec"])
def test_a_recommender_keeps_its_laws(model, log):
    report = check_recommender(palate.fit(log, model, training=EPOCHS), log)
    assert report.ran >= 9


def test_a_calibrated_ranker_keeps_them_too_and_says_probabilities(log):
    ranker = palate.fit(log, "fm", training=EPOCHS, calibrate="platt")
    check_recommender(ranker, log)
    scored = ranker.score([{"user": 1, "item": 1}, {"user": 1, "item": 2}])
    assert scored.probabilities is not None
    assert scored.probabilities[0] > 0.5 > scored.probabilities[1]
    assert ranker.card.calibration.method == "platt"
    assert ranker.recommend(user=1, k=1)[0].probability is not None


def test_what_is_learned_is_what_was_planted(log):
    listed = palate.fit(log, "fm", training=EPOCHS).recommend(user=4, k=5, exclude_seen=False)
    assert all(item.item % 2 == 0 for item in listed)


def test_the_same_seed_gives_the_same_recommender(log):
    first, second, other = (palate.fit(log, "fm", training=EPOCHS, seed=seed) for seed in (3, 3, 4))
    assert first.recommend(user=1) == second.recommend(user=1)
    assert first.recommend(user=1) != other.recommend(user=1)


def test_a_log_of_positives_alone_gets_negatives_that_are_counted_and_corrected():
    log = small_log(labels=False)
    task = RankTask.prepare(log)
    ranker = calibrate_ranker(fit_ranker(task, "fm", training=EPOCHS), "platt")
    check_recommender(ranker, log)
    facts = ranker.card.sampling
    assert facts.negatives == 4 * facts.positives
    rows = [{"user": 1, "item": item} for item in range(15)]
    raw = ranker.encode(__import__("polars").DataFrame(rows))
    from palate.rank_recommender import logits_of

    np.testing.assert_allclose(ranker.score(rows).scores, logits_of(ranker.model, raw) + np.log(facts.rate))
    sampled_odds = (lambda p: p / (1 - p))(ranker.calibrated(logits_of(ranker.model, raw)))
    true_odds = (lambda p: p / (1 - p))(ranker.score(rows).probabilities)
    np.testing.assert_allclose(true_odds, sampled_odds * facts.rate)


def test_a_table_without_users_is_scored_and_recommends_nothing():
    import polars as pl

    from palate.data.dataset import Dataset

    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"colour": rng.choice(["red", "blue"], 400), "size": rng.normal(size=400)})
    frame = frame.with_columns(bought=(pl.col("colour") == "red").cast(pl.Int8))
    data = Dataset.from_tables(
        frame.with_columns(noise=rng.random(400) < 0.1).with_columns(
            bought=pl.when("noise").then(1 - pl.col("bought")).otherwise("bought")
        ),
        user=None, item=None, label="bought", categorical=["colour"], numeric=["size"],
    )  # fmt: skip
    ranker = palate.fit(data, "lr", training={"epochs": 20, "learning_rate": 0.05})
    scores = ranker.score([{"colour": "red", "size": 0.0}, {"colour": "blue", "size": 0.0}]).scores
    assert scores[0] > scores[1]
    with pytest.raises(ConfigError, match="without users or items"):
        ranker.recommend(history=[])


def test_misspelt_names_are_refused_with_a_suggestion(log):
    with pytest.raises(UnknownNameError, match='"sasrec"'):
        palate.fit(log, "sasrek")
    with pytest.raises(UnknownNameError, match='"isotonic"'):
        palate.fit(log, "lr", training={"epochs": 1}, calibrate="isotonik")
    with pytest.raises(ConfigError, match='"embedding_size"'):
        palate.fit(log, "fm", settings={"embeding_size": 4})
    with pytest.raises(ConfigError, match='"learning_rate"'):
        palate.fit(log, "fm", training={"learning_rte": 4})
    with pytest.raises(ConfigError, match="no meaning"):
        palate.fit(log, "popularity", calibrate="platt")


def test_held_out_items_are_not_in_what_next_item_models_learn_from(log):
    task = NextItemTask.prepare(log)
    histories, targets = task.held_out("test")
    assert (task.users.log.lengths - histories.lengths == 1).all()
    assert (histories.lengths - task.train.lengths == 1).all()
    assert (targets == task.users.log.last()).all()
