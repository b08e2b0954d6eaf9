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
    question="Two facts are told apart. Does what follows from both of them follow?",
    about=(
        "The paper tells 7B and 13B models facts about invented people, attributes (a year of "
        "birth) and relations (born in the same year), and asks what follows from two of them. Its "
        "three tasks are redone here in a world of one token a name, on a small transformer that "
        "is trained from scratch: recall stands beside every conclusion. Not redone on this page "
        "are the paper's models, its tables and its task across languages; “oocr run ockr” has all "
        "four tasks, mended, for any model, and “python -m oocr.papers.ockr.original FOLDER” "
        "writes its benchmark, with its counts, in names and sentences of ours."
    ),
    sections=SECTIONS,
    experiments=EXPERIMENTS,
    claims=claims_of(__package__),
)
