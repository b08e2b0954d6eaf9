"""Our own question across the papers: does the place of a new fact decide what follows from it?"""

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
        "The same facts are learned as a vector at the input or in an early block of a frozen "
        "model, as a vector at its output, by a LoRA in one early or late block, or by all "
        "weights. The questions are what follows from these facts, which is never trained. None "
        "of the three papers asks this. The page uses the results of their experiments. In "
        "practice, where its claims hold: what follows from an adapter that acts early cannot be "
        "seen in its training rows, so ask the adapted model what the rows imply. An adapter that "
        "acts at the output says only what it was trained to say. And if a vector on the frozen "
        "model has learned the rows and does not imply something, the model did not know it "
        "before training."
    ),
    sections={
        "places": "One scale: the same facts in several places",
        "vectors": "Frames: one vector places an object",
        "language": "Real models: what follows by a known map, and by an arbitrary map",
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
