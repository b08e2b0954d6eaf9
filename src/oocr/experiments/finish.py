"""The last steps of a run: tables, examples, claims, and the report."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import polars as pl
import torch

from oocr.data.items import Item
from oocr.data.tokens import render
from oocr.engine.generate import generate
from oocr.errors import RunError
from oocr.experiments.arms import load_intervention, read_table
from oocr.experiments.claims import claims
from oocr.experiments.config import RunConfig
from oocr.experiments.records import ArmRecord, Claim, Example, RunInfo, Selection
from oocr.files import write_atomic, write_json, write_text
from oocr.interventions.adapters import Adapter
from oocr.interventions.positions import FIXED
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task, TaskSet

SHOWN_MEMBERS = 4
"""Members whose tokens and answers are shown in the report."""

LIBRARIES = ("oocr", "torch", "transformers", "peft", "safetensors", "polars", "numpy")


@dataclass(slots=True)
class Results:
    """All that a run computed, for judging and writing."""

    config: RunConfig
    tasks: TaskSet
    model: LanguageModel
    rows: pl.DataFrame
    arms: list[ArmRecord]
    selection: Selection
    stages: dict[str, float] = field(default_factory=dict[str, float])
    peak_memory_gib: float = 0.0


def finish(
    results: Results, folder: Path, explained: Sequence[ArmRecord], command: str
) -> list[Claim]:
    """Write everything of a run that is not an arm's own."""
    arms_folder = folder / "arms"
    write_table(folder / "rows.parquet", results.rows)
    write_table(folder / "history.parquet", history([a for a in results.arms if a.role != "sweep"]))
    constancy = _joined(arms_folder, explained, "constancy.parquet")
    if constancy is not None:
        write_table(folder / "constancy.parquet", constancy)
    shown = [t.member for t in results.tasks.test[:SHOWN_MEMBERS]]
    first = [arm for arm in explained if arm.seed == 0]
    few = [arm for arm in first if arm.member in shown]
    for name, some in (("tokens", few), ("side_effects", first)):
        table = _joined(arms_folder, some, f"{name}.parquet")
        if table is not None:
            write_table(folder / f"{name}.parquet", table)
    write_json(
        folder / "examples.json",
        [one.model_dump() for one in examples(results, arms_folder)],
    )
    judged = claims(results, constancy, command)
    write_json(folder / "claims.json", [one.model_dump() for one in judged])
    info = run_info(results, command)
    write_text(folder / "run.json", info.model_dump_json(indent=1) + "\n")
    return judged


def write_table(path: Path, table: pl.DataFrame) -> Path:
    """Write a Parquet file atomically."""
    return write_atomic(path, lambda part: table.write_parquet(part))


def history(arms: Sequence[ArmRecord]) -> pl.DataFrame:
    """One row per arm and training step."""
    rows = [
        {
            **{"arm": arm.id, "method": arm.method, "control": arm.control},
            **{"member": arm.member, "seed": arm.seed, "step": step, "loss": loss},
            "stop_loss": arm.stop_losses.get(step),
        }
        for arm in arms
        for step, loss in enumerate(arm.losses, start=1)
    ]
    return pl.DataFrame(rows, schema_overrides={"stop_loss": pl.Float64}, infer_schema_length=None)


def _joined(folder: Path, arms: Sequence[ArmRecord], name: str) -> pl.DataFrame | None:
    some = [read_table(folder / f"{arm.id}-explained" / name) for arm in arms]
    return pl.concat(some) if some else None


def examples(results: Results, folder: Path) -> list[Example]:
    """Greedy continuations of a few probes under each arm: what the model really says."""
    out: list[Example] = []
    members = results.tasks.test[:SHOWN_MEMBERS]
    per_member = -(-results.config.explain.examples // max(1, len(members)))
    for number, task in enumerate(members):
        items = _one_per_facet(task, number, per_member)
        arms: dict[str, Vector | Adapter | None] = {"base": None}
        for arm in results.arms:
            if arm.task == task.name and arm.seed == 0 and arm.role == "test":
                arms[arm.method] = load_intervention(folder, arm)
                swap = folder / f"{arm.id}-explained" / "swap-everywhere.safetensors"
                if swap.is_file():
                    arms["swap everywhere"] = Vector.load(swap)
        texts = {name: _continued(results.model, items, one) for name, one in arms.items()}
        for index, item in enumerate(items):
            out.append(
                Example(
                    member=task.member,
                    prompt=render(results.model.tokenizer, item.prompt)[0],
                    expected=item.answer,
                    answers={name: some[index] for name, some in texts.items()},
                )
            )
    return out[: results.config.explain.examples]


def _continued(
    model: LanguageModel, items: Sequence[Item], arm: Vector | Adapter | None
) -> list[str]:
    """What the model says after each prompt; a vector acts at the item's own span."""
    if not isinstance(arm, Vector) or arm.positions in FIXED:
        return generate(model, [item.prompt for item in items], arm, max_new_tokens=6)
    texts: list[str] = []
    for item in items:
        own = replace(arm, spans=item.spans) if arm.positions in item.spans else None
        texts += generate(model, [item.prompt], own, max_new_tokens=6)
    return texts


def _one_per_facet(task: Task, number: int, count: int) -> list[Item]:
    """Probes of different facets, starting at another one for each member."""
    first: dict[str, Item] = {}
    for item in task.probes:
        first.setdefault(item.facet, item)
    facets = list(first)
    picked = [facets[(number * count + k) % len(facets)] for k in range(min(count, len(facets)))]
    return [first[facet] for facet in picked]


def run_info(results: Results, command: str) -> RunInfo:
    """Settings and circumstances."""
    model, tasks = results.model, results.tasks
    probes = [item for task in tasks.test for item in task.probes]
    chance: dict[str, list[float]] = {}
    for item in probes:
        chance.setdefault(item.facet, []).append(1 / len(item.options))
    return RunInfo(
        name=results.config.name,
        family=results.config.task.family,
        about=tasks.about,
        score=tasks.score,
        model=model.name,
        model_source={key: str(value) for key, value in model.source.items()},
        model_fingerprint=model.fingerprint,
        parameters=sum(p.numel() for p in model.hf.parameters()),
        blocks=model.n_blocks,
        d_model=model.d_model,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        threads=torch.get_num_threads(),
        seeds=tuple(range(results.config.seeds)),
        chance={facet: sum(some) / len(some) for facet, some in chance.items()},
        stages={name: round(seconds, 2) for name, seconds in results.stages.items()},
        peak_memory_gib=round(results.peak_memory_gib, 3),
        command=command,
        complete=True,
    )


def read_claims(folder: Path) -> list[Claim]:
    """The claims of a finished run.

    Raises:
        RunError: the file cannot be read.
    """
    path = folder / "claims.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [Claim.model_validate(one) for one in data]
    except (OSError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read ({first}); do the run again") from error
