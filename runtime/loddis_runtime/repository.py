"""A folder of models, `REPO/<name>/<version>/`, and the one that comes with this package."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import BundleError, ModelNotFoundError
from loddis_runtime.manifest import MANIFEST_NAME

__all__ = ["ModelRepository", "RepositoryEntry", "open_bundle", "shipped_repository"]

NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(:(?P<version>[0-9]+))?")


class RepositoryEntry(NamedTuple):
    """One version of one model.

    Attributes:
        name: Of the model.
        version: Whole number, as a string of digits.
        path: Folder of the bundle.
    """

    name: str
    version: str
    path: Path


class ModelRepository:
    """Models by name and version. What is on disk counts at every call: nothing is remembered.

    Args:
        root: The folder. It need not exist yet: it then holds no models.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self) -> list[RepositoryEntry]:
        """Give all versions of all models, by name, then oldest version first.

        A folder without a manifest, such as a copy that is still under way, is no model yet. One that may not be
        searched is listed: what opens it says why it cannot.

        Raises:
            BundleError: The repository cannot be read.
        """
        try:
            folders = [folder for model in self.root.iterdir() for folder in model.glob("*")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise BundleError(f"cannot read {self.root}: {error.strerror or error}") from None
        entries = [
            RepositoryEntry(folder.parent.name, folder.name, folder)
            for folder in folders
            if _is_version(folder.name) and _may_have_manifest(folder)
        ]
        return sorted(entries, key=lambda entry: (entry.name, int(entry.version)))

    def find(self, name: str, version: str | None = None) -> RepositoryEntry:
        """Find a model.

        Args:
            name: Of the model.
            version: Of the model; the highest number if none.

        Raises:
            ModelNotFoundError: No such name or version; the message lists what there is.
            BundleError: As `list`.
        """
        entries = self.list()
        matches = [entry for entry in entries if entry.name == name and version in (None, entry.version)]
        if not matches:
            wanted = name if version is None else f"{name}:{version}"
            there = ", ".join(f"{entry.name}:{entry.version}" for entry in entries) or "no models at all"
            raise ModelNotFoundError(f"no model {wanted} in {self.root}; there is: {there}")
        return matches[-1]

    def open(self, name: str, version: str | None = None) -> Bundle:
        """Find a model and open its bundle.

        Raises:
            ModelNotFoundError: As `find`.
            BundleError: As `Bundle.open`; or the manifest is of another model than the folders say.
        """
        entry = self.find(name, version)
        bundle = Bundle.open(entry.path)
        if (bundle.manifest.name, bundle.manifest.version) != (entry.name, entry.version):
            raise BundleError(
                f"{entry.path} must hold {entry.name}:{entry.version}, "
                f"its manifest says {bundle.manifest.name}:{bundle.manifest.version}"
            )
        return bundle


def shipped_repository() -> ModelRepository:
    """Give the models that come with this package."""
    return ModelRepository(Path(__file__).parent / "models")


def open_bundle(name_or_path: str | Path, repository: ModelRepository | str | Path | None = None) -> Bundle:
    """Open the bundle that a name, ``NAME`` or ``NAME:VERSION``, or a path stands for.

    Args:
        name_or_path: Of the bundle.
        repository: Where names are looked up; the models that come with this package if none.

    Raises:
        ModelNotFoundError, BundleError, ChecksumError: As `ModelRepository.open`.
    """
    if isinstance(name_or_path, Path) or os.sep in name_or_path or not (match := NAME.fullmatch(name_or_path)):
        return Bundle.open(Path(name_or_path))
    if repository is None:
        repository = shipped_repository()
    elif not isinstance(repository, ModelRepository):
        repository = ModelRepository(Path(repository))
    try:
        return repository.open(match["name"], match["version"])
    except ModelNotFoundError as error:
        if _may_have_manifest(Path(name_or_path)):
            raise ModelNotFoundError(f"{error}; for the folder of that name, write ./{name_or_path}") from None
        raise


def _may_have_manifest(folder: Path) -> bool:
    try:
        (folder / MANIFEST_NAME).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_version(text: str) -> bool:
    """Tell whether a folder's name is a version: digits, no leading zero."""
    return text.isascii() and text.isdigit() and str(int(text)) == text
