"""The end of a page: settings, versions, times, and the words used."""

from __future__ import annotations

from oocr.charts.figure import counted, number
from oocr.models.bundled import millions
from oocr.report.page import Block, Facts, Section
from oocr.runs.folder_reader import RunFolder
from oocr.stats import DRAWS

AGAIN = "oocr run config.yaml"

GLOSSARY = (
    (
        "Out of context",
        "A question whose answer training never stated and whose cause is not in the prompt.",
    ),
    (
        "Layer",
        "Blocks number from 0; layer 4 is the residual stream at the output of block 4.",
    ),
    ("Facet", "What is asked about: one kind of question, with its own set of options."),
    (
        "Share right",
        "Share of items where the right option has the highest probability of all options.",
    ),
    (
        "Answer-balanced",
        "Within a facet, members with the same right answer share one vote, so that an answer "
        "given everywhere scores no more than one over the number of different answers.",
    ),
    (
        "Contrast",
        "Log-odds of the positive over the negative options after training towards the positive "
        "pole, minus the same after training towards the negative pole, in nats.",
    ),
    (
        "Interval",
        "95 %. Shares, cosines, energies, losses, divergences and perplexities have Wilson's score "
        "interval with the variance between members (or probe groups) and Student's t, which stays "
        "within what the number can be; shares of an effect have Fieller's. Log-odds have a "
        f"bootstrap of {DRAWS:,} draws of probe groups and, within each, of seeds (expanded "
        "percentiles).",
    ),
    ("Untouched model", "The model as it was, on the same prompts."),
    (
        "Random direction",
        "A vector drawn at random with the norm of the trained one, added at the same place; many "
        "of them make the null.",
    ),
    ("Shuffled", "Trained on the same prompts with answers that do not belong."),
    ("Planted", "Trained with one further fact, which is another member's."),
    ("Decorrelated", "Trained with answers drawn at random, so that the trigger says nothing."),
    ("Ceiling", "The untouched model with the cause stated in the prompt."),
    ("Span", "The tokens that the vector is added to, e.g. the codename."),
    (
        "Swap",
        "The LoRA is taken out and its mean difference is added as a constant vector: at the span, "
        "or at every token.",
    ),
    (
        "Recovery",
        "(swap − untouched) / (LoRA − untouched): the share of the LoRA's effect that the constant "
        "vector keeps.",
    ),
    (
        "Cosine to the mean",
        "With d the difference that the LoRA makes to the residual stream at a token: mean signed "
        "cosine of d with the mean of d. 1 for a constant direction, near 0 for no common one.",
    ),
    (
        "Energy of the mean",
        "|mean d|² / mean |d|²: the share of the effect that one constant vector carries.",
    ),
    ("Rank-1 share", "Share of Σ|d|² along the first singular direction, not centred."),
    ("Spread of norms", "Standard deviation of |d| over its mean."),
    ("KL", "Mean over neutral tokens of KL(untouched ‖ arm), in nats per token."),
)


def settings_section(run: RunFolder) -> Section:
    """How the run was made, and the commands that make it again."""
    info = run.info
    facts = (
        ("Model", info.model),
        *((f"Source {name}".replace("_", " "), value) for name, value in info.model_source.items()),
        ("Fingerprint", info.model_fingerprint),
        (
            "Size",
            f"{millions(info.parameters)} parameters, {info.blocks} blocks, "
            f"residual stream of {info.d_model}",
        ),
        ("Numbers", f"{info.dtype} on {info.device}, {counted(info.threads, 'thread')}"),
        ("Seeds", ", ".join(str(seed) for seed in info.seeds)),
        ("Peak memory", f"{number(info.peak_memory_gib, 1)} GiB"),
        ("Date", run.date),
    )
    longest = max(info.stages.values(), default=0.0) or 1.0
    stages = Facts(
        f"Time, {seconds(sum(info.stages.values()))} in all",
        tuple((name, seconds(time)) for name, time in info.stages.items()),
        tuple(round(100 * time / longest, 1) for time in info.stages.values()),
    )
    groups = (
        Facts("Run", tuple(fact for fact in facts if fact[1])),
        stages,
        Facts("Versions", tuple(info.versions.items())),
    )
    again = (("The same run again, from its folder, or as it was typed:", AGAIN, info.command),)
    blocks = [Block("commands", again), Block("facts", tuple(g for g in groups if g.rows))]
    if run.config_text:
        blocks.append(Block("fold", ("config.yaml", run.config_text)))
    return Section("settings", "Settings, and how to run it again", "", tuple(blocks))


def seconds(time: float) -> str:
    """A duration: 12.3 s, 4 min 05 s, 1 h 12 min."""
    if time < 60:
        return f"{time:.1f} s"
    minutes, rest = divmod(round(time), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
