"""Put right what OpenAI-like providers write into a message or a delta of one.

Every function edits a decoded JSON object in place and says whether it changed anything, so that
what is right already keeps its bytes.
"""

from __future__ import annotations

from typing import Any

from llm_router.wire.mintedids import MINTED
from llm_router.wire.verbatim import encode

PADDING = ("obfuscation", "p", "padding")
"""Members that only blur the length of a chunk (OpenAI, Mistral, Copilot)."""

_REASONING = ("reasoning", "reasoning_text", "thinking")
"""Other names of ``reasoning_content``."""

_LISTS = ("reasoning_details", "annotations", "images")
_OBJECTS = ("audio", "function_call")
_SUSPECT = frozenset((*PADDING, *_REASONING, *_LISTS, *_OBJECTS, "refusal"))
_SHOWN = frozenset(
    ("reasoning_content", "reasoning_details", "tool_calls", "function_call", "refusal", "audio", "images")
)


def mend_fields(fields: dict[str, Any], *, details_too: bool = True) -> bool:
    """Mend content, reasoning, refusal and empty members of a message or delta; not its tool calls.

    ``details_too``: take reasoning text from ``reasoning_details`` where no other field has it.
    """
    changed, thought = False, ""
    content = fields.get("content")
    if content is not None and content.__class__ is not str:
        thought = _mend_content(fields, content)
        changed = True
    thoughts = fields.get("reasoning_content")
    odd = thoughts is not None and thoughts.__class__ is not str
    if thought or odd or not _SUSPECT.isdisjoint(fields):
        for name in PADDING:
            if fields.pop(name, None) is not None:
                changed = True
        changed |= _drop_wrong(fields)
        changed |= _mend_reasoning(fields, thought, details_too)
    return changed


def has_substance(fields: dict[str, Any]) -> bool:
    """Whether a delta shows anything: text, reasoning, a call, a refusal, media."""
    if fields.get("content"):
        return True
    return not _SHOWN.isdisjoint(fields) and any(fields.get(name) for name in _SHOWN)


def _mend_content(fields: dict[str, Any], content: object) -> str:
    """Make a list of parts (Mistral) plain text; return the reasoning that was in it."""
    texts: list[str] = []
    thoughts: list[str] = []
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict):
            _sort_part(item, texts, thoughts, fields)
    fields["content"] = "".join(texts)
    return "".join(thoughts)


def _sort_part(part: dict[str, Any], texts: list[str], thoughts: list[str], fields: dict[str, Any]) -> None:
    kind = part.get("type")
    if kind in ("thinking", "reasoning"):
        inner = part.get(kind, part.get("text"))
        for piece in inner if isinstance(inner, list) else [inner]:
            text = piece.get("text") if isinstance(piece, dict) else piece
            if isinstance(text, str):
                thoughts.append(text)
    elif kind == "image_url":
        images = fields.get("images")
        fields["images"] = [*images, part] if isinstance(images, list) else [part]
    elif isinstance(part.get("text"), str):
        texts.append(part["text"])


def _mend_reasoning(fields: dict[str, Any], thought: str, details_too: bool) -> bool:
    """Bring reasoning text under one name; the same text under two names is not doubled."""
    old = fields.get("reasoning_content")
    best = old if isinstance(old, str) else ""
    changed = False
    for name in _REASONING:
        if name in fields:
            value = fields.pop(name)
            changed = True
            if value and len(value) > len(best):
                best = value
    best = best or thought or (_details_text(fields.get("reasoning_details")) if details_too else "")
    if best and best != old:
        fields["reasoning_content"] = best
        changed = True
    return changed


def _details_text(details: object) -> str:
    """The readable reasoning in OpenRouter's ``reasoning_details``."""
    if not isinstance(details, list):
        return ""
    found = (
        item.get("text" if item.get("type") == "reasoning.text" else "summary")
        for item in details
        if isinstance(item, dict)
    )
    return "".join(text for text in found if isinstance(text, str))


def _drop_wrong(fields: dict[str, Any]) -> bool:
    """Remove values of a wrong type, and empty ones that stand for absent (Snowflake writes out all)."""
    wrong = [
        name
        for name in ("reasoning_content", *_REASONING, "refusal")
        if fields.get(name) is not None and not isinstance(fields[name], str)
    ]
    wrong += (name for name in _LISTS if fields.get(name) is not None and not isinstance(fields[name], list))
    for name in _OBJECTS:
        value = fields.get(name)
        if value is not None and not (isinstance(value, dict) and any(value.values())):
            wrong.append(name)
    if fields.get("refusal") == "":
        wrong.append("refusal")
    for name in wrong:
        del fields[name]
    return bool(wrong)


def has_logprobs(logprobs: object) -> bool:
    """Whether it is an object with lists, at least one of them not empty."""
    if not isinstance(logprobs, dict):
        return False
    lists = [logprobs.get(name) for name in ("content", "refusal")]
    return any(lists) and all(items is None or isinstance(items, list) for items in lists)


def arguments_text(value: object) -> str:
    """Arguments as JSON text: objects are written out, nothing is "" (see ``whole_arguments``)."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value).decode()


def whole_arguments(text: str, *, cut: bool) -> str:
    """Arguments of a finished call: none, or a bare ``null``, become ``{}``.

    ``cut``: the reply ended for length, so that nothing may be completed.
    """
    return "{}" if not cut and text.strip() in ("", "null") else text


def minted_id(seed: str, number: int) -> str:
    """An id for a call that came without one: the same for the same reply, at most 40 characters.

    OpenAI refuses longer ids when they come back (https://platform.openai.com/docs/api-reference/chat).
    """
    name = "".join(c for c in seed.removeprefix("chatcmpl-") if c.isascii() and c.isalnum())
    return f"{MINTED}{name[-24:] or 'reply'}_{number}"


def mend_calls(calls: object, seed: str, *, cut: bool, first: int = 0) -> tuple[list[dict[str, Any]], bool]:
    """The tool calls of a whole message in strict form, and whether that changed them.

    What has neither a function nor a custom tool's name is no call of the client's and is left out.
    ``first`` numbers the minted ids over several choices.
    """
    if not isinstance(calls, list):
        return [], True
    mended: list[dict[str, Any]] = []
    ids: set[str] = set()
    for call in calls:
        right = _mend_call(call, cut) if isinstance(call, dict) else None
        if right is None:
            continue
        if not isinstance(right.get("id"), str) or not right["id"] or right["id"] in ids:
            right["id"] = minted_id(seed, first + len(mended))
        ids.add(right["id"])
        mended.append(right)
    return mended, mended != calls


def _mend_call(call: dict[str, Any], cut: bool) -> dict[str, Any] | None:
    custom = call.get("custom")
    if isinstance(custom, dict) and custom.get("name"):
        return {**call, "type": "custom", "custom": {**custom, "input": arguments_text(custom.get("input"))}}
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        return None
    arguments = whole_arguments(arguments_text(function.get("arguments")), cut=cut)
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def only_delta(choice: dict[str, Any], started: bool) -> dict[str, Any]:
    """Leave the delta alone in a choice; a snapshot in ``message`` counts only as a first delta."""
    delta, message = choice.get("delta"), choice.pop("message", None)
    if not isinstance(delta, dict):
        delta = message if isinstance(message, dict) and not started else {}
        choice["delta"] = delta
    return delta


def mend_choice(choice: dict[str, Any]) -> bool:
    """Members that OpenAI's chunks always have, and empty log probabilities."""
    changed = False
    if "finish_reason" not in choice:
        choice["finish_reason"] = None
        changed = True
    logprobs = choice.get("logprobs")
    if logprobs is not None and not has_logprobs(logprobs):
        choice["logprobs"] = None
        changed = True
    return changed


def add_arguments(delta: dict[str, Any], missing: list[dict[str, Any]]) -> None:
    """Give the calls their missing arguments, in the deltas that open them where these are at hand."""
    opened = {call["index"]: call for call in delta.get("tool_calls", ())}
    for call in missing:
        if call["index"] in opened:
            opened[call["index"]]["function"]["arguments"] = call["function"]["arguments"]
        else:
            delta.setdefault("tool_calls", []).append(call)
