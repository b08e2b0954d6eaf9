"""The runs to do, and which of them belong to which kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from oocr.errors import InputError
from oocr.reproduce.analyses import all_claims
from oocr.reproduce.claims import Need, PaperClaim
from oocr.runs.config import RunConfig
from oocr.runs.read_config import load_configs
from oocr.tasks.package_files import package_yaml

PAPER_MODEL = "google/gemma-3-12b-it"  # its runs have the paper's settings
BLOCKS = {"gemma-3-270m": 18, "smollm2-135m-instruct": 30}
"""Number of blocks of the models for which the small runs' layers are chosen."""

_FOLDER = Path(__file__).parents[1] / "runs" / "configs"


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One kind of task and the runs that are analysed together.

    Attributes:
        kind: as claims name their subjects.
        about: description for the page.
        runs: names of runs; results of analyses are cached with the first.
        compare_with: other runs: name -> names of runs.
        wanted: only these claims; empty: all claims on its kind.
        lacks: what its runs do not have; claims that need it are left out.
        judge: a judge model was named.
    """

    kind: str
    about: str
    runs: tuple[str, ...]
    compare_with: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, "tuple[str, ...]"]
    )
    wanted: tuple[str, ...] = ()
    lacks: tuple[Need, ...] = ()
    judge: bool = False

    @property
    def claims(self) -> tuple[PaperClaim, ...]:
        """The claims judged on it."""
        lacks = {*self.lacks} if self.judge else {*self.lacks, "a judge"}
        return tuple(
            claim
            for claim in all_claims()
            if self.kind in claim.subjects
            and (not self.wanted or claim.id in self.wanted)
            and not set(claim.needs) & lacks
        )

    @property
    def analyses(self) -> tuple[str, ...]:
        """The analyses that those claims need, each once."""
        return tuple(dict.fromkeys(claim.analysis for claim in self.claims))

    @property
    def every_run(self) -> tuple[str, ...]:
        """The names of all runs that it reads."""
        return (*self.runs, *[name for names in self.compare_with.values() for name in names])


@dataclass(frozen=True, slots=True)
class Plan:
    """Files of runs in the order of computing, and the parts that analyse them."""

    sources: tuple[Path, ...]
    parts: tuple[PlanPart, ...]
    quick: bool = False  # smaller analyses

    def runs(self) -> list[PlannedRun]:
        """The runs that its parts read, in the order of the files."""
        wanted = {name for part in self.parts for name in part.every_run}
        planned = [
            PlannedRun(source, place, config)
            for source in self.sources
            for place, config in enumerate(load_configs(source))
            if config.name in wanted
        ]
        lost = wanted - {run.config.name for run in planned}
        assert not lost, f"no file has the runs {sorted(lost)}"
        return planned

    def judged(self) -> Plan:
        """The same plan with the claims that need a judge model."""
        return replace(self, parts=tuple(replace(part, judge=True) for part in self.parts))

    def only(self, ids: Sequence[str]) -> Plan:
        """The plan cut down to what these claims need.

        InputError: an unknown claim, or one that this plan has no task for.
        """
        known = {claim.id for part in self.parts for claim in part.claims}
        for name in ids:
            if name not in known:
                allowed = ", ".join(sorted(known))
                raise InputError(f"--only: {name!r} is not allowed; allowed: {allowed}")
        parts = [replace(part, wanted=tuple(ids)) for part in self.parts]
        return replace(self, parts=tuple(part for part in parts if part.claims))


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run: its file, and its settings with the name that parts use."""

    source: Path
    place: int
    config: RunConfig


def plan_for(model: str | None, *, quick: bool) -> Plan:
    """The plan for a model: the paper's own runs, or small ones."""
    name = "paper" if model == PAPER_MODEL else "quick" if quick else "small"
    plan = package_yaml(__package__, "plans.yaml")[name]
    sources = tuple(_FOLDER / f"{source}.yaml" for source in plan["sources"])
    parts = TypeAdapter(tuple[PlanPart, ...]).validate_python(plan["parts"])
    return Plan(sources, parts, quick)


def same_relative_depth(layer: int, before: int, after: int) -> int:
    """The same relative depth in a model of another number of blocks."""
    return layer if layer < 0 else min(after - 1, round(layer * after / before))


def on_model(config: RunConfig, model: str, blocks: int) -> RunConfig:
    """A small run on another model: its layers at the same relative depths."""
    before = BLOCKS.get(config.model)
    update: dict[str, object] = {"model": model}
    for name in ("vector", "adapter"):
        grid = getattr(config, name)
        if before is None or grid is None or grid.layers == "all":
            continue
        layers = dict.fromkeys(same_relative_depth(layer, before, blocks) for layer in grid.layers)
        update[name] = grid.model_copy(update={"layers": tuple(layers)})
    return config.model_copy(update=update)
