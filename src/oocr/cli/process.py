"""The process of a command: its output's encoding, other libraries' messages, signals."""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from oocr.errors import InputError, RunError

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ends."""

RESUMED = ("run", "work", "reproduce", "study", "get")
"""Verbs that keep finished work and continue from there."""

QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
"""Environment variables that silence other libraries, also in workers; the user's values win."""

SIGNS = {
    **{"✓": "+", "✗": "x", "✕": "x", "◐": "~", "→": ">", "‖": "||", "−": "-", "–": "-", "—": "-"},
    **{"…": "...", "×": "x", "·": "-", "•": "*", "‹": "<", "›": ">", "«": "<<", "»": ">>"},
    **{"⏎": "\\n", "⇥": "\\t", "‘": "'", "’": "'", "“": '"', "”": '"'},
}
"""Characters of our own, and their replacements where they cannot be shown."""

_SHOWN = "oocr.shown"


@contextmanager
def command_process() -> Iterator[None]:
    """Set the process up for a command inside the block; errors end it with one message.

    Afterwards signals, warnings and input are restored.
    """
    with _set_up():
        try:
            yield
        except (InputError, RunError) as error:
            by_input = isinstance(error, InputError)
            _end(2 if by_input else 1, f"{'error' if by_input else 'stopped'}: {error}")
        except BrokenPipeError:  # the reader of the output has gone
            _close_pipe()
            _end(1)
        except OSError as error:  # disk full, folder not writable
            _end(1, f"stopped: {error.filename or 'system'}: {error.strerror or error}")
        except Terminated as end:
            _end(128 + end.args[0], stopped(sys.argv[1:], "by a signal"))
        except (RuntimeError, MemoryError) as error:
            from oocr.models.out_of_memory import LOADING, is_out_of_memory, out_of_memory

            if not is_out_of_memory(error):
                raise
            _end(1, f"stopped: {out_of_memory(error, 'at work', LOADING)}")
        except KeyboardInterrupt:
            _end(INTERRUPTED, stopped(sys.argv[1:]))
        except SystemExit as end:  # Typer turns Ctrl-C into this, without a message
            if end.code != INTERRUPTED:
                raise
            _end(INTERRUPTED, stopped(sys.argv[1:]))


def _end(code: int, words: str | None = None) -> NoReturn:
    """End with an exit code, after a line on standard error if that is open."""
    if words is not None:
        with suppress(OSError, ValueError):
            print(words, file=sys.stderr, flush=True)
    sys.exit(code)


@contextmanager
def _set_up() -> Iterator[None]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger().addHandler(logging.NullHandler())  # instead of Python's fallback handler
    set_up_streams()
    handlers: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Ignored (nohup) or handled signals stay so; only the main thread may change them.
        here = threading.current_thread() is threading.main_thread()
        if number is not None and here and signal.getsignal(number) is signal.SIG_DFL:
            handlers[number] = signal.signal(number, _terminated)
    stdin = sys.stdin
    try:
        with warnings.catch_warnings(), Path(os.devnull).open() as nothing:
            sys.stdin = nothing  # nothing answers a prompt
            # All calls are ours: warnings of other libraries do not help the user.
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", "", UserWarning, module=r"oocr(\.|_organisms|$)")
            warnings.showwarning = _show_warning
            yield
    finally:
        sys.stdin = stdin
        for number, handler in handlers.items():
            signal.signal(number, handler)


def set_up_streams() -> None:
    """Let standard output and error accept every character, in any encoding."""
    codecs.register_error(_SHOWN, _as_shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SHOWN)


class Terminated(BaseException):
    """The process was asked to end by a signal, whose number is in `args`; it ends as by Ctrl-C."""


def _terminated(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # the first signal is enough
    raise Terminated(number)


def stopped(words: list[str], by: str = "by you") -> str:
    """One sentence: the command (its words) was stopped, and what is kept."""
    kept = "nothing was written"
    if any(word in RESUMED for word in words[:2]):
        kept = "finished work is kept, and the same command continues from there"
    return f"\nstopped {by}; {kept}"


def _close_pipe() -> None:
    """The reader has gone: no message about it, at exit neither."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_shown(error: UnicodeError) -> tuple[str, int]:
    """Replacements for characters that a console cannot show, without an error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    shown = (SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters)
    return "".join(shown), error.end


def _show_warning(message: Warning | str, *_: object, **_named: object) -> None:
    """Print a warning of ours as a note."""
    with suppress(OSError, ValueError):
        print(f"note: {message}", file=sys.stderr, flush=True)
