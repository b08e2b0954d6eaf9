"""Other tools add a vector to every token: what ours must be, to mean the same there."""

from __future__ import annotations

from oocr.errors import InputError
from oocr.steering.vectors import Vector


def check_scope(vector: Vector, tool: str, *, everywhere: bool) -> None:
    """Refuse a vector that acts at some tokens only, unless that is known.

    Raises:
        InputError: several directions; or other positions than "all", and not `everywhere`.
    """
    if vector.direction.ndim > 1:
        raise InputError(
            f"positions: found {vector.positions!r}, {len(vector.direction)} directions at as many "
            f"spans; {tool} adds one to every token; allowed: one of them (vector.only(span))"
        )
    if vector.positions != "all" and not everywhere:
        raise InputError(
            f"positions: found {vector.positions!r}; {tool} adds the vector to every token, where "
            "it need not do what it does there; allowed: 'all' (or everywhere=True, on the command "
            "line --everywhere, to export it all the same)"
        )
