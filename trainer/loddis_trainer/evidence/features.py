"""Features of the evidence frames under the weights at hand, for runs with the method's branches and for plain ones.

Legend: n frames, t channels of the fused map, c channels of z and b.

- With the branches, z and b are their target and background features, pooled as in training.
- A plain run has neither: there z is the fused map averaged over the ground truth boxes, b the fused map averaged over
  the cells that no box touches. So is b where the background projection is off, as for domain confusing alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loddis_trainer.data import Batch
from loddis_trainer.evidence.frames import EvidenceFrames
from loddis_trainer.evidence.measures import focus_ratio
from loddis_trainer.losses.regions import pool, split_by_boxes
from loddis_trainer.models.norms import statistics_apart
from loddis_trainer.training_model import TrainingModel

__all__ = ["FrameFeatures", "extract_features"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """Features of frames, row by row.

    Attributes:
        z: ``(n, c)`` float32.
        b: ``(n, c')`` float32.
        targets: ``(n, t)`` fused map averaged over the ground truth boxes: the same measure for every run.
        scenes: ``(n, t)`` fused map averaged over the whole of it.
        focus_fused: ``(n,)`` focus ratio of the fused map.
        focus_target_map: ``(n,)`` that of the target map; ``None`` in plain runs.
        domain_ids: ``(n,)``.
        sequence_ids: ``(n,)``, as `EvidenceFrames.sequence_ids`.
        z_from: Where z comes from, in words.
        b_from: Where b comes from, in words.
    """

    z: NDArray[np.float32]
    b: NDArray[np.float32]
    targets: NDArray[np.float32]
    scenes: NDArray[np.float32]
    focus_fused: NDArray[np.float32]
    focus_target_map: NDArray[np.float32] | None
    domain_ids: NDArray[np.int64]
    sequence_ids: NDArray[np.int64]
    z_from: str
    b_from: str


def extract_features(model: TrainingModel, frames: EvidenceFrames, *, autocast: bool) -> FrameFeatures:
    """Compute the features of all frames; the model is left in the mode it was in, and no random number is drawn.

    Frames whose boxes leave no cell for the target, or none for the background, are left out.

    Args:
        model: The averaged weights.
        frames: At least one.
        autocast: Run the network in bfloat16, as validation does.
    """
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    rows: dict[str, list[Tensor]] = {}
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            for batch in frames.batches():
                for name, value in _of_batch(model, batch, device).items():
                    rows.setdefault(name, []).append(value.float().cpu())
                rows.setdefault("domain_ids", []).append(batch.domain_ids)
    finally:
        model.train(was_training)
    columns = {name: torch.cat(parts).numpy() for name, parts in rows.items()}
    usable = columns.pop("usable") > 0
    columns = {name: values[usable] for name, values in columns.items()}
    pooled = "the fused map, averaged over the {}"
    branches = model.branches
    pooling = "" if branches is None else f"pooled over the {_POOLED[branches.projections.pooling]}"
    has_background = branches is not None and branches.projections.background is not None
    return FrameFeatures(
        z=columns["z"],
        b=columns["b"],
        targets=columns["targets"],
        scenes=columns["scenes"],
        focus_fused=columns["focus_fused"],
        focus_target_map=columns.get("focus_target_map"),
        domain_ids=columns["domain_ids"].astype(np.int64),
        sequence_ids=frames.sequence_ids[usable],
        z_from=pooled.format("ground truth boxes") if branches is None else f"the target projection, {pooling}",
        b_from=f"the background projection, {pooling}"
        if has_background
        else pooled.format("cells that no box touches"),
    )


_POOLED = {"gap": "whole map", "boxes": "ground truth boxes and the rest"}


def _of_batch(model: TrainingModel, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    stride, boxes_xyxy = model.detector.stride, batch.boxes_xyxy
    with statistics_apart(model.detector, model.group_sizes(batch.domain_ids)):  # as the losses see features
        fused = model.detector.fuse(batch.frames.to(device).to(memory_format=torch.channels_last))
    regions = split_by_boxes(boxes_xyxy, size_uv=(fused.shape[2], fused.shape[3]), stride=stride, device=fused.device)
    targets = pool(fused, regions.target)
    rows = {
        "usable": (regions.has_target & regions.has_background).float(),
        "targets": targets,
        "scenes": pool(fused),
        "focus_fused": focus_ratio(fused, regions),
        "z": targets,
        "b": pool(fused, regions.background),
    }
    if model.branches is not None:
        projected = model.branches.projections(fused, boxes_xyxy, stride=stride)
        rows["z"] = projected.z
        rows["focus_target_map"] = focus_ratio(model.branches.projections.target(fused), regions)
        if projected.b is not None:
            rows["b"] = projected.b
    return rows
