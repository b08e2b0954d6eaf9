"""The configuration of a run: every field validated before anything runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from oocr.errors import InputError
from oocr.tasks.backdoor import BackdoorConfig
from oocr.tasks.countries import CountriesConfig
from oocr.tasks.custom import CustomConfig
from oocr.tasks.risk import RiskConfig

TaskConfig = Annotated[
    CountriesConfig | BackdoorConfig | RiskConfig | CustomConfig, Field(discriminator="family")
]
Method = Literal["vector", "adapter"]
Steps = tuple[Annotated[int, Field(ge=1)], ...]
Layers = tuple[Annotated[int, Field(ge=-1)], ...]
Rates = tuple[Annotated[float, Field(gt=0)], ...]


class Fields(BaseModel):
    """Base of all parts: unknown keys are refused, values don't change."""

    model_config = {"extra": "forbid", "frozen": True}


class Grid(Fields):
    """What is tried on the validation tasks; one point is chosen.

    Attributes:
        layers: blocks to try.
        learning_rates: rates to try.
        steps: the numbers of training steps to try; the last is where training ends.
    """

    layers: Layers = Field(min_length=1)
    learning_rates: Rates = Field(min_length=1)
    steps: Steps = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: Steps) -> Steps:
        if list(steps) != sorted(set(steps)):
            raise ValueError(f"steps must ascend, found {list(steps)}")
        return steps


class VectorArm(Grid):
    """A steering vector, added at a block's output.

    Attributes:
        layers: blocks to try; -1 is the embedding's output.
        learning_rates: relative to the site (see `oocr.engine.training.fit`).
        positions: "all", "last" or the name of a span.
    """

    layers: Layers = (2, 4, 6)
    learning_rates: Rates = (0.02, 0.05)
    steps: Steps = (5, 10, 15, 20, 30)
    positions: str = "codename"


class AdapterArm(Grid):
    """A LoRA through PEFT.

    Attributes:
        layers: blocks to try, one adapter in each; or "all": one adapter in every block.
        learning_rates: Adam's.
        rank: r.
        alpha: the update is scaled by alpha / rank; null: alpha = rank.
        modules: names of the Linears that are adapted.
        dropout: on the adapter's input, in training.
    """

    layers: Layers | Literal["all"] = (2, 4, 6)  # type: ignore[assignment]
    learning_rates: Rates = (0.001, 0.003)
    steps: Steps = (4, 6, 8, 12, 16)
    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    modules: tuple[str, ...] = Field(default=("down_proj",), min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Controls(Fields):
    """What results are held against.

    Attributes:
        random_directions: how many random directions of the trained vectors' norm.
        trained: which of the task's control data are trained on too ("shuffled", "planted",
            "decorrelated"); true: all, false: none.
    """

    random_directions: int = Field(default=20, ge=0)
    trained: bool | tuple[str, ...] = True


class Explain(Fields):
    """What is asked of each trained LoRA (one-layer LoRAs only).

    Attributes:
        enabled: measure constancy, swap, side effects.
        neutral_tokens: predictions compared on neutral text, per arm.
        examples: prompts whose continuations are shown.
    """

    enabled: bool = True
    neutral_tokens: int = Field(default=128, ge=1)
    examples: int = Field(default=8, ge=0)


class RunConfig(Fields):
    """One run.

    Attributes:
        name: names the run's folder.
        task: which task family, and its settings.
        model: a bundled model's name, a Hugging Face id, a folder, or a GGUF file.
        dtype: "auto", "float32", "bfloat16", "float16".
        device: "auto", "cpu", "cuda", …
        device_map: accelerate's placement over several devices; excludes `device`.
        revision: of a Hugging Face id.
        vector: the steering vector's grid; null: no such arm.
        adapter: the LoRA's grid; null: no such arm.
        seeds: how many seeds per arm.
        stop_on: "validation": the number of steps is chosen with layer and learning rate;
            "stop": each arm stops where the loss on its own task's held-out items is lowest.
        batch_lines: sequences per training batch.
        workers: processes that train arms side by side; null: as many as cores and memory allow.
        controls: what results are held against.
        explain: what is asked of each LoRA.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: TaskConfig
    model: str = "gemma-3-270m"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    device_map: str | None = None
    revision: str | None = None
    vector: VectorArm | None = VectorArm()
    adapter: AdapterArm | None = AdapterArm()
    seeds: int = Field(default=3, ge=1)
    stop_on: Literal["validation", "stop"] = "validation"
    batch_lines: int = Field(default=16, ge=1)
    workers: int | None = Field(default=None, ge=1)
    controls: Controls = Controls()
    explain: Explain = Explain()

    @model_validator(mode="after")
    def _some_arm(self) -> RunConfig:
        if self.vector is None and self.adapter is None:
            raise ValueError("vector and adapter are both null: nothing would be trained")
        return self

    def yaml(self) -> str:
        """The resolved configuration, as a file that `oocr run` takes."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


BUILTIN = ("countries", "borders", "backdoor", "risk", "demo")
_FOLDER = Path(__file__).parent / "configs"


def builtin_path(name: str) -> Path:
    """The file of a built-in configuration."""
    return _FOLDER / f"{name}.yaml"


def load_configs(source: str | Path) -> list[RunConfig]:
    """Read a built-in name or a YAML file: one run, or several under `runs:`.

    Raises:
        InputError: not there, not YAML, an unknown key, a wrong type or value; the message names
            file, line, field, value and what is allowed.
    """
    path = builtin_path(str(source)) if str(source) in BUILTIN else Path(source)
    if not path.is_file():
        hint = difflib.get_close_matches(str(source), BUILTIN, 1)
        more = f"; did you mean {hint[0]!r}?" if hint else ""
        raise InputError(
            f"{source}: no such file, and not a built-in run ({', '.join(BUILTIN)}){more}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        data = yaml.safe_load(text)
        tree = yaml.compose(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected keys and values (task: …), found {data!r}")
    several = "runs" in data
    if several and (set(data) != {"runs"} or not isinstance(data["runs"], list)):
        raise InputError(f"{path}: beside `runs:` (a list) no other key is allowed")
    entries = data["runs"] if several else [data]
    configs = []
    for index, entry in enumerate(entries):
        prefix: tuple[str | int, ...] = ("runs", index) if several else ()
        configs.append(_validated(entry, path, tree, prefix))
    return configs


def _validated(
    entry: Any, path: Path, tree: yaml.Node | None, prefix: tuple[str | int, ...]
) -> RunConfig:
    try:
        return RunConfig.model_validate(entry)
    except ValidationError as error:
        lines = [f"{path}: {error.error_count()} wrong"]
        for one in error.errors()[:20]:
            loc = _real(entry, one["loc"])
            where = ".".join(str(part) for part in loc) or "the whole"
            line = _line(tree, (*prefix, *loc))
            lines.append(f"  line {line}: {where}: {describe(one)}")
        raise InputError("\n".join(lines)) from error


def describe(error: Any) -> str:
    """One pydantic error as value and allowed values."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key (value {error['input']!r})"
    if error["type"] == "missing":
        return "missing"
    return f"{error['input']!r}: {message}"


def _real(entry: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A location without the union tags that pydantic puts into it."""
    out: list[str | int] = []
    here = entry
    for position, part in enumerate(loc):
        known = isinstance(here, dict) and part in here
        listed = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if known or listed:
            here = here[part]
        elif position < len(loc) - 1:
            continue
        out.append(part)
    return tuple(out)


def _line(node: yaml.Node | None, loc: tuple[str | int, ...]) -> int:
    line = node.start_mark.line + 1 if node else 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if match is None:
                return line
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                return line
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def quick(config: RunConfig) -> RunConfig:
    """The same run, cut down to a first look: one seed, one grid point, few members."""

    def middle(grid: Any) -> dict[str, Any]:
        cut: dict[str, Any] = {}
        for field in ("layers", "learning_rates"):
            values = getattr(grid, field)
            if not isinstance(values, str):
                cut[field] = (values[(len(values) - 1) // 2],)
        return cut

    task: Any = config.task
    few: dict[str, Any] = {}
    if isinstance(task, CountriesConfig):
        few = {"countries": task.countries[:4], "validation": task.validation[:2]}
    elif isinstance(task, BackdoorConfig):
        few = {"pairs": task.pairs[:2], "validation_pairs": task.validation_pairs[:1]}
    return config.model_copy(
        update={
            "name": f"{config.name}-quick",
            "seeds": 1,
            "task": task.model_copy(update=few),
            "vector": config.vector and config.vector.model_copy(update=middle(config.vector)),
            "adapter": config.adapter and config.adapter.model_copy(update=middle(config.adapter)),
        }
    )


def revalidate(data: dict[str, Any]) -> RunConfig:
    """A configuration from plain data, e.g. with options of the command line put in.

    Raises:
        InputError: naming the field, the value and what is allowed.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        lines = []
        for one in error.errors()[:20]:
            where = ".".join(str(part) for part in _real(data, one["loc"]))
            lines.append(f"{where}: {describe(one)}")
        raise InputError("\n".join(lines)) from error
