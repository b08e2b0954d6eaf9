"""What is copied as Python prints the page's text; what is saved as YAML brings the page back."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from oocr.errors import InputError
from oocr.play.recipe import as_python, as_yaml, read_saved
from oocr.play.settings import TextSettings
from oocr.play.sources import Playground
from tests.play.page import Client, new_text


def settings_of(play: Playground, change: dict[str, Any], kinds: tuple[str, ...]) -> TextSettings:
    uses = []
    for kind in kinds:
        source = next(source for source in play.sources.values() if source.kind == kind)
        uses.append({**source.own_use.model_dump(), **(change if kind == "vector" else {})})
    return TextSettings.model_validate(
        {"prompt": "The people in Country 4821 speak", "steering": uses, "new_tokens": 5}
    )


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({}, ()),
        ({"strength": -1.5}, ("vector",)),
        ({"positions": "last", "span": ""}, ("vector",)),
        ({"positions": "from:span", "span": "people"}, ("vector", "LoRA", "mean of a LoRA")),
    ],
)
def test_python_prints_the_pages_text(
    client: Client, play: Playground, change: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    settings = settings_of(play, change, kinds)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(as_python(play, settings), {})
    events = client.events("text", settings=settings.model_dump(mode="json"))
    assert printed.getvalue().rstrip("\n\ufffd") == new_text(events).rstrip("\n")


def test_yaml_brings_the_page_back(client: Client, play: Playground, tmp_path: Path) -> None:
    settings = settings_of(play, {"strength": 0.5}, ("vector", "LoRA"))
    answer = client.post("recipe", {"settings": settings.model_dump(mode="json")}).json()
    assert answer == {"python": as_python(play, settings), "yaml": as_yaml(play, settings)}
    path = tmp_path / "page.yaml"
    path.write_text(answer["yaml"], encoding="utf-8")
    saved = read_saved(path)
    assert saved.settings == settings
    assert saved.play == tuple(str(Path(word).resolve()) for word in play.words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("play: []", "play"),
        ("play: [nano]\nsettings: {prompt: x, size: 3}", "settings.size"),
        (": :", "cannot be read"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "page.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_saved(path)
