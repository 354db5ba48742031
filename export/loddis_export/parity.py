"""Parity: does an exported graph detect what the checkpoint detects, on real frames?

Raw outputs are compared before suppression. Rows are ranked by score, and two candidates whose scores differ by a
rounding may trade places; so each row of the reference is compared with the exported row that lies nearest, not with
the one of equal rank. Detections are compared after it, against the ground truth and against each other.

Legend: B batch, K detections, N compared detections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from loddis_export.errors import ExportError
from loddis_export.settings import ParityLimits
from loddis_export.strip_proof import Stripping
from loddis_runtime import Detector
from loddis_runtime.bundle import GraphPrecision
from loddis_runtime.detector import PreparedFrame
from loddis_trainer.data import DomainDataset
from loddis_trainer.evaluate import SCORE_FLOOR, image_result
from loddis_trainer.metrics import ImageResult, Metrics, evaluate_images
from loddis_trainer.metrics.detection_probability import detection_roc
from loddis_trainer.models import LoddisDetector

__all__ = ["GroupParity", "ParityReport", "PrecisionParity", "Reference", "compare_outputs"]

COMPARED_FROM_SCORE = 0.05  # below it a candidate is reported by nobody
FRAMES_A_BATCH = 8
JUDGED_FROM_TARGETS = 30  # one target of fewer weighs more than any limit


class GroupParity(BaseModel):
    """Targets of one size or SNR."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    targets: int
    pd_reference: float
    pd_exported: float


class PrecisionParity(BaseModel):
    """What the comparison of one graph gave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: GraphPrecision
    compared: int = Field(description="Candidates of the reference with a score of at least 0.05.")
    max_abs_box_px: float = Field(description="Network pixels.")
    max_abs_score: float
    matched: float = Field(description="Share of the reference's detections that the graph gives within the distance.")
    map50_reference: float
    map50_exported: float
    pd_reference: float = Field(description="At the false alarms of the operating point, as is the next.")
    pd_exported: float
    groups: tuple[GroupParity, ...]
    float_layers: tuple[str, ...] = Field(default=(), description="Layers of an int8 graph that stayed in float.")
    limits: ParityLimits

    @property
    def excess(self) -> float:
        """The largest ratio of a loss to its limit; above 1 the graph has failed. A NaN counts as infinite."""
        ratios = [loss / limit for _, loss, limit in self._losses()]
        return math.inf if any(math.isnan(ratio) for ratio in ratios) else max(0.0, *ratios)

    @property
    def faults(self) -> list[str]:
        """What is out of bounds, a sentence each; empty where all is well."""
        # Written so that a NaN is a fault too.
        return [
            f"{what.format(loss)}, allowed are {limit:.4g}" for what, loss, limit in self._losses() if not loss <= limit
        ]

    def _losses(self) -> list[tuple[str, float, float]]:
        """Give each loss that has a limit, and the limit."""
        losses = [
            ("boxes differ by up to {:.4g} px", self.max_abs_box_px, self.limits.box_px),
            ("scores differ by up to {:.4g}", self.max_abs_score, self.limits.score),
            ("mAP50 falls by {:.4g}", self.map50_reference - self.map50_exported, self.limits.map50),
            ("Pd falls by {:.4g}", self.pd_reference - self.pd_exported, self.limits.pd),
        ]
        losses += [
            (f"Pd of {group.label} falls by {{:.4g}}", group.pd_reference - group.pd_exported, self.limits.group_pd)
            for group in self.groups
            if group.targets >= JUDGED_FROM_TARGETS
        ]
        return [(what, loss, limit) for what, loss, limit in losses if limit is not None]


class ParityReport(BaseModel):
    """What all comparisons gave; `parity.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(description="Domain and split of the frames.")
    frames: int
    targets: int
    centre_distance_px: float
    false_alarms_per_frame: float = Field(description="At which Pd is compared.")
    precisions: tuple[PrecisionParity, ...] = Field(
        description="Of the graphs in the bundle, and of those that failed."
    )
    stripping: Stripping = Field(description="What the training-only branches would cost.")

    def of(self, precision: GraphPrecision) -> PrecisionParity:
        """Give the comparison of a precision.

        Raises:
            KeyError: There was none.
        """
        for one in self.precisions:
            if one.precision == precision:
                return one
        raise KeyError(precision)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the checkpoint says on real frames, to hold graphs against.

    Attributes:
        dataset: Where the frames come from.
        numbers: Which of them.
        prepared: Each of them, as the network sees it.
        rows: ``(B, K, 6)`` of all frames: the checkpoint's candidates.
        detector: The runtime's treatment of candidates; its own graph is not run.
        centre_distance_px: Within which a detection counts for a target, frame pixels.
        false_alarms_per_frame: At which Pd is compared.
        results: The checkpoint's detections, with ground truth.
        metrics: Of those.
    """

    dataset: DomainDataset
    numbers: tuple[int, ...]
    prepared: tuple[PreparedFrame, ...]
    rows: NDArray[np.float32]
    detector: Detector
    centre_distance_px: float
    false_alarms_per_frame: float
    results: tuple[ImageResult, ...]
    metrics: Metrics

    @classmethod
    def of(
        cls,
        checkpoint: LoddisDetector,
        detector: Detector,
        dataset: DomainDataset,
        numbers: Sequence[int],
        *,
        centre_distance_px: float,
        false_alarms_per_frame: float,
    ) -> Reference:
        """Run a checkpoint on frames.

        Args:
            checkpoint: Its detector, in evaluation mode.
            detector: Of a bundle of the same model: how frames are prepared and candidates treated.
            dataset: Real frames.
            numbers: Which of them.
            centre_distance_px: Within which a detection counts, frame pixels.
            false_alarms_per_frame: Of the operating point.

        Raises:
            ExportError: No frame of these has a candidate to compare.
        """
        window = detector.manifest.window
        prepared = tuple(detector.prepare_window(dataset.window(number, window)) for number in numbers)
        with torch.inference_mode():
            rows = np.concatenate(
                [
                    np.asarray(checkpoint(torch.from_numpy(batch)).numpy(), dtype=np.float32)
                    for batch in _batches(prepared)
                ]
            )
        if not (rows[..., 4] >= COMPARED_FROM_SCORE).any():
            raise ExportError(
                f"parity cannot be shown: the checkpoint finds nothing on {len(numbers)} frames of"
                f" {dataset.name}:{dataset.split}"
            )
        results = tuple(
            image_result(dataset, number, detector.finish(frame, row, score_threshold=SCORE_FLOOR))
            for number, frame, row in zip(numbers, prepared, rows, strict=True)
        )
        return cls(
            dataset=dataset,
            numbers=tuple(numbers),
            prepared=prepared,
            rows=rows,
            detector=detector,
            centre_distance_px=centre_distance_px,
            false_alarms_per_frame=false_alarms_per_frame,
            results=results,
            metrics=_measure(results, centre_distance_px, false_alarms_per_frame),
        )

    def compare(self, detector: Detector, *, limits: ParityLimits, float_layers: Sequence[str] = ()) -> PrecisionParity:
        """Hold a graph against the checkpoint.

        Args:
            detector: The runtime over the graph.
            limits: How far apart they may be.
            float_layers: Of an int8 graph, for the report.
        """
        rows = np.concatenate([detector.engine.infer(batch) for batch in _batches(self.prepared)])
        each = [compare_outputs(one, other) for one, other in zip(self.rows, rows, strict=True)]
        results = self._with_detections(rows)
        metrics = _measure(results, self.centre_distance_px, self.false_alarms_per_frame)
        groups = zip((*self.metrics.by_size, *self.metrics.by_snr), (*metrics.by_size, *metrics.by_snr), strict=True)
        return PrecisionParity(
            precision=detector.precision,
            compared=sum(count for count, _, _ in each),
            max_abs_box_px=max(box for _, box, _ in each),
            max_abs_score=max(score for _, _, score in each),
            matched=self._share_found(results, metrics.score_threshold),
            map50_reference=self.metrics.map50,
            map50_exported=metrics.map50,
            pd_reference=self.metrics.pd,
            pd_exported=metrics.pd,
            groups=tuple(
                GroupParity(label=one.label, targets=one.targets, pd_reference=one.pd, pd_exported=other.pd)
                for one, other in groups
                if one.targets
            ),
            float_layers=tuple(float_layers),
            limits=limits,
        )

    def _with_detections(self, rows: NDArray[np.float32]) -> tuple[ImageResult, ...]:
        """Give the results with the detections of other candidates, and the ground truth as it was measured."""
        found = [
            self.detector.finish(frame, row, score_threshold=SCORE_FLOOR, measure=False)
            for frame, row in zip(self.prepared, rows, strict=True)
        ]
        return tuple(
            replace(result, boxes_xyxy=one.boxes_xyxy, scores=one.scores, class_ids=one.class_ids, snr=one.snr)
            for result, one in zip(self.results, found, strict=True)
        )

    def _share_found(self, results: Sequence[ImageResult], score_threshold: float) -> float:
        """Give the share of the checkpoint's detections that others have too, each at its operating point."""
        taken_for_truth = []
        for result, reference in zip(results, self.results, strict=True):
            reported = reference.scores >= self.metrics.score_threshold
            taken_for_truth.append(
                replace(
                    result,
                    truth_boxes_xyxy=reference.boxes_xyxy[reported],
                    truth_class_ids=reference.class_ids[reported],
                    truth_snr=np.empty(0, dtype=np.float32),
                )
            )
        roc = detection_roc(taken_for_truth, centre_distance_px=self.centre_distance_px)
        return roc.at_threshold(score_threshold)[0]

    def report(self, precisions: Sequence[PrecisionParity], stripping: Stripping) -> ParityReport:
        """Give the report of several comparisons."""
        return ParityReport(
            domain=f"{self.dataset.name}:{self.dataset.split}",
            frames=len(self.numbers),
            targets=self.metrics.targets,
            centre_distance_px=self.centre_distance_px,
            false_alarms_per_frame=self.false_alarms_per_frame,
            precisions=tuple(precisions),
            stripping=stripping,
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


def _batches(prepared: Sequence[PreparedFrame]) -> list[NDArray[np.float32]]:
    starts = range(0, len(prepared), FRAMES_A_BATCH)
    return [np.stack([frame.tensor for frame in prepared[start : start + FRAMES_A_BATCH]]) for start in starts]


def _measure(results: Sequence[ImageResult], centre_distance_px: float, false_alarms_per_frame: float) -> Metrics:
    """Measure at the threshold that gives so many false alarms on these very frames."""
    measured = evaluate_images(results, score_threshold=0.5, centre_distance_px=centre_distance_px)
    threshold = measured.threshold_at(false_alarms_per_frame)
    return evaluate_images(results, score_threshold=threshold, centre_distance_px=centre_distance_px)
