"""A model's chat template: what it adds and changes, and how its variable parts are fixed.

A clock, an opened thought and a list of templates are settled when the model is loaded, by lines
before and after the template's own text: tokens then depend on nothing that its text doesn't say.
The first of these lines is a comment that tells what was settled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from oocr.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIXED_DAY = date(2024, 7, 26)
"""Default for the date that templates write as today (the default of Llama 3's template)."""

DIRECTIVES = (*"aAbBcdDeFGHIjmMnpRStTuUVwWxXyYzZ", "-d", "-e", "-H", "-I", "-j", "-m", "-M", "-S")
"""Letters allowed after % in a format of `strftime`."""

SWITCHES = ("enable_thinking", "thinking")
"""Template variables that switch a thought before the answer on or off."""

THOUGHTS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|think|>": "<|/think|>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>thought": "<channel|>",
}
"""How thoughts begin and end."""

LINE_END = "\n"

_SETTLED = "{# settled by oocr:\n"
_RANDOM = re.compile(r"\|\s*random\b(\s*\(\s*\))?")
_USER, _OTHER, _ANSWER, _SYSTEM, _THOUGHT = (
    f"{word} text" for word in ("Zeroth", "Second", "Third", "Fourth", "Fifth")
)


def settle(tokenizer: PreTrainedTokenizerBase, day: date = FIXED_DAY) -> None:
    """Settle a tokenizer's chat template, once; of a list of templates "default" is taken.

    A date is fixed to `day`. Thinking is switched off, or the thought closed that the template
    opens: what comes next is the answer. What it writes between its header of an answer and the
    answer is written when the answer is asked for, too.
    """
    template, notes, head = tokenizer.chat_template, [], ""
    if isinstance(template, dict):
        if "default" not in template:
            return  # only chats are refused, not raw texts
        notes.append(f"of the chat templates {sorted(template)} 'default' is used")
        template = template["default"]
    if not isinstance(template, str) or template.startswith(_SETTLED):
        return
    if _RANDOM.search(template):
        notes.append("the chat template draws at random: the first entry is taken always")
        template = _RANDOM.sub("| first", template)
    if re.search(r"\bstrftime_now\b", template):
        notes.append(f"the chat template writes the day: {day} always (a run's `day:` sets it)")
        head += _clock(day)
    tail = ""
    asked = _asked(tokenizer, head + template)
    for switch in SWITCHES:
        line = f"{{% set {switch} = false %}}\n"
        names_it = re.search(rf"\b{switch}\b", template)
        without = _asked(tokenizer, head + line + template) if names_it else asked
        if without is not None and without != asked:
            notes.append(f"thinking is switched off in the chat template ({switch}=False)")
            head, asked = head + line, without
    if asked is not None:
        lead = _lead(tokenizer, head + template, asked)
        tail = lead if lead.strip() else ""
        thought, _ = _open_thought(asked)
        _, closing = _open_thought(asked + tail)
        if closing:
            tail += f"{'' if (asked + tail).endswith(LINE_END) else LINE_END}\n{closing}\n\n"
        if thought:
            notes.append(
                f"the chat template opens a thought ({thought}) before the answer: it is closed"
            )
        elif tail:
            notes.append(
                f"the chat template writes {tail!r} between its header and an answer: so it does "
                "where an answer is asked for"
            )
    if notes:
        comment = _SETTLED + "".join(f"{note.replace('#}', '# }')}\n" for note in notes) + "#}\n"
        end = f"{{{{ {tail!r} if add_generation_prompt else '' }}}}" if tail else ""
        tokenizer.chat_template = comment + head + template.removesuffix("\n") + end


def settled(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What `settle` fixed, in sentences."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or not template.startswith(_SETTLED):
        return []
    return template.removeprefix(_SETTLED).partition("#}")[0].splitlines()


def clock_day(tokenizer: PreTrainedTokenizerBase) -> date | None:
    """The date that the chat template writes as today; None: it writes no date."""
    days = (re.search(r"writes the day: (\d{4}-\d\d-\d\d)", note) for note in settled(tokenizer))
    return next((date.fromisoformat(day.group(1)) for day in days if day), None)


def template_notes(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What the chat template adds and changes, in sentences; first what `settle` fixed."""
    notes = settled(tokenizer)
    if not tokenizer.chat_template:
        return notes
    user = {"role": "user", "content": _USER}
    try:
        text = apply(tokenizer, [user])
    except InputError as error:
        return [*notes, str(error)]
    if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        bos = tokenizer.bos_token
        notes.append(
            f"the chat template writes {bos} itself: the tokenizer's own is left out"
            if text.startswith(bos)
            else f"a chat has no {bos}: its template writes none"
        )
    if extra := _own_text(tokenizer, text):
        notes.append(f"the chat template adds a text of its own: {extra!r}")
    if folds_system(tokenizer):
        notes.append(
            "the chat template has no system prompt: it is put before the first user's text"
        )
    if f" {_USER} \n" not in apply(tokenizer, [{**user, "content": f" {_USER} \n"}]):
        notes.append("the chat template cuts spaces and line ends around each message")
    earlier = {"role": "assistant", "content": f"<think>\n{_THOUGHT}\n</think>\n\n{_ANSWER}"}
    if _THOUGHT not in _tried(tokenizer, [user, earlier, {**user, "content": _OTHER}], _THOUGHT):
        notes.append("the chat template leaves out thoughts (<think>) of earlier turns")
    return notes


def apply(tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, str]]) -> str:
    """The text of turns, up to where the answer begins; with at most one BOS in front.

    Raises:
        InputError: the template refuses them, or there is none.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise InputError(
            "the prompt is a chat, but this model has no chat template; "
            "use raw text prompts or an instruction-tuned model"
        )
    if isinstance(template, dict) and "default" not in template:
        raise InputError(
            f"the model's chat templates: found {sorted(template)}; allowed: one of the name "
            "'default', which is used (rename the one that you want in tokenizer_config.json or "
            "additional_chat_templates)"
        )
    try:
        text = str(
            tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)
        )
    except Exception as error:  # the template's own errors are of many types
        raise InputError(f"the chat template refused the messages: {error}") from error
    bos = getattr(tokenizer, "bos_token", None)
    while bos and text.startswith(bos + bos):
        text = text.removeprefix(bos)
    return text


def folds_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template refuses or drops a system turn, so that `render` folds it."""
    turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    return _SYSTEM not in _tried(tokenizer, turns, "")


def without_thoughts(content: str) -> str:
    """A text without the thoughts in it."""
    for begins, ends in THOUGHTS.items():
        content = re.sub(f"{re.escape(begins)}.*?{re.escape(ends)}", "", content, flags=re.DOTALL)
    return content.strip()


def _tried(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], refused: str) -> str:
    """The text of turns, or another text where the template refuses them."""
    try:
        return apply(tokenizer, turns)
    except InputError:
        return refused


def _clock(day: date) -> str:
    """Jinja lines that replace the clock by noon of one day."""
    noon = datetime.combine(day, time(12))
    texts = {f"%{directive}": noon.strftime(f"%{directive}") for directive in DIRECTIVES}
    filters = " | ".join(f"replace({key!r}, {text!r})" for key, text in texts.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format | {filters} }}}}{{% endmacro %}}\n"


def _asked(tokenizer: Any, template: str) -> str | None:
    """What a template writes after a user's text, where an answer is asked for; None: refused."""
    turns = [{"role": "user", "content": _USER}]
    try:
        text = tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception:  # of many types; refused rows are reported with their line
        return None
    return str(text)


def _open_thought(text: str) -> tuple[str, str]:
    """How the thought in which a text ends begins and ends; two empty texts: in none."""
    for begins, ends in THOUGHTS.items():
        if text.rfind(begins) > text.rfind(ends):
            return begins, ends
    return "", ""


def _lead(tokenizer: Any, template: str, asked: str) -> str:
    """What a template writes between the text that asks and an answer that is given."""
    turns = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER}]
    try:
        given = str(tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False))
    except Exception:  # of many types
        return ""
    if not given.startswith(asked) or _ANSWER not in given:
        return ""
    return given.removeprefix(asked).partition(_ANSWER)[0]


def _own_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """What the template writes only before the first user's text, in words."""
    first = text.partition(_USER)[0]
    turns = [(("user", "assistant")[i % 2], (_USER, _ANSWER, _OTHER)[i]) for i in range(3)]
    several = _tried(
        tokenizer, [{"role": role, "content": content} for role, content in turns], text
    )
    later = several.partition(_ANSWER)[2].partition(_OTHER)[0]
    pairs = zip(reversed(first), reversed(later), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    only_first = first[: len(first) - shared]
    for token in tokenizer.get_added_vocab():
        only_first = only_first.replace(token, " ")
    words = only_first.split()
    return " ".join(words) if len(words) > 1 and re.search(r"\w", only_first) else ""
