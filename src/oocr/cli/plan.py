"""What `oocr plan` says: how much a run computes, how long that takes, whether it fits.

`python -m oocr.cli.plan [GPU memory]` prints the table of docs/paper-runs.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, print_plain
from oocr.runs.memory_plan import SHARED, WORK, MemoryEstimate, gib
from oocr.runs.read_config import PAPER, config_path, load_configs
from oocr.runs.resolve import source_for
from oocr.runs.time_estimate import Gpu, Prediction, gpu_of, prediction, seconds_each


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
    console.print(
        f"\n[bold]{plan.config.name}[/]  {escape(model.name)}: {model.n_blocks} blocks, "
        f"{str(model.dtype).removeprefix('torch.')}"
        + (
            ""
            if model.counted
            else "  (no tokenizer here: four characters count as a token, rows are not checked)"
        )
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
    if gpu is None:
        many = "s" if plan.workers > 1 else ""
        where = (
            f"with {plan.workers} worker{many} (this machine: {plan.speed / 1e9:.0f} GFLOP/s in a "
            "matrix product)"
        )
    else:
        hours, many = plan.seconds / 3600, "s" if plan.workers > 1 else ""
        workers = f"with {plan.workers} worker{many} on this machine's GPU{many}"
        where = workers if gpu.measured else f"({hours:.1f} GPU hours)"
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


HEAD = (
    "| run | arms | steps | an arm, s | GiB at least | with recordings | GPU hours |",
    "|---|---|---|---|---|---|---|",
)


def paper_rows(names: tuple[str, ...], gpu: Gpu) -> Iterator[str]:
    """Lines of Markdown: a row per run (built-in names or files), as soon as it is predicted."""
    yield from HEAD
    hours = 0.0
    for name in names:
        for config in load_configs(name):
            plan = prediction(config, config_path(name).parent, gpu)
            hours += plan.seconds / 3600
            yield _row(config.name, plan)
    yield f"| all | | | | | | {hours:.0f} |"


def _row(name: str, plan: Prediction) -> str:
    arms = [work for work in plan.work if work.steps]
    longest = max(work.seconds or 0.0 for work in arms)
    cells = (
        name.removeprefix("paper-"),
        str(sum(work.arms for work in arms)),
        str(max(work.steps for work in arms)),
        f"{longest:.0f}",
        f"{plan.least / 2**30:.0f}",
        "does not fit" if plan.refusal else f"{plan.total / 2**30:.0f}",
        f"{plan.seconds / 3600:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main(memory: str = "80GB") -> None:
    """Print it, and what it assumes."""
    gpu = gpu_of(memory)
    for line in paper_rows(PAPER, gpu):
        print(line, flush=True)
    print(f"\n{gpu.assumptions[0].upper()}{gpu.assumptions[1:]}.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
