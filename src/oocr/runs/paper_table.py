"""The table of docs/paper-runs.md: `python -m oocr.runs.paper_table [GPU memory]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from oocr.runs.gpu import Gpu, gpu_of
from oocr.runs.read_config import PAPER, config_path, load_configs
from oocr.runs.time_estimate import Prediction, prediction

HEAD = (
    "| run | arms | steps | an arm, s | GiB at least | with recordings | GPU hours |",
    "|---|---|---|---|---|---|---|",
)


def table(names: tuple[str, ...], gpu: Gpu) -> Iterator[str]:
    """Lines of Markdown: a row per run, as soon as it is predicted.

    Args:
        names: built-in runs or files.
        gpu: what they are planned for.

    Raises:
        InputError: a configuration that cannot be used.
    """
    yield from HEAD
    hours = 0.0
    for name in names:
        for config in load_configs(name):
            told = prediction(config, config_path(name).parent, gpu)
            hours += told.seconds / 3600
            yield _row(config.name, told)
    yield f"| all | | | | | | {hours:.0f} |"


def _row(name: str, told: Prediction) -> str:
    arms = [one for one in told.work if one.steps]
    dearest = max(one.seconds or 0.0 for one in arms)
    cells = (
        name.removeprefix("paper-"),
        str(sum(one.arms for one in arms)),
        str(max(one.steps for one in arms)),
        f"{dearest:.0f}",
        f"{told.least / 2**30:.0f}",
        "does not fit" if told.refusal else f"{told.total / 2**30:.0f}",
        f"{told.seconds / 3600:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main(memory: str = "80GB") -> None:
    """Print it, and what it assumes."""
    gpu = gpu_of(memory)
    for line in table(PAPER, gpu):
        print(line, flush=True)
    print(f"\n{gpu.said[0].upper()}{gpu.said[1:]}.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
