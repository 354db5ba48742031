"""Folders that may not be read, as of a volume that belongs to someone else: an error that says so, and of ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import loddis_runtime
from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import BundleError
from loddis_runtime.manifest import Manifest
from loddis_runtime.repository import ModelRepository
from support.bundles import write_spot_bundle


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Give what takes all rights on a folder away, from root too."""

    def lock(folder: Path) -> None:
        def guard(name: str, *, inside_only: bool) -> None:
            function: Any = getattr(os, name)

            def guarded(path: Any = ".", *arguments: Any, **options: Any) -> Any:
                if isinstance(path, str | os.PathLike):
                    there = Path(os.fspath(path))
                    if folder in there.parents or (there == folder and not inside_only):
                        raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return function(path, *arguments, **options)

            monkeypatch.setattr(os, name, guarded)

        guard("stat", inside_only=True)
        guard("listdir", inside_only=False)
        guard("scandir", inside_only=False)

    return lock


def test_a_manifest_that_may_not_be_looked_for(spot_bundle: Path, locked: Callable[[Path], None]) -> None:
    locked(spot_bundle)
    with pytest.raises(BundleError, match=r"cannot read .*manifest\.json: Permission denied"):
        Manifest.load(spot_bundle / "manifest.json")


@pytest.mark.parametrize("level", [0, 1])
def test_a_bundle_that_may_not_be_searched(spot_bundle: Path, level: int, locked: Callable[[Path], None]) -> None:
    locked([spot_bundle, *spot_bundle.parents][level])
    with pytest.raises(BundleError, match=r"cannot read .*: Permission denied"):
        Bundle.open(spot_bundle)


def test_a_file_in_a_folder_that_may_not_be_searched(tmp_path: Path, locked: Callable[[Path], None]) -> None:
    path = write_spot_bundle(tmp_path)
    (path / "notes").mkdir()
    manifest = Manifest.load(path / "manifest.json")
    manifest.model_copy(update={"files": {"notes/a.md": "0" * 64}}).save(path / "manifest.json")
    locked(path / "notes")
    with pytest.raises(BundleError, match=r"cannot read .*: Permission denied"):
        Bundle.open(path)


def test_a_model_that_may_not_be_searched_is_listed_and_says_why_it_cannot_be_opened(
    tmp_path: Path, locked: Callable[[Path], None]
) -> None:
    for version in ("1", "2"):
        write_spot_bundle(tmp_path, version=version)
    repository = ModelRepository(tmp_path)
    locked(tmp_path / "spot" / "2")
    assert [entry.version for entry in repository.list()] == ["1", "2"]
    assert repository.open("spot", "1").manifest.version == "1"
    with pytest.raises(BundleError, match=r"cannot read .*: Permission denied"):
        loddis_runtime.load("spot", repository=tmp_path)


def test_a_repository_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, locked: Callable[[Path], None]) -> None:
    write_spot_bundle(tmp_path)
    locked(tmp_path)
    with pytest.raises(BundleError, match=r"cannot read .*: Permission denied"):
        ModelRepository(tmp_path).list()
