"""Ten million rows import in memory that does not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

IMPORT = """
import json, resource, sys
import palate.data.importing as importing
import polars, pyarrow.parquet, scipy.sparse  # noqa: F401 - what an import brings in is not what it needs
from palate.data.readers.contract import readers
readers()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before = peak()
report = importing.import_files(sys.argv[1], sys.argv[2], time="time", label="rating >= 4")
print(json.dumps({"grown": peak() - before, "kept": report.rows_kept["interactions"]}))
"""


def write_log(path: Path, rows: int) -> None:
    generator = np.random.default_rng(0)
    with path.open("wb") as stream:
        stream.write(b"user,item,rating,time\n")
        for start in range(0, rows, 500_000):
            count = min(500_000, rows - start)
            frame = pl.DataFrame(
                {
                    "user": generator.integers(0, 1_000_000, count),
                    "item": generator.integers(0, 100_000, count),
                    "rating": generator.integers(1, 11, count) / 2,
                    "time": generator.integers(1_000_000_000, 1_600_000_000, count),
                }
            )
            frame.write_csv(stream, include_header=False)


def import_elsewhere(folder: Path, rows: int) -> tuple[int, int, int]:
    """Import in a process of its own; return rows kept, bytes of the file and bytes of memory grown."""
    write_log(folder / "log.csv", rows)
    size = (folder / "log.csv").stat().st_size
    command = [sys.executable, "-c", IMPORT, str(folder / "log.csv"), str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    report = json.loads(done.stdout)
    return report["kept"], size, report["grown"]


def test_a_million_rows_fit_beside_a_row_group(tmp_path: Path) -> None:
    kept, size, grown = import_elsewhere(tmp_path, 1_000_000)
    assert kept == 1_000_000
    assert size > 25e6
    assert grown < 350e6  # a block, a row group and its compressed copy: the same for a file of any size


@pytest.mark.slow
def test_ten_million_rows_take_less_than_twice_the_file(tmp_path: Path) -> None:
    kept, size, grown = import_elsewhere(tmp_path, 10_000_000)
    assert kept == 10_000_000
    assert size > 200e6
    assert grown < 2 * size
