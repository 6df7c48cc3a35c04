"""How commands speak: rich tables for people, one JSON document for machines, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from palate.train.progress import Progress

__all__ = ["console", "finish", "parse_settings", "progress", "say"]


def console(*, error: bool = False) -> Console:
    """Return a console for standard output, or for standard error.

    It prints what it is given: a title such as "[rec] :fire:" is text, neither a tag nor a picture.
    """
    from rich.console import Console

    plain: dict[str, Any] = {"stderr": error, "markup": False, "emoji": False}
    terminal = Console(**plain)
    return terminal if terminal.is_terminal else Console(**plain, width=110, highlight=False)


def say(*parts: RenderableType, machine: bool) -> None:
    """Show ``parts`` to a person; say nothing to a machine."""
    if not machine:
        console().print(*parts)


def finish(document: Any, *parts: RenderableType, machine: bool) -> None:
    """End a command: print ``document`` as JSON for a machine, or ``parts`` for a person."""
    if machine:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n")
    else:
        say(*parts, machine=False)


@contextmanager
def progress(*, machine: bool) -> Iterator[Progress]:
    """Give a progress display for standard error: a bar on a terminal, plain lines elsewhere, nothing for a machine."""
    from palate.train.progress import SilentProgress, progress_for

    shown = SilentProgress() if machine else progress_for(sys.stderr)
    try:
        yield shown
    finally:
        shown.close()


def parse_settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read ``name=value`` pairs; values are JSON where they parse, else text. Dashes in names become underscores.

    Example:
        >>> parse_settings(("embedding-size=8", "hidden=[64, 32]", "activation=relu"))
        {'embedding_size': 8, 'hidden': [64, 32], 'activation': 'relu'}
    """
    from palate.errors import ConfigError

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {pair!r} is not a setting.", remedy="Write --set NAME=VALUE.")
        try:
            settings[name.replace("-", "_")] = json.loads(text)
        except ValueError:
            settings[name.replace("-", "_")] = text
    return settings
