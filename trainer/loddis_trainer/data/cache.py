"""Decoded frames of a split in one flat file, mapped into memory: built once, read without decoding.

    CACHE/DOMAIN-SPLIT-FINGERPRINT/
        frames.bin      pixels of all frames, one after the other
        index.npz       offset, height, width and bytes a pixel of each frame; which files they were decoded from

A cache is built beside its place and renamed into it: a killed build leaves nothing that looks whole, and of two
processes that build at once one wins. One that was damaged later, by a full disk or a tidy hand, is built anew. The
fingerprint covers place, size, times and inode of every source file. Once a cache is built, those of the same files as
they were before are removed; a process that has one of them mapped keeps its frames until it ends.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import platformdirs
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loddis_runtime.engines.threads import available_cores
from loddis_runtime.errors import FrameError
from loddis_runtime.frames import Frame, as_frame
from loddis_trainer.data.annotations import SequenceSource, SplitIndex
from loddis_trainer.data.errors import DataError

__all__ = ["FrameCache", "default_cache_dir"]

log = logging.getLogger(__name__)

FORMAT_VERSION = "3"


def default_cache_dir() -> Path:
    """Give ``$LODDIS_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("LODDIS_CACHE") or platformdirs.user_cache_dir("loddis"))


class FrameCache:
    """Frames of a split by number, as views into a memory map.

    Args:
        folder: A cache that `open` has built.

    Raises:
        DataError: A file of it is missing, or not what was built.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            with (folder / "index.npz").open("rb") as handle, np.load(handle) as index:
                self.offsets: NDArray[np.int64] = index["offsets"]
                self.sizes_hw: NDArray[np.int32] = index["sizes_hw"]
                self.pixel_bytes: NDArray[np.int8] = index["pixel_bytes"]
            self._bytes = np.memmap(folder / "frames.bin", dtype=np.uint8, mode="r")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(f"frame cache {folder} is damaged: {error}") from error
        whole = int(_lengths(self.sizes_hw, self.pixel_bytes).sum())
        if self._bytes.size != whole:
            raise DataError(f"frame cache {folder} is damaged: frames.bin has {self._bytes.size} bytes, not {whole}")

    @classmethod
    def open(cls, index: SplitIndex, *, cache_dir: Path | None = None, progress: bool = True) -> FrameCache:
        """Map the cache of a split; build it first if it is not there, or not whole.

        Args:
            index: Of the split.
            cache_dir: Folder of all caches.
            progress: Show a bar while building.

        Raises:
            DataError: A frame that cannot be decoded or is not of the annotated size, or a disk that cannot hold the
                cache.
        """
        folder = (cache_dir or default_cache_dir()) / f"{index.domain}-{index.split}-{_fingerprint(index)}"
        if not folder.is_dir():
            _install(index, folder, progress=progress)
            _remove_predecessors(index, folder)
        try:
            cache = cls(folder)
        except DataError as error:
            log.warning("%s; it is built anew", error)
            _install(index, folder, progress=progress)
            cache = cls(folder)
        places = ((sequence, place) for sequence in index.sequences for place in range(len(sequence.records)))
        for (sequence, place), (height, width) in zip(places, cache.sizes_hw.tolist(), strict=True):
            _check_size(sequence, place, (height, width))  # the annotation may have changed since
        return cache

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.offsets)

    def __reduce__(self) -> tuple[type[FrameCache], tuple[Path]]:
        """Send the place to other processes, not the frames: a memory map would be copied as a whole."""
        return type(self), (self._folder,)

    def frame(self, number: int) -> Frame:
        """Give a frame ``(H, W)``, uint8 or uint16; a view, not to be written to."""
        height, width = (int(side) for side in self.sizes_hw[number])
        start, wide = int(self.offsets[number]), int(self.pixel_bytes[number])
        flat = self._bytes[start : start + height * width * wide]
        dtype = np.uint8 if wide == 1 else np.uint16
        return as_frame(flat.view(dtype).reshape(height, width))


def _fingerprint(index: SplitIndex) -> str:
    """Hash what the pixels depend on.

    Files are told apart as git tells them, by place, inode and time of change too: copies share names, sizes and dates,
    folders may swap their names, and to hash what every file holds would read the whole domain at each start.
    """
    digest = hashlib.sha256(FORMAT_VERSION.encode())
    for sequence, files in _named_files(index):
        digest.update(f"{sequence.name!a}\n".encode())
        for file, name in files:
            stat = file.stat()
            known = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            digest.update(f"{name} {known}\n".encode())
        digest.update(np.array([record.frame_index for record in sequence.records], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def _sources(index: SplitIndex) -> str:
    """Hash which files a split is decoded from, whatever is in them."""
    digest = hashlib.sha256()
    for sequence, files in _named_files(index):
        names = "\n".join(name for _, name in files)
        digest.update(f"{sequence.name!a}\n{names}\n".encode())
    return digest.hexdigest()


def _named_files(index: SplitIndex) -> Iterator[tuple[SequenceSource, list[tuple[Path, str]]]]:
    """Give every sequence with its files, each with its place and name in ASCII."""
    resolved = functools.cache(Path.resolve)  # of a folder, for all of its files
    for sequence in index.sequences:
        yield sequence, [(file, f"{str(resolved(file.parent))!a} {file.name!a}") for file in sequence.files]


def _remove_predecessors(index: SplitIndex, folder: Path) -> None:
    """Remove the caches of the same files that the one in `folder` comes after."""
    sources = _sources(index)
    stem = folder.name.rpartition("-")[0]
    for other in folder.parent.iterdir():
        if other != folder and other.name.rpartition("-")[0] == stem and _sources_of(other) == sources:
            shutil.rmtree(other, ignore_errors=True)


def _sources_of(folder: Path) -> str | None:
    """Give what a cache was decoded from, if it says so."""
    try:
        with (folder / "index.npz").open("rb") as handle, np.load(handle) as index:
            return str(index["sources"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _install(index: SplitIndex, folder: Path, *, progress: bool) -> None:
    """Build a cache beside its place and rename it into it."""
    root = folder.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
    except OSError as error:
        raise DataError(f"frame cache {root} cannot be written: {error}") from error
    try:
        _build(index, building, progress=progress)
        _take_place(building, folder)
    except OSError as error:
        raise DataError(f"frame cache {folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _take_place(building: Path, folder: Path) -> None:
    """Rename a new cache into its place, unless another process was first and built the same."""
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        try:
            FrameCache(folder)
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)


def _build(index: SplitIndex, folder: Path, *, progress: bool) -> None:
    """Decode all frames into `folder`, several sequences at once, written in order."""
    sizes: list[tuple[int, int]] = []
    widths: list[int] = []
    total = sum(len(sequence.records) for sequence in index.sequences)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        (folder / "frames.bin").open("wb") as out,
        ThreadPoolExecutor(available_cores()) as pool,
        Progress(*columns, disable=not progress, transient=True) as bar,
    ):
        task = bar.add_task(f"decoding {index.domain} {index.split}", total=total)
        for frames in _in_order(pool, index.sequences):
            for frame in frames:
                out.write(frame.tobytes())
                sizes.append((frame.shape[0], frame.shape[1]))
                widths.append(frame.dtype.itemsize)
                bar.advance(task)
        out.flush()
        os.fsync(out.fileno())
    sizes_hw = np.array(sizes, dtype=np.int32).reshape(-1, 2)
    pixel_bytes = np.array(widths, dtype=np.int8)
    offsets = np.concatenate(([0], np.cumsum(_lengths(sizes_hw, pixel_bytes))[:-1])).astype(np.int64)
    np.savez(
        folder / "index.npz",
        offsets=offsets,
        sizes_hw=sizes_hw,
        pixel_bytes=pixel_bytes,
        sources=np.array(_sources(index)),
    )


def _lengths(sizes_hw: NDArray[np.int32], pixel_bytes: NDArray[np.int8]) -> NDArray[np.int64]:
    """Give the bytes of each frame."""
    return np.asarray(sizes_hw.astype(np.int64).prod(axis=1) * pixel_bytes, dtype=np.int64)


def _check_size(sequence: SequenceSource, place: int, size_hw: tuple[int, ...]) -> None:
    """Refuse a frame whose boxes were annotated in another size: they would lie anywhere."""
    height, width = sequence.records[place].size_hw
    if size_hw != (height, width):
        raise DataError(
            f"{sequence.where(place)}: is {size_hw[1]} x {size_hw[0]} px, but annotated as {width} x {height} px"
        )


def _in_order(pool: ThreadPoolExecutor, sequences: tuple[SequenceSource, ...]) -> Iterator[list[Frame]]:
    """Decode sequences a few ahead of what is written, so that memory stays small."""
    ahead = 4
    running = [pool.submit(_decode, sequence) for sequence in sequences[:ahead]]
    for following in range(len(sequences)):
        done = running.pop(0)
        if following + ahead < len(sequences):
            running.append(pool.submit(_decode, sequences[following + ahead]))
        yield done.result()


def _decode(sequence: SequenceSource) -> list[Frame]:
    frames: list[Frame] = []
    for place, pixels in enumerate(sequence.decode()):
        try:
            frame = as_frame(pixels)
        except FrameError as error:
            raise DataError(f"{sequence.where(place)}: {error}") from error
        if frame.dtype == np.float32:
            raise DataError(f"sequence '{sequence.name}' has float frames; store 8 or 16 bits")
        _check_size(sequence, place, frame.shape)
        frames.append(frame)
    if len(frames) != len(sequence.records):
        raise DataError(f"sequence '{sequence.name}' gave {len(frames)} frames for {len(sequence.records)} labels")
    return frames
