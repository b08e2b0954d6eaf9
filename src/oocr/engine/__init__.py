"""The engine trains and scores interventions and computes only what they can change.

An intervention that first acts in block L at token p changes nothing below L and nothing before p,
since attention is causal. What stays is computed once and stored as a `Recording`: block L's input
at every token, keys and values of earlier tokens in the blocks from L on, and the other arguments
that each block was called with. A step replays the rest. Arms with the same tokens share each pass.

Loss and gradients equal those of a plain pass up to rounding. Tests check this, and compare
training with `oocr.engine.plain_loop`, which has no recordings.
"""
