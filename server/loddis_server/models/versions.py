"""What is known of one version of a model: `available` on disk, `loading`, `ready`, `unloading`, or `failed`."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from loddis_server.models.leases import ServedModel

__all__ = ["ModelState", "Slot", "VersionStatus"]

ModelState = Literal["available", "loading", "ready", "unloading", "failed"]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What is known of one version of a model.

    Attributes:
        name: Of the model.
        version: Of the model; a whole number.
        state: Where in its life it is.
        cause: Why it failed; None in all other states.
        is_newest: Whether the name alone means this version.
        is_default: Whether it answers requests that name no model.
        leases: Requests and streams that use it now.
    """

    name: str
    version: str
    state: ModelState
    cause: str | None
    is_newest: bool
    is_default: bool
    leases: int


@dataclass(slots=True, eq=False)
class Slot:
    """A version that something was done with; changed under the store's lock.

    Attributes:
        ready: That new leases are given of.
        loading: Done when the load under way is.
        draining: Retired, and still leased or being closed.
        cause: Why the last load failed.
    """

    ready: ServedModel | None = None
    loading: Future[ServedModel] | None = None
    draining: set[ServedModel] = field(default_factory=set)
    cause: str | None = None

    @property
    def state(self) -> ModelState:
        """Where in its life the version is."""
        if self.loading is not None:
            return "loading"
        if self.ready is not None:
            return "ready"
        if self.draining:
            return "unloading"
        return "available" if self.cause is None else "failed"
