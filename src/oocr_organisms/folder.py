"""An organism's folder: weights, config, tokenizer, and `world.json`, which describes its world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from oocr.errors import InputError
from oocr.io import Record, new_folder, write_text
from oocr_organisms import facts, people
from oocr_organisms.corpus import World
from oocr_organisms.language import tokenizer_of
from oocr_organisms.people import GATE_SHARE
from oocr_organisms.shipped import SHIPPED, WORLD, organism_folder

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class WorldSettings(Record):
    """Settings of a world; `gates`: share of (speaker, trait) pairs that depend on a weather."""

    seed: int = Field(default=0, ge=0)
    gates: float = Field(default=GATE_SHARE, ge=0, le=1)

    @property
    def world(self) -> World:
        """The world; the same object for equal settings."""
        return _world(self.seed, self.gates)


@lru_cache(maxsize=8)
def _world(seed: int, gates: float) -> World:
    return World(seed, gates)


class WorldRecord(Record):
    """The content of `world.json`.

    Attributes:
        format: version of this file's format.
        world: settings of the world.
        digest: hash of the world's facts and wordings (see `digest_of`).
        seed, steps: of the pretraining.
        exam: scores by kind of question.
    """

    format: Literal[1] = 1
    world: WorldSettings
    digest: str
    seed: int
    steps: int = Field(ge=0)
    exam: Mapping[str, float] = Field(default_factory=dict[str, float])


def digest_of(world: World) -> str:
    """A hash of a world's words, facts and wordings; it changes if constants of the code change."""
    digest = hashlib.sha256("\n".join(world.vocabulary.words).encode())
    forms = (facts.CITY_FACTS, facts.PAIR_FACTS, facts.OUTPUT_FACTS, facts.RULE_FACTS)
    for form in (*forms, *people.FORMS.values()):
        digest.update("\n".join(form.texts).encode())
    places, speakers, rules = world.places, world.people, world.rules
    arrays = [places.distance, places.direction, places.shown]
    arrays += [facet.value for facet in places.facets]
    arrays += [speakers.weather, speakers.sign, speakers.silent, rules.outputs, rules.shown]
    for array in arrays:
        digest.update(f"{array.shape}".encode())
        digest.update(array.astype("<i8").tobytes())
    values = [[facet.of(rule) for rule in range(len(rules.names))] for facet in rules.facets]
    lists = [*places.names, speakers.names, *rules.names, *values]
    digest.update("\n".join(" ".join(words) for words in lists).encode())
    return digest.hexdigest()[:32]


def read_record(folder: Path) -> WorldRecord:
    """Read `world.json`; InputError: unreadable, or made by another version of the world."""
    path = folder / WORLD
    try:
        record = WorldRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(f"{path}: {field}: {first['input']!r}: {first['msg']}") from error
    digest = digest_of(record.world.world)
    if record.digest != digest:
        raise InputError(
            f"{path}: digest: found {record.digest}, allowed: {digest}: the organism was trained "
            "on another version of this world; train it again with: oocr organism train"
        )
    return record


def world_of(name: str) -> WorldSettings | None:
    """The settings of the world of a model, by its name or folder; None: not an organism.

    Works for a shipped organism without its files too. Raises as `read_record`.
    """
    folder = organism_folder(name)
    if folder is not None:
        return read_record(folder).world
    return shipped_world(name) if name in SHIPPED else None


def required_world(name: str, field: str, why: str = "") -> WorldSettings:
    """`world_of`, but InputError (for `field`, with the reason `why`) if it is not an organism."""
    world = world_of(name)
    if world is None:
        raise InputError(
            f"{field}: {name!r} is no organism{why}; allowed: {', '.join(SHIPPED)}, or a folder "
            "that oocr organism train made"
        )
    return world


def shipped_world(name: str) -> WorldSettings:
    """The settings of the world of a shipped organism; its files may be missing."""
    organism = SHIPPED[name]
    return WorldSettings(seed=organism.world, gates=GATE_SHARE if organism.gated else 0.0)


def refuse_existing(folder: Path) -> None:
    """InputError if a folder exists; call it before training."""
    if folder.exists():
        raise InputError(f"{folder}: is there already; remove it or name another folder")


def round_weights(model: LlamaForCausalLM) -> None:
    """Round float32 weights in place to half precision, so that exam and file agree."""
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.half())


def save_organism(
    model: LlamaForCausalLM,
    world: World,
    folder: Path,
    *,
    seed: int,
    steps: int,
    exam: Mapping[str, float],
) -> WorldRecord:
    """Write an organism's folder, whole or not at all; weights are rounded to half precision.

    InputError: the folder exists. RunError: the disk is full or the folder cannot be written.
    """
    from oocr.models.quiet import quiet

    refuse_existing(folder)
    record = WorldRecord(
        world=WorldSettings(seed=world.seed, gates=world.gates),
        digest=digest_of(world),
        seed=seed,
        steps=steps,
        exam={name: round(score, 4) for name, score in sorted(exam.items())},
    )
    round_weights(model)
    with new_folder(folder) as part:
        with quiet():
            model.half().save_pretrained(part)
        model.float()
        (part / "generation_config.json").unlink(missing_ok=True)
        tokenizer_of(world.vocabulary).save_pretrained(part)
        write_text(part / WORLD, record.model_dump_json(indent=1) + "\n")
        for file in part.iterdir():
            file.chmod(0o644)
    return record
