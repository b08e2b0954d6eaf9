"""The rules behind the verdicts on swaps and constancy, on rows made for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import pytest

from oocr.claims.records import Claim
from tests.claims.claim_rows import (
    BASE,
    MEMBERS,
    contrast,
    judge,
    judge_contrast,
    noise,
    randoms,
    same,
    table,
)


def swaps(share: float, *, lora: float = 0.9, null: float = 0.1) -> dict[str, Claim]:
    value = 0.1 + share * (lora - 0.1)
    return judge(
        table("adapter", same(lora)),
        table("swap everywhere", same(value)),
        table("swap at span", same(value)),
        randoms([null] * 20, "random direction everywhere"),
        randoms([null] * 20, "random direction at span"),
        randoms([0.9] * 20),  # the trained vector's, of another site and norm
        BASE,
    )


@pytest.mark.parametrize(
    ("share", "null", "verdict"),
    [
        (1.0, 0.1, "holds"),
        (0.5, 0.1, "holds in part"),
        (0.5, 0.5, "does not hold"),  # a random direction keeps as much
        (0.125, 0.1, "does not hold"),  # more than nothing, and hardly what the LoRA does
        (0.0, 0.1, "does not hold"),
        (1.0, 0.9, "does not hold"),
    ],
)
def test_a_swap_is_judged_by_the_share_it_keeps(share: float, null: float, verdict: str) -> None:
    claims = swaps(share, null=null)
    for name in ("swap-everywhere", "swap-at-span"):
        assert claims[name].verdict == verdict
        assert claims[name].found.value == pytest.approx(share)
        assert claims[name].nulls[0].value == pytest.approx((null - 0.1) / 0.8)


@pytest.mark.parametrize("lora", [0.1, 0.0])
def test_without_an_effect_there_is_nothing_to_share(lora: float) -> None:
    claims = swaps(1.0, lora=lora)["swap-everywhere"]
    assert claims.verdict == "cannot be tested"
    assert claims.found.value == pytest.approx(lora - 0.1), "the effect itself is shown"
    assert claims.nulls == ()
    assert claims.ceiling is None


def test_a_swap_of_a_contrast_is_a_share_of_the_contrast() -> None:
    claims = judge_contrast(
        contrast("adapter", lambda n, s: 2.0),
        contrast("swap everywhere", lambda n, s: 1.8),
        noise(0.2, "random direction everywhere"),
        noise(0.2, "random direction at span"),
    )
    claim = claims["swap-everywhere"]
    assert claim.found.value == pytest.approx(0.9)
    assert claim.verdict == "holds"
    assert 0.05 < claim.nulls[0].value < 0.1
    nothing = judge_contrast(
        contrast("adapter", lambda n, s: -1.0), contrast("swap everywhere", lambda n, s: -1.0)
    )
    assert nothing["swap-everywhere"].verdict == "cannot be tested"


def constancy(
    value: Callable[[str], float], noise: float, members: Sequence[str] = MEMBERS
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"kind": kind, "member": m, "seed": s, "tokens": t}
            | dict.fromkeys(("cosine", "energy"), value(m) if kind == "adapter" else noise)
            for kind in ("adapter", "random adapter")
            for m in members
            for s in range(3)
            for t in ("span", "unrelated text")
        ]
    )


@pytest.mark.parametrize(
    ("value", "noise", "cosine", "energy"),
    [
        (0.95, 0.2, "holds", "holds"),
        (0.85, 0.2, "holds in part", "holds"),
        (0.6, 0.2, "does not hold", "holds in part"),
        (0.3, 0.2, "does not hold", "does not hold"),
        (0.95, 0.96, "does not hold", "does not hold"),  # noise is as constant
    ],
)
def test_constancy_needs_its_thresholds_and_to_beat_noise(
    value: float, noise: float, cosine: str, energy: str
) -> None:
    claims = judge(BASE, constancy=constancy(lambda m: value, noise))
    assert claims["constancy-cosine"].verdict == cosine
    assert claims["constancy-energy"].verdict == energy
    assert claims["constancy-cosine"].nulls[0].value == pytest.approx(noise)


def test_constancy_goes_by_the_lower_end_of_the_interval() -> None:
    claims = judge(BASE, constancy=constancy(lambda m: 0.99 if int(m[1:]) % 2 else 0.83, 0.2))
    assert claims["constancy-cosine"].found.value == pytest.approx(0.91)
    assert claims["constancy-cosine"].verdict == "holds in part"


def test_constancy_of_two_members_judges_nothing() -> None:
    base = table("base", same(0.1), members=["m0", "m1"], seeds=1)
    frame = constancy(lambda m: 0.95, 0.2, ["m0", "m1"])
    claims = judge(base, members=["m0", "m1"], constancy=frame)
    assert claims["constancy-cosine"].verdict == "cannot be tested"


def test_constancy_of_one_member_names_its_seeds() -> None:
    base = table("base", same(0.1), members=["m0"], seeds=1)
    frame = constancy(lambda m: 0.9, 0.2, ["m0"])
    claims = judge(base, members=["m0"], constancy=frame)
    assert claims["constancy-cosine"].found.n == "1 member × 3 seeds"
