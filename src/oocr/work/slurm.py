"""Slurm: what is asked of it for each process of `oocr work`, and the script that starts them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oocr.errors import InputError
from oocr.io import command_line

WORKERS = 4
"""Processes that are started, if the user does not say."""

MOST_WORKERS = 1000
"""Parts of a job array that Slurm allows, if its administrator does not say."""

MINUTES = 240
"""Of each process, if the user does not say."""

NOTICE = 60
"""Seconds before its time is up at which a process is told, and gives back what it holds."""

_TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):\d\d")
_OPTION = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True, slots=True)
class SlurmRequest:
    """What is asked for: so many processes, each with this; `options` are sbatch's own.

    `cluster` is "slurm", or "local": processes on this machine, to try it out.
    """

    workers: int = WORKERS
    gpus: int = 0
    minutes: int = MINUTES
    cpus: int = 1
    cluster: str = "slurm"
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(text: str) -> SlurmRequest:
        """From "gpu:1,time=4h,workers=8,cpus=4,partition=long".

        InputError: a part that is none of these, or is there twice.
        """
        numbers: dict[str, int] = {}
        options: dict[str, str] = {}
        cluster = "slurm"
        names: set[str] = set()
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, sign, value = part.partition("=")
            if (kind := re.split("[:=]", part)[0].removesuffix("s")) in names:
                raise InputError(f"--slurm: {part!r}: found twice; allowed: once")
            names.add(kind)
            if match := re.fullmatch(r"gpus?[:=](\d+)", part):
                numbers["gpus"] = int(match[1])
            elif name == "workers" and value.isdecimal() and int(value) > MOST_WORKERS:
                raise InputError(f"--slurm: {part!r}; allowed: {MOST_WORKERS} or fewer")
            elif name in ("workers", "cpus") and value.isdecimal() and int(value) > 0:
                numbers[name] = int(value)
            elif name == "time" and (minutes := minutes_of(value)):
                numbers["minutes"] = minutes
            elif name == "cluster" and value in ("slurm", "local"):
                cluster = value
            elif (
                _OPTION.fullmatch(name)
                and name not in ("workers", "cpus", "time", "cluster", "gpu", "gpus")
                and (value.isprintable() if value else not sign)
            ):
                options[name] = value
            else:
                raise InputError(
                    f"--slurm: {part!r} is not understood; allowed: gpu:1, time=4h, workers=8, "
                    "cpus=4, cluster=local, and options of sbatch such as partition=long"
                )
        return SlurmRequest(cluster=cluster, options=options, **numbers)


def minutes_of(text: str) -> int:
    """Minutes from "4h", "1d12h", "30m", "90", "02:30:00" or "1-00:00:00"; 0: it is none of these.

    "02:30", which Slurm reads as minutes and seconds, is none.
    """
    if text.isdecimal():
        return int(text)
    if (match := _CLOCK.fullmatch(text)) or (match := _TIME.fullmatch(text)):
        days, hours, minutes = (int(part or 0) for part in match.groups())
    else:
        return 0
    return (24 * days + hours) * 60 + minutes


def script(request: SlurmRequest, words: Sequence[str], logs: Path) -> str:
    """A script for sbatch: an array of processes with this command after `oocr`.

    A node that fails or is wanted by others gives its part back to the queue. Before its time is
    up a process is told, and what it held is taken by another at once. Paths in the command start
    from the folder in which this one was given.
    """
    options = {
        "job-name": "oocr",
        "array": f"0-{request.workers - 1}",
        "time": str(request.minutes),
        "cpus-per-task": str(request.cpus),
        **({"gres": f"gpu:{request.gpus}"} if request.gpus else {}),
        "signal": f"B:TERM@{NOTICE}",
        "open-mode": "append",
        "chdir": str(Path.cwd()),
        "output": str(logs / "slurm-%A-%a.log"),
        **request.options,
    }
    lines = [
        f"#SBATCH --{name}" + f"={shlex.quote(value)}" * bool(value)
        for name, value in options.items()
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --requeue",
            "",
            "# Call sbatch again for more processes, now or later: they share the work.",
            f"export OMP_NUM_THREADS={request.cpus}",
            f"exec {command_line([sys.executable, '-m', 'oocr', *words])}",
            "",
        ]
    )
