"""Another number of candidates for a bundle that is there: the same detections, and more of a crowd."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import loddis_runtime
from loddis_export.candidates import change_candidates
from loddis_export.cli import Export
from loddis_export.errors import ExportError
from loddis_export.graph import set_candidates
from loddis_runtime import Bundle
from loddis_runtime.bundle import GraphPrecision
from loddis_runtime.command import run
from loddis_runtime.errors import ChecksumError
from support.bundles import spot_graph, write_spot_bundle

NET_HW = (64, 96)
CELLS = 8 * 12


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = write_spot_bundle(tmp_path, precisions=("fp32", "fp16"), max_detections=20)
    (path / "engines").mkdir()
    (path / "engines" / "fp16.sm_86.engine").write_bytes(b"compiled of the graph of before")
    return path


def crowd() -> np.ndarray:
    """Give a frame with 35 spots, a few grey levels apart."""
    rows, columns = np.mgrid[: NET_HW[0], : NET_HW[1]] + 0.5
    levels = np.full(NET_HW, 40.0)
    for number in range(35):
        x, y = 6.5 + 13 * (number % 7), 6.5 + 12 * (number // 7)
        levels += (100 + number) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.3**2))
    return levels.astype(np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_same_candidates_and_more_of_them(bundle: Path, precision: GraphPrecision) -> None:
    out = bundle.parent / "2"
    change_candidates(bundle, out, 60)
    raw, found = [], []
    for path in (bundle, out):
        with loddis_runtime.load(path, device="cpu", precision=precision, threads=1) as detector:
            raw.append(detector.infer([detector.prepare(crowd())])[0])
            found.append(len(detector.detect(crowd())))
    assert raw[1].shape == (60, 6)
    np.testing.assert_array_equal(raw[1][:20], raw[0])
    assert found == [20, 35]


def test_what_the_bundle_says_is_taken_over_but_for_names_and_engines(bundle: Path) -> None:
    before = Bundle.open(bundle).manifest
    content = {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    after = change_candidates(bundle, bundle.parent / "2", 60)
    assert Bundle.open(bundle.parent / "2").manifest == after
    assert (after.name, after.version, after.max_detections) == ("spot", "2", 60)
    changed = {"version", "max_detections", "files", "created"}
    assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)
    assert after.created > before.created
    card = (bundle.parent / "2" / "MODEL_CARD.md").read_text()
    assert card.startswith("# spot, version 2\n\nMade of version 1 of `spot`")
    assert "All figures below were measured with 20;" in card
    assert card.endswith("\nAn analytic detector of spots, for tests.\n")
    assert not (bundle.parent / "2" / "engines").exists()
    assert {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()} == content


def test_there_are_no_more_candidates_than_grid_points(bundle: Path) -> None:
    assert change_candidates(bundle, bundle.parent / "2", 300).max_detections == CELLS
    with pytest.raises(ExportError, match="gives 96 candidates a frame already"):
        change_candidates(bundle.parent / "2", bundle.parent / "3", 300)
    onnx.save(spot_graph(size_hw=NET_HW), bundle / "model.onnx")
    with pytest.raises(ExportError, match=r"model\.onnx cannot give 10000 candidates"):
        set_candidates(bundle / "model.onnx", 10_000)


def test_what_cannot_be_done_is_said_and_leaves_nothing(bundle: Path) -> None:
    with pytest.raises(ExportError, match="exists already"):
        change_candidates(bundle, bundle, 60)
    with pytest.raises(ExportError, match="the bundle cannot be described: version"):
        change_candidates(bundle, bundle.parent / "crowds", 60)
    shutil.copytree(bundle, bundle.parent / "7")
    with (bundle.parent / "7" / "model.fp32.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ChecksumError):
        change_candidates(bundle.parent / "7", bundle.parent / "8", 60)
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["1", "7"]


def test_a_graph_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    model = spot_graph(size_hw=NET_HW)
    model.graph.node.append(helper.make_node("Identity", ["k"], ["also_reads_it"]))
    onnx.save(model, tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    with pytest.raises(ExportError, match=r"model\.onnx does not choose its candidates by one TopK"):
        set_candidates(tmp_path / "model.onnx", 30)
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_the_command_makes_it_within_the_models_own_folder(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bundle.parent)
    assert run(Export, ["candidates", "1", "2", "--count", "60"]) == 0
    assert "bundle spot:2 of 60 candidates a frame in 2" in capsys.readouterr().out
    assert run(Export, ["candidates", "1", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "3", "candidates": CELLS}
    assert run(Export, ["candidates", "1", "3"]) == 1
    assert run(Export, ["candidates", "1", "4", "--count", "0"]) == 2
