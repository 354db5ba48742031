"""The commands behind the README's figures run; what they measure on a busy machine is not judged here."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loddis_trainer.building import open_mixture
from loddis_trainer.config import FitConfig
from support.benchmark_modules import benchmark_module
from support.domains import write_coco_domain, write_drone_csv_domain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give small domains under the names of the benchmark's."""
    root = tmp_path_factory.mktemp("benchmark-domains")
    write_drone_csv_domain(root / "sky", splits={"train": 10, "val": 2}, frames=4)
    write_coco_domain(root / "ground", splits={"train": 10, "val": 2})
    write_coco_domain(root / "city", splits={"train": 10, "val": 2}, clips=True)
    return root


def run_benchmark(name: str, *words: str, domains: Path) -> str:
    environment = os.environ | {"LODDIS_DATA": str(domains), "LODDIS_CACHE": str(domains / "cache")}
    command = [sys.executable, f"benchmarks/{name}.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_training_benchmark_measures_losses_and_loader(domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "training.json"
    words = ("--task", "sky", "--auxiliary", "ground", "--steps", "2", "--workers", "0,1", "--accelerator", "cpu")
    run_benchmark("training", *words, "--batch-size", "6", "--threads", "1", "--json", str(out), domains=domains)
    figures = json.loads(out.read_text())
    assert figures["batch_size"] == 6
    steps = figures["step_ms"]
    assert steps.keys() == {"plain", "loddis", "loddis, statistics apart"}
    for name in steps.keys() - {"plain"}:
        assert figures[f"{name} / plain"] == pytest.approx(steps[name] / steps["plain"], rel=0.5)
    assert [one["workers"] for one in figures["loader"]] == [0, 1]
    for one in figures["loader"]:
        assert 0 < one["share of time waiting"] < 1
        assert one["starves the step"] == (one["share of time waiting"] > 0.05)


def test_the_benchmark_of_gradients_weighs_each_loss_against_the_detection(domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "gradients.json"
    words = ("--task", "sky", "--auxiliary", "ground", "--steps", "5", "--accelerator", "cpu", "--threads", "1")
    run_benchmark("loss_gradients", *words, "--every", "1", "--json", str(out), domains=domains)
    found = json.loads(out.read_text())["contrast"]
    strength = {name: medians["consistency: norm / detection"] for name, medians in found.items()}
    assert 0 < strength["swapped"] < 0.9 * strength["all"]  # at 95 % of the task, few samples swap
    for name in ("correlation", "confusion"):
        figures = [medians[f"{name}: norm / detection"] for medians in found.values()]
        assert 0 < figures[0] == pytest.approx(figures[1], rel=0.3)
    command = [sys.executable, "benchmarks/loss_gradients.py", *words, "--every", "100"]
    environment = os.environ | {"LODDIS_DATA": str(domains), "LODDIS_CACHE": str(domains / "cache")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == 1
    assert "of 5 steps none gave one of the three losses to measure" in done.stderr


def test_the_benchmark_of_statistics_measures_frames_of_all_sizes(domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "statistics.json"
    words = ("sky-nano", "--task", "ground", "--on", "ground:val", "--frames", "2", "--batches", "1")
    run_benchmark("norm_statistics", *words, "--json", str(out), domains=domains)
    found = json.loads(out.read_text())["found"]
    assert len(found) == 5
    assert len({json.dumps(figures) for figures in found.values()}) > 1  # they are other detectors
    assert all(figures["ground:val"]["frames"] == 2 for figures in found.values())


def test_the_grid_goes_on_where_it_was_stopped(domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells"
    words = (
        *("--out", str(out), "--steps", "2", "--batch-size", "6", "--shares", "0.3", "--only", "3CI+7GR→CI"),
        *("--tables", "mixtures", "--accelerator", "cpu", "--threads", "1", "--json", str(tmp_path / "grid.json")),
        *("--table", str(tmp_path / "grid.md")),
    )
    run_benchmark("mixed_domain", *words, "--arms", "only", domains=domains)
    (first,) = (path for path in out.iterdir() if path.is_dir())
    assert first.name == "3CI~plain~seed0"
    figures = first / "figures.json"
    before = figures.stat().st_mtime_ns
    (out / "3CI+7GR~loddis~seed0").mkdir()  # a cell that was stopped before it had figures
    run_benchmark("mixed_domain", *words, "--arms", "only,loddis", domains=domains)
    assert figures.stat().st_mtime_ns == before
    result = json.loads((tmp_path / "grid.json").read_text())
    assert result["recipe"]["augment"]["noise_ramp"] == 0.5  # defaults too: they change, and figures with them
    assert result["code"] == json.loads(figures.read_text())["asked"]["code"]
    table = result["tables"]["30 % of the task domain"]["3CI+7GR→CI"]
    assert table.keys() == {"only", "loddis"}
    assert table["loddis"]["map50"]["n"] == 1
    assert "| 3CI+7GR→CI |" in (tmp_path / "grid.md").read_text()
    run_benchmark("mixed_domain", *words, "--arms", "only", "--batch-size", "5", domains=domains)
    assert figures.stat().st_mtime_ns != before  # asked something else, it answers anew


def test_a_recipe_can_be_chosen_on_what_a_cell_leaves_of_the_training_split(domains: Path, tmp_path: Path) -> None:
    words = ("--out", str(tmp_path / "cells"), "--split", "unused", "--arms", "only", "--shares", "0.3", "--steps", "2")
    words += ("--batch-size", "6", "--only", "3GR+7SK→GR", "--accelerator", "cpu", "--threads", "1")
    run_benchmark("mixed_domain", *words, "--tables", "mixtures", domains=domains)
    document = json.loads((tmp_path / "cells" / "3GR~plain~seed0" / "figures.json").read_text())
    assert document["asked"]["split"] == "unused"
    assert document["scores"]["GR"]["frames"] == 7  # of ten single frames, three are trained on
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LODDIS_DATA", str(domains))
        patch.setenv("LODDIS_CACHE", str(domains / "cache"))
        config = FitConfig(task=["ground:0.3"], auxiliary=["sky:0.7"])
        tested = benchmark_module("grid_cell").tested_frames("ground", "unused", config)
        trained = open_mixture(config, "train", progress=False).domains[0].dataset
        with pytest.raises(ValueError, match="the training leaves nothing of the domain 'ground'"):
            benchmark_module("grid_cell").tested_frames("ground", "unused", FitConfig(task=["ground"]))
    assert not set(tested.sequences) & set(trained.sequences)
    assert len(tested) + len(trained) == 10
    command = [sys.executable, "benchmarks/mixed_domain.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--split unused: the tables unseen and windows train on all of a domain" in done.stderr


def test_two_grids_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with (tmp_path / "cells" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "benchmarks/mixed_domain.py", "--out", str(tmp_path / "cells")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"--out: another run is at work in {tmp_path / 'cells'}"


def test_the_serving_benchmark_measures_all_sides_in_one_run(tmp_path: Path) -> None:
    out = tmp_path / "serving.json"
    command = [sys.executable, "benchmarks/serving.py", "--rounds", "3", "--threads", "1", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert set(figures["milliseconds"]) == {"in process", "over HTTP", "torch eager, network alone"}
    assert all(values["p50"] > 0 for values in figures["milliseconds"].values())
    assert figures["ratios"]["torch eager / in process"] > 0
    assert figures["machine"]["processor"]


def test_the_latency_benchmark_measures_networks_starts_and_torch(tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    command = [sys.executable, "benchmarks/latency.py", "--variants", "nano", "--size", "64,96", "--batches", "1,3"]
    command += ["--devices", "cpu,cuda", "--threads", "1", "--seconds", "0.1", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    networks = {(row["precision"], row["engine"], row["batch"]) for row in figures["rows"] if row["what"] == "network"}
    (engine,) = {engine for _, engine, _ in networks if engine.startswith("ONNX Runtime")}
    assert {(precision, engine, batch) for precision in ("fp32", "int8") for batch in (1, 3)} <= networks
    assert ("fp32", "torch eager", 1) in networks
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in figures["rows"])
    assert {start["precision"] for start in figures["starts"]} == {"fp32", "int8"}
    assert all(start["resident MB"] > 20 for start in figures["starts"])
    assert {one["engine"] for one in figures["missing"]} >= {"nano fp32 on cuda", "nano int8 on cuda"}
    assert figures["matrix_gflops_per_s"]["CPU, float32"] > 1


def test_the_documents_show_what_was_measured() -> None:
    command = [sys.executable, "benchmarks/doc_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_processing_benchmark_measures_every_stage(tmp_path: Path) -> None:
    out = tmp_path / "processing.json"
    command = [sys.executable, "benchmarks/processing.py", "--rounds", "2", "--threads", "1", "--json", str(out)]
    for more in ([], ["--size-hw", "512", "512"]):
        done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        figures = json.loads(out.read_text())
        stages = {"prepare", *(f"finish, {count}" for count in ("0 targets", "1 target", "20 targets"))}
        stages |= {"finish_batch of 16, 1 target each", "prepare_window of 3", "stream.prepare of 3"}
        stages |= {"network"} if not more else set()
        assert set(figures["milliseconds"]) == {"320 x 256 uint8", "640 x 512 uint16", "512 x 512 uint8"}
        assert all(set(one) == stages and min(one.values()) > 0 for one in figures["milliseconds"].values())
        assert ("share of the network, one target" in figures) == (not more)
