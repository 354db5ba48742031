"""From frames to detections, with a real graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import loddis_runtime
from loddis_runtime import Detections, Detector, ModelRepository
from loddis_runtime.errors import (
    BundleError,
    ChecksumError,
    ConfigError,
    EngineError,
    FrameError,
    ModelNotFoundError,
)
from support.bundles import SPOT_BOX_PX, write_spot_bundle

NET_HW = (64, 96)


@pytest.fixture(scope="module")
def detector(spot_bundle: Path) -> Iterator[Detector]:
    with loddis_runtime.load(spot_bundle, threads=1) as loaded:
        yield loaded


def frame_with_spots(
    *centres_xy: tuple[float, float],
    size_hw: tuple[int, int] = NET_HW,
    dtype: type[Any] = np.uint16,
    sigma_px: float = 1.3,
    seed: int = 0,
) -> NDArray[Any]:
    """Give a noisy frame with bright spots, the first the brightest."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    levels = 0.2 + 0.004 * rng.standard_normal(size_hw)
    for rank, (x, y) in enumerate(centres_xy):
        levels += (0.6 - 0.1 * rank) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
    full_scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    levels = levels.clip(0, 1) * full_scale
    return np.asarray(levels if dtype == np.float32 else np.round(levels), dtype=dtype)


def assert_same(one: Detections, other: Detections) -> None:
    np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    np.testing.assert_array_equal(one.class_ids, other.class_ids)
    np.testing.assert_allclose(one.centroids, other.centroids, atol=1e-4)
    np.testing.assert_allclose(one.snr, other.snr, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_finds_spots_where_they_are(detector: Detector, dtype: type[np.generic]) -> None:
    found = detector.detect(frame_with_spots((30.4, 20.7), (70.2, 50.1), dtype=dtype))
    np.testing.assert_allclose(found.centroids, [[30.4, 20.7], [70.2, 50.1]], atol=0.1)
    np.testing.assert_allclose(found.boxes_xyxy[0], [27, 17, 34, 24], atol=0.01)
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all(found.snr > 30)
    assert [record["class_name"] for record in found.to_records()] == ["target", "target"]


@pytest.mark.parametrize("size_hw", [(128, 192), (256, 320), (150, 100), (33, 47), (480, 640)])
def test_boxes_are_in_pixels_of_the_frame_whatever_its_size(detector: Detector, size_hw: tuple[int, int]) -> None:
    scale = min(NET_HW[0] / size_hw[0], NET_HW[1] / size_hw[1])
    centre = (0.63 * size_hw[1], 0.41 * size_hw[0])
    found = detector.detect(frame_with_spots(centre, size_hw=size_hw, sigma_px=max(1.3, 1.3 / scale)))
    assert len(found) == 1
    x1, y1, x2, y2 = found.boxes_xyxy[0]
    assert x2 - x1 == pytest.approx(SPOT_BOX_PX / scale, rel=1e-4)
    assert abs((x1 + x2) / 2 - centre[0]) <= 0.8 / scale
    assert abs((y1 + y2) / 2 - centre[1]) <= 0.8 / scale


def test_without_measuring_a_target_has_its_boxs_centre_and_no_snr(detector: Detector) -> None:
    prepared = detector.prepare(frame_with_spots((30.4, 20.7), (70.2, 50.1)))
    rows = detector.infer([prepared])[0]
    measured, plain = (detector.finish(prepared, rows, measure=wanted) for wanted in (True, False))
    assert np.isfinite(measured.snr).all()
    assert np.isnan(plain.snr).all()
    np.testing.assert_array_equal(plain.boxes_xyxy, measured.boxes_xyxy)
    np.testing.assert_allclose(plain.centroids, (plain.boxes_xyxy[:, :2] + plain.boxes_xyxy[:, 2:]) / 2)


@pytest.mark.parametrize("window", [False, True])
def test_what_was_prepared_outlives_the_cameras_memory(detector: Detector, *, window: bool) -> None:
    frame = frame_with_spots((30.4, 20.7))
    memory = frame.copy()
    prepared = detector.prepare_window([memory]) if window else detector.prepare(memory)
    memory[:] = frame_with_spots()
    found = detector.finish(prepared, detector.infer([prepared])[0])
    expected = detector.detect(frame)
    np.testing.assert_array_equal(found.centroids, expected.centroids)
    np.testing.assert_array_equal(found.snr, expected.snr)


def test_nothing_there_nothing_found(detector: Detector) -> None:
    found = detector.detect(frame_with_spots())
    assert len(found) == 0
    assert found.class_names == ("target",)


def test_grey_in_three_channels_is_detected_as_grey(detector: Detector) -> None:
    grey = frame_with_spots((30.4, 20.7), dtype=np.uint8)
    assert_same(detector.detect(np.stack([grey] * 3, axis=2)), detector.detect(grey))


def test_the_frame_given_is_not_changed(detector: Detector) -> None:
    frame = frame_with_spots((30.4, 20.7), dtype=np.float32)
    before = frame.copy()
    detector.detect(frame)
    np.testing.assert_array_equal(frame, before)


@settings(max_examples=25)
@given(size_hw=st.tuples(st.integers(1, 200), st.integers(1, 200)), seed=st.integers(0, 9))
def test_boxes_lie_within_any_frame(detector: Detector, size_hw: tuple[int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 65_536, size_hw, dtype=np.uint16)
    found = detector.detect(noise, score_threshold=0)
    height, width = size_hw
    assert np.all((found.boxes_xyxy >= 0) & (found.boxes_xyxy <= (width, height, width, height)))
    assert np.all(found.boxes_xyxy[:, 2:] > found.boxes_xyxy[:, :2])
    assert np.all((found.centroids >= found.boxes_xyxy[:, :2]) & (found.centroids <= found.boxes_xyxy[:, 2:]))


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (4_000, 5_000)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiny_and_huge_frames(detector: Detector, shape: tuple[int, int], dtype: type[np.generic]) -> None:
    assert len(detector.detect(np.full(shape, 100, dtype=dtype))) == 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.full(NET_HW, np.nan, dtype=np.float32), "finite"),
        (np.full(NET_HW, -np.inf), "finite"),
        (np.where(np.arange(96) == 50, np.inf, np.full(NET_HW, 0.5)).astype(np.float32), "got 64 values that are NaN"),
        (np.full(NET_HW, 7.0, dtype=np.float32), r"in \[0, 1\]"),
        (np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8), "true colour"),
        (np.zeros((0, 5), dtype=np.uint8), "pixels"),
    ],
)
def test_bad_frames_are_refused_and_the_next_one_is_fine(detector: Detector, frame: NDArray[Any], message: str) -> None:
    with pytest.raises(FrameError, match=message):
        detector.detect(frame)
    assert len(detector.detect(frame_with_spots((30.4, 20.7)))) == 1


def mixed_frames() -> list[NDArray[Any]]:
    """Give frames that differ in size, dtype and contents."""
    return [
        frame_with_spots((30.4, 20.7), (70.2, 50.1)),
        frame_with_spots(size_hw=(128, 192), dtype=np.uint8),
        frame_with_spots((100.0, 60.0), size_hw=(128, 192), dtype=np.float32, sigma_px=2.6),
        np.zeros((1, 1), dtype=np.uint8),
        frame_with_spots((20.0, 90.0), size_hw=(150, 60), dtype=np.uint8, sigma_px=3.0),
    ]


def test_a_batch_is_each_frame_alone(detector: Detector) -> None:
    frames = mixed_frames() * 8  # more than one run of the network
    for found, frame in zip(detector.detect_batch(frames), frames, strict=True):
        assert_same(found, detector.detect(frame))


def test_an_empty_batch_is_an_empty_list(detector: Detector) -> None:
    assert detector.detect_batch([]) == []
    assert detector.infer([]).shape == (0, 50, 6)


def test_a_generator_is_a_batch(detector: Detector) -> None:
    frames = mixed_frames()
    found = detector.detect_batch(frame for frame in frames)
    for one, other in zip(found, detector.detect_batch(frames), strict=True):
        assert_same(one, other)


def test_a_bad_frame_in_a_batch_is_named(detector: Detector) -> None:
    frames = [*mixed_frames() * 7, np.full((4, 4), np.nan)]
    with pytest.raises(FrameError, match=r"^frame 35: a frame must be finite"):
        detector.detect_batch(frames)


def test_eight_threads_find_what_one_finds(detector: Detector) -> None:
    frames = [
        frame_with_spots((10 + 2.1 * i, 20.7), (80 - i, 50.1), size_hw=(64 + i % 3, 96 + i % 5), seed=i)
        for i in range(32)
    ]
    one_by_one = [detector.detect(frame) for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for found, expected in zip(pool.map(detector.detect, frames), one_by_one, strict=True):
                assert_same(found, expected)


def test_the_three_stages_make_detect(detector: Detector) -> None:
    frames = mixed_frames()
    prepared = [detector.prepare(frame) for frame in frames]
    raw = detector.infer(prepared)
    assert raw.shape == (len(frames), 50, 6)
    assert prepared[0].tensor.shape == (1, *NET_HW)
    for frame, one, candidates in zip(frames, prepared, raw, strict=True):
        assert_same(detector.finish(one, candidates), detector.detect(frame))
    for one, other in zip(detector.finish_batch(prepared, raw), map(detector.finish, prepared, raw), strict=True):
        assert_same(one, other)
    assert detector.finish_batch([], raw[:0]) == []


def test_sixteen_bits_reach_the_network(detector: Detector) -> None:
    frame = np.arange(NET_HW[0] * NET_HW[1], dtype=np.uint16).reshape(NET_HW)
    assert len(np.unique(detector.prepare(frame).tensor)) == frame.size


def test_score_threshold_and_count_can_be_chosen(detector: Detector) -> None:
    frame = frame_with_spots((15.0, 20.0), (40.0, 20.0), (65.0, 20.0))
    scores = detector.detect(frame).scores
    assert len(scores) == 3
    threshold = float(scores[1])
    assert len(detector.detect(frame, score_threshold=threshold)) == 2  # a score at the threshold counts
    best = detector.detect(frame, max_detections=1)
    np.testing.assert_allclose(best.centroids, [[15, 20]], atol=0.1)
    assert len(detector.detect(frame, score_threshold=1.0)) == 0
    assert len(detector.detect(frame, max_detections=10_000)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 1.1}, r"score_threshold must be in \[0, 1\], got 1.1"),
        ({"score_threshold": -0.1}, "score_threshold must be"),
        ({"score_threshold": float("nan")}, "score_threshold must be"),
        ({"score_threshold": "a"}, r"score_threshold must be in \[0, 1\], got 'a'"),
        ({"max_detections": 0}, "max_detections must be a whole number from 1, got 0"),
        ({"max_detections": float("nan")}, "max_detections must be a whole number from 1, got nan"),
        ({"max_detections": "5"}, "max_detections must be a whole number from 1, got '5'"),
    ],
)
def test_options_out_of_range_are_refused(detector: Detector, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        detector.detect(frame_with_spots(), **options)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ConfigError):
        detector.detect_batch([], **options)


class TestFinish:
    """Candidates made by hand, in network pixels of a frame twice the network's width: scale 0.5, 8 rows of padding."""

    FRAME = np.full((96, 192), 50, dtype=np.uint8)

    @staticmethod
    def finish(detector: Detector, rows: list[list[float]], **options: Any) -> Detections:
        raw = np.zeros((50, 6), dtype=np.float32)
        raw[: len(rows)] = rows
        return detector.finish(detector.prepare(TestFinish.FRAME), raw, **options)

    def test_maps_to_the_frame_and_clips(self, detector: Detector) -> None:
        found = self.finish(detector, [[10, 18, 20, 28, 0.9, 0], [90, 50, 100, 62, 0.8, 0]])
        np.testing.assert_allclose(found.boxes_xyxy, [[20, 20, 40, 40], [180, 84, 192, 96]])

    def test_what_lies_in_the_padding_is_dropped(self, detector: Detector) -> None:
        found = self.finish(detector, [[10, 0, 20, 7, 0.9, 0], [10, 57, 20, 64, 0.9, 0], [10, 4, 20, 12, 0.5, 0]])
        np.testing.assert_allclose(found.boxes_xyxy, [[20, 0, 40, 8]])

    def test_padding_suppresses_nothing(self, detector: Detector) -> None:
        assert len(self.finish(detector, [[10, 3, 16, 8, 0.9, 0], [10, 5, 16, 10, 0.5, 0]])) == 1

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("column", range(6))
    def test_rows_that_are_not_finite_are_no_candidates(self, detector: Detector, bad: float, column: int) -> None:
        broken: list[float] = [10, 18, 20, 28, 0.9, 0]
        broken[column] = bad
        found = self.finish(detector, [broken, [50, 30, 60, 40, 0.7, 0]])
        np.testing.assert_allclose(found.scores, [0.7])

    def test_duplicates_go_by_centre_distance(self, detector: Detector) -> None:
        rows = [[30, 30, 33, 33, 0.6, 0], [32, 32, 35, 35, 0.9, 0], [60, 30, 63, 33, 0.5, 0]]
        np.testing.assert_allclose(self.finish(detector, rows).scores, [0.9, 0.5])

    def test_boxes_are_means_where_the_manifest_says_so(self, detector: Detector) -> None:
        rows: list[list[float]] = [[30, 30, 40, 40, 0.6, 0], [32, 30, 42, 40, 0.3, 0], [60, 30, 66, 36, 0.5, 0]]
        averaging = detector.with_manifest(detector.manifest.model_copy(update={"box_averaging_iou": 0.5}))
        for threshold in (0.2, 0.5):  # candidates below the threshold have their say all the same
            found = self.finish(averaging, rows, score_threshold=threshold)
            np.testing.assert_allclose(found.scores, [0.6, 0.5])
            np.testing.assert_allclose(found.boxes_xyxy[0], [2 * (30 + 2 / 3), 44, 2 * (40 + 2 / 3), 64], rtol=1e-6)
            np.testing.assert_allclose(found.boxes_xyxy[1], self.finish(detector, rows).boxes_xyxy[1])

    def test_inside_out_boxes_are_dropped(self, detector: Detector) -> None:
        assert len(self.finish(detector, [[20, 28, 10, 18, 0.9, 0]])) == 0

    def test_scores_stay_within_one(self, detector: Detector) -> None:
        assert self.finish(detector, [[10, 18, 20, 28, 1.0001, 0]]).scores.tolist() == [1.0]

    def test_candidates_that_run_out_are_told_of_once(
        self, detector: Detector, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = [[10.0 + 0.1 * row, 18, 20, 28, 0.9 - 0.01 * row, 0] for row in range(50)]  # down to 0.41
        fresh = detector.with_manifest(detector.manifest)
        self.finish(fresh, rows[:49])
        self.finish(fresh, rows, score_threshold=0.5)
        self.finish(fresh, [[*row[:4], row[4] - 0.2, 0] for row in rows], score_threshold=0.01)  # nobody reports these
        assert not caplog.records
        for _ in range(2):
            self.finish(fresh, rows)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith(
            "spot:1 ran out of candidates: all 50 of a frame reach a score of 0.30, so that targets may be missing"
        )
        caplog.clear()
        self.finish(detector.with_manifest(detector.manifest.model_copy(update={"stride": 16})), rows)
        assert not caplog.records  # a grid of no more points than that: nothing was left out

    @pytest.mark.parametrize("class_id", [1, -1, 7])
    def test_a_class_without_a_name_is_an_engine_error(self, detector: Detector, class_id: int) -> None:
        with pytest.raises(EngineError, match=r"class ids .* manifest of spot has 1 class"):
            self.finish(detector, [[10, 18, 20, 28, 0.9, class_id]])


def test_classes_have_names(tmp_path: Path) -> None:
    frame = frame_with_spots((30.4, 20.7))
    rows, columns = np.mgrid[: NET_HW[0], : NET_HW[1]] + 0.5
    dark = np.exp(-((columns - 70) ** 2 + (rows - 50) ** 2) / (2 * 1.3**2))
    frame = (frame - 12_000 * dark).clip(0).astype(np.uint16)
    with loddis_runtime.load(write_spot_bundle(tmp_path, classes=("bright", "dark", "never")), threads=1) as detector:
        found = {record["class_name"]: record for record in detector.detect(frame).to_records()}
    assert found["bright"]["centroid_xy"] == pytest.approx([30.4, 20.7], abs=0.1)
    assert found["dark"]["centroid_xy"] == pytest.approx([70, 50], abs=0.1)
    assert "never" not in found


@pytest.mark.parametrize("window", [3, 5])
def test_a_single_frame_fills_a_window(tmp_path: Path, window: int) -> None:
    with loddis_runtime.load(write_spot_bundle(tmp_path, window=window), threads=1) as detector:
        frame = frame_with_spots((30.4, 20.7))
        tensor = detector.prepare(frame).tensor
        assert tensor.shape == (window, *NET_HW)
        assert np.all(tensor == tensor[-1])
        assert len(detector.detect(frame)) == 1


class TestWindow:
    """`prepare_window` gives what the network of a model with a window expects."""

    @pytest.fixture
    def frames(self) -> list[NDArray[np.uint16]]:
        return [frame_with_spots((20 + 6 * step, 30), seed=step) for step in range(5)]

    def test_the_newest_frames_oldest_first(self, tmp_path: Path, frames: list[NDArray[np.uint16]]) -> None:
        with loddis_runtime.load(write_spot_bundle(tmp_path, window=3), threads=1) as detector:
            prepared = detector.prepare_window(frames)
            expected = [detector.prepare(frame).tensor[-1] for frame in frames[-3:]]
        np.testing.assert_array_equal(prepared.tensor, np.stack(expected))
        np.testing.assert_array_equal(prepared.frame, frames[-1])

    def test_a_start_repeats_the_first(self, tmp_path: Path, frames: list[NDArray[np.uint16]]) -> None:
        with loddis_runtime.load(write_spot_bundle(tmp_path, window=5), threads=1) as detector:
            tensor = detector.prepare_window(frames[:2]).tensor
        for row in tensor[:4]:
            np.testing.assert_array_equal(row, tensor[0])
        assert not np.array_equal(tensor[3], tensor[4])

    def test_frames_of_several_sizes_or_none_are_refused(
        self, tmp_path: Path, frames: list[NDArray[np.uint16]]
    ) -> None:
        with loddis_runtime.load(write_spot_bundle(tmp_path, window=3), threads=1) as detector:
            with pytest.raises(FrameError, match="of one size, got 96 x 64, 90 x 64"):
                detector.prepare_window([frames[0], frames[1][:, :90]])
            with pytest.raises(FrameError, match="at least one frame"):
                detector.prepare_window([])


def test_half_precision_finds_the_same(tmp_path: Path, detector: Detector) -> None:
    path = write_spot_bundle(tmp_path, precisions=("fp32", "fp16"))
    frame = frame_with_spots((30.4, 20.7), (70.2, 50.1))
    with loddis_runtime.load(path, precision="fp16", threads=1) as half:
        assert half.precision == "fp16"
        found, expected = half.detect(frame), detector.detect(frame)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)


class TestLoad:
    def test_says_what_it_loaded(self, spot_bundle: Path) -> None:
        with loddis_runtime.load(spot_bundle, threads=2) as detector:
            assert repr(detector) == "<Detector spot:1 fp32 on cpu>"
            assert (detector.device, detector.precision, detector.threads) == ("cpu", "fp32", 2)
            assert detector.bundle.path == spot_bundle
            assert detector.manifest.size_hw == NET_HW

    def test_threads_are_those_this_process_may_use(self, spot_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("loddis_runtime.detector.available_cores", lambda: 3)
        with loddis_runtime.load(spot_bundle) as detector:
            assert detector.threads == 3

    def test_by_name_from_a_repository(self, spot_bundle: Path) -> None:
        root = spot_bundle.parents[1]
        for repository in (root, str(root), ModelRepository(root)):
            for name in ("spot", "spot:1"):
                with loddis_runtime.load(name, repository=repository, threads=1) as detector:
                    assert detector.bundle.path == spot_bundle

    def test_by_path_as_a_string(self, spot_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(spot_bundle.parent)
        for path in (str(spot_bundle), "./1"):
            with loddis_runtime.load(path, threads=1) as detector:
                assert detector.manifest.name == "spot"

    def test_an_unknown_name_lists_what_there_is(self, spot_bundle: Path) -> None:
        with pytest.raises(ModelNotFoundError, match=r"no model spit in .*; there is: spot:1"):
            loddis_runtime.load("spit", repository=spot_bundle.parents[1])

    def test_a_folder_meant_as_a_path_gets_a_hint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_spot_bundle(tmp_path, name="spot", version="1")
        monkeypatch.chdir(tmp_path / "spot")
        with pytest.raises(ModelNotFoundError, match=r"for the folder of that name, write \./1"):
            loddis_runtime.load("1", repository=tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"device": "tpu"}, "device must be one of auto, cpu, cuda, tensorrt, got 'tpu'"),
            ({"precision": "fp8"}, "precision must be one of auto, fp32, fp16, int8, got 'fp8'"),
            ({"threads": 0}, r"threads must be a whole number from 1 to \d+ on this machine, got 0"),
            ({"threads": "2"}, r"threads must be a whole number from 1 to \d+ on this machine, got '2'"),
            ({"threads": 1.5}, r"threads must be a whole number from 1 to \d+ on this machine, got 1\.5"),
        ],
    )
    def test_options_that_do_not_exist_are_refused(
        self, spot_bundle: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            loddis_runtime.load(spot_bundle, **options)

    def test_a_precision_without_a_graph_names_those_there(self, spot_bundle: Path) -> None:
        with pytest.raises(BundleError, match="has no int8 graph; there is: fp32"):
            loddis_runtime.load(spot_bundle, precision="int8")

    def test_checksums_are_checked(self, tmp_path: Path) -> None:
        path = write_spot_bundle(tmp_path)
        (path / "MODEL_CARD.md").write_text("changed")
        with pytest.raises(ChecksumError):
            loddis_runtime.load(path)


def test_warm_up_runs_every_batch_size(spot_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loddis_runtime.load(spot_bundle, threads=1) as detector:
        sizes = []
        infer = detector.engine.infer

        def counted(frames: NDArray[np.float32]) -> NDArray[np.float32]:
            sizes.append(len(frames))
            return infer(frames)

        monkeypatch.setattr(detector.engine, "infer", counted)
        detector.warm_up((1, 4))
        detector.warm_up()
    assert sizes == [1, 4, 1]


def test_a_closed_detector_says_so(spot_bundle: Path) -> None:
    detector = loddis_runtime.load(spot_bundle, threads=1)
    with detector:
        pass
    detector.close()
    with pytest.raises(EngineError, match="closed"):
        detector.detect(frame_with_spots())


def test_detecting_and_loading_at_once_disturb_neither(spot_bundle: Path) -> None:
    frame = frame_with_spots((30.4, 20.7), (70.2, 50.1))
    with loddis_runtime.load(spot_bundle, threads=1) as detector, ThreadPoolExecutor(6) as pool:
        expected = detector.detect(frame)

        def load_and_detect(_: int) -> Detections:
            with loddis_runtime.load(spot_bundle, threads=1) as another:
                return another.detect(frame)

        found = [pool.submit(detector.detect, frame) for _ in range(40)]
        found += [pool.submit(load_and_detect, number) for number in range(12)]
        for one in found:
            assert_same(one.result(), expected)


def test_closing_while_others_detect_ends_in_answers_or_an_engine_error(spot_bundle: Path) -> None:
    frame = frame_with_spots((30.4, 20.7))
    detector = loddis_runtime.load(spot_bundle, threads=1)
    expected = detector.detect(frame)
    under_way = threading.Barrier(5)

    def detect_until_closed() -> None:
        assert_same(detector.detect(frame), expected)
        under_way.wait(20)
        while True:
            assert_same(detector.detect(frame), expected)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(detect_until_closed) for _ in range(4)]
        under_way.wait(20)
        detector.close()
        for one in running:
            with pytest.raises(EngineError, match="the engine is closed"):
                one.result(20)
