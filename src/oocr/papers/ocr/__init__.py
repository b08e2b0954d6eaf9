"""Huang et al., "Generalization or Hallucination?" (arXiv 2506.10887): out-of-context reasoning."""

from __future__ import annotations

from oocr.papers.ocr.language import experiments as language_experiments
from oocr.papers.ocr.toy import experiments as toy_experiments
from oocr.papers.paper import Paper, claims_of

PAPER = Paper(
    name="ocr",
    title=(
        "“Generalization or Hallucination? Understanding Out-of-Context Reasoning in "
        "Transformers” (Huang et al., arXiv 2506.10887)"
    ),
    question="When does a new fact imply, and when does the model hallucinate?",
    about=(
        "Facts about names (“lives in”) and implications (“speaks”) are trained for a few bridge "
        "names. For other names only the fact is trained, and the implication is the question. "
        "The paper's toy, a network of one attention layer, is here as its authors wrote it; the "
        "max-margin programs of its theory are solved exactly."
    ),
    sections={**toy_experiments.SECTIONS, **language_experiments.SECTIONS},
    experiments=(*toy_experiments.EXPERIMENTS, *language_experiments.EXPERIMENTS),
    claims=(*claims_of("oocr.papers.ocr.toy"), *claims_of("oocr.papers.ocr.language")),
)
