"""Whatever the cloud does, a device gets a right correction in time or goes on without."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from palate.device.correction_client import CorrectionClient
from palate.device.upload_noise import UploadNoise
from palate.errors import ConfigError
from palate.sequence.correction_wire import CONTENT_TYPE, Answer, Upload

VERSION = "0123456789abcdef"
SHAPE = (2, 4, 8)
HIDDEN = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
SLACK = 1.0  # what a busy machine may add to a timeout

Reply = Callable[[socket.socket, bytes], None]


def read_request(connection: socket.socket) -> bytes:
    """Return one whole request, or nothing when the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")).split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def cloud(reply: Reply) -> Iterator[str]:
    """Run a server on which every request is answered by ``reply``; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve_one(connection: socket.socket) -> None:
        try:
            while request := read_request(connection):
                reply(connection, request)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


def answer_to(request: bytes, **changes: object) -> bytes:
    """Return the right answer to a request, or one with ``changes``."""
    upload = Upload.from_bytes(request.partition(b"\r\n\r\n")[2])
    heads, tokens, width = SHAPE
    given = {
        "model_version": upload.model_version, "seq_no": upload.seq_no, "ttl_steps": 12,
        "attention": np.full((heads, tokens, tokens), upload.values.sum(), np.float32),
        "bias": np.ones((heads, tokens, width), np.float32),
        "attention_weight": 0.5, "bias_weight": 0.25, "dtype": "f32",
    }  # fmt: skip
    return Answer(**{**given, **changes}).to_bytes()


def http(body: bytes, status: str = "200 OK", kind: str = CONTENT_TYPE, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def right(connection: socket.socket, request: bytes) -> None:
    connection.sendall(http(answer_to(request)))


def says(data: bytes) -> Reply:
    return lambda connection, _: connection.sendall(data)


def made(url: str, **settings: object) -> CorrectionClient:
    return CorrectionClient(url, **{"model_version": VERSION, "shape": SHAPE, "timeout": 3.0, **settings})


def asked(reply: Reply, **settings: object) -> tuple[object, CorrectionClient, float]:
    with cloud(reply) as url:
        client = made(url, **settings)
        start = time.monotonic()
        correction = client.request(HIDDEN, 5)
        return correction, client, time.monotonic() - start


def test_a_correction_arrives_with_what_the_device_needs():
    requests = []

    def reply(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        right(connection, request)

    correction, client, _ = asked(reply, token="secret", dtype="f32")
    assert (correction.seq_no, correction.ttl_steps) == (5, 12)
    assert (correction.attention_weight, correction.bias_weight) == (0.5, 0.25)
    np.testing.assert_allclose(correction.attention, np.full((2, 4, 4), HIDDEN.sum()), rtol=1e-6)
    assert correction.bias.shape == SHAPE
    assert dict(client.outcomes) == {"ok": 1}
    head = requests[0].partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("POST /v1/correction HTTP/1.1\r\n")
    assert "Authorization: Bearer secret" in head
    assert "secret" not in repr(client)
    sent = Upload.from_bytes(requests[0].partition(b"\r\n\r\n")[2])
    assert (sent.kind, sent.seq_no, sent.model_version) == ("hidden", 5, VERSION)
    np.testing.assert_array_equal(sent.values, HIDDEN)


def test_one_connection_serves_many_requests_and_a_dropped_one_is_opened_again():
    ports = []

    def reply(connection: socket.socket, request: bytes) -> None:
        ports.append(connection.getpeername()[1])
        right(connection, request)
        if len(ports) == 3:
            connection.shutdown(socket.SHUT_RDWR)  # as a server does with an idle connection

    with cloud(reply) as url, made(url) as client:
        for seq_no in range(5):
            assert client.request(HIDDEN, seq_no).seq_no == seq_no
            time.sleep(0.02)
    assert len(set(ports[:3])) == len(set(ports[3:])) == 1
    assert ports[0] != ports[3]
    assert dict(client.outcomes) == {"ok": 5}


def silent(connection: socket.socket, request: bytes) -> None:
    time.sleep(4)


def late(connection: socket.socket, request: bytes) -> None:
    time.sleep(0.6)
    connection.sendall(http(answer_to(request)))


def dripping(connection: socket.socket, request: bytes) -> None:
    for byte in http(answer_to(request)):
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


def dripping_head(connection: socket.socket, request: bytes) -> None:
    while True:
        connection.sendall(b"H")
        time.sleep(0.01)


@pytest.mark.parametrize("reply", [silent, late, dripping, dripping_head])
def test_a_slow_cloud_costs_no_more_than_the_timeout(reply):
    correction, client, seconds = asked(reply, timeout=0.3)
    assert correction is None
    assert client.outcomes["timeout"] == 1
    assert seconds < 0.3 + SLACK


def test_a_cloud_that_never_accepts_costs_no_more_than_the_timeout():
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    crowd = []
    try:
        for _ in range(4):  # fill what the system accepts on its own
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            crowd.append(one)
        client = made(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
        start = time.monotonic()
        assert client.request(HIDDEN, 5) is None
        assert time.monotonic() - start < 0.3 + SLACK
        assert client.outcomes["timeout"] == 1
    finally:
        for one in [*crowd, listener]:
            one.close()


def test_a_late_answer_is_never_taken_for_the_next_one():
    calls = []

    def reply(connection: socket.socket, request: bytes) -> None:
        calls.append(connection.getpeername()[1])
        if len(calls) == 1:
            time.sleep(0.5)
        right(connection, request)

    now = [0.0]
    with cloud(reply) as url:
        client = made(url, timeout=0.3, clock=lambda: now[0])
        assert client.request(HIDDEN, 1) is None
        now[0] += 10
        client.timeout = 3.0
        assert client.request(HIDDEN, 2).seq_no == 2
    assert len(set(calls)) == 2


def test_nobody_there_is_told_at_once():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    client = made(f"http://127.0.0.1:{port}")
    assert client.request(HIDDEN, 5) is None
    assert client.outcomes["unreachable"] == 1


def test_a_name_that_nobody_knows_costs_no_more_than_the_timeout(monkeypatch):
    def slow(*_, **__):
        time.sleep(4)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = made("https://cloud.invalid", timeout=0.3)
    start = time.monotonic()
    assert client.request(HIDDEN, 5) is None
    assert time.monotonic() - start < 0.3 + SLACK
    assert client.outcomes["timeout"] == 1


def cut(connection: socket.socket, request: bytes) -> None:
    connection.sendall(http(answer_to(request))[:-7])
    connection.shutdown(socket.SHUT_RDWR)


def nan_answer(connection: socket.socket, request: bytes) -> None:
    connection.sendall(http(answer_to(request)[:48] + struct.pack("<f", np.nan) + answer_to(request)[52:]))


def changed(**changes: object) -> Reply:
    return lambda connection, request: connection.sendall(http(answer_to(request, **changes)))


@pytest.mark.parametrize(
    "reply",
    [
        says(b"hello\r\n\r\n"),
        says(b"\x00" * 9000),
        says(b"HTTP/1.1 2x0 OK\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nlonger"),
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        says(http(b"not a correction")),
        says(http(b"<html>", kind="text/html")),
        cut,
        nan_answer,
        changed(seq_no=4),
        changed(bias=np.ones((2, 4, 9), np.float32)),
        changed(attention=np.ones((2, 5, 5), np.float32)),
    ],
)
def test_what_is_not_the_answer_is_not_taken(reply):
    correction, client, seconds = asked(reply)
    assert correction is None
    assert dict(client.outcomes) == {"garbled": 1}
    assert seconds < 3.0  # told at once, not after the timeout


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("409 Conflict", "version"),
        ("429 Too Many Requests", "limited"),
        ("503 Service Unavailable", "limited"),
        ("504 Gateway Timeout", "timeout"),
        ("401 Unauthorized", "refused"),
        ("422 Unprocessable", "refused"),
        ("500 Internal Server Error", "refused"),
        ("302 Found", "refused"),
    ],
)
def test_refusals_are_counted_by_kind(status, outcome):
    correction, client, _ = asked(says(http(b"{}", status=status, kind="application/json")))
    assert correction is None
    assert dict(client.outcomes) == {outcome: 1}


def test_an_answer_of_another_model_is_not_taken():
    correction, client, _ = asked(changed(model_version="f" * 16))
    assert correction is None
    assert dict(client.outcomes) == {"version": 1}


def test_after_a_failure_nothing_is_asked_for_a_while_and_scoring_is_not_delayed():
    calls, now = [], [0.0]

    def reply(connection: socket.socket, request: bytes) -> None:
        calls.append(1)
        connection.sendall(http(b"{}", status="500 Oh"))

    with cloud(reply) as url:
        client = made(url, first_wait=10.0, clock=lambda: now[0])
        client.request(HIDDEN, 1)
        start = time.monotonic()
        assert [client.request(HIDDEN, seq_no) for seq_no in range(2000)] == [None] * 2000
        assert time.monotonic() - start < SLACK
        now[0] = 10.0
        client.request(HIDDEN, 2)
        now[0] = 24.9  # the second wait is 15 to 20 seconds
        client.request(HIDDEN, 3)
        now[0] = 30.1
        client.request(HIDDEN, 4)
    assert len(calls) == 3
    assert client.outcomes["refused"] == 3
    assert client.outcomes["backing off"] == 2001


def test_the_wait_that_the_service_asks_for_is_kept():
    now = [0.0]
    with cloud(says(http(b"{}", status="429 Slow", extra="retry-after: 60\r\n"))) as url:
        client = made(url, first_wait=1.0, clock=lambda: now[0])
        client.request(HIDDEN, 1)
        now[0] = 59.0
        client.request(HIDDEN, 2)
    assert dict(client.outcomes) == {"limited": 1, "backing off": 1}


def test_the_cloud_may_die_and_come_back():
    now = [0.0]
    with cloud(right) as url:
        client = made(url, clock=lambda: now[0])
        assert client.request(HIDDEN, 1) is not None
    port = int(url.rpartition(":")[2])
    assert client.request(HIDDEN, 2) is None
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        connection, _ = listener.accept()
        right(connection, read_request(connection))

    threading.Thread(target=serve, daemon=True).start()
    now[0] = 10.0
    assert client.request(HIDDEN, 3).seq_no == 3
    listener.close()


def test_a_second_request_meanwhile_does_not_wait():
    with cloud(late) as url:
        client = made(url)
        first = threading.Thread(target=client.request, args=(HIDDEN, 1))
        first.start()
        time.sleep(0.1)
        start = time.monotonic()
        assert client.request(HIDDEN, 2) is None
        assert time.monotonic() - start < 0.4  # the first takes 0.6 s
        first.join()
    assert dict(client.outcomes) == {"busy": 1, "ok": 1}


@pytest.mark.parametrize(
    ("hidden", "seq_no"),
    [
        (np.full((2, 16), np.nan, np.float32), 1),
        (np.full((2, 16), 1e6, np.float32), 1),
        (np.zeros((0, 16), np.float32), 1),
        (np.zeros((1001, 16), np.float32), 1),
        (np.zeros(16, np.float32), 1),
        ("words", 1),
        (None, 1),
        (HIDDEN, -1),
        (HIDDEN, 2**70),
        (HIDDEN, 1.5),
        (HIDDEN, None),
    ],
)
def test_what_cannot_be_sent_is_not_sent_and_not_raised(hidden, seq_no):
    client = made("http://127.0.0.1:9")
    assert client.request(hidden, seq_no) is None
    assert dict(client.outcomes) == {"invalid": 1}


def kept_body(kept: list[Upload]) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        kept.append(Upload.from_bytes(request.partition(b"\r\n\r\n")[2]))
        right(connection, request)

    return reply


def test_noise_is_added_before_the_upload_leaves():
    kept: list[Upload] = []
    noise = UploadNoise(2.0, clip=3.0, secret=bytes(32))
    assert asked(kept_body(kept), upload="noise", noise=noise, dtype="f32")[0] is not None
    np.testing.assert_array_equal(kept[0].values, noise(HIDDEN))
    assert kept[0].kind == "hidden"


def test_summaries_alone_leave_the_device():
    kept: list[Upload] = []
    both = np.random.default_rng(1).uniform(-1, 1, (2, 64)).astype(np.float32)
    with cloud(kept_body(kept)) as url:
        assert made(url, upload="summary", dtype="f32").request(both, 5) is not None
    assert kept[0].kind == "summary"
    np.testing.assert_array_equal(kept[0].values, both)


def test_no_upload_is_no_connection():
    def reply(connection: socket.socket, request: bytes) -> None:
        raise AssertionError("nothing may come")

    correction, client, _ = asked(reply, upload="none")
    assert correction is None
    assert dict(client.outcomes) == {"off": 1}
    assert client._http._socket is None


def test_sessions_are_random_and_cannot_be_linked():
    kept: list[Upload] = []
    with cloud(kept_body(kept)) as url:
        for client in (made(url), made(url), made(url, session="mine")):
            client.request(HIDDEN, 1)
    assert len({upload.session for upload in kept}) == 3
    assert kept[2].session == "mine"


@pytest.mark.parametrize(
    ("settings", "mention"),
    [
        ({"url": "ftp://x"}, "http"),
        ({"url": "http://user:secret@127.0.0.1"}, "http"),
        ({"url": "http://127.0.0.1:99999"}, "http"),
        ({"url": "http://127.0.0.1/a b\r\nX: y"}, "http"),
        ({"url": "http://cloud.example"}, "use https"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"upload": "summery"}, 'Did you mean "summary"'),
        ({"upload": "noise"}, "UploadNoise"),
        ({"noise": UploadNoise(1.0, clip=1.0)}, "UploadNoise"),
        ({"model_version": "x" * 17}, "model_version"),
        ({"session": "a b"}, "session"),
        ({"dtype": "f64"}, "Nothing could be sent"),
        ({"token": "a\nb"}, "header"),
    ],
)
def test_settings_that_make_no_sense_are_refused_when_it_is_made(settings, mention):
    given = {"url": "http://127.0.0.1:9", "model_version": VERSION, **settings}
    with pytest.raises(ConfigError, match=f"(?i){mention}") as caught:
        CorrectionClient(given.pop("url"), **given)
    assert "secret" not in str(caught.value)


def test_plain_http_to_another_machine_must_be_asked_for():
    assert "cloud.example" in repr(made("http://cloud.example", allow_plain=True))
    assert "::1" in repr(made("http://[::1]:8000"))
    assert "unused" in repr(made("http://localhost:8000"))
