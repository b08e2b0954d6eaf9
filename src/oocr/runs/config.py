"""The configuration of a run: every field validated before anything runs."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, Discriminator, Field, Tag

from oocr.data.chat_template import FIXED_DAY
from oocr.engine.forward import start_block
from oocr.engine.trainable import Schedule
from oocr.families.family import FamilySettings
from oocr.families.registry import FAMILIES, family_of
from oocr.io import Record
from oocr.models.machine import GPU, gpu_groups
from oocr.models.sources.hub import with_revision
from oocr.runs.records import Method
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import Site, SteeringVector


def _known(name: str) -> str:
    if name not in FAMILIES:
        raise ValueError(f"allowed: {', '.join(map(repr, FAMILIES))}")
    return name


class _FamilyName(BaseModel):
    """The key that names the family to which the other settings belong."""

    family: Annotated[str, pydantic.AfterValidator(_known)]


def _settings_of_family(value: Any) -> FamilySettings:
    """The settings of the family that the key `family` names, validated by that family's class."""
    if isinstance(value, FamilySettings):
        return value
    if not isinstance(value, dict):
        raise ValueError("allowed: keys and values, first of all family: NAME")
    family = FAMILIES[_FamilyName.model_validate(value).family]
    settings: FamilySettings = family.settings.model_validate(value)
    return settings


TaskConfig = Annotated[
    pydantic.SerializeAsAny[FamilySettings], pydantic.PlainValidator(_settings_of_family)
]
Count = Annotated[int, Field(ge=1, strict=True)]
BlockIndex = Annotated[int, Field(ge=-1, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Steps = tuple[Annotated[int, Field(ge=1, le=1_000_000, strict=True)], ...]
Layers = tuple[BlockIndex, ...]
Rates = tuple[Rate, ...]

TAGS = ("<list>", "<word>", "<flag>")
"""The form of a value; pydantic puts these tags into the locations of its errors."""


def _form(value: Any) -> str | None:
    if isinstance(value, bool):
        return "<flag>"
    if isinstance(value, list | tuple):
        return "<list>"
    return "<word>" if value == "all" else None


def _either(name: str, allowed: str) -> Discriminator:
    message = f"Input should be {allowed}"
    return Discriminator(_form, custom_error_type=name, custom_error_message=message)


LayersOrAll = Annotated[
    Annotated[Layers, Tag("<list>")] | Annotated[Literal["all"], Tag("<word>")],
    _either("layers", "a list of blocks, or all"),
]
FlagOrNames = Annotated[
    Annotated[bool, Tag("<flag>")] | Annotated[tuple[str, ...], Tag("<list>")],
    _either("names", "true, false, or a list of names"),
]


class Grid(Record):
    """The grid that is tried on the validation tasks; one point of it is chosen.

    Attributes:
        steps: the numbers of training steps to try; the last is where training ends.
        sweep: also train the reported arms at every other layer, each at its own best rate and
            number of steps on the validation tasks; reported by layer, never used for a choice.
        warmup: steps over which the rate rises to its value.
        decay: "linear": from then on the rate falls to 0 at the last of `steps`; "constant": not.
    """

    layers: LayersOrAll
    learning_rates: Rates
    steps: Steps
    sweep: bool = False
    warmup: int = Field(default=0, ge=0, strict=True)
    decay: Literal["constant", "linear"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The layers; one adapter in every block counts as layer 0."""
        return (0,) if self.layers == "all" else self.layers

    def schedule(self, accumulate: int) -> Schedule:
        """The schedule of an arm's training steps, each of `accumulate` batches."""
        return Schedule(
            warmup=self.warmup,
            decay=self.decay,
            weight_decay=self.weight_decay,
            absolute=isinstance(self, VectorGrid) and self.rates == "absolute",
            accumulate=accumulate,
            length=self.steps[-1],
        )

    @pydantic.field_validator("layers", "learning_rates", "steps")
    @classmethod
    def _distinct(cls, values: Any, field: pydantic.ValidationInfo) -> Any:
        if not values:
            raise ValueError("at least one value")
        if field.field_name == "steps" and list(values) != sorted(set(values)):
            raise ValueError("steps must ascend")
        if not isinstance(values, str) and len(set(values)) < len(values):
            raise ValueError("each value once")  # equal points would share a folder
        return values


class VectorGrid(Grid):
    """A steering vector, added at a block's output.

    Attributes:
        layers: blocks to try; -1 is the embedding's output.
        learning_rates: relative to the site (see `oocr.engine.training.fit`), unless `rates` says
            otherwise.
        positions: "all", "prompt", "last", the name of a span, or one of the latter two with
            "from:" before it (there and at every later token), or spans joined by "+", each with
            a direction of its own; "auto": the task's span, else "last".
        site: "block": the block's output; "mlp": its MLP's, before any norm that follows it.
        rates: "site": relative to the residual stream there; "absolute": Adam's own.
        init_norm: norm of the random start; null: a fiftieth of the residual stream's.
    """

    layers: Layers = (2, 4, 6)
    learning_rates: Rates = (0.02, 0.05)
    steps: Steps = (5, 10, 15, 20, 30)
    positions: str = "auto"
    site: Site = "block"
    rates: Literal["site", "absolute"] = "site"
    init_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @pydantic.model_validator(mode="after")
    def _site_has_blocks(self) -> VectorGrid:
        if self.site == "mlp" and min(self.layers) < 0:
            raise ValueError("site 'mlp': layers: -1 is the embedding, which has no MLP")
        return self

    def spec(self, layer: int) -> SteeringVector:
        """What is trained at a layer."""
        return SteeringVector(layer, self.positions, site=self.site, init_norm=self.init_norm)


class AdapterGrid(Grid):
    """A LoRA through PEFT.

    Attributes:
        layers: blocks to try, one adapter in each; or "all": one adapter in every block.
        alpha: the update is scaled by alpha / rank; null: alpha = rank.
        modules: names of the Linears that are adapted.
        dropout: on the adapter's input, in training.
    """

    layers: LayersOrAll = (2, 4, 6)
    learning_rates: Rates = (0.001, 0.003)
    steps: Steps = (4, 6, 8, 12, 16)
    rank: Count = 8
    alpha: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    modules: tuple[str, ...] = Field(default=("down_proj",), min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def spec(self, layer: int) -> LowRankAdapter:
        """What is trained at a layer."""
        layers: tuple[int, ...] | Literal["all"] = "all" if self.layers == "all" else (layer,)
        return LowRankAdapter(
            layers, self.rank, alpha=self.alpha, modules=self.modules, dropout=self.dropout
        )


class Controls(Record):
    """Controls: random directions of the trained vectors' norm, and arms trained on control data.

    `trained`: names of the task's control data to train on ("shuffled", "planted", "decorrelated");
    true: all, false: none.
    """

    random_directions: int = Field(default=20, ge=0, le=10_000, strict=True)
    trained: FlagOrNames = True


class Explain(Record):
    """Analyses of each trained one-layer LoRA: constancy, swap, side effects.

    `neutral_tokens`: predictions on neutral text that are compared, per arm; `examples`: number of
    prompts whose continuations are shown.
    """

    enabled: bool = True
    neutral_tokens: Count = 128
    examples: int = Field(default=8, ge=0, strict=True)


MACHINE: dict[str, Any] = {"devices": None, "gpus_per_worker": 1}
"""Fields that choose GPUs, and their defaults."""


class RunConfig(Record):
    """One run.

    Attributes:
        name: names the run's folder; left out: the task's name or family.
        task: which task family, and its settings.
        model: a bundled or plug-in model's name, a Hugging Face id, a folder, or a GGUF file.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        device_map: "auto" spreads the model over all GPUs, as accelerate does; excludes `device`.
        day: the date that a chat template writes as today, so that a run's tokens are the same on
            every day; null: 2024-07-26, if the template writes a date.
        vector, adapter: the grids of the steering vector and the LoRA; null: no such arm.
        seeds: how many seeds per arm.
        stop_on: "validation": the number of steps is chosen with layer and learning rate; "stop":
            each arm stops at the lowest loss on the held-out items of its own task.
        batch_lines: sequences per training batch.
        accumulate: batches per training step; their gradients are added up.
        workers: processes that train arms side by side; null: as many as cores and memory allow, on
            GPUs one for each.
        devices: numbers of the GPUs that the processes use in turn; null: all.
        gpus_per_worker: number of GPUs for each process, for a model that does not fit on one.
    """

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    task: TaskConfig
    model: str = "gemma-3-270m"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    device_map: str | None = None
    revision: str | None = None
    day: date | None = None
    vector: VectorGrid | None = VectorGrid()
    adapter: AdapterGrid | None = AdapterGrid()
    seeds: int = Field(default=3, ge=1, le=1000, strict=True)
    stop_on: Literal["validation", "stop"] = "validation"
    batch_lines: Count = 16
    accumulate: int = Field(default=1, ge=1, le=10_000, strict=True)
    workers: Count | None = None
    devices: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None
    gpus_per_worker: Count = 1
    controls: Controls = Controls()
    explain: Explain = Explain()

    @pydantic.model_validator(mode="after")
    def _checked(self) -> RunConfig:
        if not self.grids:
            raise ValueError("vector and adapter are both null: nothing would be trained")
        if self.joins_gpus and (self.device_map is not None or self.device not in ("auto", GPU)):
            raise ValueError("devices, gpus_per_worker: they choose GPUs; leave device at auto")
        if self.devices is not None and len(set(self.devices)) < max(1, len(self.devices)):
            raise ValueError("devices: the numbers of GPUs, each once")
        family, updates = family_of(self.task), dict[str, str | None]()
        if not self.name:
            words = re.sub(r"[^A-Za-z0-9]+", "-", family.run_name(self.task))
            updates["name"] = words.strip("-")[:80].strip("-") or "run"
        if family.model and "model" not in self.model_fields_set:
            updates["model"] = family.model
        else:
            model, revision = with_revision(self.model, self.revision)
            updates |= {"model": model, "revision": revision} if model != self.model else {}
        return self.model_copy(update=updates) if updates else self

    @property
    def grids(self) -> dict[Method, VectorGrid | AdapterGrid]:
        """Method -> its grid."""
        grids: dict[Method, VectorGrid | AdapterGrid] = {}
        if self.vector is not None:
            grids["vector"] = self.vector
        if self.adapter is not None:
            grids["adapter"] = self.adapter
        return grids

    @property
    def starts(self) -> list[int]:
        """Blocks at which the forward passes of arms start."""
        vector, adapter = self.vector, self.adapter
        starts = [start_block(vector.spec(layer)) for layer in vector.layers] if vector else []
        return starts + list(adapter.blocks) if adapter else starts

    @property
    def explains(self) -> bool:
        """Whether the run's LoRAs are explained: only one-layer LoRAs, and only if enabled."""
        adapter = self.adapter
        return self.explain.enabled and adapter is not None and adapter.layers != "all"

    @property
    def asked_starts(self) -> list[int]:
        """Blocks at which answers to questions start: the arms', and those of the LoRAs' swaps.

        A swap adds its vector at the output of the LoRA's block, so it starts one block above.
        """
        swaps = self.adapter.blocks if self.adapter and self.explains else ()
        return self.starts + [block + 1 for block in swaps]

    @property
    def joins_gpus(self) -> bool:
        """Whether `devices` or `gpus_per_worker` is set."""
        return self.devices is not None or self.gpus_per_worker > 1

    @property
    def anywhere(self) -> RunConfig:
        """The configuration without fields that depend on the machine and change no number."""
        return self.model_copy(update={"workers": None, **MACHINE})

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `load_model` and `outline`.

        InputError: chosen GPUs do not exist on this machine.
        """
        names = ("dtype", "device", "device_map", "revision")
        settings = {name: getattr(self, name) for name in names}
        if self.joins_gpus and self.device in ("auto", GPU):  # a worker's has its own device
            settings["device"] = str(gpu_groups(self.devices, self.gpus_per_worker)[0])
        return {"name": self.model, **settings, "day": self.day or FIXED_DAY}

    def yaml(self) -> str:
        """The resolved configuration, as a file that `oocr run` takes."""
        return str(yaml.safe_dump(self.settings, sort_keys=False))

    @property
    def settings(self) -> dict[str, Any]:
        """All fields as JSON values, without fields of the machine that have their default."""
        values = self.model_dump(mode="json")
        return {n: v for n, v in values.items() if n not in MACHINE or v != MACHINE[n]}


def quick(config: RunConfig) -> RunConfig:
    """The configuration cut down for a first look: one seed, one grid point, fewest members."""
    updates: dict[str, Any] = {"name": f"{config.name}-quick", "seeds": 1}
    for method, grid in config.grids.items():
        cut: dict[str, Any] = {}
        for field in ("layers", "learning_rates"):
            values = getattr(grid, field)
            if not isinstance(values, str):
                cut[field] = (values[(len(values) - 1) // 2],)
        updates[method] = grid.model_copy(update=cut)
    few = family_of(config.task).quick(config.task)
    return config.model_copy(update={**updates, "task": config.task.model_copy(update=few)})
