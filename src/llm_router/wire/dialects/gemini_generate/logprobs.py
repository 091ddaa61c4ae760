"""Google's logprobsResult and OpenAI's logprobs items, both ways.

https://ai.google.dev/api/generate-content#LogprobsResult
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from llm_router.wire.chat import Raw


def decode_logprobs(result: object) -> Raw | None:
    """OpenAI-shaped items; None if the result holds none."""
    if not isinstance(result, dict):
        return None
    chosen, tops = result.get("chosenCandidates"), result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    items: list[dict[str, Any]] = []
    for step, candidate in enumerate(chosen if isinstance(chosen, list) else []):
        item = _item(candidate)
        if item is None:
            continue
        top = tops[step] if step < len(tops) else None
        others = top.get("candidates") if isinstance(top, dict) else None
        found = [_item(other) for other in others] if isinstance(others, list) else []
        items.append(item | {"top_logprobs": [other for other in found if other is not None]})
    return Raw(msgspec.json.encode(items)) if items else None


def _item(candidate: object) -> dict[str, Any] | None:
    if not isinstance(candidate, dict):
        return None
    token, logprob = candidate.get("token"), candidate.get("logProbability", 0.0)
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    if not math.isfinite(logprob):
        return None
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def encode_logprobs(content: Raw) -> dict[str, Any]:
    """``logprobsResult`` of OpenAI-shaped items."""
    chosen: list[dict[str, Any]] = []
    tops: list[dict[str, Any]] = []
    for item in msgspec.json.decode(content):
        if not isinstance(item, dict):
            continue
        chosen.append({"token": item.get("token"), "logProbability": item.get("logprob")})
        listed = item.get("top_logprobs")
        others = [o for o in listed if isinstance(o, dict)] if isinstance(listed, list) else []
        tops.append(
            {"candidates": [{"token": o.get("token"), "logProbability": o.get("logprob")} for o in others]}
        )
    return {"topCandidates": tops, "chosenCandidates": chosen}
