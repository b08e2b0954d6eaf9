"""`--ray ADDRESS`: processes that share a work on a Ray cluster, waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oocr.cli.cluster.shared_work import POLL, SharedWork, Waiting
from oocr.cli.run import print_plain
from oocr.errors import InputError, RunError
from oocr.io import write_text
from oocr.runs.processes.memory_plan import gib
from oocr.words import counted

LOCAL = "local"
"""In place of an address: a cluster that is started on this machine."""

ANSWERED = 20.0
"""Seconds in which somebody must answer at an address: Ray itself would try for many minutes."""

SENT = ("PYTHONPATH", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "OOCR_CACHE")
"""Variables of this process that those on the cluster get: where code and models are."""


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What a process is given: cores, GPUs, and bytes of main memory."""

    cpus: int
    gpus: int
    memory: int

    @staticmethod
    def of(work: SharedWork[Any], *, gpus: bool) -> WorkerNeeds:
        """What a process of a work needs, with GPUs where the cluster has any."""
        return WorkerNeeds(1, work.gpus if gpus else 0, work.memory())

    def count(self, cluster: dict[str, float]) -> int:
        """As many processes as the cluster has room for."""
        counts = [cluster.get("CPU", 0) // self.cpus, cluster.get("memory", 0) // self.memory]
        counts += [cluster.get("GPU", 0) // self.gpus] if self.gpus else []
        return int(min(counts))


def run_on_ray(address: str, waiting: Waiting) -> Any:
    """Have a work done by processes on a Ray cluster, and wait for them; gives what it gives.

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
    work = waiting.work
    _connect(ray, address)
    try:
        cluster = ray.cluster_resources()
        needs = WorkerNeeds.of(work, gpus=cluster.get("GPU", 0) > 0)
        possible = needs.count(cluster)
        if not possible:
            raise InputError(
                f"--ray {address}: a process needs {counted(needs.cpus, 'core')}, "
                f"{counted(needs.gpus, 'GPU')} and {gib(needs.memory)} of memory, which the "
                f"cluster does not have: {cluster}"
            )
        count = min(possible, work.most or possible)
        mark = None if work.place.url else work.place.folder / f".shared-{os.urandom(8).hex()}"
        if mark is not None:
            write_text(mark, "")
        start = ray.remote(do_there).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory, max_retries=-1
        )
        print_plain(waiting.console, f"{counted(count, 'process')} on Ray ({address})")
        going = [start.remote(work.do, mark, Path.cwd()) for _ in range(count)]
        try:
            return _first_end(ray, waiting, going)
        finally:
            if mark is not None:
                mark.unlink(missing_ok=True)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at an address, or start one on this machine; `InputError` if it cannot."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERED).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"--ray {address}: nobody answers there: {error}") from error
    variables = {name: text for name in SENT if (text := os.environ.get(name))}
    here: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    known = {"address": address} | (here if address == LOCAL else {})
    try:
        ray.init(
            **known,
            log_to_driver=False,
            logging_level="error",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", **variables}},
        )
    except (OSError, RuntimeError, ValueError, ImportError, ray.exceptions.RayError) as error:
        first, _, _ = str(error).strip().partition("\n")
        raise InputError(f"--ray {address}: no cluster can be reached there: {first}") from error


def do_there(do: Callable[[], Any], mark: Path | None, start: Path) -> Any:
    """Work on a node that must see the folder that processes share, in which `mark` lies, if any.

    Paths in the command start from the folder in which it was given, where a node has that.

    InputError: the storage is not shared.
    """
    if mark is not None and not mark.exists():
        raise InputError(
            f"--out {mark.parent}: not the same folder on {socket.gethostname()}; allowed: one "
            "that all nodes share"
        )
    if start.is_dir():
        os.chdir(start)
    return do()


def _first_end(ray: Any, waiting: Waiting, going: list[Any]) -> Any:
    """What the first process that came to the end gives: then there is nothing left."""
    problem = ""
    while going:
        done, going = ray.wait(going, timeout=POLL)
        for each in done:
            try:
                return ray.get(each)
            except Exception as error:  # what the process raised, with Ray's words around it
                cause = getattr(error, "cause", None) or error
                problem = str(cause).strip().splitlines()[-1]
                print_plain(waiting.console, f"a process ended: {problem}")
        waiting.tick()
    raise RunError(f"no process came to the end: {problem}; what was computed stays")
