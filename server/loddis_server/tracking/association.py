"""Which detection is which track's: by the overlap of enlarged boxes.

Boxes of a few pixels that move by their own size do not overlap from frame to frame, and their IoU says nothing.
Enlarged by a buffer they do, and the overlap falls off with the distance.

Legend: N tracks, M detections.

References:
    Yang et al. 2023, Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by Buffering
    the Matching Space. There the buffer is a share of the box's size, in two stages; here it is in pixels, since the
    motion of a target does not shrink with its size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from loddis_runtime.boxes import pairwise_iou

__all__ = ["assign", "buffered_iou"]

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
NEVER = -1e6  # worth less than any number of pairs that may be


def buffered_iou(a_xyxy: NDArray[np.float64], b_xyxy: NDArray[np.float64], *, buffer_px: float) -> NDArray[np.float64]:
    """Intersection over union of boxes ``(N, 4)`` and ``(M, 4)``, each enlarged on all sides: ``(N, M)`` in [0, 1]."""
    margin = np.array([-buffer_px, -buffer_px, buffer_px, buffer_px])
    return pairwise_iou(a_xyxy + margin, b_xyxy + margin)


def assign(worth: NDArray[np.float64], allowed: NDArray[np.bool_]) -> Pairs:
    """Choose pairs, one to one, that are worth most together.

    Args:
        worth: ``(N, M)``, at least 0.
        allowed: ``(N, M)``, which pairs may be.

    Returns:
        Rows and columns of the pairs.
    """
    # Most frames have nothing to decide; the solver takes longer than this look.
    some = np.flatnonzero(allowed.any(axis=1))
    others = np.flatnonzero(allowed.any(axis=0))
    if not len(some):
        return some, others
    possible = allowed[np.ix_(some, others)]
    rows, columns = linear_sum_assignment(np.where(possible, worth[np.ix_(some, others)], NEVER), maximize=True)
    kept = possible[rows, columns]
    return some[rows[kept]], others[columns[kept]]
