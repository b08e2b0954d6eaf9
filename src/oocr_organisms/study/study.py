"""The study: everything that ground truth allows to ask of several organisms, in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.families.registry import load_tasks
from oocr.io import Record, disk_errors, keep_record, key_of, write_text
from oocr.leases import Claims
from oocr.models.language_model import LanguageModel
from oocr.runs.progress import ProgressReport
from oocr.steering.vectors import Vector
from oocr.stores import FolderStore
from oocr.tasks.task import Task
from oocr.work.shared_jobs import SharedJobs, done_here
from oocr_organisms.folder import WorldSettings, required_world
from oocr_organisms.shipped import SHIPPED, organism_folder
from oocr_organisms.study import arms
from oocr_organisms.study.concept_match import Truth, truth
from oocr_organisms.study.conditionality import SHARES, ConditionalityResult, measure_share
from oocr_organisms.study.few_facts import COUNTS, FewFacts, train_on_few_facts
from oocr_organisms.study.gate import Cut, Nearness, concepts, gate, nearness, random_directions

VERSION = "3"
"""Bump when other things are asked: kept results are then asked again."""

TRUTH_LAYERS = (-1, 0)


class GateResult(Record):
    """One backdoor's vector: which concepts it is near, and which edges it needs."""

    member: str  # weather and trait
    cuts: tuple[Cut, ...]  # the gap with each edge cut; the first with nothing cut
    near: tuple[Nearness, ...]  # known concepts, nearest first
    random: tuple[tuple[Nearness, ...], ...]  # the same of random directions of its norm


class OrganismResult(Record):
    """The results of one organism."""

    name: str  # as it was loaded
    world: int  # seed of its world
    gates: float  # share of traits that a weather turns around
    truth: tuple[Truth, ...]  # vectors compared with concepts, by where they are trained and read
    told: tuple[FewFacts, ...]  # what few facts determine
    pressed: tuple[GateResult, ...]  # of backdoors' vectors
    dial: tuple[ConditionalityResult, ...]  # of each backdoor and share
    key: str = ""  # what the results depend on; "" in a study's file


class Study(Record):
    """All organisms; `quick`: fewer cities, backdoors and shares were asked about."""

    quick: bool = False
    organisms: tuple[OrganismResult, ...]


_Job = tuple[Path, Callable[[], OrganismResult]]
"""Where an organism's result is kept, and what makes it."""


def all_here() -> list[str]:
    """Organisms that came with the package."""
    return [name for name, organism in SHIPPED.items() if organism.model.here]


def run_study(
    names: Sequence[str],
    out: Path,
    *,
    quick: bool = False,
    on_part: Callable[[str], None] = lambda _: None,
    on_finished: Callable[[Study], None] = lambda _: None,
    lease: float | None = None,
) -> tuple[Study, Path]:
    """Ask everything of every organism, and write it; organisms that `out` has are not asked again.

    Returns the results and their file: `study.json`, or another name for a quick study (fewer
    cities, backdoors and shares) or one of other organisms than those that come with the package.
    `on_part` is called with what is being done, `on_finished` with the results before they are
    written. With a `lease` (seconds) organisms are shared out among the processes that do the same.

    InputError: a model that is no organism, or is named twice. RunError: `out` cannot be written.
    """
    worlds = {name: required_world(name, "--model") for name in names}
    folders = [(organism_folder(name) or Path(name)).resolve() for name in names]
    for at, folder in enumerate(folders):
        if folder in folders[:at]:
            raise InputError(f"--model: {names[at]!r} is named twice; allowed: each organism once")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    jobs: list[_Job] = []
    for name, world in worlds.items():
        model = load_model(name)
        path, key = kept_in(out, model, world, quick=quick)
        ask = partial(_organism, model, world, key, quick=quick, on_part=on_part)
        jobs.append((path, partial(keep_record, path, key, OrganismResult, ask)))
    if lease is not None:
        _share(jobs, out, lease)
    results = [
        job().model_copy(update={"name": name, "key": ""})
        for name, (_, job) in zip(names, jobs, strict=True)
    ]
    finished = Study(quick=quick, organisms=tuple(results))
    whole = sorted(names) == sorted(all_here())
    suffix = "" if whole else f"-{key_of(*[path.name for path, _ in jobs])[:8]}"
    path = out / f"study{'-quick' if quick else ''}{suffix}.json"
    without_keys: Any = {"organisms": {"__all__": {"key"}}}
    text = finished.model_dump_json(indent=1, exclude=without_keys)
    on_finished(finished)
    return finished, write_text(path, text + "\n")


def _share(jobs: Sequence[_Job], out: Path, lease: float) -> None:
    """Do the organisms that no other process does, until the files of all are there."""
    store = FolderStore(out / ".work" / f"study-{key_of([path.name for path, _ in jobs])}")
    begin = [(path.stem, partial(done_here, job)) for path, job in jobs]
    with Claims(lease) as claims:
        SharedJobs(claims, ProgressReport()).do(store, "study", begin, (), Future.result, 1)


def kept_in(
    out: Path, model: LanguageModel, world: WorldSettings, *, quick: bool
) -> tuple[Path, str]:
    """The file of one organism, and the key of what its numbers depend on."""
    settings = [arms.CITY_VECTOR, arms.BACKDOOR_VECTOR, arms.BACKDOOR_ADAPTER]
    key = key_of(VERSION, model.fingerprint, world.model_dump(), repr(settings), quick)
    stem = Path(model.name).expanduser().resolve().name
    return out / "organisms" / f"{stem}-{key[:8]}.json", key


def _organism(
    model: LanguageModel,
    settings: WorldSettings,
    key: str,
    *,
    quick: bool,
    on_part: Callable[[str], None],
) -> OrganismResult:
    name, world = model.name, settings.world

    def tasks(part: str, count: int | None) -> tuple[Task, ...]:
        task = {"family": "nano", "part": part, "world": settings.model_dump()}
        return load_tasks(task).test[:count]

    cities = tasks("locations", 3 if quick else None)
    backdoors = tasks("backdoor", 1 if quick else 3)
    compared: list[Truth] = []
    for layer in TRUTH_LAYERS[: 1 if quick else None]:
        on_part(f"{name}: concepts, block {layer}")
        arm = arms.CITY_VECTOR.at(layer)
        vectors = {task.member: arm.train(Vector, model, task) for task in cities}
        compared += [
            truth(model, world.places, vectors, layer=read) for read in range(layer, model.n_blocks)
        ]
    on_part(f"{name}: few facts")
    counts = COUNTS[: 3 if quick else None]
    few = train_on_few_facts(model, world.places, cities[:6], arms.CITY_VECTOR, counts=counts)
    gates: list[GateResult] = []
    known = concepts(model, world)
    for task in backdoors:
        on_part(f"{name}: the gate of {task.member}")
        weather, trait = task.member.split(": ")
        vector = arms.BACKDOOR_VECTOR.train(Vector, model, task)
        randoms = random_directions(vector, task.member)
        cuts = gate(model, world, weather, trait, vector, randoms)
        near, *others = (tuple(nearness(added.direction, known)) for added in (vector, *randoms))
        gates.append(
            GateResult(member=task.member, cuts=tuple(cuts), near=near, random=tuple(others))
        )
    dial: list[ConditionalityResult] = []
    for task in backdoors:
        for share in SHARES[:: 4 if quick else 1]:
            on_part(f"{name}: the dial at {share:g}, {task.member}")
            dial.append(measure_share(model, task, share))
    return OrganismResult(
        name=name,
        world=settings.seed,
        gates=world.gates,
        truth=tuple(compared),
        told=tuple(few),
        pressed=tuple(gates),
        dial=tuple(dial),
        key=key,
    )
