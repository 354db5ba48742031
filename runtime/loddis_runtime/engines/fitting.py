"""TensorRT engines of a bundle: which fits this machine, and what is done where none does.

An engine that does not fit is never run: it is built anew where it was made for this GPU or is insisted on, else it is
an error that says why.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.engines.building import CURRENT, DEFAULT_BATCH_SIZES, build_engine
from loddis_runtime.engines.cuda import Cuda, CudaMemoryError, CudaRuntime
from loddis_runtime.engines.flavours import Flavour, TensorRt, find_tensorrt
from loddis_runtime.engines.passport import ENGINE_FOLDER, Passport, find_passports
from loddis_runtime.engines.refusals import refused_precision
from loddis_runtime.engines.tensorrt import TensorRtEngine
from loddis_runtime.errors import EngineError, LoddisError

__all__ = ["Machine", "open_tensorrt", "try_engine"]

FASTEST_FIRST: tuple[GraphPrecision, ...] = ("int8", "fp16", "fp32")

REREAD_AFTER_S = 0.2

logger = logging.getLogger(__name__)


class Machine:
    """What is asked of this machine, and only when it is needed: importing TensorRT takes longer than a detection."""

    def cuda(self) -> Cuda:
        """Give the GPU. Raises `EngineError`, with the reason, if there is none."""
        return CudaRuntime()

    def tensorrt(self, flavour: Flavour | None = None) -> TensorRt:
        """Give the TensorRT that is installed. Raises `EngineError`, with the reason, if there is none."""
        return find_tensorrt(flavour)


def open_tensorrt(
    bundle: Bundle, precision: GraphPrecision | None, *, insist: bool, machine: Machine | None = None
) -> TensorRtEngine:
    """Open the fastest engine that fits; else build one, if it is insisted on or one for this GPU is out of date.

    Args:
        bundle: The model.
        precision: Of the engine; the fastest there is if none.
        insist: Build where no engine was made for this GPU.
        machine: To ask; this one if none.

    Raises:
        EngineError: None fits and none can be built; the message has the reason of each.
    """
    machine = machine or Machine()
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
        if precision not in (None, passport.precision):
            continue
        try:
            fitting.append((path, _read_fitting(path, bundle, machine)))
        except EngineError as error:
            faults.append(f"{path.name}: {error}")
            if passport.compute_capability == gpu.compute_capability:
                outdated.append(passport)
    for path, passport in sorted(fitting, key=lambda found: FASTEST_FIRST.index(found[1].precision)):
        try:
            engine = _open_passport(path, passport, bundle, machine)
        except CudaMemoryError:  # another build would want as much
            raise
        except EngineError as error:
            if (replaced := _replaced_meanwhile(path, passport, bundle, machine)) is not None:
                return replaced
            faults.append(f"{path.name}: {error}")
            outdated.append(passport)
        else:
            if faults:
                logger.warning("%s is used; passed over: %s", path.name, "; ".join(faults))
            return engine
    if not faults:
        faults.append(f"the bundle has no engine{'' if precision is None else f' in {precision}'}")
    if not insist and not outdated:
        raise EngineError("; ".join(faults))
    try:
        return _rebuild(bundle, precision, machine, outdated, faults, insist=insist)
    except LoddisError as error:
        raise EngineError(f"{'; '.join(faults)}; none can be built: {error}") from error


def try_engine(path: Path, bundle: Bundle, machine: Machine | None = None) -> str:
    """Open an engine and close it again.

    Args:
        path: Of its passport.
        bundle: The model.
        machine: To ask; this one if none.

    Returns:
        What runs it.

    Raises:
        EngineError: It does not run here; the message says why.
    """
    machine = machine or Machine()
    engine = _open_passport(path, _read_fitting(path, bundle, machine), bundle, machine)
    engine.close()
    return engine.name


def _rebuild(
    bundle: Bundle,
    precision: GraphPrecision | None,
    machine: Machine,
    outdated: list[Passport],
    faults: list[str],
    *,
    insist: bool,
) -> TensorRtEngine:
    """Build the engine that should have been there: in the TensorRT that it was made for or, if insisted on, in any."""
    before = min(
        outdated, key=lambda old: (not _has(machine, old.flavour), FASTEST_FIRST.index(old.precision)), default=None
    )
    buildable = [p for p in FASTEST_FIRST if p in bundle.precisions and refused_precision(bundle, p) is None]
    same = before.precision if before and before.precision in buildable else None  # not if it was converted
    fastest: GraphPrecision = buildable[0] if buildable else "fp32"  # which is then an error that says what there is
    chosen = precision or same or fastest
    _check_allowed(bundle, chosen)
    flavour = before.flavour if before and (_has(machine, before.flavour) or not insist) else None
    logger.warning(
        "building a TensorRT engine of %s in %s, which may take minutes: %s", bundle.path, chosen, "; ".join(faults)
    )
    path, passport = build_engine(
        bundle,
        precision=chosen,
        target=CURRENT,
        batch_sizes=before.batch_sizes if before else DEFAULT_BATCH_SIZES,
        tensorrt=machine.tensorrt(flavour),
        gpu=machine.cuda().gpu(),
    )
    return _open_passport(path, passport, bundle, machine)


def _replaced_meanwhile(path: Path, passport: Passport, bundle: Bundle, machine: Machine) -> TensorRtEngine | None:
    """Open an engine whose passport is another by now: a process beside this one has built it anew.

    An engine is there for a moment before its passport is; so the passport is read once more after that moment.
    """
    time.sleep(REREAD_AFTER_S)
    try:
        again = _read_fitting(path, bundle, machine)
    except EngineError as error:
        logger.debug("%s: %s", path.name, error)
        return None
    return None if again == passport else _open_passport(path, again, bundle, machine)


def _read_fitting(path: Path, bundle: Bundle, machine: Machine) -> Passport:
    """Read a passport, and hold it against bundle, GPU and TensorRT.

    Raises:
        EngineError: It does not fit; the message says where.
    """
    passport = Passport.load(path)
    fault = passport.fits_bundle(bundle)
    if fault is not None:
        raise EngineError(fault)
    _check_allowed(bundle, passport.precision)
    gpu = machine.cuda().gpu()
    if passport.compute_capability != gpu.compute_capability:
        raise EngineError(f"it is for {passport.compute_capability}, this GPU is {gpu.compute_capability} ({gpu.name})")
    tensorrt = machine.tensorrt(passport.flavour)
    if passport.tensorrt_version != tensorrt.version:
        raise EngineError(f"it is for {passport.flavour} {passport.tensorrt_version}, installed is {tensorrt.version}")
    return passport


def _open_passport(path: Path, passport: Passport, bundle: Bundle, machine: Machine) -> TensorRtEngine:
    return TensorRtEngine(
        path, passport, manifest=bundle.manifest, tensorrt=machine.tensorrt(passport.flavour), cuda=machine.cuda()
    )


def _check_allowed(bundle: Bundle, precision: GraphPrecision) -> None:
    """Raise `EngineError` if the export refused engines of a precision."""
    if (refusal := refused_precision(bundle, precision)) is not None:
        raise EngineError(f"the export of {bundle.path} found that {precision} strays too far: {refusal}")


def _has(machine: Machine, flavour: Flavour) -> bool:
    try:
        machine.tensorrt(flavour)
    except EngineError:
        return False
    return True
