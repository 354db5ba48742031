"""The command `loddis-trainer data inspect`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import Field
from rich.console import Console

from loddis_runtime.command import CliPositionalArg, SubCommand

__all__ = ["Inspect"]


class Inspect(SubCommand):
    """Look at a domain before training on it: counts, sizes, motion, leaks between splits, label faults.

    For example: loddis-trainer data inspect sky --data-root data --out runs/sky-inspected
    """

    domain: CliPositionalArg[str] = Field(description="Folder of the domain, or its name under the data root.")
    data_root: Path | None = Field(default=None, description="Folder of the domains; LODDIS_DATA by default.")
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    frames: int = Field(default=2000, ge=1, description="Frames of each split whose targets are measured, at most.")
    out: Path | None = Field(default=None, description="Folder for inspect.json and contact-sheet.png.")
    strict: bool = Field(default=False, description="End with status 1 if there is a fault.")
    as_json: bool = Field(default=False, alias="json", description="Print everything as JSON.")

    def cli_cmd(self) -> None:
        """Inspect."""
        # torch comes with these; --help does not wait for it
        from loddis_trainer.data.errors import DataError
        from loddis_trainer.data.inspection import inspect_domain
        from loddis_trainer.data.inspection.tables import print_inspection

        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise DataError(f"--out must be a folder, got the file {self.out}")
        found = inspect_domain(
            self.domain,
            data_root=self.data_root,
            cache_dir=self.cache_dir,
            frames=self.frames,
            progress=not self.as_json,
        )
        inspection = found.inspection
        if self.out is not None:
            import cv2

            from loddis_trainer.data.inspection.contact_sheet import contact_sheet

            self.out.mkdir(parents=True, exist_ok=True)
            _write(self.out / "inspect.json", (inspection.to_json() + "\n").encode())
            _write(self.out / "contact-sheet.png", cv2.imencode(".png", contact_sheet(found))[1].tobytes())
        if self.as_json:
            print(inspection.to_json())
        else:
            print_inspection(inspection, Console(emoji=False))
        if self.strict and inspection.count("fault"):
            raise SystemExit(1)


def _write(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it into it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        beside.chmod(0o644)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
