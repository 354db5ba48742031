"""What is asked of the server: addresses, headers, parameters. No input or output happens here."""

from __future__ import annotations

import numbers
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from loddis_client._encoding import encode_frame
from loddis_client._errors import UsageError

__all__ = ["DEFAULT_URL", "Request", "base_headers", "check_base_url", "check_options", "detect_request"]

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, ready to be sent.

    Attributes:
        method: Of HTTP.
        path: Below the base URL, without a leading slash.
        params: Of the query.
        headers: Besides those of every request.
        body: Bytes, if any.
    """

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


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
) -> Request:
    """Build the request to detect in a frame.

    Raises:
        FrameError: The frame cannot be sent.
        UsageError: A threshold outside [0, 1], or fewer than one detection.
    """
    check_options(score_threshold=score_threshold, max_detections=max_detections, model=model)
    params: dict[str, str] = {}
    if score_threshold is not None:
        params["score_threshold"] = repr(float(score_threshold))
    if max_detections is not None:
        params["max_detections"] = str(int(max_detections))
    if model is not None:
        params["model"] = model
    headers = {}
    if as_image:
        params["return"] = "image"
        headers["Accept"] = "image/png, application/problem+json"
    encoded = encode_frame(frame)
    return Request("POST", "v1/detect", params, headers | encoded.headers, encoded.body)
