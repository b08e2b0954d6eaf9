"""`python -m benchmarks.paper_runs [GPU memory]` prints the table of docs/paper-runs.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from oocr.runs.estimates.time_estimate import Gpu, Prediction, gpu_of, prediction
from oocr.runs.read_config import PAPER, config_path, load_configs

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
