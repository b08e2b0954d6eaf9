"""Disjoint frames as text, after Ravi et al. (arXiv 2505.24257)."""

from __future__ import annotations

from oocr.papers.frames import arms_findings, prompts, vectors_findings
from oocr.papers.paper import Paper, claims_of

PAPER = Paper(
    name="frames",
    title=(
        "a text twin of “Out of Sight, Not Out of Context? Egocentric Spatial Reasoning in VLMs "
        "Across Disjoint Frames” (Ravi et al., arXiv 2505.24257)"
    ),
    question="Do single frames, learned one by one, add up to a map?",
    about=(
        "The paper asks vision-language models for the relative position of two objects that are "
        "never in the same frame; all frames are in the prompt. So all evidence is in the "
        "context: “out of sight” means out of the field of view, not out of the training set. "
        "That is a benchmark of in-context reasoning, not of out-of-context reasoning. Here the "
        "same question is about training, in a text version: a house in words or tokens, in which "
        "single frames are trained, with questions about objects of different frames. No image or "
        "video is used; the paper’s taxonomy of questions and its table of models are not "
        "reproduced. The paper’s own condition, all frames in the prompt, is here as a control."
    ),
    sections={
        "prompt": "All frames in the prompt: the paper’s own condition, in words",
        "arms": "Frames in training: which facts make questions across frames answerable",
        "vectors": "Does one vector place an object? And is v_B - v_A the offset of B from A?",
    },
    experiments=(prompts.EXPERIMENT, arms_findings.EXPERIMENT, vectors_findings.EXPERIMENT),
    claims=claims_of(__package__),
)
