"""The models that are served: found, checked, loaded, warmed up, looked up by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loddis_runtime.bundle import Bundle
from loddis_runtime.detector import Detector, load
from loddis_runtime.errors import BundleError, ModelNotFoundError
from loddis_runtime.repository import ModelRepository, shipped_repository
from loddis_server.problems import NOT_READY, UNKNOWN_MODEL, ProblemError
from loddis_server.settings import ServerSettings

__all__ = ["PREFERRED_MODEL", "ModelStore", "ServedModel", "find_bundles"]

logger = logging.getLogger(__name__)

PREFERRED_MODEL = "sky-nano"


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model that is loaded.

    Attributes:
        detector: That runs it.
        is_default: Whether it answers requests that name none.
    """

    detector: Detector
    is_default: bool

    @property
    def name(self) -> str:
        """Of the model."""
        return self.detector.manifest.name

    @property
    def version(self) -> str:
        """Of the model; a whole number."""
        return self.detector.manifest.version


class ModelStore:
    """The models that a server serves.

    Args:
        settings: Which ones, and how they run.

    Raises:
        BundleError: A bundle is damaged, or there is none to serve.
        ModelNotFoundError: A model that the settings name is not there.
        OSError: The repository cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._bundles = find_bundles(settings)
        self._default = _choose_default(self._bundles, settings.default_model)
        self._models: tuple[ServedModel, ...] = ()

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    def load(self) -> None:
        """Load every model and run it once in every size of batch; slow, so done on a thread of its own.

        Raises:
            BundleError: A graph is not the one that its manifest describes.
            EngineError: A graph cannot be run on this machine.
        """
        models: list[ServedModel] = []
        for bundle in self._bundles:
            detector = load(
                bundle.path,
                device=self._settings.device,
                precision=self._settings.precision,
                threads=self._settings.threads,
            )
            detector.warm_up(_warm_up_sizes(self._settings.max_batch_size))
            detector.detect(np.full(bundle.manifest.size_hw, 128, dtype=np.uint8))
            models.append(ServedModel(detector, is_default=bundle is self._default))
            logger.info(
                "model loaded",
                extra={
                    "model": f"{bundle.manifest.name}:{bundle.manifest.version}",
                    "engine": detector.engine.name,
                    "precision": detector.precision,
                    "threads": detector.threads,
                },
            )
        self._models = tuple(models)

    def find(self, reference: str | None = None) -> ServedModel:
        """Find a model.

        Args:
            reference: ``NAME``, for its newest version, ``NAME:VERSION`` or ``NAME/VERSION``; the default if none.

        Raises:
            ProblemError: There is none of that name and version, or none is loaded yet.
        """
        if not self._models:
            raise ProblemError(NOT_READY, "the models are being loaded", headers={"Retry-After": "1"})
        if reference is None:
            return next(model for model in self._models if model.is_default)
        name, _, version = reference.replace("/", ":", 1).partition(":")
        matches = [model for model in self._models if model.name == name and version in ("", model.version)]
        if not matches or reference.endswith((":", "/")):
            served = ", ".join(f"{model.name}:{model.version}" for model in self._models)
            raise ProblemError(UNKNOWN_MODEL, f"no model {reference[:100]!r} is served; there is: {served}")
        return max(matches, key=lambda model: int(model.version))

    def close(self) -> None:
        """Give back what the models hold."""
        for model in self._models:
            model.detector.close()


def find_bundles(settings: ServerSettings) -> list[Bundle]:
    """Open the bundles that the settings ask for, and check them.

    Own models come first, and hide those of the same name that come with Loddis.

    Raises:
        BundleError: A bundle is damaged, or there is none at all.
        ModelNotFoundError: The settings name a model that is not there.
        OSError: The repository cannot be read.
    """
    repositories = [shipped_repository()]
    if settings.model_repository is not None:
        next(settings.model_repository.iterdir(), None)  # a folder that is missing or closed to us is no empty one
        repositories.insert(0, ModelRepository(settings.model_repository))
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


def _choose_default(bundles: Sequence[Bundle], wanted: str | None) -> Bundle:
    """Choose the model for requests that name none."""
    if wanted is not None:
        name, _, version = wanted.partition(":")
        for bundle in sorted(bundles, key=lambda bundle: int(bundle.manifest.version), reverse=True):
            if bundle.manifest.name == name and version in ("", bundle.manifest.version):
                return bundle
        served = ", ".join(f"{bundle.manifest.name}:{bundle.manifest.version}" for bundle in bundles)
        raise ModelNotFoundError(f"the default model {wanted} is not served; there is: {served}")
    return next((bundle for bundle in bundles if bundle.manifest.name == PREFERRED_MODEL), bundles[0])


def _warm_up_sizes(max_batch_size: int) -> list[int]:
    """Give the powers of two up to the largest batch, and that one."""
    return sorted({2**power for power in range(max_batch_size.bit_length())} | {max_batch_size})
