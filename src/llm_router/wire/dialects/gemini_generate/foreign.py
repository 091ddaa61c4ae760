"""What of a client's contents only Google's API reads: members beside a part's content, kinds of parts.

https://ai.google.dev/api/caching#Part
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.wire.dialects.gemini_generate.inspect import system_parts
from llm_router.wire.dialects.gemini_generate.members import camel, listed, member
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.media import clean_base64

_CONTENT = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_MODELS_OWN = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""What the model makes by itself with tools of the provider: a loss elsewhere, not content of the client's."""

_BESIDE = (*_CONTENT, *_MODELS_OWN, "thought", "thoughtSignature")


def members_beside(body: dict[str, Any]) -> tuple[Loss, ...]:
    """Members of parts that say how to look at the content (``videoMetadata``, ``mediaResolution`` ...)."""
    found = Losses()
    for _, _, part in _parts(body):
        kinds = [camel(name) for name, value in part.items() if value is not None]
        if any(kind in _CONTENT for kind in kinds):
            for kind in kinds:
                if kind not in _BESIDE:
                    found.add(f"contents[].parts[].{kind}", "only Gemini's API has it")
    return tuple(found.found)


def unread_parts(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Path and kind of the client's parts that no other API has a form for."""
    return tuple(_unread(body))


def _unread(body: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for path, role, part in _parts(body):
        kinds = [camel(name) for name, value in part.items() if value is not None]
        kinds = [kind for kind in kinds if kind not in ("thought", "thoughtSignature", *_MODELS_OWN)]
        readable = "text" in kinds if role == "system" else any(_readable(part, kind) for kind in kinds)
        if kinds and role != "model" and not readable:
            yield path, kinds[0]
        answer = member(part, "functionResponse")
        for number, inner in enumerate(listed(answer.get("parts")) if isinstance(answer, dict) else ()):
            if not isinstance(inner, dict) or not any(_readable(inner, camel(name)) for name in inner):
                kind = camel(next(iter(inner), "")) if isinstance(inner, dict) else "part"
                yield f"{path}.functionResponse.parts[{number}]", kind


def _readable(part: dict[str, Any], kind: str) -> bool:
    """Whether a member is content that can be said to others, and is what it says."""
    if kind != "inlineData":
        return kind in _CONTENT
    blob = member(part, kind)
    try:
        return isinstance(blob, dict) and bool(clean_base64(str(blob.get("data"))))
    except ValueError:
        return False


def _parts(body: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Path, role and value of every part, the instructions first."""
    for number, part in enumerate(system_parts(member(body, "systemInstruction"))):
        if isinstance(part, dict):
            yield f"systemInstruction.parts[{number}]", "system", part
    for turn, content in enumerate(listed(member(body, "contents"))):
        role = content.get("role") or "user"
        for number, part in enumerate(listed(content.get("parts"))):
            yield f"contents[{turn}].parts[{number}]", role, part
