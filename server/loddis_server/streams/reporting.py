"""What the rest of the server learns from streams: metrics, and events that last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from loddis_server.events import Event, EventKind, EventLog
from loddis_server.metrics import Metrics
from loddis_server.sources.status import SourceStatus
from loddis_server.streams.documents import drift_record, source_record, track_record
from loddis_server.streams.live import LiveStream
from loddis_server.streams.session import StreamResult

__all__ = ["StreamReporter"]


class StreamReporter:
    """Counts what streams do, and hands events to the log. Used on the event loop.

    Args:
        metrics: To count in.
        events: That keeps events.
    """

    def __init__(self, metrics: Metrics, events: EventLog) -> None:
        self._metrics = metrics
        self._events = events

    def report_result(self, stream: LiveStream, result: StreamResult) -> list[Future[None]]:
        """Take the result of a frame.

        Returns:
            One for each alarm of the frame, done once its event is durable or given up; none while the database does
            not work.
        """
        metrics = self._metrics
        metrics.frames.labels(stream.model.name).inc()
        metrics.detections.labels(stream.model.name).inc(len(result.detections))
        if stream.kind == "video":  # its answers are the record
            return []
        confirmed = []
        for track in result.alarms:
            picture = result.pictures.get(track.track_id)
            confirmed.append(
                self._record(stream, "track.confirmed", track_record(track), result, score=track.score, picture=picture)
            )
        for track in result.ended:
            self._record(stream, "track.ended", track_record(track), result, score=track.score)
        for condition in sorted(result.health.began):
            self._record(stream, "health", {"condition": condition, "holds": True}, result)
        for condition in sorted(result.health.ended):
            self._record(stream, "health", {"condition": condition, "holds": False}, result)
        if result.drift.changed:
            self._record(stream, "drift", drift_record(result.drift), result)
        return confirmed if confirmed and self._events.status.store.state == "ok" else []

    def report_source(self, stream: LiveStream, status: SourceStatus) -> None:
        """Take a change of a source's state."""
        self._record(stream, "source", source_record(status), None)

    def _record(
        self,
        stream: LiveStream,
        kind: EventKind,
        payload: Mapping[str, Any],
        result: StreamResult | None,
        *,
        score: float | None = None,
        picture: bytes | None = None,
    ) -> Future[None]:
        captured_at = None if result is None else result.options.captured_at
        event = Event(
            kind=kind,
            stream_id=stream.stream_id,
            occurred_at=datetime.fromtimestamp(time.time() if captured_at is None else captured_at, UTC),
            frame_index=None if result is None else result.window.frame_index,
            score=score,
            payload={**payload, "model": stream.model.reference},
        )
        return self._events.record(event, picture)
