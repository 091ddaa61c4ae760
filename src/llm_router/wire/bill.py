"""How a bill is written into JSON: exact decimal dollars from integers, never a float."""

from __future__ import annotations

import msgspec

from llm_router.domain.money import format_usd
from llm_router.wire.dialect import Bill


def bill_members(bill: Bill) -> dict[str, msgspec.Raw]:
    """The members ``cost`` and ``credits_remaining`` of a usage object, as JSON numbers in US dollars;
    and ``continued``, the seams of an answer that was put together."""
    members = {
        "cost": msgspec.Raw(format_usd(bill.cost_pusd).encode()),
        "credits_remaining": msgspec.Raw(format_usd(bill.credits_remaining_pusd).encode()),
    }
    if bill.seams:
        members["continued"] = msgspec.Raw(msgspec.json.encode(bill.seams))
    return members
