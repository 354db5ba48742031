"""Whether a bundle gives the mean box of all candidates of a target: chosen by measurement, as its threshold is."""

from __future__ import annotations

from loddis_export.settings import Averaging
from loddis_runtime import Detector
from loddis_trainer.data import LabelledFrames
from loddis_trainer.evaluate import collect_by_domain
from loddis_trainer.metrics import mean_map50

__all__ = ["BOX_AVERAGING_IOU", "choose_box_averaging"]

BOX_AVERAGING_IOU = 0.5
FRAMES = 1000  # looked at to choose, evenly spaced


def choose_box_averaging(
    detector: Detector, dataset: LabelledFrames, averaging: Averaging = "auto", *, progress: bool = True
) -> float | None:
    """Give the overlap from which on candidates count towards a box, or none if each box should stay its own.

    Loosely labelled domains gain by the mean (no grid point knows the box for sure); crowds of small, tightly labelled
    targets lose, where candidates of neighbours overlap.

    Args:
        detector: Of the bundle.
        dataset: Held-out frames of the task domains.
        averaging: ``auto`` takes the mean if mAP50 rises with it.
        progress: Show a bar.
    """
    if averaging != "auto":
        return BOX_AVERAGING_IOU if averaging == "on" else None
    own, mean = (_map50(detector, dataset, iou, progress=progress) for iou in (None, BOX_AVERAGING_IOU))
    return BOX_AVERAGING_IOU if mean > own else None


def _map50(detector: Detector, dataset: LabelledFrames, iou: float | None, *, progress: bool) -> float:
    tried = detector.with_manifest(detector.manifest.model_copy(update={"box_averaging_iou": iou}))
    return mean_map50(collect_by_domain(tried, dataset, FRAMES, progress=progress))
