"""The service, through its real ASGI app: the library's answers, limits, and one form of errors."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient

from palate.card import Card, CostFacts, DataFacts
from palate.errors import UnknownItemError
from palate.recommender import Recommendation, RecommendedList, Scores
from palate.serve.app import ServeConfig, create_app

DATA = DataFacts(
    name="tea", fingerprint="f", rows=10, users=3, items=4, split="by time", split_fingerprint="s",
    train=8, validation=1, test=1,
)  # fmt: skip
COST = CostFacts(training_seconds=1, epochs=1, parameters=1, megabytes=0.1)


class Fake:
    """A recommender whose every answer is known, and that can be held up."""

    card = Card(
        model="fm", task="rank", palate="0.1", seed=0, settings={}, training={}, data=DATA, protocol="", cost=COST
    )

    def __init__(self):
        self.door = threading.Event()
        self.door.set()

    def score(self, rows):
        self.door.wait(5)
        if rows[0].get("item") == "explode":
            raise RuntimeError("a secret of the machine")
        if rows[0].get("item") == "nowhere":
            raise UnknownItemError("There is no item nowhere.", remedy="Name one of the catalogue.")
        values = np.array([float(row["item"]) for row in rows])
        return Scores(values, 1 / (1 + np.exp(-values)))

    def recommend(self, *, user, history, k, exclude_seen, unknown):
        assert unknown == "ignore"
        items = [Recommendation(rank, rank * 10, f"title {rank}", 1.0 / rank) for rank in range(1, k + 1)]
        return RecommendedList(items, user_known=user == 1, ignored=[h for h in history or () if h == "x"])


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def client(fake):
    with TestClient(create_app(fake), raise_server_exceptions=False) as client:
        yield client


def test_health_and_card_say_what_is_served(client):
    assert client.get("/health").json() == {"status": "ok", "model": "fm", "task": "rank", "palate": "0.1"}
    assert client.get("/card").json()["data"]["name"] == "tea"


def test_scores_are_the_recommenders_own_in_order(client, fake):
    rows = [{"user": 1, "item": 3}, {"user": 1, "item": -2}]
    answer = client.post("/score", json={"rows": rows}).json()
    own = fake.score(rows)
    assert answer["scores"] == own.scores.tolist()
    assert answer["probabilities"] == own.probabilities.tolist()


def test_recommendations_tell_what_was_not_known(client):
    answer = client.post("/recommend", json={"user": 9, "history": ["a", "x"], "k": 2}).json()
    assert [item["item"] for item in answer["items"]] == [10, 20]
    assert answer["user_known"] is False
    assert answer["ignored"] == ["x"]


@pytest.mark.parametrize(
    ("path", "body", "mention"),
    [
        ("/score", {"rowz": []}, 'Did you mean "rows"'),
        ("/score", {"rows": []}, "rows"),
        ("/recommend", {"user": 1, "k": 0}, "k = 0"),
        ("/recommend", {"user": 1, "exclude_sen": True}, 'Did you mean "exclude_seen"'),
        ("/score", {"rows": [{"item": "nowhere"}]}, "catalogue"),
    ],
)
def test_a_wrong_body_gets_422_with_code_message_and_remedy(client, path, body, mention):
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"].startswith("P")
    assert mention in error["message"] + error["remedy"]


def test_broken_json_and_unknown_paths_have_the_same_form(client):
    broken = client.post("/score", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 422
    assert "error" in broken.json()
    missing = client.get("/skore")
    assert missing.status_code == 404
    assert "error" in missing.json()


def test_a_fault_of_ours_shows_no_trace(client):
    answer = client.post("/score", json={"rows": [{"item": "explode"}]})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["code"] == "P500"


def test_large_bodies_are_refused_before_they_are_read(fake):
    app = create_app(fake, ServeConfig(max_bytes=1000))
    with TestClient(app) as client:
        assert client.post("/score", json={"rows": [{"item": 1}] * 500}).status_code == 413


def test_a_token_is_demanded_of_all_but_health(fake):
    with TestClient(create_app(fake, ServeConfig(token="open sesame"))) as client:
        body = {"rows": [{"item": 1}]}
        assert client.get("/health").status_code == 200
        assert client.post("/score", json=body).status_code == 401
        assert client.post("/score", json=body, headers={"Authorization": "Bearer no"}).status_code == 401
        assert client.post("/score", json=body, headers={"Authorization": "Bearer open sesame"}).status_code == 200


def test_a_full_queue_says_so_at_once_and_empties_again(fake):
    app = create_app(fake, ServeConfig(workers=1, max_queue=2))
    body = {"rows": [{"item": 1}]}
    with TestClient(app) as client, ThreadPoolExecutor(8) as pool:
        fake.door.clear()
        waiting = [pool.submit(client.post, "/score", json=body) for _ in range(3)]
        deadline = time.monotonic() + 5
        while app.state.gate.inside < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = client.post("/score", json=body)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        fake.door.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200, 200]
        assert client.post("/score", json=body).status_code == 200


def test_a_slow_answer_ends_in_504_and_keeps_its_place_until_done(fake):
    app = create_app(fake, ServeConfig(seconds=0.05))
    with TestClient(app) as client:
        fake.door.clear()
        assert client.post("/score", json={"rows": [{"item": 1}]}).status_code == 504
        assert app.state.gate.inside == 1
        fake.door.set()
        deadline = time.monotonic() + 5
        while app.state.gate.inside and time.monotonic() < deadline:
            time.sleep(0.01)
        assert app.state.gate.inside == 0


def test_the_interface_describes_itself(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/health", "/ready", "/metrics", "/card", "/score", "/recommend"}
    assert "ErrorAnswer" in client.get("/openapi.json").text


def test_a_row_carries_the_context_of_its_probability():
    import palate
    from palate.testing.recommenders import small_log

    ranker = palate.fit(small_log(), "lr", training={"epochs": 1}, calibrate="platt-per-field", context=["odd", "hour"])
    rows = [{"user": 1, "item": 3, "time": 1_600_000_000}, {"user": 1, "item": 3, "time": 1_600_040_000}]
    with TestClient(create_app(ranker)) as client:
        answer = client.post("/score", json={"rows": rows}).json()
        assert answer["probabilities"] == ranker.score(rows).probabilities.tolist()
        facts = client.get("/card").json()["calibration"]
        assert facts["context"] == ["odd", "hour"]
        assert facts["fields"][0]["worst"]
