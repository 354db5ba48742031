"""What the server answers, as plain values. Fields that a newer server adds are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Detection", "DetectionResult", "ModelInfo", "Problem"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One target, in pixels of the frame; the origin is the corner of the top-left pixel.

    Attributes:
        box_xyxy: Left, top, right, bottom.
        score: In [0, 1].
        class_id: Number of the class.
        class_name: Its name.
        centroid_xy: Sub-pixel centre of the target.
        snr: Local signal-to-noise ratio.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    class_id: int
    class_name: str
    centroid_xy: tuple[float, float]
    snr: float


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """Detections in one frame.

    Attributes:
        model_name: Who answered.
        model_version: And which version.
        width: Of the frame, pixels.
        height: Of the frame, pixels.
        dtype: Of the frame as the server understood it.
        detections: Best first.
        timing_ms: Where the server's time went: ``decode``, ``prepare``, ``queue``, ``infer``, ``finish``, ``total``.
        request_id: For the server's logs.
    """

    model_name: str
    model_version: str
    width: int
    height: int
    dtype: str
    detections: tuple[Detection, ...]
    timing_ms: dict[str, float] = field(repr=False)
    request_id: str = field(repr=False)

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def boxes_xyxy(self) -> tuple[tuple[float, float, float, float], ...]:
        """The boxes alone."""
        return tuple(detection.box_xyxy for detection in self.detections)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values, ready for JSON."""
        return {
            "model": {"name": self.model_name, "version": self.model_version},
            "frame": {"width": self.width, "height": self.height, "dtype": self.dtype},
            "detections": [
                {
                    "box_xyxy": list(d.box_xyxy),
                    "score": d.score,
                    "class_id": d.class_id,
                    "class_name": d.class_name,
                    "centroid_xy": list(d.centroid_xy),
                    "snr": d.snr,
                }
                for d in self.detections
            ],
            "timing_ms": dict(self.timing_ms),
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the server has.

    Attributes:
        name: Of the model.
        version: Of the model.
        state: ``ready`` when it answers.
        default: Whether it answers requests that name no model.
        details: Everything that the server says of it.
    """

    name: str
    version: str
    state: str
    default: bool
    details: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem document.

    Attributes:
        slug: Stable name of the kind of problem, such as ``unknown-model``; empty where the answer was no document.
        title: The same for people.
        status: HTTP status.
        detail: What happened this time.
        request_id: For the server's logs.
        document: All of it.
    """

    slug: str
    title: str
    status: int
    detail: str
    request_id: str
    document: dict[str, Any] = field(default_factory=dict, repr=False)
