"""`--model oocr/MODEL`: any model that `oocr.load_model` takes, with a vector or a LoRA on it.

One request runs at a time. A request of our own tasks carries a `Question`, by which options are
scored as in a run, and spans are those of the question; any other request is a chat (or, on a model
without a chat template, its messages as one text), in which spans are found by the vector's texts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelCall,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from oocr.errors import InputError
from oocr.inspect.question import KEY, Question
from oocr.inspect.scorers import OPTIONS

if TYPE_CHECKING:
    from oocr.data.examples import Prompt
    from oocr.inspect.steering import Steering

MAX_TOKENS = 512
"""Default for the number of new tokens."""

CONNECTIONS = 8
"""Most requests that may wait; the model answers one at a time."""

UNSUPPORTED: dict[str, object] = {
    **{"top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    **{"logit_bias": {}, "best_of": 1, "response_schema": None},
}
"""What changes the choice of tokens and is not there (refused, not left out) -> what is not one."""

SEEDS = 2**32
"""Above all seeds that users give."""


class SteeredModel(ModelAPI):
    """A model with at most one vector or adapter on it (arguments: `oocr.inspect.steering`)."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        from oocr.inspect.steering import Steering

        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        try:
            self.steered: Steering = Steering.load(model_name, model_args)
        except InputError as error:
            raise PrerequisiteError(str(error)) from error
        self.lock = anyio.Lock()
        self._sampled: Counter[Prompt] = Counter()

    @property
    def steering(self) -> Mapping[str, str]:
        """Facts about the vector or adapter; empty: the untouched model."""
        return self.steered.about

    def max_connections(self) -> int:
        """How many requests may wait."""
        return CONNECTIONS

    def max_tokens(self) -> int:
        """See `MAX_TOKENS`."""
        return MAX_TOKENS

    def collapse_user_messages(self) -> bool:
        """Many chat templates refuse turns of one side in a row."""
        return True

    def collapse_assistant_messages(self) -> bool:
        """See `collapse_user_messages`."""
        return True

    async def tokenize(self, input: str | list[ChatMessage]) -> list[int]:
        """The token ids of a text, without special tokens."""
        if not isinstance(input, str):
            raise InputError("tokenize: found messages; allowed: a text")
        tokenizer = self.steered.model.tokenizer
        return list(tokenizer(input, add_special_tokens=False)["input_ids"])

    async def count_text_tokens(self, text: str) -> int:
        """The number of tokens of a text."""
        return len(await self.tokenize(text))

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> tuple[ModelOutput, ModelCall]:
        """Answer a request.

        Raises:
            InputError: tools, a kind of sampling that is not there, a role that no model of ours
                knows, or messages that the chat template refuses.
        """
        if tools:
            raise InputError(f"tools: found {len(tools)}; oocr's models are asked without tools")
        for name, without in UNSUPPORTED.items():
            if (value := getattr(config, name)) is not None and value != without:
                raise InputError(f"{name}: found {value}; allowed: temperature and seed alone")
        body = (config.extra_body or {}).get(KEY)
        question = None if body is None else Question.model_validate(body)
        async with self.lock:
            return await anyio.to_thread.run_sync(self._answer, input, config, question)

    def _answer(
        self, input: Sequence[ChatMessage], config: GenerateConfig, question: Question | None
    ) -> tuple[ModelOutput, ModelCall]:
        from oocr.inspect.logprobs import prompt_logprobs, token_logprobs

        began, steered = time.monotonic(), self.steered
        raw = not steered.model.has_chat_template if question is None else question.raw
        prompt = _prompt_of(input, raw=raw)
        asked = steered.asked(prompt, {} if question is None else question.spans)
        about: dict[str, Any] = {"steered": asked.where}
        reasons: dict[int, Any] = {}
        if question is not None and question.options:
            scores = asked.option_scores(question.choice(prompt))
            about[OPTIONS] = dict(zip(question.options, scores, strict=True))
            texts = [question.options[max(range(len(scores)), key=scores.__getitem__)]]
        else:
            texts, reasons = asked.continued(config, MAX_TOKENS, self._seed(prompt, config))
        choices = [
            ChatCompletionChoice(
                message=ChatMessageAssistant(
                    content=text, model=self.model_name, source="generate"
                ),
                stop_reason=reasons.get(place, "stop"),
            )
            for place, text in enumerate(texts)
        ]
        if config.logprobs or config.prompt_logprobs:
            for choice, text in zip(choices, texts, strict=True):
                rows = asked.log_probabilities(text)
                if config.logprobs:
                    choice.logprobs = token_logprobs(asked, text, rows, config.top_logprobs or 0)
                if config.prompt_logprobs:
                    choice.prompt_logprobs = prompt_logprobs(asked, rows, config.prompt_logprobs)
        read, written = len(asked.encoded.ids), sum(len(asked.answer(text)) for text in texts)
        output = ModelOutput(
            model=self.model_name,
            choices=choices,
            time=time.monotonic() - began,
            usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
            metadata=about,
        )
        request = {"text": asked.encoded.text, **steered.logged, "steered": asked.where}
        return output, ModelCall.create(request=request, response=about)

    def _seed(self, prompt: Prompt, config: GenerateConfig) -> int:
        """A seed for each time that a prompt is sampled, as in each epoch: the first is the eval's.

        Equal requests are answered one after the other, so that together they get the same samples
        whenever the eval is run.
        """
        before = self._sampled[prompt]
        self._sampled[prompt] += bool(config.temperature)
        return (config.seed or 0) + SEEDS * before


def _prompt_of(input: Sequence[ChatMessage], *, raw: bool) -> Prompt:
    """A request's messages as a chat, or as one text with blank lines between them."""
    from oocr.data.examples import Message
    from oocr.data.messages import ROLES

    parts = [
        part
        for message in input
        if not isinstance(message.content, str)
        for part in message.content
    ]
    if others := sorted({part.type for part in parts} - {"text", "reasoning"}):
        raise InputError(f"content: found {', '.join(others)}; allowed: text")
    if raw:
        return "\n\n".join(message.text for message in input)
    if strange := sorted({message.role for message in input} - set(ROLES)):
        raise InputError(f"role: found {', '.join(strange)}; allowed: {', '.join(ROLES)}")
    return tuple(Message(ROLES[message.role], message.text) for message in input)
