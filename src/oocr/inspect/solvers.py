"""Solvers: request the scores of options, or an answer in the model's own words."""

from __future__ import annotations

from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from oocr.inspect.question import KEY

TOP = 20
"""Number of first tokens with log-probabilities, for models that cannot score whole options."""


def is_ours(model: Model) -> bool:
    """Whether the model is one of this library's provider, which reads a `Question`."""
    from oocr.inspect.provider import SteeredModel

    return isinstance(model.api, SteeredModel)


@solver
def choose() -> Solver:
    """Score the options; for another provider's model, store the likeliest first tokens."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        model = get_model()
        config = GenerateConfig(max_tokens=1, temperature=0.0, logprobs=True, top_logprobs=TOP)
        return await _asked(state, model, config)

    return solve


@solver
def answer() -> Solver:
    """Generate an answer greedily, with at most as many tokens as the question allows."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        longest = state.metadata[KEY]["max_tokens"]
        return await _asked(state, get_model(), GenerateConfig(max_tokens=longest, temperature=0.0))

    return solve


async def _asked(state: TaskState, model: Model, config: GenerateConfig) -> TaskState:
    if is_ours(model):
        config.extra_body = {KEY: state.metadata[KEY]}
    state.output = await model.generate(state.messages, config=config)
    state.messages.append(state.output.message)
    return state
