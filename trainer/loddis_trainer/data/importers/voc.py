"""Pascal VOC: an XML file an image.

    JPEGImages/NAME.jpg         or any other folder
    Annotations/NAME.xml        annotation: filename, size, object: name, bndbox: xmin, ymin, xmax, ymax
    ImageSets/Main/SPLIT.txt    optional lists of names

Most tools write corners from 0, and that is how boxes are read; Pascal's own count pixels from 1 and the last one
belongs to the box (`voc_one_based`).

References:
    Everingham et al. 2010, The Pascal Visual Object Classes challenge, IJCV 88 (format: the development kit).
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, build_set, say_left_out
from loddis_trainer.data.importers.files import SourceFiles, read_text
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions
from loddis_trainer.data.readers.documents import whole_number

__all__ = ["read_voc", "recognise_voc"]

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def recognise_voc(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    for path in files.with_suffix(".xml"):
        if "<annotation" in (files.source / path).read_text(errors="replace")[:2000]:
            return f"{path} is an annotation of an image"
    return None


def read_voc(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all XML files.

    Raises:
        DataError: None there, one that cannot be read, a missing image, or a wrong box; names the file.
    """
    files = SourceFiles(source)
    documents = files.with_suffix(".xml")
    if not documents:
        raise DataError(f"{source} has no XML files; there are: {files.describe()}")
    images = [_read(files, path, one_based=options.voc_one_based) for path in documents]
    warnings = say_left_out(files, images, because="have no annotation")
    return build_set(source, images, warnings=warnings, progress=options.progress)


def _read(files: SourceFiles, path: PurePosixPath, *, one_based: bool) -> LabelledImage:
    where = str(files.source / path)
    text = read_text(files.source / path)
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise DataError(f"{where}: an annotation declares no document type and no entities")
    try:
        root = ET.fromstring(text)  # noqa: S314 - it has no entities, as seen above
    except ET.ParseError as error:
        raise DataError(f"{where} is no XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"{where}: the root must be 'annotation', got '{root.tag}'")
    boxes: list[BoxXywh] = []
    labels: list[str] = []
    for number, target in enumerate(root.iter("object")):
        here = f"{where}, object {number}"
        label = (target.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{here} has no name")
        x1, y1, x2, y2 = (_number(target.findtext(f"bndbox/{corner}"), corner, here) for corner in CORNERS)
        more = 1 if one_based else 0
        boxes.append((x1 - more, y1 - more, x2 - x1 + more, y2 - y1 + more))
        labels.append(label)
    return LabelledImage(_image(files, path, root), boxes, labels, where, stated_size_hw=_size_hw(root, where))


def _number(text: str | None, name: str, where: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise DataError(f"{where}: {name} must be a number, got {text!r}") from None
    if not math.isfinite(number):
        raise DataError(f"{where}: {name} must be a finite number, got {text!r}")
    return number


def _size_hw(root: ET.Element, where: str) -> tuple[int, int] | None:
    height, width = root.findtext("size/height"), root.findtext("size/width")
    if height is None or width is None:
        return None
    high = whole_number(_number(height, "height", where), name="height", least=0, where=where)
    wide = whole_number(_number(width, "width", where), name="width", least=0, where=where)
    return (high, wide) if high and wide else None  # some tools write 0 for what they did not look up


def _image(files: SourceFiles, path: PurePosixPath, root: ET.Element) -> PurePosixPath:
    """Find the image: by its name and, where several have it, by the folder that belongs to the annotation's."""
    where = str(files.source / path)
    name = (root.findtext("filename") or "").strip() or path.stem
    wanted = PurePosixPath(name.replace("\\", "/"))
    if not wanted.suffix:
        return files.image_of_stem(name, where=where)
    folder = path.parent.name
    if folder and any(image.parent.name == folder for image in files.images_named(wanted.name)):
        name = f"{folder}/{wanted.name}"
    return files.image(name, where=where)
