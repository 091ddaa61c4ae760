"""OpenAI's embeddings, and what other providers make of them.

https://platform.openai.com/docs/api-reference/embeddings/create

A client may say what the vectors are for with ``input_type``, which OpenRouter, Voyage, NVIDIA and Cohere
have and OpenAI does not: ``query`` and ``document``, or Cohere's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.bill import bill_members
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, Dialect, Fetched, Inspected, Observed, ReplyContext, Target
from llm_router.wire.dialects.openai_chat import DIALECT as CHAT
from llm_router.wire.embeddings.asking import (
    DIMENSIONS_MAX,
    check_number,
    check_text,
    measure,
    read_name,
    read_object,
    read_text,
    read_tokens,
    read_whole,
)
from llm_router.wire.embeddings.canonical import (
    EmbedReply,
    EmbedRequest,
    Input,
    NeverStreamed,
    Purpose,
    check_count,
    edited,
    malformed,
    never_streamed,
)
from llm_router.wire.embeddings.vectors import check_numbers, is_float32_base64, read_vector, to_base64
from llm_router.wire.lenient import mapping
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.routed import MEMBERS, routing_in, strip
from llm_router.wire.verbatim import items, members, value

NAME = "openai_embeddings"

FORMATS = ("float", "base64")

PURPOSES: dict[str, Purpose] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
    "classification": "classification",
    "clustering": "clustering",
}
"""``input_type`` -> what the vectors are for."""

INPUT_TYPES: dict[str, dict[Purpose, str]] = {
    "voyage": {"query": "query", "document": "document"},
    "nvidia": {"query": "query", "document": "passage"},
    "openrouter": {
        "query": "search_query",
        "document": "search_document",
        "classification": "classification",
        "clustering": "clustering",
    },
}
"""Providers of this format that take ``input_type``, with their words for it.
https://docs.voyageai.com/reference/embeddings-api, https://docs.api.nvidia.com/nim/reference/nvidia-nv-embedqa-e5-v5-infer,
https://openrouter.ai/docs/api/reference/embeddings"""

_OWN = ("model", "input", "dimensions", "encoding_format", "user", "input_type", *MEMBERS)


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request: its members, verbatim, and the request they make."""

    members: dict[str, Raw]
    request: EmbedRequest


def inspect(body: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Check and measure a request.

    Raises:
        InvalidRequest: with ``param`` set.
    """
    found = read_object(body)
    routing = routing_in(found)
    model = read_name(found.get("model"))
    inputs = _inputs(found.get("input"))
    encoding = value(found.get("encoding_format"))
    if encoding is not None and encoding not in FORMATS:
        raise InvalidRequest("encoding_format must be 'float' or 'base64'.", param="encoding_format")
    dimensions = read_whole(found.get("dimensions"), "dimensions", DIMENSIONS_MAX)
    request = EmbedRequest(
        model=model,
        dialect=NAME,
        inputs=inputs,
        dimensions=dimensions,
        purposes=_purposes(found.get("input_type"), len(inputs)),
        user=read_text(found.get("user"), "user"),
        extras={name: raw for name, raw in found.items() if name not in _OWN},
    )
    text_bytes, tokens = measure(inputs)
    return Inspected(
        model=model,
        stream=False,
        tree=_Asked(members=found, request=request),
        text_bytes=text_bytes,
        input_tokens=tokens,
        inputs=len(inputs),
        routing=routing,
        echo={
            name: found[name]
            for name in ("encoding_format", "dimensions")
            if name in found and bytes(found[name]) != b"null"
        },
    )


def _inputs(raw: Raw | None) -> tuple[Input, ...]:
    if raw is None:
        raise InvalidRequest(
            "input is missing: give a string, an array of strings, or tokens.", param="input"
        )
    given = bytes(raw).lstrip()
    if given[:1] == b'"':
        return (check_text(value(raw), "input"),)
    listed = items(raw)
    if listed is None:
        raise InvalidRequest("input must be a string, an array of strings, or tokens.", param="input")
    first = bytes(listed[0]).lstrip()[:1] if listed else b""
    if first not in (b'"', b"["):
        check_number(len(listed) and 1, "input")
        return (read_tokens(raw, "input"),)
    check_number(len(listed), "input")
    if first == b'"':
        return tuple(check_text(value(item), f"input[{at}]") for at, item in enumerate(listed))
    return tuple(read_tokens(item, f"input[{at}]") for at, item in enumerate(listed))


def _purposes(raw: Raw | None, count: int) -> tuple[Purpose | None, ...]:
    word = read_text(raw, "input_type")
    if word is None:
        return ()
    purpose = PURPOSES.get(word.lower())
    if purpose is None:
        raise InvalidRequest(f"input_type must be one of {', '.join(PURPOSES)}.", param="input_type")
    return (purpose,) * count


def decode_request(inspected: Inspected) -> EmbedRequest:
    """The canonical form."""
    assert isinstance(inspected.tree, _Asked)
    return inspected.tree.request


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The client's own members, with the provider's model and in its words."""
    assert isinstance(inspected.tree, _Asked)
    losses = Losses()
    body: dict[str, Any] = dict(inspected.tree.members)
    body["model"] = target.model
    strip(body)
    request = inspected.tree.request
    if "input_type" in body:
        del body["input_type"]
        _write_purpose(body, request, target, losses)
    lost = edited(body, target)
    return msgspec.json.encode(body), (*losses.found, *lost)


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for a provider of this format, which takes texts and tokens."""
    losses = Losses()
    body: dict[str, Any] = {"model": target.model, "input": list(request.inputs)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    _write_purpose(body, request, target, losses)
    if any(request.titles):
        losses.add("title", "the API has no titles")
    if request.truncate is not None:
        losses.add("truncate", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    lost = edited(body, target)
    return msgspec.json.encode(body), (*losses.found, *lost)


def _write_purpose(body: dict[str, Any], request: EmbedRequest, target: Target, losses: Losses) -> None:
    purposes, field = request.purposes, request.purpose_field
    wanted = set(purposes)
    if wanted <= {None}:
        return
    words = INPUT_TYPES.get(target.provider, {})
    purpose = purposes[0]
    if len(wanted) == 1 and purpose in words:
        body["input_type"] = words[purpose]
    elif words:
        losses.add(field, "the provider has no word for this use, or only one for all inputs")
    else:
        losses.add(field, "the provider embeds all texts alike")


# -- replies -----------------------------------------------------------------------------------------


class _Read(msgspec.Struct, kw_only=True):
    """A reply of a provider: its members and items, verbatim, the items in the order of the inputs."""

    members: dict[str, Raw]
    data: list[dict[str, Raw]]
    usage: Usage | None
    flags: tuple[str, ...]


def _read(body: bytes) -> _Read:
    found = members(body)
    if found is None:
        raise malformed("a reply that is not a JSON object")
    listed = items(found.get("data"))
    if listed is None:
        if "error" in found or "message" in found or "detail" in found:
            raise CHAT.decode_error(200, {}, body)
        raise malformed("a reply without vectors")
    data = [members(item) or {} for item in listed]
    if not all("embedding" in item for item in data):
        raise malformed("a reply without vectors")
    places = [value(item.get("index")) for item in data]
    if sorted(map(repr, places)) == sorted(repr(at) for at in range(len(data))):
        data = [item for _, item in sorted(zip(places, data, strict=True), key=_place)]
    usage, flags = _usage(found.get("usage"))
    return _Read(members=found, data=data, usage=usage, flags=flags)


def _place(pair: tuple[object, object]) -> int:
    assert isinstance(pair[0], int)
    return pair[0]


def _usage(raw: Raw | None) -> tuple[Usage | None, tuple[str, ...]]:
    counts = mapping(value(raw))
    stated = next(
        (counts[n] for n in ("prompt_tokens", "input_tokens", "total_tokens") if counts.get(n) is not None),
        None,
    )
    if stated is None:
        return None, ()
    tokens = token_count(stated)
    return (None, ("usage_invalid",)) if tokens is None else (Usage(input_tokens=tokens), ())


def decode_reply(body: bytes) -> EmbedReply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    read = _read(body)
    return EmbedReply(
        vectors=tuple(read_vector(item["embedding"], None) for item in read.data),
        id=_text(read.members.get("id")),
        model=_text(read.members.get("model")),
        usage=read.usage,
        flags=read.flags,
    )


def _text(raw: Raw | None) -> str:
    text = value(raw)
    return text if isinstance(text, str) else ""


def _wants_base64(context: ReplyContext) -> bool:
    return value(context.echo.get("encoding_format")) == "base64"


def _usage_object(bill: Bill) -> dict[str, object]:
    tokens = bill.usage.prompt_tokens if bill.usage is not None else 0
    return {"prompt_tokens": tokens, "total_tokens": tokens, **bill_members(bill)}


def encode_reply(reply: EmbedReply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply for a client of this format."""
    packed = _wants_base64(context)
    data = [
        {"object": "embedding", "index": at, "embedding": to_base64(vector) if packed else vector}
        for at, vector in enumerate(reply.vectors)
    ]
    body = {
        "object": "list",
        "data": data,
        "model": reply.model or context.model,
        "usage": _usage_object(bill),
    }
    return msgspec.json.encode(body), ()


class PassedReply:
    """A provider's reply in the client's own format: every right byte is kept."""

    def __init__(self, body: bytes, context: ReplyContext) -> None:
        """
        Raises:
            UpstreamError: it is an error in place of a reply, or not what was asked for.
        """
        read = _read(body)
        check_count(len(read.data), context.inputs)
        packed, asked = _wants_base64(context), value(context.echo.get("dimensions"))
        dimensions = asked if isinstance(asked, int) else None
        for at, item in enumerate(read.data):
            item["embedding"] = _delivered(item["embedding"], packed, dimensions)
            item["index"] = Raw(b"%d" % at)
            item["object"] = Raw(b'"embedding"')
        self._members: dict[str, Any] = {
            **read.members,
            "object": "list",
            "data": read.data,
            "model": _text(read.members.get("model")) or context.model,
        }
        self._raw_usage = mapping(value(read.members.get("usage")))
        self.observed = Observed(
            content_started=True,
            ended=True,
            produced=True,
            usage=read.usage,
            upstream_id=_text(read.members.get("id")) or None,
            upstream_model=_text(read.members.get("model")) or None,
            flags=list(read.flags),
        )

    def finish(self, bill: Bill) -> bytes:
        ours = _usage_object(bill)
        if self.observed.usage is not None:
            ours = {**self._raw_usage, **ours}
        return msgspec.json.encode({**self._members, "usage": ours})


def _delivered(raw: Raw, packed: bool, dimensions: int | None) -> Raw:
    """The vector in the form that the client asked for: as it came, where that is it already."""
    if packed:
        if is_float32_base64(raw, dimensions):
            return raw
        return Raw(msgspec.json.encode(to_base64(read_vector(raw, dimensions))))
    if bytes(raw).lstrip()[:1] == b"[":
        check_numbers(raw)
        return raw
    return Raw(msgspec.json.encode(read_vector(raw, dimensions)))


DIALECT: Dialect[EmbedRequest, EmbedReply] = Dialect(
    name=NAME,
    content_type_stream="application/json",
    inspect=inspect,
    decode_request=decode_request,
    encode_request=encode_request,
    edit_request=edit_request,
    decode_reply=decode_reply,
    encode_reply=encode_reply,
    pass_reply=PassedReply,
    pass_relay=never_streamed,
    stream_decoder=NeverStreamed,
    stream_encoder=never_streamed,
    decode_error=CHAT.decode_error,
    encode_error=CHAT.encode_error,
    upstream_url=CHAT.upstream_url,
    upstream_headers=CHAT.upstream_headers,
    head=CHAT.head,
)
