"""Ask the cloud for a correction; whatever happens there, the device goes on.

Standard library and NumPy only: importing this brings in neither torch nor a web framework.
"""

from __future__ import annotations

import logging
import math
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from operator import index
from typing import Any, Literal, get_args

import numpy as np

from palate.device.breaker import Breaker
from palate.device.correction import Correction
from palate.device.timed_http import GarbledError, Response, TimedHttp
from palate.device.upload_noise import UploadNoise
from palate.device.upload_summary import UploadSummary
from palate.errors import ConfigError, suggest
from palate.sequence.correction_wire import CONTENT_TYPE, MAX_ITEMS, Answer, Dtype, FloatArray, Upload, WireError

__all__ = ["CorrectionClient", "Outcome", "UploadMode"]

logger = logging.getLogger(__name__)

UploadMode = Literal["hidden", "noise", "summary", "none"]
Outcome = Literal[
    "ok", "timeout", "unreachable", "refused", "garbled", "version", "limited", "backing off", "busy", "invalid", "off"
]
_MAX_ANSWER = 1 << 20


class CorrectionClient:
    """Corrections from the cloud, or ``None``: never an exception, never later than ``timeout``.

    What an upload reveals is the choice of ``upload``; see ``docs/how-to/correction-service.md`` for what an attack
    recovers from each. After a failure nothing is asked for a while (see :class:`~palate.device.breaker.Breaker`), so
    that a cloud in trouble costs no time at all. One request at a time; a second one meanwhile is answered ``None``.

    Args:
        url: Address of the service; ``https`` unless it is this machine.
        model_version: Version of the model on the device (:func:`palate.sequence.model_version.model_versions`): the
            one for summaries with ``upload="summary"``.
        token: Sent as ``Authorization: Bearer``.
        timeout: Seconds that :meth:`request` may take in all.
        upload: ``hidden`` states (which *are* the click history), the same with ``noise``, the ``summary`` of the
            recurrent parts run here, or ``none``.
        noise: For ``upload="noise"``.
        summary: For ``upload="summary"``: makes the summaries of hidden states. Without it :meth:`request` takes the
            summaries ``[2, 64]`` of a device that keeps them up to date itself.
        shape: Heads ``h``, tokens ``m`` and width ``d`` that an answer must have.
        dtype: How numbers travel: ``f16``, or ``f32`` at twice the size.
        session: Name of this device to the service; random when ``None``, so that a restart cannot be linked.
        first_wait: Seconds without requests after a failure; doubles with each further one.
        longest_wait: No wait is longer.
        allow_plain: Allow ``http`` to another machine.
        context: For TLS; the system's certificates by default.
        clock: Where the waits take the time from.

    Raises:
        ConfigError: When it is made, if settings are out of range or contradict each other. Never later.

    Example:
        >>> client = CorrectionClient("http://127.0.0.1:9", model_version="0" * 16, shape=(4, 10, 16))
        >>> client.request(np.zeros((3, 64), np.float32), seq_no=3) is None  # nobody listens there
        True
        >>> client.outcomes["unreachable"]
        1
    """

    def __init__(
        self,
        url: str,
        *,
        model_version: str,
        token: str | None = None,
        timeout: float = 0.1,
        upload: UploadMode = "hidden",
        noise: UploadNoise | None = None,
        summary: UploadSummary | None = None,
        shape: tuple[int, int, int] | None = None,
        dtype: Dtype = "f16",
        session: str | None = None,
        first_wait: float = 1.0,
        longest_wait: float = 300.0,
        allow_plain: bool = False,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if upload not in get_args(UploadMode):
            raise ConfigError(f'There is no upload "{upload}".', remedy=suggest(upload, get_args(UploadMode)))
        if (upload == "noise") != (noise is not None):
            raise ConfigError(
                'upload="noise" and an UploadNoise go together.', remedy="Give both, or choose another upload."
            )
        if summary is not None and upload != "summary":
            raise ConfigError(f'An UploadSummary has no use with upload="{upload}".', remedy='Say upload="summary".')
        if not (math.isfinite(timeout) and timeout > 0):
            raise ConfigError(f"timeout is {timeout}; seconds above 0 are expected.")
        if token is not None and not (token.isascii() and token.isprintable() and token):
            raise ConfigError("The token has characters that a header cannot carry.")
        self.upload, self.timeout, self.model_version, self.dtype = upload, timeout, model_version, dtype
        self.outcomes: Counter[str] = Counter()
        self._session = session or secrets.token_urlsafe(18)
        self._headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._noise, self._summary, self._shape = noise, summary, shape
        self._breaker = Breaker(first=first_wait, longest=longest_wait, clock=clock)
        self._http = TimedHttp(url, max_body=_MAX_ANSWER, context=context, allow_plain=allow_plain)
        self._busy = threading.Lock()
        try:
            Upload(model_version, self._session, 0, np.zeros((1, 1), np.float32), dtype=dtype).to_bytes()
        except (WireError, ValueError) as error:
            raise ConfigError(f"Nothing could be sent with these settings: {error}") from None

    def request(self, hidden: FloatArray, seq_no: int) -> Correction | None:
        """Return a correction for the hidden states of the last items, or ``None``.

        Args:
            hidden: The layer's inputs so far, float32 ``[n, D]`` with n from 1 to 1000, oldest first.
            seq_no: Items that the device has seen; the answer is for the clicks after it.
        """
        correction, outcome = self._request(hidden, seq_no)
        self.outcomes[outcome] += 1
        return correction

    def close(self) -> None:
        """Close the connection; a later request opens one."""
        with self._busy:
            self._http.close()

    def __enter__(self) -> CorrectionClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        told = ", ".join(f"{kind}: {count}" for kind, count in self.outcomes.most_common())
        return f"<CorrectionClient to {self._http.host}:{self._http.port}, upload={self.upload}; {told or 'unused'}>"

    def _request(self, hidden: FloatArray, seq_no: int) -> tuple[Correction | None, Outcome]:
        if self.upload == "none":
            return None, "off"
        if self._breaker.is_open:
            return None, "backing off"
        if not self._busy.acquire(blocking=False):
            return None, "busy"
        started = time.monotonic()
        try:
            try:
                body = self._prepared(hidden, seq_no).to_bytes()
            except Exception:  # whatever was given: a device scores on
                return None, "invalid"
            return self._asked(body, seq_no, started)
        finally:
            self._busy.release()

    def _asked(self, body: bytes, seq_no: int, started: float) -> tuple[Correction | None, Outcome]:
        outcome: Outcome
        wait = 0.0
        try:
            left = self.timeout - (time.monotonic() - started)
            response = self._http.post("/v1/correction", body, self._headers, seconds=left)
            outcome, wait = _kind_of(response), _retry_after(response.headers)
            if outcome == "ok":
                correction = self._checked(Answer.from_bytes(response.body), seq_no)
                self._breaker.succeeded()
                return correction, "ok"
        except _OtherVersionError:
            outcome = "version"
        except (GarbledError, WireError):
            outcome = "garbled"
        except TimeoutError:
            outcome = "timeout"
        except OSError:
            outcome = "unreachable"
        except Exception:
            logger.exception("A correction could not be read.")
            outcome = "garbled"
        self._breaker.failed(at_least=wait)
        return None, outcome

    def _prepared(self, hidden: FloatArray, seq_no: int) -> Upload:
        """Return what is sent for ``hidden``."""
        values = np.asarray(hidden, np.float32)
        if values.ndim != 2 or not 1 <= len(values) <= MAX_ITEMS or not np.isfinite(values).all():
            raise WireError("The hidden states are not finite [n, D] with n from 1 to 1000.")
        if self._noise is not None:
            values = self._noise(values)
        if self._summary is not None:
            values = self._summary(values)
        kind: Any = "summary" if self.upload == "summary" else "hidden"
        return Upload(self.model_version, self._session, index(seq_no), values, kind, self.dtype)

    def _checked(self, answer: Answer, seq_no: int) -> Correction:
        """Return the correction if it is the answer to the upload ``seq_no`` of this model."""
        if answer.model_version != self.model_version:
            raise _OtherVersionError
        if answer.seq_no != seq_no:
            raise GarbledError("The answer is for another upload.")
        if self._shape is not None and answer.bias.shape != self._shape:
            raise GarbledError("The correction has the shape of another model.")
        return Correction(
            attention=answer.attention,
            bias=answer.bias,
            attention_weight=answer.attention_weight,
            bias_weight=answer.bias_weight,
            seq_no=answer.seq_no,
            ttl_steps=answer.ttl_steps,
        )


class _OtherVersionError(Exception):
    """The service answers for another model."""


def _kind_of(response: Response) -> Outcome:
    if response.status == 200:
        return "ok" if response.headers.get("content-type", "").split(";")[0] == CONTENT_TYPE else "garbled"
    by_status: Mapping[int, Outcome] = {409: "version", 429: "limited", 503: "limited", 504: "timeout"}
    return by_status.get(response.status, "refused")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the service asks to wait; the longest wait of the breaker bounds them."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0
