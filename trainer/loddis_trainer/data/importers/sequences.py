"""Which sequence an image belongs to, and its place there, from its path alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import IMAGE_FOLDERS
from loddis_trainer.data.importers.records import SPLITS, ImportedFrame
from loddis_trainer.data.readers.documents import MOST

__all__ = [
    "as_stills",
    "check_frames_of_sequences",
    "natural_key",
    "number_frames",
    "sequence_of",
    "sequences_by_pattern",
    "split_of",
]

# Folders that say of which split a file is: no sequence is called so.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def sequence_of(file: PurePosixPath) -> str | None:
    """Name the sequence of an image by its folders; ``None`` where these only say ``images`` or ``train``."""
    folders = [part for part in file.parts[:-1] if part.lower() not in IMAGE_FOLDERS]
    return "/".join(folders) if any(part.lower() not in SPLIT_FOLDERS for part in folders) else None


def split_of(file: PurePosixPath) -> str | None:
    """Name the split of an image by a folder such as ``train``; ``None`` where there is none."""
    named = [SPLIT_FOLDERS[part.lower()] for part in file.parts[:-1] if part.lower() in SPLIT_FOLDERS]
    return named[0] if named and named[0] in SPLITS else None


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Give a key that sorts ``2.bmp`` before ``10.bmp``."""
    parts = re.split(r"(\d+)", name)
    digits = [part.lstrip("0") for part in parts]  # of equal length they sort as their numbers, of any size
    return tuple((1, len(digits[i]), digits[i]) if i % 2 else (0, 0, part) for i, part in enumerate(parts))


def number_frames(frames: Sequence[ImportedFrame]) -> tuple[ImportedFrame, ...]:
    """Give each image its place in its sequence, in the order given.

    The last number of its name is its place, if that tells all images of the sequence apart and 64 bits hold it; else
    images are counted in the natural order of their names.
    """
    members: dict[str, list[str]] = {}
    for frame in frames:
        if frame.sequence is not None:
            members.setdefault(frame.sequence, []).append(frame.file)
    places: dict[str, int] = {}
    for files in members.values():
        numbers = [re.findall(r"\d+", PurePosixPath(file).stem) for file in files]
        last = [int(found[-1]) for found in numbers if found]
        if len(set(last)) == len(files) and max(last) <= MOST:
            places.update(zip(files, last, strict=True))
        else:
            places.update({file: place for place, file in enumerate(sorted(files, key=natural_key))})
    return tuple(replace(frame, frame_index=places.get(frame.file, 0)) for frame in frames)


def sequences_by_pattern(frames: Sequence[ImportedFrame], pattern: re.Pattern[str]) -> tuple[ImportedFrame, ...]:
    """Name sequences by a pattern on the path: its groups, or all that it matches if it has none.

    Raises:
        DataError: A path that the pattern does not match.
    """
    named = []
    for frame in frames:
        match = pattern.search(frame.file)
        if match is None:
            raise DataError(f"{frame.file}: the sequence pattern '{pattern.pattern}' does not match this path")
        name = "/".join(group for group in match.groups() if group) or match[0]
        named.append(replace(frame, sequence=name))
    return number_frames(named)


def as_stills(frames: Sequence[ImportedFrame]) -> tuple[ImportedFrame, ...]:
    """Let every image stand alone."""
    return tuple(replace(frame, sequence=None, frame_index=0) for frame in frames)


def check_frames_of_sequences(frames: Sequence[ImportedFrame]) -> None:
    """Refuse what no reader takes for a sequence: frames of several sizes, or two in one place.

    Raises:
        DataError: Names the sequence, and a frame of each size or both frames of the place.
    """
    first: dict[str, ImportedFrame] = {}
    taken: dict[tuple[str, int], ImportedFrame] = {}
    remedy = "say by --sequence-from what a sequence is, or let every image stand alone by --stills"
    for frame in frames:
        if frame.sequence is None:
            continue
        known = first.setdefault(frame.sequence, frame)
        if known.size_hw != frame.size_hw:
            raise DataError(
                f"the frames of sequence '{frame.sequence}' must be of one size, but {known.file} is"
                f" {known.size_hw[1]} x {known.size_hw[0]} px and {frame.file} is"
                f" {frame.size_hw[1]} x {frame.size_hw[0]} px: {remedy}"
            )
        other = taken.setdefault((frame.sequence, frame.frame_index), frame)
        if other is not frame:
            raise DataError(
                f"{other.file} and {frame.file} are both frame {frame.frame_index} of sequence '{frame.sequence}':"
                f" {remedy}"
            )
