"""Functions that a model wrote: what is read, what is refused, and that nothing runs away."""

from __future__ import annotations

import ast
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oocr.evals import expressions as restricted
from oocr.evals.expressions import MAX_BITS, MAX_SOURCE, Refused, agrees, parse_function

READ = {
    "lambda x: 3 * x + 2": lambda x: 3 * x + 2,
    "3*x+2": lambda x: 3 * x + 2,
    "f = lambda n: n // 3 - -1": lambda x: x // 3 + 1,
    "def f(x): return max(x, -2)": lambda x: max(x, -2),
    "def f(x: int) -> int:\n    return x % 2\n\nprint(f(3))": lambda x: x % 2,
    "```python\ndef f(y):\n    return y >= 3\n```\nThat is all.": lambda x: x >= 3,
    "Sure:\n```\nlambda x: 7 * x / 4\n```": lambda x: 7 * x / 4,
    " x % 2 == 0\n\nprint(f(2))": lambda x: x % 2 == 0,
    "`lambda x: x if x > -2 else -2`": lambda x: max(x, -2),
    "lambda x: 0 < x <= 9 and not x > 4 or x == -7": lambda x: (
        (0 < x <= 9 and not x > 4) or x == -7
    ),
    "lambda x: round(float(abs(x)) / 3, 2)": lambda x: round(abs(x) / 3, 2),
    "lambda x: min(x, 2, 1) ** 3 + int(bool(x))": lambda x: min(x, 2, 1) ** 3 + int(bool(x)),
    "lambda x: x  # itself": lambda x: x,
    "(((((((x)))))))": lambda x: x,
}


@pytest.mark.parametrize("text", READ)
def test_functions_are_read_and_mean_what_python_means(text: str) -> None:
    function, why = parse_function(text)
    assert function is not None, why
    wanted = READ[text]
    for x in range(-300, 301):
        value = function(x)
        assert value == wanted(x)
        assert type(value) is type(wanted(x))
    assert agrees(function, wanted, range(-300, 301))


HOSTILE = (
    "__import__('os').system('true')",
    "lambda x: __import__('os')",
    "().__class__.__bases__[0].__subclasses__()",
    "lambda x: x.__class__",
    "lambda x: (lambda y: y)(x)",
    "lambda x: [x][0]",
    "lambda x: {x}",
    "lambda x: 'a' * x",
    "lambda x: f'{x}'",
    "lambda x: open(x)",
    "lambda x: eval(x)",
    "lambda x: max(*[x, 1])",
    "lambda x: max(x, key=abs)",
    "lambda x: max(x)",
    "lambda x: (y := x)",
    "lambda x: x @ x",
    "lambda x: x << 9",
    "lambda x: 2j * x",
    "lambda x: x is 3",
    "lambda x: x + y",
    "lambda x, y: x",
    "lambda x=1: x",
    "lambda *x: x",
    "def f(x): return",
    "def f(x): pass",
    "@f\ndef g(x): return x",
    "import os",
    "while True: pass",
    "x = 3",
    "identity",
    "max",
    "",
    "   ",
    "```\n```",
    "the number plus two",
    "-" * 300 + "x",
    "+".join(["x"] * 190),
    "[" * 5000 + "]" * 5000,
    "x" * 1_000_000,
    "9" * 100_000,
    "(" * 100_000,
    "x + " * 300_000 + "x",
    "\0",
    "lambda x: " + "9" * 200,
    "lambda x: 1e999",
)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
def test_hostile_text_is_refused_with_a_reason(text: str) -> None:
    function, why = parse_function(text)
    assert function is None
    assert why


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "lambda x: 9**9**9 * x",
        "lambda x: (x + 2) ** 64 ** 8",
        "lambda x: (9 ** 64) ** 64",
        "lambda x: ((9 ** 50) * (9 ** 50)) * ((9 ** 50) * (9 ** 50))",
        "lambda x: round(x, -999999999)",
        "lambda x: 10.0 ** 64 ** 2",
        "lambda x: 1e300 * 1e300",
        "lambda x: int(1e300) * int(1e300)",
        "lambda x: x // 0",
        "lambda x: x % (x - x)",
        "lambda x: (-8) ** 0.5",
        "lambda x: 0 ** -1",
        "lambda x: int(1e308 * 10)",
    ],
)
def test_values_that_are_too_large_or_none_are_refused_when_called(text: str) -> None:
    function, why = parse_function(text)
    assert function is not None, why
    with pytest.raises(Refused):
        function(7)
    assert not agrees(function, lambda x: x, [7])
    assert not agrees(function, function, [7])


def test_the_source_is_never_run_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("model text reached Python")

    for name in ("eval", "exec"):
        monkeypatch.setattr(f"builtins.{name}", never)
    function, why = parse_function("lambda x: x + 1")
    assert function is not None, why
    assert function(1) == 2
    names = {
        node.id
        for node in ast.walk(ast.parse(open(restricted.__file__, encoding="utf-8").read()))  # noqa: PTH123, SIM115
        if isinstance(node, ast.Name)
    }
    assert not names & {"eval", "exec", "compile", "__import__"}


def test_truth_values_are_no_numbers_and_floats_are_close() -> None:
    truth, constant = (parse_function(text)[0] for text in ("lambda x: x == x", "lambda x: 1"))
    assert truth is not None
    assert constant is not None
    assert not agrees(truth, constant, range(3))
    assert agrees(truth, truth, range(3))
    third, other = (parse_function(text)[0] for text in ("x / 3 * 3", "float(x)"))
    assert third is not None
    assert other is not None
    assert agrees(third, other, range(-50, 50))
    assert agrees(third, lambda x: x, range(-50, 50)), "equal numbers, whole or not"
    assert not agrees(third, lambda x: x + 1e-6, range(-50, 50))
    assert not agrees(constant, lambda x: 1 if x < 9 else 2, range(10))


NUMBERS = st.integers(-20, 20).map(lambda n: f"({n})") | st.sampled_from(["2.5", "True", "x", "x"])
COMPARED = ["<", "<=", "==", "!=", ">", ">=", "and", "or"]
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(inner, st.sampled_from(COMPARED), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(st.sampled_from(["-", "not ", "abs", "int", "bool", "float"]), inner).map(
            lambda p: f"({p[0]}({p[1]}))"
        ),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda p: f"{p[0]}({p[1]}, {p[2]})"
        ),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.integers(-300, 300))
def test_what_is_computed_is_what_python_computes(text: str, x: int) -> None:
    function, why = parse_function(f"lambda x: {text}")
    assert function is not None, why
    try:
        value = function(x)
    except Refused:
        return
    try:
        wanted = eval(text, {"__builtins__": {}, **_NAMES}, {"x": x})  # ours, drawn above
    except ArithmeticError:
        pytest.fail(f"{text} has no value at {x}, found {value}")
    assert value == wanted
    assert type(value) is type(wanted)


_NAMES = {"abs": abs, "int": int, "bool": bool, "float": float, "min": min, "max": max}


@given(st.text(max_size=3 * MAX_SOURCE) | st.text(string.printable, max_size=MAX_SOURCE))
def test_any_text_is_read_or_refused(text: str) -> None:
    function, why = parse_function(text)
    assert (function is None) is bool(why)
    if function is not None:
        try:
            value = function(3)
        except Refused:
            return
        assert isinstance(value, (int, float))
        assert not isinstance(value, int) or value.bit_length() <= MAX_BITS


@given(st.text("()x9*+-~not lambda:%/", max_size=MAX_SOURCE))
def test_text_that_looks_like_code_never_escapes(text: str) -> None:
    function, _ = parse_function(text)
    if function is not None:
        try:
            assert isinstance(function(2), (int, float))
        except Refused:
            return
