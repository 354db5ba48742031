"""Which models are served: own, shipped, newest, default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loddis_runtime.errors import BundleError, ModelNotFoundError
from loddis_runtime.repository import ModelRepository
from loddis_server.models import ModelStore, find_bundles, finding
from loddis_server.problems import ProblemError
from support.bundles import write_spot_bundle
from support.live_server import settings_for


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    for name, version in (("alpha", "2"), ("alpha", "10"), ("beta", "1")):
        write_spot_bundle(root, name=name, version=version, size_hw=(16, 16))
    return root


@pytest.fixture(autouse=True)
def shipped(own: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let other models come with Loddis than do."""
    root = own.parent / "shipped"
    if not root.exists():
        for name, version in (("sky-nano", "1"), ("alpha", "99")):
            write_spot_bundle(root, name=name, version=version, size_hw=(16, 16))
    monkeypatch.setattr(finding, "shipped_repository", lambda: ModelRepository(root))
    return root


def served(repository: Path | None, **settings: Any) -> list[str]:
    bundles = find_bundles(settings_for(repository or Path(), **{"models": (), **settings}))
    return [f"{bundle.manifest.name}:{bundle.manifest.version}" for bundle in bundles]


def test_own_models_are_added_and_hide_shipped_ones_of_their_name(own: Path) -> None:
    assert served(own) == ["alpha:10", "beta:1", "sky-nano:1"]


def test_an_empty_folder_of_own_models_is_fine(tmp_path: Path) -> None:
    assert set(served(tmp_path)) == {"alpha:99", "sky-nano:1"}


def test_without_a_repository_the_shipped_models_are_served(shipped: Path) -> None:
    assert set(served(None, model_repository=None)) == {"alpha:99", "sky-nano:1"}


def test_those_asked_for_are_served_each_once(own: Path) -> None:
    assert served(own, models=("alpha:2", "alpha", "alpha:10")) == ["alpha:2", "alpha:10"]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        served(tmp_path / "nope")


def test_a_model_that_is_missing_is_named_with_those_there_are(own: Path) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no model gamma in .*; there is: alpha:2, alpha:10, beta:1, alpha:99"
    ):
        served(own, models=("gamma",))
    with pytest.raises(ModelNotFoundError, match="alpha:7"):
        served(own, models=("alpha:7",))


def test_no_models_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "shipped_repository", lambda: ModelRepository(tmp_path))
    with pytest.raises(BundleError, match="no models to serve in"):
        served(tmp_path)


def default_of(repository: Path, **settings: Any) -> str:
    store = ModelStore(settings_for(repository, **{"models": (), **settings}))
    store.load_initial()
    model = store.find()
    store.close()
    return f"{model.name}:{model.version}"


def test_the_default_is_the_one_asked_for_then_sky_nano_then_the_first(own: Path) -> None:
    assert default_of(own, default_model="alpha") == "alpha:10"
    assert default_of(own, models=("alpha:2", "beta"), default_model="alpha:2") == "alpha:2"
    assert default_of(own) == "sky-nano:1"
    assert default_of(own, models=("beta", "alpha")) == "beta:1"


def test_a_default_that_is_not_served_is_an_error(own: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="default model alpha:3 is not served; there is: alpha:10, beta:1"):
        ModelStore(settings_for(own, models=(), default_model="alpha:3"))


def test_a_name_finds_its_newest_version(own: Path) -> None:
    store = ModelStore(settings_for(own, models=("alpha:2", "alpha:10")))
    with pytest.raises(ProblemError, match="being loaded"):
        store.find("alpha")
    store.load_initial()
    assert store.find("alpha").version == "10"
    assert store.find("alpha:2").version == "2"
    assert store.find("alpha/2").version == "2"
    with pytest.raises(ProblemError, match="there is: alpha:2, alpha:10") as caught:
        store.find("alpha:99")
    assert caught.value.kind.slug == "unknown-model"
    store.close()
