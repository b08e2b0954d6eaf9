"""One piece of work on the model at a time, in the order of asking, and each can be cancelled.

All of it is done in one thread. Work of a lane of a page ends when the same lane asks anew.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from oocr.errors import InputError, RunError
from oocr.models.out_of_memory import is_out_of_memory

Event = dict[str, Any]

MOST_WAITING = 16
"""Pieces of work that wait at the same time; further ones are refused."""


class Ticket:
    """One piece of work; cancelled from any thread."""

    def __init__(self, client: str, lane: str) -> None:
        self.client, self.lane = client, lane
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Say that nobody wants it any more; it ends at its next token."""
        self._cancelled.set()


class Turns:
    """Gives the model to one piece of work at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "model")
        self._tickets: list[Ticket] = []  # of the event loop's thread only

    def cancel(self, client: str, lane: str | None = None) -> None:
        """Cancel what a page asked for, in one lane or in all."""
        for ticket in self._tickets:
            if ticket.client == client and lane in (None, ticket.lane):
                ticket.cancel()

    @property
    def waiting(self) -> int:
        """Pieces of work that are wanted now, the one at work among them."""
        return sum(not ticket.cancelled for ticket in self._tickets)

    async def events(
        self, client: str, lane: str, work: Callable[[], Iterator[Event]], *, yields: bool = False
    ) -> AsyncIterator[Event]:
        """The events of a piece of work. With `yields` others may come in between two of them.

        What goes wrong is an event "error", what had to wait first says "waiting".
        """
        self.cancel(client, lane)
        ahead = self.waiting
        if ahead >= MOST_WAITING:
            yield {"type": "error", "message": f"{ahead} others wait for the model; try again"}
            return
        ticket = Ticket(client, lane)
        self._tickets.append(ticket)
        if ahead:
            yield {"type": "waiting", "ahead": ahead}
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        running: list[Iterator[Event]] = []

        def put(event: Event | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        def at_work() -> None:
            try:
                if not running:
                    running.append(iter(() if ticket.cancelled else work()))
                for event in running[0]:
                    if ticket.cancelled:
                        break
                    put(event)
                    if yields:
                        self._thread.submit(at_work)
                        return
            except Exception as error:
                put({"type": "error", "message": message_of(error)})
            # What it attached to the model is taken off here, in the model's thread.
            close = getattr(running[0], "close", None) if running else None
            if close is not None:
                close()
            put({"type": "cancelled"} if ticket.cancelled else None)

        self._thread.submit(at_work)
        try:
            while (event := await queue.get()) is not None:
                yield event
                if event["type"] == "cancelled":
                    return
        finally:
            ticket.cancel()
            self._tickets.remove(ticket)

    def close(self) -> None:
        """Cancel everything, and wait for the token that is at work."""
        for ticket in self._tickets:
            ticket.cancel()
        self._thread.shutdown(cancel_futures=True)


def message_of(error: Exception) -> str:
    """What a page says of an error; one that should not be goes to the terminal in full."""
    if isinstance(error, InputError | RunError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory: a shorter prompt or fewer new tokens need less"
    traceback.print_exception(error, file=sys.stderr)
    return f"a fault of the program ({type(error).__name__}: {error}); the terminal has more"
