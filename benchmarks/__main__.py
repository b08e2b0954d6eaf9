"""`python -m benchmarks`: run the rows, print the table, write JSON, figure and page."""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.training.rows import BLOCKS, GROUPS, LARGE_MODEL, groups, large

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
FIGURE = ROOT / "docs" / "figures" / "benchmarks.svg"
LARGE = "-large"
"""Ends the names of results on the large model."""


def main(arguments: Sequence[str] | None = None) -> None:
    """See `--help`."""
    options = _options(arguments)
    console = Console(width=None if Console().is_terminal else 200)
    if options.show is None:
        results = measure(options, console)
        whole = (options.blocks, options.groups) == (list(BLOCKS), list(GROUPS))
        if options.out is None and not options.large and not (whole and not options.quick):
            console.print("part of the rows: nothing is written (name a file with --out)")
            _show(results, console)
            return
        from benchmarks.machine import slug

        name = slug(results["machine"]) + LARGE * options.large
        target = options.out or RESULTS / f"{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    else:
        target = options.show
        results = json.loads(target.read_text(encoding="utf-8"))
    _show(results, console)
    main_results = target.with_stem(target.stem.removesuffix(LARGE))
    if options.out is None and main_results.is_file():
        _write_page(main_results, console)
    console.print(f"results: {_short(target)}")


def _write_page(path: Path, console: Console) -> None:
    """Page and figure of a machine's results, with those on the large model if they are there."""
    from benchmarks.report.figure import draw
    from benchmarks.report.page import page

    results = json.loads(path.read_text(encoding="utf-8"))
    more = path.with_stem(path.stem + LARGE)
    on_large = json.loads(more.read_text(encoding="utf-8")) if more.is_file() else None
    PAGE.parent.mkdir(exist_ok=True)
    draw(results, FIGURE)
    PAGE.write_text(page(results, f"figures/{FIGURE.name}", on_large), encoding="utf-8")
    console.print(f"{_short(PAGE)} and {_short(FIGURE)} are written")


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Probe the machine and run the rows."""
    import torch

    from benchmarks.machine import describe, matmul_peak
    from benchmarks.training.run import run_groups

    began = time.perf_counter()
    threads = options.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    peaks: dict[str, dict[str, Any]] = {}
    for precision in options.precision:
        rate, shape = matmul_peak(precision)
        peaks[precision] = {"rate": rate, "shape": shape}
        console.print(f"matrix product, {precision}: {rate / 1e9:.0f} GFLOP/s ({shape})")
    todo = groups(options.blocks, options.precision, options.groups, quick=options.quick)
    todo = large() if options.large else todo
    repeats = 1 if options.quick else options.repeats
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        rows = run_groups(todo, options.model, threads, repeats, path, console.print)
        work, head = _work(rows, path, options.model)
    return {
        "machine": describe(threads),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "model": options.model,
        "rounds": repeats,
        "minutes": (time.perf_counter() - began) / 60,
        "peaks": peaks,
        "work": work,
        "head_work": head,
        "rows": rows,
    }


def _work(
    rows: list[dict[str, Any]], folder: Path, name: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Necessary FLOPs of a step, and the LM head's part, for the rows that have a plan."""
    from benchmarks.training.case import RANK, Case
    from benchmarks.training.flops import Shape, linear, plan_step
    from benchmarks.training.plan import Plan
    from oocr.models.outline import outline

    shape = Shape.of(outline(name, counted=False).hf.config.get_text_config())
    work: dict[str, float] = {}
    head: dict[str, float] = {}
    for row in rows:
        case = Case(**row["case"])
        file = folder / f"plan-{case.key}.json"
        if not file.exists() or row["seeds"] or "error" in row:
            continue
        batches = Plan.load(file).batches
        arms = row["arms"]
        work[row["key"]] = plan_step(shape, case.kind, case.block, batches, RANK, arms)
        answers = sum(len(line.answer) for lines in batches for line in lines) / len(batches) * arms
        head[row["key"]] = 2.0 * answers * linear(shape.width * shape.vocab, 1)
    return work, head


def _show(results: dict[str, Any], console: Console) -> None:
    from benchmarks.report.table import show

    show(results, console)


def _short(path: Path) -> str:
    return (
        str(path.resolve().relative_to(ROOT)) if path.resolve().is_relative_to(ROOT) else str(path)
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="block 9 only, few steps and rows")
    parser.add_argument("--large", action="store_true", help=f"only the rows on {LARGE_MODEL}")
    parser.add_argument("--rows", type=_words(GROUPS), default=list(GROUPS), dest="groups")
    parser.add_argument("--blocks", type=_blocks, default=None, help="4,9,14")
    parser.add_argument("--precision", type=_words(("fp32", "bf16")), default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=2, help="rounds, ours and peers in turns")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: torch's own choice")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--out", type=Path, help="only write this JSON, no page and figure")
    parser.add_argument("--show", type=Path, help="do not run: table, figure and page of this JSON")
    options = parser.parse_args(arguments)
    if options.large:
        options.model, options.precision = LARGE_MODEL, ["bf16"]
    if options.blocks is None:
        options.blocks = [9] if options.quick else list(BLOCKS)
    if options.quick and options.precision == ["fp32", "bf16"]:
        options.precision = ["fp32"]
    return options


def _words(allowed: Sequence[str]) -> Any:
    def words(text: str) -> list[str]:
        found = text.split(",")
        if wrong := [entry for entry in found if entry not in allowed]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r}: allowed are {', '.join(allowed)}")
        return found

    return words


def _blocks(text: str) -> list[int]:
    try:
        return [int(entry) for entry in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers with commas, like 4,9,14") from error


if __name__ == "__main__":
    main()
