"""``POST /v1/correction`` and ``GET /v1/correction``: the routes over a corrector."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from pydantic import ValidationError

from palate.errors import ConfigError
from palate.sequence.correction_wire import CONTENT_TYPE, MAX_ITEMS, PROTOCOL, Answer, Upload
from palate.serve.batcher import Batcher
from palate.serve.correction_bodies import CorrectionAnswer, CorrectionBody, CorrectionFacts
from palate.serve.rate_limit import RateLimit
from palate.serve.refusals import MediaTypeError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from palate.serve.correction_config import CorrectionConfig
    from palate.serve.corrector import Corrector
    from palate.serve.metrics import ServiceMetrics

__all__ = ["add_corrections", "largest_upload"]


def largest_upload(corrector: Corrector) -> int:
    """Return the size of the largest body that can be valid: ``MAX_ITEMS`` rows as base64 of float32."""
    return 4 * MAX_ITEMS * corrector.embedding_size * 4 // 3 + 4096


def add_corrections(app: FastAPI, corrector: Corrector, config: CorrectionConfig, metrics: ServiceMetrics) -> None:
    """Add the routes; ``app.state.batcher`` is closed by the application."""
    batcher: Batcher[Upload, Answer] = Batcher(
        corrector.answer,
        max_batch=config.max_batch,
        max_wait=config.batch_milliseconds / 1000,
        max_queue=config.max_queue,
        seconds=config.seconds,
        noted=metrics.batch,
    )
    app.state.batcher = batcher
    metrics.watch("correction", lambda: batcher.waiting)
    limit = RateLimit(config.session_rate, burst=config.session_burst)
    kept = _Kept(config.keep_seconds, config.keep_answers)

    @app.get("/v1/correction")
    async def facts() -> CorrectionFacts:
        """Say which model and which sizes uploads must have."""
        hidden, summary = corrector.versions
        return CorrectionFacts(
            protocol=PROTOCOL,
            model_version=hidden,
            summary_version=summary,
            embedding_size=corrector.embedding_size,
            shape=corrector.shape,
            ttl_steps=corrector.ttl_steps,
        )

    @app.post("/v1/correction", response_model=CorrectionAnswer, openapi_extra=_OPENAPI, responses=_ANSWERS)
    async def correction(request: Request) -> Response:
        """Answer the upload of a device with a correction, in the form in which the upload came."""
        body = await request.body()
        form = request.headers.get("content-type", "").split(";")[0].strip().lower()
        upload = await asyncio.to_thread(_read, body, form) if len(body) > 65_536 else _read(body, form)
        limit.check(upload.session, "session")
        corrector.check(upload)
        digest = hashlib.blake2b(body, digest_size=16).digest()
        answer = kept.get(digest)
        if answer is None:
            answer = await batcher.run(upload)
            kept.put(digest, answer)
        return _written(answer, form)


class _Kept:
    """Answers by the digest of the whole upload, for a short while; the uploads themselves are not kept."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def get(self, digest: bytes) -> Answer | None:
        until, answer = self._answers.get(digest, (0.0, None))
        return answer if time.monotonic() < until else None

    def put(self, digest: bytes, answer: Answer) -> None:
        if not self._seconds:
            return
        now = time.monotonic()
        self._answers[digest] = (now + self._seconds, answer)
        while self._answers and (len(self._answers) > self._most or next(iter(self._answers.values()))[0] < now):
            self._answers.popitem(last=False)


def _read(body: bytes, form: str) -> Upload:
    if form == CONTENT_TYPE:
        return Upload.from_bytes(body)
    if form != "application/json":
        raise MediaTypeError(
            f"An upload cannot come as {form[:60] or 'nothing'!r}.",
            remedy=f"Send application/json or {CONTENT_TYPE}.",
        )
    try:
        return CorrectionBody.model_validate_json(body).upload()
    except ValidationError as error:
        raise ConfigError(f"The body is not valid: {error.errors()[0]['msg']}.") from None


def _written(answer: Answer, form: str) -> Response:
    if form == CONTENT_TYPE:
        return Response(answer.to_bytes(), media_type=CONTENT_TYPE)
    return Response(CorrectionAnswer.of(answer).model_dump_json(), media_type="application/json")


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": CorrectionBody.model_json_schema()}, CONTENT_TYPE: _BINARY},
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {CONTENT_TYPE: _BINARY}}}
