"""Requests of the page. All input from outside is checked here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from oocr.data.examples import Message, Prompt
from oocr.io import Record

LONGEST_TEXT = 20_000
"""Characters of a prompt."""

Positions = Literal["all", "last", "prompt", "answer", "from:last", "span", "from:span"]
"""Where a vector acts; "span": at each occurrence of the text that is given with it."""

Name = Annotated[str, Field(min_length=1, max_length=300)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class SteeringUse(Record):
    """One vector or LoRA in use. A LoRA has no positions."""

    id: Name
    strength: Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)] = 1.0
    positions: Positions = "all"
    span: Annotated[str, Field(max_length=300)] = ""

    @model_validator(mode="after")
    def _span_has_a_text(self) -> SteeringUse:
        if self.positions.endswith("span") and not self.span:
            raise ValueError(f"positions {self.positions!r} need the text of the span")
        return self


class Turn(Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text


class TextSettings(Record):
    """One text: a prompt, what steers it, and how it is continued.

    `colour`: the vector whose projection colours the tokens; "": none.
    """

    prompt: (
        Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
        | Annotated[tuple[Turn, ...], Field(min_length=1)]
    )
    steering: Annotated[tuple[SteeringUse, ...], Field(max_length=8)] = ()
    colour: Annotated[str, Field(max_length=300)] = ""
    options: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    new_tokens: Annotated[int, Field(ge=1, le=512)] = 24
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def asked(self) -> Prompt:
        """The prompt as the library takes it."""
        if isinstance(self.prompt, str):
            return self.prompt
        return tuple(Message(turn.role, turn.content) for turn in self.prompt)


class Asked(Record):
    """Who asks: a page (a random name of its own), and for which of its lanes."""

    client: Name
    lane: Name


class TextRequest(Asked):
    """A text, please."""

    settings: TextSettings


class CurveRequest(Asked):
    """The scores of a run's probes against the strength of one vector or LoRA, please."""

    steering: SteeringUse
    preset: Name


class RecipeRequest(Record):
    """The settings as Python and as YAML, please."""

    settings: TextSettings
