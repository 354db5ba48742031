"""Which versions are loaded, which one a name means, and the way in and out for versions while requests go on.

A version is `available` on disk, `loading`, `ready`, `unloading` while leases on it are still held, or `failed` with a
cause. A version counts as ready only once it is warm, and in that instant it becomes the one that its name alone means
if it is the newest; requests under way keep the one they have.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

from loddis_runtime.detector import Detector
from loddis_runtime.errors import LoddisError, ModelNotFoundError
from loddis_server.models.finding import choose_default, find_bundles, list_entries, open_bundle, parse_reference
from loddis_server.models.leases import ModelLease, ServedModel
from loddis_server.models.versions import Slot, VersionStatus
from loddis_server.models.warming import open_warm
from loddis_server.problems import (
    MODEL_BUSY,
    MODEL_REQUIRED,
    MODEL_UNUSABLE,
    NOT_READY,
    UNKNOWN_MODEL,
    ProblemError,
)
from loddis_server.settings import ServerSettings

__all__ = ["ModelStore"]

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # name, version


class ModelStore:
    """The models that a server serves. Every method may be called from any thread.

    Args:
        settings: Which ones are loaded at the start, and how they run.

    Attributes:
        on_change: Called after models became ready or were retired, on the thread that did it.

    Raises:
        BundleError: A bundle is damaged, or there is none to serve.
        ModelNotFoundError: A model that the settings name is not there.
        OSError: The repository cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        bundles = find_bundles(settings)
        self._initial = {(bundle.manifest.name, bundle.manifest.version): bundle.path for bundle in bundles}
        self._default_name, self._default_version = choose_default(bundles, settings.default_model)
        self._slots: dict[Key, Slot] = {}
        # Looked up without the lock, so never changed in place.
        self._ready: Mapping[Key, ServedModel] = {}
        self._newest: Mapping[str, ServedModel] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()  # a load takes all cores and much memory
        self.on_change: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[ServedModel]:
        """Go over the models that are ready, in the order in which they became so."""
        return iter(self._ready.values())

    @property
    def is_loading(self) -> bool:
        """Whether a thread is at work on a model."""
        with self._lock:
            return any(slot.loading is not None for slot in self._slots.values())

    def load_initial(self) -> None:
        """Load every model that the settings ask for; blocks until all are warm.

        Raises:
            BundleError: A graph is not the one that its manifest describes.
            EngineError: A graph cannot be run on this machine.
        """
        with self._lock:
            for key in self._initial:
                self._slots[key] = Slot(loading=Future())
        detectors: dict[Key, Detector] = {}
        try:
            for key, path in self._initial.items():
                detectors[key] = open_warm(path, self._settings)
        except BaseException:
            for detector in detectors.values():
                detector.close()
            raise
        finally:
            with self._lock:
                for key in self._initial:
                    self._slots[key].loading = None
        for key, detector in detectors.items():
            self._make_ready(key, ServedModel(detector))  # or not, if the server is stopping already
        self.on_change()

    def load(self, name: str, version: str | None = None) -> Future[ServedModel]:
        """Begin to load a version on a thread of its own; what is on disk now counts.

        Blocks for a look into the repository only. A version that is ready is not loaded again, one that is being
        loaded is not loaded twice.

        Args:
            name: Of the model.
            version: Of the model; the newest on disk if none.

        Returns:
            The model once it is warm, or a `ProblemError` that says why it cannot be served.

        Raises:
            ProblemError: There is no such model in the repository, or the server is starting or stopping.
        """
        entries = list_entries(self._settings)
        matches = [entry for entry in entries if entry.name == name and version in (None, entry.version)]
        entry = matches[-1] if matches else None
        with self._lock:
            if self._closed or not self._ready:
                raise ProblemError(NOT_READY, "the server is starting or stopping: no model can be loaded now")
            key = (name, version or "") if entry is None else (entry.name, entry.version)
            slot = self._slots.get(key, Slot())
            if entry is None and slot.state in ("available", "failed"):
                there = ", ".join(f"{one.name}:{one.version}" for one in entries)
                raise ProblemError(
                    UNKNOWN_MODEL, f"no model {_shown(name, version)[:100]!r} on disk; there is: {there}"
                )
            self._slots[key] = slot
            if slot.loading is not None:
                return slot.loading
            future: Future[ServedModel] = Future()
            if slot.ready is not None:
                future.set_result(slot.ready)
                return future
            future.set_running_or_notify_cancel()  # whoever waits may leave, the load goes on
            slot.loading, slot.cause = future, None
        threading.Thread(target=self._load, args=(key, slot, future), name="loddis-loader", daemon=True).start()
        return future

    def unload(self, name: str, version: str | None = None) -> None:
        """Retire a version: no new lease is given, and it is closed once those that are held have ended.

        Args:
            name: Of the model.
            version: Of the model; all that are ready if none.

        Raises:
            ProblemError: None such is ready; it is being loaded; or requests that name no model would have none.
        """
        with self._lock:
            slots = {key: slot for key, slot in self._slots.items() if key[0] == name and version in (None, key[1])}
            leaving = {key: slot.ready for key, slot in slots.items() if slot.ready is not None}
            if not leaving:
                if any(slot.loading is not None for slot in slots.values()):
                    raise ProblemError(MODEL_BUSY, f"{_shown(name, version)} is being loaded")
                if any(slot.draining for slot in slots.values()):
                    return
                raise self._unknown(_shown(name, version))
            staying = {key: model for key, model in self._ready.items() if key not in leaving}
            if not any(self._may_be_default(key) for key in staying):
                default = _shown(self._default_name, self._default_version)
                raise ProblemError(
                    MODEL_REQUIRED,
                    f"requests that name no model get {default}, and without {_shown(name, version)} there is none: "
                    f"load another version of {self._default_name} first"
                    if self._default_version is None
                    else f"the setting default_model is {default}: this version stays",
                )
            for key, model in leaving.items():
                slots[key].ready = None
                slots[key].draining.add(model)
                model.is_retired = True
            self._publish(staying)
            unused = [model for model in leaving.values() if model.leases == 0]
        for model in leaving.values():
            logger.info("model retired", extra={"model": model.reference, "leases": model.leases})
        for model in unused:
            self._close_retired(model)
        self.on_change()

    def find(self, reference: str | None = None) -> ServedModel:
        """Find a model, to describe it: only a lease keeps it from being unloaded.

        Args:
            reference: ``NAME``, for its newest version, ``NAME:VERSION`` or ``NAME/VERSION``; the default if none.

        Raises:
            ProblemError: There is none of that name and version, or none is loaded yet.
        """
        if not self._ready:
            raise ProblemError(NOT_READY, "the models are being loaded", headers={"Retry-After": "1"})
        model = self._lookup(reference)
        if model is None:
            raise self._unknown(self._default_name if reference is None else reference)
        return model

    def lease(self, reference: str | None = None) -> ModelLease:
        """Borrow a model: it stays open until the lease is released, even if it is unloaded meanwhile.

        Args:
            reference: As `find`.

        Raises:
            ProblemError: As `find`.
        """
        with self._lock:
            model = self.find(reference)
            model.leases += 1
        return ModelLease(model, find=lambda: self._lookup(reference), give_back=self._give_back)

    def is_default(self, model: ServedModel) -> bool:
        """Tell whether a model answers requests that name none."""
        return self._lookup(None) is model

    def versions(self) -> list[VersionStatus]:
        """Give every version on disk or in use, by name, oldest version first. Blocks for a look at the disk."""
        on_disk = {(entry.name, entry.version) for entry in list_entries(self._settings)}
        with self._lock:
            keys = on_disk | {
                key for key, slot in self._slots.items() if slot.state in ("ready", "loading", "unloading")
            }
            return [self._status(key) for key in sorted(keys, key=lambda key: (key[0], int(key[1])))]

    def status(self, name: str, version: str) -> VersionStatus:
        """Give what is known of a version, without a look at the disk."""
        with self._lock:
            return self._status((name, version))

    def close(self) -> None:
        """Give back what the models hold; nothing is loaded any more."""
        with self._lock:
            self._closed = True
            models = [*self._ready.values(), *(model for slot in self._slots.values() for model in slot.draining)]
        for model in models:
            model.detector.close()

    def _load(self, key: Key, slot: Slot, future: Future[ServedModel]) -> None:
        """Load a version, on a thread of its own."""
        try:
            with self._one_at_a_time:
                model = ServedModel(open_warm(open_bundle(self._settings, *key).path, self._settings))
        except Exception as error:
            if isinstance(error, ModelNotFoundError):
                cause = "it is no longer on disk"
            elif isinstance(error, (LoddisError, OSError)):
                cause = str(error)
            else:
                logger.exception("model failed in an unforeseen way", extra={"model": _shown(*key)})
                cause = f"{type(error).__name__}: {error}"
            logger.warning("model not loaded", extra={"model": _shown(*key), "cause": cause})
            with self._lock:
                slot.loading, slot.cause = None, cause
            future.set_exception(ProblemError(MODEL_UNUSABLE, f"{_shown(*key)}: {cause}"))
            return
        if self._make_ready(key, model):
            self.on_change()
            future.set_result(model)
        else:
            future.set_exception(ProblemError(NOT_READY, "the server is stopping"))

    def _make_ready(self, key: Key, model: ServedModel) -> bool:
        """Let requests have a model that is warm; tell whether they can, which they cannot once the store is closed."""
        with self._lock:
            if not self._closed:
                slot = self._slots[key]
                slot.ready, slot.loading, slot.cause = model, None, None
                self._publish({**self._ready, key: model})
                return True
            self._slots[key].loading = None
        model.detector.close()
        return False

    def _publish(self, ready: Mapping[Key, ServedModel]) -> None:
        """Say which models are ready, and which a name means; under the lock."""
        newest: dict[str, ServedModel] = {}
        for (name, version), model in ready.items():
            if name not in newest or int(version) > int(newest[name].version):
                newest[name] = model
        self._ready, self._newest = ready, newest

    def _lookup(self, reference: str | None) -> ServedModel | None:
        """Give the model that a reference means now."""
        if reference is None:
            name, version = self._default_name, self._default_version
        else:
            name, version = parse_reference(reference)
        return self._newest.get(name) if version is None else self._ready.get((name, version))

    def _may_be_default(self, key: Key) -> bool:
        return key[0] == self._default_name and self._default_version in (None, key[1])

    def _status(self, key: Key) -> VersionStatus:
        """Describe a version; under the lock."""
        slot = self._slots.get(key, Slot())
        model = slot.ready
        used = [*slot.draining, *([] if model is None else [model])]
        return VersionStatus(
            name=key[0],
            version=key[1],
            state=slot.state,
            cause=slot.cause if slot.state == "failed" else None,
            is_newest=model is not None and self._newest.get(key[0]) is model,
            is_default=model is not None and self._lookup(None) is model,
            leases=sum(one.leases for one in used),
        )

    def _give_back(self, model: ServedModel) -> None:
        """End a lease."""
        with self._lock:
            model.leases -= 1
            is_done = model.is_retired and model.leases == 0
        if is_done:
            self._close_retired(model)

    def _close_retired(self, model: ServedModel) -> None:
        """Close a model that nobody uses any more; on a thread, since engines take their time to free memory."""

        def close() -> None:
            model.detector.close()
            with self._lock:
                self._slots[model.name, model.version].draining.discard(model)
            logger.info("model unloaded", extra={"model": model.reference})

        threading.Thread(target=close, name="loddis-unloader", daemon=True).start()

    def _unknown(self, reference: str) -> ProblemError:
        served = ", ".join(model.reference for model in self._ready.values())
        return ProblemError(UNKNOWN_MODEL, f"no model {reference[:100]!r} is served; there is: {served}")


def _shown(name: str, version: str | None) -> str:
    return name if version is None else f"{name}:{version}"
