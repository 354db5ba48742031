"""The last look at videos before they are written: what the trainer will decode of them, decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loddis_runtime.engines.threads import available_cores
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.files import progress_bar
from loddis_trainer.data.importers.records import ImportedFrame
from loddis_trainer.data.readers.videos import decode_frames

__all__ = ["check_videos"]


def check_videos(source: Path, frames: Iterable[ImportedFrame], *, progress: bool) -> None:
    """Decode frames of videos as the trainer will, to see that it can; minutes for a large set.

    Args:
        source: Folder that the videos are under.
        frames: Those that a domain is to hold, of each video by rising index.
        progress: Show a bar.

    Raises:
        DataError: A video that is damaged up to its last frame here, or has one in true colour or of another size than
            its header says; names file and frame.
    """
    videos: dict[str, list[ImportedFrame]] = {}
    for frame in frames:
        videos.setdefault(frame.file, []).append(frame)
    with progress_bar(shown=progress) as bar, ThreadPoolExecutor(available_cores()) as pool:
        decoded = pool.map(lambda labelled: _decode(source, labelled), videos.values())
        for _ in bar.track(decoded, total=len(videos), description="decoding videos"):
            pass


def _decode(source: Path, labelled: Sequence[ImportedFrame]) -> None:
    video = source / labelled[0].file
    wanted = tuple(frame.frame_index for frame in labelled)
    for frame, pixels in zip(labelled, decode_frames(video, wanted), strict=True):
        if pixels.shape != frame.size_hw:
            raise DataError(
                f"{video}, frame {frame.frame_index}: is {pixels.shape[1]} x {pixels.shape[0]} px, but the video's"
                f" header says {frame.size_hw[1]} x {frame.size_hw[0]} px"
            )
