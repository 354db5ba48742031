"""Bundles on disk: checksums, missing files, graphs of a precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loddis_runtime.bundle import Bundle, sha256_file
from loddis_runtime.errors import BundleError, ChecksumError
from support.bundles import seal, write_spot_bundle


@pytest.fixture
def bundle_path(spot_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(spot_bundle, tmp_path / "bundle"))


def test_opens_what_was_exported(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    assert bundle.manifest.name == "spot"
    assert bundle.graph_path("fp32") == bundle_path / "model.fp32.onnx"


@pytest.mark.parametrize("name", ["model.fp32.onnx", "MODEL_CARD.md"])
@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_one_flipped_bit_in_any_file_is_refused(bundle_path: Path, name: str, place: float) -> None:
    file = bundle_path / name
    raw = bytearray(file.read_bytes())
    raw[round(place * (len(raw) - 1))] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ChecksumError, match=rf"{name} is damaged or was changed: SHA-256 must be .*, got"):
        Bundle.open(bundle_path)


def test_a_cut_off_file_is_refused(bundle_path: Path) -> None:
    file = bundle_path / "model.fp32.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ChecksumError, match=r"model\.fp32\.onnx"):
        Bundle.open(bundle_path)


def test_a_missing_file_is_named(bundle_path: Path) -> None:
    (bundle_path / "MODEL_CARD.md").unlink()
    with pytest.raises(BundleError, match=r"incomplete: the manifest lists MODEL_CARD\.md, which is missing"):
        Bundle.open(bundle_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere is not a bundle: no such folder"):
        Bundle.open(tmp_path / "nowhere")


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot read .*manifest\.json"):
        Bundle.open(tmp_path)


def test_a_missing_precision_names_those_there(tmp_path: Path) -> None:
    bundle = Bundle.open(write_spot_bundle(tmp_path, precisions=("fp32", "fp16")))
    assert bundle.precisions == ("fp32", "fp16")
    with pytest.raises(BundleError, match="has no int8 graph; there is: fp32, fp16"):
        bundle.graph_path("int8")


def test_a_graph_that_the_manifest_does_not_vouch_for_does_not_count(bundle_path: Path) -> None:
    (bundle_path / "model.int8.onnx").write_bytes(b"slipped in")
    with pytest.raises(BundleError, match="has no int8 graph"):
        Bundle.open(bundle_path).graph_path("int8")


def test_files_in_folders_are_vouched_for_too(bundle_path: Path) -> None:
    (bundle_path / "engines").mkdir()
    (bundle_path / "engines" / "sm90.plan").write_bytes(b"plan")
    seal(bundle_path)
    Bundle.open(bundle_path)
    (bundle_path / "engines" / "sm90.plan").write_bytes(b"pLan")
    with pytest.raises(ChecksumError, match=r"sm90\.plan"):
        Bundle.open(bundle_path)


def test_sha256_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example 1
    assert sha256_file(tmp_path / "abc") == published
    with pytest.raises(BundleError, match=r"cannot read .*: Is a directory"):
        sha256_file(tmp_path)
