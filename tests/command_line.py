"""`oocr …` in this process."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import pytest

from oocr.cli import main as cli
from oocr.cli import process


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Call:
    """Calls of the command; the fixture `call` is one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "200")
        for name, value in process.QUIET.items():
            monkeypatch.setenv(name, os.environ.get(name, value))

    def __call__(self, *words: object) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["oocr", *map(str, words)])
        self.capsys.readouterr()
        try:
            cli.main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        printed = self.capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)
