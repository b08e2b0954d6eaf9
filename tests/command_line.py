"""`oocr …` in this process."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import NamedTuple

import pytest

from oocr.cli import main as cli
from oocr.cli import process


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Call:
    """Calls of the command; the fixture `call` is one of them.

    What the command sets up in its process is undone.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "stdin", sys.stdin)
        for name, value in process.QUIET.items():
            monkeypatch.setenv(name, os.environ.get(name, value))

    def __call__(self, *words: object) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["oocr", *map(str, words)])
        self.capsys.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with warnings.catch_warnings():
                cli.main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        printed = self.capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)
