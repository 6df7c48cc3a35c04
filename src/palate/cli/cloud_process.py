"""A correction service in a process of its own on this machine, for a session that wants to see one."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from palate.errors import ServiceError

__all__ = ["CloudProcess"]


class CloudProcess:
    """``palate serve RUN --correction`` on a free port of 127.0.0.1, behind a token that only this session knows.

    Args:
        run: Folder of a saved recommender with corrections.
        seconds: Longest time to wait until it answers.

    Raises:
        ServiceError: If it ends or is not there in time; with the last line that it wrote.
    """

    def __init__(self, run: Path, *, seconds: float = 120.0) -> None:
        self.token = secrets.token_urlsafe(24)
        self._log = tempfile.NamedTemporaryFile(prefix="palate-cloud-", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "palate", "serve", str(run), "--correction", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PALATE_TOKEN": self.token},
        )
        try:
            self.url = self._wait(seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; does nothing when it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
            found = re.search(r"running on (http://[\d.]+:\d+)", text)
            if found:
                return found[1]
            if not self.running:
                last = text.strip().rpartition("\n")[2]
                raise ServiceError(f"The correction service ended at once: {last}")
            time.sleep(0.05)
        raise ServiceError(f"The correction service was not there after {seconds:g} seconds.")
