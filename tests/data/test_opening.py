"""The door for data: shipped sets with their published figures, files, folders, and what is unknown."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import palate.data.opening as opening
from palate.data.dataset import Dataset
from palate.data.opening import open_dataset, shipped
from palate.data.readers.contract import ReadOptions
from palate.data.schema import Role
from palate.errors import ConfigError, DataError, UnknownNameError

SHIPPED = Path(opening.__file__).parent / "shipped"


@pytest.fixture(scope="module")
def movielens() -> Dataset:
    return open_dataset("movielens-small")


@pytest.fixture(scope="module")
def promotions() -> Dataset:
    return open_dataset("complete-journey-promotions")


class TestMovieLensSmall:
    def test_published_counts(self, movielens: Dataset) -> None:
        figures = movielens.summary()
        assert (figures.rows, figures.users, figures.items, figures.catalogue_items) == (100_836, 610, 9_724, 9_742)
        assert figures.first_time == "1996-03-29T18:36:55Z"
        assert figures.last_time == "2018-09-24T14:27:30Z"
        assert figures.density == pytest.approx(100_836 / (610 * 9_724))
        items = movielens.items
        assert items is not None
        assert items["tags"].list.len().sum() == 3_683
        assert items["title"].n_unique() == 9_742 - 5
        assert items["genres"].null_count() == 34  # "(no genres listed)"
        assert items["year"].null_count() == 12
        assert movielens.interactions.group_by("userId").len()["len"].min() == 20

    def test_labels(self, movielens: Dataset) -> None:
        labels = movielens.labels()
        assert str(movielens.schema.label) == "rating >= 4"
        assert labels.sum() == (movielens.interactions["rating"] >= 4).sum() == 48_580
        assert open_dataset("movielens-small", label="rating >= 3.5").labels().sum() > labels.sum()
        assert not open_dataset("movielens-small", label=None).has_labels

    def test_the_first_film(self, movielens: Dataset) -> None:
        assert movielens.items is not None
        first = movielens.items.row(0, named=True)
        assert first["title"] == "Toy Story (1995)"
        assert first["year"] == 1995
        assert first["genres"] == ["Adventure", "Animation", "Children", "Comedy", "Fantasy"]

    def test_rows_keep_the_order_of_the_file(self, movielens: Dataset) -> None:
        with gzip.open(SHIPPED / "movielens-small" / "ratings.csv.gz", "rt") as file:
            lines = [line.split(",") for line in file.read().splitlines()[1:]]
        assert movielens.interactions["movieId"].to_list() == [int(line[1]) for line in lines]
        assert movielens.times().tolist() == [int(line[3]) for line in lines]

    def test_the_terms_travel_with_it(self, movielens: Dataset) -> None:
        assert "Usage License" in (SHIPPED / "movielens-small" / "README.txt").read_text()
        assert "Harper" in movielens.facts["citation"]
        assert "commercial" in movielens.facts["licence"]

    def test_the_files_are_those_of_grouplens(self) -> None:
        digests = {
            "ratings": "content of 2,382,886 bytes",
            "movies": "content of 484,688 bytes",
            "tags": "content of 114,976 bytes",
            "links": "content of 188,236 bytes",
        }
        for name, words in digests.items():
            content = gzip.decompress((SHIPPED / "movielens-small" / f"{name}.csv.gz").read_bytes())
            assert f"content of {len(content):,} bytes" == words


class TestPromotions:
    def test_published_counts(self, promotions: Dataset) -> None:
        assert len(promotions) == 419_124
        parts = dict(promotions.interactions.group_by("split").len().rows())
        assert parts == {"train": 338_165, "valid": 35_720, "test": 45_239}
        labels = promotions.labels()
        assert labels.mean() == pytest.approx(0.204, abs=5e-4)
        split = promotions.interactions["split"].cast(pl.String).to_numpy()
        for part in parts:
            assert labels[split == part].mean() == pytest.approx(0.204, abs=2e-3)
        assert promotions.interactions["product_id"].n_unique() == 5_386
        assert promotions.interactions["household_id"].n_unique() == 450

    def test_the_split_is_by_time(self, promotions: Dataset) -> None:
        weeks = promotions.interactions.group_by("split").agg(pl.col("week").min(), pl.col("week").max().alias("last"))
        assert {str(row[0]): row[1:] for row in weeks.rows()} == {
            "train": (1, 42),
            "valid": (43, 47),
            "test": (48, 53),
        }
        assert promotions.schema.name_of("interactions", Role.SPLIT) == "split"

    def test_taking_products_and_households_apart_loses_nothing(self, promotions: Dataset) -> None:
        table = pl.read_parquet(SHIPPED / "complete-journey-promotions" / "promotion_response.parquet")
        assert promotions.items is not None
        assert promotions.users is not None
        joined = promotions.interactions.join(
            promotions.items.drop("title"), on="product_id", how="left", maintain_order="left"
        ).join(promotions.users, on="household_id", how="left", maintain_order="left")
        assert joined.select(table.columns).equals(table)
        # 19 features: 17 categories besides household and product
        assert (
            sum(
                len(promotions.schema.columns(table_, Role.CATEGORICAL))
                for table_ in ("interactions", "items", "users")
            )
            == 17
        )

    def test_both_origins_are_stated(self, promotions: Dataset) -> None:
        notice = (SHIPPED / "complete-journey-promotions" / "NOTICE.txt").read_text()
        for words in ("R package", "Python package", "2,469 households", "simulated data", "CC0"):
            assert words in notice
        assert "simulated" in promotions.facts["source"]
        assert promotions.facts["licence"] == "CC0"


def test_the_list_of_shipped_data_says_what_and_under_which_terms() -> None:
    assert [each.name for each in shipped()] == ["complete-journey-promotions", "movielens-small"]
    assert all(each.summary and each.licence for each in shipped())


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "movielens-small"'):
        open_dataset("movielens-smal")
    with pytest.raises(UnknownNameError, match="jsonl"):
        open_dataset("nothing/like/this")


def test_misspelt_roles_are_answered_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='Did you mean "label"'):
        open_dataset(tmp_path / "none.csv", lable="rating >= 4")  # type: ignore[call-arg]


def test_a_data_set_and_a_saved_folder_pass_through(tmp_path: Path) -> None:
    data = Dataset.from_tables(pl.DataFrame({"user": [1], "item": [2]}), name="tea")
    assert open_dataset(data) is data
    opened = open_dataset(data.save(tmp_path / "tea"))
    assert opened.fingerprint == data.fingerprint
    assert open_dataset(opened, name="coffee").name == "coffee"
    with pytest.raises(ConfigError, match="roles and tables already, so format, label would mean nothing"):
        open_dataset(tmp_path / "tea", label="x >= 1", format="csv")


def test_settings_that_would_mean_nothing_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(ConfigError, match="separator=';' means nothing to the format parquet"):
        open_dataset(tmp_path / "log.parquet", separator=";")
    with pytest.raises(ConfigError, match="has its files already, so items would mean nothing"):
        open_dataset("movielens-small", items=pl.DataFrame({"movieId": [1]}))
    with pytest.raises(ConfigError, match="block_size"):
        ReadOptions(block_size=0)


def test_tables_and_files_mix(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n1,7\n")
    (tmp_path / "items.csv").write_text("item,title\n7,Tea\n")
    from_files = open_dataset(tmp_path / "log.csv", items=tmp_path / "items.csv", title="title")
    mixed = open_dataset(tmp_path / "log.csv", items=pl.DataFrame({"item": [7], "title": ["Tea"]}), title="title")
    built = Dataset.from_tables(str(tmp_path / "log.csv"), items=str(tmp_path / "items.csv"), title="title")
    assert from_files.fingerprint == mixed.fingerprint == built.fingerprint
    assert from_files.name == "log"


def test_several_files_are_one_log(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n1,7\n")
    (tmp_path / "b.csv").write_text("item,user\nx,2\n")
    data = open_dataset([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert data.interactions.rows() == [(1, "7"), (2, "x")]
    assert open_dataset(str(tmp_path / "*.csv")).fingerprint == data.fingerprint
    with pytest.raises(DataError, match="No file matches"):
        open_dataset(str(tmp_path / "*.tsv"))
    (tmp_path / "c.csv").write_text("item,uzer\nx,2\n")
    with pytest.raises(DataError, match=r"c.csv: its columns are not those of a.csv: \['user', 'uzer'\]"):
        open_dataset([tmp_path / "a.csv", tmp_path / "c.csv"])


def test_the_role_of_a_caller_takes_the_column_from_the_format(tmp_path: Path) -> None:
    (tmp_path / "log.libfm").write_text("1 0:1 7:1\n0 3:1 9:1\n")
    data = open_dataset(tmp_path / "log.libfm", user="f1", item="f2")
    assert data.schema.name_of("interactions", Role.USER) == "f1"
    assert not data.schema.columns("interactions", Role.CATEGORICAL)


def test_opening_twice_gives_the_same(movielens: Dataset) -> None:
    again = open_dataset("movielens-small")
    assert again.fingerprint == movielens.fingerprint
    assert np.array_equal(again.labels(), movielens.labels())
    assert len(hashlib.sha256(again.fingerprint.encode()).hexdigest()) == len(again.fingerprint)
