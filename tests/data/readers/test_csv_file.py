"""CSV: what a cell means, what a type is settled by, and which line a row stands on."""

from __future__ import annotations

import csv
import gzip
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.assembling import assemble, gather
from palate.data.dataset import Dataset
from palate.data.opening import open_dataset
from palate.data.readers.contract import ReadOptions
from palate.errors import ConfigError, DataError, SchemaError, UnknownNameError


def read(tmp_path: Path, content: str | bytes, name: str = "log.csv", **settings: Any) -> Dataset:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_dataset(path, **settings)


def test_quoted_cells_hold_separators_line_ends_and_quotes(tmp_path: Path) -> None:
    text = 'user,item,note\r\n1,"a,b","says ""hi""\r\nand goes"\r\n2,c,\r\n3,d,""\r\n'
    data = read(tmp_path, text, text="note")
    assert data.interactions["item"].to_list() == ["a,b", "c", "d"]
    assert data.interactions["note"].to_list() == ['says "hi"\r\nand goes', None, ""]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_found(separator: str, tmp_path: Path) -> None:
    data = read(tmp_path, f"user{separator}item\n1{separator}2\n", name="log.txt")
    assert data.interactions.rows() == [(1, 2)]


def test_tsv_is_separated_by_tabs_even_when_cells_hold_commas(tmp_path: Path) -> None:
    data = read(tmp_path, "user\titem\na,b,c\t2\n", name="log.tsv")
    assert data.interactions.rows() == [("a,b,c", 2)]


def test_ids_keep_their_spelling(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item\n007,1\n7,2\n+7,3\n")
    assert data.interactions["user"].to_list() == ["007", "7", "+7"]
    assert data.interactions["item"].to_list() == [1, 2, 3]


@pytest.mark.parametrize("block_size", [1, 64, 1 << 20])
def test_a_type_is_settled_by_all_cells(block_size: int, tmp_path: Path) -> None:
    rows = [f"{i},{i},{i},{i}" for i in range(50)] + ["x,50,50.5,50"] + ["51,y,51,51"]
    path = tmp_path / "log.csv"
    path.write_text("user,item,score,plain\n" + "\n".join(rows) + "\n")
    parts = gather({"interactions": path}, options=ReadOptions(block_size=block_size))
    frame = assemble(parts, {"numeric": "score"}, name="x").interactions
    assert frame.schema == {"user": pl.String, "item": pl.String, "score": pl.Float64, "plain": pl.Int64}
    assert frame["user"].to_list() == [*map(str, range(50)), "x", "51"]
    assert frame["score"].to_list() == [*map(float, range(50)), 50.5, 51.0]


def test_columns_without_a_role_lose_nothing(tmp_path: Path) -> None:
    text = "user,item,a,b,c,d\n1,1,1,1.50,12345678901234567890,1\n1,2,02,2,1,x\n"
    frame = read(tmp_path, text).interactions
    assert frame["a"].to_list() == ["1", "02"]
    assert frame["b"].to_list() == [1.5, 2.0]
    assert frame["c"].to_list() == ["12345678901234567890", "1"]
    assert frame["d"].to_list() == ["1", "x"]


def test_a_number_may_be_missing_or_a_truth_but_not_a_word(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item,y,x\n1,1,true, 2.5\n1,2,False,\n", label="y", numeric="x")
    assert data.labels().tolist() == [1.0, 0.0]
    assert data.interactions["x"].to_list() == [2.5, None]
    for word in ("two", "1e400", "-inf", "nan", "0x1F", "1,5"):
        with pytest.raises(DataError, match='line 2, column "x": the cell is not a finite number') as caught:
            read(tmp_path, f'user,item,x\n1,1,"{word}"\n', numeric="x")
        assert caught.value.problems[0].value == word
    kept = read(tmp_path, "user,item,x\n1,1,2\n1,2,two\n1,3,4\n", numeric="x", reject_to=tmp_path / "bad.csv")
    assert kept.interactions.rows() == [(1, 1, 2), (1, 3, 4)]  # the bad cell does not make the others fractions


@pytest.mark.parametrize("word", ["NaN", "null", "None", ""])
def test_a_missing_id_is_a_problem_and_a_missing_category_is_not(word: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'line 3, column "user": the user id is missing|the id is missing'):
        read(tmp_path, f"user,item\n1,1\n{word},2\n")
    data = read(tmp_path, f"user,item,c\n1,1,{word}\n1,2,b\n", categorical="c")
    assert data.interactions["c"].to_list() == [word or None, "b"]


def test_times_may_be_seconds_or_iso_dates_but_not_both(tmp_path: Path) -> None:
    text = (
        "user,item,t\n1,1,2024-01-31T17:05:00Z\n1,2,2024-01-31 18:05\n1,3,2024-02-01\n1,4,2024-01-31T17:05:00+02:00\n"
    )
    moments = read(tmp_path, text, time="t").interactions["t"].to_list()
    assert moments == [
        datetime(2024, 1, 31, 17, 5),
        datetime(2024, 1, 31, 18, 5),
        datetime(2024, 2, 1),
        datetime(2024, 1, 31, 15, 5),
    ]
    assert read(tmp_path, "user,item,t\n1,1,10.5\n1,2,11\n", time="t").interactions["t"].to_list() == [10.5, 11.0]
    with pytest.raises(DataError, match=r'line 3, column "t": the cell is not a date and time.*1706720700'):
        read(tmp_path, "user,item,t\n1,1,2024-01-31T17:05:00Z\n1,2,1706720700\n", time="t")
    with pytest.raises(DataError, match=r'line 3, column "t": the cell is not a time'):
        read(tmp_path, "user,item,t\n1,1,1706720700\n1,2,2024-01-31\n", time="t")


def test_milliseconds_are_recognised_and_read_when_declared(tmp_path: Path) -> None:
    text = "user,item,t\n1,1,1577836801500\n1,2,1577836802500\n"
    with pytest.raises(DataError, match=r'looks like milliseconds.*Pass time_unit="ms"'):
        read(tmp_path, text, time="t")
    assert read(tmp_path, text, time="t", time_unit="ms").times().tolist() == [1577836801, 1577836802]
    with pytest.raises(DataError, match="future"):
        read(tmp_path, "user,item,t\n1,1,1e30\n", time="t")
    with pytest.raises(DataError, match="before 1970"):
        read(tmp_path, "user,item,t\n1,1,-5\n", time="t")


def test_lists_in_one_cell_are_split(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item,g\n1,1,a|b\n1,2,\n", lists={"g": "|"})
    assert data.interactions["g"].to_list() == [["a", "b"], None]


def test_a_stray_quote_costs_one_row_not_the_rest(tmp_path: Path) -> None:
    text = 'user,item,note\n1,1,fine\n2,2,12" disk\n3,3,"also, fine"\n4,4,"open\n5,5,fine\n'
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert [problem.row for problem in caught.value.problems] == [3, 5]
    kept = read(tmp_path, text, reject_to=tmp_path / "bad.csv")
    assert kept.interactions["user"].to_list() == [1, 3, 5]
    aside = (tmp_path / "bad.csv").read_text().splitlines()
    assert aside[1].endswith(',"log.csv:3",2,2,12" disk')
    assert aside[2].endswith(',"log.csv:5",4,4,"open')
    plain = read(tmp_path, text.replace("also, fine", "also fine"), quoting=False)
    assert plain.interactions["note"].to_list() == ["fine", '12" disk', '"also fine"', '"open', "fine"]


def test_a_row_longer_than_allowed_stops_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"user,item\n1,1\n" + b"x" * 5000 + b"\n")
    parts = gather({"interactions": path}, options=ReadOptions(block_size=1000, max_record=2000))
    with pytest.raises(DataError, match="line 3: the row is longer than 2,000 bytes"):
        assemble(parts, {}, name="x")


def test_headers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns 1 and 3 have the same name"):
        read(tmp_path, "user,item,user\n1,2,3\n")
    with pytest.raises(DataError, match="column 1 has no name"):
        read(tmp_path, ",user,item\n0,1,2\n")
    with pytest.raises(SchemaError, match='Did you mean "userId"'):
        read(tmp_path, "userId,item\n1,2\n")


def test_encodings(tmp_path: Path) -> None:
    text = "user,item\nZoë,1\n"
    for encoding in ("latin-1", "utf-16", "cp1252"):
        data = read(tmp_path, text.encode(encoding), encoding=encoding)
        assert data.interactions["user"].to_list() == ["Zoë"]
    with pytest.raises(DataError, match=r"line 2: the row is not UTF-8.*Pass encoding=\"latin-1\""):
        read(tmp_path, text.encode("latin-1"))
    with pytest.raises(DataError, match="line 3: the text is not utf-16"):
        read(tmp_path, text.encode("utf-16") + b"\xd8", encoding="utf-16")
    with pytest.raises(UnknownNameError, match='Did you mean "latin-1"'):
        read(tmp_path, text, encoding="lattin-1")


@pytest.mark.parametrize("block_size", [1, 2, 3, 7])
def test_marks_and_characters_may_be_cut_by_a_block(block_size: int, tmp_path: Path) -> None:
    for encoding, mark in (("utf-8", "\ufeff"), ("utf-16", ""), ("gb18030", "")):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes((mark + "user,item\nZoë 茶,1\n").encode(encoding))
        options = ReadOptions(block_size=block_size, encoding=encoding)
        data = assemble(gather({"interactions": path}, options=options, format="csv"), {}, name="x")
        assert data.interactions.rows() == [("Zoë 茶", 1)]


def test_joined_files_with_marks_inside_are_noticed(tmp_path: Path) -> None:
    part = b"\xef\xbb\xbfuser,item\n1,2\n"
    with pytest.raises(DataError, match="line 3: a byte order mark stands inside the file"):
        read(tmp_path, part + part)


def test_a_carriage_return_inside_a_row_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: a carriage return stands inside the row"):
        read(tmp_path, "user,item\n1,a\rb\n")
    with pytest.raises(DataError, match="line 1: a carriage return stands inside the row"):
        read(tmp_path, "user,item\r1,2\r")
    assert read(tmp_path, 'user,item\n1,"a\rb"\r\n').interactions["item"].to_list() == ["a\rb"]


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    data = read(tmp_path, gzip.compress(b"user,item\n1,2\n"), name="log.csv")
    assert data.interactions.rows() == [(1, 2)]


def test_an_impossible_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot separate cells"):
        read(tmp_path, "user,item\n1,2\n", separator='"')


CELLS = st.text(
    st.one_of(
        st.sampled_from(list('ab,;"\r\n \t|')),
        st.characters(exclude_characters="\x00\ufeff", exclude_categories=["Cs"]),
    ),
    max_size=8,
)


@settings(max_examples=80, deadline=None, database=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n"]),
    separator=st.sampled_from([",", "\t", ";", "|"]),
    block_size=st.integers(1, 200),
)
def test_what_the_standard_library_writes_is_read(
    rows: list[tuple[str, str, str]],
    quoting: Literal[0, 1],
    ending: str,
    separator: str,
    block_size: int,
) -> None:
    """The oracle is Python's own writer: every text comes back, an unquoted empty cell as missing."""
    if ending == "\n" and quoting == csv.QUOTE_MINIMAL:  # it then leaves returns unquoted
        rows = [(a.replace("\r", ""), b.replace("\r", ""), c.replace("\r", "")) for a, b, c in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter=separator, lineterminator=ending, quoting=quoting)
            writer.writerow(("k", "a", "b", "c"))
            writer.writerows((i, *row) for i, row in enumerate(rows))
        parts = gather({"interactions": path}, options=ReadOptions(block_size=block_size, separator=separator))
        data = assemble(parts, {"user": None, "item": None, "numeric": "k", "text": ["a", "b", "c"]}, name="x")
    empty = "" if quoting == csv.QUOTE_ALL else None
    assert data.interactions.rows() == [(i, *(cell or empty for cell in row)) for i, row in enumerate(rows)]
