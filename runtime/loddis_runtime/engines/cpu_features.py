"""What the CPU can do with bytes.

Without dot products of bytes, x86 adds pairs of products in 16 bits, which saturate: an int8 graph then gives other
numbers than those that its parity was shown with.
"""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["has_byte_dot_products"]

FEATURES = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"})


def has_byte_dot_products(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU sums products of bytes in 32 bits: VNNI or AMX on x86, dot products or i8mm on ARM.

    Args:
        cpu_info: Where Linux lists the CPU's features. Elsewhere, an ARM processor is taken to have them.
    """
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return platform.machine() in ("arm64", "aarch64")
    listed = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return any(not FEATURES.isdisjoint(features) for features in listed)
