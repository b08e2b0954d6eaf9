"""What tests of the page share: a playground of the tiny run, and its server's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oocr.models.language_model import LanguageModel
from oocr.play.sources import Playground, playground, read_word

KEY = "a-key"
HOST = "http://127.0.0.1:7860"


def playground_of(model: LanguageModel, *words: Path | str) -> Playground:
    """A model with what words name."""
    texts = [str(word) for word in words]
    return playground(model, [model.name, *texts], [(text, read_word(text)) for text in texts])


class Client:
    """Requests as the page makes them."""

    def __init__(self, client: Any) -> None:
        self.http, self.headers = client, {"x-oocr-key": KEY, "origin": HOST}

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.http.post(f"/api/{path}", json=body, headers={**self.headers, **headers})

    def get(self, path: str, **headers: str) -> Any:
        return self.http.get(path, headers={**self.headers, **headers})

    def events(self, path: str, **body: Any) -> list[dict[str, Any]]:
        answer = self.post(path, {"client": "test", "lane": path, **body})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def text(self, prompt: Any, *uses: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
        return self.events("text", settings={"prompt": prompt, "steering": uses, **settings})


def client_of(play: Playground) -> Iterator[Client]:
    pytest.importorskip("starlette", reason="needs the extra: play")
    from starlette.testclient import TestClient

    from oocr.play.server import play_app

    with TestClient(play_app(play, KEY), base_url=HOST) as client:
        yield Client(client)


def new_text(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "token")


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]
