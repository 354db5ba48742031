"""COCO annotations, of single images or of clips.

    images/FILE
    instances_SPLIT.json        `images`, `annotations`, `categories`; of clips also `videos`, and `video_id`,
                                `frame_id` of each image

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312 (format: cocodataset.org).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.boxes import boxes_from_xywh
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.readers.documents import read_json, whole_number
from loddis_trainer.data.readers.images import read_image
from loddis_trainer.data.readers.names import check_file_name, check_text
from loddis_trainer.data.readers.splits import check_disjoint

__all__ = ["is_coco", "read_coco"]

PREFIX, IMAGES = "instances_", "images"

Document = dict[str, Any]


def is_coco(root: Path) -> bool:
    """Tell whether a folder looks like this format."""
    return any(root.glob(f"{PREFIX}*.json"))


def read_coco(root: Path, split: str, *, as_annotated: bool = False) -> SplitIndex:
    """Read the annotations of a split. Images of one video form a sequence; others are sequences of one.

    Boxes are as `boxes_from_xywh` takes them.

    Raises:
        DataError: No such split, an image or video that it lists twice or shares with another split, an image that is
            missing or outside of the domain, or an annotation that cannot be read; names file and image.
    """
    path = root / f"{PREFIX}{split}.json"
    if not path.is_file():
        raise DataError(f"domain '{root.name}' has no split '{split}': {path} is missing")
    document: Document = {}
    videos, images = {}, {}
    for file in sorted(root.glob(f"{PREFIX}*.json")):
        name = file.stem.removeprefix(PREFIX)
        try:
            listed = read_json(file)
            with _faults_named(file):
                videos[name], images[name] = _videos_in_use(listed), _file_names(listed)
        except DataError:
            if name == split:
                raise
            continue  # what is wrong with another split is told where that is read
        if name == split:
            document = listed
    check_disjoint(path, split, videos, kind="video")
    check_disjoint(path, split, images, kind="image")
    with _faults_named(path):
        return _index(root, split, path, document, as_annotated=as_annotated)


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Turn whatever a document of another shape leads to into an error that names its file."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{path} is not COCO: {error} is missing or names nothing") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _videos_in_use(document: Document) -> list[str]:
    """Name the videos that a split has images of."""
    used = {image.get("video_id") for image in document["images"]}
    return [str(video["name"]) for video in document.get("videos", ()) if video["id"] in used]


def _file_names(document: Document) -> list[str]:
    return [os.path.normpath(image["file_name"]) for image in document["images"]]


def _by_id(entries: Iterable[dict[str, Any]], *, path: Path, kind: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        if entry["id"] in found:
            raise DataError(f"{path}: {kind} ids repeat: {entry['id']}")
        found[entry["id"]] = entry
    return found


def _index(root: Path, split: str, path: Path, document: Document, *, as_annotated: bool) -> SplitIndex:
    images = _by_id(document["images"], path=path, kind="image")
    categories = _by_id(document["categories"], path=path, kind="category")
    videos = _by_id(document.get("videos", ()), path=path, kind="video")
    of_image: dict[int, list[dict[str, Any]]] = {image: [] for image in images}
    for annotation in document["annotations"]:
        if annotation["image_id"] not in of_image:
            raise DataError(
                f"{path}: annotation {annotation.get('id')} names image {annotation['image_id']}, not there"
            )
        if not annotation.get("iscrowd", 0):
            of_image[annotation["image_id"]].append(annotation)
    sequences: dict[str, list[tuple[FrameRecord, Path]]] = {}
    warnings: list[str] = []
    cut = 0
    for kind, entries in (("category", categories), ("video", videos)):
        for entry in entries.values():
            check_text(str(entry.get("name")), kind=kind, where=str(path))
    for image_id, image in images.items():
        check_file_name(image["file_name"], folder=IMAGES, kind="image", where=str(path))
        file = root / IMAGES / image["file_name"]
        if not file.is_file():
            raise DataError(f"{path} names image '{image['file_name']}', but {file} is missing")
        where = f"{path}, image '{image['file_name']}'"
        height, width = (whole_number(image[side], name=side, least=1, where=where) for side in ("height", "width"))
        given = [annotation["bbox"] for annotation in of_image[image_id]]
        boxes, cut_here = boxes_from_xywh(given, size_hw=(height, width), where=where, as_annotated=as_annotated)
        cut += cut_here
        labels = tuple(str(categories[annotation["category_id"]]["name"]) for annotation in of_image[image_id])
        in_video = image.get("video_id") in videos
        name = str(videos[image["video_id"]]["name"]) if in_video else image["file_name"]
        frame_index = whole_number(image["frame_id"], name="frame_id", least=0, where=where) if in_video else 0
        sequences.setdefault(name, []).append((FrameRecord(frame_index, (height, width), boxes, labels), file))
    if cut:
        warnings.append(f"{path}: {cut} boxes reached over the border and were cut")
    return SplitIndex(
        root.name, split, tuple(_sequence(path, n, sequences[n]) for n in sorted(sequences)), tuple(warnings)
    )


def _sequence(path: Path, name: str, frames: list[tuple[FrameRecord, Path]]) -> SequenceSource:
    ordered = sorted(frames, key=lambda item: item[0].frame_index)
    for (record, file), (following, other) in pairwise(ordered):
        if record.frame_index == following.frame_index:
            raise DataError(f"{path}: {file} and {other} are both frame {record.frame_index} of '{name}'")
        if record.size_hw != following.size_hw:
            raise DataError(
                f"{path}: the frames of '{name}' must be of one size, but {file}, frame {record.frame_index},"
                f" is {_size(record)} and {other}, frame {following.frame_index}, is {_size(following)}"
            )
    files = tuple(file for _, file in ordered)
    return SequenceSource(name, tuple(record for record, _ in ordered), files, functools.partial(_decode, files))


def _size(record: FrameRecord) -> str:
    return f"{record.size_hw[1]} x {record.size_hw[0]}"


def _decode(files: tuple[Path, ...]) -> Iterator[NDArray[np.generic]]:
    for file in files:
        yield read_image(file)
