from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from palate.errors import DataError
from palate.packages import package_folder
from palate.represent.stored_vectors import FloatMatrix, StoredVectors


def letters(texts: Sequence[str]) -> FloatMatrix:
    return np.array([[len(text), text.count("a"), 1 / 3] for text in texts], dtype=np.float32)


def test_a_text_is_encoded_once_even_in_another_process(tmp_path: Path) -> None:
    first = StoredVectors(letters, tmp_path / "v.sqlite", name="letters")
    made = first(["a", "bab", "a", ""])
    assert made.tolist() == letters(["a", "bab", "a", ""]).tolist()
    assert (first.made, len(first)) == (3, 3)
    first.close()

    def refuse(texts: Sequence[str]) -> FloatMatrix:
        raise AssertionError(texts)

    again = StoredVectors(refuse, tmp_path / "v.sqlite", name="letters")
    assert again(["bab", "a"]).tobytes() == letters(["bab", "a"]).tobytes()
    with pytest.raises(AssertionError, match="bab"):
        StoredVectors(refuse, tmp_path / "v.sqlite", name="other")(["bab"])


def test_forgetting_takes_a_text_out(tmp_path: Path) -> None:
    store = StoredVectors(letters, tmp_path / "v.sqlite", name="letters")
    store(["a", "b"])
    store.forget(["a", "never there"])
    assert len(store) == 1
    store(["a", "b"])
    assert store.made == 3


def test_many_texts_and_none(tmp_path: Path) -> None:
    store = StoredVectors(letters, tmp_path / "v.sqlite", name="letters", batch=100)
    texts = ["a" * (at % 1200) for at in range(2000)]
    assert (store(texts) == letters(texts)).all()
    assert store.made == 1200
    assert store([]).shape == (0, 0)


def test_a_kill_loses_at_most_a_batch(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from palate.represent.stored_vectors import StoredVectors
def slow(texts):
    print(len(texts), flush=True)
    return np.ones((len(texts), 4), dtype=np.float32)
StoredVectors(slow, {str(tmp_path / "v.sqlite")!r}, name="x", batch=5)([str(at) for at in range(10**5)])
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(20):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    store = StoredVectors(letters, tmp_path / "v.sqlite", name="x")
    assert len(store) >= 19 * 5
    assert store([str(at) for at in range(95)]).shape == (95, 4)
    assert store.made == 0


def test_bad_encoders_and_files_are_named(tmp_path: Path) -> None:
    for bad in (np.zeros((1, 3)), np.full((2, 3), np.nan), np.zeros(2)):
        with pytest.raises(DataError, match="returned"):
            StoredVectors(lambda texts, bad=bad: bad, tmp_path / "v.sqlite", name="bad")(["x", "y"])  # type: ignore[misc]
    (tmp_path / "no.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match=r"no\.sqlite"):
        StoredVectors(letters, tmp_path / "no.sqlite", name="x")


def test_a_package_is_found_without_being_imported() -> None:
    folder = package_folder("xml")
    assert folder is not None
    assert (folder / "__init__.py").is_file()
    assert package_folder("no_such_package") is None
