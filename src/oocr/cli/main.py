"""`oocr`: Ctrl-C ends it with one sentence from the first import on."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from oocr.cli.process import command_process
    except KeyboardInterrupt:
        print("\nstopped by you; nothing was written", file=sys.stderr)
        sys.exit(130)
    with command_process():
        from oocr.cli.verbs import load_app

        load_app()()
