"""ONNX Runtime's CUDA provider: tensors bound to GPU memory, one session a batch size, each a CUDA graph.

A recorded CUDA graph has fixed shapes and fixed addresses, and must not run twice at once: so each batch size has a
session with bound tensors of its own, and calls take turns.

Legend: B batch, T frames of the window, h w network pixels, K candidates.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME, GraphPrecision
from loddis_runtime.engines.batches import split_batch
from loddis_runtime.engines.onnx_cpu import (
    CUDA_PROVIDER,
    check_interface,
    first_line,
    import_onnxruntime,
)
from loddis_runtime.errors import BundleError, EngineError
from loddis_runtime.manifest import Manifest

__all__ = ["OnnxCudaEngine", "Place"]

BATCH_SIZES = (1, 4, 16)

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where sessions run and tensors lie.

    Attributes:
        provider: ONNX Runtime's name of what runs the graph.
        memory: Its name of where tensors lie.
        records: Whether sessions can be recorded as CUDA graphs.
    """

    provider: str
    memory: str
    records: bool


GPU = Place(CUDA_PROVIDER, "cuda", records=True)


class _Lane(NamedTuple):
    """A session with its tensors. `frames` and `detections` are ONNX Runtime's `OrtValue`s."""

    session: Any
    binding: Any
    frames: Any
    detections: Any


class OnnxCudaEngine:
    """A graph in ONNX Runtime's CUDA provider. Calls from several threads take turns.

    Args:
        graph_path: The ONNX file.
        manifest: What the graph must agree with: window, size, candidates.
        precision: Of the graph.
        batch_sizes: Frames at once that there are sessions for; each is opened when it is first needed.
        place: Where it runs; another than the GPU is for machines without one.

    Raises:
        BundleError: The file is no ONNX graph, or not the one that the manifest describes.
        EngineError: ONNX Runtime has no CUDA provider, or it cannot use the GPU or its memory.
    """

    device: Literal["cuda"] = "cuda"

    def __init__(
        self,
        graph_path: Path,
        *,
        manifest: Manifest,
        precision: GraphPrecision,
        batch_sizes: Sequence[int] = BATCH_SIZES,
        place: Place = GPU,
    ) -> None:
        self.precision = precision
        self.batch_sizes = tuple(sorted(batch_sizes))
        self._manifest = manifest
        self._place = place
        self._path = graph_path
        try:
            self._graph: bytes | None = graph_path.read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {graph_path}: {error.strerror or error}") from None
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}
        ort = import_onnxruntime()
        if place.provider not in ort.get_available_providers():
            raise EngineError(f"ONNX Runtime {ort.__version__} here has no {place.provider}: pip install 'loddis[gpu]'")
        if place is GPU:
            _preload_libraries(ort)
        self.name = f"ONNX Runtime {ort.__version__}, {place.memory.upper()}"
        self._lane(self.batch_sizes[0])

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph on ``(B, T, h, w)`` float32 in [0, 1]; gives ``(B, K, 6)`` float32.

        Raises:
            EngineError: The engine is closed, the frames have another shape, or ONNX Runtime failed.
        """
        expected = (self._manifest.window, *self._manifest.size_hw)
        if frames.shape[1:] != expected:
            raise EngineError(f"frames must be (B, {', '.join(map(str, expected))}), got {frames.shape}")
        detections = np.empty((len(frames), self._manifest.max_detections, 6), dtype=np.float32)
        with self._lock:
            if self._graph is None:
                raise EngineError("the engine is closed")
            for start, stop, size in split_batch(len(frames), self.batch_sizes):
                lane = self._lane(size)
                batch = np.zeros((size, *expected), dtype=_dtype(lane.frames))
                batch[: stop - start] = frames[start:stop]
                detections[start:stop] = self._run(lane, batch)[: stop - start]
        return detections

    def close(self) -> None:
        """Give sessions and tensors back, once a call under way has ended."""
        with self._lock:
            self._lanes.clear()
            self._graph = None

    def _run(self, lane: _Lane, batch: NDArray[Any]) -> NDArray[Any]:
        """Run a batch of exactly the lane's size."""
        try:
            lane.frames.update_inplace(batch)
            lane.session.run_with_iobinding(lane.binding)
            return np.asarray(lane.detections.numpy())
        except Exception as error:  # ONNX Runtime's errors have no common root
            raise EngineError(f"ONNX Runtime failed on {batch.shape}: {first_line(error)}") from error

    def _lane(self, size: int) -> _Lane:
        """Give the session of a batch size; open it if it is not."""
        if size not in self._lanes:
            self._lanes[size] = self._open_lane(size, record=self._place.records)
        return self._lanes[size]

    def _open_lane(self, size: int, *, record: bool) -> _Lane:
        ort = import_onnxruntime()
        session = self._open_session(ort, record=record)
        dtype = check_interface(session, self._manifest, self._path)
        outputs = np.float16 if session.get_outputs()[0].type == "tensor(float16)" else np.float32
        shape = (size, self._manifest.window, *self._manifest.size_hw)
        try:
            frames = ort.OrtValue.ortvalue_from_numpy(np.full(shape, 0.5, dtype=dtype), self._place.memory, 0)
            detections = ort.OrtValue.ortvalue_from_shape_and_type(
                [size, self._manifest.max_detections, 6], outputs, self._place.memory, 0
            )
            binding = session.io_binding()
            binding.bind_ortvalue_input(INPUT_NAME, frames)
            binding.bind_ortvalue_output(OUTPUT_NAME, detections)
            session.run_with_iobinding(binding)  # measures kernels, and records the CUDA graph
        except Exception as error:  # ONNX Runtime's errors have no common root
            if record:
                return self._open_unrecorded(size, error)
            raise EngineError(f"ONNX Runtime cannot run {size} frames at once: {first_line(error)}") from error
        return _Lane(session, binding, frames, detections)

    def _open_unrecorded(self, size: int, error: Exception) -> _Lane:
        logger.warning("no CUDA graph for %d frames, each kernel is launched by itself: %s", size, first_line(error))
        return self._open_lane(size, record=False)

    def _open_session(self, ort: Any, *, record: bool) -> Any:
        """Load the graph; a provider that ONNX Runtime left out without a word is an error."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4  # errors come as exceptions
        provider = {"device_id": "0", "enable_cuda_graph": "1" if record else "0"} if self._place is GPU else {}
        try:
            # Without its fallback, which goes on on the CPU when the GPU fails, and prints to stdout that it does.
            session = ort.InferenceSession(
                self._graph, options, providers=[(self._place.provider, provider)], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's errors have no common root
            if record:  # it refuses here a graph that it cannot record, such as one with nodes left on the CPU
                logger.warning("no CUDA graph, each kernel is launched by itself: %s", first_line(error))
                return self._open_session(ort, record=False)
            raise EngineError(f"ONNX Runtime cannot run {self._path} on the GPU: {first_line(error)}") from error
        if session.get_providers()[0] != self._place.provider:
            raise EngineError(
                f"ONNX Runtime {ort.__version__} cannot load its {self._place.provider}: "
                "no GPU, no driver, or CUDA libraries of another version; pip install 'loddis[gpu]' brings them"
            )
        return session


def _preload_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN as pip installs them, which is where no loader looks; what it prints goes to the log."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls()
    if printed.getvalue():
        logger.debug("ONNX Runtime: %s", printed.getvalue().strip())


def _dtype(value: Any) -> type[np.floating[Any]]:
    return np.float16 if value.data_type() == "tensor(float16)" else np.float32
