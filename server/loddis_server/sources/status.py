"""What a source gives, and how it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from loddis_server.sources.wire import FailureReason, GrayImage

__all__ = ["SourceFrame", "SourceState", "SourceStatus"]

SourceState = Literal["connecting", "live", "stalled", "ended", "failed"]


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """A frame of a source.

    Attributes:
        index: Counts frame periods from 0; grows, also over reconnections, and leaves out what was lost.
        captured_at: When its bytes arrived, or when it was due in a file that is played at its own pace, seconds since
            1970 (UTC).
        pts_s: Presentation time within its connection, seconds; None if the medium has none.
        image: ``(H, W)`` uint8 or uint16; its size may change from frame to frame.
        connection: Counts the connections that frames came over, from 0.
    """

    index: int
    captured_at: float
    pts_s: float | None
    image: GrayImage
    connection: int


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is.

    Attributes:
        state: `connecting` until the first frame; `live`; `stalled` while frames that came before do not come; `ended`
            after the last frame of a file, or once stopped; `failed`.
        cause: Why it is stalled or failed, or does not get its first frame; one sentence without passwords.
        reason: The same for programs.
        since: Begin of the state, seconds since 1970 (UTC).
        restarts: Processes started after the first one.
        frames: Frames that came.
        dropped: Of a camera's frames, those that nobody took in time, or that did not arrive whole.
        fps: Frames a second, over the last two seconds.
        last_frame_at: When the last frame came, seconds since 1970; None before the first.
        retry_at: When it is tried again, seconds since 1970; past while that try is under way; None if frames come, or
            no try will.
        container: FFmpeg's name of the container or protocol; None before it is known.
        codec: FFmpeg's name of the codec.
        pid: The process that reads; None if there is none now.
    """

    state: SourceState = "connecting"
    cause: str | None = None
    reason: FailureReason | None = None
    since: float = 0.0
    restarts: int = 0
    frames: int = 0
    dropped: int = 0
    fps: float = 0.0
    last_frame_at: float | None = None
    retry_at: float | None = None
    container: str | None = None
    codec: str | None = None
    pid: int | None = None

    @property
    def age_s(self) -> float | None:
        """Age of the last frame, seconds."""
        return None if self.last_frame_at is None else max(0.0, time.time() - self.last_frame_at)

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more."""
        return self.state == "ended" or (self.state == "failed" and self.retry_at is None)
