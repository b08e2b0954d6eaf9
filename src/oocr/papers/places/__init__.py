"""Where a new fact is written decides what follows from it: what ties the papers together."""

from __future__ import annotations

from oocr.papers.frames import vectors_findings as frames_vectors
from oocr.papers.ockr.experiments import places as ockr_places
from oocr.papers.ocr.language.experiments import blocks, tasks
from oocr.papers.ocr.toy.experiments import places as toy_places
from oocr.papers.paper import Paper, claims_of
from oocr.papers.places.summary import SUMMARY

PAPER = Paper(
    name="places",
    title="Our own question: what ties “Generalization or Hallucination?”, OCKR and frames",
    question="Where is a new fact written, and what follows from it?",
    about=(
        "The same facts are learned as a vector that a frozen model reads at its input or in an "
        "early block, as a vector at its output, by a LoRA in one early or late block, or by all "
        "weights; then what follows from them is asked, which training never told. None of the "
        "three papers asks this. The page reads the experiments of the others, and shares their "
        "results. In practice, where its claims hold: what follows from an adapter that acts early "
        "cannot be read off its rows, so ask the adapted model what the rows imply; one that acts "
        "at the output says what it was trained to say; and what a vector on the frozen model does "
        "not imply, though it learned the rows, the model did not know before it was trained."
    ),
    sections={
        "places": "One scale: the same facts in several places",
        "vectors": "Frames: one vector places an object",
        "language": "Real models: what follows by a known map, and by an arbitrary one",
        "blocks": "The block at which a vector stops implying",
    },
    experiments=(
        toy_places.EXPERIMENT,
        ockr_places.EXPERIMENT,
        frames_vectors.EXPERIMENT,
        tasks.EXPERIMENT,
        blocks.EXPERIMENT,
    ),
    claims=claims_of(__name__),
    summaries=(SUMMARY,),
)
