"""Passports: what they hold, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from loddis_runtime import Bundle
from loddis_runtime.engines.passport import Passport, find_passports, read_engine, replace_file
from loddis_runtime.errors import EngineError
from support.bundles import write_spot_bundle
from support.tensorrt import write_fake_engine


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_spot_bundle(tmp_path))


def test_an_engine_comes_back_as_it_was_written(bundle: Bundle) -> None:
    path, passport = write_fake_engine(bundle, plan=b"plan")
    assert path.name == "fp32.sm_89.tensorrt-10.13.0.35.engine.json"
    assert find_passports(bundle.path / "engines") == [path]
    assert Passport.load(path) == passport
    assert passport.fits_bundle(bundle) is None
    assert read_engine(path, passport) == b"plan"
    assert len(list((bundle.path / "engines").iterdir())) == 2


def test_engines_leave_the_bundle_what_it_was(bundle: Bundle) -> None:
    write_fake_engine(bundle)
    assert Bundle.open(bundle.path) == bundle


def test_a_folder_that_is_not_there_has_no_passports(tmp_path: Path) -> None:
    assert find_passports(tmp_path / "engines") == []


@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_a_damaged_engine_is_refused(bundle: Bundle, damage: str) -> None:
    path, passport = write_fake_engine(bundle, plan=b"a plan of some length")
    engine = path.with_suffix("")
    if damage == "cut":
        engine.write_bytes(b"a plan of")
    elif damage == "bit":
        engine.write_bytes(b"a plan of some lengti")
    else:
        engine.unlink()
    with pytest.raises(EngineError, match=r"cannot read|half-written, damaged or of another build"):
        read_engine(path, passport)


@pytest.mark.parametrize(
    "content", [b"", b'{"schema_version": 1, "engine_sha', b"[]", b"\xff\xfe", b'{"schema_version": 2}']
)
def test_a_damaged_passport_is_refused_in_one_line(bundle: Bundle, content: bytes) -> None:
    path, _ = write_fake_engine(bundle)
    path.write_bytes(content)
    with pytest.raises(EngineError, match="is no passport of an engine") as caught:
        Passport.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("compute_capability", "8.6"),
        ("compute_capability", "../../etc"),
        ("graph", "../model.fp32.onnx"),
        ("batch_sizes", [4, 1]),
        ("batch_sizes", []),
        ("engine_sha256", "0"),
        ("extra", 1),
    ],
)
def test_fields_are_checked(bundle: Bundle, field: str, value: object) -> None:
    path, _ = write_fake_engine(bundle)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(EngineError, match=field):
        Passport.load(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"graph_sha256": "0" * 64}, "it was built from another model.fp32.onnx"),
        ({"graph": "model.int8.onnx"}, "built from model.int8.onnx, which the bundle does not have"),
        ({"precision": "fp16"}, "it was to be fp16, and is fp32"),
    ],
)
def test_an_engine_of_another_graph_does_not_fit(bundle: Bundle, fields: dict[str, str], message: str) -> None:
    _, passport = write_fake_engine(bundle, **fields)
    assert message in str(passport.fits_bundle(bundle))


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.engine"
    replace_file(path, b"before")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(bundle: Bundle) -> None:
    (bundle.path / "engines").write_text("a file")
    with pytest.raises(EngineError, match=r"cannot write .*engines"):
        write_fake_engine(bundle)
