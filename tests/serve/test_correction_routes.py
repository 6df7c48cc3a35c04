"""The protocol over HTTP: both forms, what is refused and how, limits, and that nothing of a body is kept or logged."""

from __future__ import annotations

import base64
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from palate.card import Card, CostFacts, DataFacts
from palate.errors import ConfigError
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.correction_wire import CONTENT_TYPE, Answer, Upload
from palate.serve.app import ServeConfig, create_app
from palate.serve.correction_config import CorrectionConfig
from palate.serve.corrector import Corrector

DATA = DataFacts(
    name="tea", fingerprint="f", rows=10, users=3, items=4, split="by time", split_fingerprint="s",
    train=8, validation=1, test=1,
)  # fmt: skip
COST = CostFacts(training_seconds=1, epochs=1, parameters=1, megabytes=0.1)
SETTINGS = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 4, "sync_every": 4}


class Phone:
    """A fitted recommender as far as the service looks at it."""

    def __init__(self, mode: str = "causal", name: str = "cocorrrec") -> None:
        torch.manual_seed(0)
        self.model = CoCorrRec(30, CoCorrRecConfig(mode=mode, **SETTINGS)).eval()
        with torch.no_grad():
            self.model.item_embedding.weight.add_(torch.randn(31, 16))
        self.card = Card(
            model=name, task="next-item", palate="0.1", seed=0, settings={}, training={}, data=DATA, protocol="",
            cost=COST,
        )  # fmt: skip


@pytest.fixture(scope="module")
def phone() -> Phone:
    return Phone()


@pytest.fixture(scope="module")
def corrector(phone) -> Corrector:
    return Corrector(phone.model)


QUICK = CorrectionConfig(batch_milliseconds=0, session_rate=0)


@pytest.fixture(scope="module")
def client(phone):
    with TestClient(create_app(phone, corrections=QUICK), raise_server_exceptions=False) as client:
        yield client


def values_of(corrector: Corrector, length: int = 5, seed: int = 0) -> np.ndarray:
    items = torch.randint(1, 31, (1, length), generator=torch.Generator().manual_seed(seed))
    return corrector.model.hidden(items)[0].detach().numpy()


def body_of(corrector: Corrector, values: np.ndarray | None = None, **changes: object) -> dict[str, object]:
    values = values_of(corrector) if values is None else values
    body = {
        "model_version": corrector.versions.hidden,
        "session": "kq3v",
        "seq_no": 5,
        "dtype": "f32",
        "shape": list(values.shape),
        "hidden": base64.b64encode(values.astype("<f4").tobytes()).decode(),
        **changes,
    }
    return {key: value for key, value in body.items() if value is not None}


def array(body: dict[str, object]) -> np.ndarray:
    kind = {"f16": "<f2", "f32": "<f4"}[body["dtype"]]
    return np.frombuffer(base64.b64decode(body["data"]), kind).reshape(body["shape"])


def test_both_forms_get_the_correction_of_the_model(client, corrector):
    values = values_of(corrector)
    [own] = corrector.answer([Upload(corrector.versions.hidden, "s", 5, values, dtype="f32")])
    told = client.post("/v1/correction", json=body_of(corrector)).json()
    assert (told["model_version"], told["seq_no"], told["ttl_steps"]) == (corrector.versions.hidden, 5, 12)
    assert (told["P"], told["Q"]) == (0.0, 0.25)
    np.testing.assert_allclose(array(told["dA"]), own.attention, atol=1e-6)
    np.testing.assert_allclose(array(told["db"]), own.bias, atol=1e-6)
    upload = Upload(corrector.versions.hidden, "s", 5, values)
    answer = client.post("/v1/correction", content=upload.to_bytes(), headers={"Content-Type": CONTENT_TYPE})
    assert answer.headers["content-type"] == CONTENT_TYPE
    read = Answer.from_bytes(answer.content)
    np.testing.assert_allclose(read.attention, own.attention, atol=2e-3)
    np.testing.assert_allclose(read.bias, own.bias, atol=2e-3)


def test_the_same_upload_gets_the_same_answer(client, corrector):
    body = body_of(corrector)
    assert client.post("/v1/correction", json=body).json() == client.post("/v1/correction", json=body).json()


def test_summaries_are_taken_too(client, corrector):
    values = values_of(corrector)
    both = torch.stack([part[0, -1] for part in corrector.model.gcn.summaries(torch.from_numpy(values)[None])])
    body = body_of(
        corrector, hidden=None, shape=[2, 64], model_version=corrector.versions.summary,
        summary=base64.b64encode(both.detach().numpy().astype("<f4").tobytes()).decode(),
    )  # fmt: skip
    told, same = (client.post("/v1/correction", json=given).json() for given in (body, body_of(corrector)))
    np.testing.assert_allclose(array(told["dA"]), array(same["dA"]), atol=1e-5)


def test_the_facts_say_what_uploads_must_be(client, corrector):
    facts = client.get("/v1/correction").json()
    assert facts["protocol"] == 1
    assert (facts["model_version"], facts["summary_version"]) == corrector.versions
    assert (facts["shape"], facts["embedding_size"], facts["ttl_steps"]) == ([2, 4, 8], 16, 12)
    assert facts["max_items"] == 1000


def nan_body(corrector):
    values = values_of(corrector).copy()
    values[0, 0] = np.nan
    return body_of(corrector, values)


@pytest.mark.parametrize(
    ("change", "status", "mention"),
    [
        (lambda c: body_of(c, model_version="0" * 16), 409, "the device has model 0000"),
        (lambda c: body_of(c, np.zeros((5, 8), np.float32)), 422, "width 8; this model has D = 16"),
        (lambda c: body_of(c, np.zeros((1001, 16), np.float32)), 422, "n from 1 to 1000"),
        (lambda c: body_of(c, shape=[0, 16], hidden=""), 422, "n from 1 to 1000"),
        (nan_body, 422, "NaN or infinite"),
        (lambda c: body_of(c, shape=[4, 16]), 422, "320 bytes; [4, 16] in f32 are 256"),
        (lambda c: body_of(c, dtype="f64"), 422, "dtype"),
        (lambda c: body_of(c, hidden="!!"), 422, "not base64"),
        (lambda c: body_of(c, hidden=None), 422, "exactly one of hidden and summary"),
        (lambda c: body_of(c, summary=""), 422, "exactly one of hidden and summary"),
        (lambda c: body_of(c, seq_no=-1), 422, "seq_no"),
        (lambda c: body_of(c, seq_no="5"), 422, "seq_no"),
        (lambda c: body_of(c, session="a b"), 422, "session"),
        (lambda c: body_of(c, session=None), 422, "session"),
        (lambda c: body_of(c, hiden="AAAA"), 422, 'did you mean "hidden"'),
        (lambda c: body_of(c, seqno=3), 422, 'did you mean "seq_no"'),
        (lambda c: [1, 2], 422, "valid"),
    ],
)
def test_what_is_wrong_is_said_once_and_clearly(client, corrector, change, status, mention):
    answer = client.post("/v1/correction", json=change(corrector))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert mention in f"{error['message']} {error['remedy']}".lower().replace("nan", "NaN").replace("d = 16", "D = 16")
    assert len(answer.content) < 2500


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"a": NaN}', b"[" * 5000, b"\xff\xfe", b'{"\\ud800": 1}'])
def test_bodies_that_are_not_json_are_refused(client, content):
    answer = client.post("/v1/correction", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "P100"


def test_other_kinds_of_bodies_and_damaged_binary_ones_are_refused(client, corrector):
    assert client.post("/v1/correction", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post("/v1/correction", content=b"x").status_code == 415
    good = Upload(corrector.versions.hidden, "s", 5, values_of(corrector)).to_bytes()
    for bad, mention in ((good[:-1], "bytes"), (b"XXXX" + good[4:], "PCQ1"), (good[:72] + b"\x00\x7c" * 80, "NaN")):
        answer = client.post("/v1/correction", content=bad, headers={"Content-Type": CONTENT_TYPE})
        assert answer.status_code == 422
        assert mention in answer.json()["error"]["message"] + answer.json()["error"]["remedy"]


def test_large_bodies_are_refused_by_their_length(client, corrector):
    most = 4 * 1000 * 16 * 4 // 3 + 4096
    for length, status in ((most, 422), (most + 1, 413)):
        answer = client.post("/v1/correction", content=b"x" * length, headers={"Content-Type": CONTENT_TYPE})
        assert answer.status_code == status
    whole = body_of(corrector, values_of(corrector, 1000))
    assert client.post("/v1/correction", json=whole).status_code == 200


def test_one_session_has_a_rate_and_others_do_not_feel_it(phone, corrector):
    config = CorrectionConfig(batch_milliseconds=0, session_rate=0.5, session_burst=2)
    with TestClient(create_app(phone, corrections=config)) as client:
        answers = [client.post("/v1/correction", json=body_of(corrector)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "2"
        assert answers[2].json()["error"]["code"] == "P508"
        assert client.post("/v1/correction", json=body_of(corrector, session="other")).status_code == 200


def test_many_devices_get_their_own_answers_in_few_batches(phone, corrector):
    config = CorrectionConfig(batch_milliseconds=50, session_rate=0)
    uploads = [
        Upload(corrector.versions.hidden, f"s{seed}", seed, values_of(corrector, 1 + seed % 9, seed), dtype="f32")
        for seed in range(48)
    ]
    with TestClient(create_app(phone, corrections=config)) as client, ThreadPoolExecutor(16) as pool:

        def ask(upload: Upload) -> Answer:
            told = client.post("/v1/correction", content=upload.to_bytes(), headers={"Content-Type": CONTENT_TYPE})
            return Answer.from_bytes(told.content)

        answers = list(pool.map(ask, uploads))
        metrics = client.get("/metrics").text
    own = corrector.answer(uploads)
    for answer, expected in zip(answers, own, strict=True):
        assert answer.seq_no == expected.seq_no
        np.testing.assert_allclose(answer.attention, expected.attention, atol=1e-5)
        np.testing.assert_allclose(answer.bias, expected.bias, atol=1e-5)
    assert "palate_correction_batch_size_sum 48.0" in metrics
    batches = float(metrics.split("palate_correction_batch_size_count ")[1].split()[0])
    assert batches <= 24
    assert 'palate_requests_total{route="/v1/correction",status="200"} 48.0' in metrics


def test_a_full_queue_and_a_slow_model_are_told(phone, corrector, monkeypatch):
    door = threading.Event()
    answer = Corrector.answer

    def held(self, uploads):
        door.wait(5)
        return answer(self, uploads)

    monkeypatch.setattr(Corrector, "answer", held)
    config = CorrectionConfig(batch_milliseconds=0, session_rate=0, max_batch=1, max_queue=1, seconds=0.3)
    app = create_app(phone, corrections=config)
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/v1/correction", json=body_of(corrector)) for _ in range(2)]
        while not app.state.batcher.is_full:
            pass
        busy = client.post("/v1/correction", json=body_of(corrector))
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        assert [future.result().status_code for future in waiting] == [504, 504]
        door.set()
        assert client.post("/v1/correction", json=body_of(corrector)).status_code == 200
        assert client.get("/ready").status_code == 200


def test_a_fault_shows_no_trace_and_logs_no_body(phone, corrector, monkeypatch, caplog):
    def broken(self, uploads):
        raise RuntimeError(f"a secret: {uploads[0].session}")

    monkeypatch.setattr(Corrector, "answer", broken)
    caplog.set_level(logging.DEBUG)
    with TestClient(create_app(phone, corrections=QUICK), raise_server_exceptions=False) as client:
        answer = client.post("/v1/correction", json=body_of(corrector, session="very-private"))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "very-private" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_refusals_log_nothing_of_the_body(client, corrector, caplog):
    caplog.set_level(logging.DEBUG)
    client.post("/v1/correction", json=body_of(corrector, session="very-private", hiden="x"))
    client.post("/v1/correction", json=body_of(corrector, session="very-private", model_version="0"))
    assert "very-private" not in caplog.text


def test_nothing_is_kept_unless_asked_for(phone, corrector, monkeypatch):
    calls = []
    answer = Corrector.answer
    monkeypatch.setattr(Corrector, "answer", lambda self, uploads: calls.append(1) or answer(self, uploads))
    for keep, computed in ((0.0, 2), (60.0, 1)):
        calls.clear()
        config = CorrectionConfig(batch_milliseconds=0, session_rate=0, keep_seconds=keep, keep_answers=1)
        with TestClient(create_app(phone, corrections=config)) as client:
            first = client.post("/v1/correction", json=body_of(corrector))
            again = client.post("/v1/correction", json=body_of(corrector))
            assert first.content == again.content
            assert len(calls) == computed
            # the same session and number with another body is another upload
            other = client.post("/v1/correction", json=body_of(corrector, values_of(corrector, 4)))
            assert other.json()["dA"] != first.json()["dA"]
            assert len(calls) == computed + 1


def test_a_wait_longer_than_the_limit_is_refused():
    with pytest.raises(ConfigError, match="a batch waits 1000 ms, and an answer may take 1 s"):
        CorrectionConfig(batch_milliseconds=1000)


def test_corrections_are_served_where_there_are_some(phone):
    def paths(recommender, serving="all"):
        return set(TestClient(create_app(recommender, serving=serving)).get("/openapi.json").json()["paths"])

    assert "/v1/correction" in paths(phone)
    assert "/recommend" in paths(phone)
    assert "/v1/correction" not in paths(phone, "recommendations")
    assert paths(phone, "corrections") == {"/health", "/ready", "/metrics", "/v1/correction"}
    assert "/v1/correction" not in paths(Phone(mode="base"))
    with pytest.raises(ConfigError, match=r"no corrections to serve.*causal"):
        create_app(Phone(mode="base"), serving="corrections")
    with pytest.raises(ConfigError, match="This sasrec has no corrections"):
        create_app(Phone(name="sasrec"), serving="corrections")


def test_the_token_guards_corrections_too(phone, corrector):
    app = create_app(phone, ServeConfig(tokens=("one", "two")), corrections=QUICK)
    with TestClient(app) as client:
        assert client.get("/v1/correction").status_code == 401
        answer = client.post("/v1/correction", json=body_of(corrector), headers={"Authorization": "Bearer three"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        for token in ("one", "two"):
            head = {"Authorization": f"Bearer {token}"}
            assert client.post("/v1/correction", json=body_of(corrector), headers=head).status_code == 200
