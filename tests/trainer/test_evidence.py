"""Evidence: its figures on maps and features made by hand, and what a training leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from loddis_trainer.building import build_training_model, open_mixture
from loddis_trainer.checkpoint import read_info
from loddis_trainer.config import FitConfig
from loddis_trainer.errors import TrainingError
from loddis_trainer.evidence import EvidenceFrames, read_evidence, read_snapshot
from loddis_trainer.evidence.features import FrameFeatures, extract_features
from loddis_trainer.evidence.measures import (
    correlation_by_chance,
    correlation_matrix,
    domain_separability,
    focus_ratio,
    mean_absolute_correlation,
)
from loddis_trainer.evidence.recorder import measure_features
from loddis_trainer.fit import fit
from loddis_trainer.losses.regions import split_by_boxes
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import short_run


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    write_drone_csv_domain(root / "dark", frames=6)
    write_coco_domain(root / "bright", splits={"train": 9, "val": 4})
    write_coco_domain(root / "unheld", splits={"train": 9})
    return root


def make_config(domains: Path, out: Path, **changes: object) -> FitConfig:
    wanted: dict[str, object] = {"auxiliary": ["bright", "unheld"], "evidence_frames": 5, "schedule": "constant"}
    return short_run(domains, out, **(wanted | changes))


class TestFocusRatio:
    # An 8 x 8 grid of 8 px cells; the box covers exactly the four cells in the middle.
    regions = split_by_boxes([torch.tensor([[24.0, 24.0, 40.0, 40.0]])], size_uv=(8, 8), stride=8)

    def make_map(self, on_target: float, elsewhere: float) -> torch.Tensor:
        level = torch.full((1, 3, 8, 8), elsewhere)
        level[:, :, 3:5, 3:5] = on_target
        return level

    @pytest.mark.parametrize(
        ("on_target", "elsewhere", "ratio"), [(1.0, 1.0, 0.5), (3.0, 1.0, 0.75), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0)]
    )
    def test_it_compares_the_means_of_targets_and_background(
        self, on_target: float, elsewhere: float, ratio: float
    ) -> None:
        assert focus_ratio(self.make_map(on_target, elsewhere), self.regions).item() == pytest.approx(ratio)

    def test_the_sign_of_an_activation_and_the_scale_of_the_map_do_not_matter(self) -> None:
        level = self.make_map(3.0, 1.0)
        level[:, 0] *= -1
        assert focus_ratio(-7 * level, self.regions).item() == pytest.approx(0.75)

    def test_a_map_of_nothing_is_neutral(self) -> None:
        assert focus_ratio(torch.zeros(1, 3, 8, 8), self.regions).item() == 0.5

    def test_cells_count_by_the_area_that_boxes_cover(self) -> None:
        half = split_by_boxes([torch.tensor([[28.0, 24.0, 36.0, 32.0]])], size_uv=(8, 8), stride=8)
        level = torch.ones(1, 1, 8, 8)
        level[0, 0, 3, 3] = 5.0  # half of the box lies on it, the other half on a cell of 1
        assert focus_ratio(level, half).item() == pytest.approx(3 / 4)


class TestCorrelation:
    def test_it_is_pearson_feature_by_feature(self) -> None:
        generator = np.random.default_rng(0)
        z, b = generator.normal(size=(20, 3)), generator.normal(size=(20, 2))
        whole = np.corrcoef(z, b, rowvar=False)[:3, 3:]
        np.testing.assert_allclose(correlation_matrix(z, b), whole, atol=1e-9)
        assert mean_absolute_correlation(z, b) == pytest.approx(np.abs(whole).mean())

    def test_proportional_features_give_one_and_constant_ones_nothing(self) -> None:
        line = np.arange(6.0)[:, None]
        assert mean_absolute_correlation(line * [[1.0, -2.0]], 3 * line + 5) == pytest.approx(1.0)
        assert mean_absolute_correlation(line, np.ones((6, 4))) == 0

    def test_chance_is_what_independent_features_give(self) -> None:
        generator = np.random.default_rng(0)
        measured = mean_absolute_correlation(generator.normal(size=(96, 64)), generator.normal(size=(96, 64)))
        assert measured == pytest.approx(correlation_by_chance(96), rel=0.05)

    def test_shapes_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"got \(3, 2\) and \(4, 2\)"):
            correlation_matrix(np.zeros((3, 2)), np.zeros((4, 2)))


class TestSeparability:
    ids = np.repeat([0, 1, 2], 32)

    def test_domains_that_are_alike_leave_chance(self) -> None:
        found = [domain_separability(np.random.default_rng(seed).normal(size=(96, 16)), self.ids) for seed in range(12)]
        assert np.mean(found) == pytest.approx(1 / 3, abs=0.05)  # a single one scatters by 0.05

    def test_domains_that_lie_apart_are_told_apart(self) -> None:
        features = np.random.default_rng(0).normal(size=(96, 16))
        features[np.arange(96), self.ids] += 8
        assert domain_separability(features, self.ids) > 0.99

    def test_a_large_domain_does_not_make_chance_look_like_knowledge(self) -> None:
        ids = np.repeat([0, 1], [90, 10])
        features = np.random.default_rng(1).normal(size=(100, 4))
        assert domain_separability(features, ids) == pytest.approx(0.5, abs=0.1)

    def test_knowing_a_sequence_is_not_knowing_its_domain(self) -> None:
        """Features that say which sequence a frame is of, and nothing else, betray the domains of frames alone."""
        sequences = np.repeat(np.arange(24), 8)
        ids = sequences % 2
        together, alone = [], []
        for seed in range(8):
            generator = np.random.default_rng(seed)
            features = generator.normal(size=(24, 16))[sequences] + 0.1 * generator.normal(size=(192, 16))
            together.append(domain_separability(features, ids, sequence_ids=sequences, seed=seed))
            alone.append(domain_separability(features, ids, seed=seed))
        assert np.mean(alone) > 0.85
        assert np.mean(together) == pytest.approx(0.5, abs=0.1)

    def test_the_frames_of_a_single_sequence_count_for_themselves(self) -> None:
        features = np.random.default_rng(0).normal(size=(96, 16))
        features[np.arange(96), self.ids] += 8
        sequences = np.where(self.ids == 0, 0, 1 + np.arange(96) // 4)
        assert domain_separability(features, self.ids, sequence_ids=sequences) > 0.99

    @pytest.mark.parametrize("ids", [np.zeros(8, dtype=int), np.array([0] * 7 + [1])])
    def test_a_single_domain_has_no_figure(self, ids: np.ndarray) -> None:
        assert np.isnan(domain_separability(np.random.default_rng(0).normal(size=(8, 2)), ids))


def test_chance_is_of_the_domains_that_the_probe_tells_apart() -> None:
    """A domain of a single frame takes no part, and makes nothing harder."""
    generator = np.random.default_rng(0)
    ids = np.array([0] * 12 + [1] * 12 + [2])
    drawn = {name: generator.normal(size=(25, 4)).astype(np.float32) for name in ("z", "b", "targets", "scenes")}
    features = FrameFeatures(
        **drawn,
        focus_fused=np.full(25, 0.5, np.float32),
        focus_target_map=None,
        domain_ids=ids,
        sequence_ids=np.arange(25),
        z_from="z",
        b_from="b",
    )
    line = measure_features(features, domain_names=("a", "b", "c"), epoch=0, step=0, seed=0)
    assert line.separability_by_chance == 0.5
    assert set(line.focus_by_domain) == {"a", "b", "c"}


def test_frames_that_cannot_be_measured_are_left_out_with_their_sequences(domains: Path, tmp_path: Path) -> None:
    root = tmp_path / "domains"
    shutil.copytree(domains, root, ignore=shutil.ignore_patterns("cache"))
    for labels in (root / "bright").rglob("*.json"):
        document = json.loads(labels.read_text())
        document["annotations"][0]["bbox"] = [0, 0, 96, 64]  # the whole frame: no cell is background
        labels.write_text(json.dumps(document))
    fit(make_config(root, tmp_path / "run", epochs=1), progress=False)
    snapshot = read_snapshot(tmp_path / "run", 1)
    assert snapshot.domain_ids.tolist() == [0] * 5 + [1] * 3 + [2] * 5


def test_a_training_records_before_and_after_every_validation(domains: Path, tmp_path: Path) -> None:
    fit(make_config(domains, tmp_path / "run", epochs=3, validate_every=2), progress=False)
    lines = read_evidence(tmp_path / "run")
    assert [line.epoch for line in lines] == [0, 2, 3]
    assert lines[0].step == 0
    assert lines[-1].step == read_info(tmp_path / "run" / "last").step
    for line in lines:
        # held-out frames where the domain has some; four are all that `bright` has
        assert line.frames == {"dark:val": 5, "bright:val": 4, "unheld:train": 5}
        assert line.z_from == "the target projection, pooled over the whole map"
        assert line.separability_by_chance == pytest.approx(1 / 3, abs=1e-4)
        for value in (line.hsic, line.correlation, line.focus_fused, line.focus_target_map, line.separability_z):
            assert value is not None
            assert 0 <= value <= 1
        assert set(line.focus_by_domain) == {"dark", "bright", "unheld"}
    snapshot = read_snapshot(tmp_path / "run", 3)
    assert snapshot.z.shape == snapshot.b.shape == (14, 64)
    assert snapshot.domain_ids.tolist() == [0] * 5 + [1] * 4 + [2] * 5
    assert snapshot.domain_names == ("dark", "bright", "unheld")
    assert (tmp_path / "run" / "evidence" / "epoch-003.npz").stat().st_size < 20_000
    assert not list((tmp_path / "run").rglob("*.new"))


def test_half_precision_loses_nothing_of_what_was_measured(domains: Path, tmp_path: Path) -> None:
    """Features of an untrained network hardly differ from frame to frame, which half precision alone would level."""
    fit(make_config(domains, tmp_path / "run", epochs=1), progress=False)
    for line in read_evidence(tmp_path / "run"):
        snapshot = read_snapshot(tmp_path / "run", line.epoch)
        assert mean_absolute_correlation(snapshot.z, snapshot.b) == pytest.approx(line.correlation, abs=0.01)


def test_a_plain_run_of_one_domain_has_evidence_of_its_own(domains: Path, tmp_path: Path) -> None:
    fit(make_config(domains, tmp_path / "run", auxiliary=[], epochs=1), progress=False)
    line = read_evidence(tmp_path / "run")[-1]
    assert line.z_from == "the fused map, averaged over the ground truth boxes"
    assert line.b_from == "the fused map, averaged over the cells that no box touches"
    assert line.focus_target_map is None
    assert line.separability_z is None
    assert line.focus_fused is not None


def test_evidence_changes_no_weight_and_can_be_off(domains: Path, tmp_path: Path) -> None:
    fit(make_config(domains, tmp_path / "with"), progress=False)
    fit(make_config(domains, tmp_path / "without", evidence_frames=0), progress=False)
    weights = [(tmp_path / run / "last" / "weights.safetensors").read_bytes() for run in ("with", "without")]
    assert weights[0] == weights[1]
    assert not list((tmp_path / "without").glob("evidence*"))


def test_going_on_after_a_kill_leaves_no_epoch_twice(domains: Path, tmp_path: Path) -> None:
    straight, parts = tmp_path / "straight", tmp_path / "parts"
    fit(make_config(domains, straight), progress=False)
    fit(make_config(domains, parts, epochs=1), progress=False)
    # A kill between the evidence of epoch 2 and its checkpoint.
    late = json.loads((parts / "evidence.jsonl").read_text().splitlines()[-1]) | {"epoch": 2, "hsic": 0.99}
    with (parts / "evidence.jsonl").open("a") as handle:
        handle.write(json.dumps(late) + "\n")
    fit(make_config(domains, parts, resume=True), progress=False)

    def without_time(run: Path) -> list[dict[str, object]]:
        return [line.model_dump(exclude={"seconds"}) for line in read_evidence(run)]

    assert without_time(parts) == without_time(straight)
    assert len((parts / "evidence.jsonl").read_text().splitlines()) == 3


def test_a_run_from_before_evidence_goes_on_with_it(domains: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(make_config(domains, run, epochs=1, evidence_frames=0), progress=False)
    file = run / "last" / "checkpoint.json"
    document = json.loads(file.read_text())
    del document["config"]["evidence_frames"]
    file.write_text(json.dumps(document))
    fit(make_config(domains, run, resume=True), progress=False)
    assert [line.epoch for line in read_evidence(run)] == [1, 2]


def test_the_frames_are_the_same_every_time_and_the_model_is_left_as_it_was(domains: Path, tmp_path: Path) -> None:
    config = make_config(domains, tmp_path / "run")
    opened = [
        open_mixture(config, split, progress=False, task_only=only) for split, only in (("train", False), ("val", True))
    ]
    first, again = (EvidenceFrames.choose(config, *opened) for _ in range(2))
    assert first.draws == again.draws
    sequences = {first.mixture.domains[0].dataset.sequence_of(draw.number) for draw in first.draws if draw.domain == 0}
    assert len(sequences) == 2  # all that `dark` has
    other = EvidenceFrames.choose(config.model_copy(update={"seed": 1}), *opened)
    assert other.draws != first.draws

    model = build_training_model(config, roles=["task", "auxiliary", "auxiliary"]).train()
    state, mode = torch.get_rng_state(), [module.training for module in model.modules()]
    features = extract_features(model, first, autocast=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == mode
    assert len(features.z) == len(first.draws) == 14
    # frames are seen one by one: a batch is no part of the result
    np.testing.assert_allclose(extract_features(model, again, autocast=False).z, features.z)


def test_auxiliary_frames_are_looked_at_as_the_losses_see_them(domains: Path, tmp_path: Path) -> None:
    config = make_config(domains, tmp_path / "run")
    opened = [
        open_mixture(config, split, progress=False, task_only=only) for split, only in (("train", False), ("val", True))
    ]
    frames = EvidenceFrames.choose(config, *opened)
    found = {}
    for how in ("shared", "own"):
        torch.manual_seed(0)
        one = config.model_copy(update={"auxiliary_statistics": how})
        model = build_training_model(one, roles=["task", "auxiliary", "auxiliary"])
        found[how] = extract_features(model, frames, autocast=False)
    is_task = found["own"].domain_ids == 0
    np.testing.assert_allclose(found["own"].scenes[is_task], found["shared"].scenes[is_task], rtol=1e-4, atol=1e-6)
    assert not np.allclose(found["own"].scenes[~is_task], found["shared"].scenes[~is_task], rtol=0.1)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").write_text('{"epoch": 0')
    with pytest.raises(TrainingError, match=r"evidence\.jsonl, line 1: "):
        read_evidence(tmp_path)
    with pytest.raises(TrainingError, match=r"epoch-007\.npz cannot be read"):
        read_snapshot(tmp_path, 7)
