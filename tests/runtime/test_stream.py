"""The frames of one camera, one at a time."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import loddis_runtime
from loddis_runtime import Detections, Detector, Stream, StreamDetections
from loddis_runtime.errors import (
    ConfigError,
    DuplicateFrameError,
    EngineError,
    FrameError,
    LateFrameError,
    StreamError,
)
from loddis_runtime.intensity import Percentile, normalise
from loddis_runtime.letterbox import letterbox
from loddis_runtime.registration import register
from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig
from support.bundles import write_spot_bundle

NET_HW = (64, 96)
FRAME_HW = (80, 100)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Detector]]:
    """Open detectors by length of window and whether it is registered; one each."""
    opened: dict[tuple[int, bool], Detector] = {}

    def get(window: int, *, register_window: bool = False) -> Detector:
        if (window, register_window) not in opened:
            path = write_spot_bundle(tmp_path_factory.mktemp("models"), window=window, intensity=Percentile())
            detector = loddis_runtime.load(path, threads=1)
            manifest = detector.manifest.model_copy(update={"register_window": register_window})
            opened[window, register_window] = detector.with_manifest(manifest)
        return opened[window, register_window]

    yield get
    for detector in opened.values():
        detector.close()


@pytest.fixture
def frames() -> list[NDArray[np.uint16]]:
    """Give a clip over ground with a panning camera and a bright spot."""
    config = SceneConfig(
        size_hw=FRAME_HW,
        frames=9,
        seed=4,
        background="ground",
        camera=CameraMotion(pan_px_per_frame=(1.4, -0.6)),
    )
    rows, columns = np.mgrid[: FRAME_HW[0], : FRAME_HW[1]] + 0.5
    clip = []
    for step, frame in enumerate(Scene(config)):
        spot = 30_000 * np.exp(-((columns - 30 - 2 * step) ** 2 + (rows - 40) ** 2) / (2 * 1.5**2))
        clip.append((frame.image + spot).clip(0, 65_535).astype(np.uint16))
    return clip


def assert_equal(one: Detections, other: Detections) -> None:
    for name in ("boxes_xyxy", "scores", "class_ids", "centroids", "snr"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def assert_same_window(one: NDArray[np.float32], other: NDArray[np.float32], *, registered: bool) -> None:
    # OpenCV's warp of the very same frame may differ in the last bit, by where in memory the frame lies.
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 if registered else 0)


def of_window(detector: Detector, frames: list[NDArray[Any]]) -> Detections:
    """Detect on a window that was made by hand."""
    prepared = detector.prepare_window(frames)
    return detector.finish(prepared, detector.infer([prepared])[0])


def test_a_model_of_one_frame_detects_what_detect_does(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
) -> None:
    detector = detectors(1)
    with detector.stream() as stream:
        for index, frame in enumerate(frames):
            answer = stream.detect(frame)
            assert len(answer.detections) > 0
            assert_equal(answer.detections, detector.detect(frame))
            assert answer.window.frame_indices == (index,)


@pytest.mark.parametrize("register_window", [False, True])
@pytest.mark.parametrize("window", [3, 5])
def test_a_window_is_the_one_made_by_hand_after_a_gap_too(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]], window: int, register_window: bool
) -> None:
    detector = detectors(window, register_window=register_window)
    taken = [0, 1, 2, 3, 6, 7, 8]
    with detector.stream() as stream:
        for place, index in enumerate(taken):
            since = taken[4 if index >= 6 else 0 : place + 1]
            prepared, seen = stream.prepare(frames[index], frame_index=index)
            assert seen.frame_indices == tuple(since[-window:])
            by_hand = detector.prepare_window([frames[number] for number in seen.frame_indices])
            assert_same_window(prepared.tensor, by_hand.tensor, registered=register_window)
            assert prepared.transform == by_hand.transform
        answer = stream.detect(frames[8], frame_index=9)
    assert len(answer.detections) > 0  # the graph looks at the key frame only: no last bit of a warp reaches it
    assert_equal(answer.detections, of_window(detector, [frames[number] for number in (6, 7, 8, 8)]))


def test_a_registered_window_is_what_register_gives(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
) -> None:
    detector = detectors(3, register_window=True)
    with detector.stream() as stream:
        for frame in frames[:4]:
            prepared, _ = stream.prepare(frame)
    levels = [normalise(frame, detector.manifest.intensity) for frame in frames[1:4]]
    expected = [letterbox(level, NET_HW) for level in register(levels)]
    assert_same_window(prepared.tensor, np.stack(expected), registered=True)
    assert np.abs(expected[0] - detectors(1).prepare(frames[1]).tensor[0]).max() > 0.01  # the camera did move


@settings(max_examples=30)
@given(
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    max_gap=st.integers(0, 3),
    window=st.sampled_from([1, 3, 5]),
)
def test_a_window_never_reaches_over_a_larger_gap_than_allowed(
    detectors: Callable[..., Detector], steps: list[int], max_gap: int, window: int
) -> None:
    frame = np.arange(120, dtype=np.uint8).reshape(10, 12)
    indices = np.cumsum(steps).tolist()
    with detectors(window).stream(max_gap=max_gap) as stream:
        for place, index in enumerate(indices):
            seen = stream.prepare(frame, frame_index=index)[1]
            assert seen.frame_index == index
            assert len(seen.frame_indices) <= window
            assert all(gap - 1 <= max_gap for gap in np.diff(seen.frame_indices))
            if place:
                assert seen.missing == steps[place] - 1
                assert seen.restart == ("gap" if seen.missing > max_gap else None)
            else:
                assert (seen.missing, seen.restart) == (0, "start")


class TestAnswers:
    """What a stream says of its frames."""

    FRAME = np.zeros((20, 30), dtype=np.uint8)

    @pytest.fixture
    def stream(self, detectors: Callable[..., Detector]) -> Iterator[Stream]:
        with detectors(3).stream() as opened:
            yield opened

    def take(self, stream: Stream, frame: NDArray[Any] = FRAME, **place: Any) -> StreamDetections:
        return stream.detect(frame, **place)

    def test_frames_without_indices_are_counted(self, stream: Stream) -> None:
        windows = [self.take(stream).window for _ in range(4)]
        assert [seen.frame_indices for seen in windows] == [(0,), (0, 1), (0, 1, 2), (1, 2, 3)]
        assert [seen.restart for seen in windows] == ["start", None, None, None]

    def test_counting_goes_on_from_the_last_index_given(self, stream: Stream) -> None:
        self.take(stream, frame_index=40)
        assert self.take(stream).window.frame_indices == (40, 41)

    def test_a_late_frame_is_refused_and_nothing_changes(self, stream: Stream) -> None:
        for index in (5, 6, 7):
            self.take(stream, frame_index=index)
        with pytest.raises(LateFrameError, match="frame 6 is late: the stream is at frame 7") as caught:
            self.take(stream, frame_index=6)
        assert not isinstance(caught.value, DuplicateFrameError)
        assert (caught.value.frame_index, caught.value.last_index) == (6, 7)
        again = self.take(stream, frame_index=8).window
        assert (again.frame_indices, again.missing, again.restart) == ((6, 7, 8), 0, None)

    def test_a_duplicate_is_a_late_frame_that_says_so(self, stream: Stream) -> None:
        self.take(stream, frame_index=7)
        with pytest.raises(DuplicateFrameError, match="frame 7 came already") as caught:
            self.take(stream, frame_index=7)
        assert isinstance(caught.value, LateFrameError)
        assert self.take(stream).window.frame_indices == (7, 8)

    def test_a_late_frame_crosses_processes(self, stream: Stream) -> None:
        self.take(stream, frame_index=7)
        with pytest.raises(LateFrameError) as caught:
            self.take(stream, frame_index=2)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.frame_index, copy.last_index) == (str(caught.value), 2, 7)

    @pytest.mark.parametrize(
        ("other", "restart"),
        [
            (np.zeros((20, 31), dtype=np.uint8), "size"),
            (np.zeros((30, 20), dtype=np.uint8), "size"),
            (np.zeros((20, 30), dtype=np.uint16), "dtype"),
            (np.zeros((20, 30), dtype=np.float32), "dtype"),
        ],
    )
    def test_another_size_or_dtype_starts_the_window_afresh(
        self, stream: Stream, other: NDArray[Any], restart: str
    ) -> None:
        self.take(stream)
        self.take(stream)
        seen = self.take(stream, other).window
        assert (seen.frame_indices, seen.missing, seen.restart) == ((2,), 0, restart)
        assert self.take(stream, other).window.frame_indices == (2, 3)

    def test_a_reset_forgets_indices_and_frames(self, stream: Stream) -> None:
        self.take(stream, frame_index=70)
        stream.reset()
        seen = self.take(stream, frame_index=3).window
        assert (seen.frame_indices, seen.missing, seen.restart) == ((3,), 0, "reset")
        assert self.take(stream).window.restart is None

    def test_float64_and_float32_are_one_dtype(self, stream: Stream) -> None:
        self.take(stream, np.zeros((20, 30), dtype=np.float32))
        assert self.take(stream, np.zeros((20, 30), dtype=np.float64)).window.restart is None

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.full((20, 30), np.nan, dtype=np.float32), "finite"),
            (np.full((20, 30), np.inf), "finite"),
            (np.zeros((20, 30, 2), dtype=np.uint8), "must be"),
            (np.zeros((0, 30), dtype=np.uint8), "pixels"),
            ([[1, 2], [3]], "must be an array"),
        ],
    )
    def test_a_bad_frame_is_refused_and_nothing_changes(self, stream: Stream, bad: Any, message: str) -> None:
        self.take(stream)
        for call in (stream.detect, stream.prepare):
            with pytest.raises(FrameError, match=message):
                call(bad, frame_index=9)
        assert self.take(stream).window.frame_indices == (0, 1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"frame_index": -1}, "frame_index must be a whole number from 0, got -1"),
            ({"frame_index": 1.5}, "frame_index must be a whole number from 0, got 1.5"),
            ({"frame_index": "1"}, "frame_index must be"),
            ({"timestamp_s": float("nan")}, "timestamp_s must be a finite number of seconds, got nan"),
            ({"timestamp_s": "now"}, "timestamp_s must be"),
            ({"score_threshold": 2}, "score_threshold must be"),
            ({"max_detections": 0}, "max_detections must be"),
        ],
    )
    def test_options_that_are_none_are_refused_and_nothing_changes(
        self, stream: Stream, options: dict[str, Any], message: str
    ) -> None:
        self.take(stream)
        with pytest.raises(ConfigError, match=message):
            self.take(stream, **options)
        assert self.take(stream).window.frame_indices == (0, 1)

    def test_a_camera_may_write_into_one_buffer(self, detectors: Callable[..., Detector]) -> None:
        detector = detectors(3)
        frames = [np.random.default_rng(seed).random((64, 96), dtype=np.float32) for seed in range(3)]
        buffer = np.empty_like(frames[0])
        with detector.stream() as stream:
            for frame in frames:
                buffer[:] = frame
                answer = stream.detect(buffer)
        assert_equal(answer.detections, of_window(detector, list(frames)))


class TestTimestamps:
    FRAME = np.zeros((8, 9), dtype=np.uint8)

    def test_a_hole_in_time_is_a_gap(self, detectors: Callable[..., Detector]) -> None:
        with detectors(3).stream(max_gap_s=0.05) as stream:
            seen = [stream.detect(self.FRAME, timestamp_s=time).window for time in (10.0, 10.04, 10.08, 10.16, 10.2)]
        assert [one.restart for one in seen] == ["start", None, None, "gap", None]
        assert [one.frame_indices for one in seen] == [(0,), (0, 1), (0, 1, 2), (3,), (3, 4)]

    def test_without_a_limit_time_only_orders(self, detectors: Callable[..., Detector]) -> None:
        with detectors(3).stream() as stream:
            assert stream.detect(self.FRAME, timestamp_s=-5).window.restart == "start"
            assert stream.detect(self.FRAME, timestamp_s=1e9).window.restart is None
            with pytest.raises(LateFrameError, match=r"the frame of 3\.000000 s is late: the stream is at 1000000000"):
                stream.detect(self.FRAME, timestamp_s=3)
            with pytest.raises(DuplicateFrameError, match="came already"):
                stream.detect(self.FRAME, timestamp_s=1e9)
            assert stream.detect(self.FRAME).window.frame_indices == (0, 1, 2)

    def test_an_index_that_goes_on_does_not_excuse_a_clock_that_goes_back(
        self, detectors: Callable[..., Detector]
    ) -> None:
        with detectors(3).stream() as stream:
            stream.detect(self.FRAME, frame_index=1, timestamp_s=2)
            with pytest.raises(LateFrameError):
                stream.detect(self.FRAME, frame_index=2, timestamp_s=1)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_gap": -1}, "max_gap must be a whole number from 0, got -1"),
        ({"max_gap": 0.5}, "max_gap must be a whole number from 0, got 0.5"),
        ({"max_gap_s": 0}, "max_gap_s must be a time above 0 s, got 0"),
        ({"max_gap_s": float("inf")}, "max_gap_s must be"),
        ({"max_gap_s": "1"}, "max_gap_s must be"),
    ],
)
def test_limits_that_are_none_are_refused(
    detectors: Callable[..., Detector], limits: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        detectors(1).stream(**limits)


class TestClosing:
    FRAME = np.zeros((8, 9), dtype=np.uint8)

    def test_a_closed_stream_says_so_and_its_detector_goes_on(self, detectors: Callable[..., Detector]) -> None:
        detector = detectors(1)
        with detector.stream() as stream:
            stream.detect(self.FRAME)
        stream.close()
        for call in (lambda: stream.detect(self.FRAME), lambda: stream.prepare(self.FRAME), stream.reset):
            with pytest.raises(StreamError, match="the stream is closed"):
                call()
        assert len(detector.detect(self.FRAME)) == 0

    def test_a_closed_detector_is_an_engine_error(self, tmp_path: Path) -> None:
        detector = loddis_runtime.load(write_spot_bundle(tmp_path), threads=1)
        stream = detector.stream()
        detector.close()
        with pytest.raises(EngineError, match="closed"):
            stream.detect(self.FRAME)


class TestThreads:
    FRAME = np.zeros((8, 9), dtype=np.uint8)

    @pytest.fixture
    def held(
        self, detectors: Callable[..., Detector], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[Stream, Callable[[], None]]]:
        """Give a stream that a thread is in the middle of `detect` with, and what lets that go on."""
        detector = detectors(1)
        inside, go_on = threading.Event(), threading.Event()
        infer = detector.infer

        def slow(prepared: Any) -> Any:
            inside.set()
            assert go_on.wait(20)
            return infer(prepared)

        monkeypatch.setattr(detector, "infer", slow)
        stream = detector.stream()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(stream.detect, self.FRAME)
            assert inside.wait(20)
            yield stream, go_on.set
            go_on.set()
            assert running.result().window.frame_indices == (0,)

    def test_a_second_thread_is_refused(self, held: tuple[Stream, Callable[[], None]]) -> None:
        stream, _ = held
        for call in (stream.detect, stream.prepare):
            with pytest.raises(StreamError, match="in use by another thread"):
                call(self.FRAME)

    @pytest.mark.parametrize("name", ["reset", "close"])
    def test_reset_and_close_wait_for_the_call_under_way(
        self, held: tuple[Stream, Callable[[], None]], name: str
    ) -> None:
        stream, go_on = held
        done = threading.Event()
        thread = threading.Thread(target=lambda: (getattr(stream, name)(), done.set()))
        thread.start()
        assert not done.wait(0.05)
        go_on()
        thread.join(20)
        assert done.is_set()

    def test_a_session_may_move_between_threads(self, detectors: Callable[..., Detector]) -> None:
        with detectors(3).stream() as stream:
            for index in range(4):
                with ThreadPoolExecutor(1) as pool:
                    seen = pool.submit(stream.detect, self.FRAME).result().window
                assert seen.frame_index == index

    def test_sessions_of_one_detector_do_not_mix(
        self, detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
    ) -> None:
        detector = detectors(3, register_window=True)

        def run(clip: list[NDArray[np.uint16]]) -> list[Detections]:
            with detector.stream() as stream:
                return [stream.detect(frame).detections for frame in clip]

        clips = [frames, frames[::-1], frames[3:], frames[::2]]
        alone = [run(clip) for clip in clips]
        with ThreadPoolExecutor(len(clips)) as pool:
            for found, expected in zip(pool.map(run, clips), alone, strict=True):
                for one, other in zip(found, expected, strict=True):
                    assert_equal(one, other)


def test_a_frame_without_a_timestamp_does_not_switch_time_off(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
) -> None:
    stream = detectors(3).stream(max_gap_s=0.2)
    stream.detect(frames[0], timestamp_s=10.0)
    stream.detect(frames[1])
    with pytest.raises(LateFrameError):
        stream.detect(frames[2], timestamp_s=5.0)
    assert stream.detect(frames[2], timestamp_s=110.0).window.restart == "gap"


def test_what_was_prepared_outlives_the_cameras_memory(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
) -> None:
    detector, memory = detectors(1), frames[0].copy()
    stream = detector.stream()
    prepared, _ = stream.prepare(memory)
    (raw,) = detector.infer([prepared])
    memory[:] = 0
    assert_equal(detector.finish(prepared, raw), detector.detect(frames[0]))


def test_a_reset_from_another_thread_costs_no_frame(
    detectors: Callable[..., Detector], frames: list[NDArray[np.uint16]]
) -> None:
    stream = detectors(1).stream()
    stop = threading.Event()

    def reset_all_the_time() -> None:
        while not stop.is_set():
            stream.reset()

    with ThreadPoolExecutor(1) as pool:
        resetting = pool.submit(reset_all_the_time)
        try:
            for number in range(200):
                stream.prepare(frames[number % len(frames)])
        finally:
            stop.set()
        resetting.result()
