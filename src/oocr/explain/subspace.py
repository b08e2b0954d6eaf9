"""How many directions a LoRA needs: its effect, when what it adds may lie in k directions only.

For a one-layer LoRA d_t = h_adapted[t] - h_base[t] at its block's output. Each d_t is replaced by
its projection on the first k right singular vectors of the (uncentred) d_t of other text, and the
blocks above run as ever. k = 1 still lets the length and the sign differ from token to token, which
a constant vector does not; the swap (`oocr.explain.swap`) fixes those too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.examples import Example
from oocr.engine.forward import check_projection, projected_rows, replayed_rows, start_block
from oocr.engine.replay import replay
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.differences import SKIP, Texts
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, attach_adapter


@dataclass(frozen=True, slots=True)
class SubspaceBasis:
    """The directions that a LoRA's differences lie along, strongest first.

    Attributes:
        vectors: [k, d_model], orthonormal.
        shares: of the differences' energy, along each.
    """

    vectors: Float[Tensor, "k d_model"]
    shares: tuple[float, ...]


def basis_of(adapter: Adapter, texts: Sequence[Texts], most: int = 64) -> SubspaceBasis:
    """Right singular vectors of the uncentred differences on some texts.

    Args:
        adapter: a one-layer LoRA.
        texts: recorded at its block.
        most: directions at most.
    """
    d = torch.cat([one[SKIP:] for some in texts for one in some.differences(adapter)]).double()
    _, values, rows = torch.linalg.svd(d, full_matrices=False)
    energy = (values**2 / (values**2).sum().clamp_min(1e-300)).tolist()
    return SubspaceBasis(rows[:most].float(), tuple(energy[:most]))


@torch.no_grad()
def projected_scores(
    model: LanguageModel,
    items: Sequence[Example],
    adapter: Adapter,
    basis: SubspaceBasis,
    k: Sequence[int],
) -> Float[Tensor, "k item option"]:
    """Option scores with the LoRA's differences projected on the first k directions, for each k.

    Args:
        model: the model, nothing attached.
        items: what is asked.
        adapter: a one-layer LoRA.
        basis: its directions.
        k: how many directions; 0 is the base model.

    Raises:
        InputError: a LoRA in several blocks; a k that the basis does not have.
    """
    if len(adapter.layers) != 1:
        raise InputError(f"adapter: found blocks {adapter.layers}; allowed: one block")
    for one in k:
        if not 0 <= one <= len(basis.vectors):
            raise InputError(f"k: found {one}; allowed: 0 to {len(basis.vectors)}")
    start = start_block(adapter)
    probes = Probes.of(model, items, starts=(start, start + 1))
    vectors = basis.vectors.to(model.device)
    rows: list[Tensor] = []
    for recording in probes.frozen(start):
        frozen = recording.load(None)
        with attach_adapter(model, adapter):
            adapted = replay(model, frozen, frozen.inputs[start], start, stop=start + 1)
        base = frozen.inputs[start + 1]
        along = (adapted - base).float() @ vectors.T  # [batch, token, k]
        hidden = torch.cat([base + (along[..., :one] @ vectors[:one]).to(base) for one in k])
        rows.append(replayed_rows(model, frozen, hidden, start + 1, alike=False))
    return probes.scores_of(rows)


@torch.no_grad()
def scores_without(
    model: LanguageModel,
    items: Sequence[Example],
    adapter: Adapter,
    directions: Float[Tensor, "k d_model"],
) -> Float[Tensor, "k item option"]:
    """Option scores with what the LoRA adds projected off a direction, for each of several.

    The model's own use of the direction stays: where the LoRA adds nothing, nothing changes.

    Args:
        model: the model, nothing attached.
        items: what is asked.
        adapter: a one-layer LoRA.
        directions: of any norm but 0.

    Raises:
        InputError: a LoRA in several blocks, or a direction of another width or of norm 0.
    """
    for one in directions:
        check_projection(model, adapter.layers, one)
    start = start_block(adapter)
    probes = Probes.of(model, items, starts=(start, start + 1))
    rows: list[Tensor] = []
    for recording in probes.frozen(start):
        frozen = recording.load(None)
        with attach_adapter(model, adapter):
            hidden = frozen.inputs[start]
            each = [projected_rows(model, frozen, hidden, start, one) for one in directions]
        rows.append(torch.cat(each))
    return probes.scores_of(rows)
