"""The public sets of the field: what they are, where they come from, and the command that imports them.

Facts are in `public_sets.yaml`; what is not certain says ``not stated``.
"""

from __future__ import annotations

from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PublicSet", "read_public_sets"]


class PublicSet(BaseModel):
    """One set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="As the field calls it.")
    what: str = Field(description="What is seen in it, and how it is labelled.")
    size: str = Field(description="Frames and sequences.")
    where: str = Field(description="Paper or project, and its repository.")
    licence: str = Field(description="As published.")
    command: str = Field(description="That imports it, with the set's own folder as SOURCE.")
    note: str = Field(default="", description="What to do or know before.")


def read_public_sets() -> tuple[PublicSet, ...]:
    """Read all sets, in the order of the file."""
    text = (files("loddis_trainer") / "public_sets.yaml").read_text(encoding="utf-8")
    return tuple(PublicSet.model_validate(entry) for entry in yaml.safe_load(text))
