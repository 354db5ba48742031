"""The command: prints for people and for programs, writes whole files, and tells faults by its status."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from loddis_runtime.command import CliSubCommand, Command, run
from loddis_trainer.cli_inspect import Inspect
from support.domains import write_coco_domain, write_drone_csv_domain
from support.views import Shot, clouds, spot_box, with_spot, write_shots


class Data(Command):
    """Domains."""

    model_config = SettingsConfigDict(cli_prog_name="loddis-trainer data")

    inspect: CliSubCommand[Inspect] = Field(description="Look at a domain.")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco_domain(tmp_path_factory.mktemp("data") / "clips", clips=True, splits={"train": 4, "val": 3})


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    same = Shot("a.png", with_spot(clouds(0), (60, 60)), [spot_box((60, 60))])
    other = Shot("b.png", same.pixels, same.boxes_xywh)
    return write_shots(tmp_path_factory.mktemp("data") / "leaky", {"train": [same], "val": [other]})


def inspect(root: Path, *words: str) -> int:
    return run(Data, ["inspect", str(root), "--cache-dir", str(root.parent / "cache"), *words])


def finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def test_people_get_a_table_and_ranked_findings(domain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(domain) == 0
    printed = capsys.readouterr().out
    for words in ("clips", "train", "val", "labelled frames", "person 16", "SNR", "box / core", "96 x 64"):
        assert words in printed
    lines = [line.split(" ")[0] for line in printed.splitlines()]
    order = [line for line in lines if line in ("fault", "warning", "note")]
    assert order == sorted(order, key=("fault", "warning", "note").index)
    assert order


def test_programs_get_everything_and_nothing_else(domain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(domain, "--json", "--frames", "10") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"domain", "splits", "leaks", "findings", "counts"}
    assert document["domain"] == "clips"
    assert list(document["splits"]) == ["train", "val"]
    for split in document["splits"].values():
        assert set(split) == {"counts", "frames", "sizes", "contrast", "boxes", "motion", "labels", "astray"}
        assert set(split["contrast"]["snr"]["shares"]) == {"< 3", "3–6", "6–12", "≥ 12"}
        assert split["contrast"]["frames_looked_at"] == 10
    assert document["splits"]["train"]["counts"]["frames"] == 16
    assert document["leaks"]["frames_looked_at"] == {"train": 16, "val": 12}
    assert sum(document["counts"].values()) == len(document["findings"])
    for finding in document["findings"]:
        assert set(finding) == {"severity", "subject", "splits", "message", "examples"}
    assert finite(document)


def test_out_holds_the_report_and_the_sheet_whole(
    domain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "inspected"
    assert inspect(domain, "--json", "--out", str(out)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["contact-sheet.png", "inspect.json"]
    assert json.loads((out / "inspect.json").read_text()) == json.loads(capsys.readouterr().out)
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] > 2000
    assert inspect(domain, "--out", str(out)) == 0  # again, in the same place
    assert sorted(path.name for path in out.iterdir()) == ["contact-sheet.png", "inspect.json"]


def test_strict_tells_faults_by_its_status(domain: Path, faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(domain, "--strict") == 0
    assert inspect(faulty) == 0
    assert "fault" in capsys.readouterr().out
    assert inspect(faulty, "--strict") == 1
    printed = capsys.readouterr()
    assert "identical frames" in printed.out  # said, not only signalled
    assert printed.err == ""


def test_what_cannot_be_inspected_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(tmp_path / "none") == 1
    assert capsys.readouterr().err.startswith("loddis-trainer data: error: no domain")
    (tmp_path / "empty").mkdir()
    assert inspect(tmp_path / "empty") == 1
    assert "of no known format" in capsys.readouterr().err
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 1}, frames=2)
    assert inspect(root, "--out", str(root / "splits.json")) == 1
    assert "--out must be a folder" in capsys.readouterr().err
    assert inspect(root, "--frames", "0") == 2
    assert "--frames: input should be greater than or equal to 1, got '0'" in capsys.readouterr().err


def test_a_domain_of_which_nothing_can_be_read_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 0, "val": 0})
    assert inspect(root, "--strict", "--out", str(tmp_path / "out")) == 1
    assert "d: 2 faults, 0 warnings, 1 note" in capsys.readouterr().out
    assert (tmp_path / "out" / "contact-sheet.png").is_file()


def test_the_root_is_found_by_name(domain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(domain.parent / "cache")
    assert run(Data, ["inspect", "clips", "--data-root", str(domain.parent), "--cache-dir", cache]) == 0
    monkeypatch.setenv("LODDIS_DATA", str(domain.parent))
    assert run(Data, ["inspect", "clips", "--cache-dir", cache]) == 0
