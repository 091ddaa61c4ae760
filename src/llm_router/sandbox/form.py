"""What differs between the simulated providers beside their dialect: paths, keys, errors, lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from llm_router.sandbox.native import Codec
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialect import Dialect

Headers = tuple[tuple[str, str], ...]

SIMULATED_HEADER = ("x-llm-router-simulated", "true")
"""Marks every reply of the sandbox."""

LISTED_CREATED_S = 1_767_225_600
"""The creation date of all listed models: 2026-01-01."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An operation read from method and path.

    Attributes:
        operation: "chat", "count_tokens", "models" (the list) or "model" (one of it).
        model: named by the path, where the provider's API does so.
        stream: as the path says; None where the body says it.
        format: the wire format of an embedding, by its name.
    """

    operation: Literal["chat", "embed", "count_tokens", "models", "model"]
    model: str | None = None
    stream: bool | None = None
    format: str = ""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An error to be told in a provider's own words.

    Attributes:
        code: OpenAI's ``code``, where there is one.
        retry_after_s: None leaves it to the provider's habit.
        overloaded: the provider's word for too much load, not a plain 503.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None
    overloaded: bool = False


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's way of speaking.

    Attributes:
        name: first segment of its path on the sandbox.
        version: path segment of the API version, taken with or without.
        base_path: what a client's base URL ends with.
        find: method and path (below the version) to a call; None if there is no such operation.
        has_key: whether a request carries a key, whatever it is.
        missing_key: what is answered if it does not.
        no_such_path: message of its 404.
        overloaded_status, too_long: its status for overload and its words for a prompt too long.
        headers: of every reply, from the request id.
        error: headers and body of an error.
        failure: the last bytes of a stream that fails, from the error's body and whether a JSON
            array (not SSE) is streamed.
        garbage: a stream message that can't be parsed.
        check: what only this provider refuses, changed reasoning above all. Raises Objection.
        reply_id: an id in its form, from 24 hexadecimal digits.
        mend: put a reply or stream message the way the provider writes it, from the message, the
            model and whether its usage is to be told.
        readable: the body with what the dialect's front side would not keep put in other words.
        counting_body: the body of a counting call as one of a chat call.
        counted, listed, described: bodies of the other operations.
    """

    name: str
    dialect: Dialect | Codec
    versions: tuple[str, ...]
    base_path: str
    find: Callable[[str, str], Call | None]
    has_key: Callable[[Mapping[str, str], Mapping[str, str]], bool]
    missing_key: Trouble
    overloaded_status: int
    too_long: Trouble
    headers: Callable[[str], Headers]
    error: Callable[[Trouble, str], tuple[Headers, bytes]]
    failure: Callable[[bytes, bool], bytes]
    garbage: Callable[[bool], bytes]
    check: Callable[[ChatRequest], None]
    reply_id: Callable[[str], str]
    mend: Callable[[dict[str, object], str, bool], dict[str, object]]
    readable: Callable[[bytes], bytes]
    counting_body: Callable[[bytes], bytes]
    counted: Callable[[int], object]
    listed: Callable[[], object]
    described: Callable[[str], object]


def told_wait(trouble: Trouble) -> Headers:
    """``retry-after``, where it was ordered and the provider has no habit of its own."""
    wait = trouble.retry_after_s
    return () if wait is None else (("retry-after", wait_text(wait)),)


def wait_text(seconds: float) -> str:
    """Seconds as header text, without a needless fraction."""
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)
