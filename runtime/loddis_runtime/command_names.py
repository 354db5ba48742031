"""How the fields of a command are called: as flags, as variables of the environment, and where they are at fault."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliPositionalArg, CliSubCommand

__all__ = ["describe_fault", "flag_of", "is_sub_command", "message_of", "one_line", "variable_of"]

SUB_COMMAND_MARK = get_args(CliSubCommand)[1]
POSITIONAL_MARK = get_args(CliPositionalArg)[1]
SECRETS = (Secret, SecretBytes, SecretStr)
ADDRESS_MARKS = "@?#"  # of an address: before the first may stand a password, behind the others a token
QUOTED_USER = re.compile(r"(['\"]).*@", re.DOTALL)


def is_sub_command(field: FieldInfo) -> bool:
    """Tell whether a field is a sub-command."""
    return SUB_COMMAND_MARK in field.metadata


def flag_of(path: tuple[str, ...]) -> str:
    """Give the flag of a field, without its dashes."""
    return ".".join(path).replace("_", "-")


def variable_of(app: type[BaseSettings], path: tuple[str, ...]) -> str:
    """Give the variable of the environment that a field is read from."""
    return f"{app.model_config.get('env_prefix', '')}{'__'.join(path)}".upper()


def describe_fault(app: type[BaseSettings], fault: ErrorDetails, arguments: list[str]) -> str:
    """Say in one line what is wrong where; what came, too, unless that may be a secret.

    Args:
        app: The root of the command.
        fault: Of its validation.
        arguments: That it was called with.
    """
    place = _place_of(app, fault)
    source, within = _source_of(app, place, arguments)
    name = f"{source}: {'.'.join(within)}" if within else source
    if fault["type"] == "missing":
        return f"{name}: too few values" if isinstance(fault["loc"][-1], int) else f"{name} is required"
    came = "" if _is_hidden(fault, place) else f", got {fault['input']!r}"
    message = one_line(message_of(fault) + came)
    return f"{name}: {message}" if name else message


def message_of(fault: ErrorDetails) -> str:
    """Say what is wrong, without what came: it may be a secret."""
    if fault["type"] == "extra_forbidden":
        return "there is no such setting"
    if fault["type"] == "value_error":  # from a validator of ours, which may say itself what came
        return QUOTED_USER.sub(r"\1…@", str(fault["ctx"]["error"]))
    text = fault["msg"]
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def one_line(text: str) -> str:
    """Fold white space."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a fault is.

    Attributes:
        path: Groups, the field, and keys and indices within its value.
        is_positional: Whether it is given without a flag.
        is_secret: Whether what came may be a secret, or has one within.
    """

    path: tuple[str, ...]
    is_positional: bool
    is_secret: bool


def _place_of(app: type[BaseSettings], fault: ErrorDetails) -> _Place:
    """Follow the fields that lead to a fault."""
    models: list[type[BaseModel]] = [app]
    path: list[str] = []
    field: FieldInfo | None = None
    is_positional = is_secret = False
    for number, part in enumerate(fault["loc"], 1):
        found = next((known for model in models if (known := _field(model, part))), None)
        if found is None:
            is_last = number == len(fault["loc"])
            is_given = not (is_last and fault["type"] == "missing")
            is_unknown = is_last and fault["type"] == "extra_forbidden"
            if is_unknown or (isinstance(part, int) and is_given):
                path.append(str(part))
            continue  # else it is the name of a member of a union
        field = found
        models = _models_in(field.annotation)
        if not is_sub_command(field):
            path.append(str(part))
            is_positional = POSITIONAL_MARK in field.metadata
            if field.annotation not in models:  # no group, so given as one text with all that is within
                is_secret = is_secret or _holds_secret(field.annotation)
    return _Place(tuple(path), is_positional, is_secret or (field is not None and _holds_secret(field.annotation)))


def _source_of(app: type[BaseSettings], place: _Place, arguments: list[str]) -> tuple[str, tuple[str, ...]]:
    """Give the flag or the variable that a place was set by, and what leads to the place within its value."""
    if place.is_positional:
        return flag_of(place.path[:1]).upper(), place.path[1:]
    given = Counter(argument.split("=")[0] for argument in arguments)
    variables = {name.upper() for name in os.environ} if app.model_config.get("env_prefix") else set()
    ends = range(len(place.path), 0, -1)
    for end in ends:
        if (flag := f"--{flag_of(place.path[:end])}") in given:
            within = place.path[end:]
            return flag, () if within == ("0",) and given[flag] == 1 else within  # a flag that may repeat, and did not
    for end in ends:
        if (variable := variable_of(app, place.path[:end])) in variables:
            return variable, place.path[end:]
    return (f"--{flag_of(place.path)}" if place.path else ""), ()


def _is_hidden(fault: ErrorDetails, place: _Place) -> bool:
    """Tell whether what came is better not repeated: what stands behind a name that nobody knows may be anything."""
    has_said = fault["type"] in ("extra_forbidden", "value_error")
    return has_said or place.is_secret or any(mark in str(fault["input"]) for mark in ADDRESS_MARKS)


def _field(model: type[BaseModel], name: str | int) -> FieldInfo | None:
    """Find a field by its name or its alias."""
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias, field.validation_alias):
            return field
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Give the models that a value, its items or the members of a union may be of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _holds_secret(annotation: Any) -> bool:
    """Tell whether a value of a type is a secret, or may have one within."""
    if isinstance(annotation, type) and issubclass(annotation, SECRETS):
        return True
    fields = [field.annotation for model in _models_in(annotation) for field in model.model_fields.values()]
    return any(_holds_secret(part) for part in (*get_args(annotation), *fields))
