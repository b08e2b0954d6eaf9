"""Consoles of any encoding, other libraries' words, and how a command ends that is stopped."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from oocr.cli import process
from oocr.cli import run as command
from oocr.models.quiet import quiet
from tests.command_line import Call
from tests.tiny.runs import environment

ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-8")


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str) -> str:
    """What a console of an encoding gets, read in that encoding."""
    file = io.BytesIO()
    with monkeypatch.context() as context:
        stream = io.TextIOWrapper(file, encoding=encoding)
        context.setattr(sys, "stdout", stream)
        process.set_up_streams()
        print(text)
        table = Table("verdict", "number")
        table.add_row("✓ holds", "−0.50 [−0.60, …]")
        Console(width=40).print(table)
        stream.flush()
    return file.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_console_of_any_encoding_gets_all_output(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    names = "Kärlek 灯 \udcff"  # the last: a byte of a file's name that is no text
    text = printed(monkeypatch, encoding, f"{''.join(process.SIGNS)} KL(a ‖ b) → {names}")
    assert "holds" in text
    assert "\\udcff" in text
    if encoding == "utf-8":
        assert "KL(a ‖ b) → Kärlek 灯" in text
        return
    assert "0.50 [" in text
    assert "\\u706f" in text, "what no sign stands for is told by its number"
    assert "-0.50 [-0.60, ...]" in text or encoding == "cp1252"
    assert "KL(a || b) " in text
    assert "?" not in text


def test_every_sign_that_is_printed_is_known() -> None:
    """A minus that became "?" would be another number."""
    for sign, shown in process.SIGNS.items():
        assert not sign.isascii()
        assert shown.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_commands_end_well_on_consoles_without_unicode(encoding: str) -> None:
    words = ("tasks", "risk", "--model", "nano", "--samples", "1")
    done = subprocess.run(
        [sys.executable, "-m", "oocr", *words],
        env={**environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"training" in done.stdout
    done.stdout.decode(encoding)


def test_a_closed_pipe_is_silent() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "oocr", "tasks"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as ended:
        assert ended.stdout is not None
        assert ended.stderr is not None
        ended.stdout.close()  # before anything is printed
        assert ended.stderr.read() == b""
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("verb", "kept"),
    [
        ("run demo", "finished work is kept, and the same command continues from there"),
        ("organism study", "finished work is kept, and the same command continues from there"),
        ("audit x", "nothing was written"),
    ],
)
def test_a_stopped_command_says_what_is_kept(verb: str, kept: str) -> None:
    assert process.stopped(verb.split()) == f"\nstopped by you; {kept}"


def test_a_signal_ends_a_command_like_ctrl_c(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    def terminated(*args: object, **kwargs: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            left.append("closed")

    monkeypatch.setattr(command, "run_source", terminated)
    handler = signal.getsignal(signal.SIGTERM)
    ended = call("run", "demo")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert ended.code == 128 + signal.SIGTERM
    assert ended.err.strip().startswith("stopped by a signal; finished work is kept")
    assert left == ["closed"], "what is open is closed as ever"


@pytest.mark.parametrize("module", ["typer", "logging"])
def test_ctrl_c_in_the_first_imports_is_one_sentence(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("import _thread; _thread.interrupt_main(); [0].pop()")
    done = subprocess.run(
        [sys.executable, "-c", "from oocr.cli.main import main; main()", "models"],
        env={
            **environment(),
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "stopped by you; nothing was written"


def test_what_a_command_sets_up_in_its_process_is_undone(call: Call) -> None:
    def state() -> tuple[object, ...]:
        return sys.stdin, warnings.showwarning, [*warnings.filters], signal.getsignal(15)

    before = state()
    assert call("models").code == 0
    assert state() == before


def test_no_question_is_asked(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*args: object, **kwargs: object) -> None:
        with pytest.raises(EOFError):
            input("Do you wish to run the custom code? [y/N] ")

    monkeypatch.setattr(command, "run_source", ask)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert call("run", "demo").code == 0


def test_our_warnings_are_notes_and_others_are_not_shown(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*args: object, **kwargs: object) -> None:
        for module in ("oocr.engine.selftest", "peft.tuners.lora.layer"):
            warnings.warn_explicit(f"of {module}", UserWarning, f"{module}.py", 1, module)
        logging.getLogger("some.library").warning("something happened")

    monkeypatch.setattr(command, "run_source", warn)
    ended = call("run", "demo")
    assert ended.err == "note: of oocr.engine.selftest\n"


def test_users_of_the_library_get_their_own_settings_back() -> None:
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("peft")
    before = logger.level, transformers_logging.get_verbosity(), list(warnings.filters)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("of another library", stacklevel=1)
            assert logger.level == logging.ERROR
            assert not transformers_logging.is_progress_bar_enabled()
        warnings.warn("of the user's own", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["of the user's own"]
    after = logger.level, transformers_logging.get_verbosity(), list(warnings.filters)
    assert after == before
