"""Which job a process takes next: one that costs much, and rather one whose texts it recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

J = TypeVar("J", int, str)

STAYS = 0.5
"""Share of the longest job's cost from which on a process prefers a job of a task that it knows."""


def preferred(
    jobs: Sequence[J],
    costs: Mapping[J, float],
    tasks: Mapping[J, str],
    known: Collection[str],
    begun: Collection[str],
) -> list[J]:
    """Jobs in the order in which a process tries to take them; given are the dearest first.

    Of those that are not much cheaper than the first, it prefers jobs of tasks that it knows, then
    those of tasks that nobody has begun: each process records the texts of a task that it takes a
    job of. `tasks` lacks jobs that need no recording.
    """
    if not tasks or not jobs:
        return list(jobs)
    least = STAYS * costs[jobs[0]]

    def rank(job: J) -> int:
        if costs[job] < least or job not in tasks:
            return 2
        return 0 if tasks[job] in known else 1 if tasks[job] not in begun else 2

    return sorted(jobs, key=rank)
