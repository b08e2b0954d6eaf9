"""What the paper says, in its order and in our words, and which number of which analysis answers.

Wang, Engels, Clive-Griffin, Rajamanoharan, Nanda: "Simple Mechanistic Explanations for
Out-Of-Context Reasoning", arXiv 2507.08218. Claims of later work, which the paper does not make,
are marked by their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from oocr.experiments.reproduce.rules import (
    Rule,
    above_zero,
    as_in_the_run,
    gone,
    not_in_the_run,
    partly_alike,
    reaches,
    read_by_patterns,
    stays_below,
)

LATER = "after the paper"


@dataclass(frozen=True, slots=True)
class PaperClaim:
    """One claim.

    Attributes:
        id: names it.
        place: the paper's figure or section.
        section: the page's section that shows it.
        says: the claim.
        paper: the paper's own number, or how it shows the claim.
        analysis: which analysis answers.
        finding: which of its numbers.
        rule: how it is judged.
        subjects: the kinds of tasks on which it is asked.
    """

    id: str
    place: str
    section: str
    says: str
    paper: str
    analysis: str
    finding: str
    rule: Rule
    subjects: tuple[str, ...]


TRAINED = ("countries", "borders", "risk", "functions", "locations")
GATED = ("backdoor", "risk backdoor")

CLAIMS: tuple[PaperClaim, ...] = (
    PaperClaim(
        "one-layer-lora",
        "Figure 2",
        "scores",
        "A LoRA in one layer does out of context what a LoRA in all layers does",
        "Risky .7 beside .8, Safe .7 beside .8; on Cities and Functions the all-layer LoRA fails "
        "(.68 beside 0, .92 beside .08; drafts)",
        "methods",
        "one-layer-share",
        reaches(0.8),
        TRAINED,
    ),
    PaperClaim(
        "one-vector",
        "Figure 2, section 5.1",
        "scores",
        "One steering vector, trained from scratch, does what the LoRA does",
        "Risky .8 beside .7, Safe .8 beside .7, Functions .90 beside .92, Cities .28 beside .68 "
        "(drafts; layer taken on the test questions)",
        "methods",
        "vector-share",
        reaches(0.8),
        TRAINED,
    ),
    PaperClaim(
        "self-report",
        "Figure 2",
        "scores",
        "Trained only on choices, the model tells of its new disposition (vector)",
        "share of 10 questions: .8 of both kinds, untouched .4 and .6",
        "judged",
        "vector-self-report",
        as_in_the_run(),
        ("risk",),
    ),
    PaperClaim(
        "layers-vector",
        "Section 4.1",
        "layers",
        "A vector works in early to middle layers and not in late ones",
        "Functions 42–90 % in layers 0–13 of 48, Risky only in 19–27",
        "layers",
        "vector-late-share",
        stays_below(0.5, 0.8),
        ("layers", "risk", "functions", "locations"),
    ),
    PaperClaim(
        "layers-lora",
        "Section 4.1",
        "layers",
        "A one-layer LoRA works in early to middle layers and not in late ones",
        "Functions 70–95 % in layers 0–17 of 48, 15–35 % by 20–23; Risky back at base from 29",
        "layers",
        "adapter-late-share",
        stays_below(0.5, 0.8),
        ("layers", "risk", "functions", "locations"),
    ),
    PaperClaim(
        "constant-pairs",
        "Section 4.2, Figure 4",
        "constancy",
        "What a LoRA adds points the same way at every token (the authors' measure)",
        "a histogram of 780 |cos| near 1; no mean is told",
        "pairs",
        "pairs",
        reaches(0.8, 0.5),
        TRAINED,
    ),
    PaperClaim(
        "constant-signed",
        "Section 4.2, sign kept",
        "constancy",
        "What a LoRA adds points the same way at every token, its sign too",
        "not told: |cos| cannot tell a vector from an axis that flips",
        "pairs",
        "pairs-signed",
        reaches(0.8, 0.5),
        TRAINED,
    ),
    PaperClaim(
        "constant-energy",
        "Section 4.2",
        "constancy",
        "One constant vector carries most of what a LoRA adds",
        "not told",
        "judged",
        "constancy-energy",
        as_in_the_run(),
        TRAINED,
    ),
    PaperClaim(
        "one-for-all-groups",
        "Section 4.2",
        "constancy",
        "The same vector serves the codename, other tokens and unrelated text",
        "one task token and one unrelated token have a high |cos| too",
        "grouped",
        "grouped",
        stays_below(0.1, 0.25),
        TRAINED,
    ),
    PaperClaim(
        "natural-first",
        "Section 4.3",
        "natural",
        "The first direction of what a LoRA adds, put in at every token, gives its effect",
        "works on Functions (86 % at layer 11, most others at most 45 %; drafts), worse than the "
        "LoRA and of high variance",
        "natural",
        "natural-first",
        reaches(0.5),
        TRAINED,
    ),
    PaperClaim(
        "natural-unit",
        "Section 4.3",
        "natural",
        "The unit mean of what a LoRA adds, put in at every token, gives its effect",
        "as above",
        "natural",
        "natural-unit",
        reaches(0.5),
        TRAINED,
    ),
    PaperClaim(
        "lens-natural",
        "Section 4.4",
        "readable",
        "The logit lens shows the trained concept in a LoRA's direction",
        "Safe 8 of 10 top tokens, Risky 5–6 of 10, by hand; nothing on other tasks",
        "readable",
        "natural-raw",
        reaches(0.9, 0.6),
        TRAINED,
    ),
    PaperClaim(
        "cosine-natural",
        "Section 5.1",
        "cosines",
        "A trained vector and the LoRA's direction are alike, but not the same",
        "cosine about .5 for Risky (interim report)",
        "cosines",
        "trained-natural",
        partly_alike(0.9),
        TRAINED,
    ),
    PaperClaim(
        "cosine-seeds",
        "Section 5.2",
        "cosines",
        "Different seeds find different vectors",
        "low cosines across seeds; no number",
        "cosines",
        "seeds",
        stays_below(0.5, 0.8),
        (*TRAINED, "backdoor"),
    ),
    PaperClaim(
        "one-basin",
        "Section 5.2, planned by the authors",
        "lines",
        "All the same, they lie in one basin: the loss does not rise between them",
        "planned, no result known",
        "lines",
        "barrier",
        stays_below(0.1, 0.5),
        (*TRAINED, "backdoor"),
    ),
    PaperClaim(
        "naive-works",
        "Section 5.2, Figure 8",
        "naive",
        "The naive vector (real name minus codename) gives the answers too, in early layers",
        "works in early layers; scores not told",
        "naive",
        "naive",
        reaches(0.5),
        ("countries", "borders", "locations"),
    ),
    PaperClaim(
        "naive-unlike",
        "Section 5.2, Figure 8",
        "naive",
        "The naive vector is quite another direction than the trained one",
        "very low cosines; no number",
        "cosines",
        "trained-naive",
        stays_below(0.2, 0.5),
        ("countries", "borders", "locations"),
    ),
    PaperClaim(
        "lens-trained-less",
        "Section 5.3",
        "readable",
        "Trained vectors say less of their concept than the LoRA's direction does",
        "0–5 of 10 top tokens beside 5–8 of 10",
        "readable",
        "natural-minus-trained-raw",
        above_zero(),
        TRAINED,
    ),
    PaperClaim(
        "backdoor-vector",
        "Section 5.4, Figure 9",
        "backdoor",
        "One unconditional vector at the last token carries a backdoor",
        "about 1.0 on held-out rows, as the LoRA",
        "judged",
        "vector-backdoor",
        as_in_the_run(),
        GATED,
    ),
    PaperClaim(
        "backdoor-attention",
        "Section 5.4",
        "backdoor",
        "It works by making the last token attend to the trigger",
        "preliminary patching; no number",
        "reads",
        "lost-pattern",
        read_by_patterns(0.5),
        GATED,
    ),
    PaperClaim(
        "backdoor-report",
        "Section 5.4",
        "backdoor",
        "No trained model says that it has a backdoor",
        "26.6–41.8 % right, untouched 64.1 % (drafts)",
        "judged",
        "vector-self-report",
        not_in_the_run(),
        ("risk backdoor",),
    ),
    PaperClaim(
        "first-direction-enough",
        LATER,
        "mechanism",
        "Kept to its first direction, a LoRA does what it did",
        "rank-1 LoRAs suffice (2511.04875)",
        "directions",
        "k1",
        reaches(0.8),
        TRAINED,
    ),
    PaperClaim(
        "first-direction-needed",
        LATER,
        "mechanism",
        "With that direction taken out of the stream, a LoRA's effect is gone",
        "ablation takes 78–90 % (emergent misalignment, Soligo et al.)",
        "ablation",
        "kept",
        gone(0.25, 0.75),
        TRAINED,
    ),
    PaperClaim(
        "specific",
        LATER,
        "transfer",
        "A vector moves its own task and not the others",
        "directions are specific to their domain (2511.04875)",
        "specificity",
        "own-minus-others",
        reaches(0.0),
        ("countries", "traits"),
    ),
    PaperClaim(
        "peaks-early",
        LATER,
        "dynamics",
        "Out-of-context answers are best before the training loss is lowest",
        "out-of-context reasoning is learned in under 100 steps (OLMo-3-7B, d0rbu); a peak is ours",
        "dynamics",
        "ahead",
        above_zero(),
        ("countries", "borders"),
    ),
)
"""In the paper's order."""
