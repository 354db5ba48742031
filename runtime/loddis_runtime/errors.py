"""Everything that Loddis raises on purpose. Each message is one line that names the cause.

LoddisError
├── FrameError              a frame that cannot be used
│   └── LateFrameError      a frame of a stream that does not come after the last one
│       └── DuplicateFrameError
├── JpegError               a JPEG that is damaged
│   └── TruncatedJpegError  a JPEG that is not all there
├── BundleError             a bundle that cannot be used
│   ├── ModelNotFoundError
│   └── ChecksumError
├── EngineError             an engine that cannot be built or run
├── StreamError             a stream that is closed, or in use by another thread
└── ConfigError             options that are out of range or contradict each other
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ChecksumError",
    "ConfigError",
    "DuplicateFrameError",
    "EngineError",
    "FrameError",
    "JpegError",
    "LateFrameError",
    "LoddisError",
    "ModelNotFoundError",
    "StreamError",
    "TruncatedJpegError",
]


class LoddisError(Exception):
    """Root of all errors that are raised on purpose."""


class FrameError(LoddisError, ValueError):
    """A frame that cannot be used: shape, dtype, colour, range, or values that are not finite."""


class LateFrameError(FrameError):
    """A frame that does not come after the last one of its stream. The stream is as it was: go on with the next frame.

    Attributes:
        frame_index: Of the frame that was refused; None if it had none.
        last_index: Of the last frame that the stream took.
    """

    def __init__(self, message: str, *, frame_index: int | None = None, last_index: int | None = None) -> None:
        super().__init__(message)
        self.frame_index = frame_index
        self.last_index = last_index


class DuplicateFrameError(LateFrameError):
    """A frame that is the last one of its stream once more, by its index or timestamp."""


class JpegError(LoddisError, ValueError):
    """A JPEG that is damaged. The message is the cause alone, for one that knows the file to put its name before it."""


class TruncatedJpegError(JpegError):
    """A JPEG that is not all there: cut off, or without some of its scans."""


class BundleError(LoddisError):
    """A bundle that cannot be used."""


class ModelNotFoundError(BundleError, LookupError):
    """No bundle of that name or version; the message lists what there is."""


class ChecksumError(BundleError):
    """A file of a bundle is not the one that the manifest vouches for."""


class EngineError(LoddisError):
    """An engine that cannot be built or run on this machine."""


class StreamError(LoddisError):
    """A stream that is closed, or in use by another thread."""


class ConfigError(LoddisError, ValueError):
    """Options that are out of range or contradict each other."""
