"""The thin layer over the CUDA runtime: its calls exist, and its errors are told. What they do needs a GPU."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loddis_runtime.engines import cuda
from loddis_runtime.engines.cuda import Cuda, CudaMemoryError, CudaRuntime, find_gpu
from loddis_runtime.errors import EngineError

MODULE = "cuda.bindings.runtime"


@pytest.fixture(scope="module")
def api() -> Any:
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def test_every_name_that_is_used_is_in_the_bindings(api: Any) -> None:
    source = inspect.getsource(cuda)
    functions = set(re.findall(r'_call\(\s*"(\w+)"', source))
    assert len(functions) >= 15
    for name in functions:
        assert callable(getattr(api, name)), name
    members = set(re.findall(r"self\._api\.(\w+(?:\.\w+)?)", source))
    assert {"cudaError_t.cudaSuccess", "cudaStreamNonBlocking"} <= members
    for path in members:
        holder: Any = api
        for part in path.split("."):
            holder = getattr(holder, part)
    kinds = set(re.findall(r"kinds\.(\w+)", source))
    assert len(kinds) == 2
    assert all(hasattr(api.cudaDeviceAttr, kind) for kind in kinds)


def test_a_machine_without_a_gpu_says_why(api: Any) -> None:
    error, count = api.cudaGetDeviceCount()
    if error == api.cudaError_t.cudaSuccess and count:
        assert find_gpu() is not None
        return
    with pytest.raises(EngineError, match=r"cudaGetDeviceCount failed: \S+|CUDA sees no GPU"):
        CudaRuntime()
    assert find_gpu() is None


def test_the_bindings_take_the_arguments_they_are_given(api: Any) -> None:
    """Without a GPU each call comes back with an error of CUDA's; an argument of a wrong type never gets that far."""
    error, count = api.cudaGetDeviceCount()
    if error == api.cudaError_t.cudaSuccess and count:
        pytest.skip("this machine has a GPU, which these pointers would upset")
    runtime = CudaRuntime.__new__(CudaRuntime)
    runtime._api = api
    host = np.zeros(8, dtype=np.uint8)
    calls: list[tuple[Any, ...]] = [
        (runtime.gpu,),
        (runtime.use_device,),
        (runtime.memory_info,),
        (runtime.create_stream,),
        (runtime.allocate, 8),
        (runtime.allocate_pinned, 8),
        (runtime.copy_to_device, 4096, host, 7),
        (runtime.copy_to_host, host, 4096, 7),
        (runtime.begin_capture, 7),
        (runtime.end_capture, 7),
        (runtime.launch, 9, 7),
        (runtime.synchronise, 7),
        (runtime.free, 4096),
        (runtime.free_pinned, host),
        (runtime.destroy_graph, 9),
        (runtime.destroy_stream, 7),
    ]
    assert {call[0].__name__ for call in calls} == {name for name in vars(Cuda) if not name.startswith("_")}
    for function, *arguments in calls:
        with pytest.raises(EngineError, match=r"cuda\w+ failed: CUDA driver|cuda\w+ failed: no CUDA"):
            function(*arguments)


def test_without_the_bindings_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(EngineError, match=r"GPU engines need cuda-bindings .*: pip install 'loddis\[tensorrt\]'"):
        CudaRuntime()
    assert find_gpu() is None


class Status(enum.Enum):
    cudaSuccess = 0  # noqa: N815 (CUDA's names)
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorIllegalAddress = 700  # noqa: N815


class RecordedApi:
    """The bindings of a GPU that answers; `calls` are those made."""

    cudaError_t = Status  # noqa: N815
    cudaDeviceAttr = SimpleNamespace(  # noqa: N815
        cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76
    )
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, tuple[Any, ...]] = {
            "cudaGetDeviceCount": (Status.cudaSuccess, 1),
            "cudaGetDeviceProperties": (Status.cudaSuccess, SimpleNamespace(name=b"NVIDIA Thing\0\0\0")),
            "cudaMemGetInfo": (Status.cudaSuccess, 3 * 2**20, 8 * 2**30),
            "cudaGetErrorString": (Status.cudaSuccess, b"an illegal memory access was encountered"),
            "cudaMalloc": (Status.cudaSuccess, 4096),
            "cudaStreamCreateWithFlags": (Status.cudaSuccess, 7),
            "cudaStreamEndCapture": (Status.cudaSuccess, "recorded"),
            "cudaGraphInstantiate": (Status.cudaSuccess, 9),
        }

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((function, *arguments))
            if function == "cudaDeviceGetAttribute":
                return Status.cudaSuccess, {75: 12, 76: 0}[arguments[0]]
            return self.answers.get(function, (Status.cudaSuccess,))

        return call


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> RecordedApi:
    fake = RecordedApi()
    monkeypatch.setitem(sys.modules, MODULE, fake)  # type: ignore[arg-type]
    return fake


def test_the_gpu_is_named_with_its_compute_capability(recorded: RecordedApi) -> None:
    assert CudaRuntime().gpu() == ("NVIDIA Thing", "sm_120")


def test_full_memory_is_told_in_numbers(recorded: RecordedApi) -> None:
    recorded.answers["cudaMalloc"] = (Status.cudaErrorMemoryAllocation, None)
    with pytest.raises(CudaMemoryError, match=r"5\.0 MiB wanted, 3 of 8192 MiB free"):
        CudaRuntime().allocate(5 * 2**20)


def test_a_failed_call_is_named_with_cudas_words(recorded: RecordedApi) -> None:
    recorded.answers["cudaStreamSynchronize"] = (Status.cudaErrorIllegalAddress,)
    with pytest.raises(EngineError, match="cudaStreamSynchronize failed: an illegal memory access was encountered"):
        CudaRuntime().synchronise(7)


def test_copies_go_the_right_way(recorded: RecordedApi) -> None:
    runtime: Cuda = CudaRuntime()
    host = np.zeros((2, 3), dtype=np.float32)
    runtime.copy_to_device(4096, host, 7)
    runtime.copy_to_host(host, 4096, 7)
    assert recorded.calls[-2:] == [
        ("cudaMemcpyAsync", 4096, host.ctypes.data, 24, 1, 7),
        ("cudaMemcpyAsync", host.ctypes.data, 4096, 24, 2, 7),
    ]


def test_a_recording_becomes_a_graph_and_is_given_back(recorded: RecordedApi) -> None:
    runtime = CudaRuntime()
    runtime.begin_capture(7)
    assert runtime.end_capture(7) == 9
    assert recorded.calls[-4:] == [
        ("cudaStreamBeginCapture", 7, 1),
        ("cudaStreamEndCapture", 7),
        ("cudaGraphInstantiate", "recorded", 0),
        ("cudaGraphDestroy", "recorded"),
    ]
