"""The laws of a recommender: whatever the model inside, it answers, keeps its word on disk, and knows the unknown."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.errors import ConfigError, SavedFolderError, UnknownItemError
from palate.recommender import Recommender, load
from palate.testing.battery import Battery, BatteryReport, NotApplicable, refuses

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["RECOMMENDER_LAWS", "check_recommender", "small_log"]


def small_log(*, labels: bool = True, seed: int = 0) -> Dataset:
    """Return a log of 40 users and 15 titled items in which even users like even items; the time is the row."""
    import polars as pl

    from palate.data.dataset import Dataset

    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 40, 1200), rng.integers(0, 15, 1200)
    rating = np.where(users % 2 == items % 2, 5, 2) - (rng.random(1200) < 0.1)
    log = pl.DataFrame({"user": users, "item": items, "rating": rating, "time": 1_600_000_000 + np.arange(1200)})
    log = log.unique(["user", "item"], maintain_order=True)
    catalogue = pl.DataFrame(
        {"item": np.arange(15), "title": [f"Film {n}" for n in range(15)], "odd": np.arange(15) % 2}
    )
    return Dataset.from_tables(
        log if labels else log.filter(pl.col("rating") >= 4),
        items=catalogue,
        time="time",
        label="rating >= 4" if labels else None,
        title="title",
        categorical=["odd"],
        name="small",
    )


@dataclass(frozen=True)
class RecommenderCase:
    """What the laws run on: a fitted recommender and its data set."""

    recommender: Recommender
    dataset: Dataset

    @property
    def user(self) -> Any:
        """A user of the log."""
        return self.dataset.interactions["user"][0]

    def saved(self) -> Recommender:
        """Return what comes back from disk."""
        with tempfile.TemporaryDirectory() as folder:
            return load(self.recommender.save(Path(folder) / "run"))


RECOMMENDER_LAWS = Battery[RecommenderCase]("recommender")


def check_recommender(recommender: Recommender, dataset: Dataset) -> BatteryReport:
    """Run the laws of a recommender that was fitted on ``dataset``; raise with all that are broken."""
    return RECOMMENDER_LAWS.require(RecommenderCase(recommender, dataset), recommender.card.model)


@RECOMMENDER_LAWS.law
def lists_are_ranked_distinct_and_of_the_length_asked(case: RecommenderCase) -> None:
    listed = case.recommender.recommend(user=case.user, k=5, exclude_seen=False)
    assert [item.rank for item in listed] == [1, 2, 3, 4, 5]
    assert len({item.item for item in listed}) == 5
    scores = [item.score for item in listed]
    assert scores == sorted(scores, reverse=True)
    assert listed.user_known


@RECOMMENDER_LAWS.law
def what_was_taken_is_left_out_unless_asked_for(case: RecommenderCase) -> None:
    taken = {0, 1, 2}
    some = case.recommender.recommend(history=[0, 1, 2], k=50)
    everything = case.recommender.recommend(history=[0, 1, 2], k=50, exclude_seen=False)
    assert not taken & {item.item for item in some}
    assert taken < {item.item for item in everything}


@RECOMMENDER_LAWS.law
def titles_and_ids_name_the_same_items(case: RecommenderCase) -> None:
    by_title = case.recommender.recommend(history=["Film 3", "Film 5"], k=4)
    assert by_title == case.recommender.recommend(history=[3, 5], k=4)
    assert all(item.title == f"Film {item.item}" for item in by_title)


@RECOMMENDER_LAWS.law
def the_unknown_has_a_defined_answer(case: RecommenderCase) -> None:
    newcomer = case.recommender.recommend(user="nobody knows", k=3)
    assert len(newcomer) == 3
    assert not newcomer.user_known
    assert len(case.recommender.recommend(history=[], k=3)) == 3
    told = case.recommender.recommend(history=["Film 3", "Film 99"], k=3, unknown="ignore")
    assert told.ignored == ("Film 99",)
    refuses(UnknownItemError, "Film 9", lambda: case.recommender.recommend(history=["Film 99"], k=3))
    refuses(ConfigError, "history=[]", lambda: case.recommender.recommend(k=3))
    refuses(ConfigError, "k is 0", lambda: case.recommender.recommend(history=[], k=0))


@RECOMMENDER_LAWS.law
def one_answer_is_the_same_alone_and_among_many(case: RecommenderCase) -> None:
    many = getattr(case.recommender, "recommend_many", None)
    if many is None:
        raise NotApplicable("the recommender answers one request at a time")
    requests = [(None, [1, 3]), (case.user, None), (None, [])]
    together = many(requests, k=4)
    for (user, history), answer in zip(requests, together, strict=True):
        alone = case.recommender.recommend(user=user, history=history, k=4)
        assert [item.item for item in alone] == [item.item for item in answer]


@RECOMMENDER_LAWS.law
def what_comes_back_from_disk_answers_the_same(case: RecommenderCase) -> None:
    again = case.saved()
    for request in ({"user": case.user}, {"history": [2, 4]}, {"user": "nobody knows"}):
        assert again.recommend(k=6, **request) == case.recommender.recommend(k=6, **request)
    assert again.card == case.recommender.card
    judged = case.recommender.evaluate(case.dataset)
    assert again.evaluate(case.dataset).values() == judged.values()


@RECOMMENDER_LAWS.law
def scores_of_rows_order_as_the_list_does(case: RecommenderCase) -> None:
    listed = case.recommender.recommend(user=case.user, k=6, exclude_seen=False)
    rows = [{"user": case.user, "item": item.item} for item in listed]
    scores = case.recommender.score(rows).scores
    np.testing.assert_allclose(scores, [item.score for item in listed], rtol=1e-4, atol=1e-5)


@RECOMMENDER_LAWS.law
def other_data_is_not_judged_by_mistake(case: RecommenderCase) -> None:
    refuses(ConfigError, "is not the data set", lambda: case.recommender.evaluate(small_log(seed=99)))


@RECOMMENDER_LAWS.law
def a_damaged_folder_is_refused(case: RecommenderCase) -> None:
    def damage(change: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = case.recommender.save(Path(folder) / "run")
            change(path)
            refuses(SavedFolderError, "", lambda: load(path))

    damage(lambda path: (path / "model.safetensors").write_bytes(b"short"))
    damage(lambda path: (path / "card.json").unlink())
    damage(lambda path: (path / "palate.json").write_text("{}"))


@RECOMMENDER_LAWS.law
def the_card_states_what_it_stands_on(case: RecommenderCase) -> None:
    card = case.recommender.card
    assert card.data.fingerprint == case.dataset.fingerprint
    assert card.metrics, "the card has no metric"
    assert all(metric.cases > 0 for metric in card.metrics)
    assert card.limits, "the card names no limit"
    assert card.cost.request_milliseconds is not None
    assert card.model in card.to_markdown()
