"""A bundle as the start of a training: its graph's weights come back as what was exported."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from loddis_export.bundle import describe
from loddis_export.graph import write_graph
from loddis_export.settings import ExportSettings
from loddis_export.strip import strip_checkpoint
from loddis_runtime.bundle import INPUT_NAME, Bundle
from loddis_runtime.repository import shipped_repository
from loddis_trainer.checkpoint import read_info, read_weights
from loddis_trainer.choices import CANDIDATES
from loddis_trainer.errors import CheckpointError
from loddis_trainer.fit import fit
from loddis_trainer.from_bundle import detector_of_bundle, measure_norms
from loddis_trainer.models import build_detector
from loddis_trainer.training_model import TrainingModel
from support.bundles import seal, write_spot_bundle
from support.domains import SIZE_HW
from support.fitting import short_run


@pytest.fixture(scope="module")
def bundle(trained: TrainingModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models") / "spots" / "1"
    folder.mkdir(parents=True)
    write_graph(trained.detector, folder / "model.fp32.onnx", window=1, size_hw=SIZE_HW)
    seal(folder, name="spots", size_hw=SIZE_HW)
    return Bundle.open(folder)


def frames(count: int, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, *SIZE_HW, generator=torch.Generator().manual_seed(seed))


def test_what_comes_back_detects_what_was_exported(trained: TrainingModel, bundle: Bundle) -> None:
    with torch.no_grad():
        expected, found = trained.detector.predict(trained.detector.fuse(frames(3))), None
        detector = detector_of_bundle(bundle)
        found = detector.predict(detector.fuse(frames(3)))
    assert torch.allclose(found.offsets, expected.offsets, atol=1e-3)
    assert torch.allclose(found.objectness, expected.objectness, atol=1e-3)


def test_a_bundle_of_windows_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build_detector("nano", window=3, keep=20).eval()
    for name, value in detector.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value, std=0.1)  # equal ones would be one in the graph
    folder = tmp_path / "spots" / "1"
    folder.mkdir(parents=True)
    write_graph(detector, folder / "model.fp32.onnx", window=3, size_hw=SIZE_HW)
    seal(folder, name="spots", size_hw=SIZE_HW, window=3)
    x = torch.rand(2, 3, *SIZE_HW)
    with torch.no_grad():
        back = detector_of_bundle(Bundle.open(folder))
        expected, found = (one.predict(one.fuse(x)) for one in (detector, back))
    assert torch.allclose(found.objectness, expected.objectness, atol=1e-3)


def test_the_shipped_model_comes_back() -> None:
    shipped = shipped_repository().open("sky-nano")
    x = torch.rand(1, shipped.manifest.window, *shipped.manifest.size_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = detector_of_bundle(shipped)(x)
    session = onnxruntime.InferenceSession(str(shipped.graph_path("fp32")), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT_NAME: x.numpy()})
    assert np.abs(found[..., 4] - expected[..., 4].numpy()).max() < 1e-4


def test_normalisations_learn_their_statistics_and_change_nothing(bundle: Bundle) -> None:
    detector = detector_of_bundle(bundle)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        before = detector.fuse(frames(4))
        measure_norms(detector, [frames(4), frames(4, seed=1)], norms=norms)
        assert torch.allclose(detector.fuse(frames(4)), before, atol=1e-4)
        detector.train()
        both = torch.cat((frames(4), frames(4, seed=1)))
        first = detector.backbone.stem
        assert torch.allclose(first.conv(both).mean(dim=(0, 2, 3)), first.norm.running_mean, atol=1e-5)
        assert torch.allclose(first.conv(both).var(dim=(0, 2, 3)), first.norm.running_var, rtol=1e-2)
        assert torch.allclose(detector.fuse(both)[:4], before, atol=1e-2)  # by the statistics of what it is given


@pytest.mark.parametrize("part", ["all", "body"])
def test_a_training_goes_on_from_a_bundle(domains: Path, bundle: Bundle, tmp_path: Path, part: str) -> None:
    changes = {"auxiliary": ["bright"], "learning_rate": 1e-12, "epochs": 1, "init": bundle.path, "init_part": part}
    fit(short_run(domains, tmp_path / "run", **changes), progress=False)
    weights = read_weights(tmp_path / "run" / "last")
    exported = detector_of_bundle(bundle).state_dict()
    same = {name for name, value in exported.items() if torch.allclose(weights[f"detector.{name}"], value, atol=1e-6)}
    kernels = {name for name in exported if name.endswith("conv.weight")}
    of_head = {name for name in kernels if name.startswith("head.")}
    assert kernels & same == (kernels if part == "all" else kernels - of_head)
    info = read_info(tmp_path / "run" / "last")
    assert info.config["init"] == str(bundle.path)
    assert info.keep == CANDIDATES  # not the bundle's


def test_a_detector_of_single_frames_goes_on_with_a_window(domains: Path, bundle: Bundle, tmp_path: Path) -> None:
    """It finds what it found, whatever the past frames show, and learns to look at them."""
    for name, rate in (("begins", 1e-12), ("learns", 1e-2)):
        changes = {"learning_rate": rate, "epochs": 1, "init": bundle.path, "window": 3}
        fit(short_run(domains, tmp_path / name, **changes), progress=False)
    longer = short_run(domains, tmp_path / "other", epochs=1, init=tmp_path / "learns" / "last", window=5)
    with pytest.raises(CheckpointError, match="sees windows of 3 frames, this run of 5"):
        fit(longer, progress=False)
    kernel = detector_of_bundle(bundle).backbone.stem.conv.weight
    begins, learns = (
        read_weights(tmp_path / name / "last")["detector.backbone.stem.conv.weight"] for name in ("begins", "learns")
    )
    assert begins.shape == (len(kernel), 3, *kernel.shape[2:])
    assert torch.allclose(begins[:, 2:], kernel, atol=1e-6)
    assert float(begins[:, :2].abs().max()) < 1e-6
    assert float(learns[:, :2].abs().max()) > 1e-4


def test_normalisations_learn_the_statistics_that_training_will_use(
    domains: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: dict[str, int] = {}
    for how in ("shared", "own"):

        def count(_: object, batches: Iterable[torch.Tensor], *, norms: object, how: str = how) -> None:
            measured[how] = sum(len(batch) for batch in batches)

        monkeypatch.setattr("loddis_trainer.earlier.measure_norms", count)
        changes = {"epochs": 1, "steps_per_epoch": 2, "init": bundle.path, "task_share": 0.5}
        fit(short_run(domains, tmp_path / how, **changes, auxiliary_statistics=how), progress=False)
    assert measured["own"] * 2 == measured["shared"] > 0


def test_the_head_alone_may_be_of_other_classes(domains: Path, bundle: Bundle, tmp_path: Path) -> None:
    changes = {"auxiliary": ["bright"], "epochs": 1, "init": bundle.path, "classes": ["drone", "person"]}
    with pytest.raises(CheckpointError, match=r"does not fit: its weight 'detector\.head\.class_logits"):
        fit(short_run(domains, tmp_path / "all", **changes), progress=False)
    fit(short_run(domains, tmp_path / "body", **changes, init_part="body"), progress=False)
    assert read_info(tmp_path / "body" / "last").classes == ("drone", "person")


def test_what_a_bundle_learnt_from_comes_along(domains: Path, bundle: Bundle, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    fit(short_run(domains, one, epochs=1, init=bundle.path), progress=False)
    fit(short_run(domains, two, epochs=1, init=one / "last"), progress=False)
    for run in (one, two):
        info = read_info(run / "last")
        assert info.started_from == "spots:1"
        assert info.start_domains == bundle.manifest.training_domains
    stripped = strip_checkpoint(two / "last")
    described = describe(stripped, tmp_path / "m" / "1", ExportSettings())
    assert [(domain.name, domain.licence) for domain in described.training_domains] == [
        ("dark", "not stated"),
        ("bright", "not stated"),
        ("none", "CC0-1.0"),
    ]


def test_a_folder_is_taken_for_the_folder_that_it_is(
    domains: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that has the name of a shipped model."""
    shutil.copytree(bundle.path, tmp_path / "sky-nano")
    monkeypatch.chdir(tmp_path)
    changes = {"epochs": 1, "init": Path("sky-nano"), "intensity": {"kind": "percentile"}}
    fit(short_run(domains, tmp_path / "run", **changes), progress=False)
    assert read_info(tmp_path / "run" / "last").started_from == "spots:1"
    assert "was trained on levels by" in caplog.text


def test_a_checkpoint_that_was_set_aside_is_a_start(domains: Path, tmp_path: Path) -> None:
    fit(short_run(domains, tmp_path / "one", epochs=1), progress=False)
    (tmp_path / "one" / "last").rename(tmp_path / "one" / ".last.old")
    fit(short_run(domains, tmp_path / "two", epochs=1, init=tmp_path / "one" / "last"), progress=False)
    assert len(read_info(tmp_path / "two" / "last").earlier) == 1


def test_what_is_no_start_says_so(domains: Path, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to start from, and no bundle: no model sky-pico in"):
        fit(short_run(domains, tmp_path / "run", init=Path("sky-pico")), progress=False)
    other = write_spot_bundle(tmp_path / "models", size_hw=SIZE_HW)  # a graph of another make
    with pytest.raises(CheckpointError, match=r"does not fit: it has no weight 'detector\.backbone"):
        fit(short_run(domains, tmp_path / "run", init=other), progress=False)
    graph = onnx.load(str(bundle.graph_path("fp32")))
    stem = next(tensor for tensor in graph.graph.initializer if tensor.name == "backbone.stem.conv.weight_bias")
    stem.name = "stem_bias"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    onnx.save(graph, str(foreign / "model.fp32.onnx"))
    seal(foreign, name="foreign", size_hw=SIZE_HW)
    with pytest.raises(CheckpointError, match="its graph was not exported by Loddis"):
        fit(short_run(domains, tmp_path / "run", init=foreign), progress=False)
