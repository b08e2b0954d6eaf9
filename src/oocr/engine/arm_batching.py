"""Which arms are trained side by side: those that see the same tokens at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oocr.engine.trainable import ArmSpec
from oocr.steering.vectors import SteeringVector


def arm_key(arm: ArmSpec, content: str, batches: int) -> object:
    """Equal for arms that can share each pass of their training.

    Args:
        arm: what is trained.
        content: of its training sequences (see `oocr.engine.training_batches.content_of`).
        batches: how many batches they make; of several, each seed has its own order.
    """
    spec, off = arm.spec, arm.off_domain
    if isinstance(spec, SteeringVector):
        site: tuple[object, ...] = ("vector", spec.layer, spec.site, spec.positions)
    else:
        site = ("adapter", spec.layers, spec.modules, spec.rank, spec.scale, spec.dropout)
    seed = arm.seed if batches > 1 else None
    texts = None if off is None else (*map(repr, off.texts), off.tokens, off.batch)
    removed = None if arm.project_out is None else tuple(arm.project_out.tolist())
    return (site, arm.schedule, arm.steps, content, batches, seed, texts, removed)


def arm_groups(
    keys: Sequence[object], room: Callable[[int], int], *, least: int = 1
) -> list[list[int]]:
    """Arms (by index) in groups to be trained side by side, in order of first occurrence.

    Arms of equal key are shared out evenly among as few groups as `room` allows.

    Args:
        keys: each arm's `arm_key`.
        room: index of an arm -> how many arms of its key a group may have.
        least: if all keys are equal, make so many groups (one group keeps one core busy).
    """
    equal: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        equal.setdefault(key, []).append(index)
    groups: list[list[int]] = []
    for indices in equal.values():
        count = -(-len(indices) // room(indices[0]))
        if len(equal) == 1:
            count = min(len(indices), max(count, least))
        size, more = divmod(len(indices), count)
        begin = 0
        for number in range(count):
            end = begin + size + (number < more)
            groups.append(indices[begin:end])
            begin = end
    return groups
