"""Why a request is not answered: errors that have a status of their own."""

from __future__ import annotations

from palate.errors import ServiceError

__all__ = ["MediaTypeError", "VersionError", "without_words"]


class VersionError(ServiceError):
    """The device has another model than this service."""

    code = "P507"


class MediaTypeError(ServiceError):
    """The body is of a kind that is not read."""

    code = "P509"


def without_words(error: BaseException) -> ServiceError:
    """Return an error for the log with the trace of ``error`` but none of its words: they may repeat a body."""
    said = ServiceError(f"{type(error).__name__}; its words are left out, since they may repeat what a client sent")
    return said.with_traceback(error.__traceback__)
