"""How training lines are drawn into batches."""

from __future__ import annotations

from oocr.data.batches import TokenSequence
from oocr.engine.training_batches import training_groups


def test_batches_are_of_lines_of_like_length() -> None:
    lengths = [5, 40, 6, 41, 7, 42, 5, 43, 6, 44]
    lines = [TokenSequence(tuple(range(size)), size, {}, items=1) for size in lengths]
    groups = training_groups(lines, 5)
    assert sorted(len(one) for one in groups) == [5, 5]
    assert sorted(max(len(line.ids) for line in one) for one in groups) == [7, 44]
    sizes = [len(one) for one in training_groups(lines, 4)]
    assert sorted(sizes) == [3, 3, 4]
    assert training_groups(lines, 99) != [lines], "one batch is drawn too"
    many = [TokenSequence((1,) * (1 + i % 3), 1 + i % 3, {}, items=1) for i in range(100)]
    small = training_groups(many, 2)
    assert sum(map(len, small)) == 100
    assert {len(one) for one in small} == {2}
    mixed = sum(len({len(line.ids) for line in one}) > 1 for one in small)
    assert mixed <= 2 * -(-100 // 32), "only where a length or a window ends"
