"""Why a delivery failed, in sentences of our own: whoever may read events may read these.

Errors of the network name addresses, answers hold whatever the receiver pleases: both are for the server's log only.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus

__all__ = ["CONNECTION_LOST", "NO_ANSWER", "UNREACHABLE", "answer_cause", "error_text", "network_cause"]

NO_ANSWER = "did not answer in time"
UNREACHABLE = "cannot be reached"
CONNECTION_LOST = "the connection was lost"

# OpenSSL's X509_V_ERR_…, which Python's ssl has no names for.
CERTIFICATE_FAULTS = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another name",
    64: "its certificate is for another name",  # of which the address is no part
}


def network_cause(error: BaseException) -> str | None:
    """Tell what is wrong with the way to a receiver; None where the error does not come from there."""
    errors = list(_chain(error))
    for each in errors:
        if isinstance(each, ssl.SSLCertVerificationError):
            return CERTIFICATE_FAULTS.get(each.verify_code, "its certificate is not trusted")
    for each in errors:
        if isinstance(each, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(each, TimeoutError):
            return NO_ANSWER
        if isinstance(each, socket.gaierror):
            return "its name cannot be looked up"
        if isinstance(each, ConnectionRefusedError):
            return "refuses connections"
    return None


def answer_cause(status: int) -> str:
    """Tell what was answered by HTTP, with the standard's words for the status and not the receiver's."""
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def error_text(error: BaseException) -> str:
    """Give all that an error says, for the server's log."""
    texts = (str(each) or type(each).__name__ for each in _chain(error))
    return ": ".join(dict.fromkeys(texts))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those that it comes from. Libraries hide them by `from None`, and they tell more."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
