"""Cohere's v2 embed, spoken to providers alone. https://docs.cohere.com/v2/reference/embed

``input_type`` is required there. Clients that do not say what their vectors are for get those of
``search_document``, as the texts of a search index do.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.usage import Usage, token_count
from llm_router.wire.dialect import Behind, Target
from llm_router.wire.dialects.cohere_chat import DIALECT as CHAT
from llm_router.wire.embeddings.canonical import (
    EmbedReply,
    EmbedRequest,
    NeverStreamed,
    Purpose,
    edited,
    malformed,
)
from llm_router.wire.embeddings.vectors import read_vector
from llm_router.wire.lenient import mapping
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import items, members, string, value

NAME = "cohere_embed"

TEXTS_MAX = 96
"""At most so many texts in one request."""

INPUT_TYPE = "search_document"
"""Of clients that do not say."""

_INPUT_TYPES: dict[Purpose, str] = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}
_NEAREST: dict[Purpose, str] = {
    "question": "search_query",
    "fact": "search_query",
    "code_query": "search_query",
    "similarity": "clustering",
}
_TAIL = re.compile(r"(/compatibility)?/v[0-9]+(/embed)?$")


def upstream_url(base_url: str, operation: str, model: str, stream: bool) -> str:
    """``{base}/v2/embed``. The base may end with or without a version, that of the compatible API too."""
    return _TAIL.sub("", base_url.rstrip("/")) + "/v2/embed"


def request_members(request: EmbedRequest, losses: Losses) -> dict[str, Any]:
    """The members that every place of Cohere's models takes.

    Raises:
        UnsupportedContent: it holds tokens, or too many inputs.
    """
    if len(request.inputs) > TEXTS_MAX:
        raise UnsupportedContent(
            f"This model takes at most {TEXTS_MAX} inputs in one request; there are {len(request.inputs)}. "
            "Send several requests.",
            param="input",
        )
    if not all(isinstance(item, str) for item in request.inputs):
        raise UnsupportedContent("This model takes text, not tokens: send strings.", param="input")
    body: dict[str, Any] = {
        "input_type": _input_type(request, losses),
        "embedding_types": ["float"],
        "texts": request.inputs,
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = "END" if request.truncate else "NONE"
    if any(request.titles):
        losses.add("title", "the API has no titles")
    if request.user is not None:
        losses.add("user", "the API has no such option")
    for name in request.extras:
        losses.add(name, "the API has no such option")
    return body


def encode_request(request: EmbedRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for Cohere.

    Raises:
        UnsupportedContent: it holds tokens, or too many inputs.
    """
    losses = Losses()
    body = {"model": target.model, **request_members(request, losses)}
    lost = edited(body, target)
    return msgspec.json.encode(body), (*losses.found, *lost)


def _input_type(request: EmbedRequest, losses: Losses) -> str:
    wanted = list(dict.fromkeys(request.purposes))
    if len(wanted) > 1:
        losses.add(request.purpose_field, "all inputs of one request are embedded for the same use")
    purpose = wanted[0] if wanted else None
    if purpose is None:
        return INPUT_TYPE
    if purpose in _INPUT_TYPES:
        return _INPUT_TYPES[purpose]
    losses.add(request.purpose_field, f"the nearest use is {_NEAREST[purpose]}")
    return _NEAREST[purpose]


def decode_reply(body: bytes) -> EmbedReply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    found = members(body)
    if found is None:
        raise malformed("a reply that is not a JSON object")
    vectors = items(found.get("embeddings"))  # a plain list where no type was asked for
    if vectors is None:
        vectors = items((members(found.get("embeddings")) or {}).get("float"))
    if vectors is None:
        if "message" in found:
            raise CHAT.decode_error(200, {}, body)
        raise malformed("a reply without vectors")
    billed = mapping(mapping(value(found.get("meta"))).get("billed_units"))
    stated = billed.get("input_tokens")
    tokens = token_count(stated)
    return EmbedReply(
        vectors=tuple(read_vector(raw, None) for raw in vectors),
        id=string(found.get("id")) or "",
        usage=None if tokens is None else Usage(input_tokens=tokens),
        flags=("usage_invalid",) if stated is not None and tokens is None else (),
    )


DIALECT: Behind[EmbedRequest, EmbedReply] = Behind(
    name=NAME,
    encode_request=encode_request,
    decode_reply=decode_reply,
    stream_decoder=NeverStreamed,
    decode_error=CHAT.decode_error,
    upstream_url=upstream_url,
    upstream_headers=CHAT.upstream_headers,
)
