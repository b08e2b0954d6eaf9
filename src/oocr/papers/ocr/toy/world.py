"""The toy's world: names with facts and implications, and the token sequences that state them.

Tokens, in this order: the two relation words ("fact", "implication"), n answers b ("cities"), n
answers c ("animals"), the names, the noise words, and the end token. Name i belongs to pair
i mod n: its fact is b of that pair, its implication is c of that pair. The first names are
*bridges* (fact and implication are trained); the others are *test* names (only the fact is).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Relation = Literal["fact", "implication"]
FACT, IMPLICATION = 0, 1

Implied = Literal["same", "permuted", "random"]
"""The c that a bridge name implies: of its pair, of another pair (one to one), or a random one."""

NOISE_TOKENS = 13
"""Noise words in a sequence; with name, relation and end it has 16 tokens."""


@dataclass(frozen=True)
class World:
    """Sizes and maps of a world; the defaults are the paper's (128 tokens).

    Attributes:
        pairs: n, the number of pairs (b, c).
        bridges: bridge names of each pair.
        tests: test names of each pair.
        noise: number of noise words.
        implied: which c the bridge names imply.
        bridged: number of pairs whose bridge implications are trained; None: all pairs.
        seed: draws the permutation, or the random c's.
    """

    pairs: int = 20
    bridges: int = 1
    tests: int = 3
    noise: int = 5
    implied: Implied = "same"
    bridged: int | None = None
    seed: int = 0

    @property
    def names(self) -> int:
        """The number of names."""
        return self.pairs * (self.bridges + self.tests)

    @property
    def tokens(self) -> int:
        """The size of the vocabulary."""
        return 2 + 2 * self.pairs + self.names + self.noise + 1

    @property
    def fact_answers(self) -> range:
        """Token ids of the answers b."""
        return range(2, 2 + self.pairs)

    @property
    def implied_answers(self) -> range:
        """Token ids of the answers c."""
        return range(2 + self.pairs, 2 + 2 * self.pairs)

    @property
    def name_ids(self) -> range:
        """Token ids of the names."""
        start = 2 + 2 * self.pairs
        return range(start, start + self.names)

    @property
    def noise_ids(self) -> range:
        """Token ids of the noise words."""
        return range(self.tokens - 1 - self.noise, self.tokens - 1)

    @property
    def end(self) -> int:
        """Token id of the end of a sequence."""
        return self.tokens - 1

    @property
    def bridge_names(self) -> Int[np.ndarray, " bridge"]:
        """Indices of the bridge names."""
        return np.arange(self.pairs * self.bridges)

    @property
    def test_names(self) -> Int[np.ndarray, " test"]:
        """Indices of the test names."""
        return np.arange(self.pairs * self.bridges, self.names)

    def pair_of(self, names: Int[np.ndarray, " name"]) -> Int[np.ndarray, " name"]:
        """The pair of each name."""
        return names % self.pairs

    @cached_property
    def permutation(self) -> Int[np.ndarray, " pair"]:
        """Pair -> the pair whose c it implies: itself, or (permuted) another one."""
        if self.implied != "permuted":
            return np.arange(self.pairs)
        order = np.random.default_rng([self.seed, 1]).permutation(self.pairs)
        result = np.empty_like(order)
        result[order] = np.roll(order, 1)  # one cycle: no pair implies its own c
        return result

    @cached_property
    def _implied(self) -> Int[np.ndarray, " name"]:
        """The c (0 to n - 1) that each name implies."""
        implied: np.ndarray = self.permutation[self.pair_of(np.arange(self.names))]
        if self.implied == "random":
            drawn = np.random.default_rng([self.seed, 2]).integers(self.pairs, size=self.names)
            implied[self.bridge_names] = drawn[self.bridge_names]
        return implied

    def answers(
        self, names: Int[np.ndarray, " row"], relation: Relation
    ) -> Int[np.ndarray, " row"]:
        """Token ids of the right answers of these names."""
        if relation == "fact":
            facts: np.ndarray = self.fact_answers.start + self.pair_of(names)
            return facts
        implications: np.ndarray = self.implied_answers.start + self._implied[names]
        return implications

    @cached_property
    def bridges_with_implications(self) -> Int[np.ndarray, " bridge"]:
        """Indices of the bridge names whose implication is trained: those of the bridged pairs."""
        most = self.pairs if self.bridged is None else self.bridged
        bridges: np.ndarray = self.bridge_names[self.pair_of(self.bridge_names) < most]
        return bridges

    def training_rows(self) -> list[tuple[Int[np.ndarray, " name"], Relation]]:
        """What is trained: facts of bridges, their implications, facts of test names.

        Test implications are never among them.
        """
        rows: list[tuple[Int[np.ndarray, " name"], Relation]] = [
            (self.bridge_names, "fact"),
            (self.bridges_with_implications, "implication"),
            (self.test_names, "fact"),
        ]
        return [(names, relation) for names, relation in rows if len(names)]


def sequences(
    world: World, names: Int[np.ndarray, " row"], relation: Relation, draw: np.random.Generator
) -> Int[np.ndarray, "row token"]:
    """A random sequence for each name: noise words, the name, the relation after it, the end.

    Noise words are drawn with replacement; the position of the name among them is uniform, and that
    of the relation is uniform among the positions after the name.
    """
    tokens = np.empty((len(names), NOISE_TOKENS + 3), dtype=int)
    for row, name in enumerate(names):
        words = list(draw.choice(np.array(world.noise_ids), NOISE_TOKENS))
        position = int(draw.integers(NOISE_TOKENS + 1))
        words.insert(position, world.name_ids[int(name)])
        words.insert(int(draw.integers(position + 1, NOISE_TOKENS + 2)), _relation_token(relation))
        tokens[row] = [*words, world.end]
    return tokens


def token_counts(
    world: World, names: Int[np.ndarray, " row"], relation: Relation, draw: np.random.Generator
) -> Float[np.ndarray, "row token_id"]:
    """Counts of each token in random sequences, drawn without making the sequences.

    The networks depend on the counts alone: they have no positions, and only the end token attends.
    """
    counts = np.zeros((len(names), world.tokens))
    if world.noise:
        each = np.full(world.noise, 1 / world.noise)
        counts[:, world.noise_ids.start : world.noise_ids.stop] = draw.multinomial(
            NOISE_TOKENS, each, size=len(names)
        )
    counts[np.arange(len(names)), world.name_ids.start + names] = 1
    counts[:, _relation_token(relation)] = 1
    counts[:, world.end] = 1
    return counts


def _relation_token(relation: Relation) -> int:
    return FACT if relation == "fact" else IMPLICATION
