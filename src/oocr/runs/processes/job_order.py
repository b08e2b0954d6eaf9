"""Which job a process takes next: expensive jobs first, preferably with texts it has recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

J = TypeVar("J", int, str)

STAYS = 0.5
"""Least share of the longest job's cost at which a process prefers tasks it has recorded."""


def preferred(
    jobs: Sequence[J],
    costs: Mapping[J, float],
    tasks: Mapping[J, str],
    known: Collection[str],
    begun: Collection[str],
) -> list[J]:
    """Jobs in the order in which a process tries to take them; `jobs` has the most expensive first.

    Among jobs that are not much cheaper than the first, it prefers tasks in `known` (it has
    recorded their texts), then tasks that no process has begun, because each process must record
    the texts of its tasks. `tasks`: job -> task; jobs without recordings are missing.
    """
    if not tasks or not jobs:
        return list(jobs)
    least = STAYS * costs[jobs[0]]

    def rank(job: J) -> int:
        if costs[job] < least or job not in tasks:
            return 2
        return 0 if tasks[job] in known else 1 if tasks[job] not in begun else 2

    return sorted(jobs, key=rank)
