"""The files of a source folder: what is there, which image a label names, and how large it is.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loddis_runtime.engines.threads import available_cores
from loddis_runtime.errors import FrameError
from loddis_runtime.frames import as_frame
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.readers.documents import read_json
from loddis_trainer.data.readers.images import read_image

__all__ = [
    "IMAGE_FOLDERS",
    "IMAGE_SUFFIXES",
    "SourceFiles",
    "check_utf8",
    "common_tail",
    "image_sizes",
    "parts_of",
    "progress_bar",
    "read_document",
    "read_lines",
    "read_text",
]

IMAGE_SUFFIXES = frozenset({".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm"})
# Folders that say that images are in them, and nothing else.
IMAGE_FOLDERS = frozenset(
    {"images", "image", "img", "imgs", "jpegimages", "pngimages", "irstd1k_img", "frames", "data"}
)


class SourceFiles:
    """All files under a folder, by path and by name; hidden ones are passed over.

    Args:
        source: The folder.

    Raises:
        DataError: No such folder; under it one that cannot be read, a name that is no UTF-8, or what is no file.
    """

    def __init__(self, source: Path) -> None:
        check_utf8(source)
        if not source.is_dir():
            raise DataError(f"source {source} is no folder")
        self.source = source
        self.paths: tuple[PurePosixPath, ...] = tuple(sorted(_walk(source)))
        self.images: tuple[PurePosixPath, ...] = self.with_suffix(*IMAGE_SUFFIXES)
        self._image_set = frozenset(self.images)
        self._by_name: dict[str, list[PurePosixPath]] = {}
        self._by_stem: dict[str, list[PurePosixPath]] = {}
        for path in self.images:
            self._by_name.setdefault(path.name, []).append(path)
            self._by_stem.setdefault(path.stem, []).append(path)

    def with_suffix(self, *suffixes: str) -> tuple[PurePosixPath, ...]:
        """Give the files of some kinds, whatever the case of their suffix."""
        return tuple(path for path in self.paths if path.suffix.lower() in suffixes)

    def image(self, name: str, *, where: str) -> PurePosixPath:
        """Find the image that a label names.

        A path under the source or the end of one is taken as it is. Of a path of another machine (``/home/…``) as much
        of the end has to be there as tells images apart, the folder of the image at least.

        Args:
            name: As the label has it.
            where: Names file and line in errors.

        Raises:
            DataError: A path that leaves the source by ``..``, no such image, or several.
        """
        parts = parts_of(name, where=where)
        relative = PurePosixPath(*parts)
        absolute = name.strip().replace("\\", "/").startswith("/") or parts[0].endswith(":")
        if relative in self._image_set and not absolute:
            return relative
        least = min(2, len(parts)) if absolute else len(parts)
        return self._best(self._by_name.get(parts[-1], []), parts, least=least, name=name, where=where)

    def images_named(self, name: str) -> tuple[PurePosixPath, ...]:
        """Give the images of a name, in whatever folders."""
        return tuple(self._by_name.get(name, ()))

    def image_of_stem(self, name: str, *, where: str) -> PurePosixPath:
        """Find the image of a name without suffix; raises as `image` does."""
        parts = parts_of(name, where=where)
        found = self._by_stem.get(parts[-1], [])
        return self._best(found, (*parts[:-1], ""), least=len(parts), name=name, where=where, stems=True)

    def _best(
        self,
        candidates: list[PurePosixPath],
        parts: tuple[str, ...],
        *,
        least: int,
        name: str,
        where: str,
        stems: bool = False,
    ) -> PurePosixPath:
        ranked = [(common_tail(path.parts[:-1], parts[:-1]) + 1, path) for path in candidates]
        best = max((length for length, _ in ranked), default=0)
        found = [path for length, path in ranked if length == best]
        if len(found) > 1:  # a mask may be called as its image
            found = [path for path in found if IMAGE_FOLDERS.intersection(map(str.lower, path.parts))] or found
        if best < least:
            kind = "any suffix" if stems else "that name"
            raise DataError(f"{where}: image '{name}' is missing: nothing under {self.source} has {kind} and folder")
        if len(found) > 1:
            raise DataError(f"{where}: '{name}' may be {found[0]} or {found[1]}; name its folder too")
        return found[0]

    def describe(self) -> str:
        """Say what is there, for a refusal."""
        kinds = Counter(path.suffix.lower() or "(no suffix)" for path in self.paths)
        folders = sorted({path.parts[0] for path in self.paths if len(path.parts) > 1})
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "no files"
        shown = ", ".join(folders[:8]) + (", …" if len(folders) > 8 else "")
        return counts + (f"; folders {shown}" if folders else "")


def _walk(source: Path) -> Iterable[PurePosixPath]:
    seen = set()
    for folder, folders, names in os.walk(source, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        below = PurePosixPath(Path(folder).relative_to(source).as_posix())
        for name in names:
            if not name.startswith("."):
                check_utf8(Path(folder, name))
                _check_regular(Path(folder, name))
                yield below / name


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


def check_utf8(path: Path) -> None:
    """Refuse a name that is no UTF-8: a domain cannot hold it.

    Raises:
        DataError: Names the path by its bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"the name {os.fsencode(path)!r} is no UTF-8: rename it") from None


def _check_regular(path: Path) -> None:
    """Refuse what is no file: to open a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} cannot be read: it is no regular file")


def parts_of(name: str, *, where: str) -> tuple[str, ...]:
    """Take a path of a label apart, on whatever system it was written.

    Raises:
        DataError: It is empty, or leaves its folder by ``..``.
    """
    parts = tuple(part for part in name.strip().replace("\\", "/").split("/") if part not in ("", "."))
    if not parts:
        raise DataError(f"{where}: an image's name is empty")
    if ".." in parts:
        raise DataError(f"{where}: '{name}' leaves the source folder")
    return parts


def common_tail(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Count the last parts that two paths share."""
    count = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def progress_bar(*, shown: bool) -> Progress:
    """Give the bar that all steps of an import use."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not shown, transient=True)


def image_sizes(
    source: Path, files: Iterable[PurePosixPath], *, progress: bool
) -> dict[PurePosixPath, tuple[int, int]]:
    """Decode images, as the trainer will, and give height and width of each.

    Raises:
        DataError: An image that cannot be read, or is no frame (true colour, float); names it.
    """
    wanted = tuple(dict.fromkeys(files))
    with progress_bar(shown=progress) as bar, ThreadPoolExecutor(available_cores()) as pool:
        sizes = pool.map(lambda file: _size_hw(source / file), wanted)
        return dict(zip(wanted, bar.track(sizes, total=len(wanted), description="reading images"), strict=True))


def _size_hw(path: Path) -> tuple[int, int]:
    pixels = read_image(path)
    try:
        frame = as_frame(pixels)
    except FrameError as error:
        raise DataError(f"{path}: {error}") from error
    if frame.dtype.kind == "f":
        raise DataError(f"{path} has float pixels; store 8 or 16 bits")
    return int(frame.shape[0]), int(frame.shape[1])


def read_text(path: Path) -> str:
    """Read a text of labels.

    Raises:
        DataError: It is missing, no file, or no text.
    """
    _check_regular(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise DataError(f"{path} cannot be read: {cause}") from error
    if "\0" in text:
        raise DataError(f"{path} cannot be read: it is no text, byte {text.index(chr(0))} is 0")
    return text


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list that are not blank, each with its number.

    Raises:
        DataError: As `read_text`, or there is none.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1)]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise DataError(f"{path} lists nothing")
    return found


def read_document(path: Path) -> Any:
    """Read a JSON document of labels.

    Raises:
        DataError: It is missing, no file, not JSON, or nested too deeply.
    """
    _check_regular(path)
    return read_json(path)
