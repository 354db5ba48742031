"""A process that loads a bundle and detects: when it first had an answer, and what memory it takes.

Run by `latency.py`, which takes the time from before the process was started; prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from loddis_runtime import load

FRAMES = 50


def main() -> None:
    """Detect on one frame, note the time, and on some more for the memory."""
    bundle, device, precision, threads = sys.argv[1:]
    detector = load(Path(bundle), device=device, precision=precision, threads=int(threads))  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 255, detector.manifest.size_hw, dtype=np.uint8)
    detector.detect(frame)
    first_s = time.monotonic()  # the same clock in every process
    for _ in range(FRAMES):
        detector.detect(frame)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    megabytes = {name: int(status[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}
    print(json.dumps({"first_s": first_s, "resident_mb": megabytes}))


if __name__ == "__main__":
    main()
