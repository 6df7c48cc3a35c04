"""The HTTP service of one recommender: ``/health``, ``/card``, ``/score`` and ``/recommend``, described by OpenAPI.

What you evaluate is what you serve: the handlers call the same ``score`` and ``recommend`` as the Python interface.
An answer that is not a success has one form, ``{"error": {"code", "message", "remedy"}}``; a stack trace never
reaches a client.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError, DataError, MissingExtraError, PalateError, UnknownNameError
from palate.serve.bodies import (
    ErrorAnswer,
    HealthAnswer,
    RecommendAnswer,
    RecommendBody,
    RecommendedItem,
    ScoreAnswer,
    ScoreBody,
    error_answer,
)
from palate.serve.gate import BusyError, Gate, TooSlowError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

    from palate.recommender import Recommender

__all__ = ["ServeConfig", "create_app"]

logger = logging.getLogger(__name__)


class ServeConfig(Config):
    """Limits of the service.

    Attributes:
        workers: Threads that run the model.
        max_queue: Requests that may wait; one more gets 503 with ``Retry-After``.
        seconds: Time limit of one request, waiting included (504 after it).
        max_bytes: Largest body (413 above it).
        token: When given, every request but ``/health`` must carry ``Authorization: Bearer TOKEN``.
    """

    workers: int = Field(1, ge=1)
    max_queue: int = Field(64, ge=0)
    seconds: float = Field(10.0, gt=0)
    max_bytes: int = Field(1_000_000, ge=1_000)
    token: str | None = None


_STATUS: tuple[tuple[type[PalateError], int], ...] = (
    (BusyError, 503),
    (TooSlowError, 504),
    (ConfigError, 422),
    (UnknownNameError, 422),
    (DataError, 422),
)


def create_app(recommender: Recommender, config: ServeConfig | None = None) -> FastAPI:
    """Return the ASGI application that serves ``recommender``.

    Raises:
        MissingExtraError: If FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
    except ImportError:
        raise MissingExtraError.needs("fastapi", "serve", "Serving over HTTP") from None
    from palate import __version__

    settings = config or ServeConfig()
    gate = Gate(workers=settings.workers, max_queue=settings.max_queue, seconds=settings.seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        gate.close()

    app = FastAPI(
        title="Palate",
        version=__version__,
        description=f"{recommender.card.model} on {recommender.card.data.name}",
        lifespan=lifespan,
        responses={code: {"model": ErrorAnswer} for code in (401, 413, 422, 503, 504)},
    )
    app.state.gate = gate
    _guard(app, settings)
    _routes(app, recommender, gate)
    return app


def _routes(app: FastAPI, recommender: Recommender, gate: Gate) -> None:
    card = recommender.card

    @app.get("/health")
    async def health() -> HealthAnswer:
        """Say that the process lives, and what it serves."""
        return HealthAnswer(status="ok", model=card.model, task=card.task, palate=card.palate)

    @app.get("/card")
    async def card_of_the_model() -> dict[str, Any]:
        """Return the card: what it was trained on, how good, how calibrated, how costly."""
        return card.model_dump()

    @app.post("/score")
    async def score(body: ScoreBody) -> ScoreAnswer:
        """Score rows in the order in which they came."""
        result = await gate.run(lambda: recommender.score(body.rows))
        probabilities = None if result.probabilities is None else result.probabilities.tolist()
        return ScoreAnswer(scores=result.scores.tolist(), probabilities=probabilities)

    @app.post("/recommend")
    async def recommend(body: RecommendBody) -> RecommendAnswer:
        """Return the best items for a user, or after a history."""
        listed = await gate.run(
            lambda: recommender.recommend(
                user=body.user, history=body.history, k=body.k, exclude_seen=body.exclude_seen, unknown="ignore"
            )
        )
        return RecommendAnswer(
            items=[RecommendedItem(**item.to_dict()) for item in listed],
            user_known=listed.user_known,
            ignored=tuple(listed.ignored),
        )


def _guard(app: FastAPI, settings: ServeConfig) -> None:
    """Add authentication, the size limit, and the one form of errors."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    def answer(status: int, code: str, message: str, remedy: str = "") -> JSONResponse:
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse(error_answer(code, message, remedy), status_code=status, headers=headers)

    @app.middleware("http")
    async def limits(request: Request, forward: Callable[[Request], Awaitable[Response]]) -> Response:
        if settings.token is not None and request.url.path != "/health":
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), settings.token.encode()):
                return answer(401, "P503", "The token is missing or wrong.", "Send Authorization: Bearer TOKEN.")
        length = request.headers.get("content-length", "")
        if not length.isdigit() and request.method == "POST":
            return answer(413, "P504", "The length of the body is not stated.", "Send Content-Length.")
        if length.isdigit() and int(length) > settings.max_bytes:
            return answer(413, "P504", f"The body has {length} bytes; {settings.max_bytes} are allowed.")
        try:
            return await forward(request)
        except Exception:
            logger.exception("A request to %s failed.", request.url.path)
            return answer(500, "P500", "The service could not answer.", "Its log says why.")

    async def on_palate_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, PalateError)
        status = next((number for family, number in _STATUS if isinstance(error, family)), 500)
        if status == 500:
            logger.error("%s", error)
            return answer(500, error.code, "The service could not answer.", "Its log says why.")
        return answer(status, error.code, error.message, error.remedy)

    async def on_invalid_body(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
        return answer(422, ConfigError.code, f"The body is not valid: {told}.", "See /docs for its form.")

    async def on_http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, "P505", str(error.detail), "See /docs for what there is.")

    app.add_exception_handler(PalateError, on_palate_error)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(HTTPException, on_http_error)
