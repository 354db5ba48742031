"""What a step sees: samples put together.

Legend: B batch, T frames of the window, H W network pixels, M ground truths of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loddis_trainer.data.samples import Sample

__all__ = ["Batch", "collate"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step sees.

    Attributes:
        frames: ``(B, T, H, W)`` float32 in [0, 1].
        boxes_xyxy: B tensors ``(M, 4)`` float32, network pixels.
        class_ids: B tensors ``(M,)`` int64.
        domain_ids: ``(B,)`` int64.
        names: B texts, domain, sequence and frame, for messages.
    """

    frames: Tensor
    boxes_xyxy: list[Tensor]
    class_ids: list[Tensor]
    domain_ids: Tensor
    names: list[str]


def collate(samples: Sequence[Sample], *, out: Tensor | None = None) -> Batch:
    """Put samples into a batch.

    Args:
        samples: B of them, of one size.
        out: ``(B, T, H, W)`` float32 that becomes its frames; new memory if none.
    """
    frames, boxes, labels, domains, names = zip(*samples, strict=True)
    return Batch(torch.stack(frames, out=out), list(boxes), list(labels), torch.tensor(domains), list(names))
