"""One piece of work on the model at a time, in the order of asking, and each can be cancelled.

All of it is done in one thread. Work of a lane of a page ends when the same lane asks anew.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any

from oocr.errors import InputError, RunError
from oocr.models.out_of_memory import is_out_of_memory

Event = dict[str, Any]
"""A JSON object with a `type`."""

MOST_WAITING = 16
"""Pieces of work that wait at the same time; further ones are refused."""


class Ticket:
    """One piece of work; cancelled from any thread."""

    def __init__(self, client: str, lane: str) -> None:
        self.client, self.lane = client, lane
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Cancel it; it ends at its next token."""
        self._cancelled.set()


class ModelThread:
    """Does jobs one after the other: the most urgent first, equally urgent ones as they came."""

    def __init__(self) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], None] | None]]
        self._jobs, self._numbers = queue.PriorityQueue(), itertools.count()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None] | None, rank: int) -> None:
        """Add a job (0: the most urgent); None ends the thread."""
        self._jobs.put((rank, next(self._numbers), job))

    def close(self) -> None:
        """End after the running job."""
        self.submit(None, -1)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()[2]) is not None:
            job()


class Turns:
    """Gives the model to one piece of work at a time."""

    def __init__(self) -> None:
        self._thread = ModelThread()
        self._tickets: list[Ticket] = []  # of the event loop's thread only

    def cancel(self, client: str, lane: str) -> None:
        """Cancel what a page asked for in one lane."""
        for ticket in self._tickets:
            if (ticket.client, ticket.lane) == (client, lane):
                ticket.cancel()

    def waiting(self, client: str) -> int:
        """Pieces of work that others than this page want now."""
        return sum(not ticket.cancelled and ticket.client != client for ticket in self._tickets)

    async def events(
        self,
        client: str,
        lane: str,
        work: Callable[[], Iterator[Event]],
        *,
        rank: int = 0,
        pauses: Collection[str] = (),
    ) -> AsyncIterator[Event]:
        """The events of a piece of work; other work may run only after an event in `pauses`.

        What goes wrong is an event "error"; "waiting" says how many others are ahead.
        """
        self.cancel(client, lane)
        ahead = self.waiting(client)
        if sum(not ticket.cancelled for ticket in self._tickets) >= MOST_WAITING:
            yield {"type": "error", "message": "too many wait for the model; try again"}
            return
        ticket = Ticket(client, lane)
        self._tickets.append(ticket)
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        running: Iterator[Event] | None = None

        def put(event: Event | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        def at_work() -> None:
            nonlocal running
            try:
                running = running or work()
                for event in () if ticket.cancelled else running:
                    if ticket.cancelled:
                        break
                    put(event)
                    if event["type"] in pauses:
                        self._thread.submit(at_work, rank)
                        return
            except Exception as error:
                put({"type": "error", "message": message_of(error)})
            # What it attached to the model is taken off here, in the model's thread.
            if close := getattr(running, "close", None):
                close()
            put({"type": "cancelled"} if ticket.cancelled else None)

        self._thread.submit(at_work, rank)
        try:
            if ahead:
                yield {"type": "waiting", "ahead": ahead}
            while (event := await events.get()) is not None:
                yield event
                if event["type"] == "cancelled":
                    return
        finally:
            ticket.cancel()
            self._tickets.remove(ticket)

    def close(self) -> None:
        """Cancel everything, and wait for the current token."""
        for ticket in self._tickets:
            ticket.cancel()
        self._thread.close()


def message_of(error: Exception) -> str:
    """The page's message about an error; unexpected errors are printed in full on the terminal."""
    if isinstance(error, InputError | RunError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory: a shorter prompt or fewer new tokens need less"
    traceback.print_exception(error, file=sys.stderr)
    return f"a fault of the program ({type(error).__name__}: {error}); the terminal has more"
