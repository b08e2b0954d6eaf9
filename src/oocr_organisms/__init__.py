"""Nano organisms: small models trained from scratch on a world whose every fact is known.

`facts` and `people` are the parts of the world, in the words of `language`; `corpus` mixes them,
`pretrain` trains a small Llama on the corpus, `exam` asks what it knows, `folder` reads and writes
organisms. `tasks` asks what a fine-tune changes, `study` compares that with the truth. `plugin` is
what `oocr` loads.
"""
