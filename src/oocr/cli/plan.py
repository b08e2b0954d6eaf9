"""`oocr plan`: a run's amount of work, its time, and whether it fits into memory."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, print_plain
from oocr.errors import InputError
from oocr.runs.builtin import source_for
from oocr.runs.estimates.time_estimate import Gpu, Prediction, prediction, seconds_each
from oocr.runs.processes.memory_plan import SHARED, WORK, MemoryEstimate, gib
from oocr.runs.progress import duration
from oocr.runs.read_config import config_path
from oocr.words import counted
from oocr.work.schedule import planned_stages, schedule, start_seconds


def plan_source(
    source: str,
    overrides: Overrides,
    *,
    quick: bool,
    gpu: Gpu | None = None,
    gpus: int | None = None,
    nodes: int | None = None,
) -> None:
    """Print the plan of each run of a built-in name or YAML file, here or on a GPU.

    With `gpus` or `nodes` also the time that so many of them take together.

    InputError: too few GPUs for one process, or no GPU is here and none is named.
    """
    console = Console(highlight=False)
    source, note = source_for(source, overrides.model)
    runs = configs_of(source, overrides, quick=quick, on_gpu=gpu is not None)
    for text in filter(None, (note, runs.note)):
        print_plain(console, text)
    for config in runs.configs:
        if gpus is not None and gpus < config.gpus_per_worker:
            each = config.gpus_per_worker
            raise InputError(f"--gpus: {gpus}; allowed: {each} or more (a process takes {each})")
        plan = prediction(config, config_path(source).parent, gpu)
        if gpus is not None and plan.gpu is None:
            raise InputError("--gpus: no GPU is used here; name one with --gpu, such as --gpu 80GB")
        _print(console, plan)
        if gpus is not None:
            _print_schedule(console, plan, gpus // config.gpus_per_worker, counted(gpus, "GPU"))
        elif nodes is not None:
            machines = f"{counted(nodes, 'machine')} like this one"
            _print_schedule(console, plan, nodes * plan.workers, machines)


def _print(console: Console, plan: Prediction) -> None:
    model, gpu = plan.model, plan.gpu
    without = "  (no tokenizer here: four characters count as a token, rows are not checked)"
    console.print(
        f"\n[bold]{plan.config.name}[/]  {escape(model.name)}: {model.n_blocks} blocks, "
        f"{str(model.dtype).removeprefix('torch.')}{'' if model.counted else without}"
    )
    for note in model.notes:
        print_plain(console, f"  {note}")
    for note in plan.notes:
        print_plain(console, f"  note: {note}")
    unit, size = ("GFLOP", 1e9) if gpu is None else ("TFLOP", 1e12)
    table = Table(
        *("", "arms", "steps", "tokens", f"{unit} each", "seconds each", "memory each"), box=None
    )
    for work in plan.work:
        flops = (work.training + work.scoring) / size
        table.add_row(
            *(work.what, str(work.arms), str(work.steps or ""), f"{work.tokens:.0f}"),
            *(f"{flops:.1f}", f"{seconds_each(work, plan.speed):.1f}"),
            gib(work.memory) if work.memory else "",
        )
    console.print(table)
    where = f"with {counted(plan.workers, 'worker')}"
    if gpu is None:
        where += f" (this machine: {plan.speed / 1e9:.0f} GFLOP/s in a matrix product)"
    elif gpu.measured:
        where += f" on this machine's GPU{'s' * (plan.workers > 1)}"
    else:
        where = f"({plan.seconds / 3600:.1f} GPU hours)"
    console.print(f"at most about {plan.seconds:.0f} s {where}")
    if gpu is not None:
        console.print(gpu.assumptions)
    console.print(_memory(plan.needs, plan.workers, plan.budget))
    if plan.refusal:
        console.print(f"does not fit: {plan.refusal}", markup=False)
    else:
        console.print(
            f"fits: {gib(plan.total)} of {gib(plan.available)} available ({gib(plan.least)} with "
            "the fewest recordings in memory)"
        )


def _print_schedule(console: Console, plan: Prediction, workers: int, where: str) -> None:
    stages = planned_stages(plan.sample, plan.gpu, plan.speed)
    start = start_seconds(plan.needs.parts["weights"])
    together, alone = (schedule(stages, count, start) for count in (workers, 1))
    most = schedule(stages, max(map(len, stages), default=1), start)
    console.print(
        f"with {where}, {counted(workers, 'worker')}: about {duration(together.seconds)} "
        f"({duration(alone.seconds)} with one, at best {duration(most.seconds)} with "
        f"{counted(most.workers, 'worker')}), {duration(start)} of it to start, assumed"
    )
    console.print(f"limit: {together.limit()}")


def _memory(needs: MemoryEstimate, workers: int, budget: int) -> Table:
    table = Table("memory of one process", "", box=None)
    for name in SHARED:
        table.add_row(name, gib(needs.parts[name]))
    table.add_row("recordings", gib(needs.recordings(workers, budget)))
    for name in WORK:
        table.add_row(f"{name} (for a while)", gib(needs.parts[name]))
    return table
