"""Real engines, built by TensorRT-RTX, which needs no GPU for it; and the command that builds them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

import loddis_runtime
from loddis_export.cli import Export
from loddis_export.engine import EngineSettings, build_engines
from loddis_runtime import Bundle
from loddis_runtime.command import run
from loddis_runtime.engines.building import ConvertedGraph, build_engine
from loddis_runtime.engines.choice import survey_engines
from loddis_runtime.engines.cuda import Cuda
from loddis_runtime.engines.fitting import Machine
from loddis_runtime.engines.flavours import TensorRt, find_tensorrt, known_targets
from loddis_runtime.engines.passport import Passport, read_engine
from loddis_runtime.errors import EngineError
from support.bundles import manifest_of, seal, spot_graph, write_spot_bundle
from support.tensorrt import FakeCuda

TARGETS = ("sm_86", "sm_89", "sm_120")


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    try:
        return find_tensorrt("tensorrt_rtx")
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def shipped(tmp_path: Path) -> Bundle:
    """Give a copy of the shipped bundle: engines are written into it."""
    entry = loddis_runtime.shipped_repository().find("sky-nano")
    return Bundle.open(Path(shutil.copytree(entry.path, tmp_path / "sky-nano" / entry.version)))


def quantise(model: ModelProto, *, kept: Collection[str] = ()) -> ModelProto:
    """Quantise convolutions but those `kept`, the way static quantisation writes it: Q and DQ round either operand."""
    quantised = ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constants: dict[str, NDArray[Any]] = {"qdq.scale": np.array(1 / 127, np.float32), "qdq.zero": np.array(0, np.int8)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Conv" and node.name not in kept:
            data, kernel = node.input[0], node.input[1]
            values = numpy_helper.to_array(weights[kernel])
            scales = (np.abs(values).max(axis=(1, 2, 3)) / 127 + 1e-8).astype(np.float32)
            levels = np.round(values / scales[:, None, None, None]).astype(np.int8)
            constants |= {f"{kernel}.levels": levels, f"{kernel}.scales": scales}
            constants[f"{kernel}.zeros"] = np.zeros(len(scales), np.int8)
            if f"{data}.dq" not in {output for known in nodes for output in known.output}:
                nodes += [
                    helper.make_node("QuantizeLinear", [data, "qdq.scale", "qdq.zero"], [f"{data}.q"]),
                    helper.make_node("DequantizeLinear", [f"{data}.q", "qdq.scale", "qdq.zero"], [f"{data}.dq"]),
                ]
            nodes += [
                helper.make_node(
                    "DequantizeLinear",
                    [f"{kernel}.levels", f"{kernel}.scales", f"{kernel}.zeros"],
                    [f"{kernel}.dq"],
                    axis=0,
                ),
            ]
            node.input[0], node.input[1] = f"{data}.dq", f"{kernel}.dq"
            graph.initializer.remove(weights[kernel])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


@pytest.fixture
def quantised(tmp_path: Path) -> Bundle:
    """Give a bundle of an analytic detector, with an int8 graph."""
    path = write_spot_bundle(tmp_path)
    onnx.save(quantise(spot_graph(size_hw=(64, 96))), path / "model.int8.onnx")
    seal(path)
    return Bundle.open(path)


def test_the_shipped_bundle_becomes_engines_for_three_gpus(rtx: TensorRt, shipped: Bundle) -> None:
    settings = EngineSettings.model_validate({"target": TARGETS, "precision": ["fp16"], "flavour": "tensorrt_rtx"})
    written = build_engines(shipped.path, settings)
    assert [(passport.compute_capability, passport.precision) for _, passport in written] == [
        (target, "fp16") for target in TARGETS
    ]
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(str(shipped.graph_path("fp32"))).graph.node)
    for path, passport in written:
        assert path.parent == shipped.path / "engines"
        assert Passport.load(path) == passport
        assert passport.fits_bundle(shipped) is None
        assert passport.achieved_precision == passport.precision
        assert passport.untold == 0
        assert passport.convolutions == {"fp16": convolutions}
        assert not passport.converted
        assert passport.tensorrt_version == rtx.version
        assert passport.batch_sizes == (1, 4)
        assert len(read_engine(path, passport)) > 1_000_000
    assert len({passport.engine_sha256 for _, passport in written}) == len(written)
    assert Bundle.open(shipped.path) == shipped


@pytest.mark.parametrize("target", TARGETS)
def test_the_shipped_int8_graph_becomes_an_int8_engine(rtx: TensorRt, shipped: Bundle, target: str) -> None:
    _, passport = build_engine(shipped, precision="int8", target=target, batch_sizes=[1], tensorrt=rtx, gpu=None)
    assert passport.achieved_precision == "int8"
    assert passport.convolutions["int8"] > 40
    assert set(passport.convolutions) == {"int8", "fp32"}  # the layers that the export left in float
    assert passport.untold == 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_quantised_graph_becomes_an_int8_engine(rtx: TensorRt, quantised: Bundle, target: str) -> None:
    _, passport = build_engine(quantised, precision="int8", target=target, batch_sizes=[1], tensorrt=rtx, gpu=None)
    assert passport.achieved_precision == "int8"
    assert passport.convolutions == {"int8": 1}
    assert passport.read_by == "builder's report"


def test_layers_that_were_kept_in_float_are_told_apart(rtx: TensorRt, shipped: Bundle) -> None:
    model = onnx.load(str(shipped.graph_path("fp32")))
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    mixed = ConvertedGraph("fp32", quantise(model, kept={names[0], *names[-3:]}).SerializeToString())
    _, passport = build_engine(
        shipped, precision="int8", target="sm_89", batch_sizes=[1], tensorrt=rtx, gpu=None, converted=mixed
    )
    assert passport.convolutions == {"int8": len(names) - 4, "fp32": 4}
    assert passport.untold == 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_that_is_not_in_the_precision_asked_for_is_not_written(
    rtx: TensorRt, shipped: Bundle, precision: Any
) -> None:
    converted = ConvertedGraph("fp32", shipped.graph_path("fp32").read_bytes())
    with pytest.raises(EngineError, match=rf"was to be {precision}, but \d+ of \d+ convolutions run in fp32"):
        build_engine(
            shipped,
            precision=precision,
            target="sm_86",
            batch_sizes=[1],
            tensorrt=rtx,
            gpu=None,
            converted=converted,
        )
    assert not (shipped.path / "engines").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_half_written_graph_is_an_engine_error(rtx: TensorRt, shipped: Bundle, share: float) -> None:
    graph = shipped.graph_path("fp32").read_bytes()
    half = ConvertedGraph("fp32", graph[: int(share * len(graph))])
    with pytest.raises(EngineError, match="the graph"):
        build_engine(shipped, precision="fp32", target="sm_86", batch_sizes=[1], tensorrt=rtx, gpu=None, converted=half)


def test_a_graph_that_is_not_ours_is_an_engine_error(rtx: TensorRt, tmp_path: Path) -> None:
    path = write_spot_bundle(tmp_path)
    manifest = manifest_of(files=Bundle.open(path).manifest.files, size_hw=(32, 32))
    with pytest.raises(EngineError, match=r"does not fit its manifest: frames must be \(B, 1, 32, 32\)"):
        build_engine(Bundle(path, manifest), precision="fp32", target="sm_86", batch_sizes=[1], tensorrt=rtx, gpu=None)


def test_every_target_that_is_offered_is_known(rtx: TensorRt) -> None:
    assert set(TARGETS) <= set(known_targets(rtx))


def test_an_engine_for_another_gpu_is_not_run(rtx: TensorRt, shipped: Bundle) -> None:
    class OtherGpu(Machine):
        def cuda(self) -> Cuda:
            return FakeCuda(compute_capability="sm_89")

    settings = EngineSettings.model_validate({"target": ["sm_86"], "batch": [1], "flavour": "tensorrt_rtx"})
    ((path, _),) = build_engines(shipped.path, settings)
    finding, _ = survey_engines(shipped, machine=OtherGpu())
    assert finding.subject == f"TensorRT {path.name.removesuffix('.engine.json')}"
    assert (finding.usable, finding.detail) == (False, "it is for sm_86, this GPU is sm_89 (Fake GPU)")


def test_the_command_builds_and_prints(rtx: TensorRt, shipped: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["engine", str(shipped.path), "--target", "sm_86", "--batch", "1", "--batch", "2", "--flavour", rtx.flavour]
    assert run(Export, [*words, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["passport"]["batch_sizes"] == [1, 2]
    assert Passport.load(Path(document["path"])).compute_capability == "sm_86"
    assert run(Export, words) == 0
    assert "sm_86" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--target", "sm_53"], 1, "cannot build for sm_53; it builds for sm_75, "),
        (["--target", "86"], 2, "--target: a target is written sm_86 (compute capability 8.6) or current, got '86'"),
        (["--target", "sm_86", "--precision", "int4"], 2, "--precision: input should be"),
        (["--target", "sm_86", "--batch", "0"], 2, "--batch: input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    rtx: TensorRt, shipped: Bundle, capsys: pytest.CaptureFixture[str], words: list[str], status: int, complaint: str
) -> None:
    assert run(Export, ["engine", str(shipped.path), "--flavour", "tensorrt_rtx", *words]) == status
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1
    assert not (shipped.path / "engines").exists()


def test_a_bundle_that_is_none_or_lacks_a_graph_is_one_line(
    rtx: TensorRt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Export, ["engine", str(tmp_path / "nothing"), "--target", "sm_86"]) == 1
    assert "is not a bundle: no such folder" in capsys.readouterr().err
    path = write_spot_bundle(tmp_path)
    assert run(Export, ["engine", str(path), "--target", "sm_86", "--precision", "int8"]) == 1
    assert "has no int8 graph; there is: fp32" in capsys.readouterr().err
    (path / "model.fp32.onnx").write_bytes(b"half")
    assert run(Export, ["engine", str(path), "--target", "sm_86"]) == 1
    assert "is damaged or was changed" in capsys.readouterr().err


def test_a_missing_package_is_one_line(
    shipped: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert run(Export, ["engine", str(shipped.path), "--flavour", "tensorrt"]) == 1
    assert "pip install 'loddis[tensorrt]'" in capsys.readouterr().err
