"""Graph in, engine out: one path over `tensorrt` 10 and 11 and `tensorrt_rtx`.

Precision lives in the graph: the network is strongly typed, no builder flag changes a type. What the engine came to is
read back, and an engine that is not what was asked for is not written.

Legend: B batch, T frames of the window, h w network pixels, K candidates.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from loddis_runtime.bundle import INPUT_NAME, OUTPUT_NAME, Bundle, GraphPrecision
from loddis_runtime.engines.cuda import Gpu
from loddis_runtime.engines.flavours import TensorRt, known_targets
from loddis_runtime.engines.layers import (
    LayerPrecision,
    count_precisions,
    main_precision,
    read_precisions,
)
from loddis_runtime.engines.listening import make_log
from loddis_runtime.engines.passport import ENGINE_FOLDER, Passport, replace_file, write_engine
from loddis_runtime.engines.signed import signed_graph
from loddis_runtime.errors import EngineError
from loddis_runtime.manifest import Manifest

__all__ = [
    "CURRENT",
    "DEFAULT_BATCH_SIZES",
    "LARGEST_BATCH",
    "ConvertedGraph",
    "build_engine",
    "resolve_target",
]

CURRENT = "current"  # the target that is the GPU of this machine
DEFAULT_BATCH_SIZES = (1, 4)
LARGEST_BATCH = 256
MOST_UNTOLD = 0.5  # share of convolutions

ReadBy = Literal["engine inspector", "builder's report"]

logger = logging.getLogger(__name__)


class ConvertedGraph(NamedTuple):
    """A graph that was converted from one of the bundle's, for want of one in the precision itself.

    Attributes:
        source: Precision of the bundle's graph.
        content: ONNX.
    """

    source: GraphPrecision
    content: bytes


def resolve_target(target: str, tensorrt: TensorRt, gpu: Gpu | None) -> str:
    """Check that this TensorRT can build for a target here.

    Args:
        target: Compute capability, such as sm_86, or `current`.
        tensorrt: That is to build.
        gpu: Of this machine, if it has one.

    Returns:
        The compute capability.

    Raises:
        EngineError: It cannot; the message says what it can build for.
    """
    known = known_targets(tensorrt)
    own = None if gpu is None else gpu.compute_capability
    if target == CURRENT:
        if own is None:
            raise EngineError("there is no GPU here to build for that CUDA can use; name the target's, such as sm_86")
        target = own
    if known and target not in known:
        raise EngineError(
            f"{tensorrt.flavour} {tensorrt.version} cannot build for {target}; it builds for {', '.join(known)}"
        )
    if not known and target != own:
        here = f"here that is {own}" if own else "here there is none"
        raise EngineError(
            f"{tensorrt.flavour} {tensorrt.version} builds for the GPU of its machine only ({here}), not for {target}: "
            "build there, or with tensorrt_rtx: pip install 'loddis[tensorrt-rtx]'"
        )
    return target


def build_engine(
    bundle: Bundle,
    *,
    precision: GraphPrecision,
    target: str,
    batch_sizes: Sequence[int],
    tensorrt: TensorRt,
    gpu: Gpu | None,
    folder: Path | None = None,
    converted: ConvertedGraph | None = None,
) -> tuple[Path, Passport]:
    """Build an engine of a bundle's graph, read back what it is, and write it with its passport.

    Args:
        bundle: That was opened, so that its graphs are those that were exported.
        precision: Of the engine.
        target: Compute capability of the GPU it is to run on, such as sm_86, or `current`.
        batch_sizes: Frames at once; each gets a profile, and kernels, of its own.
        tensorrt: That builds.
        gpu: Of this machine, if it has one.
        folder: Where to; `engines/` of the bundle if none.
        converted: The graph, where the bundle has none of this precision.

    Returns:
        Path of the passport, and the passport.

    Raises:
        BundleError: The bundle has no graph of this precision.
        EngineError: TensorRT cannot build it here, the graph is none of ours, or the engine did not come out in the
            precision asked for. Nothing was written.
    """
    sizes = sorted(set(batch_sizes))
    if not sizes or not 1 <= sizes[0] <= sizes[-1] <= LARGEST_BATCH:
        raise EngineError(f"batch sizes must be from 1 to {LARGEST_BATCH}, got {', '.join(map(str, sizes)) or 'none'}")
    target = resolve_target(target, tensorrt, gpu)
    folder = folder or bundle.path / ENGINE_FOLDER
    _check_writable(folder)
    graph_path = bundle.graph_path(precision if converted is None else converted.source)
    content = graph_path.read_bytes() if converted is None else converted.content
    if precision == "int8":
        content = signed_graph(content)

    plan, expected, information = _Builder(tensorrt).build(
        content,
        bundle.manifest,
        target=target,
        batch_sizes=sizes,
        timing_cache=folder / _timing_cache(tensorrt, target),
    )
    can_load = gpu is not None and gpu.compute_capability == target
    told, read_by = _read_back(plan, information, list(expected), tensorrt, can_load=can_load)
    achieved, counts = _check_precision(precision, expected, told)
    return write_engine(
        folder,
        plan,
        {
            "graph": graph_path.name,
            "graph_sha256": bundle.manifest.files[graph_path.name],
            "converted": converted is not None,
            "flavour": tensorrt.flavour,
            "tensorrt_version": tensorrt.version,
            "compute_capability": target,
            "precision": precision,
            "achieved_precision": achieved,
            "convolutions": counts,
            "untold": len(expected) - len(told),
            "read_by": read_by,
            "batch_sizes": tuple(sizes),
            "created": dt.datetime.now(dt.UTC),
        },
    )


class _Builder:
    """TensorRT's builder, with what it said."""

    def __init__(self, tensorrt: TensorRt) -> None:
        self._tensorrt = tensorrt
        self._trt: Any = tensorrt.module
        self._log = make_log(self._trt)

    def build(
        self, content: bytes, manifest: Manifest, *, target: str, batch_sizes: Sequence[int], timing_cache: Path
    ) -> tuple[bytes, dict[str, LayerPrecision], str]:
        """Give the engine, the precision that the graph wants of each convolution, and the builder's report."""
        trt = self._trt
        try:
            builder = trt.Builder(self._log)
            strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
            network = builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))
            config = builder.create_builder_config()
        except (TypeError, RuntimeError) as error:  # the constructor found no GPU, or no driver
            raise EngineError(f"TensorRT cannot build here: {self._log.fault() or error}") from error
        self._parse(network, content)
        self._check_interface(network, manifest)
        expected = self._expected(network)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else an engine does not tell its types
        config.clear_flag(trt.BuilderFlag.TF32)  # it has float16's 11 significant bits: fp32 means fp32
        for size in batch_sizes:
            profile = builder.create_optimization_profile()
            shape = (size, manifest.window, *manifest.size_hw)
            profile.set_shape(INPUT_NAME, shape, shape, shape)
            config.add_optimization_profile(profile)
        if known_targets(self._tensorrt):
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, target.replace("sm_", "SM")), 0)
        with self._timing(config, timing_cache):
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"TensorRT cannot build the engine: {self._log.fault() or 'it does not say why'}")
        return bytes(plan), expected, self._log.layers

    def _parse(self, network: Any, content: bytes) -> None:
        parser = self._trt.OnnxParser(network, self._log)
        if not parser.parse(content):
            faults = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
            raise EngineError(f"TensorRT cannot read the graph: {' '.join(faults.split()) or self._log.fault()}")

    def _check_interface(self, network: Any, manifest: Manifest) -> None:
        """Hold the network's input and output against the manifest."""
        floats = (self._trt.DataType.FLOAT, self._trt.DataType.HALF)
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        for tensors, name, shape in (
            (inputs, INPUT_NAME, (manifest.window, *manifest.size_hw)),
            (outputs, OUTPUT_NAME, (manifest.max_detections, 6)),
        ):
            names = ", ".join(tensor.name for tensor in tensors)
            if names != name:
                raise EngineError(f"the graph is no Loddis graph: expected one tensor {name}, got {names}")
            found = tuple(tensors[0].shape)
            if found[1:] != shape or tensors[0].dtype not in floats or (name == INPUT_NAME and found[0] != -1):
                raise EngineError(
                    f"the graph does not fit its manifest: {name} must be (B, {', '.join(map(str, shape))}) float "
                    f"with any B, got {found} {tensors[0].dtype}"
                )

    def _expected(self, network: Any) -> dict[str, LayerPrecision]:
        """Give the precision that the graph wants of each convolution: int8 where it dequantises both operands."""
        kinds = self._trt.LayerType
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        made_by = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
        names: dict[Any, LayerPrecision] = {
            self._trt.DataType.FLOAT: "fp32",
            self._trt.DataType.HALF: "fp16",
            self._trt.DataType.BF16: "bf16",
            self._trt.DataType.INT8: "int8",
            self._trt.DataType.FP8: "fp8",
        }
        expected = {}
        for layer in layers:
            if layer.type not in (kinds.CONVOLUTION, kinds.DECONVOLUTION):
                continue
            operands = [tensor for index in range(layer.num_inputs) if (tensor := layer.get_input(index)) is not None]
            makers = [made_by.get(tensor.name) for tensor in operands[:2]]
            quantised = len(makers) == 2 and all(maker and maker.type == kinds.DEQUANTIZE for maker in makers)
            source = makers[0].get_input(0) if quantised and makers[0] else operands[0]
            expected[str(layer.name)] = names[source.dtype]
        return expected

    @contextlib.contextmanager
    def _timing(self, config: Any, path: Path) -> Any:
        """Let the builder know what kernels were measured before, and keep what it measures; RTX measures nothing."""
        if self._tensorrt.flavour == "tensorrt_rtx":
            yield
            return
        known = path.read_bytes() if path.is_file() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, False):
            logger.warning("%s is no timing cache of this TensorRT; starting a new one", path)
            config.set_timing_cache(config.create_timing_cache(b""), False)
        yield
        with contextlib.suppress(OSError):  # the engine counts, not how fast the next one comes
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, bytes(config.get_timing_cache().serialize()))


def _check_writable(folder: Path) -> None:
    """Find out before the minutes that a build takes."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise EngineError(f"cannot write {folder}: make it writable, or build into a copy of the bundle")


def _timing_cache(tensorrt: TensorRt, target: str) -> str:
    return f"timing.{target}.{tensorrt.flavour}-{tensorrt.version}.cache"


def _read_back(
    plan: bytes, report: str, convolutions: Sequence[str], tensorrt: TensorRt, *, can_load: bool
) -> tuple[dict[str, LayerPrecision], ReadBy]:
    """Read the precision of each convolution: from the loaded engine if its GPU is here, else from the builder."""
    if can_load:
        trt = tensorrt.module
        runtime = trt.Runtime(make_log(trt))
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError("TensorRT cannot load the engine that it built")
        inspector = engine.create_engine_inspector()
        told = read_precisions(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE), convolutions)
        if told:
            return told, "engine inspector"
    return read_precisions(report, convolutions), "builder's report"


def _check_precision(
    asked: GraphPrecision, expected: Mapping[str, LayerPrecision], told: Mapping[str, LayerPrecision]
) -> tuple[LayerPrecision, dict[LayerPrecision, int]]:
    """Hold what the engine runs in against what the graph wants, and that against what was asked for."""
    if not told or len(told) < (1 - MOST_UNTOLD) * len(expected):
        raise EngineError(
            f"the engine tells the precision of {len(told)} of its {len(expected)} convolutions: not enough to trust it"
        )
    strayed = [name for name, precision in told.items() if precision != expected[name]]
    if strayed:
        raise EngineError(
            f"{len(strayed)} of {len(told)} convolutions run in another precision than the graph's, "
            f"such as {strayed[0]}: {told[strayed[0]]} instead of {expected[strayed[0]]}"
        )
    counts = count_precisions(told)
    main = main_precision(counts)
    if main != asked:
        raise EngineError(f"the engine was to be {asked}, but {counts[main]} of {len(told)} convolutions run in {main}")
    return main, counts
