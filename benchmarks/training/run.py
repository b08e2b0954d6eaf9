"""Run rows, each in a process of its own, in rounds; gather what they wrote."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.training.ours import WARM
from benchmarks.training.row import Row
from benchmarks.training.rows import Group

Results = dict[str, Any]
"""Plain values, as in the JSON file: "machine", "peaks", "shape", "work", "rows"."""


def run_groups(
    todo: Sequence[Group],
    model: str,
    threads: int,
    repeats: int,
    folder: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """All rows; a row that fails says why in "error".

    Args:
        todo: the groups.
        model: a name that the loader knows.
        threads: of torch.
        repeats: rounds; in each round ours and the peers of a group take turns.
        folder: for plans and results.
        say: told each row's time per step.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    rows: dict[str, Row] = {}
    for number in range(repeats):
        for group in todo:
            if number and not group.repeated:
                continue
            for row in group.rows:
                if row.key in runs and (not number or not group.repeated):
                    continue  # another group's row has made the plan
                began = time.perf_counter()
                result = _spawn(row, model, threads, folder)
                rows[row.key] = row
                runs.setdefault(row.key, []).append(result)
                took = time.perf_counter() - began
                what = result.get("error") or f"{step_seconds(result):.3f} s a step"
                say(f"{row.key}: {what} ({took:.0f} s in all)")
    return [joined(row, runs[key]) for key, row in rows.items()]


def _spawn(row: Row, model: str, threads: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{row.key}.json"
    row.save(path, model, threads)
    result = path.with_suffix(".result.json")
    result.unlink(missing_ok=True)
    # PyTorch, TRL and the tokenizers must not take more threads than are measured.
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training.row", str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not result.exists():
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def step_seconds(result: dict[str, Any]) -> float:
    """Median over steps, the first ones left out."""
    seconds: list[float] = result["seconds"]
    return statistics.median(seconds[WARM:] or seconds)


def joined(row: Row, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row's repeats as one: medians of times, the highest peak, the losses of the first."""
    out: dict[str, Any] = {**asdict(row), "key": row.key, "repeats": len(results)}
    good = [entry for entry in results if "error" not in entry]
    if not good:
        return out | {"error": results[0]["error"]}
    seconds = [step_seconds(entry) for entry in good]
    return out | {
        "step": statistics.median(seconds),
        "steps_measured": seconds,
        "set_up": statistics.median(entry["set_up"] for entry in good),
        "loading": statistics.median(entry["loading"] for entry in good),
        "resident": min(entry["resident"] for entry in good),
        "peak": max(entry["peak"] for entry in good),
        "losses": good[0]["losses"],
        "side_by_side": good[0]["arms"],
    }
