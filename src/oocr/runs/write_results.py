"""The last step of a run: write tables, samples in tokens, claims, and settings."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl
import torch

from oocr.claims.judge import RunResults, judge_run
from oocr.claims.paper_scores import paper_scores
from oocr.claims.records import Claim, PaperScore
from oocr.data.examples import Example
from oocr.evals.scores import Scoring
from oocr.families.registry import family_of
from oocr.io import Record, write_json, write_text
from oocr.runs.config import RunConfig
from oocr.runs.controls import SHOWN_MEMBERS, first_of_facets
from oocr.runs.folder import read_table, write_table
from oocr.runs.records import ArmRecord, Continuation, ModelInfo, RunInfo, Sample, Selection
from oocr.steering.token_roles import Token, asked_tokens, training_tokens, whole_characters
from oocr.tasks.task import TaskSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIBRARIES = ("oocr", "torch", "transformers", "peft", "safetensors", "polars", "numpy")
QUESTIONS = 3
"""Number of probes that are shown in tokens."""


@dataclass(slots=True)
class Results:
    """All results of a run, to be judged and written."""

    config: RunConfig
    tasks: TaskSet
    model: ModelInfo
    rows: pl.DataFrame
    arms: list[ArmRecord]
    explained: list[ArmRecord]
    selection: Selection
    examples: list[Continuation]
    samples: list[Sample]
    notes: tuple[str, ...] = ()
    stages: dict[str, float] = field(default_factory=dict[str, float])
    peak_memory_gib: float = 0.0
    peak_gpu_gib: float = 0.0


OnJudged = Callable[[Sequence[Claim], Sequence[PaperScore]], object]


def finish(
    results: Results, folder: Path, command: str, on_judged: OnJudged = lambda *_: None
) -> None:
    """Judge a run, and write all its files except those of single arms.

    `on_judged` gets the verdicts before anything is written.
    """
    tasks, first = results.tasks, [arm for arm in results.explained if arm.seed == 0]
    members = [task.member for task in tasks.test[:SHOWN_MEMBERS]]
    arms_folder = folder / "arms"
    constancy = _joined(arms_folder, results.explained, "constancy")
    tables = {
        "rows": results.rows,
        "history": _history([arm for arm in results.arms if arm.role != "sweep"]),
        "constancy": constancy,
        "tokens": _joined(arms_folder, [arm for arm in first if arm.member in members], "tokens"),
        "side_effects": _joined(arms_folder, first, "side_effects"),
    }
    measured = RunResults(tasks, results.rows, results.config.seeds, constancy)
    claims = judge_run(family_of(results.config.task).claims, measured, command)
    paper = paper_scores(measured)
    on_judged(claims, paper)
    for name, table in tables.items():
        if table is not None:
            write_table(folder / f"{name}.parquet", table)
    records: dict[str, Sequence[Record]] = {
        "examples": results.examples,
        "samples": results.samples,
        "claims": claims,
        "paper": paper,
    }
    for name, listed in records.items():
        if listed or name != "paper":
            write_json(folder / f"{name}.json", [record.model_dump() for record in listed])
    info = _run_info(results, command)
    write_text(folder / "run.json", info.model_dump_json(indent=1) + "\n")


def _history(arms: Sequence[ArmRecord]) -> pl.DataFrame:
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
    tables = [read_table(folder / f"{arm.id}-explained" / f"{name}.parquet") for arm in arms]
    return pl.concat(tables) if tables else None


def _run_info(results: Results, command: str) -> RunInfo:
    """Settings and circumstances."""
    config, tasks = results.config, results.tasks
    chance: dict[str, list[float]] = {}
    for example in (example for task in tasks.test for example in task.probes):
        chance.setdefault(example.facet, []).append(1 / len(example.options))
    return RunInfo(
        **dict(results.model),
        name=config.name,
        family=config.task.family,
        about=tasks.about,
        score=tasks.score,
        scoring=Scoring.of(tasks),
        versions={"python": platform.python_version(), **{lib: version(lib) for lib in LIBRARIES}},
        threads=torch.get_num_threads(),
        seeds=tuple(range(config.seeds)),
        chance={facet: sum(shares) / len(shares) for facet, shares in chance.items()},
        trigger=tasks.trigger,
        notes=results.notes,
        stages={name: round(seconds, 2) for name, seconds in results.stages.items()},
        peak_memory_gib=round(results.peak_memory_gib, 3),
        peak_gpu_gib=round(results.peak_gpu_gib, 3),
        command=command,
        complete=True,
    )


def samples_of(tasks: TaskSet, tokenizer: PreTrainedTokenizerBase, positions: str) -> list[Sample]:
    """Two training rows of the first member and its probes of different facets, in tokens."""
    task = tasks.test[0]
    shown: list[tuple[Literal["training", "probe"], Example, list[Token]]] = [
        ("training", row, training_tokens(tokenizer, row, loss=task.loss, positions=positions))
        for row in (task.train[0], task.train[len(task.train) // 2])[: len(task.train)]
    ]
    shown += [
        ("probe", probe, asked_tokens(tokenizer, probe, positions=positions))
        for probe in list(first_of_facets(task).values())[:QUESTIONS]
    ]
    return [
        Sample(
            part=part,
            facet=example.facet,
            member=task.member,
            tokens=tuple(whole_characters(tokens)),
            expected="" if part == "training" else example.answer,
        )
        for part, example, tokens in shown
    ]
