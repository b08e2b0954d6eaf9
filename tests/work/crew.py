"""Processes that share a run, killed and stopped at random: `python -m tests.work.crew`.

A process of its own, because it forks: what it imports once, every worker has at once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import peft  # noqa: F401 - once, not in each worker
import torch

from oocr.leases import Claims
from oocr.models.load import read_model
from oocr.runs.config import RunConfig
from oocr.runs.folder import run_folder
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.progress import ProgressReport
from oocr.runs.read_config import load_configs
from oocr.runs.resolve import resolve
from oocr.runs.stages import PreparedRun
from oocr.work.shared_run import work_on
from tests.killed import made

LEASE = 3.0


def begin(config: RunConfig, out: Path, log: Path) -> int:
    """A worker in a forked process; what it does is written down line by line."""
    child = os.fork()
    if child:
        return child
    try:
        model = read_model(config.model)
        worker = Worker()
        worker.put(config, model)
        prepared = PreparedRun.of(resolve(config, Path()), model)
        take = Claims.take

        def noted(*rest: object) -> object:
            if claim := take(*rest):  # type: ignore[arg-type]
                with log.open("a") as file:
                    file.write(f"{os.getpid()} {claim.job}\n")
            return claim

        Claims.take = noted  # type: ignore[method-assign, assignment]
        with Executor(worker) as executor:
            work_on(prepared, executor, out, progress=ProgressReport(), command="x", lease=LEASE)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(1)


def shared(source: Path, out: Path, count: int, kills: int, seed: int) -> dict[str, object]:
    """Start workers; kill some at any moment, and stop the last for longer than its lease."""
    rng = random.Random(seed)
    (config,) = load_configs(source)
    folder, log = run_folder(resolve(config, source.parent)[0], out), out / "jobs.log"
    out.mkdir(parents=True)
    workers = [begin(config, out, log) for _ in range(count)]
    before: list[dict[str, int]] = []
    for kill in range(kills):
        goal = len(made(folder)) + rng.randint(1, 3)
        while len(made(folder)) < goal and not (folder / "run.json").exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        victim = workers.pop(0)
        if kill < kills - 1:
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            workers.append(begin(config, out, log))
        else:  # meanwhile the others may end the run
            os.kill(victim, signal.SIGSTOP)
            time.sleep(2 * LEASE)
            os.kill(victim, signal.SIGCONT)
            workers.append(victim)
        before.append(made(folder))
    codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    jobs = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    return {
        "before": before,
        "after": made(folder),
        "folder": str(folder),
        "codes": codes,
        "jobs": jobs,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, out = map(Path, sys.argv[1:3])
    count, kills, seed = map(int, sys.argv[3:])
    print(json.dumps(shared(source, out, count, kills, seed)))
