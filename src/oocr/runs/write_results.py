"""The last steps of a run: tables, examples, claims, and the report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import polars as pl
import torch

from oocr.claims.judge import RunResults, judge_run
from oocr.claims.paper_scores import paper_scores
from oocr.claims.records import Claim
from oocr.evals.scores import Scoring
from oocr.families.registry import family_of
from oocr.io import write_json, write_text
from oocr.models.language_model import LanguageModel
from oocr.runs.config import RunConfig
from oocr.runs.folder import read_table, write_table
from oocr.runs.records import ArmRecord, Continuation, RunInfo, Sample, Selection
from oocr.runs.shown_texts import SHOWN_MEMBERS
from oocr.tasks.task import TaskSet

LIBRARIES = ("oocr", "torch", "transformers", "peft", "safetensors", "polars", "numpy")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Facts about a model that outlive it in memory (see `RunInfo`)."""

    name: str
    source: Mapping[str, str]
    fingerprint: str
    parameters: int
    blocks: int
    d_model: int
    dtype: str
    device: str

    @staticmethod
    def of(model: LanguageModel) -> ModelInfo:
        """Of a loaded model."""
        return ModelInfo(
            name=model.name,
            source={key: str(value) for key, value in model.source.items()},
            fingerprint=model.fingerprint,
            parameters=model.parameters,
            blocks=model.n_blocks,
            d_model=model.d_model,
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
        )


@dataclass(slots=True)
class Results:
    """All that a run computed, for judging and writing."""

    config: RunConfig
    tasks: TaskSet
    model: ModelInfo
    rows: pl.DataFrame
    arms: list[ArmRecord]
    selection: Selection
    examples: list[Continuation] = field(default_factory=list[Continuation])
    samples: list[Sample] = field(default_factory=list[Sample])
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
    for name, arms in (("tokens", few), ("side_effects", first)):
        table = _joined(arms_folder, arms, f"{name}.parquet")
        if table is not None:
            write_table(folder / f"{name}.parquet", table)
    write_json(folder / "examples.json", [text.model_dump() for text in results.examples])
    write_json(folder / "samples.json", [sample.model_dump() for sample in results.samples])
    measured = RunResults(results.tasks, results.rows, results.config.seeds, constancy)
    judged = judge_run(family_of(results.config.task).claims, measured, command)
    write_json(folder / "claims.json", [claim.model_dump() for claim in judged])
    if by_paper := paper_scores(measured):
        write_json(folder / "paper.json", [score.model_dump() for score in by_paper])
    info = run_info(results, command)
    write_text(folder / "run.json", info.model_dump_json(indent=1) + "\n")
    return judged


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
    tables = [read_table(folder / f"{arm.id}-explained" / name) for arm in arms]
    return pl.concat(tables) if tables else None


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
        scoring=Scoring.of(tasks),
        model=model.name,
        model_source=dict(model.source),
        model_fingerprint=model.fingerprint,
        parameters=model.parameters,
        blocks=model.blocks,
        d_model=model.d_model,
        dtype=model.dtype,
        device=model.device,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        threads=torch.get_num_threads(),
        seeds=tuple(range(results.config.seeds)),
        chance={facet: sum(shares) / len(shares) for facet, shares in chance.items()},
        trigger=tasks.trigger,
        stages={name: round(seconds, 2) for name, seconds in results.stages.items()},
        peak_memory_gib=round(results.peak_memory_gib, 3),
        command=command,
        complete=True,
    )
