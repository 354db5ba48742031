"""How a stream goes, as `GET /v1/streams` tells it."""

from __future__ import annotations

from loddis_server.schemas import ModelRef
from loddis_server.sources.status import SourceStatus
from loddis_server.stream_schemas import DriftInfo, HealthInfo, SourceInfo, StreamStatusDocument
from loddis_server.streams.documents import drift_record, health_record
from loddis_server.streams.live import LiveStream

__all__ = ["stream_status"]


def stream_status(stream: LiveStream, source: SourceStatus | None) -> StreamStatusDocument:
    """Describe a stream.

    Args:
        stream: Any.
        source: State of its source, if it has one.
    """
    latest, session = stream.latest, stream.session
    return StreamStatusDocument(
        stream_id=stream.stream_id,
        kind=stream.kind,
        model=ModelRef(name=stream.model.name, version=stream.model.version),
        created_at=stream.created_at,
        frames=stream.frames,
        refused=stream.refused,
        last_frame_index=None if latest is None else latest.window.frame_index,
        fps=round(stream.fps, 2),
        lag_ms=None if stream.lag_s is None else round(stream.lag_s * 1000, 3),
        tracks=0 if latest is None else len(latest.tracks.tracks),
        score_threshold=session.threshold,
        listeners=len(stream.hub),
        lost_messages=stream.hub.lost,
        source=None if source is None else SourceInfo.model_validate(source, from_attributes=True),
        false_alarms=session.false_alarms(),
        health=None if latest is None else HealthInfo(**health_record(latest.health)),
        drift=None if latest is None else DriftInfo(**drift_record(latest.drift)),
        canary=None if session.canary is None else session.canary.status(),
    )
