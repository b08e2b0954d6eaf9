"""The process of a command: what its console can show, whose words reach it, how it is stopped."""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

RESUMED = ("run", "reproduce", "study", "get")
"""Verbs whose finished work is kept, and which go on from there."""

QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
"""What keeps other libraries from speaking, here and in worker processes; the user's values win."""

SIGNS = {
    **{"✓": "+", "✗": "x", "✕": "x", "◐": "~", "→": ">", "‖": "||", "−": "-", "–": "-", "—": "-"},
    **{"…": "...", "×": "x", "·": "-", "•": "*", "‹": "<", "›": ">", "«": "<<", "»": ">>"},
    **{"⏎": "\\n", "⇥": "\\t", "‘": "'", "’": "'", "“": '"', "”": '"'},
}
"""Signs of our own, and what stands for them where they cannot be shown."""

_SHOWN = "oocr.shown"


def set_up() -> None:
    """Make this process a command's: see the top. Python users of the library keep their own."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # All calls in this process are ours: other libraries' warnings say nothing to the user.
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", category=UserWarning, module=r"oocr(\.|_organisms|$)")
    warnings.showwarning = _show_warning
    logging.getLogger().addHandler(logging.NullHandler())  # instead of Python's last resort
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - a question gets no answer
    set_up_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What is ignored (nohup) or handled already stays so.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)


def set_up_streams() -> None:
    """Have standard output and error take every character, whatever their encoding."""
    codecs.register_error(_SHOWN, _as_shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SHOWN)


class Terminated(BaseException):
    """The process was asked to end by a signal, whose number is in `args`; it ends as by Ctrl-C."""


def _terminated(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise Terminated(number)


def stopped(words: list[str], by: str = "by you") -> None:
    """Say in one sentence that the command (its words) was stopped, and what is kept."""
    kept = "nothing was written"
    if any(word in RESUMED for word in words[:2]):
        kept = "finished work is kept, and the same command continues from there"
    say(f"\nstopped {by}; {kept}")


def say(text: str) -> None:
    """Print on standard error, if anybody listens."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def close_pipe() -> None:
    """Nobody reads any more: nothing is said about it, at exit neither."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_shown(error: UnicodeError) -> tuple[str, int]:
    """What a console gets for characters that it cannot show: nothing is lost, nothing raised."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    shown = (SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters)
    return "".join(shown), error.end


def _show_warning(message: Warning | str, *_: object, **_named: object) -> None:
    """A warning of ours as a note."""
    say(f"note: {message}")
