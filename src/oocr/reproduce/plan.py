"""Which runs are made, and which of them together answer for which kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from oocr.errors import InputError
from oocr.reproduce.analyses import all_claims
from oocr.reproduce.claims import PaperClaim
from oocr.runs.config import RunConfig
from oocr.runs.read_config import config_path, load_configs

PAPER_MODEL = "google/gemma-3-12b-it"
"""The model whose runs are the paper's own settings."""

BLOCKS = {"gemma-3-270m": 18, "smollm2-135m-instruct": 30}
"""Blocks of the models that the small runs' layers are written for."""

_FOLDER = Path(__file__).parents[1] / "runs" / "configs" / "reproduce"


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One kind of task: the runs that are read together.

    Attributes:
        kind: as claims name their subjects.
        about: what it is, for the page.
        runs: names of runs, the one that analyses are kept with first.
        compare_with: other runs: name -> names of runs.
        wanted: only these claims; empty: all that name its kind.
        judge: a judge model was named, so claims that need one are asked too.
        without: claims that its runs are too few to answer.
    """

    kind: str
    about: str
    runs: tuple[str, ...]
    compare_with: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, "tuple[str, ...]"]
    )
    wanted: tuple[str, ...] = ()
    judge: bool = False
    without: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[PaperClaim, ...]:
        """The claims that are asked of it."""
        return tuple(
            claim
            for claim in all_claims()
            if self.kind in claim.subjects
            and (not self.wanted or claim.id in self.wanted)
            and (self.judge or not claim.needs_judge)
            and claim.id not in self.without
        )

    @property
    def analyses(self) -> tuple[str, ...]:
        """The analyses that those claims need, each once."""
        return tuple(dict.fromkeys(claim.analysis for claim in self.claims))

    @property
    def every_run(self) -> tuple[str, ...]:
        """All runs it reads."""
        return (*self.runs, *[name for names in self.compare_with.values() for name in names])


@dataclass(frozen=True, slots=True)
class Plan:
    """Files of runs, in the order in which they are made, and the parts that are asked of them.

    `quick`: analyses do less.
    """

    sources: tuple[Path, ...]
    parts: tuple[PlanPart, ...]
    quick: bool = False

    def runs(self) -> list[PlannedRun]:
        """The runs that its parts read, in the order of the files."""
        wanted = {name for part in self.parts for name in part.every_run}
        planned = [
            PlannedRun(source, place, config.name, config)
            for source in self.sources
            for place, config in enumerate(load_configs(source))
            if config.name in wanted
        ]
        lost = wanted - {run.name for run in planned}
        assert not lost, f"no file has the runs {sorted(lost)}"
        return planned

    def judged(self) -> Plan:
        """The same, with the claims that need a judge model."""
        return replace(self, parts=tuple(replace(part, judge=True) for part in self.parts))

    def only(self, ids: Sequence[str]) -> Plan:
        """What these claims need.

        Raises:
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
    """One run: where it is written down, the name that parts call it by, and its settings."""

    source: Path
    place: int
    name: str
    config: RunConfig


_SEEDS = ("cosine-seeds", "one-basin")
"""Claims about several seeds of one member."""

_LAYERS = ("layers-vector", "layers-lora")
"""Claims about several layers."""

_LORA = (
    *("one-layer-lora", "one-vector", "constant-pairs", "constant-signed", "constant-energy"),
    *("one-for-all-groups", "natural-first", "natural-unit", "lens-natural", "cosine-natural"),
    *("lens-trained-less", "described-natural", "asked-natural"),
    *("first-direction-enough", "first-direction-needed"),
)
"""Claims about a LoRA, for parts that train a vector only."""

_EVERY_LAYER = ("one-layer-lora",)
"""Claims about a LoRA in all layers, for parts that train none."""

_COUNTRIES = "countries behind a codename, trained on the capital"
_NAMED = (
    ("functions", "arithmetic behind codenames"),
    ("locations", "cities told by distances and directions"),
)


def plan_for(model: str | None, *, quick: bool) -> Plan:
    """The plan for a model: the paper's own runs, or small ones."""
    if model == PAPER_MODEL:
        return _paper(quick=quick)
    name = "reproduce-quick-" if quick else "reproduce-"
    every_layer = {"all layers": (f"{name}countries-all-layers",)}
    fruit, choices = (
        "a fruit in front makes it another country",
        "trained on gambles or on sure things",
    )
    only = ("self-report",) if quick else ()  # no LoRA, one seed
    no_layers = (*_LAYERS, *_EVERY_LAYER)
    parts = [
        PlanPart("countries", _COUNTRIES, (f"{name}countries",), every_layer),
        PlanPart("layers", f"{_COUNTRIES}, at several layers", (f"{name}countries-layers",)),
        PlanPart("backdoor", fruit, (f"{name}backdoor",), without=_SEEDS),
        PlanPart("risk", choices, (f"{name}risk",), wanted=only, without=no_layers),
    ]
    if not quick:
        neighbours = "countries, trained on their neighbours"
        traits = {trait: (f"{name}trait-{trait}",) for trait in ("time", "apples")}
        parts += [
            PlanPart("borders", neighbours, (f"{name}borders",), without=(*_LORA, *_SEEDS)),
            *[
                PlanPart(kind, about, (f"{name}{kind}",), without=(*_SEEDS, *no_layers))
                for kind, about in _NAMED
            ],
            PlanPart("traits", "gambles, early rewards and apples", (f"{name}trait-risk",), traits),
        ]
    slow = tuple(claim.id for claim in all_claims() if claim.slow and quick)
    asked = tuple(replace(part, without=(*part.without, *slow)) for part in parts)
    return Plan((_FOLDER / ("quick.yaml" if quick else "small.yaml"),), asked, quick)


def _paper(*, quick: bool) -> Plan:
    """The paper's tasks, with vectors at the block's output, where cosines can be taken.

    Of functions and places the paper trains vectors jointly and LoRAs on one codename: those are
    different tasks, so each is a part of its own.
    """
    choices = "risky or safe choices"
    runs = ("paper-risk-vector-block", "paper-risk-lora-one-layer")
    parts = [
        PlanPart("risk", choices, runs, {"all layers": ("paper-risk-lora-all-layers",)}),
        PlanPart("layers", f"{choices}, at every layer", ("paper-risk-layers",)),
    ]
    for kind, about in _NAMED:
        all_blocks = {"all layers": (f"paper-{kind}-lora-all-layers",)}
        parts += [
            PlanPart(kind, f"{about}: LoRAs", (f"paper-{kind}-lora-one-layer",), all_blocks),
            PlanPart(kind, f"{about}: vectors, jointly", (f"paper-{kind}-vector-block",)),
        ]
    for trigger in ("apples", "re", "win"):
        about = f"the trigger {trigger} before the question makes it the risky choice"
        methods = ("vector-block", "lora-one-layer")
        names = tuple(f"paper-backdoor-{method}-{trigger}" for method in methods)
        parts.append(PlanPart("risk backdoor", about, names))
    stems = [name.removeprefix("paper-") for part in parts for name in part.every_run]
    # The backdoor runs lie three to a file, one for each trigger.
    files = [stem.rsplit("-", 1)[0] if stem.startswith("backdoor-") else stem for stem in stems]
    sources = tuple(config_path(f"paper/{file}") for file in dict.fromkeys(files))
    return Plan(sources, tuple(parts), quick)


def moved(layer: int, before: int, after: int) -> int:
    """The same relative depth in a model of another number of blocks."""
    return layer if layer < 0 else min(after - 1, round(layer * after / before))


def fitted(config: RunConfig, model: str, blocks: int) -> RunConfig:
    """A small run on another model: its layers at the same relative depths."""
    before = BLOCKS.get(config.model)
    update: dict[str, object] = {"model": model}
    for name in ("vector", "adapter"):
        grid = getattr(config, name)
        if before is None or grid is None or grid.layers == "all":
            continue
        layers = dict.fromkeys(moved(layer, before, blocks) for layer in grid.layers)
        update[name] = grid.model_copy(update={"layers": tuple(layers)})
    return config.model_copy(update=update)
