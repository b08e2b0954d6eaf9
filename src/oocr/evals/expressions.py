"""Functions of one number written by a model, evaluated without Python's `eval`.

The text is parsed and its tree walked here; what is not on the list below is refused. Everything is
bounded, so that no text can run long, take much memory, or reach anything but numbers.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

Value = int | float | bool
Function = Callable[[int], Value]

MAX_SOURCE = 400  # characters of one expression
MAX_NODES = 100  # of its tree
MAX_DEPTH = 24  # from the root to the deepest leaf
MAX_BITS = 256  # of an integer, at any point of the computation
MAX_EXPONENT = 64
MAX_DIGITS = 12  # of the second argument of `round`

_LEAVES = (ast.Constant, ast.Name)
_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)


class Refused(ValueError):  # noqa: N818 - it is an answer, not a fault
    """Text that is not one of the functions allowed here, or a value that it has nowhere."""


def _bounded(value: object) -> Value:
    if not isinstance(value, (int, float)):
        raise Refused(f"a value that is no number: {type(value).__name__}")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Refused(f"an integer of more than {MAX_BITS} bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("a number that is not finite")
    return value


def _power(base: Value, exponent: Value) -> Value:
    if abs(exponent) > MAX_EXPONENT:
        raise Refused(f"an exponent above {MAX_EXPONENT}")
    result: object = base**exponent
    if isinstance(result, complex):
        raise Refused("a root of a negative number")
    return _bounded(result)


def _rounded(value: Value, *digits: Value) -> Value:
    if digits and (not isinstance(digits[0], int) or abs(digits[0]) > MAX_DIGITS):
        raise Refused(f"round to other than {MAX_DIGITS} digits at most")
    return round(value, int(digits[0])) if digits else round(value)


_BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Value], Value]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLED: dict[str, tuple[int, int, Callable[..., Value]]] = {  # how many arguments, from and to
    "min": (2, 8, min),
    "max": (2, 8, max),
    "abs": (1, 1, abs),
    "round": (1, 2, _rounded),
    "int": (1, 1, int),
    "float": (1, 1, float),
    "bool": (1, 1, bool),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed function: calling it walks its tree, which `_check` let pass."""

    body: ast.expr

    def __call__(self, x: int) -> Value:
        """The value at x; Refused: it has none (division by zero), or one that is too large."""
        try:
            return _value(self.body, x)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise Refused(f"no value at {x}: {error}") from error


def parse_function(text: str) -> tuple[Function | None, str]:
    """The first function of one variable in a text, or None and why there is none.

    Allowed are `lambda x: …`, `def f(x): return …`, either of them given a name, or a bare
    expression, alone, in a code fence or at the beginning of the text. In it: numbers, the
    parameter (of a bare expression a small letter), + - * / // % **, comparisons, and, or, not,
    if-else, and calls to min, max, abs, round, int, float and bool.
    """
    reason = "the text is empty"
    for number, source in enumerate(_candidates(text)):
        try:
            return _parsed(source), ""
        except Refused as refused:
            reason = str(refused) if number == 0 else reason
    return None, reason


def agrees(answered: Function, wanted: Function, inputs: Iterable[int]) -> bool:
    """Whether two functions have the same value at every input.

    A truth value agrees with a truth value only; whole and other numbers agree if they are equal
    (to 1e-9, relative). Where one has no value, they don't agree.
    """
    for x in inputs:
        try:
            value, right = answered(x), wanted(x)
        except Refused:
            return False
        if isinstance(value, bool) is not isinstance(right, bool):
            return False
        if not math.isclose(value, right, rel_tol=1e-9, abs_tol=1e-9):
            return False
    return True


def _candidates(text: str) -> Iterator[str]:
    """What may be code, longest first: fenced block or text, a def's two lines, the first line."""
    fenced = _FENCE.search(text)
    source = (fenced.group(1) if fenced else text)[: 4 * MAX_SOURCE].strip().strip("`").strip()
    if not source:
        return
    if len(text) <= 4 * MAX_SOURCE:
        yield source
    lines = source.splitlines()
    if lines[0].lstrip().startswith("def ") and len(lines) > 1:
        inner = [line for line in lines[1:] if line.strip()]
        yield "\n".join([lines[0], *inner[:1]])
    yield lines[0].strip().strip("`").strip()


def _parsed(source: str) -> Expression:
    if len(source) > MAX_SOURCE:
        raise Refused(f"{len(source)} characters; at most {MAX_SOURCE} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but valid text: it isn't ours
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"not Python: {type(error).__name__}") from error
    if len(tree.body) != 1:
        raise Refused(f"{len(tree.body)} statements; one is read")
    body, parameter = _body(tree.body[0])
    _check(body, parameter)
    return Expression(body)


def _body(statement: ast.stmt) -> tuple[ast.expr, str]:
    """The expression that is the function's value, and its parameter ("": to be found)."""
    if isinstance(statement, ast.FunctionDef):
        if statement.decorator_list or len(statement.body) != 1:
            raise Refused("a def with more than one return")
        last = statement.body[0]
        if not isinstance(last, ast.Return) or last.value is None:
            raise Refused("a def that returns nothing")
        return last.value, _parameter(statement.args)
    value: ast.expr | None = None
    if isinstance(statement, ast.Expr):
        value = statement.value
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        value = statement.value if isinstance(statement.value, ast.Lambda) else None
    if value is None:
        raise Refused(f"a statement: {type(statement).__name__}")
    if isinstance(value, ast.Lambda):
        return value.body, _parameter(value.args)
    return value, ""


def _parameter(given: ast.arguments) -> str:
    parameters = [*given.posonlyargs, *given.args]
    if len(parameters) != 1 or given.vararg or given.kwonlyargs or given.kwarg or given.defaults:
        raise Refused("a function of other than one parameter")
    return parameters[0].arg


def _check(body: ast.expr, parameter: str) -> None:
    """Refuse a tree that holds anything not allowed."""
    todo: list[tuple[ast.expr, int]] = [(body, 1)]
    seen = 0
    while todo:
        node, depth = todo.pop()
        seen += 1
        if seen > MAX_NODES or depth > MAX_DEPTH:
            raise Refused("too large or too deep")
        if isinstance(node, ast.Name):
            # "x + 5"; a longer word may be just a word, a capital the letter of an option.
            if not parameter and len(node.id) == 1 and node.id.islower():
                parameter = node.id
            if node.id != parameter:
                raise Refused(f"the name {node.id!r}")
        elif isinstance(node, ast.Constant):
            _bounded(node.value)
        todo += [(part, depth + 1) for part in _parts(node)]


def _parts(node: ast.expr) -> list[ast.expr]:
    """The parts of a node that is allowed."""
    if isinstance(node, _LEAVES):
        return []
    if isinstance(node, ast.BinOp) and isinstance(node.op, tuple(_BINARY)):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, tuple(_UNARY)):
        return [node.operand]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.Compare) and all(isinstance(op, tuple(_COMPARED)) for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.IfExp):
        return [node.test, node.body, node.orelse]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        least, most, _ = _CALLED.get(node.func.id, (0, -1, None))
        if least <= len(node.args) <= most:
            return node.args
        raise Refused(f"a call of {node.func.id!r} with {len(node.args)} arguments")
    raise Refused(f"not allowed: {type(node).__name__}")


def _value(node: ast.expr, x: Value) -> Value:
    if isinstance(node, ast.Constant):
        return _bounded(node.value)
    if isinstance(node, ast.Name):
        return x
    if isinstance(node, ast.BinOp):
        return _bounded(_BINARY[type(node.op)](_value(node.left, x), _value(node.right, x)))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, x))
    if isinstance(node, ast.BoolOp):
        return _either(node, x)
    if isinstance(node, ast.Compare):
        return _compared(node, x)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, x) else node.orelse, x)
    assert isinstance(node, ast.Call), "_check lets nothing else pass"
    assert isinstance(node.func, ast.Name)
    function = _CALLED[node.func.id][2]
    return _bounded(function(*[_value(argument, x) for argument in node.args]))


def _either(node: ast.BoolOp, x: Value) -> Value:
    """`and` and `or` give the operand that decides, as Python does."""
    stops = isinstance(node.op, ast.Or)
    value: Value = False
    for operand in node.values:
        value = _value(operand, x)
        if bool(value) is stops:
            break
    return value


def _compared(node: ast.Compare, x: Value) -> bool:
    left = _value(node.left, x)
    for op, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, x)
        if not _COMPARED[type(op)](left, right):
            return False
        left = right
    return True
