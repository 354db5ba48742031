"""Bundle in, TensorRT engines out: one for each target and precision, each with its passport."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from loddis_export.errors import ExportError
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.engines.building import (
    CURRENT,
    DEFAULT_BATCH_SIZES,
    LARGEST_BATCH,
    ConvertedGraph,
    build_engine,
    resolve_target,
)
from loddis_runtime.engines.cuda import find_gpu
from loddis_runtime.engines.flavours import Flavour, find_tensorrt
from loddis_runtime.engines.passport import Passport, is_target
from loddis_runtime.engines.refusals import refused_precision
from loddis_runtime.errors import BundleError

__all__ = ["EngineSettings", "WrittenEngine", "build_engines"]


def _check_target(value: Any) -> str:
    if value != CURRENT and not (isinstance(value, str) and is_target(value)):
        raise ValueError(f"a target is written sm_86 (compute capability 8.6) or {CURRENT}, got '{value}'")
    return str(value)


class EngineSettings(BaseModel):
    """Which engines to build."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: list[Annotated[str, BeforeValidator(_check_target)]] = Field(
        default=[CURRENT],
        description="Compute capability of the GPU to build for, such as sm_86, or current: the one here; repeats.",
    )
    precision: list[GraphPrecision] = Field(default=["fp16"], description="Of the network; repeats.")
    batch: list[Annotated[int, Field(ge=1, le=LARGEST_BATCH)]] = Field(
        default=list(DEFAULT_BATCH_SIZES), description="Frames at once to optimise for, a profile each; repeats."
    )
    flavour: Flavour | None = Field(
        default=None,
        description="TensorRT to build with: tensorrt, for the GPU here, or tensorrt_rtx, for any; what is installed.",
    )


class WrittenEngine(NamedTuple):
    """An engine that was written.

    Attributes:
        path: Of its passport.
        passport: What it is.
    """

    path: Path
    passport: Passport


def build_engines(path: Path, settings: EngineSettings) -> list[WrittenEngine]:
    """Build engines into a bundle's `engines/`.

    A bundle without a float16 graph gets its fp16 engines from its float32 one, converted on the way; no parity gate
    saw that graph, and the passport says `converted`. Where the gate saw it and refused it, no engine is built.

    Args:
        path: Folder of the bundle.
        settings: Which.

    Raises:
        BundleError: No bundle, or it has no graph of that precision, nor one to make it of.
        EngineError: TensorRT is missing, cannot build for a target (nothing was written then), or did not build an
            engine in the precision asked for.
        ExportError: The float32 graph cannot be converted, or the export has found that it strays in this precision.
    """
    bundle = Bundle.open(path)
    tensorrt = find_tensorrt(settings.flavour)
    gpu = find_gpu()
    targets = list(dict.fromkeys(resolve_target(target, tensorrt, gpu) for target in settings.target))
    graphs = {precision: _conversion(bundle, precision) for precision in settings.precision}
    return [
        WrittenEngine(
            *build_engine(
                bundle,
                precision=precision,
                target=target,
                batch_sizes=settings.batch,
                tensorrt=tensorrt,
                gpu=gpu,
                converted=converted,
            )
        )
        for target in targets
        for precision, converted in graphs.items()
    ]


def _conversion(bundle: Bundle, precision: GraphPrecision) -> ConvertedGraph | None:
    """Convert the float32 graph where that gives the precision, and the bundle has no graph of it."""
    if (faults := refused_precision(bundle, precision)) is not None:
        raise ExportError(f"the export of {bundle.path} found that {precision} strays too far: {faults}")
    if precision in bundle.precisions:
        return None
    if precision != "fp16" or "fp32" not in bundle.precisions:
        bundle.graph_path(precision)  # raises: says which there are
    import onnx  # only a conversion needs it: an edge GPU builds from the graphs in the bundle

    from loddis_export.half import convert_to_half

    try:
        model = onnx.load_model_from_string(bundle.graph_path("fp32").read_bytes())
    except Exception as error:  # protobuf's own errors have no public root
        raise BundleError(f"{bundle.graph_path('fp32')} is not a usable ONNX graph: {error}") from error
    return ConvertedGraph("fp32", convert_to_half(model).SerializeToString())
