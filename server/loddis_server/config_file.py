"""Settings from a YAML file, as one more source of pydantic-settings; what is wrong is named with its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError

from loddis_runtime.command_names import message_of

__all__ = ["ConfigFileSource", "read_config_file"]

Place = tuple[str | int, ...]  # keys and indices from the top of the document


class ConfigFileSource(PydanticBaseSettingsSource):
    """Gives what the file says that the setting `config_file` names, if a source before this one sets it.

    Args:
        settings_cls: That are built.
        fields: Model of what a file may hold. Its checks of single settings run on the file alone, so that faults have
            a line; checks across settings are left to `settings_cls`, since the others come from elsewhere.
    """

    def __init__(self, settings_cls: type[BaseSettings], fields: type[BaseModel]) -> None:
        super().__init__(settings_cls)
        self._fields = fields

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give nothing: the file is taken as a whole."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read the file.

        Raises:
            SettingsError: It is no YAML, or has unknown or wrong settings; one line that names each with its place.
            OSError: It cannot be read.
        """
        path = self.current_state.get("config_file")
        return {} if path is None else read_config_file(Path(path), self._fields)


def read_config_file(path: Path, fields: type[BaseModel]) -> dict[str, Any]:
    """Read a file of settings and check each.

    Args:
        path: Of the file.
        fields: Model of what it may hold.

    Raises:
        SettingsError: As `ConfigFileSource`.
        OSError: As `ConfigFileSource`.
    """
    import yaml  # only who has such a file needs it

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(_not_yaml(path, error)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path} must hold settings as NAME: VALUE, got {type(document).__name__}")
    lines: dict[Place, int] = {}
    for place, line in _places(root, ()):
        if place in lines:
            raise SettingsError(f"{path}:{line}: {_shown(place)} is there twice, first in line {lines[place]}")
        lines[place] = line
    if "config_file" in document:
        raise SettingsError(f"{path}:{lines['config_file',]}: config_file cannot be set in a file")
    try:
        fields.model_validate(document)
    except ValidationError as error:
        faults = [
            f"{path}:{_line_of(fault['loc'], lines)}: {_shown(fault['loc'])}: {message_of(fault)}"
            for fault in error.errors(include_url=False, include_input=False)
            if fault["loc"]
        ]
        if faults:
            raise SettingsError("; ".join(faults)) from None
    return document


def _not_yaml(path: Path, error: Exception) -> str:
    """Say where a file is no YAML and why, without what stands there, which may be a secret."""
    import yaml

    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path} is not YAML: {error}"
    problem = error.problem or ""
    if not isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError):  # these name single characters only
        problem = problem.partition(" '")[0]
    return f"{path}:{error.problem_mark.line + 1}: is not YAML: {problem}"


def _places(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    """Go over every key and item below a node of YAML, with its line."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, str(key.value)), key.start_mark.line + 1
            yield from _places(value, (*place, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*place, index), item.start_mark.line + 1
            yield from _places(item, (*place, index))


def _line_of(place: Place, lines: dict[Place, int]) -> int:
    """Give the line of a fault: of the innermost key that stands in the file, as one that is missing has none."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), 1)


def _shown(place: Place) -> str:
    return ".".join(str(part) for part in place)
