"""The folder of a new bundle: what the bundle is called after it, its manifest, and that it is whole or not there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from loddis_export.errors import ExportError
from loddis_runtime.bundle import sha256_file
from loddis_runtime.manifest import MANIFEST_NAME, Manifest

__all__ = ["check_is_new", "name_and_version", "new_bundle", "not_describable", "save_manifest"]


def check_is_new(out: Path) -> None:
    """Refuse a folder that exists.

    Raises:
        ExportError: It does.
    """
    if out.exists():
        raise ExportError(f"{out} exists already; a bundle is never overwritten: choose another version")


def name_and_version(out: Path) -> tuple[str, str]:
    """Read name and version off a folder, `REPO/NAME/VERSION`, also where a part of that is the current folder.

    A link keeps its own name: a repository finds the model by that.
    """
    whole = out.resolve() if ".." in out.parts else out.absolute()
    return whole.parent.name, whole.name


@contextlib.contextmanager
def new_bundle(out: Path) -> Iterator[Path]:
    """Give a folder to make a bundle in, which is `out` in the end; where anything fails, nothing is left behind."""
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".building", dir=out.parent))
    building.chmod(0o755)
    try:
        yield building
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # someone else put something there
                folder.rmdir()
        raise


def not_describable(error: ValidationError) -> ExportError:
    """Say what of a manifest does not suit, most often name or version."""
    faults = [f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_url=False)]
    return ExportError(f"the bundle cannot be described: {'; '.join(faults)}")


def save_manifest(manifest: Manifest, folder: Path, names: Iterable[str]) -> Manifest:
    """Write the manifest of these files, and give it."""
    complete = manifest.model_copy(update={"files": {name: sha256_file(folder / name) for name in names}})
    complete.save(folder / MANIFEST_NAME)
    return complete
