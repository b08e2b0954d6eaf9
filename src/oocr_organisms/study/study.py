"""Runs all experiments of the study on several organisms, and writes the results to one file."""

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
from oocr_organisms.study.concept_match import ConceptMatches, match_concepts
from oocr_organisms.study.conditionality import SHARES, ConditionalityResult, measure_share
from oocr_organisms.study.few_facts import COUNTS, FewFacts, train_on_few_facts
from oocr_organisms.study.gate import (
    ConceptCosine,
    Cut,
    concept_cosines,
    concept_directions,
    measure_cuts,
    random_directions,
)

VERSION = "4"
"""Bump when the experiments change: kept results are then computed again."""

VECTOR_LAYERS = (-1, 0)
"""Blocks at whose output the cities' vectors are added; -1: the embedding."""


class GateResult(Record):
    """The vector of one backdoor: its cosines with concepts, and the attention edges that it needs.

    Attributes:
        member: weather and trait.
        cuts: gaps with each edge removed; the first without a removed edge.
        cosines: with all concepts, sorted by |cosine|.
        random: the same for each random direction with the vector's norm.
    """

    member: str
    cuts: tuple[Cut, ...]
    cosines: tuple[ConceptCosine, ...]
    random: tuple[tuple[ConceptCosine, ...], ...]


class OrganismResult(Record):
    """The results of one organism.

    Attributes:
        name: as it was loaded.
        world: seed of its world.
        gates: share of traits that depend on a weather.
        concepts: vectors of cities compared with concepts, for each block.
        few_facts: vectors trained on few facts.
        backdoors: one result for each backdoor.
        conditionality: one result for each backdoor and share.
        key: hash of what the results depend on; "" in a study's file.
    """

    name: str
    world: int
    gates: float
    concepts: tuple[ConceptMatches, ...]
    few_facts: tuple[FewFacts, ...]
    backdoors: tuple[GateResult, ...]
    conditionality: tuple[ConditionalityResult, ...]
    key: str = ""


class Study(Record):
    """The results of all organisms; `quick`: of fewer cities, backdoors and shares."""

    quick: bool = False
    organisms: tuple[OrganismResult, ...]


_Job = tuple[Path, Callable[[], OrganismResult]]
"""The file of an organism's result, and a function that makes it."""


def installed_names() -> list[str]:
    """Names of the shipped organisms whose files are installed."""
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
    """Study each organism and write the results; results that `out` holds are not computed again.

    Returns the results and their file: `study.json`, or another name for a quick study (fewer
    cities, backdoors and shares) or for other organisms than the shipped ones. `on_part` is called
    with the name of each experiment, `on_finished` with the results before they are written. With a
    `lease` (seconds) the organisms are shared among processes that run the same study.

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
        compute = partial(_study_organism, model, world, key, quick=quick, on_part=on_part)
        jobs.append((path, partial(keep_record, path, key, OrganismResult, compute)))
    if lease is not None:
        _share(jobs, out, lease)
    results = [
        job().model_copy(update={"name": name, "key": ""})
        for name, (_, job) in zip(names, jobs, strict=True)
    ]
    finished = Study(quick=quick, organisms=tuple(results))
    whole = sorted(names) == sorted(installed_names())
    suffix = "" if whole else f"-{key_of(*[path.name for path, _ in jobs])[:8]}"
    path = out / f"study{'-quick' if quick else ''}{suffix}.json"
    without_keys: Any = {"organisms": {"__all__": {"key"}}}
    text = finished.model_dump_json(indent=1, exclude=without_keys)
    on_finished(finished)
    return finished, write_text(path, text + "\n")


def _share(jobs: Sequence[_Job], out: Path, lease: float) -> None:
    """Study organisms that no other process has taken, until all are finished."""
    store = FolderStore(out / ".work" / f"study-{key_of([path.name for path, _ in jobs])}")
    begin = [(path.stem, partial(done_here, job)) for path, job in jobs]
    with Claims(lease) as claims:
        SharedJobs(claims, ProgressReport()).do(store, "study", begin, (), Future.result, 1)


def kept_in(
    out: Path, model: LanguageModel, world: WorldSettings, *, quick: bool
) -> tuple[Path, str]:
    """The file of one organism, and the hash of what its results depend on."""
    settings = [arms.CITY_VECTOR, arms.BACKDOOR_VECTOR, arms.BACKDOOR_ADAPTER]
    key = key_of(VERSION, model.fingerprint, world.model_dump(), repr(settings), quick)
    stem = Path(model.name).expanduser().resolve().name
    return out / "organisms" / f"{stem}-{key[:8]}.json", key


def _study_organism(
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
    matches: list[ConceptMatches] = []
    for layer in VECTOR_LAYERS[: 1 if quick else None]:
        on_part(f"{name}: concepts, block {layer}")
        arm = arms.CITY_VECTOR.at(layer)
        vectors = {task.member: arm.train(Vector, model, task) for task in cities}
        matches += [
            match_concepts(model, world.places, vectors, layer=read)
            for read in range(layer, model.n_blocks)
        ]
    on_part(f"{name}: few facts")
    counts = COUNTS[: 3 if quick else None]
    few = train_on_few_facts(model, world.places, cities[:6], arms.CITY_VECTOR, counts=counts)
    gates: list[GateResult] = []
    directions = concept_directions(model, world)
    for task in backdoors:
        on_part(f"{name}: the gate of {task.member}")
        weather, trait = task.member.split(": ")
        vector = arms.BACKDOOR_VECTOR.train(Vector, model, task)
        randoms = random_directions(vector, task.member)
        cuts = measure_cuts(model, world, weather, trait, vector, randoms)
        cosines, *others = (
            tuple(concept_cosines(added.direction, directions)) for added in (vector, *randoms)
        )
        gates.append(
            GateResult(member=task.member, cuts=tuple(cuts), cosines=cosines, random=tuple(others))
        )
    conditionality: list[ConditionalityResult] = []
    for task in backdoors:
        for share in SHARES[:: 4 if quick else 1]:
            on_part(f"{name}: share {share:g} of {task.member}")
            conditionality.append(measure_share(model, task, share))
    return OrganismResult(
        name=name,
        world=settings.seed,
        gates=world.gates,
        concepts=tuple(matches),
        few_facts=tuple(few),
        backdoors=tuple(gates),
        conditionality=tuple(conditionality),
        key=key,
    )
