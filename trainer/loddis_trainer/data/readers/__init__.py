"""Readers of annotated domains; the format is found from what the folder holds."""

from __future__ import annotations

from pathlib import Path

from loddis_trainer.data.annotations import SplitIndex
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.readers.coco import is_coco, read_coco
from loddis_trainer.data.readers.drone_csv import is_drone_csv, read_drone_csv

__all__ = ["read_split"]

FORMATS = (
    ("videos with CSV labels (splits.json, videos/, labels/)", is_drone_csv, read_drone_csv),
    ("COCO (images/, instances_SPLIT.json)", is_coco, read_coco),
)


def read_split(root: Path, split: str, *, as_annotated: bool = False) -> SplitIndex:
    """Read the annotations of a domain's split, whatever its format.

    Args:
        root: The domain's folder.
        split: ``train``, ``val`` or ``test``.
        as_annotated: Leave boxes as they are, as of `boxes_from_xywh`.

    Raises:
        DataError: A folder that is missing or of no known format, or what the format's reader finds wrong.
    """
    if not root.is_dir():
        raise DataError(f"domain folder {root} does not exist")
    for _, matches, read in FORMATS:
        if matches(root):
            index = read(root, split, as_annotated=as_annotated)
            if not any(sequence.records for sequence in index.sequences):
                raise DataError(f"domain '{root.name}' is empty: its split '{split}' has no labelled frame")
            return index
    known = "; ".join(name for name, _, _ in FORMATS)
    raise DataError(f"{root} is of no known format; known are: {known}")
