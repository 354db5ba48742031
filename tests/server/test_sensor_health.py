"""What is wrong with a sensor is found within a stated number of frames, and nothing is claimed of one that is well."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from loddis_runtime.frames import Frame
from loddis_runtime.scenes import CameraMotion, SensorNoise, TargetConfig
from loddis_server.scene_health import HealthReport, HealthSettings, Limits, SensorHealth
from loddis_trainer.data import DomainDataset
from support.clips import BACKGROUNDS, blurred, flag, lifted, overexposed, rendered

GOOD = 70  # frames of a clip before something goes wrong
EVERY_KIND = [(background, bits) for background in BACKGROUNDS for bits in (8, 16)]


@pytest.fixture(scope="module")
def clips() -> dict[tuple[str, int], list[Frame]]:
    return {(background, bits): rendered(background, bits, frames=GOOD + 40) for background, bits in EVERY_KIND}


def watch(frames: Iterable[Frame], health: SensorHealth | None = None, **given: Any) -> list[HealthReport]:
    health = health or SensorHealth()
    return [health.update(frame, timestamp_s=i / 30, **given) for i, frame in enumerate(frames)]


def first(reports: list[HealthReport], condition: str) -> int | None:
    """Give the frame that a condition began with."""
    return next((i for i, report in enumerate(reports) if condition in report.began), None)


def claimed(reports: list[HealthReport]) -> set[str]:
    return {condition for report in reports for condition in report.began}


@pytest.mark.parametrize("kind", EVERY_KIND)
class TestWhatIsFound:
    def test_a_frozen_stream_within_5_frames(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        reports = watch([*clip[:GOOD], *[clip[GOOD - 1].copy()] * 20, *clip[GOOD:]])
        assert first(reports, "frozen") == GOOD + 4
        assert reports[GOOD + 19].measures["unchanged_frames"] == 20
        assert reports[GOOD + 19].measures["unchanged_s"] == pytest.approx(20 / 30)
        assert "frozen" in reports[GOOD + 21].ended
        assert claimed(reports) == {"frozen"}

    def test_a_held_frame_whose_noise_has_gone(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        held = [clip[GOOD].copy() for _ in range(20)]
        for i, frame in enumerate(held):  # a coder's flicker in a few pixels
            frame[10 * i % 200 : 10 * i % 200 + 4, 40:60] += 1
        reports = watch([*clip[:GOOD], *held])
        assert first(reports, "frozen") == GOOD + 5
        assert claimed(reports) == {"frozen"}

    def test_a_flag_at_once_and_alarms_are_held_back_after_it(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        reports = watch([*clip[:GOOD], *flag(clip[0], frames=8), *clip[GOOD:]])
        assert first(reports, "shutter") == GOOD
        assert "shutter" in reports[GOOD + 8].ended
        held_back = [i for i, report in enumerate(reports) if report.hold_alarms]
        assert held_back == list(range(GOOD, GOOD + 8 + 15))
        assert claimed(reports) == {"shutter"}

    def test_a_hidden_correction_with_the_frame_that_jumps(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        reports = watch([*clip[:GOOD], *[clip[GOOD - 1]] * 4, *lifted(clip[GOOD:], 25)])
        assert first(reports, "shutter") == GOOD + 4
        assert reports[GOOD + 4].hold_alarms
        assert claimed(reports) == {"shutter"}

    def test_saturation_within_16_frames(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        reports = watch([*clip[:GOOD], *overexposed(clip[GOOD:])])
        began = first(reports, "saturated")
        assert began is not None
        assert began - GOOD < 16
        assert reports[-1].measures["saturated"] == pytest.approx(0.2, abs=0.06)

    def test_defocus_within_32_frames(self, clips: Any, kind: Any) -> None:
        clip = clips[kind]
        reports = watch([*clip[:GOOD], *blurred(clip[GOOD:], sigma_px=4)])
        began = first(reports, "defocused")
        assert began is not None
        assert began - GOOD < 32
        assert reports[-1].measures["sharpness_lost"] > 0.5

    @pytest.mark.parametrize("axis", ["column", "row"])
    def test_stripes_within_16_frames(self, kind: Any, axis: str) -> None:
        noise = SensorNoise.model_validate({f"{axis}_stripe_mk": 150})
        reports = watch(rendered(*kind, frames=17, noise=noise))
        began = first(reports, "stripes")
        assert began is not None
        assert began < 16
        stripes = {name: reports[-1].measures[f"{name}_stripes"] for name in ("column", "row")}
        assert max(stripes, key=lambda name: stripes[name]) == axis

    def test_dead_pixels_within_128_frames_and_where_they_are(self, kind: Any) -> None:
        stuck = np.random.default_rng(5).choice(256 * 320, 40, replace=False)
        clip = rendered(*kind, frames=132)
        for frame in clip:
            frame.reshape(-1)[stuck] = np.where(np.arange(40) % 2, 0, 250 if kind[1] == 8 else 16_000)
        health = SensorHealth()
        reports = watch(clip, health)
        began = first(reports, "dead_pixels")
        assert began is not None
        assert began < 128
        found = {int(y) * 320 + int(x) for x, y in health.dead_pixels_xy}
        assert found <= set(stuck.tolist())
        assert len(found) >= 32  # those that touch others, or are on rims of targets and clouds, may hide
        assert claimed(reports) == {"dead_pixels"}


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("camera", [CameraMotion(), CameraMotion(pan_px_per_frame=(0.8, 0.1), jitter_px=0.3)])
def test_nothing_is_claimed_of_a_sensor_that_is_well(kind: Any, camera: CameraMotion) -> None:
    # One target hovers: it is no dead pixel.
    targets = (TargetConfig(snr=15), TargetConfig(snr=40, speed_px_per_frame=0.0))
    reports = watch(rendered(*kind, frames=140, camera=camera, targets=targets, seed=1))
    assert claimed(reports) == set()
    assert not any(report.hold_alarms for report in reports)


@pytest.mark.parametrize("domain", ["sky", "ground", "city"])
def test_nothing_is_claimed_of_real_clips(loddis_data: Path, domain: str) -> None:
    dataset = DomainDataset.open(domain, "val", data_root=loddis_data, progress=False)
    if domain == "ground":  # single images: each stands still for a while
        clips = [[dataset.frame(number)] * 20 for number in dataset.evenly_spaced(20)]
    else:
        clips = [[dataset.frame(number) for number in numbers[:150]] for numbers in dataset.sequences.values()]
    assert len(clips) >= 3
    for clip in clips:
        assert claimed(watch(clip)) == set()


def test_a_frame_that_a_real_recording_holds_is_found(loddis_data: Path) -> None:
    dataset = DomainDataset.open("city", "train", data_root=loddis_data, sequences=["seq2_clip013"], progress=False)
    reports = watch(dataset.frame(number) for number in range(len(dataset)))
    assert claimed(reports) == {"frozen"}  # from its 41st frame on only the coder's flicker is left
    assert 41 <= (first(reports, "frozen") or 0) < 48
    assert "frozen" in {condition for report in reports[-3:] for condition in report.ended}


def test_what_needs_history_says_so() -> None:
    clip = rendered("ground", 16, frames=130)
    health = SensorHealth()
    reports = watch(clip[:1], health)
    assert reports[0].unknown == {"frozen", "shutter", "saturated", "dead_pixels", "defocused", "moving"}
    assert watch(clip[1:], health)[-1].unknown == {"moving"}
    assert health.update(clip[0], camera_shift_xy=(0.0, 0.0)).unknown == frozenset()


def test_an_even_scene_cannot_tell_focus_or_a_flag() -> None:
    rng = np.random.default_rng(0)
    reports = watch(rng.normal(7000, 2, (256, 320)).astype(np.uint16) for _ in range(150))
    assert reports[-1].unknown >= {"shutter", "defocused"}
    assert claimed(reports) == set()


def test_the_camera_moves_while_the_scene_shifts() -> None:
    frame = rendered("ground", 8, frames=1)[0]
    health = SensorHealth()
    still = watch([frame] * 4, health, camera_shift_xy=(0.1, 0.0))
    moving = watch([frame] * 10, health, camera_shift_xy=(1.5, -2.0))
    stopped = watch([frame] * 20, health, camera_shift_xy=(0.0, 0.0))
    assert first(still, "moving") is None
    assert first(moving, "moving") is not None
    assert moving[-1].measures["shift"] == pytest.approx(2.5, abs=0.4)
    assert "moving" not in stopped[-1].conditions


def test_a_repeated_frame_now_and_then_is_no_freeze() -> None:
    clip = rendered("city", 16, frames=100)
    assert claimed(watch([frame for frame in clip for _ in range(2)])) == set()


def test_a_lens_cap_is_a_shutter_only_for_a_while() -> None:
    clip = rendered("ground", 16, frames=60)
    reports = watch([*clip, *flag(clip[0], frames=150)])
    assert first(reports, "shutter") == 60
    ended = next(i for i, report in enumerate(reports) if "shutter" in report.ended)
    assert ended == 60 + HealthSettings().shutter_frames
    assert not reports[-1].hold_alarms


def test_the_range_of_a_sensor_is_found_in_16_bits() -> None:
    rng = np.random.default_rng(1)
    for bits in (8, 10, 12, 14, 16):
        top = 2**bits - 1
        frame = rng.integers(0, top + 1, (64, 64)).astype(np.uint16)
        frame[:16] = top
        for shift in (0, 16 - bits):  # at the low end of 16 bits, and at the high end
            health = SensorHealth()
            reports = watch([(frame + i % 2 * (frame < top)).astype(np.uint16) << shift for i in range(12)], health)
            assert health.level_range == (0, top << shift)
            assert "saturated" in reports[-1].conditions


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_same_is_found_in_every_dtype(dtype: Any) -> None:
    raw = np.stack(rendered("ground", 16, frames=80)).astype(np.float64)
    unit = (raw - raw.min()) / (raw.max() - raw.min())
    clip = [(frame * {np.uint8: 250, np.uint16: 4000, np.float32: 0.9}[dtype]).astype(dtype) for frame in unit]
    reports = watch([*clip, *[clip[-1]] * 6])
    assert claimed(reports) == {"frozen"}
    limits = {np.uint8: (0, 255), np.uint16: (0, 4095), np.float32: (0, 1)}[dtype]
    health = SensorHealth()
    watch(clip, health)
    assert health.level_range == limits


def test_float_frames_of_an_unknown_range_cannot_be_called_saturated() -> None:
    clip = [np.float32(290) + np.random.default_rng(i).random((64, 64), dtype=np.float32) for i in range(12)]
    assert "saturated" in watch(clip)[-1].unknown
    known = SensorHealth(HealthSettings(float_range=(250, 291)))
    assert "saturated" not in watch(clip, known)[-1].unknown


@pytest.mark.parametrize("change", ["size", "dtype"])
def test_another_size_or_dtype_starts_afresh(change: str) -> None:
    clip = rendered("ground", 16, frames=60)
    health = SensorHealth()
    watch([*clip, *[clip[-1]] * 10], health)
    other = clip[0][:200] if change == "size" else (clip[0] // 64).astype(np.uint8)
    report = health.update(other)
    assert report.restarted
    assert report.ended == {"frozen"}
    assert {"frozen", "shutter", "dead_pixels", "defocused"} <= report.unknown
    assert not health.update(other.copy()).restarted


def test_tiny_frames_are_watched_as_far_as_they_go() -> None:
    rng = np.random.default_rng(0)
    clip = [rng.integers(0, 200, (3, 5)).astype(np.uint8) for _ in range(60)]
    reports = watch([*clip, *[clip[-1]] * 6])
    assert claimed(reports) == {"frozen"}
    assert "stripes" in reports[-1].unknown


def test_limits_that_end_above_their_beginning_are_refused() -> None:
    with pytest.raises(ValidationError, match="end must not be above begin, got 2 and 1"):
        Limits(begin=1, end=2)


def test_every_setting_says_what_it_is() -> None:
    for model in (HealthSettings, Limits):
        assert [name for name, field in model.model_fields.items() if not field.description] == []
