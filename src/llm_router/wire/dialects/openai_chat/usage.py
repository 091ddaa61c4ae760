"""Token counts: the usage objects of OpenAI-like providers to disjoint buckets, and back.

What the arithmetic has to tell apart, by the numbers alone:

* completion_tokens include reasoning almost everywhere; xAI's chat form leaves them out, and then
  the total is prompt + completion + reasoning. Gemini's OpenAI form shows thoughts only in the total.
* cached and cache-written input is inside prompt_tokens, unless only the total accounts for it.
* audio input of Mistral is only in the details and in the total.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.usage import MAX_COUNT, Provenance, Usage, token_count
from llm_router.wire.bill import bill_members
from llm_router.wire.dialect import Bill

FLAG_INVALID = "usage_invalid"  # counts that cannot be true: treated as not reported
FLAG_CONTRADICTORY = "usage_contradictory"  # counts that do not add up; the sensible ones were taken

EXCESS_MAX = 10**6
"""What a total may exceed its parts by: more than any model thinks in one answer."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a usage object says. ``usage`` None: nothing, or nothing believable (see ``flags``).

    ``cached`` and ``reasoning``: whether the provider reports them at all.
    """

    usage: Usage | None = None
    cached: bool = False
    reasoning: bool = False
    flags: tuple[str, ...] = ()


NOTHING = Reading()


def read_usage(raw: object, *, visible: bool = True, service_tier: str | None = None) -> Reading:
    """Read a provider's usage object.

    ``visible``: the reply showed text or a call. More reasoning than completion then means that the
    completion leaves reasoning out; without anything visible it is only a differing count.
    """
    if not isinstance(raw, dict):
        return NOTHING
    prompt, completion = (
        _either(raw, "prompt_tokens", "input_tokens"),
        _either(raw, "completion_tokens", "output_tokens"),
    )
    if prompt is _BAD or completion is _BAD:
        return Reading(flags=(FLAG_INVALID,))
    total = token_count(raw.get("total_tokens"))
    known = _complete(prompt, completion, total)
    if known is None:
        return NOTHING
    tier = raw.get("service_tier")
    return _split(raw, *known, total, visible, tier if isinstance(tier, str) and tier else service_tier)


_BAD: Any = object()


def _either(raw: dict[str, Any], name: str, other: str) -> Any:
    """The count under either name; None if absent; ``_BAD`` if it cannot be true."""
    value = raw.get(name)
    if value is None:
        value = raw.get(other)
    if value is None:
        return None
    count = token_count(value)
    return _BAD if count is None else count


def _complete(prompt: int | None, completion: int | None, total: int | None) -> tuple[int, int] | None:
    """Both counts, one of them from the total if need be."""
    if prompt is not None and completion is not None:
        return prompt, completion
    if total is None:
        return None
    if prompt is not None and total >= prompt:
        return prompt, total - prompt
    if completion is not None and total >= completion:
        return total - completion, completion
    return None


def _split(
    raw: dict[str, Any],
    prompt: int,
    completion: int,
    total: int | None,
    visible: bool,
    service_tier: str | None,
) -> Reading:
    inputs = _details(raw, "prompt_tokens_details", "input_tokens_details")
    outputs = _details(raw, "completion_tokens_details", "output_tokens_details")
    cached = _largest(
        inputs.get("cached_tokens"), raw.get("prompt_cache_hit_tokens"), raw.get("cached_tokens"),
        raw.get("num_cached_tokens"), raw.get("cache_read_input_tokens"),
    )  # fmt: skip
    written = _largest(
        inputs.get("cache_write_tokens"), inputs.get("cache_creation_tokens"),
        raw.get("cache_creation_input_tokens"), raw.get("cache_write_tokens"),
    )  # fmt: skip
    heard = _largest(inputs.get("audio_tokens"), raw.get("audio_prompt_tokens"))
    thought = _largest(outputs.get("reasoning_tokens"), raw.get("reasoning_tokens"))
    flags: tuple[str, ...] = ()
    excess = 0 if total is None else total - prompt - completion
    if not 0 <= excess <= EXCESS_MAX:
        excess, flags = 0, (FLAG_CONTRADICTORY,)
    read, write, audio, reasoning = cached or 0, written or 0, heard or 0, thought or 0
    if excess > 0:
        if audio and excess == audio:
            prompt += audio
        elif read + write > prompt and excess in (read + write, read, write):
            prompt += excess
        else:  # xAI: exactly the reasoning; Gemini: thoughts that stand nowhere else
            completion += excess
            if excess != reasoning:
                reasoning += excess
    elif reasoning > completion and visible:
        completion += reasoning
    if read + write > prompt or reasoning > completion:
        flags = (FLAG_CONTRADICTORY,)
    if max(prompt, completion) > MAX_COUNT:
        return Reading(flags=(FLAG_INVALID,))
    read = min(read, prompt)
    if read + write > prompt:  # what was written was read again at once: count it as read
        write = max(0, write - read)
    write = min(write, prompt - read)
    hour = min(write, _hour_tokens(raw))
    audio = min(audio, prompt - read - write)
    reasoning = min(reasoning, completion)
    spoken = min(_largest(outputs.get("audio_tokens")) or 0, completion - reasoning)
    painted = min(_largest(outputs.get("image_tokens")) or 0, completion - reasoning - spoken)
    usage = Usage(
        input_tokens=prompt - read - write - audio,
        cache_read_tokens=read,
        cache_write_tokens=write - hour,
        cache_write_1h_tokens=hour,
        input_audio_tokens=audio,
        output_tokens=completion - reasoning - spoken - painted,
        reasoning_tokens=reasoning,
        output_audio_tokens=spoken,
        output_image_tokens=painted,
        web_searches=_searches(raw),
        service_tier=service_tier,
    )
    return Reading(
        usage=usage, cached=cached is not None, reasoning=thought is not None or reasoning > 0, flags=flags
    )


def _details(raw: dict[str, Any], name: str, other: str) -> dict[str, Any]:
    for key in (name, other):
        value = raw.get(key)
        if isinstance(value, dict):
            return value
    return {}


def _largest(*values: object) -> int | None:
    """The largest believable count; the same number goes by several names at once."""
    counts = [count for count in map(token_count, values) if count is not None]
    return max(counts) if counts else None


def _hour_tokens(raw: dict[str, Any]) -> int:
    created = raw.get("cache_creation")
    return token_count(created.get("ephemeral_1h_input_tokens")) or 0 if isinstance(created, dict) else 0


def _searches(raw: dict[str, Any]) -> int:
    tools = raw.get("server_tool_use")
    asked = tools.get("web_search_requests") if isinstance(tools, dict) else raw.get("num_search_queries")
    return token_count(asked) or 0


def passed_usage(raw: object, reading: Reading, bill: Bill) -> dict[str, Any]:
    """The usage object for the client on the same-dialect path: the provider's own, put right.

    A cost that the provider names stays beside ours as ``upstream_cost``.
    """
    if not isinstance(raw, dict):
        return usage_object(bill)
    metered = bill.usage
    if reading.usage is None or (metered is not None and metered.provenance is not Provenance.REPORTED):
        return usage_object(bill)
    usage = reading.usage
    right = _totals(usage)
    if reading.cached:
        right["prompt_tokens_details"] = {
            **_details(raw, "prompt_tokens_details", "input_tokens_details"),
            "cached_tokens": usage.cache_read_tokens,
        }
    if reading.reasoning:
        right["completion_tokens_details"] = {
            **_details(raw, "completion_tokens_details", "output_tokens_details"),
            "reasoning_tokens": usage.reasoning_tokens,
        }
    right |= bill_members(bill)
    merged = {**right, **{name: value for name, value in raw.items() if name not in right}}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if name in merged:
            merged[name] = _believable(merged[name])
    if "cost" in raw:
        merged["upstream_cost"] = raw["cost"]
    return merged


def _believable(details: object) -> dict[str, Any]:
    """Details without counts that cannot be true; a strict client would choke on them."""
    if not isinstance(details, dict):
        return {}
    wrong = {k for k, v in details.items() if isinstance(v, int | float) and token_count(v) is None}
    return {name: value for name, value in details.items() if name not in wrong}


def usage_object(bill: Bill) -> dict[str, Any]:
    """The usage object for counts that did not come in this dialect.

    Counts of our own are marked by ``estimated``; unknown ones are null, never 0.
    """
    usage = bill.usage
    if usage is None:
        unknown = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"))
        return {**unknown, **bill_members(bill)}
    if usage.provenance is not Provenance.REPORTED:
        return {**_totals(usage), "estimated": True, **bill_members(bill)}
    inputs = {"cached_tokens": usage.cache_read_tokens}
    if written := usage.cache_write_tokens + usage.cache_write_1h_tokens:
        inputs["cache_write_tokens"] = written
    if usage.input_audio_tokens:
        inputs["audio_tokens"] = usage.input_audio_tokens
    outputs = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.output_audio_tokens:
        outputs["audio_tokens"] = usage.output_audio_tokens
    if usage.output_image_tokens:
        outputs["image_tokens"] = usage.output_image_tokens
    return {
        **_totals(usage),
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
        **bill_members(bill),
    }


def _totals(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
