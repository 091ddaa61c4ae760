"""The five APIs as they are asked: paths, credentials, plain bodies, and the form of their errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from llm_router.conformance.transport import Reply

QUESTION = "Name three primary colours. Answer in one short sentence."
LIMIT_TOKENS = 200

OPENAI = "https://platform.openai.com/docs/api-reference"
ANTHROPIC = "https://docs.anthropic.com/en/api"
GEMINI = "https://ai.google.dev/api"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API.

    Attributes:
        header, scheme: the native form of the credential.
        plain: a small request that succeeds, of (model, name of the token limit).
        unknown_model: statuses for a model that does not exist.
        unauthorized: statuses for a missing key, and for a wrong one.
        streams: whether it can stream.
    """

    name: str
    title: str
    source: str
    header: str
    scheme: str
    extra: tuple[tuple[str, str], ...] = ()
    plain: Callable[[str, str], Json]
    error_faults: Callable[[Reply], list[str]]
    unauthorized: tuple[int, ...] = (401,)
    wrong_key: tuple[int, ...] = (401,)
    streams: bool = True

    def path(self, model: str, *, stream: bool) -> str:
        match self.name:
            case "chat":
                return "/v1/chat/completions"
            case "messages":
                return "/v1/messages"
            case "responses":
                return "/v1/responses"
            case "embeddings":
                return "/v1/embeddings"
            case _:
                verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
                return f"/v1beta/models/{quote(model, safe='')}:{verb}"

    def streamed(self, body: object) -> object:
        """The same request as a stream."""
        if self.name in ("gemini", "embeddings") or not isinstance(body, dict):
            return body
        return {**body, "stream": True}


def message_of(reply: Reply) -> str:
    """The words of an error, in any of the forms."""
    error = reply.json.get("error") if isinstance(reply.json, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or "")
    return str(error or "")


def _error(reply: Reply) -> tuple[Json, list[str]]:
    if not isinstance(reply.json, dict):
        return {}, ["the body is no JSON object"]
    error = reply.json.get("error")
    if not isinstance(error, dict):
        return {}, ["there is no object 'error'"]
    text = error.get("message")
    return error, [] if isinstance(text, str) and text else ["'error.message' is no text"]


def _openai_faults(reply: Reply) -> list[str]:
    error, faults = _error(reply)
    if error:
        if not isinstance(error.get("type"), str):
            faults.append("'error.type' is no string")
        faults += [
            f"'error.{name}' is neither a string nor null"
            for name in ("param", "code")
            if not isinstance(error.get(name), str | None)
        ]
    return faults


def _anthropic_faults(reply: Reply) -> list[str]:
    error, faults = _error(reply)
    if isinstance(reply.json, dict) and reply.json.get("type") != "error":
        faults.append("'type' is not \"error\"")
    if error and not re.fullmatch(r"[a-z_]+_error", str(error.get("type"))):
        faults.append("'error.type' is none of Anthropic's")
    return faults


def _gemini_faults(reply: Reply) -> list[str]:
    error, faults = _error(reply)
    if error:
        if error.get("code") != reply.status:
            faults.append("'error.code' is not the HTTP status")
        if not re.fullmatch(r"[A-Z_]+", str(error.get("status"))):
            faults.append("'error.status' is no name of a status such as INVALID_ARGUMENT")
    return faults


def user(text: object = QUESTION) -> Json:
    return {"role": "user", "content": text}


def _chat(model: str, limit: str) -> Json:
    return {"model": model, "messages": [user()], limit: LIMIT_TOKENS}


def _messages(model: str, limit: str) -> Json:
    return {"model": model, "max_tokens": LIMIT_TOKENS, "messages": [user()]}


def _responses(model: str, limit: str) -> Json:
    return {"model": model, "input": QUESTION, "max_output_tokens": LIMIT_TOKENS}


def _gemini(model: str, limit: str) -> Json:
    return {
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "generationConfig": {"maxOutputTokens": LIMIT_TOKENS},
    }


def _embeddings(model: str, limit: str) -> Json:
    return {"model": model, "input": "The quick brown fox"}


CHAT = Api(
    name="chat", title="OpenAI chat completions", source=f"{OPENAI}/chat/create",
    header="Authorization", scheme="Bearer ", plain=_chat, error_faults=_openai_faults,
)  # fmt: skip
MESSAGES = Api(
    name="messages", title="Anthropic messages", source=f"{ANTHROPIC}/messages",
    header="x-api-key", scheme="", extra=(("anthropic-version", "2023-06-01"),),
    plain=_messages, error_faults=_anthropic_faults,
)  # fmt: skip
RESPONSES = Api(
    name="responses", title="OpenAI responses", source=f"{OPENAI}/responses/create",
    header="Authorization", scheme="Bearer ", plain=_responses, error_faults=_openai_faults,
)  # fmt: skip
GEMINI_API = Api(
    name="gemini", title="Gemini generateContent", source=f"{GEMINI}/generate-content",
    header="x-goog-api-key", scheme="", plain=_gemini, error_faults=_gemini_faults,
    unauthorized=(401, 403), wrong_key=(400, 401, 403),
)  # fmt: skip
EMBEDDINGS = Api(
    name="embeddings", title="OpenAI embeddings", source=f"{OPENAI}/embeddings/create",
    header="Authorization", scheme="Bearer ", plain=_embeddings, error_faults=_openai_faults,
    streams=False,
)  # fmt: skip

APIS: dict[str, Api] = {api.name: api for api in (CHAT, MESSAGES, RESPONSES, GEMINI_API, EMBEDDINGS)}


def dump(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
