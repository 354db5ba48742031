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

from loddis_export.errors import ExportError
from loddis_export.parity_report import GroupParity, ParityReport, PrecisionParity
from loddis_export.settings import ParityLimits
from loddis_export.strip_proof import Stripping
from loddis_runtime import Detector
from loddis_runtime.bundle import GraphPrecision
from loddis_runtime.detector import PreparedFrame
from loddis_runtime.engines import Engine
from loddis_trainer.data import JoinedSplits, LabelledFrames
from loddis_trainer.evaluate import SCORE_FLOOR, image_result
from loddis_trainer.metrics import ImageResult, Metrics, evaluate_images
from loddis_trainer.metrics.detection_probability import detection_roc
from loddis_trainer.models import LoddisDetector

__all__ = ["Reference", "compare_outputs", "evenly_spaced", "run_checkpoint", "stack_batches"]

COMPARED_FROM_SCORE = 0.05  # below it a candidate is reported by nobody
FRAMES_A_BATCH = 8


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
        score_threshold: Of the bundle, at which Pd and false alarms are compared.
        results: The checkpoint's detections, with ground truth.
        metrics: Of those.
    """

    dataset: LabelledFrames
    numbers: tuple[int, ...]
    prepared: tuple[PreparedFrame, ...]
    rows: NDArray[np.float32]
    detector: Detector
    centre_distance_px: float
    score_threshold: float
    results: tuple[ImageResult, ...]
    metrics: Metrics

    @classmethod
    def of(
        cls,
        checkpoint: LoddisDetector,
        detector: Detector,
        dataset: LabelledFrames,
        numbers: Sequence[int],
        *,
        centre_distance_px: float,
        score_threshold: float,
    ) -> Reference:
        """Run a checkpoint on frames.

        Args:
            checkpoint: Its detector, in evaluation mode.
            detector: Of a bundle of the same model: how frames are prepared and candidates treated.
            dataset: Real frames.
            numbers: Which of them.
            centre_distance_px: Within which a detection counts, frame pixels.
            score_threshold: Of the bundle.

        Raises:
            ExportError: No frame of these has a candidate to compare, or none a target.
        """
        window = detector.manifest.window
        prepared = tuple(detector.prepare_window(dataset.window(number, window)) for number in numbers)
        rows = run_checkpoint(checkpoint, prepared)
        if not (rows[..., 4] >= COMPARED_FROM_SCORE).any():
            raise ExportError(
                f"parity cannot be shown: the checkpoint finds nothing on {len(numbers)} frames of {dataset.label}"
            )
        if not any(len(dataset.boxes(number)) for number in numbers):
            raise ExportError(
                f"parity cannot be shown: of the {len(numbers)} frames of {dataset.label} that are compared none has a "
                "target; raise --parity-frames"
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
            score_threshold=score_threshold,
            results=results,
            metrics=evaluate_images(results, score_threshold=score_threshold, centre_distance_px=centre_distance_px),
        )

    def few(self, count: int) -> Reference:
        """Give the reference of at most `count` frames, for what takes long: evenly spaced, those with targets first.

        Targets are rare in some domains, and without any there is no loss to see.
        """
        with_targets = [place for place, result in enumerate(self.results) if len(result.truth_boxes_xyxy)]
        others = [place for place, result in enumerate(self.results) if not len(result.truth_boxes_xyxy)]
        first = evenly_spaced(with_targets, count)
        chosen = sorted(first + evenly_spaced(others, count - len(first)))
        results = tuple(self.results[place] for place in chosen)
        return replace(
            self,
            numbers=tuple(self.numbers[place] for place in chosen),
            prepared=tuple(self.prepared[place] for place in chosen),
            rows=self.rows[chosen],
            results=results,
            metrics=evaluate_images(
                results, score_threshold=self.score_threshold, centre_distance_px=self.centre_distance_px
            ),
        )

    @property
    def domains(self) -> list[str]:
        """Name the split of every frame, ``DOMAIN:SPLIT``."""
        if isinstance(self.dataset, JoinedSplits):
            return [self.dataset.label_of(number) for number in self.numbers]
        return [self.dataset.label] * len(self.numbers)

    def infer(self, engine: Engine) -> NDArray[np.float32]:
        """Give the candidates ``(B, K, 6)`` of an engine on the frames."""
        batches = stack_batches([frame.tensor for frame in self.prepared])
        return np.concatenate([engine.infer(batch) for batch in batches])

    def compare(
        self,
        detector: Detector,
        *,
        limits: ParityLimits,
        float_layers: Sequence[str] = (),
        score_shift: float = 0.0,
    ) -> PrecisionParity:
        """Hold a graph against the checkpoint.

        Args:
            detector: The runtime over the graph.
            limits: How far apart they may be.
            float_layers: Of an int8 graph, for the report.
            score_shift: Likewise.
        """
        return self.compare_rows(
            self.infer(detector.engine),
            precision=detector.precision,
            computed_by=detector.engine.name,
            limits=limits,
            float_layers=float_layers,
            score_shift=score_shift,
        )

    def compare_rows(
        self,
        rows: NDArray[np.float32],
        *,
        precision: GraphPrecision,
        computed_by: str,
        limits: ParityLimits,
        float_layers: Sequence[str] = (),
        score_shift: float = 0.0,
    ) -> PrecisionParity:
        """Hold candidates against the checkpoint's.

        Args:
            rows: ``(B, K, 6)`` of all frames.
            precision: That they were computed in.
            computed_by: What ran the arithmetic, for the report.
            limits: How far apart they may be.
            float_layers: Of an int8 graph, for the report.
            score_shift: Likewise.
        """
        each = [compare_outputs(one, other) for one, other in zip(self.rows, rows, strict=True)]
        results = self._with_detections(rows)
        metrics = evaluate_images(
            results, score_threshold=self.score_threshold, centre_distance_px=self.centre_distance_px
        )
        groups = zip((*self.metrics.by_size, *self.metrics.by_snr), (*metrics.by_size, *metrics.by_snr), strict=True)
        pds = [
            *((one.label, one.targets, one.pd, other.pd) for one, other in groups),
            *self._by_domain(results),
        ]
        return PrecisionParity(
            precision=precision,
            computed_by=computed_by,
            frames=len(self.numbers),
            compared=sum(count for count, _, _ in each),
            max_abs_box_px=max(box for _, box, _ in each),
            max_abs_score=max(score for _, _, score in each),
            matched=self._share_found(results),
            map50_reference=self.metrics.map50,
            map50_exported=metrics.map50,
            pd_reference=self.metrics.pd,
            pd_exported=metrics.pd,
            fa_reference=self.metrics.fa_per_frame,
            fa_exported=metrics.fa_per_frame,
            groups=tuple(
                GroupParity(label=label, targets=targets, pd_reference=expected, pd_exported=actual)
                for label, targets, expected, actual in pds
                if targets
            ),
            float_layers=tuple(float_layers),
            score_shift=score_shift,
            limits=limits,
        )

    def _by_domain(self, results: Sequence[ImageResult]) -> list[tuple[str, int, float, float]]:
        """Give label, number of targets and both Pd of each domain, where there are several: none hides another."""
        if not isinstance(self.dataset, JoinedSplits):
            return []
        labels = self.domains
        found = []
        for label in dict.fromkeys(labels):
            one, other = (
                evaluate_images(
                    [result for result, own in zip(every, labels, strict=True) if own == label],
                    score_threshold=self.score_threshold,
                    centre_distance_px=self.centre_distance_px,
                )
                for every in (self.results, results)
            )
            found.append((label, one.targets, one.pd, other.pd))
        return found

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

    def _share_found(self, results: Sequence[ImageResult]) -> float:
        """Give the share of the checkpoint's detections that others have too; all of none."""
        taken_for_truth = []
        for result, reference in zip(results, self.results, strict=True):
            reported = reference.scores >= self.score_threshold
            taken_for_truth.append(
                replace(
                    result,
                    truth_boxes_xyxy=reference.boxes_xyxy[reported],
                    truth_class_ids=reference.class_ids[reported],
                    truth_snr=np.empty(0, dtype=np.float32),
                )
            )
        roc = detection_roc(taken_for_truth, centre_distance_px=self.centre_distance_px)
        found = roc.at_threshold(self.score_threshold)[0]
        return 1.0 if math.isnan(found) else found

    def report(
        self,
        precisions: Sequence[PrecisionParity],
        stripping: Stripping,
        *,
        signed_int8: PrecisionParity | None = None,
        box_scale_wh: tuple[float, float] = (1.0, 1.0),
    ) -> ParityReport:
        """Give the report of several comparisons."""
        signed = () if signed_int8 is None else (signed_int8,)
        return ParityReport(
            domain=self.dataset.label,
            frames=len(self.numbers),
            targets=self.metrics.targets,
            centre_distance_px=self.centre_distance_px,
            score_threshold=self.score_threshold,
            precisions=tuple(precisions),
            signed_int8=signed_int8,
            box_scale_wh=box_scale_wh,
            left_out={one.precision: tuple(one.faults) for one in (*precisions, *signed) if one.faults},
            stripping=stripping,
        )


def compare_outputs(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> tuple[int, float, float]:
    """Compare the candidates of one frame, ``(K, 6)`` twice.

    Returns:
        How many of the expected ones counted, and the largest difference of a coordinate (pixels) and of a score
        between each of them and the actual one nearest to it; infinite where the class of that one is another, or where
        any of the actual ones is not finite.
    """
    wanted = expected[expected[:, 4] >= COMPARED_FROM_SCORE]  # (N, 6)
    if not np.isfinite(actual).all():
        return len(wanted), math.inf, math.inf
    if not len(wanted):
        return 0, 0.0, 0.0
    nearest = actual[_nearest_candidates(wanted, actual)]  # (N, 6)
    away = np.abs(wanted - nearest)
    box = np.where(away[:, 5] == 0, away[:, :4].max(axis=1), np.inf)
    return len(wanted), float(box.max()), float(away[:, 4].max())


def run_checkpoint(
    checkpoint: LoddisDetector, prepared: Sequence[PreparedFrame], *, dtype: torch.dtype = torch.float32
) -> NDArray[np.float32]:
    """Give the candidates ``(B, K, 6)`` of a checkpoint on prepared frames, given to it in `dtype`."""
    with torch.inference_mode():
        rows = [
            np.asarray(checkpoint(torch.from_numpy(batch).to(dtype)).float().numpy())
            for batch in stack_batches([frame.tensor for frame in prepared])
        ]
    return np.concatenate(rows)


def evenly_spaced(numbers: Sequence[int], count: int) -> list[int]:
    """Choose at most `count` of some numbers, the first and the last among them."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers)))
    return [numbers[int(place)] for place in np.unique(places.round())]


def stack_batches(tensors: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Stack inputs ``(T, h, w)`` into batches ``(B, T, h, w)`` of a few."""
    starts = range(0, len(tensors), FRAMES_A_BATCH)
    return [np.stack(tensors[start : start + FRAMES_A_BATCH]) for start in starts]


def _nearest_candidates(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.intp]:
    """Say which row of ``actual`` (K, 6) lies nearest to each row of ``expected`` (N, 6), by box, then by score.

    Scores decide between candidates whose boxes coincide; they are brought to a scale that pixels have.
    """
    away = np.abs(expected[:, None, :5] - actual[None, :, :5])  # (N, K, 5)
    return np.asarray((away[..., :4].max(axis=2) + away[..., 4]).argmin(axis=1))
