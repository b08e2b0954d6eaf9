"""Nano organisms: small models trained from scratch on a world whose every fact is known.

`places`, `people` and `rules` are the three parts of the world, `corpus` mixes them, `pretrain`
trains a small Llama on the corpus, `exam` asks it what it was told and what it never was, and
`shipped` finds the checkpoints that come with the package.
"""
