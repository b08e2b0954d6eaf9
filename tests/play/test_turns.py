"""One piece of work at a time: others wait, are told, and can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from oocr.errors import InputError
from oocr.play.turns import MOST_WAITING, Event, Turns


class Work:
    """Events that come when the test says so; notes that it was ended."""

    def __init__(self, name: str = "", count: int = 3) -> None:
        self.go, self.ended, self.name, self.count = (
            threading.Event(),
            threading.Event(),
            name,
            count,
        )

    def __call__(self) -> Iterator[Event]:
        try:
            for number in range(self.count):
                self.go.wait(10)
                yield {"type": self.name or "token", "number": number}
        finally:
            self.ended.set()


async def listed(
    turns: Turns, work: Callable[[], Iterator[Event]], client: str, lane: str = "text", **how: bool
) -> list[Event]:
    return [event async for event in turns.events(client, lane, work, **how)]


def test_the_second_waits_and_is_told() -> None:
    async def both() -> tuple[list[Event], list[Event]]:
        turns, first, second = Turns(), Work(), Work()
        one = asyncio.create_task(listed(turns, first, "a"))
        await asyncio.sleep(0.05)
        other = asyncio.create_task(listed(turns, second, "b"))
        second.go.set()
        await asyncio.sleep(0.05)
        assert not second.ended.is_set()
        first.go.set()
        return await one, await other

    first, second = asyncio.run(both())
    assert [event["type"] for event in first] == ["token"] * 3
    assert second[0] == {"type": "waiting", "ahead": 1}
    assert second[1:] == first


def test_the_same_lane_asks_anew_and_another_goes_on() -> None:
    async def change() -> tuple[list[Event], list[Event], list[Event]]:
        turns, old, new, other = Turns(), Work(), Work("new"), Work("other")
        tasks = [asyncio.create_task(listed(turns, old, "a"))]
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(listed(turns, other, "a", "curve")))
        tasks.append(asyncio.create_task(listed(turns, new, "a")))
        await asyncio.sleep(0.05)
        for work in (old, new, other):
            work.go.set()
        first, second, third = await asyncio.gather(*tasks)
        assert old.ended.is_set()
        assert not turns.waiting("b")
        return first, second, third

    old, other, new = asyncio.run(change())
    assert old == [{"type": "cancelled"}]
    assert [event["number"] for event in new if event["type"] == "new"] == [0, 1, 2]
    assert [event["number"] for event in other if event["type"] == "other"] == [0, 1, 2]


def test_who_goes_away_ends_the_work() -> None:
    async def leave() -> bool:
        turns, work = Turns(), Work()
        work.go.set()
        events = turns.events("a", "text", work)
        await anext(events)
        work.go.clear()
        await events.aclose()  # type: ignore[attr-defined]
        work.go.set()
        return await asyncio.to_thread(work.ended.wait, 10)

    assert asyncio.run(leave())


def test_who_goes_away_while_waiting_is_forgotten() -> None:
    async def leave() -> int:
        turns, first, second = Turns(), Work(), Work()
        running = asyncio.create_task(listed(turns, first, "a"))
        await asyncio.sleep(0.05)
        events = turns.events("b", "text", second)
        assert await anext(events) == {"type": "waiting", "ahead": 1}
        await events.aclose()  # type: ignore[attr-defined]
        first.go.set()
        await running
        return turns.waiting("c")

    assert asyncio.run(leave()) == 0


def test_what_nobody_wants_any_more_computes_nothing() -> None:
    begun: list[int] = []
    gate, second = threading.Semaphore(1), threading.Event()

    def counting() -> Iterator[Event]:
        for number in range(9):
            if number == 1:
                second.set()
            gate.acquire(timeout=10)
            begun.append(number)
            yield {"type": "point"}

    async def leave() -> None:
        turns, other = Turns(), Work()
        points = turns.events("a", "curve", counting, pauses=("point",), rank=1)
        await anext(points)
        await asyncio.to_thread(second.wait, 10)
        busy = asyncio.create_task(listed(turns, other, "b"))
        await asyncio.sleep(0.05)
        gate.release(9)  # then comes the other, which is more urgent than the third point
        await points.aclose()  # type: ignore[attr-defined]
        other.go.set()
        await busy
        await asyncio.to_thread(turns.close)

    asyncio.run(leave())
    assert begun == [0, 1]


def test_long_work_lets_others_in_between() -> None:
    order: list[str] = []

    async def both() -> None:
        turns, long, short = Turns(), Work("long", 6), Work("short", 1)

        def noting(work: Work) -> Iterator[Event]:
            for event in work():
                order.append(event["type"])
                yield event

        first = asyncio.create_task(listed(turns, lambda: noting(long), "a", pauses=("long",)))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(listed(turns, lambda: noting(short), "b"))
        await asyncio.sleep(0.05)
        short.go.set()
        long.go.set()
        await asyncio.gather(first, second)

    asyncio.run(both())
    assert order == ["long", "short", *["long"] * 5]


def test_the_more_urgent_goes_first() -> None:
    order: list[str] = []

    async def three() -> None:
        turns, works = Turns(), {name: Work(name, 2) for name in ("now", "slow", "quick")}
        works["slow"].go.set()
        works["quick"].go.set()

        def noting(work: Work) -> Iterator[Event]:
            for event in work():
                order.append(event["type"])
                yield event

        async def asked(name: str, rank: int) -> None:
            work = works[name]
            await listed(turns, lambda: noting(work), name, pauses=(name,), rank=rank)

        tasks = []
        for name, rank in (("now", 0), ("slow", 1), ("quick", 0)):
            tasks.append(asyncio.create_task(asked(name, rank)))
            await asyncio.sleep(0.05)
        works["now"].go.set()
        await asyncio.gather(*tasks)

    asyncio.run(three())
    assert order == ["now", "quick", "now", "quick", "slow", "slow"]


def test_faults_are_events(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> Iterator[Event]:
        yield {"type": "token"}
        raise InputError("a wrong word")

    def broken() -> Iterator[Event]:
        raise KeyError("what")
        yield

    turns = Turns()
    assert asyncio.run(listed(turns, refused, "a")) == [
        {"type": "token"},
        {"type": "error", "message": "a wrong word"},
    ]
    (event,) = asyncio.run(listed(turns, broken, "a"))
    assert event["message"].startswith("a fault of the program (KeyError")
    assert "Traceback" in capsys.readouterr().err
    turns.close()


def test_too_many_are_refused() -> None:
    async def crowd() -> list[list[Event]]:
        turns, work = Turns(), Work()
        tasks = [
            asyncio.create_task(listed(turns, work, f"client {n}")) for n in range(MOST_WAITING + 1)
        ]
        await asyncio.sleep(0.1)
        work.go.set()
        return list(await asyncio.gather(*tasks))

    *_, last = asyncio.run(crowd())
    assert [event["type"] for event in last] == ["error"]
    assert "too many wait" in last[0]["message"]
