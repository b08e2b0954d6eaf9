"""The engine trains and scores interventions and computes only what they can change.

A vector or LoRA that first acts in block L, at token p, changes nothing below block L and nothing
before token p: causal attention lets a token see earlier ones only. So these parts of each batch
are computed once and kept, as a `Recording`:

- **the frozen prefix in depth**: the input of block L for every token. A vector at the output of
  block L - 1 is added to it, a LoRA in block L reads it.
- **the frozen prefix in time**: keys and values of the tokens before p in the blocks from L on. A
  vector at the last prompt token then costs one token per example and step.
- everything else that each block was called with (rotary tables, masks), taken from a real forward
  pass and given again, so that no model family needs code of its own.

A training step replays blocks L and above from token p on, and the last block's MLP, the final
norm and the LM head only where a loss is asked for. Arms that see the same tokens at every step
share each pass on one batch axis. Where a family's blocks cannot be run apart from their model, or
a vector is on the model by `Vector.on`, the same functions run the whole model.

Loss and gradients equal those of the plain pass to rounding, for every family; the tests hold the
engine to that, and its training to `oocr.engine.plain_loop`, which is training without any of this.

    recording, recording_cache   make a recording; keep recordings within a memory budget
    replay, forward              blocks from a recording; the last block's output, per intervention
    losses, off_domain           what a step minimizes
    trainable, training_batches  what is trained, and on what
    training                     the loop over steps, for one arm or several
    generate                     decoding with a cache
    selftest                     loading a model, and testing it by steering
    memory                       bytes that all this takes, from the model's shape
"""
