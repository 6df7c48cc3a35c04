"""Run the application with uvicorn, and stop it without dropping what it has begun."""

from __future__ import annotations

import threading
from types import FrameType
from typing import TYPE_CHECKING

from palate.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["run_app"]


def run_app(
    app: FastAPI, *, host: str, port: int, drain_seconds: float = 0.0, stop_seconds: int = 10, quiet: bool = False
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    On the first signal ``/ready`` turns to 503; after ``drain_seconds``, in which everything else is still answered so
    that a balancer can look away, no new connection is taken, what runs is finished, and the process ends. A second
    signal skips the wait.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port to listen on.
        drain_seconds: Time between the signal and the end of service.
        stop_seconds: Longest time to finish what runs.
        quiet: Log neither the start nor requests, only faults.

    Raises:
        MissingExtraError: If uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError.needs("uvicorn", "serve", "Serving over HTTP") from None

    class Server(uvicorn.Server):
        """Tells first that it is going."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if app.state.draining or not drain_seconds:
                app.state.draining = True
                super().handle_exit(sig, frame)
                return
            app.state.draining = True
            timer = threading.Timer(drain_seconds, lambda: super(Server, self).handle_exit(sig, frame))
            timer.daemon = True
            timer.start()

    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="error" if quiet else "info",
        access_log=not quiet,
        timeout_graceful_shutdown=stop_seconds,
        timeout_keep_alive=75,
    )
    Server(settings).run()
