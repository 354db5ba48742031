"""See the console with something in it: a server of its own, and three generated cameras that watch until Ctrl-C.

    make cameras

Each camera sends its frames over HTTP, as a program with a camera of its own would.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from loddis_client import Client, LoddisClientError, Overloaded
from loddis_runtime.errors import LoddisError
from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig, TargetConfig, Weather
from loddis_server.local import running_server

FPS = 15.0
CLIP_FRAMES = 450  # then the targets come anew
CLEAR = Weather(cloud_cover=0.0, zenith_opacity=0.04)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cameras; exit status 0 done, 1 failed, 2 used wrongly."""
    parser = argparse.ArgumentParser(description="Let three generated cameras watch, for the web console to show.")
    parser.add_argument("--model", default="sky-nano", help="model to detect with (default: %(default)s)")
    parser.add_argument("--model-repository", type=Path, help="folder of models besides the shipped ones")
    parser.add_argument("--seconds", type=float, help="stop after so long; else at Ctrl-C")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # reaches what stops the server
    try:
        run(options)
    except (LoddisError, LoddisClientError, OSError) as error:
        print(f"cameras: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def run(options: argparse.Namespace) -> None:
    """Start the server and the cameras, and wait."""
    over = threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "server.log"
        url = stack.enter_context(running_server(options.model, repository=options.model_repository, log=log))
        faults: list[Exception] = []
        threads = [
            threading.Thread(target=watch, args=(url, name, config, over, faults))
            for name, config in camera_configs().items()
        ]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)  # first of all, so that the threads end
        print(f"open {url} in a browser; Ctrl-C ends it", flush=True)
        over.wait(options.seconds)
        if faults:
            raise faults[0]


def camera_configs() -> dict[str, SceneConfig]:
    """Describe what each camera looks at."""
    moving = CameraMotion(jitter_px=0.3, drift_px=3.0)
    return {
        "mast-3": SceneConfig(
            background="sky",
            horizon=0.8,
            weather=CLEAR,
            frames=CLIP_FRAMES,
            camera=moving,
            targets=(
                _target("aircraft", snr=220, size_px=7, speed_px_per_frame=0.5, heading_deg=8, start_xy=(40, 60)),
                _target("drone", snr=150, size_px=6, speed_px_per_frame=0.4, heading_deg=195, start_xy=(275, 130)),
            ),
        ),
        "harbour": SceneConfig(
            background="sea",
            weather=CLEAR,
            frames=CLIP_FRAMES,
            targets=(_target("drone", snr=200, size_px=6, speed_px_per_frame=0.3, heading_deg=10, start_xy=(60, 90)),),
            seed=1,
        ),
        "roof": SceneConfig(
            background="city",
            weather=CLEAR,
            frames=CLIP_FRAMES,
            camera=moving,
            targets=(_target("bird", snr=150, size_px=6, speed_px_per_frame=0.5, heading_deg=-8, start_xy=(60, 90)),),
            seed=2,
        ),
    }


def _target(kind: str, **values: object) -> TargetConfig:
    return TargetConfig.model_validate({"kind": kind, **values})


def watch(url: str, name: str, config: SceneConfig, over: threading.Event, faults: list[Exception]) -> None:
    """Send what a camera sees, at its rate, until it is over; a frame that a full server refuses is left out."""
    try:
        with Client(url, retries=0) as client:
            due = time.monotonic()
            for clip in count():
                for frame in Scene(config.model_copy(update={"seed": config.seed + clip})):
                    if over.wait(max(0.0, due - time.monotonic())):
                        return
                    due = max(due + 1 / FPS, time.monotonic())
                    try:
                        client.detect(frame.image, stream_id=name, timestamp_s=time.monotonic())
                    except Overloaded:
                        continue
    except (LoddisError, LoddisClientError) as error:
        faults.append(error)
        over.set()


if __name__ == "__main__":
    sys.exit(main())
