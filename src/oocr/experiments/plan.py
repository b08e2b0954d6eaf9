"""What `oocr plan` says: how much a run computes, how long that takes here, whether it fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean as mean

from rich.console import Console
from rich.table import Table

from oocr.data.batches import Batch, pad, training_lines
from oocr.engine.memory import shape_of
from oocr.engine.prepared import training_groups
from oocr.engine.trainable import tail_tokens
from oocr.errors import InputError
from oocr.experiments.arms import ArmPlan
from oocr.experiments.command import Overrides, configs_of
from oocr.experiments.config import RunConfig
from oocr.experiments.fitting import check_fits, settled
from oocr.experiments.needs import asked_of, needs_of, outline_for
from oocr.experiments.planned import expected_plans
from oocr.experiments.reading import config_path
from oocr.experiments.room import SHARED, WORK, Needs, gib, room_for
from oocr.experiments.work import Work, pass_flops, scoring_flops, training_flops
from oocr.experiments.workers import plan_workers
from oocr.models.machine import matmul_speed
from oocr.models.outline import Outline, Remembering
from oocr.tasks.task import TaskSet

EFFICIENCY = 0.7
"""Share of the speed of large matrix products that a run reaches.

Measured beside a probe on two busy cores in fp32: 0.46 to 0.87 in training (span vectors and LoRAs,
alone and three side by side), 0.68 to 0.98 in scoring.
"""

EFFICIENCY_SHORT = 0.25
"""The same where a pass runs few tokens, as for a vector at the last one: 0.18 to 0.36."""

SHORT = 64
"""Tokens in a pass below which it counts as short."""


def plan_source(source: str, overrides: Overrides, *, quick: bool) -> None:
    """Print the plan of each run of a built-in name or YAML file; nothing is trained.

    Raises:
        InputError: a configuration or model that cannot be used.
    """
    console = Console()
    for config in configs_of(source, overrides, quick=quick):
        config, tasks = settled(config, config_path(source).parent)
        model = outline_for(config)
        check_fits(config, tasks, model)
        _print(console, config, tasks, model)


def work_of(config: RunConfig, tasks: TaskSet, model: Outline) -> list[Work]:
    """Everything a run computes, by kind; of what is chosen, the dearest is assumed."""
    model = replace(model, tokenizer=Remembering(model.tokenizer))
    shape = shape_of(model)
    training: dict[int, list[Batch]] = {}
    asked: dict[int, list[Batch]] = {}
    made: dict[object, float] = {}

    def batches_of(plan: ArmPlan) -> tuple[list[Batch], list[Batch]]:
        task = plan.task
        if id(task) not in training:
            lines = training_lines(model.tokenizer, task.train, task.loss)
            groups = training_groups(lines, config.batch_lines)
            training[id(task)] = [pad(group, 0) for group in groups]
            asked[id(task)] = list(asked_of(task, model, set()))
            for batch in (*training[id(task)], *asked[id(task)]):
                tokens, width = batch.ids.numel(), batch.ids.shape[1]
                key = (tuple(batch.ids.shape), batch.ids.numpy().tobytes())
                made[key] = pass_flops(shape, tokens, width, 0)
        return training[id(task)], asked[id(task)]

    kinds: dict[str, list[tuple[ArmPlan, float, float]]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    tried, reported = expected_plans(config, tasks)
    for stage, plans in (("choosing", tried), ("", reported)):
        for plan in plans:
            lines, questions = batches_of(plan)
            shown = len(plan.steps) if plan.along else 1
            words = (f"{stage}:" if stage else f"{plan.role}:", plan.method, f"block {plan.layer}")
            name = " ".join(words)
            own = scoring_flops(shape, plan, questions)
            kinds[name].append((plan, training_flops(shape, plan, lines), shown * own))
            widths[name].append(mean(tail_tokens(one, plan.spec) for one in lines))
    out = [
        Work(
            name,
            len(some),
            max(plan.fit.steps for plan, _, _ in some),
            mean(widths[name]),
            mean(flops for _, flops, _ in some),
            mean(flops for _, _, flops in some),
        )
        for name, some in kinds.items()
    ]
    random = config.controls.random_directions
    first = next((plan for plan in reported if plan.role == "test"), None)
    if random and first is not None:
        once = mean(scoring_flops(shape, first, asked[id(task)]) for task in tasks.test)
        nulls = (config.vector is not None) + 2 * (config.adapter is not None)
        out.append(Work("random directions", random * nulls, 0, 0, 0, once))
    out.append(Work("recording, once", 1, 0, 0, 0, sum(made.values())))
    return out


def seconds(work: Sequence[Work], speed: float, workers: int) -> float:
    """How long it all takes at most, at so many operations per second of one worker."""
    total = 0.0
    for one in work:
        share = EFFICIENCY_SHORT if 0 < one.tokens < SHORT else EFFICIENCY
        total += one.arms * (one.training + one.scoring) / share
    return total / speed / workers


def _print(console: Console, config: RunConfig, tasks: TaskSet, model: Outline) -> None:
    needs, room = needs_of(config, tasks, model), room_for(model.device)
    work = work_of(config, tasks, model)
    refusal = ""
    workers, budget = 1, 0
    try:
        fit, _ = plan_workers(needs, config.workers, room)
        workers, budget = fit.workers, fit.budget
    except InputError as error:
        refusal = str(error)
    speed = matmul_speed(model.dtype, model.device)
    console.print(
        f"\n[bold]{config.name}[/]  {model.name}: {model.n_blocks} blocks, "
        f"{str(model.dtype).removeprefix('torch.')}"
        + ("" if model.counted else "  (no tokenizer here: four characters count as a token)"),
        highlight=False,
    )
    table = Table("", "arms", "steps", "tokens", "GFLOP each", "seconds each", box=None)
    for one in work:
        each = seconds([replace(one, arms=1)], speed, 1)
        flops = (one.training + one.scoring) / 1e9
        steps = str(one.steps or "")
        table.add_row(
            one.what, str(one.arms), steps, f"{one.tokens:.0f}", f"{flops:.1f}", f"{each:.1f}"
        )
    console.print(table, highlight=False)
    console.print(
        f"at most about {seconds(work, speed, workers):.0f} s with {workers} worker"
        f"{'s' if workers > 1 else ''} (this machine: {speed / 1e9:.0f} GFLOP/s in a matrix "
        "product)",
        highlight=False,
    )
    console.print(_memory(needs, workers, budget), highlight=False)
    if refusal:
        console.print(f"does not fit: {refusal}", highlight=False, markup=False)
    else:
        total = gib(needs.total(workers, budget))
        console.print(f"fits: {total} of {gib(room)} available", highlight=False)


def _memory(needs: Needs, workers: int, budget: int) -> Table:
    table = Table("memory of one process", "", box=None)
    for name in SHARED:
        table.add_row(name, gib(needs.parts[name]))
    table.add_row("recordings", gib(needs.recordings(workers, budget)))
    for name in WORK:
        table.add_row(f"{name} (for a while)", gib(needs.parts[name]))
    return table
