"""The Python packages that TensorRT comes in, and what each can build for.

`tensorrt` (10 and 11) builds for the GPU that it runs on. `tensorrt_rtx` builds for any GPU of a list, on a machine
that has none. Their Python interfaces are the same but for what this module and its callers ask by name.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal, NamedTuple

from loddis_runtime.errors import EngineError

__all__ = ["FLAVOURS", "Flavour", "TensorRt", "find_tensorrt", "known_targets"]

Flavour = Literal["tensorrt", "tensorrt_rtx"]
FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt_rtx")
EXTRAS: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
OLDEST_MAJOR: dict[Flavour, int] = {"tensorrt": 10, "tensorrt_rtx": 1}  # networks with types of their own throughout


class TensorRt(NamedTuple):
    """A TensorRT that can be imported.

    Attributes:
        flavour: Name of the package.
        version: Of the package; an engine runs in the version that built it.
        module: The package.
    """

    flavour: Flavour
    version: str
    module: Any


def find_tensorrt(flavour: Flavour | None = None) -> TensorRt:
    """Import TensorRT.

    Args:
        flavour: Which package; the first of `FLAVOURS` that is installed if none.

    Raises:
        EngineError: It is not installed, cannot be loaded, or is too old; the message says what to install.
    """
    faults = []
    for name in FLAVOURS if flavour is None else (flavour,):
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # the package loads libraries of its own
            faults.append(f"{name}: {_first_line(error)}")
            continue
        version = str(module.__version__)
        if int(version.partition(".")[0]) < OLDEST_MAJOR[name]:
            faults.append(f"{name} {version} is older than {OLDEST_MAJOR[name]}")
            continue
        return TensorRt(name, version, module)
    extras = " or ".join(f"'loddis[{EXTRAS[name]}]'" for name in (FLAVOURS if flavour is None else (flavour,)))
    raise EngineError(f"TensorRT cannot be loaded ({'; '.join(faults)}): pip install {extras}")


def known_targets(tensorrt: TensorRt) -> tuple[str, ...]:
    """Give the compute capabilities, such as `sm_86`, that this TensorRT builds for without having such a GPU."""
    capabilities = getattr(tensorrt.module, "ComputeCapability", None)
    if tensorrt.flavour != "tensorrt_rtx" or capabilities is None:
        return ()
    numbers = sorted(int(name[2:]) for name in capabilities.__members__ if re.fullmatch(r"SM\d+", name))
    return tuple(f"sm_{number}" for number in numbers)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
