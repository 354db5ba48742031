"""What an operator can set for streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loddis_server.alarms import FalseAlarmSettings
from loddis_server.scene_health import ArchiveSettings, CanarySettings, DriftSettings, HealthSettings
from loddis_server.sources.settings import SourceSettings
from loddis_server.tracking import TrackerSettings

__all__ = ["STREAM_ID", "SourceStreamSettings", "StreamSettings", "StreamsSettings", "UnlikeFramesSettings"]

STREAM_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


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


class SourceStreamSettings(BaseModel):
    """A stream whose frames the server fetches from when it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream_id: str = Field(pattern=STREAM_ID.pattern, description="Its name.")
    source: SourceSettings = Field(description="Where the frames come from; `sources` must allow it.")
    model: str | None = Field(default=None, description="`NAME` or `NAME:VERSION`; the default model if none.")
    settings: StreamSettings | None = Field(default=None, description="Of this stream; the defaults if none.")


class UnlikeFramesSettings(BaseModel):
    """Frames of scenes that are unlike what the model was trained on, kept to be labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="Where they are kept, a folder a stream.")
    limits: ArchiveSettings = Field(default=ArchiveSettings(), description="How many, of all streams together.")


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
    cameras: tuple[SourceStreamSettings, ...] = Field(
        default=(), description="Streams that the server reads from its start on."
    )
    unlike_frames: UnlikeFramesSettings | None = Field(
        default=None, description="Keep frames of scenes unlike the training domains; none are kept if not set."
    )
    defaults: StreamSettings = Field(
        default=StreamSettings(), description="For every stream; a stream with a source may be given its own."
    )

    @model_validator(mode="after")
    def _cameras_differ(self) -> Self:
        names = [camera.stream_id for camera in self.cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"several cameras are called {name!r}")
        if len(names) > self.max_streams:
            raise ValueError(f"{len(names)} cameras are more than max_streams, {self.max_streams}")
        return self
