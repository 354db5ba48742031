"""The models of a server: found on disk, loaded and unloaded while requests go on, lent to who detects with them."""

from __future__ import annotations

from loddis_server.models.finding import PREFERRED_MODEL, choose_default, find_bundles
from loddis_server.models.leases import ModelLease, ServedModel
from loddis_server.models.store import ModelStore
from loddis_server.models.versions import ModelState, VersionStatus

__all__ = [
    "PREFERRED_MODEL",
    "ModelLease",
    "ModelState",
    "ModelStore",
    "ServedModel",
    "VersionStatus",
    "choose_default",
    "find_bundles",
]
