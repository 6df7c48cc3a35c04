"""``palate serve``: answer HTTP requests from a saved recommender."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["serve"]


def serve(
    run: Path,
    *,
    correction: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    token_file: Path | None = None,
    max_queue: int = 64,
    seconds: float = 10.0,
    batch_milliseconds: float = 5.0,
    session_rate: float = 5.0,
    token_rate: float = 0.0,
    drain_seconds: float = 0.0,
) -> None:
    """Serve a saved recommender until Ctrl-C; try it in the browser under /docs.

    A CoCorrRec with corrections serves them to devices beside the rest, under /v1/correction.

    Args:
        run: Folder of a saved recommender.
        correction: Serve corrections to devices and nothing else; refuses a run that has none.
        host: Address to listen on; the default is reachable from this machine only.
        port: Port to listen on; 0 picks a free one.
        token: Demand "Authorization: Bearer TOKEN" of every request. Others on this machine can read a command line:
            better set PALATE_TOKEN, or --token-file.
        token_file: File with one token a line, each as good as the others.
        max_queue: Requests that may wait; one more is turned away with 503.
        seconds: Time limit of one request.
        batch_milliseconds: How long an upload waits for others to be answered with.
        session_rate: Uploads a second of one device; 0 for no limit.
        token_rate: Requests a second of one token; 0 for no limit.
        drain_seconds: Go on for so long after SIGTERM while /ready says no.
    """
    from palate.recommender import load
    from palate.serve.app import ServeConfig, create_app
    from palate.serve.correction_config import CorrectionConfig
    from palate.serve.server import run_app

    tokens = _tokens(token, token_file)
    if host not in ("127.0.0.1", "localhost", "::1") and not tokens:
        sys.stderr.write(
            "palate: this service is reachable from other machines and asks for no token (--token-file).\n"
        )
    app = create_app(
        load(run),
        ServeConfig(tokens=tokens, max_queue=max_queue, seconds=seconds, token_rate=token_rate),
        serving="corrections" if correction else "all",
        corrections=CorrectionConfig(
            batch_milliseconds=batch_milliseconds, session_rate=session_rate, seconds=max(1.0, batch_milliseconds / 500)
        ),
    )
    run_app(app, host=host, port=port, drain_seconds=drain_seconds)


def _tokens(token: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the tokens of the option, the file and the environment."""
    from palate.errors import ConfigError

    given = [token, os.environ.get("PALATE_TOKEN")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The tokens in {file} cannot be read: {type(error).__name__}.") from None
        if not lines:
            raise ConfigError(f"{file} has no token.", remedy="Write one token a line.")
        given += lines
    return tuple(dict.fromkeys(entry for entry in given if entry))
