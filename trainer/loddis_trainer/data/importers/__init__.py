"""Importers: annotated sets in the formats of the field become domain folders that the trainer reads.

One file a format, each with `recognise_…` and `read_…`; what they give is split (`splitting`) and written (`writing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.centroids import read_centroids, recognise_centroids
from loddis_trainer.data.importers.coco import read_coco, recognise_coco
from loddis_trainer.data.importers.drone_csv import read_drone_csv_source, recognise_drone_csv
from loddis_trainer.data.importers.files import SourceFiles
from loddis_trainer.data.importers.masks import read_masks, recognise_masks
from loddis_trainer.data.importers.records import ImportedFrame, ImportedSet, ReadOptions
from loddis_trainer.data.importers.uestc import read_uestc, recognise_uestc
from loddis_trainer.data.importers.voc import read_voc, recognise_voc
from loddis_trainer.data.importers.yolo import read_yolo, recognise_yolo

__all__ = ["FORMATS", "Format", "ImportedFrame", "ImportedSet", "ReadOptions", "recognise"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be imported.

    Attributes:
        name: As `--format` takes it.
        recognise: Says what in a source speaks for it.
        read: Reads a source.
        lists_are_labels: Whether a list of frames holds their labels too: then readers take lists themselves.
    """

    name: str
    recognise: Callable[[SourceFiles], str | None]
    read: Callable[[Path, ReadOptions], ImportedSet]
    lists_are_labels: Callable[[Path], bool] = lambda _: False


FORMATS = (
    Format("coco", recognise_coco, read_coco, lambda path: path.suffix.lower() == ".json"),
    Format("voc", recognise_voc, read_voc),
    Format("yolo", recognise_yolo, read_yolo),
    Format("masks", recognise_masks, read_masks),
    Format("uestc", recognise_uestc, read_uestc, lambda _: True),
    Format("centroids", recognise_centroids, read_centroids),
    Format("drone-csv", recognise_drone_csv, read_drone_csv_source),
)


def recognise(source: Path) -> tuple[Format, str]:
    """Tell the format of a source, and what speaks for it.

    Raises:
        DataError: None fits, or several do; says what is there.
    """
    files = SourceFiles(source)
    found = [(form, reason) for form in FORMATS if (reason := form.recognise(files)) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        reasons = "; ".join(f"{form.name} ({reason})" for form, reason in found)
        raise DataError(f"{source} may be several formats, say which by --format: {reasons}")
    known = ", ".join(form.name for form in FORMATS)
    raise DataError(f"{source} is of no format that is known ({known}); there are: {files.describe()}")
