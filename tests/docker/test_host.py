"""What a build takes over from the machine: any mirror, any pip configuration, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.host import parse_index_targets, parse_pip_settings


def test_the_mirror_is_that_of_the_running_release() -> None:
    answer = "\n".join(
        [
            "bookworm-updates http://mirror.example/debian/ main",
            "bookworm http://mirror.example/debian/ main",
            "bookworm http://mirror.example/debian/ contrib",
            "bookworm http://second.example/debian/ non-free",
            "nodistro https://other.example/ main",
        ]
    )
    mirror = parse_index_targets(answer, suite="bookworm")
    assert mirror.uri == "http://mirror.example/debian/"
    assert mirror.components == ("contrib", "main")


def test_a_release_without_a_source_is_named() -> None:
    with pytest.raises(LookupError, match=r"'trixie', only of \['bookworm'\]"):
        parse_index_targets("bookworm http://mirror.example/ main\n", suite="trixie")


def test_pip_takes_its_indexes_along_and_the_local_folders_they_name(tmp_path: Path) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "index" / "simple"
    wheels.mkdir()
    index.mkdir(parents=True)
    answer = "\n".join(
        [
            ":env:.index-url='https://env.example/simple'",
            ":env:.quiet='1'",
            f"global.extra-index-url='file://{index} https://more.example/simple'",
            "global.index-url='https://file.example/simple'",
            f"install.find-links='{wheels}'",
            "install.user='true'",
        ]
    )
    settings = parse_pip_settings(answer)
    assert settings.text == (
        "[global]\n"
        f"extra-index-url = file://{index} https://more.example/simple\n"
        "index-url = https://env.example/simple\n"  # the environment wins over the file
        f"find-links = {wheels}\n"
    )
    assert settings.paths == (index.parent, wheels)


def test_certificates_of_the_environment_serve_pip_unless_it_has_its_own(tmp_path: Path) -> None:
    bundle, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    bundle.touch()
    own.touch()
    assert parse_pip_settings("", certificates=str(bundle)).paths == (bundle,)
    assert parse_pip_settings(f"global.cert='{own}'", certificates=str(bundle)).paths == (own,)


def test_without_any_configuration_nothing_is_taken_along() -> None:
    assert parse_pip_settings("") == parse_pip_settings("install.user='true'")
    assert parse_pip_settings("").paths == ()
