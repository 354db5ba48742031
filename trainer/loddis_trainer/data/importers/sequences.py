"""Which sequence an image belongs to, and its place there, from its path alone."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
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
    "one_recording",
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

    The last number of its name is its place, if that puts the images of the sequence into the natural order of their
    names, tells all of them apart, and 64 bits hold it; else they are counted in that order. So the fraction of a
    second in a name that is a time is no place.
    """
    members: dict[str, list[str]] = {}
    for frame in frames:
        if frame.sequence is not None:
            members.setdefault(frame.sequence, []).append(frame.file)
    places: dict[str, int] = {}
    for files in members.values():
        in_order = sorted(files, key=natural_key)
        numbers = [re.findall(r"\d+", PurePosixPath(file).stem) for file in in_order]
        last = [int(found[-1]) for found in numbers if found]
        rising = len(last) == len(files) and all(before < after for before, after in pairwise(last))
        places.update(zip(in_order, last if rising and last[-1] <= MOST else range(len(files)), strict=True))
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


def in_stretches(frames: Sequence[ImportedFrame], most: int, *, gap: int = 0) -> tuple[tuple[ImportedFrame, ...], int]:
    """Cut sequences into stretches of at most ``most`` frames, each a sequence of its own.

    A long recording can then fill several splits. A sequence is cut where lists put it into another split, and what
    that leaves into stretches that are equally long, to within a frame. They are called by their sequence and the
    places of their first and last frame: ``flight3/200-299``.

    Args:
        frames: In any order; the order and their places stay.
        most: Frames of a stretch, at least 1.
        gap: Frames that are left out behind each cut, so that what lies before it and behind it differs more.

    Returns:
        The frames that are left; how many sequences were cut.

    Raises:
        DataError: All frames are stills; a stretch would be called as another sequence is; the gap leaves nothing of a
            stretch; or the frames of two splits lie among one another.
    """
    members: dict[str, list[ImportedFrame]] = {}
    for frame in frames:
        if frame.sequence is not None:
            members.setdefault(frame.sequence, []).append(frame)
    if not members:
        raise DataError(f"--stretch cuts sequences, and every image here stands alone: {one_recording(frames)}")
    stretches: dict[str, str | None] = {}  # file to stretch; None: in a gap
    cut = 0
    for name, group in members.items():
        pieces = _pieces(name, group, most)
        if len(pieces) == 1:
            continue
        cut += 1
        for number, piece in enumerate(pieces):
            left_out = gap if number else 0
            if left_out >= len(piece):
                raise DataError(f"--gap {gap} leaves nothing of the {len(piece)} frames of a stretch of '{name}'")
            stretch = f"{name}/{piece[left_out].frame_index}-{piece[-1].frame_index}"
            if stretch in members:
                raise DataError(f"a stretch of '{name}' would be called '{stretch}', as another sequence is")
            stretches.update((frame.file, None if i < left_out else stretch) for i, frame in enumerate(piece))
    kept = [frame for frame in frames if stretches.get(frame.file, frame.file) is not None]
    return tuple(replace(frame, sequence=stretches.get(frame.file, frame.sequence)) for frame in kept), cut


def _pieces(name: str, group: Sequence[ImportedFrame], most: int) -> list[list[ImportedFrame]]:
    """Cut the frames of a sequence where the split changes, and what is longer than ``most`` evenly."""
    in_order = sorted(group, key=lambda frame: frame.frame_index)
    runs = [list(run) for _, run in groupby(in_order, key=lambda frame: frame.split)]
    listed = [str(run[0].split) for run in runs if run[0].split is not None]
    if len(set(listed)) < len(listed):
        both = " and ".join(sorted(set(listed)))
        raise DataError(f"the frames of sequence '{name}' for {both} lie among one another: no cut sets them apart")
    pieces = []
    for run in runs:
        count = math.ceil(len(run) / most)
        ends = [len(run) * number // count for number in range(count + 1)]
        pieces += [run[start:end] for start, end in pairwise(ends)]
    return pieces


def one_recording(frames: Sequence[ImportedFrame]) -> str:
    """Say how images that stand alone become a sequence, if they are a recording."""
    folders = {PurePosixPath(frame.file).parts[0] for frame in frames if "/" in frame.file}
    how = (
        f", as --sequence-from {shlex.quote(re.escape(min(folders)))} does of all of them" if len(folders) == 1 else ""
    )
    return f"if they are of a recording, put them into a folder of its name, or make a sequence by --sequence-from{how}"


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
