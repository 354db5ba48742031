"""How a domain's boxes sit on their targets: a habit of whoever labelled it, not a fact about the scene.

Legend: N targets.
"""

from __future__ import annotations

import numpy as np

from loddis_runtime.photometry import measure_targets
from loddis_trainer.data.domain import DomainDataset

__all__ = ["measure_box_offset"]

FRAMES = 200  # looked at, evenly spaced
CLEAR_SNR = 8.0  # from which on a target's place is certain to about a tenth of a pixel
FEWEST_TARGETS = 20


def measure_box_offset(dataset: DomainDataset) -> tuple[float, float]:
    """Measure how far the boxes' centres lie from their targets'.

    Tools that count pixels from one, or boxes drawn generously to one side, shift all boxes of a domain alike. A
    detector learns such an offset with everything else, unless mirrored frames turn it round.

    Args:
        dataset: A split of the domain.

    Returns:
        x, y, frame pixels, positive to the right and down: medians over clear targets of 200 frames; 0, 0 where there
        are fewer than 20.
    """
    offsets = []
    for number in dataset.evenly_spaced(FRAMES):
        boxes = dataset.boxes(number)
        if len(boxes):
            centroids, snr = measure_targets(dataset.frame(number), boxes)  # (N, 2), (N,)
            offsets.append(((boxes[:, :2] + boxes[:, 2:]) / 2 - centroids)[snr >= CLEAR_SNR])
    clear = np.concatenate(offsets) if offsets else np.empty((0, 2))
    if len(clear) < FEWEST_TARGETS:
        return 0.0, 0.0
    x, y = np.median(clear, axis=0)
    return float(x), float(y)
