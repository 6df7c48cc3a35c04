"""Peers in environments of their own: build one from pinned packages, keep a process in it, call its functions.

The peer's side is a script that ends with ``serve({"name": function, ...})``; this file has no dependencies, so that
the script can import it from any Python. Arguments and results travel as JSON lines; large arrays as ``.npz`` files.

    python = peer_environment("fuxictr", ["fuxictr==2.3.10"], first=["torch==2.13.0"])
    with Peer(python, "ctr_peer.py") as peer:
        seconds = peer.call("train_epoch", model="DeepFM")["seconds"]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Peer", "PeerError", "peer_environment", "serve"]

HERE = Path(__file__).resolve().parent


class PeerError(RuntimeError):
    """The peer's environment could not be built, or its process failed; carries what it said."""


def peer_environment(name: str, packages: Sequence[str], *, first: Sequence[str] = ()) -> Path:
    """Return the Python of an environment with exactly these packages, building it when it is not there yet.

    It lies in the folder for temporary files (or in ``PALATE_PEERS``), under a name that changes with the packages
    and the version of Python, so that a rerun finds it again and a changed list never meets an old environment.

    Args:
        name: Name of the peer.
        packages: Pinned requirements, ``package==version``.
        first: Pinned requirements to install before the others, one by one in this order (a torch that the rest must
            accept).

    Raises:
        PeerError: If a requirement is not pinned or cannot be installed.
    """
    loose = [package for package in [*first, *packages] if "==" not in package]
    if loose:
        raise PeerError(f"{', '.join(loose)}: pin the version, so that anyone measures against the same peer.")
    key = "\n".join([sys.version.split()[0], *first, "", *sorted(packages)])
    root = Path(os.environ.get("PALATE_PEERS") or Path(tempfile.gettempdir()) / "palate-peers")
    folder = root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    root.mkdir(parents=True, exist_ok=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with _locked(root / f"{folder.name}.lock"):
        if (folder / "complete").is_file():
            return python
        print(f"building the environment of {name} ...", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        for requirement in first:
            _install(python, [requirement])
        _install(python, [*packages, *first])
        (folder / "complete").write_text(key, encoding="utf-8")
    return python


class Peer:
    """A process in another environment that answers calls until it is closed.

    Args:
        python: Its Python, from :func:`peer_environment`.
        script: File in this folder that calls :func:`serve`.
    """

    def __init__(self, python: Path | str, script: str) -> None:
        self._said = tempfile.TemporaryFile(mode="w+", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [str(python), "-u", str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """Return the peer's answer.

        Raises:
            PeerError: If the function fails there, or the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"function": function, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            raise PeerError(f'The peer ended in the call "{function}".\n{self._said.read()[-4000:]}')
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f'The call "{function}" failed in the peer.\n{answer["error"]}')
        return answer["result"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls from standard input until it closes; whatever the functions print goes to standard error.

    Each result is wrapped with the seconds that the function took: ``{"seconds": ..., "value": ...}``.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        call = json.loads(line)
        try:
            start = time.perf_counter()
            value = functions[call["function"]](**call["arguments"])
            _answer(answers, {"result": {"seconds": time.perf_counter() - start, "value": value}})
        except Exception:  # the caller gets the whole story and decides
            _answer(answers, {"error": traceback.format_exc()})


def _answer(answers: TextIO, document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _install(python: Path, packages: Sequence[str]) -> None:
    if not packages:
        return
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"{' '.join(packages)} cannot be installed.\n{done.stderr[-4000:]}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time build an environment (where the system knows file locks)."""
    with path.open("w") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except ImportError:
            pass
        yield
