"""Where each setting comes from: noted while the settings are built, by a last source that has seen all others.

Only the places are noted, no values: what was given may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliSettingsSource, InitSettingsSource, PydanticBaseSettingsSource

from loddis_server.config_file import ConfigFileSource

__all__ = ["DEFAULT", "NOTES", "Origin", "OriginNotes", "OriginSource", "Place", "SettingPath", "flat", "origin_of"]

Place = Literal["flag", "environment", "file", "argument", "default"]
SettingPath: TypeAlias = tuple[str, ...]  # of a setting: the names of its groups and its own

NOTES = "\0origins"  # the key by which notes go from the source to the settings; no setting can have the name
PLACES: Mapping[str, Place] = {
    CliSettingsSource.__name__: "flag",
    InitSettingsSource.__name__: "argument",
    ConfigFileSource.__name__: "file",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting comes from.

    Attributes:
        place: `argument` is of Python code that builds the settings itself.
        name: Of the variable, or of the file as it was given; None for the others.
    """

    place: Place
    name: str | None = None


DEFAULT = Origin("default")
OriginNotes: TypeAlias = tuple[Mapping[SettingPath, Origin], ...]  # what each source gave, the one that wins first


class OriginSource(PydanticBaseSettingsSource):
    """The last source of settings: gives none, but notes what those before it gave.

    Args:
        settings_cls: That are built.
        env_prefix: Of variables.
    """

    def __init__(self, settings_cls: type[BaseSettings], *, env_prefix: str) -> None:
        super().__init__(settings_cls)
        self._env_prefix = env_prefix

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give nothing: the notes are no setting."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give the notes, for `ServerSettings` to take out again."""
        sources = self.settings_sources_data.items()
        return {NOTES: tuple(self._noted(PLACES.get(name, "environment"), given) for name, given in sources)}

    def _noted(self, place: Place, given: dict[str, Any]) -> dict[SettingPath, Origin]:
        return {path: Origin(place, self._name(place, path)) for path in flat(given)}

    def _name(self, place: Place, path: SettingPath) -> str | None:
        if place == "file":
            return str(self.current_state.get("config_file"))
        return self._variable(path) if place == "environment" else None

    def _variable(self, path: SettingPath) -> str:
        """Give the variable that sets a setting: its own, else that of a group it is in, which is JSON."""
        there = {name.upper(): name for name, value in os.environ.items() if value}
        names = [f"{self._env_prefix}{'__'.join(path[:end])}".upper() for end in range(len(path), 0, -1)]
        return next((there[name] for name in names if name in there), names[0])


def origin_of(path: SettingPath, notes: OriginNotes) -> Origin:
    """Find where a setting comes from: the first source that gave it, or a group it is in, as a whole."""
    for given in notes:
        for end in range(len(path), 0, -1):
            if path[:end] in given:
                return given[path[:end]]
    return DEFAULT


def flat(values: Mapping[str, Any], above: SettingPath = ()) -> dict[SettingPath, Any]:
    """Give settings by their paths, those in groups too."""
    found: dict[SettingPath, Any] = {}
    for name, value in values.items():
        found |= flat(value, (*above, name)) if isinstance(value, Mapping) else {(*above, name): value}
    return found
