"""Import: what is written equals what is read, bad rows go aside whole, and a failed import leaves nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from palate.data.checks import check_dataset
from palate.data.dataset import Dataset
from palate.data.importing import import_files
from palate.data.intake import ParquetSink
from palate.data.opening import open_dataset
from palate.errors import ConfigError, DataError, SavedFolderError

ROLES: dict[str, Any] = {"time": "time", "label": "rating >= 4"}
HEADER = "user,item,rating,time\n"


def log_of(rows: int, seed: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user": generator.integers(0, rows // 3 + 1, rows),
            "item": generator.integers(0, 50, rows),
            "rating": generator.integers(1, 11, rows) / 2,
            "time": np.arange(rows) + 1_000_000_000,
        }
    )


def test_importing_and_opening_agree(tmp_path: Path) -> None:
    log_of(2_000).write_csv(tmp_path / "log.csv")
    (tmp_path / "items.csv").write_text("item,name,tags\n" + "".join(f"{i},Film {i},a|b\n" for i in range(50)))
    settings: dict[str, Any] = {**ROLES, "items": tmp_path / "items.csv", "title": "name", "lists": {"tags": "|"}}
    report = import_files(tmp_path / "log.csv", tmp_path / "data", facts={"licence": "CC0"}, **settings)
    imported = Dataset.open(tmp_path / "data")
    direct = open_dataset(tmp_path / "log.csv", **settings)
    assert imported.fingerprint == direct.fingerprint == imported.recorded_fingerprint
    assert imported.schema == direct.schema
    assert report.rows_read == report.rows_kept == {"interactions": 2_000, "items": 50}
    assert report.rows_rejected == 0
    assert imported.facts["licence"] == "CC0"
    assert imported.name == "data"
    assert check_dataset(imported) == []
    assert "2,000 interactions, 50 items" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["rows_kept"]["items"] == 50


def test_a_folder_of_movielens_imports_with_its_catalogue(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,4.0,964982703\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n2,B (1995),Comedy|Drama\n")
    import_files(tmp_path, tmp_path / "data")
    imported = Dataset.open(tmp_path / "data")
    assert imported.items is not None
    assert imported.items["genres"].to_list() == [["Comedy", "Drama"]]
    assert imported.facts["source"].startswith("GroupLens")


def test_a_table_can_be_the_catalogue(tmp_path: Path) -> None:
    log_of(20).write_csv(tmp_path / "log.csv")
    catalogue = pl.DataFrame({"item": range(50), "tags": ["a|b"] * 50})
    import_files(tmp_path / "log.csv", tmp_path / "data", items=catalogue, lists={"tags": "|"}, **ROLES)
    imported = Dataset.open(tmp_path / "data")
    assert imported.items is not None
    assert imported.items["tags"][0].to_list() == ["a", "b"]
    with pytest.raises(ConfigError, match="from_tables"):
        import_files(log_of(3), tmp_path / "data")  # type: ignore[arg-type]


BAD = HEADER + "1,1,4,100\n2,,5,100\n3,1,x,y\n4,1,4\n5,1,4,100\n"


def test_without_a_file_for_bad_rows_all_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(BAD)
    with pytest.raises(DataError) as caught:
        import_files(tmp_path / "log.csv", tmp_path / "data", **ROLES)
    assert [(p.row, p.column) for p in caught.value.problems] == [(3, "item"), (4, "rating"), (4, "time"), (5, "")]
    assert "3 rows of log.csv cannot be used" in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]
    with pytest.raises(SavedFolderError):
        Dataset.open(tmp_path / "data")


def test_a_failed_import_leaves_the_earlier_data_set_alone(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(HEADER + "1,1,4,100\n")
    (tmp_path / "log.csv").write_text(BAD)
    import_files(tmp_path / "good.csv", tmp_path / "data", **ROLES)
    with pytest.raises(DataError):
        import_files(tmp_path / "log.csv", tmp_path / "data", **ROLES)
    assert len(Dataset.open(tmp_path / "data")) == 1


def test_bad_rows_go_aside_as_they_stood(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(BAD)
    report = import_files(tmp_path / "log.csv", tmp_path / "data", reject_to=tmp_path / "bad.csv", **ROLES)
    assert (report.rows_read, report.rows_kept, report.rows_rejected) == ({"interactions": 5}, {"interactions": 2}, 3)
    assert Dataset.open(tmp_path / "data").interactions["user"].to_list() == [1, 5]
    assert (tmp_path / "bad.csv").read_text().splitlines() == [
        "reason,place,row as it stood",
        '"item: the item id is missing","log.csv:3",2,,5,100',
        '"rating: the cell is not a finite number; time: the cell is not a time","log.csv:4",3,1,x,y',
        '"the row has 3 cells instead of 4","log.csv:5",4,1,4',
    ]
    assert len(report.problems) == 4
    assert "3 rows set aside" in str(report)


def test_bad_rows_as_json_lines_keep_every_byte(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(HEADER.encode() + b'1,1,4,100\n2,\xff\xfe,5,100\n3,1,"q\n",100\n')
    import_files(tmp_path / "log.csv", tmp_path / "data", reject_to=tmp_path / "aside" / "bad.jsonl", **ROLES)
    entries = [json.loads(line) for line in (tmp_path / "aside" / "bad.jsonl").read_text().splitlines()]
    assert base64.b64decode(entries[0]["raw_base64"]) == b"2,\xff\xfe,5,100"
    assert entries[1]["raw"] == '3,1,"q\n",100'
    assert (entries[1]["row"], entries[1]["column"]) == (4, "rating")
    assert entries[0]["file"].endswith("log.csv")


def test_starting_over_for_a_wider_type_repeats_no_problem(tmp_path: Path) -> None:
    """A late id of text makes the reading start over; what was set aside before must not stand there twice."""
    rows = "".join(f"{i},1,4,100\n" for i in range(100))
    (tmp_path / "a.csv").write_text(HEADER + "7,,4,100\n" + rows)
    (tmp_path / "b.csv").write_text(HEADER + "ann,1,4.5,100\n8,,4,100\n")
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    report = import_files(files, tmp_path / "data", reject_to=tmp_path / "bad.jsonl", **ROLES)
    assert report.rows_rejected == 2
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2
    assert [p.row for p in report.problems] == [2, 3]
    frame = Dataset.open(tmp_path / "data").interactions
    assert frame["user"].to_list() == [*map(str, range(100)), "ann"]
    assert frame["rating"].to_list() == [4.0] * 100 + [4.5]


def test_many_bad_rows_are_listed_up_to_a_limit_and_then_counted(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEADER + "1,,4,100\n" * 5_000 + "1,1,4,100\n")
    report = import_files(tmp_path / "log.csv", tmp_path / "data", reject_to=tmp_path / "bad.jsonl", **ROLES)
    assert report.rows_rejected == 5_000
    assert len(report.problems) == 101
    assert report.problems[-1].count == 4_900
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 5_000


def test_when_no_row_is_left_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEADER + "1,,4,100\n")
    with pytest.raises(DataError, match="no row could be used"):
        import_files(tmp_path / "log.csv", tmp_path / "data", reject_to=tmp_path / "bad.csv", **ROLES)
    assert not (tmp_path / "data").exists()


def test_the_writer_holds_no_more_than_a_row_group(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "x.parquet", group_size=1_000)
    sink.begin()
    for start in range(0, 10_500, 300):
        sink.write(pl.DataFrame({"a": range(start, start + 300)}))
        assert sink.waiting < 1_000
    sink.close()
    footer = pq.read_metadata(tmp_path / "x.parquet")
    assert (footer.num_rows, sink.rows) == (10_500, 10_500)
    assert max(footer.row_group(i).num_rows for i in range(footer.num_row_groups)) <= 1_300
    assert pl.read_parquet(tmp_path / "x.parquet")["a"].to_list() == list(range(10_500))


def test_an_imported_log_is_scanned_lazily(tmp_path: Path) -> None:
    log_of(500).write_csv(tmp_path / "log.csv")
    import_files(tmp_path / "log.csv", tmp_path / "data", **ROLES)
    opened = Dataset.open(tmp_path / "data")
    assert "PARQUET SCAN" in opened.scan().explain().upper()
    assert opened.summary().rows == 500
    assert "PARQUET SCAN" in opened.scan().explain().upper()  # a summary does not load the log
    assert opened.interactions.height == 500
