"""COCO annotations of one or several files, with or without videos.

    images/FILE, or FILE, or SPLIT/FILE         anywhere under the source
    annotations/instances_train2017.json …      the word train, val or test in its name is its split

Sets of the field take liberties that are understood: `filename` for `file_name`, `annotation` for `annotations`, paths
with folders instead of `videos`.

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312 (format: cocodataset.org).
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, VideoFrame, build_set, say_left_out
from loddis_trainer.data.importers.files import SourceFiles, read_document
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions
from loddis_trainer.data.importers.sequences import split_of
from loddis_trainer.data.readers.documents import whole_number

__all__ = ["read_coco", "recognise_coco"]

PREFIX = "instances"

Id = str | int | float
Target = tuple[BoxXywh, str]


def recognise_coco(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    for path in files.with_suffix(".json"):
        kind, _ = _look_at(files.source / path)
        if kind == "coco":
            return f"{path} holds images and categories"
        if kind == "unreadable" and path.name.startswith(PREFIX):  # reading it says what is wrong
            return f"{path} is called as annotations are"
    return None


def read_coco(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all annotation files, or the JSON files that `options.lists` names.

    Raises:
        DataError: No annotations, a file that is called as some and cannot be read, a missing image, or an annotation
            that cannot be taken as it is; names file and image or annotation.
    """
    files = SourceFiles(source)
    documents: list[tuple[str | None, Path]] = [
        (split, path) for split, path in options.lists.items() if path.suffix.lower() == ".json"
    ]
    warnings: list[str] = []
    if not documents:
        found, warnings = _documents(files)
        documents = [(_split_named(path), source / path) for path in found]
    if not documents:
        raise DataError(f"{source} has no COCO annotations; there are: {files.describe()}")
    images: list[LabelledImage] = []
    crowds = 0
    for split, path in documents:
        listed, left_out = _read_document(files, path, split)
        images.extend(listed)
        crowds += left_out
    warnings += [f"{crowds} crowds are no targets and were left out"] if crowds else []
    warnings += say_left_out(files, images, because="are in no annotation file")
    return build_set(source, images, warnings=warnings, progress=options.progress)


def _look_at(path: Path) -> tuple[Literal["coco", "other", "unreadable"], str]:
    """Tell what a JSON file is, and what is wrong with it."""
    try:
        document = read_document(path)
    except DataError as error:
        return "unreadable", str(error)
    if isinstance(document, dict) and "images" in document and "categories" in document:
        return "coco", ""
    return "other", f"{path} holds no images and categories"


def _documents(files: SourceFiles) -> tuple[list[PurePosixPath], list[str]]:
    """Give the annotation files, and say which others may have been meant as such.

    One that cannot be read but is called as annotations or as a split is among them: reading it says what is wrong.
    """
    found: list[PurePosixPath] = []
    warnings: list[str] = []
    for path in files.with_suffix(".json"):
        kind, fault = _look_at(files.source / path)
        called = path.name.startswith(PREFIX) or _split_named(path) is not None
        if kind == "coco" or (kind == "unreadable" and (called or split_of(path) is not None)):
            found.append(path)
        elif kind == "unreadable" or called:
            warnings.append(f"{fault}: it was left out")
    return found, warnings


def _split_named(path: PurePosixPath) -> str | None:
    match = re.search(r"train|val|test", path.stem.lower())
    return match[0] if match else None


def _read_document(files: SourceFiles, path: Path, split: str | None) -> tuple[list[LabelledImage], int]:
    """Read one file: its images, and how many crowds were left out."""
    document = read_document(path)
    if not isinstance(document, dict):
        raise DataError(f"{path} is not COCO: it must be an object, got {reprlib.repr(document)}")
    images = _by_id(path, document, "images", kind="image")
    if not images:
        raise DataError(f"{path} lists no images")
    targets, crowds = _targets(path, document, images)
    return _images(files, path, split, document, images, targets), crowds


def _targets(
    path: Path, document: dict[str, Any], images: dict[Id, dict[str, Any]]
) -> tuple[dict[Id, list[Target]], int]:
    """Give the targets of every image, and how many crowds were left out."""
    categories = _names(path, document, "categories", kind="category")
    targets: dict[Id, list[Target]] = {image: [] for image in images}
    ids: set[Id] = set()
    crowds = 0
    for number, annotation in enumerate(_entries(path, document, "annotations", "annotation")):
        where = f"{path}, annotation {annotation.get('id', f'number {number}')}"
        if annotation.get("id") is not None:
            ident = _id(annotation, "id", where=where)
            if ident in ids:
                raise DataError(f"{where}: its id repeats")
            ids.add(ident)
        image = _id(annotation, "image_id", where=where)
        if image not in targets:
            raise DataError(f"{where} names image {image}, not there")
        if annotation.get("iscrowd") not in (None, 0, 1):
            raise DataError(f"{where}: iscrowd must be 0 or 1, got {reprlib.repr(annotation['iscrowd'])}")
        if annotation.get("iscrowd"):
            crowds += 1
            continue
        category = _id(annotation, "category_id", where=where)
        if category not in categories:
            raise DataError(f"{where}: category id {category} has no name")
        targets[image].append((_box(annotation, where=where), categories[category]))
    return targets, crowds


def _box(annotation: dict[str, Any], *, where: str) -> BoxXywh:
    values = _value(annotation, "bbox", where=where)
    if isinstance(values, list) and len(values) == 4 and all(type(value) in (int, float) for value in values):
        try:
            x, y, width, height = (float(value) for value in values)
        except OverflowError:
            x = y = width = height = math.inf
        if all(map(math.isfinite, (x, y, width, height))):
            return x, y, width, height
    raise DataError(f"{where}: bbox must be 4 finite numbers (x, y, width, height), got {reprlib.repr(values)}")


def _images(
    files: SourceFiles,
    path: Path,
    split: str | None,
    document: dict[str, Any],
    images: dict[Id, dict[str, Any]],
    targets: dict[Id, list[Target]],
) -> list[LabelledImage]:
    videos = _names(path, document, "videos", kind="video") if document.get("videos") else {}
    labelled: list[LabelledImage] = []
    places: set[VideoFrame] = set()
    for ident, image in images.items():
        name = _name(image, "file_name", "filename", where=f"{path}, image {ident}")
        where = f"{path}, image '{name}'"
        video = _video_frame(image, videos, where=where) if videos else None
        if video is not None and video.sequence is not None:
            if video in places:
                raise DataError(f"{where}: frame {video.frame_index} of video '{video.sequence}' repeats")
            places.add(video)
        size_hw = None
        if "height" in image and "width" in image:
            height, width = (whole_number(image[side], name=side, least=1, where=where) for side in ("height", "width"))
            size_hw = height, width
        boxes, labels = [box for box, _ in targets[ident]], [label for _, label in targets[ident]]
        file = files.image(name, where=str(path))
        labelled.append(LabelledImage(file, boxes, labels, where, split, size_hw, video))
    return labelled


def _video_frame(image: dict[str, Any], videos: dict[Id, str], *, where: str) -> VideoFrame:
    if image.get("video_id") is None:
        return VideoFrame(None, 0)
    video = _id(image, "video_id", where=where)
    if video not in videos:
        raise DataError(f"{where} names video {video}, not there")
    frame = _value(image, "frame_id", where=where)
    return VideoFrame(videos[video], whole_number(frame, name="frame_id", least=0, where=where))


def _entries(path: Path, document: dict[str, Any], *keys: str) -> Sequence[dict[str, Any]]:
    """Give a list of a document, by the first of its names that is there."""
    key = next((key for key in keys if key in document), None)
    if key is None:
        raise DataError(f"{path} is not COCO: '{keys[0]}' is missing")
    entries = document[key]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is not COCO: '{key}' must be a list of objects, got {reprlib.repr(entries)}")
    return entries


def _by_id(path: Path, document: dict[str, Any], key: str, *, kind: str) -> dict[Id, dict[str, Any]]:
    found: dict[Id, dict[str, Any]] = {}
    for number, entry in enumerate(_entries(path, document, key)):
        ident = _id(entry, "id", where=f"{path}, {kind} number {number}")
        if ident in found:
            raise DataError(f"{path}: {kind} id {ident} repeats")
        found[ident] = entry
    return found


def _names(path: Path, document: dict[str, Any], key: str, *, kind: str) -> dict[Id, str]:
    entries = _by_id(path, document, key, kind=kind)
    return {ident: _name(entry, "name", where=f"{path}, {kind} {ident}") for ident, entry in entries.items()}


def _value(entry: dict[str, Any], *keys: str, where: str) -> Any:
    """Give a field of an entry, by the first of its names that is there."""
    for key in keys:
        if key in entry:
            return entry[key]
    raise DataError(f"{where}: '{keys[0]}' is missing")


def _id(entry: dict[str, Any], key: str, *, where: str) -> Id:
    value = _value(entry, key, where=where)
    if not isinstance(value, str | int | float):
        raise DataError(f"{where}: {key} must be a number or a text, got {reprlib.repr(value)}")
    return value


def _name(entry: dict[str, Any], *keys: str, where: str) -> str:
    value = _value(entry, *keys, where=where)
    if not isinstance(value, str | int) or not str(value).strip():
        raise DataError(f"{where}: {keys[0]} must be a text, got {reprlib.repr(value)}")
    return str(value)
