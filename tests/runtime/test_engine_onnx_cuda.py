"""ONNX Runtime with bound tensors: on the CPU, but for the name of the place the same code as on a GPU."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from loddis_runtime.engines import Engine, onnx_cuda
from loddis_runtime.engines.onnx_cpu import OnnxCpuEngine
from loddis_runtime.engines.onnx_cuda import OnnxCudaEngine, Place
from loddis_runtime.errors import BundleError, EngineError
from loddis_runtime.manifest import Manifest
from support.bundles import manifest_of, spot_graph

CPU = Place("CPUExecutionProvider", "cpu", records=False)
SIZE_HW, K = (32, 48), 16


@pytest.fixture
def manifest() -> Manifest:
    return manifest_of(size_hw=SIZE_HW, max_detections=K)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    onnx.save(spot_graph(size_hw=SIZE_HW, max_detections=K), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def frames_of(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).random((count, 1, *SIZE_HW), dtype=np.float32)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_detections_are_those_of_the_cpu_engine_in_any_batch(graph: Path, manifest: Manifest, count: int) -> None:
    engine: Engine = OnnxCudaEngine(graph, manifest=manifest, precision="fp32", batch_sizes=[4, 1], place=CPU)
    reference = OnnxCpuEngine(graph, manifest=manifest, precision="fp32", threads=1)
    frames = frames_of(count)
    for _ in range(2):
        raw = engine.infer(frames)
        assert raw.shape == (count, K, 6)
        for index in range(count):
            np.testing.assert_allclose(raw[index], reference.infer(frames[index : index + 1])[0], atol=1e-6)
    assert (engine.device, engine.precision) == ("cuda", "fp32")


def test_half_precision_graphs_take_and_give_single(tmp_path: Path, manifest: Manifest) -> None:
    onnx.save(spot_graph(size_hw=SIZE_HW, max_detections=K, half=True), tmp_path / "model.onnx")
    engine = OnnxCudaEngine(tmp_path / "model.onnx", manifest=manifest, precision="fp16", place=CPU)
    raw = engine.infer(frames_of(2))
    assert raw.dtype == np.float32
    assert raw.shape == (2, K, 6)


def test_threads_do_not_get_each_others_detections(graph: Path, manifest: Manifest) -> None:
    engine = OnnxCudaEngine(graph, manifest=manifest, precision="fp32", batch_sizes=[1], place=CPU)
    batches = [frames_of(1) * scale for scale in (0.2, 0.6, 1.0)]
    expected = [engine.infer(batch) for batch in batches]
    same: list[bool] = []

    def work(index: int) -> None:
        same.extend(np.array_equal(engine.infer(batches[index]), expected[index]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(same) == 60
    assert all(same)


def test_a_build_without_cuda_says_what_to_install(graph: Path, manifest: Manifest) -> None:
    place = Place("NoSuchExecutionProvider", "cuda", records=True)
    with pytest.raises(EngineError, match=r"has no NoSuchExecutionProvider: pip install 'loddis\[gpu\]'"):
        OnnxCudaEngine(graph, manifest=manifest, precision="fp32", place=place)


def test_a_provider_that_is_left_out_without_a_word_is_an_error(
    graph: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime runs on the CPU when it cannot load its CUDA provider, and prints that it cannot."""
    import onnxruntime

    def open_session(graph: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        assert enable_fallback == 0
        assert providers == [("CUDAExecutionProvider", {"device_id": "0", "enable_cuda_graph": "1"})]
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    fake = SimpleNamespace(
        __version__="1.31.0",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=lambda: print("Failed to load libcudnn.so.9"),
        SessionOptions=onnxruntime.SessionOptions,
        GraphOptimizationLevel=onnxruntime.GraphOptimizationLevel,
        InferenceSession=open_session,
    )
    monkeypatch.setattr(onnx_cuda, "import_onnxruntime", lambda: fake)
    with pytest.raises(
        EngineError, match="cannot load its CUDAExecutionProvider: no GPU, no driver, or CUDA libraries"
    ):
        OnnxCudaEngine(graph, manifest=manifest, precision="fp32")
    assert capsys.readouterr().out == ""


def test_a_graph_that_cannot_be_recorded_runs_unrecorded(
    graph: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[bool] = []
    open_session = OnnxCudaEngine._open_session

    def open_or_refuse(self: OnnxCudaEngine, ort: Any, *, record: bool) -> Any:
        opened.append(record)
        session = open_session(self, ort, record=record)
        if not record:
            return session

        def fail(binding: Any) -> None:
            raise RuntimeError("This session cannot use the graph capture feature\nas requested by the user")

        return SimpleNamespace(
            get_inputs=session.get_inputs,
            get_outputs=session.get_outputs,
            io_binding=session.io_binding,
            run_with_iobinding=fail,
        )

    monkeypatch.setattr(OnnxCudaEngine, "_open_session", open_or_refuse)
    place = CPU._replace(records=True)
    engine = OnnxCudaEngine(graph, manifest=manifest, precision="fp32", batch_sizes=[1], place=place)
    assert engine.infer(frames_of(1)).shape == (1, K, 6)
    assert opened == [True, False]
    assert "no CUDA graph for 1 frames, each kernel is launched by itself: This session cannot use" in caplog.text


def test_a_graph_that_is_refused_for_recording_when_it_is_loaded_runs_unrecorded(
    graph: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    asked: list[str] = []

    def open_session(content: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        asked.append(providers[0][1]["enable_cuda_graph"])
        if asked[-1] == "1":
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        return SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider"])

    engine = OnnxCudaEngine(graph, manifest=manifest, precision="fp32", batch_sizes=[1], place=CPU)
    engine._place = onnx_cuda.GPU
    fake = SimpleNamespace(
        SessionOptions=onnxruntime.SessionOptions,
        GraphOptimizationLevel=onnxruntime.GraphOptimizationLevel,
        InferenceSession=open_session,
    )
    engine._open_session(fake, record=True)
    assert asked == ["1", "0"]
    assert "no CUDA graph, each kernel is launched by itself: This session cannot use" in caplog.text


def test_someone_elses_graph_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    onnx.save(spot_graph(size_hw=(64, 64), max_detections=K), tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="does not fit its manifest"):
        OnnxCudaEngine(tmp_path / "model.onnx", manifest=manifest, precision="fp32", place=CPU)
    with pytest.raises(BundleError, match="cannot read"):
        OnnxCudaEngine(tmp_path / "gone.onnx", manifest=manifest, precision="fp32", place=CPU)


def test_frames_of_another_size_and_closed_engines_are_engine_errors(graph: Path, manifest: Manifest) -> None:
    engine = OnnxCudaEngine(graph, manifest=manifest, precision="fp32", place=CPU)
    with pytest.raises(EngineError, match=r"frames must be \(B, 1, 32, 48\)"):
        engine.infer(np.zeros((1, 1, 48, 32), dtype=np.float32))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.infer(frames_of(1))
