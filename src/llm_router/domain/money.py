"""Money as integers: one picodollar (p$) is 1e-12 US dollars. No float ever holds money.

Picodollars are the coarsest unit in which every published token price is whole: the cheapest
prices of today are a few thousand p$ a token. Amounts stay below ``MAX_PUSD`` so that they fit a
signed 64-bit column with room for a sum of two.
"""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DecimalException, Inexact, InvalidOperation

PUSD_PER_USD = 10**12
"""Picodollars in one US dollar."""

MAX_PUSD = 4_600_000 * PUSD_PER_USD
"""The largest amount an account may hold ($4.6 M): two of them still fit an int64."""

_PUSD = Decimal("1E-12")

_WHOLE_PUSD = Context(prec=24, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""Nothing is rounded in it, and nothing has more digits than an amount can have."""

_DECIMAL = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")


def parse_usd(text: str) -> int:
    """Read a plain decimal number of dollars (``"12.50"``) as picodollars.

    Only ASCII digits with at most twelve of them behind the point are taken: no exponent, no sign
    but ``-``, no separators, so that what was typed is what is booked.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not an amount of dollars such as 5 or 12.50")
    return int(Decimal(text).scaleb(12, context=_WHOLE_PUSD))


def pusd_of(amount: Decimal) -> int:
    """Picodollars of a decimal number of dollars that somebody wrote, whatever its exponent.

    ``1e-200000000`` is a number of twelve characters whose digits would fill 200 MB: every number from outside comes
    through here before anything else is done with it.

    Raises:
        ValueError: it is not finite, not whole in picodollars, or far beyond any amount.
    """
    try:
        if not amount.is_finite():
            raise InvalidOperation
        return int(amount.quantize(_PUSD, context=_WHOLE_PUSD).scaleb(12, context=_WHOLE_PUSD))
    except DecimalException:
        raise ValueError(
            "an amount of dollars has at most 12 digits behind the point, and 12 before it"
        ) from None


def format_usd(pusd: int) -> str:
    """Write picodollars as the shortest exact decimal number of dollars (``"0.0000345"``).

    The text is a valid JSON number, exact to the picodollar, and never uses an exponent.
    """
    if pusd < 0:
        return f"-{format_usd(-pusd)}"
    whole = pusd // PUSD_PER_USD
    part = pusd - whole * PUSD_PER_USD
    return f"{whole}.{str(PUSD_PER_USD + part)[1:]}".rstrip("0") if part else str(whole)
