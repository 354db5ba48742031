"""Scores of an int8 graph set level with those of its checkpoint.

Quantisation moves scores all the same way, mostly down: a threshold that was chosen on float scores then finds fewer
targets, with fewer false alarms. What is lost so is no knowledge of the graph; one number, added to its objectness
logit, gives it back. It is chosen on held-out frames, since those that were trained on are moved by less, and for the
threshold, since scores near 0 or 1 are moved by other amounts.

Legend: B frames, K candidates of each; a candidate is x1, y1, x2, y2, score, class.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from loddis_export.errors import ExportError

__all__ = ["level_scores"]

log = logging.getLogger(__name__)

OBJECTNESS_BIAS = "head.objectness_logit.bias"
ROUNDS = 8  # runs of the graph, at most
CLOSE = 0.01  # in logits: a score of 0.5 is then 0.5025
LEAST_EFFECT = 0.25  # of a step that is believed: the class has a part in a score too, and holds it back


def level_scores(
    graph: Path,
    expected: NDArray[np.float32],
    infer: Callable[[Path], NDArray[np.float32]],
    *,
    threshold: float,
    domains: Sequence[str],
) -> tuple[float, NDArray[np.float32]]:
    """Shift the objectness of a graph, in place, until as many candidates reach a threshold as should.

    Every domain has the same say, as it has in the choice of the threshold, however many targets it shows.

    Args:
        graph: The int8 graph, whose objectness layer is in float.
        expected: ``(B, K, 6)`` of the checkpoint on some frames.
        infer: Gives the candidates of a graph on the same frames.
        threshold: The score that counts, above 0 and below 1.
        domains: Of each frame; B of them.

    Returns:
        What was added to the logit, and the candidates ``(B, K, 6)`` that the graph gives now.

    Raises:
        ExportError: The graph has no objectness layer in float.
    """
    groups = [np.array([one == name for one in domains]) for name in dict.fromkeys(domains)]
    wanted = [int((expected[group, :, 4] >= threshold).sum()) for group in groups]
    shift = step = before = 0.0
    effect = 1.0
    for _ in range(ROUNDS):
        rows = infer(graph)
        short = float(
            np.mean([_shortfall(rows[group, :, 4], n, threshold) for group, n in zip(groups, wanted, strict=True)])
        )
        if abs(short) < CLOSE:
            return shift, rows
        if step:
            effect = min(1.0, max(LEAST_EFFECT, (before - short) / step))
        before, step = short, short / effect
        _add_to_bias(graph, step)
        shift += step
    log.info("scores are level but for %.3f in logits", before)
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
