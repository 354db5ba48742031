"""What is asked of the server: addresses, headers, parameters. No input or output happens here."""

from __future__ import annotations

import math
import numbers
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from loddis_client._encoding import encode_frame
from loddis_client._errors import UsageError

__all__ = [
    "DEFAULT_URL",
    "Request",
    "StreamPlace",
    "base_headers",
    "batch_request",
    "check_base_url",
    "check_options",
    "detect_request",
    "listen_request",
    "video_request",
]

DEFAULT_URL = "http://127.0.0.1:8080"
STREAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST_INDEX = 10**18 - 1
NDJSON = "application/x-ndjson, application/problem+json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, ready to be sent.

    Attributes:
        method: Of HTTP.
        path: Below the base URL, without a leading slash.
        params: Of the query.
        headers: Besides those of every request.
        body: Bytes, if any.
        is_repeatable: Whether it may be sent again where nobody knows if it arrived. A frame of a stream may not: it
            would be its own successor.
    """

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where in which stream a frame belongs.

    Attributes:
        stream_id: 1 to 64 of ``A-Z a-z 0-9 . _ -``, beginning with a letter or digit.
        frame_index: Place of the frame, from 0; one after the last if none.
        timestamp_s: When it was taken, on any clock that does not go back.
        reset: Forget window and tracks before this frame; what was learned of sensor, scene and false alarms stays.

    Raises:
        UsageError: One of them cannot be.
    """

    stream_id: str
    frame_index: int | None = None
    timestamp_s: float | None = None
    reset: bool = False

    def __post_init__(self) -> None:
        check_stream_id(self.stream_id)
        index, time = self.frame_index, self.timestamp_s
        if index is not None and (not isinstance(index, numbers.Integral) or not 0 <= index <= LARGEST_INDEX):
            raise UsageError(f"frame_index must be a whole number from 0, got {index!r}")
        if time is not None and (not isinstance(time, numbers.Real) or not math.isfinite(time)):
            raise UsageError(f"timestamp_s must be a finite number of seconds, got {time!r}")

    @classmethod
    def of(
        cls, stream_id: str | None, *, frame_index: int | None, timestamp_s: float | None, reset: bool
    ) -> StreamPlace | None:
        """Give the place that the arguments of a call mean; none where the frame stands for itself.

        Raises:
            UsageError: They make no sense.
        """
        if stream_id is not None:
            return cls(stream_id, frame_index, timestamp_s, reset)
        if frame_index is not None or timestamp_s is not None or reset:
            raise UsageError("frame_index, timestamp_s and reset are of a stream: stream_id must say which")
        return None

    @property
    def headers(self) -> dict[str, str]:
        """Say it to the server."""
        headers = {"X-Stream-Id": self.stream_id}
        if self.frame_index is not None:
            headers["X-Frame-Index"] = str(int(self.frame_index))
        if self.timestamp_s is not None:
            headers["X-Frame-Timestamp"] = repr(float(self.timestamp_s))
        if self.reset:
            headers["X-Stream-Reset"] = "true"
        return headers


def check_stream_id(stream_id: str) -> None:
    """Check the name of a stream.

    Raises:
        UsageError: It cannot be one.
    """
    if not isinstance(stream_id, str) or not STREAM_ID.fullmatch(stream_id):
        raise UsageError(
            f"stream_id must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, got {stream_id!r}"
        )


def check_base_url(url: str) -> str:
    """Give the base URL with a trailing slash, so that a path prefix is kept.

    Raises:
        UsageError: It is not an http(s) URL with a host, or has a user name in it.
    """
    try:
        parts = urlsplit(url)
        whole = not (parts.query or parts.fragment)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and whole
    except ValueError:  # brackets that do not match, a port that is none
        usable = False
    if not usable:
        raise UsageError(f"base_url must be such as {DEFAULT_URL}, got '{url}'")
    if parts.username is not None:
        raise UsageError("base_url must not hold a user name; servers ask for an api_key, if for anything")
    return url.rstrip("/") + "/"


def base_headers(api_key: str | None) -> dict[str, str]:
    """Give the headers of every request."""
    headers = {
        "User-Agent": "loddis-client",
        "Accept": "application/json, application/problem+json",
        "Accept-Encoding": "identity",
    }
    if api_key:
        if not re.fullmatch(r"[\x21-\x7e]+", api_key):
            raise UsageError("api_key must be of visible ASCII characters")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


def check_options(*, score_threshold: float | None, max_detections: int | None, model: str | None) -> None:
    """Check what can be asked of a detection.

    Raises:
        UsageError: A threshold outside [0, 1], fewer than one detection, a model's name that cannot be one.
    """
    if score_threshold is not None and (
        not isinstance(score_threshold, numbers.Real) or not 0 <= float(score_threshold) <= 1
    ):
        raise UsageError(f"score_threshold must be in [0, 1], got {score_threshold}")
    if max_detections is not None and (not isinstance(max_detections, numbers.Integral) or max_detections < 1):
        raise UsageError(f"max_detections must be a whole number from 1, got {max_detections}")
    if model is not None and (not isinstance(model, str) or not model.isprintable()):
        raise UsageError(f"model must be NAME or NAME:VERSION, got {model!r}")


def detect_request(
    frame: Any,
    *,
    score_threshold: float | None,
    max_detections: int | None,
    model: str | None,
    as_image: bool = False,
    place: StreamPlace | None = None,
) -> Request:
    """Build the request to detect in a frame; with a place, in a frame of a stream.

    Raises:
        FrameError: The frame cannot be sent.
        UsageError: A threshold outside [0, 1], or fewer than one detection.
    """
    params = _params(score_threshold=score_threshold, max_detections=max_detections, model=model)
    headers = {} if place is None else place.headers
    if as_image:
        params["return"] = "image"
        headers["Accept"] = "image/png, application/problem+json"
    encoded = encode_frame(frame)
    return Request("POST", "v1/detect", params, headers | encoded.headers, encoded.body, is_repeatable=place is None)


def batch_request(
    frames: Iterable[Any], *, score_threshold: float | None, max_detections: int | None, model: str | None
) -> Request:
    """Build the request to detect in several frames at once.

    Raises:
        FrameError: One of them cannot be sent.
        UsageError: There are none, or an option cannot be.
    """
    params = _params(score_threshold=score_threshold, max_detections=max_detections, model=model)
    boundary = f"loddis-{secrets.token_hex(16)}"
    parts = []
    for encoded in map(encode_frame, frames):
        described = "".join(f"{name}: {value}\r\n" for name, value in encoded.headers.items())
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="frame"; filename="frame"\r\n{described}\r\n'
        parts += [head.encode(), encoded.body, b"\r\n"]
    if not parts:
        raise UsageError("a batch must have at least one frame")
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = b"".join((*parts, f"--{boundary}--\r\n".encode()))
    return Request("POST", "v1/detect/batch", params, headers, body)


def listen_request(stream_id: str) -> Request:
    """Build the request to listen to a stream.

    Raises:
        UsageError: The name cannot be one of a stream.
    """
    check_stream_id(stream_id)
    return Request("GET", f"v1/streams/{stream_id}/detections", headers={"Accept": NDJSON})


def video_request(*, score_threshold: float | None, max_detections: int | None, model: str | None) -> Request:
    """Build the request to detect in a video; the body is sent as it is read.

    Raises:
        UsageError: An option cannot be.
    """
    params = _params(score_threshold=score_threshold, max_detections=max_detections, model=model)
    headers = {"Content-Type": "application/octet-stream", "Accept": NDJSON}
    return Request("POST", "v1/videos", params, headers, is_repeatable=False)


def _params(*, score_threshold: float | None, max_detections: int | None, model: str | None) -> dict[str, str]:
    check_options(score_threshold=score_threshold, max_detections=max_detections, model=model)
    params: dict[str, str] = {}
    if score_threshold is not None:
        params["score_threshold"] = repr(float(score_threshold))
    if max_detections is not None:
        params["max_detections"] = str(int(max_detections))
    if model is not None:
        params["model"] = model
    return params
