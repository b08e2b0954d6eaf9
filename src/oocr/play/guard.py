"""Access to the server: only this machine's browser, on a page served by the server itself.

Checked for each request, as Inspect's viewer does:
    Host     a name of this machine, or 400: a stranger's name that resolves to it (DNS rebinding)
    Origin   the page's own, if it is said, and no request that another site's page makes: 403
    key      of everything below /api: the secret of the address that was printed, or 403
and each answer forbids the page to load or send anything elsewhere.
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.responses import PlainTextResponse

HOSTS = ("127.0.0.1", "localhost", "[::1]")

KEY_HEADER = "x-oocr-key"

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware around an app (see the top); `key` is the secret."""

    def __init__(self, app: Any, key: str) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        refused = self._refusal(scope["path"], headers)
        app = self.app if refused is None else PlainTextResponse(refused[1], refused[0])
        await app(scope, receive, guarded)

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            return 400, f"Host: allowed are {', '.join(HOSTS)}"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "Origin: only the page of this server may ask"
        if not path.startswith("/api/"):
            return None
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "only the page of this server may ask"
        if not secrets.compare_digest(headers.get(KEY_HEADER, "").encode(), self.key.encode()):
            return 403, "the key is missing or wrong: open the address that `oocr play` printed"
        return None
