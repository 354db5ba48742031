"""Errors of training that are raised on purpose; each message is one line that names the cause."""

from __future__ import annotations

from loddis_runtime.errors import LoddisError

__all__ = ["CheckpointError", "NotFiniteError", "TrainingError"]


class CheckpointError(LoddisError):
    """A checkpoint that is missing, half-written, or of another kind than asked for."""


class TrainingError(LoddisError):
    """A training that cannot go on."""


class NotFiniteError(TrainingError):
    """A step whose loss or gradient is not finite; the weights are as they were before it."""
