"""Every setting of the server: flags, `LODDIS_*` variables and defaults from one model."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from loddis_runtime.command import Command
from loddis_runtime.detector import Device, Precision

__all__ = ["ENV_PREFIX", "LogFormat", "LogLevel", "ServerSettings"]

ENV_PREFIX = "LODDIS_"
MIB = 2**20
MODEL = re.compile(r"[a-z0-9][a-z0-9._-]*(:(0|[1-9][0-9]*))?")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


class ServerSettings(Command):
    """What an operator can set. A flag wins over the environment, the environment over the default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True)

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    published_host: str | None = Field(
        default=None,
        description="Address on which a container engine or a proxy publishes the server, where that is not HOST. "
        "Off loopback an API key is required.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="Key that requests must bring; better set as LODDIS_API_KEY, where `ps` cannot see it.",
    )

    model_repository: Path | None = Field(
        default=None, description="Folder of models, NAME/VERSION/; they are served beside those that come with Loddis."
    )
    models: tuple[str, ...] = Field(
        default=(), description="Models to serve, NAME or NAME:VERSION; if none, the newest version of all there are."
    )
    default_model: str | None = Field(
        default=None, description="Model for requests that name none; sky-nano if it is served, else the first."
    )
    device: Device = Field(default="auto", description="Where models run; auto: on the fastest that works.")
    precision: Precision = Field(default="auto", description="Which graph of a bundle runs.")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Cores for one run of a network; if none, as many as there are."
    )

    max_body_bytes: int = Field(default=64 * MIB, ge=1, description="Largest body of a request, bytes.")
    max_frame_pixels: int = Field(default=32 * MIB, ge=64, description="Largest frame, pixels.")
    request_timeout_s: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="From the head of a request to its answer, seconds."
    )
    decode_workers: int | None = Field(
        default=None, ge=1, le=256, description="Threads that decode images; if none, as many as there are cores."
    )
    queue_capacity: int = Field(
        default=32,
        ge=1,
        description="Requests that may be on their way to the network, uploads included; more are answered 503.",
    )
    max_slowdown: float = Field(
        default=1.75,
        ge=1,
        le=1000,
        allow_inf_nan=False,
        description="While more is asked for than the server can do, only frames are let in that can be expected to be "
        "done within this many times what a lone one takes; bursts that QUEUE_CAPACITY holds are let in whole. The "
        "nearer to 1, the longer the network waits for the next frame.",
    )
    max_batch_size: int = Field(default=4, ge=1, le=256, description="Frames that the network is given at once.")
    batch_deadline_ms: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="How long a batch may wait to be filled while other requests are on their way, milliseconds; "
        "0: frames gather only while the network is busy.",
    )
    drain_timeout_s: float = Field(
        default=8.0,
        ge=0,
        allow_inf_nan=False,
        description="After SIGTERM, time for requests under way to be answered, seconds.",
    )

    log_level: LogLevel = Field(default="info", description="Least severe events to log; `debug` logs every request.")
    log_format: LogFormat = Field(
        default="auto", description="`auto`: for people on a terminal, otherwise one JSON object a line."
    )

    @field_validator("api_key")
    @classmethod
    def _key_fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("must be visible ASCII without spaces, as a header carries it")
        return key

    @field_validator("models")
    @classmethod
    def _models_are_names(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for model in models:
            if not MODEL.fullmatch(model):
                raise ValueError(f"expected NAME or NAME:VERSION, got {model!r}")
        return models

    @model_validator(mode="after")
    def _off_loopback_needs_a_key(self) -> ServerSettings:
        reachable_at = self.published_host or self.host
        if self.api_key is None and not _is_loopback(reachable_at):
            raise ValueError(
                f"refusing to serve on {reachable_at} without an API key, since others can reach it: "
                "set LODDIS_API_KEY, or serve on 127.0.0.1"
            )
        return self


def _is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
