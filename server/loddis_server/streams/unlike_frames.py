"""Frames of scenes unlike the training domains, kept for who labels: one folder a stream, made with its first frame."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from loddis_server.models import ServedModel
from loddis_server.scene_health import ArchiveSettings, FrameArchive
from loddis_server.streams.documents import drift_record
from loddis_server.streams.session import StreamResult

__all__ = ["UnlikeFrames"]

logger = logging.getLogger(__name__)


class UnlikeFrames:
    """Those of one stream. Touches the disk: for worker threads, one frame at a time.

    Args:
        folder: Of the stream.
        limits: Of the folder.
    """

    def __init__(self, folder: Path, limits: ArchiveSettings) -> None:
        self._folder = folder
        self._limits = limits
        self._archive: FrameArchive | None = None
        self._is_failing = False

    def keep(self, result: StreamResult, *, stream_id: str, model: ServedModel) -> None:
        """Keep a frame if it is time for one. A folder that cannot be made costs the frame and a line in the log."""
        try:
            self._archive = self._archive or FrameArchive(self._folder, self._limits)
        except OSError as error:
            if not self._is_failing:
                logger.error("unlike frames are not kept", extra={"stream_id": stream_id, "cause": str(error)})
            self._is_failing = True
            return
        self._is_failing = False
        captured_at = result.options.captured_at
        self._archive.offer(
            result.frame,
            captured_at_s=time.time() if captured_at is None else captured_at,
            about={
                "stream_id": stream_id,
                "frame_index": result.window.frame_index,
                "model": model.reference,
                "drift": drift_record(result.drift),
                "detections": result.detections.to_records(),
            },
        )
