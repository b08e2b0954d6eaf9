"""The errors that users see."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used; the message says where, what, and what can."""


class RunError(RuntimeError):
    """Work had to stop (disk full, unreadable file, …); what was computed stays."""
