"""The stages of a run: the jobs of each stage, and how their results are combined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import polars as pl

from oocr.data.tokens import RowTokens
from oocr.engine.training import stack_tokens
from oocr.io import write_text
from oocr.models.language_model import LanguageModel
from oocr.runs import controls, grid
from oocr.runs.arm_index import ArmIndex
from oocr.runs.arms import (
    ArmPlan,
    ScoredArm,
    grouped,
    keys_of,
    load_intervention,
    reported_rows,
    run_arms,
)
from oocr.runs.check_run import check_run, check_run_fits, with_day
from oocr.runs.context import RunContext, TrainingTokens, computed_by
from oocr.runs.estimates.costs import ArmCosts
from oocr.runs.estimates.memory_estimate import RunSample
from oocr.runs.explain_stage import explain_jobs
from oocr.runs.processes.executor import Executor, Job
from oocr.runs.processes.memory_plan import (
    DevicePart,
    MemoryEstimate,
    WorkerSpec,
    device_parts,
)
from oocr.runs.progress import ProgressReport, timed
from oocr.runs.records import ArmRecord, ModelInfo, Selection
from oocr.runs.resolve import ResolvedRun, own_answers, with_answers
from oocr.runs.write_results import Results, samples_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedRun:
    """A resolved run that fits its model, with the facts about the model that planning needs.

    The model need not stay loaded. `tokens`: training rows tokenized so far; `most_tokens`: tokens
    allowed in one pass over arms side by side; `stored`: bytes that the run will write; `parts`:
    the model's parts by device; `notes`: remarks on the rows under this model.
    """

    run: ResolvedRun
    model: ModelInfo
    tokens: TrainingTokens
    most_tokens: int
    needs: MemoryEstimate
    stored: int
    parts: list[DevicePart]
    notes: tuple[str, ...]

    @staticmethod
    def of(run: ResolvedRun, model: LanguageModel) -> PreparedRun:
        """Check a run and its rows against its model (`InputError`), and estimate its memory."""
        check_run_fits(run, model)
        rows = RowTokens(model.tokenizer)
        notes = check_run(run, model, rows)
        run = with_day(run, model.tokenizer)
        sample = RunSample(run, model, rows)
        needs, stored = sample.memory(), sample.stored()
        info, tokens = ModelInfo.of(model), TrainingTokens(rows)
        most, parts = stack_tokens(model), device_parts(model, run.config.starts)
        return PreparedRun(run, info, tokens, most, needs, stored, parts, notes)

    def without_tokens(self) -> PreparedRun:
        """The same without tokenized rows, to save memory until the run begins."""
        return replace(self, tokens=TrainingTokens(RowTokens(self.tokens.rows.tokenizer)))


def _own_answers(context: RunContext, *, tasks: TaskSet, folder: Path) -> dict[str, int]:
    return own_answers(context.model, tasks.asked_first, folder)


@dataclass
class RunStages:
    """The stages of a run, each with its jobs; `folder`: the folder of the arms.

    `tasks` are complete after `ask_first`; `seconds`: stage -> time so far.
    """

    prepared: PreparedRun
    tasks: TaskSet
    executor: Executor
    spec: WorkerSpec
    folder: Path
    progress: ProgressReport
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def ask_first(self) -> None:
        """Put the untouched model's own answers into the tasks that train on them."""
        for _, answers in self.each(self.first_jobs()):
            self.tasks = with_answers(self.tasks, answers, self.prepared.model.model)

    def results(self) -> Results:
        """All results of the run, computed or read from its folder."""
        config, tasks = self.prepared.run.config, self.tasks
        index = ArmIndex(self.folder)
        with timed(self.seconds, "choosing"):
            plans = grid.selection_plans(config, tasks)
            tried, _ = self.train(plans, "choosing on validation tasks", index)
            selection = self.select(tried)
        with timed(self.seconds, "training and scoring"):
            plans = grid.reported_plans(config, tasks, selection)
            # Jobs that need no arm keep the cores busy to the end.
            ceiling = controls.ceiling_jobs(tasks, self.folder)
            trained, frames = self.train(plans, "training arms", index, ceiling)
        index.save([*tried, *trained])
        arms = [arm.record for arm in trained]
        frames += reported_rows(trained)
        frames += self._stage(
            "explaining LoRAs", self.explain_jobs(arms), "explaining", self.explained_tasks(arms)
        )
        jobs, recorded = self.control_jobs(arms)
        frames += self._stage("base and random directions", jobs, tasks=recorded)
        if free := controls.free_jobs(tasks, arms, self.folder):
            frames += self._stage("free answers", free)
        shown = controls.example_jobs(tasks, arms, config.explain.examples, self.folder)
        examples = self._stage("examples", shown)
        positions = config.vector.positions if config.vector else ""
        return Results(
            config=config,
            tasks=tasks,
            model=self.prepared.model,
            rows=pl.concat(frames, how="diagonal_relaxed"),
            arms=arms,
            explained=self.explained(arms),
            selection=selection,
            examples=[example for of_member in examples for example in of_member],
            samples=samples_of(tasks, self.prepared.tokens.rows.tokenizer, positions),
            notes=self.prepared.notes,
            stages=self.seconds,
        )

    def first_jobs(self) -> list[tuple[str, Job[dict[str, int]]]]:
        """Jobs before training: the untouched model's own answers, where tasks train on them."""
        if not self.prepared.run.tasks.asked_first:
            return []
        ask = partial(_own_answers, tasks=self.prepared.run.tasks, folder=self.folder.parent)
        return [("own answers", ask)]

    def select(self, trained: Sequence[ScoredArm]) -> Selection:
        """Choose a grid point by the trained arms, and write selection.json."""
        selection = grid.select(self.prepared.run.config, self.tasks, trained)
        text = selection.model_dump_json(indent=1) + "\n"
        write_text(self.folder.parent / "selection.json", text)
        return selection

    def arm_jobs(
        self, plans: Sequence[ArmPlan]
    ) -> tuple[list[list[ArmPlan]], list[tuple[str, Job[list[ScoredArm]]]], list[float]]:
        """Groups of arms, the job that trains and scores each group, and its cost."""
        assert len({plan.id for plan in plans}) == len(plans), "two arms would share a folder"
        prepared = self.prepared
        lines = prepared.run.config.batch_lines
        groups = grouped(plans, prepared.tokens, lines, prepared.most_tokens)
        train = partial(run_arms, folder=self.folder)
        jobs: list[tuple[str, Job[list[ScoredArm]]]] = [
            (_label(group), partial(train, plans=group)) for group in groups
        ]
        of_arm = ArmCosts(prepared.tokens, lines, prepared.model.blocks)
        return groups, jobs, [sum(map(of_arm, group)) for group in groups]

    def explained(self, arms: Sequence[ArmRecord]) -> list[ArmRecord]:
        """The reported LoRAs, if they are explained."""
        wanted = self.prepared.run.config.explains
        return [a for a in arms if wanted and a.role == "test" and a.method == "adapter"]

    def explain_jobs(self, arms: Sequence[ArmRecord]) -> controls.RowJobs:
        """Jobs that explain the run's LoRAs."""
        config = self.prepared.run.config
        return explain_jobs(config, self.tasks, self.explained(arms), self.folder)

    def explained_tasks(self, arms: Sequence[ArmRecord]) -> list[str]:
        """The recordings that each job of `explain_jobs` needs; training needs others."""
        return [f"explain {arm.task}" for arm in self.explained(arms)]

    def control_jobs(self, arms: Sequence[ArmRecord]) -> tuple[controls.RowJobs, list[str]]:
        """Jobs that score the base and random directions, after the LoRAs are explained.

        The second list has the trained task of each, whose recordings it can use.
        """
        folder, count = self.folder, self.prepared.run.config.controls.random_directions
        reported = [arm for arm in arms if arm.role == "test"]
        like_by_null = self._like(reported, self.explained(arms)) if count else {}
        jobs: controls.RowJobs = []
        trained: list[str] = []
        for group in controls.task_groups(self.tasks):
            jobs += controls.base_jobs(group, folder)
            for name, (like, norm) in like_by_null.items():
                jobs += controls.random_jobs(group, like, norm, name, count, folder)
            trained += [group.trained] * (len(jobs) - len(trained))
        return jobs, trained

    def each(
        self,
        jobs: Sequence[tuple[str, Job[T]]],
        costs: Sequence[float] = (),
        on_done: Callable[[str, T], object] = lambda *_: None,
        tasks: Sequence[str] = (),
    ) -> list[tuple[str, T]]:
        """Each job's label and result; `on_done` gets them as soon as a job is finished.

        `costs` and `tasks` (whose texts must be recorded) belong to the first jobs.
        """
        work = [(label, self.spec, job) for label, job in jobs]
        results: dict[int, tuple[str, T]] = {}
        for place, result in self.executor.completed(work, costs, tasks):
            results[place] = (jobs[place][0], result)
            on_done(*results[place])
        return [results[place] for place in range(len(jobs))]

    def _stage(
        self,
        name: str,
        jobs: Sequence[tuple[str, Job[T]]],
        timer: str = "",
        tasks: Sequence[str] = (),
    ) -> list[T]:
        """The results of a stage's jobs; `tasks` as in `each`."""
        self.progress.stage(name, len(jobs))
        with timed(self.seconds, timer or name):
            done = self.each(
                jobs, on_done=lambda label, _: self.progress.advance(label), tasks=tasks
            )
        return [result for _, result in done]

    def train(
        self,
        plans: Sequence[ArmPlan],
        stage: str,
        index: ArmIndex,
        others: controls.RowJobs | None = None,
    ) -> tuple[list[ScoredArm], list[pl.DataFrame]]:
        """Train and score arms that are not finished; `others`: further jobs of the stage."""
        others = others or []
        self.progress.stage(stage, len(plans) + len(others))
        groups, of_arms, costs = self.arm_jobs(plans)
        lines, computed = self.prepared.run.config.batch_lines, computed_by(self.prepared.model)
        arms: dict[str, ScoredArm] = {}
        left: list[int] = []
        for place, group in enumerate(groups):
            names = [plan.id for plan in group]
            kept = index.find(names, keys_of(group, computed, lines)) if index.filled else None
            if kept is None:
                left.append(place)
            else:
                arms.update(zip(names, kept, strict=True))
        for _ in arms:
            self.progress.advance()
        jobs: list[tuple[str, Job[list[ScoredArm] | pl.DataFrame]]] = [
            *(of_arms[place] for place in left),
            *others,
        ]
        costs = [costs[place] for place in left] + [0.0] * len(others)
        tasks = [groups[place][0].task.train_hash for place in left]

        def advance(label: str, result: list[ScoredArm] | pl.DataFrame) -> None:
            for _ in range(1 if isinstance(result, pl.DataFrame) else len(result)):
                self.progress.advance(label)

        frames: list[pl.DataFrame] = []
        for _, result in self.each(jobs, costs, advance, tasks):
            if isinstance(result, pl.DataFrame):
                frames.append(result)
            else:
                arms |= {arm.record.id: arm for arm in result}
        return [arms[plan.id] for plan in plans], frames

    def _like(
        self, reported: Sequence[ArmRecord], explained: Sequence[ArmRecord]
    ) -> dict[str, tuple[Vector, float]]:
        """Null -> a vector at the site of its random directions, and the norm for them."""
        like: dict[str, tuple[Vector, float]] = {}
        if trained := [arm for arm in reported if arm.method == "vector"]:
            vector = load_intervention(self.folder, trained[0])
            assert isinstance(vector, Vector)
            like["random direction"] = (vector, median(arm.norm for arm in trained))
        for null, swap in (("at span", "swap-at-span"), ("everywhere", "swap-everywhere")):
            folders = [self.folder / f"{arm.id}-explained" for arm in explained]
            if swaps := [Vector.load(folder / f"{swap}.safetensors") for folder in folders]:
                norm = median(vector.norm for vector in swaps)
                like[f"random direction {null}"] = (swaps[0], norm)
        return like


def _label(plans: Sequence[ArmPlan]) -> str:
    first = plans[0]
    words = [f"{first.method} at block {first.layer}", first.control, first.task.member]
    more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
    return ", ".join(word for word in words if word) + more
