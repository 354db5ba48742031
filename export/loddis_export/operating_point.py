"""The operating point of a bundle: the score from which on it reports, chosen by false alarms on held-out frames."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from loddis_export.errors import ExportError
from loddis_trainer.metrics import DetectionRoc, common_threshold

__all__ = ["choose_threshold"]

log = logging.getLogger(__name__)


def choose_threshold(curves: Mapping[str, DetectionRoc], max_false_alarms: float) -> float:
    """Choose the lowest score that keeps to a budget of false alarms, of which something has to be left to find.

    Args:
        curves: Split to its operating points. One without targets has its say on false alarms alone.
        max_false_alarms: A frame, mean of the splits.

    Returns:
        The score, to four digits: what is written is what was measured.

    Raises:
        ExportError: No target of any split is found there. The bundle would report nothing: the budget is too small for
            so few frames, or the model finds nothing yet.
    """
    threshold = round(common_threshold(list(curves.values()), max_false_alarms), 4)
    found = {name: curve.at_threshold(threshold)[0] for name, curve in curves.items()}
    found = {name: pd for name, pd in found.items() if not math.isnan(pd)}
    missed = [name for name, pd in found.items() if pd == 0]
    if missed and len(missed) == len(found):
        frames = sum(curve.frames for curve in curves.values())
        raise ExportError(
            f"{max_false_alarms:g} false alarms a frame leave no target of {', '.join(missed)} to find on {frames} "
            f"frames: the score would have to be {threshold:g}. Give more frames with --threshold-on, allow more with "
            "--max-false-alarms, or set --score-threshold"
        )
    for name in missed:
        log.warning("no target of %s reaches the operating point, a score of %g", name, threshold)
    return threshold
