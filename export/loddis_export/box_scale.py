"""How much wider and higher boxes become at export: what a detector learned by heart of training boxes, set right.

The sides of a loose box are a habit of whoever drew it. A detector learns the habits of the sequences that it was
trained on, and gives too small or too large a box, on average, in others. Two factors, one for each side, are chosen on
held-out frames as the score threshold is; they go into the biases of the last layer, and cost nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter  # type: ignore[import-untyped]
from torch import Tensor

from loddis_runtime import Detector
from loddis_trainer.data import LabelledFrames
from loddis_trainer.evaluate import collect_by_domain
from loddis_trainer.metrics import ImageResult, mean_map50
from loddis_trainer.models import LoddisDetector

__all__ = ["choose_box_scale", "scale_boxes"]

FRAMES = 1000  # looked at to choose, evenly spaced
FACTORS = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25)
SIZE_CHANNELS = slice(2, 4)  # of the box convolution: logarithms of width and height


def choose_box_scale(detector: Detector, dataset: LabelledFrames, *, progress: bool = True) -> tuple[float, float]:
    """Give the factors for width and height with which mAP50 is highest, 1 and 1 if none is better than that.

    A pair of factors is judged by the mean over itself and its neighbours: a peak that stands alone is chance.

    Args:
        detector: Of the bundle.
        dataset: Held-out frames of the task domains.
        progress: Show a bar.
    """
    results = collect_by_domain(detector, dataset, FRAMES, progress=progress)
    map50 = np.array([[_map50(results, (width, height)) for height in FACTORS] for width in FACTORS])
    around = uniform_filter(map50, size=3, mode="nearest")
    own = FACTORS.index(1.0)
    width, height = np.unravel_index(int(around.argmax()), around.shape)
    if around[width, height] <= around[own, own] or map50[width, height] <= map50[own, own]:
        return 1.0, 1.0
    return FACTORS[width], FACTORS[height]


def scale_boxes(detector: LoddisDetector, factors: tuple[float, float]) -> tuple[str, Tensor]:
    """Let a detector give boxes that are wider and higher by these factors, about the same centres; in place.

    Gives the name of the one parameter that changed, and its new values.
    """
    bias = detector.head.box_offsets.bias
    if bias is None:
        raise ValueError("the box convolution must have a bias")
    with torch.no_grad():
        bias[SIZE_CHANNELS] += torch.tensor(factors, dtype=torch.float64).log().to(bias.dtype)
    return "head.box_offsets.bias", bias


def _map50(results_by_domain: list[list[ImageResult]], factors: tuple[float, float]) -> float:
    return mean_map50(
        [[replace(one, boxes_xyxy=_scaled(one.boxes_xyxy, factors)) for one in part] for part in results_by_domain]
    )


def _scaled(boxes_xyxy: NDArray[np.float32], factors: tuple[float, float]) -> NDArray[np.float32]:
    """Scale boxes ``(N, 4)`` about their centres."""
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * np.asarray(factors, dtype=np.float32)
    return np.concatenate((centres - halves, centres + halves), axis=1)
