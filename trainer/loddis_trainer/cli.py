"""The command `loddis-trainer`."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict
from rich.console import Console

from loddis_runtime.command import CliPositionalArg, CliSubCommand, Command, SubCommand, run
from loddis_trainer.cli_data import Data
from loddis_trainer.cli_report import Report
from loddis_trainer.config import FitConfig
from loddis_trainer.domain_spec import SplitName
from loddis_trainer.errors import TrainingError
from loddis_trainer.presets import merge, read_preset

__all__ = ["main"]


class Fit(FitConfig, SubCommand):
    """Train a detector on a mixture of task and auxiliary domains.

    For example: loddis-trainer fit --preset edge --data-root data --task sky:0.3 --auxiliary ground:0.7 --out runs/sky
    """

    preset: str | None = Field(
        default=None, description="paper, quick or edge, or a YAML file of these fields; flags win over it."
    )
    as_json: bool = Field(default=False, alias="json", description="Print the result as JSON.")

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("preset"):
            return given
        preset = read_preset(str(given["preset"]))
        unknown = [name for name in preset if name not in FitConfig.model_fields]
        if unknown:
            raise ValueError(f"{given['preset']} has fields that a training does not: {', '.join(unknown)}")
        if "share_per_epoch" in given and "steps_per_epoch" not in given:
            preset.pop("steps_per_epoch", None)  # they say the same in two ways; what was given wins
        return merge(preset, given)

    def cli_cmd(self) -> None:
        """Train."""
        from loddis_trainer.fit import fit  # torch takes seconds to import; --help does not wait for it

        config = FitConfig.model_validate(self.model_dump(exclude={"as_json", "preset"}))
        result = fit(config, progress=not self.as_json)
        if result.rank > 0:
            return
        if self.as_json:
            print(
                json.dumps(
                    {
                        "out": str(result.out),
                        "epochs": result.epochs,
                        "steps": result.steps,
                        "best_map50": result.best_map50 if math.isfinite(result.best_map50) else None,
                        "seconds": round(result.seconds, 1),
                    }
                )
            )
            return
        best = "no validation yet"
        if math.isfinite(result.best_map50):
            best = f"best validation mAP50 {100 * result.best_map50:.1f} %: {result.out / 'best'}"
        done = f"{result.epochs} epochs, {result.steps} steps in {result.seconds:.0f} s"
        Console().print(f"{done}; {best}", soft_wrap=True, markup=False, emoji=False)


class Evaluate(SubCommand):
    """Measure a checkpoint or a bundle on splits of domains.

    For example: loddis-trainer evaluate runs/sky/best --data-root data --on sky:test --on city:test
    """

    model: CliPositionalArg[str] = Field(description="Checkpoint folder, bundle folder, or name of a shipped bundle.")
    on: list[SplitName] = Field(description="DOMAIN:SPLIT to measure on; repeats.", min_length=1)
    data_root: Path | None = Field(default=None, description="Folder of the domains; LODDIS_DATA by default.")
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    score_threshold: float | None = Field(
        default=None, ge=0, le=1, description="Operating point of Pr, Re, F1; the model's own by default."
    )
    centre_distance_px: float = Field(
        default=3.0, gt=0, description="Within which a detection counts for Pd, frame pixels."
    )
    out: Path | None = Field(default=None, description="File for the metrics, JSON.")
    as_json: bool = Field(default=False, alias="json", description="Print the metrics as JSON.")

    def cli_cmd(self) -> None:
        """Measure."""
        from loddis_trainer.evaluate import evaluate_model
        from loddis_trainer.exhaustion import names_the_file

        if self.out is not None and (self.out.is_dir() or not self.out.parent.is_dir()):
            raise TrainingError(f"--out must be a file in a folder that exists, got {self.out}")
        metrics = evaluate_model(
            self.model,
            self.on,
            data_root=self.data_root,
            cache_dir=self.cache_dir,
            score_threshold=self.score_threshold,
            centre_distance_px=self.centre_distance_px,
            progress=not self.as_json,
        )
        document = json.dumps({name: m.to_dict() for name, m in metrics.items()}, indent=2)
        if self.out is not None:
            with names_the_file(self.out):
                self.out.write_text(document + "\n")
        if self.as_json:
            print(document)
            return
        console = Console()
        for name, m in metrics.items():
            console.print(m.table(title=name))


class Average(SubCommand):
    """Make one checkpoint of several that went on from the same weights: the mean of theirs, often better than each.

    For example: loddis-trainer average runs/a/best runs/a/last runs/b/last --out runs/mean/best
    """

    checkpoints: CliPositionalArg[list[Path]] = Field(description="Folders of checkpoints, two or more.")
    out: Path = Field(description="Folder of the mean; must not exist.")
    as_json: bool = Field(default=False, alias="json", description="Print the result as JSON.")

    def cli_cmd(self) -> None:
        """Average."""
        from loddis_trainer.averaging import average_checkpoints

        info = average_checkpoints(self.checkpoints, self.out)
        if self.as_json:
            print(json.dumps({"out": str(self.out), "averaged": info.averaged}))
            return
        text = f"the mean of {len(info.averaged)} checkpoints: {self.out}"
        Console().print(text, soft_wrap=True, markup=False, emoji=False)


class Trainer(Command):
    """Train detectors of moving small infrared targets with auxiliary domains, and measure them."""

    model_config = SettingsConfigDict(cli_prog_name="loddis-trainer")
    extra = "train"

    fit: CliSubCommand[Fit] = Field(description="Train a detector on a mixture of domains.")
    evaluate: CliSubCommand[Evaluate] = Field(description="Measure a checkpoint or a bundle.")
    average: CliSubCommand[Average] = Field(description="Make one checkpoint of several.")
    data: CliSubCommand[Data] = Field(description="Bring annotated sets into the form that the trainer reads.")
    report: CliSubCommand[Report] = Field(description="Write an HTML page about one or several runs.")


def main() -> NoReturn:
    """Run the command; exit status 0 done, 1 failed, 2 used wrongly."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(Trainer))
