"""An int8 graph detects what its float graph does, in the layers that were meant, in a form that every engine takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from loddis_export import quantise, score_levels
from loddis_export.data_movement import copy_pixels
from loddis_export.errors import ExportError
from loddis_export.graph import OPSET, write_graph
from loddis_export.quantise import layers_for_float, layers_of, quantise_graph
from loddis_export.score_levels import level_scores
from loddis_runtime.engines.onnx_cpu import OnnxCpuEngine
from loddis_runtime.engines.signed import signed_graph
from loddis_runtime.errors import EngineError
from loddis_trainer.training_model import TrainingModel
from support.bundles import manifest_of
from support.domains import SIZE_HW, spot_frame

MANIFEST = manifest_of(size_hw=SIZE_HW, max_detections=96)


def frames(count: int, *, seed: int) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    places = generator.uniform((14, 14), (SIZE_HW[1] - 14, SIZE_HW[0] - 14), (count, 2))
    return [
        spot_frame((float(x), float(y)), seed=seed + i)[None].astype(np.float32) / 255
        for i, (x, y) in enumerate(places)
    ]


@pytest.fixture(scope="module")
def graph(trained: TrainingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.fp32.onnx"
    write_graph(trained.detector.eval(), path, window=1, size_hw=SIZE_HW)
    return path


@pytest.fixture(scope="module")
def quantised(graph: Path) -> Path:
    path = graph.with_name("model.int8.onnx")
    layers = layers_of(graph)
    assert set(layers_for_float(graph)) < set(layers)
    quantise_graph(graph, path, frames(8, seed=0), keep_float=layers_for_float(graph))
    return path


def run(path: Path, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    engine = OnnxCpuEngine(path, manifest=MANIFEST, precision="int8", threads=1)
    return engine.infer(np.stack(inputs))


def test_layers_are_named_as_modules(graph: Path) -> None:
    layers = layers_of(graph)
    assert layers[0] == "backbone.stem"
    assert {"fusion.fuse.smooth", "head.box_branch.1", "head.box_offsets", "head.class_logits"} <= set(layers)
    assert len(set(layers)) == len(layers)


def test_the_best_detections_are_the_same(graph: Path, quantised: Path) -> None:
    unseen = frames(12, seed=100)
    expected, actual = run(graph, unseen), run(quantised, unseen)
    away_px = np.abs(actual[:, 0, :4] - expected[:, 0, :4]).max(axis=1)
    assert np.median(away_px) < 0.5
    assert (away_px < 2).sum() >= 11  # of two neighbours with almost equal scores the other may come first
    np.testing.assert_allclose(actual[:, 0, 4], expected[:, 0, 4], atol=0.1)
    assert (actual != expected).any()


def test_all_other_layers_are_int8_by_output_channel(quantised: Path) -> None:
    model = onnx.load(str(quantised))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    in_float = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        source = made_by.get(node.input[1])
        if source is None:
            in_float.append(node.input[1])
            continue
        weight, scale, zero_point = (constants[name] for name in source.input)
        assert weight.dtype == np.int8
        assert scale.shape == weight.shape[:1]
        assert not zero_point.any()
    assert sorted(in_float) == [
        "backbone.stem.conv.weight",
        "head.box_offsets.weight",
        "head.class_logits.weight",
        "head.objectness_logit.weight",
    ]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


def test_with_every_layer_in_float_nothing_is_quantised(graph: Path, tmp_path: Path) -> None:
    """Sums and joined maps of float layers are no exception: the search for layers ends at the float graph."""
    path, unseen = tmp_path / "float.onnx", frames(4, seed=100)
    quantise_graph(graph, path, frames(4, seed=0), keep_float=layers_of(graph))
    assert not [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "QuantizeLinear"]
    np.testing.assert_allclose(run(path, unseen), run(graph, unseen), atol=1e-3)


def test_scores_that_quantisation_moved_are_set_level(graph: Path, quantised: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.onnx"
    model = onnx.load(str(quantised))
    for constant in model.graph.initializer:
        if constant.name == "head.objectness_logit.bias":
            lower = numpy_helper.to_array(constant) - np.float32(1.5)
            constant.CopyFrom(numpy_helper.from_array(lower, constant.name))
    onnx.save_model(model, str(moved))
    some, unseen = frames(8, seed=0), frames(12, seed=100)
    expected = run(graph, some)
    threshold = float(np.quantile(expected[:, :, 4], 0.97))
    how = {"threshold": threshold, "domains": ["spots"] * 8}
    before = np.abs(run(moved, unseen)[:, 0, 4] - run(graph, unseen)[:, 0, 4]).mean()
    shift, rows = level_scores(moved, expected, lambda path: run(path, some), **how)
    after = np.abs(run(moved, unseen)[:, 0, 4] - run(graph, unseen)[:, 0, 4]).mean()
    assert shift == pytest.approx(1.5, abs=0.4)
    assert after < before / 3
    assert (rows[..., 4] >= threshold).sum() == pytest.approx((expected[..., 4] >= threshold).sum(), abs=1)
    np.testing.assert_array_equal(rows, run(moved, some))
    assert level_scores(moved, expected, lambda path: run(path, some), **how)[0] == 0
    with pytest.raises(ExportError, match="scores cannot be set level"):
        level_scores(write_without_objectness(moved, tmp_path), expected, lambda _: expected * 0.5, **how)


class MovedScores:
    """Stands for a graph: scores of the float graph, lower by so much in logits, and what was added to its bias."""

    def __init__(self, expected: NDArray[np.float32], lowered: NDArray[np.float64], *, effect: float = 1.0) -> None:
        self.expected, self.lowered, self.effect, self.added, self.runs = expected, lowered, effect, 0.0, 0

    def infer(self, _: Path) -> NDArray[np.float32]:
        self.runs += 1
        logits = np.log(self.expected[..., 4] / (1 - self.expected[..., 4])) - self.lowered[:, None]
        rows = self.expected.copy()
        rows[..., 4] = 1 / (1 + np.exp(-(logits + self.effect * self.added)))
        return rows

    def add(self, _: Path, shift: float) -> None:
        self.added += shift


def spread_scores(frames: int) -> NDArray[np.float32]:
    expected = np.zeros((frames, 40, 6), dtype=np.float32)
    expected[..., 4] = np.random.default_rng(0).uniform(0.05, 0.95, (frames, 40))
    return expected


def test_a_crowded_domain_has_no_more_say_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores have not moved, those of the others have: half of the way is right, however many frames it has."""
    moved = MovedScores(spread_scores(40), np.where(np.arange(40) < 36, 0.0, 0.4))
    monkeypatch.setattr(score_levels, "_add_to_bias", moved.add)
    domains = ["crowds"] * 36 + ["points"] * 4
    shift, _ = level_scores(Path(), moved.expected, moved.infer, threshold=0.5, domains=domains)
    assert shift == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("effect", [1.0, 0.5, 0.3])
def test_scores_that_follow_the_bias_slowly_are_set_level_too(monkeypatch: pytest.MonkeyPatch, effect: float) -> None:
    moved = MovedScores(spread_scores(8), np.full(8, 0.5), effect=effect)
    monkeypatch.setattr(score_levels, "_add_to_bias", moved.add)
    shift, rows = level_scores(Path(), moved.expected, moved.infer, threshold=0.5, domains=["spots"] * 8)
    assert shift == pytest.approx(0.5 / effect, rel=0.05)
    assert (rows[..., 4] >= 0.5).sum() == pytest.approx((moved.expected[..., 4] >= 0.5).sum(), abs=2)
    assert moved.runs <= 5


@pytest.mark.parametrize("actual", [0.3, np.nan])
def test_scores_that_tell_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch, actual: float) -> None:
    """No candidate should reach the threshold, or they are no numbers: the comparison will say so."""
    expected = np.full((2, 4, 6), 0.3, dtype=np.float32)
    if np.isnan(actual):
        expected[:, :2, 4] = 0.6
    monkeypatch.setattr(score_levels, "_add_to_bias", lambda *_: pytest.fail("the graph was changed"))
    found = np.full_like(expected, actual)
    assert level_scores(Path(), expected, lambda _: found, threshold=0.5, domains=["spots"] * 2)[0] == 0


def write_without_objectness(graph: Path, folder: Path) -> Path:
    model = onnx.load(str(graph))
    for constant in model.graph.initializer:
        constant.name = constant.name.replace("objectness", "other")
    onnx.save_model(model, str(folder / "other.onnx"))
    return folder / "other.onnx"


def test_boxes_are_decoded_in_float(quantised: Path) -> None:
    nodes = onnx.load(str(quantised)).graph.node
    last = max(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    after = Counter(node.op_type for node in nodes[last + 1 :])
    assert after["TopK"] == 1
    makers = {output: node.op_type for node in nodes for output in node.output}
    decoding = [node for node in nodes if node.op_type in ("Exp", "TopK", "GatherElements")]
    assert "DequantizeLinear" not in {makers.get(name) for node in decoding for name in node.input}


def test_maps_that_are_joined_share_a_scale_that_covers_them(graph: Path, quantised: Path, tmp_path: Path) -> None:
    def ranges(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
        """Give what the levels of every quantised tensor reach from and to."""
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        scaled = {node.output[0]: node.input for node in model.graph.node if node.op_type == "QuantizeLinear"}
        steps = {name: (float(values[scale]), int(values[zero])) for name, (_, scale, zero) in scaled.items()}
        return {name: (-zero * scale, (255 - zero) * scale) for name, (scale, zero) in steps.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "share_scales", lambda _: None)
        patch.setattr(quantise, "copy_pixels", lambda _: None)
        quantise_graph(graph, tmp_path / "own.onnx", frames(8, seed=0), keep_float=layers_for_float(graph))
    own, shared = (onnx.load(str(path)) for path in (tmp_path / "own.onnx", quantised))
    reached, covers = ranges(own), ranges(shared)
    makers = {output: node for node in shared.graph.node for output in node.output}
    joined = [
        node for node in shared.graph.node if node.op_type == "Concat" and makers[node.input[0]].op_type[0] == "D"
    ]
    assert len(joined) == 10
    for node in joined:
        assert len({tuple(makers[name].input[1:]) for name in node.input}) == 1
        (result,) = [user for user in shared.graph.node if node.output[0] in user.input]
        assert tuple(result.input[1:]) == tuple(makers[node.input[0]].input[1:])
    for name, (low, high) in reached.items():
        if name in covers:
            step = (covers[name][1] - covers[name][0]) / 255
            assert covers[name][0] <= low + step
            assert covers[name][1] >= high - step


def test_every_layer_but_those_kept_runs_in_int8(graph: Path, quantised: Path, tmp_path: Path) -> None:
    """ONNX Runtime takes a convolution whose bias has another scale than input times weight for one in float."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(quantised), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    assert kinds["QLinearConv"] == len(layers_of(graph)) - len(layers_for_float(graph))


def test_copied_pixels_are_the_enlarged_map(graph: Path, quantised: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "copy_pixels", lambda _: None)
        quantise_graph(graph, tmp_path / "resized.onnx", frames(8, seed=0), keep_float=layers_for_float(graph))
    kinds = [
        {node.op_type for node in onnx.load(str(path)).graph.node} for path in (tmp_path / "resized.onnx", quantised)
    ]
    assert ["Resize" in one for one in kinds] == [True, False]
    unseen = frames(5, seed=300)
    np.testing.assert_array_equal(run(quantised, unseen), run(tmp_path / "resized.onnx", unseen))


def test_only_upsampling_by_two_is_copied(graph: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "copy_pixels", lambda _: None)
        quantise_graph(graph, tmp_path / "resized.onnx", frames(2, seed=0))
    model = onnx.load(str(tmp_path / "resized.onnx"))
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    sizes = next(tensor for tensor in model.graph.initializer if tensor.name == resize.input[2])
    sizes.CopyFrom(numpy_helper.from_array(np.array([1, 1, 3, 3], dtype=np.float32), sizes.name))
    with pytest.raises(ExportError, match="is no upsampling by 2"):
        copy_pixels(model)


def test_the_signed_form_detects_the_same(graph: Path, quantised: Path, tmp_path: Path) -> None:
    content = signed_graph(quantised.read_bytes())
    signed = onnx.load_model_from_string(content)
    onnx.checker.check_model(signed, full_check=True)
    scaled = [node for node in signed.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    types = {tensor.name: tensor.data_type for tensor in signed.graph.initializer}
    assert {types[node.input[2]] for node in scaled} == {onnx.TensorProto.INT8}
    (tmp_path / "signed.onnx").write_bytes(content)
    unseen = frames(60, seed=200)
    exact, unsigned, symmetric = run(graph, unseen), run(quantised, unseen), run(tmp_path / "signed.onnx", unseen)

    def away_px(found: NDArray[np.float32]) -> float:
        return float(np.median(np.abs(found[:, 0, :4] - exact[:, 0, :4]).max(axis=1)))

    assert away_px(symmetric) < 2 * away_px(unsigned)  # what is never negative has half of the levels left
    assert (np.abs(symmetric[:, 0, 4] - unsigned[:, 0, 4]) < 0.1).sum() >= 55
    assert signed_graph(content) == content


def test_signed_scales_reach_as_far_as_unsigned_ones(quantised: Path) -> None:
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (onnx.load(str(quantised)), onnx.load_model_from_string(signed_graph(quantised.read_bytes())))
    )
    nodes = onnx.load(str(quantised)).graph.node
    activations = [node for node in nodes if node.op_type == "QuantizeLinear"]
    assert len(activations) > 50
    for node in activations:
        scale, zero = (before[name].astype(np.float64) for name in node.input[1:3])
        reach = max(zero * scale, (255 - zero) * scale)
        assert 127 * after[node.input[1]] == pytest.approx(reach, rel=1e-6)
        assert after[node.input[2]] == 0
    biases = [node for node in nodes if before.get(node.input[0], np.zeros(0)).dtype == np.int32]
    for node in biases:  # int32 that were dequantised are float32 now, of the same worth
        worth = before[node.input[0]] * before[node.input[1]]
        np.testing.assert_allclose(after[node.output[0]], worth, rtol=1e-6)
    assert len(biases) > 50


def test_a_graph_that_is_none_of_ours_cannot_be_signed(quantised: Path) -> None:
    with pytest.raises(EngineError, match="is not a usable ONNX graph"):
        signed_graph(b"no graph")
    model = onnx.load(str(quantised))
    first, second = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][:2]
    own = second.input[1]
    second.input[1] = first.input[1]
    with pytest.raises(EngineError, match="share a scale or a zero point, but not both"):
        signed_graph(model.SerializeToString())
    second.input[1] = own
    del first.input[2]  # uint8 about 0, says ONNX; TensorRT would take it for int8
    with pytest.raises(EngineError, match="is not scaled by constants"):
        signed_graph(model.SerializeToString())


def test_ranges_are_measured_once(graph: Path, tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    quantise_graph(graph, tmp_path / "a.onnx", frames(4, seed=0), ranges=ranges)
    quantise_graph(graph, tmp_path / "b.onnx", frames(4, seed=9), ranges=ranges)  # not looked at again
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_bad_input_says_what_is_wrong(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="needs frames"):
        quantise_graph(graph, tmp_path / "x.onnx", [])
    with pytest.raises(ExportError, match=r"has no layer head\.nose"):
        quantise_graph(graph, tmp_path / "x.onnx", frames(1, seed=0), keep_float=("head.nose",))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ExportError, match="is not an ONNX graph"):
        layers_of(tmp_path / "text.onnx")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), str(tmp_path / "empty.onnx"))
    with pytest.raises(ExportError, match="has no convolutions"):
        layers_of(tmp_path / "empty.onnx")
