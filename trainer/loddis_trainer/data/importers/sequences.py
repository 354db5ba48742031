"""Which sequence an image belongs to, and its place there, from its path alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import IMAGE_FOLDERS
from loddis_trainer.data.importers.records import SPLITS, ImportedFrame
from loddis_trainer.data.readers.documents import MOST

__all__ = [
    "as_stills",
    "check_frames_of_sequences",
    "in_stretches",
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


def in_stretches(frames: Sequence[ImportedFrame], most: int) -> tuple[tuple[ImportedFrame, ...], int]:
    """Cut sequences into stretches of at most ``most`` frames, each a sequence of its own.

    A long recording can then fill several splits. Stretches of one sequence are equally long, to within a frame, and
    are called by it and the places of their first and last frame: ``flight3/200-299``.

    Args:
        frames: In any order; the order and their places stay.
        most: Frames of a stretch, at least 1.

    Returns:
        The frames; how many sequences were cut.

    Raises:
        DataError: All frames are stills, or a stretch would be called as another sequence is.
    """
    members: dict[str, list[ImportedFrame]] = {}
    for frame in frames:
        if frame.sequence is not None:
            members.setdefault(frame.sequence, []).append(frame)
    if not members:
        raise DataError("--stretch cuts sequences, and every image here stands alone: --sequence-from names sequences")
    stretches: dict[str, str] = {}  # file to stretch
    cut = 0
    for name, group in members.items():
        count = math.ceil(len(group) / most)
        if count == 1:
            continue
        cut += 1
        in_order = sorted(group, key=lambda frame: frame.frame_index)
        ends = [len(group) * number // count for number in range(count + 1)]
        for start, end in pairwise(ends):
            stretch = f"{name}/{in_order[start].frame_index}-{in_order[end - 1].frame_index}"
            if stretch in members:
                raise DataError(f"a stretch of '{name}' would be called '{stretch}', as another sequence is")
            stretches.update((frame.file, stretch) for frame in in_order[start:end])
    return tuple(replace(frame, sequence=stretches.get(frame.file, frame.sequence)) for frame in frames), cut


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
