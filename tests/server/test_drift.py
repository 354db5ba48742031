"""Scenes unlike those of the training domains: said of the shipped model, with real frames and changed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import loddis_runtime
from loddis_runtime.frames import Frame
from loddis_runtime.manifest import Manifest
from loddis_runtime.preparation import PreparedFrame, still_window
from loddis_runtime.scene_measures import MEASURES
from loddis_runtime.scene_statistics import DomainStatistics, SceneStatistics
from loddis_server.scene_health import DriftMonitor, DriftReport, DriftSettings
from loddis_trainer.data import DomainDataset
from support.bundles import manifest_of
from support.clips import rendered

EACH = DriftSettings(measure_every=1, least=1)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Manifest.load(loddis_runtime.shipped_repository().find("sky-nano").path / "manifest.json")


@pytest.fixture(scope="module")
def of_ground() -> Manifest:
    """Give a model whose only domain is rendered ground, seen by forty cameras that stood in forty places."""
    plain = manifest_of(size_hw=(256, 320))
    rows, members = [], []
    for seed in range(40):
        for frame in rendered("ground", 8, frames=2, seed=seed):
            rows.append(measured(frame, plain))
            members.append(seed)
    domain = DomainStatistics.fit("ground", np.stack(rows), members)
    return plain.model_copy(update={"scenes": SceneStatistics(measures=MEASURES, domains=(domain,))})


def measured(frame: Frame, manifest: Manifest) -> Any:
    from loddis_runtime.scene_measures import measure_scene

    return measure_scene(prepare(frame, manifest))


def prepare(frame: Frame, manifest: Manifest) -> PreparedFrame:
    return PreparedFrame.of(frame, still_window(frame, manifest))


def show(monitor: DriftMonitor, frames: Iterable[Frame], manifest: Manifest) -> list[DriftReport]:
    return [monitor.update(prepare(frame, manifest)) for frame in frames]


def inverted(frame: Frame) -> Frame:
    return np.subtract(255, frame, dtype=np.uint8)


def foggy(frame: Frame) -> Frame:
    noise = np.random.default_rng(0).normal(0, 1.5, frame.shape)
    return np.rint(128 + (frame - 128.0) / 10 + noise).astype(np.uint8)


def noisy(frame: Frame) -> Frame:
    return np.clip(frame + np.random.default_rng(0).normal(0, 25, frame.shape), 0, 255).astype(np.uint8)


def soft(frame: Frame) -> Frame:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 6), dtype=np.uint8)


class TestTheShippedModel:
    def test_it_knows_its_three_domains(self, manifest: Manifest) -> None:
        assert manifest.scenes is not None
        assert manifest.scenes.measures == MEASURES
        trained_on = [domain.name for domain in manifest.training_domains]
        assert [domain.name for domain in manifest.scenes.domains] == trained_on
        assert all(domain.frames >= 200 for domain in manifest.scenes.domains)

    @pytest.mark.parametrize(("domain", "most"), [("sky", 0.1), ("ground", 0.2)])
    def test_few_sequences_that_it_was_not_trained_on_are_unlike(
        self, manifest: Manifest, loddis_data: Path, domain: str, most: float
    ) -> None:
        dataset = DomainDataset.open(domain, "val", data_root=loddis_data, progress=False)
        sequences = list(dataset.sequences.values())[:: 1 if domain == "sky" else 5]
        unlike = 0
        for numbers in sequences:
            spaced = numbers[:: max(1, len(numbers) // 6)]
            reports = show(DriftMonitor(manifest.scenes, EACH), (dataset.frame(n) for n in spaced), manifest)
            unlike += reports[-1].is_unlike
        assert len(sequences) >= 25
        assert unlike / len(sequences) <= most

    @pytest.mark.parametrize("domain", ["sky", "ground", "city"])
    def test_a_stream_of_val_frames_is_like_and_changed_ones_are_not(
        self, manifest: Manifest, loddis_data: Path, domain: str
    ) -> None:
        dataset = DomainDataset.open(domain, "val", data_root=loddis_data, progress=False)
        frames = [dataset.frame(number) for number in dataset.evenly_spaced(30)]
        (last,) = show(DriftMonitor(manifest.scenes, EACH), frames, manifest)[-1:]
        assert not last.is_unlike
        assert last.probability is not None
        assert last.probability > 0.05
        for change in (foggy, noisy, soft):
            (changed,) = show(DriftMonitor(manifest.scenes, EACH), map(change, frames), manifest)[-1:]
            assert changed.is_unlike, change.__name__

    def test_16_bit_frames_of_other_optics_are_unlike(self, manifest: Manifest) -> None:
        frames = rendered("city", 16, frames=6, seed=1)
        assert show(DriftMonitor(manifest.scenes, EACH), frames, manifest)[-1].is_unlike


@pytest.mark.parametrize("change", [inverted, foggy, noisy, soft])
def test_drift_begins_and_ends_and_names_what_differs(of_ground: Manifest, change: Callable[[Frame], Frame]) -> None:
    clip = rendered("ground", 8, frames=60, seed=101)
    monitor = DriftMonitor(of_ground.scenes, DriftSettings(measure_every=2, window=10, least=5))
    reports = show(monitor, [*clip, *map(change, clip), *clip], of_ground)
    assert [i for i, report in enumerate(reports) if report.changed] == pytest.approx([70, 130], abs=10)
    assert [report.is_unlike for report in (reports[59], reports[119], reports[-1])] == [False, True, False]
    before, during = reports[59], reports[119]
    assert before.distance is not None
    assert during.distance is not None
    assert during.distance > before.distance
    assert during.domain == "ground"
    assert len(during.most_unlike) == 3
    sizes = [abs(one.deviation) for one in during.most_unlike]
    assert sizes == sorted(sizes, reverse=True)
    telling = {"inverted": "skew", "foggy": "noise", "noisy": "noise", "soft": "detail_fine"}[change.__name__]
    assert telling in {one.measure for one in during.most_unlike} or sizes[0] > 5


def test_a_single_odd_frame_is_no_drift(of_ground: Manifest) -> None:
    clip = rendered("ground", 8, frames=30, seed=101)
    monitor = DriftMonitor(of_ground.scenes, DriftSettings(measure_every=1, window=30))
    reports = show(monitor, [*clip, soft(clip[0]), *clip], of_ground)
    assert not any(report.is_unlike for report in reports)


def test_the_first_judgement_waits_for_enough_frames(of_ground: Manifest) -> None:
    clip = rendered("ground", 8, frames=30)
    reports = show(DriftMonitor(of_ground.scenes, DriftSettings(measure_every=5, least=4)), clip, of_ground)
    assert [report.distance is None for report in reports] == [True] * 15 + [False] * 15
    assert reports[0].cause == "too few frames"
    assert reports[-1].cause is None


def test_reset_forgets(of_ground: Manifest) -> None:
    monitor = DriftMonitor(of_ground.scenes, EACH)
    show(monitor, [soft(frame) for frame in rendered("ground", 8, frames=5)], of_ground)
    monitor.reset()
    (report,) = show(monitor, rendered("ground", 8, frames=1, seed=101), of_ground)
    assert not report.is_unlike


def test_a_bundle_without_statistics_says_so() -> None:
    manifest = manifest_of(size_hw=(256, 320))
    (report,) = show(DriftMonitor(manifest.scenes, EACH), rendered("sky", 8, frames=1), manifest)
    assert (report.distance, report.probability, report.domain) == (None, None, None)
    assert (report.is_unlike, report.changed, report.most_unlike) == (False, False, ())
    assert report.cause == "the model's bundle does not say what its training scenes are like"


def test_statistics_of_another_release_are_not_compared(of_ground: Manifest) -> None:
    assert of_ground.scenes is not None
    other = of_ground.scenes.model_copy(update={"measures": ("x", *MEASURES[1:])})
    (report,) = show(DriftMonitor(other, EACH), rendered("sky", 8, frames=1), of_ground)
    assert report.distance is None
    assert report.cause is not None
    assert "another release" in report.cause


def test_frames_of_a_few_pixels_have_no_distance(of_ground: Manifest) -> None:
    (report,) = show(DriftMonitor(of_ground.scenes, EACH), [np.zeros((2, 100), dtype=np.uint8)], of_ground)
    assert report.distance is None
    assert report.cause == "the frame is too small in the network's input"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in DriftSettings.model_fields.items() if not field.description] == []
