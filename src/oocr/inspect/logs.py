"""A finished run as Inspect logs: a file for each arm, control and part, from its own rows.

Samples are the questions; a seed is an epoch. The scores are those of the run's rows; nothing is
computed again. Random directions (thousands of samples that are read as one spread) stay in the
run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage
from inspect_ai.scorer import CORRECT, INCORRECT, Score

from oocr.charts.arms import Arm, is_null
from oocr.data.examples import Example, FreeTextExample
from oocr.evals.score_table import shown_rows
from oocr.evals.scores import FREE
from oocr.inspect.question import Question
from oocr.inspect.tasks import input_of, metadata_of
from oocr.io import command_line, new_folder
from oocr.runs.folder import RunFolder
from oocr.runs.resolve import tasks_of
from oocr.tasks.task import TaskSet

NUMBERS = ("tied", "rank", "logp", "log_odds", "value")
"""Columns of a choice that go into its score's metadata."""

Examples = Mapping[tuple[str, str], Example | FreeTextExample]
"""(member, id) -> the question of a row."""


def write_logs(run: RunFolder, out: Path) -> str:
    """Write the logs into a new folder; returns the command that shows them.

    InputError: the user's files, from which the questions are built again, are gone or changed.
    """
    tasks, rows = tasks_of(run), run.rows
    assert rows is not None
    several = len({task.member for task in tasks.test}) > 1
    names = ("arm", "control", "part")
    with new_folder(out) as folder:
        for values, table in shown_rows(rows).group_by(*names, maintain_order=True):
            arm, control, part = map(str, values)
            if is_null(Arm(arm, control)):
                continue
            examples = _examples(tasks, arm, control, part)
            log = _log(run, table, examples, several=several)
            name = "-".join(filter(None, (arm, control, part)))
            write_eval_log(log, str(folder / f"{_slug(name)}.eval"))
    return command_line(["inspect", "view", "--log-dir", out])


def _examples(tasks: TaskSet, arm: str, control: str, part: str) -> Examples:
    """The questions of rows, as far as the tasks still have them."""
    if arm == "ceiling":
        return {("", example.id): example for example in tasks.ceiling}
    asked = {"free_in_context": "free"}.get(part, part)
    return {
        (task.member, example.id): example
        for task in (tasks.controls.get(control, ()) if control else tasks.test)
        for example in task.split(asked)
    }


def _log(run: RunFolder, rows: pl.DataFrame, examples: Examples, *, several: bool) -> EvalLog:
    first = rows.row(0, named=True)
    modified = (run.folder / "run.json").stat().st_mtime
    written = datetime.fromtimestamp(modified, tz=UTC).isoformat()
    arm, control, part = first["arm"], first["control"], first["part"]
    scorer = "judged" if part in FREE else "chosen"
    model = f"oocr/{run.info.model}"
    seeds = sorted({0 if seed is None else int(seed) for seed in rows["seed"]})
    samples = list(_samples(rows, examples, model, scorer, seeds, several=several))
    ids = list(dict.fromkeys(sample.id for sample in samples))
    named = "-".join(filter(None, (run.folder.name, arm, control, part)))
    metrics = {name: EvalMetric(name=name, value=value) for name, value in _metrics(run, rows)}
    score = EvalScore(
        name=scorer, scorer=scorer, scored_samples=len(samples), unscored_samples=0, metrics=metrics
    )
    trained = [record.id for record in run.arms if record.method == arm]
    about = {"arm": arm, "control": control, "layer": first.get("layer")}
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=written,
            task="oocr/free" if part in FREE else "oocr/choices",
            task_id=_slug(f"{named}-task"),
            run_id=_slug(run.folder.name),
            eval_id=_slug(named),
            task_args={"run": run.folder.name, "part": part},
            dataset=EvalDataset(
                name=f"{run.info.family} {part}", samples=len(ids), sample_ids=ids, shuffled=False
            ),
            model=model,
            model_args=about,
            config=EvalConfig(epochs=len(seeds)),
            packages=run.info.versions,
            metadata={
                "run": run.folder.name,
                "seeds": seeds,
                "arms": trained,
                "model_fingerprint": run.info.model_fingerprint,
            },
        ),
        plan=EvalPlan(),
        results=EvalResults(
            total_samples=len(samples), completed_samples=len(samples), scores=[score]
        ),
        stats=EvalStats(started_at=written, completed_at=written),
        samples=samples,
    )


def _samples(
    rows: pl.DataFrame,
    examples: Examples,
    model: str,
    scorer: str,
    seeds: list[int],
    *,
    several: bool,
) -> Iterator[EvalSample]:
    for row in rows.iter_rows(named=True):
        example = examples.get((row["member"], row["item"]), examples.get(("", row["item"])))
        question = None if example is None else Question.of(example)
        content = row["item"] if example is None else input_of(example.prompt)
        asked = [ChatMessageUser(content=content)] if isinstance(content, str) else content
        numbers = {name: row[name] for name in NUMBERS if row.get(name) is not None}
        about: dict[str, Any] = {"member": row["member"], "facet": row["facet"]}
        if example is not None and question is not None:
            about = metadata_of(example, row["member"], question)
        text = str(row["chosen"] or "")
        yield EvalSample(
            id=f"{row['member']}/{row['item']}" if several else row["item"],
            epoch=seeds.index(int(row["seed"] or 0)) + 1,
            input=content,
            choices=list(question.options) if question and question.options else None,
            target=row["answer"] if question is None else question.answer or list(question.accept),
            messages=[*asked, ChatMessageAssistant(content=text)],
            output=ModelOutput(
                model=model,
                choices=ModelOutput.from_content(model, text).choices,
                usage=ModelUsage(),
            ),
            scores={
                scorer: Score(
                    value=CORRECT if row["right"] else INCORRECT,
                    answer=text,
                    explanation=row.get("why") or None,
                    metadata=numbers or None,
                )
            },
            metadata=about,
        )


def _metrics(run: RunFolder, rows: pl.DataFrame) -> Iterator[tuple[str, float]]:
    """Accuracy over rows, the run's score with its interval, and accuracy by facet."""
    yield "accuracy", _share(rows)
    scoring, base = run.scoring, None
    if run.rows is not None and scoring is not None and rows["arm"][0] != "base":
        base = scoring.rows(run.rows, "base", part=rows["part"][0])
    interval = None if scoring is None else scoring.interval(rows, base)
    if interval is not None:
        yield from (
            ("score", interval.value),
            ("score_low", interval.low),
            ("score_high", interval.high),
        )
    for facet in rows["facet"].unique(maintain_order=True):
        yield str(facet), _share(rows.filter(pl.col("facet") == facet))


def _share(rows: pl.DataFrame) -> float:
    return float(rows["right"].cast(pl.Float64).to_numpy().mean())


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "log"
