"""What the containers of videos state: how many frames, at what rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from loddis_trainer.data.annotations import SequenceSource
from loddis_trainer.data.errors import DataError

__all__ = ["VideoHeader", "video_headers"]


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """One video.

    Attributes:
        frames: In it.
        rate_fps: Frames a second; ``None`` where the container does not say.
    """

    frames: int
    rate_fps: float | None


def video_headers(sources: tuple[SequenceSource, ...]) -> dict[str, VideoHeader]:
    """Read the headers of those sequences that come from a video each, by name.

    Raises:
        DataError: A video that cannot be opened.
    """
    return {source.name: _header(source.video) for source in sources if source.video is not None}


def _header(path: Path) -> VideoHeader:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate) if stream.average_rate else None
            frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DataError(f"{path} is no video that can be read: {error}") from error
    return VideoHeader(frames, rate)
