"""YOLO text labels: a file an image, a line a target.

    images/…/NAME.png           labels lie in `labels/…/NAME.txt`, or beside the image
    labels/…/NAME.txt           class cx cy width height, all but the class as shares of the image's sides
    classes.txt or data.yaml    optional names of the classes

An image without a label file, or with an empty one, is an empty frame. A folder `train`, `val` or `test` in its path is
its split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, build_set
from loddis_trainer.data.importers.class_names import NAME_FILES, class_name, find_class_names
from loddis_trainer.data.importers.files import SourceFiles, image_sizes, read_text
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions

__all__ = ["pixel_box", "read_yolo", "recognise_yolo", "share_box"]

LABELS, IMAGES = "labels", "images"


def recognise_yolo(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    for path, image in _label_files(files).items():
        lines = [line for line in read_text(files.source / path).splitlines() if line.strip()]
        if image is not None and lines:
            return f"{path} has lines of class and four shares" if _looks_normalised(lines[0]) else None
    return None


def read_yolo(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all images and their label files.

    Raises:
        DataError: No image, a label file without one, or a line that cannot be read; names file and line.
    """
    files = SourceFiles(source)
    labels = _label_files(files)
    for path, image in labels.items():
        if image is None:
            raise DataError(
                f"{source / path} labels an image that is missing: no '{path.stem}' of any suffix beside it"
            )
    if not labels:
        raise DataError(f"{source} has no label files of images; there are: {files.describe()}")
    of_image = {image: path for path, image in labels.items()}
    names = find_class_names(files, options.class_names)
    sizes = image_sizes(source, files.images, progress=options.progress)
    images = [_read(source, image, of_image.get(image), sizes[image], names) for image in files.images]
    return build_set(source, images, sizes_hw=sizes, progress=options.progress)


def pixel_box(share_xywh: BoxXywh, size_hw: tuple[int, int]) -> BoxXywh:
    """Turn centre and sides as shares of a frame into left, top, width and height in its pixels."""
    cx, cy, width, height = share_xywh
    high, wide = size_hw
    return (cx - width / 2) * wide, (cy - height / 2) * high, width * wide, height * high


def share_box(box_xywh: BoxXywh, size_hw: tuple[int, int]) -> BoxXywh:
    """Undo `pixel_box`."""
    x, y, width, height = box_xywh
    high, wide = size_hw
    return (x + width / 2) / wide, (y + height / 2) / high, width / wide, height / high


def _label_files(files: SourceFiles) -> dict[PurePosixPath, PurePosixPath | None]:
    """Give the label files, each with its image; a text in `labels` without one counts, any other does not."""
    by_place = {path.with_suffix(""): path for path in files.images}
    found: dict[PurePosixPath, PurePosixPath | None] = {}
    for path in files.with_suffix(".txt"):
        if path.name.lower() in NAME_FILES:
            continue
        place = path.with_suffix("")
        swapped = [
            PurePosixPath(*(IMAGES if i == at else part for i, part in enumerate(place.parts)))
            for at, part in enumerate(place.parts[:-1])
            if part == LABELS
        ]
        swapped += [
            PurePosixPath(*(part for i, part in enumerate(place.parts) if i != at))
            for at, part in enumerate(place.parts[:-1])
            if part == LABELS
        ]
        image = next((by_place[at] for at in (*swapped, place) if at in by_place), None)
        if image is not None or LABELS in path.parts[:-1]:
            found[path] = image
    return found


def _looks_normalised(line: str) -> bool:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return False
    return len(values) == 5 and all(0 <= value <= 1 for value in values[1:])


def _read(
    source: Path,
    image: PurePosixPath,
    labels: PurePosixPath | None,
    size_hw: tuple[int, int],
    names: Mapping[int, str],
) -> LabelledImage:
    if labels is None:
        return LabelledImage(image, (), (), str(source / image))
    boxes: list[BoxXywh] = []
    categories: list[str] = []
    path = source / labels
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) != 5:
            raise DataError(f"{where}: a line has 5 values, class cx cy width height, got {len(words)}")
        categories.append(class_name(words[0], names, where=where))
        try:
            cx, cy, width, height = (float(word) for word in words[1:])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        boxes.append(pixel_box((cx, cy, width, height), size_hw))
    return LabelledImage(image, boxes, categories, str(path))
