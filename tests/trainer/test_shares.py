"""A share that whole sequences do not allow is recorded, reported and credited as it was taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from loddis_export import model_card
from loddis_runtime.manifest import TrainingDomain
from loddis_trainer.checkpoint import INFO, CheckpointInfo, read_info
from loddis_trainer.config import FitConfig
from loddis_trainer.fit import fit
from loddis_trainer.reporting.collect import DataSource, Findings
from loddis_trainer.reporting.runs import read_runs
from loddis_trainer.reporting.tables import data_tables
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import short_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run on 1 % of three sequences, which is one of them, and on half of eight images."""
    root = tmp_path_factory.mktemp("shares")
    write_drone_csv_domain(root / "dark", splits={"train": 3, "val": 1}, frames=6)
    write_coco_domain(root / "bright")
    wanted: dict[str, object] = {"task": ["dark:0.01"], "auxiliary": ["bright:0.5"], "epochs": 1, "batch_size": 4}
    fit(short_run(root, root / "run", evidence_frames=0, **wanted), progress=False)
    return root / "run"


def shown_in_report(folder: Path) -> list[str]:
    findings = Findings(tuple(read_runs([str(folder)])), (), {}, DataSource(), chosen=False)
    return [row[3].text for row in data_tables(findings)[0].rows]


def shown_on_card(info: CheckpointInfo) -> list[str]:
    domains = [
        TrainingDomain(name=one.name, role=one.role, fraction=one.fraction, licence="CC0", source="drawn")
        for one in info.domains
    ]
    before = TrainingDomain(name="sea", role="task", fraction=0.2, licence="CC0", source="a bundle")
    manifest = SimpleNamespace(training_domains=[*domains, before])
    lines = model_card._training(manifest, SimpleNamespace(info=info)).splitlines()  # type: ignore[arg-type]
    return [line.split(" | ")[2] for line in lines if line.endswith((" drawn |", " a bundle |"))]


def test_a_checkpoint_says_what_was_taken_of_what_is_there(run_folder: Path) -> None:
    dark, bright = read_info(run_folder / "best").domains
    assert (dark.fraction, dark.frames, dark.frames_there, dark.sequences, dark.sequences_there) == (0.01, 6, 18, 1, 3)
    assert dark.share == pytest.approx(1 / 3)
    assert (bright.fraction, bright.share) == (0.5, 0.5)


def test_report_and_card_show_what_was_taken(run_folder: Path) -> None:
    assert shown_in_report(run_folder) == ["33.3 % (1 % asked)", "50 %"]
    assert shown_on_card(read_info(run_folder / "best")) == ["33.3 % (1 % asked)", "50 %", "20 %"]


def test_a_resume_keeps_what_was_recorded_of_a_split_that_has_grown_since(run_folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run_folder, tmp_path / "run")
    document = json.loads((out / "last" / INFO).read_text())
    document["domains"][0] |= {"frames_there": 12, "sequences_there": 2}  # of which there are 18 and 3 by now
    (out / "last" / INFO).write_text(json.dumps(document))
    config = FitConfig.model_validate(document["config"] | {"resume": True, "epochs": 2, "out": out})
    assert fit(config, progress=False).epochs == 2
    dark = read_info(out / "last").domains[0]
    assert (dark.frames_there, dark.sequences_there, dark.share) == (12, 2, 0.5)


def test_a_run_of_a_version_that_recorded_what_was_asked_alone_is_read_and_goes_on(run_folder: Path) -> None:
    for name in ("best", "last"):
        document = json.loads((run_folder / name / INFO).read_text())
        for domain in document["domains"]:
            del domain["frames_there"], domain["sequences_there"]
        (run_folder / name / INFO).write_text(json.dumps(document))
    assert shown_in_report(run_folder) == ["1 %", "50 %"]
    assert shown_on_card(read_info(run_folder / "best")) == ["1 %", "50 %", "20 %"]
    config = FitConfig.model_validate(document["config"] | {"resume": True, "epochs": 2})
    assert fit(config, progress=False).epochs == 2
    assert read_info(run_folder / "last").domains[0].frames_there == 18
