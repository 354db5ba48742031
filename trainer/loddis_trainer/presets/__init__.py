"""Configurations of a training by name, and from files: YAML with the names of `FitConfig`'s fields."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PRESETS", "merge", "read_preset"]

PRESETS = ("paper", "quick", "edge")


def read_preset(name_or_path: str) -> dict[str, Any]:
    """Read a preset.

    Args:
        name_or_path: ``paper``, ``quick`` or ``edge``; or a YAML file.

    Raises:
        ValueError: No such preset, or a file that holds no mapping.
    """
    if name_or_path in PRESETS:
        text = (files(__name__) / f"{name_or_path}.yaml").read_text()
    else:
        try:
            text = Path(name_or_path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ValueError(
                f"there is no preset '{name_or_path}' (there are {', '.join(PRESETS)}), and no such file: {cause}"
            ) from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name_or_path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ValueError(f"{name_or_path} must hold a mapping of field names to values")
    return document


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another; groups such as `augment` are merged field by field.

    A group of another `kind`, such as `intensity`, takes the place of the one below: its fields mean something else.
    """
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, dict) and isinstance(under, dict) and not _kinds_differ(under, value):
            value = merge(under, value)
        merged[key] = value
    return merged


def _kinds_differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return "kind" in one and "kind" in other and one["kind"] != other["kind"]
