"""The example of a settings file: the server knows all that is in it, and does not start with its secrets."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from pydantic_settings import SettingsError

from loddis_server.settings import ServerSettings
from loddis_server.sources.addresses import parse_camera_url

EXAMPLE = Path(__file__).resolve().parents[2] / "docker" / "loddis.yaml"
PLACE = re.compile(r"<([^>]+)>")


def filled_in(place: re.Match[str]) -> str:
    """Put something of the right form in the place of a secret; no two are the same."""
    return f"whsec_{'A' * 43}=" if "whsec_" in place[1] else f"secret-{place.start()}"


def test_what_is_filled_in_is_a_whole_set_of_settings(tmp_path: Path) -> None:
    copy = tmp_path / "site.yaml"
    copy.write_text(PLACE.sub(filled_in, EXAMPLE.read_text()))
    settings = ServerSettings(config_file=copy)
    assert [camera.stream_id for camera in settings.streams.cameras] == ["mast-north", "mast-south"]
    assert {receiver.name for receiver in settings.events.receivers} == {"control-room", "broker"}
    assert [sorted(key.scopes) for key in settings.keys] == [["detect"], ["detect", "manage"]]
    assert settings.sources.hosts
    assert settings.streams.unlike_frames is not None
    assert settings.streams.unlike_frames.folder.is_relative_to("/var/lib/loddis")


def test_as_it_stands_it_is_refused_with_the_line_of_each_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        ServerSettings(config_file=EXAMPLE)
    lines = EXAMPLE.read_text().splitlines()
    secrets = [number for number, line in enumerate(lines, 1) if PLACE.search(line) and "password: " not in line]
    assert len(secrets) == 4
    for number in secrets:
        assert f"{EXAMPLE}:{number}: " in str(refused.value)


def test_cameras_are_on_addresses_that_the_example_allows(tmp_path: Path) -> None:
    copy = tmp_path / "site.yaml"
    copy.write_text(PLACE.sub(filled_in, EXAMPLE.read_text()))
    settings = ServerSettings(config_file=copy)
    urls = [camera.source.url for camera in settings.streams.cameras]
    assert len(urls) == 2
    for url in urls:
        assert url is not None
        camera = parse_camera_url(url.get_secret_value())
        settings.sources.check_addresses(camera, [ipaddress.ip_address(camera.host)])
