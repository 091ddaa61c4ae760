"""Sums in a text: found, read and computed exactly."""

from __future__ import annotations

import re
from fractions import Fraction

_NUMBER = r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?"
_SIGN = r"[+\-*/×÷x−]|plus|minus|times|multiplied by|divided by|over"  # noqa: RUF001
_SUM = re.compile(rf"(?<![\w.])({_NUMBER}(?:\s*(?:{_SIGN})\s*{_NUMBER})+)(?![\w])", re.IGNORECASE)
_STEP = re.compile(rf"\s*({_SIGN})?\s*({_NUMBER})", re.IGNORECASE)
_SIGNS = {
    "plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "over": "/",
    "x": "*", "×": "*", "÷": "/", "−": "-",  # noqa: RUF001
}  # fmt: skip


def first_sum(text: str) -> tuple[str, str] | None:
    """The first sum of a text in plain signs, and its result; None if there is none.

    Dates and ranges such as ``2024-05-01`` or ``3-5`` are no sums: a minus needs blanks around it.
    """
    for match in _SUM.finditer(text):
        steps = _steps(match[1])
        if steps is None:
            continue
        result = _compute(steps)
        shown = " ".join(f"{sign} {number}".strip() for sign, number in steps)
        return shown, "undefined (division by zero)" if result is None else _show(result)
    return None


def _steps(text: str) -> list[tuple[str, str]] | None:
    """("", first), (sign, next) ...; None for what only looks like a sum."""
    if re.search(r"[0-9]-[0-9]", text) or re.fullmatch(r"[0-9]+/[0-9]+/[0-9]+", text):
        return None
    steps: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        sign = (match[1] or "").lower()
        if bool(sign) == (not steps):
            return None
        steps.append((_SIGNS.get(sign, sign), match[2]))
        at = match.end()
    return steps


def _compute(steps: list[tuple[str, str]]) -> Fraction | None:
    """Times and divided bind closer than plus and minus; None is a division by zero."""
    terms: list[Fraction] = []
    for sign, number in steps:
        value = Fraction(number)
        if sign == "*":
            terms[-1] *= value
        elif sign == "/":
            if value == 0:
                return None
            terms[-1] /= value
        else:
            terms.append(-value if sign == "-" else value)
    return sum(terms, Fraction(0))


def _show(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    return text if Fraction(text) == value else f"about {text}"
