"""Run a detector over a split and measure it; checkpoints and bundles alike go through the runtime's `Detector`.

Legend: T frames of a window, h w network pixels, N detections, M ground truths of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.progress import track

from loddis_runtime import Detections, Detector, load
from loddis_runtime.photometry import measure_targets
from loddis_trainer.checkpoint import INFO
from loddis_trainer.data import DomainDataset, LabelledFrames
from loddis_trainer.errors import CheckpointError
from loddis_trainer.metrics import ImageResult, Metrics, evaluate_images

__all__ = [
    "SCORE_FLOOR",
    "collect_by_domain",
    "collect_results",
    "evaluate",
    "evaluate_model",
    "image_result",
    "open_model",
]

SCORE_FLOOR = 0.01  # detections below it take part in nothing: AP and ROC end there
FRAMES_A_BATCH = 8


def evaluate(
    detector: Detector,
    dataset: LabelledFrames,
    *,
    score_threshold: float | None = None,
    centre_distance_px: float = 3.0,
    numbers: Sequence[int] | None = None,
    measure: bool = True,
    progress: bool = True,
) -> Metrics:
    """Measure a detector on a split.

    Args:
        detector: Any `Detector` of the runtime.
        dataset: The split, or several as one.
        score_threshold: The operating point; the detector's own if none.
        centre_distance_px: Within which a detection counts for Pd, frame pixels.
        numbers: Only these frames.
        measure: As `collect_results`; without, there are no figures by SNR.
        progress: Show a bar.
    """
    results = collect_results(detector, dataset, numbers=numbers, measure=measure, progress=progress)
    return evaluate_images(
        results,
        score_threshold=detector.manifest.score_threshold if score_threshold is None else score_threshold,
        centre_distance_px=centre_distance_px,
        class_names=detector.manifest.classes,
    )


def collect_results(
    detector: Detector,
    dataset: LabelledFrames,
    *,
    numbers: Sequence[int] | None = None,
    measure: bool = True,
    progress: bool = True,
) -> list[ImageResult]:
    """Detect on every frame, down to a score of 0.01, and pair with its ground truth.

    Args:
        detector: Any `Detector` of the runtime.
        dataset: The split, or several as one.
        numbers: Only these frames.
        measure: Measure the SNR of detections and targets, for figures by SNR; most of the time goes into it.
        progress: Show a bar.
    """
    chosen = list(range(len(dataset))) if numbers is None else list(numbers)
    starts = range(0, len(chosen), FRAMES_A_BATCH)
    results = []
    if progress:  # before the bar, of which there can be one at a time; without, windows decode what they show
        dataset.prepare_windows(detector.manifest.window)
    for start in track(starts, description=escape(dataset.label), disable=not progress, transient=True):
        batch = chosen[start : start + FRAMES_A_BATCH]
        prepared = [detector.prepare_window(dataset.window(number, detector.manifest.window)) for number in batch]
        for number, key, rows in zip(batch, prepared, detector.infer(prepared), strict=True):
            found = detector.finish(key, rows, score_threshold=SCORE_FLOOR, measure=measure)
            results.append(image_result(dataset, number, found, measure=measure))
    return results


def collect_by_domain(
    detector: Detector, dataset: LabelledFrames, count: int, *, progress: bool = True
) -> list[list[ImageResult]]:
    """Detect on at most `count` frames, as many of each split, and keep the splits apart; SNR is not measured."""
    return [
        collect_results(
            detector,
            part,
            numbers=part.evenly_spaced(max(1, count // len(dataset.parts))),
            measure=False,
            progress=progress,
        )
        for part in dataset.parts
    ]


def image_result(dataset: LabelledFrames, number: int, found: Detections, *, measure: bool = True) -> ImageResult:
    """Pair the detections on a frame with its ground truth and, where asked for, the targets' local SNR."""
    boxes = dataset.boxes(number)
    snr = np.full(len(boxes), np.nan, dtype=np.float32)
    if measure and len(boxes):
        snr = measure_targets(dataset.frame(number), boxes)[1]
    return ImageResult(
        boxes_xyxy=found.boxes_xyxy,
        scores=found.scores,
        class_ids=found.class_ids,
        truth_boxes_xyxy=boxes,
        truth_class_ids=dataset.class_ids(number),
        truth_snr=snr,
        snr=found.snr,
        sequence=dataset.sequence_of(number),
        frame_index=dataset.record(number).frame_index,
    )


def open_model(name_or_path: str) -> Detector:
    """Open a checkpoint's folder, a bundle's folder, or a shipped bundle by name.

    Raises:
        LoddisError: It is none of these, or cannot be used.
    """
    from loddis_trainer.torch_engine import detector_of_checkpoint

    path = Path(name_or_path)
    if (path / INFO).is_file():
        return detector_of_checkpoint(path)
    if (path / "best" / INFO).is_file():
        raise CheckpointError(f"{path} is a run, not a checkpoint: give {path / 'best'} or {path / 'last'}")
    return load(path if path.is_dir() else name_or_path)


def evaluate_model(
    name_or_path: str,
    splits: Sequence[str],
    *,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
    score_threshold: float | None = None,
    centre_distance_px: float = 3.0,
    progress: bool = True,
) -> dict[str, Metrics]:
    """Measure a checkpoint or a bundle on several splits, ``DOMAIN:SPLIT`` each.

    Raises:
        LoddisError: The model or a domain cannot be used.
    """
    metrics = {}
    with open_model(name_or_path) as detector:
        for text in splits:
            domain, _, split = text.rpartition(":")
            dataset = DomainDataset.open(
                domain,
                split,
                data_root=data_root,
                cache_dir=cache_dir,
                classes=detector.manifest.classes,
                progress=progress,
            )
            metrics[text] = evaluate(
                detector,
                dataset,
                score_threshold=score_threshold,
                centre_distance_px=centre_distance_px,
                progress=progress,
            )
    return metrics
