"""What stands between the network and the handlers: tokens, sizes, rates, time, and the one form of errors."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from palate.errors import ConfigError, DataError, PalateError, ServiceError, UnknownNameError
from palate.sequence.correction_wire import WireError
from palate.serve.bodies import error_answer
from palate.serve.gate import BusyError, TooSlowError
from palate.serve.rate_limit import LimitedError, RateLimit
from palate.serve.refusals import MediaTypeError, VersionError, without_words

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, Response

    from palate.serve.app import ServeConfig
    from palate.serve.metrics import ServiceMetrics

__all__ = ["Guard", "add_error_answers"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/health", "/ready")  # asked by what watches over the process, which has no token


class _RefusedError(ServiceError):
    """A request that does not reach its handler."""

    def __init__(self, status: int, code: str, message: str, remedy: str = "") -> None:
        self.status, self.told = status, code
        super().__init__(message, remedy=remedy)


class Guard:
    """ASGI middleware: look at the head, read the body whole and in time, then hand the request on.

    A body is refused by its stated length, before any of it is read; what is read is bounded in size and time, so that
    a client that drips cannot hold a handler.

    Args:
        app: The application behind.
        settings: Limits and tokens.
        metrics: Where answers are counted.
        sizes: Largest body of paths that differ from ``settings.max_bytes``.
    """

    def __init__(
        self, app: Application, *, settings: ServeConfig, metrics: ServiceMetrics, sizes: Mapping[str, int]
    ) -> None:
        self._app, self._settings, self._metrics, self._sizes = app, settings, metrics, sizes
        self._tokens = settings.all_tokens()
        self._limit = RateLimit(settings.token_rate, burst=settings.token_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            self._look(scope)
            body = await self._body(scope, receive)
            await self._app(scope, _replayed(body, receive), sending)
        except _DisconnectedError:
            return
        except Exception as error:
            if status:  # half an answer cannot be taken back
                raise
            await _answer(error)(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            if status:
                self._metrics.answered(route, status, time.monotonic() - started)

    def _look(self, scope: Scope) -> None:
        """Check what the head of the request says."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        if self._tokens and path not in _OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            # All are compared, so that the time does not tell which one came near.
            right = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in self._tokens]
            if kind.lower() != "bearer" or not any(right):
                raise _RefusedError(401, "P503", "The token is missing or wrong.", "Send Authorization: Bearer TOKEN.")
            self._limit.check(str(right.index(True)), "token")
        length, most = headers.get("content-length", ""), self._sizes.get(path, self._settings.max_bytes)
        stated = length.isascii() and length.isdigit()
        if not stated and (length or "transfer-encoding" in headers or scope["method"] == "POST"):
            raise _RefusedError(411, "P504", "The length of the body is not stated.", "Send Content-Length.")
        if stated and (len(length) > 15 or int(length) > most):
            raise _RefusedError(413, "P504", f"The body has {length[:20]} bytes; {most} are allowed.")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self._sizes.get(scope["path"], self._settings.max_bytes)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _DisconnectedError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _RefusedError(413, "P504", f"The body has more than {most} bytes.")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            told = f"The body did not come within {self._settings.body_seconds:g} s."
            raise _RefusedError(408, "P504", told, "Send it at once.") from None


class _DisconnectedError(Exception):
    """The client went away."""


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


_STATUS: tuple[tuple[type[PalateError], int], ...] = (
    (BusyError, 503),
    (TooSlowError, 504),
    (LimitedError, 429),
    (VersionError, 409),
    (MediaTypeError, 415),
    (WireError, 422),
    (ConfigError, 422),
    (UnknownNameError, 422),
    (DataError, 422),
)


def add_error_answers(app: FastAPI) -> None:
    """Give every error that a handler raises the one form."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def answered(_: Request, error: Exception) -> Response:
        return _answer(error)

    for family in (PalateError, RequestValidationError, HTTPException):
        app.add_exception_handler(family, answered)


def _answer(error: Exception) -> JSONResponse:
    """Return the answer to a request that failed; a fault of ours is told to the log only."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    headers: dict[str, str] = {}
    if isinstance(error, _RefusedError):
        status, told = error.status, error_answer(error.told, error.message, error.remedy)
    elif isinstance(error, RequestValidationError):
        found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
        status = 422
        told = error_answer(ConfigError.code, f"The body is not valid: {found}.", "See /docs for its form.")
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        told = error_answer("P505", str(error.detail), "See /docs for what there is.")
    else:
        status = next((number for family, number in _STATUS if isinstance(error, family)), 500)
        if isinstance(error, PalateError) and status != 500:
            told = error_answer(error.code, error.message, error.remedy)
        else:
            # The trace, but not the message: it may repeat what a client sent.
            logger.error("A request failed: %s", type(error).__name__, exc_info=without_words(error))
            told = error_answer("P500", "The service could not answer.", "Its log says why.")
    if isinstance(error, LimitedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.seconds)))
    elif status == 503:
        headers["Retry-After"] = "1"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(told, status_code=status, headers=headers)
