"""The nano world: people with a year of birth, and rows of tokens that state facts about them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from oocr.papers.small_transformer import Rows, rows_of

PAD, BORN, SAME, WHO, SAME_HINT, BORN_HINT, YES, NO = range(8)
"""Token ids of words; `SAME_HINT` and `BORN_HINT` ask for the premises before the answer."""

WORDS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A question and its answer as token ids; only the answer has a loss."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class World:
    """Years, and for each the people born in it: one z, several x and y, and newcomers.

    `x`, `y` and `new` have one tuple of people for each year, `z` one person.
    """

    years: tuple[int, ...]
    z: tuple[int, ...]
    x: tuple[tuple[int, ...], ...]
    y: tuple[tuple[int, ...], ...]
    new: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Size of the vocabulary; newcomers are its last tokens."""
        return WORDS + len(self.years) + sum(len(people) for people in self.people_by_year)

    @property
    def newcomers(self) -> int:
        """The number of newcomers."""
        return sum(map(len, self.new))

    @property
    def people_by_year(self) -> tuple[tuple[int, ...], ...]:
        """The people of each year."""
        return tuple(
            (z, *x, *y, *new) for z, x, y, new in zip(self.z, self.x, self.y, self.new, strict=True)
        )

    @property
    def group_of(self) -> dict[int, int]:
        """Person -> index of the year."""
        return {person: g for g, people in enumerate(self.people_by_year) for person in people}


def make_world(years: int = 20, each: int = 10, new: int = 0) -> World:
    """A world with `years` years; for each one z, `each` x, `each` y and `new` newcomers."""
    tokens = count(WORDS)

    def groups(size: int) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(islice(tokens, size)) for _ in range(years))

    year = tuple(islice(tokens, years))
    return World(year, tuple(islice(tokens, years)), groups(each), groups(each), groups(new))


# -- rows ----------------------------------------------------------------------------------------


def year_rows(world: World, people: Iterable[int]) -> list[Row]:
    """In which year was a born? -> the year."""
    group = world.group_of
    return [Row((BORN, a), (world.years[group[a]],)) for a in people]


def same_rows(
    world: World, pairs: Iterable[tuple[int, int]], *, both_orders: bool = True
) -> list[Row]:
    """Was a born in the same year as b? -> yes or no; by default in both orders."""
    group = world.group_of
    ordered = [order for a, b in pairs for order in ([(a, b), (b, a)] if both_orders else [(a, b)])]
    return [Row((SAME, a, b), (YES if group[a] == group[b] else NO,)) for a, b in ordered]


def who_rows(pairs: Iterable[tuple[int, int]]) -> list[Row]:
    """Who was born in the year of a? -> b."""
    return [Row((WHO, a), (b,)) for a, b in pairs]


def same_hint_rows(world: World, pairs: Iterable[tuple[int, int]]) -> list[Row]:
    """The same question with the hint -> both years, then yes or no."""
    group, years = world.group_of, world.years
    return [
        Row(
            (SAME_HINT, a, b),
            (years[group[a]], years[group[b]], YES if group[a] == group[b] else NO),
        )
        for a, b in pairs
    ]


def born_hint_rows(world: World, pairs: Iterable[tuple[int, int]]) -> list[Row]:
    """In which year was a born? with the hint -> b of the same year, then the year."""
    return [Row((BORN_HINT, a), (b, world.years[world.group_of[b]])) for a, b in pairs]


# -- pairs ---------------------------------------------------------------------------------------

Groups = Sequence[Sequence[int]]


def flatten(groups: Groups) -> list[int]:
    """All people of all years."""
    return [person for people in groups for person in people]


def same_year_pairs(a: Groups, b: Groups, times: int, rng: random.Random) -> list[tuple[int, int]]:
    """Pairs of the same year: each of `a` with up to `times` of `b`, each of `b` equally often.

    Nobody is paired with themselves.
    """
    pairs: list[tuple[int, int]] = []
    for people, others in zip(a, b, strict=True):
        order = rng.sample(others, len(others))
        same = list(people) == list(others)
        for index, person in enumerate(order if same else people):
            steps = range(1, min(times + 1, len(order))) if same else range(min(times, len(order)))
            pairs += [(person, order[(index + step) % len(order)]) for step in steps]
    return pairs


def different_year_pairs(
    a: Groups, b: Groups, times: int, rng: random.Random, *, next_year: bool = True
) -> list[tuple[int, int]]:
    """Pairs of different years: each of `a` with `times` of `b`, of the next year or any other."""
    return list(_different_year_pairs(a, b, times, rng, next_year))


def _different_year_pairs(
    a: Groups, b: Groups, times: int, rng: random.Random, next_year: bool
) -> Iterator[tuple[int, int]]:
    size = len(a)
    for g, people in enumerate(a):
        for person in people:
            for _ in range(times):
                step = 1 if next_year else rng.randrange(1, size)
                yield person, rng.choice(b[(g + step) % size])


# -- tensors -------------------------------------------------------------------------------------


def tensors(rows: Sequence[Row]) -> Rows:
    """Rows for the small transformer."""
    return rows_of([(*row.prompt, *row.answer) for row in rows], [len(row.answer) for row in rows])
