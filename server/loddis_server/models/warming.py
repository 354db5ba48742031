"""From a bundle to a detector that has run once in every size of batch, so that no request waits for that."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from loddis_runtime.detector import Detector, load
from loddis_server.settings import ServerSettings

__all__ = ["open_warm"]

logger = logging.getLogger(__name__)


def open_warm(path: Path, settings: ServerSettings) -> Detector:
    """Open a detector and warm it up; slow.

    Args:
        path: Of the bundle.
        settings: How it runs.

    Raises:
        BundleError: A graph is not the one that its manifest describes.
        EngineError: A graph cannot be run on this machine.
    """
    detector = load(path, device=settings.device, precision=settings.precision, threads=settings.threads)
    try:
        detector.warm_up(_sizes(settings.max_batch_size))
        detector.detect(np.full(detector.manifest.size_hw, 128, dtype=np.uint8))
    except BaseException:
        detector.close()
        raise
    logger.info(
        "model loaded",
        extra={
            "model": f"{detector.manifest.name}:{detector.manifest.version}",
            "engine": detector.engine.name,
            "precision": detector.precision,
            "threads": detector.threads,
        },
    )
    return detector


def _sizes(max_batch_size: int) -> list[int]:
    """Give the powers of two up to the largest batch, and that one."""
    return sorted({2**power for power in range(max_batch_size.bit_length())} | {max_batch_size})
