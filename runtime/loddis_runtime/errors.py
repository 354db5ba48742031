"""Everything that Loddis raises on purpose. Each message is one line that names the cause.

LoddisError
├── FrameError              a frame that cannot be used
├── BundleError             a bundle that cannot be used
│   ├── ModelNotFoundError
│   └── ChecksumError
├── EngineError             an engine that cannot be built or run
└── ConfigError             options that are out of range or contradict each other
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ChecksumError",
    "ConfigError",
    "EngineError",
    "FrameError",
    "LoddisError",
    "ModelNotFoundError",
]


class LoddisError(Exception):
    """Root of all errors that are raised on purpose."""


class FrameError(LoddisError, ValueError):
    """A frame that cannot be used: shape, dtype, colour, range, or values that are not finite."""


class BundleError(LoddisError):
    """A bundle that cannot be used."""


class ModelNotFoundError(BundleError, LookupError):
    """No bundle of that name or version; the message lists what there is."""


class ChecksumError(BundleError):
    """A file of a bundle is not the one that the manifest vouches for."""


class EngineError(LoddisError):
    """An engine that cannot be built or run on this machine."""


class ConfigError(LoddisError, ValueError):
    """Options that are out of range or contradict each other."""
