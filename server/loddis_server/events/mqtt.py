"""Events by MQTT, with QoS 1: a broker confirms each.

`availability_topic` holds `online` while the server is connected; the broker itself puts `offline` there, as the last
will, when the connection is lost.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from loddis_server.events.causes import CONNECTION_LOST, UNREACHABLE, error_text, network_cause
from loddis_server.events.certificates import tls_context
from loddis_server.events.event import Event
from loddis_server.events.receiver import ReceiverKind, RetryLaterError
from loddis_server.events.settings import MqttSettings

__all__ = ["MqttReceiver", "topic_of"]

AT_LEAST_ONCE = 1
PORT, TLS_PORT = 1883, 8883
WRONG_USER_CODES = frozenset({4, 5, 134, 135})  # bad user name or password, not authorised; of MQTT 3.1.1, and of 5
NOT_IN_A_LEVEL = re.compile(r"[+#/\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def topic_of(event: Event, template: str) -> str:
    """Give the topic of an event.

    Args:
        event: Its stream id stands for one level of the topic; what would be another level or a wildcard becomes `_`.
        template: With {stream} and {kind}.
    """
    stream = NOT_IN_A_LEVEL.sub("_", event.stream_id)
    topic = template.replace("{kind}", event.kind).replace("{stream}", stream)
    return f"_{topic[1:]}" if topic.startswith("$") else topic  # $ is the broker's own


class MqttReceiver:
    """A broker that events are published to.

    Args:
        settings: Of the receiver.

    Raises:
        ConfigError: Its certificates cannot be used.
    """

    kind: ReceiverKind = "mqtt"
    keeps_connection = True
    max_refusals = 1  # a broker has no way to refuse one event

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._tls: ssl.SSLContext | None = None
        if settings.tls:
            self._tls = tls_context(
                settings.name,
                ca_file=settings.ca_file,
                certificate_file=settings.certificate_file,
                key_file=settings.key_file,
            )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[_MqttConnection]:
        """Connect, and say `online`; `offline` on the way out."""
        settings = self._settings
        client = aiomqtt.Client(
            settings.host,
            settings.port or (TLS_PORT if settings.tls else PORT),
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            identifier=settings.client_id,
            will=aiomqtt.Will(settings.availability_topic, "offline", qos=AT_LEAST_ONCE, retain=True),
            keepalive=settings.keep_alive_s,
            timeout=settings.timeout_s,
            tls_context=self._tls,
        )
        try:
            async with client:
                connection = _MqttConnection(client, settings)
                try:
                    await connection.publish(settings.availability_topic, "online", retain=True)
                    try:
                        yield connection
                    finally:  # the will is for connections that are lost, not for those that are closed
                        with suppress(RetryLaterError):
                            await connection.publish(settings.availability_topic, "offline", retain=True)
                finally:
                    await connection.close()
        except aiomqtt.MqttError as error:
            raise RetryLaterError(_connect_cause(error), detail=error_text(error)) from None


def _connect_cause(error: aiomqtt.MqttError) -> str:
    """Tell why there is no connection, or none any more."""
    if isinstance(error, MqttConnectError):
        code = getattr(error.rc, "value", error.rc)
        return "refuses the user or the password" if code in WRONG_USER_CODES else "refuses the connection"
    return network_cause(error) or (CONNECTION_LOST if isinstance(error, aiomqtt.MqttCodeError) else UNREACHABLE)


class _MqttConnection:
    def __init__(self, client: aiomqtt.Client, settings: MqttSettings) -> None:
        self._client = client
        self._settings = settings
        self._listener = asyncio.create_task(self._listen())

    async def send(self, event: Event) -> None:
        await self.publish(topic_of(event, self._settings.topic), event.model_dump_json())

    async def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Publish, and wait for the broker's confirmation or the end of the connection, whichever comes first."""
        publishing = asyncio.create_task(self._client.publish(topic, payload, AT_LEAST_ONCE, retain))
        try:
            await asyncio.wait((publishing, self._listener), return_when=asyncio.FIRST_COMPLETED)
            if not publishing.done():
                raise RetryLaterError(CONNECTION_LOST)
            try:
                publishing.result()
            except aiomqtt.MqttError as error:
                raise RetryLaterError(network_cause(error) or CONNECTION_LOST, detail=error_text(error)) from None
            except ValueError as error:
                raise RetryLaterError("the event cannot be published", detail=error_text(error)) from None
        finally:
            publishing.cancel()

    async def lost(self) -> None:
        await asyncio.wait((self._listener,))

    async def close(self) -> None:
        """End the task that watches the connection."""
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener

    async def _listen(self) -> None:
        """Wait for messages: none is subscribed to, but the wait ends when the connection does."""
        with suppress(aiomqtt.MqttError):
            async for _ in self._client.messages:
                pass
