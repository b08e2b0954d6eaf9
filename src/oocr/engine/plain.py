"""The plain path: the whole model runs. For families whose blocks can't be run apart from it."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.recording import hidden_of
from oocr.models.language_model import LanguageModel
from oocr.steering.live import prompt_known


class _Enough(Exception):  # noqa: N818
    """Ends a pass early."""


def through_the_model(
    model: LanguageModel,
    batch: Batch,
    hidden: Float[Tensor, "stack_batch token d_model"],
    start: int,
    end: int,
) -> Float[Tensor, "stack_batch token d_model"]:
    """The output of block `end` - 1 in a pass of the whole model that gives `hidden` to `start`.

    Args:
        model: the model.
        batch: the tokens, of which `hidden` holds one or several copies.
        hidden: the input of block `start` for every token.
        start: that block.
        end: the block after the last one that is wanted.
    """
    if start == end:
        return hidden
    assert hidden.shape[1] == batch.ids.shape[1], "nothing was recorded in time"
    stack = hidden.shape[0] // batch.size
    found: list[Tensor] = []

    def put_in(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def take_out(_module: object, _args: object, output: Any) -> None:
        found.append(hidden_of(output))
        raise _Enough

    blocks = model.anatomy.blocks
    handles = [
        blocks[start].register_forward_pre_hook(put_in, with_kwargs=True),
        blocks[end - 1].register_forward_hook(take_out),
    ]
    try:
        with prompt_known(batch, copies=stack):
            model.hf(
                input_ids=batch.ids.repeat(stack, 1),
                attention_mask=batch.mask.long().repeat(stack, 1),
                position_ids=batch.positions.repeat(stack, 1),
                use_cache=False,
            )
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found[0]
