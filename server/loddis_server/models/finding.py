"""Which bundles there are on disk, which of them a server starts with, and which one is its default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import BundleError, ModelNotFoundError
from loddis_runtime.repository import ModelRepository, RepositoryEntry, shipped_repository
from loddis_server.settings import ServerSettings

__all__ = ["PREFERRED_MODEL", "choose_default", "find_bundles", "list_entries", "open_bundle", "parse_reference"]

PREFERRED_MODEL = "sky-nano"


def find_bundles(settings: ServerSettings) -> list[Bundle]:
    """Open the bundles that the settings ask for, and check them.

    Own models come first, and hide those of the same name that come with Loddis.

    Raises:
        BundleError: A bundle is damaged, or there is none at all.
        ModelNotFoundError: The settings name a model that is not there.
        OSError: The repository cannot be read.
    """
    if settings.model_repository is not None:
        next(settings.model_repository.iterdir(), None)  # a folder that is missing or closed to us is no empty one
    repositories = _repositories(settings)
    references = settings.models or _all_names(repositories)
    if not references:
        where = ", ".join(str(repository.root) for repository in repositories)
        raise BundleError(f"no models to serve in {where}: put one there as NAME/VERSION/, or set --model-repository")
    bundles: dict[Path, Bundle] = {}
    for reference in references:
        name, _, version = reference.partition(":")
        bundle = _open(repositories, name, version or None)
        bundles.setdefault(bundle.path, bundle)
    return list(bundles.values())


def list_entries(settings: ServerSettings) -> list[RepositoryEntry]:
    """Give every version that can be loaded, by name, oldest version first; what is on disk now counts.

    Own models hide those of the same name that come with Loddis.
    """
    entries: dict[str, list[RepositoryEntry]] = {}
    for repository in _repositories(settings):
        found = repository.list()
        for name in {entry.name for entry in found} - entries.keys():
            entries[name] = [entry for entry in found if entry.name == name]
    return [entry for name in sorted(entries) for entry in entries[name]]


def open_bundle(settings: ServerSettings, name: str, version: str) -> Bundle:
    """Open a bundle and check every file of it.

    Raises:
        BundleError: It is damaged.
        ModelNotFoundError: It is not there.
        OSError: The repository cannot be read.
    """
    return _open(_repositories(settings), name, version)


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Take ``NAME``, ``NAME:VERSION`` or ``NAME/VERSION`` apart, into name and version; None if it has no version.

    The version may be empty, which no model's is: ``NAME:`` is a reference to nothing.
    """
    name, separator, version = reference.replace("/", ":", 1).partition(":")
    return name, version if separator else None


def _repositories(settings: ServerSettings) -> list[ModelRepository]:
    """Give the repositories, own models first."""
    own = settings.model_repository
    return [*([] if own is None else [ModelRepository(own)]), shipped_repository()]


def _all_names(repositories: Sequence[ModelRepository]) -> list[str]:
    """Give the names in all repositories, each once."""
    return list(dict.fromkeys(entry.name for repository in repositories for entry in repository.list()))


def _open(repositories: Sequence[ModelRepository], name: str, version: str | None) -> Bundle:
    """Open a bundle from the first repository that has a model of that name."""
    for repository in repositories:
        if any(entry.name == name for entry in repository.list()):
            return repository.open(name, version)
    there = ", ".join(f"{entry.name}:{entry.version}" for repository in repositories for entry in repository.list())
    where = ", ".join(str(repository.root) for repository in repositories)
    raise ModelNotFoundError(f"no model {name} in {where}; there is: {there or 'none at all'}")


def choose_default(bundles: Sequence[Bundle], wanted: str | None) -> tuple[str, str | None]:
    """Choose the model for requests that name none.

    Args:
        bundles: That the server starts with.
        wanted: ``NAME`` or ``NAME:VERSION``, if the settings say so.

    Returns:
        Its name, and its version if the settings name one; else its newest version counts, whichever that is later.

    Raises:
        ModelNotFoundError: It is not among the bundles.
    """
    if wanted is None:
        names = [bundle.manifest.name for bundle in bundles]
        return (PREFERRED_MODEL if PREFERRED_MODEL in names else names[0]), None
    name, version = parse_reference(wanted)
    if any(bundle.manifest.name == name and version in (None, bundle.manifest.version) for bundle in bundles):
        return name, version
    served = ", ".join(f"{bundle.manifest.name}:{bundle.manifest.version}" for bundle in bundles)
    raise ModelNotFoundError(f"the default model {wanted} is not served; there is: {served}")
