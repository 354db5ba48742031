"""What answers look like. These models describe; answers on the hot path are built as plain dicts of the same shape."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.intensity import IntensityPolicy
from loddis_runtime.manifest import TrainingDomain
from loddis_server.models import ModelState, ServedModel, VersionStatus
from loddis_server.problems import ProblemType

__all__ = [
    "DetectOptions",
    "DetectQuery",
    "DetectResponse",
    "Detection",
    "FrameInfo",
    "Liveness",
    "ModelDetail",
    "ModelList",
    "ModelRef",
    "ModelSummary",
    "ModelVersion",
    "ParameterFault",
    "ProblemDescription",
    "ProblemDocument",
    "ProtocolError",
    "Readiness",
    "ServerInfo",
    "TimingMs",
]

MAX_DETECTIONS = 100_000


class DetectOptions(BaseModel):
    """How to detect. Parameters that are not listed are refused, so that a typing error does not go unseen."""

    model_config = ConfigDict(extra="forbid")

    score_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Report scores from here on; the model's own if none.",
    )
    max_detections: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DETECTIONS,
        description="Report no more than this many, the best; the model's if none.",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="`NAME`, for its newest version, or `NAME:VERSION`; the server's default if none.",
        examples=["sky-nano", "sky-nano:2"],
    )


class DetectQuery(DetectOptions):
    """How to detect in one frame."""

    return_: Literal["json", "image"] = Field(
        default="json", alias="return", description="`json`: detections; `image`: a PNG with the detections drawn in."
    )


class ModelRef(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["sky-nano"])
    version: str = Field(examples=["1"])


class FrameInfo(BaseModel):
    """The frame as it was understood."""

    width: int = Field(description="Pixels.", examples=[640])
    height: int = Field(description="Pixels.", examples=[512])
    dtype: Literal["uint8", "uint16", "float32"] = Field(examples=["uint16"])


class Detection(BaseModel):
    """One target. Coordinates are pixels of the frame that was sent; the origin is the corner of the top-left pixel."""

    box_xyxy: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom; pixels.", examples=[[96.8, 57.2, 103.8, 64.2]]
    )
    score: float = Field(ge=0, le=1, examples=[0.91])
    class_id: int = Field(ge=0, examples=[0])
    class_name: str = Field(examples=["target"])
    centroid_xy: tuple[float, float] = Field(
        description="Sub-pixel centre of the target itself; x, y pixels.", examples=[[100.3, 60.7]]
    )
    snr: float = Field(description="Local signal to noise ratio.", examples=[14.2])


class TimingMs(BaseModel):
    """Where the time went, milliseconds."""

    decode: float = Field(description="From bytes to pixels.")
    prepare: float = Field(description="Grey levels to [0, 1], fitted into the network's size.")
    queue: float = Field(description="Waiting for the network.")
    infer: float = Field(description="The network, for the batch that the frame was in.")
    finish: float = Field(description="Choosing among candidates, measuring targets.")
    total: float = Field(description="From the head of the request to its answer, upload included.")


class DetectResponse(BaseModel):
    """Detections in one frame, best first."""

    model: ModelRef
    frame: FrameInfo
    detections: list[Detection]
    timing_ms: TimingMs
    request_id: str = Field(description="The one sent as `X-Request-Id`, or one of the server's own.")


class ModelSummary(BaseModel):
    """A model that is served."""

    name: str
    version: str
    state: Literal["ready"]
    default: bool = Field(description="Whether it answers requests that name no model.")
    classes: tuple[str, ...]
    window: int = Field(description="Frames that the model sees.")
    size_hw: tuple[int, int] = Field(description="Height and width of the network's input, pixels.")
    variant: str
    precision: str
    device: str
    metrics: dict[str, dict[str, float]] = Field(description="Domain and split -> metric -> value.")


class ModelDetail(ModelSummary):
    """A model and what its manifest says about it."""

    engine: str
    threads: int = Field(description="Cores for one run of the network.")
    stride: int
    register_window: bool
    intensity: IntensityPolicy
    score_threshold: float
    nms_iou_threshold: float
    nms_centre_distance_px: float
    box_averaging_iou: float | None
    max_detections: int
    training_domains: tuple[TrainingDomain, ...]
    software: dict[str, str]
    created: datetime

    @classmethod
    def of(cls, model: ServedModel, *, is_default: bool) -> ModelDetail:
        """Describe a model."""
        detector = model.detector
        manifest = detector.manifest.model_dump(exclude={"schema_version", "files"})
        return cls(
            **manifest,
            state="ready",
            default=is_default,
            precision=detector.precision,
            device=detector.device,
            engine=detector.engine.name,
            threads=detector.threads,
        )


class ModelVersion(BaseModel):
    """A version of a model, on disk or in use."""

    name: str = Field(examples=["sky-nano"])
    version: str = Field(examples=["4"])
    state: ModelState = Field(
        description="`available`: on disk. `loading`: not served yet. `ready`: served. `unloading`: not served any "
        "more, but still used by requests or streams that began before. `failed`: cannot be loaded; `cause` says why."
    )
    cause: str | None = Field(default=None, description="Why it could not be loaded.")
    newest: bool = Field(description="Whether the name alone means this version.")
    default: bool = Field(description="Whether it answers requests that name no model.")
    leases: int = Field(description="Requests and streams that use it now.", examples=[3])

    @classmethod
    def of(cls, status: VersionStatus) -> ModelVersion:
        """Describe a version."""
        return cls(
            name=status.name,
            version=status.version,
            state=status.state,
            cause=status.cause,
            newest=status.is_newest,
            default=status.is_default,
            leases=status.leases,
        )


class ModelList(BaseModel):
    """All models that are served, and all that could be."""

    models: list[ModelSummary] = Field(description="Those that are ready.")
    repository: list[ModelVersion] = Field(description="Every version on disk or in use, by name, oldest first.")


class Liveness(BaseModel):
    """Whether the process does its work."""

    status: Literal["alive", "stalled"]


class Readiness(BaseModel):
    """Whether the server takes requests."""

    status: Literal["starting", "ready", "draining", "failed"]


class ServerInfo(BaseModel):
    """Where to go from here."""

    name: str
    version: str
    status: Literal["starting", "ready", "draining", "failed"]
    links: dict[str, str]


class ParameterFault(BaseModel):
    """What is wrong with one parameter or header."""

    parameter: str = Field(examples=["score_threshold"])
    message: str = Field(examples=["input should be less than or equal to 1, got '1.5'"])


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457, `application/problem+json`)."""

    type: str = Field(
        description="Path of its description; the last part names the problem.", examples=["/problems/bad-frame"]
    )
    title: str = Field(description="What happened; the same words every time.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was expected, and what came.")
    instance: str = Field(description="Path of the request.", examples=["/v1/detect"])
    request_id: str
    errors: list[ParameterFault] | None = Field(
        default=None, description="Each parameter at fault, where there are any."
    )


class ProtocolError(BaseModel):
    """Why a request was refused, as the Open Inference Protocol says it."""

    error: str = Field(examples=["no model 'nothing' is served; there is: sky-nano:4"])


class ProblemDescription(BaseModel):
    """A kind of problem."""

    slug: str
    status: int
    title: str
    remedy: str = Field(description="What whoever gets it can do.")

    @classmethod
    def of(cls, kind: ProblemType) -> ProblemDescription:
        """Describe an entry of the catalogue."""
        return cls(slug=kind.slug, status=kind.status, title=kind.title, remedy=kind.remedy)
