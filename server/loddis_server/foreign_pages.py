"""What browsers send for pages that have no business here. Where a server has no keys, this is what guards it.

Only its own machine reaches such a server, but a browser on it sends requests for whatever page is open: of forms,
pictures, scripts. Its headers tell whose page it was: `Origin`, and where there is none `Sec-Fetch-Site` and `Referer`.
No page can forge them, and programs send none.

Whoever owns a domain can point it at this machine once their page is there; the page is then of the server's own
origin, and only `Host` gives it away. Nobody can do so with addresses, names without a domain and `localhost`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from loddis_server.problems import FORBIDDEN, ProblemError

__all__ = ["refuse_foreign_pages"]

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@]+)(:[0-9]*)?")
OTHER_SITES = (b"cross-site", b"same-site")  # the same site may be another port of this machine
SHOWN = 200  # characters of what a client sent


def refuse_foreign_pages(headers: Iterable[tuple[bytes, bytes]], allowed: tuple[str, ...]) -> None:
    """Refuse what is asked under a name that others own, and what a browser sends for a page that is not ours.

    It is asked for every frame: mostly it is a look at three headers that are not there.

    Args:
        headers: Of a request or a WebSocket's handshake, names in lower case.
        allowed: Origins whose pages may call the server.

    Raises:
        ProblemError: It is such a request.
    """
    given = dict(headers)
    host = given.get(b"host", b"")
    if host and not _is_known(host, allowed):
        name = _shown(host)
        raise ProblemError(
            FORBIDDEN,
            "without API keys this server answers to addresses, names without a dot and the hosts of cors_origins, "
            f"not to {name}: list the origin, https://{name} say, in cors_origins, or set LODDIS_API_KEY",
        )
    if (origin := given.get(b"origin")) is not None:
        if not _is_welcome(origin, host, allowed):
            raise ProblemError(
                FORBIDDEN, f"pages of {_shown(origin)} may not do this; the setting cors_origins allows origins"
            )
    elif given.get(b"sec-fetch-site") in OTHER_SITES and not (_is_opened(given) or _is_shown_by(given, allowed)):
        raise ProblemError(FORBIDDEN, "pages of other origins may not do this; the setting cors_origins allows origins")


@lru_cache(maxsize=16)
def _is_known(host: bytes, allowed: tuple[str, ...]) -> bool:
    """Tell whether a `Host` is nobody's, or that of an allowed origin, whatever the port."""
    name = _name_in(host)
    return bool(name) and (_is_nobodys(name) or any(urlsplit(origin).hostname == name for origin in allowed))


@lru_cache(maxsize=16)
def _is_welcome(origin: bytes, host: bytes, allowed: tuple[str, ...]) -> bool:
    """Tell whether a page is one of this server's own, or allowed."""
    page = origin.decode("latin-1")
    return page in allowed or (page.endswith(f"://{host.decode('latin-1')}") and _is_nobodys(_name_in(host)))


def _name_in(host: bytes) -> str:
    """Give a `Host` without its port; empty if it is none."""
    parts = HOST.fullmatch(host.decode("latin-1").lower())
    return "" if parts is None else parts[1]


def _is_nobodys(name: str) -> bool:
    """Tell whether no owner of a domain decides where a name leads."""
    if "." not in name:
        return name != ""
    if name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_opened(given: dict[bytes, bytes]) -> bool:
    """Tell whether somebody went to the address: in a tab, not in a frame of a page."""
    is_navigation = given.get(b"sec-fetch-mode") == b"navigate"
    return is_navigation and given.get(b"sec-fetch-dest", b"document") == b"document"


def _is_shown_by(given: dict[bytes, bytes], allowed: tuple[str, ...]) -> bool:
    """Tell whether an allowed page shows it, as a picture: those are asked for without `Origin`."""
    page = given.get(b"referer", b"").decode("latin-1")
    return any(page == origin or page.startswith(f"{origin}/") for origin in allowed)


def _shown(value: bytes) -> str:
    return value[:SHOWN].decode("latin-1")
