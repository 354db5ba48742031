"""An int8 graph as TensorRT takes it: activations as int8 about 0 instead of uint8 about any level, biases as float32.

ONNX Runtime's fast CPU kernels take uint8 activations alone, TensorRT int8 about 0 alone. What reaches from -1 to 3 in
uint8 is to reach from -3 to 3 in int8: the steps become coarser, by no more than a factor of two where zero was within
the range. The export holds this form against the checkpoint as well. Biases come as int32 that are dequantised; what
they are worth is written in their place.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from loddis_runtime.errors import EngineError

__all__ = ["signed_graph"]

LARGEST_UINT8, LARGEST_INT8 = 255, 127


def signed_graph(content: bytes) -> bytes:
    """Give an ONNX graph in its signed form; one without uint8 activations comes back as it is.

    Raises:
        EngineError: The graph cannot be read, a tensor is scaled by no constants of its own, or the package onnx is
            missing.
    """
    onnx = _onnx()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own errors have no public root
        raise EngineError(f"the graph is not a usable ONNX graph: {error}") from error
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scaled = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in scaled:
        if len(node.input) < 3 or any(name not in constants for name in node.input[1:]):
            raise EngineError(f"{node.output[0]} is not scaled by constants: the graph is none of ours")
    pairs = {tuple(node.input[1:3]) for node in scaled if constants[node.input[2]].data_type == onnx.TensorProto.UINT8}
    if not pairs:
        return content
    if len({scale for scale, _ in pairs}) < len(pairs) or len({zero for _, zero in pairs}) < len(pairs):
        raise EngineError("tensors share a scale or a zero point, but not both: the graph is none of ours")
    for node in [node for node in scaled if _is(constants.get(node.input[0]), onnx.TensorProto.INT32)]:
        levels, scale = (onnx.numpy_helper.to_array(constants[name]) for name in node.input[:2])
        graph.initializer.append(onnx.numpy_helper.from_array((levels * scale).astype(np.float32), node.output[0]))
        graph.node.remove(node)
    for scale_name, zero_name in pairs:
        scale, zero = (onnx.numpy_helper.to_array(constants[name]) for name in (scale_name, zero_name))
        reach = np.maximum(zero, LARGEST_UINT8 - zero.astype(np.int32)).astype(np.float32)  # levels from zero, at most
        symmetric = (scale * reach / LARGEST_INT8).astype(np.float32)
        constants[scale_name].CopyFrom(onnx.numpy_helper.from_array(symmetric, scale_name))
        constants[zero_name].CopyFrom(onnx.numpy_helper.from_array(np.zeros(zero.shape, dtype=np.int8), zero_name))
    del graph.value_info[:]  # types of before
    return bytes(model.SerializeToString())


def _is(tensor: Any, data_type: int) -> bool:
    return tensor is not None and tensor.data_type == data_type


def _onnx() -> Any:
    """Import onnx, or say how to get it."""
    try:
        importlib.import_module("onnx.numpy_helper")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise EngineError(f"an int8 engine needs the package onnx ({error}): pip install onnx") from None
