"""Why a medium cannot be read, and the translation of FFmpeg's errors to it."""

from __future__ import annotations

import errno

import av.error

from loddis_server.sources.wire import FailureReason

__all__ = ["MediaError", "media_error_of"]


class MediaError(Exception):
    """A medium that cannot be read, or not any further.

    Attributes:
        reason: For programs.
        cause: For people; without addresses, which may hold passwords.
    """

    def __init__(self, reason: FailureReason, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason
        self.cause = cause


def media_error_of(error: Exception, *, doing: str) -> MediaError:
    """Translate an error of FFmpeg or the system.

    Only the error's own words are used: FFmpeg's messages repeat the address, password and all.

    Args:
        error: What was raised.
        doing: What was tried, as "opening the stream".
    """
    if isinstance(error, MediaError):
        return error
    text = getattr(error, "strerror", None) or type(error).__name__
    return MediaError(_reason_of(error), f"{doing} gave: {text}")


def _reason_of(error: Exception) -> FailureReason:
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return "unauthorised"
        case av.error.HTTPNotFoundError() | FileNotFoundError():
            return "not_found"
        case av.error.DecoderNotFoundError() | av.error.DemuxerNotFoundError() | av.error.PatchWelcomeError():
            return "unsupported"
        case MemoryError():  # of this process: the next one begins with none of it in use
            return "crashed"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "no_space"
        case av.error.InvalidDataError():
            return "damaged"
        case PermissionError():
            return "refused"
        case OSError(errno=errno.ELOOP):  # a symbolic link where none is followed
            return "refused"
        case _:
            return "lost"
