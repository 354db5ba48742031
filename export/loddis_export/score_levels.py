"""Scores of an int8 graph set level with those of its float graph.

Quantisation moves scores all the same way, mostly down: a threshold that was chosen on float scores then finds fewer
targets, with fewer false alarms. What is lost so is no knowledge of the graph; one number, added to its objectness
logit, gives it back.

Legend: B frames, K candidates of each, sorted by score; a candidate is x1, y1, x2, y2, score, class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from loddis_export.errors import ExportError

__all__ = ["level_scores", "nearest_candidates"]

OBJECTNESS_BIAS = "head.objectness_logit.bias"
LEAST_SCORE = 0.1  # of candidates that count: an operating point lies above it
ROUNDS = 5  # the class has a part in a score too, so that a step does not go all of its way
CLOSE = 0.01  # in logits: a score of 0.5 is then 0.5025


def level_scores(graph: Path, expected: NDArray[np.float32], infer: Callable[[Path], NDArray[np.float32]]) -> float:
    """Shift the objectness of a graph, in place, until the median candidate scores as it should.

    Args:
        graph: The int8 graph, whose objectness layer is in float.
        expected: ``(B, K, 6)`` of the float graph on some frames.
        infer: Gives the candidates of a graph on the same frames.

    Returns:
        What was added to the logit.

    Raises:
        ExportError: The graph has no objectness layer in float.
    """
    shift = 0.0
    for _ in range(ROUNDS):
        short = _median_shortfall(expected, infer(graph))
        if abs(short) < CLOSE:
            break
        _add_to_bias(graph, short)
        shift += short
    return shift


def nearest_candidates(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.intp]:
    """Say which row of ``actual`` (K, 6) lies nearest to each row of ``expected`` (N, 6), by box, then by score.

    Scores decide between candidates whose boxes coincide; they are brought to a scale that pixels have.
    """
    away = np.abs(expected[:, None, :5] - actual[None, :, :5])  # (N, K, 5)
    return np.asarray((away[..., :4].max(axis=2) + away[..., 4]).argmin(axis=1))


def _median_shortfall(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Give by how much the logits of scores are too low, 0 where nothing can be compared."""
    short = []
    for one, other in zip(expected, actual, strict=True):
        wanted = one[one[:, 4] >= LEAST_SCORE]
        if len(wanted) and np.isfinite(other).all():
            short.append(_logit(wanted[:, 4]) - _logit(other[nearest_candidates(wanted, other), 4]))
    return float(np.median(np.concatenate(short))) if short else 0.0


def _logit(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped = np.clip(scores.astype(np.float64), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _add_to_bias(graph: Path, shift: float) -> None:
    model = onnx.load(str(graph))
    for constant in model.graph.initializer:
        if constant.name == OBJECTNESS_BIAS:
            value = numpy_helper.to_array(constant) + np.float32(shift)
            constant.CopyFrom(numpy_helper.from_array(value.astype(np.float32), OBJECTNESS_BIAS))
            onnx.save_model(model, str(graph), save_as_external_data=False)
            return
    raise ExportError(f"{graph} has no '{OBJECTNESS_BIAS}' in float: its scores cannot be set level")
