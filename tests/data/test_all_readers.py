"""Every reader keeps the laws of a reader."""

import gzip

import polars as pl
import pytest

from palate.data.readers.contract import readers
from palate.testing.readers import READER_LAWS, check_dataset_reader

ROWS = [("ann", 11, 5.0, 1_600_000_100), ("bo", 12, 2.0, 1_600_000_200), ("ann", 13, 4.5, 1_600_000_300)]
FRAME = pl.DataFrame(ROWS, schema=["user", "item", "rating", "time"], orient="row")
ROLES = {"time": "time", "label": "rating >= 4"}


def one_file(name, content):
    def write(folder):
        path = folder / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def parquet(folder):
    FRAME.write_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def movielens(folder):
    place = folder / "ml"
    place.mkdir()
    ratings = "".join(f"{n},{item},{rating},{time}\n" for n, (_, item, rating, time) in enumerate(ROWS))
    (place / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + ratings)
    films = "".join(f'{item},"Film, The ({1990 + item})",Comedy|Drama\n' for item in (11, 12, 13))
    (place / "movies.csv").write_text("movieId,title,genres\n" + films)
    return place


CSV = "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in ROWS).encode()
RECBOLE = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in ROWS).encode()
CRITEO = b"".join(
    b"\t".join([b"%d" % (n % 2), *[b"%d" % (n + c) for c in range(13)], *[b"%08x" % (n * 26 + c) for c in range(26)]])
    + b"\n"
    for n in range(4)
)
SAMPLES = {
    "csv": (one_file("log.csv", b"user,item,rating,time\n" + CSV), ROLES),
    "parquet": (parquet, ROLES),
    "jsonl": (one_file("log.jsonl", FRAME.write_ndjson().encode()), ROLES),
    "recbole": (
        one_file("log.inter", b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RECBOLE),
        {"label": "rating >= 4"},
    ),
    "movielens": (movielens, {}),
    "libsvm": (one_file("log.libsvm", b"1 1:1 5:0.5\n0 2:1 5:0.25\n1 1:1 6:1\n"), {}),
    "criteo": (one_file("train.tsv.gz", CRITEO), {}),
    "sequences": (one_file("sequences.txt", b"ann 11 13 12\nbo 12 11\n"), {}),
}


def test_no_reader_is_forgotten():
    assert set(SAMPLES) == {reader.name for reader in readers()}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_laws(name):
    write, roles = SAMPLES[name]
    report = check_dataset_reader(name, write, **roles)
    assert report.ran == len(READER_LAWS.laws)
