"""A GPU and a TensorRT of numpy: queues run when they are waited for, memory has an end, engines are JSON.

What is behind `Cuda` and behind the `tensorrt` package cannot run without a GPU; what Loddis makes of it can, on these.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from loddis_runtime.bundle import Bundle
from loddis_runtime.engines.cuda import CudaMemoryError, Gpu, describe_memory
from loddis_runtime.engines.flavours import TensorRt
from loddis_runtime.engines.passport import Passport, write_engine
from loddis_runtime.errors import EngineError

__all__ = ["FakeCuda", "fake_tensorrt", "write_fake_engine"]

Operation = Callable[[], None]


class FakeCuda:
    """`Cuda` over numpy arrays. `runs` counts what ran, by kind; `open` what was not given back."""

    def __init__(self, *, compute_capability: str = "sm_89", memory: int = 2**30, captures: bool = True) -> None:
        self.device = Gpu("Fake GPU", compute_capability)
        self.memory = memory
        self.captures = captures
        self.arrays: dict[int, NDArray[np.uint8]] = {}
        self.pinned: list[int] = []
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Operation]] = {}
        self.pending: list[Operation] = []
        self.recording: list[Operation] | None = None
        self.launches = 0
        self.broken = False
        self._next = 1

    @property
    def leaked(self) -> bool:
        return bool(self.arrays or self.pinned or self.streams or self.graphs)

    def gpu(self) -> Gpu:
        return self.device

    def use_device(self) -> None:
        pass

    def memory_info(self) -> tuple[int, int]:
        return self.memory - sum(array.nbytes for array in self.arrays.values()), self.memory

    def create_stream(self) -> int:
        self.streams.add(self._handle())
        return max(self.streams)

    def allocate(self, size: int) -> int:
        if size > self.memory_info()[0]:
            raise CudaMemoryError(describe_memory(f"{size / 2**20:.1f} MiB", self.memory_info()))
        address = self._handle()
        self.arrays[address] = np.zeros(size, dtype=np.uint8)
        return address

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        memory = np.zeros(size, dtype=np.uint8)
        self.pinned.append(memory.ctypes.data)
        return memory

    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        def copy() -> None:
            self.arrays[address][:] = source.reshape(-1).view(np.uint8)

        self.queue(copy)

    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        def copy() -> None:
            target.reshape(-1).view(np.uint8)[:] = self.arrays[address]

        self.queue(copy)

    def begin_capture(self, stream: int) -> None:
        if not self.captures:
            raise EngineError("cudaStreamBeginCapture failed: not supported")
        self.recording = []

    def end_capture(self, stream: int) -> int:
        recorded, self.recording = self.recording, None
        if recorded is None:
            raise EngineError("cudaStreamEndCapture failed: nothing was begun")
        graph = self._handle()
        self.graphs[graph] = recorded
        return graph

    def launch(self, graph: int, stream: int) -> None:
        self.launches += 1
        self.pending += self.graphs[graph]

    def synchronise(self, stream: int) -> None:
        if self.broken:
            raise EngineError("cudaStreamSynchronize failed: an illegal memory access was encountered")
        pending, self.pending = self.pending, []
        for operation in pending:
            operation()

    def free(self, address: int) -> None:
        if self.broken:
            raise EngineError("cudaFree failed: an illegal memory access was encountered")
        del self.arrays[address]

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        self.pinned.remove(memory.ctypes.data)

    def destroy_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def destroy_stream(self, stream: int) -> None:
        self.streams.remove(stream)

    def queue(self, operation: Operation) -> None:
        (self.pending if self.recording is None else self.recording).append(operation)

    def _handle(self) -> int:
        self._next += 1
        return self._next


class _DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    BF16 = 3
    FP8 = 4


class _LayerType(enum.Enum):
    CONVOLUTION = 0
    DECONVOLUTION = 1
    DEQUANTIZE = 2


WORDS = {"FLOAT": ("FP32", "Float"), "HALF": ("FP16", "Half")}
ONNX_TYPES = {onnx.TensorProto.FLOAT: _DataType.FLOAT, onnx.TensorProto.FLOAT16: _DataType.HALF}


def fake_tensorrt(cuda: FakeCuda, *, version: str = "10.13.0.35", runs_in: str | None = None) -> TensorRt:
    """Give a `tensorrt` that builds for the GPU of `cuda`, and runs there what the test wants of it.

    Args:
        cuda: The GPU. Each frame's first candidate gets the mean of its pixels as score.
        version: Of the package; before 11, a network is strongly typed by a flag.
        runs_in: Type of the convolutions in what is built, FLOAT or HALF; the graph's if none.
    """

    class ILogger:
        Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    class Cache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return self.content + b"measured;"

    class Config:
        profiling_verbosity = "names only"

        def __init__(self) -> None:
            self.profiles: list[int] = []
            self.cache = Cache(b"")
            self.flags = {"TF32"}

        def clear_flag(self, flag: str) -> None:
            self.flags.discard(flag)

        def add_optimization_profile(self, profile: Any) -> None:
            self.profiles.append(profile.size)

        def create_timing_cache(self, content: bytes) -> Cache | None:
            return None if content.startswith(b"of another GPU") else Cache(content)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return True

        def get_timing_cache(self) -> Cache:
            return self.cache

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, flags: int) -> Any:
            assert flags == (2 if version.startswith("10.") else 0), "the network is not strongly typed"
            return SimpleNamespace()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Any:
            profile = SimpleNamespace(size=0)

            def set_shape(name: str, least: Any, best: Any, most: Any) -> None:
                assert name == "frames"
                assert least == best == most
                profile.size = best[0]

            profile.set_shape = set_shape
            return profile

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            assert config.flags == set(), "TF32 is on"
            if not network.convolutions:
                self.log.log(ILogger.Severity.ERROR, "no implementation found")
                return None
            document = {
                "profiles": config.profiles,
                "frames": list(network.frame_shape),
                "candidates": network.candidates,
                "convolutions": {name: runs_in or dtype.name for name, dtype in network.convolutions.items()},
                "told": config.profiling_verbosity == "detailed",
            }
            return json.dumps(document).encode()

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Any, log: Any) -> None:
            self.network = network

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "Failed to parse\nthe ONNX model.")

        def parse(self, content: bytes) -> bool:
            try:
                graph = onnx.load_model_from_string(content).graph
            except Exception:
                return False
            _describe(self.network, graph)
            return True

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            try:
                document = json.loads(plan)
            except ValueError:
                self.log.log(ILogger.Severity.ERROR, "magic tag does not match")
                return None
            return _Engine(document, cuda, self.log, ILogger.Severity.ERROR)

    flags = SimpleNamespace(STRONGLY_TYPED=1) if version.startswith("10.") else SimpleNamespace()
    module = SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        DataType=_DataType,
        LayerType=_LayerType,
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        NetworkDefinitionCreationFlag=flags,
        LayerInformationFormat=SimpleNamespace(ONELINE="one line"),
    )
    return TensorRt("tensorrt", version, module)


def write_fake_engine(bundle: Bundle, *, plan: bytes | None = None, **fields: Any) -> tuple[Path, Passport]:
    """Write an engine that `fake_tensorrt` runs into a bundle's `engines/`; `fields` replace those of its passport."""
    manifest = bundle.manifest
    sizes = fields.get("batch_sizes", (1, 4))
    document = {
        "profiles": list(sizes),
        "frames": [manifest.window, *manifest.size_hw],
        "candidates": manifest.max_detections,
        "convolutions": {"smooth": "FLOAT"},
        "told": True,
    }
    defaults = {
        "graph": "model.fp32.onnx",
        "graph_sha256": manifest.files["model.fp32.onnx"],
        "converted": False,
        "flavour": "tensorrt",
        "tensorrt_version": "10.13.0.35",
        "compute_capability": "sm_89",
        "precision": "fp32",
        "achieved_precision": "fp32",
        "convolutions": {"fp32": 1},
        "untold": 0,
        "read_by": "engine inspector",
        "batch_sizes": sizes,
        "created": "2026-01-01T00:00:00Z",
    }
    return write_engine(bundle.path / "engines", plan or json.dumps(document).encode(), {**defaults, **fields})


def _describe(network: Any, graph: onnx.GraphProto) -> None:
    """Make the network that TensorRT's parser would make, as far as it is looked at."""

    def tensor(value: onnx.ValueInfoProto) -> Any:
        shape = tuple(side.dim_value or -1 for side in value.type.tensor_type.shape.dim)
        return SimpleNamespace(name=value.name, shape=shape, dtype=ONNX_TYPES.get(value.type.tensor_type.elem_type))

    weights = {initializer.name: ONNX_TYPES.get(initializer.data_type) for initializer in graph.initializer}
    inputs, outputs = [tensor(value) for value in graph.input], [tensor(value) for value in graph.output]
    layers = []
    for node in graph.node:
        if node.op_type == "Conv":
            operand = SimpleNamespace(name=node.input[0], dtype=weights[node.input[1]])
            layers.append(_layer(node.output[0], operand))
    network.convolutions = {layer.name: layer.get_input(0).dtype for layer in layers}
    network.num_inputs, network.get_input = len(inputs), inputs.__getitem__
    network.num_outputs, network.get_output = len(outputs), outputs.__getitem__
    network.num_layers, network.get_layer = len(layers), layers.__getitem__
    network.frame_shape, network.candidates = inputs[0].shape[1:], outputs[0].shape[1]


def _layer(name: str, operand: Any) -> Any:
    return SimpleNamespace(
        name=name,
        type=_LayerType.CONVOLUTION,
        num_inputs=1,
        num_outputs=1,
        get_input=lambda index: operand,
        get_output=lambda index: SimpleNamespace(name=name),
    )


class _Engine:
    """A loaded engine."""

    def __init__(self, document: dict[str, Any], cuda: FakeCuda, log: Any, error: Any) -> None:
        self.document = document
        self.cuda = cuda
        self.log = log
        self.error = error

    def get_tensor_dtype(self, name: str) -> _DataType:
        return _DataType.FLOAT

    def create_engine_inspector(self) -> Any:
        lines = [_line(name, *WORDS[dtype]) for name, dtype in self.document["convolutions"].items()]
        text = "\n".join(["Layers:", *lines] if self.document["told"] else ["Layers:", *self.document["convolutions"]])
        return SimpleNamespace(get_engine_information=lambda form: text)

    def create_execution_context(self) -> Any:
        if self.document.get("activations", 0) > self.cuda.memory_info()[0]:
            self.log.log(self.error, "Requested amount of GPU memory could not be allocated")
            return None
        return _Context(self.document, self.cuda)


def _line(name: str, layout: str, dtype: str) -> str:
    """Give a layer in the words of TensorRT 10."""
    tensor = f"Location: Device, Dimensions: [1,1,64,96], Format/Datatype: Row major linear {layout} format"
    return (
        f"Name: {name} + PWN({name}_relu), LayerType: CaskConvolution, Inputs: [ {{ Name: frames, {tensor} }}], "
        f"Outputs: [ {{ Name: {name}, {tensor} }}], ParameterType: Convolution, Kernel: [15,15], "
        f'Weights: {{"Type": "{dtype}", "Count": 225}}, TacticName: sm80_xmma, StreamId: 0, Metadata: '
    )


class _Context:
    """An execution context: the score of a frame's first candidate is the mean of its pixels."""

    def __init__(self, document: dict[str, Any], cuda: FakeCuda) -> None:
        self.document = document
        self.cuda = cuda
        self.size = 0
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if index >= len(self.document["profiles"]):
            return False
        self.size = self.document["profiles"][index]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return shape == (self.size, *self.document["frames"])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.size, self.document["candidates"], 6)

    def execute_async_v3(self, stream: int) -> bool:
        def execute() -> None:
            frames = self.cuda.arrays[self.addresses["frames"]].view(np.float32)
            frames = frames.reshape(self.size, *self.document["frames"])
            detections = self.cuda.arrays[self.addresses["detections"]].view(np.float32)
            detections = detections.reshape(self.get_tensor_shape("detections"))
            detections[:] = 0
            detections[:, 0, 4] = frames.mean(axis=(1, 2, 3))

        self.cuda.queue(execute)
        return True
