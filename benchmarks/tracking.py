"""Track quality on real sequences and on scenes, and what each part of the tracker adds.

    python benchmarks/tracking.py --json benchmarks/results/tracking.json --table tracking.md

Every tracker gets the same detections and the same frames. The baseline is this tracker with its parts off: no buffer,
no gate, no camera motion. What is left is ByteTrack's scheme, association by score in two rounds, with plain IoU.

- **sky**: sequences of the split `test`, detected by the model. Each shows one target, labelled in each frame, so that
  the sequence is the identity.
- **scenes, drawn**: rendered clips, half of them from a camera that pans; detections are drawn from the truth, with
  misses, jitter and clutter.
- **scenes, by the model**: the same clips, detected by it.
- **camera shakes**: other clips, from a camera that pans and jumps about by 5 px (sigma) in each frame.

A track counts in the frames in which it is confirmed and has a detection; it is right where the centre of its box is
within 5 px of that of the target's.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from track_metrics import FramePlaces, TrackScores, score_sequence

from loddis_runtime import Detections, Detector, load
from loddis_runtime.boxes import box_centres
from loddis_runtime.frames import Frame
from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig, TargetConfig
from loddis_runtime.scenes.config import BackgroundKind
from loddis_server.tracking import Tracker, TrackerSettings
from loddis_trainer.data import DomainDataset

DISTANCE_PX = 5.0
SCORE_FLOOR = 0.05
SPEEDS_PX = (1.0, 5.0, 12.0)
TARGETS = 6  # in a clip
SNR = 20.0
CAMERAS = (CameraMotion(), CameraMotion(pan_px_per_frame=(2.5, 0.5), jitter_px=1.0))
SHAKING = CameraMotion(pan_px_per_frame=(2.5, 0.5), jitter_px=5.0)
PD = 0.85  # of drawn detections
JITTER_PX = 0.7
CLUTTER_PER_FRAME = 3.0
TARGET_LOGITS = (1.0, 1.2)  # mean and sigma of drawn scores
CLUTTER_LOGITS = (-2.0, 1.0)
TRACKERS = {
    "plain IoU: parts off": TrackerSettings(
        near_buffer_px=0.0, far_buffer_px=0.0, gate_sigmas=1e6, compensate_motion=False
    ),
    "plain IoU, camera motion": TrackerSettings(near_buffer_px=0.0, far_buffer_px=0.0, gate_sigmas=1e6),
    "buffered IoU, gate": TrackerSettings(compensate_motion=False),
    "buffered IoU, gate, camera motion": TrackerSettings(),
}


@dataclass(frozen=True)
class Clip:
    """One sequence.

    Attributes:
        frames: Pixels.
        indices: Of the frames.
        detections: Of each frame, down to the floor.
        target_ids: ``(G,)`` of each frame.
        targets_xyxy: ``(G, 4)`` of each frame, pixels.
    """

    frames: Sequence[Frame]
    indices: Sequence[int]
    detections: Sequence[Detections]
    target_ids: Sequence[NDArray[np.int64]]
    targets_xyxy: Sequence[NDArray[np.float32]]


def main() -> None:
    """Track, score, print; write JSON and Markdown if asked."""
    options = parse_options()
    cv2.setNumThreads(1)
    scores: dict[str, dict[str, TrackScores]] = {}
    with load(options.model, threads=options.threads) as detector:
        for name, clip in all_clips(detector, options):
            of_clip = scores.setdefault(name, dict.fromkeys(TRACKERS, TrackScores()))
            for tracker, settings in TRACKERS.items():
                of_clip[tracker] += tracked(clip, settings, threshold=detector.manifest.score_threshold)
        result = {
            "machine": describe_machine("onnxruntime", "numpy", "scipy", "opencv-python-headless"),
            "model": f"{detector.manifest.name}:{detector.manifest.version} {detector.precision}",
            "score_threshold": detector.manifest.score_threshold,
            "score_floor": SCORE_FLOOR,
            "distance_px": DISTANCE_PX,
            "frames_of_a_sequence": options.sequence_frames,
            "frames_of_a_clip": options.clip_frames,
            "settings": TRACKERS["buffered IoU, gate, camera motion"].model_dump(),
            "rows": rows_of(scores),
        }
    show(result)
    keep_result(result, options.json)
    if options.table:
        options.table.write_text(markdown(result))


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name or bundle folder")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--sequences", type=int, help="of the real ones; all if none")
    parser.add_argument("--sequence-frames", type=int, default=100, help="first frames of each real sequence")
    parser.add_argument("--clip-frames", type=int, default=60, help="frames of each rendered clip")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--table", type=Path, help="file for the table, Markdown")
    return parser.parse_args()


def all_clips(detector: Detector, options: argparse.Namespace) -> Iterator[tuple[str, Clip]]:
    """Give every clip, and the row of the table that it counts in."""
    for clip in real_clips(detector, sequences=options.sequences, frames=options.sequence_frames):
        yield f"sky test, {detector.manifest.name}", clip
    for speed_px in SPEEDS_PX:
        kind = f"scenes, {speed_px:g} px a frame"
        for number, (background, camera) in enumerate(product(get_args(BackgroundKind), CAMERAS)):
            clip = rendered_clip(background, camera, speed_px, frames=options.clip_frames, seed=number)
            yield f"{kind}, drawn", clip
            found = [detected(detector, frame) for frame in clip.frames]
            yield f"{kind}, {detector.manifest.name}", replace(clip, detections=found)
        for number, background in enumerate(get_args(BackgroundKind)):
            clip = rendered_clip(background, SHAKING, speed_px, frames=options.clip_frames, seed=number)
            yield f"{kind}, drawn, camera shakes", clip


def real_clips(detector: Detector, *, sequences: int | None, frames: int) -> Iterator[Clip]:
    """Give the start of each test sequence; in each there is one target, number 0."""
    dataset = DomainDataset.open("sky", "test", progress=False)
    for numbers in list(dataset.sequences.values())[:sequences]:
        first = numbers[:frames]
        if any(len(dataset.boxes(number)) > 1 for number in first):
            raise SystemExit(f"{dataset.sequence_of(first[0])} shows several targets, and the labels do not tell which")
        pixels = [dataset.frame(number) for number in first]
        boxes = [dataset.boxes(number) for number in first]
        yield Clip(
            frames=pixels,
            indices=[dataset.records[number].frame_index for number in first],
            detections=[detected(detector, frame) for frame in pixels],
            target_ids=[np.zeros(len(one), dtype=np.int64) for one in boxes],
            targets_xyxy=boxes,
        )


def rendered_clip(background: BackgroundKind, camera: CameraMotion, speed_px: float, *, frames: int, seed: int) -> Clip:
    """Render a clip, its detections drawn from the truth."""
    shown = list(Scene(scene_config(background, camera, speed_px, frames=frames, seed=seed)))
    rng = np.random.default_rng(seed)
    return Clip(
        frames=[one.image for one in shown],
        indices=[one.index for one in shown],
        detections=[drawn_detections(one.boxes_xyxy, one.image.shape, rng) for one in shown],
        target_ids=[one.target_ids.astype(np.int64) for one in shown],
        targets_xyxy=[one.boxes_xyxy for one in shown],
    )


def scene_config(
    background: BackgroundKind, camera: CameraMotion, speed_px: float, *, frames: int, seed: int
) -> SceneConfig:
    """Give a clip with some targets that cross it, each turning a little."""
    turns = np.linspace(-1.0, 1.0, TARGETS)
    return SceneConfig(
        background=background,
        frames=frames,
        bit_depth=8,
        camera=camera,
        targets=tuple(
            TargetConfig(snr=SNR, speed_px_per_frame=speed_px, turn_deg_per_frame=float(turn)) for turn in turns
        ),
        seed=seed,
    )


def detected(detector: Detector, frame: Frame) -> Detections:
    """Detect down to the floor."""
    return detector.detect(frame, score_threshold=SCORE_FLOOR)


def drawn_detections(truth_xyxy: NDArray[np.float32], size_hw: tuple[int, ...], rng: np.random.Generator) -> Detections:
    """Draw what a middling detector would find: most targets, shaken, and some clutter anywhere."""
    kept = truth_xyxy[rng.random(len(truth_xyxy)) < PD].astype(np.float64)
    shake = np.tile(rng.normal(0, JITTER_PX, (len(kept), 2)), 2) + rng.normal(0, JITTER_PX / 2, (len(kept), 4))
    clutter = rng.poisson(CLUTTER_PER_FRAME)
    places = rng.random((clutter, 2)) * size_hw[::-1]
    sides = rng.uniform(3, 9, (clutter, 2))
    boxes = np.vstack([kept + shake, np.hstack([places - sides / 2, places + sides / 2])])
    logits = np.concatenate([rng.normal(*TARGET_LOGITS, len(kept)), rng.normal(*CLUTTER_LOGITS, clutter)])
    scores = 1 / (1 + np.exp(-logits))
    order = np.argsort(-scores)
    order = order[scores[order] >= SCORE_FLOOR]
    return Detections(
        boxes_xyxy=boxes[order].astype(np.float32),
        scores=scores[order].astype(np.float32),
        class_ids=np.zeros(len(order), dtype=np.int32),
        centroids=box_centres(boxes[order]).astype(np.float32),
        snr=np.full(len(order), SNR, dtype=np.float32),
        class_names=("target",),
    )


def tracked(clip: Clip, settings: TrackerSettings, *, threshold: float) -> TrackScores:
    """Track a clip, and score the tracks."""
    tracker = Tracker(settings)
    places: list[FramePlaces] = []
    for frame, index, found, ids, boxes in zip(
        clip.frames, clip.indices, clip.detections, clip.target_ids, clip.targets_xyxy, strict=True
    ):
        update = tracker.update(found, frame=frame, frame_index=index, score_threshold=threshold)
        seen = [track for track in update.tracks if track.state == "confirmed"]
        tracks = np.array([track.box_xyxy for track in seen], dtype=np.float64).reshape(-1, 4)
        track_ids = np.array([track.track_id for track in seen], dtype=np.int64)
        places.append(FramePlaces(ids, box_centres(boxes), track_ids, box_centres(tracks)))
    return score_sequence(places, distance_px=DISTANCE_PX)


def rows_of(scores: dict[str, dict[str, TrackScores]]) -> list[dict[str, Any]]:
    """Give the figures, one row for each kind of clip and tracker."""
    return [
        {
            "clips": clips,
            "tracker": tracker,
            "targets": one.hits + one.misses,
            "recall": share(one.recall),
            "precision": share(one.precision),
            "switches": one.switches,
            "idf1": share(one.idf1),
        }
        for clips, of_clips in scores.items()
        for tracker, one in of_clips.items()
    ]


def share(value: float) -> float | None:
    """Round for JSON, which has no NaN."""
    return None if math.isnan(value) else round(value, 4)


def cells(row: dict[str, Any]) -> list[str]:
    """Give a row as it is shown."""
    values = (row[name] for name in ("recall", "precision", "idf1"))
    shares = ["–" if value is None else f"{100 * value:.1f} %" for value in values]
    return [row["clips"], row["tracker"], shares[0], shares[1], str(row["switches"]), shares[2]]


COLUMNS = ("clips", "tracker", "recall", "precision", "ID switches", "IDF1")


def markdown(result: dict[str, Any]) -> str:
    """Give the table in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---:|"]
    last = None
    for row in result["rows"]:
        first, *rest = cells(row)
        lines.append(f"| {' | '.join(['' if first == last else first, *rest])} |")
        last = first
    return "\n".join(lines) + "\n"


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['model']} on {result['machine']['processor']}")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
    for row in result["rows"]:
        table.add_row(*cells(row))
    Console().print(table)


if __name__ == "__main__":
    main()
