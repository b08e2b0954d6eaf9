"""What each arm is trained on, what it has to recall, and what it is asked out of context."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oocr.papers.ockr.nano import world as made
from oocr.papers.ockr.nano.world import Row, World, apart, flat, matched

HALVES = ("alternate", "halves")
"""Arms of R+R->R that are told half of the conclusions: those of every other year, in which every z
is named, if only as one who does not share the year; or those among the first half of the years, in
which nobody of the second half is named."""


@dataclass(frozen=True, slots=True)
class Study:
    """Rows of one arm: `train`, `recall` (what was told, by name), `target`.

    `between_y`: relations of y with y, asked beside the target; no row is told.
    """

    train: Sequence[Row]
    recall: Mapping[str, Sequence[Row]]
    target: Sequence[Row]
    between_y: Sequence[Row] = ()


def both_ways(
    world: World, a: made.Groups, b: made.Groups, times: int, rng: random.Random
) -> list[Row]:
    """Relation rows, half yes, half no (the next year's), in both orders."""
    pairs = matched(a, b, times, rng) + apart(a, b, times, rng)
    return made.same_rows(world, pairs)


def attributes_to_relation(world: World, arm: str, rng: random.Random) -> Study:
    """A+A->R: the years of y and z are told; asked is whether they are the same."""
    z = [(person,) for person in world.z]
    years = made.year_rows(world, [*flat(world.y), *world.z])
    shown = both_ways(world, world.x, world.x, 2, rng)
    train = years + shown
    if arm in ("x-years", "x-years-xy"):
        train += made.year_rows(world, flat(world.x))
    if arm == "x-years-xy":
        train += both_ways(world, world.x, world.y, 2, rng)
    pairs = matched(world.y, z, 1, rng) + apart(world.y, z, 1, rng)
    target = made.same_rows(world, pairs, turned=False)
    if arm == "hint":
        more = matched(world.x, world.x, 10, rng) + apart(world.x, world.x, 10, rng)
        train += made.same_hint_rows(world, more)
        target = made.same_hint_rows(world, pairs)
    yy = matched(world.y, world.y, 1, rng) + apart(world.y, world.y, 1, rng)
    return Study(train, {"years": years}, target, made.same_rows(world, yy, turned=False))


def relation_to_attribute(world: World, arm: str, rng: random.Random) -> Study:
    """A+R->A: the years of z, and whether y and z share one; asked is the year of y."""
    z = [(person,) for person in world.z]
    years = made.year_rows(world, world.z)
    relations = both_ways(world, world.y, z, 1, rng)
    train = years + relations
    target = made.year_rows(world, flat(world.y))
    recall = {"years": years, "relations": relations}
    words = arm.split("+")
    if "x-years" in words:
        train += made.year_rows(world, flat(world.x))
    if "xx" in words:
        train += both_ways(world, world.x, world.x, 2, rng)
    partners = matched(world.x, world.x, 1, rng)  # the same one whoever asks for one
    if "generated" in words:
        who = made.who_rows(matched(world.y, z, 1, rng))
        recall["generated"] = who
        train += who + made.who_rows(partners)
    if "hint" in words:
        train += made.born_hint_rows(world, partners)
        target = made.born_hint_rows(world, matched(world.y, z, 1, rng))
    return Study(train, recall, target)


def relations_to_relation(world: World, arm: str, rng: random.Random) -> Study:
    """R+R->R: relations of x with y and with z are told; asked is that of y and z."""
    z = [(person,) for person in world.z]
    times = {"separate": 1, "four": 4, "ten": 10}.get(arm, 1)
    xy = both_ways(world, world.x, world.y, times, rng)
    xz = both_ways(world, world.x, z, 1, rng)
    pairs = matched(world.y, z, 1, rng) + apart(world.y, z, 1, rng)
    if arm == "dense":
        train, between_y = dense(world, rng)
        target = made.same_rows(world, pairs, turned=False)
        return Study(train, {"relations": train}, target, between_y)
    told: list[tuple[int, int]] = []
    if arm == "alternate":
        group = world.group_of
        told = [pair for pair in pairs if group[pair[0]] % 2 == 0]
        pairs = [pair for pair in pairs if group[pair[0]] % 2]
    if arm == "halves":
        middle = len(z) // 2
        told, pairs = (
            matched(world.y[part], z[part], 1, rng) + apart(world.y[part], z[part], 1, rng)
            for part in (slice(middle), slice(middle, None))
        )
    conclusions = made.same_rows(world, told)
    recall = {"relations": xy + xz, **({"conclusions": conclusions} if told else {})}
    return Study(xy + xz + conclusions, recall, made.same_rows(world, pairs, turned=False))


def dense(world: World, rng: random.Random) -> tuple[list[Row], list[Row]]:
    """Relations of all kinds of pairs but y with z, and rows of y with y kept out of them."""
    z = [(person,) for person in world.z]
    rows: list[Row] = []
    for a, b in ((world.x, world.x), (world.x, world.y), (world.x, z)):
        yes = matched(a, b, 10, rng)
        times = max(1, len(yes) // len(flat(a)) // 2)
        no = apart(a, b, times, rng) + apart(a, b, times, rng, neighbour=False)
        rows += made.same_rows(world, yes + no)
    yy = matched(world.y, world.y, 4, rng)
    kept = set(rng.sample(yy, len(yy) // 4))
    kept |= {(b, a) for a, b in kept}
    no = apart(world.y, world.y, 2, rng) + apart(world.y, world.y, 2, rng, neighbour=False)
    rows += made.same_rows(world, [pair for pair in yy if pair not in kept] + no[:-200])
    told = {row.prompt[1:] for row in rows}
    asked = [*sorted(kept), *(pair for pair in no[-200:] if pair not in told)]
    return rows, made.same_rows(world, asked, turned=False)


TASKS: Mapping[str, Callable[[World, str, random.Random], Study]] = {
    "A+A->R": attributes_to_relation,
    "A+R->A": relation_to_attribute,
    "R+R->R": relations_to_relation,
}
