"""What every export has in common: its packages are there, and its exporter keeps quiet."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator

from palate.errors import MissingExtraError

__all__ = ["need", "quiet_exporter"]

_NOISY = ("torch.onnx", "torchao", "torch.utils._pytree", "torch._export", "executorch")


def need(packages: tuple[str, ...], extra: str, purpose: str) -> None:
    """Refuse to go on without ``packages``.

    Raises:
        MissingExtraError: If one is not installed; names the extra that brings it.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError.needs(package, extra, purpose) from None


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep an exporter's progress and its remarks about packages nobody asked for off the terminal."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
