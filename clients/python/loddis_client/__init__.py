"""Python client of the Loddis infrared detection server.

from loddis_client import Client

with Client("http://127.0.0.1:8080") as client:
    for detection in client.detect("frame.png").detections:
        print(detection.box_xyxy, detection.score, detection.snr)
"""

from loddis_client._async_client import AsyncClient
from loddis_client._client import Client
from loddis_client._errors import (
    BadRequest,
    ConnectionFailed,
    FrameError,
    FrameRejected,
    InternalError,
    LateFrame,
    LoddisClientError,
    ModelNotFound,
    NotFound,
    Overloaded,
    ProtocolError,
    ServerError,
    StreamNotFound,
    TimedOut,
    Unauthorised,
    UsageError,
)
from loddis_client._models import Detection, DetectionResult, ModelInfo, Problem
from loddis_client._streams import (
    Alarms,
    Drift,
    FrameProblem,
    Health,
    SourceState,
    StreamEnd,
    StreamMessage,
    StreamResult,
    Track,
    Window,
)

__all__ = [
    "Alarms",
    "AsyncClient",
    "BadRequest",
    "Client",
    "ConnectionFailed",
    "Detection",
    "DetectionResult",
    "Drift",
    "FrameError",
    "FrameProblem",
    "FrameRejected",
    "Health",
    "InternalError",
    "LateFrame",
    "LoddisClientError",
    "ModelInfo",
    "ModelNotFound",
    "NotFound",
    "Overloaded",
    "Problem",
    "ProtocolError",
    "ServerError",
    "SourceState",
    "StreamEnd",
    "StreamMessage",
    "StreamNotFound",
    "StreamResult",
    "TimedOut",
    "Track",
    "Unauthorised",
    "UsageError",
    "Window",
]
