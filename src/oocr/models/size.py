"""How large a model is, in words. Imports nothing heavy."""

from __future__ import annotations


def millions(parameters: int) -> str:
    """Parameters as "268M", of small models "0.6M"."""
    size = parameters / 1e6
    return f"{size:,.0f}M" if size >= 10 else f"{size:.1f}M"
