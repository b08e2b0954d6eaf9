"""`oocr play`: load the model and the vectors that are named, and serve the page."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from oocr.cli.vector import Chosen
from oocr.engine.selftest import load_model
from oocr.errors import InputError
from oocr.play.recipe import read_saved
from oocr.play.settings import TextSettings
from oocr.play.sources import Playground, is_run, loading_of, playground, read_word
from oocr.runs.estimates.memory_estimate import check_loading
from oocr.words import counted

HOST, PORT = "127.0.0.1", 7860

PACKAGES = ("starlette", "uvicorn")


def play_words(
    words: Sequence[str], *, chosen: Chosen, port: int | None, load: dict[str, Any], opens: bool
) -> None:
    """Read everything, load the model, and serve the page until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    check_packages()
    opening: TextSettings | None = None
    if len(words) == 1 and Path(words[0]).suffix in (".yaml", ".yml"):
        saved = read_saved(Path(words[0]))
        words, opening = saved.play, saved.settings
    with bound_socket(port) as listening:
        play = read_playground(words, chosen, load, console)
        _serve(play, opening, listening, console, opens=opens)


def check_packages() -> None:
    """Refuse (`InputError`) if the extra is not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise InputError(
            f"the page needs {' and '.join(missing)}: pip install 'oocr[play]' (or: pip install "
            f"{' '.join(missing)})"
        )


def bound_socket(port: int | None) -> socket.socket:
    """A socket for this machine only; without `port` 7860, or a free port if that is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, PORT if port is None else port))
    except OSError as error:
        if port is not None:
            listening.close()
            raise InputError(
                f"--port {port}: {error.strerror}; allowed: a free one, 0: any"
            ) from error
        listening.bind((HOST, 0))
    listening.listen()  # connections wait until the server starts
    return listening


def read_playground(
    words: Sequence[str], chosen: Chosen, load: dict[str, Any], console: Console
) -> Playground:
    """Load the model (the first word, or the model of a run), and what the other words name."""
    others = words if is_run(words[0]) else words[1:]
    named = [(word, read_word(word)) for word in others]
    loading = {"name": words[0], **load}
    if is_run(words[0]):
        given = {name: value for name, value in load.items() if value != "auto"}
        loading = {**(loading_of(named[0][1]) or {}), **given}
    check_loading(loading)
    model = load_model(**loading, on_progress=lambda text: console.print(escape(text)))
    play = playground(model, words, named, chosen.completing)
    for note in play.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    presets = sum(len(probe_set.by_id) for probe_set in play.probe_sets.values())
    has = f"{counted(len(play.sources), 'vector')} and LoRAs"
    questions = f", {counted(presets, 'question')}" if presets else ""
    console.print(f"[bold]{escape(model.name)}[/] with {has}{questions}")
    return play


def _serve(
    play: Playground,
    opening: TextSettings | None,
    listening: socket.socket,
    console: Console,
    *,
    opens: bool,
) -> None:
    import uvicorn

    from oocr.play.server import new_key, play_app

    key = new_key()
    address = f"http://{HOST}:{listening.getsockname()[1]}/#key={key}"
    console.print(
        f"open {address}\n(for this machine's browser only; Ctrl-C ends it)", markup=False
    )
    console.file.flush()  # flush: a pipe's reader waits for the address
    if opens:
        webbrowser.open(address)
    settings = uvicorn.Config(
        play_app(play, key, opening),
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    uvicorn.Server(settings).run(sockets=[listening])
