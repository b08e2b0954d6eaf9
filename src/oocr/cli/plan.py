"""What `oocr plan` says: how much a run computes, how long that takes, whether it fits."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from oocr.cli.run import Overrides, configs_of
from oocr.runs.gpu import Gpu
from oocr.runs.memory_plan import SHARED, WORK, MemoryEstimate, gib
from oocr.runs.plugin_models import source_for
from oocr.runs.read_config import config_path
from oocr.runs.time_estimate import Prediction, prediction, seconds_each


def plan_source(source: str, overrides: Overrides, *, quick: bool, gpu: Gpu | None = None) -> None:
    """Print the plan of each run of a built-in name or YAML file; nothing is trained.

    Args:
        source: the name or file.
        overrides: options put in.
        quick: cut down.
        gpu: plan for this one, not for what is here.

    Raises:
        InputError: a configuration or model that cannot be used.
    """
    console = Console()
    source, told = source_for(source, overrides.model)
    if told:
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    for config in configs_of(source, overrides, quick=quick):
        _print(console, prediction(config, config_path(source).parent, gpu))


def _print(console: Console, told: Prediction) -> None:
    model, gpu = told.model, told.gpu
    console.print(
        f"\n[bold]{told.config.name}[/]  {model.name}: {model.n_blocks} blocks, "
        f"{str(model.dtype).removeprefix('torch.')}"
        + ("" if model.counted else "  (no tokenizer here: four characters count as a token)"),
        highlight=False,
    )
    for note in model.notes:
        console.print(f"  {note}", highlight=False)
    unit, size = ("GFLOP", 1e9) if gpu is None else ("TFLOP", 1e12)
    table = Table(
        *("", "arms", "steps", "tokens", f"{unit} each", "seconds each", "memory each"), box=None
    )
    for one in told.work:
        flops = (one.training + one.scoring) / size
        table.add_row(
            *(one.what, str(one.arms), str(one.steps or ""), f"{one.tokens:.0f}"),
            *(f"{flops:.1f}", f"{seconds_each(one, told.speed):.1f}"),
            gib(one.memory) if one.memory else "",
        )
    console.print(table, highlight=False)
    if gpu is None:
        many = "s" if told.workers > 1 else ""
        where = (
            f"with {told.workers} worker{many} (this machine: {told.speed / 1e9:.0f} GFLOP/s in a "
            "matrix product)"
        )
    else:
        where = f"({told.seconds / 3600:.1f} GPU hours)"
    console.print(f"at most about {told.seconds:.0f} s {where}", highlight=False)
    if gpu is not None:
        console.print(gpu.said, highlight=False)
    console.print(_memory(told.needs, told.workers, told.budget), highlight=False)
    if told.refusal:
        console.print(f"does not fit: {told.refusal}", highlight=False, markup=False)
    else:
        console.print(
            f"fits: {gib(told.total)} of {gib(told.room)} available ({gib(told.least)} with the "
            "fewest recordings in memory)",
            highlight=False,
        )


def _memory(needs: MemoryEstimate, workers: int, budget: int) -> Table:
    table = Table("memory of one process", "", box=None)
    for name in SHARED:
        table.add_row(name, gib(needs.parts[name]))
    table.add_row("recordings", gib(needs.recordings(workers, budget)))
    for name in WORK:
        table.add_row(f"{name} (for a while)", gib(needs.parts[name]))
    return table
