"""COCO annotations, of single images or of clips.

    images/FILE
    instances_SPLIT.json        `images`, `annotations`, `categories`; of clips also `videos`, and `video_id`,
                                `frame_id` of each image

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312 (format: cocodataset.org).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.boxes import boxes_from_xywh
from loddis_trainer.data.errors import DataError

__all__ = ["is_coco", "read_coco"]


def is_coco(root: Path) -> bool:
    """Tell whether a folder looks like this format."""
    return any(root.glob("instances_*.json"))


def read_coco(root: Path, split: str) -> SplitIndex:
    """Read the annotations of a split. Images of one video form a sequence; others are sequences of one.

    Raises:
        DataError: No such split, a missing image, or an annotation that cannot be read; names file and image.
    """
    path = root / f"instances_{split}.json"
    if not path.is_file():
        raise DataError(f"domain '{root.name}' has no split '{split}': {path} is missing")
    try:
        document = json.loads(path.read_text())
        images = {image["id"]: image for image in document["images"]}
        categories = {category["id"]: str(category["name"]) for category in document["categories"]}
        videos = {video["id"]: str(video["name"]) for video in document.get("videos", ())}
        annotations = document["annotations"]
        if len(images) != len(document["images"]):
            raise DataError(f"{path}: image ids repeat")
        return _index(root, split, path, images, categories, videos, annotations)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except KeyError as error:
        raise DataError(f"{path} is not COCO: {error} is missing or names nothing") from error


def _index(
    root: Path,
    split: str,
    path: Path,
    images: dict[int, dict[str, Any]],
    categories: dict[int, str],
    videos: dict[int, str],
    annotations: list[dict[str, Any]],
) -> SplitIndex:
    of_image: dict[int, list[dict[str, Any]]] = {image: [] for image in images}
    for annotation in annotations:
        if annotation["image_id"] not in of_image:
            raise DataError(
                f"{path}: annotation {annotation.get('id')} names image {annotation['image_id']}, not there"
            )
        if not annotation.get("iscrowd", 0):
            of_image[annotation["image_id"]].append(annotation)
    sequences: dict[str, list[tuple[FrameRecord, Path]]] = {}
    warnings: list[str] = []
    cut = 0
    for image_id, image in images.items():
        file = root / "images" / image["file_name"]
        if not file.is_file():
            raise DataError(f"{path} names image '{image['file_name']}', but {file} is missing")
        where = f"{path}, image '{image['file_name']}'"
        size_hw = (int(image["height"]), int(image["width"]))
        boxes, cut_here = boxes_from_xywh([a["bbox"] for a in of_image[image_id]], size_hw=size_hw, where=where)
        cut += cut_here
        labels = tuple(categories[a["category_id"]] for a in of_image[image_id])
        in_video = image.get("video_id") in videos
        name = videos[image["video_id"]] if in_video else image["file_name"]
        record = FrameRecord(int(image["frame_id"]) if in_video else 0, boxes, labels)
        sequences.setdefault(name, []).append((record, file))
    if cut:
        warnings.append(f"{path}: {cut} boxes reached over the border and were cut")
    return SplitIndex(root.name, split, tuple(_sequence(n, sequences[n]) for n in sorted(sequences)), tuple(warnings))


def _sequence(name: str, frames: list[tuple[FrameRecord, Path]]) -> SequenceSource:
    ordered = sorted(frames, key=lambda item: item[0].frame_index)
    files = tuple(file for _, file in ordered)
    return SequenceSource(name, tuple(record for record, _ in ordered), files, lambda: _decode(files))


def _decode(files: tuple[Path, ...]) -> Iterator[NDArray[np.generic]]:
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise DataError(f"{file} is no image that can be read")
        yield image
