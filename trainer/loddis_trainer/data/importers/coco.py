"""COCO annotations of one or several files, with or without videos.

    images/FILE, or FILE, or SPLIT/FILE         anywhere under the source
    annotations/instances_train2017.json …      the word train, val or test in its name is its split

Sets of the field take liberties that are understood: `filename` for `file_name`, `annotation` for `annotations`, paths
with folders instead of `videos`.

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312 (format: cocodataset.org).
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, VideoFrame, build_set
from loddis_trainer.data.importers.files import SourceFiles, read_text
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions

__all__ = ["read_coco", "recognise_coco"]


def recognise_coco(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    documents = _documents(files)
    return f"{documents[0]} holds images and categories" if documents else None


def read_coco(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all annotation files, or the JSON files that `options.lists` names.

    Raises:
        DataError: No annotations, a missing image, or an annotation that cannot be read; names file and image.
    """
    files = SourceFiles(source)
    documents: list[tuple[str | None, Path]] = [
        (split, path) for split, path in options.lists.items() if path.suffix.lower() == ".json"
    ]
    documents = documents or [(_split_named(path), source / path) for path in _documents(files)]
    if not documents:
        raise DataError(f"{source} has no COCO annotations; there are: {files.describe()}")
    images: list[LabelledImage] = []
    crowds = 0
    for split, path in documents:
        found, left_out = _read_document(files, path, split)
        images.extend(found)
        crowds += left_out
    warnings = [f"{crowds} crowds are no targets and were left out"] if crowds else []
    return build_set(source, images, warnings=warnings, progress=options.progress)


def _documents(files: SourceFiles) -> list[PurePosixPath]:
    found = []
    for path in files.with_suffix(".json"):
        try:
            document = json.loads((files.source / path).read_text())
        except (OSError, ValueError):
            if path.name.startswith("instances"):  # said to be one: reading it says what is wrong
                found.append(path)
            continue
        if isinstance(document, dict) and "images" in document and "categories" in document:
            found.append(path)
    return found


def _split_named(path: PurePosixPath) -> str | None:
    match = re.search(r"train|val|test", path.stem.lower())
    return match[0] if match else None


def _read_document(files: SourceFiles, path: Path, split: str | None) -> tuple[list[LabelledImage], int]:
    """Read one file: its images, and how many crowds were left out."""
    text = read_text(path)
    try:
        document = json.loads(text)
        targets, crowds = _targets(path, document)
        return _images(files, path, split, document, targets), crowds
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except KeyError as error:
        raise DataError(f"{path} is not COCO: {error} is missing or names nothing") from error


def _targets(path: Path, document: dict[str, Any]) -> tuple[dict[Any, list[tuple[BoxXywh, str]]], int]:
    categories = {category["id"]: str(category["name"]) for category in document["categories"]}
    targets: dict[Any, list[tuple[BoxXywh, str]]] = {image["id"]: [] for image in document["images"]}
    crowds = 0
    for annotation in document["annotations"] if "annotations" in document else document["annotation"]:
        where = f"{path}, annotation {annotation.get('id')}"
        if annotation["image_id"] not in targets:
            raise DataError(f"{where} names image {annotation['image_id']}, not there")
        if annotation.get("iscrowd"):
            crowds += 1
            continue
        if annotation["category_id"] not in categories:
            raise DataError(f"{where}: category id {annotation['category_id']} has no name")
        if len(annotation["bbox"]) != 4:
            raise DataError(f"{where}: bbox must have 4 values, got {len(annotation['bbox'])}")
        x, y, width, height = (float(value) for value in annotation["bbox"])
        targets[annotation["image_id"]].append(((x, y, width, height), categories[annotation["category_id"]]))
    return targets, crowds


def _images(
    files: SourceFiles,
    path: Path,
    split: str | None,
    document: dict[str, Any],
    targets: dict[Any, list[tuple[BoxXywh, str]]],
) -> list[LabelledImage]:
    videos = {video["id"]: str(video["name"]) for video in document.get("videos") or ()}
    images: list[LabelledImage] = []
    ids: set[Any] = set()
    places: set[VideoFrame] = set()
    for image in document["images"]:
        name = str(image["file_name"] if "file_name" in image else image["filename"])
        where = f"{path}, image '{name}'"
        if image["id"] in ids:
            raise DataError(f"{where}: image id {image['id']} repeats")
        ids.add(image["id"])
        video = None
        if videos:
            in_video = image.get("video_id") is not None
            video = VideoFrame(videos[image["video_id"]], int(image["frame_id"])) if in_video else VideoFrame(None, 0)
            if in_video and video in places:
                raise DataError(f"{where}: frame {video.frame_index} of video '{video.sequence}' repeats")
            places.add(video)
        file = files.image(name, where=str(path))
        boxes, labels = [box for box, _ in targets[image["id"]]], [label for _, label in targets[image["id"]]]
        size_hw = (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None
        images.append(LabelledImage(file, boxes, labels, where, split, size_hw, video))
    return images
