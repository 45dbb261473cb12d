"""Exact numbers from text: the last answer in a candidate, and the value of an expression.

Nothing is evaluated as code. An expression is read with :mod:`ast`, and only numbers, ``+ - * /``,
``**``, signs and parentheses have a value; the length of the text, the size of exponents and the
size of every intermediate number are bounded.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

MAX_TEXT = 20_000
"""Characters of a candidate that are read, from its end: the answer stands there."""
MAX_EXPRESSION = 200
"""Characters of an expression: bounds the parser's depth and the number of operations."""
MAX_EXPONENT = 1_000
MAX_BITS = 10_000
"""Bits of a numerator or denominator, of results in between too: 9**9**9 never gets computed."""

_NUMBER = r"(?:\d[\d,_]*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_LITERAL = re.compile(
    rf"(?<![\w.,])[-+]?{_NUMBER}(?:\s?/\s?\d+|\s\d+\s?/\s?\d+)?(?:\s?%)?(?!\.?\d|(?:st|nd|rd|th)\b)"
)
_MARKER = re.compile(r"####|\banswer\b[^.\d\n]{0,40}?(?:\bis\b\s*:?|[:=])", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z]\w*>")
_ARROW = re.compile(r"[-=]>|→|⇒|\\(?:to|implies|[rR]ightarrow)(?![a-zA-Z])")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_EQUALS = re.compile(r"=|≈|\\approx")
_NOT_ONE_VALUE = re.compile(r"[<>≤≥≠±]|!=|\\(?:leq?|geq?|neq?|lt|gt|pm)(?![a-zA-Z])")
_AROUND = " \t*_`.,;:!?\"'€£¥"
_ALLOWED = re.compile(r"[\d.eE+\-*/()\s]+")
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_PLAIN = [
    (re.compile("[\u2212\ufe63\uff0d]"), "-"),
    (re.compile("[×·⋅]|\\\\(?:times|cdot)(?![a-zA-Z])"), "*"),
    (re.compile(r"÷|\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[,;:!()\[\]]|\$"), ""),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    # Spaces that group digits; an ordinary space does not: '1 000' may be two numbers.
    (re.compile("(?<=\\d)[\u202f\u2009\u00a0](?=\\d{3}(?!\\d))"), ""),
    (re.compile("[\u202f\u2009\u00a0]|\\\\ "), " "),
    # A mixed number: 3\frac{1}{2} is 3 + 1/2.
    (re.compile(r"(\d+)\s*\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"(\1+(\2)/(\3))"),
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"(\1/\2)"),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"**(\1)"),
    (re.compile(r"\^"), "**"),
]


def final_value(text: str) -> Fraction | None:
    r"""The value of the last answer in a text; None where there is none that can be read.

    Looked for in this order: the last ``\boxed{...}``; what follows the last ``####`` or
    'answer (is|:)'; the last sentence with a digit in it, there what follows the last ``=``. A
    part that is no expression as a whole gives its first number after a mark or an equals sign,
    otherwise its last. An inequality, plus-minus, and 'NaN' have no value.

    >>> final_value("So it is 3 + 4 = 7 apples.")
    Fraction(7, 1)
    >>> final_value(r"Hence \boxed{\frac{1}{2}}.")
    Fraction(1, 2)
    """
    text = _ARROW.sub("=", _TAG.sub(" ", text[-MAX_TEXT:]))
    if "\\boxed" in text:
        inside = _boxed(text)
        return None if inside is None else _of_part(inside, first=True)
    marks = list(_MARKER.finditer(text))
    if marks and re.search(r"\d", after := text[marks[-1].end() :]):
        parts = [s for s in _SENTENCE.split(after.strip()) if re.search(r"\d", s)]
        return _of_part(parts[0], first=True)
    parts = [s for s in _SENTENCE.split(text) if re.search(r"\d", s)]
    return _of_part(parts[-1], first=False) if parts else None


def value(expression: str) -> Fraction | None:
    """The exact value of an expression as a whole; None where it has none within the bounds.

    A percentage is a hundredth; a root (a fractional exponent) is rounded to a float. Division by
    zero, a comma that does not group thousands, and anything but arithmetic have no value.

    >>> value("1,200 / 2**3"), value("50%"), value("__import__('os')")
    (Fraction(150, 1), Fraction(1, 2), None)
    """
    return _evaluated(_plain(expression))


def _boxed(text: str) -> str | None:
    """What stands in the last box, whose braces have to balance."""
    start = text.rfind("\\boxed")
    opened = re.match(r"\\boxed\s*\{", text[start:])
    if opened is None:
        return None
    begin, depth = start + opened.end(), 1
    for end in range(begin, min(len(text), begin + MAX_EXPRESSION)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[begin:end]
    return None


def _of_part(part: str, first: bool) -> Fraction | None:
    if len(part) > 10 * MAX_EXPRESSION:
        part = part[: 10 * MAX_EXPRESSION] if first else part[-10 * MAX_EXPRESSION :]
    if _NOT_ONE_VALUE.search(part):
        return None
    sides = [side for side in _EQUALS.split(part) if re.search(r"\d", side)]
    if not sides:
        return None
    first = first or _EQUALS.search(part) is not None
    plain = _plain(sides[-1]).strip(_AROUND)
    # A remark in parentheses was cut at its equals sign: (since 2 + 3 = 5)
    while plain.endswith(")") and plain.count(")") > plain.count("("):
        plain = plain[:-1].rstrip(_AROUND)
    whole = _evaluated(plain)
    if whole is not None:
        return whole
    # What is arithmetic but without a value, such as 1/0, must not give one of its digits.
    if _ALLOWED.fullmatch(plain.replace("%", " ")):
        return None
    found = [m.group() for m in _LITERAL.finditer(plain)]
    return _evaluated(found[0 if first else -1].rstrip(",_")) if found else None


def _plain(text: str) -> str:
    for pattern, by in _PLAIN:
        text = pattern.sub(by, text)
    return text.strip()


def _evaluated(text: str) -> Fraction | None:
    if len(text) > MAX_EXPRESSION:
        return None
    text = re.sub(
        r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: m.group().replace(",", ""), text
    )
    text = re.sub(r"(?<=\d)_(?=\d)", "", text)
    text = re.sub(rf"(?<![\w.])({_NUMBER})\s*%", r"(\1/100)", text)
    text = re.sub(r"(?<![\w.*/])(\d+)\s+(\d+\s*/\s*\d+)(?![\w.])", r"(\1+\2)", text)
    # Leading zeros are no numbers to Python, but they are to people.
    text = re.sub(r"(?<![\w.])0+(?=\d)", "", text)
    if not _ALLOWED.fullmatch(text):
        return None
    text = " ".join(text.split())
    try:
        return _bounded(_node(ast.parse(text, mode="eval").body, text))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _node(node: ast.expr, text: str) -> Fraction:
    if isinstance(node, ast.Constant):
        # From the text: the parser's float has lost digits, or is infinite.
        return _literal(ast.get_source_segment(text, node) or "")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        inner = _node(node.operand, text)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _node(node.left, text), _node(node.right, text)
        if isinstance(node.op, ast.Pow):
            return _bounded(_power(left, right))
        if type(node.op) in _OPERATORS:
            return _bounded(_OPERATORS[type(node.op)](left, right))
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _literal(text: str) -> Fraction:
    _, _, exponent = text.lower().partition("e")
    if len(exponent) > 5 or (exponent and abs(int(exponent)) > MAX_EXPONENT):
        raise ValueError("the exponent is too large")
    return _bounded(Fraction(text))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError("the exponent is too large")
    if exponent.denominator != 1:
        if base < 0:
            raise ValueError("a root of a negative number")
        return Fraction(float(base) ** float(exponent))
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(int(exponent)) > MAX_BITS:
        raise ValueError("the power is too large")
    return Fraction(base ** int(exponent))


def _bounded(number: Fraction) -> Fraction:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
        raise ValueError("the number is too large")
    return number
