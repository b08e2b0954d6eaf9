"""Questions about a function: choices, lettered options as in the paper, free answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, get_args

from oocr.data.examples import Example, FreeTextExample, Message, Prompt
from oocr.families.asking import Form, lettered, user_turn
from oocr.families.functions import programs
from oocr.families.functions.programs import INPUTS, Facet, FunctionTable, NumberFunction
from oocr.tasks.control_data import tagged

OPTIONS = 5
LETTERS = "ABCDE"
FAR = (100, 299)
"""Sizes of inputs that training never uses."""

DRAWS = {"words": 2, "code": 2, "class": 2, "output": 1, "inversion": 4}
"""Questions per wording of a facet, each with other wrong options (or another number)."""

NAMES = {
    "words": "definition in words",
    "code": "definition in code",
    "class": "class",
    "output": "output type",
    "inversion": "inversion",
    "composition": "composition",
    "range": "inputs out of range",
    "single": "outputs",
    "lambda": "definition as a lambda",
    "paper": "which option describes it",
}
CALLS = 10
"""Questions on compositions, and on inputs out of range, per function."""

PAPER = 44
"""Lettered questions per function, as many as the paper has of the one it reports."""

PRINTED = 4
"""Outputs to be printed per function, of inputs out of range and of held-out ones."""

LAMBDA_TOKENS, OUTPUT_TOKENS = 24, 8


@dataclass(frozen=True, slots=True)
class FunctionAsker:
    """Makes the questions about one function.

    `seed` draws held-out inputs, wrong options and partners; `span` is the span's name, "": each
    codename names its own span (functions trained together).
    """

    table: FunctionTable
    function: NumberFunction
    form: Form
    seed: int
    span: str

    @property
    def name(self) -> str:
        """The codename."""
        return self.function.codename

    @property
    def held_out(self) -> tuple[int, ...]:
        """Inputs that never occur in training."""
        return programs.split_inputs(self.seed).test

    def rng(self, facet: str) -> random.Random:
        """Draws of one facet."""
        return random.Random(f"{self.seed}/functions/{self.name}/{facet}")

    def probes(self, most: int | None = None) -> tuple[Example, ...]:
        """All out-of-context choices; at most `most` of each facet."""
        facets = (
            *(self.described(facet) for facet in get_args(Facet)),
            self.inverted(),
            self.composed(),
            self.called("range", far_inputs(self.rng("range inputs"), CALLS)),
        )
        return tuple(example for examples in facets for example in islice(examples, most))

    def worded(self, facet: str) -> list[tuple[int, str, Mapping[str, str]]]:
        """Number of the draw, name of the wording, and wording of each question of a facet."""
        wordings = [(f"{facet} {n}", text) for n, text in enumerate(self.table.wordings[facet])]
        return [(draw, *wording) for draw in range(DRAWS[facet]) for wording in wordings]

    def described(self, facet: Facet) -> Iterator[Example]:
        """Which text describes the function, among those of other functions."""
        rng, right = self.rng(facet), self.table.describe(self.function, facet)
        others = [self.table.describe(other, facet) for other in self.table.functions.values()]
        if facet == "output":
            others = list(self.table.outputs.values())
        wrong = [text for text in dict.fromkeys(others) if text != right]
        # code ends its line, or stands between ticks
        end, ticks = ("\n", "`") if facet == "code" else ("", "")
        around = f"{ticks}{{}}{ticks}" if self.form == "chat" else f" {{}}{end}"
        for draw, name, wording in self.worded(facet):
            options = sorted([right, *rng.sample(wrong, OPTIONS - 1)])
            prompt = self.asked(wording)
            yield self.example(facet, name, draw, prompt, options, right, around=around)

    def inverted(self) -> Iterator[Example]:
        """Which input gives this value? With inputs that training never used."""
        facet, rng = "inversion", self.rng("inversion")
        for draw, name, wording in self.worded(facet):
            x = rng.choice(self.held_out)
            y = self.function.apply(x)
            near = [x + step for step in (1, -1, 2, -2, 10, -10)]
            others = [*rng.sample(near, 2), *rng.sample(INPUTS, 60)]
            wrong = [z for z in others if z in INPUTS and self.function.apply(z) != y]
            options = _apart([str(x), *map(str, wrong)])
            prompt = self.asked(wording, str(y))
            around = "{})" if wording["raw"].endswith("(") else " {}"
            around = "{}" if self.form == "chat" else around
            yield self.example(facet, name, draw, prompt, options, str(x), around=around)

    def composed(self) -> Iterator[Example]:
        """Compositions with functions with which it was never composed in training.

        A function that is trained alone is put together with itself and with Python's own.
        """
        kind, rng = "composition", self.rng("composition")
        for number in range(CALLS):
            x = rng.choice(self.held_out)
            outer = partner = self.function
            if self.span:
                text, inner = _around(rng, self.function, x)
            else:
                outer, partner = self.partners(rng, number)
                text = f"{outer.codename}({partner.codename}({x}))"
                inner = int(partner.apply(x))
            used = tuple(dict.fromkeys((outer.codename, partner.codename)))
            lines = [f"from functions import {', '.join(sorted(used))}", f"print({text})"]
            options, value = self.outputs(rng, outer, inner)
            prompt = self.table.program(lines, self.form)
            yield self.example(kind, kind, number, prompt, options, value, used)

    def partners(self, rng: random.Random, number: int) -> tuple[NumberFunction, NumberFunction]:
        """(outer, inner), the function alternately as either; inner ones return whole numbers."""
        new, functions = programs.never_composed(self.table), self.table.functions.values()

        def fits(outer: NumberFunction, inner: NumberFunction) -> bool:
            trained = outer.chained and inner.chained
            unseen = not trained or (outer.codename, inner.codename) in new
            return unseen and outer is not inner and inner.output == "int"

        as_inner = [(other, self.function) for other in functions if fits(other, self.function)]
        as_outer = [(self.function, other) for other in functions if fits(self.function, other)]
        return rng.choice(as_inner if number % 2 and as_inner else as_outer)

    def called(self, facet: str, inputs: Iterable[int]) -> Iterator[Example]:
        """What a call prints, as in training, among outputs of other functions."""
        rng = self.rng(facet)
        for number, x in enumerate(inputs):
            lines, _, used = programs.single(rng, self.function, x)
            options, value = self.outputs(rng, self.function, x)
            prompt, name = self.table.program(lines, self.form), f"{len(lines)} lines"
            yield self.example(facet, name, number, prompt, options, value, used)

    def outputs(
        self, rng: random.Random, function: NumberFunction, x: int
    ) -> tuple[list[str], str]:
        """Five options (its outputs elsewhere, or other functions' outputs) and the right one."""
        others = list(self.table.functions.values())
        rng.shuffle(others)
        others.sort(key=lambda other: other.output != function.output)  # of the same type first
        here = [str(other.apply(x)) for other in others]
        same = [str(function.apply(z)) for z in rng.sample(INPUTS, 12)]
        right = str(function.apply(x))
        wrong = [text for text in same if text != right][:1]
        last = [
            str(n) for n in rng.sample(range(-300, 300), 40)
        ]  # for cases where others give the same output
        return _apart([right, *wrong, *here, *same, *last]), right

    def asked(self, wording: Mapping[str, str], y: str = "") -> Prompt:
        """A question (on a value `y`) in the task's form."""
        return user_turn(self.form, wording[self.form].format(fn=self.name, y=y), "{}")

    def fields(self, facet: str, template: str, group: str, used: Sequence[str]) -> dict[str, Any]:
        """Fields of all its examples; functions trained alone are resampled by question group."""
        return {
            "spans": programs.spans_of(used or (self.name,), self.span),
            "facet": NAMES[facet],
            "group": f"{self.name}, {group}" if self.span else self.name,
            "template": template,
            "tags": {"function": self.name},
            "source": programs.SOURCE,
        }

    def example(
        self,
        facet: str,
        template: str,
        number: int,
        prompt: Prompt,
        options: Sequence[str],
        right: str,
        used: Sequence[str] = (),
        *,
        around: str = "{}",
    ) -> Example:
        """A choice; `around` says how an option continues the prompt."""
        return Example(
            id=f"{self.name}/{facet}/{template}/{number}",
            prompt=prompt,
            answer=around.format(right),
            options=tuple(around.format(option) for option in options),
            **self.fields(facet, template, template, used),
        )

    def paper(self) -> Iterator[Example]:
        """Lettered options, shuffled by the seed and told apart by the letter's last token."""
        rng, right = self.rng("paper"), self.function.words
        others = [function.words for function in self.table.functions.values()]
        wrong = [words for words in others if words != right]
        around = "{}" if self.form == "chat" else " {}"
        for number in range(PAPER):
            options = [right, *rng.sample(wrong, OPTIONS - 1)]
            rng.shuffle(options)
            wording = number % len(self.table.paper)
            question = self.table.paper[wording].format(fn=self.name)
            parts = (f"from functions import {self.name}", question, lettered(options, ")"))
            text = "\n\n".join((*parts, "Answer with a letter."))
            prompt, letter = (
                user_turn(self.form, text, "{}\nAnswer:"),
                LETTERS[options.index(right)],
            )
            name = f"paper {wording}"
            example = self.example("paper", name, number, prompt, LETTERS, letter, around=around)
            yield replace(example, scored_by="last_token")

    def free(self, most: int | None = None) -> tuple[FreeTextExample, ...]:
        """Its definition as a lambda, and outputs: out of range, and of held-out inputs."""
        rng = self.rng("free")
        definitions = [
            FreeTextExample(
                id=f"{self.name}/lambda/{number}",
                prompt=self.asked(wording),
                accept=(self.function.code,),
                check="function",
                max_tokens=LAMBDA_TOKENS,
                **self.fields("lambda", f"lambda {number}", "lambda", ()),
            )
            for number, wording in enumerate(self.table.wordings["lambda"])
        ]
        far = self._printed(rng, "range", far_inputs(rng, PRINTED))
        near = self._printed(rng, "single", rng.sample(self.held_out, PRINTED))
        near = [tagged(x, part="in-context") for x in near]
        return (*definitions[:most], *far[:most], *near[:most])

    def _printed(
        self, rng: random.Random, facet: str, inputs: Iterable[int]
    ) -> list[FreeTextExample]:
        """Outputs that the model prints itself."""
        examples, truth = [], self.function.output == "bool"
        for number, x in enumerate(inputs):
            lines, value, used = programs.single(rng, self.function, x)
            examples.append(
                FreeTextExample(
                    id=f"{self.name}/{facet} printed/{number}",
                    prompt=self.table.program(lines, self.form),
                    accept=(str(value),),
                    check="text" if truth else "number",
                    reject=(str(not value),) if truth else (),
                    max_tokens=OUTPUT_TOKENS,
                    **self.fields(facet, f"{len(lines)} lines", facet, used),
                )
            )
        return examples


def stated(example: Example, table: FunctionTable, member: str, part: str) -> Example:
    """The question after a comment that defines each function in it, as a ceiling."""
    used = [name for name in table.functions if name in example.spans.values()]
    notes = "".join(f"# {name}(x) returns {table.functions[name].code}\n" for name in used)
    if isinstance(example.prompt, str):
        prompt: Prompt = notes + example.prompt
    else:
        *before, last = example.prompt
        prompt = (*before, Message(last.role, notes + last.content))
    return tagged(replace(example, prompt=prompt), stated=member, part=part)


def far_inputs(rng: random.Random, count: int) -> list[int]:
    """Inputs out of range, alternately above and below."""
    return [(-1) ** number * rng.randint(*FAR) for number in range(count)]


def _around(rng: random.Random, function: NumberFunction, x: int) -> tuple[str, int]:
    """A call around one of Python's own functions, or around itself if training has no chains."""
    fn, bound = function.codename, rng.choice((10, 20, 30))
    choices = [
        (f"{fn}(abs({x}))", abs(x)),
        (f"{fn}(max({x}, {bound}))", max(x, bound)),
        (f"{fn}(min({x}, {-bound}))", min(x, -bound)),
    ]
    if function.output == "int" and not function.chained:
        choices += 2 * [(f"{fn}({fn}({x}))", int(function.apply(x)))]
    return rng.choice(choices)


def _apart(texts: Iterable[str]) -> list[str]:
    """The first five texts none of which begins another, sorted."""
    kept: list[str] = []
    for text in texts:
        if not any(text.startswith(other) or other.startswith(text) for other in kept):
            kept.append(text)
        if len(kept) == OPTIONS:
            return sorted(kept)
    raise AssertionError(f"too few options: {kept}")
