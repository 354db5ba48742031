"""Which detection is which target's: greedy, best score first, one to one.

Legend: N detections, M ground truths of a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["match_greedily"]


def match_greedily(
    affinity: NDArray[np.floating], scores: NDArray[np.floating], *, at_least: float
) -> NDArray[np.int64]:
    """Give each detection the free target that it fits best, detections of high score choosing first.

    Equal scores choose in the order they come in; of equally fitting targets the last is taken, as in COCO's evaluator.

    Args:
        affinity: ``(N, M)``, larger is better: IoU, or minus the distance of the centres.
        scores: ``(N,)``.
        at_least: Affinity that a match needs.

    Returns:
        ``(N,)`` index of the target, −1 where there is none.
    """
    matched = np.full(len(scores), -1, dtype=np.int64)
    if not affinity.size:
        return matched
    if affinity.shape[1] == 1:  # one target, as in most frames: the first that fits has it
        order = np.argsort(-scores, kind="stable")
        fitting = order[affinity[order, 0] >= at_least]
        matched[fitting[:1]] = 0
        return matched
    free = affinity.copy()
    for detection in np.argsort(-scores, kind="stable"):
        row = free[detection]
        best = len(row) - 1 - int(row[::-1].argmax())
        if row[best] >= at_least:
            matched[detection] = best
            free[:, best] = -np.inf
    return matched
