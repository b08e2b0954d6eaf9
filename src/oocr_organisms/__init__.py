"""Nano organisms: small models trained from scratch on a world whose every fact is known.

`facts` and `people` are the parts of the world, in the wordings of `language`; `corpus` mixes them;
`pretrain` trains a small Llama on the corpus; `exam` tests what it knows; `folder` reads and writes
organisms. `tasks` has fine-tuning tasks in this world, `study` compares trained vectors and LoRAs
with the known truth. `plugin` is what `oocr` loads.
"""
