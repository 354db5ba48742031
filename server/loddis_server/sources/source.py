"""A source for asyncio: frames of a camera or a file, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.handover import Handover
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.status import SourceFrame, SourceStatus
from loddis_server.sources.supervisor import Supervisor

__all__ = ["Source"]


class Source:
    """Reads a camera or a file in a process of its own, and goes on reading whatever happens to that.

        async with Source(settings, allow=allow) as source:
            async for frame in source.frames():
                ...

    Of a camera, and of a file in real time, the newest frame is given: who takes too long misses frames, which shows in
    their indices. Of other files every frame is given, and the reader waits.

    Args:
        settings: Of the source.
        allow: What may be read.
        on_status: Called on the event loop when state or cause change.
    """

    def __init__(
        self,
        settings: SourceSettings,
        *,
        allow: SourceAllowList,
        on_status: Callable[[SourceStatus], None] | None = None,
    ) -> None:
        self.settings = settings
        self._allow = allow
        self._on_status = on_status
        self._supervisor: Supervisor | None = None
        self._handover: Handover | None = None

    @property
    def status(self) -> SourceStatus:
        """How it is now; may be asked from any thread."""
        return SourceStatus() if self._supervisor is None else self._supervisor.status

    async def start(self) -> None:
        """Begin to read.

        Raises:
            RuntimeError: It was started before.
        """
        if self._supervisor is not None:
            raise RuntimeError("a source is started once")
        loop = asyncio.get_running_loop()
        handover = Handover(loop, newest_wins=self.settings.is_live or self.settings.realtime)

        def on_status(status: SourceStatus) -> None:
            try:
                if self._on_status is not None:
                    loop.call_soon_threadsafe(self._on_status, status)
            except RuntimeError:  # the loop has ended: nobody is left to tell
                handover.close()
            if status.is_over:
                handover.close()

        self._handover = handover
        self._supervisor = Supervisor(self.settings, self._allow, on_frame=handover.put, on_status=on_status)
        self._supervisor.start()

    async def frames(self) -> AsyncIterator[SourceFrame]:
        """Give frames until the source is over: ended, failed for good, or stopped. One iterator at a time.

        Raises:
            RuntimeError: The source was not started.
        """
        if self._handover is None:
            raise RuntimeError("the source was not started")
        while (frame := await self._handover.take()) is not None:
            yield frame

    async def stop(self) -> None:
        """End the process and the thread; the camera is told where the protocol has a word for it."""
        if self._handover is not None:
            self._handover.close()
        if self._supervisor is not None:
            self._supervisor.interrupt()  # at once: of many that are stopped together, none waits for the one before
            await asyncio.to_thread(self._supervisor.stop)

    async def __aenter__(self) -> Source:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
