"""From what is asked to what goes over the wire, and back, by httpx's transports.

`httpx.Client` is for the web: cookies, redirects, authentication, proxies of the environment. A detection needs none of
it and asks thirty times a second, so requests go to the transport below it, which keeps the connections.
"""

from __future__ import annotations

import http
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import httpx

from loddis_client._errors import ConnectionFailed, LoddisClientError, ProtocolError, TimedOut, UsageError
from loddis_client._requests import Request, base_headers, check_base_url

__all__ = ["LARGEST_ANSWER", "LIMITS", "RETRIED", "SILENCE_S", "Answer", "Receipt", "Wire", "may_retry", "translate"]

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
RETRIED = (429, 503)
SILENCE_S = 30.0  # of a stream: a server that has nothing to say gives a sign of life every ten seconds
KNOWN_ADDRESSES = 64  # a program asks for few: one route, one set of options
LARGEST_ANSWER = 2**28  # bytes; a picture of the largest frame that a server takes stays below


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    Attributes:
        url: Asked.
        status: Of HTTP.
        headers: By names in any case.
        content: The body.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def reason(self) -> str:
        """What the status is called."""
        try:
            return http.HTTPStatus(self.status).phrase
        except ValueError:
            return ""


class Wire:
    """What all requests of a client have in common.

    Args:
        base_url: Of the server.
        api_key: If any.
        timeout_s: For an answer.

    Attributes:
        url: Base URL, with a trailing slash.

    Raises:
        UsageError: A base URL, key or time-out that cannot be.
    """

    def __init__(self, base_url: str, *, api_key: str | None, timeout_s: float) -> None:
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise UsageError(f"timeout_s must be above 0 and finite, got {timeout_s}")
        self.url = check_base_url(base_url)
        self.timeout_s = timeout_s
        self._headers = base_headers(api_key)
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._address = lru_cache(KNOWN_ADDRESSES)(self._parse)
        self._address("", ())

    def request(self, wanted: Request, *, silence_s: float = 0.0) -> httpx.Request:
        """Build what a transport takes.

        Args:
            wanted: What is asked.
            silence_s: How long the answer may pause, if that is longer than the client's time-out.
        """
        timeout = self._extensions["timeout"]
        if silence_s > self.timeout_s:
            timeout = {**timeout, "read": silence_s}
        return httpx.Request(
            wanted.method,
            self._address(wanted.path, tuple(wanted.params.items())),
            headers=self._headers | wanted.headers,
            content=wanted.body,
            extensions={"timeout": timeout},
        )

    def _parse(self, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
        try:
            address = httpx.URL(self.url + path)
            address.host.encode("idna")  # what a resolver does with it first
            return address.copy_merge_params(dict(params)) if params else address
        except (httpx.InvalidURL, ValueError) as error:  # UnicodeError is a ValueError
            raise UsageError(f"{self.url} cannot be asked: {error}") from error


class Receipt:
    """Gathers an answer, within its limits of time and bytes.

    Args:
        wire: That the request went over.
        request: That is answered.
    """

    def __init__(self, wire: Wire, request: httpx.Request) -> None:
        self._url = str(request.url)
        self._deadline = time.monotonic() + wire.timeout_s
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take a part of the body.

        Raises:
            ReadTimeout: The time is over, however steadily bytes may drip.
            ProtocolError: There is more of it than any answer has.
        """
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > LARGEST_ANSWER:
            raise ProtocolError(f"{self._url} answers without end: more than {LARGEST_ANSWER} bytes")
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("the answer was not whole in time")

    def answer(self, response: httpx.Response) -> Answer:
        """Give the whole."""
        return Answer(self._url, response.status_code, response.headers, b"".join(self._chunks))


def may_retry(error: Exception, request: Request) -> bool:
    """Tell whether a request that failed so may go better next time; time-outs are not retried: they cost too much.

    What is not repeatable is tried again only where it was never sent.
    """
    if not request.is_repeatable:
        return isinstance(error, httpx.ConnectError)
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.TimeoutException)


def translate(error: httpx.HTTPError, url: str) -> LoddisClientError:
    """Give the client's own error for one of the HTTP library."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{url} did not answer in time ({type(error).__name__})")
    return ConnectionFailed(f"no connection to {url}: {error or type(error).__name__}")
