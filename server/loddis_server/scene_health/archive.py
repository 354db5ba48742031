"""Frames worth labelling, kept in a folder that never outgrows its limits.

    FOLDER/20260131T101502.250000Z-000007.png     the frame, lossless: 8 bit stay 8, 16 stay 16; float32 as .tiff
    FOLDER/20260131T101502.250000Z-000007.json    when it was taken, and why it was kept

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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

    max_frames: int = Field(default=500, ge=1, description="Frames that are kept; the oldest goes first.")
    max_bytes: int = Field(default=256 * MIB, ge=1, description="Bytes that files of the archive may take.")
    min_free_bytes: int = Field(
        default=512 * MIB, ge=0, description="Bytes that stay free on the disk; below, nothing is kept."
    )
    interval_s: float = Field(
        default=60.0,
        ge=0,
        allow_inf_nan=False,
        description="Least time from one frame that is kept to the next, seconds: neighbours look alike.",
    )


class FrameArchive:
    """A folder of frames with what is known of them, for who labels.

    What a killed process left half-written is cleared away when the folder is opened; what is whole counts from then on
    as if it had been kept now. A disk that is full, or gone, costs the frame and a line in the log, nothing else.

    Args:
        folder: Made if it is missing. Files with other names are left alone.
        settings: Limits.

    Raises:
        OSError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, settings: ArchiveSettings | None = None) -> None:
        self.folder = folder
        self.settings = settings or ArchiveSettings()
        self._last_s: float | None = None
        self._is_failing = False
        self.failed = 0
        """Frames that could not be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._kept: deque[tuple[tuple[Path, Path], int]] = deque()  # image and sidecar, bytes of both; oldest first
        self._bytes = 0
        self._number = 0
        self._take_stock()

    def __len__(self) -> int:
        """Frames that are kept."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """Bytes that they take."""
        return self._bytes

    def offer(self, frame: Frame, *, captured_at_s: float, about: Mapping[str, Any]) -> Path | None:
        """Keep a frame if it is time for one.

        Args:
            frame: ``(H, W)``.
            captured_at_s: When it was taken, seconds since 1970.
            about: JSON-ready; goes into its sidecar, beside `captured_at`, `image`, `size_hw` and `dtype`.

        Returns:
            The image; None where it came too soon after the last one, or could not be written.
        """
        # A clock that was set back must not stop the archive until it has caught up.
        if self._last_s is not None and 0 <= captured_at_s - self._last_s < self.settings.interval_s:
            return None
        self._last_s = captured_at_s
        try:
            path = self._write(frame, captured_at_s, about)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return None
        self._is_failing = False
        return path

    def _write(self, frame: Frame, captured_at_s: float, about: Mapping[str, Any]) -> Path:
        captured_at = datetime.fromtimestamp(captured_at_s, UTC)
        stem = f"{captured_at:%Y%m%dT%H%M%S.%fZ}-{self._number:06d}"
        suffix, options = (".tiff", ()) if frame.dtype.kind == "f" else (".png", FASTEST_PNG)
        image, sidecar = self.folder / f"{stem}{suffix}", self.folder / f"{stem}.json"
        pixels = cv2.imencode(suffix, frame, options)[1].tobytes()
        document = json.dumps(
            {
                "image": image.name,
                "captured_at": captured_at.isoformat(),
                "size_hw": list(frame.shape),
                "dtype": frame.dtype.name,
                **about,
            },
            indent=2,
        ).encode()
        size = len(pixels) + len(document)
        if size > self.settings.max_bytes:
            raise OSError(f"a frame of {size} bytes is over the limit of {self.settings.max_bytes}")
        self._make_room(frames=1, size=size)
        free = shutil.disk_usage(self.folder).free
        if free - size < self.settings.min_free_bytes:
            raise OSError(f"{free} bytes are free on the disk, {self.settings.min_free_bytes} are to stay free")
        self._put(image, pixels)
        try:
            self._put(sidecar, document)
        except OSError:
            image.unlink(missing_ok=True)
            raise
        self._kept.append(((image, sidecar), size))
        self._bytes += size
        self._number += 1
        return image

    def _put(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all."""
        part = path.with_name(path.name + PARTIAL)
        try:
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def _make_room(self, *, frames: int, size: int) -> None:
        """Drop the oldest until so many more, of this size together, fit."""
        settings = self.settings
        while self._kept and (
            len(self._kept) + frames > settings.max_frames or self._bytes + size > settings.max_bytes
        ):
            files, freed = self._kept[0]
            for file in files:
                file.unlink(missing_ok=True)
            self._kept.popleft()
            self._bytes -= freed

    def _take_stock(self) -> None:
        """Count what an earlier process kept, oldest first, and clear away what it left half-done."""
        images: dict[str, Path] = {}
        sidecars: dict[str, Path] = {}
        for file in sorted(self.folder.iterdir()):
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
        for stem in sorted(images.keys() ^ sidecars.keys()):
            (images.get(stem) or sidecars[stem]).unlink(missing_ok=True)
        for stem in sorted(images.keys() & sidecars.keys()):
            size = images[stem].stat().st_size + sidecars[stem].stat().st_size
            self._kept.append(((images[stem], sidecars[stem]), size))
            self._bytes += size
            self._number = max(self._number, int(stem.rpartition("-")[2]) + 1)
        self._make_room(frames=0, size=0)

    def _fail(self, cause: str) -> None:
        """Count a frame that was lost; the log hears of the first in a row."""
        self.failed += 1
        if not self._is_failing:
            log.warning("frames are not kept in %s: %s", self.folder, cause)
        self._is_failing = True
