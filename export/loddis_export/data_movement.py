"""An int8 graph in which values that are only moved are moved, and not computed anew.

Joining maps rescales those whose scale is another; taking the nearest pixel looks up every value by its index. Both are
steps of one thread that cost a small network a tenth of its time. Here maps that are joined share a scale from the
start, and pixels are doubled by copying rows of channels.

Legend: B batch, C channels, h w pixels of a map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from scipy.cluster.hierarchy import DisjointSet  # type: ignore[import-untyped]

from loddis_export.errors import ExportError

__all__ = ["copy_pixels", "share_scales"]

MOVES = ("Concat", "MaxPool", "Resize")  # what comes out of them went in
LEVELS = 255
FACTOR = 2  # of upsampling


def share_scales(model: onnx.ModelProto) -> None:
    """Let maps that are joined, pooled or enlarged share one scale with the result, in place.

    The scale covers all of them: what is joined was to be rescaled to that anyway, and is now rounded once, not twice.

    Args:
        model: With quantisation and dequantisation around its nodes, activations as uint8.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    users = _users(graph)
    groups: DisjointSet = DisjointSet()
    for node in graph.node:
        if node.op_type in MOVES:
            tensors = [*_quantised_inputs(node, makers), *_quantised_outputs(node, users)]
            for tensor in tensors:
                groups.add(tensor)
                groups.merge(tensors[0], tensor)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for number, group in enumerate(groups.subsets()):
        scaled = [makers[tensor] for tensor in group] + [user for tensor in group for user in users[tensor]]
        scaled = [node for node in scaled if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        ranges = {tuple(node.input[1:3]) for node in scaled}
        values = [[numpy_helper.to_array(constants[name]).item() for name in pair] for pair in ranges]
        low = float(min(-zero * scale for scale, zero in values))
        high = float(max((LEVELS - zero) * scale for scale, zero in values))
        scale = (high - low) / LEVELS
        names = f"shared_{number}_scale", f"shared_{number}_zero_point"
        graph.initializer.append(numpy_helper.from_array(np.array(scale, dtype=np.float32), names[0]))
        graph.initializer.append(numpy_helper.from_array(np.array(round(-low / scale), dtype=np.uint8), names[1]))
        for node in scaled:
            node.input[1], node.input[2] = names
        for node in scaled:
            for convolution in users[node.output[0]]:
                if convolution.op_type == "Conv" and convolution.input[0] == node.output[0]:
                    _rescale_bias(graph, makers, convolution, scale)


def _rescale_bias(
    graph: onnx.GraphProto, makers: dict[str, onnx.NodeProto], convolution: onnx.NodeProto, scale: float
) -> None:
    """Give a convolution's int32 bias the scale that kernels want, input times weight: others run in float."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weight, bias = (makers.get(name) for name in convolution.input[1:3])
    if weight is None or bias is None or bias.input[0] not in constants:
        return
    levels, old = (numpy_helper.to_array(constants[name]) for name in bias.input[:2])
    new = (numpy_helper.to_array(constants[weight.input[1]]).astype(np.float64) * np.float32(scale)).astype(np.float32)
    rescaled = np.rint(levels * (old.astype(np.float64) / new)).astype(np.int32)
    constants[bias.input[0]].CopyFrom(numpy_helper.from_array(rescaled, bias.input[0]))
    constants[bias.input[1]].CopyFrom(numpy_helper.from_array(new.reshape(old.shape), bias.input[1]))


def copy_pixels(model: onnx.ModelProto) -> None:
    """Put copies in place of every upsampling to the nearest pixel, in place; it gives the same values.

    With channels last, as int8 kernels keep maps, each pixel is a run of bytes that is written twice, and each row of
    them twice.

    Args:
        model: As `share_scales` leaves it: a map keeps its scale when it is enlarged.

    Raises:
        ExportError: An upsampling is not by two.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    users = _users(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {
        info.name: [side.dim_value for side in info.type.tensor_type.shape.dim]
        for info in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for number, resize in enumerate([node for node in graph.node if node.op_type == "Resize"]):
        source, result = _quantised_inputs(resize, makers), _quantised_outputs(resize, users)
        if len(source) != 1 or len(result) != 1:  # it stayed in float
            continue
        _, channels, height, width = shapes[resize.input[0]]
        factors = numpy_helper.to_array(constants[resize.input[2]]).tolist()
        if factors != [1, 1, FACTOR, FACTOR]:
            raise ExportError(f"{resize.name} is no upsampling by {FACTOR}: the graph is none of ours")
        last = makers[result[0]]
        nodes = list(_doubling(f"copied_{number}", source[0], result[0], (channels, height, width), graph))
        place = list(graph.node).index(last)
        graph.node.remove(last)
        graph.node.remove(resize)
        for offset, node in enumerate(nodes):
            graph.node.insert(place - 1 + offset, node)
    _sweep(graph)


def _sweep(graph: onnx.GraphProto) -> None:
    """Remove nodes whose result nobody reads any more, and constants that were theirs."""
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if not used.intersection(node.output)]:
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _doubling(
    name: str, source: str, result: str, size: tuple[int, int, int], graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    """Give the nodes from ``(B, C, h, w)`` to ``(B, C, 2 h, 2 w)``."""
    channels, height, width = size
    constants = {
        "axes": [2, 4],
        "times": [1, 1, FACTOR, 1, FACTOR, 1],
        "size": [0, FACTOR * height, FACTOR * width, channels],  # 0: as many frames as there are
    }
    for what, values in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), f"{name}_{what}"))
    steps: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
        ("Transpose", [source], {"perm": [0, 2, 3, 1]}),
        ("Unsqueeze", [f"{name}_0", f"{name}_axes"], {}),
        ("Expand", [f"{name}_1", f"{name}_times"], {}),
        ("Reshape", [f"{name}_2", f"{name}_size"], {}),
        ("Transpose", [f"{name}_3"], {"perm": [0, 3, 1, 2]}),
    )
    for number, (kind, inputs, attributes) in enumerate(steps):
        output = result if number == len(steps) - 1 else f"{name}_{number}"
        yield helper.make_node(kind, inputs, [output], name=f"{name}_{kind}_{number}", **attributes)


def _users(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    return users


def _quantised_inputs(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> list[str]:
    """Name the uint8 tensors that a node's inputs are made of."""
    makers_of = (makers.get(name) for name in node.input)
    return [maker.input[0] for maker in makers_of if maker is not None and maker.op_type == "DequantizeLinear"]


def _quantised_outputs(node: onnx.NodeProto, users: dict[str, list[onnx.NodeProto]]) -> list[str]:
    """Name the uint8 tensors that are made of a node's result."""
    return [user.output[0] for user in users[node.output[0]] if user.op_type == "QuantizeLinear"]
