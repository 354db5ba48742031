"""int8 is taken where the CPU computes it as it was proven, and nowhere else."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

import loddis_runtime
from loddis_runtime.engines import choice
from loddis_runtime.engines.cpu_features import has_byte_dot_products
from support.bundles import seal, write_spot_bundle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags : fpu sse avx2 avx_vnni", True),
        ("flags : fpu sse avx2 avx512f", False),
        ("Features : fp asimd asimddp", True),
        ("Features : fp asimd", False),
        ("", False),
    ],
)
def test_features_are_read_off_the_list_of_linux(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_byte_dot_products(tmp_path / "cpuinfo") is expected


def test_without_a_list_an_arm_processor_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, expected in (("arm64", True), ("x86_64", False)):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert has_byte_dot_products(tmp_path / "none") is expected


@pytest.mark.parametrize("capable", [True, False])
def test_auto_takes_int8_by_what_the_cpu_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capable: bool
) -> None:
    caplog.set_level(logging.INFO)
    path = write_spot_bundle(tmp_path, precisions=("fp32", "fp16"))
    shutil.copy(path / "model.fp32.onnx", path / "model.int8.onnx")  # its name is what counts
    seal(path)
    monkeypatch.setattr(choice, "has_byte_dot_products", lambda: capable)
    with loddis_runtime.load(path, device="cpu", threads=1) as detector:
        assert detector.precision == ("int8" if capable else "fp32")
    assert ("fp32 instead of int8: this CPU has no dot products of bytes" in caplog.text) is not capable
    with loddis_runtime.load(path, device="cpu", precision="int8", threads=1) as detector:
        assert detector.precision == "int8"  # asked for by name
