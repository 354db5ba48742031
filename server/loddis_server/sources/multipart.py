"""MJPEG over HTTP: the request is made here, to the address that the parent has checked; FFmpeg only gets the body.

So nothing follows a redirect, and no proxy of the environment is asked.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import secrets
import socket
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.wire import FailureReason

__all__ = ["MultipartBody", "authorisation"]

REASONS: dict[int, FailureReason] = {401: "unauthorised", 403: "unauthorised", 404: "not_found", 410: "not_found"}
PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
HASHES = {"MD5": "md5", "SHA-256": "sha256"}


class MultipartBody:
    """The body of the answer to a GET, as a file that cannot seek.

    Args:
        connect: Gives a connection to the server, TLS included.
        url: Address, with the user and password that the server asks for.

    Raises:
        MediaError: The server answers something else than `multipart/x-mixed-replace`.
        OSError: The connection ended.
    """

    def __init__(self, connect: Callable[[], socket.socket], url: str) -> None:
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connect = connect
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._http.auto_open = 0  # no connection but those that are given
        user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        self._response = self._get(None)
        challenge = self._response.headers.get("WWW-Authenticate")
        if self._response.status == 401 and user is not None and challenge is not None:
            self._response.close()
            self._response = self._get(authorisation(challenge, *user, path=self._path))
        self._check()

    def read(self, size: int) -> bytes:
        """Give what has arrived, up to `size` bytes; wait only if nothing has."""
        return self._response.read1(size)

    def close(self) -> None:
        """End the connection."""
        self._response.close()
        self._http.close()

    def _get(self, credentials: str | None) -> http.client.HTTPResponse:
        """Ask over a connection of its own: many cameras close theirs after a refusal, and not all of them say so."""
        self._http.close()
        self._http.sock = self._connect()
        try:
            self._http.request("GET", self._path, headers={"Authorization": credentials} if credentials else {})
            return self._http.getresponse()
        except http.client.HTTPException as error:
            raise MediaError("damaged", f"the server's answer is no HTTP ({type(error).__name__})") from None

    def _check(self) -> None:
        status = self._response.status
        if 300 <= status < 400:
            raise MediaError(
                "refused", f"the server answered {status}, which sends to another address; give that one instead"
            )
        if status != 200:
            raise MediaError(REASONS.get(status, "lost"), f"the server answered {status}")
        media_type = self._response.headers.get_content_type()
        if media_type != "multipart/x-mixed-replace":
            raise MediaError(
                "unsupported", f"the server sends {media_type}; expected multipart/x-mixed-replace (MJPEG)"
            )


def authorisation(challenge: str, user: str, password: str, *, path: str) -> str:
    """Answer a challenge: Basic, or Digest (RFC 7616) with `qop=auth` or none.

    Args:
        challenge: Value of `WWW-Authenticate`.
        user: Name.
        password: Of the user.
        path: That is asked for, query included.

    Raises:
        MediaError: A scheme that is not known.
    """
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    given = {name.lower(): quoted or bare for name, quoted, bare in PARAMETER.findall(rest)}
    algorithm = given.get("algorithm", "MD5").upper()
    if scheme.lower() != "digest" or algorithm not in HASHES or "nonce" not in given:
        raise MediaError("unauthorised", "the server asks for a kind of login that is not known; Basic and Digest are")

    def digest(text: str) -> str:
        return hashlib.new(HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = given.get("realm", ""), given["nonce"]
    secret, asked = digest(f"{user}:{realm}:{password}"), digest(f"GET:{path}")
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": path}
    if "auth" in given.get("qop", "").split(","):
        own_nonce = secrets.token_hex(8)
        fields["response"] = digest(f"{secret}:{nonce}:00000001:{own_nonce}:auth:{asked}")
        unquoted = f"algorithm={algorithm}, qop=auth, nc=00000001"
        fields["cnonce"] = own_nonce
    else:
        fields["response"] = digest(f"{secret}:{nonce}:{asked}")
        unquoted = f"algorithm={algorithm}"
    if "opaque" in given:
        fields["opaque"] = given["opaque"]
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in fields.items()) + f", {unquoted}"
