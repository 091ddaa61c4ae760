"""Validate and measure a request, from one parse.

As strict as OpenAI's API where it matters for the bill or for translation, no stricter; unknown
members are left to the provider. https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_chat.checks import check_members, token_limit
from llm_router.wire.dialects.openai_chat.measure import measure

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@|,+-]{0,255}")
DEPTH_MAX = 128
"""How deep JSON may nest. Schemas that providers take are an order of magnitude flatter."""

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
    stream = members.get("stream")
    options = members.get("stream_options") or {}
    found = measure(tree.body, tree.raw)
    stream = bool(path_stream) if stream is None else stream
    return Inspected(
        model=model,
        stream=stream,
        tree=tree,
        output_tokens=token_limit(members),
        n=members.get("n") or 1,
        text_bytes=found.text_bytes,
        images=found.images,
        file_bytes=found.file_bytes,
        audio_bytes=found.audio_bytes,
        needs=frozenset((*found.needs, "stream") if stream else found.needs),
        usage_chunk=options.get("include_usage"),
        legacy_functions=bool(members.get("functions")) and not members.get("tools"),
        custom_tools=found.custom_tools,
        media_urls=tuple(found.media_urls),
        session=_session(members),
        service_tier=members.get("service_tier"),
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
                'The request body must be a JSON object such as {"model": "...", "messages": [...]}.'
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
    for name in ("session_id", "prompt_cache_key", "user"):
        value = members.get(name)
        if isinstance(value, str) and value:
            return value
    return None
