"""What training scenes are like, added to a bundle: by the command, and by an export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from loddis_export.bundle import export_bundle
from loddis_export.cli import Export
from loddis_export.errors import ExportError
from loddis_export.scenes import add_scenes
from loddis_export.settings import ExportSettings, ScenesSettings
from loddis_runtime import Bundle, load
from loddis_runtime.command import run
from loddis_runtime.errors import ChecksumError
from loddis_runtime.manifest import Manifest, TrainingDomain
from loddis_runtime.scene_measures import MEASURES
from loddis_trainer.data import DataError
from support.bundles import write_spot_bundle
from support.domains import write_coco_domain, write_drone_csv_domain


@pytest.fixture(scope="module")
def scenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes-domains")
    write_drone_csv_domain(root / "dark", splits={"train": 10}, frames=3)
    write_coco_domain(root / "bright", splits={"train": 12})
    write_coco_domain(root / "scarce", splits={"train": 4})
    return root


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = write_spot_bundle(tmp_path)
    manifest = Manifest.load(path / "manifest.json")
    domains = tuple(
        TrainingDomain(name=name, role="task", fraction=1.0, licence="CC0 1.0", source="drawn")
        for name in ("dark", "bright")
    )
    manifest.model_copy(update={"training_domains": domains}).save(path / "manifest.json")
    return path


def settings_for(root: Path, *domains: str) -> ScenesSettings:
    return ScenesSettings(domain=list(domains), data_root=root, cache_dir=root / "cache")


def digests(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}


def test_the_manifest_gains_the_domains_and_nothing_else_changes(bundle: Path, scenes_root: Path) -> None:
    before, digests_before = Manifest.load(bundle / "manifest.json"), digests(bundle)
    scenes = add_scenes(bundle, settings_for(scenes_root), progress=False)
    manifest = Bundle.open(bundle).manifest  # checks every file's checksum
    assert manifest.scenes == scenes
    assert manifest.model_copy(update={"scenes": None}) == before
    assert {name for name, digest in digests(bundle).items() if digests_before.get(name) != digest} == {"manifest.json"}
    assert scenes.measures == MEASURES
    assert [(d.name, d.frames, d.sequences) for d in scenes.domains] == [("dark", 30, 10), ("bright", 12, 12)]
    dark, bright = (dict(zip(MEASURES, domain.mean, strict=True)) for domain in scenes.domains)
    assert dark["median"] == pytest.approx(60 / 255, abs=0.01)
    assert bright["median"] == pytest.approx(110 / 255, abs=0.01)
    load(bundle, threads=1).close()


def test_the_command_prints_what_it_wrote(bundle: Path, scenes_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scenes", str(bundle), "--domain", "dark", "--data-root", str(scenes_root)]
    words += ["--cache-dir", str(scenes_root / "cache"), "--scene-frames", "20"]
    assert run(Export, [*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = Manifest.load(bundle / "manifest.json").scenes
    assert written is not None
    assert printed == written.model_dump(mode="json")
    assert written.domains[0].frames == 20
    (renamed := bundle.with_name("1[a]")).symlink_to(bundle)
    words[1] = str(renamed)
    assert run(Export, words) == 0
    shown = capsys.readouterr().out
    assert "dark" in shown
    assert "1[a]" in shown


def test_what_cannot_be_described_leaves_the_bundle_as_it_was(bundle: Path, scenes_root: Path) -> None:
    before = digests(bundle)
    with pytest.raises(ExportError, match="was not trained on scarce, but on dark, bright"):
        add_scenes(bundle, settings_for(scenes_root, "scarce"), progress=False)
    with pytest.raises(DataError, match="no domain 'dark'"):
        add_scenes(bundle, settings_for(scenes_root / "cache"), progress=False)
    assert digests(bundle) == before
    (bundle / "MODEL_CARD.md").write_text("changed")
    with pytest.raises(ChecksumError):
        add_scenes(bundle, settings_for(scenes_root), progress=False)


def test_a_domain_of_few_sequences_cannot_be_described(bundle: Path, scenes_root: Path) -> None:
    manifest = Manifest.load(bundle / "manifest.json")
    domain = manifest.training_domains[0].model_copy(update={"name": "scarce"})
    manifest.model_copy(update={"training_domains": (domain,)}).save(bundle / "manifest.json")
    with pytest.raises(ExportError, match="domain 'scarce' must have at least 10 sequences, got 4"):
        add_scenes(bundle, settings_for(scenes_root), progress=False)


def test_a_bundle_that_names_no_domains_needs_to_be_told(tmp_path: Path, scenes_root: Path) -> None:
    path = write_spot_bundle(tmp_path)
    manifest = Manifest.load(path / "manifest.json")
    manifest.model_copy(update={"training_domains": ()}).save(path / "manifest.json")
    with pytest.raises(ExportError, match="names no training domains"):
        add_scenes(path, settings_for(scenes_root), progress=False)


def fast(root: Path) -> ExportSettings:
    return ExportSettings.model_validate(
        {
            "data_root": root,
            "cache_dir": root / "cache",
            "threshold_on": ["dark:val"],
            "precisions": ["fp32"],
            "threads": 1,
        }
    )


def test_an_export_describes_its_training_scenes(checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_drone_csv_domain(root / "dark", splits={"train": 10, "val": 2}, frames=3)
    write_coco_domain(root / "bright", splits={"train": 12})
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", fast(root), progress=False)
    assert exported.manifest.scenes is not None
    assert [domain.name for domain in exported.manifest.scenes.domains] == ["dark", "bright"]
    assert Bundle.open(tmp_path / "m" / "1").manifest.scenes == exported.manifest.scenes


def test_an_export_goes_without_where_a_domain_is_not_there(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    write_drone_csv_domain(root / "dark", splits={"train": 10, "val": 2}, frames=3)
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", fast(root), progress=False)
    assert exported.manifest.scenes is None
    assert "cannot tell scenes that are unlike those it was trained on: no domain 'bright'" in caplog.text
