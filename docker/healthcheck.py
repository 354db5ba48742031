"""Exit 0 when the server in this container answers /readyz with 200; otherwise say what it answered and exit 1.

Standard library only. `http.client` and not `urllib`: a proxy from the environment must not see this request.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4.0


def main() -> int:
    """Ask once, at the port the server reads from the same environment."""
    port = int(os.environ.get("LODDIS_PORT", "8080"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(f"{response.status} {body}")
    return 0 if response.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
