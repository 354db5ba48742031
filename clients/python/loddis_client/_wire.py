"""From what is asked to what goes over the wire, by httpx's transports.

`httpx.Client` is for the web: cookies, redirects, authentication, proxies of the environment. A detection needs none of
it and asks thirty times a second, so requests go to the transport below it, which keeps the connections.
"""

from __future__ import annotations

from functools import lru_cache

import httpx

from loddis_client._errors import ConnectionFailed, LoddisClientError, TimedOut, UsageError
from loddis_client._requests import Request, base_headers, check_base_url

__all__ = ["LIMITS", "RETRIED", "Wire", "may_retry", "translate"]

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
RETRIED = (429, 503)
KNOWN_ADDRESSES = 64  # a program asks for few: one route, one set of options


class Wire:
    """What all requests of a client have in common.

    Args:
        base_url: Of the server.
        api_key: If any.
        timeout_s: For each wait: to connect, to send, to be answered.

    Attributes:
        url: Base URL, with a trailing slash.

    Raises:
        UsageError: A base URL that is none, a time-out that is not above 0.
    """

    def __init__(self, base_url: str, *, api_key: str | None, timeout_s: float) -> None:
        if not timeout_s > 0:
            raise UsageError(f"timeout_s must be above 0, got {timeout_s}")
        self.url = check_base_url(base_url)
        self._headers = base_headers(api_key)
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._address = lru_cache(KNOWN_ADDRESSES)(self._parse)

    def request(self, wanted: Request) -> httpx.Request:
        """Build what a transport takes."""
        return httpx.Request(
            wanted.method,
            self._address(wanted.path, tuple(wanted.params.items())),
            headers=self._headers | wanted.headers,
            content=wanted.body,
            extensions=self._extensions,
        )

    def _parse(self, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
        address = httpx.URL(self.url + path)
        return address.copy_merge_params(dict(params)) if params else address


def may_retry(error: Exception) -> bool:
    """Tell whether a request that failed so may go better next time; time-outs are not retried: they cost too much."""
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.TimeoutException)


def translate(error: httpx.HTTPError, url: str) -> LoddisClientError:
    """Give the client's own error for one of the HTTP library."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{url} did not answer in time ({type(error).__name__})")
    return ConnectionFailed(f"no connection to {url}: {error or type(error).__name__}")
