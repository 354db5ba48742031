"""TensorRT, driven natively: one stream, page-locked buffers, a CUDA graph for each batch size.

Each profile of an engine is a batch size with an execution context, buffers and a recorded graph of its own: copy in,
run, copy out. A call of `infer` fills the buffer, launches the graph and waits.

Legend: B batch, T frames of the window, h w network pixels, K candidates.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME, GraphPrecision
from loddis_runtime.engines.batches import split_batch
from loddis_runtime.engines.cuda import Cuda, CudaMemoryError, describe_memory
from loddis_runtime.engines.flavours import TensorRt
from loddis_runtime.engines.listening import make_log
from loddis_runtime.engines.passport import Passport, read_engine
from loddis_runtime.errors import EngineError
from loddis_runtime.manifest import Manifest

__all__ = ["TensorRtEngine"]


T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lane:
    """What one batch size runs on. Arrays are views of page-locked memory.

    Attributes:
        context: TensorRT's execution context; it refers to the two addresses.
        frames: ``(size, T, h, w)`` in the engine's type.
        detections: ``(size, K, 6)`` in the engine's type.
        frames_address: On the GPU.
        detections_address: On the GPU.
        graph: The three steps recorded; None if they cannot be.
    """

    context: Any
    frames: NDArray[Any]
    detections: NDArray[Any]
    frames_address: int
    detections_address: int
    graph: int | None = None


class TensorRtEngine:
    """An engine that TensorRT built, on the GPU it was built for. Calls from several threads take turns.

    Args:
        passport_path: Beside the engine.
        passport: What is there; it must fit the bundle, the GPU and `tensorrt`: see `fitting`.
        manifest: What the engine must agree with: window, size, candidates.
        tensorrt: That loads it.
        cuda: The GPU.

    Raises:
        CudaMemoryError: The GPU's memory does not take it; the message has the numbers.
        EngineError: The file is damaged, or TensorRT or CUDA refuses it.
    """

    device: Literal["tensorrt"] = "tensorrt"

    def __init__(
        self, passport_path: Path, passport: Passport, *, manifest: Manifest, tensorrt: TensorRt, cuda: Cuda
    ) -> None:
        self.precision: GraphPrecision = passport.precision
        self.passport = passport
        self.name = f"{tensorrt.flavour} {tensorrt.version} on {cuda.gpu().name}"
        self._frame_shape = (manifest.window, *manifest.size_hw)
        self._candidates = manifest.max_detections
        self._cuda = cuda
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}
        self._stream: int | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._pinned: list[NDArray[np.uint8]] = []
        self._addresses: list[int] = []
        plan = read_engine(passport_path, passport)
        try:
            self._load(plan, tensorrt)
        except BaseException:
            self._release()
            raise

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on ``(B, T, h, w)`` float32 in [0, 1]; gives ``(B, K, 6)`` float32.

        Raises:
            EngineError: The engine is closed, the frames have another shape, or the GPU failed.
        """
        if frames.shape[1:] != self._frame_shape:
            raise EngineError(f"frames must be (B, {', '.join(map(str, self._frame_shape))}), got {frames.shape}")
        detections = np.empty((len(frames), self._candidates, 6), dtype=np.float32)
        with self._lock:
            if self._stream is None:
                raise EngineError("the engine is closed")
            self._cuda.use_device()
            for start, stop, size in split_batch(len(frames), self.passport.batch_sizes):
                lane = self._lanes[size]
                lane.frames[: stop - start] = frames[start:stop]  # rows beyond keep what they had: nobody reads theirs
                self._run(lane, self._stream)
                detections[start:stop] = lane.detections[: stop - start]
        return detections

    def close(self) -> None:
        """Give memory, graphs and the stream back, once a call under way has ended."""
        with self._lock:
            self._release()

    def _load(self, plan: bytes, tensorrt: TensorRt) -> None:
        """Load the engine, and make everything that a run needs: later, nothing is allocated any more."""
        trt = tensorrt.module
        log = make_log(trt)
        self._runtime = trt.Runtime(log)  # must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"TensorRT cannot load the engine: {log.fault() or 'it does not say why'}")
        dtypes = {}
        for name in (INPUT_NAME, OUTPUT_NAME):
            dtype = self._engine.get_tensor_dtype(name)
            if dtype not in (trt.DataType.FLOAT, trt.DataType.HALF):
                raise EngineError(f"the engine's {name} must be float, got {dtype}")
            dtypes[name] = np.dtype(np.float16 if dtype == trt.DataType.HALF else np.float32)
        self._stream = stream = self._cuda.create_stream()
        for index, size in enumerate(self.passport.batch_sizes):
            self._lanes[size] = self._open_lane(index, size, dtypes, stream, log)
            self._record(self._lanes[size], stream)

    def _open_lane(self, index: int, size: int, dtypes: dict[str, np.dtype[Any]], stream: int, log: Any) -> _Lane:
        """Make context and buffers of one profile."""
        shapes = {INPUT_NAME: (size, *self._frame_shape), OUTPUT_NAME: (size, self._candidates, 6)}
        arrays, addresses = {}, {}
        for name, shape in shapes.items():
            bytes_needed = int(np.prod(shape)) * dtypes[name].itemsize
            memory = self._cuda.allocate_pinned(bytes_needed)
            self._pinned.append(memory)
            arrays[name] = memory.view(dtypes[name]).reshape(shape)
            addresses[name] = self._cuda.allocate(bytes_needed)
            self._addresses.append(addresses[name])
        arrays[INPUT_NAME][:] = 0.5
        context = self._engine.create_execution_context()
        if context is None:  # what it takes is its memory for activations
            wanted = f"{size} frames at once"
            if "memory" in log.fault().lower():
                raise CudaMemoryError(describe_memory(wanted, self._cuda.memory_info()))
            raise EngineError(f"TensorRT cannot run {wanted}: {log.fault() or 'it does not say why'}")
        ready = (
            context.set_optimization_profile_async(index, stream)
            and context.set_input_shape(INPUT_NAME, shapes[INPUT_NAME])
            and all(context.set_tensor_address(name, address) for name, address in addresses.items())
        )
        if not ready:
            raise EngineError(f"the engine has no profile for {size} frames: {log.fault() or 'it does not say why'}")
        found = tuple(context.get_tensor_shape(OUTPUT_NAME))
        if found != shapes[OUTPUT_NAME]:
            raise EngineError(f"the engine must give {shapes[OUTPUT_NAME]}, got {found}")
        return _Lane(context, arrays[INPUT_NAME], arrays[OUTPUT_NAME], addresses[INPUT_NAME], addresses[OUTPUT_NAME])

    def _record(self, lane: _Lane, stream: int) -> None:
        """Record the three steps as a CUDA graph; where that fails, they are queued one by one."""
        self._queue(lane, stream)  # once before: kernels are compiled and workspaces taken on first use
        self._cuda.synchronise(stream)
        try:
            self._cuda.begin_capture(stream)
            try:
                self._queue(lane, stream)
            finally:
                lane.graph = self._cuda.end_capture(stream)
        except EngineError as error:
            logger.warning("no CUDA graph for %d frames, each step is launched by itself: %s", len(lane.frames), error)
            if lane.graph is not None:  # it has not all of the steps
                self._give_back(self._cuda.destroy_graph, [lane.graph])
                lane.graph = None

    def _run(self, lane: _Lane, stream: int) -> None:
        """Run what lies in the lane's frames, and wait for it."""
        if lane.graph is None:
            self._queue(lane, stream)
        else:
            self._cuda.launch(lane.graph, stream)
        self._cuda.synchronise(stream)

    def _queue(self, lane: _Lane, stream: int) -> None:
        """Queue copy in, run, copy out."""
        self._cuda.copy_to_device(lane.frames_address, lane.frames, stream)
        if not lane.context.execute_async_v3(stream):
            raise EngineError(f"TensorRT failed on {len(lane.frames)} frames")
        self._cuda.copy_to_host(lane.detections, lane.detections_address, stream)

    def _release(self) -> None:
        """Give everything back, in the order that it hangs together."""
        graphs = [lane.graph for lane in self._lanes.values() if lane.graph is not None]
        self._give_back(self._cuda.destroy_graph, graphs)
        self._lanes.clear()  # contexts go before the engine
        self._engine = None
        self._runtime = None
        self._give_back(self._cuda.free, self._addresses)
        self._give_back(self._cuda.free_pinned, self._pinned)
        if self._stream is not None:
            self._give_back(self._cuda.destroy_stream, [self._stream])
            self._stream = None

    @staticmethod
    def _give_back(give: Callable[[T], None], things: list[T]) -> None:
        """Give things back; a GPU that failed refuses each, and there is nothing left to be done about it."""
        while things:
            with contextlib.suppress(EngineError):
                give(things.pop())
