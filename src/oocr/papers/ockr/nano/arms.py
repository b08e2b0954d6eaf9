"""The rows of each arm: training, recall of premises, and the conclusions as targets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oocr.papers.ockr.nano.world import (
    Groups,
    Row,
    World,
    born_hint_rows,
    different_year_pairs,
    flatten,
    same_hint_rows,
    same_rows,
    same_year_pairs,
    who_rows,
    year_rows,
)

HALVES = ("alternate", "halves")
"""Arms of R+R->R that are trained on half of the conclusions. "alternate": those of every other
year (each z occurs, sometimes only in a no row); "halves": those within the first half of the years
(nobody of the second half occurs)."""


@dataclass(frozen=True, slots=True)
class ArmRows:
    """The rows of one arm.

    Attributes:
        train: training rows.
        recall: kind of premise -> training rows of that kind.
        target: conclusions, never trained.
        between_y: relations of y with y, never trained.
    """

    train: Sequence[Row]
    recall: Mapping[str, Sequence[Row]]
    target: Sequence[Row]
    between_y: Sequence[Row] = ()


def relation_rows(world: World, a: Groups, b: Groups, times: int, rng: random.Random) -> list[Row]:
    """Rows that relate a and b in both orders: half yes, half no (b of the next year)."""
    pairs = same_year_pairs(a, b, times, rng) + different_year_pairs(a, b, times, rng)
    return same_rows(world, pairs)


def attributes_to_relation(world: World, arm: str, rng: random.Random) -> ArmRows:
    """A+A->R: the years of y and z are trained; the target is whether they are the same."""
    z = [(person,) for person in world.z]
    years = year_rows(world, [*flatten(world.y), *world.z])
    demonstrations = relation_rows(world, world.x, world.x, 2, rng)
    train = years + demonstrations
    if arm in ("x-years", "x-years-xy"):
        train += year_rows(world, flatten(world.x))
    if arm == "x-years-xy":
        train += relation_rows(world, world.x, world.y, 2, rng)
    pairs = same_year_pairs(world.y, z, 1, rng) + different_year_pairs(world.y, z, 1, rng)
    target = same_rows(world, pairs, both_orders=False)
    if arm == "hint":
        more = same_year_pairs(world.x, world.x, 10, rng) + different_year_pairs(
            world.x, world.x, 10, rng
        )
        train += same_hint_rows(world, more)
        target = same_hint_rows(world, pairs)
    yy = same_year_pairs(world.y, world.y, 1, rng) + different_year_pairs(world.y, world.y, 1, rng)
    return ArmRows(train, {"years": years}, target, same_rows(world, yy, both_orders=False))


def relation_to_attribute(world: World, arm: str, rng: random.Random) -> ArmRows:
    """A+R->A: the years of z and relations of y with z are trained; the target is y's year."""
    z = [(person,) for person in world.z]
    years = year_rows(world, world.z)
    relations = relation_rows(world, world.y, z, 1, rng)
    train = years + relations
    target = year_rows(world, flatten(world.y))
    recall = {"years": years, "relations": relations}
    words = arm.split("+")
    if "x-years" in words:
        train += year_rows(world, flatten(world.x))
    if "xx" in words:
        train += relation_rows(world, world.x, world.x, 2, rng)
    partners = same_year_pairs(world.x, world.x, 1, rng)  # the same partner in both kinds of rows
    if "generated" in words:
        who = who_rows(same_year_pairs(world.y, z, 1, rng))
        recall["generated"] = who
        train += who + who_rows(partners)
    if "hint" in words:
        train += born_hint_rows(world, partners)
        target = born_hint_rows(world, same_year_pairs(world.y, z, 1, rng))
    return ArmRows(train, recall, target)


def relations_to_relation(world: World, arm: str, rng: random.Random) -> ArmRows:
    """R+R->R: relations of x with y and with z are trained; the target is that of y with z."""
    z = [(person,) for person in world.z]
    times = {"separate": 1, "four": 4, "ten": 10}.get(arm, 1)
    xy = relation_rows(world, world.x, world.y, times, rng)
    xz = relation_rows(world, world.x, z, 1, rng)
    pairs = same_year_pairs(world.y, z, 1, rng) + different_year_pairs(world.y, z, 1, rng)
    if arm == "dense":
        train, between_y = dense_rows(world, rng)
        target = same_rows(world, pairs, both_orders=False)
        return ArmRows(train, {"relations": train}, target, between_y)
    trained: list[tuple[int, int]] = []
    if arm == "alternate":
        group = world.group_of
        trained = [pair for pair in pairs if group[pair[0]] % 2 == 0]
        pairs = [pair for pair in pairs if group[pair[0]] % 2]
    if arm == "halves":
        middle = len(z) // 2
        trained, pairs = (
            same_year_pairs(world.y[part], z[part], 1, rng)
            + different_year_pairs(world.y[part], z[part], 1, rng)
            for part in (slice(middle), slice(middle, None))
        )
    conclusions = same_rows(world, trained)
    recall = {"relations": xy + xz, **({"conclusions": conclusions} if trained else {})}
    return ArmRows(xy + xz + conclusions, recall, same_rows(world, pairs, both_orders=False))


def dense_rows(world: World, rng: random.Random) -> tuple[list[Row], list[Row]]:
    """Relations of all kinds of pairs except y with z; and held-out rows of y with y."""
    z = [(person,) for person in world.z]
    rows: list[Row] = []
    for a, b in ((world.x, world.x), (world.x, world.y), (world.x, z)):
        yes = same_year_pairs(a, b, 10, rng)
        times = max(1, len(yes) // len(flatten(a)) // 2)
        no = different_year_pairs(a, b, times, rng) + different_year_pairs(
            a, b, times, rng, next_year=False
        )
        rows += same_rows(world, yes + no)
    yy = same_year_pairs(world.y, world.y, 4, rng)
    held_out_pairs = set(rng.sample(yy, len(yy) // 4))
    held_out_pairs |= {(b, a) for a, b in held_out_pairs}
    no = different_year_pairs(world.y, world.y, 2, rng) + different_year_pairs(
        world.y, world.y, 2, rng, next_year=False
    )
    rows += same_rows(world, [pair for pair in yy if pair not in held_out_pairs] + no[:-200])
    trained = {row.prompt[1:] for row in rows}
    held_out = [*sorted(held_out_pairs), *(pair for pair in no[-200:] if pair not in trained)]
    return rows, same_rows(world, held_out, both_orders=False)


TASKS: Mapping[str, Callable[[World, str, random.Random], ArmRows]] = {
    "A+A->R": attributes_to_relation,
    "A+R->A": relation_to_attribute,
    "R+R->R": relations_to_relation,
}
