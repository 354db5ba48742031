"""float32 graphs to float16: convolutions narrow, detections stay where they were."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

import loddis_runtime
from loddis_export.errors import ExportError
from loddis_export.half import convert_to_half
from loddis_runtime.scenes import SceneConfig, TargetConfig, render
from support.bundles import spot_graph

BOX_PX, SCORE = 0.05, 5e-3  # how far detections may move
WEIGHTED = {"Conv", "Gemm", "MatMul"}


def run(model: ModelProto, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["detections"], {"frames": frames})[0])


def types_of(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.fixture(scope="module")
def shipped() -> ModelProto:
    return onnx.load(str(loddis_runtime.shipped_repository().open("sky-nano").graph_path("fp32")))


def scene_frames() -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
    for background in ("sky", "sea", "ground", "city"):
        targets = tuple(TargetConfig(snr=snr) for snr in (4, 8, 14))
        for frame in render(SceneConfig(background=background, frames=2, targets=targets, seed=3)):
            yield frame.image


def test_the_shipped_model_detects_in_float16_what_it_detects_in_float32(shipped: ModelProto) -> None:
    half = convert_to_half(shipped)
    with loddis_runtime.load("sky-nano", device="cpu", threads=1) as detector:
        compared = 0
        for image in scene_frames():
            prepared = detector.prepare(image)
            (expected,), (actual,) = run(shipped, prepared.tensor[None]), run(half, prepared.tensor[None])
            for candidate in expected[expected[:, 4] >= 0.05]:
                away = np.abs(actual[:, :5] - candidate[:5])  # (K, 5)
                nearest = away[(away[:, :4].max(axis=1) + away[:, 4]).argmin()]
                assert nearest[:4].max() <= BOX_PX
                assert nearest[4] <= SCORE
                compared += 1
            # A score at the threshold may fall on either side of it: what is surely above is there.
            threshold = detector.manifest.score_threshold
            found = detector.finish(prepared, expected, score_threshold=threshold + SCORE)
            found_half = detector.finish(prepared, actual, score_threshold=threshold)
            at_most = detector.finish(prepared, expected, score_threshold=threshold - SCORE)
            assert len(found) <= len(found_half) <= len(at_most)
            found_half = detector.finish(prepared, actual, max_detections=max(1, len(found)), score_threshold=threshold)
            if not len(found):
                continue
            np.testing.assert_allclose(found_half.boxes_xyxy, found.boxes_xyxy, atol=BOX_PX)
            np.testing.assert_allclose(found_half.scores, found.scores, atol=SCORE)
    assert compared >= 20


def test_convolutions_are_narrow_and_detections_wide(shipped: ModelProto) -> None:
    half = convert_to_half(shipped)
    types = types_of(half)
    assert types["frames"] == types["detections"] == TensorProto.FLOAT
    nodes = list(half.graph.node)
    weighted = [index for index, node in enumerate(nodes) if node.op_type in WEIGHTED]
    assert len(weighted) == sum(node.op_type in WEIGHTED for node in shipped.graph.node)
    for index in weighted:
        assert {types[name] for name in (*nodes[index].input, *nodes[index].output)} == {TensorProto.FLOAT16}
    narrow_after = [
        node.op_type
        for node in nodes[weighted[-1] + 1 :]
        if node.op_type != "Cast" and TensorProto.FLOAT16 in {types[name] for name in node.input if name}
    ]
    assert narrow_after == []
    assert len(half.SerializeToString()) < 0.55 * len(shipped.SerializeToString())


@pytest.mark.parametrize("width", [4_096, 16_384])
def test_pixels_far_out_are_told_apart(width: int) -> None:
    """float16 knows even pixels only from 2048, every eighth from 8192."""
    model = spot_graph(size_hw=(32, width), max_detections=4)
    frames = np.full((1, 1, 32, width), 0.2, dtype=np.float32)
    frames[0, 0, 15, width - 21] = 0.9
    expected, actual = run(model, frames)[0, 0], run(convert_to_half(model), frames)[0, 0]
    np.testing.assert_array_equal(actual[:4], expected[:4])
    assert actual[4] == pytest.approx(expected[4], abs=SCORE)
    assert (expected[0] + expected[2]) / 2 == width - 20.5


def test_the_graph_given_is_left_alone(shipped: ModelProto) -> None:
    before = shipped.SerializeToString()
    convert_to_half(shipped)
    assert shipped.SerializeToString() == before


def small_graph(weights: NDArray[np.float32], *, shared: bool = False) -> ModelProto:
    """Give frames (B, 1, 4, 4) → Conv 1 x 1 with `weights` → Mul → detections (B, 1, 4, 4)."""
    node = helper.make_node
    factor = "kernel" if shared else "factor"
    nodes = [node("Conv", ["frames", "kernel"], ["filtered"]), node("Mul", ["filtered", factor], ["detections"])]
    tensors = [numpy_helper.from_array(weights, "kernel")]
    if not shared:
        tensors.append(numpy_helper.from_array(np.array(3, dtype=np.float32), "factor"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["batch", 1, 4, 4])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["batch", 1, 4, 4])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_constant_that_both_parts_use_is_there_in_both_types() -> None:
    model = small_graph(np.full((1, 1, 1, 1), 0.1, dtype=np.float32), shared=True)
    frames = np.full((1, 1, 4, 4), 0.5, dtype=np.float32)
    half = convert_to_half(model)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds == {"kernel": TensorProto.FLOAT, "kernel.half": TensorProto.FLOAT16}
    np.testing.assert_allclose(run(half, frames), run(model, frames), rtol=1e-3)


def test_weights_beyond_float16_are_refused() -> None:
    with pytest.raises(ExportError, match=r"kernel has values up to 7e\+04, beyond float16's 65504"):
        convert_to_half(small_graph(np.full((1, 1, 1, 1), 7e4, dtype=np.float32)))
    with pytest.raises(ExportError, match="kernel has values up to nan"):
        convert_to_half(small_graph(np.full((1, 1, 1, 1), np.nan, dtype=np.float32)))


def test_graphs_of_another_kind_are_refused() -> None:
    with pytest.raises(ExportError, match=r"only a graph in float32 .* tensors of FLOAT16"):
        convert_to_half(spot_graph(size_hw=(32, 32), half=True))
    model = small_graph(np.ones((1, 1, 1, 1), dtype=np.float32))
    del model.graph.node[0]
    model.graph.node[0].input[0] = "frames"
    with pytest.raises(ExportError, match="no convolution"):
        convert_to_half(model)
    model = small_graph(np.ones((1, 1, 1, 1), dtype=np.float32))
    model.graph.node.insert(
        0, helper.make_node("Constant", [], ["x"], value=numpy_helper.from_array(np.zeros(1, np.float32)))
    )
    with pytest.raises(ExportError, match="a constant of its own: fold it first"):
        convert_to_half(model)
