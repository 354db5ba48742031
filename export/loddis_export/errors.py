"""Errors of export that are raised on purpose; each message is one line that names the cause."""

from __future__ import annotations

from loddis_runtime.errors import LoddisError

__all__ = ["ExportError", "ParityError"]


class ExportError(LoddisError):
    """A checkpoint that cannot become a bundle."""


class ParityError(ExportError):
    """The exported graph does not detect what the checkpoint detects; no bundle was written."""
