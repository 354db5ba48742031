"""Names of class ids: given, from `classes.txt`, or from a YOLO `data.yaml`."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import SourceFiles, read_text
from loddis_trainer.data.readers.documents import whole_number

__all__ = ["NAME_FILES", "class_name", "find_class_names"]

NAME_FILES = ("classes.txt", "voc_classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml")
THE_ONLY_CLASS = "target"


def find_class_names(files: SourceFiles, given: Sequence[str]) -> dict[int, str]:
    """Give names by class id; id 0 alone is ``target`` where nothing says otherwise.

    Args:
        files: Of the source.
        given: Names from 0 on; they win over any file.

    Raises:
        DataError: A file of names that cannot be read.
    """
    if given:
        return dict(enumerate(given))
    for wanted in NAME_FILES:
        for path in files.paths:
            if path.name.lower() == wanted:
                return _read_names(files.source / path)
    return {0: THE_ONLY_CLASS}


def class_name(text: str, names: Mapping[int, str], *, where: str) -> str:
    """Give the name of a class id.

    Raises:
        DataError: No whole number, or one without a name.
    """
    try:
        number = float(text)  # some tools write 0.0
        known = names.get(int(number)) if number == int(number) else None
    except (ValueError, OverflowError):
        raise DataError(f"{where}: a class id must be a whole number, got '{text}'") from None
    if known is None:
        there = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
        raise DataError(
            f"{where}: class id {text} has no name; there are: {there} (name more in classes.txt or by --class-names)"
        )
    return known


def _read_names(path: Path) -> dict[int, str]:
    text = read_text(path)
    if path.suffix.lower() in (".txt", ".names"):
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    try:
        document: Any = yaml.safe_load(text)
    except RecursionError:
        raise DataError(f"{path} cannot be read: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    names = document.get("names") if isinstance(document, dict) else None
    if not isinstance(names, list | dict):
        raise DataError(f"{path} has no list of `names`")
    found: dict[int, str] = {}
    for key, name in names.items() if isinstance(names, dict) else enumerate(names):
        number = whole_number(key, name="class id", least=0, where=str(path))
        if not isinstance(name, str | int | float) or isinstance(name, bool):
            raise DataError(f"{path}: the name of class id {number} must be a text, got {reprlib.repr(name)}")
        found[number] = str(name)
    return found
