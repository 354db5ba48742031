"""API keys: who brings which may do what."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, field_validator, model_validator

__all__ = ["SCOPES", "ApiKey", "KeyHolder", "KeyRing", "Scope", "check_secret"]

Scope = Literal["detect", "manage"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class ApiKey(BaseModel):
    """A key, its holder's name and what it opens.

    In one string, for flags and variables: `NAME:SCOPE+SCOPE:SECRET`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Of its holder; stands in the log.")
    secret: SecretStr = Field(description="What requests bring.")
    scopes: frozenset[Scope] = Field(
        default=frozenset({"detect"}),
        min_length=1,
        description="`detect`: frames, streams and all that is read. `manage`: what changes the server.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, _, rest = value.partition(":")
        scopes, separator, secret = rest.partition(":")
        if not separator:
            raise ValueError("expected NAME:SCOPE+SCOPE:SECRET")  # without what came, which holds the secret
        return {"name": name, "scopes": scopes.split("+"), "secret": secret}

    @field_serializer("scopes")
    def _scopes_in_order(self, scopes: frozenset[Scope]) -> list[Scope]:
        return sorted(scopes)

    @field_validator("secret")
    @classmethod
    def _fits_a_header(cls, secret: SecretStr) -> SecretStr:
        return check_secret(secret)


def check_secret(secret: SecretStr) -> SecretStr:
    """Check that a key can be sent as a header.

    Raises:
        ValueError: It cannot.
    """
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("must be visible ASCII without spaces, as a header carries it")
    return secret


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who makes a request.

    Attributes:
        name: Of the key; None where the server has no keys.
        scopes: What it opens.
    """

    name: str | None
    scopes: frozenset[Scope]


class KeyRing:
    """All keys of a server.

    Args:
        keys: None at all opens everything to everyone.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._holders = [
            (_digest(key.secret.get_secret_value()), KeyHolder(key.name, frozenset(key.scopes))) for key in keys
        ]

    @property
    def is_empty(self) -> bool:
        """Whether there are no keys."""
        return not self._holders

    def holder(self, secret: str) -> KeyHolder | None:
        """Find who holds a key, in time that depends neither on which it is nor on where it differs.

        Returns:
            None if it is no key of this server.
        """
        given = _digest(secret)
        found: KeyHolder | None = None
        for expected, holder in self._holders:  # to the end, whatever was found
            if hmac.compare_digest(given, expected):
                found = holder
        return found


def _digest(secret: str) -> bytes:
    """Give a digest of one length for all secrets, so that a comparison does not tell how long they are."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
