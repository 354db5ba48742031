"""Centroids of targets, and boxes of one side around them: for sets that label points, as DAUB does at its source.

A table of a sequence is called as the folder of its images, or lies in it; what counts is a file's place:

    data1/0.bmp …       data1.csv, labels/data1.txt, data1/centroids.txt    frame,x,y a line; several lines a frame
    data1/0.bmp …       data1/0.txt, labels/data1/0.txt                     x,y a line; an empty file: an empty frame

Values stand between commas, semicolons or spaces; a first line of words is a heading. A frame is the number in its
image's name. A frame without a line in its table, or without a file, is not labelled and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, build_set, say_left_out
from loddis_trainer.data.importers.class_names import NAME_FILES
from loddis_trainer.data.importers.files import SourceFiles, common_tail, read_text
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions

__all__ = ["read_centroids", "recognise_centroids"]

CATEGORY = "target"
LOOKED_AT = 20  # files, to recognise the format


def recognise_centroids(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    tables, points = _tables(files), _point_files(files)
    for path in (*tables, *points)[:LOOKED_AT]:
        try:
            first = next(_rows(files.source / path, columns=3 if path in tables else 2), None)
        except DataError:
            continue
        if first is not None:
            what = "frame, x and y" if path in tables else "x and y"
            return f"{path} has lines of {what}"
    return None


def read_centroids(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all tables and all files of frames.

    Raises:
        DataError: No side of the boxes, no labels, a table without any, a frame without image, or a line that cannot be
            read; names file and line.
    """
    if options.box_px is None:
        raise DataError("centroids have no size: say by --box-px which side their boxes get")
    files = SourceFiles(source)
    points = _point_files(files)
    tables = _tables(files)
    images = [
        _labelled(image, _rows(source / path, columns=2), str(source / path), options) for path, image in points.items()
    ]
    for path, folder in tables.items():
        images += _read_table(files, path, folder, options)
    if not images:
        raise DataError(f"{source} has no centroids of images; there are: {files.describe()}")
    warnings = say_left_out(files, images, because="have no centroid")
    return build_set(source, images, warnings=warnings, progress=options.progress)


def _texts(files: SourceFiles) -> list[PurePosixPath]:
    return [path for path in files.with_suffix(".txt", ".csv") if path.name.lower() not in NAME_FILES]


def _point_files(files: SourceFiles) -> dict[PurePosixPath, PurePosixPath]:
    """Give the files that label one image each: called as it, in a folder called as its."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    by_stem: dict[str, list[PurePosixPath]] = {}
    for image in files.images:
        by_stem.setdefault(image.stem, []).append(image)
    for path in _texts(files):
        candidates = by_stem.get(path.stem, [])
        same = [image for image in candidates if image.parent == path.parent]
        alike = [image for image in candidates if common_tail(image.parts[:-1], path.parts[:-1])]
        only = candidates if len(candidates) == 1 and path.parent.name.lower() == "labels" else []
        chosen = same or alike or only
        if len(chosen) == 1:
            found[path] = chosen[0]
    return found


def _tables(files: SourceFiles) -> dict[PurePosixPath, PurePosixPath]:
    """Give the tables, each with the folder of its images."""
    folders = {image.parent for image in files.images if image.parent.parts}
    points = _point_files(files)
    found: dict[PurePosixPath, PurePosixPath] = {}
    for path in _texts(files):
        if path in points:
            continue
        called = [folder for folder in folders if folder.name == path.stem]
        called = called or [folder for folder in folders if len(folder.parts) > 1 and folder.parts[-2] == path.stem]
        if len(called) == 1:
            found[path] = called[0]
        elif path.parent in folders:
            found[path] = path.parent
    return found


def _rows(path: Path, *, columns: int) -> Iterator[tuple[int, list[float]]]:
    """Give line number and values of every line; a heading is passed over."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = [word for word in re.split(r"[,;\s]+", line.strip()) if word]
        if not words or (number == 1 and not any(re.match(r"[-+.\d]", word) for word in words)):
            continue
        if len(words) != columns:
            meant = "frame,x,y" if columns == 3 else "x,y"
            raise DataError(f"{path}, line {number}: a line has {columns} values, {meant}, got {len(words)}")
        try:
            yield number, [float(word) for word in words]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def _read_table(
    files: SourceFiles, path: PurePosixPath, folder: PurePosixPath, options: ReadOptions
) -> list[LabelledImage]:
    by_number: dict[int, PurePosixPath] = {}
    for image in files.images:
        numbers = re.findall(r"\d+", image.stem) if image.parent == folder else []
        if numbers:
            if int(numbers[-1]) in by_number:
                raise DataError(f"{folder}: {by_number[int(numbers[-1])].name} and {image.name} both have one number")
            by_number[int(numbers[-1])] = image
    rows: dict[int, list[tuple[int, list[float]]]] = {}
    table = files.source / path
    for line, (frame, x, y) in _rows(table, columns=3):
        if frame not in by_number:
            raise DataError(f"{table}, line {line}: frame {frame:g} has no image in {files.source / folder}")
        rows.setdefault(int(frame), []).append((line, [x, y]))
    if not rows:
        raise DataError(f"{table} has no line of frame,x,y")
    return [
        _labelled(by_number[frame], iter(points), f"{table}, frame {frame}", options) for frame, points in rows.items()
    ]


def _labelled(
    image: PurePosixPath, points: Iterator[tuple[int, list[float]]], where: str, options: ReadOptions
) -> LabelledImage:
    side = options.box_px or 0.0
    low = options.centroid_offset_px - side / 2
    boxes: list[BoxXywh] = [(x + low, y + low, side, side) for _, (x, y) in points]
    return LabelledImage(image, boxes, (CATEGORY,) * len(boxes), where)
