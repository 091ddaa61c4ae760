"""Enums that come as numbers become names, which is all that Google's own client reads.

``$alt=json;enum-encoding=int`` asks for numbers (https://protobuf.dev/programming-guides/json/); no
client of the gateway can, so a host that sends them does it to clients that do not expect them. The
two APIs number the harm categories differently; those of the Gemini API that are in use begin at 7.
https://ai.google.dev/api/generate-content and https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from llm_router.wire.dialects.gemini_generate.finish import NUMBERS
from llm_router.wire.dialects.gemini_generate.members import Raw, list_of, object_of, raw_of, value_of

Words = Mapping[int, str]

_NUMBERED = re.compile(
    rb'"(?:finishReason|modality|trafficType|category|probability|severity|blockReason)"\s*:\s*\d'
)
_CATEGORY: Words = {
    1: "HARM_CATEGORY_HATE_SPEECH", 2: "HARM_CATEGORY_DANGEROUS_CONTENT", 3: "HARM_CATEGORY_HARASSMENT",
    4: "HARM_CATEGORY_SEXUALLY_EXPLICIT", 5: "HARM_CATEGORY_CIVIC_INTEGRITY", 7: "HARM_CATEGORY_HARASSMENT",
    8: "HARM_CATEGORY_HATE_SPEECH", 9: "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    10: "HARM_CATEGORY_DANGEROUS_CONTENT", 11: "HARM_CATEGORY_CIVIC_INTEGRITY",
}  # fmt: skip
_LEVEL = {1: "NEGLIGIBLE", 2: "LOW", 3: "MEDIUM", 4: "HIGH"}
_RATING: Mapping[str, Words] = {
    "category": _CATEGORY,
    "probability": _LEVEL,
    "severity": {number: "HARM_SEVERITY_" + name for number, name in _LEVEL.items()},
}
_META: Mapping[str, Words] = {"trafficType": {1: "ON_DEMAND", 2: "PROVISIONED_THROUGHPUT"}}
_COUNT: Mapping[str, Words] = {"modality": {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}}
_FEEDBACK: Mapping[str, Words] = {
    "blockReason": {1: "SAFETY", 2: "OTHER", 3: "BLOCKLIST", 4: "PROHIBITED_CONTENT"}
}
_CANDIDATE: Mapping[str, Words] = {"finishReason": NUMBERS}


def name_enums(message: bytes) -> bytes:
    """The message with names for the numbers of its enums; the same bytes where it has none."""
    if _NUMBERED.search(message) is None:
        return message
    members = object_of(message)
    if members is None:
        return message
    _each(members, "candidates", _candidate)
    _one(members, "promptFeedback", _feedback)
    _one(members, "usageMetadata", _meta)
    return msgspec.json.encode(members)


def _candidate(candidate: dict[str, Raw]) -> None:
    _name(candidate, _CANDIDATE)
    _each(candidate, "safetyRatings", _rating)


def _feedback(feedback: dict[str, Raw]) -> None:
    _name(feedback, _FEEDBACK)
    _each(feedback, "safetyRatings", _rating)


def _meta(meta: dict[str, Raw]) -> None:
    _name(meta, _META)
    for name in [name for name in meta if name.endswith("Details")]:
        _each(meta, name, _count)


def _rating(rating: dict[str, Raw]) -> None:
    _name(rating, _RATING)


def _count(count: dict[str, Raw]) -> None:
    _name(count, _COUNT)


def _name(holder: dict[str, Raw], words: Mapping[str, Words]) -> None:
    for name, known in words.items():
        number = value_of(holder.get(name))
        if isinstance(number, int) and not isinstance(number, bool) and number in known:
            holder[name] = raw_of(known[number])
        elif number == 0 and name == "finishReason":
            del holder[name]


def _each(holder: dict[str, Raw], name: str, change: Callable[[dict[str, Raw]], None]) -> None:
    if name not in holder:
        return
    out: list[object] = []
    for raw in list_of(holder[name]):
        found = object_of(raw)
        if found is not None:
            change(found)
        out.append(raw if found is None else found)
    if out:
        holder[name] = raw_of(out)


def _one(holder: dict[str, Raw], name: str, change: Callable[[dict[str, Raw]], None]) -> None:
    found = object_of(holder.get(name))
    if found is not None:
        change(found)
        holder[name] = raw_of(found)
