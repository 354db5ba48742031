"""Events by POST, signed as the Standard Webhooks scheme has it.

A message is `webhook-id`, `webhook-timestamp` and a JSON body; `webhook-signature` is the HMAC-SHA256 over the three
with a key that both sides hold, in base64 behind `v1,`. The id is the event's own, so that a receiver can tell
repetitions; the time is that of the try, so that a recorded message is worth nothing later.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib.metadata
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson
from pydantic import SecretStr

from loddis_server.events.causes import (
    CONNECTION_LOST,
    NO_ANSWER,
    UNREACHABLE,
    answer_cause,
    error_text,
    network_cause,
)
from loddis_server.events.certificates import tls_context
from loddis_server.events.event import Event
from loddis_server.events.receiver import DeliveryRefusedError, ReceiverKind, RetryLaterError
from loddis_server.events.settings import SECRET_PREFIX, WebhookSettings

__all__ = ["WebhookReceiver", "signatures"]

# What a receiver that works may answer now, and not later: time-out, conflict, too early, too many.
PASSING_STATUSES = frozenset({408, 409, 425, 429})


def signatures(secrets: Sequence[SecretStr], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Give the header `webhook-signature`.

    Args:
        secrets: Keys, `whsec_` and base64; one signature each.
        message_id: The header `webhook-id`.
        timestamp_s: The header `webhook-timestamp`, seconds since 1970.
        body: Of the request.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    parts = []
    for secret in secrets:
        key = base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX))
        parts.append("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode())
    return " ".join(parts)


class WebhookReceiver:
    """A server that takes events by POST.

    Args:
        settings: Of the receiver.

    Raises:
        ConfigError: Its certificates cannot be used.
    """

    kind: ReceiverKind = "webhook"
    keeps_connection = False

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self.max_refusals = settings.max_refusals
        self._tls = (
            tls_context(settings.name, ca_file=settings.ca_file) if settings.ca_file else httpx.create_ssl_context()
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[_WebhookConnection]:
        """Make a client; it connects when there is something to send."""
        async with httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,  # a proxy of the environment is not where the operator said
            follow_redirects=False,
            timeout=self._settings.timeout_s,
            headers={
                "User-Agent": f"loddis/{importlib.metadata.version('loddis')}",
                "Content-Type": "application/json",
            },
        ) as client:
            yield _WebhookConnection(client, self._settings)


class _WebhookConnection:
    def __init__(self, client: httpx.AsyncClient, settings: WebhookSettings) -> None:
        self._client = client
        self._settings = settings

    async def send(self, event: Event) -> None:
        data = event.model_dump(mode="json")
        body = orjson.dumps({"type": event.kind, "timestamp": data["occurred_at"], "data": data})
        timestamp_s = int(time.time())
        headers = {
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signatures(self._settings.secrets, event.id, timestamp_s, body),
        }
        try:
            # The client's own limit is for each step: an answer that trickles in would never reach it.
            async with (
                asyncio.timeout(self._settings.timeout_s),
                self._client.stream("POST", str(self._settings.url), content=body, headers=headers) as response,
            ):
                _judge(response)  # the body is not read: it may have no end
        except TimeoutError:
            raise RetryLaterError(NO_ANSWER, detail=f"{self._settings.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise RetryLaterError(_cause(error), detail=error_text(error)) from None

    async def lost(self) -> None:
        await asyncio.get_running_loop().create_future()


def _cause(error: httpx.HTTPError) -> str:
    """Tell why there is no answer."""
    if isinstance(error, httpx.TimeoutException):
        return NO_ANSWER
    if (cause := network_cause(error)) is not None:
        return cause
    if isinstance(error, httpx.NetworkError):
        return UNREACHABLE if isinstance(error, httpx.ConnectError) else CONNECTION_LOST
    return "gave no valid answer"


def _judge(response: httpx.Response) -> None:
    """Tell what an answer means."""
    status = response.status_code
    if response.is_success:
        return
    reason, phrase = answer_cause(status), response.reason_phrase
    detail = "" if reason == f"answered {status} {phrase}" else phrase
    if response.is_redirect:
        raise DeliveryRefusedError(f"{reason}: redirects are not followed", detail=detail)
    if response.is_client_error and status not in PASSING_STATUSES:
        raise DeliveryRefusedError(reason, detail=detail)
    raise RetryLaterError(reason, detail=detail, wait_s=_retry_after_s(response.headers.get("Retry-After", "")))


def _retry_after_s(text: str) -> float | None:
    """Read the header `Retry-After`: seconds, or a date."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
