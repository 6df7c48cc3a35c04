"""Open a language model by name and settings, with its replies kept where a file is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palate.errors import UnknownNameError
from palate.llm.contract import LanguageModel, WriteConfig
from palate.llm.endpoint import Endpoint, EndpointConfig
from palate.llm.replies import CachedModel

__all__ = ["MODELS", "open_model"]

MODELS = ("endpoint", "local")


def open_model(kind: str, *, replies: str | Path | None = None, **settings: Any) -> LanguageModel:
    """Return a language model.

    Args:
        kind: ``endpoint`` (an OpenAI-compatible server) or ``local`` (weights in this process).
        replies: File in which replies are kept; nothing is kept without one.
        **settings: Settings of :class:`~palate.llm.contract.WriteConfig` and of the model's own config.

    Raises:
        UnknownNameError: For another kind.
        ConfigError: For a setting that neither config has.

    Example:
        >>> open_model("endpoint", url="http://127.0.0.1:8080/v1", model="mine", max_tokens=5).name
        'mine'
    """
    if kind not in MODELS:
        raise UnknownNameError.among("language model", kind, MODELS)
    writing = WriteConfig(**{name: settings.pop(name) for name in WriteConfig.model_fields if name in settings})
    model: LanguageModel
    if kind == "endpoint":
        model = Endpoint(EndpointConfig(**settings), writing)
    else:
        from palate.llm.local import LocalModel, LocalModelConfig

        model = LocalModel(LocalModelConfig(**settings), writing)
    return model if replies is None else CachedModel(model, replies)
