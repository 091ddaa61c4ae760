"""Google's usageMetadata to disjoint buckets, and back.

``promptTokenCount`` includes cached tokens, ``candidatesTokenCount`` excludes thoughts, and
``totalTokenCount`` is prompt + candidates + tool-use prompt + thoughts
(https://ai.google.dev/api/generate-content#UsageMetadata). Numbers of a stream are running totals:
the last ones are right.
"""

from __future__ import annotations

from typing import Any

from llm_router.domain.usage import Usage, token_count

COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)
_MODALITIES = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
_TRAFFIC = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "PROVISIONED_THROUGHPUT": "provisioned",
}


def reports_usage(meta: object) -> bool:
    """Whether the object holds any count. On Vertex most chunks hold only ``trafficType``."""
    return isinstance(meta, dict) and any(meta.get(name) is not None for name in COUNTS)


def decode_usage(meta: dict[str, Any], web_searches: int = 0) -> Usage | None:
    """The buckets; None if the counts cannot be true."""
    counts: dict[str, int] = {}
    for name in COUNTS:
        if meta.get(name) is not None:
            count = token_count(meta[name])
            if count is None:
                return None
            counts[name] = count
    prompt, cached = counts.get("promptTokenCount", 0), counts.get("cachedContentTokenCount", 0)
    if cached > prompt:
        return None
    tool = counts.get("toolUsePromptTokenCount", 0)
    visible, thoughts = _output(counts, prompt + tool)
    audio_in = _modality(meta, "promptTokensDetails", "AUDIO", prompt)
    audio_in -= _modality(meta, "cacheTokensDetails", "AUDIO", audio_in)
    audio_in = min(audio_in, prompt - cached)
    audio_out = _modality(meta, "candidatesTokensDetails", "AUDIO", visible)
    image_out = _modality(meta, "candidatesTokensDetails", "IMAGE", visible - audio_out)
    return Usage(
        input_tokens=prompt - cached - audio_in + tool,
        cache_read_tokens=cached,
        input_audio_tokens=audio_in,
        output_tokens=visible - audio_out - image_out,
        reasoning_tokens=thoughts,
        output_audio_tokens=audio_out,
        output_image_tokens=image_out,
        web_searches=web_searches,
        service_tier=_tier(meta),
    )


def _output(counts: dict[str, int], given: int) -> tuple[int, int]:
    """Visible and reasoning tokens. What only the total shows was thought, not said.

    Where the total leaves the thoughts out, they are inside the candidates' count.
    """
    visible, thoughts = counts.get("candidatesTokenCount", 0), counts.get("thoughtsTokenCount", 0)
    total = counts.get("totalTokenCount")
    if total is None:
        return visible, thoughts
    if thoughts and total == given + visible and visible >= thoughts:
        return visible - thoughts, thoughts
    return visible, thoughts + max(0, total - given - visible - thoughts)


def _modality(meta: dict[str, Any], name: str, modality: str, bound: int) -> int:
    """Tokens of one modality, 0..bound; 0 where the details are absent or nonsense."""
    details = meta.get(name)
    found = 0
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            said = detail.get("modality")
            said = _MODALITIES.get(said) if isinstance(said, int) else said
            if said == modality:
                found += token_count(detail.get("tokenCount")) or 0
    return max(0, min(found, bound))


def _tier(meta: dict[str, Any]) -> str | None:
    tier = meta.get("serviceTier")
    if isinstance(tier, str) and tier:
        return tier.lower()
    traffic = meta.get("trafficType")
    return _TRAFFIC.get(traffic) if isinstance(traffic, str) else None


def encode_usage(usage: Usage) -> dict[str, Any]:
    """``usageMetadata`` whose total is the sum of its parts; members that are zero are left out."""
    visible = usage.output_tokens + usage.output_audio_tokens + usage.output_image_tokens
    meta: dict[str, Any] = {"promptTokenCount": usage.prompt_tokens, "candidatesTokenCount": visible}
    if usage.cache_read_tokens:
        meta["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.reasoning_tokens:
        meta["thoughtsTokenCount"] = usage.reasoning_tokens
    meta["totalTokenCount"] = usage.total_tokens
    if usage.input_audio_tokens:
        rest = usage.prompt_tokens - usage.input_audio_tokens
        meta["promptTokensDetails"] = _details(TEXT=rest, AUDIO=usage.input_audio_tokens)
    if usage.output_audio_tokens or usage.output_image_tokens:
        meta["candidatesTokensDetails"] = _details(
            TEXT=usage.output_tokens, AUDIO=usage.output_audio_tokens, IMAGE=usage.output_image_tokens
        )
    if usage.service_tier is not None:
        meta["serviceTier"] = usage.service_tier
    return meta


def _details(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]
