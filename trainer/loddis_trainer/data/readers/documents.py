"""What annotation files hold, read so that whatever is wrong with it becomes one line that names the place."""

from __future__ import annotations

import contextlib
import json
import reprlib
from pathlib import Path
from typing import Any

from loddis_trainer.data.errors import DataError

__all__ = ["read_json", "whole_number"]

MOST = 2**63 - 1  # of a signed 64-bit integer


def read_json(path: Path) -> Any:
    """Read a JSON document, in any encoding that JSON may have.

    Raises:
        DataError: A file that cannot be read, is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise DataError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def whole_number(value: object, *, name: str, least: int, where: str) -> int:
    """Give a value as a whole number from `least` to 2^63 - 1; 3.0 and '3' are ones.

    Args:
        value: From a file.
        name: Of the field, in errors.
        least: The smallest that makes sense.
        where: Names file and line or image in errors.

    Raises:
        DataError: Anything else.
    """
    number = least - 1
    if isinstance(value, int | str) or (isinstance(value, float) and value.is_integer()):
        with contextlib.suppress(ValueError):
            number = int(value)
    if not least <= number <= MOST:
        raise DataError(f"{where}: {name} must be a whole number from {least} to 2^63 - 1, got {reprlib.repr(value)}")
    return number
