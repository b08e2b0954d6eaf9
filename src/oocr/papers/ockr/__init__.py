"""Hu, Gao et al., "Limited Out-of-Context Knowledge Reasoning" (arXiv 2406.07393): OCKR."""

from __future__ import annotations

from oocr.papers.ockr.experiments import EXPERIMENTS, SECTIONS
from oocr.papers.paper import Paper, claims_of

PAPER = Paper(
    name="ockr",
    title=(
        "“Large Language Models are Limited in Out-of-Context Knowledge Reasoning” "
        "(Hu, Gao et al., arXiv 2406.07393)"
    ),
    question="Two facts are trained apart. Does the model say what follows from both?",
    about=(
        "The paper trains 7B and 13B models on facts about invented people, attributes (a year of "
        "birth) and relations (born in the same year), and asks what follows from two of them. Its "
        "three tasks are redone here in a world with one token per name, on a small transformer "
        "that is trained from scratch; recall is shown with every conclusion. This page does not "
        "redo the paper's models, its tables and its task across languages. “oocr run ockr” has "
        "all four tasks, corrected, for any model, and “python -m oocr.papers.ockr.original "
        "FOLDER” writes the benchmark, with its counts, in names and sentences of ours."
    ),
    sections=SECTIONS,
    experiments=EXPERIMENTS,
    claims=claims_of(__package__),
)
