"""Videos with a CSV each, as the multi-sensor drone detection data are published.

    splits.json                 {"train": [NAME, …], "val": […], "test": […]}; what is no list is a remark
    videos/NAME.mp4
    labels/NAME.csv             frame,label,x,y,width,height; frames from 0; several rows a frame

A frame without a row is not labelled: it is left out, not taken for empty sky.

References:
    Svanström et al. 2021, A dataset for multi-sensor drone detection, Data in Brief 39.
"""

from __future__ import annotations

import csv
import functools
import io
import reprlib
from pathlib import Path

from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.boxes import boxes_from_xywh
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.readers.documents import read_json, whole_number
from loddis_trainer.data.readers.names import check_file_name
from loddis_trainer.data.readers.splits import check_disjoint
from loddis_trainer.data.readers.videos import decode_frames, size_and_count

__all__ = ["is_drone_csv", "read_drone_csv"]

COLUMNS = ("frame", "label", "x", "y", "width", "height")


def is_drone_csv(root: Path) -> bool:
    """Tell whether a folder looks like this format."""
    return (root / "splits.json").is_file() and (root / "labels").is_dir()


def read_drone_csv(root: Path, split: str, *, as_annotated: bool = False) -> SplitIndex:
    """Read the annotations of a split; boxes as `boxes_from_xywh` takes them.

    Raises:
        DataError: No such split, a file that is missing or outside of the domain, or a row that cannot be read; names
            file and line.
    """
    path = root / "splits.json"
    splits = read_json(path)
    if not isinstance(splits, dict) or split not in splits:
        raise DataError(f"{path} has no split '{split}'")
    if not isinstance(splits[split], list) or not all(isinstance(name, str | int) for name in splits[split]):
        raise DataError(f"{path}: split '{split}' must be a list of names, got {reprlib.repr(splits[split])}")
    listed = {key: [str(name) for name in names] for key, names in splits.items() if isinstance(names, list)}
    check_disjoint(path, split, listed, kind="sequence")
    warnings: list[str] = []
    try:
        sequences = tuple(
            _read_sequence(root, name, warnings, as_annotated=as_annotated) for name in sorted(listed[split])
        )
    except (OSError, ValueError) as error:  # a name that no file can have
        raise DataError(f"{path} names a file that cannot be read: {error}") from error
    return SplitIndex(root.name, split, sequences, tuple(warnings))


def _read_sequence(root: Path, name: str, warnings: list[str], *, as_annotated: bool) -> SequenceSource:
    check_file_name(name, folder="videos", kind="sequence", where=str(root / "splits.json"))
    video, table = root / "videos" / f"{name}.mp4", root / "labels" / f"{name}.csv"
    for path in (video, table):
        if not path.is_file():
            raise DataError(f"{root / 'splits.json'} names '{name}', but {path} is missing")
    size_hw, _ = size_and_count(video)
    rows = _read_rows(table)
    records = []
    cut = 0
    for index in sorted(rows):
        where = f"{table}, frame {index}"
        given = [box for _, box in rows[index]]
        boxes, cut_here = boxes_from_xywh(given, size_hw=size_hw, where=where, as_annotated=as_annotated)
        cut += cut_here
        records.append(FrameRecord(index, size_hw, boxes, tuple(label for label, _ in rows[index])))
    if cut:
        warnings.append(f"{table}: {cut} boxes reached over the border and were cut")
    wanted = tuple(record.frame_index for record in records)
    return SequenceSource(name, tuple(records), (video,), functools.partial(decode_frames, video, wanted))


def _read_rows(table: Path) -> dict[int, list[tuple[str, list[float]]]]:
    """Give label and box, left, top, width, height, of every row of a frame."""
    rows: dict[int, list[tuple[str, list[float]]]] = {}
    reader = csv.DictReader(io.StringIO(_read_text(table), newline=""))
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{table}: columns must be {','.join(COLUMNS)}, got {','.join(reader.fieldnames or ())}")
        for row in reader:
            where = f"{table}, line {reader.line_num}"
            box = [float(row[column]) for column in COLUMNS[2:]]
            frame = whole_number(row["frame"], name="frame", least=0, where=where)
            rows.setdefault(frame, []).append((row["label"], box))
    except (TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{table}, line {reader.reader.line_num}: {error}") from error
    return rows


def _read_text(path: Path) -> str:
    """Read UTF-8, with or without the mark that spreadsheets put before it."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8") from error
