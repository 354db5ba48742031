"""Model repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from loddis_runtime.errors import BundleError, ModelNotFoundError
from loddis_runtime.repository import ModelRepository
from support.bundles import write_spot_bundle


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    root = tmp_path_factory.mktemp("repository")
    for name, version in (("spot", "2"), ("spot", "10"), ("arc", "1")):
        write_spot_bundle(root, name=name, version=version)
    (root / "spot" / "11").mkdir()  # a copy still under way
    (root / "spot" / "latest").mkdir()
    (root / "spot" / "latest" / "manifest.json").write_text("{}")
    (root / "README.md").write_text("not a model")
    return ModelRepository(root)


def test_lists_models_by_name_and_number(repository: ModelRepository) -> None:
    assert [(entry.name, entry.version) for entry in repository.list()] == [("arc", "1"), ("spot", "2"), ("spot", "10")]
    assert all(entry.path == repository.root / entry.name / entry.version for entry in repository.list())


def test_the_newest_is_the_highest_number_not_the_last_word(repository: ModelRepository) -> None:
    assert repository.find("spot").version == "10"
    assert repository.open("spot").manifest.version == "10"


def test_a_version_can_be_asked_for(repository: ModelRepository) -> None:
    assert repository.open("spot", "2").manifest.version == "2"


@pytest.mark.parametrize(("name", "version", "wanted"), [("spit", None, "spit"), ("spot", "3", "spot:3")])
def test_what_is_not_there_gets_a_list_of_what_is(
    repository: ModelRepository, name: str, version: str | None, wanted: str
) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"no model {wanted} in .*; there is: arc:1, spot:2, spot:10$"):
        repository.find(name, version)


def test_an_empty_or_missing_repository_says_so(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelNotFoundError, match="there is: no models at all"):
            ModelRepository(root).find("spot")


def test_new_models_are_seen_at_once(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    assert repository.list() == []
    write_spot_bundle(tmp_path)
    assert len(repository.list()) == 1


def test_a_bundle_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    write_spot_bundle(tmp_path, name="spot", version="1").rename(tmp_path / "spot" / "7")
    with pytest.raises(BundleError, match="must hold spot:7, its manifest says spot:1"):
        ModelRepository(tmp_path).open("spot")
