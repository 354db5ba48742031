"""Building engines with the full TensorRT, 10 and 11: one of numpy in its place. tests/export has `tensorrt_rtx`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from loddis_runtime import Bundle
from loddis_runtime.engines.building import CURRENT, ConvertedGraph, build_engine, resolve_target
from loddis_runtime.engines.flavours import find_tensorrt
from loddis_runtime.engines.passport import Passport
from loddis_runtime.errors import BundleError, EngineError
from support.bundles import spot_graph, write_spot_bundle
from support.tensorrt import FakeCuda, fake_tensorrt


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_spot_bundle(tmp_path, precisions=("fp32", "fp16")))


@pytest.mark.parametrize("version", ["10.13.0.35", "11.4.1.2"])
def test_an_engine_is_built_read_back_and_written(bundle: Bundle, version: str) -> None:
    cuda = FakeCuda()
    path, passport = build_engine(
        bundle,
        precision="fp16",
        target=CURRENT,
        batch_sizes=[4, 1, 4],
        tensorrt=fake_tensorrt(cuda, version=version),
        gpu=cuda.gpu(),
    )
    assert path == bundle.path / "engines" / f"fp16.sm_89.tensorrt-{version}.engine.json"
    assert Passport.load(path) == passport
    assert passport.fits_bundle(bundle) is None
    assert passport.batch_sizes == (1, 4)
    assert passport.convolutions == {"fp16": 1}
    assert passport.read_by == "engine inspector"
    assert not passport.converted


def test_timings_are_kept_beside_the_engines_and_used_again(bundle: Bundle) -> None:
    cuda = FakeCuda()
    tensorrt = fake_tensorrt(cuda)
    cache = bundle.path / "engines" / "timing.sm_89.tensorrt-10.13.0.35.cache"
    for expected in (b"measured;", b"measured;measured;"):
        build_engine(bundle, precision="fp32", target="sm_89", batch_sizes=[1], tensorrt=tensorrt, gpu=cuda.gpu())
        assert cache.read_bytes() == expected


def test_timings_of_another_gpu_are_replaced(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    cuda = FakeCuda()
    cache = bundle.path / "engines" / "timing.sm_89.tensorrt-10.13.0.35.cache"
    cache.parent.mkdir()
    cache.write_bytes(b"of another GPU")
    tensorrt = fake_tensorrt(cuda)
    build_engine(bundle, precision="fp32", target="sm_89", batch_sizes=[1], tensorrt=tensorrt, gpu=cuda.gpu())
    assert cache.read_bytes() == b"measured;"
    assert "is no timing cache of this TensorRT" in caplog.text


def test_an_engine_that_runs_in_another_precision_than_its_graph_is_not_written(bundle: Bundle) -> None:
    cuda = FakeCuda()
    tensorrt = fake_tensorrt(cuda, runs_in="FLOAT")
    with pytest.raises(EngineError, match=r"1 of 1 convolutions run in another precision .*: fp32 instead of fp16"):
        build_engine(bundle, precision="fp16", target=CURRENT, batch_sizes=[1], tensorrt=tensorrt, gpu=cuda.gpu())
    assert list((bundle.path / "engines").glob("*.engine*")) == []


def test_a_graph_that_is_not_in_the_precision_asked_for_gives_no_engine(bundle: Bundle) -> None:
    cuda = FakeCuda()
    converted = ConvertedGraph("fp32", bundle.graph_path("fp32").read_bytes())
    with pytest.raises(EngineError, match="was to be fp16, but 1 of 1 convolutions run in fp32"):
        build_engine(
            bundle,
            precision="fp16",
            target=CURRENT,
            batch_sizes=[1],
            tensorrt=fake_tensorrt(cuda),
            gpu=cuda.gpu(),
            converted=converted,
        )


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"not a graph", "cannot read the graph: Failed to parse the ONNX model."),
        (
            spot_graph(size_hw=(32, 32)).SerializeToString(),
            r"does not fit its manifest: frames must be \(B, 1, 64, 96\)",
        ),
        (spot_graph(size_hw=(64, 96), max_detections=7).SerializeToString(), r"detections must be \(B, 50, 6\)"),
        (
            spot_graph(size_hw=(64, 96)).SerializeToString().replace(b"\x0a\x06frames", b"\x0a\x06images"),
            "no Loddis graph: expected one tensor frames, got images",
        ),
    ],
)
def test_a_graph_that_is_not_ours_is_refused(bundle: Bundle, graph: bytes, message: str) -> None:
    cuda = FakeCuda()
    with pytest.raises(EngineError, match=message):
        build_engine(
            bundle,
            precision="fp32",
            target=CURRENT,
            batch_sizes=[1],
            tensorrt=fake_tensorrt(cuda),
            gpu=cuda.gpu(),
            converted=ConvertedGraph("fp32", graph),
        )


def test_what_is_asked_for_is_checked_before_anything_is_built(bundle: Bundle) -> None:
    cuda = FakeCuda()
    tensorrt = fake_tensorrt(cuda)
    with pytest.raises(EngineError, match="batch sizes must be from 1 to 256, got 0, 4"):
        build_engine(bundle, precision="fp32", target=CURRENT, batch_sizes=[0, 4], tensorrt=tensorrt, gpu=cuda.gpu())
    with pytest.raises(EngineError, match="batch sizes must be from 1 to 256, got none"):
        build_engine(bundle, precision="fp32", target=CURRENT, batch_sizes=[], tensorrt=tensorrt, gpu=cuda.gpu())
    with pytest.raises(BundleError, match="has no int8 graph"):
        build_engine(bundle, precision="int8", target=CURRENT, batch_sizes=[1], tensorrt=tensorrt, gpu=cuda.gpu())


def test_the_full_tensorrt_builds_for_its_own_gpu_only() -> None:
    cuda = FakeCuda(compute_capability="sm_87")
    tensorrt = fake_tensorrt(cuda)
    assert resolve_target(CURRENT, tensorrt, cuda.gpu()) == "sm_87"
    assert resolve_target("sm_87", tensorrt, cuda.gpu()) == "sm_87"
    with pytest.raises(
        EngineError, match=r"only \(here that is sm_87\), not for sm_86: build there, or with tensorrt_rtx"
    ):
        resolve_target("sm_86", tensorrt, cuda.gpu())
    with pytest.raises(EngineError, match=r"only \(here there is none\), not for sm_86"):
        resolve_target("sm_86", tensorrt, None)
    with pytest.raises(EngineError, match="there is no GPU here to build for"):
        resolve_target(CURRENT, tensorrt, None)


def test_a_missing_or_old_tensorrt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r"pip install 'loddis\[tensorrt\]' or 'loddis\[tensorrt-rtx\]'"):
        find_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(EngineError, match=r"tensorrt 8\.6\.1 is older than 10"):
        find_tensorrt("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    assert find_tensorrt().version == "10.3.0"
