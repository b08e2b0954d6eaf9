"""The routes of the page, and the data behind them."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from oocr.errors import InputError
from oocr.io import Record
from oocr.models.sources.bundled import millions
from oocr.play.curve import POINTS, SMALL, curve_events
from oocr.play.guard import Guard
from oocr.play.lane import takes_turns, text_events
from oocr.play.recipe import as_python, as_yaml
from oocr.play.settings import CurveRequest, RecipeRequest, TextRequest, TextSettings
from oocr.play.sources import Playground
from oocr.play.turns import Event, Turns

PAGE = Path(__file__).parent / "page"
MOST_BYTES = 200_000
"""Of a request."""

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

RequestT = TypeVar("RequestT", bound=Record)


def new_key() -> str:
    """A secret for the address."""
    return secrets.token_urlsafe(18)


def play_app(play: Playground, key: str, opening: TextSettings | None = None) -> Starlette:
    """The whole app; `opening` are the settings that a saved page brings back."""
    turns = Turns()

    async def start(_request: Request) -> Response:
        return JSONResponse(start_values(play, opening))

    async def text(request: Request) -> Response:
        asked, refused = await _body(request, TextRequest)
        if asked is None:
            return refused
        try:
            shares = takes_turns(play.model, play.sources, asked.settings)
        except InputError as error:
            return PlainTextResponse(str(error), 422)

        def work() -> Iterator[Event]:
            return text_events(play.model, play.sources, asked.settings)

        pauses = ("token",) if shares else ()
        return _streamed(turns.events(asked.client, asked.lane, work, pauses=pauses))

    async def curve(request: Request) -> Response:
        asked, refused = await _body(request, CurveRequest)
        if asked is None:
            return refused

        def work() -> Iterator[Event]:
            return curve_events(play, asked.steering, asked.preset)

        return _streamed(turns.events(asked.client, asked.lane, work, rank=1, pauses=POINTS))

    async def recipe(request: Request) -> Response:
        asked, refused = await _body(request, RecipeRequest)
        if asked is None:
            return refused
        try:
            texts = {
                "python": as_python(play, asked.settings),
                "yaml": as_yaml(play, asked.settings),
            }
        except InputError as error:
            return PlainTextResponse(str(error), 422)
        return JSONResponse(texts)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        yield
        turns.close()

    posts = {"text": text, "curve": curve, "recipe": recipe}
    return Starlette(
        routes=[
            Route("/api/start", start),
            *(Route(f"/api/{name}", answer, methods=["POST"]) for name, answer in posts.items()),
            *_files(),
        ],
        middleware=[Middleware(Guard, key=key)],
        lifespan=life,
    )


def _files() -> Iterator[Route]:
    """The page's own files, read once; nothing else of the disk can be asked for."""
    for path in sorted(PAGE.iterdir()):
        if path.suffix in KINDS:
            content, kind = path.read_bytes(), KINDS[path.suffix]
            address = "/" if path.name == "index.html" else f"/{path.name}"
            yield Route(address, _giving(content, kind))


def _giving(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def give(_request: Request) -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8")

    return give


async def _body(request: Request, kind: type[RequestT]) -> tuple[RequestT | None, Response]:
    """The request's record; or None and the answer that says what is wrong with it."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None, PlainTextResponse(f"a request has at most {MOST_BYTES} bytes", 413)
    try:
        return kind.model_validate_json(body), Response()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        return None, PlainTextResponse(f"{where}: {first['msg']}", 422)


def _streamed(events: AsyncIterator[Event]) -> Response:
    async def lines() -> AsyncIterator[str]:
        async for event in events:
            yield json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def start_values(play: Playground, opening: TextSettings | None) -> dict[str, Any]:
    """Everything that the page knows when it opens."""
    model = play.model
    return {
        "model": {
            "name": model.name,
            "parameters": millions(model.parameters),
            "blocks": model.n_blocks,
            "d_model": model.d_model,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "chat": model.has_chat_template,
            "quick": model.parameters <= SMALL,
        },
        "sources": [source.describe() for source in play.sources.values()],
        "probe_sets": [probe_set.describe() for probe_set in play.probe_sets.values()],
        "examples": list(play.examples),
        "new_tokens": play.new_tokens,
        "notes": list(play.notes),
        "opening": None if opening is None else opening.model_dump(mode="json"),
    }
