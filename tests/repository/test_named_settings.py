"""What the documentation calls a flag, a variable or a key of a settings file is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from loddis_export.cli import Export
from loddis_export.settings import Credit
from loddis_runtime.command import Command, SubCommand
from loddis_server.cli import Server
from loddis_server.doctor import OTHER_VARIABLES
from loddis_server.settings import ENV_PREFIX, ServerFields, ServerSettings
from loddis_trainer.cli import Trainer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docker" / "README.md", *(ROOT / "docs").glob("*.md")]
)
SOURCES = sorted((ROOT / "server" / "loddis_server").rglob("*.py"))  # docstrings, and what is said to people
COMMANDS: dict[str, type[Command]] = {"loddis-server": Server, "loddis-trainer": Trainer, "loddis-export": Export}
VARIABLE = re.compile(rf"{ENV_PREFIX}[A-Z0-9]+(?:_+[A-Z0-9]+)*")
DOTTED_FLAG = re.compile(r"--[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+")
FENCED = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([a-z_]+: \{[^`]*\})`")


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Give the models that a value or its items may be of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def setting_paths(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Go over all settings and groups, those of items of lists too; sub-commands lead on, and have no name there."""
    for name, field in model.model_fields.items():
        within = models_in(field.annotation)
        is_command = any(issubclass(one, SubCommand) for one in within)
        path = above if is_command else (*above, field.alias or str(field.validation_alias or name))
        yield path
        for one in within:
            yield from setting_paths(one, path)


def flags(model: type[BaseModel]) -> set[str]:
    return {"--help", "--version"} | {f"--{'.'.join(path).replace('_', '-')}" for path in setting_paths(model)}


def code_lines(text: str) -> Iterator[str]:
    """Go over the lines of indented code, those that go on in the next one as one."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.startswith("    "):
            yield line.split("  #")[0].strip()


def unknown_keys(document: Any, models: list[type[BaseModel]], above: str = "") -> list[str]:
    """Give the keys of a document that are no settings."""
    if isinstance(document, list):
        return [key for item in document for key in unknown_keys(item, models, above)]
    if not isinstance(document, dict) or not models:
        return []
    unknown = []
    for name, value in document.items():
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        within = [model for field in fields for model in models_in(field.annotation)]
        unknown += unknown_keys(value, within, f"{above}{name}.") if fields else [f"{above}{name}"]
    return unknown


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_and_flags_of_groups_are_settings(page: Path) -> None:
    known_flags = {flag for command in COMMANDS.values() for flag in flags(command)}
    variables = {f"{ENV_PREFIX}{'__'.join(path)}".upper() for path in setting_paths(ServerSettings)}
    text = page.read_text()
    named = {name for name in VARIABLE.findall(text) if "__" in name}
    assert named <= variables
    assert set(DOTTED_FLAG.findall(text)) <= known_flags


def test_other_variables_are_settings_or_somebody_reads_them() -> None:
    readers = [path for folder in ("docker", "tests") for path in (ROOT / folder).rglob("*") if path.is_file()]
    read = {
        name for path in readers if path.suffix != ".md" for name in VARIABLE.findall(path.read_text(errors="replace"))
    }
    settings = {f"{ENV_PREFIX}{name}".upper() for name in ServerSettings.model_fields}
    for page in PAGES:
        named = {name for name in VARIABLE.findall(page.read_text()) if "__" not in name}
        assert named <= settings | OTHER_VARIABLES | read, page


def test_commands_that_are_shown_have_their_flags() -> None:
    shown = 0
    for page in PAGES:
        for line in code_lines(page.read_text()):
            words = shlex.split(line, comments=False) if "loddis-" in line else []
            if not words or words[0] not in COMMANDS:
                continue
            given = {word.split("=")[0] for word in words if word.startswith("--")}
            assert given <= flags(COMMANDS[words[0]]), f"{page}: {line}"
            shown += 1
    assert shown > 10


def test_keys_of_settings_files_are_settings() -> None:
    seen = set()
    for page in PAGES:
        text = page.read_text()
        files = [yaml.safe_load(block) for block in FENCED.findall(text)]
        excerpts = [yaml.safe_load(span) for span in INLINE.findall(text)]
        for document in [
            *(file for file in files if "services" not in file),  # that is a compose file
            *(excerpt for excerpt in excerpts if excerpt.keys() <= ServerFields.model_fields.keys()),  # else of a group
        ]:
            assert unknown_keys(document, [ServerFields]) == [], page
            seen |= document.keys()
    assert {"api_keys", "streams", "events"} <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_credits_are_written_as_the_export_takes_them(page: Path) -> None:
    for line in code_lines(page.read_text()):
        if line.startswith("loddis-export bundle"):
            words = shlex.split(line)
            for flag, value in pairwise(words):
                assert flag != "--credit" or Credit.model_validate(value).source
