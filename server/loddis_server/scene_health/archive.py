"""Frames worth labelling, kept in a folder that never outgrows its limits, however many streams share it.

    FOLDER/mast-3/20260131T101502.250000Z-000007.png     the frame, lossless: 8 bit stay 8, 16 stay 16; float32 as .tiff
    FOLDER/mast-3/20260131T101502.250000Z-000007.json    when it was taken, and why it was kept

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.frames import Frame

__all__ = ["ArchiveSettings", "FrameArchive"]

NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-(\d{6,})")
PARTIAL: Final = ".part"
FASTEST_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1)
MIB: Final = 2**20

log = logging.getLogger(__name__)


class ArchiveSettings(BaseModel):
    """How much is kept, and how often something is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_frames: int = Field(
        default=2000, ge=1, description="Frames that are kept, of all streams together; the oldest goes first."
    )
    max_bytes: int = Field(
        default=1024 * MIB, ge=1, description="Bytes that their files may take, of all streams together."
    )
    min_free_bytes: int = Field(
        default=512 * MIB, ge=0, description="Bytes that stay free on the disk; below, nothing is kept."
    )
    interval_s: float = Field(
        default=60.0,
        ge=0,
        allow_inf_nan=False,
        description="Least time from one frame of a stream that is kept to the next, seconds: neighbours look alike.",
    )


class _Kept(NamedTuple):
    """A frame on the disk, and the bytes of its files."""

    image: Path
    sidecar: Path
    size: int

    def remove(self) -> None:
        """Delete it, and the folder of its stream if it was the last one in there."""
        self.image.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)
        with suppress(OSError):  # others are in there
            self.image.parent.rmdir()


class FrameArchive:
    """A folder of frames with what is known of them, for who labels: a folder in it for each stream.

    It is opened with the first frame. What a killed process left half-written is cleared away then; what is whole
    counts from then on as if it had been kept now. A disk that is full, or gone, costs the frame and a line in the log,
    nothing else. Any thread may use it.

    Args:
        folder: Made if it is missing. Files with other names are left alone.
        settings: Limits, of all streams together.
    """

    def __init__(self, folder: Path, settings: ArchiveSettings | None = None) -> None:
        self.folder = folder
        self.settings = settings or ArchiveSettings()
        self.failed = 0
        """Frames that could not be written."""
        self._lock = threading.Lock()
        self._is_open = False
        self._is_failing = False
        self._kept: deque[_Kept] = deque()  # oldest first
        self._bytes = 0
        self._number = 0

    def __len__(self) -> int:
        """Frames that are kept."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """Bytes that they take."""
        return self._bytes

    def keep(self, frame: Frame, *, stream_id: str, captured_at_s: float, about: Mapping[str, Any]) -> Path | None:
        """Keep a frame, and drop the oldest ones that there is no more room for.

        Args:
            frame: ``(H, W)``.
            stream_id: Of its stream, which names the folder that it goes to.
            captured_at_s: When it was taken, seconds since 1970.
            about: JSON-ready; goes into its sidecar, beside `stream_id`, `captured_at`, `image`, `size_hw` and `dtype`.

        Returns:
            The image; None where it could not be written.
        """
        suffix, options = (".tiff", ()) if frame.dtype.kind == "f" else (".png", FASTEST_PNG)
        pixels = cv2.imencode(suffix, frame, options)[1].tobytes()
        captured_at = datetime.fromtimestamp(captured_at_s, UTC)
        with self._lock:
            try:
                self._open()
                image = self.folder / stream_id / f"{captured_at:%Y%m%dT%H%M%S.%fZ}-{self._number:06d}{suffix}"
                document = {
                    "stream_id": stream_id,
                    "image": image.name,
                    "captured_at": captured_at.isoformat(),
                    "size_hw": list(frame.shape),
                    "dtype": frame.dtype.name,
                    **about,
                }
                self._write(image, pixels, json.dumps(document, indent=2).encode())
            except OSError as error:
                self._fail(error.strerror or str(error))
                return None
            self._is_failing = False
            return image

    def _write(self, image: Path, pixels: bytes, document: bytes) -> None:
        """Put a frame and its sidecar on the disk, within the limits."""
        size = len(pixels) + len(document)
        if size > self.settings.max_bytes:
            raise OSError(f"a frame of {size} bytes is over the limit of {self.settings.max_bytes}")
        self._make_room(frames=1, size=size)
        free = shutil.disk_usage(self.folder).free
        if free - size < self.settings.min_free_bytes:
            raise OSError(f"{free} bytes are free on the disk, {self.settings.min_free_bytes} are to stay free")
        kept = _Kept(image, image.with_suffix(".json"), size)
        image.parent.mkdir(exist_ok=True)
        try:
            _put(kept.image, pixels)
            _put(kept.sidecar, document)
        except OSError:
            with suppress(OSError):
                kept.remove()
            raise
        self._kept.append(kept)
        self._bytes += size
        self._number += 1

    def _make_room(self, *, frames: int, size: int) -> None:
        """Drop the oldest until so many more, of this size together, fit."""
        settings = self.settings
        while self._kept and (
            len(self._kept) + frames > settings.max_frames or self._bytes + size > settings.max_bytes
        ):
            self._kept[0].remove()
            self._bytes -= self._kept.popleft().size

    def _open(self) -> None:
        """Count, once, what an earlier process kept, oldest first, and clear away what it left half-done."""
        if self._is_open:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        found = [
            kept
            for folder in self.folder.iterdir()
            if folder.is_dir() and not folder.is_symlink()
            for kept in _take_stock(folder)
        ]
        self._kept = deque(sorted(found, key=lambda kept: kept.image.name))
        self._bytes = sum(kept.size for kept in found)
        self._number = max((int(kept.image.stem.rpartition("-")[2]) + 1 for kept in found), default=0)
        self._make_room(frames=0, size=0)
        self._is_open = True

    def _fail(self, cause: str) -> None:
        """Count a frame that was lost; the log hears of the first in a row."""
        self.failed += 1
        if not self._is_failing:
            log.warning("frames are not kept in %s: %s", self.folder, cause)
        self._is_failing = True


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + PARTIAL)
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _take_stock(folder: Path) -> list[_Kept]:
    """Give what is whole of the frames in a stream's folder, and clear away what is not."""
    images: dict[str, Path] = {}
    sidecars: dict[str, Path] = {}
    for file in folder.iterdir():
        name = file.name.removesuffix(PARTIAL)
        stem = name.rpartition(".")[0]
        if not NAME.fullmatch(stem):
            continue
        if file.suffix == PARTIAL:
            file.unlink(missing_ok=True)
        elif file.suffix == ".json":
            sidecars[stem] = file
        elif file.suffix in (".png", ".tiff"):
            images[stem] = file
    for stem in images.keys() ^ sidecars.keys():
        (images.get(stem) or sidecars[stem]).unlink(missing_ok=True)
    return [
        _Kept(images[stem], sidecars[stem], images[stem].stat().st_size + sidecars[stem].stat().st_size)
        for stem in images.keys() & sidecars.keys()
    ]
