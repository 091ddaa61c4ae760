"""The simulated provider of OpenAI's Responses API; keys, errors and lists are those of the chat form."""

from __future__ import annotations

import msgspec

from llm_router.sandbox import openai
from llm_router.sandbox.form import Call
from llm_router.sandbox.signature import Objection, genuine
from llm_router.wire.chat import ChatRequest, Thinking
from llm_router.wire.dialects.openai_responses import DIALECT


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("POST", "responses"):
        return Call(operation="chat")
    return openai.FORM.find(method, path) if method == "GET" else None


def _mend(message: dict[str, object], model: str, counted: bool) -> dict[str, object]:
    """Take the gateway's members out of the response, also inside of an event."""
    for holder in (message, message.get("response")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or not isinstance(usage, dict):
            continue
        if not counted:
            holder["usage"] = None
        for name in ("cost", "credits_remaining"):
            usage.pop(name, None)
    return message


def _failure(body: bytes, json_array: bool) -> bytes:
    """https://platform.openai.com/docs/api-reference/responses-streaming/error"""
    error = msgspec.json.decode(body)["error"]
    event = {"type": "error", "code": error["code"] or "server_error", "message": error["message"]}
    data = msgspec.json.encode({**event, "param": None, "sequence_number": 99})
    return b"event: error\ndata: " + data + b"\n\n"


def _garbage(json_array: bool) -> bytes:
    return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'


def _check(request: ChatRequest) -> None:
    """Check encrypted reasoning of earlier turns.

    Raises:
        Objection: it was changed, or is none of this provider's.
    """
    for index, message in enumerate(request.messages):
        for part in message.parts:
            state = _encrypted(part) if isinstance(part, Thinking) else None
            if state is not None and not genuine(state, "responses"):
                raise Objection(f"input[{index}]", "The encrypted content could not be verified.")


def _encrypted(part: Thinking) -> str | None:
    """The encrypted content of a reasoning item, which may be kept with other members of it."""
    kept = part.redacted or part.signature
    if kept is None or not kept.startswith("{"):
        return kept
    found = msgspec.json.decode(kept).get("encrypted_content")
    return found if isinstance(found, str) else None


FORM = msgspec.structs.replace(
    openai.FORM,
    name="responses",
    dialect=DIALECT,
    find=_find,
    check=_check,
    mend=_mend,
    failure=_failure,
    garbage=_garbage,
    reply_id=lambda digits: f"resp_{digits}",
    too_long=msgspec.structs.replace(openai.FORM.too_long, param="input"),
)
