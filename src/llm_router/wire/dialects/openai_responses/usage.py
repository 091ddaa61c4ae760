"""Token counts: the API's usage object to disjoint buckets, and back.

``input_tokens`` include cached and cache-written ones, ``output_tokens`` include reasoning, at all
hosts. https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.price import TOOL
from llm_router.domain.usage import MAX_COUNT, Provenance, Usage, token_count
from llm_router.wire.bill import bill_members
from llm_router.wire.dialect import Bill
from llm_router.wire.hosted import image_tokens

FLAG_INVALID = "usage_invalid"  # counts that cannot be true: treated as not reported
FLAG_CONTRADICTORY = "usage_contradictory"  # counts that do not add up; the sensible ones were taken

DETAILS = ("input_tokens_details", "output_tokens_details")
"""Members of a usage object that official clients expect as objects."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a usage object says. ``usage`` None: nothing, or nothing believable (see ``flags``)."""

    usage: Usage | None = None
    flags: tuple[str, ...] = ()


NOTHING = Reading()


def read_usage(response: dict[str, Any]) -> Reading:
    """Read the usage of a response, with the searches and the service tier that stand beside it."""
    raw = response.get("usage")
    if not isinstance(raw, dict) or not raw:
        return NOTHING
    counts = [_count(raw, "input_tokens", "prompt_tokens"), _count(raw, "output_tokens", "completion_tokens")]
    if -1 in counts:
        return Reading(flags=(FLAG_INVALID,))
    prompt, completion = counts
    total = token_count(raw.get("total_tokens"))
    if total is not None and prompt is not None and completion is None and total >= prompt:
        completion = total - prompt
    if prompt is None or completion is None:
        return NOTHING
    tier = response.get("service_tier")
    found = _split(
        raw, prompt, completion, total, _searches(response, raw), tier if isinstance(tier, str) else None
    )
    tools = _tools(response, raw)
    if found.usage is None or not tools:
        return found
    return msgspec.structs.replace(found, usage=msgspec.structs.replace(found.usage, others=tools))


def _split(
    raw: dict[str, Any], prompt: int, completion: int, total: int | None, searches: int, tier: str | None
) -> Reading:
    inputs, outputs = _details(raw, "input_tokens_details"), _details(raw, "output_tokens_details")
    read, write = _of(inputs, "cached_tokens"), _of(inputs, "cache_write_tokens")
    long = _of(_details(inputs, "cache_write_tokens_details"), "ttl_12h_tokens")
    audio, reasoning = _of(inputs, "audio_tokens"), _of(outputs, "reasoning_tokens")
    excess = 0 if total is None else total - prompt - completion
    flags: tuple[str, ...] = ()
    if excess and excess == reasoning:  # a host that leaves reasoning out of its output
        completion += reasoning
    elif excess:
        flags = (FLAG_CONTRADICTORY,)
    if read + write > prompt or reasoning > completion:
        flags = (FLAG_CONTRADICTORY,)
    if max(prompt, completion) > MAX_COUNT:
        return Reading(flags=(FLAG_INVALID,))
    read = min(read, prompt)
    write = min(write, prompt - read)
    long = min(long, write)
    audio = min(audio, prompt - read - write)
    reasoning = min(reasoning, completion)
    spoken = min(_of(outputs, "audio_tokens"), completion - reasoning)
    painted = min(_of(outputs, "image_tokens"), completion - reasoning - spoken)
    usage = Usage(
        input_tokens=prompt - read - write - audio,
        cache_read_tokens=read,
        cache_write_tokens=write - long,
        cache_write_1h_tokens=long,
        input_audio_tokens=audio,
        output_tokens=completion - reasoning - spoken - painted,
        reasoning_tokens=reasoning,
        output_audio_tokens=spoken,
        output_image_tokens=painted,
        web_searches=searches,
        service_tier=tier or None,
    )
    return Reading(usage=usage, flags=flags)


def _count(raw: dict[str, Any], name: str, other: str) -> int | None:
    """The count under either name; None if absent; -1 if it cannot be true."""
    value = raw.get(name)
    if value is None:
        value = raw.get(other)
    if value is None:
        return None
    count = token_count(value)
    return -1 if count is None else count


def _details(raw: dict[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def _of(holder: dict[str, Any], name: str) -> int:
    return token_count(holder.get(name)) or 0


def _searches(response: dict[str, Any], raw: dict[str, Any]) -> int:
    """Searches billed by the piece: as reported (OpenAI, xAI), else the searches among the output."""
    told = _details(_details(response, "tool_usage"), "web_search").get("num_requests")
    if told is None:
        told = _details(raw, "server_side_tool_usage_details").get("web_search_calls")
    count = token_count(told)
    if count is not None:
        return count
    output = response.get("output")
    return sum(_is_search(item) for item in output) if isinstance(output, list) else 0


def _tools(response: dict[str, Any], raw: dict[str, Any]) -> tuple[tuple[str, Usage], ...]:
    """What other tools the provider ran: as reported (xAI; OpenAI's images), else the calls among the output.

    Python runs in containers, which are billed by the piece (https://platform.openai.com/docs/pricing).
    """
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    told = _details(raw, "server_side_tool_usage_details")
    found: dict[str, Usage] = {}
    for kind in ("code_interpreter", "file_search", "x_search", "document_search"):
        count = token_count(told.get(f"{kind}_calls"))
        if count is None:
            calls = [item for item in items if item.get("type") == f"{kind}_call"]
            places = {str(item.get("container_id")) for item in calls}
            count = len(places) if kind == "code_interpreter" else len(calls)
        if count:
            found[f"{TOOL}{kind}"] = Usage(web_searches=count)
    drawn = token_count(_details(_details(response, "tool_usage"), "image_gen").get("output_tokens"))
    if not drawn:
        images = (item for item in items if item.get("type") == "image_generation_call")
        drawn = sum(image_tokens(item.get("quality")) for item in images if item.get("status") != "failed")
    if drawn:
        found[f"{TOOL}image_generation"] = Usage(output_image_tokens=drawn)
    return tuple(found.items())


def _is_search(item: object) -> bool:
    if not isinstance(item, dict) or item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return kind in (None, "search")


# -- to the client ---------------------------------------------------------------------------------


def passed_usage(raw: object, reading: Reading, bill: Bill) -> dict[str, Any]:
    """The usage object on the same-dialect path: the provider's own, with missing details and the bill.

    A cost that the provider names stays beside ours as ``upstream_cost``.
    """
    metered = bill.usage
    reported = reading.usage
    if not isinstance(raw, dict) or reported is None:
        return usage_object(bill)
    if metered is not None and metered.provenance is not Provenance.REPORTED:
        return usage_object(bill)
    right = _members(reported)
    for name in DETAILS:
        right[name] = right[name] | _details(raw, name)
    right |= bill_members(bill)
    merged = {**right, **{name: value for name, value in raw.items() if name not in right}}
    if "cost" in raw:
        merged["upstream_cost"] = raw["cost"]
    return merged


def usage_object(bill: Bill) -> dict[str, Any]:
    """The usage object for counts that did not come in this dialect.

    Counts of our own are marked by ``estimated``; unknown ones are null, never 0.
    """
    usage = bill.usage
    if usage is None:
        unknown = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"))
        return {**unknown, **bill_members(bill)}
    marked = {} if usage.provenance is Provenance.REPORTED else {"estimated": True}
    return {**_members(usage), **marked, **bill_members(bill)}


def _members(usage: Usage) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
    }
    if usage.input_audio_tokens:
        inputs["audio_tokens"] = usage.input_audio_tokens
    outputs: dict[str, Any] = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.output_audio_tokens:
        outputs["audio_tokens"] = usage.output_audio_tokens
    if usage.output_image_tokens:
        outputs["image_tokens"] = usage.output_image_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": inputs,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": outputs,
        "total_tokens": usage.total_tokens,
    }
