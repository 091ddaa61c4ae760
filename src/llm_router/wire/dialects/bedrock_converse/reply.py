"""Whole replies. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

from __future__ import annotations

import msgspec

from llm_router.wire import chat, events
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse.blocks import decode_block
from llm_router.wire.dialects.bedrock_converse.errors import reported_error
from llm_router.wire.dialects.bedrock_converse.facts import NAME, failure_of, finish_of
from llm_router.wire.dialects.bedrock_converse.usage import decode_usage
from llm_router.wire.failures import malformed
from llm_router.wire.mintedids import MintedIds
from llm_router.wire.verbatim import dump, items, members, string, value

_OPAQUE = ("additionalModelResponseFields", "trace")
"""Members that only this dialect knows; a stop sequence among them is read."""


def decode_reply(body: bytes) -> events.Reply:
    """The reply. The API gives it neither an id nor the model's name.

    Raises:
        UpstreamError: what the body reports, or MALFORMED.
    """
    top = members(body) or {}
    message = members((members(top.get("output")) or {}).get("message"))
    if message is None:
        raise reported_error(value(body)) or malformed("a reply without output.message")
    native = string(top.get("stopReason"))
    failure = failure_of(native)
    if failure is not None:
        raise failure
    ids = MintedIds()
    ids.seed(body)
    parts = tuple(_identified(decode_block(raw), ids) for raw in items(message.get("content")) or ())
    usage = decode_usage(value(top.get("usage")), value(top.get("serviceTier")))
    reported = value(top.get("usage")) is not None
    return events.Reply(
        choices=(
            events.Choice(
                parts=parts,
                finish=finish_of(native, calls=any(isinstance(part, chat.ToolCall) for part in parts)),
                native_finish=native,
                stop_sequence=stop_sequence(value(top.get("additionalModelResponseFields"))),
                finish_message=guardrail_reason(value(top.get("trace"))),
            ),
        ),
        usage=usage,
        opaque=opaque(top),
        flags=("usage_invalid",) if reported and usage is None else (),
    )


def _identified(part: chat.Part, ids: MintedIds) -> chat.Part:
    """The part; a call without an id of its own, or with that of another, gets one."""
    return msgspec.structs.replace(part, id=ids.take(part.id)) if isinstance(part, chat.ToolCall) else part


def stop_sequence(fields: object) -> str | None:
    """The stop sequence that ended the answer, where the request asked for it."""
    found = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return found if isinstance(found, str) else None


def guardrail_reason(trace: object) -> str | None:
    """Why a guardrail intervened, in its own words."""
    guardrail = trace.get("guardrail") if isinstance(trace, dict) else None
    reason = guardrail.get("actionReason") if isinstance(guardrail, dict) else None
    return reason if isinstance(reason, str) and reason else None


def opaque(holder: dict[str, Raw]) -> tuple[events.OpaqueSeen, ...]:
    """Members of a reply, or of a stream's events, that only this dialect knows."""
    found = []
    for name in _OPAQUE:
        inner = members(holder.get(name)) or {}
        inner.pop("stop_sequence", None)
        if inner:
            found.append(events.OpaqueSeen(dialect=NAME, name=name, raw=dump(inner)))
    return tuple(found)
