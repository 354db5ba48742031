"""What this machine offers, which models would be served, and what is in the way."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import BaseModel, Field

from loddis_runtime.bundle import Bundle
from loddis_runtime.detector import load
from loddis_runtime.engines.choice import survey_engines
from loddis_runtime.engines.threads import available_cores
from loddis_runtime.errors import LoddisError
from loddis_runtime.repository import ModelRepository, shipped_repository
from loddis_server.events import (
    MqttSettings,
    StoreUnavailableError,
    WebhookSettings,
    inspect_database,
    make_receiver,
)
from loddis_server.listening import listen, url_of
from loddis_server.models import choose_default, find_bundles
from loddis_server.settings import ENV_PREFIX, ServerSettings
from loddis_server.tracing import flush, open_tracing

__all__ = ["Finding", "Report", "examine"]

OTHER_VARIABLES = frozenset({"LODDIS_DATA", "LODDIS_CACHE", "LODDIS_URL", "LODDIS_API_KEY"})  # of the other commands
FLUSH_TIMEOUT_S = 2.0
PACKAGES = (
    "loddis",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "cuda-bindings",
    "fastapi",
    "uvicorn",
    "uvloop",
    "psycopg",
    "opentelemetry-sdk",
)


class Finding(BaseModel):
    """One thing that was looked at."""

    subject: str = Field(description="What.")
    status: Literal["ok", "note", "fault"] = Field(description="A fault keeps the server from starting.")
    detail: str = Field(description="What was found, and why it is as it is.")


class Report(BaseModel):
    """All findings."""

    findings: list[Finding]

    @property
    def has_faults(self) -> bool:
        """Whether the server would not start."""
        return any(finding.status == "fault" for finding in self.findings)


def examine(settings: ServerSettings) -> Report:
    """Look at everything that the server needs, without starting it.

    Models are loaded and run once. Nothing is made, changed or sent: no database, no event, no span.

    Args:
        settings: That the server would run with.
    """
    return Report(
        findings=[
            _machine(settings),
            Finding(subject="packages", status="ok", detail=", ".join(_versions())),
            *_repositories(settings),
            *_models(settings),
            *_events(settings),
            *_tracing(settings),
            _tried("address", partial(_address, settings)),
            *_unknown_variables(),
        ]
    )


def _machine(settings: ServerSettings) -> Finding:
    """Count cores."""
    visible, usable = os.cpu_count() or 1, available_cores()
    detail = f"{usable} of {visible} cores usable, Python {platform.python_version()} on {platform.machine()}"
    if settings.threads is not None and settings.threads > usable:
        return Finding(
            subject="cores", status="note", detail=f"{detail}; threads is {settings.threads}: they will take turns"
        )
    return Finding(subject="cores", status="ok", detail=detail)


def _versions() -> list[str]:
    """List what is installed."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _repositories(settings: ServerSettings) -> list[Finding]:
    """List the models on disk."""
    findings = []
    for subject, root in (
        ("model repository", settings.model_repository),
        ("shipped models", shipped_repository().root),
    ):
        if root is None:
            findings.append(Finding(subject=subject, status="ok", detail="none is set"))
            continue
        if not root.is_dir():
            findings.append(Finding(subject=subject, status="fault", detail=f"{root}: no such folder"))
            continue
        there = ", ".join(f"{entry.name}:{entry.version}" for entry in ModelRepository(root).list())
        findings.append(
            Finding(subject=subject, status="ok" if there else "note", detail=f"{root}: {there or 'empty'}")
        )
    return findings


def _models(settings: ServerSettings) -> list[Finding]:
    """Load each model that would be served, and run it."""
    if settings.model_repository is not None and not settings.model_repository.is_dir():
        return []  # said already
    try:
        bundles = find_bundles(settings)
        choose_default(bundles, settings.default_model)
    except (LoddisError, OSError) as error:
        return [Finding(subject="models", status="fault", detail=str(error))]
    findings = []
    for bundle in bundles:
        subject = f"model {bundle.manifest.name}:{bundle.manifest.version}"
        try:
            with load(
                bundle.path, device=settings.device, precision=settings.precision, threads=settings.threads
            ) as detector:
                detector.warm_up()
                cores = f" on {detector.threads} cores" if detector.device == "cpu" else ""
                detail = f"{detector.precision} runs in {detector.engine.name}{cores}"
                findings.append(Finding(subject=subject, status="ok", detail=detail))
        except LoddisError as error:
            findings.append(Finding(subject=subject, status="fault", detail=str(error)))
        findings += _gpu_engines(bundle, subject, settings)
    return findings


def _gpu_engines(bundle: Bundle, model: str, settings: ServerSettings) -> list[Finding]:
    """Say of each GPU engine of a model why it can be used, or cannot; not being usable is no fault: others are."""
    if settings.device == "cpu":
        return []
    return [
        Finding(
            subject=f"{model}, {finding.subject}",
            status="ok" if finding.usable else "note",
            detail=f"can be used: {finding.detail}" if finding.usable else f"not used: {finding.detail}",
        )
        for finding in survey_engines(bundle, precision=settings.precision)
    ]


def _events(settings: ServerSettings) -> list[Finding]:
    """Look into the event database, and read the certificates of receivers."""
    return [
        _tried("event database", partial(inspect_database, settings.events)),
        *(_tried(f"receiver {each.name}", partial(_receiver, each)) for each in settings.events.receivers),
    ]


def _receiver(settings: WebhookSettings | MqttSettings) -> str:
    """Make a receiver; nothing is connected."""
    return f"{make_receiver(settings).kind}, nothing was sent to it"


def _tracing(settings: ServerSettings) -> list[Finding]:
    """Set up tracing as the server does; without a span nothing is sent."""
    endpoint = settings.tracing_endpoint
    if endpoint is None:
        return []

    def set_up() -> str:
        flush(open_tracing(endpoint, sample_ratio=settings.tracing_sample_ratio), timeout_s=FLUSH_TIMEOUT_S)
        return "its packages are there, nothing was sent"

    return [_tried("tracing", set_up)]


def _address(settings: ServerSettings) -> str:
    """Listen for a moment."""
    listeners = listen(settings.host, settings.port)
    try:
        return f"free: {', '.join(map(url_of, listeners))}"
    finally:
        for listener in listeners:
            listener.close()


def _tried(subject: str, part: Callable[[], str]) -> Finding:
    """Do a part of the server's start, and say what comes of it."""
    try:
        return Finding(subject=subject, status="ok", detail=part())
    except StoreUnavailableError as error:
        if error.is_passing:
            return Finding(subject=subject, status="note", detail=f"{error}; the server starts, and tries again")
        return Finding(subject=subject, status="fault", detail=str(error))
    except (LoddisError, OSError) as error:
        return Finding(subject=subject, status="fault", detail=str(error))


def _unknown_variables() -> list[Finding]:
    """Name variables that look like settings and are none: typing errors, mostly."""
    known = OTHER_VARIABLES | {f"{ENV_PREFIX}{name}".upper() for name in ServerSettings.model_fields}
    # A name within a group of settings was checked when they were read.
    ours = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    unknown = sorted(name for name in ours if name.upper().partition("__")[0] not in known)
    return [Finding(subject="environment", status="note", detail=f"{name} is no setting") for name in unknown]
