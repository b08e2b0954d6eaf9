"""Claims on shared storage: which process does which job. A lease, not a lock.

A store (`oocr.stores`: a folder, or one at a URL) holds, for each job that a process is at work on,
`JOB.N.claim`, and `JOB.done` once its result is written. A claim is created atomically, and its
holder writes a heartbeat into it. Where that stops, another process creates `JOB.(N+1).claim`: only
one can, and nobody's file is removed. A claim counts as stale when its content has not changed for
the length of a lease on the watcher's own monotonic clock; no two clocks are compared. On the
holder's machine it is enough that its process is gone.

A holder that was held up for longer than a lease may be at work beside the one who took its job
over. That costs time only: results are written whole, under a key, by whoever comes first.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from pydantic import ValidationError

from oocr.errors import RunError
from oocr.io import Record
from oocr.stores import Store

LEASE = 60.0
"""Seconds without a heartbeat after which a claim is taken over."""

BEATS = 6
"""Heartbeats in a lease."""

WATCHED = 16
"""Claims of others that a waiting process looks at: many waiting ones share the watching."""

_NAME = re.compile(r"(?P<job>.+)\.(?P<number>\d+)\.claim")


class Holder(Record):
    """Who holds a claim: `place` is the same for processes that see each other's numbers.

    `began` is a time of the holder's clock, for people; `lease` are seconds; `token` tells it from
    others of the process.
    """

    label: str
    host: str
    pid: int
    place: str
    began: str
    lease: float
    token: str = ""


class Done(Record):
    """What a marker says of a finished job: where it was done, and in how many seconds."""

    host: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Board:
    """A store of claims at one moment: finished jobs, each claimed job's highest number, files."""

    done: frozenset[str]
    claimed: dict[str, int]
    names: frozenset[str] = field(default=frozenset(), compare=False)


def board_of(store: Store) -> Board:
    """What a store of claims shows now, from one listing."""
    names = frozenset(store.names())
    done = frozenset(name[: -len(".done")] for name in names if name.endswith(".done"))
    claimed: dict[str, int] = {}
    for match in filter(None, map(_NAME.fullmatch, names)):
        job, number = match["job"], int(match["number"])
        if job not in done:
            claimed[job] = max(number, claimed.get(job, 0))
    return Board(done, claimed, names)


def claim_name(job: str, number: int) -> str:
    """The file of a claim."""
    return f"{job}.{number}.claim"


def holder_of(content: bytes) -> Holder | None:
    """Who holds the claim with this content; None: it does not say (yet)."""
    try:
        return Holder.model_validate_json(content.partition(b"\n")[0])
    except ValidationError:
        return None


@dataclass(eq=False)
class Claim:
    """A job that this process holds; `head` is what its file says of the holder."""

    store: Store
    job: str
    number: int
    head: str
    began: float
    closed: bool = False

    @property
    def name(self) -> str:
        """Its file."""
        return claim_name(self.job, self.number)

    def beat(self, now: float) -> None:
        """Write a sign of life: the seconds since the job was taken."""
        with suppress(OSError, RunError):  # the store is away: if it stays so, it is taken over
            self.store.renew(self.name, _claim(self.head, now - self.began))


@dataclass
class Claims:
    """The claims of this process in stores that machines share; a context in which they are kept.

    `clock` is monotonic, in seconds.
    """

    lease: float = LEASE
    clock: Callable[[], float] = time.monotonic
    held: list[Claim] = field(default_factory=list[Claim])
    _seen: dict[tuple[Store, str], tuple[bytes, float]] = field(
        default_factory=dict[tuple[Store, str], tuple[bytes, float]]
    )
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _token: str = field(default_factory=lambda: os.urandom(8).hex())

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for claim in list(self.held):
            with suppress(OSError, RunError):
                self.release(claim)

    def take(self, store: Store, job: str, number: int, label: str) -> Claim | None:
        """Claim a job, as the process that takes it for the `number`th time; None: it is taken.

        A job that turns out to be finished is not claimed either.
        """
        began = datetime.now(UTC).isoformat(timespec="seconds")
        host, pid, token = socket.gethostname(), os.getpid(), os.urandom(4).hex()
        holder = Holder(
            **{"label": label, "host": host, "pid": pid, "place": _place(), "began": began},
            lease=self.lease,
            token=token,
        )
        claim = Claim(store, job, number, holder.model_dump_json(), self.clock())
        if not store.create(claim.name, _claim(claim.head, 0)):
            return None
        with self._lock:
            self.held.append(claim)
        try:
            store.read(f"{job}.done")
        except FileNotFoundError:
            return claim
        self.release(claim)
        return None

    def next(
        self, store: Store, jobs: Sequence[str], board: Board, labels: Callable[[str], str]
    ) -> Claim | None:
        """Claim the first of these unfinished jobs that is free, else one that is stale.

        Beside n processes that hold jobs it is one of the first n + 1 free ones, so that those who
        look at the same moment rarely reach for the same.
        """
        free = [job for job in jobs if job not in board.claimed]
        while free:
            place = random.randrange(min(len(free), len(board.claimed) + 1))
            job = free.pop(place)
            if (claim := self.take(store, job, 0, labels(job))) is not None:
                return claim
            board.claimed.setdefault(job, 0)
        mine = {claim.job for claim in self.held if claim.store == store}
        others = [job for job in jobs if job in board.claimed and job not in mine]
        for job in sorted(others, key=self._share)[:WATCHED]:
            number = board.claimed[job]
            if self.stale(store, claim_name(job, number)):
                claim = self.take(store, job, number + 1, labels(job))
                if claim is not None:
                    return claim
        return None

    def stale(self, store: Store, name: str) -> bool:
        """Whether a claim's holder is gone, as far as this process has seen."""
        try:
            content = store.read(name)
        except FileNotFoundError:  # released
            return False
        now, holder = self.clock(), holder_of(content)
        if holder is not None and is_gone(holder):
            return True
        seen = self._seen.get((store, name))
        if seen is None or seen[0] != content:
            self._seen[store, name] = (content, now)
            return False
        return now - seen[1] > max(self.lease, holder.lease if holder else 0)

    def release(self, claim: Claim, seconds: float | None = None) -> None:
        """Give a job back; with the seconds that it took, as finished: the marker comes first."""
        with self._lock:
            if claim.closed:
                return
            claim.closed = True
            self.held.remove(claim)
        if seconds is not None:
            done = Done(host=socket.gethostname(), seconds=round(seconds, 3))
            claim.store.create(f"{claim.job}.done", done.model_dump_json().encode())
        for number in range(claim.number, -1, -1):
            claim.store.remove(claim_name(claim.job, number))

    def _share(self, job: str) -> bytes:
        """An order of jobs that is this process's own."""
        return hashlib.sha256(f"{self._token} {job}".encode()).digest()

    def _beat(self) -> None:
        while not self._ended.wait(self.lease / BEATS):
            with self._lock:
                for claim in self.held:
                    claim.beat(self.clock())


def live_claims(root: Path, patience: float = 1.5) -> list[Holder]:
    """Holders of claims anywhere below a folder that show a sign of life while it is watched.

    Those whose process is known to be gone are not waited for; of others so many heartbeats.
    """
    before: dict[Path, bytes] = {}
    for path in root.rglob("*.claim"):
        with suppress(OSError):
            before[path] = path.read_bytes()
    holders = {path: holder_of(content) for path, content in before.items()}
    known = {path: holder for path, holder in holders.items() if holder and not is_gone(holder)}
    here = [holder for holder in known.values() if holder.place == _place()]
    if here or not known:
        return here
    until = time.monotonic() + patience * max(h.lease for h in known.values()) / BEATS
    while time.monotonic() < until:
        time.sleep(min(0.2, until - time.monotonic()) if until > time.monotonic() else 0)
        for path, holder in known.items():
            with suppress(OSError):
                if path.read_bytes() != before[path]:
                    return [holder]
    return []


def is_gone(holder: Holder) -> bool:
    """Whether a holder on this machine has ended; False of one elsewhere."""
    if holder.place != _place():
        return False
    try:
        return psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _place() -> str:
    """A machine since it was started, and the container in it: where process numbers mean one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _claim(head: str, seconds: float) -> bytes:
    """A claim's content: of one length, so that it can be written again in place."""
    return f"{head}\n{seconds:16.3f}\n".encode()


def seconds_of(content: bytes) -> float:
    """How long a claim's holder says that it has been at work."""
    with suppress(ValueError):
        return float(content.rpartition(b"\n")[0].rpartition(b"\n")[2])
    return 0.0


def done_of(store: Store, job: str) -> Done | None:
    """A finished job's marker; None: it does not say."""
    try:
        return Done.model_validate_json(store.read(f"{job}.done"))
    except (OSError, ValidationError):
        return None
