"""Which tracks are to be believed: M hits among the newest N frames.

Chance puts clutter into single frames; it seldom does so M times along one path. The scores of the hits are kept, so
that one run of the tracker tells for every threshold whether the track would have been confirmed there.

Legend: T tracks; M hits of N frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["confirming_scores", "out_of_reach", "remembered"]

Scores = NDArray[np.float32]


def remembered(history: Scores, scores: Scores) -> Scores:
    """Add a frame to the histories of tracks.

    Args:
        history: ``(T, N)`` scores of hits, the newest first; 0 where there was none, or no frame yet.
        scores: ``(T,)`` of this frame.

    Returns:
        ``(T, N)``.
    """
    return np.concatenate([scores[:, None], history[:, :-1]], axis=1)


def confirming_scores(history: Scores, *, hits: int) -> Scores:
    """Give the highest threshold that M of the newest N frames reach, ``(T,)``; 0 where there are fewer hits."""
    return np.asarray(np.partition(history, -hits, axis=1)[:, -hits], dtype=np.float32)


def out_of_reach(history: Scores, frames_seen: NDArray[np.int64], *, hits: int) -> NDArray[np.bool_]:
    """Tell which tracks cannot have M hits within N frames any more, at whatever threshold, ``(T,)``.

    Args:
        history: ``(T, N)``.
        frames_seen: ``(T,)`` frames since a track's first hit that were looked at, the first and the newest included.
        hits: M.
    """
    frames = history.shape[1]
    missed = np.minimum(frames_seen, frames) - np.count_nonzero(history, axis=1)
    return np.asarray(missed > frames - hits, dtype=np.bool_)
