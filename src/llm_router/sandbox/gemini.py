"""The simulated provider of Gemini's generateContent form."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from llm_router.sandbox.form import Call, Form, Headers, Trouble, wait_text
from llm_router.sandbox.signature import check_thoughts, mint, signs_calls
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialects.gemini_generate import DIALECT

MODELS = ("gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")
"""Shown by the models list. Any other name is answered too."""

RETRY_DELAY_S = 1.0

_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_RPC = "type.googleapis.com/google.rpc."


_STAND_INS = (b"skip_thought_signature_validator", b"context_engineering_is_the_way_to_go")
_STAND_IN = re.compile(
    rb'("thought_?[sS]ignature"\s*:\s*")(?:'
    + b"|".join(form for word in _STAND_INS for form in (word, b64encode(word).rstrip(b"=")))
    + rb')=*(?=")'
)
"""What Gemini takes in place of a signature for calls that it did not make; clients send it plain or
as base64. https://ai.google.dev/gemini-api/docs/thought-signatures"""


def _find(method: str, path: str) -> Call | None:
    if (method, path) == ("GET", "models"):
        return Call(operation="models")
    name, _, verb = unquote(path).removeprefix("models/").rpartition(":")
    if method == "POST" and verb == "predict":
        return Call(operation="embed", model=name, format="vertex_predict")
    if not path.startswith("models/"):
        return None
    if method == "GET":
        return Call(operation="model", model=unquote(path).removeprefix("models/"))
    match verb:
        case "generateContent":
            return Call(operation="chat", model=name, stream=False)
        case "streamGenerateContent":
            return Call(operation="chat", model=name, stream=True)
        case "embedContent":
            return Call(operation="embed", model=name, format="gemini_embed_one")
        case "batchEmbedContents":
            return Call(operation="embed", model=name, format="gemini_embeddings")
        case "countTokens":
            return Call(operation="count_tokens", model=name, stream=False)
    return None


def _has_key(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = scheme.lower() == "bearer" and bool(token.strip())
    return bool(headers.get("x-goog-api-key")) or bool(query.get("key")) or bearer


def _error(trouble: Trouble, request_id: str) -> tuple[Headers, bytes]:
    """https://ai.google.dev/gemini-api/docs/troubleshooting: the wait is in the body, not in a header."""
    status = trouble.status
    name = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error: dict[str, object] = {"code": status, "message": trouble.message, "status": name}
    details: list[object] = []
    if trouble.param is not None:
        violation = {"field": trouble.param, "description": trouble.message}
        details.append({"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]})
    if status == 429:
        details.append(
            {"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": "SimulatedRequestsPerMinute"}]}
        )
    wait = trouble.retry_after_s
    if wait is None and status == 429:
        wait = RETRY_DELAY_S
    if wait is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{wait_text(wait)}s"})
    if details:
        error["details"] = details
    return (), msgspec.json.encode({"error": error})


def _mend(message: dict[str, object], model: str, counted: bool) -> dict[str, object]:
    """Take the gateway's members out."""
    usage = message.get("usageMetadata")
    if not isinstance(usage, dict):
        return message
    if not counted:
        return {name: value for name, value in message.items() if name != "usageMetadata"}
    for name in ("cost", "creditsRemaining", "credits_remaining"):
        usage.pop(name, None)
    return message


def _failure(body: bytes, json_array: bool) -> bytes:
    return b",\r\n" + body + b"\n]" if json_array else b"data: " + body + b"\r\n\r\n"


def _garbage(json_array: bool) -> bytes:
    return (
        b',\r\n{"candidates": ['
        if json_array
        else b'data: {"candidates": [{"content": {"parts": [{"te\r\n\r\n'
    )


def _check(request: ChatRequest) -> None:
    check_thoughts(request, required=signs_calls(request.model))


def _readable(body: bytes) -> bytes:
    """Put a real signature in the place of each stand-in, which the dialect reads as none at all."""
    return _STAND_IN.sub(lambda m: m[1] + mint("gemini", b"stand-in").encode(), body)


def _counting_body(body: bytes) -> bytes:
    """A counting call holds either contents alone or a whole ``generateContentRequest``."""
    tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    inner = tree.get("generateContentRequest")
    return bytes(inner) if inner is not None else body


def _described(model: str) -> object:
    return {
        "name": f"models/{model}",
        "version": "simulated",
        "displayName": f"{model} (simulated)",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _counted(tokens: int) -> object:
    return {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


FORM = Form(
    name="gemini",
    dialect=DIALECT,
    versions=("v1beta", "v1"),
    base_path="",
    find=_find,
    has_key=_has_key,
    missing_key=Trouble(
        status=403,
        message="No API key was given. Send one in the header x-goog-api-key or as ?key=. The sandbox takes any.",
    ),
    overloaded_status=503,
    too_long=Trouble(
        status=400,
        message="The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
    ),
    headers=lambda request_id: (),
    error=_error,
    failure=_failure,
    garbage=_garbage,
    check=_check,
    reply_id=lambda digits: digits[:22],
    mend=_mend,
    readable=_readable,
    counting_body=_counting_body,
    counted=_counted,
    listed=lambda: {"models": [_described(model) for model in MODELS]},
    described=_described,
)
