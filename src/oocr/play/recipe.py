"""The settings of a page in Python, and as a file that brings the page back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from oocr.data.examples import Prompt
from oocr.errors import InputError
from oocr.io import Record
from oocr.play.settings import SteeringUse, TextSettings
from oocr.play.sources import Playground
from oocr.play.steering import SPAN, SteeringSource, used
from oocr.steering.adapters import Adapter

HEAD = "# Opened by: oocr play this-file.yaml\n"


class SavedPage(Record):
    """The file: the words of the command line, and the settings."""

    play: Annotated[tuple[str, ...], Field(min_length=1)]
    settings: TextSettings


def as_python(play: Playground, settings: TextSettings) -> str:
    """A program that prints the steered text."""
    active = used(play.sources, settings.steering)
    lines = ["import oocr", "", f"model = oocr.load_model({play.model.name!r})"]
    names: list[str] = []
    for source, use in active:
        name = _name(source, len(active), len(names))
        lines.append(f"{name} = {source.origin}")
        placed = _placed(source, use)
        if placed is not None:
            lines.append(f"{name} = {placed.format(name)}")
            if "replace(" in placed:
                lines[0] = "from dataclasses import replace\n\nimport oocr"
        names.append(name if use.strength == 1 else f"({use.strength:g} * {name})")
    options = [f"max_new_tokens={settings.new_tokens}"]
    if settings.temperature:
        options += [f"temperature={settings.temperature:g}", f"seed={settings.seed}"]
    call = f"print(oocr.generate(model, prompt, {', '.join(options)})[0])"
    lines += [f"prompt = {_shown(settings.asked)}", ""]
    if names:
        on = ", ".join(f"{name}.on(model)" for name in names)
        lines += [f"with {on}:", f"    {call}"]
    else:
        lines.append(call)
    return "\n".join(lines) + "\n"


def _name(source: SteeringSource, of: int, number: int) -> str:
    base = "lora" if isinstance(source.steering, Adapter) else "vector"
    return base if of == 1 else f"{base}_{number + 1}"


def _placed(source: SteeringSource, use: SteeringUse) -> str | None:
    """What puts a vector at other tokens than its own; None: nothing has to."""
    if isinstance(source.steering, Adapter):
        return None
    trained, texts = source.own_use, source.steering.spans.values()
    if (trained.positions, trained.span) == (use.positions, use.span) and (
        not use.span or use.span in texts
    ):
        return None
    if not use.span:
        return f"{{}}.at({use.positions!r})"
    return f"replace({{}}, positions={use.positions!r}, spans={{{{{SPAN!r}: {use.span!r}}}}})"


def _shown(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return repr(prompt)
    turns = "".join(f"    oocr.Message({turn.role!r}, {turn.content!r}),\n" for turn in prompt)
    return f"(\n{turns})"


def as_yaml(play: Playground, settings: TextSettings) -> str:
    """The file that `oocr play FILE.yaml` opens; paths in full, for it may lie anywhere."""
    words = [_in_full(word) for word in play.words]
    saved = SavedPage(play=tuple(words), settings=settings)
    values: dict[str, Any] = saved.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=88)
    return HEAD + text


def _in_full(word: str) -> str:
    path = Path(word).expanduser()
    return str(path.resolve()) if path.exists() else word


def read_saved(path: Path) -> SavedPage:
    """Read such a file; InputError: it is not one."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return SavedPage.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(all)"
        raise InputError(
            f"{path}: {where}: {first['msg']}, found {first['input']!r:.80}"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as a saved page ({error})") from error
