"""What stands before the handlers, as the network sees it: message by message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from palate.errors import ConfigError
from palate.serve.app import ServeConfig
from palate.serve.guard import Guard
from palate.serve.metrics import ServiceMetrics


def guarded(app: Any, sizes: dict[str, int] | None = None, **settings: Any) -> tuple[Guard, ServiceMetrics]:
    metrics = ServiceMetrics()
    return Guard(app, settings=ServeConfig(**settings), metrics=metrics, sizes=sizes or {}), metrics


async def echo(scope, receive, send):
    """Answer with the body, whole."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(
    guard: Guard, parts: list[bytes], *, wait: float = 0.0, headers: dict[str, str] | None = None, path: str = "/x"
):
    """Send a body in ``parts``, ``wait`` seconds apart; return status, headers and body."""
    length = {"content-length": str(sum(map(len, parts)))}
    given = {key: value for key, value in {**length, **(headers or {})}.items() if value}
    scope = {
        "type": "http", "method": "POST", "path": path,
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
    }  # fmt: skip
    left, sent = list(parts), []

    async def receive():
        await asyncio.sleep(wait)
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    if not sent:
        return None, {}, b""
    heads = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], heads, b"".join(message.get("body", b"") for message in sent)


def test_a_body_in_parts_arrives_whole():
    guard, _ = guarded(echo)
    assert ask(guard, [b"one ", b"two ", b"three"]) == (200, {}, b"one two three")


def test_a_body_that_drips_is_ended_in_time():
    guard, _ = guarded(echo, body_seconds=0.05)
    status, _, body = ask(guard, [b"x"] * 100, wait=0.01)
    assert status == 408
    assert "0.05 s" in json.loads(body)["error"]["message"]


def test_a_client_that_goes_away_is_not_answered():
    guard, metrics = guarded(echo)
    assert ask(guard, [], headers={"content-length": "5"})[0] is None
    assert b"palate_requests_total{" not in exposed(metrics)


def test_sizes_are_looked_at_before_and_while_a_body_comes():
    guard, _ = guarded(echo, sizes={"/small": 10}, max_bytes=1000)
    assert ask(guard, [b"x" * 1000])[0] == 200
    assert ask(guard, [b"x" * 1001])[0] == 413
    assert ask(guard, [b"x" * 11], path="/small")[0] == 413
    assert ask(guard, [b"x" * 11], headers={"content-length": "5"}, path="/small")[0] == 413  # a lie
    assert ask(guard, [b"x"], headers={"content-length": "9" * 40})[0] == 413
    assert ask(guard, [b"x"], headers={"content-length": "٣"})[0] == 411
    assert ask(guard, [b"x"], headers={"content-length": ""})[0] == 411
    assert ask(guard, [b"x"], headers={"content-length": "", "transfer-encoding": "chunked"})[0] == 411


@pytest.mark.parametrize(
    ("header", "status"),
    [("Bearer two", 200), ("bearer two", 200), ("Bearer one", 200), ("Bearer tw", 401), ("Bearer two2", 401),
     ("Basic two", 401), ("two", 401), ("Bearer ", 401), ("", 401)],
)  # fmt: skip
def test_one_of_the_tokens_is_demanded(header, status):
    guard, _ = guarded(echo, token="one", tokens=("two",))
    assert ask(guard, [b"x"], headers={"authorization": header})[0] == status


def test_tokens_are_not_shown_and_not_empty():
    settings = ServeConfig(token="open sesame", tokens=("other",))
    assert "sesame" not in f"{settings!r} {settings.model_dump_json()}"
    assert settings.all_tokens() == ("open sesame", "other")
    with pytest.raises(ConfigError):
        ServeConfig(token="")
    with pytest.raises(ConfigError):
        ServeConfig(tokens=("fine", ""))


def test_each_token_has_a_rate_of_its_own():
    guard, _ = guarded(echo, tokens=("one", "two"), token_rate=0.1, token_burst=2)
    one = [ask(guard, [b"x"], headers={"authorization": "Bearer one"}) for _ in range(3)]
    assert [status for status, _, _ in one] == [200, 200, 429]
    assert one[2][1]["retry-after"] == "10"
    assert ask(guard, [b"x"], headers={"authorization": "Bearer two"})[0] == 200


def exposed(metrics: ServiceMetrics) -> bytes:
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry)


def test_a_fault_is_one_form_of_answer_and_is_counted(caplog):
    async def broken(scope, receive, send):
        raise RuntimeError(f"a secret: {(await receive())['body']!r}")

    guard, metrics = guarded(broken)
    status, _, body = ask(guard, [b"very-private"])
    assert status == 500
    assert json.loads(body)["error"]["code"] == "P500"
    assert b"secret" not in body
    assert "RuntimeError" in caplog.text
    assert "very-private" not in caplog.text
    assert b'palate_requests_total{route="other",status="500"} 1.0' in exposed(metrics)


def test_half_an_answer_is_not_followed_by_another():
    async def breaking(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    guard, _ = guarded(breaking)
    with pytest.raises(RuntimeError, match="in the middle"):
        ask(guard, [b"x"])


def test_what_is_not_http_passes():
    async def lifespan(scope, receive, send):
        await send({"type": scope["type"]})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guarded(lifespan)[0]({"type": "lifespan"}, None, send))
    assert sent == [{"type": "lifespan"}]


def test_the_application_behind_sees_its_paths():
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/things/{number}")
    async def things(number: int) -> int:
        return number

    metrics = ServiceMetrics()
    app.add_middleware(Guard, settings=ServeConfig(), metrics=metrics, sizes={})
    client = TestClient(app)
    assert client.get("/things/7").json() == 7
    assert client.get("/nothing").status_code == 404
    text = exposed(metrics)
    assert b'palate_requests_total{route="/things/{number}",status="200"} 1.0' in text
    assert b'palate_requests_total{route="other",status="404"} 1.0' in text
