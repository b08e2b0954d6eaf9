"""`oocr run … --ray ADDRESS`: processes of `oocr work` on a Ray cluster, waited for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from oocr.cli.cluster.slurm import WorkJob
from oocr.cli.cluster.status import print_stages
from oocr.cli.options import Overrides
from oocr.cli.run import configs_of, print_plain, print_verdicts
from oocr.errors import InputError, RunError
from oocr.io import check_output, write_text
from oocr.runs.config import RunConfig
from oocr.runs.estimates.memory_estimate import memory_estimate, outline_for
from oocr.runs.memory_plan import gib
from oocr.runs.progress import EVERY
from oocr.runs.read_config import config_path
from oocr.runs.resolve import resolve, source_for
from oocr.words import counted

LOCAL = "local"
POLL = 2.0
"""Seconds between looks at the processes."""


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What a process is given: cores, GPUs, and bytes of main memory."""

    cpus: int
    gpus: int
    memory: int

    @staticmethod
    def of(configs: Sequence[tuple[RunConfig, Path]], *, gpus: bool) -> WorkerNeeds:
        """What the largest of these runs needs, with GPUs where the cluster has any."""
        memory, most = 0, 1
        for config, base in configs:
            run = resolve(config.model_copy(update={"devices": None}), base)
            needs = memory_estimate(run, outline_for(run.config.model_copy(update=ONE)))
            memory, most = max(memory, needs.total(1, 0)), max(most, config.gpus_per_worker)
        return WorkerNeeds(1, most if gpus else 0, memory)

    def count(self, cluster: dict[str, float]) -> int:
        """As many processes as the cluster has room for."""
        room = [cluster.get("CPU", 0) // self.cpus, cluster.get("memory", 0) // self.memory]
        room += [cluster.get("GPU", 0) // self.gpus] if self.gpus else []
        return int(min(room))


ONE: dict[str, Any] = {"gpus_per_worker": 1, "device": "cpu"}
"""Of a configuration: its shape is read on this machine, which need not have what a node has."""


def run_on_ray(
    address: str, source: str, overrides: Overrides, *, out: Path, quick: bool, command: str
) -> list[Path]:
    """Have a run done by processes on a Ray cluster, wait for them, and print the verdicts.

    A process whose worker or node is lost is started again elsewhere, and its work is taken over.

    Raises:
        InputError: Ray is not here, no cluster at the address, or it has no room for one process.
        RunError: no process came to the end.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray: needs Ray; pip install 'oocr[ray]'") from error
    console, out = Console(), out.resolve()
    check_output(out, folder=True)
    source, _ = source_for(source, overrides.model)
    alone = replace(overrides, workers=1)
    base = config_path(source).parent
    configs = [(config, base) for config in configs_of(source, alone, quick=quick)]
    _connect(ray, address)
    try:
        cluster = ray.cluster_resources()
        needs = WorkerNeeds.of(configs, gpus=cluster.get("GPU", 0) > 0)
        room = needs.count(cluster)
        if not room:
            raise InputError(
                f"--ray {address}: a process needs {counted(needs.cpus, 'core')}, "
                f"{counted(needs.gpus, 'GPU')} and {gib(needs.memory)} of memory, which the "
                f"cluster does not have: {cluster}"
            )
        count = min(room, overrides.workers or room)
        mark = out / f".shared-{os.urandom(8).hex()}"
        write_text(mark, "")
        job = WorkJob(source, alone, out, quick, command)
        start = ray.remote(work_there).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory, max_retries=-1
        )
        print_plain(console, f"{counted(count, 'process')} on Ray ({address})")
        try:
            going = [start.remote(job, mark) for _ in range(count)]
            folders = _ended(ray, console, going, configs, out)
        finally:
            mark.unlink(missing_ok=True)
    finally:
        ray.shutdown()
    print_verdicts(console, folders, source)
    return folders


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at an address, or start one on this machine."""
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    here: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    known = here if address == LOCAL else {"address": address}
    try:
        ray.init(
            **known,
            log_to_driver=False,
            logging_level="error",
            runtime_env={"env_vars": {name: text for name, text in variables.items() if text}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        first, _, _ = str(error).strip().partition("\n")
        raise InputError(f"--ray {address}: no cluster can be reached there: {first}") from error


def work_there(job: WorkJob, mark: Path) -> list[Path]:
    """Work on a node that must see the folder of all runs, in which `mark` lies.

    InputError: the storage is not shared.
    """
    if not mark.exists():
        raise InputError(
            f"--out {mark.parent}: not the same folder on {socket.gethostname()}; allowed: one "
            "that all nodes share"
        )
    return job()


def _ended(
    ray: Any,
    console: Console,
    going: list[Any],
    configs: Sequence[tuple[RunConfig, Path]],
    out: Path,
) -> list[Path]:
    """The runs' folders, once the first process came to the end: then there is nothing left."""
    latest, problem = time.monotonic(), ""
    while going:
        done, going = ray.wait(going, timeout=POLL)
        for each in done:
            try:
                folders: list[Path] = ray.get(each)
            except Exception as error:  # what the process raised, with Ray's words around it
                cause = getattr(error, "cause", None) or error
                problem = str(cause).strip().splitlines()[-1]
                print_plain(console, f"a process ended: {problem}")
                continue
            return folders
        if time.monotonic() - latest >= EVERY:
            latest = time.monotonic()
            print_stages(console, [config.name for config, _ in configs], out)
    raise RunError(f"no process came to the end: {problem}; what was computed stays")
