"""Switches that belong to the process are turned by one thread at a time."""

from __future__ import annotations

import threading

from oocr.models.quiet import quiet


def test_one_thread_at_a_time() -> None:
    inside, order = threading.Event(), list[str]()

    def other() -> None:
        inside.wait()
        with quiet(), quiet():
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with quiet():
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
