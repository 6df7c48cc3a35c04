"""The HTTP service of one recommender: ``/score``, ``/recommend``, and ``/v1/correction`` for devices.

What you evaluate is what you serve: the handlers call the same ``score`` and ``recommend`` as the Python interface.
An answer that is not a success has one form, ``{"error": {"code", "message", "remedy"}}``; a stack trace never
reaches a client, and nothing of a body reaches the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SecretStr

from palate.config import Config
from palate.errors import ConfigError, MissingExtraError
from palate.serve.bodies import (
    ErrorAnswer,
    HealthAnswer,
    ReadyAnswer,
    RecommendAnswer,
    RecommendBody,
    RecommendedItem,
    ScoreAnswer,
    ScoreBody,
)
from palate.serve.gate import BusyError, Gate
from palate.serve.metrics import ServiceMetrics

if TYPE_CHECKING:
    from fastapi import FastAPI

    from palate.recommender import Recommender
    from palate.serve.correction_config import CorrectionConfig
    from palate.serve.corrector import Corrector

__all__ = ["ServeConfig", "Serving", "create_app"]

Serving = Literal["all", "corrections", "recommendations"]


class ServeConfig(Config):
    """Limits of the service.

    Attributes:
        workers: Threads that run the model.
        max_queue: Requests that may wait; one more gets 503 with ``Retry-After``.
        seconds: Time limit of one request, waiting included (504 after it).
        max_bytes: Largest body (413 above it).
        body_seconds: Time within which a body must have come (408 after it).
        token: When given, every request but ``/health`` and ``/ready`` must carry ``Authorization: Bearer TOKEN``.
        tokens: Further tokens that are as good, each with a rate of its own.
        token_rate: Requests a second of one token; 0 for no limit (429 with ``Retry-After`` above it).
        token_burst: Requests of one token that may come at once.
    """

    workers: int = Field(1, ge=1)
    max_queue: int = Field(64, ge=0)
    seconds: float = Field(10.0, gt=0)
    max_bytes: int = Field(1_000_000, ge=1_000)
    body_seconds: float = Field(5.0, gt=0)
    token: SecretStr | None = Field(None, min_length=1)
    tokens: tuple[Annotated[SecretStr, Field(min_length=1)], ...] = ()
    token_rate: float = Field(0.0, ge=0)
    token_burst: int = Field(100, ge=1)

    def all_tokens(self) -> tuple[str, ...]:
        """Return the tokens in the clear, for the one place that compares them."""
        given = ([] if self.token is None else [self.token]) + list(self.tokens)
        return tuple(token.get_secret_value() for token in given)


def create_app(
    recommender: Recommender,
    config: ServeConfig | None = None,
    *,
    serving: Serving = "all",
    corrections: CorrectionConfig | None = None,
) -> FastAPI:
    """Return the ASGI application that serves ``recommender``.

    Args:
        recommender: A fitted recommender.
        config: Limits of the service.
        serving: ``all`` adds corrections for devices when the recommender is a CoCorrRec that has them;
            ``corrections`` serves nothing else; ``recommendations`` leaves them out.
        corrections: Limits of corrections.

    Raises:
        MissingExtraError: If FastAPI is not installed.
        ConfigError: If corrections alone are asked for and the recommender has none.
    """
    try:
        from fastapi import FastAPI
    except ImportError:
        raise MissingExtraError.needs("fastapi", "serve", "Serving over HTTP") from None
    from palate import __version__
    from palate.serve.correction_config import CorrectionConfig
    from palate.serve.correction_routes import add_corrections, largest_upload
    from palate.serve.guard import Guard, add_error_answers

    settings, metrics = config or ServeConfig(), ServiceMetrics()
    corrector = None if serving == "recommendations" else _corrector(recommender, demanded=serving == "corrections")
    gate = Gate(workers=settings.workers, max_queue=settings.max_queue, seconds=settings.seconds)
    metrics.watch("model", lambda: gate.inside)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        gate.close()
        if corrector is not None:
            app.state.batcher.close()

    app = FastAPI(
        title="Palate",
        version=__version__,
        description=f"{recommender.card.model} on {recommender.card.data.name}",
        lifespan=lifespan,
        responses={code: {"model": ErrorAnswer} for code in _REFUSALS},
    )
    app.state.gate, app.state.draining = gate, False
    sizes = {} if corrector is None else {"/v1/correction": largest_upload(corrector)}
    app.add_middleware(Guard, settings=settings, metrics=metrics, sizes=sizes)
    add_error_answers(app)
    _watching(app, recommender)
    metrics.add_to(app)
    if serving != "corrections":
        _routes(app, recommender, gate)
    if corrector is not None:
        add_corrections(app, corrector, corrections or CorrectionConfig(), metrics)
    return app


_REFUSALS = (400, 401, 408, 409, 411, 413, 415, 422, 429, 500, 503, 504)


def _corrector(recommender: Recommender, *, demanded: bool) -> Corrector | None:
    """Return what answers devices, if the recommender is a CoCorrRec with a part for the cloud."""
    model: Any = getattr(recommender, "model", None)
    if recommender.card.model == "cocorrrec" and model.config.mode != "base":
        from palate.serve.corrector import Corrector

        return Corrector(model)
    if demanded:
        raise ConfigError(
            f"This {recommender.card.model} has no corrections to serve.",
            remedy='Fit a "cocorrrec" of mode="causal", or leave --correction out.',
        )
    return None


def _watching(app: FastAPI, recommender: Recommender) -> None:
    card = recommender.card

    @app.get("/health")
    async def health() -> HealthAnswer:
        """Say that the process lives, and what it serves."""
        return HealthAnswer(status="ok", model=card.model, task=card.task, palate=card.palate)

    @app.get("/ready")
    async def ready() -> ReadyAnswer:
        """Say whether requests are welcome: not when the service is stopping or a queue is full."""
        if app.state.draining:
            raise BusyError("The service is stopping.", remedy="Ask another one.")
        batcher = getattr(app.state, "batcher", None)
        if app.state.gate.is_full or (batcher is not None and batcher.is_full):
            raise BusyError("A queue is full.", remedy="Try again in a second.")
        return ReadyAnswer(status="ready")


def _routes(app: FastAPI, recommender: Recommender, gate: Gate) -> None:
    @app.get("/card")
    async def card_of_the_model() -> dict[str, Any]:
        """Return the card: what it was trained on, how good, how calibrated, how costly."""
        return recommender.card.model_dump()

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
