"""The TensorRT engine, on a GPU of numpy: batches, buffers, recording, and what goes wrong."""

from __future__ import annotations

import inspect
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime import Bundle
from loddis_runtime.engines import Engine, building, tensorrt
from loddis_runtime.engines.batches import split_batch
from loddis_runtime.engines.cuda import CudaMemoryError
from loddis_runtime.engines.flavours import find_tensorrt
from loddis_runtime.engines.tensorrt import TensorRtEngine
from loddis_runtime.errors import EngineError
from support.bundles import write_spot_bundle
from support.tensorrt import FakeCuda, fake_tensorrt, write_fake_engine

SHAPE = (1, 64, 96)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_spot_bundle(tmp_path))


def open_engine(bundle: Bundle, cuda: FakeCuda, *, plan: bytes | None = None, **fields: object) -> TensorRtEngine:
    path, passport = write_fake_engine(bundle, plan=plan, **fields)
    return TensorRtEngine(path, passport, manifest=bundle.manifest, tensorrt=fake_tensorrt(cuda), cuda=cuda)


def frames_of(*means: float) -> NDArray[np.float32]:
    return np.stack([np.full(SHAPE, mean, dtype=np.float32) for mean in means])


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 11])
def test_each_frame_gets_its_own_detections_in_any_batch(bundle: Bundle, count: int) -> None:
    engine: Engine = open_engine(bundle, FakeCuda())
    means = np.linspace(0.1, 0.9, count)
    for _ in range(2):  # the second time over buffers that hold the first
        raw = engine.infer(frames_of(*means)) if count else engine.infer(np.empty((0, *SHAPE), dtype=np.float32))
        assert raw.shape == (count, 50, 6)
        assert raw.dtype == np.float32
        np.testing.assert_allclose(raw[:, 0, 4], means, rtol=1e-5)


def test_what_it_is_called(bundle: Bundle) -> None:
    engine = open_engine(bundle, FakeCuda())
    assert (engine.device, engine.precision, engine.name) == ("tensorrt", "fp32", "tensorrt 10.13.0.35 on Fake GPU")


def test_every_batch_is_one_launch_of_a_graph(bundle: Bundle) -> None:
    cuda = FakeCuda()
    engine = open_engine(bundle, cuda)
    engine.infer(frames_of(0.5))
    assert cuda.launches == 1
    engine.infer(frames_of(*[0.5] * 9))  # 4 + 4 + 1
    assert cuda.launches == 4


def test_without_graphs_it_runs_and_says_so(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(bundle, FakeCuda(captures=False))
    np.testing.assert_allclose(engine.infer(frames_of(0.25, 0.5))[:, 0, 4], [0.25, 0.5])
    assert "no CUDA graph for 4 frames" in caplog.text


def test_a_graph_without_all_steps_is_given_back_and_not_launched(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    class HalfRecording(FakeCuda):
        def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
            if self.recording is not None:
                raise EngineError("cudaMemcpyAsync failed: operation not permitted when stream is capturing")
            super().copy_to_host(target, address, stream)

    cuda = HalfRecording()
    engine = open_engine(bundle, cuda)
    assert cuda.graphs == {}
    np.testing.assert_allclose(engine.infer(frames_of(0.25, 0.5))[:, 0, 4], [0.25, 0.5])
    assert "no CUDA graph for 4 frames, each step is launched by itself: cudaMemcpyAsync failed" in caplog.text
    engine.close()
    assert not cuda.leaked


def test_threads_do_not_get_each_others_detections(bundle: Bundle) -> None:
    engine = open_engine(bundle, FakeCuda())
    wrong: list[float] = []

    def work(mean: float) -> None:
        for _ in range(50):
            got = engine.infer(frames_of(mean))[0, 0, 4]
            if abs(got - mean) > 1e-4:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(mean,)) for mean in (0.1, 0.5, 0.9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_gives_everything_back(bundle: Bundle) -> None:
    cuda = FakeCuda()
    engine = open_engine(bundle, cuda)
    assert cuda.leaked
    engine.close()
    engine.close()
    assert not cuda.leaked
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.infer(frames_of(0.5))


def test_full_memory_fails_with_the_numbers_and_leaves_nothing(bundle: Bundle) -> None:
    cuda = FakeCuda(memory=100_000)  # frames of 96 KiB would fit four at a time, not five
    with pytest.raises(CudaMemoryError, match=r"memory is full: 0\.1 MiB wanted, 0 of 0 MiB free"):
        open_engine(bundle, cuda)
    assert not cuda.leaked


def test_memory_that_tensorrt_lacks_fails_with_the_numbers(bundle: Bundle) -> None:
    cuda = FakeCuda(memory=2**27)
    plan = b'{"profiles": [1, 4], "frames": [1, 64, 96], "candidates": 50, "activations": 1000000000}'
    with pytest.raises(CudaMemoryError, match=r"memory is full: 1 frames at once wanted, 128 of 128 MiB free"):
        open_engine(bundle, cuda, plan=plan)
    assert not cuda.leaked


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (b"\x00ftrt, half", "TensorRT cannot load the engine: magic tag does not match"),
        (b'{"profiles": [1], "frames": [1, 64, 96], "candidates": 50}', "no profile for 4 frames"),
        (b'{"profiles": [1, 4], "frames": [1, 32, 32], "candidates": 50}', "no profile for 1 frames"),
        (b'{"profiles": [1, 4], "frames": [1, 64, 96], "candidates": 7}', r"must give \(1, 50, 6\), got \(1, 7, 6\)"),
    ],
)
def test_what_tensorrt_refuses_or_does_not_fit_is_an_engine_error(bundle: Bundle, plan: bytes, message: str) -> None:
    cuda = FakeCuda()
    with pytest.raises(EngineError, match=message):
        open_engine(bundle, cuda, plan=plan)
    assert not cuda.leaked


def test_a_gpu_that_fails_is_an_engine_error(bundle: Bundle) -> None:
    cuda = FakeCuda()
    engine = open_engine(bundle, cuda)
    cuda.broken = True
    with pytest.raises(EngineError, match="illegal memory access"):
        engine.infer(frames_of(0.5))
    engine.close()  # though nothing can be given back any more


def test_frames_of_another_size_are_refused(bundle: Bundle) -> None:
    engine = open_engine(bundle, FakeCuda())
    with pytest.raises(EngineError, match=r"frames must be \(B, 1, 64, 96\), got \(1, 1, 64, 64\)"):
        engine.infer(np.zeros((1, 1, 64, 64), dtype=np.float32))


@pytest.mark.parametrize("sizes", [[1], [1, 4], [2, 8], [1, 4, 16]])
@pytest.mark.parametrize("count", [0, 1, 3, 16, 33])
def test_chunks_cover_a_batch_once(count: int, sizes: list[int]) -> None:
    chunks = split_batch(count, sizes)
    assert [index for chunk in chunks for index in range(chunk.start, chunk.stop)] == list(range(count))
    assert all(chunk.size in sizes and 0 < chunk.stop - chunk.start <= chunk.size for chunk in chunks)


@pytest.mark.parametrize(
    ("count", "sizes", "chunks"),
    [
        (5, [1, 4, 16], [4, 1]),
        (2, [1, 4, 16], [4]),
        (8, [1, 4, 16], [4, 4]),
        (13, [1, 4, 16], [16]),
        (37, [1, 4, 16], [16, 16, 4, 1]),
        (12, [1, 16], [16]),  # not twelve launches
        (3, [8], [8]),
    ],
)
def test_padding_is_weighed_against_launches(count: int, sizes: list[int], chunks: list[int]) -> None:
    assert [chunk.size for chunk in split_batch(count, sizes)] == chunks


@pytest.mark.parametrize("sizes", [[1, 4], [1, 4, 16], [1, 2, 4, 8, 16], [3, 7, 32]])
def test_no_batch_computes_more_than_one_chunk_for_all_of_it(sizes: list[int]) -> None:
    for count in range(1, sizes[-1] + 1):
        computed = sum(chunk.size for chunk in split_batch(count, sizes))
        assert count <= computed <= next(size for size in sizes if size >= count)


def test_the_log_is_quiet_when_all_is_well(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    open_engine(bundle, FakeCuda()).infer(frames_of(0.5))
    assert caplog.text == ""


def test_every_name_that_is_used_is_in_tensorrt() -> None:
    """The stand-in would hide a misspelt method; TensorRT-RTX has the interface of the full TensorRT."""
    try:
        trt = find_tensorrt("tensorrt_rtx").module
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    running, making = inspect.getsource(tensorrt), inspect.getsource(building)
    holders = {
        r"\bcontext\.(\w+)\(": (trt.IExecutionContext, running),
        r"\b_?engine\.(\w+)\(": (trt.ICudaEngine, running + making),
        r"\bbuilder\.(\w+)\(": (trt.Builder, making),
        r"\bconfig\.(\w+)\b": (trt.IBuilderConfig, making),
        r"\bnetwork\.(\w+)\b": (trt.INetworkDefinition, making),
        r"\bprofile\.(\w+)\(": (trt.IOptimizationProfile, making),
        r"\binspector\.(\w+)\(": (trt.EngineInspector, making),
        r"\btrt\.(\w+)\b": (trt, running + making),
        r"self\._trt\.DataType\.(\w+)": (trt.DataType, making),
    }
    for pattern, (holder, source) in holders.items():
        names = set(re.findall(pattern, source))
        assert names, pattern
        assert [name for name in names if not hasattr(holder, name)] == []
