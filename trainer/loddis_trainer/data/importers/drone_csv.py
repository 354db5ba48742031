"""Videos with a CSV each, as the trainer reads them itself; they stay videos.

    videos/NAME.mp4
    labels/NAME.csv             frame,label,x,y,width,height; frames from 0; several rows a frame
    splits.json                 optional: {"train": [NAME, …], "val": […], "test": […]}

References:
    Svanström et al. 2021, A dataset for multi-sensor drone detection, Data in Brief 39.
"""

from __future__ import annotations

import csv
import io
import reprlib
from pathlib import Path

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import SourceFiles, parts_of, progress_bar, read_document, read_text
from loddis_trainer.data.importers.records import (
    SPLITS,
    BoxXywh,
    ImportedFrame,
    ImportedSet,
    ReadOptions,
    inside_frame,
)
from loddis_trainer.data.importers.sequences import natural_key
from loddis_trainer.data.readers.documents import whole_number
from loddis_trainer.data.readers.drone_csv import COLUMNS
from loddis_trainer.data.readers.videos import size_and_count

__all__ = ["read_drone_csv_source", "recognise_drone_csv"]


def recognise_drone_csv(files: SourceFiles) -> str | None:
    """Say what looks like this format."""
    names = {path.stem for path in files.with_suffix(".mp4") if path.parts[:-1] == ("videos",)}
    labelled = [path for path in files.with_suffix(".csv") if path.parts[:-1] == ("labels",) and path.stem in names]
    return f"{labelled[0]} labels a video" if labelled else None


def read_drone_csv_source(source: Path, options: ReadOptions) -> ImportedSet:
    """Read the labels of all videos, or of those that `splits.json` names; `check_videos` decodes.

    Raises:
        DataError: No labelled video, a missing one, a table without rows, or a row that cannot be read; names file and
            line.
    """
    files = SourceFiles(source)
    stated = _stated_splits(source)
    labelled = [path.stem for path in files.with_suffix(".csv") if path.parts[:-1] == ("labels",)]
    names = sorted(stated or labelled, key=natural_key)
    unlisted = len(set(labelled).difference(names))
    if not names:
        raise DataError(f"{source} has no labels/NAME.csv; there are: {files.describe()}")
    frames: list[ImportedFrame] = []
    cut = 0
    with progress_bar(shown=options.progress) as bar:
        for name in bar.track(names, description="reading labels"):
            found, cut_here = _read_labels(source, name, stated.get(name))
            frames.extend(found)
            cut += cut_here
    warnings = [f"{cut} boxes reached over the border and were cut"] if cut else []
    if unlisted:
        warnings.append(f"{unlisted} labelled videos are in no split of splits.json and were left out")
    return ImportedSet(source, "videos", tuple(frames), tuple(warnings))


def _read_labels(source: Path, name: str, split: str | None) -> tuple[list[ImportedFrame], int]:
    """Read one video's labels; also how many boxes were cut."""
    table, video = source / "labels" / f"{name}.csv", source / "videos" / f"{name}.mp4"
    if not video.is_file():
        raise DataError(f"{table} labels a video that is missing: {video}")
    rows = _read_rows(table)
    size_hw, count = size_and_count(video)
    last = max(rows, default=-1)
    if 0 < count <= last:
        raise DataError(f"{table}, frame {last}: {video} has {count} frames")
    frames, cut = [], 0
    for index in sorted(rows):
        given = [box for _, box in rows[index]]
        boxes, cut_here = inside_frame(given, size_hw=size_hw, where=f"{table}, frame {index}")
        cut += cut_here
        labels = tuple(label for label, _ in rows[index])
        frames.append(ImportedFrame(f"videos/{name}.mp4", name, index, size_hw, boxes, labels, split))
    return frames, cut


def _read_rows(table: Path) -> dict[int, list[tuple[str, BoxXywh]]]:
    """Give label and box of every row of a frame."""
    reader = csv.reader(io.StringIO(read_text(table), newline=""))
    rows: dict[int, list[tuple[str, BoxXywh]]] = {}
    try:
        heading = next(reader, [])
        if tuple(heading) != COLUMNS:
            raise DataError(f"{table}: columns must be {','.join(COLUMNS)}, got {','.join(heading)}")
        for row in filter(None, reader):
            where = f"{table}, line {reader.line_num}"
            if len(row) != len(COLUMNS):
                raise DataError(f"{where}: a row has {len(COLUMNS)} values, {','.join(COLUMNS)}, got {len(row)}")
            frame = whole_number(row[0], name="frame", least=0, where=where)
            x, y, width, height = (float(value) for value in row[2:])
            rows.setdefault(frame, []).append((row[1], (x, y, width, height)))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{table}, line {reader.line_num}: {error}") from error
    if not rows:
        raise DataError(f"{table} has no row below its heading")
    return rows


def _stated_splits(source: Path) -> dict[str, str]:
    """Give the split of every name that `splits.json` lists."""
    path = source / "splits.json"
    if not path.is_file():
        return {}
    document = read_document(path)
    if not isinstance(document, dict):
        raise DataError(f"{path} must be an object of lists, got {reprlib.repr(document)}")
    found: dict[str, str] = {}
    for split, names in document.items():
        if not isinstance(names, list):  # a remark
            continue
        if split not in SPLITS:
            raise DataError(f"{path}: splits are {', '.join(SPLITS)}, got '{split}'")
        for name in (_plain_name(each, path) for each in names):
            if name in found:
                raise DataError(f"{path} lists '{name}' in '{found[name]}' and again in '{split}'")
            found[name] = split
    return found


def _plain_name(name: object, path: Path) -> str:
    """Check that a name stays below the source's folders, and is the only one of its video."""
    if not isinstance(name, str | int):
        raise DataError(f"{path}: a name must be a text, got {reprlib.repr(name)}")
    if "/".join(parts_of(str(name), where=str(path))) != str(name):
        raise DataError(f"{path}: a name is a plain path below videos, as day/clip, got '{name}'")
    return str(name)
