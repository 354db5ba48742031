"""The graphs of a bundle beside the float32 one: made of it, held against the checkpoint, kept where they pass.

Legend: T frames of the window, h w network pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from loddis_export.errors import ExportError
from loddis_export.half import convert_to_half
from loddis_export.layer_search import find_float_layers
from loddis_export.parity import Reference, evenly_spaced, run_checkpoint
from loddis_export.parity_report import PrecisionParity
from loddis_export.quantise import layers_for_float, layers_of, quantise_graph
from loddis_export.score_levels import level_scores
from loddis_export.settings import ParityLimits
from loddis_runtime import Detector
from loddis_runtime.bundle import Bundle, GraphPrecision, graph_name
from loddis_runtime.engines.onnx_cpu import OnnxCpuEngine
from loddis_runtime.engines.signed import signed_graph
from loddis_runtime.manifest import Manifest
from loddis_trainer.data import DomainDataset
from loddis_trainer.metrics import Metrics
from loddis_trainer.models import LoddisDetector

__all__ = ["calibration_numbers", "compare_signed_int8", "figures_of_precision", "write_fp16", "write_int8"]

HALF_FRAMES = 48  # that the checkpoint is run on in float16, a second or more each


def calibration_numbers(dataset: DomainDataset, count: int) -> list[int]:
    """Choose at most `count` frames that have targets, evenly spaced through a split.

    Raises:
        ExportError: The split has no targets.
    """
    with_targets = [number for number in range(len(dataset)) if len(dataset.boxes(number))]
    if not with_targets:
        raise ExportError(f"{dataset.label} has no targets to calibrate int8 on: name others with --calibrate-on")
    return evenly_spaced(with_targets, count)


def write_fp16(
    building: Path,
    manifest: Manifest,
    checkpoint: LoddisDetector,
    reference: Reference,
    *,
    limits: ParityLimits,
    threads: int,
) -> PrecisionParity:
    """Write the float16 graph of a bundle's float32 graph, for TensorRT and CUDA; detections stay float32.

    ONNX Runtime's CPU provider computes such a graph in float32: running it shows that the graph is right and what
    rounding the weights does, not what float16 does to activations. So the checkpoint is run in float16 as well, which
    a CPU does slowly: on some of the frames, those with targets first. Both have to keep within the limits.

    Args:
        building: The bundle's folder, with the float32 graph.
        manifest: Of the bundle.
        checkpoint: Its detector, in evaluation mode.
        reference: What it says in float32.
        limits: How far the graph may stray.
        threads: Of the engine that it is tried in.

    Returns:
        The worse of both comparisons. Where it has faults, no graph was left behind.

    Raises:
        ExportError: The graph cannot be converted: a weight is beyond float16's range.
    """
    target = building / graph_name("fp16")
    half = convert_to_half(onnx.load(str(building / graph_name("fp32"))))
    onnx.save_model(half, str(target), save_as_external_data=False)
    with _opened(building, manifest, "fp16", threads) as detector:
        of_graph = reference.compare(detector, limits=limits)
    some = reference.few(HALF_FRAMES)
    rows = run_checkpoint(copy.deepcopy(checkpoint).half(), some.prepared, dtype=torch.float16)
    of_arithmetic = some.compare_rows(rows, precision="fp16", computed_by="torch in float16, CPU", limits=limits)
    parity = max(of_arithmetic, of_graph, key=lambda one: one.excess)
    if parity.faults:
        target.unlink()
    return parity


def write_int8(
    building: Path,
    manifest: Manifest,
    reference: Reference,
    frames: Sequence[NDArray[np.float32]],
    *,
    limits: ParityLimits,
    threads: int,
    progress: bool = False,
) -> PrecisionParity:
    """Write the int8 graph of a bundle's float32 graph, as few layers in float as the limits allow.

    Its scores are set level with the checkpoint's on the frames that both are compared on.

    Args:
        building: The bundle's folder, with the float32 graph.
        manifest: Of the bundle.
        reference: What the checkpoint says.
        frames: ``(T, h, w)`` each, to calibrate on.
        limits: How far the graph may stray.
        threads: Of the engine.
        progress: Say what is tried, and what it comes to; the search may take long.

    Returns:
        The comparison. Where it has faults, no graph was left behind.
    """
    source, target = building / graph_name("fp32"), building / graph_name("int8")
    ranges = building / "ranges.json"

    def infer(graph: Path) -> NDArray[np.float32]:
        with _opened(building, manifest, "int8", threads, path=graph) as detector:
            return reference.infer(detector.engine)

    def write(float_layers: tuple[str, ...]) -> tuple[float, NDArray[np.float32]]:
        quantise_graph(source, target, frames, keep_float=float_layers, ranges=ranges)
        return level_scores(
            target, reference.rows, infer, threshold=reference.score_threshold, domains=reference.domains
        )

    def try_out(float_layers: tuple[str, ...]) -> PrecisionParity:
        shift, rows = write(float_layers)
        return reference.compare_rows(
            rows,
            precision="int8",
            computed_by=reference.detector.engine.name,  # it runs on a CPU as well
            limits=limits,
            float_layers=float_layers,
            score_shift=shift,
        )

    best = find_float_layers(layers_of(source), try_out, always=layers_for_float(source), progress=progress)
    write(best.float_layers)  # the layers that were chosen need not be those that were tried last
    ranges.unlink()
    if best.faults:
        target.unlink()
    return best


def compare_signed_int8(
    building: Path, manifest: Manifest, reference: Reference, *, limits: ParityLimits, threads: int
) -> PrecisionParity:
    """Hold the int8 graph of a bundle against the checkpoint in the form that TensorRT takes, which is coarser."""
    path = building / "signed.onnx"
    path.write_bytes(signed_graph((building / graph_name("int8")).read_bytes()))
    try:
        with _opened(building, manifest, "int8", threads, path=path) as detector:
            return reference.compare(detector, limits=limits)
    finally:
        path.unlink()


def _opened(
    building: Path, manifest: Manifest, precision: GraphPrecision, threads: int, *, path: Path | None = None
) -> Detector:
    """Open a graph that the manifest does not list yet."""
    path = path or building / graph_name(precision)
    engine = OnnxCpuEngine(path, manifest=manifest, precision=precision, threads=threads)
    return Detector(Bundle(building, manifest), engine, threads=threads)


def figures_of_precision(metrics: Metrics, precision: GraphPrecision) -> dict[str, float]:
    """Give the figures that a manifest keeps of a precision beside those of float32."""
    headline = metrics.headline()
    names = ("map50", "pd", "fa_per_frame", "pd_at_fa_0.05", "pd_at_fa_0.1")
    return {f"{name}_{precision}": headline[name] for name in names if name in headline}
