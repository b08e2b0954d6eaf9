"""The server: who may use it, and what it gives."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra: play")

from oocr.play.server import PAGE, play_app
from oocr.play.sources import Playground
from tests.play.page import HOST, KEY, Client, of_type

ASK = {"client": "a", "lane": "b", "settings": {"prompt": "yes"}}


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/start"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""]
)
def test_a_strangers_host_is_refused(client: Client, path: str, host: str) -> None:
    assert client.get(path, host=host).status_code == 400


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1:9999", "[::1]:7860"])
def test_this_machines_names_are_allowed_on_any_port(client: Client, host: str) -> None:
    answer = client.get("/api/start", host=host, origin=f"http://{host}")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:8000", HOST.replace("http", "https")],
)
def test_a_foreign_origin_is_refused(client: Client, origin: str) -> None:
    assert client.post("text", ASK, origin=origin).status_code == 403
    assert client.get("/", origin=origin).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_sites_page_is_refused(client: Client, site: str) -> None:
    assert client.post("text", ASK, **{"sec-fetch-site": site}).status_code == 403
    assert client.post("text", ASK, **{"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("key", ["", "a-kez", "a-key "])
def test_without_the_key_nothing_is_told(client: Client, key: str) -> None:
    for answer in (
        client.get("/api/start", **{"x-oocr-key": key}),
        client.post("text", ASK, **{"x-oocr-key": key}),
    ):
        assert answer.status_code == 403
        assert "open the address" in answer.text


def test_the_page_loads_nothing_from_elsewhere_and_has_no_secret(client: Client) -> None:
    page = client.get("/", **{"x-oocr-key": ""})
    policy = page.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
    )
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert "a-key" not in page.text
    names = [name for name in re.findall(r'(?:src|href)="([^"]+)"', page.text) if ":" not in name]
    assert sorted(names) == ["main.js", "play.css"]
    for name in ("play.css", *(path.name for path in PAGE.glob("*.js"))):
        text = client.get(f"/{name}").text
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text
        ), name
    assert not re.search(r"<script(?! type=\"module\" src)|\bon\w+=|style=", page.text)


@pytest.mark.parametrize(
    "path", ["/../server.py", "/server.py", "/%2e%2e/server.py", "/play.css/x"]
)
def test_nothing_else_of_the_disk_is_given(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"new_tokens": 0}, "new_tokens"),
        ({"new_tokens": 513}, "new_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"other": 1}, "other"),
        ({"steering": [{"id": "x", "positions": "here"}]}, "positions"),
        ({"steering": [{"id": "x", "positions": "span"}]}, "text of the span"),
        ({"steering": [{"id": "x", "strength": "NaN"}]}, "strength"),
    ],
)
def test_wrong_settings_are_named(client: Client, change: dict[str, Any], words: str) -> None:
    answer = client.post("text", {**ASK, "settings": {"prompt": "yes", **change}})
    assert answer.status_code == 422
    assert words in answer.text


def test_what_is_too_large_is_not_read(client: Client) -> None:
    assert client.post("text", {**ASK, "settings": {"prompt": "x" * 300_000}}).status_code == 413
    pieces = (b"x" * 50_000 for _ in range(6))
    answer = client.http.post("/api/text", content=pieces, headers=client.headers)
    assert answer.status_code == 413


def test_a_browser_that_goes_away_ends_its_text(play: Playground) -> None:
    """The server's own disconnect, as when a page is closed or asks for something else."""
    body = json.dumps({**ASK, "settings": {"prompt": "yes", "new_tokens": 512}}).encode()
    headers = {"host": "localhost", "x-oocr-key": KEY, "content-type": "application/json"}
    scope = {"type": "http", "method": "POST", "path": "/api/text", "query_string": b""}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    lines: list[bytes] = []

    async def ask() -> None:
        gone, asked = asyncio.Event(), iter([{"type": "http.request", "body": body}])

        async def receive() -> dict[str, Any]:
            if (message := next(asked, None)) is not None:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            lines.append(message.get("body", b""))
            gone.set()

        await play_app(play, KEY)(scope, receive, send)

    asyncio.run(ask())
    assert b'"end"' not in b"".join(lines)


def test_what_does_not_go_with_the_model_is_an_event(client: Client, play: Playground) -> None:
    answer = client.post("text", {**ASK, "settings": {"prompt": "yes", "steering": [{"id": "x"}]}})
    assert answer.status_code == 422
    assert "'x': not loaded here; allowed: tiny-" in answer.text
    events = client.text([{"role": "user", "content": "yes"}])
    assert "chat template" in of_type(events, "error")[0]["message"]
    assert of_type(client.text("yes", new_tokens=2), "end")
    assert play.model.n_blocks == client.get("/api/start").json()["model"]["blocks"]
