"""One HTTP request that ends in time: connecting, sending and receiving share a single deadline.

``http.client`` bounds each read, so that a server that sends a byte now and then can hold it for ever. Here every
operation gets only what is left of the whole.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from palate.errors import ConfigError

__all__ = ["GarbledError", "Response", "TimedHttp"]

_MAX_HEAD = 8192


class GarbledError(Exception):
    """What came back is not an HTTP answer of the expected form."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers (lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class TimedHttp:
    """A kept-alive connection to one place, for one request at a time.

    Args:
        url: ``http://`` or ``https://`` and host; a path is a prefix of every request's.
        max_body: Largest body of an answer.
        context: For TLS; the system's certificates by default.
        allow_plain: Allow ``http://`` to another machine.

    Raises:
        ConfigError: If the address cannot be used.
    """

    def __init__(
        self, url: str, *, max_body: int, context: ssl.SSLContext | None = None, allow_plain: bool = False
    ) -> None:
        self.secure, self.host, self.port, self.path = _place(url)
        if not self.secure and not allow_plain and not _is_this_machine(self.host):
            raise ConfigError(
                "Uploads to another machine over http can be read on the way.",
                remedy="Use https, or say allow_plain=True for a network you trust.",
            )
        self._context = (context or ssl.create_default_context()) if self.secure else None
        self._max_body = max_body
        self._socket: socket.socket | None = None
        self._addresses: list[Any] = []
        self._resolver: threading.Thread | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str], *, seconds: float) -> Response:
        """Send ``body`` and return the answer.

        Raises:
            TimeoutError: If not all of it came within ``seconds``.
            OSError: If the place cannot be reached, or the connection broke.
            GarbledError: If the answer is not of the expected form.
        """
        deadline = time.monotonic() + seconds
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"POST {self.path}{path} HTTP/1.1", f"Host: {host}:{self.port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        kept = self._socket is not None
        try:
            try:
                return self._exchange(request, deadline)
            except (ConnectionError, _ClosedError):
                if not kept:
                    raise
                self.close()  # the other side had closed the idle connection; once more with a new one
                return self._exchange(request, deadline)
        except BaseException:
            # What may still arrive must never be taken for the answer to another request.
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes, deadline: float) -> Response:
        if self._socket is None:
            self._socket = self._connect(deadline)
        connection = self._socket
        connection.settimeout(_left(deadline))
        connection.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            if len(data) > _MAX_HEAD:
                raise GarbledError("The head of the answer does not end.")
            data += _received(connection, deadline, first=not data)
        head, _, rest = data.partition(b"\r\n\r\n")
        status, headers = _parsed(head)
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 12 or "transfer-encoding" in headers:
            raise GarbledError("The answer does not state its length.")
        size = int(length)
        if size > self._max_body:
            raise GarbledError(f"The answer has {size} bytes; at most {self._max_body} are expected.")
        parts, have = [rest], len(rest)
        while have < size:
            parts.append(_received(connection, deadline))
            have += len(parts[-1])
        if have > size:
            raise GarbledError("The answer is longer than it says.")
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Response(status, headers, b"".join(parts))

    def _connect(self, deadline: float) -> socket.socket:
        failure: OSError = OSError("The name of the cloud is not known.")
        for place in self._resolved(deadline):
            try:
                return self._opened(place, deadline)
            except TimeoutError:
                raise
            except OSError as error:  # a name may stand for several addresses, of which some do not answer
                failure = error
        self._addresses = []  # it may mean other places by now
        raise failure

    def _opened(self, place: Any, deadline: float) -> socket.socket:
        family, kind, protocol, _, address = place
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection.settimeout(_left(deadline))
                connection = self._context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _resolved(self, deadline: float) -> list[Any]:
        """Look the name up on a thread: the system's resolver knows no deadline."""
        if not self._addresses:
            if self._resolver is None or not self._resolver.is_alive():
                self._resolver = threading.Thread(target=self._look_up, name="palate-resolver", daemon=True)
                self._resolver.start()
            self._resolver.join(_left(deadline))
            if self._resolver.is_alive():
                raise TimeoutError("The name of the cloud could not be looked up in time.")
        return self._addresses

    def _look_up(self) -> None:
        try:
            self._addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            self._addresses = []


class _ClosedError(OSError):
    """The other side closed before it answered."""


def _received(connection: socket.socket, deadline: float, *, first: bool = False) -> bytes:
    connection.settimeout(_left(deadline))
    data = connection.recv(65536)
    if not data:
        raise _ClosedError("closed") if first else GarbledError("The answer was cut short.")
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("The time is up.")
    return left


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isascii() or not status[:3].isdigit():
        raise GarbledError("The answer does not begin with an HTTP status.")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or (name.lower() in headers and name.lower() == "content-length"):
            raise GarbledError("The answer has a header that cannot be read.")
        headers[name.lower()] = value.strip()
    return int(status[:3]), headers


def _place(url: str) -> tuple[bool, str, int, str]:
    """Return whether it is TLS, the host, the port and the path before every request's."""
    form = ConfigError("The address of the cloud is not http(s)://HOST[:PORT][/PATH].")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise form from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise form
    if any(character <= " " for character in url):  # it would reach the head of the request
        raise form
    secure = parts.scheme == "https"
    return secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
