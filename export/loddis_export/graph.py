"""Torch detector to ONNX graph: decode and TopK inside, dynamic batch, one file.

Legend: B batch, T frames of the window, h w network pixels, K detections.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from loddis_export.errors import ExportError
from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME
from loddis_trainer.models import LoddisDetector
from loddis_trainer.models.window import with_plain_kernel

__all__ = ["OPSET", "graph_parameters", "set_candidates", "set_parameter", "write_graph"]

OPSET = 20
LARGEST_BATCH = 4096  # a bound that the exporter's shape solver asks for, no limit of the graph


def write_graph(detector: LoddisDetector, path: Path, *, window: int, size_hw: tuple[int, int]) -> None:
    """Write a detector as ONNX: `frames` ``(B, T, h, w)`` float32 in, `detections` ``(B, K, 6)`` float32 out.

    Args:
        detector: In evaluation mode, without training-only branches.
        path: File to write.
        window: Frames T.
        size_hw: Network height and width, pixels.

    Raises:
        ExportError: The graph does not pass ONNX's own check, or its batch is not dynamic.
    """
    # Batch 2, not 1: a batch of one would be baked into the graph as a constant.
    example = torch.zeros(2, window, *size_hw)
    with _quiet_exporter():
        program = torch.onnx.export(
            with_plain_kernel(detector),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"frames": {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}},
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch gave no ONNX program for the detector")
    model = program.model_proto
    _forget_origins(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ExportError(f"the exported graph has a fixed batch of {batch.dim_value}")
    onnx.save_model(model, str(path), save_as_external_data=False)


def graph_parameters(path: Path) -> dict[str, int]:
    """Give the weights that a graph holds, name to number of values; constants of a single value are left out."""
    model = onnx.load(str(path))
    sizes: dict[str, int] = {}
    for tensor in model.graph.initializer:
        count = 1
        for side in tensor.dims:
            count *= side
        if count > 1:
            sizes[tensor.name] = count
    return sizes


def set_parameter(path: Path, name: str, values: torch.Tensor) -> None:
    """Give a parameter of a written graph new values, without another trace of the detector.

    Args:
        path: File of the graph.
        name: As the detector names it.
        values: Of the parameter's shape; written as float32.

    Raises:
        ExportError: The graph has no such parameter, or of another shape or type, or several layers share it: equal
            ones are merged when a graph is written.
    """
    model = onnx.load(str(path))
    readers = sum(list(node.input).count(name) for node in model.graph.node)
    for tensor in model.graph.initializer:
        fits = tuple(tensor.dims) == tuple(values.shape) and tensor.data_type == onnx.TensorProto.FLOAT
        if tensor.name == name and fits and readers == 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.detach().float().cpu().numpy(), name))
            onnx.save_model(model, str(path), save_as_external_data=False)
            return
    raise ExportError(f"{path.name} has no parameter {name} of shape {tuple(values.shape)} that one layer reads")


def set_candidates(path: Path, count: int) -> None:
    """Let a written graph give another number of candidates a frame; how it finds each of them stays as it is.

    Args:
        path: File of the graph, of any precision.
        count: K; no more than the graph has grid points.

    Raises:
        ExportError: The graph does not choose its candidates as this project's do, or has fewer grid points.
    """
    model = onnx.load(str(path))
    graph = model.graph
    counts = [node.input[1] for node in graph.node if node.op_type == "TopK"]
    constants = [tensor for tensor in graph.initializer if tensor.name in counts]
    readers = sum(list(node.input).count(tensor.name) for node in graph.node for tensor in constants)
    if not len(counts) == len(constants) == readers == 1:
        raise ExportError(f"{path.name} does not choose its candidates by one TopK of a constant number")
    constants[0].CopyFrom(onnx.numpy_helper.from_array(np.array([count], dtype=np.int64), constants[0].name))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = count
    del graph.value_info[:]  # shapes of before
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path.name} cannot give {count} candidates: {str(error).splitlines()[0]}") from error
    onnx.save_model(model, str(path), save_as_external_data=False)


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces and file names of the machine that exported."""
    graph = model.graph
    model.ClearField("doc_string")
    del model.metadata_props[:]
    graph.ClearField("doc_string")
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        item.ClearField("doc_string")
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress prints and deprecation notes of its own insides off the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
