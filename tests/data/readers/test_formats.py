"""The other formats: what each becomes, by small files written here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from palate.data.opening import open_dataset
from palate.data.readers import contract
from palate.data.readers.contract import reader_for, readers
from palate.data.readers.delimited import Delimited
from palate.data.roles import RoleArguments
from palate.data.schema import Role, Table
from palate.errors import DataError, SchemaError, UnknownNameError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestJsonLines:
    def test_values_become_columns(self, tmp_path: Path) -> None:
        rows = [
            {"user": 1, "item": "a", "x": 1.5, "tags": ["p", "q"], "seen": [1, 2], "ok": True},
            {"item": "b", "user": "2", "x": None, "tags": [], "seen": None, "ok": False, "more": {"k": [1]}},
        ]
        text = "\n".join(map(json.dumps, rows)) + "\n\n"
        data = open_dataset(write(tmp_path, "log.jsonl", text), numeric="x", lists=["tags", "seen"], label="ok")
        frame = data.interactions
        assert frame["user"].to_list() == [1, 2]  # 2 and "2" are one id
        assert frame["tags"].to_list() == [["p", "q"], []]
        assert frame["seen"].to_list() == [[1, 2], None]
        big = '{"user": 123456789012345678901, "item": 1e-7}\n'
        assert open_dataset(write(tmp_path, "big.jsonl", big)).interactions.rows() == [
            ("123456789012345678901", "0.0000001")
        ]
        assert frame["more"].to_list() == [None, '{"k": [1]}']
        assert data.labels().tolist() == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"user": 2, "item": }', "not JSON"),
            ("[1, 2]", "not a JSON object"),
            ('{"user": 1, "item": 1, "it\\u0065m": 2}', "a key stands twice"),
            ('{"user": 1, "user": 2, "item": 3}', "a key stands twice"),
            ('{"user": NaN, "item": 3}', "NaN is no JSON number"),
            ('{"user": 1, "item": "\\ud800"}', "lone surrogate"),
            ('{"user": 1, "item": 1} {"user": 1, "item": 2}', "not JSON"),
            ('{"user": 1, "item": 2, "tags": "p"}', "not a list"),
        ],
    )
    def test_a_bad_line_is_named(self, line: str, problem: str, tmp_path: Path) -> None:
        text = '{"user": 1, "item": 2, "tags": ["a"]}\n' + line + '\n{"user": 3, "item": 4, "tags": null}\n'
        path = write(tmp_path, "log.jsonl", text)
        with pytest.raises(DataError, match=problem) as caught:
            open_dataset(path, lists="tags")
        assert [found.row for found in caught.value.problems] == [2]
        kept = open_dataset(path, lists="tags", reject_to=tmp_path / "bad.jsonl")
        assert kept.interactions["user"].to_list() == [1, 3]
        aside = json.loads((tmp_path / "bad.jsonl").read_text())
        assert aside["raw"] == line
        assert aside["row"] == 2

    def test_the_slow_and_the_fast_parser_spell_alike(self, tmp_path: Path) -> None:
        lines = ['{"user": 1.0, "item": -0.5, "x": 1e3, "t": "é", "b": false}'] * 2
        fast = open_dataset(write(tmp_path, "fast.jsonl", "\n".join(lines)), numeric="x")
        slow_lines = [*lines, '{"user": "\\ud83d\\ude00", "item": 1, "x": 0, "t": "", "b": null}']
        slow = open_dataset(write(tmp_path, "slow.jsonl", "\n".join(slow_lines)), numeric="x")
        assert slow.interactions["user"].to_list() == ["1", "1", "😀"]
        assert slow.interactions[:2].drop("user", "item").rows() == fast.interactions.drop("user", "item").rows()
        assert slow.interactions["item"].to_list()[0] == fast.interactions["item"].to_list()[0] == "-0.5"


class TestParquet:
    def test_types_are_taken_as_they_are(self, tmp_path: Path) -> None:
        frame = pl.DataFrame({"user": [1, 2], "item": ["a", "b"], "l": [["x"], None]})
        frame.write_parquet(tmp_path / "log.parquet")
        assert open_dataset(tmp_path / "log.parquet", lists="l").interactions.equals(frame)

    def test_row_problems_are_counted_from_zero_and_set_aside(self, tmp_path: Path) -> None:
        frame = pl.DataFrame({"user": [1, None, 3], "item": [1, 2, 3], "x": [1.0, 2.0, float("inf")]})
        path = tmp_path / "log.parquet"
        frame.write_parquet(path)
        with pytest.raises(DataError) as caught:
            open_dataset(path, numeric="x")
        assert {(p.row, p.row_kind, p.column) for p in caught.value.problems} == {(1, "row", "user"), (2, "row", "x")}
        kept = open_dataset(path, numeric="x", reject_to=tmp_path / "bad.jsonl")
        assert kept.interactions["user"].to_list() == [1]
        aside = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
        assert [json.loads(each["raw"]) for each in aside] == [
            {"user": None, "item": 2, "x": 2.0},
            {"user": 3, "item": 3, "x": float("inf")},
        ]

    def test_fractions_are_no_ids(self, tmp_path: Path) -> None:
        pl.DataFrame({"user": [1.0, None], "item": [1, 2]}).write_parquet(tmp_path / "log.parquet")
        with pytest.raises(SchemaError, match="role user is of type Float64"):
            open_dataset(tmp_path / "log.parquet")

    def test_a_folder_of_parts_is_one_log(self, tmp_path: Path) -> None:
        for part in range(3):
            frame = pl.DataFrame({"user": [part], "item": [part]}, schema={"user": pl.Int32, "item": pl.Int64})
            frame.write_parquet(tmp_path / f"part-{part}.parquet")
        (tmp_path / "_SUCCESS").touch()
        assert open_dataset(tmp_path).interactions["user"].to_list() == [0, 1, 2]
        pl.DataFrame({"user": [1], "thing": [1]}).write_parquet(tmp_path / "part-9.parquet")
        with pytest.raises(DataError, match="part-9"):
            open_dataset(tmp_path)
        pl.DataFrame({"user": ["x"], "item": [1]}).write_parquet(tmp_path / "part-9.parquet")
        with pytest.raises(SchemaError, match="same types"):
            open_dataset(tmp_path)


class TestRecBole:
    INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\ta\t5\t10\n2\tb\t1\t20\n"
    ITEM = (
        "item_id:token\tmovie_title:token_seq\tprice:float\tbrand:token\tcoords:float_seq\n"
        "a\tToy Story\t1.5\t\t1 2\nb\tB\t\tX\t\n"
    )

    def test_the_folder_becomes_three_tables(self, tmp_path: Path) -> None:
        folder = tmp_path / "toy"
        folder.mkdir()
        write(folder, "toy.inter", self.INTER)
        write(folder, "toy.item", self.ITEM)
        write(folder, "toy.user", "user_id:token\tage:token\n1\t24\n2\t53\n")
        data = open_dataset(folder, label="rating >= 4")
        assert data.labels().tolist() == [1.0, 0.0]
        assert data.times().tolist() == [10, 20]
        assert data.items is not None
        assert data.items["movie_title"].to_list() == [["Toy", "Story"], ["B"]]
        assert data.items["price"].to_list() == [1.5, None]
        assert data.items["brand"].to_list() == [None, "X"]
        assert data.items["coords"].to_list() == [["1", "2"], None]
        assert data.schema.name_of("users", Role.CATEGORICAL) == "age"
        assert data.schema.name_of("items", Role.ITEM) == "item_id"

    def test_a_rating_is_not_an_input_unless_asked(self, tmp_path: Path) -> None:
        data = open_dataset(write(tmp_path, "toy.inter", self.INTER))
        assert not data.has_labels
        assert not data.schema.columns("interactions", Role.NUMERIC)

    def test_a_wrong_header_is_explained(self, tmp_path: Path) -> None:
        path = write(tmp_path, "toy.inter", self.INTER.replace("rating:float", "rating:flaot"))
        with pytest.raises(DataError, match='Did you mean "float"'):
            open_dataset(path, format="recbole")


class TestMovieLens:
    def test_hundred_k(self, tmp_path: Path) -> None:
        flags = ["0"] * 19
        flags[1] = flags[5] = "1"
        none = ["1"] + ["0"] * 18
        write(tmp_path, "u.data", "196\t242\t3\t881250949\n186\t1\t5\t891717742\n")
        items = f"242|Misérables, Les (1995)|01-Jan-1995||http://x|{'|'.join(flags)}\n1|unknown||||{'|'.join(none)}\n"
        write(tmp_path, "u.item", items.encode("latin-1"))
        write(tmp_path, "u.user", "196|49|M|writer|55105\n186|39|F|executive|00000\n")
        data = open_dataset(tmp_path)
        assert data.items is not None
        assert data.users is not None
        assert data.items.select("title", "genres", "year").rows() == [
            ("Misérables, Les (1995)", ["Action", "Comedy"], 1995),
            ("unknown", None, None),
        ]
        assert data.users["zip"].to_list() == ["55105", "00000"]
        assert data.labels().tolist() == [0.0, 1.0]

    def test_one_m(self, tmp_path: Path) -> None:
        write(tmp_path, "ratings.dat", "1::1193::5::978300760\n1::661::3.5::978302109\n")
        write(
            tmp_path, "movies.dat", "1193::Star Wars: A (1977)::Drama|Sci-Fi\n661::é (1996)::Drama\n".encode("latin-1")
        )
        write(tmp_path, "users.dat", "1::F::1::10::48067\n")
        data = open_dataset(tmp_path)
        assert data.interactions["rating"].to_list() == [5.0, 3.5]
        assert data.items is not None
        assert data.items["title"].to_list() == ["Star Wars: A (1977)", "é (1996)"]
        assert data.items["genres"].to_list() == [["Drama", "Sci-Fi"], ["Drama"]]

    def test_a_ragged_row_between_double_colons_is_named_as_it_stood(self, tmp_path: Path) -> None:
        write(tmp_path, "ratings.dat", "1::2::5::978300760\n1::3::5\n")
        write(tmp_path, "movies.dat", "2::A (1977)::Drama\n3::B (1996)::Drama\n")
        data = open_dataset(tmp_path, reject_to=tmp_path / "bad.jsonl")
        assert len(data) == 1
        assert json.loads((tmp_path / "bad.jsonl").read_text())["raw"] == "1::3::5"

    def test_a_changed_header_is_explained(self, tmp_path: Path) -> None:
        write(tmp_path, "ratings.csv", "userid,movieid,rating,timestamp\n1,1,4,10\n")
        write(tmp_path, "movies.csv", "movieId,title,genres\n1,A (1995),Drama\n")
        with pytest.raises(DataError, match="the header is userid,movieid"):
            open_dataset(tmp_path)

    def test_years(self, tmp_path: Path) -> None:
        write(tmp_path, "ratings.csv", "userId,movieId,rating,timestamp\n1,1,4,10\n")
        titles = ["A (1995)", "B (1995) ", "C (2006-2007)", "(500) Days of Summer (2009)", "2001: X", "D (1995"]
        rows = "".join(f"{i + 1},{title},Drama\n" for i, title in enumerate(titles))
        write(tmp_path, "movies.csv", "movieId,title,genres\n" + rows)
        data = open_dataset(tmp_path)
        assert data.items is not None
        assert data.items["year"].to_list() == [1995, 1995, 2006, 2009, None, None]


class TestLibsvm:
    def test_one_hot_rows_become_categories(self, tmp_path: Path) -> None:
        data = open_dataset(write(tmp_path, "log.libfm", "1 0:1 7:1\n-1 3:1.0 9:1\n"), label="label > 0", user="f1")
        assert data.interactions.columns == ["label", "f1", "f2"]
        assert data.interactions.select("f1", "f2").rows() == [(0, 7), (3, 9)]
        assert data.labels().tolist() == [1.0, 0.0]
        assert data.schema.name_of("interactions", Role.USER) == "f1"

    def test_other_rows_become_lists(self, tmp_path: Path) -> None:
        data = open_dataset(write(tmp_path, "log.svm", "1 0:0.5 7:2\n0\n1 3:1\n"))
        assert data.interactions.rows() == [(1.0, [0, 7], [0.5, 2.0]), (0.0, [], []), (1.0, [3], [1.0])]

    def test_bad_lines_are_named(self, tmp_path: Path) -> None:
        path = write(tmp_path, "log.libfm", "1 0:1 7:1\nx 0:1 7:1\n1 0:1 7\n1 0:inf 7:1\n0 2:1 3:1 4:1\n")
        with pytest.raises(DataError) as caught:
            open_dataset(path, format="libsvm")
        assert [found.row for found in caught.value.problems] == [2, 3, 4]
        assert "f1" not in open_dataset(path, format="libsvm", reject_to=tmp_path / "bad.jsonl").interactions.columns


def test_criteo(tmp_path: Path) -> None:
    row = ["1", "", "-1", *["5"] * 11, "", *["0a1b2c3d"] * 25]
    data = open_dataset(write(tmp_path, "train.tsv.gz", gzip.compress("\t".join(row).encode())))
    assert data.interactions.select("label", "I1", "I2", "C1", "C2").rows() == [(1, None, -1, None, "0a1b2c3d")]
    assert len(data.schema.columns("interactions", Role.NUMERIC)) == 13
    assert len(data.schema.columns("interactions", Role.CATEGORICAL)) == 26
    assert not data.schema.has("interactions", Role.USER)


def test_sequences(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, "s.txt.gz", gzip.compress(b"ann 3 1  2\r\n\nbo 1 3\n")))
    assert data.interactions.rows() == [("ann", 3, 0), ("ann", 1, 1), ("ann", 2, 2), ("bo", 1, 0), ("bo", 3, 1)]
    path = write(tmp_path, "bad.txt", "ann 3 1\nbo\ncy 1 NaN\n")
    with pytest.raises(DataError) as caught:
        open_dataset(path, format="sequences")
    assert [(found.row, found.problem) for found in caught.value.problems] == [
        (2, "the user has no items"),
        (3, 'a word reads like "missing"'),
    ]


def test_formats_are_told_apart(tmp_path: Path) -> None:
    files = {
        "a.txt": ("1 0:1 7:1\n0 3:1 9:1\n", "libsvm"),
        "b.txt": ("ann 1 2 3\nbo 2 1\n", "sequences"),
        "c.txt": ("user,item\n1,2\n", "csv"),
        "d.txt": ('{"user": 1, "item": 2}\n', "jsonl"),
        "e.txt": ("\t".join(["0", *["1"] * 13, *["0a1b2c3d"] * 26]) + "\n", "criteo"),
        "f.inter": (TestRecBole.INTER, "recbole"),
    }
    for name, (content, format) in files.items():
        assert reader_for(write(tmp_path, name, content)).name == format, name
    with pytest.raises(DataError, match="is not recognised"):
        reader_for(write(tmp_path, "g.bin", bytes(range(256))))
    with pytest.raises(UnknownNameError, match='Did you mean "parquet"'):
        reader_for(tmp_path / "a.txt", "parket")
    assert all(each.summary and each.name for each in readers())


def test_a_new_format_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger writes to have his format sniffed, read, checked and set aside like the others."""
    readers()
    monkeypatch.setattr(contract, "_readers", dict(contract._readers))

    @contract.reader
    class CaretReader:
        name = "caret"
        summary = "cells between carets"
        order = 5
        takes: tuple[str, ...] = ()

        def sniff(self, path: Path) -> bool:
            return path.suffix == ".caret"

        def read(self, path: Path, table: Table, options: contract.ReadOptions) -> contract.Layout:
            source = Delimited(path, ("who", "what"), "^", options, header=False, quoting=False)
            return contract.Layout({table: (source,)}, RoleArguments(user="who", item="what"), {"licence": "CC0"})

    path = write(tmp_path, "log.caret", "ann^1\nbo\ncy^3\n")
    data = open_dataset(path, reject_to=tmp_path / "bad.jsonl")
    assert data.interactions.rows() == [("ann", 1), ("cy", 3)]
    assert json.loads((tmp_path / "bad.jsonl").read_text())["raw"] == "bo"
    assert data.facts["licence"] == "CC0"
