"""Read compose files as `docker compose` does: variables filled in, files laid over each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["load_compose"]

# ${NAME}, ${NAME:-default}; what else compose knows is not used here and refused.
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>[^}]*))?\}")


def load_compose(*paths: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give the service `server` of one or several files, later ones over earlier ones.

    Args:
        paths: Compose files.
        variables: Environment; an entry without a value in `environment` is dropped if it is not in here.

    Returns:
        The service.
    """
    known = variables or {}
    service: dict[str, Any] = {}
    for path in paths:
        service = _overlay(service, yaml.safe_load(_interpolate(path.read_text(), known))["services"]["server"])
    environment = service["environment"]
    service["environment"] = {
        name: known[name] if value is None else str(value)
        for name, value in environment.items()
        if value is not None or name in known
    }
    return service


def _interpolate(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return variables.get(match["name"]) or match["default"] or ""

    filled = VARIABLE.sub(value, text)
    if "${" in filled:
        raise ValueError(f"an unknown form of variable: {filled[filled.index('${') :].splitlines()[0]}")
    return filled


def _overlay(under: Any, over: Any) -> Any:
    """Merge mappings, append lists, replace the rest."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: _overlay(under[key], value) if key in under else value for key, value in over.items()}
    return [*under, *over] if isinstance(under, list) and isinstance(over, list) else over
