"""Print what the server's OpenAPI document says of its answers: the types of the client are made of it.

    npm run schema

Paths are left out: what the client needs of them stands in its code, and their prose changes more often than answers.
"""

from __future__ import annotations

import json
import sys

from loddis_server.app import create_app
from loddis_server.settings import ServerSettings

document = create_app(ServerSettings()).openapi()
json.dump({**document, "paths": {}}, sys.stdout)
