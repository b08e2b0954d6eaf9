"""Built-in runs on the model that was asked for: which settings, and at which blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from oocr.errors import InputError
from oocr.models.sources.bundled import BUNDLED, plugin_of
from oocr.models.sources.hub import with_revision
from oocr.runs.config import RunConfig
from oocr.runs.read_config import BUILTIN, OF_MODELS

LARGER = {"functions": "qwen2.5-coder-1.5b-instruct"}
"""Task that small models cannot do -> the named model that can."""


def source_for(source: str, model: str | None) -> tuple[str, str]:
    """The built-in run for a model, and a sentence if it is another than the one named.

    Without a model, a task that small models cannot do uses the larger model, if it is installed.
    """
    plugin = plugin_of(model) if model is not None else None
    path = plugin.runs().get(source) if plugin else None
    if plugin and path:
        return path.stem, f"{model} is {plugin.about}: {path.stem} is run"
    name = model or LARGER.get(source, "")
    if f"{name}/{source}" not in OF_MODELS:
        return source, ""
    larger = BUNDLED[name]
    if model is None and not larger.locate():
        size = f"{larger.size / 1e9:.1f} GB"
        return source, f"{source} shows more on {name}: `{larger.install}` ({size}) fetches it"
    return f"{name}/{source}", f"{name} has settings of its own: {name}/{source} is run"


def also_run(source: str, model: str | None) -> list[str]:
    """Built-in runs that the demo adds: tasks for larger models, if one is installed."""
    if source != "demo" or model is not None:
        return []
    here = [name for name in BUNDLED if f"{name}/demo" in OF_MODELS and BUNDLED[name].locate()]
    return [f"{name}/demo" for name in here[-1:]]


class FittedRuns(NamedTuple):
    """Runs for another model than that of their file, and a sentence on what changed, or ""."""

    configs: list[RunConfig]
    note: str


def fitted(
    configs: Sequence[RunConfig], source: str, model: str | None, *, on_gpu: bool = False
) -> FittedRuns:
    """The runs of a built-in name for the model that was asked for; of other sources, all of them.

    Of each family one model's runs are left, and their blocks are at the same relative depth (see
    `same_depth`). `on_gpu`: the model need not be here, as in `oocr.models.outline.outline`.
    """
    if model is None or source not in BUILTIN:
        return FittedRuns(list(configs), "")
    name, revision = with_revision(model)
    meant: dict[str, str] = {}  # family -> the model whose runs are taken
    for config in configs:
        if config.model == name or config.task.family not in meant:
            meant[config.task.family] = config.model
    kept = [config for config in configs if config.model == meant[config.task.family]]
    others = {config.model for config in kept} & set(BUNDLED) - {name}
    if not others:
        return FittedRuns(kept, "")
    try:
        shape = shape_of(name, revision, on_gpu=on_gpu)
    except InputError:  # the run's own check says what is wrong, and where
        return FittedRuns(kept, "")
    new = "" if len(kept) > 1 else source
    moved = {config.name: _moved(config, shape, new) for config in kept if config.model in others}
    grids = [grid for config in moved.values() for grid in config.grids.values()]
    listed = ", ".join(map(str, sorted({block for grid in grids for block in grid.blocks})))
    note = (
        f"{source} has settings for {' and '.join(sorted(others))}; its blocks here are those at "
        f"the same relative depth: {listed} of {shape.blocks}"
    )
    if any(moved[config.name].task != config.task for config in kept if config.name in moved):
        note += f"; {name} has no chat template and is asked in raw text"
    return FittedRuns([moved.get(config.name, config) for config in kept], note)


class Shape(NamedTuple):
    """What settings depend on: a model's number of blocks, and whether it has a chat template."""

    blocks: int
    chats: bool


def shape_of(name: str, revision: str | None = None, *, on_gpu: bool = False) -> Shape:
    """A model's shape, from its configuration and tokenizer.

    InputError: no such model here.
    """
    from oocr.models.outline import outline

    if name in BUNDLED:
        return Shape(BUNDLED[name].blocks, BUNDLED[name].chat_template)
    device: dict[str, Any] = {} if on_gpu else {"device": "cpu"}
    model = outline(name, revision=revision, on_gpu=on_gpu, **device)
    return Shape(model.n_blocks, bool(model.tokenizer.chat_template))


def _moved(config: RunConfig, shape: Shape, name: str) -> RunConfig:
    """The run as it fits another model; with a new name, unless that is ""."""
    theirs = BUNDLED[config.model].blocks
    update: dict[str, object] = {"name": name or config.name}
    if not shape.chats and getattr(config.task, "form", "") == "chat":
        update["task"] = config.task.model_copy(update={"form": "raw"})
    for arm, grid in (("vector", config.vector), ("adapter", config.adapter)):
        if grid is not None and grid.layers != "all":
            layers = [same_depth(layer, theirs, shape.blocks) for layer in grid.layers]
            update[arm] = grid.model_copy(update={"layers": tuple(dict.fromkeys(layers))})
    return config.model_copy(update=update)


def same_depth(layer: int, blocks: int, other: int) -> int:
    """The block of a model with `other` blocks at the relative depth of `layer` of `blocks`.

    Depth is the share of blocks whose outputs are added up: (layer + 1) / blocks. -1 (the
    embedding's output) stays -1, and no block becomes it.
    """
    if layer < 0:
        return layer
    return max(0, round((layer + 1) / blocks * other) - 1)
