"""Where targets are on the fused map, and where they are not.

Legend: n samples, C channels, u v height and width of the map in cells, M boxes of a sample, k cells with targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from loddis_trainer.losses.numerics import at_least_float32, full_precision

__all__ = ["Regions", "as_rows", "pool", "split_by_boxes"]

_OFF_THE_MAP = -16.0  # pixels; a padding box here touches no cell


@dataclass(frozen=True, slots=True)
class Regions:
    """Shares of every cell in the pooled target and background features; each sample's sum to 1, or to 0 where empty.

    Targets touch few cells: what is only looked at there is cheaper on those alone, which are listed too.

    Attributes:
        target: ``(n, u, v)`` float32, in proportion to the area that boxes cover.
        background: ``(n, u, v)`` float32, even over the cells that no box touches.
        target_cells: ``(k,)`` int64 on the host, the cells that boxes touch, numbered through the samples:
            (sample · u + row) · v + column, ascending.
        target_shares: ``(n, k)`` float32, ``target`` at those cells; 0 where a cell is another sample's.
        has_target: ``(n,)`` bool on the host, whether any box lies on the map.
        has_background: ``(n,)`` bool on the host, whether any cell is free of boxes.
    """

    target: Tensor
    background: Tensor
    target_cells: Tensor
    target_shares: Tensor
    has_target: Tensor
    has_background: Tensor

    def target_cells_in(self, partner: Tensor) -> Tensor:
        """Give the cells of `target_cells` in the map of each sample's partner; ``partner`` is ``(n,)`` int64."""
        cells = self.target.shape[1] * self.target.shape[2]
        return partner.cpu()[self.target_cells // cells] * cells + self.target_cells % cells


def split_by_boxes(
    boxes_xyxy: list[Tensor], *, size_uv: tuple[int, int], stride: int, device: torch.device | str = "cpu"
) -> Regions:
    """Split maps into targets and the rest.

    Cells count by the area that boxes cover, since a 3 px target at stride 8 fills no cell. Where boxes overlap, the
    one that covers most counts. A side under a pixel counts as a pixel, so that a point annotation is a target. It is
    done on the host: with boxes that are there, nothing waits for the device to learn which cells are touched.

    Args:
        boxes_xyxy: Of each sample ``(M, 4)``, network pixels; M may be 0.
        size_uv: Height and width of the map, in cells.
        stride: Network pixels per cell.
        device: Of the shares; cells and flags stay on the host.

    Raises:
        ValueError: Boxes that are not ``(M, 4)``, or a stride below 1.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    for index, boxes in enumerate(boxes_xyxy):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes_xyxy[{index}] must be (M, 4), got {tuple(boxes.shape)}")
    height, width = size_uv
    if not boxes_xyxy or all(len(boxes) == 0 for boxes in boxes_xyxy):
        coverage = torch.zeros(len(boxes_xyxy), height, width)
    else:
        padded = pad_sequence(
            [boxes.detach().to("cpu", torch.float32) for boxes in boxes_xyxy],
            batch_first=True,
            padding_value=_OFF_THE_MAP,
        )  # (n, M, 4)
        centre, half = (padded[..., :2] + padded[..., 2:]) / 2, (padded[..., 2:] - padded[..., :2]).clamp(min=1) / 2
        low, high = (centre - half) / stride, (centre + half) / stride  # in cells
        across = _overlap_with_cells(low[..., 0], high[..., 0], cells=width)  # (n, M, v)
        down = _overlap_with_cells(low[..., 1], high[..., 1], cells=height)  # (n, M, u)
        coverage = (down[..., :, None] * across[..., None, :]).amax(dim=1)  # (n, u, v)
    target, target_total = _shares(coverage)
    background, background_total = _shares((coverage == 0).float())
    sample, row, column = coverage.nonzero(as_tuple=True)
    shares = torch.zeros(len(boxes_xyxy), len(sample))
    shares[sample, torch.arange(len(sample))] = target[sample, row, column]
    return Regions(
        target.to(device, non_blocking=True),
        background.to(device, non_blocking=True),
        (sample * height + row) * width + column,
        shares.to(device, non_blocking=True),
        target_total > 0,
        background_total > 0,
    )


def as_rows(feature_map: Tensor) -> Tensor:
    """Give ``(n, C, u, v)`` as ``(n, u·v, C)``, a row for each cell: a view where the channels come last in memory."""
    return feature_map.permute(0, 2, 3, 1).flatten(1, 2)


def pool(feature_map: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average ``(n, C, u, v)`` over the map to ``(n, C)``, at least float32.

    Args:
        feature_map: Of any floating dtype.
        weights: ``(n, u, v)``, the shares of the cells; ``None``: all alike.
    """
    with full_precision(feature_map):
        if weights is None:
            return feature_map.mean(dim=(2, 3), dtype=at_least_float32(feature_map[:0]).dtype)
        values = at_least_float32(as_rows(feature_map))  # (n, u·v, C)
        return torch.bmm(weights.to(values.dtype).flatten(1)[:, None], values)[:, 0]


def _overlap_with_cells(low: Tensor, high: Tensor, *, cells: int) -> Tensor:
    """Give the length of [low, high] ``(n, M)`` inside each unit cell: ``(n, M, cells)`` in [0, 1]."""
    start = torch.arange(cells, device=low.device, dtype=low.dtype)
    return (torch.minimum(high[..., None], start + 1) - torch.maximum(low[..., None], start)).clamp(min=0)


def _shares(weights: Tensor) -> tuple[Tensor, Tensor]:
    total = weights.sum(dim=(1, 2), keepdim=True)
    return weights / total.clamp(min=1e-12), total[:, 0, 0]
