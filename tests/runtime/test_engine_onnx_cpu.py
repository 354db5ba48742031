"""The CPU engine, and the graphs it refuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from loddis_runtime.engines import Engine
from loddis_runtime.engines.onnx_cpu import OnnxCpuEngine
from loddis_runtime.errors import BundleError, ConfigError, EngineError
from loddis_runtime.manifest import Manifest
from support.bundles import manifest_of, spot_graph

SIZE_HW, K = (8, 12), 16
Dims = Sequence[int | str]


@pytest.fixture
def manifest() -> Manifest:
    return manifest_of(size_hw=SIZE_HW, stride=4, max_detections=K)


def engine_of(path: Path, manifest: Manifest, *, threads: int = 1) -> OnnxCpuEngine:
    return OnnxCpuEngine(path, manifest=manifest, precision="fp32", threads=threads)


def write_reshape(
    path: Path,
    *,
    input_name: str = "frames",
    output_name: str = "detections",
    input_shape: Dims = ("batch", 1, *SIZE_HW),
    output_shape: Dims = ("batch", K, 6),
    target: Sequence[int] = (0, K, 6),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph that takes the frames for detections: 8 x 12 values are 16 x 6.

    Its target is computed from the frames, so that nobody knows the shape of the output before it runs.
    """
    nodes = [
        helper.make_node("ReduceMin", [input_name], ["least"], keepdims=0),
        helper.make_node("Cast", ["least"], ["whole"], to=TensorProto.INT64),  # 0 for frames in [0, 1)
        helper.make_node("Add", ["target", "whole"], ["shape"]),
        helper.make_node("Reshape", [input_name, "shape"], [output_name]),
    ]
    graph = helper.make_graph(
        nodes,
        "reshape",
        [helper.make_tensor_value_info(input_name, dtype, input_shape)],
        [helper.make_tensor_value_info(output_name, dtype, output_shape)],
        [numpy_helper.from_array(np.array(target, dtype=np.int64), "target")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_runs_any_batch(tmp_path: Path, manifest: Manifest) -> None:
    engine: Engine = engine_of(write_reshape(tmp_path / "model.onnx"), manifest)
    for batch in (1, 2, 5):
        frames = np.random.default_rng(batch).random((batch, 1, *SIZE_HW), dtype=np.float32)
        np.testing.assert_array_equal(engine.infer(frames), frames.reshape(batch, K, 6))
    assert engine.device == "cpu"
    assert engine.precision == "fp32"
    assert engine.name.startswith("ONNX Runtime")


def test_half_precision_graphs_take_and_give_single(tmp_path: Path, manifest: Manifest) -> None:
    onnx.save(spot_graph(size_hw=SIZE_HW, max_detections=K, half=True), tmp_path / "model.onnx")
    raw = engine_of(tmp_path / "model.onnx", manifest).infer(np.full((2, 1, *SIZE_HW), 0.5, dtype=np.float32))
    assert raw.dtype == np.float32
    assert raw.shape == (2, K, 6)


def test_threads_are_set_not_guessed(tmp_path: Path, manifest: Manifest) -> None:
    engine = engine_of(write_reshape(tmp_path / "model.onnx"), manifest, threads=3)
    options = engine._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1


@pytest.mark.parametrize("threads", [0, -2])
def test_fewer_than_one_thread_is_refused(tmp_path: Path, manifest: Manifest, threads: int) -> None:
    with pytest.raises(ConfigError, match=f"threads must be a whole number from 1 .* got {threads}"):
        engine_of(tmp_path / "model.onnx", manifest, threads=threads)


@pytest.mark.parametrize("name", ["input_name", "output_name"])
def test_someone_elses_graph_is_refused(tmp_path: Path, manifest: Manifest, name: str) -> None:
    path = write_reshape(tmp_path / "model.onnx", **{name: "images"})  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"is no Loddis graph: expected one tensor (frames|detections), got images"):
        engine_of(path, manifest)


@pytest.mark.parametrize(
    ("input_shape", "output_shape", "message"),
    [
        (("b", 1, 12, 8), ("b", K, 6), r"frames must be \(B, 1, 8, 12\) .*got \(b, 1, 12, 8\)"),
        (("b", 3, 8, 12), ("b", K, 6), r"frames must be \(B, 1, 8, 12\) .*got \(b, 3, 8, 12\)"),
        (("b", 8, 12), ("b", K, 6), r"frames must be"),
        ((1, 1, 8, 12), (1, K, 6), r"with any B, got \(1, 1, 8, 12\)"),
        (("b", 1, 8, 12), ("b", 12, 8), r"detections must be \(B, 16, 6\)"),
    ],
)
def test_a_graph_that_does_not_fit_its_manifest_is_refused(
    tmp_path: Path, manifest: Manifest, input_shape: Dims, output_shape: Dims, message: str
) -> None:
    path = write_reshape(
        tmp_path / "model.onnx",
        input_shape=input_shape,
        output_shape=output_shape,
        target=[side if isinstance(side, int) else -1 for side in output_shape],
    )
    with pytest.raises(BundleError, match=message):
        engine_of(path, manifest)


def test_a_graph_of_whole_numbers_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    path = write_reshape(tmp_path / "model.onnx", dtype=TensorProto.INT32)
    with pytest.raises(BundleError, match=r"must be .* float .*got .*int32"):
        engine_of(path, manifest)


def test_sides_that_the_graph_leaves_open_are_checked_when_it_runs(tmp_path: Path, manifest: Manifest) -> None:
    path = write_reshape(tmp_path / "model.onnx", output_shape=("batch", "k", "columns"), target=(0, 6, K))
    with pytest.raises(EngineError, match=r"must give \(1, 16, 6\), got \(1, 6, 16\)"):
        engine_of(path, manifest).infer(np.zeros((1, 1, *SIZE_HW), dtype=np.float32))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_half_written_graph_is_refused_in_one_line(tmp_path: Path, manifest: Manifest, share: float) -> None:
    path = write_reshape(tmp_path / "model.onnx")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        engine_of(path, manifest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"not a protobuf at all", b"\x00" * 64, b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_onnx_is_refused_in_one_line(tmp_path: Path, manifest: Manifest, raw: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match="is not a usable ONNX graph") as caught:
        engine_of(tmp_path / "model.onnx", manifest)
    assert "\n" not in str(caught.value)


def test_arithmetic_that_the_cpu_lacks_is_an_engine_error(tmp_path: Path, manifest: Manifest) -> None:
    nodes = [
        helper.make_node("Cast", ["frames"], ["brain"], to=TensorProto.BFLOAT16),
        helper.make_node("Tanh", ["brain"], ["bent"]),
        helper.make_node("Cast", ["bent"], ["detections"], to=TensorProto.FLOAT),
    ]
    shape: Dims = ("batch", 1, *SIZE_HW)
    graph = helper.make_graph(
        nodes,
        "brain",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(EngineError, match=r"cannot run .*model\.onnx here: .*NOT_IMPLEMENTED"):
        engine_of(tmp_path / "model.onnx", manifest)


def test_what_fails_while_running_is_an_engine_error(tmp_path: Path, manifest: Manifest) -> None:
    path = write_reshape(tmp_path / "model.onnx", target=(1, K, 6))
    engine = engine_of(path, manifest)
    engine.infer(np.zeros((1, 1, *SIZE_HW), dtype=np.float32))
    with pytest.raises(EngineError, match=r"ONNX Runtime failed on \(2, 1, 8, 12\)") as caught:
        engine.infer(np.zeros((2, 1, *SIZE_HW), dtype=np.float32))
    assert "\n" not in str(caught.value)


def test_a_closed_engine_says_so(tmp_path: Path, manifest: Manifest) -> None:
    engine = engine_of(write_reshape(tmp_path / "model.onnx"), manifest)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.infer(np.zeros((1, 1, *SIZE_HW), dtype=np.float32))


def test_without_onnxruntime_the_error_says_what_to_install(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"needs ONNX Runtime .*: pip install 'loddis\[cpu\]'"):
        engine_of(write_reshape(tmp_path / "model.onnx"), manifest)
