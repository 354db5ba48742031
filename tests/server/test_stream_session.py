"""What a stream remembers from frame to frame, and what of it is announced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import loddis_runtime
from loddis_runtime.detector import Detector
from loddis_server.alarms import FalseAlarmSettings
from loddis_server.scene_health import CanarySettings, HealthSettings
from loddis_server.streams.session import FrameOptions, StreamResult, StreamSession
from loddis_server.streams.settings import StreamSettings
from loddis_server.tracking import TrackerSettings
from support.bundles import write_spot_bundle
from support.moving import moving_spot

FROZEN_AFTER = 3
QUICK_TO_FREEZE = StreamSettings(
    alarms=FalseAlarmSettings(),
    health=HealthSettings(frozen_frames=FROZEN_AFTER, frozen_quiet_frames=FROZEN_AFTER),
    tracker=TrackerSettings(confirm_hits=7, confirm_frames=7),
)


@pytest.fixture(scope="module")
def detector(spot_bundle: Path) -> Iterator[Detector]:
    with loddis_runtime.load(spot_bundle, threads=1) as detector:
        yield detector


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    """Give a model of other classes and another threshold."""
    bundle = write_spot_bundle(tmp_path_factory.mktemp("other"), classes=("aircraft",), score_threshold=0.25)
    with loddis_runtime.load(bundle, threads=1) as detector:
        yield detector


@pytest.fixture(scope="module")
def of_three_frames(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    """Give a model that sees three frames."""
    bundle = write_spot_bundle(tmp_path_factory.mktemp("of three"), window=3)
    with loddis_runtime.load(bundle, threads=1) as detector:
        yield detector


def take(session: StreamSession, detector: Detector, frame: NDArray[Any], **options: Any) -> StreamResult:
    given = FrameOptions(**options)
    prepared, window = session.prepare(frame, given)
    (candidates,) = detector.infer([prepared])
    return session.conclude(prepared, window, candidates, given)


def test_what_one_request_wants_to_see_makes_no_tracks(detector: Detector) -> None:
    usual, curious = (StreamSession(detector, StreamSettings()) for _ in range(2))
    for frame in moving_spot(10):
        expected = take(usual, detector, frame)
        shown = take(curious, detector, frame, score_threshold=0.0)
        assert len(shown.detections) > len(expected.detections)
        assert shown.tracks.tracks == expected.tracks.tracks


def test_a_reset_holds_even_if_the_network_fails_on_its_frame(detector: Detector) -> None:
    session = StreamSession(detector, StreamSettings())
    frames = list(moving_spot(10))
    announced = [
        track.track_id
        for index, frame in enumerate(frames[:8])
        for track in take(session, detector, frame, frame_index=1000 + index).alarms
    ]
    assert len(announced) == 1
    session.prepare(frames[8], FrameOptions(frame_index=0, reset=True))  # and nothing came of it
    result = take(session, detector, frames[9], frame_index=1)
    assert [track.track_id for track in result.ended] == announced


@pytest.mark.parametrize("reset_frame_fails", [False, True])
def test_no_canary_stands_half_in_the_scene_before_a_reset(of_three_frames: Detector, reset_frame_fails: bool) -> None:
    settings = StreamSettings(canary=CanarySettings(per_minute=6000, snr_levels=(10.0,), clearance_px=0))
    session = StreamSession(of_three_frames, settings)
    generator = np.random.default_rng(0)
    scenes = [np.clip(generator.normal(level, 2, (8, 64, 96)), 0, 255).astype(np.uint8) for level in (60, 180)]
    drawn = []
    for index, frame in enumerate(np.concatenate(scenes)):
        options = {"frame_index": index % 8, "timestamp_s": float(index), "reset": index == 8}
        if index == 8 and reset_frame_fails:
            session.prepare(frame, FrameOptions(**options))
            continue
        canary = session.canary_frame(take(session, of_three_frames, frame, **options))
        drawn.append(None if canary is None else [round(np.median(shown) / 60) for shown in canary.frames])
    of_second_scene = drawn[8:]
    assert [1, 1, 1] in drawn
    assert [3, 3, 3] in of_second_scene
    assert all(window in (None, [1, 1, 1], [3, 3, 3]) for window in drawn)


def test_what_was_announced_ends_when_a_model_of_other_classes_takes_over(detector: Detector, other: Detector) -> None:
    session = StreamSession(detector, StreamSettings())
    frames = list(moving_spot(9))
    announced = [track.track_id for frame in frames[:8] for track in take(session, detector, frame).alarms]
    assert len(announced) == 1
    session.adopt(other)
    assert [track.track_id for track in take(session, other, frames[8]).ended] == announced


def test_false_alarms_are_controlled_from_a_new_models_own_threshold(detector: Detector, other: Detector) -> None:
    session = StreamSession(detector, StreamSettings(alarms=FalseAlarmSettings()))
    for second, frame in enumerate(moving_spot(5)):
        take(session, detector, frame, timestamp_s=float(second))
    session.adopt(other)
    status = session.false_alarms()
    assert status is not None
    assert status.threshold == pytest.approx(other.manifest.score_threshold)
    assert status.observed_s == 0


def test_a_frozen_picture_confirms_nothing_that_is_announced_before_it_moves_again(detector: Detector) -> None:
    session = StreamSession(detector, QUICK_TO_FREEZE)
    *before, frozen = moving_spot(3)
    results = [take(session, detector, frame) for frame in (*before, *[frozen] * 8)]
    (confirmed,) = [track for track in results[-1].tracks.tracks if track.state == "confirmed"]
    assert results[-1].held_back
    assert not any(result.alarms for result in results)
    moving = moving_spot(5, start_xy=(23.0, 31.0), velocity_xy=(0.0, 0.0), seed=1)
    announced = [track.track_id for frame in moving for track in take(session, detector, frame).alarms]
    assert announced == [confirmed.track_id]


def test_time_in_which_alarms_are_held_back_is_not_counted(detector: Detector) -> None:
    session = StreamSession(detector, QUICK_TO_FREEZE)
    *before, frozen = moving_spot(5)
    for second, frame in enumerate((*before, *[frozen] * 20)):
        take(session, detector, frame, timestamp_s=float(second))
    status = session.false_alarms()
    assert status is not None
    assert status.observed_s == len(before) - 1 + FROZEN_AFTER


def test_frames_with_and_without_a_timestamp_share_one_clock(detector: Detector) -> None:
    session = StreamSession(detector, StreamSettings(alarms=FalseAlarmSettings()))
    for index, frame in enumerate(moving_spot(21)):
        timestamp_s = None if index % 2 else 5.0 + index / 10
        take(session, detector, frame, timestamp_s=timestamp_s, captured_at=1.7e9 + index / 10)
    status = session.false_alarms()
    assert status is not None
    assert status.observed_s == pytest.approx(2.0, abs=0.01)
