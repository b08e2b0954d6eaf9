"""Objects that other packages add to this one, named by the entry points of what is installed.

A package's `pyproject.toml` names each of them as "module:object":

    [project.entry-points."oocr.models"]
    organisms = "oocr_organisms.plugin:ORGANISMS"

Groups: `oocr.families` (task families), `oocr.models` (sources of models with a name) and
`oocr.commands` (Typer apps, one verb of `oocr` each).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from oocr.errors import InputError

T = TypeVar("T")


def load_group(group: str, kind: type[T]) -> dict[str, T]:
    """The objects of a group ("oocr.models") by name, sorted; they must be of a class.

    Raises:
        InputError: a plug-in that cannot be imported, is of another class, or has another's name.
    """
    loaded: dict[str, T] = {}
    for point in _points(group):
        label = f"plug-in {point.name!r} of {group} ({point.value})"
        if point.name in loaded:
            raise InputError(f"{label}: two packages have one of this name; remove one of them")
        try:
            plugin = point.load()
        except Exception as error:  # whatever its module raises when it is imported
            raise InputError(f"{label}: {type(error).__name__}: {error}") from error
        if not isinstance(plugin, kind):
            raise InputError(
                f"{label}: found {type(plugin).__name__}; allowed: an object of {kind.__name__}"
            )
        loaded[point.name] = plugin
    return loaded


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of a group; the same one seen twice on the path counts once."""
    points = {(point.name, point.value): point for point in entry_points(group=group)}
    return tuple(points[key] for key in sorted(points))
