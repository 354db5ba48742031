"""Which engine a bundle runs in: the fastest that works, and never one that does not fit."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

import loddis_runtime
from loddis_runtime import Bundle
from loddis_runtime.engines import choice, fitting
from loddis_runtime.engines.choice import choose_engine, survey_engines
from loddis_runtime.engines.cuda import Cuda
from loddis_runtime.engines.fitting import Machine
from loddis_runtime.engines.flavours import Flavour, TensorRt
from loddis_runtime.engines.passport import Passport, find_passports, read_engine
from loddis_runtime.errors import BundleError, ConfigError, EngineError
from support.bundles import seal, write_spot_bundle
from support.tensorrt import FakeCuda, fake_tensorrt, write_fake_engine

VERSION = "10.13.0.35"  # of the TensorRT that `fake_tensorrt` is, and `write_fake_engine` writes for


class FakeMachine(Machine):
    """A machine with a GPU, or without, and any TensorRT."""

    def __init__(self, *, gpu: str | None = "sm_89", tensorrt: str | None = VERSION) -> None:
        self.fake_cuda = None if gpu is None else FakeCuda(compute_capability=gpu)
        self.version = tensorrt

    def cuda(self) -> Cuda:
        if self.fake_cuda is None:
            raise EngineError("CUDA sees no GPU")
        return self.fake_cuda

    def tensorrt(self, flavour: Flavour | None = None) -> TensorRt:
        if self.version is None or self.fake_cuda is None or flavour == "tensorrt_rtx":
            raise EngineError("TensorRT cannot be loaded: pip install 'loddis[tensorrt]'")
        return fake_tensorrt(self.fake_cuda, version=self.version)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_spot_bundle(tmp_path, precisions=("fp32", "fp16")))


def half_of(bundle: Bundle) -> dict[str, str]:
    """Give what the passport of an fp16 engine has in place of an fp32 one's."""
    sha = bundle.manifest.files["model.fp16.onnx"]
    return {"graph": "model.fp16.onnx", "graph_sha256": sha, "precision": "fp16", "achieved_precision": "fp16"}


def test_auto_takes_the_engine_that_fits_and_says_so(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_fake_engine(bundle)
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.device == "tensorrt"
    assert "spot:1 runs in fp32 on tensorrt 10.13.0.35 on Fake GPU (device auto)" in caplog.text


def test_auto_takes_the_fastest_precision_and_an_explicit_one_if_asked(bundle: Bundle) -> None:
    write_fake_engine(bundle)
    write_fake_engine(bundle, **half_of(bundle))
    for precision, expected in (("auto", "fp16"), ("fp32", "fp32"), ("fp16", "fp16")):
        engine = choose_engine(bundle, device="auto", precision=precision, threads=1, machine=FakeMachine())  # type: ignore[arg-type]
        assert (engine.device, engine.precision) == ("tensorrt", expected)


def test_without_engines_auto_asks_for_no_gpu(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    class Untouched(FakeMachine):
        def cuda(self) -> Cuda:
            pytest.fail("CUDA was loaded")

        def tensorrt(self, flavour: Flavour | None = None) -> TensorRt:
            pytest.fail("TensorRT was loaded")

    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=Untouched())
    assert (engine.device, engine.precision) == ("cpu", "fp32")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("fields", "machine", "reason"),
    [
        ({"compute_capability": "sm_86"}, FakeMachine(), "it is for sm_86, this GPU is sm_89 (Fake GPU)"),
        ({}, FakeMachine(gpu=None), "CUDA sees no GPU"),
        ({}, FakeMachine(tensorrt=None), "TensorRT cannot be loaded"),
        ({"flavour": "tensorrt_rtx"}, FakeMachine(), "TensorRT cannot be loaded"),
        ({"graph_sha256": "0" * 64, "compute_capability": "sm_86"}, FakeMachine(), "another model.fp32.onnx"),
    ],
)
def test_an_engine_that_does_not_fit_is_passed_over_with_one_log_line(
    bundle: Bundle, fields: dict[str, str], machine: FakeMachine, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_fake_engine(bundle, **fields)
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=machine)
    assert engine.device == "cpu"
    fallbacks = [record for record in caplog.records if "no TensorRT engine of" in record.message]
    assert len(fallbacks) == 1
    assert reason in fallbacks[0].message


def test_an_engine_of_another_tensorrt_is_built_anew(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    write_fake_engine(bundle, tensorrt_version="10.3.0.26", batch_sizes=(1, 2))
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert (engine.device, engine.precision) == ("tensorrt", "fp32")
    assert "it is for tensorrt 10.3.0.26, installed is 10.13.0.35" in caplog.text
    built = Passport.load(bundle.path / "engines" / f"fp32.sm_89.tensorrt-{VERSION}.engine.json")
    assert built.batch_sizes == (1, 2)
    assert built.read_by == "engine inspector"


def test_an_engine_that_had_been_converted_is_built_anew_from_what_the_bundle_has(tmp_path: Path) -> None:
    bundle = Bundle.open(write_spot_bundle(tmp_path))
    half = {"converted": True, "precision": "fp16", "achieved_precision": "fp16", "convolutions": {"fp16": 1}}
    write_fake_engine(bundle, tensorrt_version="10.3.0.26", **half)
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert (engine.device, engine.precision) == ("tensorrt", "fp32")
    with pytest.raises(EngineError, match=r"none can be built: .* has no fp16 graph; there is: fp32"):
        choose_engine(bundle, device="tensorrt", precision="fp16", threads=1, machine=FakeMachine())


def test_a_half_written_engine_is_built_anew(bundle: Bundle) -> None:
    path, written = write_fake_engine(bundle)
    path.with_suffix("").write_bytes(b'{"profiles": [1')
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.device == "tensorrt"
    rebuilt = Passport.load(path)
    assert rebuilt.created > written.created
    assert read_engine(path, rebuilt)


def test_an_engine_that_another_process_is_just_replacing_is_waited_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = write_fake_engine(bundle)
    engine_bytes, passport_bytes = path.with_suffix("").read_bytes(), path.read_bytes()
    write_fake_engine(bundle, batch_sizes=(1, 2))
    newer = path.read_bytes()
    path.write_bytes(passport_bytes)  # the new engine beside the old passport
    assert path.with_suffix("").read_bytes() != engine_bytes
    monkeypatch.setattr(fitting.time, "sleep", lambda _: path.write_bytes(newer))
    monkeypatch.setattr(fitting, "build_engine", lambda *_, **__: pytest.fail("it was built once more"))
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.device == "tensorrt"


def test_a_faster_engine_that_is_passed_over_is_named(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    write_fake_engine(bundle, tensorrt_version="10.3.0.26", **half_of(bundle))
    write_fake_engine(bundle)
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.precision == "fp32"
    assert "is used; passed over: fp16.sm_89.tensorrt-10.3.0.26.engine.json: it is for tensorrt 10.3" in caplog.text


def test_a_half_written_passport_is_passed_over(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = write_fake_engine(bundle)
    path.write_bytes(path.read_bytes()[:100])
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.device == "cpu"
    assert "is no passport of an engine" in caplog.text


def test_full_gpu_memory_falls_back_with_the_numbers(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    write_fake_engine(bundle)
    machine = FakeMachine()
    assert machine.fake_cuda is not None
    machine.fake_cuda.memory = 1000
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=machine)
    assert engine.device == "cpu"
    assert "the GPU's memory is full" in caplog.text
    assert "building" not in caplog.text  # what would want as much memory


def test_asked_for_tensorrt_an_engine_is_built(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    engine = choose_engine(bundle, device="tensorrt", precision="auto", threads=1, machine=FakeMachine())
    assert (engine.device, engine.precision) == ("tensorrt", "fp16")
    assert "which may take minutes" in caplog.text
    assert len(find_passports(bundle.path / "engines")) == 1
    raw = engine.infer(np.full((1, 1, 64, 96), 0.75, dtype=np.float32))
    assert raw[0, 0, 4] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (FakeMachine(gpu=None), "device tensorrt cannot be used: CUDA sees no GPU"),
        (FakeMachine(tensorrt=None), r"none can be built: TensorRT cannot be loaded: pip install 'loddis\[tensorrt\]'"),
    ],
)
def test_a_device_that_was_asked_for_does_not_fall_back(bundle: Bundle, machine: FakeMachine, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        choose_engine(bundle, device="tensorrt", precision="auto", threads=1, machine=machine)


def test_what_the_export_refused_is_not_built(tmp_path: Path) -> None:
    path = write_spot_bundle(tmp_path, precisions=("fp32", "fp16"))
    (path / "parity.json").write_text('{"left_out": {"fp16": ["mAP50 falls by 0.02, allowed are 0.003"]}}')
    seal(path)
    engine = choose_engine(Bundle.open(path), device="tensorrt", precision="auto", threads=1, machine=FakeMachine())
    assert engine.precision == "fp32"
    with pytest.raises(EngineError, match=r"found that fp16 strays too far: mAP50 falls by 0\.02"):
        choose_engine(Bundle.open(path), device="tensorrt", precision="fp16", threads=1, machine=FakeMachine())
    (path / "parity.json").write_text("{}")  # a report that does not say
    seal(path)
    engine = choose_engine(Bundle.open(path), device="tensorrt", precision="auto", threads=1, machine=FakeMachine())
    assert engine.precision == "fp32"  # the one that was built above


@pytest.mark.parametrize("version", [VERSION, "10.3.0.26"])
def test_an_engine_in_a_precision_that_the_export_has_refused_since_is_not_run(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_spot_bundle(tmp_path, precisions=("fp32", "fp16"))
    write_fake_engine(Bundle.open(path), **half_of(Bundle.open(path)), tensorrt_version=version)
    (path / "parity.json").write_text('{"left_out": {"fp16": ["mAP50 falls by 0.02, allowed are 0.003"]}}')
    seal(path)
    for device in ("auto", "tensorrt"):
        engine = choose_engine(Bundle.open(path), device=device, precision="auto", threads=1, machine=FakeMachine())  # type: ignore[arg-type]
        assert (engine.device, engine.precision) == ("tensorrt", "fp32")
    assert "found that fp16 strays too far: mAP50 falls by 0.02" in caplog.text
    with pytest.raises(EngineError, match="found that fp16 strays too far"):
        choose_engine(Bundle.open(path), device="tensorrt", precision="fp16", threads=1, machine=FakeMachine())


def test_asked_for_tensorrt_an_engine_of_a_package_that_is_not_here_is_built_in_the_one_that_is(bundle: Bundle) -> None:
    write_fake_engine(bundle, flavour="tensorrt_rtx", tensorrt_version="1.7.1.116", batch_sizes=(1, 2))
    engine = choose_engine(bundle, device="tensorrt", precision="auto", threads=1, machine=FakeMachine())
    assert (engine.device, engine.precision) == ("tensorrt", "fp32")
    built = Passport.load(bundle.path / "engines" / f"fp32.sm_89.tensorrt-{VERSION}.engine.json")
    assert built.batch_sizes == (1, 2)


def test_of_outdated_engines_one_of_a_package_that_is_here_is_built_anew(bundle: Bundle) -> None:
    write_fake_engine(bundle, flavour="tensorrt_rtx", tensorrt_version="1.7.1.116", **half_of(bundle))
    write_fake_engine(bundle, tensorrt_version="10.3.0.26")
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert (engine.device, engine.precision) == ("tensorrt", "fp32")


def test_a_bundle_that_cannot_be_written_says_so_before_it_builds(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(EngineError, match=r"none can be built: cannot write .*engines"):
        choose_engine(bundle, device="tensorrt", precision="auto", threads=1, machine=FakeMachine())


def test_load_names_what_is_missing(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"device cuda cannot be used: .*pip install 'loddis\[gpu\]'"):
        loddis_runtime.load(bundle.path, device="cuda")
    with pytest.raises(EngineError, match=r"device tensorrt cannot be used: .*"):
        loddis_runtime.load(bundle.path, device="tensorrt")
    with pytest.raises(ConfigError, match="device must be one of auto, cpu, cuda, tensorrt, got 'tpu'"):
        loddis_runtime.load(bundle.path, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="has no int8 graph"):
        loddis_runtime.load(bundle.path, precision="int8")


def test_a_cuda_provider_that_does_not_work_falls_back(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "CUDA_PROVIDER", "CPUExecutionProvider")  # is there: so CUDA is tried
    engine = choose_engine(bundle, device="auto", precision="auto", threads=1, machine=FakeMachine())
    assert engine.device == "cpu"
    assert "ONNX Runtime's CUDA engine cannot be used" in caplog.text


def test_a_survey_says_of_each_engine_why(bundle: Bundle) -> None:
    assert [finding.usable for finding in survey_engines(bundle, machine=FakeMachine())] == [False, False]
    write_fake_engine(bundle)
    write_fake_engine(bundle, compute_capability="sm_86")
    machine = FakeMachine()
    findings = {finding.subject: finding for finding in survey_engines(bundle, machine=machine)}
    assert findings[f"TensorRT fp32.sm_89.tensorrt-{VERSION}"].usable
    other = findings[f"TensorRT fp32.sm_86.tensorrt-{VERSION}"]
    assert (other.usable, other.detail) == (False, "it is for sm_86, this GPU is sm_89 (Fake GPU)")
    assert "loddis[gpu]" in findings["CUDA"].detail
    assert machine.fake_cuda is not None
    assert not machine.fake_cuda.leaked
