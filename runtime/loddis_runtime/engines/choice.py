"""Which engine runs a bundle on this machine: the fastest that works, or the one that was asked for.

A TensorRT engine whose passport fits the bundle, the GPU and the TensorRT here; else ONNX Runtime's CUDA provider; else
the CPU. An engine that does not fit is never run: it is built anew where it was made for this GPU, or passed over, and
one log line says why.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.engines import Engine
from loddis_runtime.engines.building import CURRENT, ENGINE_FOLDER, build_engine
from loddis_runtime.engines.cuda import Cuda, CudaMemoryError, CudaRuntime
from loddis_runtime.engines.flavours import Flavour, TensorRt, find_tensorrt
from loddis_runtime.engines.onnx_cpu import OnnxCpuEngine, import_onnxruntime
from loddis_runtime.engines.onnx_cuda import CUDA_PROVIDER, OnnxCudaEngine
from loddis_runtime.engines.passport import Passport, find_passports
from loddis_runtime.engines.tensorrt import TensorRtEngine
from loddis_runtime.errors import EngineError, LoddisError

__all__ = ["DEFAULT_BATCH_SIZES", "Device", "EngineFinding", "Machine", "Precision", "choose_engine", "survey_engines"]

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Precision = Literal["auto", "fp32", "fp16", "int8"]

DEFAULT_BATCH_SIZES = (1, 4)
FASTEST_FIRST: tuple[GraphPrecision, ...] = ("int8", "fp16", "fp32")  # in TensorRT
CUDA_FASTEST_FIRST: tuple[GraphPrecision, ...] = (
    "fp16",
    "fp32",
)  # ONNX Runtime's CUDA provider gains nothing from int8

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


class Machine:
    """What is asked of this machine, and only when it is needed: importing TensorRT takes longer than a detection."""

    def cuda(self) -> Cuda:
        """Give the GPU. Raises `EngineError`, with the reason, if there is none."""
        return CudaRuntime()

    def tensorrt(self, flavour: Flavour | None = None) -> TensorRt:
        """Give the TensorRT that is installed. Raises `EngineError`, with the reason, if there is none."""
        return find_tensorrt(flavour)

    def has_cuda_provider(self) -> bool:
        """Tell whether ONNX Runtime is the build for GPUs."""
        return CUDA_PROVIDER in import_onnxruntime().get_available_providers()


def choose_engine(
    bundle: Bundle, *, device: Device, precision: Precision, threads: int, machine: Machine | None = None
) -> Engine:
    """Open the engine that a bundle runs in.

    Args:
        bundle: The model.
        device: Where to run; `auto` falls back from TensorRT to CUDA to the CPU, the others do not fall back.
            `tensorrt` builds an engine if there is none that fits.
        precision: Of the arithmetic; `auto` takes the fastest on a GPU, fp32 on the CPU.
        threads: Cores, for the CPU engine.
        machine: To ask; this one if none.

    Raises:
        BundleError: The bundle has no graph of that precision, or one that cannot be used.
        EngineError: The device cannot be used; the message says what was found and what to install.
    """
    machine = machine or Machine()
    if device == "tensorrt":
        try:
            engine: Engine = _open_tensorrt(bundle, precision, machine, insist=True)
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
    machine = machine or Machine()
    findings = []
    for path in find_passports(bundle.path / ENGINE_FOLDER):
        subject = f"TensorRT {path.name.removesuffix('.engine.json')}"
        try:
            engine: Engine = _open_passport(path, _read_fitting(path, bundle, machine), bundle, machine)
        except LoddisError as error:
            findings.append(EngineFinding(subject, False, str(error)))
        else:
            findings.append(EngineFinding(subject, True, engine.name))
            engine.close()
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


def _open_fastest(bundle: Bundle, precision: Precision, threads: int, machine: Machine) -> Engine:
    """Try the engines, fastest first; each that is there and cannot be used gets a log line."""
    if find_passports(bundle.path / ENGINE_FOLDER):
        try:
            return _open_tensorrt(bundle, precision, machine, insist=False)
        except LoddisError as error:
            logger.warning("no TensorRT engine of %s can be used: %s", bundle.path, error)
    if machine.has_cuda_provider():
        try:
            return _open_cuda(bundle, precision)
        except EngineError as error:
            logger.warning("ONNX Runtime's CUDA engine cannot be used: %s", error)
    return _open_cpu(bundle, precision, threads)


def _open_cpu(bundle: Bundle, precision: Precision, threads: int) -> Engine:
    chosen: GraphPrecision = "fp32" if precision == "auto" else precision
    return OnnxCpuEngine(bundle.graph_path(chosen), manifest=bundle.manifest, precision=chosen, threads=threads)


def _open_cuda(bundle: Bundle, precision: Precision) -> Engine:
    chosen = _fastest(bundle, CUDA_FASTEST_FIRST) if precision == "auto" else precision
    return OnnxCudaEngine(bundle.graph_path(chosen), manifest=bundle.manifest, precision=chosen)


def _open_tensorrt(bundle: Bundle, precision: Precision, machine: Machine, *, insist: bool) -> Engine:
    """Open the fastest engine that fits; else build one, if it is insisted on or one for this GPU is out of date.

    Raises:
        EngineError: None fits and none can be built; the message has the reason of each.
    """
    gpu = machine.cuda().gpu()
    fitting: list[tuple[Path, Passport]] = []
    outdated: list[Passport] = []  # made for this GPU, and of no use as they are
    faults: list[str] = []
    for path in find_passports(bundle.path / ENGINE_FOLDER):
        try:
            passport = Passport.load(path)
        except EngineError as error:
            faults.append(str(error))
            continue
        if precision not in ("auto", passport.precision):
            continue
        try:
            fitting.append((path, _read_fitting(path, bundle, machine)))
        except EngineError as error:
            faults.append(f"{path.name}: {error}")
            if passport.compute_capability == gpu.compute_capability:
                outdated.append(passport)
    for path, passport in sorted(fitting, key=lambda found: FASTEST_FIRST.index(found[1].precision)):
        try:
            return _open_passport(path, passport, bundle, machine)
        except CudaMemoryError:  # another build would want as much
            raise
        except EngineError as error:
            faults.append(f"{path.name}: {error}")
            outdated.append(passport)
    if not faults:
        faults.append(f"the bundle has no engine of precision {precision}")
    if not insist and not outdated:
        raise EngineError("; ".join(faults))
    try:
        return _rebuild(bundle, precision, machine, outdated, faults)
    except LoddisError as error:
        raise EngineError(f"{'; '.join(faults)}; none can be built: {error}") from error


def _rebuild(
    bundle: Bundle, precision: Precision, machine: Machine, outdated: list[Passport], faults: list[str]
) -> Engine:
    """Build the engine that should have been there."""
    before = min(outdated, key=lambda passport: FASTEST_FIRST.index(passport.precision), default=None)
    chosen = precision if precision != "auto" else before.precision if before else _fastest(bundle, FASTEST_FIRST)
    logger.warning(
        "building a TensorRT engine of %s in %s, which may take minutes: %s", bundle.path, chosen, "; ".join(faults)
    )
    path, passport = build_engine(
        bundle,
        precision=chosen,
        target=CURRENT,
        batch_sizes=before.batch_sizes if before else DEFAULT_BATCH_SIZES,
        tensorrt=machine.tensorrt(before.flavour if before else None),
        gpu=machine.cuda().gpu(),
    )
    return _open_passport(path, passport, bundle, machine)


def _read_fitting(path: Path, bundle: Bundle, machine: Machine) -> Passport:
    """Read a passport, and hold it against bundle, GPU and TensorRT.

    Raises:
        EngineError: It does not fit; the message says where.
    """
    passport = Passport.load(path)
    fault = passport.fits_bundle(bundle)
    if fault is not None:
        raise EngineError(fault)
    gpu = machine.cuda().gpu()
    if passport.compute_capability != gpu.compute_capability:
        raise EngineError(f"it is for {passport.compute_capability}, this GPU is {gpu.compute_capability} ({gpu.name})")
    tensorrt = machine.tensorrt(passport.flavour)
    if passport.tensorrt_version != tensorrt.version:
        raise EngineError(f"it is for {passport.flavour} {passport.tensorrt_version}, installed is {tensorrt.version}")
    return passport


def _open_passport(path: Path, passport: Passport, bundle: Bundle, machine: Machine) -> Engine:
    return TensorRtEngine(
        path, passport, manifest=bundle.manifest, tensorrt=machine.tensorrt(passport.flavour), cuda=machine.cuda()
    )


def _fastest(bundle: Bundle, order: tuple[GraphPrecision, ...]) -> GraphPrecision:
    """Give the first precision that the bundle has a graph of; fp32 if none: asking for it then says what there is."""
    return next((precision for precision in order if precision in bundle.precisions), "fp32")
