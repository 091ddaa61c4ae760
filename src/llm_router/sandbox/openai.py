"""The simulated provider of OpenAI's chat form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.sandbox.form import LISTED_CREATED_S, Call, Form, Headers, Trouble, wait_text
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialects.openai_chat import DIALECT

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-5-mini", "o1", "gpt-3.5-turbo")
"""Shown by the models list. Any other name is answered too."""

RETRY_AFTER_S = 1.0
"""What a rate limit tells the client to wait, unless it was ordered otherwise."""

_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_TYPES = {403: "invalid_request_error", 408: "server_error", 409: "invalid_request_error", 429: "requests"}


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("POST", "chat/completions"):
        return Call(operation="chat")
    if (method, path) == ("POST", "embeddings"):
        return Call(operation="embed", format="openai_embeddings")
    if (method, path) == ("POST", "v2/embed"):  # Cohere has this beside its compatible form
        return Call(operation="embed", format="cohere_embed")
    if (method, path) == ("GET", "models"):
        return Call(operation="models")
    if method == "GET" and path.startswith("models/"):
        return Call(operation="model", model=path.removeprefix("models/"))
    return None


def _has_key(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return (scheme.lower() == "bearer" and bool(key.strip())) or bool(headers.get("api-key"))


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://platform.openai.com/docs/guides/error-codes"""
    status = trouble.status
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = trouble.code or _CODES.get(status)
    body = {"error": {"message": trouble.message, "type": kind, "param": trouble.param, "code": code}}
    headers: list[tuple[str, str]] = []
    wait = trouble.retry_after_s
    if wait is None and status == 429:
        wait = RETRY_AFTER_S
    if wait is not None:
        headers += [("retry-after", wait_text(wait)), ("retry-after-ms", str(int(wait * 1000)))]
    return tuple(headers), msgspec.json.encode(body)


def _mend(message: dict[str, object], model: str, counted: bool) -> dict[str, object]:
    """Take the gateway's members out; write xAI's arithmetic for its models.

    xAI's chat form leaves reasoning out of ``completion_tokens`` and adds it in ``total_tokens``.
    """
    usage = message.get("usage")
    if not isinstance(usage, dict):
        return message
    if not counted:
        return {name: value for name, value in message.items() if name != "usage"}
    for name in ("cost", "credits_remaining"):
        usage.pop(name, None)
    details = usage.get("completion_tokens_details")
    if "grok" in model.lower() and isinstance(details, dict):
        reasoning, completion = details.get("reasoning_tokens"), usage.get("completion_tokens")
        if isinstance(reasoning, int) and isinstance(completion, int):
            usage["completion_tokens"] = completion - reasoning
    return message


def _failure(body: bytes, json_array: bool) -> bytes:
    return b"data: " + body + b"\n\n"


def _garbage(json_array: bool) -> bytes:
    return b'data: {"id":"chatcmpl-broken","choices":[{"delta":{"content":"\n\n'


def _check(request: ChatRequest) -> None:
    """This form has no signatures."""


def _same(body: bytes) -> bytes:
    return body


def _counted(tokens: int) -> object:
    return {"object": "response.input_tokens", "input_tokens": tokens}


def _described(model: str) -> object:
    return {"id": model, "object": "model", "created": LISTED_CREATED_S, "owned_by": "simulated"}


FORM = Form(
    name="openai",
    dialect=DIALECT,
    versions=("v1",),
    base_path="/v1",
    find=_find,
    has_key=_has_key,
    missing_key=Trouble(
        status=401,
        message="No API key was given. Send one in the header Authorization: Bearer KEY. The sandbox takes any.",
        code="invalid_api_key",
    ),
    overloaded_status=503,
    too_long=Trouble(
        status=400,
        message="This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "more. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    ),
    headers=lambda request_id: (("x-request-id", request_id),),
    error=_error,
    failure=_failure,
    garbage=_garbage,
    check=_check,
    reply_id=lambda digits: f"chatcmpl-{digits}",
    mend=_mend,
    readable=_same,
    counting_body=_same,
    counted=_counted,
    listed=lambda: {"object": "list", "data": [_described(model) for model in MODELS]},
    described=_described,
)
