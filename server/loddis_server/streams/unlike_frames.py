"""Which frames of scenes unlike the training domains are kept for who labels: not every one, neighbours look alike."""

from __future__ import annotations

import time

from loddis_server.models import ServedModel
from loddis_server.scene_health import FrameArchive
from loddis_server.streams.documents import drift_record
from loddis_server.streams.session import StreamResult

__all__ = ["UnlikeFrames"]


class UnlikeFrames:
    """Those of one stream. Touches the disk: for worker threads, one frame at a time.

    Args:
        archive: Of all streams.
        stream_id: Of the stream.
    """

    def __init__(self, archive: FrameArchive, stream_id: str) -> None:
        self._archive = archive
        self._stream_id = stream_id
        self._last_s: float | None = None

    def keep(self, result: StreamResult, *, model: ServedModel) -> None:
        """Keep a frame if it is time for one."""
        captured_at = result.options.captured_at
        now_s = time.time() if captured_at is None else captured_at
        # A clock that was set back must not stop the archive until it has caught up.
        if self._last_s is not None and 0 <= now_s - self._last_s < self._archive.settings.interval_s:
            return
        self._last_s = now_s
        self._archive.keep(
            result.frame,
            stream_id=self._stream_id,
            captured_at_s=now_s,
            about={
                "frame_index": result.window.frame_index,
                "model": model.reference,
                "drift": drift_record(result.drift),
                "detections": result.detections.to_records(),
            },
        )
