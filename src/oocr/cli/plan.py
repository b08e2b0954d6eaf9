"""What `oocr plan` says: how much a run computes, how long that takes, whether it fits."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, print_plain
from oocr.runs.memory_plan import SHARED, WORK, MemoryEstimate, gib
from oocr.runs.read_config import config_path
from oocr.runs.resolve import source_for
from oocr.runs.time_estimate import Gpu, Prediction, prediction, seconds_each
from oocr.words import counted


def plan_source(source: str, overrides: Overrides, *, quick: bool, gpu: Gpu | None = None) -> None:
    """Print the plan of each run of a built-in name or YAML file, here or on a GPU."""
    console = Console(highlight=False)
    source, note = source_for(source, overrides.model)
    if note:
        print_plain(console, note)
    for config in configs_of(source, overrides, quick=quick):
        _print(console, prediction(config, config_path(source).parent, gpu))


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
            f"fits: {gib(plan.total)} of {gib(plan.room)} available ({gib(plan.least)} with the "
            "fewest recordings in memory)"
        )


def _memory(needs: MemoryEstimate, workers: int, budget: int) -> Table:
    table = Table("memory of one process", "", box=None)
    for name in SHARED:
        table.add_row(name, gib(needs.parts[name]))
    table.add_row("recordings", gib(needs.recordings(workers, budget)))
    for name in WORK:
        table.add_row(f"{name} (for a while)", gib(needs.parts[name]))
    return table
