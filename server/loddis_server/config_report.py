"""The settings in effect, for people and for programs: each with where it comes from, and without secrets."""

from __future__ import annotations

import re
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loddis_server.config_origins import DEFAULT, Origin, flat, origin_of
from loddis_server.settings import ENV_PREFIX, ServerSettings

__all__ = ["print_settings", "settings_json"]

UNFOLDED = 10_000  # characters; a table is as wide as what is in it
HIDDEN = "**********"  # as pydantic hides
# User, password, query and fragment: whoever sees the address can do what they allow. An address may be no proper URL:
# up to the last @ all may be a password, and where ? or # stand before that, what follows it may be a query.
URL_SECRETS = re.compile(r"(?<=://).*[?#].*@.*|(?<=://).+(?=@)|(?<=[?#]).+", re.DOTALL)


def settings_json(settings: ServerSettings, *, with_origins: bool) -> bytes:
    """Write the settings for programs.

    Args:
        settings: To write.
        with_origins: Give a document of `settings`, which are what is otherwise written alone, and `origins`.
    """
    document: dict[str, Any] = _values(settings)
    if with_origins:
        origins = {path: origin_of(path, settings.origin_notes) for path in flat(document)}
        document = {
            "settings": document,
            "origins": {".".join(path): _origin_document(origin) for path, origin in origins.items()},
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_settings(settings: ServerSettings) -> None:
    """Print the settings for people."""
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "variable"):
        table.add_column(heading, overflow="fold")
    for path, value in flat(_values(settings)).items():
        origin = origin_of(path, settings.origin_notes)
        style = "" if origin == DEFAULT else "bold"
        variable = f"{ENV_PREFIX}{'__'.join(path)}".upper()
        table.add_row(".".join(path), Text(_shown(value), style=style), Text(_origin_shown(origin, variable)), variable)
    console = Console()
    if not console.is_terminal:  # `config | grep` wants whole lines
        console = Console(width=UNFOLDED)
    console.print(table)


def _values(settings: ServerSettings) -> dict[str, Any]:
    values: dict[str, Any] = _without_secrets(
        settings.model_dump(mode="json", include=set(ServerSettings.model_fields))
    )
    return values


def _without_secrets(value: Any) -> Any:
    """Hide in addresses what pydantic does not know for a secret."""
    if isinstance(value, dict):
        return {name: _without_secrets(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return URL_SECRETS.sub(HIDDEN, value) if isinstance(value, str) and "://" in value else value


def _origin_document(origin: Origin) -> dict[str, str]:
    document: dict[str, str] = {"from": origin.place}
    if origin.name is not None:
        document["variable" if origin.place == "environment" else "file"] = origin.name
    return document


def _origin_shown(origin: Origin, variable: str) -> str:
    """Write an origin; the variable only where it is not the one that stands beside it."""
    is_named = origin.name is not None and origin.name != variable
    return f"{origin.place} {origin.name}" if is_named else origin.place


def _shown(value: Any) -> str:
    """Write a setting for people."""
    if isinstance(value, list):
        return ", ".join(item if isinstance(item, str) else orjson.dumps(item).decode() for item in value)
    return "" if value is None else str(value)
