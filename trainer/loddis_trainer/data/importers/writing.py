"""An imported set becomes a domain folder, written beside its place and renamed into it.

    images/…, instances_SPLIT.json          COCO; `videos`, `video_id` and `frame_id` for sequences
    videos/…, labels/…, splits.json         of sources that are videos

Files of pixels are copied byte by byte, or linked to: 16 bits stay 16 bits.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import progress_bar
from loddis_trainer.data.importers.records import SPLITS, ImportedFrame, ImportedSet
from loddis_trainer.data.readers.drone_csv import COLUMNS

__all__ = ["coco_document", "write_domain"]


def write_domain(imported: ImportedSet, out: Path, *, link: bool, progress: bool) -> None:
    """Write the frames that have a split; nothing is left behind if that fails.

    Args:
        imported: With splits.
        out: Must not exist.
        link: Link to files of pixels instead of copying them.
        progress: Show a bar.

    Raises:
        DataError: `out` exists or cannot be written, or a file would lie outside it.
    """
    if out.exists() or out.is_symlink():
        raise DataError(f"{out} exists already; an import never overwrites: choose another folder")
    frames = [frame for frame in imported.frames if frame.split is not None]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = out.with_name(f".{out.name}.importing-{os.getpid()}")
        building.mkdir()
        try:
            places = _places(frames, imported.pixels)
            with progress_bar(shown=progress) as bar:
                what = "linking" if link else "copying"
                for file, place in bar.track(places.items(), description=f"{what} {imported.pixels}"):
                    _transfer(imported.source / file, _below(building, place), link=link)
            if imported.pixels == "videos":
                _write_video_labels(frames, building)
            else:
                for split in SPLITS:
                    members = [frame for frame in frames if frame.split == split]
                    if members:
                        document = coco_document(members, places, categories=_categories(frames))
                        (building / f"instances_{split}.json").write_text(json.dumps(document, indent=1))
            building.rename(out)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise DataError(f"domain {out} cannot be written: {error}") from error


def coco_document(
    frames: Sequence[ImportedFrame], places: dict[str, str], *, categories: Sequence[str]
) -> dict[str, Any]:
    """Give the COCO document of a split.

    Args:
        frames: Of the split.
        places: Each source file's path in the domain, ``images/…``.
        categories: Of the whole domain, so that ids agree between splits.
    """
    category_ids = {name: number for number, name in enumerate(categories, start=1)}
    sequences = sorted({frame.sequence for frame in frames if frame.sequence is not None})
    video_ids = {name: number for number, name in enumerate(sequences, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, start=1):
        image = {
            "id": image_id,
            "file_name": places[frame.file].removeprefix("images/"),
            "height": frame.size_hw[0],
            "width": frame.size_hw[1],
        }
        if frame.sequence is not None:
            image |= {"video_id": video_ids[frame.sequence], "frame_id": frame.frame_index}
        images.append(image)
        for box, label in zip(frame.boxes_xywh, frame.labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[label],
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    document: dict[str, Any] = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }
    if sequences:
        document["videos"] = [{"id": number, "name": name} for name, number in video_ids.items()]
    return document


def _categories(frames: Sequence[ImportedFrame]) -> list[str]:
    return sorted({label for frame in frames for label in frame.labels})


def _places(frames: Sequence[ImportedFrame], pixels: str) -> dict[str, str]:
    """Give each file its path in the domain: that of the source, under `images/` once."""
    files = list(dict.fromkeys(frame.file for frame in frames))
    if pixels == "videos" or all(file.startswith("images/") for file in files):
        return {file: file for file in files}
    return {file: f"images/{file}" for file in files}


def _below(root: Path, place: str) -> Path:
    """Give a file's place in a folder, which it must not leave."""
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"'{place}' would be written outside the domain")
    return root / path


def _transfer(source: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.absolute())
    else:
        shutil.copyfile(source, target)


def _write_video_labels(frames: Sequence[ImportedFrame], root: Path) -> None:
    rows: dict[str, list[list[Any]]] = {}
    splits: dict[str, list[str]] = {}
    for frame in frames:
        name = str(frame.sequence)
        if name not in rows:
            splits.setdefault(str(frame.split), []).append(name)
        boxes = [[frame.frame_index, label, *box] for box, label in zip(frame.boxes_xywh, frame.labels, strict=True)]
        rows.setdefault(name, []).extend(boxes)
    for name, lines in rows.items():
        path = _below(root / "labels", f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(COLUMNS)
            writer.writerows(lines)
    (root / "splits.json").write_text(json.dumps(splits, indent=1))
