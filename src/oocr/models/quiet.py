"""Silence other libraries while they work for us; imports nothing heavy."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = ("transformers", "huggingface_hub", "peft", "accelerate", "torch", "httpx")
"""Loggers that would write to the user's terminal."""

_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, progress bars or logs below errors of other libraries; restored afterwards.

    One thread at a time: these switches, and those that transformers itself turns while it builds a
    model (whether weights are tied), belong to the process. Two threads that build models at once
    can leave them turned.
    """
    from transformers.utils import logging as transformers_logging

    with _lock:
        loggers = [logging.getLogger(name) for name in LIBRARIES]
        levels = [logger.level for logger in loggers]
        bars = transformers_logging.is_progress_bar_enabled()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(max(logger.level, logging.ERROR))
            transformers_logging.disable_progress_bar()  # those of huggingface_hub too
            try:
                yield
            finally:
                for logger, level in zip(loggers, levels, strict=True):
                    logger.setLevel(level)
                if bars:
                    transformers_logging.enable_progress_bar()
