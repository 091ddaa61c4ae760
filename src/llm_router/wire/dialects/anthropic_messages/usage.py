"""Usage: cumulative, field by field, in disjoint buckets.

https://docs.anthropic.com/en/api/messages#response-usage: the total input is ``input_tokens`` +
``cache_creation_input_tokens`` + ``cache_read_input_tokens``; ``output_tokens`` includes thinking.
In a stream every count is a running total, so the last value of each field is right; a field that
the last message leaves out keeps the value it had.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.domain.price import TOOL
from llm_router.domain.usage import Provenance, Usage, token_count
from llm_router.wire.bill import bill_members
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill
from llm_router.wire.events import UsageSeen
from llm_router.wire.verbatim import dump

_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_FIELDS = (
    *_COUNTS,
    "cache_creation",
    "server_tool_use",
    "output_tokens_details",
    "service_tier",
    "speed",
    "inference_geo",
    "iterations",
)
_TIERS = ("standard", "priority", "batch")
_SAMPLING = ("message", "fallback_message")


class UsageReader:
    """Collects the usage members of one reply."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def add(self, usage: object) -> bool:
        """Take one ``usage`` member; False if it holds nothing to know."""
        if not isinstance(usage, dict):
            return False
        known = {name: usage[name] for name in _FIELDS if usage.get(name) is not None}
        self._seen.update(known)
        return bool(known)

    def event(self, model: str) -> UsageSeen | None:
        """The usage so far; None while input or output is unknown.

        ``model`` is the one that answers: compactions name none, and are its own.
        """
        seen = self._seen
        if "input_tokens" not in seen or "output_tokens" not in seen:
            return None
        usage = _buckets(seen)
        if usage is None:
            return UsageSeen(usage=None)
        return UsageSeen(
            usage=msgspec.structs.replace(
                usage,
                web_searches=_inner(seen, "server_tool_use", "web_search_requests"),
                service_tier=priced_tier(seen),
                others=_others(seen, model),
            )
        )


def priced_tier(members: Mapping[str, object]) -> str | None:
    """The name under which a request or its usage is priced: that of its speed and place, if these cost
    more, else of its service tier.

    https://platform.claude.com/docs/en/build-with-claude/fast-mode,
    https://platform.claude.com/docs/en/build-with-claude/data-residency
    """
    dear = ["us"] if members.get("inference_geo") == "us" else []
    dear += ["fast"] if members.get("speed") == "fast" else []
    tier = members.get("service_tier")
    if dear:
        return " ".join(dear)
    return tier if isinstance(tier, str) else None


def _buckets(seen: Mapping[str, object]) -> Usage | None:
    """The token buckets, or None if a count cannot be true."""
    counts: dict[str, int] = {}
    for name in _COUNTS:
        if seen.get(name) is None:
            continue
        count = token_count(seen[name])
        if count is None:
            return None
        counts[name] = count
    written, hour = _cache_writes(counts.get("cache_creation_input_tokens"), seen.get("cache_creation"))
    output = counts.get("output_tokens", 0)
    thinking = min(_inner(seen, "output_tokens_details", "thinking_tokens"), output)
    return Usage(
        input_tokens=counts.get("input_tokens", 0),
        cache_read_tokens=counts.get("cache_read_input_tokens", 0),
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
        output_tokens=output - thinking,
        reasoning_tokens=thinking,
    )


def _cache_writes(total: int | None, detail: object) -> tuple[int, int]:
    """(all tokens written, those with the one-hour lifetime).

    The lifetimes come with the first message only, the total grows: what was written later has the
    lifetime of the rest if there was but one.
    """
    hour = minutes = 0
    if isinstance(detail, dict):
        hour = token_count(detail.get("ephemeral_1h_input_tokens")) or 0
        minutes = token_count(detail.get("ephemeral_5m_input_tokens")) or 0
    if total is None:
        return hour + minutes, hour
    if hour and not minutes:
        return total, total
    return total, min(hour, total)


def _inner(seen: Mapping[str, object], name: str, member: str) -> int:
    holder = seen.get(name)
    return (token_count(holder.get(member)) or 0) if isinstance(holder, dict) else 0


def _others(seen: Mapping[str, object], model: str) -> tuple[tuple[str, Usage], ...]:
    """What ``iterations`` tells beyond the totals.

    Sampling iterations are what the totals are the sum of. Compactions and advisors are not in
    them (recorded: 1128 + 1262 = 2390 beside an advisor's 2518). Where a declined model's sampling
    is not in the totals either, which the sum shows, it is counted here too.
    """
    entries = seen.get("iterations")
    if not isinstance(entries, list):
        return ()
    sampled: list[tuple[str | None, Usage]] = []
    others: list[tuple[str, Usage]] = []
    for entry in entries:
        usage = _buckets(entry) if isinstance(entry, dict) else None
        if usage is None:
            continue
        name = entry.get("model")
        own = name if isinstance(name, str) and name else None
        if entry.get("type") in _SAMPLING:
            sampled.append((own, usage))
        elif usage.total_tokens:
            others.append((own or model, usage))
    return (*others, *_outside(sampled, seen, model))


def _outside(
    sampled: list[tuple[str | None, Usage]], seen: Mapping[str, object], model: str
) -> list[tuple[str, Usage]]:
    """Sampling of other models that the totals leave out."""
    strangers = [
        (name, usage) for name, usage in sampled if name is not None and name != _server(sampled, model)
    ]
    total = _buckets(seen)
    if not strangers or total is None:
        return []
    summed = sum(usage.total_tokens for _, usage in sampled)
    apart = sum(usage.total_tokens for _, usage in strangers)
    return strangers if total.total_tokens == summed - apart else []


def _server(sampled: list[tuple[str | None, Usage]], model: str) -> str:
    """The model that gave the final answer: the last one that a sampling iteration names."""
    return next((name for name, _ in reversed(sampled) if name is not None), model)


def encode_usage(usage: Usage | None) -> dict[str, object]:
    """``usage`` as the API spells it. Where nothing is known the counts are 0: the form requires numbers."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    out: dict[str, object] = {
        "input_tokens": usage.input_tokens + usage.input_audio_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if usage.cache_write_tokens or usage.cache_write_1h_tokens:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.reasoning_tokens:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.web_searches:
        out["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    if usage.service_tier in _TIERS:
        out["service_tier"] = usage.service_tier
    if usage.others:
        out["iterations"] = [
            {"type": "advisor_message", "model": name, **encode_usage(part)}
            for name, part in usage.others
            if not name.startswith(TOOL)
        ]
    if usage.provenance in (Provenance.COUNTED, Provenance.ESTIMATED):
        out["estimated"] = True
    return out


def billed_usage(bill: Bill) -> dict[str, object]:
    """The usage of ``bill`` with its cost and the credits that remain."""
    return {**encode_usage(bill.usage), **bill_members(bill)}


def annotate(usage: dict[str, Raw] | None, bill: Bill) -> Raw:
    """The provider's own usage object, every member kept, with the bill written into it."""
    if usage is None:
        return dump(billed_usage(bill))
    return dump({**usage, **bill_members(bill)})
