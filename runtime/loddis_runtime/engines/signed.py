"""An int8 graph as TensorRT takes it: activations as int8 about 0 instead of uint8 about 128, biases as float32.

ONNX Runtime's fast CPU kernels take uint8 activations alone, TensorRT int8 alone. About 128 the one is the other moved
by half of the range: both graphs compute the same numbers. Biases come as int32 that are dequantised; what they are
worth is written in their place.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from loddis_runtime.errors import EngineError

__all__ = ["signed_graph"]

ZERO_POINT = 128  # of uint8 activations: int8's zero, moved by half of the range


def signed_graph(content: bytes) -> bytes:
    """Give an ONNX graph in its signed form; one without uint8 activations comes back as it is.

    Raises:
        EngineError: The graph cannot be read, an activation has another zero point, so that int8 about 0 would not be
            the same, or the package onnx is missing.
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
        if len(node.input) < 3 or node.input[2] not in constants:
            raise EngineError(f"{node.output[0]} is scaled about no constant zero point: the graph is none of ours")
    zero_points = {node.input[2] for node in scaled}
    unsigned = [constants[name] for name in zero_points if _is(constants.get(name), onnx.TensorProto.UINT8)]
    if not unsigned:
        return content
    for tensor in unsigned:
        values = onnx.numpy_helper.to_array(tensor)
        if (values != ZERO_POINT).any():
            raise EngineError(f"{tensor.name} is not {ZERO_POINT}: the graph was not quantised symmetrically")
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(values.shape, dtype=np.int8), tensor.name))
    for node in [node for node in scaled if _is(constants.get(node.input[0]), onnx.TensorProto.INT32)]:
        levels, scale = (onnx.numpy_helper.to_array(constants[name]) for name in node.input[:2])
        graph.initializer.append(onnx.numpy_helper.from_array((levels * scale).astype(np.float32), node.output[0]))
        graph.node.remove(node)
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
