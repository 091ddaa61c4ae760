"""Before the checks: does anybody answer, which model is asked, and which APIs are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm_router.conformance.api import Json, message_of
from llm_router.conformance.case import brief
from llm_router.conformance.target import Target
from llm_router.conformance.transport import NoReply

CHEAP = ("luna", "nano", "flash-lite", "flash", "mini", "haiku", "lite", "small", "8b")
"""Words in the names of cheap models, the best first, for lists without prices."""

NO_CHAT = re.compile(
    r"embed|whisper|tts|audio|realtime|image|dall|moderation|rerank|transcri|search|instruct|codex|guard|ocr",
    re.IGNORECASE,
)
REASONS = re.compile(r"(^|/)o\d|think|reason|r1|gpt-5|magistral", re.IGNORECASE)


ABSENT = (404, 405, 501)
"""Statuses of a plain request to an API that is not there, or not for this model."""

SKILLS = frozenset({"tools", "vision", "json_schema"})


class Unreachable(Exception):
    """The target does not answer, or not with anything that could be judged."""


def listed(target: Target) -> list[Json]:
    """The entries of ``GET /v1/models``; none where there is no such list.

    Raises:
        Unreachable: nobody answers at all, or not to this key.
    """
    try:
        reply = target.ask("chat", None, method="GET", path="/v1/models")
    except NoReply as error:
        raise Unreachable(str(error)) from None
    if reply.status in (401, 403):
        raise Unreachable(f"{target.origin} refuses the key: {brief(message_of(reply) or reply.text)}")
    page = reply.json.get("data") if isinstance(reply.json, dict) else None
    entries = page if isinstance(page, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def choose(target: Target, apis: Sequence[str]) -> None:
    """Choose a cheap model for each API that was given none.

    Raises:
        Unreachable: there is no list to choose from.
    """
    missing = [api for api in apis if api not in target.models]
    if not missing:
        return
    entries = listed(target)
    for api in missing:
        wanted = [e for e in entries if ("embed" in _kind(e)) == (api == "embeddings")]
        wanted = [e for e in wanted if e.get("available", True)]
        if api != "embeddings":
            wanted = [e for e in wanted if not NO_CHAT.search(e["id"])]
        found = sorted(wanted, key=_order)
        if found:
            target.models[api] = found[0]["id"]
        elif api != "embeddings":
            raise Unreachable(
                f"GET /v1/models at {target.origin} names no model that can chat; say one with --model NAME"
            )


def _kind(entry: Json) -> str:
    modalities = entry.get("architecture") or {}
    return f"{entry['id']} {modalities if isinstance(modalities, dict) else ''}".lower()


def _order(entry: Json) -> tuple[object, ...]:
    """Cheap, able and quick first: what is checked, no reasoning, then the price, then the name."""
    name: str = entry["id"]
    able = entry.get("capabilities")
    skills = set(able) if isinstance(able, list) else {k for k, v in (able or {}).items() if v}
    lacks = len(SKILLS - skills) if skills else 0
    reasons = bool(REASONS.search(name)) or "reasoning" in skills
    word = next((number for number, word in enumerate(CHEAP) if word in name), len(CHEAP))
    retired = entry.get("status") in ("deprecated", "shutdown")
    return (retired, lacks, reasons, _price(entry), word, len(name), name)


def _price(entry: Json) -> float:
    """Dollars a token, for comparing only; what is free or unpriced is often not what it seems: last."""
    pricing: Any = entry.get("pricing")
    if not isinstance(pricing, dict):
        return 1.0
    try:
        total = sum(float(pricing.get(name) or 0) for name in ("prompt", "completion"))
    except (TypeError, ValueError):
        return 1.0
    return total if total > 0 else 2.0


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why an API cannot be checked. ``absent``: the target does not have it, which is its right."""

    why: str
    absent: bool


def offered(target: Target, api: str) -> Missing | None:
    """What keeps the API from being checked; None if nothing does."""
    if api not in target.models:
        return Missing(
            why=f"GET /v1/models names no model for it; say one with --model {api}=NAME", absent=True
        )
    try:
        reply = target.ask(api, target.plain(api))
        if api == "chat" and reply.status == 400 and "max_completion_tokens" in message_of(reply):
            target.limit = "max_completion_tokens"  # OpenAI's newer models take only this one
            reply = target.ask(api, target.plain(api))
    except NoReply as error:
        return Missing(why=f"no reply to a plain request: {error}", absent=False)
    if reply.ok:
        return None
    said = brief(message_of(reply) or reply.text)
    why = f"a plain request to {reply.request.path} gets {reply.status}: {said}"
    return Missing(why=why, absent=reply.status in ABSENT)
