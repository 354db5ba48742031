"""What an operator can set for streams."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from loddis_server.alarms import FalseAlarmSettings
from loddis_server.scene_health import CanarySettings, DriftSettings, HealthSettings
from loddis_server.tracking import TrackerSettings

__all__ = ["StreamSettings", "StreamsSettings"]


class StreamSettings(BaseModel):
    """How the frames of one stream are treated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_gap: int = Field(
        default=2, ge=0, description="Frames that may be missing in the window of a model that sees several."
    )
    tracker: TrackerSettings = Field(default=TrackerSettings(), description="How detections become tracks.")
    alarms: FalseAlarmSettings | None = Field(
        default=None,
        description="Hold a rate of false alarms by adapting the score threshold; the model's own threshold if none.",
    )
    health: HealthSettings = Field(default=HealthSettings(), description="When the sensor counts as unwell.")
    drift: DriftSettings = Field(
        default=DriftSettings(), description="When the scene counts as unlike the training domains."
    )
    canary: CanarySettings | None = Field(
        default=None, description="Inject synthetic targets into copies of frames, to measure Pd live; none if not set."
    )


class StreamsSettings(BaseModel):
    """All streams of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_streams: int = Field(default=64, ge=1, description="Streams at once, those of sources included.")
    idle_timeout_s: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="A stream whose frames are sent to it ends when none came for so long, seconds.",
    )
    listener_capacity: int = Field(
        default=64, ge=1, description="Messages that wait for a listener; of more, the oldest are dropped."
    )
    max_listeners: int = Field(default=1024, ge=1, description="Listeners of one stream at once, previews included.")
    defaults: StreamSettings = Field(
        default=StreamSettings(), description="For every stream; a stream with a source may be given its own."
    )
