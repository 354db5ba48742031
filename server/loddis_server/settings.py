"""Every setting of the server: flags, `LODDIS_*` variables, a file and defaults from one model.

A part of the server with settings of its own brings a model, which becomes a field of `ServerFields`. Its settings are
then flags with a dot (`--events.database-url`), variables with two underscores (`LODDIS_EVENTS__DATABASE_URL`) and a
mapping of the file (`events: {database_url: …}`); the sources are merged setting by setting.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from loddis_runtime.command import Command
from loddis_runtime.detector import Device, Precision
from loddis_server.config_file import ConfigFileSource
from loddis_server.config_origins import NOTES, OriginNotes, OriginSource
from loddis_server.events.settings import EventSettings
from loddis_server.keys import SCOPES, ApiKey, check_secret
from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.uploads import VideoLimits
from loddis_server.streams.settings import StreamsSettings

__all__ = ["ENV_PREFIX", "LogFormat", "LogLevel", "ServerFields", "ServerSettings"]

ENV_PREFIX = "LODDIS_"
MIB = 2**20
ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[1-9][0-9]{0,4})?")
MODEL = re.compile(r"[a-z0-9][a-z0-9._-]*(:(0|[1-9][0-9]*))?")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


class ServerFields(BaseModel):
    """What an operator can set, wherever it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    api_keys: tuple[ApiKey, ...] = Field(
        default=(),
        description="More keys, each NAME:SCOPE+SCOPE:SECRET of `detect` and `manage`; better set in a file. "
        "The one of API_KEY has all scopes.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins, SCHEME://HOST[:PORT], whose pages may call the server from a browser."
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
        description="Requests that may be on their way to the network, uploads included; more are answered 503. A "
        "request for several frames has a place for each that is at work, up to half of all.",
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
    max_batch_frames: int = Field(default=64, ge=1, le=1024, description="Frames in one request for several.")
    inference_lanes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Runs of the network side by side, each on `threads` cores. On a CPU with many cameras, one lane a "
        "core with one thread does more frames a second, each of which takes longer; a GPU has one lane.",
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

    streams: StreamsSettings = Field(
        default=StreamsSettings(), description="How many streams, and how they are treated."
    )
    sources: SourceAllowList = Field(
        default=SourceAllowList(),
        description="What streams may be read from: hosts, folders, devices; nothing if none.",
    )
    videos: VideoLimits = Field(default=VideoLimits(), description="How much of the machine one video may use.")
    events: EventSettings = Field(
        default=EventSettings(), description="Where events are kept, and who is told of them."
    )

    log_level: LogLevel = Field(default="info", description="Least severe events to log; `debug` logs every request.")
    log_format: LogFormat = Field(
        default="auto", description="`auto`: for people on a terminal, otherwise one JSON object a line."
    )
    tracing_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="URL that takes traces by OTLP over HTTP, http://127.0.0.1:4318/v1/traces say; no traces if none.",
    )
    tracing_sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the requests without a `traceparent` that is traced; others are as that says.",
    )

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """All API keys, the one of `api_key` with all scopes."""
        if self.api_key is None:
            return self.api_keys
        return (ApiKey(name="api-key", secret=self.api_key, scopes=frozenset(SCOPES)), *self.api_keys)

    @field_validator("api_key")
    @classmethod
    def _key_fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return None if key is None else check_secret(key)

    @field_validator("api_keys")
    @classmethod
    def _keys_differ(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        if len({key.name for key in keys}) < len(keys) or len({key.secret for key in keys}) < len(keys):
            raise ValueError("names and secrets of keys must differ")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_listed(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"expected SCHEME://HOST[:PORT] as a browser sends it, no * and no path, got {origin!r}"
                )
        return origins

    @field_validator("models")
    @classmethod
    def _models_are_names(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for model in models:
            if not MODEL.fullmatch(model):
                raise ValueError(f"expected NAME or NAME:VERSION, got {model!r}")
        return models


class ServerSettings(ServerFields, Command):
    """What an operator can set. A flag wins over the environment, that over the file, that over the default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True)

    file_fields: ClassVar[type[BaseModel]] = ServerFields

    config_file: Path | None = Field(default=None, description="YAML file of settings, by the names of the flags.")

    _origin_notes: OriginNotes = PrivateAttr(default=())

    def __eq__(self, other: object) -> bool:
        """Compare what is set; where it comes from makes no difference."""
        if not isinstance(other, ServerSettings):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in ServerSettings.model_fields)

    @property
    def origin_notes(self) -> OriginNotes:
        """Which source gave which settings; see `config_origins.origin_of`."""
        return self._origin_notes

    @model_validator(mode="wrap")
    @classmethod
    def _keep_origins(cls, given: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        notes: OriginNotes = given.pop(NOTES, ()) if isinstance(given, dict) else ()
        settings = build(given)
        if notes:
            settings._origin_notes = notes
        return settings

    @model_validator(mode="after")
    def _off_loopback_needs_a_key(self) -> Self:
        reachable_at = self.published_host or self.host
        if not self.keys and not _is_loopback(reachable_at):
            raise ValueError(
                f"refusing to serve on {reachable_at} without an API key, since others can reach it: "
                "set LODDIS_API_KEY, or serve on 127.0.0.1"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the file, below all other sources, and what notes which of them gave what."""
        above = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        file = ConfigFileSource(settings_cls, cls.file_fields)
        return (*above, file, OriginSource(settings_cls, env_prefix=ENV_PREFIX))


def _is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
