"""Which engine runs a bundle on this machine: the fastest that works, or the one that was asked for.

A TensorRT engine whose passport fits the bundle, the GPU and the TensorRT here; else ONNX Runtime's CUDA provider; else
the CPU. An engine that does not fit is never run: it is built anew where it was made for this GPU, or passed over, and
one log line says why.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.engines import Engine
from loddis_runtime.engines.cpu_features import has_byte_dot_products
from loddis_runtime.engines.onnx_cpu import CUDA_PROVIDER, OnnxCpuEngine, import_onnxruntime
from loddis_runtime.engines.passport import ENGINE_FOLDER, PASSPORT_SUFFIX, find_passports
from loddis_runtime.errors import EngineError, LoddisError

if TYPE_CHECKING:  # what a GPU needs is imported where one is asked for: a start on the CPU does not wait for it
    from loddis_runtime.engines.fitting import Machine

__all__ = ["Device", "EngineFinding", "Precision", "choose_engine", "survey_engines"]

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Precision = Literal["auto", "fp32", "fp16", "int8"]

logger = logging.getLogger(__name__)


class EngineFinding(NamedTuple):
    """An engine that a bundle could run in.

    Attributes:
        subject: Such as `TensorRT fp16.sm_89.tensorrt-11.4.1`.
        usable: Whether it runs here.
        detail: What runs it, or why it does not.
    """

    subject: str
    usable: bool
    detail: str


def choose_engine(
    bundle: Bundle, *, device: Device, precision: Precision, threads: int, machine: Machine | None = None
) -> Engine:
    """Open the engine that a bundle runs in.

    Args:
        bundle: The model.
        device: Where to run; `auto` falls back from TensorRT to CUDA to the CPU, the others do not fall back.
            `tensorrt` builds an engine if there is none that fits.
        precision: Of the arithmetic; `auto` takes the fastest that the bundle has a graph of.
        threads: Cores, for the CPU engine.
        machine: To ask; this one if none.

    Raises:
        BundleError: The bundle has no graph of that precision, or one that cannot be used.
        EngineError: The device cannot be used; the message says what was found and what to install.
    """
    if device == "tensorrt":
        try:
            engine = _open_tensorrt(bundle, precision, machine, insist=True)
        except EngineError as error:
            raise EngineError(f"device tensorrt cannot be used: {error}") from error
    elif device == "cuda":
        try:
            engine = _open_cuda(bundle, precision)
        except EngineError as error:
            raise EngineError(f"device cuda cannot be used: {error}") from error
    elif device == "cpu":
        engine = _open_cpu(bundle, precision, threads)
    else:
        engine = _open_fastest(bundle, precision, threads, machine)
    name = f"{bundle.manifest.name}:{bundle.manifest.version}"
    logger.info("%s runs in %s on %s (device %s)", name, engine.precision, engine.name, device)
    return engine


def survey_engines(
    bundle: Bundle, *, precision: Precision = "auto", machine: Machine | None = None
) -> list[EngineFinding]:
    """Say of each engine but the CPU's whether a bundle could run in it here, by opening it.

    Args:
        bundle: The model.
        precision: As `choose_engine`.
        machine: To ask; this one if none.
    """
    from loddis_runtime.engines.fitting import try_engine

    findings = []
    for path in find_passports(bundle.path / ENGINE_FOLDER):
        subject = f"TensorRT {path.name.removesuffix(PASSPORT_SUFFIX)}"
        try:
            findings.append(EngineFinding(subject, True, try_engine(path, bundle, machine)))
        except LoddisError as error:
            findings.append(EngineFinding(subject, False, str(error)))
    if not findings:
        findings.append(EngineFinding("TensorRT", False, "the bundle has no engines; loddis-export engine builds them"))
    try:
        engine = _open_cuda(bundle, precision)
    except LoddisError as error:
        findings.append(EngineFinding("CUDA", False, str(error)))
    else:
        findings.append(EngineFinding("CUDA", True, engine.name))
        engine.close()
    return findings


def _open_fastest(bundle: Bundle, precision: Precision, threads: int, machine: Machine | None) -> Engine:
    """Try the engines, fastest first; each that is there and cannot be used gets a log line."""
    if find_passports(bundle.path / ENGINE_FOLDER):
        try:
            return _open_tensorrt(bundle, precision, machine, insist=False)
        except LoddisError as error:
            logger.warning("no TensorRT engine of %s can be used: %s", bundle.path, error)
    if CUDA_PROVIDER in import_onnxruntime().get_available_providers():
        try:
            return _open_cuda(bundle, precision)
        except EngineError as error:
            logger.warning("ONNX Runtime's CUDA engine cannot be used: %s", error)
    return _open_cpu(bundle, precision, threads)


def _open_cpu(bundle: Bundle, precision: Precision, threads: int) -> Engine:
    chosen = _fastest_on_cpu(bundle) if precision == "auto" else precision
    return OnnxCpuEngine(bundle.graph_path(chosen), manifest=bundle.manifest, precision=chosen, threads=threads)


def _fastest_on_cpu(bundle: Bundle) -> GraphPrecision:
    """Choose int8 where there is a graph of it and the CPU computes it as it was proven; float16 saves no time here."""
    if "int8" not in bundle.precisions:
        return "fp32"
    if has_byte_dot_products():
        return "int8"
    logger.info("fp32 instead of int8: this CPU has no dot products of bytes, without which int8 saturates")
    return "fp32"


def _open_cuda(bundle: Bundle, precision: Precision) -> Engine:
    from loddis_runtime.engines.onnx_cuda import OnnxCudaEngine

    # Not int8: the CUDA provider has no int8 convolution, and would compute in float what it has to unpack first.
    chosen = precision if precision != "auto" else "fp16" if "fp16" in bundle.precisions else "fp32"
    return OnnxCudaEngine(bundle.graph_path(chosen), manifest=bundle.manifest, precision=chosen)


def _open_tensorrt(bundle: Bundle, precision: Precision, machine: Machine | None, *, insist: bool) -> Engine:
    from loddis_runtime.engines.fitting import open_tensorrt

    return open_tensorrt(bundle, None if precision == "auto" else precision, insist=insist, machine=machine)
