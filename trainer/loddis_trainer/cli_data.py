"""The commands `loddis-trainer data …`: bring annotated sets into the form that the trainer reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from rich.console import Console
from rich.markup import escape

from loddis_runtime.command import CliPositionalArg, CliSubCommand, SubCommand
from loddis_trainer.cli_inspect import Inspect

__all__ = ["Data", "Import", "List"]

FormatName = Literal["auto", "coco", "voc", "yolo", "masks", "uestc", "centroids", "drone-csv"]


class Import(SubCommand):
    """Turn an annotated set into a domain folder that `fit` and `evaluate` read.

    For example: loddis-trainer data import NUDT-SIRST data/nudt --train-list img_idx/train_NUDT-SIRST.txt
    --test-list img_idx/test_NUDT-SIRST.txt --val-from-train 0.1
    """

    source: CliPositionalArg[Path] = Field(description="Folder of the set.")
    out: CliPositionalArg[Path] = Field(description="Folder of the domain; must not exist.")
    format: FormatName = Field(default="auto", description="Of the set; auto recognises it, or says what it saw.")
    split: list[str] = Field(
        default=[], description="Shares by whole sequences, as train=0.7,val=0.1,test=0.2; wins over the source's word."
    )
    train_list: Path | None = Field(
        default=None, description="File that lists train: names, or the labels themselves (coco, uestc)."
    )
    val_list: Path | None = Field(default=None, description="File that lists val.")
    test_list: Path | None = Field(default=None, description="File that lists test.")
    val_from_train: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of train's sequences that becomes val, for sets that come without one."
    )
    seed: int = Field(default=0, ge=0, description="Of the shares.")
    sequence_from: str | None = Field(
        default=None, description="Regular expression on an image's path; its groups name the sequence."
    )
    stills: bool = Field(default=False, description="Let every image stand alone, whatever its folder.")
    stretch: int | None = Field(
        default=None, ge=2, description="Cut longer sequences into stretches of at most so many frames, each its own."
    )
    gap: int = Field(default=0, ge=0, description="Frames that are left out behind each cut of --stretch.")
    category: list[str] = Field(default=[], description="NAME=NEW renames a category; repeats.")
    only: list[str] = Field(default=[], description="Category to keep, by its old name; repeats.")
    class_names: list[str] = Field(default=[], description="Names of class ids from 0 on (yolo, uestc).")
    mask_folder: str | None = Field(default=None, description="Name of the folders of masks; usual names by default.")
    mask_suffix: str | None = Field(default=None, description="Behind an image's name in its mask's, such as _pixels0.")
    min_pixels: int = Field(default=1, ge=1, description="Smallest component of a mask that counts, pixels.")
    box_px: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Side of boxes around centroids, pixels."
    )
    centroid_offset_px: float = Field(
        default=0.5,
        allow_inf_nan=False,
        description="Added to centroids: 0.5 if they name a pixel, 0 if they count from its corner.",
    )
    voc_one_based: bool = Field(default=False, description="Corners as Pascal counts them: from 1, the last included.")
    link: bool = Field(default=False, description="Link to images and videos instead of copying them.")
    as_json: bool = Field(default=False, alias="json", description="Print the result as JSON.")

    @field_validator("split")
    @classmethod
    def _shares(cls, value: list[str]) -> list[str]:
        shares = dict(_pair(text, "a share is written SPLIT=NUMBER") for text in value)
        if len(shares) < len(value):
            raise ValueError(f"a split is given twice: {','.join(value)}")
        for split, share in shares.items():
            if split not in ("train", "val", "test") or not 0 < _number(share) <= 1:
                raise ValueError(f"a share is train, val or test and a number in (0, 1], got '{split}={share}'")
        if sum(map(_number, shares.values())) > 1 + 1e-9:
            raise ValueError(f"shares must not be more than 1 together, got {','.join(value)}")
        return value

    @field_validator("category")
    @classmethod
    def _renames(cls, value: list[str]) -> list[str]:
        for text in value:
            _pair(text, "a category is renamed as NAME=NEW")
        return value

    @field_validator("sequence_from")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"'{value}' is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _one_way_to_sequences(self) -> Import:
        if self.stills and self.sequence_from is not None:
            raise ValueError("--stills and --sequence-from both say what a sequence is: give one of them")
        if self.stills and self.stretch is not None:
            raise ValueError("--stretch cuts sequences, and --stills leaves none: give one of them")
        if self.gap and self.stretch is None:
            raise ValueError("--gap is of the cuts that --stretch makes: give both")
        return self

    def cli_cmd(self) -> None:
        """Import."""
        from loddis_trainer.data.importers import ReadOptions
        from loddis_trainer.data.importers.importing import ImportSettings, import_domain

        lists = {"train": self.train_list, "val": self.val_list, "test": self.test_list}
        options = ReadOptions(
            lists={split: _beside(self.source, path) for split, path in lists.items() if path is not None},
            class_names=self.class_names,
            mask_folder=self.mask_folder,
            mask_suffix=self.mask_suffix,
            min_pixels=self.min_pixels,
            box_px=self.box_px,
            centroid_offset_px=self.centroid_offset_px,
            voc_one_based=self.voc_one_based,
            progress=not self.as_json,
        )
        settings = ImportSettings(
            format=self.format,
            shares={split: _number(share) for split, share in (_pair(text, "") for text in self.split)},
            val_from_train=self.val_from_train,
            seed=self.seed,
            sequence_from=None if self.sequence_from is None else re.compile(self.sequence_from),
            stills=self.stills,
            stretch=self.stretch,
            gap=self.gap,
            rename=dict(_pair(text, "") for text in self.category),
            only=self.only,
            link=self.link,
        )
        report = import_domain(self.source, self.out, settings, options)
        if self.as_json:
            print(json.dumps(report.to_dict(), indent=2))
            return
        console, complaints = Console(emoji=False), Console(stderr=True, emoji=False)
        if report.recognised_by is not None:
            console.print(escape(f"recognised as {report.format}: {report.recognised_by}"), soft_wrap=True)
        for warning in report.warnings:
            complaints.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
        console.print(report.table())


class List(SubCommand):
    """Name the public sets of the field: what they are, where to get them, and how to import them."""

    as_json: bool = Field(default=False, alias="json", description="Print as JSON.")

    def cli_cmd(self) -> None:
        """List."""
        from loddis_trainer.public_sets import read_public_sets

        sets = read_public_sets()
        if self.as_json:
            print(json.dumps([each.model_dump() for each in sets], indent=2, ensure_ascii=False))
            return
        console = Console(highlight=False)
        for each in sets:
            console.print(f"[bold]{escape(each.name)}[/]  {escape(each.what)}", soft_wrap=True)
            for label in ("size", "where", "licence", "note", "command"):
                if text := getattr(each, label):
                    console.print(f"  {label:<8} {escape(text)}", soft_wrap=True)
            console.print()


class Data(SubCommand):
    """Bring annotated sets into the form that the trainer reads, and look at them."""

    import_: CliSubCommand[Import] = Field(alias="import", description="Turn an annotated set into a domain folder.")
    inspect: CliSubCommand[Inspect] = Field(description="Tell what one should know about a domain before training.")
    list_: CliSubCommand[List] = Field(alias="list", description="Name the public sets, and how to import them.")


def _pair(text: str, form: str) -> tuple[str, str]:
    """Take NAME=VALUE apart."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"{form}, got '{text}'")
    return name.strip(), value.strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"a share is a number, got '{text}'") from None


def _beside(source: Path, path: Path) -> Path:
    """Give a list that is named from here, or from the source."""
    return path if path.exists() or path.is_absolute() else source / path
