"""Spoiled videos, batches and tensors, sent to a real server, which must outlive them all.

    python benchmarks/fuzz_streams.py --cases 1000 --json benchmarks/results/fuzz_streams.json

Every body is answered, by a result or a problem, within the time limit, and the server does not grow. Processes that
decode videos may die of them: that is what they are for. Every case follows from seed and number alone.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from clips import write_clip
from fuzz_seeds import Body
from fuzz_seeds import seeds as frame_seeds
from machine import describe_machine, keep_result
from mutations import mutate
from process_watch import Watch, theil_sen_slope
from rich.console import Console

from loddis_server.local import running_server_process

MODEL = "sky-nano"
SIZE_HW = (64, 96)
FRAMES = 4
BOUNDARY = "loddis-fuzz"
VIDEO_LIMIT_S = 20.0  # that the server gives a video
ANSWER_LIMIT_S = VIDEO_LIMIT_S + 10.0
GROWTH_LIMIT = 0.05  # of memory, from the end of the first half on
ROUTES = {"video": "/v1/videos", "batch": "/v1/detect/batch", "tensor": f"/v2/models/{MODEL}/infer"}
# Container, codec, pixel format.
VIDEOS = (
    ("matroska", "ffv1", "gray"),
    ("matroska", "ffv1", "gray16le"),
    ("mpegts", "mpeg2video", "yuv420p"),
    ("mp4", "libx264", "gray"),
    ("avi", "mjpeg", "yuvj420p"),
)


def main() -> None:
    """Fuzz, print, write JSON if asked; exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=1000, help="spoiled bodies")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    result = {"machine": describe_machine("av", "numpy"), **fuzz(options.seed, options.cases)}
    console = Console()
    console.print_json(json.dumps({name: result[name] for name in ("answers", "memory growth")}))
    for failure in result["failures"]:
        console.print(f"FAILED {failure}", markup=False)
    keep_result(result, options.json)
    sys.exit(1 if result["failures"] else 0)


def fuzz(seed: int, cases: int) -> dict[str, Any]:
    """Send the cases to a server of their own.

    Args:
        seed: Of the mutations.
        cases: How many.

    Returns:
        Figures, and under `failures` a sentence for each case that was not answered as it should be.
    """
    answers: Counter[str] = Counter()
    failures: list[str] = []
    settings = {
        "LODDIS_LOG_LEVEL": "error",
        "LODDIS_MAX_FRAME_PIXELS": str(2**20),
        "LODDIS_VIDEOS": json.dumps({"timeout_s": VIDEO_LIMIT_S, "max_frame_pixels": 2**20}),
    }
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_server_process(MODEL, settings=settings, log=Path(scratch) / "log") as server,
        httpx.Client(base_url=server.url, timeout=ANSWER_LIMIT_S, trust_env=False) as client,
        Watch(server.pid, interval_s=0.1) as watch,
    ):
        for number in range(cases):
            body = case_of(seed, number)
            started_s = time.monotonic()
            outcome, fault = send(client, body)
            if time.monotonic() - started_s > ANSWER_LIMIT_S:
                fault = f"no end after {ANSWER_LIMIT_S:g} s"
            answers[f"{body.format} {outcome}"] += 1
            if fault:
                failures.append(f"case {number}, {body.name}: {fault}")
    if watch.is_gone:
        failures.append("the server ended")
    settled = watch.samples[len(watch.samples) // 2 :]
    slope = theil_sen_slope([one.time_s for one in settled], [float(one.resident_bytes) for one in settled])
    growth = slope * (settled[-1].time_s - settled[0].time_s) / settled[0].resident_bytes
    if growth > GROWTH_LIMIT:
        failures.append(f"memory grew by {growth:.1%}")
    return {
        "seed": seed,
        "cases": cases,
        "answers": dict(sorted(answers.items())),
        "memory growth": round(growth, 4),
        "failures": failures,
    }


def send(client: httpx.Client, body: Body) -> tuple[str, str]:
    """Send a body where it belongs; give the outcome, and what was wrong with the answer."""
    headers = [(name.encode(), text.encode("latin-1", "replace")) for name, text in body.headers.items()]
    try:
        answer = client.post(ROUTES[body.format], content=body.content, headers=headers)
    except httpx.LocalProtocolError:  # a header that no client of HTTP sends
        return "unsendable", ""
    except httpx.HTTPError as error:
        return "lost", f"no answer: {error!r}"
    if answer.status_code >= 500 and answer.status_code not in (501, 503):
        return str(answer.status_code), f"answered {answer.status_code}"
    if body.format != "video" or answer.status_code != 200:
        return str(answer.status_code), ""
    lines = [json.loads(line) for line in answer.text.splitlines()]
    failed = [line for line in lines if line["type"] == "problem" and line["problem"]["status"] == 500]
    return f"200 {lines[-2]['type'] if len(lines) > 1 else 'end'}", f"a frame failed: {failed[0]}" if failed else ""


def case_of(seed: int, number: int) -> Body:
    """Make the body of a case; the first ones are whole."""
    rng = random.Random(f"{seed}:{number}")
    pool = seeds()
    return pool[number] if number < len(pool) else mutate(rng, pool[number % len(pool)], pool)


@cache
def seeds() -> tuple[Body, ...]:
    """Give one body of each kind; all of them are answered with 200."""
    videos = [Body(f"video {' '.join(kind)}", video(*kind)) for kind in VIDEOS]
    files = [file for file in frame_seeds() if not file.headers][::4]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="frame"; filename="f"\r\n\r\n'.encode()
    form = b"".join(head + file.content + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()
    batch = Body("batch files", form, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
    return (*videos, batch, tensor(binary=True), tensor(binary=False))


def video(container: str, codec: str, pix_fmt: str) -> bytes:
    """Encode a few frames of noise."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 200, SIZE_HW, dtype=np.uint8) for _ in range(FRAMES)]
    out = io.BytesIO()
    write_clip(out, frames, size_hw=SIZE_HW, fps=25, container=container, codec=codec, pix_fmt=pix_fmt)
    return out.getvalue()


def tensor(*, binary: bool) -> Body:
    """Give a request of the Open Inference Protocol with one image."""
    image = np.random.default_rng(0).integers(0, 2**14, SIZE_HW, dtype=np.uint16)
    described: dict[str, Any] = {"name": "image", "datatype": "UINT16", "shape": list(SIZE_HW)}
    if not binary:
        return Body("tensor json", json.dumps({"inputs": [{**described, "data": image.ravel().tolist()}]}).encode())
    described["parameters"] = {"binary_data_size": image.nbytes}
    head = json.dumps({"inputs": [described]}).encode()
    return Body("tensor binary", head + image.tobytes(), {"inference-header-content-length": str(len(head))})


if __name__ == "__main__":
    main()
