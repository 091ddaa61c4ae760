"""The simulated provider of Anthropic's messages form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.sandbox.form import Call, Form, Headers, Trouble, wait_text
from llm_router.sandbox.signature import Objection, check_thinking
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialects.anthropic_messages import DIALECT

MODELS = ("claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4", "claude-3-7-sonnet")
"""Shown by the models list. Any other name is answered too."""

RETRY_AFTER_S = 1.0

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 409: "conflict_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("POST", "messages"):
        return Call(operation="chat")
    if (method, path) == ("POST", "messages/count_tokens"):
        return Call(operation="count_tokens")
    if (method, path) == ("GET", "models"):
        return Call(operation="models")
    if method == "GET" and path.startswith("models/"):
        return Call(operation="model", model=path.removeprefix("models/"))
    return None


def _has_key(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return bool(headers.get("x-api-key")) or (scheme.lower() == "bearer" and bool(token.strip()))


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://docs.anthropic.com/en/api/errors"""
    status = trouble.status
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if trouble.overloaded:
        kind = "overloaded_error"
    message = trouble.message if trouble.param is None else f"{trouble.param}: {trouble.message}"
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    headers = [("x-should-retry", "true" if status in (408, 409, 429) or status >= 500 else "false")]
    wait = trouble.retry_after_s
    if wait is None and status == 429:
        wait = RETRY_AFTER_S
    if wait is not None:
        headers.append(("retry-after", wait_text(wait)))
    return tuple(headers), msgspec.json.encode(body)


def _check(request: ChatRequest) -> None:
    """Check reasoning of earlier turns, and what may not be asked for together with thinking.

    https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#feature-compatibility

    Raises:
        Objection: what the API answers with 400.
    """
    check_thinking(request)
    thinking = request.reasoning
    if thinking is None or not (thinking.enabled or thinking.adaptive or thinking.budget_tokens):
        return
    budget, most = thinking.budget_tokens, request.max_tokens
    if budget is not None and most is not None and budget >= most:
        raise Objection("max_tokens", "`max_tokens` must be greater than `thinking.budget_tokens`")
    if request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
        raise Objection("tool_choice", "Thinking may not be enabled when tool_choice forces tool use")
    if request.temperature not in (None, 1.0):
        raise Objection("temperature", "`temperature` may only be set to 1 when thinking is enabled")
    if request.top_k is not None:
        raise Objection("top_k", "`top_k` must be unset when thinking is enabled")


def _mend(message: dict[str, object], model: str, counted: bool) -> dict[str, object]:
    """Take the gateway's members out of every usage object."""
    for holder in (message, message.get("message")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or not isinstance(usage, dict):
            continue
        if not counted:
            del holder["usage"]
        for name in ("cost", "credits_remaining"):
            usage.pop(name, None)
    return message


def _failure(body: bytes, json_array: bool) -> bytes:
    return b"event: error\ndata: " + body + b"\n\n"


def _garbage(json_array: bool) -> bytes:
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"te\n\n'


def _counting_body(body: bytes) -> bytes:
    """A counting call has no ``max_tokens``, which a message must have."""
    tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    tree.setdefault("max_tokens", msgspec.Raw(b"1"))
    return msgspec.json.encode(tree)


def _described(model: str) -> object:
    return {
        "type": "model",
        "id": model,
        "display_name": f"{model} (simulated)",
        "created_at": "2026-01-01T00:00:00Z",
    }


FORM = Form(
    name="anthropic",
    dialect=DIALECT,
    versions=("v1",),
    base_path="",
    find=_find,
    has_key=_has_key,
    missing_key=Trouble(
        status=401, message="No API key was given. Send one in the header x-api-key. The sandbox takes any."
    ),
    overloaded_status=529,
    too_long=Trouble(status=400, message="prompt is too long: 200001 tokens > 200000 maximum"),
    headers=lambda request_id: (("request-id", request_id),),
    error=_error,
    failure=_failure,
    garbage=_garbage,
    check=_check,
    reply_id=lambda digits: f"msg_01{digits[:22]}",
    mend=_mend,
    readable=lambda body: body,
    counting_body=_counting_body,
    counted=lambda tokens: {"input_tokens": tokens},
    listed=lambda: {
        "data": [_described(model) for model in MODELS],
        "has_more": False,
        "first_id": MODELS[0],
        "last_id": MODELS[-1],
    },
    described=_described,
)
