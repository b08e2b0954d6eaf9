"""How training lines are drawn into batches."""

from __future__ import annotations

from oocr.data.batches import TokenSequence
from oocr.engine.training_batches import training_groups


def test_batches_are_of_lines_of_like_length() -> None:
    lengths = [5, 40, 6, 41, 7, 42, 5, 43, 6, 44]
    sequences = [TokenSequence(tuple(range(size)), size, {}, items=1) for size in lengths]
    groups = training_groups(sequences, 5)
    assert sorted(len(group) for group in groups) == [5, 5]
    assert sorted(max(len(sequence.ids) for sequence in group) for group in groups) == [7, 44]
    sizes = [len(group) for group in training_groups(sequences, 4)]
    assert sorted(sizes) == [3, 3, 4]
    assert training_groups(sequences, 99) != [sequences], "one batch is drawn too"
    many = [TokenSequence((1,) * (1 + i % 3), 1 + i % 3, {}, items=1) for i in range(100)]
    small = training_groups(many, 2)
    assert sum(map(len, small)) == 100
    assert {len(group) for group in small} == {2}
    mixed = sum(len({len(sequence.ids) for sequence in group}) > 1 for group in small)
    assert mixed <= 2 * -(-100 // 32), "only where a length or a window ends"
