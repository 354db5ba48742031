"""What this machine uses to fetch packages, handed on to an image build: its Debian mirror, its pip configuration.

A build inside a chroot sees neither. Nothing here names a host: all comes from apt's and pip's own answers.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["DebianMirror", "PipSettings", "debian_mirror", "parse_index_targets", "parse_pip_settings", "pip_settings"]

# Options of pip that say where packages come from; the rest of a configuration is nobody else's business.
PIP_OPTIONS = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "proxy",
    "cert",
    "client-cert",
    "default-timeout",
    "timeout",
)
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class DebianMirror:
    """Where the release of this machine comes from."""

    suite: str
    """Codename of the release."""
    uri: str
    """Root of the archive."""
    components: tuple[str, ...]
    """Parts of the archive that this machine uses."""


def debian_mirror() -> DebianMirror:
    """Ask apt for the mirror of the running release.

    Raises:
        LookupError: apt knows no source for the release, or this is no system with apt.
    """
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line.strip("# ")
    )
    suite = release.get("VERSION_CODENAME", "").strip('"')
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LookupError(f"apt-get does not say where packages come from: {error}") from error
    return parse_index_targets(answer, suite=suite)


def parse_index_targets(answer: str, *, suite: str) -> DebianMirror:
    """Pick the mirror of `suite` from lines of release, URI and component."""
    rows = [line.split() for line in answer.splitlines()]
    matching = [row for row in rows if len(row) == 3 and row[0] == suite]
    if not matching:
        raise LookupError(f"apt knows no source of the release {suite!r}, only of {sorted({row[0] for row in rows})}")
    uri = matching[0][1]
    return DebianMirror(suite=suite, uri=uri, components=tuple(sorted({row[2] for row in matching if row[1] == uri})))


@dataclass(frozen=True, slots=True)
class PipSettings:
    """Where pip takes packages from, fit for another root file system."""

    text: str
    """Content of a pip.conf."""
    paths: tuple[Path, ...]
    """Files and folders of this machine that the text names; they must be there too, under the same path."""


def pip_settings() -> PipSettings:
    """Ask pip for its configuration, environment included; certificates of the environment count as `cert`."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    certificates = next((os.environ[name] for name in CERTIFICATE_VARIABLES if os.environ.get(name)), None)
    return parse_pip_settings(answer, certificates=certificates)


def parse_pip_settings(answer: str, *, certificates: str | None = None) -> PipSettings:
    """Turn `section.option='value'` lines into a pip.conf; what stands in the environment wins, as in pip."""
    values: dict[str, str] = {} if certificates is None else {"cert": certificates}
    # Environment lines are named `:env:.option`; sort them behind those of the files.
    for line in sorted(answer.splitlines(), key=lambda line: line.startswith(":env:")):
        name, separator, quoted = line.partition("=")
        section, _, option = name.rpartition(".")
        if separator and section in {"global", "install", ":env:"} and option in PIP_OPTIONS:
            values[option] = " ".join(shlex.split(quoted))
    words = [word for value in values.values() for word in value.split()]
    # The pages of a local index link to files beside it, so its parent folder counts.
    paths = {Path(urlsplit(word).path).parent if word.startswith("file:") else Path(word) for word in words}
    return PipSettings(
        text="[global]\n" + "".join(f"{option} = {value}\n" for option, value in values.items()),
        paths=tuple(sorted(path for path in paths if path.is_absolute() and path.exists())),
    )
