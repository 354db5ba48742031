"""Errors of domains and their annotations; each message is one line that names the file or the domain."""

from __future__ import annotations

from loddis_runtime.errors import LoddisError

__all__ = ["BoxError", "DataError"]


class DataError(LoddisError):
    """A domain that cannot be used: missing, empty, corrupt, or annotated wrongly."""


class BoxError(DataError):
    """A box that is not on its image, or has no area."""
