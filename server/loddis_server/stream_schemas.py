"""What requests and answers about streams look like. These models describe; the hot path builds dicts of that shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from loddis_server.alarms import FalseAlarmStatus
from loddis_server.scene_health import CanaryStatus
from loddis_server.schemas import Detection, DetectResponse, FrameInfo, ModelRef, ProblemDocument
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.wire import FailureReason
from loddis_server.streams.settings import STREAM_ID, StreamSettings

__all__ = [
    "BatchResponse",
    "DriftInfo",
    "EndMessage",
    "FrameAlarms",
    "FrameMessage",
    "HealthInfo",
    "ProblemMessage",
    "SourceInfo",
    "SourceMessage",
    "StreamList",
    "StreamMessage",
    "StreamRequest",
    "StreamStatusDocument",
    "TrackInfo",
    "WindowInfo",
]


class TrackInfo(BaseModel):
    """A target over time."""

    track_id: int = Field(description="Never used again within the stream.", examples=[7])
    state: Literal["tentative", "confirmed", "coasting", "lost"] = Field(
        description="`tentative`: seen too few times; `confirmed`: seen now; `coasting`: not seen, predicted."
    )
    box_xyxy: tuple[float, float, float, float] = Field(
        description="Estimate for this frame: left, top, right, bottom; pixels.", examples=[[96.8, 57.2, 103.8, 64.2]]
    )
    centroid_xy: tuple[float, float] = Field(description="Estimate, pixels.", examples=[[100.3, 60.7]])
    velocity_xy: tuple[float, float] = Field(
        description="Pixels a frame, the camera's own motion taken out.", examples=[[1.9, -0.2]]
    )
    covariance: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="Of `centroid_xy`, square pixels.", examples=[[[0.4, 0.0], [0.0, 0.4]]]
    )
    score: float = Field(description="Of the newest detection.", examples=[0.91])
    snr: float = Field(description="Of the newest detection.", examples=[14.2])
    class_id: int
    class_name: str = Field(examples=["target"])
    age_frames: int = Field(description="Frames since the first detection, it included.")
    hits: int = Field(description="Detections so far.")
    coasted_frames: int = Field(description="Frames since the newest detection.")
    first_frame_index: int
    last_seen_frame_index: int


class WindowInfo(BaseModel):
    """What the network saw for a frame."""

    frame_indices: list[int] = Field(description="Of the frames in the window, oldest first, this frame last.")
    missing: int = Field(description="Frames missing between the one before and this one.")
    restart: Literal["start", "reset", "size", "dtype", "gap"] | None = Field(
        description="Why the window starts afresh with this frame, if it does."
    )


class FrameAlarms(BaseModel):
    """What is announced with a frame."""

    new: list[int] = Field(description="Ids of tracks that are confirmed and announced with this frame.")
    ended: list[int] = Field(description="Ids of announced tracks that were lost with this frame.")
    held_back: bool = Field(
        description="Whether announcements wait, since the sensor's shutter is closed or its picture frozen."
    )
    score_threshold: float = Field(
        description="Least score of the detections; adapted where a false-alarm rate is held."
    )


class HealthInfo(BaseModel):
    """The sensor, as its frames show it."""

    conditions: list[str] = Field(
        description="Of frozen, shutter, saturated, dead_pixels, stripes, defocused, moving: those that hold."
    )
    began: list[str] = Field(description="Those that hold since this frame.")
    ended: list[str] = Field(description="Those that ended with this frame.")


class DriftInfo(BaseModel):
    """How far the scene is from what the model was trained on."""

    distance: float | None = Field(description="To the nearest training domain; none until it is known.")
    domain: str | None = Field(description="That domain.")
    is_unlike: bool = Field(description="Whether this scene is unlike what the model was trained on.")
    most_unlike: dict[str, float] = Field(
        description="The measures that differ most, and by how many standard deviations of that domain."
    )
    cause: str | None = Field(description="Why there is no distance.")


class FrameMessage(BaseModel):
    """The answer to a frame of a stream."""

    type: Literal["frame"]
    stream_id: str = Field(examples=["mast-3"])
    frame_index: int = Field(examples=[1204])
    timestamp_s: float | None = Field(description="As it came with the frame.")
    captured_at: float | None = Field(description="When the frame was taken or came, seconds since 1970.")
    model: ModelRef
    frame: FrameInfo
    window: WindowInfo
    detections: list[Detection] = Field(description="Of this frame, best first.")
    tracks: list[TrackInfo] = Field(description="All that are alive after this frame.")
    alarms: FrameAlarms
    health: HealthInfo
    drift: DriftInfo
    timing_ms: dict[str, float]


class SourceMessage(BaseModel):
    """The state of a stream's source changed."""

    type: Literal["source"]
    stream_id: str
    state: Literal["connecting", "live", "stalled", "ended", "failed"]
    cause: str | None
    reason: FailureReason | None = Field(description="The same for programs.")
    retry_at: float | None = Field(
        description="When it is tried again, seconds since 1970; none if frames come, or no try will."
    )
    restarts: int


class ProblemMessage(BaseModel):
    """A frame that was refused, between answers to others."""

    type: Literal["problem"]
    frame_index: int | None
    problem: ProblemDocument


class EndMessage(BaseModel):
    """Nothing follows."""

    type: Literal["end"]
    stream_id: str
    reason: str
    frames: int = Field(description="That were detected on.")


StreamMessage = Annotated[FrameMessage | SourceMessage | ProblemMessage | EndMessage, Field(discriminator="type")]


class StreamRequest(BaseModel):
    """A stream whose frames the server fetches."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "stream_id": "mast-3",
                    "source": {"url": "rtsp://camera-3.local/thermal"},
                    "settings": {"alarms": {"wanted_per_hour": 1.0}},
                }
            ]
        },
    )

    stream_id: str | None = Field(
        default=None, pattern=STREAM_ID.pattern, description="Its name; one is made up if none."
    )
    source: SourceSettings = Field(description="Where the frames come from; only what the operator allows.")
    model: str | None = Field(
        default=None, min_length=1, max_length=200, description="`NAME` or `NAME:VERSION`; the default if none."
    )
    settings: StreamSettings | None = Field(default=None, description="The server's settings for streams if none.")


class SourceInfo(BaseModel):
    """Where a stream's frames come from, and how that goes."""

    state: Literal["connecting", "live", "stalled", "ended", "failed"]
    cause: str | None = Field(description="Why, where the state is none that one wants.")
    reason: FailureReason | None = Field(description="The same for programs.")
    retry_at: float | None = Field(
        description="When it is tried again, seconds since 1970; past while that try is under way; none if frames "
        "come, or no try will."
    )
    since: float = Field(description="When the state began, seconds since 1970.")
    restarts: int
    frames: int = Field(description="That came.")
    dropped: int = Field(description="Of them, those that nobody had time for.")


class StreamStatusDocument(BaseModel):
    """A stream."""

    stream_id: str
    kind: Literal["pushed", "source", "video"] = Field(
        description="`pushed`: frames are sent to it; `source`: the server fetches them; `video`: of one upload."
    )
    model: ModelRef
    created_at: float = Field(description="Seconds since 1970.")
    frames: int = Field(description="That were detected on.")
    refused: int = Field(description="Frames that were late, repeated or could not be used.")
    last_frame_index: int | None
    fps: float = Field(description="Frames a second lately.")
    lag_ms: float | None = Field(description="From a frame's coming in to its answer, mean lately, milliseconds.")
    tracks: int = Field(description="That are alive.")
    score_threshold: float
    listeners: int
    lost_messages: int = Field(description="That listeners were too slow to take.")
    source: SourceInfo | None = Field(description="None where frames are sent to the stream.")
    false_alarms: FalseAlarmStatus | None = Field(description="None where no rate of false alarms is held.")
    health: HealthInfo | None
    drift: DriftInfo | None
    canary: CanaryStatus | None = Field(description="None where no canary runs.")


class StreamList(BaseModel):
    """All streams."""

    streams: list[StreamStatusDocument]


class BatchItem(BaseModel):
    """The outcome of one frame of a batch."""

    name: str | None = Field(description="File name of its part, if it has one.")
    result: DetectResponse | None
    problem: ProblemDocument | None


class BatchResponse(BaseModel):
    """The outcomes of a batch, in the order of its frames."""

    results: list[BatchItem]
    request_id: str
