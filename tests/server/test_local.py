"""A server of one's own lives as long as its context, and says why it cannot."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from loddis_server.local import ServerFailedError, running_server


def test_it_serves_within_the_context_and_not_after(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODDIS_API_KEY", "of-another-server")
    with (
        running_server("spot", repository=repository, log=tmp_path / "log") as url,
        urllib.request.urlopen(f"{url}/v1/models") as answer,
    ):
        assert answer.status == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/livez", timeout=2)
    assert "stopped" in (tmp_path / "log").read_text()


def test_what_lies_in_the_current_folder_is_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the one that was meant')")
    monkeypatch.chdir(tmp_path)
    with running_server("spot", repository=repository, log=tmp_path / "log"):
        pass


def test_it_takes_settings_of_the_server(repository: Path, tmp_path: Path) -> None:
    settings = {"LODDIS_API_KEY": "secret"}
    with running_server("spot", repository=repository, settings=settings, log=tmp_path / "log") as url:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/v1/models")
        assert refused.value.code == 401
        refused.value.close()


def test_a_server_that_cannot_start_says_why(repository: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ServerFailedError, match=r"ended with status \d+: .*nothing"),
        running_server("nothing", repository=repository, log=tmp_path / "log"),
    ):
        pytest.fail("there is no such model")
