"""A video that arrives in pieces, decoded as it comes: frames go out while the upload still runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.errors import LoddisError
from loddis_server.sources.opening import open_upload_medium
from loddis_server.sources.process import ChildProcess
from loddis_server.sources.status import SourceFrame
from loddis_server.sources.wire import Ended, Failed, FailureReason, FrameMessage, Message

__all__ = ["VideoDecoder", "VideoError", "VideoLimits"]

MIB = 2**20


class VideoError(LoddisError):
    """A video that cannot be decoded, or not any further.

    Attributes:
        reason: For programs: `damaged`, `unsupported`, `true_colour`, `too_large`, `no_space`, `refused`, `lost` (out
            of time) or `crashed`.
    """

    def __init__(self, reason: FailureReason, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason


class VideoLimits(BaseModel):
    """How much of the machine one video may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_frame_pixels: int = Field(default=32 * MIB, ge=64, description="Largest frame, pixels.")
    max_frames: int = Field(default=100_000, ge=1, description="Most frames.")
    timeout_s: float = Field(
        default=600.0, gt=0, allow_inf_nan=False, description="From the first byte to the last frame, seconds."
    )
    max_spool_bytes: int = Field(
        default=512 * MIB,
        ge=0,
        description="Largest MP4 whose index is at its end, which must be whole before it can be decoded, bytes.",
    )
    memory_bytes: int = Field(
        default=1024 * MIB, ge=512 * MIB, description="Address space of the process that decodes, bytes."
    )


class VideoDecoder:
    """Decodes one video in a process of its own.

        async with VideoDecoder(limits) as decoder:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send(decoder))          # feed(chunk) …, then finish()
                async for frame in decoder.frames():
                    ...

    `feed` waits while the decoder is busy, and the decoder waits while frames are not taken: memory does not grow with
    the video. So the two must run side by side.

    Args:
        limits: Of this video.
    """

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        self._child: ChildProcess | None = None
        self._upload: socket.socket | None = None
        # Its own thread: waiting for a child must not take one that others wait for, and a child ends with its thread.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="video")
        self._deadline = 0.0

    @property
    def pid(self) -> int | None:
        """The process that decodes; None before and after."""
        return None if self._child is None else self._child.pid

    async def __aenter__(self) -> VideoDecoder:
        """Start the process.

        Raises:
            VideoError: None can be started.
        """
        limits = self._limits
        self._deadline = time.monotonic() + limits.timeout_s
        try:
            medium, self._upload = open_upload_medium(
                max_pixels=limits.max_frame_pixels,
                max_spool_bytes=limits.max_spool_bytes,
                memory_bytes=limits.memory_bytes,
            )
            self._upload.setblocking(False)
            with medium:
                self._child = await asyncio.get_running_loop().run_in_executor(self._thread, ChildProcess, medium)
        except OSError as error:
            await self._close()
            raise VideoError("crashed", f"no process could be started: {error.strerror}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def feed(self, chunk: bytes) -> bool:
        """Give the next bytes of the video; waits while the decoder has enough.

        Returns:
            Whether it wants more: once it has failed or is content, it does not. `frames` says which.
        """
        if self._upload is None:
            return False
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await asyncio.get_running_loop().sock_sendall(self._upload, chunk)
            return True
        return False

    def finish(self) -> None:
        """Say that the video is whole."""
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    async def frames(self) -> AsyncIterator[SourceFrame]:
        """Give every frame, in order, indices from 0.

        Raises:
            VideoError: The video cannot be decoded, or exceeds a limit; frames before that were given.
        """
        index = 0
        while not isinstance(message := await self._receive(), Ended):
            if isinstance(message, Failed):
                raise VideoError(message.reason, message.cause)
            if not isinstance(message, FrameMessage):
                continue
            if index >= self._limits.max_frames:
                raise VideoError("too_large", f"the video has more than {self._limits.max_frames} frames")
            yield SourceFrame(index, message.captured_at, message.pts_s, message.image, connection=0)
            index += 1

    async def _receive(self) -> Message:
        child, left_s = self._child, self._deadline - time.monotonic()
        if child is None:
            raise RuntimeError("the decoder was not started")

        def receive() -> Message:
            return child.receive(timeout_s=max(0.001, left_s))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, receive)
        except TimeoutError:
            raise VideoError("lost", f"the video was not decoded within {self._limits.timeout_s:g} s") from None

    async def _close(self) -> None:
        self.finish()
        child, self._child = self._child, None
        if child is not None:
            child.interrupt()  # a `receive` under way returns, which frees the thread
            await asyncio.get_running_loop().run_in_executor(self._thread, child.__exit__, None, None, None)
        self._thread.shutdown(wait=False)
