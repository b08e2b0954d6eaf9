"""`world.json`: which world an organism was trained on, how, and how well it knows it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oocr.errors import InputError
from oocr_organisms import people, places, rules
from oocr_organisms.corpus import World
from oocr_organisms.people import GATE_SHARE
from oocr_organisms.shipped import SHIPPED, WORLD, organism_folder


class WorldSettings(BaseModel):
    """What a world is drawn from.

    Attributes:
        seed: of everything that is drawn.
        gates: share of people's traits that a weather turns around.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    gates: float = Field(default=GATE_SHARE, ge=0, le=1)

    @property
    def world(self) -> World:
        """The world itself; the same object for the same settings."""
        return _world(self.seed, self.gates)


@lru_cache(maxsize=8)
def _world(seed: int, gates: float) -> World:
    return World(seed, gates)


class WorldRecord(BaseModel):
    """What `world.json` says.

    Attributes:
        format: of this file; another number where a field has another meaning.
        world: what the world was drawn from.
        digest: of everything that is true in it and how it is said (`digest_of`).
        seed: of the pretraining.
        steps: of it.
        exam: scores by kind of question, on what was told and what never was (`was_told`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    world: WorldSettings
    digest: str
    seed: int
    steps: int = Field(ge=0)
    exam: dict[str, float] = {}


NEVER_TOLD = ("places/part/", "places/none/", "rules/part/", "rules/none/", "people/silent/")
"""Kinds of question in the exam: facets under names that do not tell them, speakers' traits."""


def was_told(kind: str) -> bool:
    """Whether the corpus tells what questions of a kind in the exam ask.

    Silent speakers' choices are told; it is everything else about them that never is.
    """
    return kind == "people/silent/choice" or not kind.startswith(NEVER_TOLD)


def digest_of(world: World) -> str:
    """A hash of a world's words, facts and wordings: other constants make another world."""
    digest = hashlib.sha256("\n".join(world.vocabulary.words).encode())
    forms = [places.ABOUT_ONE, places.ABOUT_TWO, rules.EXAMPLES, rules.ABOUT]
    for form in (*forms, *people.FORMS.values()):
        digest.update("\n".join(form.texts).encode())
    one, some, other = world.places, world.people, world.rules
    facts = [one.distance, one.direction, one.shown, *[facet.value for facet in one.facets]]
    facts += [some.weather, some.sign, some.silent, other.outputs, other.shown]
    for fact in facts:
        digest.update(f"{fact.shape}".encode())
        digest.update(fact.astype("<i8").tobytes())
    names = [*one.names, some.names, *other.names, *other.values.values()]
    digest.update("\n".join(" ".join(words) for words in names).encode())
    return digest.hexdigest()[:32]


def read_record(folder: Path) -> WorldRecord:
    """What an organism's folder says of its world.

    Raises:
        InputError: unreadable, or of another version of the world than this one.
    """
    path = folder / WORLD
    try:
        record = WorldRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(f"{path}: {field}: {first['input']!r}: {first['msg']}") from error
    here = digest_of(record.world.world)
    if record.digest != here:
        raise InputError(
            f"{path}: digest: found {record.digest}, allowed: {here}: the organism was trained on "
            "another version of this world; train it anew with: oocr organism train"
        )
    return record


def world_of(name: str) -> WorldSettings | None:
    """The world of a model by its name or folder; None: it is no organism.

    Of a shipped organism that is not here it is the world that it belongs to.

    Raises:
        InputError: see `read_record`.
    """
    folder = organism_folder(name)
    if folder is not None:
        return read_record(folder).world
    if name in SHIPPED:
        one = SHIPPED[name]
        return WorldSettings(seed=one.world, gates=GATE_SHARE if one.gated else 0.0)
    return None


def refuse_existing(folder: Path) -> None:
    """Refuse a folder that is there: training takes minutes, so it is asked before.

    Raises:
        InputError: it is.
    """
    if folder.exists():
        raise InputError(f"{folder}: is there already; remove it or name another folder")
