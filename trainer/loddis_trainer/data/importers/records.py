"""What every format is read into before it is split and written, and the options of reading.

Legend: M targets of a frame. Boxes are left, top, width, height in frame pixels from the top-left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from loddis_trainer.data.boxes import boxes_from_xywh

__all__ = ["SPLITS", "BoxXywh", "ImportedFrame", "ImportedSet", "ReadOptions", "inside_frame"]

BoxXywh = tuple[float, float, float, float]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class ImportedFrame:
    """One labelled frame of a source.

    Attributes:
        file: Of its pixels, POSIX path under the source; of a video's frame, the video.
        sequence: What it belongs to; ``None``: a still that stands alone.
        frame_index: Place in its sequence.
        size_hw: Pixels.
        boxes_xywh: M boxes, inside the frame.
        labels: M category names.
        split: ``train``, ``val`` or ``test``, where the source or a list of it says so.
    """

    file: str
    sequence: str | None
    frame_index: int
    size_hw: tuple[int, int]
    boxes_xywh: tuple[BoxXywh, ...]
    labels: tuple[str, ...]
    split: str | None = None

    @property
    def group(self) -> str:
        """What must not be torn apart by splits: the sequence, or the still itself."""
        return self.file if self.sequence is None else self.sequence

    @property
    def is_of_video(self) -> bool:
        """Whether its file is a video, which holds others too."""
        return self.file.endswith(".mp4")

    @property
    def name(self) -> str:
        """The frame, for messages."""
        return f"{self.file}, frame {self.frame_index}" if self.is_of_video else self.file


@dataclass(frozen=True, slots=True)
class ImportedSet:
    """An annotated source, read and checked.

    Attributes:
        source: Its folder.
        pixels: Whether files are images, or videos of many frames each.
        frames: All labelled ones.
        warnings: What was mended or left out on the way, a line each.
    """

    source: Path
    pixels: Literal["images", "videos"]
    frames: tuple[ImportedFrame, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the readers of formats may be told; each looks at what concerns it.

    Attributes:
        lists: Split to the file that lists its frames; of `coco` and `uestc` the annotations themselves.
        class_names: Names that class ids count in, from 0, where no file of the source gives them.
        mask_folder: Name of the folders of masks; usual names if ``None``.
        mask_suffix: What a mask's name has behind its image's; usual ones if ``None``.
        min_pixels: Smallest component of a mask that counts.
        box_px: Side of boxes around centroids; ``None`` was not given.
        centroid_offset_px: Added to centroids: 0.5 where they name a pixel, 0 where they count from its corner.
        voc_one_based: Pascal's own pixels: the first is 1, and the last belongs to the box.
        progress: Show bars.
    """

    lists: Mapping[str, Path] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    mask_folder: str | None = None
    mask_suffix: str | None = None
    min_pixels: int = 1
    box_px: float | None = None
    centroid_offset_px: float = 0.5
    voc_one_based: bool = False
    progress: bool = True


def inside_frame(
    boxes_xywh: Sequence[BoxXywh], *, size_hw: tuple[int, int], where: str
) -> tuple[tuple[BoxXywh, ...], int]:
    """Check the boxes of a frame; cut those that reach over its border.

    Args:
        boxes_xywh: M boxes.
        size_hw: Of the frame.
        where: Names file and line or frame in errors.

    Returns:
        M boxes, unchanged where they lie inside; how many were cut.

    Raises:
        DataError: A box that is not finite, has no area, or lies outside the frame.
    """
    _, cut = boxes_from_xywh(boxes_xywh, size_hw=size_hw, where=where)
    if not cut:
        return tuple(boxes_xywh), 0
    limits = np.array([size_hw[1], size_hw[0]] * 2, dtype=np.float64)
    given = np.asarray(boxes_xywh, dtype=np.float64)
    corners = np.concatenate((given[:, :2], given[:, :2] + given[:, 2:]), axis=1).clip(0, limits)
    sides = corners[:, 2:] - corners[:, :2]
    return tuple((float(x), float(y), float(w), float(h)) for x, y, w, h in np.hstack((corners[:, :2], sides))), cut
