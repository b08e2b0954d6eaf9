"""Run a configuration in processes that are killed again and again: `python -m tests.killed`.

A process of its own, because it forks: what it imports once, every attempt has at once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import peft  # noqa: F401 - once, not in each attempt
import psutil
import torch

from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.runs.config import RunConfig
from oocr.runs.folder import run_folder
from oocr.runs.read_config import load_configs
from oocr.runs.resolve import resolve
from oocr.runs.run import run


def made(folder: Path) -> dict[str, int]:
    """The finished parts of a run, and when each was made."""
    times = {}
    for path in (folder / "arms").glob("[!.]*"):
        try:
            times[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return times


def open_claims(folder: Path) -> list[Path]:
    """Claims of jobs that have no marker.

    Who is killed between a job's marker and the removal of its claim leaves a claim that nobody
    heeds.
    """
    claims = folder.rglob("*.claim")
    return [path for path in claims if not path.with_name(f"{job_of(path)}.done").exists()]


def job_of(claim: Path) -> str:
    """The job's name in "JOB.NUMBER.claim"."""
    return claim.name.rsplit(".", 2)[0]


def attempt(config: RunConfig, model: LanguageModel, out: Path) -> int:
    """Begin the run in a forked process."""
    child = os.fork()
    if child:
        return child
    try:
        run(config, model, out)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(1)


def killed_often(source: Path, out: Path, kills: int, most: int, seed: int) -> dict[str, object]:
    """Kill after up to `most` more arms each time, at any moment; then let one process finish.

    Returns:
        before: the finished parts at each kill; after: those in the end.
        workers: how many worker processes there were; orphans: those that stayed.
    """
    rng = random.Random(seed)
    (config,) = load_configs(source)
    folder = run_folder(resolve(config, source.parent)[0], out)
    model = read_model(config.model)
    before: list[dict[str, int]] = []
    workers: list[psutil.Process] = []
    for _ in range(kills):
        child = attempt(config, model, out)
        goal = len(made(folder)) + rng.randint(0, most)
        while len(made(folder)) < goal and not _ended(child):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.15))
        if not _ended(child):
            workers += psutil.Process(child).children(recursive=True)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        before.append(made(folder))
    _, orphans = psutil.wait_procs(
        [process for process in workers if process.is_running()], timeout=20
    )
    orphans = [process for process in orphans if process.status() != psutil.STATUS_ZOMBIE]
    for process in orphans:
        process.kill()
    before[-1:] = [made(folder)]  # workers outlive their parent by a moment
    last = attempt(config.model_copy(update={"workers": 1}), model, out)
    _, status = os.waitpid(last, 0)
    return {
        "before": before,
        "after": made(folder),
        "folder": str(folder),
        "code": os.waitstatus_to_exitcode(status),
        "workers": len(workers),
        "orphans": len(orphans),
    }


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, out = map(Path, sys.argv[1:3])
    kills, most, seed = map(int, sys.argv[3:])
    print(json.dumps(killed_often(source, out, kills, most, seed)))
