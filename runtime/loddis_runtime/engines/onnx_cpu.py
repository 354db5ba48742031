"""ONNX Runtime on the CPU.

Legend: B batch, T frames of the window, h w network pixels, K candidates.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME, GraphPrecision
from loddis_runtime.engines.threads import check_threads
from loddis_runtime.errors import BundleError, EngineError
from loddis_runtime.manifest import Manifest

__all__ = ["CUDA_PROVIDER", "OnnxCpuEngine", "check_interface", "first_line", "import_onnxruntime"]

CUDA_PROVIDER = "CUDAExecutionProvider"
DTYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxCpuEngine:
    """A graph in ONNX Runtime's CPU provider. One session serves any number of threads.

    Args:
        graph_path: The ONNX file.
        manifest: What the graph must agree with: window, size, candidates.
        precision: Of the graph.
        threads: Cores that one call of `infer` uses.

    Raises:
        BundleError: The file is no ONNX graph, or not the one that the manifest describes.
        ConfigError: Fewer than one thread, or far more than the machine has cores.
        EngineError: ONNX Runtime is not installed or cannot run the graph.
    """

    device: Literal["cpu"] = "cpu"

    def __init__(self, graph_path: Path, *, manifest: Manifest, precision: GraphPrecision, threads: int) -> None:
        self.precision = precision
        self.threads = check_threads(threads)
        self._expected = (manifest.max_detections, 6)
        self._session: Any = _open_session(graph_path, threads)
        self._dtype = check_interface(self._session, manifest, graph_path)

    @property
    def name(self) -> str:
        """Name and version of what runs the graph."""
        return f"ONNX Runtime {import_onnxruntime().__version__}, CPU"

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph on ``(B, T, h, w)`` float32 in [0, 1]; gives ``(B, K, 6)`` float32.

        Raises:
            EngineError: The engine is closed, or ONNX Runtime refuses the input.
        """
        session = self._session
        if session is None:
            raise EngineError("the engine is closed")
        try:
            (raw,) = session.run([OUTPUT_NAME], {INPUT_NAME: frames.astype(self._dtype, copy=False)})
        except Exception as error:  # ONNX Runtime's errors have no common root
            raise EngineError(f"ONNX Runtime failed on {frames.shape}: {first_line(error)}") from error
        if raw.shape != (len(frames), *self._expected):
            raise EngineError(f"the graph must give {(len(frames), *self._expected)}, got {raw.shape}")
        return np.asarray(raw, dtype=np.float32)

    def close(self) -> None:
        """Give the session back, once calls under way have ended."""
        self._session = None


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, or say how to get it."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineError(f"the CPU engine needs ONNX Runtime ({error}): pip install 'loddis[cpu]'") from None


def _open_session(graph_path: Path, threads: int) -> Any:
    """Load and optimise the graph."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graph is a chain: nothing runs beside anything
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # errors come as exceptions
    # Threads that spin between runs keep the cores from whoever reads the next frame and answers for the last.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    state = ort.capi.onnxruntime_pybind11_state
    try:
        # Bytes, not a path: a graph in memory cannot refer to files beside it, which no checksum covers.
        return ort.InferenceSession(graph_path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except (state.NotImplemented, state.EPFail, state.RuntimeException) as error:
        raise EngineError(f"ONNX Runtime cannot run {graph_path} here: {first_line(error)}") from error
    except Exception as error:  # ONNX Runtime's errors have no common root
        raise BundleError(f"{graph_path} is not a usable ONNX graph: {first_line(error)}") from error


def check_interface(session: Any, manifest: Manifest, graph_path: Path) -> type[np.floating[Any]]:
    """Hold the graph's input and output against the manifest; gives the input's dtype."""
    wanted = {
        INPUT_NAME: (session.get_inputs(), (manifest.window, *manifest.size_hw)),
        OUTPUT_NAME: (session.get_outputs(), (manifest.max_detections, 6)),
    }
    for name, (nodes, shape) in wanted.items():
        if [node.name for node in nodes] != [name]:
            names = ", ".join(node.name for node in nodes)
            raise BundleError(f"{graph_path} is no Loddis graph: expected one tensor {name}, got {names}")
        batch, *rest = nodes[0].shape
        fixed = [side if isinstance(side, int) else None for side in rest]  # None: decided at run time
        fits = len(rest) == len(shape) and all(a in (None, b) for a, b in zip(fixed, shape, strict=True))
        if not fits or isinstance(batch, int) or nodes[0].type not in DTYPES:
            raise BundleError(
                f"{graph_path} does not fit its manifest: {name} must be (B, {', '.join(map(str, shape))}) float "
                f"with any B, got ({', '.join(map(str, nodes[0].shape))}) {nodes[0].type}"
            )
    return DTYPES[session.get_inputs()[0].type]


def first_line(error: Exception) -> str:
    """Give the head of a message that may run over many lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
