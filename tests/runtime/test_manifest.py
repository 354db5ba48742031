"""Manifests: what is written comes back, what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loddis_runtime.errors import BundleError
from loddis_runtime.intensity import Percentile
from loddis_runtime.manifest import Manifest
from support.bundles import manifest_of


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    manifest = manifest_of(intensity=Percentile(low=2), window=3, files={"engines/a.plan": "0" * 64})
    manifest.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == manifest


def document_of(**changes: Any) -> dict[str, Any]:
    """Give a manifest as JSON has it; a change of None removes the field."""
    document = {**json.loads(manifest_of().model_dump_json()), **changes}
    return {name: value for name, value in document.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"schema_version": 2}, "schema version 2, this release reads up to 1: update loddis"),
        ({"schema_version": 0}, "schema_version: Input should be 1"),
        ({"schema_version": "1"}, "schema_version must be a whole number, got '1'"),
        ({"schema_version": None}, "schema_version must be a whole number, got None"),
        ({"classes": None}, "classes: Field required"),
        ({"classes": []}, "classes: .*at least 1"),
        ({"classes": ["a", "a"]}, "classes: .*must differ, got a, a"),
        ({"name": "../evil"}, "name: .*pattern"),
        ({"version": "1.2"}, "version: .*pattern"),
        ({"version": "01"}, "version: .*pattern"),
        ({"window": 2}, "window: Input should be 1, 3 or 5"),
        ({"size_hw": [64]}, r"size_hw\.1: Field required"),
        ({"size_hw": [63, 96]}, r"multiples of the stride 8, got \(63, 96\)"),
        ({"stride": 0}, "stride: .*greater than or equal to 1"),
        ({"variant": "giant"}, "variant: Input should be 'nano', 'tiny' or 's'"),
        ({"intensity": {"kind": "guess"}}, "intensity: .*full_range"),
        ({"intensity": {"kind": "percentile", "low": 50, "high": 3}}, "low must be below high"),
        ({"score_threshold": 1.5}, "score_threshold: .*less than or equal to 1"),
        ({"nms_centre_distance_px": -1}, "nms_centre_distance_px: "),
        ({"files": {"../../etc/passwd": "0" * 64}}, "files: .*no plain path within the bundle"),
        ({"files": {"/etc/passwd": "0" * 64}}, "files: .*no plain path"),
        ({"files": {"manifest.json": "0" * 64}}, "files: .*no plain path"),
        ({"files": {"model.fp32.onnx": "abc"}}, r"files\.model\.fp32\.onnx: .*pattern"),
        ({"metrics": {"sky/test": {"map50": "high"}}}, r"metrics\.sky/test\.map50: .*number"),
        ({"training_domains": [{"name": "sky"}]}, r"training_domains\.0\.role: Field required"),
        ({"created": "2025-01-01T00:00:00"}, "created: .*timezone"),
    ],
)
def test_each_fault_is_one_line_that_names_the_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document_of(**changes)))
    with pytest.raises(BundleError, match=message) as caught:
        Manifest.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not JSON"),
        (b'{"name": "spot"', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "must hold a JSON object, got list"),
        (b'{"schema_version": 99, "of_the_future": true}', "schema version 99.*update loddis"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(raw)
    with pytest.raises(BundleError, match=message) as caught:
        Manifest.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot read .*manifest\.json: No such file"):
        Manifest.load(tmp_path / "manifest.json")


def test_a_manifest_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest_of().name = "other"  # type: ignore[misc]


def test_every_field_says_what_it_is() -> None:
    assert [name for name, field in Manifest.model_fields.items() if not field.description] == []
