"""What the service counts about itself, for Prometheus; nothing in it tells who asked for what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from palate.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["ServiceMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """Counts and times of requests by route and status, and the sizes of batches.

    Raises:
        MissingExtraError: If prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise MissingExtraError.needs("prometheus-client", "serve", "Serving over HTTP") from None
        # A registry of its own: several services may live in one process, as they do in tests.
        self.registry = CollectorRegistry()
        self._requests = Counter("palate_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "palate_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self._batches = Histogram(
            "palate_correction_batch_size", "Uploads in a batch.", buckets=_SIZES, registry=self.registry
        )
        self._waiting = Gauge(
            "palate_requests_waiting", "Requests that wait or run.", ["queue"], registry=self.registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Note an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int) -> None:
        """Note a batch of uploads."""
        self._batches.observe(size)

    def watch(self, queue: str, length: Callable[[], int]) -> None:
        """Show the length of a queue."""
        self._waiting.labels(queue).set_function(lambda: float(length()))

    def add_to(self, app: FastAPI) -> None:
        """Add ``GET /metrics``."""
        from fastapi.responses import PlainTextResponse
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        @app.get("/metrics", response_class=PlainTextResponse, response_model=None)
        async def metrics() -> Any:
            """Return the counts and times of this process in the text form of Prometheus."""
            return PlainTextResponse(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
