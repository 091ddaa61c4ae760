"""Whole replies, both ways.

https://docs.anthropic.com/en/api/messages#response-id. Tools that the provider runs itself
(``server_tool_use`` and its results, MCP, code execution) are Opaque: never calls for the client.
"""

from __future__ import annotations

import hashlib

import msgspec

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.anthropic_messages import seal
from llm_router.wire.dialects.anthropic_messages.blocks import arguments_text, decode_block, object_text
from llm_router.wire.dialects.anthropic_messages.errors import stream_error
from llm_router.wire.dialects.anthropic_messages.facts import (
    JSON_TOOL,
    NAME,
    finish_of,
    stop_message,
    stop_reason_of,
)
from llm_router.wire.dialects.anthropic_messages.usage import UsageReader, billed_usage
from llm_router.wire.events import Choice, Finish, OpaqueSeen, Reply
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import items, members, string, value

KNOWN = frozenset(
    (
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "usage",
        "error",
    )
)
"""Members of a message that the canonical reply has words for."""


def decode_reply(body: bytes) -> Reply:
    """The canonical form of a whole reply.

    Raises:
        UpstreamError: MALFORMED, or the error that the reply reports.
    """
    message = open_message(body)
    parts = _parts(message["content"])
    model = string(message.get("model")) or ""
    native = string(message.get("stop_reason"))
    usage = UsageReader()
    usage.add(value(message.get("usage")))
    seen = usage.event(model)
    return Reply(
        id=string(message.get("id")) or "",
        model=model,
        choices=(
            Choice(
                parts=parts,
                finish=finish_of(native, calls=any(isinstance(part, chat.ToolCall) for part in parts)),
                native_finish=native,
                stop_sequence=string(message.get("stop_sequence")),
                finish_message=stop_message(value(message.get("stop_details"))),
            ),
        ),
        usage=seen.usage if seen is not None else None,
        opaque=tuple(opaque_members(message)),
        flags=("usage_invalid",) if seen is not None and seen.usage is None else (),
    )


def open_message(body: bytes) -> dict[str, Raw]:
    """The members of a reply that is a message with content.

    Raises:
        UpstreamError: it is something else.
    """
    message = members(body)
    if message is None:
        raise UpstreamError("The provider's reply is no JSON object.", kind=UpstreamKind.MALFORMED)
    if string(message.get("type")) == "error" or ("content" not in message and "error" in message):
        raise stream_error(value(body))
    content = message.get("content")
    if content is None:
        raise UpstreamError("The provider's reply holds no content.", kind=UpstreamKind.MALFORMED)
    if bytes(content) == b"null":
        message["content"] = Raw(b"[]")
    elif items(content) is None and string(content) is None:
        raise UpstreamError("The provider's reply holds no list of content.", kind=UpstreamKind.MALFORMED)
    return message


def _parts(content: Raw) -> tuple[chat.Part, ...]:
    text = string(content)
    if text is not None:
        return (chat.Text(text=text),)
    return tuple(_part(raw) for raw in items(content) or ())


def _part(raw: Raw) -> chat.Part:
    block = members(raw) or {}
    if string(block.get("type")) == "tool_use" and string(block.get("name")) == JSON_TOOL:
        return chat.Text(text=arguments_text(block.get("input")))
    part = decode_block(raw)
    if isinstance(part, chat.ToolResult | chat.Media):  # a reply has none: keep what it is verbatim
        return chat.Opaque(dialect=NAME, name=string(block.get("type")) or "unknown", raw=raw)
    return part


def opaque_members(message: dict[str, Raw]) -> list[OpaqueSeen]:
    """What else the message says: container, context management, diagnostics."""
    return [
        OpaqueSeen(dialect=NAME, name=name, raw=raw)
        for name, raw in message.items()
        if name not in KNOWN and bytes(raw) not in (b"null", b"[]", b"{}")
    ]


def reply_id(own: str, context: ReplyContext) -> str:
    """The reply's id: the provider's if it is of this API's form, else the minted one in that form."""
    if own.startswith("msg_"):
        return own
    return "msg_" + context.reply_id.removeprefix("msg_").removeprefix("chatcmpl-")


def call_id(own: str, context: ReplyContext, number: int) -> str:
    """The call's id; a minted one where the provider gave none."""
    return own or "toolu_" + hashlib.sha256(f"{context.reply_id}/{number}".encode()).hexdigest()[:24]


def encode_reply(reply: Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply in this API's form, with the bill in its usage."""
    losses = Losses()
    choice = reply.choices[0] if reply.choices else Choice()
    if len(reply.choices) > 1:
        losses.add("n", "a message has one choice")
    if choice.logprobs is not None:
        losses.add("logprobs", "messages have no log probabilities")
    content: list[object] = []
    for number, part in enumerate(choice.parts):
        content += encode_part(part, context, number, losses)
    if choice.parts and isinstance(choice.parts[-1], chat.Text):
        content = without_tail(content)
    refused = any(isinstance(part, chat.Refusal) for part in choice.parts)
    body: dict[str, object] = {
        "id": reply_id(reply.id, context),
        "type": "message",
        "role": "assistant",
        "model": reply.model or context.model,
        "content": content,
        **stop_members(
            choice.finish, choice.native_finish, choice.stop_sequence, choice.finish_message, refused
        ),
        "usage": billed_usage(bill),
    }
    for seen in reply.opaque:
        if seen.dialect == NAME:
            body.setdefault(seen.name, seen.raw)
        else:
            losses.add(seen.name, f"only {seen.dialect} has this")
    return msgspec.json.encode(body), tuple(losses.found)


def without_tail(content: list[object]) -> list[object]:
    """The blocks up to the last one that says something, where text ends the answer.

    Agents take the last block of a message for its answer: one that holds nothing but state would
    leave them without. Other blocks may hold state behind them, since the call before it needs it.
    """
    while len(content) > 1 and seal.is_bound(content[-1]):
        empty = content[-2] == {"type": "text", "text": ""}
        content = content[: -2 if empty else -1]
    return content


def stop_members(
    finish: Finish, native: str | None, stop_sequence: str | None, message: str | None, refused: bool
) -> dict[str, object]:
    """``stop_reason`` and what goes with it. ``refused``: the model declined in its own words."""
    if refused and finish is Finish.STOP:
        finish = Finish.CONTENT_FILTER
    reason = stop_reason_of(finish, native, stop_sequence)
    told = stop_sequence if reason == "stop_sequence" else None
    out: dict[str, object] = {"stop_reason": reason, "stop_sequence": told}
    if reason == "refusal":
        out["stop_details"] = {"type": "refusal", "category": None, "explanation": message}
    return out


def encode_part(part: chat.Part, context: ReplyContext, number: int, losses: Losses) -> list[object]:
    """The blocks of one part: none if it cannot be said here, two if foreign state goes with it."""
    match part:
        case chat.Text():
            return [_text(part, losses), *_bound(part, "previous")]
        case chat.Thinking():
            return [thinking_block(part)]
        case chat.ToolCall():
            return [*_bound(part, "next"), _tool_use(part, context, number, losses)]
        case chat.Refusal():
            return [{"type": "text", "text": part.text}]
        case chat.Opaque() if part.dialect == NAME:
            return [part.raw]
        case chat.Opaque():
            losses.add(part.name, f"only {part.dialect} has this kind of content")
        case chat.Media():
            losses.add(f"content.{part.form}", "messages hold no generated media")
        case chat.ToolResult():
            pass  # a reply never holds one
    return []


def _bound(part: chat.Text | chat.ToolCall, side: seal.Side) -> list[object]:
    sealed = seal.seal_bound(part.origin, part.signature, side)
    return [] if sealed is None else [sealed]


def _text(part: chat.Text, losses: Losses) -> dict[str, object]:
    block: dict[str, object] = {"type": "text", "text": part.text}
    told = [found for found in map(encode_citation, part.citations) if found is not None]
    if told:
        block["citations"] = told
    if len(told) < len(part.citations):
        losses.add("annotations", "citations that name no page have no place here")
    return block


def encode_citation(cited: chat.Citation) -> object | None:
    """A citation: the provider's own as it came, another's as that of a web page; None if it has none."""
    if cited.dialect == NAME and cited.raw is not None:
        return cited.raw
    return seal.sealed_citation(cited)


def thinking_block(part: chat.Thinking) -> dict[str, object]:
    """Reasoning; state of another dialect goes in sealed, where the client must send it back."""
    if part.origin == NAME:
        if part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
    sealed = seal.seal_thinking(part)
    if not part.text and part.redacted is not None:
        return {"type": "redacted_thinking", "data": sealed}
    return {"type": "thinking", "thinking": part.text, "signature": sealed}


def _tool_use(part: chat.ToolCall, context: ReplyContext, number: int, losses: Losses) -> dict[str, object]:
    block: dict[str, object] = {
        "type": "tool_use",
        "id": call_id(part.id, context, number),
        "name": part.name,
        "input": _input(part, losses),
    }
    if part.origin == NAME and part.signature is not None:
        block.update(members(part.signature.encode()) or {})
    return block


def _input(part: chat.ToolCall, losses: Losses) -> object:
    if part.custom:
        return {"input": part.arguments}
    if not part.arguments.strip():
        return {}
    found = object_text(part.arguments)
    if found is not None:
        return found
    losses.add("tool_calls[].function.arguments", 'cut short: no JSON object; given as the member "_raw"')
    return {"_raw": part.arguments}
