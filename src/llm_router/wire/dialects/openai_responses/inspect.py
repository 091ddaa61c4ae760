"""Validate and measure a request, from one parse.

As strict as OpenAI's API where it matters for the bill or for translation, no stricter; unknown
members and kinds of items are left to the provider.
https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_responses.checks import check_members
from llm_router.wire.dialects.openai_responses.measure import measure

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@|,+-]{0,255}")
DEPTH_MAX = 128
"""How deep JSON may nest. Schemas that providers take are an order of magnitude flatter."""

ECHOED: Final = (
    "background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "reasoning",
    "safety_identifier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
)  # fmt: skip
"""Members of a request that its response repeats."""

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The request as parsed: whole, and its top-level members verbatim. Not to be changed."""

    body: dict[str, Any]
    raw: dict[str, msgspec.Raw]


def inspect(body: bytes, path_model: str | None = None, path_stream: bool | None = None) -> Inspected:
    """Validate and measure a request.

    ``path_model`` and ``path_stream`` stand in for members that the body leaves out.

    Raises:
        InvalidRequest: with ``param`` set where a member is at fault.
    """
    tree = parse(body)
    members = tree.body
    model = members.get("model")
    if model is None:
        model = path_model
    if not isinstance(model, str) or not MODEL.fullmatch(model):
        raise _bad_model(model)
    check_members(members)
    found = measure(members, tree.raw)
    stream = members.get("stream")
    stream = bool(path_stream) if stream is None else stream
    return Inspected(
        model=model,
        stream=stream,
        tree=tree,
        output_tokens=members.get("max_output_tokens"),
        text_bytes=found.text_bytes,
        images=found.images,
        file_bytes=found.file_bytes,
        audio_bytes=found.audio_bytes,
        needs=frozenset((*found.needs, "stream") if stream else found.needs),
        custom_tools=found.custom_tools,
        media_urls=tuple(found.media_urls),
        session=_session(members),
        service_tier=members.get("service_tier"),
        echo={name: tree.raw[name] for name in ECHOED if members.get(name) is not None},
    )


def parse(body: bytes) -> Tree:
    """Parse a body strictly.

    Raises:
        InvalidRequest: it is no JSON object in UTF-8, or nests too deep.
    """
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _too_deep(body):
        raise InvalidRequest(f"The request body nests deeper than {DEPTH_MAX} levels: make it flatter.")
    try:
        whole = _decode(body)
        if not isinstance(whole, dict):
            raise InvalidRequest(
                'The request body must be a JSON object such as {"model": "...", "input": "..."}.'
            )
        return Tree(body=whole, raw=_decode_raw(body))
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not valid UTF-8: encode it as UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The request body nests too deep: make it flatter.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None


def _too_deep(body: bytes) -> bool:
    """Whether brackets outside of strings nest deeper than the limit; linear in the body."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _bad_model(model: object) -> InvalidRequest:
    if model is None:
        return InvalidRequest("You must name a model in 'model'. GET /v1/models lists them.", param="model")
    if not isinstance(model, str):
        return InvalidRequest("'model' must be a string.", param="model")
    return InvalidRequest(
        "'model' must be a model id of 1 to 256 letters, digits and any of . _ : / @ | , + - "
        "that begins with a letter or digit. GET /v1/models lists the ids.",
        param="model",
    )


def _session(members: dict[str, Any]) -> str | None:
    """What says that requests belong together, so that they find the same prompt cache."""
    for name in ("prompt_cache_key", "safety_identifier", "user"):
        value = members.get(name)
        if isinstance(value, str) and value:
            return value
    return None
