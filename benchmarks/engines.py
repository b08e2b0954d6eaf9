"""`python -m benchmarks.engines FOLDER [ENGINE …]` times one small run by each engine.

The run has some 25 jobs, of a random model of four blocks, and is done by one process each time.
Start-up ends with the first arm; then come the other jobs, and what the engine does after them. The
folder is new, and to be removed afterwards. `ray`, `submitit` and `slurm` need their extras, and
`slurm` a cluster.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tiny.runs import environment, rows_of, write_tiny_run

SEEDS = 8

ENGINES: dict[str, tuple[str, ...]] = {
    "oocr run": ("run", "--workers", "1"),
    "work": ("work", "--workers", "1"),
    "submitit": ("run", "--workers", "1", "--slurm", "workers=1,time=1h,cluster=local"),
    "slurm": ("run", "--workers", "1", "--slurm", "workers=1,time=1h"),
    "ray": ("run", "--workers", "1", "--ray", "local"),
}
"""The first is what the others are held against."""


@dataclass(frozen=True, slots=True)
class EngineTime:
    """Seconds until the first arm is there, from then until the run is finished, and to the end."""

    start: float
    jobs: float
    end: float
    folder: Path


def timed(words: tuple[str, ...], source: Path, out: Path) -> EngineTime:
    """Do the run with these words; the first of them is the verb."""
    verb, *options = words
    command = [sys.executable, "-m", "oocr", verb, str(source), *options, "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    first = finished = None
    while process.poll() is None or finished is None:
        now = time.perf_counter() - began
        if first is None and any(out.glob("tiny-*/arms/*/arm.json")):
            first = now
        if finished is None and any(out.glob("tiny-*/run.json")):
            finished = now
        if process.poll() not in (None, 0):
            raise RuntimeError(process.communicate()[0])
        time.sleep(0.02)
    assert first is not None
    (folder,) = out.glob("tiny-*")
    total = time.perf_counter() - began
    return EngineTime(first, finished - first, total - finished, folder)


def main(root: Path, *names: str) -> None:
    """Print a table: seconds, and the jobs' time beside that of `oocr run`."""
    root.mkdir()
    source = write_tiny_run(root, seeds=SEEDS, workers=None)
    plain, *_ = ENGINES
    print("| by | start-up, s | jobs, s | beside `oocr run` | afterwards, s | same rows |")
    print("|---|---|---|---|---|---|")
    first: EngineTime | None = None
    for name in dict.fromkeys((plain, *(names or ENGINES))):
        taken = timed(ENGINES[name], source, root / name.replace(" ", "-"))
        first = first or taken
        same = "yes" if rows_of(taken.folder).equals(rows_of(first.folder)) else "NO"
        shown = f"{taken.start:.1f} | {taken.jobs:.1f} | {taken.jobs / first.jobs - 1:+.0%}"
        print(f"| {name} | {shown} | {taken.end:.1f} | {same} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
