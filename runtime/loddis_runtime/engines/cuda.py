"""The few calls of the CUDA runtime that engines need, over `cuda.bindings.runtime`; no torch.

Everything here is one call deep: what is worth a test is decided elsewhere, over the protocol `Cuda`.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import EngineError

__all__ = ["Cuda", "CudaMemoryError", "CudaRuntime", "Gpu", "describe_memory", "find_gpu"]

DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES leaves: one process a GPU
MIB = 2**20


class Gpu(NamedTuple):
    """A GPU.

    Attributes:
        name: As its maker calls it.
        compute_capability: Such as sm_86.
    """

    name: str
    compute_capability: str


class CudaMemoryError(EngineError):
    """The GPU has too little free memory; the message has the numbers."""


class Cuda(Protocol):
    """The CUDA runtime on one GPU; any call may raise `EngineError`. Addresses are pointers of the GPU."""

    def gpu(self) -> Gpu:
        """Tell which GPU it is."""
        ...

    def use_device(self) -> None:
        """Make the GPU the calling thread's."""
        ...

    def memory_info(self) -> tuple[int, int]:
        """Give free and total memory of the GPU, bytes."""
        ...

    def create_stream(self) -> int:
        """Make a stream that does not wait for the default one."""
        ...

    def allocate(self, size: int) -> int:
        """Take memory of the GPU, bytes; gives its address. Raises `CudaMemoryError` if there is too little."""
        ...

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """Take page-locked memory of the host, bytes: copies from and to it need no detour."""
        ...

    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Queue a copy from page-locked memory."""
        ...

    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy to page-locked memory."""
        ...

    def begin_capture(self, stream: int) -> None:
        """Record what is queued from now on, instead of running it."""
        ...

    def end_capture(self, stream: int) -> int:
        """Give what was recorded as a graph that can be launched."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait until everything that was queued is done."""
        ...

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        ...

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Give page-locked memory back; arrays over it must not be used any more."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        ...


class CudaRuntime:
    """`Cuda` on the first GPU that this process sees.

    Raises:
        EngineError: `cuda-bindings` is not installed, or there is no GPU or no driver that it can use.
    """

    def __init__(self) -> None:
        try:
            self._api: Any = importlib.import_module("cuda.bindings.runtime")
        except (ImportError, OSError) as error:
            raise EngineError(f"GPU engines need cuda-bindings ({error}): pip install 'loddis[tensorrt]'") from None
        if not self._call("cudaGetDeviceCount"):
            raise EngineError("CUDA sees no GPU")
        self.use_device()

    def gpu(self) -> Gpu:
        """Tell which GPU it is."""
        kinds = self._api.cudaDeviceAttr
        major = self._call("cudaDeviceGetAttribute", kinds.cudaDevAttrComputeCapabilityMajor, DEVICE)
        minor = self._call("cudaDeviceGetAttribute", kinds.cudaDevAttrComputeCapabilityMinor, DEVICE)
        name = bytes(self._call("cudaGetDeviceProperties", DEVICE).name).split(b"\0")[0].decode()
        return Gpu(name, f"sm_{major}{minor}")

    def use_device(self) -> None:
        """Make the GPU the calling thread's."""
        self._call("cudaSetDevice", DEVICE)

    def memory_info(self) -> tuple[int, int]:
        """Give free and total memory of the GPU, bytes."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def create_stream(self) -> int:
        """Make a stream that does not wait for the default one."""
        return int(self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def allocate(self, size: int) -> int:
        """Take memory of the GPU."""
        return int(self._call("cudaMalloc", size, size=size))

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """Take page-locked memory of the host."""
        address = int(self._call("cudaMallocHost", size, size=size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Queue a copy from page-locked memory."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy to page-locked memory."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def begin_capture(self, stream: int) -> None:
        """Record what this thread queues from now on."""
        self._call("cudaStreamBeginCapture", stream, self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> int:
        """Give what was recorded as a graph that can be launched."""
        recorded = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiate", recorded, 0))
        finally:
            self._call("cudaGraphDestroy", recorded)

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def synchronise(self, stream: int) -> None:
        """Wait until everything that was queued is done."""
        self._call("cudaStreamSynchronize", stream)

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        self._call("cudaFree", address)

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Give page-locked memory back."""
        self._call("cudaFreeHost", memory.ctypes.data)

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call("cudaStreamDestroy", stream)

    def _call(self, function: str, *arguments: Any, size: int | None = None) -> Any:
        """Call the runtime: its functions give an error first, then what they found."""
        error, *found = getattr(self._api, function)(*arguments)
        if error == self._api.cudaError_t.cudaErrorMemoryAllocation and size is not None:
            raise CudaMemoryError(describe_memory(f"{size / MIB:.1f} MiB", self.memory_info()))
        if error != self._api.cudaError_t.cudaSuccess:
            text = self._api.cudaGetErrorString(error)[1]
            raise EngineError(f"{function} failed: {text.decode() if isinstance(text, bytes) else text}")
        return found[0] if len(found) == 1 else found


def find_gpu() -> Gpu | None:
    """Give this machine's GPU, None if there is none that CUDA can use."""
    try:
        return CudaRuntime().gpu()
    except EngineError:
        return None


def describe_memory(wanted: str, info: tuple[int, int]) -> str:
    """Say how much memory of the GPU was wanted, and how much there is (free and total, bytes)."""
    free, total = info
    return f"the GPU's memory is full: {wanted} wanted, {free / MIB:.0f} of {total / MIB:.0f} MiB free"
