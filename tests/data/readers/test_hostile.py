"""Every reader against hostile bytes: one PalateError or a defined table, never a traceback of another kind.

Three laws are held for all text formats: whatever the bytes, reading ends in a table or a PalateError; a row is either
kept or set aside, never lost; and the size of a block changes nothing.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from palate.data.assembling import assemble, gather
from palate.data.dataset import Dataset
from palate.data.opening import open_dataset
from palate.data.readers.contract import ReadOptions, readers
from palate.errors import DataError, PalateError, Problem

CSV_ROLES: dict[str, Any] = {"user": "user", "item": "item", "time": "time", "label": "rating >= 4"}
TABLE = pl.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"], "rating": [5.0, 2.5, 4.0], "time": [10, 20, 30]})


def _parquet() -> bytes:
    buffer = io.BytesIO()
    TABLE.write_parquet(buffer)
    return buffer.getvalue()


CRITEO = "\n".join("\t".join([label, *["3"] * 13, *["0a1b2c3d"] * 26]) for label in "0110") + "\n"
SEEDS: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "csv": ("log.csv", TABLE.write_csv().encode(), CSV_ROLES),
    "jsonl": ("log.jsonl", TABLE.write_ndjson().encode(), CSV_ROLES),
    "parquet": ("log.parquet", _parquet(), CSV_ROLES),
    "recbole": (
        "log.inter",
        b"user_id:token\titem_id:token\trating:float\ttimestamp:float\tgenres:token_seq\n"
        b"1\ta\t5\t10\tx y\n2\tb\t1\t20\t\n",
        {"label": "rating >= 4"},
    ),
    "criteo": ("train.tsv", CRITEO.encode(), {}),
    "libsvm": ("log.libfm", b"1 0:1 7:1 9:1\n0 1:1 7:1 8:1\n", {}),
    "sequences": ("log.txt", b"ann 1 2 3\nbo 3 1\n", {}),
}
MOVIELENS = {
    "latest": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,3.5,964982704\n",
        "movies.csv": b'movieId,title,genres\n1,"Story, Toy (1995)",Comedy|Fantasy\n2,B,(no genres listed)\n',
        "tags.csv": b"userId,movieId,tag,timestamp\n1,1,fun,964982705\n",
    },
    "1m": {
        "ratings.dat": b"1::1::4::964982703\n1::2::3::964982704\n",
        "movies.dat": b"1::Mis\xe9rables (1995)::Comedy\n2::B (2000)::Drama|War\n",
    },
}


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def attempt(path: Path, **settings_: Any) -> Dataset | None:
    """Open, and let nothing but a PalateError through; every message is one readable text."""
    try:
        data = open_dataset(path, **settings_)
        data.interactions.height  # noqa: B018 - the rows must be there
        return data
    except PalateError as error:
        told = error
    assert str(told).startswith(f"[{told.code}]")
    assert "Traceback" not in str(told)
    return None


@pytest.mark.parametrize("format", sorted(SEEDS))
def test_the_seeds_are_good_files(format: str, tmp_path: Path) -> None:
    name, content, roles = SEEDS[format]
    plain = open_dataset(write(tmp_path, name, content), **roles)
    assert len(plain) >= 2
    assert {each.name for each in readers()} == {*SEEDS, "movielens"}
    if format != "parquet":
        zipped = open_dataset(write(tmp_path, name + ".gz", gzip.compress(content)), format=format, **roles)
        assert zipped.interactions.equals(plain.interactions)
        marked = open_dataset(write(tmp_path, "mark-" + name, b"\xef\xbb\xbf" + content), format=format, **roles)
        assert marked.interactions.equals(plain.interactions)
        returns = open_dataset(write(tmp_path, "crlf-" + name, content.replace(b"\n", b"\r\n")), format=format, **roles)
        assert returns.interactions.equals(plain.interactions)
        cut = open_dataset(write(tmp_path, "cut-" + name, content.removesuffix(b"\n")), format=format, **roles)
        assert cut.interactions.equals(plain.interactions)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "only a byte order mark": lambda _: b"\xef\xbb\xbf",
    "only line ends": lambda _: b"\n\r\n\n",
    "header only": lambda content: content.split(b"\n")[0] + b"\n",
    "gzip cut short": lambda content: gzip.compress(content * 50)[:-20],
    "gzip damaged": lambda content: gzip.compress(content * 50)[:30] + b"\xff" * 40,
    "gzip header alone": lambda _: b"\x1f\x8b",
    "half the file": lambda content: content[: len(content) // 2],
    "utf-16": lambda content: content.decode("latin-1").encode("utf-16"),
    "latin-1 in the last row": lambda content: content.rstrip(b"\n") + b"\xe9\n",
    "NUL in the last row": lambda content: content.rstrip(b"\n") + b"\x00\n",
    "one long run of NUL": lambda _: b"\x00" * 100_000,
    "binary garbage": lambda _: bytes(range(256)) * 40,
    "one huge field": lambda content: content + b"x" * 2_000_000 + b"\n",
    "a quote that never closes": lambda content: content + b'"' + b"x,\n" * 1000,
    "nothing but quotes": lambda _: b'"' * 5001,
    "many columns": lambda _: b"a," * 5000 + b"a\n",
    "deep nesting": lambda _: b'{"user":' + b"[" * 200_000 + b"\n",
    "numbers beyond floating point": lambda content: content.replace(b"5", b"1e400").replace(b"3", b"-1e999"),
    "whole numbers beyond 64 bits": lambda content: content.replace(b"1", b"123456789012345678901234567890"),
    "words for missing": lambda content: content.replace(b"a", b"NaN").replace(b"1", b"NaN"),
}


@pytest.mark.parametrize("reject", [False, True])
@pytest.mark.parametrize("hostile", sorted(HOSTILE))
@pytest.mark.parametrize("format", sorted(SEEDS))
def test_hostile_files(format: str, hostile: str, reject: bool, tmp_path: Path) -> None:
    name, content, roles = SEEDS[format]
    path = write(tmp_path, name, HOSTILE[hostile](content))
    attempt(path, format=format, **roles, **({"reject_to": tmp_path / "bad.jsonl"} if reject else {}))
    attempt(path, **roles)  # recognising a format survives the same file
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]  # no scratch file stays


@pytest.mark.parametrize("format", [*sorted(SEEDS), "movielens"])
def test_a_folder_a_missing_file_and_a_device_are_errors(format: str, tmp_path: Path) -> None:
    roles = SEEDS[format][2] if format in SEEDS else {}
    for path in (tmp_path, tmp_path / "none.csv", Path("/dev/null")):
        with pytest.raises(PalateError):
            open_dataset(path, format=format, **roles)


@pytest.mark.parametrize("which", sorted(MOVIELENS))
@pytest.mark.parametrize("hostile", sorted(HOSTILE))
def test_hostile_movielens_folders(which: str, hostile: str, tmp_path: Path) -> None:
    for damaged in MOVIELENS[which]:
        for name, content in MOVIELENS[which].items():
            write(tmp_path, name, HOSTILE[hostile](content) if name == damaged else content)
        attempt(tmp_path)
        attempt(tmp_path, reject_to=tmp_path.parent / "bad.jsonl")


PIECES = [
    b",",
    b"\t",
    b" ",
    b":",
    b"::",
    b'"',
    b'""',
    b"\n",
    b"\r\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e400",
]
PIECES += [
    b"NaN",
    b"inf",
    b"-1",
    b"007",
    b"a",
    b"1",
    b"{",
    b"}",
    b"[",
    b"\\ud800",
    b"null",
    "é".encode(),
    b"\x1f",
    b"2024-01-01",
]


@st.composite
def damaged_files(draw: st.DrawFn, content: bytes) -> bytes:
    """A good file with pieces put in, cut out or overwritten; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "cut", "overwrite", "repeat"])):
            case "insert":
                data[place:place] = b"".join(draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4)))
            case "cut":
                del data[place : place + draw(st.integers(1, 20))]
            case "overwrite":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=3))
            case "repeat":
                data[place:place] = data[max(0, place - 15) : place]
    return bytes(data)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def outcome(path: Path, format: str, roles: dict[str, Any], block_size: int) -> tuple[Any, ...]:
    """What reading gives: the table, or the message."""
    options = ReadOptions(block_size=block_size)
    try:
        parts = gather({"interactions": path}, options=options, format=format)
        data = assemble(parts, roles, name="fuzz")
        return ("table", data.interactions.schema, data.interactions.rows())
    except DataError as error:
        return ("error", type(error), error.message, sorted(error.problems, key=str))
    except PalateError as error:
        return ("error", type(error), error.message)


TEXT_FORMATS = sorted(set(SEEDS) - {"parquet"})


@pytest.mark.parametrize("format", sorted(SEEDS))
def test_no_bytes_break_a_reader(format: str, folder: Path) -> None:
    name, content, roles = SEEDS[format]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(damaged_files(content))
    @example(b"")
    @example(content + content)
    def check(data: bytes) -> None:
        attempt(write(folder, f"{format}-{name}", data), format=format, **roles)

    check()


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_the_size_of_a_block_changes_nothing(format: str, folder: Path) -> None:
    name, content, roles = SEEDS[format]
    # The layout of these two is a decision of the first block, which is part of what they promise.
    smallest = 400 if format in ("jsonl", "libsvm") else 1

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(damaged_files(content * 2 if format in ("libsvm", "sequences") else content), st.integers(0, 40))
    @example(b"\xef\xbb\xbf" + content, 0)
    def check(data: bytes, size: int) -> None:
        path = write(folder, f"block-{format}-{name}", data)
        whole = outcome(path, format, roles, 1 << 20)
        assert repr(outcome(path, format, roles, smallest + size)) == repr(whole)

    check()


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_no_row_is_lost(format: str, folder: Path) -> None:
    """Kept rows and rejected rows together are the rows of the file."""
    name, content, roles = SEEDS[format]
    header = format in ("csv", "recbole")

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(damaged_files(content))
    def check(data: bytes) -> None:
        path = write(folder, f"lost-{format}-{name}", data)
        aside = folder / "bad.jsonl"
        aside.unlink(missing_ok=True)
        try:
            kept = open_dataset(path, format=format, reject_to=aside, **roles)
        except PalateError:
            return
        rejected = [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()]
        rows = kept.interactions["position"].eq(0).sum() if format == "sequences" else len(kept)
        if format == "csv" and b'"' in data:
            return  # a quoted line end joins lines into a row
        lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r\x0b\x0c")]
        blank = [line for line in data.split(b"\n") if line.strip(b"\r") and not line.strip(b" \t\r\x0b\x0c")]
        if not blank:
            assert rows + len(rejected) == len(lines) - header

    check()


def test_every_problem_names_the_line_that_an_editor_shows(tmp_path: Path) -> None:
    text = 'user,item,rating,time\n1,"a\nb",5,10\n\n,c,4,10\n2,d,x,10\n2,e,4,10,9\n2,f,4,10\n'
    with pytest.raises(DataError) as caught:
        open_dataset(write(tmp_path, "log.csv", text.encode()), **CSV_ROLES)
    found = {(each.row, each.column, each.value) for each in caught.value.problems}
    assert found == {(5, "user", None), (6, "rating", "x"), (7, "", None)}
    assert all(
        isinstance(each, Problem) and each.remedy and each.file.endswith("log.csv") for each in caught.value.problems
    )
    assert "3 rows of log.csv" in str(caught.value)
