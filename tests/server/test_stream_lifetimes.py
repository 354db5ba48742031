"""Streams that end while something is under way, and what must not hold them up or leak."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

import loddis_runtime
from loddis_runtime.detector import Detector
from loddis_server.bodies import reader_of_pixels
from loddis_server.endless import EndlessResponse
from loddis_server.models import ModelLease, ServedModel
from loddis_server.problems import STREAM_CONFLICT, TOO_MANY_STREAMS, UNKNOWN_STREAM, ProblemError
from loddis_server.scene_health import Canary, CanarySettings
from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.streams import live as live_module
from loddis_server.streams import registry as registry_module
from loddis_server.streams.hub import Hub
from loddis_server.streams.live import LiveStream
from loddis_server.streams.pictures import SharedPictures
from loddis_server.streams.registry import StreamRegistry
from loddis_server.streams.session import FrameOptions, StreamSession
from loddis_server.streams.settings import SourceStreamSettings, StreamSettings, StreamsSettings
from support.frame_files import spot_frame
from support.moving import moving_spot

FRAME = spot_frame((30, 20))


@pytest.fixture(scope="module")
def detector(spot_bundle: Path) -> Iterator[Detector]:
    with loddis_runtime.load(spot_bundle, threads=1) as detector:
        yield detector


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


class GatedPipeline:
    """A pipeline on the event loop that works on nothing before its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.drawn = 0

    def submit(self, job: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._work(job))

    async def run_in_worker(self, function: Callable[[], Any]) -> Any:
        self.drawn += 1
        return function()

    async def _work(self, job: Any) -> Any:
        await self.gate.wait()
        job.prepared = job.prepare(job.reader.read())
        (outcome,) = job.finish_alike([job], job.model.detector.infer([job.prepared]))
        return outcome


class Models:
    """A store of one model."""

    def __init__(self, detector: Detector) -> None:
        self.model = ServedModel(detector)

    def lease(self, _: str | None = None) -> ModelLease:
        self.model.leases += 1
        return ModelLease(self.model, find=lambda: self.model, give_back=self._give_back)

    def _give_back(self, model: ServedModel) -> None:
        model.leases -= 1


class CountedPlace:
    """A place that counts who holds it."""

    def __init__(self) -> None:
        self.holders = 0

    def hold(self) -> None:
        self.holders += 1

    def release(self) -> None:
        self.holders -= 1

    def arrived(self) -> None:
        """Nobody waits for it."""


class Silent:
    """A reporter that keeps nothing."""

    def report_result(self, *_: object) -> tuple[()]:
        """Keep nothing."""
        return ()


def stream_of(models: Models, pipeline: GatedPipeline, on_result: Callable[..., Any] = lambda *_: ()) -> LiveStream:
    return LiveStream(
        "mast",
        "pushed",
        lend=models.lease,
        settings=StreamSettings(),
        limits=StreamsSettings(),
        pipeline=cast(Any, pipeline),
        on_result=on_result,
    )


def registry_of(models: Models, pipeline: GatedPipeline, **settings: Any) -> StreamRegistry:
    return StreamRegistry(
        StreamsSettings(**settings),
        allow=SourceAllowList(),
        models=cast(Any, models),
        pipeline=cast(Any, pipeline),
        reporter=cast(Any, Silent()),
    )


def send(stream: LiveStream, index: int) -> asyncio.Task[Any]:
    return asyncio.ensure_future(stream.detect(reader_of_pixels(FRAME), FrameOptions(frame_index=index)))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_nobody_is_told_of_a_frame_whose_events_are_not_durable_yet(detector: Detector) -> None:
    async def scenario() -> None:
        durable: Future[None] = Future()
        pipeline = GatedPipeline()
        pipeline.gate.set()
        stream = stream_of(Models(detector), pipeline, lambda *_: [durable])
        with stream.hub.subscribe() as listener:
            sent = send(stream, 0)
            assert await listener.next(timeout_s=live_module.STORING_PATIENCE_S / 3) is None
            assert not sent.done()
            durable.set_result(None)
            answer = await sent
            assert await listener.next(timeout_s=5) is answer.message

    asyncio.run(scenario())


def test_a_database_that_does_not_answer_delays_a_frame_and_does_not_stop_it(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "STORING_PATIENCE_S", 0.05)

    async def scenario() -> None:
        never: Future[None] = Future()
        pipeline = GatedPipeline()
        pipeline.gate.set()
        stream = stream_of(Models(detector), pipeline, lambda *_: [never])
        began_s = time.monotonic()
        await send(stream, 0)
        assert time.monotonic() - began_s >= 0.05
        assert stream.frames == 1

    asyncio.run(scenario())


def test_an_answer_does_not_wait_for_the_canary_and_the_next_frame_does(detector: Detector) -> None:
    async def scenario() -> None:
        looked_on = asyncio.Event()

        class SlowWorkers(GatedPipeline):
            async def run_in_worker(self, function: Callable[[], Any]) -> Any:
                await looked_on.wait()
                return await super().run_in_worker(function)

        pipeline = SlowWorkers()
        pipeline.gate.set()
        stream = stream_of(Models(detector), pipeline)
        stream.session.canary = Canary(CanarySettings(), seed=0)
        place = CountedPlace()
        sent = stream.detect(reader_of_pixels(FRAME), FrameOptions(frame_index=0), place=place)
        await asyncio.wait_for(sent, timeout=5)
        await asyncio.sleep(0)
        assert place.holders == 0  # whoever has the answer may send the next frame
        following = send(stream, 1)
        await asyncio.wait([following], timeout=0.1)
        assert not following.done()
        looked_on.set()
        await asyncio.wait_for(following, timeout=5)

    asyncio.run(scenario())


def test_frames_that_were_let_in_are_answered_before_the_stream_ends(detector: Detector) -> None:
    async def scenario() -> None:
        models, pipeline = Models(detector), GatedPipeline()
        stream = stream_of(models, pipeline)
        with stream.hub.subscribe() as listener:
            sent = [send(stream, index) for index in range(3)]
            await until(lambda: not stream.is_idle)
            ending = asyncio.ensure_future(stream.end("it was deleted"))
            await until(lambda: stream.ended is not None)
            with pytest.raises(ProblemError) as refused:
                await send(stream, 3)
            assert refused.value.kind is UNKNOWN_STREAM
            assert models.model.leases == 1
            pipeline.gate.set()
            assert [(await one).result.window.frame_index for one in sent] == [0, 1, 2]
            await ending
            assert [cast(Any, await listener.next()).kind for _ in range(4)] == ["frame"] * 3 + ["end"]
        assert models.model.leases == 0

    run(scenario())


def test_a_stream_ends_whole_even_if_whoever_began_that_leaves(detector: Detector) -> None:
    """A source that is over ends its stream; a deletion then cancels the task that does so, and ends it again."""

    async def scenario() -> None:
        models, pipeline = Models(detector), GatedPipeline()
        stream = stream_of(models, pipeline)
        with stream.hub.subscribe() as listener:
            sent = send(stream, 0)
            await until(lambda: not stream.is_idle)
            beginning = asyncio.ensure_future(stream.end("its source is over"))
            await until(lambda: stream.ended is not None)
            beginning.cancel()
            deleting = asyncio.ensure_future(stream.end("it was deleted"))
            with pytest.raises(asyncio.CancelledError):
                await beginning
            assert not deleting.done()
            pipeline.gate.set()
            await sent
            await deleting
            assert stream.over.is_set()
            assert models.model.leases == 0
            told = [cast(Any, await listener.next(timeout_s=5)) for _ in range(2)]
            assert [message.kind for message in told] == ["frame", "end"]
            assert told[1].document["reason"] == "its source is over"

    run(scenario())


def test_what_goes_wrong_after_a_frame_has_its_answer_does_not_take_it_away(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room for events")

    async def scenario() -> None:
        pipeline = GatedPipeline()
        pipeline.gate.set()
        stream = stream_of(Models(detector), pipeline, fail)
        assert [(await send(stream, index)).result.window.frame_index for index in range(2)] == [0, 1]
        assert (stream.frames, stream.refused) == (2, 0)
        await stream.end("over")

    run(scenario())
    assert "no room for events" in caplog.text


def test_a_stream_that_cannot_begin_keeps_no_lease(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> StreamSession:
        raise MemoryError

    async def scenario() -> None:
        models = Models(detector)
        monkeypatch.setattr(live_module, "StreamSession", fail)
        with pytest.raises(MemoryError):
            stream_of(models, GatedPipeline())
        assert models.model.leases == 0

    run(scenario())


def test_a_frame_that_hangs_holds_up_neither_a_deletion_nor_other_streams(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "END_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        models, pipeline = Models(detector), GatedPipeline()
        streams = registry_of(models, pipeline)
        deleted, hanging, idle = (streams.open(name) for name in ("deleted", "hanging", "idle"))
        frames = [send(deleted, 0), send(hanging, 0)]
        await until(lambda: not (deleted.is_idle or hanging.is_idle))
        await streams.remove("deleted", "it was deleted")
        with pytest.raises(ProblemError):
            streams.find("deleted")
        stopping = asyncio.ensure_future(streams.stop())
        await idle.over.wait()
        assert [deleted.over.is_set(), hanging.over.is_set(), stopping.done()] == [False] * 3
        pipeline.gate.set()
        await stopping
        await asyncio.gather(*frames)
        assert models.model.leases == 0

    run(scenario())


def test_a_stream_with_a_frame_under_way_is_not_idle(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "SWEEP_S", 0.001)

    async def scenario() -> None:
        pipeline = GatedPipeline()
        streams = registry_of(Models(detector), pipeline, idle_timeout_s=0.01)
        busy, idle = streams.open("busy"), streams.open("idle")
        frame = send(busy, 0)
        await until(lambda: not busy.is_idle)
        streams.start()
        await idle.over.wait()
        assert busy.ended is None
        pipeline.gate.set()
        await frame
        await busy.over.wait()
        await streams.stop()

    run(scenario())


def test_nobody_takes_the_name_or_the_place_of_a_camera_of_the_settings(detector: Detector) -> None:
    async def scenario() -> None:
        camera = SourceStreamSettings(stream_id="mast", source=SourceSettings(path=Path("/clips/a.mkv")))
        streams = registry_of(Models(detector), GatedPipeline(), cameras=(camera,), max_streams=2)
        with pytest.raises(ProblemError) as refused:
            streams.open("mast")
        assert refused.value.kind is STREAM_CONFLICT
        streams.open("other")
        with pytest.raises(ProblemError) as refused:
            streams.open("third")
        assert refused.value.kind is TOO_MANY_STREAMS
        streams.start()  # the camera may not be read here: its place is free again
        await until(lambda: _opens(streams, "third"))
        await streams.stop()

    run(scenario())


def _opens(streams: StreamRegistry, stream_id: str) -> bool:
    with contextlib.suppress(ProblemError):
        streams.open(stream_id)
        return True
    return False


def test_a_listener_that_left_before_its_answer_began_is_forgotten() -> None:
    async def scenario() -> None:
        hub = Hub(4)
        resources = contextlib.AsyncExitStack()
        listener = resources.enter_context(hub.subscribe())

        async def chunks() -> AsyncIterator[bytes]:
            while await listener.next() is not None:
                yield b"\n"

        async def left() -> Any:
            return {"type": "http.disconnect"}

        async def ignore(_: Any) -> None:
            return None

        answer = EndlessResponse(cast(Any, chunks()), media_type="application/x-ndjson", resources=resources)
        await answer({"type": "http", "asgi": {"spec_version": "2.3"}}, left, ignore)
        assert len(hub) == 0

    run(scenario())


def test_all_who_watch_at_one_scale_share_a_picture(detector: Detector) -> None:
    async def scenario() -> None:
        pipeline = GatedPipeline()
        pipeline.gate.set()
        stream = stream_of(Models(detector), pipeline)
        pictures = SharedPictures(cast(Any, pipeline).run_in_worker)
        results = [(await stream.detect(reader_of_pixels(frame), FrameOptions())).result for frame in moving_spot(2)]
        first = await asyncio.gather(*(pictures.of(results[0], scale=2) for _ in range(5)))
        assert (len(set(first)), pipeline.drawn) == (1, 1)
        assert await pictures.of(results[0], scale=1) != first[0]
        assert await pictures.of(results[1], scale=2) != first[0]
        assert pipeline.drawn == 3
        await stream.end("over")

    run(scenario())
