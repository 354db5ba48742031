"""Measuring bundles and checkpoints on domains: what is detected, paired with the truth, and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loddis_runtime import BundleError, Detector, load
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.intensity import FullRange
from loddis_trainer.checkpoint import CheckpointInfo, save_checkpoint
from loddis_trainer.data import DomainDataset
from loddis_trainer.evaluate import SCORE_FLOOR, collect_results, evaluate, evaluate_model, open_model
from loddis_trainer.models import build_detector
from loddis_trainer.torch_engine import wrap_detector
from support.bundles import manifest_of, write_spot_bundle
from support.domains import SIZE_HW, write_coco_domain, write_drone_csv_domain


class RecordingEngine:
    """Finds nothing, or what it is told to, and keeps what it was shown."""

    name = "recording"
    device = "cpu"
    precision: GraphPrecision = "fp32"

    def __init__(self, candidates: list[list[float]] | None = None) -> None:
        self.candidates = candidates or [[0.0] * 6]
        self.seen: list[NDArray[np.float32]] = []

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen += list(frames)
        return np.broadcast_to(np.array(self.candidates, dtype=np.float32), (len(frames), len(self.candidates), 6))

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    write_drone_csv_domain(root / "dark", splits={"train": 1, "val": 2, "test": 1}, frames=6)
    write_coco_domain(root / "bright", splits={"train": 1, "test": 3})
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spot_bundle(tmp_path_factory.mktemp("models"))


def open_domain(domains: Path, name: str, split: str) -> DomainDataset:
    return DomainDataset.open(name, split, data_root=domains, cache_dir=domains / "cache", progress=False)


def recording_detector(engine: RecordingEngine, *, window: int = 1) -> Detector:
    return Detector(Bundle(Path("recording"), manifest_of(window=window)), engine, threads=1)


def test_a_bundle_is_measured_on_a_domain(domains: Path, bundle: Path) -> None:
    dataset = open_domain(domains, "dark", "val")
    with load(bundle, threads=1) as detector:
        metrics = evaluate(detector, dataset, progress=False)
    assert metrics.score_threshold == pytest.approx(0.3)  # the manifest's
    assert (metrics.frames, metrics.targets) == (12, 12)
    assert metrics.pd == 1.0  # spots before noise: nothing is easier
    assert metrics.map50 > 0.9
    assert metrics.by_class[0].label == "target"
    assert [each.sequence for each in metrics.by_sequence] == sorted(dataset.sequences)
    assert [group.label for group in metrics.by_snr if group.targets] == ["SNR ≥ 12"]
    assert [group.label for group in metrics.by_size if group.targets] == ["5–10 px"]


def test_results_pair_frames_with_their_truth(domains: Path, bundle: Path) -> None:
    dataset = open_domain(domains, "dark", "val")
    with load(bundle, threads=1) as detector:
        results = collect_results(detector, dataset, numbers=[7, 2], progress=False)
    for number, result in zip([7, 2], results, strict=True):
        assert result.sequence == dataset.sequence_of(number)
        assert result.frame_index == dataset.records[number].frame_index
        assert result.truth_boxes_xyxy.tolist() == dataset.boxes(number).tolist()
        assert result.truth_snr.shape == (1,)
        assert result.truth_snr[0] > 12
        best = result.boxes_xyxy[result.scores.argmax()]
        centres = [(box[:2] + box[2:]) / 2 for box in (best, result.truth_boxes_xyxy[0])]
        assert np.abs(centres[0] - centres[1]).max() < 1.5
        assert len(result.snr) == len(result.scores)


def test_scores_down_to_the_floor_are_kept(domains: Path) -> None:
    low = [[10.0, 10, 20, 20, SCORE_FLOOR + 0.001, 0], [60.0, 40, 70, 50, SCORE_FLOOR - 0.001, 0]]
    detector = recording_detector(RecordingEngine(low))
    results = collect_results(detector, open_domain(domains, "bright", "test"), progress=False)
    assert [len(result.scores) for result in results] == [1, 1, 1]


def test_the_operating_point_and_the_distance_can_be_chosen(domains: Path) -> None:
    dataset = open_domain(domains, "dark", "val")
    truth = dataset.boxes(0)[0]
    shifted = [*(truth + 4.0).tolist(), 0.6, 0.0]  # 5.7 px beside the target of the first frame
    detector = recording_detector(RecordingEngine([shifted]))
    near = evaluate(detector, dataset, numbers=[0], score_threshold=0.5, progress=False)
    far = evaluate(detector, dataset, numbers=[0], score_threshold=0.5, centre_distance_px=6.0, progress=False)
    off = evaluate(detector, dataset, numbers=[0], score_threshold=0.7, centre_distance_px=6.0, progress=False)
    assert [(m.pd, m.fa_per_frame) for m in (near, far, off)] == [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]


def test_a_model_with_a_window_sees_the_frames_before(domains: Path) -> None:
    engine = RecordingEngine()
    dataset = open_domain(domains, "dark", "val")
    collect_results(recording_detector(engine, window=3), dataset, numbers=[3, 0, 6], progress=False)
    expected = [[1, 2, 3], [0, 0, 0], [6, 6, 6]]  # the first frame of a sequence has none before it
    for window, numbers in zip(engine.seen, expected, strict=True):
        frames = np.stack([dataset.frame(number) for number in numbers]).astype(np.float32) / 255
        np.testing.assert_allclose(window, frames, atol=1e-6)


def test_the_frame_that_is_detected_on_is_the_last_of_its_window(domains: Path, tmp_path: Path) -> None:
    one, three = (write_spot_bundle(tmp_path / str(window), window=window) for window in (1, 3))
    dataset = open_domain(domains, "dark", "val")
    figures = []
    for path in (one, three):
        with load(path, threads=1) as detector:
            figures.append(evaluate(detector, dataset, progress=False).to_dict())
    assert figures[0] == figures[1]  # the spot graph looks at the key frame only


def test_a_checkpoint_is_measured_as_the_module_in_memory(domains: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=1, window=1).train()
    info = CheckpointInfo(
        variant="nano",
        classes=("target",),
        window=1,
        size_hw=SIZE_HW,
        stride=8,
        keep=model.keep,
        intensity=FullRange(),
        domains=(),
        epoch=1,
        step=1,
        score_threshold=0.25,
    )
    wrapped = wrap_detector(
        model,
        variant="nano",
        classes=["target"],
        window=1,
        size_hw=SIZE_HW,
        intensity=FullRange(),
        score_threshold=0.25,
    )
    in_memory = evaluate(wrapped, open_domain(domains, "bright", "test"), progress=False)
    assert model.training  # as it was before
    save_checkpoint(tmp_path / "best", info, torch.nn.ModuleDict({"detector": model}))
    from_disk = evaluate_model(
        str(tmp_path / "best"), ["bright:test"], data_root=domains, cache_dir=domains / "cache", progress=False
    )
    assert set(from_disk) == {"bright:test"}
    assert from_disk["bright:test"].to_dict() == in_memory.to_dict()
    assert in_memory.score_threshold == 0.25


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_model(str(tmp_path))
