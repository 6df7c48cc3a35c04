from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from palate.errors import ConfigError, DataError, ServiceError
from palate.llm.contract import Completion, LanguageModel, WriteConfig
from palate.llm.endpoint import Endpoint, EndpointConfig
from palate.llm.replies import CachedModel

Answer = tuple[int, dict[str, str], bytes]


def chat(text: Any, **usage: int) -> Answer:
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


class Server:
    """A server on the loopback that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer | Callable[[], Answer]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append({**body, "path": self.path})
                outer.headers.append(dict(self.headers))
                answer = outer.answers.pop(0)
                status, headers, content = answer() if callable(answer) else answer
                if not status:
                    return  # the connection breaks
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def model(self, **settings: Any) -> Endpoint:
        url = f"http://127.0.0.1:{self.server.server_port}/v1"
        return Endpoint(EndpointConfig(url=url, model="fake", pause=0.01, **settings), WriteConfig(max_tokens=7))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    known = Server()
    yield known
    known.server.shutdown()
    known.server.server_close()
    known.thread.join()


def test_a_prompt_is_one_turn_and_the_reply_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [chat("B.", prompt_tokens=11, completion_tokens=2), chat("C")]
    model = server.model()
    assert model.write("Which?") == Completion("B.", 11, 2)
    asked = server.asked[0]
    assert asked["path"] == "/v1/chat/completions"
    assert asked["messages"] == [{"role": "user", "content": "Which?"}]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("fake", 7, 0.0)
    assert "Authorization" not in server.headers[0]
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert model("Which?") == "C"
    assert server.headers[1]["Authorization"] == "Bearer secret"
    assert vars(model.counts) == {
        "prompts": 2,
        "tries": 2,
        "failed": 0,
        "prompt_tokens": 11,
        "written_tokens": 2,
    }


def test_passing_faults_are_tried_again(server: Server) -> None:
    server.answers = [(503, {}, b"busy"), (0, {}, b""), (200, {}, b"<html>"), chat("A")]
    model = server.model()
    assert model("Which?") == "A"
    assert (model.counts.prompts, model.counts.tries, model.counts.failed) == (1, 4, 0)


def test_the_server_says_how_long_to_wait(server: Server) -> None:
    server.answers = [(429, {"Retry-After": "0.3"}, b""), chat("A")]
    begun = time.monotonic()
    assert server.model()("Which?") == "A"
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("bad", [b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff"])
def test_what_is_no_reply_fails_with_a_count(server: Server, bad: bytes) -> None:
    server.answers = [(200, {}, bad)] * 2
    model = server.model(attempts=2)
    with pytest.raises(ServiceError, match="no chat completion"):
        model("Which?")
    assert (model.counts.tries, model.counts.failed) == (2, 1)


def test_a_refusal_is_not_tried_again(server: Server) -> None:
    server.answers = [(401, {}, b"who are you?")]
    model = server.model()
    with pytest.raises(ServiceError, match="401, 'who are you"):
        model("Which?")
    assert (model.counts.tries, model.counts.failed) == (1, 1)


def test_slow_servers_run_into_the_limits(server: Server) -> None:
    def slow() -> Answer:
        time.sleep(0.5)
        return chat("late")

    server.answers = [slow, slow, slow]
    begun = time.monotonic()
    with pytest.raises(ServiceError, match="timed out"):
        server.model(timeout=0.1, attempts=2)("Which?")
    with pytest.raises(ServiceError, match="gave no reply"):
        server.model(timeout=5, patience=0.1)("Which?")
    assert time.monotonic() - begun < 2


def test_nobody_there_and_no_address() -> None:
    with pytest.raises(ServiceError, match="gave no reply"):
        Endpoint(EndpointConfig(url="http://127.0.0.1:9/v1", model="x", attempts=1))("Which?")
    with pytest.raises(ConfigError, match="http"):
        Endpoint(EndpointConfig(url="file:///etc/passwd", model="x"))
    with pytest.raises(ConfigError, match="key_variable"):
        EndpointConfig(url="http://x", model="x", key_varable="K")  # type: ignore[call-arg]


class Counting(LanguageModel):
    name = "counting"
    calls = 0

    def write(self, prompt: str) -> Completion:
        self.calls += 1
        if prompt == "broken":
            raise ServiceError("no")
        return Completion(f"{prompt} {self.calls}", 3, 4)


def test_replies_are_kept_by_model_settings_and_prompt(tmp_path: Path) -> None:
    model = Counting()
    cached = CachedModel(model, tmp_path / "replies.sqlite")
    assert cached.write("a") == Completion("a 1", 3, 4)
    assert cached.write("a") == Completion("a 1", 3, 4, cached=True)
    assert cached("b") == "b 2"
    for _ in range(2):
        with pytest.raises(ServiceError):
            cached("broken")
    assert (cached.hits, cached.misses, model.calls) == (1, 4, 4)
    cached.close()
    again = CachedModel(Counting(), tmp_path / "replies.sqlite")
    assert again("b") == "b 2"
    other = CachedModel(Counting(WriteConfig(max_tokens=9)), tmp_path / "replies.sqlite")
    assert other("b") == "b 1"
    (tmp_path / "no.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match=r"no\.sqlite"):
        CachedModel(model, tmp_path / "no.sqlite")
