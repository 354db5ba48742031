"""What sources may read: nothing that was not named, whatever it is called and wherever it leads."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from loddis_server.sources import opening
from loddis_server.sources.addresses import parse_camera_url
from loddis_server.sources.allow_list import RefusedError, SourceAllowList
from loddis_server.sources.opening import OpeningError, check_allowed, open_medium
from loddis_server.sources.settings import SourceSettings


def check(hosts: tuple[str, ...], url: str, *addresses: str) -> None:
    camera = parse_camera_url(url)
    resolved = [ipaddress.ip_address(address) for address in addresses or (camera.host,)]
    SourceAllowList(hosts=hosts).check_addresses(camera, resolved)


def refuses(hosts: tuple[str, ...], url: str, *addresses: str) -> str:
    with pytest.raises(RefusedError) as caught:
        check(hosts, url, *addresses)
    return str(caught.value)


class TestHosts:
    def test_nothing_is_allowed_by_default(self) -> None:
        assert refuses((), "rtsp://10.0.0.5/live") == "10.0.0.5:554 is not on the list of allowed hosts"

    @pytest.mark.parametrize(
        ("rule", "url"),
        [
            ("10.0.0.5", "rtsp://10.0.0.5/live"),
            ("10.0.0.0/24", "rtsp://10.0.0.77/live"),
            ("10.0.0.0/24:8554", "rtsp://10.0.0.77:8554/live"),
            ("10.0.0.5:*", "rtsp://10.0.0.5:9000/live"),
            ("10.0.0.5", "http://10.0.0.5/video"),
            ("2001:db8:1::/64", "rtsp://[2001:db8:1::7]/live"),
            ("[2001:db8:1::7]:8554", "rtsp://[2001:db8:1::7]:8554/live"),
        ],
    )
    def test_a_rule_allows_its_own(self, rule: str, url: str) -> None:
        check((rule,), url)

    @pytest.mark.parametrize(
        ("rule", "url"),
        [
            ("10.0.0.5", "rtsp://10.0.0.6/live"),
            ("10.0.0.5", "rtsp://10.0.0.5:8554/live"),  # a port that nobody named
            ("10.0.0.5:8554", "rtsp://10.0.0.5/live"),
            ("10.0.0.0/24", "rtsp://10.0.1.1/live"),
            ("camera.example", "rtsp://10.0.0.5/live"),
        ],
    )
    def test_a_rule_allows_no_other(self, rule: str, url: str) -> None:
        refuses((rule,), url)

    def test_a_name_stands_for_ordinary_addresses_only(self) -> None:
        check(("Camera.example",), "rtsp://camera.EXAMPLE./live", "10.0.0.5", "2001:db8::5")
        message = refuses(("camera.example",), "rtsp://camera.example/live", "10.0.0.5", "127.0.0.1")
        assert message == (
            "camera.example:554 (127.0.0.1) is not on the list of allowed hosts, "
            "which only its own address in the list would allow"
        )

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ],
    )
    def test_neither_this_machine_nor_its_hosting_is_reached_through_a_wide_rule(self, address: str) -> None:
        refuses(("0.0.0.0/0:*", "::/0:*", "camera.example:*"), "rtsp://camera.example/live", address)

    @pytest.mark.parametrize(
        ("rule", "address"),
        [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("127.0.0.0/8", "127.8.9.1"),
            ("::1", "::1"),
            ("169.254.7.7", "169.254.7.7"),
            ("fe80::1", "fe80::1"),
        ],
    )
    def test_whoever_names_a_special_address_gets_it(self, rule: str, address: str) -> None:
        check((rule,), "rtsp://camera.example/live", address)

    @pytest.mark.parametrize(
        "rule", ["", "10.0.0", "10.0.0.0/33", "a b", "host:0", "host:70000", "[host]:1", "http://x"]
    )
    def test_what_is_no_rule_is_refused(self, rule: str) -> None:
        with pytest.raises(ValidationError):
            SourceAllowList(hosts=(rule,))


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "file:///etc/passwd",
            "concat:a|b",
            "subfile:,start,0,end,9,,:/etc/passwd",
            "tcp://10.0.0.5:1",
            "rtmp://10.0.0.5/live",
            "rtsp:///live",
            "rtsp://10.0.0.5:0/live",
            "rtsp://10.0.0.5:99999/live",
            "rtsp://10.0.0.5/a b",
            "rtsp://10.0.0.5/a\r\nHost: b",
            "rtsp://[10.0.0.5/live",
            "10.0.0.5/live",
        ],
    )
    def test_only_cameras_have_urls(self, url: str) -> None:
        with pytest.raises(ValidationError):
            SourceSettings.model_validate({"url": url})

    def test_passwords_are_shown_nowhere(self) -> None:
        settings = SourceSettings.model_validate({"url": "rtsp://me:hidden@10.0.0.5:8554/live?token=hidden#x"})
        assert settings.shown == "rtsp://10.0.0.5:8554/live"
        assert "hidden" not in repr(settings)
        assert "hidden" not in settings.model_dump_json()
        with pytest.raises(OpeningError) as caught:
            open_medium(settings, SourceAllowList())
        assert "hidden" not in caught.value.cause

    def test_a_fault_in_a_url_does_not_show_its_password(self) -> None:
        with pytest.raises(ValidationError) as caught:
            SourceSettings.model_validate({"url": "rtps://me:hidden@10.0.0.5/live"})
        assert "hidden" not in str(caught.value.errors(include_input=False, include_url=False))

    def test_a_name_is_resolved_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            address = "192.0.2.7" if len(asked) == 1 else "127.0.0.1"  # as a name server that changes its mind
            return [(2, 1, 6, "", (address, port))]

        connected: list[tuple[str, int]] = []

        def connect(address: tuple[str, int], timeout: float) -> None:
            connected.append(address)
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(opening.socket, "getaddrinfo", resolve)
        monkeypatch.setattr(opening.socket, "create_connection", connect)
        settings = SourceSettings.model_validate({"url": "rtsp://camera.example/live"})
        with pytest.raises(OpeningError, match=r"connecting to camera\.example:554 gave: Connection refused"):
            open_medium(settings, SourceAllowList(hosts=("camera.example",)))
        assert connected == [("192.0.2.7", 554)]
        assert asked == ["camera.example"]

    @pytest.mark.parametrize(
        ("hosts", "looked_up"),
        [
            ((), False),
            (("other.example",), False),
            (("camera.example:8554",), False),  # another port
            (("camera.example",), True),
            (("10.0.0.0/8",), True),  # in which the name may lie
        ],
    )
    def test_a_name_that_no_entry_may_mean_is_refused_without_asking_for_it(
        self, monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...], looked_up: bool
    ) -> None:
        asked: list[str] = []

        def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            raise OSError("no such name")

        monkeypatch.setattr(opening.socket, "getaddrinfo", resolve)
        settings = SourceSettings.model_validate({"url": "rtsp://camera.example/live"})
        # While a name that may be allowed is not known, nothing speaks against trying again later.
        with contextlib.nullcontext() if looked_up else pytest.raises(RefusedError, match="not on the list"):
            opening.check_allowed(settings, SourceAllowList(hosts=hosts))
        assert asked == ["camera.example"] * looked_up


class TestFiles:
    @pytest.fixture
    def allow(self, tmp_path: Path) -> SourceAllowList:
        (tmp_path / "allowed" / "below").mkdir(parents=True)
        (tmp_path / "secret.mkv").write_bytes(b"secret")
        (tmp_path / "allowed" / "below" / "clip.mkv").write_bytes(b"clip")
        return SourceAllowList(folders=(tmp_path / "allowed",))

    def test_files_below_the_folder_are_open(self, allow: SourceAllowList, tmp_path: Path) -> None:
        descriptor = allow.open_path(tmp_path / "allowed" / "below" / "clip.mkv")
        with os.fdopen(descriptor, "rb") as file:
            assert file.read() == b"clip"

    @pytest.mark.parametrize("path", ["secret.mkv", "allowed/../secret.mkv", "allowed/link", "absent", "allowed2/x"])
    def test_others_are_not(self, allow: SourceAllowList, tmp_path: Path, path: str) -> None:
        (tmp_path / "allowed" / "link").symlink_to(tmp_path / "secret.mkv")
        (tmp_path / "allowed2").mkdir()
        with pytest.raises(RefusedError):
            allow.open_path(tmp_path / path)

    def test_a_link_that_stays_inside_is_followed(self, allow: SourceAllowList, tmp_path: Path) -> None:
        (tmp_path / "allowed" / "link").symlink_to(tmp_path / "allowed" / "below" / "clip.mkv")
        os.close(allow.open_path(tmp_path / "allowed" / "link"))

    def test_a_pipe_is_no_file(self, allow: SourceAllowList, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "allowed" / "pipe")
        with pytest.raises(RefusedError, match="no regular file"):
            allow.open_path(tmp_path / "allowed" / "pipe")

    @pytest.mark.parametrize("given", [{}, {"path": "/a", "device": "/dev/video0"}])
    def test_a_source_is_one_thing(self, given: dict[str, str]) -> None:
        with pytest.raises(ValidationError, match="exactly one of url, path and device"):
            SourceSettings.model_validate(given)


class TestDevices:
    def test_a_device_must_be_listed(self) -> None:
        settings = SourceSettings(device=Path("/dev/video0"))
        with pytest.raises(OpeningError, match="/dev/video0 is not on the list of allowed devices") as caught:
            open_medium(settings, SourceAllowList())
        assert caught.value.reason == "refused"

    def test_a_device_that_is_unplugged_is_not_found(self) -> None:
        settings = SourceSettings(device=Path("/dev/video77"))
        with pytest.raises(OpeningError, match="there is no /dev/video77") as caught:
            open_medium(settings, SourceAllowList(devices=(Path("/dev/video77"),)))
        assert caught.value.reason == "not_found"

    def test_what_is_asked_of_a_device(self) -> None:
        allow = SourceAllowList(devices=(Path("/dev/null"),))  # a character device that every machine has
        settings = SourceSettings(
            device=Path("/dev/null"), device_format="gray16le", device_size="640x512", frame_rate_hz=30
        )
        with open_medium(settings, allow) as medium:
            assert medium.request.medium == "device"
            assert medium.request.device == "/dev/null"
            assert medium.request.options == {"input_format": "gray16le", "video_size": "640x512", "framerate": "30"}

    @pytest.mark.parametrize("options", [{"device_format": "gray,x"}, {"device_size": "640"}, {"frame_rate_hz": 0}])
    def test_nonsense_is_not_asked_of_it(self, options: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            SourceSettings.model_validate({"device": "/dev/video0", **options})


@pytest.mark.parametrize(
    ("hosts", "is_asked"),
    [((), False), (("other.invalid",), False), (("camera.invalid:8554",), False), (("10.0.0.0/8",), True)],
)
def test_a_name_that_nothing_could_allow_is_refused_unasked(
    monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...], is_asked: bool
) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    refused = contextlib.nullcontext() if is_asked else pytest.raises(RefusedError)
    with refused:
        check_allowed(SourceSettings(url=SecretStr("rtsp://camera.invalid/a")), SourceAllowList(hosts=hosts))
    assert asked == ["camera.invalid"] * is_asked
