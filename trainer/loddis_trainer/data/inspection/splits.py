"""Open what can be opened of a domain, and say what cannot.

Legend: F frames of a split.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.annotations import SequenceSource
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, Severity, named
from loddis_trainer.data.inspection.misplaced import MisplacedBoxes, set_apart
from loddis_trainer.data.readers import read_split
from loddis_trainer.data.readers.documents import read_json

__all__ = ["SPLITS", "OpenSplit", "listed_sequences", "open_splits"]

SPLITS = ("train", "val", "test")
SUBJECT = "reading"
MISSED: dict[str, tuple[Severity, str]] = {
    "train": ("warning", "it can be measured on, not learned from"),
    "val": ("warning", "as a task domain it needs one, to choose the best epoch and the operating point by"),
    "test": ("note", "keep sequences aside if figures are to be published"),
}


@dataclass(frozen=True)
class OpenSplit:
    """A split that can be read.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        dataset: Its frames, and the boxes that lie on them.
        sources: Its sequences as the reader gives them, with the same boxes.
        misplaced: The other boxes.
    """

    name: str
    dataset: DomainDataset
    sources: tuple[SequenceSource, ...]
    misplaced: MisplacedBoxes

    @cached_property
    def sizes_hw(self) -> NDArray[np.int64]:
        """Heights and widths of all frames as decoded, ``(F, 2)`` pixels."""
        return self._formats[:, :2]

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """Bits a pixel of all frames, ``(F,)``."""
        return self._formats[:, 2]

    @cached_property
    def _formats(self) -> NDArray[np.int64]:
        frames = (self.dataset.frame(number) for number in range(len(self.dataset)))
        return np.array([(*frame.shape, 8 * frame.dtype.itemsize) for frame in frames], dtype=np.int64)


def open_splits(
    root: Path, *, cache_dir: Path | None = None, progress: bool = True
) -> tuple[list[OpenSplit], list[Finding]]:
    """Open train, val and test, decoding frames that are not in the cache. Boxes off their frames are set apart.

    Args:
        root: The domain's folder.
        cache_dir: Folder of decoded frames.
        progress: Show a bar while decoding.

    Returns:
        The splits that can be used, and what stood against the others: missing ones, what the reader refuses, and
        sequences that are listed twice.

    Raises:
        DataError: The folder is of no known format.
    """
    listed = listed_sequences(root)
    if not listed:
        read_split(root, "train")  # says what a domain looks like
    opened: list[OpenSplit] = []
    findings: list[Finding] = []
    for name in SPLITS:
        if name not in listed:
            severity, what = MISSED[name]
            message = f"there is no split '{name}': {what}"
            findings.append(Finding(severity, SUBJECT, (name,), message))
            continue
        try:
            index, misplaced = set_apart(read_split(root, name, as_annotated=True))
            dataset = DomainDataset.of_index(index, root=root, cache_dir=cache_dir, progress=progress)
        except DataError as error:
            message = f"split '{name}' cannot be read, mend this first: {error}"
            findings.append(Finding("fault", SUBJECT, (name,), message))
            continue
        opened.append(OpenSplit(name, dataset, index.sequences, misplaced))
    others = sorted(set(listed) - set(SPLITS))
    if others:
        message = f"splits of other names are not looked at: {named(others)}"
        findings.append(Finding("note", SUBJECT, tuple(others), message))
    return opened, findings + _listed_twice(listed)


def listed_sequences(root: Path) -> dict[str, tuple[str, ...]]:
    """Give the sequences that each split lists; a list that cannot be read is empty here, the reader says why."""
    listed: dict[str, tuple[str, ...]] = {}
    for path in sorted(root.glob("instances_*.json")):
        listed[path.stem.removeprefix("instances_")] = _of_coco(path)
    if not listed and (root / "splits.json").is_file():
        try:
            splits = read_json(root / "splits.json")
            listed = {str(name): tuple(str(sequence) for sequence in names) for name, names in splits.items()}
        except (DataError, TypeError, AttributeError):
            listed = dict.fromkeys(SPLITS, ())
    return listed


def _of_coco(path: Path) -> tuple[str, ...]:
    try:
        document = read_json(path)
        videos = {video["id"]: str(video["name"]) for video in document.get("videos", ())}
        names = [videos.get(image.get("video_id"), str(image["file_name"])) for image in document["images"]]
    except (DataError, TypeError, KeyError, AttributeError):
        return ()
    return tuple(dict.fromkeys(names))


def _listed_twice(listed: dict[str, tuple[str, ...]]) -> list[Finding]:
    counts = Counter(name for names in listed.values() for name in names)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if not twice:
        return []
    where = {name: " and ".join(split for split, names in listed.items() for n in names if n == name) for name in twice}
    splits = tuple(split for split, names in listed.items() if set(names) & set(twice))
    message = f"{_sequences(len(twice))} listed twice: leave each in one split"
    examples = tuple(f"{name} in {where[name]}" for name in twice[:MOST_EXAMPLES])
    return [Finding("fault", "leaks", splits, message, examples)]


def _sequences(count: int) -> str:
    return "1 sequence is" if count == 1 else f"{count} sequences are"
