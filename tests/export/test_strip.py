"""What only training needs is gone from the bundle, and the detections are what they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from loddis_export.box_scale import scale_boxes
from loddis_export.errors import ExportError
from loddis_export.graph import OPSET, graph_parameters, set_parameter, write_graph
from loddis_export.strip import strip_checkpoint
from loddis_export.strip_proof import measure_stripping
from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME
from loddis_trainer.checkpoint import read_info
from loddis_trainer.choices import CANDIDATES
from loddis_trainer.models import build_detector
from loddis_trainer.training_model import TrainingModel
from support.domains import SIZE_HW

GFLOPS_OF_NANO = 1.372  # at 320 x 256, one frame


@pytest.fixture(scope="module")
def graph(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.fp32.onnx"
    write_graph(strip_checkpoint(checkpoint).detector, path, window=1, size_hw=SIZE_HW)
    return path


def test_detections_are_bit_equal_before_and_after_stripping(trained: TrainingModel, checkpoint: Path) -> None:
    stripped = strip_checkpoint(checkpoint)
    frames = torch.rand(3, 1, *SIZE_HW, generator=torch.Generator().manual_seed(0))
    stripped.detector.keep = trained.detector.keep
    with torch.no_grad():
        assert torch.equal(stripped.detector(frames), trained.detector(frames))


def test_candidates_are_the_bundles_matter_and_no_more_than_grid_points(checkpoint: Path, tmp_path: Path) -> None:
    grid = SIZE_HW[0] // 8 * (SIZE_HW[1] // 8)
    assert read_info(checkpoint).keep == 50
    assert strip_checkpoint(checkpoint).detector.keep == grid < CANDIDATES
    assert strip_checkpoint(checkpoint, candidates=20).detector.keep == 20


def test_every_branch_weight_is_named_as_removed(trained: TrainingModel, checkpoint: Path) -> None:
    stripped = strip_checkpoint(checkpoint)
    branches = trained.branches
    assert branches is not None
    assert {name.removeprefix("branches.") for name in stripped.removed} == set(branches.state_dict())
    assert sum(stripped.removed.values()) == sum(value.numel() for value in branches.state_dict().values())
    assert stripped.kept_values == sum(value.numel() for value in trained.detector.state_dict().values())
    assert not [name for name, _ in stripped.detector.named_parameters() if "branch" in name and "head" not in name]


def test_the_graph_holds_the_detectors_weights_and_no_others(graph: Path, checkpoint: Path) -> None:
    """Every weight of the graph is one of the detector's kernels or biases; none has a size of the branches alone."""
    detector = strip_checkpoint(checkpoint).detector
    kernels = {name for name, p in detector.named_parameters() if p.ndim == 4}
    weights = graph_parameters(graph)
    assert kernels <= set(weights)
    # Folding gives each convolution a bias: `…conv.bias` of its own, or `…conv.weight_bias` of its normalisation.
    others = {name: size for name, size in weights.items() if not name.startswith(("backbone.", "fusion.", "head."))}
    grid = 2 * (SIZE_HW[0] // 8) * (SIZE_HW[1] // 8)
    assert max(others.values()) == grid
    assert sum(others.values()) < 2 * grid  # besides the grid, only constants of shapes


def test_no_op_of_the_branches_is_left(graph: Path) -> None:
    model = onnx.load(str(graph))
    ops = {node.op_type for node in model.graph.node}
    # Projections and classifier are matrix products after pooling; losses normalise and take logarithms.
    assert ops.isdisjoint({"Gemm", "MatMul", "GlobalAveragePool", "ReduceMean", "Log", "LogSoftmax", "Softmax", "Relu"})
    assert {"Conv", "TopK"} <= ops
    assert len(model.graph.output) == 1


def test_nothing_is_worked_out_at_run_time_that_is_known_before(graph: Path) -> None:
    nodes = onnx.load(str(graph)).graph.node
    ops = {node.op_type for node in nodes}
    # Normalisation is in the convolutions; shapes are constants but for the batch.
    assert ops.isdisjoint(
        {"BatchNormalization", "Shape", "ConstantOfShape", "Range", "Constant", "Identity", "Dropout"}
    )
    work = [(node.op_type, *node.input, *(str(attribute) for attribute in node.attribute)) for node in nodes]
    assert len(set(work)) == len(work)  # nothing twice


def test_the_graph_keeps_the_contract(graph: Path) -> None:
    model = onnx.load(str(graph))
    assert model.opset_import[0].version == OPSET >= 18
    (given,), (taken,) = model.graph.input, model.graph.output
    assert (given.name, taken.name) == (INPUT_NAME, OUTPUT_NAME) == ("frames", "detections")
    batch = given.type.tensor_type.shape.dim[0]
    assert batch.dim_param
    assert [d.dim_value for d in given.type.tensor_type.shape.dim[1:]] == [1, *SIZE_HW]
    assert [entry.name for entry in graph.parent.iterdir()] == [graph.name]  # one file, no external data


def test_the_graph_does_not_tell_where_it_was_made(graph: Path) -> None:
    model = onnx.load(str(graph))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # a million weights spell any short word by chance
    content = model.SerializeToString()
    for word in (b".py", b"site-packages", str(Path.home()).encode() + b"/", b"stack_trace"):
        assert word not in content


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_gives_what_torch_gives(graph: Path, checkpoint: Path, batch: int) -> None:
    detector = strip_checkpoint(checkpoint).detector
    frames = torch.rand(batch, 1, *SIZE_HW, generator=torch.Generator().manual_seed(batch))
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT_NAME: frames.numpy()})
    with torch.no_grad():
        expected = detector(frames).numpy()
    assert found.shape == expected.shape
    assert np.abs(found[..., 4] - expected[..., 4]).max() < 1e-4


def test_windows_and_stride_4_export_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build_detector("nano", window=3, stride=4, keep=20).eval()
    write_graph(detector, tmp_path / "model.onnx", window=3, size_hw=SIZE_HW)
    frames = torch.rand(2, 3, *SIZE_HW)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT_NAME: frames.numpy()})
    with torch.no_grad():
        expected = detector(frames).numpy()
    assert found.shape == expected.shape == (2, 20, 6)
    assert np.abs(found[..., 4] - expected[..., 4]).max() < 1e-4
    values = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert values["backbone.stem.conv.weight"].shape == (16, 3, 6, 6)  # one kernel, not what it is made of


def test_what_stripping_saves_is_measured(checkpoint: Path) -> None:
    stripped = strip_checkpoint(checkpoint)
    proof = measure_stripping(stripped)
    assert proof.before.values - proof.after.values == sum(stripped.removed.values())
    expected = GFLOPS_OF_NANO * (SIZE_HW[0] * SIZE_HW[1]) / (256 * 320)
    assert proof.after.gflops == pytest.approx(expected, rel=0.01)
    assert proof.before.gflops > proof.after.gflops
    assert proof.after.milliseconds > 0


def test_a_parameter_set_in_the_graph_is_one_of_a_graph_written_anew(
    graph: Path, checkpoint: Path, tmp_path: Path
) -> None:
    detector = strip_checkpoint(checkpoint).detector
    name, bias = scale_boxes(detector, (1.25, 0.8))
    assert dict(detector.named_parameters())[name] is bias
    changed, anew = tmp_path / "changed.onnx", tmp_path / "anew.onnx"
    shutil.copy(graph, changed)
    set_parameter(changed, name, bias)
    write_graph(detector, anew, window=1, size_hw=SIZE_HW)
    frames = np.random.default_rng(0).random((3, 1, *SIZE_HW), dtype=np.float32)
    of_changed, of_anew, before = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {INPUT_NAME: frames})[0]
        for path in (changed, anew, graph)
    )
    np.testing.assert_array_equal(of_changed, of_anew)
    assert not np.array_equal(of_changed, before)


@pytest.mark.parametrize(("name", "values"), [("head.nothing.bias", 4), ("head.box_offsets.bias", 5)])
def test_a_parameter_that_the_graph_lacks_is_named(graph: Path, name: str, values: int) -> None:
    before = graph.read_bytes()
    with pytest.raises(ExportError, match=rf"model\.fp32\.onnx has no parameter {name} of shape \({values},\)"):
        set_parameter(graph, name, torch.zeros(values))
    assert graph.read_bytes() == before
