"""Assistant messages: wire members to canonical parts, and reasoning with its signatures back.

Reasoning travels in two members that OpenAI's own API does not have: ``reasoning_content`` holds
the text, as most OpenAI-like servers write it; ``reasoning_details`` (OpenRouter's form) holds what
must come back unchanged in the next request: signatures, encrypted reasoning, and in ``format`` the
name of the dialect that made them.
https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

from typing import Any

from llm_router.wire.chat import Citation, Media, Part, Raw, Refusal, Text, Thinking, ToolCall
from llm_router.wire.dialects.openai_chat.mend import arguments_text, minted_id
from llm_router.wire.lenient import load_object
from llm_router.wire.media import data_url, is_data_url, media_form, parse_data_url
from llm_router.wire.verbatim import encode

NAME = "openai_chat"

DIALECT_NAMES = (NAME, "openai_responses", "anthropic_messages", "gemini_generate", "bedrock_converse")

SEPARATOR = "\n\n"
"""What stands between the texts of two reasoning parts where they share one member."""

TEXT_SIGNATURE = "text_signature"
"""``id`` of a reasoning detail whose data is the signature of the message's text (Gemini)."""


def origin_of(format_: object) -> str:
    """The origin of a reasoning detail: a dialect, or this one with the provider's own format behind it."""
    if not isinstance(format_, str) or not format_ or format_ == "unknown":
        return NAME
    if format_ in DIALECT_NAMES or format_.startswith(f"{NAME}/"):
        return format_
    return f"{NAME}/{format_}"


def format_of(origin: str | None) -> str | None:
    """What :func:`origin_of` reads as ``origin``."""
    return origin.removeprefix(f"{NAME}/") if origin else None


def is_own(origin: str | None) -> bool:
    """Whether reasoning came from a provider of this dialect."""
    return origin is not None and (origin == NAME or origin.startswith(f"{NAME}/"))


# -- wire to parts ---------------------------------------------------------------------------------


def thinking_parts(message: dict[str, Any]) -> tuple[list[Thinking], str | None, str | None]:
    """The reasoning of a (mended) message, and the signature and origin of its text, if there is one."""
    text = message.get("reasoning_content")
    text = text if isinstance(text, str) else ""
    parts: list[Thinking] = []
    signature: str | None = None
    origin: str | None = None
    details = message.get("reasoning_details")
    for group in _groups(details if isinstance(details, list) else []):
        first = group[0]
        if first.get("id") == TEXT_SIGNATURE and isinstance(first.get("data"), str):
            signature, origin = first["data"], origin_of(first.get("format"))
        else:
            parts.append(_thinking(group))
    if text and not any(part.text for part in parts):
        bare = next((i for i, part in enumerate(parts) if part.redacted is None), None)
        if bare is None:
            parts.insert(0, Thinking(text=text, origin=NAME))
        else:
            part = parts[bare]
            parts[bare] = Thinking(text=text, signature=part.signature, id=part.id, origin=part.origin)
    return parts, signature, origin


def _groups(details: list[Any]) -> list[list[dict[str, Any]]]:
    """Details that belong together: streams bring a text in pieces, its signature in the last one."""
    groups: list[list[dict[str, Any]]] = []
    for item in details:
        if not isinstance(item, dict):
            continue
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.get("type") == item.get("type") != "reasoning.encrypted"
            and last.get("index") == item.get("index")
            and not last.get("signature")
        ):
            groups[-1].append(item)
        elif _string(item, "text") or _string(item, "summary") or item.get("signature") or item.get("data"):
            groups.append([item])
    return groups


def _thinking(group: list[dict[str, Any]]) -> Thinking:
    first = group[0]
    redacted = first.get("data") if first.get("type") == "reasoning.encrypted" else None
    signature = next((s for item in reversed(group) if (s := _string(item, "signature"))), None)
    return Thinking(
        text="".join(_string(item, "text") or _string(item, "summary") for item in group),
        signature=signature,
        redacted=redacted if isinstance(redacted, str) else None,
        id=_string(first, "id") or None,
        origin=origin_of(first.get("format")),
    )


def _string(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""


def message_parts(message: dict[str, Any], seed: str, *, first: int = 0) -> list[Part]:
    """The parts of a (mended) assistant message, in the order of the canonical form.

    ``seed`` and ``first`` are for the id of a legacy function_call, which has none.
    """
    thinking, signature, origin = thinking_parts(message)
    parts: list[Part] = [*thinking]
    text = message.get("content")
    notes = citations(message.get("annotations"))
    spoken = message.get("audio")
    if not text and isinstance(spoken, dict):
        text = spoken.get("transcript")
    if (isinstance(text, str) and text) or notes or signature is not None:
        shown = text if isinstance(text, str) else ""
        parts.append(Text(text=shown, citations=notes, signature=signature, origin=origin))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        parts.append(Refusal(text=refusal))
    parts += (call_part(call) for call in message.get("tool_calls") or ())
    function = message.get("function_call")
    if isinstance(function, dict) and function.get("name"):
        arguments = arguments_text(function.get("arguments"))
        parts.append(ToolCall(id=minted_id(seed, first), name=str(function["name"]), arguments=arguments))
    parts += media_parts(message)
    return parts


def call_part(call: dict[str, Any]) -> ToolCall:
    """A strict tool call. Gemini's OpenAI form keeps a signature in ``extra_content``.

    https://ai.google.dev/gemini-api/docs/thought-signatures#openai
    """
    signature = call_signature(call)
    custom = call.get("custom")
    if isinstance(custom, dict):
        return ToolCall(id=call["id"], name=custom["name"], arguments=custom["input"], custom=True)
    function = call["function"]
    return ToolCall(
        id=call["id"],
        name=function["name"],
        arguments=function["arguments"],
        signature=signature,
        origin="gemini_generate" if signature is not None else None,
    )


def call_signature(call: dict[str, Any]) -> str | None:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def citations(annotations: object) -> tuple[Citation, ...]:
    """The sources in ``annotations``; other kinds of annotations are left out."""
    if not isinstance(annotations, list):
        return ()
    return tuple(c for item in annotations if (c := citation(item)) is not None)


def citation(item: object) -> Citation | None:
    source = item.get("url_citation") if isinstance(item, dict) else None
    if not isinstance(source, dict) or not isinstance(source.get("url"), str):
        return None
    start, end, text = source.get("start_index"), source.get("end_index"), source.get("content")
    return Citation(
        url=source["url"],
        title=source["title"] if isinstance(source.get("title"), str) else None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        cited_text=text if isinstance(text, str) else None,
        dialect=NAME,
        raw=Raw(encode(item)),
    )


def media_parts(message: dict[str, Any]) -> list[Media]:
    """Generated images (OpenRouter's ``images``) and speech (OpenAI's ``audio``)."""
    found: list[Media] = []
    images = message.get("images")
    for image in images if isinstance(images, list) else ():
        part = image_part(image)
        if part is not None:
            found.append(part)
    spoken = message.get("audio")
    if isinstance(spoken, dict) and isinstance(spoken.get("data"), str) and spoken["data"]:
        found.append(Media(form="audio", data=spoken["data"], media_type="audio/wav"))
    return found


def image_part(image: object) -> Media | None:
    """An ``image_url`` part as a canonical image; None if there is no image in it."""
    holder = image.get("image_url") if isinstance(image, dict) else None
    url = holder.get("url") if isinstance(holder, dict) else holder
    if not isinstance(url, str) or not url:
        return None
    if not is_data_url(url):
        return Media(form="image", url=url)
    try:
        media_type, data = parse_data_url(url)
    except ValueError:
        return None
    return Media(form=media_form(media_type), data=data, media_type=media_type)


# -- parts to wire ---------------------------------------------------------------------------------


def detail_of(part: Thinking, index: int) -> dict[str, Any]:
    """The ``reasoning_details`` entry from which :func:`thinking_parts` reads the part again."""
    if part.redacted is not None:
        detail: dict[str, Any] = {"type": "reasoning.encrypted", "data": part.redacted}
    else:
        detail = {"type": "reasoning.text", "text": part.text, "signature": part.signature}
    if part.id is not None:
        detail["id"] = part.id
    return {**detail, "format": format_of(part.origin), "index": index}


def head_detail(part: Thinking, index: int) -> dict[str, Any]:
    """The entry that goes with the first piece of a streamed part: all but its text, which follows."""
    detail = detail_of(part, index)
    del detail["signature"]
    return detail


def text_signature_detail(signature: str, origin: str | None, index: int) -> dict[str, Any]:
    return {
        "type": "reasoning.encrypted",
        "data": signature,
        "id": TEXT_SIGNATURE,
        "format": format_of(origin),
        "index": index,
    }


def call_extra(signature: str | None) -> dict[str, Any]:
    """The members of a tool call that carry a signature."""
    return {} if signature is None else {"extra_content": {"google": {"thought_signature": signature}}}


def call_member(part: ToolCall) -> dict[str, Any]:
    """A tool call as it stands in a message."""
    if part.custom:
        return {"id": part.id, "type": "custom", "custom": {"name": part.name, "input": part.arguments}}
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function, **call_extra(part.signature)}


def annotation(source: Citation, at: int) -> dict[str, Any] | None:
    """A citation as a ``url_citation``; None for one without a URL. ``at``: where the text stands now."""
    if source.dialect == NAME and source.raw is not None:
        return {"type": "url_citation", **_raw_annotation(source.raw)}
    if source.url is None:
        return None
    members: dict[str, Any] = {
        "start_index": at if source.start is None else source.start,
        "end_index": at if source.end is None else source.end,
        "url": source.url,
        "title": source.title or source.url,
    }
    if source.cited_text is not None:
        members["content"] = source.cited_text
    return {"type": "url_citation", "url_citation": members}


def _raw_annotation(raw: Raw) -> dict[str, Any]:
    return load_object(bytes(raw)) or {}


def image_member(part: Media) -> dict[str, Any] | None:
    """A generated image in OpenRouter's form; None for what is no image."""
    if part.form != "image":
        return None
    url = part.url
    if part.data is not None:
        url = data_url(part.media_type or "image/png", part.data)
    return None if url is None else {"type": "image_url", "image_url": {"url": url}}
