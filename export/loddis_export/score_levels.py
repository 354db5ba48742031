"""Scores of an int8 graph set level with those of its checkpoint.

Quantisation moves scores all the same way, mostly down: a threshold that was chosen on float scores then finds fewer
targets, with fewer false alarms. What is lost so is no knowledge of the graph; one number, added to its objectness
logit, gives it back. It is chosen on the frames that the threshold was chosen on, and for that threshold: scores near 0
or 1 move by other amounts.

Legend: B frames, K candidates of each; a candidate is x1, y1, x2, y2, score, class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from loddis_export.errors import ExportError

__all__ = ["level_scores"]

OBJECTNESS_BIAS = "head.objectness_logit.bias"
ROUNDS = 5  # the class has a part in a score too, so that a step does not go all of its way
CLOSE = 0.01  # in logits: a score of 0.5 is then 0.5025


def level_scores(
    graph: Path,
    expected: NDArray[np.float32],
    infer: Callable[[Path], NDArray[np.float32]],
    *,
    threshold: float,
) -> tuple[float, NDArray[np.float32]]:
    """Shift the objectness of a graph, in place, until as many candidates reach a threshold as should.

    Args:
        graph: The int8 graph, whose objectness layer is in float.
        expected: ``(B, K, 6)`` of the checkpoint on some frames.
        infer: Gives the candidates of a graph on the same frames.
        threshold: The score that counts, above 0 and below 1.

    Returns:
        What was added to the logit, and the candidates ``(B, K, 6)`` that the graph gives now.

    Raises:
        ExportError: The graph has no objectness layer in float.
    """
    shift = 0.0
    wanted = int((expected[..., 4] >= threshold).sum())
    for _ in range(ROUNDS):
        rows = infer(graph)
        short = _shortfall(rows[..., 4], wanted, threshold)
        if abs(short) < CLOSE:
            return shift, rows
        _add_to_bias(graph, short)
        shift += short
    return shift, infer(graph)


def _shortfall(scores: NDArray[np.float32], wanted: int, threshold: float) -> float:
    """Give by how much logits are too low for `wanted` of the scores to reach a threshold, 0 where none can say."""
    if not 0 < wanted < scores.size or not np.isfinite(scores).all():
        return 0.0
    last_in, first_out = np.partition(scores, (-wanted, -wanted - 1), axis=None)[[-wanted, -wanted - 1]]
    return float(_logit(threshold) - (_logit(last_in) + _logit(first_out)) / 2)


def _logit(score: float) -> float:
    clipped = min(max(float(score), 1e-4), 1 - 1e-4)
    return math.log(clipped / (1 - clipped))


def _add_to_bias(graph: Path, shift: float) -> None:
    model = onnx.load(str(graph))
    for constant in model.graph.initializer:
        if constant.name == OBJECTNESS_BIAS:
            value = numpy_helper.to_array(constant) + np.float32(shift)
            constant.CopyFrom(numpy_helper.from_array(value.astype(np.float32), OBJECTNESS_BIAS))
            onnx.save_model(model, str(graph), save_as_external_data=False)
            return
    raise ExportError(f"{graph} has no '{OBJECTNESS_BIAS}' in float: its scores cannot be set level")
