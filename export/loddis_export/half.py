"""A graph in float32 to one in float16: convolutions in half precision, detections in single.

TensorRT runs a network in the types that its graph has, so half precision is a matter of the graph. float16 has 11
significant bits: above 2048 px it no longer tells neighbouring pixels apart, and at 50 px its steps are 1/32 px. So
everything after the last convolution stays float32: scores, TopK, decoding, coordinates. Logits come from convolutions
in half precision and are widened once. The input stays float32, and is narrowed in the graph.

The converters of onnxconverter-common and `onnxruntime.transformers.float16` keep listed nodes in float32 too, but
round what these hand to each other to float16 (a box at 45.906 px came out at 45.938), and leave the graph unsorted.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from loddis_export.errors import ExportError

__all__ = ["convert_to_half"]

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
ALWAYS_FLOAT = {"Resize": (1, 2)}  # operator → inputs that are float32 whatever the data is: region, scales
LARGEST_HALF = float(np.finfo(np.float16).max)


def convert_to_half(model: ModelProto) -> ModelProto:
    """Give a float32 graph with its convolutions, and what lies between them, in float16.

    Args:
        model: A graph of this project's: float32 in and out, flat, not quantised. It is left as it is.

    Returns:
        A graph with the same inputs and outputs, of the same types.

    Raises:
        ExportError: The graph is not of that kind, or a weight is beyond float16's range (±65504).
    """
    half = ModelProto()
    half.CopyFrom(model)
    nodes = list(half.graph.node)
    floats = _float_tensors(half)
    inside = _up_to_last_weights(nodes)  # indices of nodes
    _narrow_weights(half, inside)

    narrow = {tensor.name for tensor in half.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    made_inside = {name for index in inside for name in nodes[index].output if name in floats}
    copies: dict[tuple[str, int], str] = {}  # tensor, type → its copy in that type
    converted: list[NodeProto] = []
    for index, node in enumerate(nodes):
        for position, name in enumerate(node.input):
            if index in inside and position not in ALWAYS_FLOAT.get(node.op_type, ()):
                wanted = TensorProto.FLOAT16
                convert = name in floats and name not in made_inside and name not in narrow
            else:
                wanted = TensorProto.FLOAT
                convert = name in made_inside
            if convert:
                if (name, wanted) not in copies:
                    suffix = "half" if wanted == TensorProto.FLOAT16 else "single"
                    copies[name, wanted] = f"{name}.{suffix}"
                    converted.append(
                        helper.make_node("Cast", [name], [f"{name}.{suffix}"], f"cast.{name}.{suffix}", to=wanted)
                    )
                node.input[position] = copies[name, wanted]
        converted.append(node)
    del half.graph.node[:]
    half.graph.node.extend(converted)
    del half.graph.value_info[:]  # types of before
    try:
        onnx.checker.check_model(half, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph in float16 is not valid ONNX: {str(error).splitlines()[0]}") from error
    return half


def _float_tensors(model: ModelProto) -> set[str]:
    """Name all tensors of float32, and refuse what this conversion was not made for."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    others = sorted(
        {TensorProto.DataType.Name(kind) for kind in types.values()}
        & {"FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8"}
    )
    if others:
        raise ExportError(
            f"only a graph in float32 becomes one in float16; this one has tensors of {', '.join(others)}"
        )
    for node in graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR) for attribute in node.attribute
        ):
            raise ExportError(f"node {node.name or node.op_type} has a graph or a constant of its own: fold it first")
        unknown = [name for name in node.output if name and name not in types]
        if unknown:
            raise ExportError(f"the type of tensor {unknown[0]} is not known")
    return {name for name, kind in types.items() if kind == TensorProto.FLOAT}


def _up_to_last_weights(nodes: list[NodeProto]) -> set[int]:
    """Give the indices of the nodes with weights, and of all that such a node comes after."""
    consumers = defaultdict(list)
    for index, node in enumerate(nodes):
        for name in node.input:
            consumers[name].append(index)
    inside: set[int] = set()
    for index in reversed(range(len(nodes))):
        after = (consumer for name in nodes[index].output for consumer in consumers[name])
        if nodes[index].op_type in WEIGHTED or any(consumer in inside for consumer in after):
            inside.add(index)
    if not inside:
        raise ExportError("the graph has no convolution that could run in float16")
    return inside


def _narrow_weights(model: ModelProto, inside: set[int]) -> None:
    """Bring the constants of the nodes inside to float16; what others use as well, they keep as it was."""
    graph = model.graph
    uses: dict[str, list[tuple[int, int]]] = defaultdict(list)
    kept = set()
    for index, node in enumerate(graph.node):
        for position, name in enumerate(node.input):
            if index in inside and position not in ALWAYS_FLOAT.get(node.op_type, ()):
                uses[name].append((index, position))
            else:
                kept.add(name)
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or tensor.name not in uses:
            continue
        values = numpy_helper.to_array(tensor)
        largest = float(np.abs(values).max(initial=0.0))
        if not largest <= LARGEST_HALF:
            raise ExportError(f"{tensor.name} has values up to {largest:.3g}, beyond float16's {LARGEST_HALF:.0f}")
        name = f"{tensor.name}.half" if tensor.name in kept else tensor.name
        narrow = numpy_helper.from_array(values.astype(np.float16), name)
        if tensor.name in kept:
            graph.initializer.append(narrow)
            for index, position in uses[tensor.name]:
                graph.node[index].input[position] = name
        else:
            tensor.CopyFrom(narrow)
