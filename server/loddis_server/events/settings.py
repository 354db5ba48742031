"""What an operator can set about events: where they are kept, for how long, and who is told."""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from loddis_server.events.event import EventKind

__all__ = [
    "RECEIVER_NAME",
    "EventSettings",
    "MqttSettings",
    "ReceiverSettings",
    "RetentionSettings",
    "WebhookSettings",
]

RECEIVER_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

MIB = 2**20
SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = range(24, 65)  # of the Standard Webhooks scheme
PLACEHOLDERS = frozenset({"stream", "kind"})


def _is_supported(url: SecretStr | None) -> SecretStr | None:
    if url is not None:
        try:
            parsed = make_url(url.get_secret_value())
        except ArgumentError:
            raise ValueError("expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME") from None
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ValueError(f"expected a URL of sqlite or postgresql, got {backend}")
        if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ValueError("expected the path of a file, sqlite:///PATH: a database in memory keeps nothing")
    return url


def _is_webhook_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError(
            f"expected {SECRET_PREFIX} and the base64 of {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} bytes"
        )
    return secret


WebhookSecret = Annotated[SecretStr, AfterValidator(_is_webhook_secret)]


class RetentionSettings(BaseModel):
    """How long events are kept. Those that a receiver still waits for are kept longer, up to a limit of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    max_age_days: float = Field(
        default=90, gt=0, le=36_500, allow_inf_nan=False, description="Events stored longer ago are deleted, days."
    )
    max_bytes: int = Field(
        default=4096 * MIB,
        ge=4 * MIB,
        description="Size of the database from which on the oldest events are deleted, bytes.",
    )
    undelivered_max_age_days: float = Field(
        default=180,
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="Events that a receiver still waits for are kept this long whatever their age and size, days; "
        "a receiver that is gone for longer loses them.",
    )
    interval_s: float = Field(
        default=60, gt=0, allow_inf_nan=False, description="How often events are looked through, seconds."
    )


class ReceiverSettings(BaseModel):
    """What every receiver of events has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        pattern=RECEIVER_NAME,
        description="Of the receiver, in metrics, logs and the outbox. Under another name it is another receiver.",
    )
    kinds: frozenset[EventKind] = Field(default=frozenset(), description="Kinds of events to deliver; if none, all.")
    timeout_s: float = Field(
        default=10, gt=0, le=300, allow_inf_nan=False, description="For one delivery, from connecting on, seconds."
    )
    retry_min_s: float = Field(
        default=1, gt=0, allow_inf_nan=False, description="Wait after a first failure, seconds; it doubles each time."
    )
    retry_max_s: float = Field(
        default=300, gt=0, allow_inf_nan=False, description="Longest wait between two tries, seconds."
    )

    def wants(self, kind: EventKind) -> bool:
        """Tell whether a kind of event is delivered here."""
        return not self.kinds or kind in self.kinds

    @model_validator(mode="after")
    def _waits_are_in_order(self) -> Self:
        if self.retry_min_s > self.retry_max_s:
            raise ValueError(f"retry_min_s {self.retry_min_s:g} is over retry_max_s {self.retry_max_s:g}")
        return self


class WebhookSettings(ReceiverSettings):
    """A server that is told of each event by POST. No redirect is followed and no proxy of the environment is used."""

    url: AnyHttpUrl = Field(description="Where to post to.")
    secrets: tuple[WebhookSecret, ...] = Field(
        min_length=1,
        description="Keys that sign each message, `whsec_` and base64; several while a key is being replaced.",
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that vouch for the server; the public ones if none."
    )
    max_refusals: int = Field(
        default=5, ge=1, le=1000, description="Refusals (4xx) after which one event is set aside and the next one sent."
    )

    @field_validator("url")
    @classmethod
    def _url_holds_no_password(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        if url.username or url.password:
            raise ValueError("must not hold a user or password: the signature is what a receiver checks")
        return url


class MqttSettings(ReceiverSettings):
    """An MQTT broker that each event is published to, with QoS 1."""

    host: str = Field(min_length=1, description="Of the broker.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Of the broker; 8883 with TLS, else 1883.")
    tls: bool = Field(default=False, description="Encrypt the connection, and check the broker's certificate.")
    ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that vouch for the broker; the system's if none."
    )
    certificate_file: Path | None = Field(
        default=None, description="Certificate (PEM) by which the broker knows this server."
    )
    key_file: Path | None = Field(default=None, description="Key (PEM) of that certificate.")
    username: str | None = Field(default=None, min_length=1, description="For brokers that ask for one.")
    password: SecretStr | None = Field(default=None, description="Of that user.")
    client_id: str | None = Field(
        default=None, min_length=1, max_length=128, description="Known to the broker; a new one each time if none."
    )
    keep_alive_s: int = Field(
        default=30, ge=1, le=65535, description="After 1.5 times this without a word the connection is dead, seconds."
    )
    topic: str = Field(
        default="loddis/{stream}/{kind}",
        description="Topic of an event; {stream} and {kind} stand for its own, with whatever a topic cannot hold "
        "replaced by `_`.",
    )
    availability_topic: str = Field(
        default="loddis/availability",
        description="Says `online` while the server is connected, else `offline`; retained.",
    )

    @field_validator("topic")
    @classmethod
    def _topic_is_a_template(cls, topic: str) -> str:
        for name in re.findall(r"\{([^{}]*)\}", topic):
            if name not in PLACEHOLDERS:
                raise ValueError(f"expected {{stream}} and {{kind}} only, got {{{name}}}")
        return _plain_topic(topic)

    @field_validator("availability_topic")
    @classmethod
    def _availability_topic_is_plain(cls, topic: str) -> str:
        return _plain_topic(topic)

    @model_validator(mode="after")
    def _secrets_fit(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file come together")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file, certificate_file and key_file need tls")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        return self


def _plain_topic(topic: str) -> str:
    if not topic or len(topic.encode()) > 1024 or any(character in topic for character in "+#\0"):
        raise ValueError(f"expected 1 to 1024 bytes without + and #, got {topic!r}")
    return topic


class EventSettings(BaseModel):
    """All about events."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[SecretStr | None, AfterValidator(_is_supported)] = Field(
        default=None,
        description="`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; if none, the file events.db in "
        "$STATE_DIRECTORY, or in loddis/ in $XDG_STATE_HOME or ~/.local/state.",
    )
    lock_timeout_s: float = Field(
        default=5, gt=0, le=60, allow_inf_nan=False, description="How long to wait for a locked database, seconds."
    )
    memory_max_bytes: int = Field(
        default=64 * MIB,
        ge=MIB,
        description="Events that the database does not take are kept in memory up to this size, bytes; "
        "beyond it the oldest are dropped, and counted.",
    )
    retention: RetentionSettings = Field(default=RetentionSettings(), description="How long events are kept.")
    webhooks: tuple[WebhookSettings, ...] = Field(default=(), description="Servers that are told by POST.")
    mqtt: tuple[MqttSettings, ...] = Field(default=(), description="Brokers that events are published to.")

    @property
    def receivers(self) -> tuple[WebhookSettings | MqttSettings, ...]:
        """All receivers."""
        return (*self.webhooks, *self.mqtt)

    @property
    def url(self) -> URL:
        """Where the database is; of SQLite, an absolute path."""
        if self.database_url is None:
            return URL.create("sqlite", database=str(_state_folder() / "events.db"))
        url = make_url(self.database_url.get_secret_value())
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        return URL.create("sqlite", database=str(Path(url.database or "").absolute()))

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"several receivers are called {name!r}: the outbox could not tell them apart")
        return self


def _state_folder() -> Path:
    """Give the folder for what lasts: systemd's own for the service, else the user's."""
    if folder := os.environ.get("STATE_DIRECTORY"):
        return Path(folder.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "loddis"
