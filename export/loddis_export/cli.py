"""The command `loddis-export`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import NoReturn

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from rich.console import Console
from rich.table import Table

from loddis_export.engine import EngineSettings, WrittenEngine, build_engines
from loddis_export.settings import CANDIDATES_MEAN, Candidates, ExportSettings, ScenesSettings
from loddis_runtime.command import CliPositionalArg, CliSubCommand, Command, SubCommand, run
from loddis_runtime.manifest import MANIFEST_NAME
from loddis_trainer.choices import CANDIDATES

__all__ = ["main"]


class Bundle(ExportSettings, SubCommand):
    """Make a bundle of a checkpoint: strip, convert to ONNX, prove parity, measure, describe.

    For example: loddis-export bundle runs/sky/best models/my-model/1 --data-root data --evaluate sky:test
    """

    checkpoint: CliPositionalArg[Path] = Field(description="Folder of the checkpoint: best/ or last/ of a run.")
    out: CliPositionalArg[Path] = Field(description="Folder of the bundle, REPO/NAME/VERSION; must not exist.")
    as_json: bool = Field(default=False, alias="json", description="Print the result as JSON.")

    def cli_cmd(self) -> None:
        """Export."""
        from loddis_export.bundle import export_bundle  # torch takes seconds to import; --help does not wait for it

        settings = ExportSettings.model_validate(self.model_dump(exclude={"checkpoint", "out", "as_json"}))
        bundle = export_bundle(self.checkpoint, self.out, settings, progress=not self.as_json)
        if self.as_json:
            document = {
                "path": str(bundle.path),
                "parity": bundle.parity.model_dump(mode="json"),
                "score_threshold": bundle.manifest.score_threshold,
                "metrics": {name: m.to_dict() for name, m in bundle.metrics.items()},
            }
            print(json.dumps(document))
            return
        console = _console()
        for name, m in bundle.metrics.items():
            console.print(m.table(title=name))
        console.print(f"parity on {bundle.parity.frames} frames of {bundle.parity.domain}:")
        for p in bundle.parity.precisions:
            console.print(
                f"  {p.precision}: boxes within {p.max_abs_box_px:.2g} px, scores within {p.max_abs_score:.2g}, mAP50"
                f" {p.map50_reference:.4f} → {p.map50_exported:.4f}, Pd {p.pd_reference:.4f} → {p.pd_exported:.4f}"
            )
            if p.float_layers:
                console.print(f"    in float: {', '.join(p.float_layers)}")
            if p.faults:
                console.print(f"    not written: {'; '.join(p.faults)}")
        console.print(f"bundle {bundle.manifest.name}:{bundle.manifest.version} in {bundle.path}")


class Engine(EngineSettings, SubCommand):
    """Build TensorRT engines of a bundle into its folder engines/, each with a passport of what it is and runs on.

    For example: loddis-export engine models/my-model/1 --target sm_86 --target sm_89 --batch 1 --batch 4
    """

    bundle: CliPositionalArg[Path] = Field(description="Folder of the bundle.")
    as_json: bool = Field(default=False, alias="json", description="Print the passports as JSON.")

    def cli_cmd(self) -> None:
        """Build."""
        settings = EngineSettings.model_validate(self.model_dump(exclude={"bundle", "as_json"}))
        written = build_engines(self.bundle, settings)
        if self.as_json:
            documents = [
                {"path": str(engine.path), "passport": engine.passport.model_dump(mode="json")} for engine in written
            ]
            print(json.dumps(documents))
        else:
            console = _console()
            console.print(_engine_table(written))
            console.print(f"in {written[0].path.parent}", soft_wrap=True)


def _engine_table(written: list[WrittenEngine]) -> Table:
    """Lay out what was built, an engine a row."""
    table = Table("GPU", "precision", "convolutions", "frames at once", "engine", box=None, pad_edge=False)
    table.columns[-1].overflow = "fold"
    for path, passport in written:
        counts = ", ".join(f"{count} {precision}" for precision, count in passport.convolutions.items())
        source = (
            f"{passport.precision} from {passport.graph.split('.')[1]}" if passport.converted else passport.precision
        )
        sizes = ", ".join(map(str, passport.batch_sizes))
        table.add_row(passport.compute_capability, source, counts, sizes, path.with_suffix("").name)
    return table


class Scenes(ScenesSettings, SubCommand):
    """Measure what the scenes of the training domains are like, and add it to the manifest of a bundle.

    A server then tells when a camera sees what the model was not trained on. The files of the bundle stay as they are.

    For example: loddis-export scenes models/my-model/1 --domain sky --domain ground --data-root data
    """

    bundle: CliPositionalArg[Path] = Field(description="Folder of the bundle.")
    as_json: bool = Field(default=False, alias="json", description="Print the statistics as JSON.")

    def cli_cmd(self) -> None:
        """Measure."""
        from loddis_export.scenes import add_scenes  # as above

        settings = ScenesSettings.model_validate(self.model_dump(exclude={"bundle", "as_json"}))
        scenes = add_scenes(self.bundle, settings, progress=not self.as_json)
        if self.as_json:
            print(scenes.model_dump_json())
            return
        table = Table("domain", "frames", "sequences", "distance of half", "of 9 in 10", box=None, pad_edge=False)
        for domain in scenes.domains:
            median, most = domain.null_quantiles[10], domain.null_quantiles[-1]
            table.add_row(domain.name, str(domain.frames), str(domain.sequences), f"{median:.2f}", f"{most:.2f}")
        console = _console()
        console.print(table)
        console.print(f"in {self.bundle / MANIFEST_NAME}", soft_wrap=True)


class OtherCandidates(SubCommand):
    """Make another version of a bundle that gives more candidates a frame, or fewer: for crowds. Weights stay the same.

    For example: loddis-export candidates models/my-model/1 models/my-model/2 --count 500
    """

    bundle: CliPositionalArg[Path] = Field(description="Folder of the bundle.")
    out: CliPositionalArg[Path] = Field(description="Folder of the new one, REPO/NAME/VERSION; must not exist.")
    count: Candidates = Field(default=CANDIDATES, description=CANDIDATES_MEAN)
    as_json: bool = Field(default=False, alias="json", description="Print the result as JSON.")

    def cli_cmd(self) -> None:
        """Make it."""
        from loddis_export.candidates import change_candidates  # as above

        manifest = change_candidates(self.bundle, self.out, self.count)
        if self.as_json:
            print(json.dumps({"path": str(self.out), "candidates": manifest.max_detections}))
            return
        _console().print(
            f"bundle {manifest.name}:{manifest.version} of {manifest.max_detections} candidates a frame in {self.out}",
            soft_wrap=True,
        )


class Export(Command):
    """Turn checkpoints into bundles that the runtime and the server run, and bundles into engines for a GPU."""

    model_config = SettingsConfigDict(cli_prog_name="loddis-export")
    extra = "export"

    bundle: CliSubCommand[Bundle] = Field(description="Make a bundle of a checkpoint.")
    engine: CliSubCommand[Engine] = Field(description="Build TensorRT engines of a bundle.")
    candidates: CliSubCommand[OtherCandidates] = Field(description="Make a bundle of another that is more for crowds.")
    scenes: CliSubCommand[Scenes] = Field(description="Add what training scenes are like to a bundle's manifest.")


def _console() -> Console:
    """Give where to print: names of domains, classes and folders are no markup."""
    return Console(markup=False, emoji=False)


def main() -> NoReturn:
    """Run the command; exit status 0 done, 1 failed, 2 used wrongly."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(Export))
