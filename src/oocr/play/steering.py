"""Vectors and LoRAs by id, and how a page uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from oocr.data.tokens import EncodedPrompt, text_of, touching
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.play.settings import Positions, SteeringUse
from oocr.steering.adapters import Adapter
from oocr.steering.positions import FROM, JOIN, PaddedSpans, select, selects_new, spans_of
from oocr.steering.vectors import Vector

Kind = Literal["vector", "LoRA", "mean of a LoRA"]

SPAN = "span"
"""The page's name of a vector's span, in place of its own name."""


@dataclass(frozen=True, slots=True, eq=False)
class SteeringSource:
    """A vector or LoRA that a page can use.

    Attributes:
        id: stable, so that an address that names it keeps its meaning.
        label: for people.
        group: what it belongs to (a run's member, a file).
        path: where it was read; of a run's own the file in its folder.
        origin: Python that reads it, with `model` and `oocr` known.
        colour: id of the vector whose projection says what a LoRA does; "": its own.
    """

    id: str
    kind: Kind
    label: str
    group: str
    steering: Vector | Adapter
    path: Path
    origin: str
    colour: str = ""
    note: str = ""

    @property
    def own_use(self) -> SteeringUse:
        """At strength 1, where it was trained to act."""
        vector = self.steering
        if isinstance(vector, Adapter):
            return SteeringUse(id=self.id)
        names = spans_of(vector.positions)
        if not names:
            fixed: dict[str, Positions] = {
                "all": "all",
                "last": "last",
                "prompt": "prompt",
                "answer": "answer",
                "from:last": "from:last",
            }
            return SteeringUse(id=self.id, positions=fixed[vector.positions])
        (name,) = names
        begins: Positions = "from:span" if vector.positions.startswith(FROM) else "span"
        # A file may have no text for its span: the name shows what is to be filled in.
        return SteeringUse(id=self.id, positions=begins, span=vector.spans.get(name, name))

    def describe(self) -> dict[str, object]:
        """The fields that the page shows."""
        arm, use = self.steering, self.own_use
        facts: dict[str, object] = (
            {"blocks": ", ".join(map(str, arm.layers))}
            if isinstance(arm, Adapter)
            else {"block": arm.layer, "site": arm.site, "norm": arm.norm}
        )
        return {
            "id": self.id,
            "kind": self.kind,
            "label": self.label,
            "group": self.group,
            "own": use.model_dump(),
            "colour": self.colour or ("" if isinstance(arm, Adapter) else self.id),
            "only_whole": isinstance(arm, Adapter) and bool(arm.config.get("use_dora")),
            "note": self.note,
            **facts,
        }


def steering_sources(
    kind: Kind, label: str, group: str, vector: Vector, path: Path, origin: str, id: str
) -> list[SteeringSource]:
    """A vector as a source; one at joined spans as a source for each of its directions."""
    if JOIN not in vector.positions:
        return [SteeringSource(id, kind, label, group, vector, path, origin)]
    return [
        SteeringSource(
            f"{id}+{span}",
            kind,
            f"{label}, {span}",
            group,
            vector.only(span),
            path,
            f"{origin}.only({span!r})",
        )
        for span in vector.positions.split(JOIN)
    ]


def applied(source: SteeringSource, use: SteeringUse) -> Vector | Adapter:
    """The intervention to attach: scaled, at the requested positions.

    InputError: a strength that a LoRA cannot have.
    """
    steering = source.steering
    if isinstance(steering, Adapter):
        return steering if use.strength == 1 else steering * use.strength
    # Its origin is left out: whether it is of this model was said when it was read.
    return replace(
        steering,
        positions=use.positions,
        spans={SPAN: use.span} if use.span else {},
        direction=steering.direction * use.strength,
        about={},
    )


def used(
    sources: Mapping[str, SteeringSource], uses: Iterable[SteeringUse]
) -> list[tuple[SteeringSource, SteeringUse]]:
    """The sources in use with how, but for those of strength 0; InputError: an unknown id."""
    pairs = [(source_of(sources, use.id), use) for use in uses]
    return [(source, use) for source, use in pairs if use.strength != 0]


def source_of(sources: Mapping[str, SteeringSource], id: str) -> SteeringSource:
    """The source of an id; InputError: there is none."""
    if id not in sources:
        raise InputError(f"steering {id!r}: not loaded here; allowed: {', '.join(sources)}")
    return sources[id]


@dataclass(frozen=True, slots=True)
class SteeredTokens:
    """At which tokens of a prompt a vector acts, and whether at those after it."""

    prompt: tuple[bool, ...]
    new: bool

    @staticmethod
    def of(model: LanguageModel, prompt: EncodedPrompt, use: SteeringUse) -> SteeredTokens:
        """As `Vector.on` decides it."""
        size = len(prompt.ids)
        spans: dict[str, Tensor] = {}
        if use.span:
            text, offsets = text_of(model.tokenizer, prompt.ids)
            inside = torch.zeros(1, size, dtype=torch.bool)
            inside[0, list(touching(text, offsets, use.span))] = True
            spans[SPAN] = inside
        mask = torch.ones(1, size, dtype=torch.bool)
        marked = PaddedSpans(mask, torch.tensor([size - 1]), spans)
        chosen = select(marked, use.positions, everywhere=False)[0].tolist()
        return SteeredTokens(tuple(chosen), bool(selects_new(marked, use.positions)[0]))
