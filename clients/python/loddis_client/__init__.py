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
    LoddisClientError,
    ModelNotFound,
    NotFound,
    Overloaded,
    ProtocolError,
    ServerError,
    TimedOut,
    Unauthorised,
    UsageError,
)
from loddis_client._models import Detection, DetectionResult, ModelInfo, Problem

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Client",
    "ConnectionFailed",
    "Detection",
    "DetectionResult",
    "FrameError",
    "FrameRejected",
    "InternalError",
    "LoddisClientError",
    "ModelInfo",
    "ModelNotFound",
    "NotFound",
    "Overloaded",
    "Problem",
    "ProtocolError",
    "ServerError",
    "TimedOut",
    "Unauthorised",
    "UsageError",
]
