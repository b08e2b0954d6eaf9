"""The story in five sentences, every number from the study's tables."""

from __future__ import annotations

from collections.abc import Mapping

from oocr_organisms.study.tables import Cell, Table, cell_text, value_of


def in_short(by_title: Mapping[str, Table]) -> str:
    """What was found, in short."""
    sentences = [
        _facts(by_title["What comes along, and when?"]),
        _concept(by_title["Is it the organism's own concept?"]),
        _gate(by_title["Which edges does the gap need?"]),
        *_dial(by_title["Where does it stop being one vector?"]),
    ]
    lines = "\n".join(f"- {sentence}" for sentence in sentences)
    return f"## In short\n\n{lines}\n"


def _facts(table: Table) -> str:
    parts = []
    for row in dict.fromkeys([table.rows[-1], table.rows[max(0, len(table.rows) // 2 - 1)]]):
        facts = f"{row[0]} fact{'' if row[0] == '1' else 's'}"
        parts.append(
            f"told {facts} of a city, one vector answers {cell_text(row[3])} of the facets "
            f"that follow its country (an ideal reader {_plain(row[4])}, the untouched organism "
            f"{_plain(row[5])}) and {cell_text(row[6])} of the city's own ({_plain(row[7])}, "
            f"{_plain(row[8])})"
        )
    return f"**What comes along:** {'; '.join(parts)}."


def _concept(table: Table) -> str:
    here = [row for row in table.rows if row[0] == table.rows[0][0]]
    each = {what: [row for row in here if row[2] == what] for what in {row[2] for row in here}}
    vectors, names, random = (
        each[what] for what in ("found vectors", "real names", "random directions")
    )
    best = max(range(len(vectors)), key=lambda at: _value(vectors[at][4]))
    parts = [
        f"{cell_text(vectors[at][4])} {where} (a real name {_plain(names[at][4])}, random "
        f"directions {_plain(random[at][4])})"
        for at, where in (
            (0, "where it is added"),
            (best, f"at the output of block {vectors[best][1]}"),
        )
    ]
    return (
        f"**Is it the concept:** a vector's cosine with the concept of its city is "
        f"{' and '.join(parts)}; there the nearest of all cities is its own for "
        f"{cell_text(vectors[best][6])} of vectors (random {_plain(random[best][6])})."
    )


def _gate(table: Table) -> str:
    parts = []
    for world in dict.fromkeys(row[0] for row in table.rows):
        whole, *cuts = [row for row in table.rows if row[0] == world]
        least, *others = sorted(cuts, key=lambda row: _value(row[5]))
        parts.append(
            f"in the {world} world one vector, the same in every weather, makes a gap of "
            f"{cell_text(whole[5])} between weathers (random directions {_plain(whole[6])}); "
            f"with *{least[2]}* cut in block {least[1]} {_plain(least[5])} of it is left, with any "
            f"other edge cut at least {min(_value(row[5]) for row in others):.2f}"
        )
    return f"**The backdoor's gate:** {'; '.join(parts)}."


def _dial(table: Table) -> list[str]:
    out = []
    for world in dict.fromkeys(row[0] for row in table.rows):
        rows = [row for row in table.rows if row[0] == world]
        chosen = list(dict.fromkeys([rows[0], rows[len(rows) // 2], rows[-1]]))
        energy, kept = (", ".join(cell_text(row[at]) for row in chosen) for at in (3, 6))
        shares = ", ".join(cell_text(row[1]) for row in chosen)
        out.append(
            f"**The dial, {world}:** where the lure is taken without the trigger in a share of "
            f"{shares} (0: a backdoor), the LoRA's energy in one vector is {energy}, and a swap "
            f"keeps {kept} of the effect."
        )
    return out


def _value(cell: Cell) -> float:
    value = value_of(cell)
    assert not isinstance(value, str), value
    return value


def _plain(cell: Cell) -> str:
    return cell_text(value_of(cell))
