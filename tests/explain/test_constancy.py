"""Constancy of known differences: a constant, an axis with flipping sign, noise."""

from __future__ import annotations

import math

import pytest
import torch

from oocr.explain.constancy import conditional, constancy_of, cosines_to


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_constant_vector_is_perfectly_constant() -> None:
    m = normal(16)
    measured = constancy_of(m.expand(50, -1))
    for name in ("cosine", "cosine_low", "energy", "rank1", "held_out"):
        assert getattr(measured, name) == pytest.approx(1.0), name
    assert measured.n == 50
    assert measured.norm == pytest.approx(float(m.norm()))
    assert measured.norm_cv == pytest.approx(0.0, abs=1e-9)


def test_an_axis_whose_sign_flips_is_not_constant_though_its_absolute_cosine_is_one() -> None:
    m = normal(16)
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0] * 24)
    d = signs[:, None] * m
    measured = constancy_of(d)
    assert torch.allclose(cosines_to(d, m).abs(), torch.ones(96, dtype=torch.float64))
    assert measured.rank1 == pytest.approx(1.0)
    assert measured.norm_cv == pytest.approx(0.0, abs=1e-6)
    assert measured.cosine == pytest.approx(0.0, abs=1e-6)
    assert measured.energy == pytest.approx(0.0, abs=1e-6)
    assert measured.held_out == pytest.approx(0.0, abs=1e-6)


def test_an_axis_that_mostly_points_one_way_is_told_from_a_constant() -> None:
    m = normal(16)
    signs = torch.where(torch.arange(100) % 10 == 0, -1.0, 1.0)
    measured = constancy_of(signs[:, None] * m)
    assert measured.cosine == pytest.approx(0.8)
    assert measured.energy == pytest.approx(0.64)
    assert measured.rank1 == pytest.approx(1.0)


def test_noise_has_no_mean() -> None:
    n, d = 400, 64
    measured = constancy_of(normal(n, d))
    # Each token is part of the mean that it is compared with; across halves nothing is left.
    assert measured.cosine == pytest.approx(1 / math.sqrt(n), abs=0.02)
    assert measured.energy == pytest.approx(1 / n, rel=0.5)
    assert measured.rank1 < 0.06
    assert abs(measured.held_out) < 0.02
    assert measured.norm == pytest.approx(math.sqrt(d), rel=0.02)
    assert measured.norm_cv == pytest.approx(1 / math.sqrt(2 * d), rel=0.2)


def test_a_constant_in_noise_by_the_closed_form() -> None:
    d, noise = 256, 0.5
    m = normal(d, seed=1)
    m = m / m.norm()
    measured = constancy_of(m + noise * normal(2000, d, seed=2) / math.sqrt(d))
    assert measured.cosine == pytest.approx(1 / math.sqrt(1 + noise**2), abs=0.01)
    assert measured.energy == pytest.approx(1 / (1 + noise**2), abs=0.01)
    assert measured.held_out == pytest.approx(measured.cosine, abs=0.01)
    assert measured.cosine_low < measured.cosine


def test_one_direction_of_varying_length_is_rank_one_but_spread() -> None:
    m = normal(8)
    lengths = torch.linspace(0.1, 2.0, 40)
    measured = constancy_of(lengths[:, None] * m)
    assert measured.cosine == pytest.approx(1.0)
    assert measured.rank1 == pytest.approx(1.0)
    assert measured.norm_cv == pytest.approx(float(lengths.std() / lengths.mean()), rel=1e-4)
    assert measured.energy == pytest.approx(float(lengths.mean() ** 2 / (lengths**2).mean()))


def test_two_gates_are_told_apart_by_the_low_centile_and_the_rank() -> None:
    d = torch.zeros(100, 4)
    d[:90, 0] = 1.0
    d[90:, 1] = 1.0
    measured = constancy_of(d)
    assert measured.rank1 == pytest.approx(0.9)
    assert measured.cosine_low == pytest.approx(10 / math.sqrt(90**2 + 10**2), abs=1e-6)


def test_scaling_all_differences_changes_only_the_norm() -> None:
    d = normal(60, 8) + 1.0
    a, b = constancy_of(d), constancy_of(1000 * d)
    assert b.norm == pytest.approx(1000 * a.norm, rel=1e-5)
    for name in ("cosine", "cosine_low", "energy", "rank1", "norm_cv", "held_out"):
        assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-5)


def test_no_difference_at_all_is_no_constant_vector() -> None:
    measured = constancy_of(torch.zeros(10, 4))
    assert (measured.cosine, measured.energy, measured.rank1, measured.norm) == (0.0, 0.0, 0.0, 0.0)


def test_low_precision_input_is_measured_in_double() -> None:
    measured = constancy_of(normal(16).to(torch.bfloat16).expand(3000, -1))
    assert measured.energy == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_tokens_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"at least two tokens, found {count}"):
        constancy_of(torch.ones(count, 4))


def test_two_opposite_groups_need_a_vector_each() -> None:
    m = normal(16)
    measured = conditional({"on": m.expand(5, -1), "off": -m.expand(9, -1)})
    assert measured.common == pytest.approx(0)
    assert measured.grouped == pytest.approx(1)
    assert measured.by_group == pytest.approx({"on": 0, "off": 0})
    same = conditional({"on": m.expand(5, -1), "off": m.expand(9, -1)})
    assert (same.common, same.grouped) == pytest.approx((1, 1))
    half = conditional({"on": m.expand(5, -1), "off": torch.zeros(3, 16)})
    assert half.common == pytest.approx(0.5)
    assert half.grouped == pytest.approx(1)
    with pytest.raises(ValueError, match="at least one token"):
        conditional({"on": torch.zeros(0, 4)})
