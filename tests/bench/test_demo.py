"""The main job on a small log: the same figures at every run, choices by validation alone, winners that answer."""

import json

import numpy as np
import polars as pl
import pytest

import palate
from palate.bench.choosing import choose_calibrator, tune_ranker
from palate.bench.demo import DemoConfig, _looked_into, run_demo
from palate.bench.demo_page import demo_report
from palate.cli.app import run
from palate.data.dataset import Dataset
from palate.errors import DataError
from palate.tasks import RankTask
from palate.testing.recommenders import small_log
from palate.train.progress import SilentProgress

CONFIG = DemoConfig(
    rankers=("lr", "fm"),
    next_items=("popularity", "transitions"),
    calibrators=("platt", "histogram"),
    embedding_l2=(1e-4, 1e-2),
    epochs=3,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return run_demo(small_log(), out, CONFIG, progress=SilentProgress())


def test_the_same_seed_gives_the_same_figures(done, tmp_path):
    again = run_demo(small_log(), tmp_path, CONFIG, progress=SilentProgress())
    assert json.dumps(again.to_dict()["figures"]) == json.dumps(done.to_dict()["figures"])
    assert again.decision == done.decision


def test_the_winners_are_those_of_the_validation_part(done):
    for boards, metric in ((done.trials, "auc"), (done.next_items, "ndcg@10")):
        recommenders = [getattr(entry, "recommender", entry) for entry in boards]
        reached = [recommender.card.metric(metric, "validation").value for recommender in recommenders]
        assert reached == sorted(reached, reverse=True)
    assert done.ranker.card.model == done.trials[0].recommender.card.model
    assert done.next_item is done.next_items[0]
    assert done.calibrator.label == min(done.calibrator.log_losses, key=done.calibrator.log_losses.get)


def test_the_saved_winners_answer(done):
    assert set(done.folders) == {"ranker", "next-item"}
    for folder in done.folders.values():
        assert len(palate.load(folder).recommend(user=done.user, k=3, exclude_seen=False)) == 3


def test_the_page_tells_the_decision_the_boards_and_the_command(done):
    html = demo_report(done).to_html()
    for words in ("small", "platt", "transitions", "popularity", "palate serve", "What next?", "log loss", done.user):
        assert words in html


def test_a_context_is_looked_into_and_tried(done):
    assert {"platt-per-field by odd", "mcnet by odd"} < set(done.calibrator.log_losses)
    assert list(done.judged.fields) == ["odd"]
    html = demo_report(done).to_html()
    assert "Inside odd" in html
    assert "mcnet by odd" in html
    if done.calibrator.method != "none":
        assert done.ranker.card.calibration.context == done.calibrator.context
        assert [field.name for field in done.ranker.card.calibration.fields] == ["odd"]


def test_the_field_that_is_looked_into_has_few_values_and_a_name_of_its_own():
    log, items = small_log().interactions, small_log().table("items")
    many = small_log().replace(items=items.with_columns(odd=pl.col("item") + 100))
    assert _looked_into(small_log()) == ("odd",)
    assert _looked_into(many) == ("odd",)  # fifteen values are few enough
    roles = {"label": "rating >= 4", "time": "time"}
    both = Dataset.from_tables(
        log.with_columns(odd=pl.lit(1)), items=items, categorical=["interactions.odd", "items.odd"], **roles
    )
    assert _looked_into(both) == ("items.odd",)
    assert _looked_into(Dataset.from_tables(log, **roles)) == ()


def test_a_calibrator_is_judged_on_users_it_was_not_fitted_on():
    task = RankTask.prepare(small_log())
    ranker = tune_ranker(task, "fm", (1e-4,), seed=0, training={"epochs": 2}).recommender
    choice = choose_calibrator(ranker, task, ("platt",), seed=0)
    assert set(choice.log_losses) == {"none", "platt"}
    assert all(np.isfinite(loss) for loss in choice.log_losses.values())


def test_data_with_problems_is_refused_with_all_of_them(tmp_path):
    log = small_log()
    frame = log.interactions
    broken = frame.with_columns(user=pl.when(pl.int_range(pl.len()) < 2).then(None).otherwise("user"))
    with pytest.raises(DataError, match="user id is missing"):
        run_demo(log.replace(interactions=broken), tmp_path, CONFIG, progress=SilentProgress())


def test_the_command_does_the_same_on_a_saved_log(tmp_path, capsys):
    small_log().save(tmp_path / "log")
    words = ["--rankers", "lr", "--next-items", "popularity", "--epochs", "1"]
    assert run(["demo", "--data", str(tmp_path / "log"), "--out", str(tmp_path / "out"), *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["figures"]["chosen"]["next-item"] == "popularity"
    assert (tmp_path / "out/report.html").is_file()
    assert json.loads((tmp_path / "out/demo.json").read_text())["decision"] == document["decision"]
    assert run(["demo", "--data", str(tmp_path / "log"), "--out", str(tmp_path / "out"), *words]) == 0
    said = capsys.readouterr().out
    assert "palate serve" in said
    assert "What next?" in said
