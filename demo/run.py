"""See Loddis work: a server of its own, an infrared clip streamed through it, a table, a file and a video.

    make demo

The clip is made by `loddis_runtime.scenes`, so the truth is known exactly and the table can say what was found. Every
frame travels as it would from a camera: over HTTP, by the client, to a server in another process.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from loddis_client import Client, DetectionResult, LoddisClientError
from loddis_runtime import Detections
from loddis_runtime.drawing import draw_detections
from loddis_runtime.errors import LoddisError
from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig, SceneFrame, TargetConfig, Weather
from loddis_server.local import running_server

HIT_PX = 5.0  # a detection this near to a target's centre is one of it
VIDEO_SCALE = 3
MAX_FRAMES = 3000  # the clip is held in memory

console = Console()
T = TypeVar("T")


@dataclass
class Tally:
    """What was found of one target, or of all."""

    visible: int = 0
    found: int = 0
    errors_px: list[float] = field(default_factory=list)
    snr: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit status 0 done, 1 failed, 2 used wrongly."""
    options = parse_options(arguments)
    # A request to stop must reach the `finally` that stops the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        run(options)
    except (LoddisError, LoddisClientError, OSError, av.FFmpegError) as error:
        print(f"demo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description="Stream an infrared clip through a Loddis server of its own.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the results")
    parser.add_argument("--model", default="sky-nano", help="model to detect with (default: %(default)s)")
    parser.add_argument("--model-repository", type=Path, help="folder of models besides the shipped ones")
    parser.add_argument("--frames", type=int, default=240, help="length of the clip (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the clip (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=2, help="frames under way (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not 1 <= options.frames <= MAX_FRAMES:
        parser.error(f"--frames must be from 1 to {MAX_FRAMES}, got {options.frames}")
    if not 0 <= options.seed < 2**63:
        parser.error(f"--seed must be from 0 to 2^63 - 1, got {options.seed}")
    if options.concurrency < 1:
        parser.error(f"--concurrency must be at least 1, got {options.concurrency}")
    return options


def run(options: argparse.Namespace) -> None:
    """Make the clip, stream it, tell what came of it."""
    options.output.mkdir(parents=True, exist_ok=True)
    scene = Scene(clip_config(frames=options.frames, seed=options.seed))
    clip = list(progress(scene, "rendering", len(scene)))
    height, width = clip[0].image.shape
    console.print(
        f"clip: {len(clip)} frames of {width} x {height}, {clip[0].image.dtype}, {len(scene.config.targets)} targets"
    )
    log = options.output / "server.log"
    with (
        running_server(options.model, repository=options.model_repository, log=log) as url,
        Client(url, model=options.model) as client,
    ):
        console.print(f"server: {url}, model {options.model}", markup=False, emoji=False)
        client.detect(clip[0].image)  # opens the connection before the clock runs
        started = time.perf_counter()
        answers = client.detect_many((frame.image for frame in clip), concurrency=options.concurrency)
        results = list(progress(answers, "detecting", len(clip)))
        seconds = time.perf_counter() - started
    middle = clip[len(clip) // 2].image
    cv2.imwrite(str(options.output / "frame.png"), middle)  # as a camera would give it: something to send by hand
    write_ndjson(options.output / "detections.ndjson", clip, results)
    write_video(options.output / "annotated.mp4", clip, results)
    write_picture(options.output / "picture.png", clip, results)
    show(clip, results, [target.kind for target in scene.config.targets], seconds)
    written = "detections.ndjson, annotated.mp4, picture.png, and frame.png to send by hand"
    console.print(f"written to {options.output}: {written}", soft_wrap=True, markup=False, emoji=False)


def progress(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Show a bar on a terminal while items are taken; it goes when they are."""
    return track(items, what, total=total, console=console, transient=True, disable=not console.is_terminal)


def clip_config(*, frames: int, seed: int) -> SceneConfig:
    """Describe a clip like those of the `sky` domain: a swaying 8-bit camera, dry clear air over a line of trees.

    There, the targets' cores stand 100 to 160 levels above a sky whose noise is about one level.
    """
    return SceneConfig(
        size_hw=(256, 320),
        frames=frames,
        background="sky",
        horizon=0.8,
        weather=Weather(cloud_cover=0.0, zenith_opacity=0.04),
        bit_depth=8,
        camera=CameraMotion(jitter_px=0.3, drift_px=3.0),
        targets=(
            _target("aircraft", snr=220, size_px=7, speed_px_per_frame=0.8, heading_deg=8, start_xy=(50, 60)),
            _target("drone", snr=150, size_px=6, speed_px_per_frame=0.9, heading_deg=195, start_xy=(275, 130)),
            _target("bird", snr=90, size_px=5, speed_px_per_frame=0.4, heading_deg=-25, start_xy=(110, 150)),
        ),
        seed=seed,
    )


def _target(kind: str, **values: object) -> TargetConfig:
    return TargetConfig.model_validate({"kind": kind, **values})


def write_ndjson(path: Path, clip: Sequence[SceneFrame], results: Sequence[DetectionResult]) -> None:
    """Write a line a frame: what was detected, and what was there."""
    with path.open("w") as out:
        for frame, result in zip(clip, results, strict=True):
            truth = [
                {"target_id": int(identity), "centre_xy": [round(float(v), 2) for v in centre]}
                for identity, centre in zip(frame.target_ids, frame.centres, strict=True)
            ]
            out.write(json.dumps({"index": frame.index, **result.to_dict(), "truth": truth}) + "\n")


def write_video(path: Path, clip: Sequence[SceneFrame], results: Sequence[DetectionResult]) -> None:
    """Write the clip with its detections drawn in, as H.264."""
    height, width = clip[0].image.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18"})
        stream.height, stream.width = height * VIDEO_SCALE, width * VIDEO_SCALE
        stream.pix_fmt = "yuv420p"
        for frame, result in zip(clip, results, strict=True):
            picture = draw_detections(frame.image, as_detections(result), scale=VIDEO_SCALE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def write_picture(path: Path, clip: Sequence[SceneFrame], results: Sequence[DetectionResult]) -> None:
    """Write the middle frame with its detections, and beside it a closer look at the best three."""
    frame, result = clip[len(clip) // 2], results[len(clip) // 2]
    found = as_detections(result)
    whole = draw_detections(frame.image, found, scale=VIDEO_SCALE)
    strip = np.full((whole.shape[0], whole.shape[0] // 3, 3), 24, dtype=np.uint8)
    side = strip.shape[1]
    for place, centre in enumerate(found.centroids[:3]):
        around = cv2.getRectSubPix(frame.image, (24, 24), (float(centre[0]) - 0.5, float(centre[1]) - 0.5))
        inset = cv2.resize(around, (side - 8, side - 8), interpolation=cv2.INTER_NEAREST)
        top = place * side + 4
        strip[top : top + side - 8, 4 : side - 4] = inset[..., None]
    cv2.imwrite(str(path), np.concatenate((whole, strip), axis=1))


def as_detections(result: DetectionResult) -> Detections:
    """Give what the client received as the runtime's arrays, to be drawn."""
    found = result.detections
    names = sorted({(d.class_id, d.class_name) for d in found})
    return Detections(
        boxes_xyxy=np.array([d.box_xyxy for d in found], dtype=np.float32).reshape(-1, 4),
        scores=np.array([d.score for d in found], dtype=np.float32),
        class_ids=np.array([d.class_id for d in found], dtype=np.int32),
        centroids=np.array([d.centroid_xy for d in found], dtype=np.float32).reshape(-1, 2),
        snr=np.array([d.snr for d in found], dtype=np.float32),
        class_names=tuple(name for _, name in names) or ("target",),
    )


def show(clip: Sequence[SceneFrame], results: Sequence[DetectionResult], kinds: Sequence[str], seconds: float) -> None:
    """Print what was found of each target, what was no target, and how fast it went."""
    tallies: dict[int, Tally] = {}
    false_alarms = 0
    for frame, result in zip(clip, results, strict=True):
        centres = np.array([d.centroid_xy for d in result.detections], dtype=np.float64).reshape(-1, 2)
        taken = score_frame(frame, centres, tallies)
        false_alarms += len(centres) - taken
    columns = ("target", "SNR, as made", "frames in view", "detected", "mean error of the centre")
    table = Table(*columns, title="Detections")
    for identity, tally in sorted(tallies.items()):
        error = f"{np.mean(tally.errors_px):.2f} px" if tally.errors_px else "–"
        share = f"{100 * tally.found / tally.visible:.1f} %"
        table.add_row(kinds[identity], f"{np.mean(tally.snr):.0f}", str(tally.visible), share, error)
    console.print(table)
    waited = np.array([result.timing_ms["total"] for result in results])
    p50, p99 = np.percentile(waited, (50, 99))
    console.print(f"{false_alarms / len(clip):.3f} false alarms per frame")
    console.print(
        f"{len(clip) / seconds:.0f} frames/s; a frame's time in the server: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )


def score_frame(frame: SceneFrame, centres: NDArray[np.float64], tallies: dict[int, Tally]) -> int:
    """Add a frame to the tallies, each target taking the nearest free detection; give how many were taken."""
    free = np.ones(len(centres), dtype=bool)
    for identity, truth, snr in zip(frame.target_ids, frame.centres, frame.snr, strict=True):
        tally = tallies.setdefault(int(identity), Tally())
        tally.visible += 1
        tally.snr.append(float(snr))
        away = np.where(free, np.linalg.norm(centres - truth, axis=1), np.inf)
        if len(away) and away.min() <= HIT_PX:
            tally.found += 1
            tally.errors_px.append(float(away.min()))
            free[away.argmin()] = False
    return int((~free).sum())


if __name__ == "__main__":
    sys.exit(main())
