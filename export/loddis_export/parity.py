"""Parity: does the exported graph detect what the checkpoint detects, on real frames?

Legend: B batch, K detections, N compared detections.

Raw outputs are compared before suppression. Rows are ranked by score, and two candidates whose scores differ by a
rounding may trade places; so each row of the reference is compared with the exported row that lies nearest, not with
the one of equal rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from loddis_export.errors import ExportError
from loddis_export.settings import ParityLimits
from loddis_runtime import Detector
from loddis_runtime.detections import Detections
from loddis_runtime.detector import PreparedFrame
from loddis_trainer.data import DomainDataset
from loddis_trainer.evaluate import image_result
from loddis_trainer.metrics import ImageResult, mean_average_precision
from loddis_trainer.models import LoddisDetector

__all__ = ["ParityReport", "compare_outputs", "measure_parity"]

COMPARED_FROM_SCORE = 0.05  # below it a candidate is reported by nobody
SCORE_FLOOR = 0.01  # what counts for mAP50
FRAMES_A_BATCH = 8


class ParityReport(BaseModel):
    """What the comparison gave; `parity.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: str
    domain: str = Field(description="Domain and split of the frames.")
    frames: int
    compared: int = Field(description="Candidates of the reference with a score of at least 0.05.")
    max_abs_box_px: float
    max_abs_score: float
    map50_reference: float
    map50_exported: float
    limits: ParityLimits

    @property
    def faults(self) -> list[str]:
        """What is out of bounds, a sentence each; empty where all is well."""
        lost = self.map50_reference - self.map50_exported
        checks = (
            (self.max_abs_box_px, self.limits.box_px, "boxes differ by up to {:.4g} px, allowed are {:.4g}"),
            (self.max_abs_score, self.limits.score, "scores differ by up to {:.4g}, allowed are {:.4g}"),
            (lost, self.limits.map50, "mAP50 falls by {:.4g}, allowed are {:.4g}"),
        )
        # Written so that a NaN is a fault too.
        return [text.format(value, limit) for value, limit, text in checks if not value <= limit]


def measure_parity(
    reference: LoddisDetector,
    detector: Detector,
    dataset: DomainDataset,
    numbers: Sequence[int],
    *,
    limits: ParityLimits,
) -> ParityReport:
    """Run checkpoint and exported graph on the same frames and compare what they say.

    Args:
        reference: The checkpoint's detector, in evaluation mode.
        detector: The runtime over the exported graph.
        dataset: Real frames.
        numbers: Which of them.
        limits: How far apart they may be.

    Raises:
        ExportError: No frame of these has a candidate to compare.
    """
    box_differences: list[float] = [0.0]
    score_differences: list[float] = [0.0]
    compared = 0
    of_reference: list[ImageResult] = []
    of_export: list[ImageResult] = []
    for start in range(0, len(numbers), FRAMES_A_BATCH):
        batch = numbers[start : start + FRAMES_A_BATCH]
        windows = [dataset.window(number, detector.manifest.window) for number in batch]
        prepared = [detector.prepare_window(window) for window in windows]
        expected, actual = _run(reference, prepared), detector.infer(prepared)  # (B, K, 6) both
        for number, frame, row_expected, row_actual in zip(batch, prepared, expected, actual, strict=True):
            count, box, score = compare_outputs(row_expected, row_actual)
            compared += count
            box_differences.append(box)
            score_differences.append(score)
            for rows, results in ((row_expected, of_reference), (row_actual, of_export)):
                found: Detections = detector.finish(frame, rows, score_threshold=SCORE_FLOOR)
                results.append(image_result(dataset, number, found))
    if not compared:
        raise ExportError(
            f"parity cannot be shown: the checkpoint finds nothing on {len(numbers)} frames of"
            f" {dataset.name}:{dataset.split}"
        )
    return ParityReport(
        precision=detector.precision,
        domain=f"{dataset.name}:{dataset.split}",
        frames=len(numbers),
        compared=compared,
        max_abs_box_px=max(box_differences),
        max_abs_score=max(score_differences),
        map50_reference=mean_average_precision(of_reference),
        map50_exported=mean_average_precision(of_export),
        limits=limits,
    )


def compare_outputs(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> tuple[int, float, float]:
    """Compare the candidates of one frame, ``(K, 6)`` twice.

    Returns:
        How many of the expected ones counted, and the largest difference of a coordinate (pixels) and of a score
        between each of them and the actual one nearest to it; infinite where the class of that one is another.
    """
    wanted = expected[expected[:, 4] >= COMPARED_FROM_SCORE]  # (N, 6)
    if not len(wanted):
        return 0, 0.0, 0.0
    away = np.abs(wanted[:, None, :5] - actual[None, :, :5])  # (N, K, 5)
    # Scores decide between candidates whose boxes coincide; they are brought to a scale that pixels have.
    nearest = (away[..., :4].max(axis=2) + away[..., 4]).argmin(axis=1)  # (N,)
    rows = np.arange(len(wanted))
    same_class = actual[nearest, 5] == wanted[:, 5]
    box = np.where(same_class, away[rows, nearest, :4].max(axis=1), np.inf)
    return len(wanted), float(box.max()), float(away[rows, nearest, 4].max())


def _run(reference: LoddisDetector, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
    with torch.inference_mode():
        out = reference(torch.from_numpy(np.stack([frame.tensor for frame in prepared])))
    return np.asarray(out.numpy(), dtype=np.float32)
