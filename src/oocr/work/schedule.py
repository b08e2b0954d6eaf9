"""How long a run takes with many workers: the longest job first, each to whoever is free first.

A stage begins when the one before is whole. A worker loads the model once, and records a task's
texts when it takes its first job of that task. Among jobs that are not much shorter than the
longest left, it prefers those of tasks that it knows, then those of tasks that nobody has begun
(`oocr.runs.processes.job_order`). Seconds are those of
`oocr.runs.estimates.time_estimate`: arms that are trained side by side, which one worker does,
count as if they did not share their passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from oocr.engine.training import stack_tokens
from oocr.runs.arms import ArmPlan, grouped
from oocr.runs.estimates.memory_estimate import RunSample
from oocr.runs.estimates.time_estimate import Gpu, arm_cost, pass_cost, pass_over, seconds_each
from oocr.runs.processes.job_order import STAYS

LOADED = 1e9
"""Bytes of weights that a process loads in a second, assumed: of a fast network disk."""

STARTED = 15.0
"""Seconds in which a process starts and tests the model, assumed."""

EVEN = 0.85
"""Share of the workers' time that is spent in jobs from which on the work is shared evenly."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """Arms that one worker trains, on tasks whose texts it must have recorded.

    `seconds` are without the recording; `recording` are the seconds of each task's.
    """

    stage: str
    seconds: float
    recording: dict[str, float]


@dataclass(frozen=True, slots=True)
class StageTime:
    """A stage in a schedule: how long it is, its jobs, and what they take in all and at most."""

    name: str
    seconds: float
    jobs: int
    work: float
    longest: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run with so many workers: seconds in all, at work on jobs, and on recordings, summed."""

    workers: int
    seconds: float
    start: float
    jobs: float
    recordings: float
    stages: tuple[StageTime, ...]

    @property
    def efficiency(self) -> float:
        """Share of the workers' time that is spent in jobs."""
        return self.jobs / (self.workers * self.seconds) if self.seconds else 1.0

    def limit(self) -> str:
        """What keeps more workers from being faster, in words."""
        if self.efficiency >= EVEN:
            return f"the work is shared evenly: {self.efficiency:.0%} of the time is spent in jobs"
        idle = {
            "loading the model": self.workers * self.start,
            "recording each task's texts once in each worker": self.recordings,
            **{
                f"the stage {stage.name!r}: {stage.jobs} jobs, the longest {stage.longest:.0f} s": (
                    self.workers * stage.seconds - stage.work
                )
                for stage in self.stages
            },
        }
        worst = max(idle, key=lambda name: idle[name])
        share = f"{self.efficiency:.0%} of the time is spent in jobs"
        return f"{share}; most of the rest is lost by {worst}"


def planned_stages(sample: RunSample, gpu: Gpu | None, speed: float) -> list[list[PlannedJob]]:
    """The jobs of a run's stages that train, before anything is chosen.

    `speed` is that of a CPU's matrix products, in operations per second (without a GPU).
    """
    return [
        [_job(name, sample, group, gpu, speed) for group in _groups(sample, plans)]
        for name, plans in (("choosing", sample.tried), ("training", sample.reported))
        if plans
    ]


def _groups(sample: RunSample, plans: Sequence[ArmPlan]) -> list[list[ArmPlan]]:
    most = stack_tokens(sample.model)
    return grouped(plans, sample.tokens, sample.config.batch_lines, most)


def _job(
    stage: str, sample: RunSample, group: Sequence[ArmPlan], gpu: Gpu | None, speed: float
) -> PlannedJob:
    recording: dict[str, float] = {}
    for plan in group:
        if plan.task.train_hash not in recording:
            training = sample.training(plan.task)
            share = training.recorded(plan, sample.config.seeds)
            passes = [pass_over(batch, sample.shape).times(share) for batch in training.batches]
            passes += [pass_over(batch, sample.shape) for batch in sample.asked(plan.task)]
            recording[plan.task.train_hash] = seconds_each(pass_cost("", gpu, passes), speed)
    seconds = sum(seconds_each(arm_cost("", sample, plan, gpu), speed) for plan in group)
    return PlannedJob(stage, seconds, recording)


def start_seconds(weights: int) -> float:
    """Seconds until a process has loaded so many bytes of weights."""
    return STARTED + weights / LOADED


def _next(left: Sequence[PlannedJob], known: set[str], begun: set[str]) -> int:
    """The place of the job that a worker takes next; the longest is the first."""
    dear = [job for job in left if job.seconds >= STAYS * left[0].seconds]
    ours = (place for place, job in enumerate(dear) if known.issuperset(job.recording))
    fresh = (place for place, job in enumerate(dear) if begun.isdisjoint(job.recording))
    return next(ours, next(fresh, 0))


def schedule(stages: Sequence[Sequence[PlannedJob]], workers: int, start: float) -> Schedule:
    """Give the longest job first, or one of a task that it knows, to whoever is free first."""
    known: list[set[str]] = [set() for _ in range(workers)]
    now, recordings, jobs = start, 0.0, 0.0
    times: list[StageTime] = []
    for stage in (list(each) for each in stages if each):
        free = [(now, worker) for worker in range(workers)]
        end, spent = now, 0.0
        left, begun = sorted(stage, key=lambda job: -job.seconds), set[str]()
        while left:
            at, worker = heapq.heappop(free)
            job = left.pop(_next(left, known[worker], begun))
            new = {task: cost for task, cost in job.recording.items() if task not in known[worker]}
            known[worker] |= new.keys()
            begun |= job.recording.keys()
            recordings += sum(new.values())
            spent += job.seconds + sum(new.values())
            jobs += job.seconds
            at += job.seconds + sum(new.values())
            end = max(end, at)
            heapq.heappush(free, (at, worker))
        longest = max(job.seconds for job in stage)
        times.append(StageTime(stage[0].stage, end - now, len(stage), spent, longest))
        now = end
    return Schedule(workers, now, start, jobs, recordings, tuple(times))
