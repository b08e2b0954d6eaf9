"""Claims on shared storage: one taker at a time, taken over when silent, whatever clocks say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oocr import leases
from oocr.errors import RunError
from oocr.io import write_new
from oocr.leases import Board, Claim, Claims, board_of, claim_name, done_of, holder_of, live_claims
from oocr.stores import FolderStore


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def take(claims: Claims, folder: Path, jobs: tuple[str, ...] = ("a",)) -> Claim | None:
    store = FolderStore(folder)
    board = board_of(store)
    left = [job for job in jobs if job not in board.done]
    return claims.next(store, left, board, lambda job: f"job {job}")


def path_of(claim: Claim) -> Path:
    assert isinstance(claim.store, FolderStore)
    return claim.store.path / claim.name


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process takes itself for one on another machine."""
    monkeypatch.setattr(leases, "_place", lambda: "another machine")


def test_of_many_who_reach_for_a_job_one_gets_it(tmp_path: Path) -> None:
    everyone = [Claims() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        got = list(
            pool.map(lambda claims: claims.take(FolderStore(tmp_path), "a", 0, "job a"), everyone)
        )
    (claim,) = [claim for claim in got if claim]
    holder = holder_of(path_of(claim).read_bytes())
    assert holder is not None
    assert (holder.pid, holder.label) == (os.getpid(), "job a")
    with ThreadPoolExecutor(16) as pool:
        jobs = tuple(f"job {n}" for n in range(16))
        taken = list(pool.map(lambda claims: take(claims, tmp_path, jobs), everyone))
    assert sorted(claim.job for claim in taken if claim) == sorted(jobs), "each something else"


def test_a_finished_job_has_a_marker_and_no_claim(tmp_path: Path) -> None:
    claims, other = Claims(), Claims()
    claim = take(claims, tmp_path)
    assert claim is not None
    assert board_of(FolderStore(tmp_path)) == Board(frozenset(), {"a": 0})
    claims.release(claim, seconds=2.5)
    assert board_of(FolderStore(tmp_path)) == Board(frozenset({"a"}), {})
    done = done_of(FolderStore(tmp_path), "a")
    assert done is not None
    assert done.seconds == 2.5
    assert take(other, tmp_path) is None
    assert other.take(FolderStore(tmp_path), "a", 0, "with an old listing") is None, "it is done"
    assert [path.name for path in tmp_path.iterdir()] == ["a.done"]
    again = take(claims, tmp_path, ("b",))
    assert again is not None
    claims.release(again)
    assert take(other, tmp_path, ("b",)) is not None, "given back unfinished, it is free"


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_silence_on_the_watchers_own_clock_counts_and_no_other_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    holder, watcher, third = Clock(), Clock(), Clock()
    claim = take(Claims(60, holder), tmp_path)
    assert claim is not None
    wrong = (
        path_of(claim).stat().st_mtime + 3600 * hours
    )  # as a clock that is an hour wrong sets it
    elsewhere(monkeypatch)
    watching, other = Claims(60, watcher), Claims(60, third)
    for _ in range(10):  # beats, slowly
        assert take(watching, tmp_path) is None
        assert take(other, tmp_path) is None
        watcher.now, third.now, holder.now = watcher.now + 50, third.now + 50, holder.now + 50
        claim.beat(holder.now)
        os.utime(path_of(claim), (wrong, wrong))
    assert take(watching, tmp_path) is None
    watcher.now += 59
    assert take(watching, tmp_path) is None
    watcher.now += 2
    third.now += 61
    taken = take(watching, tmp_path)
    assert taken is not None
    assert taken.number == 1
    assert other.take(FolderStore(tmp_path), "a", 1, "at the same moment") is None
    assert take(other, tmp_path) is None, "a new holder has a lease of its own"
    claim.beat(holder.now)  # late
    watching.release(taken, seconds=1.0)
    assert board_of(FolderStore(tmp_path)) == Board(frozenset({"a"}), {})


def test_the_one_who_was_late_takes_nobodys_claim_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, clock = Claims(60), Clock()
    claim = take(late, tmp_path)
    assert claim is not None
    elsewhere(monkeypatch)
    other = Claims(60, clock)
    assert take(other, tmp_path) is None
    clock.now += 61
    taken = take(other, tmp_path)
    assert taken is not None
    late.release(claim)
    assert path_of(taken).exists()
    assert board_of(FolderStore(tmp_path)).claimed == {"a": 1}


def test_a_killed_holder_on_this_machine_is_seen_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from oocr.leases import Claims; from oocr.stores import store_of\n"
        "print(Claims().take(store_of(sys.argv[1]), 'a', 0, 'x') is not None, flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    claims = Claims()
    assert take(claims, tmp_path) is None
    assert [holder.pid for holder in live_claims(tmp_path)] == [process.pid]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert live_claims(tmp_path) == []
    claim = take(claims, tmp_path)
    assert claim is not None
    assert claim.number == 1


def test_a_claim_that_was_cut_short_is_taken_over_too(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / claim_name("a", 0)).touch()  # killed between creating and writing it
    claims = Claims(60, clock)
    assert take(claims, tmp_path) is None
    clock.now += 61
    assert take(claims, tmp_path) is not None


def test_heartbeats_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Claims(lease=0.3) as claims:
        claim = take(claims, tmp_path)
        assert claim is not None
        elsewhere(monkeypatch)
        assert [holder.pid for holder in live_claims(tmp_path, patience=40)] == [os.getpid()]
    assert list(tmp_path.iterdir()) == [], "what was held is given back"
    write_new(tmp_path / claim_name("b", 0), b"{}")
    assert live_claims(tmp_path, patience=1) == []


def test_a_store_that_is_away_or_full_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        def write(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "write", write)

    import errno

    for number, words in ((errno.ENOSPC, "the disk is full"), (errno.ESTALE, "cannot be reached")):
        fail(number)
        with pytest.raises(RunError, match=words):
            take(Claims(), tmp_path)
        assert list(tmp_path.iterdir()) == []
