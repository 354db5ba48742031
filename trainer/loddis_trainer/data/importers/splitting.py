"""Which frame goes to train, val or test: by the source's word, by lists of names, or by seeded shares.

Whole sequences go to one split, always: what is nearly the same picture must not be learnt from and measured on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import common_tail, parts_of, read_lines
from loddis_trainer.data.importers.records import SPLITS, ImportedFrame
from loddis_trainer.data.importers.sequences import natural_key

__all__ = [
    "advice_on_too_few",
    "check_whole_sequences",
    "deal",
    "split_by_lists",
    "split_by_shares",
    "take_val_from_train",
]

STRETCHES = 10  # of the longest sequence: what is advised where sequences are too few


def deal(
    groups: Sequence[str], shares: Mapping[str, float], *, seed: int, kind: str = "sequence", advice: str = ""
) -> dict[str, str]:
    """Deal groups to splits at random, each split its share to within one group.

    Args:
        groups: Names, each once.
        shares: Split to share, in (0, 1], together at most 1; what is over is dealt to none.
        seed: Of the order.
        kind: What a group is, in errors.
        advice: What to do where there are too few groups, in errors.

    Returns:
        Group to split.

    Raises:
        DataError: Fewer groups than splits, or a split that its share leaves empty.
    """
    names = sorted(groups, key=natural_key)
    exact = {split: share * len(names) for split, share in shares.items()}
    counts = {split: math.floor(value + 1e-9) for split, value in exact.items()}
    total = round(sum(exact.values()))
    by_remainder = sorted(exact, key=lambda split: (counts[split] - exact[split], list(exact).index(split)))
    for split in by_remainder[: max(0, total - sum(counts.values()))]:
        counts[split] += 1
    if len(names) < len(shares):
        wanted = ", ".join(shares)
        amount = f"there is {len(names)} {kind}" if len(names) == 1 else f"there are {len(names)} {kind}s"
        raise DataError(
            f"{amount} for {len(shares)} splits ({wanted}), and each needs one" + (advice and f": {advice}")
        )
    for split, count in counts.items():
        if count == 0:
            enough = math.ceil(1000 / len(names)) / 1000
            raise DataError(
                f"{shares[split]:g} of {len(names)} {kind}s is none for '{split}': it takes a share of {enough:g}"
                + (advice and f", or more {kind}s: {advice}")
            )
    order = np.random.default_rng(seed).permutation(len(names))
    dealt: dict[str, str] = {}
    start = 0
    for split, count in counts.items():
        dealt.update({names[i]: split for i in order[start : start + count]})
        start += count
    return dealt


def split_by_shares(
    frames: Sequence[ImportedFrame], shares: Mapping[str, float], *, seed: int, advice: str = ""
) -> tuple[ImportedFrame, ...]:
    """Split whole sequences, and stills one by one, by seeded shares; what the source says does not count.

    Args:
        frames: All of them.
        shares: As of `deal`.
        seed: As of `deal`.
        advice: As of `deal`.

    Raises:
        DataError: As `deal`.
    """
    dealt = _deal(frames, shares, seed=seed, advice=advice)
    return tuple(replace(frame, split=dealt.get(frame.group)) for frame in frames)


def take_val_from_train(
    frames: Sequence[ImportedFrame], share: float, *, seed: int, advice: str = ""
) -> tuple[ImportedFrame, ...]:
    """Move a share of the train split's sequences to `val`, for sets that come with train and test alone.

    Args:
        frames: All of them.
        share: Of the sequences.
        seed: As of `deal`.
        advice: As of `deal`.

    Raises:
        DataError: There is a `val` already, no `train`, or too few sequences.
    """
    if any(frame.split == "val" for frame in frames):
        raise DataError("there is a split 'val' already: --val-from-train is for sets without one")
    train = tuple(frame for frame in frames if frame.split == "train")
    if not train:
        raise DataError("there is no split 'train' from which --val-from-train could take")
    dealt = _deal(train, {"train": 1 - share, "val": share}, seed=seed, advice=advice)
    return tuple(replace(frame, split=dealt[frame.group]) if frame.split == "train" else frame for frame in frames)


def advice_on_too_few(frames: Sequence[ImportedFrame]) -> str:
    """Say what can be done about too few sequences, or stills, of frames that have not been cut into stretches."""
    if any(frame.is_of_video for frame in frames):
        return "a video is one sequence, never torn apart: cut it into several clips, each with labels of its own"
    lengths = Counter(frame.sequence for frame in frames if frame.sequence is not None)
    if lengths:
        longest = max(lengths.values())
        return (
            f"a sequence is never torn apart: --stretch {max(2, longest // STRETCHES)} makes several of a long one, of"
            " at most so many frames each; --stills splits image by image, but then near-duplicates cross from split to"
            " split and scores come out too good"
        )
    return "label more images"


def _deal(frames: Sequence[ImportedFrame], shares: Mapping[str, float], *, seed: int, advice: str) -> dict[str, str]:
    """Deal the groups of frames, and say in errors what they are."""
    kind = "sequence" if any(frame.sequence is not None for frame in frames) else "image"
    groups = sorted({frame.group for frame in frames})
    return deal(groups, shares, seed=seed, kind=kind, advice=advice)


def split_by_lists(frames: Sequence[ImportedFrame], lists: Mapping[str, Path]) -> tuple[ImportedFrame, ...]:
    """Split by files that list frames or sequences, a name a line.

    A name is a path, the end of one, a file's name, any of these without suffix, or a sequence; what follows a space
    does not count. Frames in no list belong to no split.

    Raises:
        DataError: A list of nothing, a name that nothing or several frames have, or a frame in two lists; names file
            and line.
    """
    finder = _Finder(frames)
    taken: dict[int, tuple[str, str]] = {}
    for split, path in lists.items():
        for number, line in read_lines(path):
            where = f"{path}, line {number}"
            for place in finder.find(line, where=where):
                known, known_where = taken.setdefault(place, (split, where))
                if known != split:
                    raise DataError(
                        f"{known_where} and {where} both name '{frames[place].file}', for {known} and {split}"
                    )
    return tuple(
        replace(frame, split=taken[place][0] if place in taken else None) for place, frame in enumerate(frames)
    )


class _Finder:
    """Frames by what a list may call them."""

    def __init__(self, frames: Sequence[ImportedFrame]) -> None:
        self.frames = frames
        self.sequences: dict[str, list[int]] = {}
        self.stems: dict[str, list[int]] = {}
        self.files = [PurePosixPath(frame.file) for frame in frames]
        self.folders = [file.parts[:-1] for file in self.files]
        for place, (file, frame) in enumerate(zip(self.files, frames, strict=True)):
            self.stems.setdefault(file.stem, []).append(place)
            if frame.sequence is not None:
                self.sequences.setdefault(frame.sequence, []).append(place)

    def find(self, name: str, *, where: str) -> list[int]:
        """Give the places of all frames of a sequence, or of one frame."""
        name = name if name in self.sequences else name.split()[0]
        parts = parts_of(name, where=where)
        if name in self.sequences:
            return self.sequences[name]
        suffixed = PurePosixPath(parts[-1])
        found = self._ending(parts[:-1], self.stems.get(parts[-1], []), suffix="")
        found = found or self._ending(parts[:-1], self.stems.get(suffixed.stem, []), suffix=suffixed.suffix)
        found = found or self._in_sequence(parts[:-1], self.stems.get(suffixed.stem, []))
        if not found:
            raise DataError(f"{where}: '{name}' names no labelled frame and no sequence of the source")
        if len(found) > 1:
            one, other = self.frames[found[0]].file, self.frames[found[1]].file
            raise DataError(f"{where}: '{name}' may be {one} or {other}; name its folder too")
        return found

    def _ending(self, folders: tuple[str, ...], places: list[int], *, suffix: str) -> list[int]:
        """Give the frames whose folders end like those of the name, at best."""
        tails = [
            common_tail(self.folders[place], folders) if suffix in ("", self.files[place].suffix) else -1
            for place in places
        ]
        needed = min(1, len(folders))
        best = max(tails, default=-1)
        return [place for place, tail in zip(places, tails, strict=True) if tail == best >= needed]

    def _in_sequence(self, folders: tuple[str, ...], places: list[int]) -> list[int]:
        """Give the frames of this stem in a sequence of the name: ``Sequence1/Mix/00001.mat`` of NUDT-MIRSDT."""
        return [place for place in places if (self.frames[place].sequence or "/").split("/")[-1] in folders]


def check_whole_sequences(frames: Sequence[ImportedFrame]) -> None:
    """Refuse a sequence that is in two splits.

    Raises:
        DataError: Names the sequence and both.
    """
    splits: dict[str, str] = {}
    for frame in frames:
        if frame.split is None or frame.sequence is None:
            continue
        known = splits.setdefault(frame.sequence, frame.split)
        if known != frame.split:
            both = " and ".join(sorted((known, frame.split), key=SPLITS.index))
            raise DataError(
                f"sequence '{frame.sequence}' is in the splits {both}: split by whole sequences, say by --sequence-from"
                " or --stills what a sequence is, or cut it by --stretch"
            )
