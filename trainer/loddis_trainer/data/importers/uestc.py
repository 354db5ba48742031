"""Text lists of frames with their boxes, a line a frame, as SSTNet, Tridos and MoPKL ship them.

    coco_train_DAUB.txt         PATH x1,y1,x2,y2,class x1,y1,x2,y2,class …
    coco_val_DAUB.txt           the word train, val or test in its name is its split
    images/data5/0.bmp          sequences are the images' folders

Paths are those of the authors' machine: what counts is their end. x2 and y2 lie outside the box. A line without a box
is an empty frame; an image in no list is not labelled and left out.

References:
    Chen et al. 2024, SSTNet, IEEE TGRS 62 (github.com/UESTC-nnLab/SSTNet).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, build_set, say_left_out
from loddis_trainer.data.importers.class_names import class_name, find_class_names
from loddis_trainer.data.importers.files import IMAGE_SUFFIXES, SourceFiles, read_lines, read_text
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions

__all__ = ["read_uestc", "recognise_uestc"]

_SUFFIXES = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
PATH = re.compile(rf"^(?P<path>.+?\.(?:{_SUFFIXES}))(?=\s|$)", re.IGNORECASE)  # may hold spaces
LOOKED_AT = 100  # lines, to recognise a list
BOX = re.compile(r"\s-?[\d.]+(?:,-?[\d.]+){4}(?=\s|$)")


def recognise_uestc(files: SourceFiles) -> str | None:
    """Say which file looks like this format."""
    lists = _lists(files)
    return f"{lists[0]} lists images with boxes" if lists else None


def read_uestc(source: Path, options: ReadOptions) -> ImportedSet:
    """Read the lists that `options.lists` names, or all that the source has.

    Raises:
        DataError: No list, an empty or unreadable one, a missing image, or a line that cannot be read; names file and
            line.
    """
    files = SourceFiles(source)
    lists: list[tuple[str | None, Path]] = [(split, path) for split, path in options.lists.items()]
    warnings: list[str] = []
    if not lists:
        found = _lists(files)
        lists = [(_split_named(path), source / path) for path in found]
        warnings += _other_splits(files, found)
    if not lists:
        raise DataError(f"{source} has no list of images with boxes; there are: {files.describe()}")
    names = find_class_names(files, options.class_names)
    images = [
        _read(files, line, f"{path}, line {number}", split, names)
        for split, path in lists
        for number, line in read_lines(path)
    ]
    warnings += say_left_out(files, images, because="are in no list")
    return build_set(source, images, warnings=warnings, progress=options.progress)


def _lists(files: SourceFiles) -> list[PurePosixPath]:
    """Give the texts that begin with the path of an image, if one of them has a box."""
    found: list[PurePosixPath] = []
    boxed = False
    for path in files.with_suffix(".txt"):
        with (files.source / path).open(errors="replace") as handle:
            lines = [line.strip() for line in itertools.islice(handle, LOOKED_AT) if line.strip()]
        matches = [PATH.match(line) for line in lines]
        if matches and matches[0]:
            found.append(path)
            boxed = boxed or any(match and BOX.match(match.string[match.end() :]) for match in matches)
    return found if boxed else []


def _other_splits(files: SourceFiles, lists: list[PurePosixPath]) -> list[str]:
    """Name the other texts that are called as splits; one that is empty or no text was meant as a list and is refused.

    A text that is called as an image labels that.
    """
    stems = {image.stem for image in files.images}
    others = [path for path in files.with_suffix(".txt") if path not in lists and path.stem not in stems]
    warnings: list[str] = []
    for path in others:
        if _split_named(path) is None:
            continue
        if not read_text(files.source / path).strip():
            raise DataError(f"{files.source / path} lists nothing")
        warnings.append(f"{path} is called as a split, but does not begin with an image's path, and was left out")
    return warnings


def _split_named(path: PurePosixPath) -> str | None:
    match = re.search(r"train|val|test", path.stem.lower())
    return match[0] if match else None


def _read(files: SourceFiles, line: str, where: str, split: str | None, names: Mapping[int, str]) -> LabelledImage:
    match = PATH.match(line)
    if match is None:
        raise DataError(f"{where}: a line begins with the path of an image, got '{line[:60]}'")
    boxes: list[BoxXywh] = []
    labels: list[str] = []
    for word in line[match.end() :].split():
        values = word.split(",")
        if len(values) != 5:
            raise DataError(f"{where}: a box has 5 values, x1,y1,x2,y2,class, got '{word}'")
        try:
            x1, y1, x2, y2 = (float(value) for value in values[:4])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        boxes.append((x1, y1, x2 - x1, y2 - y1))
        labels.append(class_name(values[4], names, where=where))
    return LabelledImage(files.image(match["path"], where=where), boxes, labels, where, split)
