"""A language model behind an OpenAI-compatible endpoint, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError, ServiceError
from palate.llm.contract import Completion, LanguageModel, WriteConfig

__all__ = ["Endpoint", "EndpointConfig", "EndpointCounts"]

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LARGEST = 16 * 2**20  # bytes of a reply that are read


class EndpointConfig(Config):
    """Where the model is, and how patient we are.

    Attributes:
        url: Base address, such as ``http://127.0.0.1:8080/v1``; ``/chat/completions`` is appended.
        model: Name of the model there.
        key_variable: Environment variable that holds the key; nothing is sent when it is unset. The key itself is never
            part of a config, a result or a message.
        attempts: Tries per prompt; only time-outs, broken connections and passing faults of the server are tried again.
        timeout: Seconds per try.
        patience: Seconds for all tries and pauses of one prompt together.
        pause: Seconds before the second try; they double with each further one, unless the server says how long.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    attempts: int = Field(4, ge=1)
    timeout: float = Field(60.0, gt=0)
    patience: float = Field(180.0, gt=0)
    pause: float = Field(0.5, ge=0)


@dataclass
class EndpointCounts:
    """What was asked and what it took: prompts, tries, prompts that failed for good, and tokens."""

    prompts: int = 0
    tries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    written_tokens: int = 0


class _PassingError(Exception):
    """A fault that another try may not meet; carries the seconds that the server asks to wait, if it does."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class Endpoint(LanguageModel):
    """Chat completions of a server; each prompt is one user's turn.

    Args:
        config: Where and how.
        writing: How it writes.

    Raises:
        ConfigError: If the address is not an http address.
    """

    def __init__(self, config: EndpointConfig, writing: WriteConfig | None = None) -> None:
        super().__init__(writing)
        if urllib.parse.urlsplit(config.url).scheme not in ("http", "https"):
            raise ConfigError(f'The address "{config.url}" does not begin with http:// or https://.')
        self.config, self.name, self.counts = config, config.model, EndpointCounts()
        self._random = random.Random(0)

    def write(self, prompt: str) -> Completion:
        """Return what follows ``prompt``.

        Raises:
            ServiceError: If the server refuses, or does not answer within the tries and the time.
        """
        self.counts.prompts += 1
        ends, pause, said = time.monotonic() + self.config.patience, self.config.pause, "no time for a try"
        for attempt in range(self.config.attempts):
            left = ends - time.monotonic()
            if left <= 0:
                break
            self.counts.tries += 1
            try:
                return self._once(prompt, min(self.config.timeout, left))
            except _PassingError as fault:
                said = str(fault)
                wait = fault.wait if fault.wait is not None else pause * (1 + self._random.random() / 4)
                if attempt + 1 == self.config.attempts or time.monotonic() + wait >= ends:
                    break
                time.sleep(wait)
                pause *= 2
            except ServiceError:
                self.counts.failed += 1
                raise
        self.counts.failed += 1
        raise ServiceError(f"{self.config.url} gave no reply: {said}.", remedy="See that the server runs; try later.")

    def _once(self, prompt: str, timeout: float) -> Completion:
        try:
            with urllib.request.urlopen(self._request(prompt), timeout=timeout) as reply:
                content = reply.read(_LARGEST + 1)
        except urllib.error.HTTPError as error:
            told = f"status {error.code}, {error.read(300).decode(errors='replace')!r}"
            if error.code in _TRANSIENT:
                raise _PassingError(told, _seconds(error.headers.get("Retry-After"))) from None
            raise ServiceError(f"{self.config.url} refused the prompt: {told}.") from None
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from None
        return self._read(content)

    def _request(self, prompt: str) -> urllib.request.Request:
        turns = [{"role": "system", "content": self.writing.system}] if self.writing.system else []
        body = {
            "model": self.config.model,
            "messages": [*turns, {"role": "user", "content": prompt}],
            "max_tokens": self.writing.max_tokens,
            "temperature": self.writing.temperature,
            "seed": self.writing.seed,
        }
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.config.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = self.config.url.rstrip("/") + "/chat/completions"
        return urllib.request.Request(url, json.dumps(body).encode(), headers)

    def _read(self, content: bytes) -> Completion:
        try:
            if len(content) > _LARGEST:
                raise ValueError(f"it is longer than {_LARGEST:,} bytes")
            document: dict[str, Any] = json.loads(content)
            text = document["choices"][0]["message"]["content"]
            if not isinstance(text, str):
                raise TypeError(f"its text is {text!r}")
            usage = document.get("usage") or {}
            read, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _PassingError(f"a reply that is no chat completion ({error!r})") from None
        self.counts.prompt_tokens += read
        self.counts.written_tokens += written
        return Completion(text, read, written)


def _seconds(told: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``; dates are not honoured."""
    try:
        return max(0.0, float(told)) if told else None
    except ValueError:
        return None
