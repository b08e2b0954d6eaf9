"""The study: everything that ground truth allows to ask, of several organisms, in one file.

Settings of arms are fixed: those that the validation tasks of `oocr run nano-…` chose on the
shipped organism of seed 0. No test task has a part in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from oocr.engine.loading import load_model
from oocr.engine.trainable import Schedule
from oocr.engine.training import fit
from oocr.experiments.nano.determined import COUNTS, Told, determined
from oocr.experiments.nano.dial import SHARES, Reading, Settings, read_dial
from oocr.experiments.nano.gate import Cut, Nearness, concepts, gate, nearness
from oocr.experiments.nano.truth import Truth, truth
from oocr.files import write_text
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.models.language_model import LanguageModel
from oocr.organisms.record import world_of
from oocr.tasks.build import load_tasks
from oocr.tasks.task import Task

VECTOR_RATE = 0.1
VECTOR_STEPS = 150
TRUTH_LAYERS = (-1, 0)
DECAY = Schedule(decay="linear")


class Pressed(BaseModel):
    """One backdoor's vector: what it is near, and which edges it needs.

    Attributes:
        member: weather and trait.
        cuts: the gap with each edge cut; the first with nothing cut.
        near: known concepts, nearest first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    member: str
    cuts: tuple[Cut, ...]
    near: tuple[Nearness, ...]


class Organism(BaseModel):
    """What was found of one organism.

    Attributes:
        name: as it was loaded.
        gates: share of traits that a weather turns around in its world.
        truth: found vectors against concepts, by where they were trained and where it is read.
        told: what few facts determine.
        pressed: backdoors' vectors (none in a world without gates).
        dial: readings along the dial.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
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


def study(
    names: Sequence[str],
    out: Path,
    *,
    quick: bool = False,
    on_part: Callable[[str], None] = lambda _: None,
) -> Study:
    """Ask everything of every organism, and write `study.json`; finished organisms are kept.

    Args:
        names: organisms, as `load_model` takes them.
        out: a folder; an organism whose file is there is not asked again.
        quick: fewer cities, backdoors and settings.
        on_part: told what is being done.

    Raises:
        InputError: a model that is no organism.
        RunError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    done: list[Organism] = []
    for name in names:
        path = out / f"{Path(name).name}{'-quick' if quick else ''}.json"
        if path.is_file():
            done.append(Organism.model_validate_json(path.read_text(encoding="utf-8")))
            continue
        one = _organism(name, quick=quick, on_part=on_part)
        write_text(path, one.model_dump_json(indent=1) + "\n")
        done.append(one)
    found = Study(quick=quick, organisms=tuple(done))
    write_text(out / "study.json", found.model_dump_json(indent=1) + "\n")
    return found


def _organism(name: str, *, quick: bool, on_part: Callable[[str], None]) -> Organism:
    model = load_model(name)
    settings = world_of(name)
    assert settings is not None
    world = settings.world

    def tasks(part: str) -> tuple[Task, ...]:
        return load_tasks({"family": "nano", "part": part, "world": settings.model_dump()}).test

    cities, backdoors = tasks("locations"), tasks("backdoor")
    cities = cities[: 3 if quick else len(cities)]
    backdoors = backdoors[: 1 if quick else 3]
    arms = Settings()
    compared: list[Truth] = []
    for layer in TRUTH_LAYERS[: 1 if quick else None]:
        on_part(f"{name}: concepts, block {layer}")
        vectors = {task.member: _vector(model, task, layer) for task in cities}
        compared += [
            truth(model, world.places, vectors, layer=read) for read in range(layer, model.n_blocks)
        ]
    on_part(f"{name}: few facts")
    told = determined(
        model,
        world.places,
        cities[:6],
        SteeringVector(-1, positions="codename"),
        counts=COUNTS[:3] if quick else COUNTS,
        learning_rate=VECTOR_RATE,
        steps=VECTOR_STEPS,
    )
    pressed: list[Pressed] = []
    if world.gates:
        known = concepts(model, world)
        for task in backdoors:
            on_part(f"{name}: the gate of {task.member}")
            weather, trait = task.member.split(": ")
            vector = fit(
                model,
                task,
                arms.vector,
                learning_rate=arms.vector_rate,
                steps=arms.vector_steps,
                schedule=DECAY,
            ).final
            assert isinstance(vector, Vector)
            cuts = gate(model, world, weather, trait, vector)
            near = nearness(vector.direction, known)
            pressed.append(Pressed(member=task.member, cuts=tuple(cuts), near=tuple(near)))
    dial: list[Reading] = []
    for task in backdoors:
        for share in SHARES[:: 4 if quick else 1]:
            on_part(f"{name}: the dial at {share:g}, {task.member}")
            dial.append(read_dial(model, task, share, arms))
    return Organism(
        name=name,
        gates=world.gates,
        truth=tuple(compared),
        told=tuple(told),
        pressed=tuple(pressed),
        dial=tuple(dial),
    )


def _vector(model: LanguageModel, task: Task, layer: int) -> Vector:
    """A city's vector at one block."""
    found = fit(
        model,
        task,
        SteeringVector(layer, positions="codename"),
        learning_rate=VECTOR_RATE,
        steps=VECTOR_STEPS,
        schedule=DECAY,
    ).final
    assert isinstance(found, Vector)
    return found
