"""Requests drawn from the interface's own description: never a 500, and every answer is one that it describes."""

from __future__ import annotations

import numpy as np
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from palate.card import Card, CostFacts, DataFacts
from palate.errors import UnknownItemError
from palate.recommender import Recommendation, RecommendedList, Scores
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.correction_wire import CONTENT_TYPE
from palate.serve.app import ServeConfig, create_app
from palate.serve.correction_config import CorrectionConfig

CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance)


class Phone:
    """A recommender of all routes: its scores are lengths of names, and some items are unknown."""

    card = Card(
        model="cocorrrec", task="next-item", palate="0.1", seed=0, settings={}, training={}, protocol="",
        cost=CostFacts(training_seconds=1, epochs=1, parameters=1, megabytes=0.1),
        data=DataFacts(
            name="tea", fingerprint="f", rows=10, users=3, items=4, split="by time", split_fingerprint="s",
            train=8, validation=1, test=1,
        ),
    )  # fmt: skip

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = CoCorrRecConfig(embedding_size=16, num_heads=2, mini_batch_size=4)
        self.model = CoCorrRec(30, config).eval()

    def score(self, rows):
        if any("item" not in row for row in rows):
            raise UnknownItemError("A row has no item.", remedy="Name one.")
        return Scores(np.array([float(len(str(row["item"]))) for row in rows]))

    def recommend(self, *, user, history, k, exclude_seen, unknown):
        items = [Recommendation(rank, rank, None, 1.0 / rank) for rank in range(1, k + 1)]
        return RecommendedList(items, user_known=False, ignored=history or [])


APP = create_app(
    Phone(), ServeConfig(body_seconds=30), corrections=CorrectionConfig(batch_milliseconds=0, session_rate=0)
)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@schemathesis.serializer(CONTENT_TYPE)
def as_it_is(ctx, value):
    return value.data if hasattr(value, "data") else bytes(value)


def examples(count: int):
    """Return settings for ``count`` drawn requests per route."""
    skipped = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=skipped)


@SCHEMA.parametrize()
@examples(8)
def test_a_few_drawn_requests(case):
    case.call_and_validate(checks=CHECKS)


@pytest.mark.slow
@SCHEMA.parametrize()
@examples(300)
def test_many_drawn_requests(case):
    case.call_and_validate(checks=CHECKS)
