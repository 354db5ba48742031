"""Labelled images of any format become an `ImportedSet`: pixels looked at, boxes checked, places in sequences given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import SourceFiles, image_sizes
from loddis_trainer.data.importers.records import BoxXywh, ImportedFrame, ImportedSet, inside_frame
from loddis_trainer.data.importers.sequences import number_frames, sequence_of, split_of

__all__ = ["LabelledImage", "VideoFrame", "build_set", "say_left_out"]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """Where a source says itself that an image belongs: sequence and place there."""

    sequence: str | None
    frame_index: int


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and what a label file says of it.

    Attributes:
        file: Under the source.
        boxes_xywh: As labelled, in pixels.
        labels: A category for each box.
        where: Label file and line, for errors.
        split: If the label says one.
        stated_size_hw: If the label says one; the image must have it.
        video: If the label says it; folders do where it does not.
    """

    file: PurePosixPath
    boxes_xywh: Sequence[BoxXywh]
    labels: Sequence[str]
    where: str
    split: str | None = None
    stated_size_hw: tuple[int, int] | None = None
    video: VideoFrame | None = None


def build_set(
    source: Path,
    images: Sequence[LabelledImage],
    *,
    sizes_hw: Mapping[PurePosixPath, tuple[int, int]] | None = None,
    warnings: Sequence[str] = (),
    progress: bool,
) -> ImportedSet:
    """Check images and boxes, and number the frames of sequences.

    Args:
        source: Folder that the files are under.
        images: In any order.
        sizes_hw: Of the images, if they have been read already.
        warnings: Of the reader, to which those of here are added.
        progress: Show a bar while reading images.

    Raises:
        DataError: An image named twice, unreadable or of another size than stated; a box outside or without area.
    """
    first: dict[PurePosixPath, LabelledImage] = {}
    for image in images:
        if image.file in first:
            raise DataError(f"{first[image.file].where} and {image.where} both name the image '{image.file}'")
        first[image.file] = image
    sizes = image_sizes(source, first, progress=progress) if sizes_hw is None else sizes_hw
    splits = [image.split or split_of(image.file) for image in images]
    frames, cut = [], 0
    for image, split in zip(images, splits, strict=True):
        size_hw = sizes[image.file]
        if image.stated_size_hw is not None and image.stated_size_hw != size_hw:
            stated = f"{image.stated_size_hw[1]} x {image.stated_size_hw[0]}"
            raise DataError(f"{image.where}: '{image.file}' is stated as {stated} and is {size_hw[1]} x {size_hw[0]}")
        boxes, cut_here = inside_frame(image.boxes_xywh, size_hw=size_hw, where=image.where)
        cut += cut_here
        place = image.video or VideoFrame(sequence_of(image.file), 0)
        frames.append(
            ImportedFrame(
                str(image.file), place.sequence, place.frame_index, size_hw, boxes, tuple(image.labels), split
            )
        )
    told_videos = any(image.video is not None for image in images)
    told = [f"{cut} boxes reached over the border and were cut"] if cut else []
    return ImportedSet(source, "images", tuple(frames) if told_videos else number_frames(frames), (*warnings, *told))


def say_left_out(files: SourceFiles, images: Sequence[LabelledImage], *, because: str) -> list[str]:
    """Say which images of a source no label names; nothing where there are none.

    Args:
        files: Of the source.
        images: That labels name.
        because: What the others lack, behind ``images``: ``are in no list``.
    """
    named = {image.file for image in images}
    bare = [path for path in files.images if path not in named]
    return [f"{len(bare)} images {because} and were left out, the first of them {bare[0]}"] if bare else []
