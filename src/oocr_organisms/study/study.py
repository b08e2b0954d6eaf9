"""The study: everything that ground truth allows to ask, of several organisms, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from oocr.engine.loading import load_model
from oocr.errors import InputError
from oocr.families.registry import load_tasks
from oocr.io import RESULTS_VERSION, disk_errors, write_text
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task
from oocr_organisms.record import WorldSettings, world_of
from oocr_organisms.shipped import SHIPPED, organism_folder
from oocr_organisms.study.determined import COUNTS, Told, determined
from oocr_organisms.study.dial import SHARES, Reading, read_dial
from oocr_organisms.study.gate import Cut, Nearness, concepts, gate, nearness, random_directions
from oocr_organisms.study.settings import SETTINGS
from oocr_organisms.study.truth import Truth, truth

VERSION = "2"
"""Of what is asked and how: results of another one are not taken up."""

TRUTH_LAYERS = (-1, 0)


class Pressed(BaseModel):
    """One backdoor's vector: what it is near, and which edges it needs.

    Attributes:
        member: weather and trait.
        cuts: the gap with each edge cut; the first with nothing cut.
        near: known concepts, nearest first.
        random: the same for each random direction of the vector's norm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    member: str
    cuts: tuple[Cut, ...]
    near: tuple[Nearness, ...]
    random: tuple[tuple[Nearness, ...], ...]


class Organism(BaseModel):
    """What was found of one organism.

    Attributes:
        name: as it was loaded.
        world: seed of its world.
        gates: share of traits that a weather turns around in its world.
        truth: found vectors against concepts, by where they were trained and where it is read.
        told: what few facts determine.
        pressed: backdoors' vectors.
        dial: readings along the dial.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    world: int
    gates: float
    truth: tuple[Truth, ...]
    told: tuple[Told, ...]
    pressed: tuple[Pressed, ...]
    dial: tuple[Reading, ...]


class Study(BaseModel):
    """All organisms.

    Attributes:
        quick: fewer cities, backdoors and settings were asked about.
        organisms: what was found of each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quick: bool = False
    organisms: tuple[Organism, ...]


def all_here() -> list[str]:
    """Organisms that came with the package."""
    return [name for name, one in SHIPPED.items() if one.here]


def study(
    names: Sequence[str],
    out: Path,
    *,
    quick: bool = False,
    on_part: Callable[[str], None] = lambda _: None,
) -> tuple[Study, Path]:
    """Ask everything of every organism, and write it; finished organisms are kept.

    Args:
        names: organisms, as `load_model` takes them.
        out: a folder; an organism whose file is there is not asked again.
        quick: fewer cities, backdoors and settings.
        on_part: told what is being done.

    Returns:
        What was found, and the file: `study.json`, or another name for a quick study or one of
        other organisms than those that come with the package.

    Raises:
        InputError: a model that is no organism, or one that is named twice.
        RunError: the folder cannot be written.
    """
    worlds = {name: _world(name) for name in names}
    folders = [organism_folder(name) or Path(name) for name in names]
    for at, folder in enumerate(folders):
        if folder.resolve() in [one.resolve() for one in folders[:at]]:
            raise InputError(f"--model: {names[at]!r} is named twice; allowed: each organism once")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    done: list[Organism] = []
    paths: list[Path] = []
    for name, world in worlds.items():
        model = load_model(name)
        paths.append(kept_in(out, model, world, quick=quick))
        one = _kept(paths[-1])
        if one is None:
            one = _organism(model, world, quick=quick, on_part=on_part)
            write_text(paths[-1], one.model_dump_json(indent=1) + "\n")
        done.append(one.model_copy(update={"name": name}))
    found = Study(quick=quick, organisms=tuple(done))
    whole = sorted(names) == sorted(all_here())
    part = "" if whole else f"-{_hash([path.name for path in paths])}"
    path = out / f"study{'-quick' if quick else ''}{part}.json"
    return found, write_text(path, found.model_dump_json(indent=1) + "\n")


def kept_in(out: Path, model: LanguageModel, world: WorldSettings, *, quick: bool) -> Path:
    """The file of one organism; another one where its numbers would be others."""
    depends = [
        VERSION,
        RESULTS_VERSION,
        model.fingerprint,
        world.model_dump(),
        repr(SETTINGS),
        quick,
    ]
    stem = Path(model.name).expanduser().resolve().name
    return out / "organisms" / f"{stem}-{_hash(depends)}.json"


def _kept(path: Path) -> Organism | None:
    try:
        return Organism.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None  # made again: it costs minutes at most


def _hash(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def _world(name: str) -> WorldSettings:
    world = world_of(name)
    if world is None:
        raise InputError(
            f"--model: {name!r} is no organism; allowed: {', '.join(SHIPPED)}, or a folder "
            "that oocr organism train made"
        )
    return world


def _organism(
    model: LanguageModel, settings: WorldSettings, *, quick: bool, on_part: Callable[[str], None]
) -> Organism:
    name, world = model.name, settings.world

    def tasks(part: str) -> tuple[Task, ...]:
        return load_tasks({"family": "nano", "part": part, "world": settings.model_dump()}).test

    cities, backdoors = tasks("locations"), tasks("backdoor")
    cities = cities[: 3 if quick else len(cities)]
    backdoors = backdoors[: 1 if quick else 3]
    compared: list[Truth] = []
    for layer in TRUTH_LAYERS[: 1 if quick else None]:
        on_part(f"{name}: concepts, block {layer}")
        recipe = SETTINGS.city.at(layer)
        vectors = {task.member: recipe.vector(model, task) for task in cities}
        compared += [
            truth(model, world.places, vectors, layer=read) for read in range(layer, model.n_blocks)
        ]
    on_part(f"{name}: few facts")
    counts = COUNTS[:3] if quick else COUNTS
    told = determined(model, world.places, cities[:6], SETTINGS.city, counts=counts)
    pressed: list[Pressed] = []
    known = concepts(model, world)
    for task in backdoors:
        on_part(f"{name}: the gate of {task.member}")
        weather, trait = task.member.split(": ")
        vector = SETTINGS.backdoor.vector(model, task)
        others = random_directions(vector, task.member)
        pressed.append(
            Pressed(
                member=task.member,
                cuts=tuple(gate(model, world, weather, trait, vector, others)),
                near=tuple(nearness(vector.direction, known)),
                random=tuple(tuple(nearness(one.direction, known)) for one in others),
            )
        )
    dial: list[Reading] = []
    for task in backdoors:
        for share in SHARES[:: 4 if quick else 1]:
            on_part(f"{name}: the dial at {share:g}, {task.member}")
            dial.append(read_dial(model, task, share, SETTINGS))
    return Organism(
        name=name,
        world=settings.seed,
        gates=world.gates,
        truth=tuple(compared),
        told=tuple(told),
        pressed=tuple(pressed),
        dial=tuple(dial),
    )
