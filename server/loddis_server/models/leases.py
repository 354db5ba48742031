"""A model that is loaded, and the leases that keep it so: it is closed when it is retired and the last lease ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from loddis_runtime.detector import Detector

__all__ = ["ModelLease", "ServedModel"]


@dataclass(slots=True, weakref_slot=True, eq=False)
class ServedModel:
    """A model that is loaded.

    Attributes:
        detector: That runs it; open while a lease is held.
        leases: How many are held now.
        is_retired: Whether it was unloaded: who holds a lease may go on, new ones are not given.
    """

    detector: Detector
    leases: int = field(default=0, init=False)
    is_retired: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.detector.manifest.name

    @property
    def version(self) -> str:
        """Of the model; a whole number."""
        return self.detector.manifest.version

    @property
    def reference(self) -> str:
        """``NAME:VERSION``."""
        return f"{self.name}:{self.version}"


class ModelLease:
    """The right to use a model until it is released; from `ModelStore.lease`. A context manager, which gives the model.

    Whoever holds one for long, such as a stream, asks `is_current` now and then, and takes a new lease once it is not.

    Args:
        model: That is lent.
        find: Gives the model that the lease's reference means now, None if there is none.
        give_back: Told once, when the lease ends.

    Attributes:
        model: That is lent.
    """

    __slots__ = ("_find", "_give_back", "_lock", "model")

    def __init__(
        self, model: ServedModel, *, find: Callable[[], ServedModel | None], give_back: Callable[[ServedModel], None]
    ) -> None:
        self.model = model
        self._find = find
        self._lock = threading.Lock()
        self._give_back: Callable[[ServedModel], None] | None = give_back

    @property
    def is_current(self) -> bool:
        """Whether a new lease of the same reference would give the same model; cheap enough for every frame."""
        return self._find() is self.model

    def release(self) -> None:
        """End the lease, from any thread; a second call does nothing."""
        with self._lock:
            give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(self.model)

    def __enter__(self) -> ServedModel:
        return self.model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
