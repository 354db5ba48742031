"""An int8 graph by static quantisation: what each layer's values reach on real frames decides its scale.

Weights are symmetric int8, a scale for each output channel. Activations are uint8 with a scale and a zero point for
each tensor: the form that ONNX Runtime's fast CPU kernels take, and one bit finer than symmetric scales, since hardly
anything that comes out of SiLU is below zero. TensorRT takes symmetric int8 alone, see
`loddis_runtime.engines.signed`.

Legend: B batch, T frames of the window, h w network pixels.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from loddis_export.data_movement import copy_pixels, share_scales
from loddis_export.errors import ExportError
from loddis_runtime.bundle import INPUT_NAME

__all__ = ["layers_for_float", "layers_of", "quantise_graph"]

# What layers are made of, with int8 kernels on every engine; decoding and TopK count pixels and stay in float.
QUANTISED_OPS = ("Conv", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize")


def layers_of(graph: Path) -> tuple[str, ...]:
    """Name the layers of a graph, as the detector's modules are called, in the order they run in.

    Raises:
        ExportError: The file is no ONNX graph, or has no convolution whose weight has a module's name.
    """
    layers = tuple(_layer(node) for node in _load(graph).graph.node if node.op_type == "Conv")
    if not layers:
        raise ExportError(f"{graph} has no convolutions: it is no graph of a detector")
    return layers


def layers_for_float(graph: Path) -> tuple[str, ...]:
    """Name the layers that int8 is nothing for, in the order they run in.

    The first has one input channel a frame, which gives int8 kernels nothing to do at once: it is faster in float. The
    last ones give a handful of numbers to be decoded, at no cost to speak of, and 256 steps are too few for pixels.

    Raises:
        ExportError: As `layers_of`.
    """
    first, *others = layers_of(graph)
    nodes = _load(graph).graph.node
    activated = {name for node in nodes if node.op_type == "Mul" for name in node.input}
    undecoded = {_layer(node) for node in nodes if node.op_type == "Conv" and node.output[0] not in activated}
    return (first, *(layer for layer in others if layer in undecoded))


def quantise_graph(
    source: Path,
    target: Path,
    frames: Sequence[NDArray[np.float32]],
    *,
    keep_float: Collection[str] = (),
    ranges: Path | None = None,
) -> None:
    """Write the int8 form of a graph, as quantisation and dequantisation around every layer (QDQ).

    Args:
        source: The float32 graph.
        target: File to write.
        frames: ``(T, h, w)`` float32 in [0, 1]: real frames with targets, as the network sees them.
        keep_float: Layers, by the names that `layers_of` gives, that stay as they are.
        ranges: File that keeps the ranges measured on these frames, for the next call; written where it is missing.

    Raises:
        ExportError: No frames, or a name that is no layer's.
    """
    if not frames:
        raise ExportError("quantisation needs frames to calibrate on")
    model = _load(source)
    unknown = sorted(set(keep_float) - {_layer(node) for node in model.graph.node if node.op_type == "Conv"})
    if unknown:
        raise ExportError(f"{source} has no layer {', '.join(unknown)}")
    with _without_advice():
        quantize_static(
            onnx.shape_inference.infer_shapes(model),
            str(target),
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_OPS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            nodes_to_exclude=_float_nodes(model, keep_float),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
            calibration_cache_path=ranges,
        )
    quantised = onnx.load(str(target))
    del quantised.opset_import[:]  # the quantiser imports every set that it knows of
    quantised.opset_import.extend(model.opset_import)
    share_scales(quantised)
    copy_pixels(quantised)
    onnx.save_model(quantised, str(target), save_as_external_data=False)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the quantiser's advice, which was followed already, off the root logger, and nothing else."""

    def is_other(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(is_other)


class _Frames(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Hands frames to the calibrator, one at a time."""

    def __init__(self, frames: Sequence[NDArray[np.float32]]) -> None:
        self._frames: Iterator[NDArray[np.float32]] = iter(frames)

    def get_next(self) -> dict[str, Any] | None:
        """Give the next input, none at the end."""
        frame = next(self._frames, None)
        return None if frame is None else {INPUT_NAME: np.ascontiguousarray(frame[None])}


def _load(graph: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(graph))
    except Exception as error:  # the parser's errors have no common root
        raise ExportError(f"{graph} is not an ONNX graph: {error}") from error


def _layer(convolution: onnx.NodeProto) -> str:
    """Name the layer of a convolution by its weight, which has its module's name."""
    name: str = convolution.input[1]
    return name.removesuffix(".weight").removesuffix(".conv")


def _float_nodes(model: onnx.ModelProto, keep_float: Collection[str]) -> list[str]:
    """Name the nodes that stay in float: kept layers, what only kept layers feed, and what comes after the last layers.

    A sum or a concatenation of maps that are float on both sides would lose to int8 and save nothing.
    """
    nodes = list(model.graph.node)
    last = max(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    names = []
    of_kept: set[str] = set()  # tensors that kept layers made, and what became of them alone
    constants = {tensor.name for tensor in model.graph.initializer} | {""}
    for i, node in enumerate(nodes):
        kept = node.op_type == "Conv" and _layer(node) in keep_float
        carried = node.op_type in QUANTISED_OPS and node.op_type != "Conv"
        carried = carried and of_kept.issuperset(set(node.input) - constants)
        if kept or carried:
            names.append(node.name)
            of_kept.update(node.output)
        elif i > last or node.op_type not in QUANTISED_OPS:
            names.append(node.name)
    return names
