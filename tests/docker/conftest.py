"""The server image, built once for all tests of this folder, without a container engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from support.bundles import write_spot_bundle
from support.host import DebianMirror, debian_mirror, pip_settings
from support.images import ImageConfig, ImageStore, root_file_system
from support.sandbox import NAMESPACES

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "ip", "curl", "tar")
BASE, SERVER = "localhost/loddis-test-base", "localhost/loddis-test-server"


@pytest.fixture(scope="session")
def mirror() -> DebianMirror:
    """Give the Debian mirror of a machine that can build; others skip, or fail if LODDIS_REQUIRE_DOCKER is set."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        _cannot(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        _cannot("debootstrap and chroot need root")
    isolated = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], check=False, capture_output=True, text=True)
    if isolated.returncode:
        _cannot(f"no namespaces of one's own here: {isolated.stderr.strip()}")
    try:
        return debian_mirror()
    except LookupError as error:
        _cannot(str(error))


@pytest.fixture(scope="session")
def images(mirror: DebianMirror) -> Iterator[ImageStore]:
    """Give a store with the base image and the server image; both go when the session ends."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "loddis-docker"
    folder = Path(tempfile.mkdtemp(prefix="loddis-images-", dir="/var/tmp"))
    store = ImageStore(folder)
    try:
        store.import_base(root_file_system(mirror, cache), BASE)
        store.build(
            ROOT / "docker" / "Dockerfile.server",
            context=ROOT,
            name=SERVER,
            arguments={"BASE_IMAGE": BASE},
            pip=pip_settings(),
        )
        yield store
    finally:
        store.remove()


@pytest.fixture(scope="session")
def image_config(images: ImageStore) -> ImageConfig:
    """Give what the server image says about how it wants to be run."""
    return images.config(SERVER)


@pytest.fixture(scope="session")
def image_root(images: ImageStore) -> Path:
    """Give the root file system of the server image; containers only read it."""
    return images.mount(SERVER)


@pytest.fixture(scope="session")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model repository with the bundle `spot`, readable by any user, as one mounts at /models."""
    root = tmp_path_factory.mktemp("own-models")
    write_spot_bundle(root, size_hw=(256, 320))
    for folder in (root, *root.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return root


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("LODDIS_REQUIRE_DOCKER"):
        pytest.fail(f"cannot build the image: {reason}")
    pytest.skip(f"cannot build the image: {reason}")
