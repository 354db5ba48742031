"""What a stream says, ready for JSON; `stream_schemas` describes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loddis_server.metrics import Stage, shown_ms
from loddis_server.models import ServedModel
from loddis_server.scene_health import DriftReport, HealthReport
from loddis_server.sources.status import SourceStatus
from loddis_server.streams.session import StreamResult
from loddis_server.tracking import Track

__all__ = ["drift_record", "frame_document", "health_record", "source_record", "track_record"]


def frame_document(
    result: StreamResult,
    *,
    stream_id: str,
    model: ServedModel,
    seconds: Mapping[Stage, float],
) -> dict[str, Any]:
    """Describe what was made of a frame.

    Args:
        result: Of the frame.
        stream_id: Of its stream.
        model: That detected.
        seconds: Spent in each stage.
    """
    height, width = result.frame.shape
    return {
        "type": "frame",
        "stream_id": stream_id,
        "frame_index": result.window.frame_index,
        "timestamp_s": result.options.timestamp_s,
        "captured_at": result.options.captured_at,
        "model": {"name": model.name, "version": model.version},
        "frame": {"width": width, "height": height, "dtype": result.frame.dtype.name},
        "window": {
            "frame_indices": list(result.window.frame_indices),
            "missing": result.window.missing,
            "restart": result.window.restart,
        },
        "detections": result.detections.to_records(),
        "tracks": [track_record(track) for track in result.tracks.tracks],
        "alarms": {
            "new": [track.track_id for track in result.alarms],
            "ended": [track.track_id for track in result.ended],
            "held_back": result.held_back,
            "score_threshold": round(result.threshold, 6),
        },
        "health": health_record(result.health),
        "drift": drift_record(result.drift),
        "timing_ms": shown_ms(seconds),
    }


def track_record(track: Track) -> dict[str, Any]:
    """Describe a track."""
    return {
        "track_id": track.track_id,
        "state": track.state,
        "box_xyxy": _rounded(track.box_xyxy),
        "centroid_xy": _rounded(track.centroid_xy),
        "velocity_xy": _rounded(track.velocity_xy),
        "covariance": [_rounded(row) for row in track.covariance],
        "score": round(track.score, 6),
        "snr": round(track.snr, 3),
        "class_id": track.class_id,
        "class_name": track.class_name,
        "age_frames": track.age_frames,
        "hits": track.hits,
        "coasted_frames": track.coasted_frames,
        "first_frame_index": track.first_frame_index,
        "last_seen_frame_index": track.last_seen_frame_index,
    }


def health_record(health: HealthReport) -> dict[str, Any]:
    """Describe the sensor's health."""
    return {"conditions": sorted(health.conditions), "began": sorted(health.began), "ended": sorted(health.ended)}


def drift_record(drift: DriftReport) -> dict[str, Any]:
    """Describe how far the scene is from what the model was trained on."""
    return {
        "distance": None if drift.distance is None else round(drift.distance, 4),
        "domain": drift.domain,
        "is_unlike": drift.is_unlike,
        "most_unlike": {one.measure: round(one.deviation, 3) for one in drift.most_unlike},
        "cause": drift.cause,
    }


def source_record(status: SourceStatus) -> dict[str, Any]:
    """Describe how a source is."""
    return {
        "state": status.state,
        "cause": status.cause,
        "reason": status.reason,
        "retry_at": status.retry_at,
        "restarts": status.restarts,
    }


def _rounded(values: Any) -> list[float]:
    """Give numbers with the digits that mean something: a hundredth of a pixel is more than anybody measures."""
    return [round(float(value), 4) for value in values]
