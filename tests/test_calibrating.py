"""Calibration in a context: learned from columns by name, used wherever a probability is said, told on the card."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import palate
from palate.calibrating import calibration_facts, context_columns, fit_calibrator, judged_rows, worst_values
from palate.card import Card
from palate.data.dataset import Dataset
from palate.errors import ConfigError, UnknownNameError
from palate.evaluate import log_loss
from palate.fitting import calibrate_ranker
from palate.testing import check_recommender
from palate.testing.recommenders import small_log

DAY = 86_400
TRAINING = {"epochs": 4, "learning_rate": 0.02}


def site_log(rows=4000, seed=0):
    """A log whose shop is no feature of the model but decides a third of the chance; films have genres."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 40, rows), rng.integers(0, 15, rows)
    shop = rng.choice(["north", "south"], rows)
    chance = 0.15 + 0.35 * (users % 2 == items % 2) + 0.35 * (shop == "north")
    log = pl.DataFrame(
        {
            "user": users,
            "item": items,
            "shop": shop,
            "click": (rng.random(rows) < chance).astype(int),
            "time": 1_600_000_000 + np.arange(rows) * 3600,
        }
    )
    genres = [["Drama"], ["War", "Drama"], []]
    catalogue = pl.DataFrame(
        {"item": np.arange(15), "title": [f"Film {n}" for n in range(15)], "genres": [genres[n % 3] for n in range(15)]}
    )
    return Dataset.from_tables(
        log,
        items=catalogue,
        time="time",
        label="click",
        title="title",
        categorical=["shop"],
        lists=["genres"],
        name="shops",
    )


@pytest.fixture(scope="module")
def data():
    return site_log()


@pytest.fixture(scope="module")
def ranker(data):
    from palate.data.feature_plan import FeaturePlan, FieldPlan

    plan = FeaturePlan(fields=[FieldPlan(name="user"), FieldPlan(name="item")])
    return palate.fit(data, "fm", training=TRAINING, plan=plan)


@pytest.fixture(scope="module")
def calibrated(ranker):
    return calibrate_ranker(ranker, "platt-per-field", context=["shop", "weekday"], fields=["genres"])


def test_the_context_is_used_for_rows_and_for_lists(calibrated, data):
    both = [{"user": 1, "item": 3, "shop": shop} for shop in ("north", "south", "east")]
    scored = calibrated.score(both)
    assert np.ptp(scored.scores) == 0.0  # the model does not know the shop
    north, south, unseen = scored.probabilities
    assert north > unseen > south
    assert north - south > 0.2
    listed = calibrated.recommend(user=1, k=3, exclude_seen=False)
    rows = [{"user": 1, "item": each.item} for each in listed]  # lists have no shop: a value that was never seen
    assert [each.probability for each in listed] == pytest.approx(calibrated.score(rows).probabilities.tolist())


def test_a_part_of_the_time_comes_from_the_row_and_is_today_without_one(calibrated, monkeypatch):
    seen = []
    predict = calibrated.calibrator.predict
    monkeypatch.setattr(calibrated.calibrator, "predict", lambda s, c: seen.append(c.tolist()) or predict(s, c))
    monkeypatch.setattr("palate.rank_recommender.time.time", lambda: 4.0 * DAY)  # a Monday of 1970
    calibrated.score([{"user": 1, "item": 3, "shop": "north", "time": 5 * DAY}, {"user": 1, "item": 3}])
    calibrated.score([{"user": 1, "item": 3, "shop": "north"}])
    calibrated.recommend(history=[], k=2)
    assert seen == [[["north", "Tuesday"], [None, None]], [["north", "Monday"]], [[None, "Monday"]] * 2]


def test_it_is_judged_over_all_rows_and_inside_fields(calibrated, ranker, data):
    facts = calibrated.card.calibration
    assert facts.context == ("shop", "weekday")
    assert [field.name for field in facts.fields] == ["shop", "weekday", "genres"]
    shop, weekday, genres = facts.fields
    assert (shop.values, weekday.values, genres.values) == (2, 7, 3)
    assert shop.ece_after < 0.5 * shop.ece_before
    assert facts.log_loss_after < facts.log_loss_before - 0.02
    assert {value.value for value in genres.worst} == {"Drama", "War", "(none)"}
    assert sum(value.rows for value in shop.worst) == calibrated.card.data.test
    logged = calibrated.card.metric("log_loss")
    assert logged.value == pytest.approx(facts.log_loss_after, abs=1e-9)
    page = calibrated.card.to_markdown()
    assert "platt-per-field in the context of shop and weekday" in page
    assert "Inside the 2 values of shop" in page
    assert Card.model_validate_json(calibrated.card.model_dump_json()) == calibrated.card


def test_judged_rows_by_hand(calibrated, data):
    rows = judged_rows(calibrated, data, fields=context_columns(calibrated, ["shop"], data))
    table = data.interactions[calibrated.split.test]
    assert rows.fields["shop"].tolist() == table["shop"].to_list()
    assert rows.labels.tolist() == table["click"].to_list()
    scored = calibrated.score(table.drop("click"))
    assert rows.after == pytest.approx(scored.probabilities)
    worst = worst_values(rows, "shop", 1)[0]
    here = rows.fields["shop"] == worst.value
    assert worst.observed == pytest.approx(rows.labels[here].mean())
    assert worst.after == pytest.approx(rows.after[here].mean())
    assert worst.before == pytest.approx(rows.before[here].mean())
    assert calibration_facts(rows, "x", 7, ()).log_loss_after == pytest.approx(log_loss(rows.after, rows.labels))


def test_what_comes_back_from_disk_knows_the_context(calibrated, data, tmp_path):
    again = palate.load(calibrated.save(tmp_path / "run"))
    assert again.context.names == ("shop", "weekday")
    rows = [{"user": u, "item": u % 15, "shop": s, "time": 1_600_000_000} for u in range(9) for s in ("north", "x")]
    assert again.score(rows).probabilities.tobytes() == calibrated.score(rows).probabilities.tobytes()
    assert again.recommend(user=3, k=4) == calibrated.recommend(user=3, k=4)
    assert again.evaluate(data).values() == calibrated.evaluate(data).values()
    plain = calibrate_ranker(again, "platt", data)  # another calibrator takes the context away
    assert plain.context is None
    loaded = palate.load(plain.save(tmp_path / "run"))
    assert loaded.context is None
    assert loaded.score(rows).probabilities[0] == loaded.score(rows).probabilities[1]


@pytest.mark.parametrize("method", ["mcnet", "platt-per-field"])
def test_a_recommender_with_a_context_keeps_the_laws_of_one(method):
    log = small_log()
    ranker = palate.fit(log, "fm", training={"epochs": 2}, calibrate=method, context=["odd", "weekday"])
    assert ranker.card.calibration.context == ("odd", "weekday")
    check_recommender(ranker, log)


def test_sampled_negatives_have_a_context_too():
    log = small_log(labels=False)
    ranker = palate.fit(log, "fm", training={"epochs": 2}, calibrate="platt-per-field", context=["odd"])
    rows = [{"user": 1, "item": item} for item in range(15)]
    scored = ranker.score(rows)
    assert scored.probabilities.max() < 0.9
    rate = ranker.card.sampling.rate
    in_the_sample = ranker.calibrated(scored.scores - np.log(rate), ranker.context_of(pl.DataFrame(rows)))
    odds = in_the_sample / (1 - in_the_sample) * rate
    assert scored.probabilities == pytest.approx(odds / (1 + odds))


def test_what_cannot_be_is_refused(ranker, calibrated, data):
    with pytest.raises(UnknownNameError, match='"genres"'):
        calibrate_ranker(ranker, "mcnet", context=["genre"])
    with pytest.raises(ConfigError, match=r"isotonic has no use for a context \(shop\).*platt-per-field"):
        calibrate_ranker(ranker, "isotonic", context=["shop"])
    with pytest.raises(ConfigError, match="calibrate="):
        palate.fit(data, "fm", context=["shop"])
    with pytest.raises(ConfigError, match="no meaning"):
        palate.fit(data, "popularity", context=["shop"])
    calibrator, _ = fit_calibrator(ranker, "platt")
    with pytest.raises(ConfigError, match="does not say how well"):
        ranker.with_calibrator(calibrator, ranker.card)
    with pytest.raises(ConfigError, match="names the context"):
        ranker.with_calibrator(calibrator, calibrated.card)


def test_a_calibrator_that_makes_it_worse_is_told_on_the_card(calibrated):
    facts = calibrated.card.calibration
    worse = facts.replace(log_loss_after=facts.log_loss_before + 0.1)
    assert worse.worse
    assert not facts.worse
    assert "do better" in calibrated.card.replace(calibration=worse).to_markdown()
