"""Container images without a container engine: a Debian base from debootstrap, builds by buildah in a chroot."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.host import DebianMirror, PipSettings

__all__ = ["ImageConfig", "ImageStore", "root_file_system"]

BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BOOTSTRAP_TIMEOUT_S = 900.0
BUILD_TIMEOUT_S = 1200.0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how it wants to be run."""

    user: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    working_folder: str
    stop_signal: str
    health_check: tuple[str, ...]
    """As Docker writes it: `CMD` and the words of a command."""
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    labels: dict[str, str]


def root_file_system(mirror: DebianMirror, cache: Path) -> Path:
    """Give a tar file with a minimal Debian and its Python; made once for each suite.

    Args:
        mirror: Where Debian comes from.
        cache: Folder that keeps the file.

    Returns:
        The tar file.

    Raises:
        RuntimeError: debootstrap failed; the message ends in its log.
    """
    archive = cache / f"{mirror.suite}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        root, draft = Path(folder, "root"), Path(folder, "root.tar")
        options = ["--variant=minbase", f"--include={BASE_PACKAGES}", f"--components={','.join(mirror.components)}"]
        _run(["debootstrap", *options, mirror.suite, str(root), mirror.uri], timeout_s=BOOTSTRAP_TIMEOUT_S)
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / leftover)
        _run(["tar", "--create", "--file", str(draft), "--numeric-owner", "--directory", str(root), "."])
        draft.rename(archive)
    return archive


class ImageStore:
    """A store of images of its own, in one folder that can be removed as a whole."""

    def __init__(self, folder: Path) -> None:
        """Keep images under `folder`, which need not exist yet."""
        self.folder = folder
        places = (f"--root={folder}/images", f"--runroot={folder}/run")
        self._buildah = ("buildah", *places, "--storage-driver=vfs")

    def __call__(self, *arguments: str, timeout_s: float = 300.0) -> str:
        """Run buildah and give what it printed; a failure raises RuntimeError with the end of its log."""
        return _run([*self._buildah, *arguments], timeout_s=timeout_s)

    def import_base(self, archive: Path, name: str) -> None:
        """Make an image of a root file system."""
        container = self("from", "scratch").strip()
        self("add", "--quiet", container, str(archive), "/")
        self("commit", "--quiet", "--rm", container, name)

    def build(
        self, dockerfile: Path, *, context: Path, name: str, arguments: Mapping[str, str], pip: PipSettings
    ) -> str:
        """Build a Dockerfile as it is; only the configuration of pip is mounted into its RUN steps.

        Args:
            dockerfile: To build.
            context: Folder that its COPY sees.
            name: Of the image.
            arguments: Values of its ARG.
            pip: Where this machine takes Python packages from.

        Returns:
            The log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        pip_conf = self.folder / "pip.conf"
        pip_conf.write_text(pip.text)
        volumes = [f"{pip_conf}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in pip.paths)]
        # `docker` format: the OCI one has no HEALTHCHECK.
        options = ["--isolation=chroot", "--network=host", "--format=docker", f"--file={dockerfile}", f"--tag={name}"]
        options += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += [f"--volume={volume}" for volume in volumes]
        return self("bud", *options, str(context), timeout_s=BUILD_TIMEOUT_S)

    def config(self, name: str) -> ImageConfig:
        """Read how an image wants to be run."""
        config = json.loads(self("inspect", "--type", "image", name))["Docker"]["config"]
        return ImageConfig(
            user=config.get("User", ""),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            environment=dict(entry.split("=", 1) for entry in config.get("Env") or ()),
            working_folder=config.get("WorkingDir") or "/",
            stop_signal=config.get("StopSignal") or "SIGTERM",
            health_check=tuple((config.get("Healthcheck") or {}).get("Test") or ()),
            exposed_ports=tuple(config.get("ExposedPorts") or ()),
            volumes=tuple(config.get("Volumes") or ()),
            labels=config.get("Labels") or {},
        )

    def mount(self, name: str) -> Path:
        """Give the folder of a new container's root file system."""
        return Path(self("mount", self("from", "--pull-never", name).strip()).strip())

    def remove(self) -> None:
        """Remove every container and image."""
        if self.folder.exists():
            self("rm", "--all")
            shutil.rmtree(self.folder)


def _run(command: Sequence[str], *, timeout_s: float = 300.0) -> str:
    """Run a command without input; return stdout, raise RuntimeError with the end of both streams if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise RuntimeError(f"{' '.join(command)} failed with status {done.returncode}:\n{tail}")
    return done.stdout
