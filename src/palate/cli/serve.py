"""``palate serve``: answer HTTP requests from a saved recommender."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["serve"]


def serve(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_queue: int = 64,
    seconds: float = 10.0,
) -> None:
    """Serve a saved recommender until Ctrl-C; try it in the browser under /docs.

    Args:
        run: Folder of a saved recommender.
        host: Address to listen on; the default is reachable from this machine only.
        port: Port to listen on; 0 picks a free one.
        token: Demand "Authorization: Bearer TOKEN" of every request.
        max_queue: Requests that may wait; one more is turned away with 503.
        seconds: Time limit of one request.
    """
    from palate.errors import MissingExtraError
    from palate.recommender import load
    from palate.serve.app import ServeConfig, create_app

    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError.needs("uvicorn", "serve", "Serving over HTTP") from None
    recommender = load(run)
    if host not in ("127.0.0.1", "localhost", "::1") and token is None:
        sys.stderr.write("palate: this service is reachable from other machines and asks for no token (--token).\n")
    app = create_app(recommender, ServeConfig(token=token, max_queue=max_queue, seconds=seconds))
    uvicorn.run(app, host=host, port=port, log_level="info", timeout_graceful_shutdown=10)
