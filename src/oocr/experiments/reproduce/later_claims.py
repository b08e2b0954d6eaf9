"""What later work says, and what we ask ourselves: claims that the paper does not make."""

from __future__ import annotations

from oocr.experiments.reproduce.paper_claim import LATER, OURS, TRAINED, PaperClaim
from oocr.experiments.reproduce.rules import above_zero, gone, keeps, reaches, stays_below

LATER_CLAIMS: tuple[PaperClaim, ...] = (
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
    PaperClaim(
        "cost-agreement",
        OURS,
        "costs",
        "At its trained length a vector leaves answers to unrelated questions as they were",
        "an effect that breaks everything else explains little",
        "costs",
        "agreement-at-1",
        keeps(0.9, 0.75),
        ("countries", "risk", "functions", "backdoor"),
    ),
    PaperClaim(
        "cost-kl",
        OURS,
        "costs",
        "It costs no more than a random direction of its norm",
        "a direction that many circuits read may move more than its own task",
        "costs",
        "kl-to-random",
        stays_below(1.0, 2.0),
        ("countries", "risk", "functions", "backdoor"),
    ),
)
